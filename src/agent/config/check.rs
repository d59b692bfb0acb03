//! What fields say together, when each of them is legal by itself.
//!
//! A field that was already found wrong is left out, so that one mistake is
//! reported once. Deliberately not here: anything outside the configuration.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use super::diagnose::{Kind, Problem};
use super::fields::Draft;
use super::inputs::Purpose;
use super::origin::Origin;
use super::shape::authority;
use super::spec::{ClientTls, Spec};
use super::url::{Scheme, Url};
use super::value::Place;

/// How much store is more than usual, in MiB.
const QUOTA_USUAL_MAX: u64 = 8192;

/// The longest prefix that a node's subnet may have.
const NODE_PREFIX_MAX: u8 = 30;

/// A draft, and who said what.
pub(super) struct Facts<'a> {
    pub(super) draft: &'a Draft,
    pub(super) origins: &'a BTreeMap<&'static str, Origin>,
    pub(super) places: &'a BTreeMap<&'static str, Place>,
    pub(super) shown: &'a BTreeMap<&'static str, String>,
    pub(super) broken: &'a BTreeSet<&'static str>,
    pub(super) purpose: Purpose,
    pub(super) port_offset: u16,
}

/// What was found: refusals, and notes at their places.
#[derive(Default)]
pub(super) struct Found {
    problems: Vec<Problem>,
    notes: Vec<(Option<Place>, String)>,
}

/// Checks everything that takes more than one field.
pub(super) fn together(facts: &Facts<'_>) -> (Vec<Problem>, Vec<(Option<Place>, String)>) {
    let mut found = Found::default();
    addresses(facts, &mut found);
    ports(facts, &mut found);
    urls(facts, &mut found);
    paths(facts, &mut found);
    times(facts, &mut found);
    bucket(facts, &mut found);
    not_yet(facts, &mut found);
    (found.problems, found.notes)
}

impl Facts<'_> {
    fn spec(&self) -> &Spec {
        &self.draft.spec
    }

    fn is_set(&self, field: &str) -> bool {
        self.origins.contains_key(field)
    }

    fn are_sound(&self, fields: &[&str]) -> bool {
        !fields.iter().any(|field| self.broken.contains(field))
    }

    /// Makes a problem of fields; the first one set is where it is shown. The
    /// first hint is said there, even if its own field is a default.
    fn conflict(&self, what: String, fields: &[(&str, &str)], fix: &str) -> Problem {
        let mut problem = Problem::new(Kind::Conflict, what, fix);
        let mut given_by = Vec::new();
        for (field, hint) in fields {
            match (self.places.get(field), self.shown.get(field)) {
                (Some(place), _) => problem.labels.push(place.label(*hint)),
                (None, Some(shown)) => given_by.push(shown.clone()),
                (None, None) => {}
            }
        }
        problem.given_by = (!given_by.is_empty()).then(|| given_by.join(", ").into());
        let hint = fields.first().map(|(_, hint)| (*hint).to_owned());
        let hint = hint.filter(|hint| !hint.is_empty());
        match problem.labels.first_mut() {
            None => problem.why = hint,
            Some(label) if label.text.is_empty() => label.text = hint.unwrap_or_default(),
            Some(_) => {}
        }
        problem
    }
}

fn addresses(facts: &Facts<'_>, found: &mut Found) {
    let spec = facts.spec();
    let (cluster, service) = (spec.cluster_cidr, spec.service_cidr);
    if facts.are_sound(&["clusterCIDR", "serviceCIDR"]) && cluster.overlaps(service) {
        let what = format!("clusterCIDR {cluster} and serviceCIDR {service} overlap");
        let fields = [("serviceCIDR", "they share addresses"), ("clusterCIDR", "")];
        found.problems.push(facts.conflict(what, &fields, "choose two blocks that are apart"));
    }
    let bits = spec.node_subnet_bits;
    let prefix = cluster.prefix + bits;
    if facts.are_sound(&["clusterCIDR", "nodeSubnetBits"]) && prefix > NODE_PREFIX_MAX {
        let what = format!(
            "nodeSubnetBits {bits} leaves each node a /{prefix} of clusterCIDR {cluster}, \
             /{NODE_PREFIX_MAX} is the smallest"
        );
        let most = NODE_PREFIX_MAX - cluster.prefix;
        let hint = format!("at most {most} bits fit this clusterCIDR");
        let fields = [("nodeSubnetBits", hint.as_str()), ("clusterCIDR", "")];
        found.problems.push(facts.conflict(what, &fields, "lower the bits or widen clusterCIDR"));
    }
}

/// Every listener with its field and ports.
fn listeners(spec: &Spec) -> Vec<(&'static str, Vec<u16>)> {
    let of_urls = |field, urls: &[Url], port_field, port: u16| match urls {
        [] => (port_field, vec![port]),
        urls => {
            let tcp = urls.iter().filter_map(|url| url.tcp(port));
            let ports: BTreeSet<u16> = tcp.map(|address| address.port()).collect();
            (field, ports.into_iter().collect())
        }
    };
    let metrics = spec.telemetry.metrics_listen.iter();
    let metrics = metrics.filter_map(|url| url.tcp(url.port_usual()));
    vec![
        ("apiPort", vec![spec.api_port]),
        ("agentPort", vec![spec.agent_port]),
        of_urls("etcdClientURLs", &spec.etcd_client_urls, "etcdClientPort", spec.etcd_client_port),
        of_urls("etcdPeerURLs", &spec.etcd_peer_urls, "etcdPeerPort", spec.etcd_peer_port),
        ("telemetry.metricsListen", metrics.map(|address| address.port()).collect()),
    ]
}

fn ports(facts: &Facts<'_>, found: &mut Found) {
    let mut holders = BTreeMap::<u16, &str>::new();
    for (field, ports) in listeners(facts.spec()) {
        if !facts.are_sound(&[field]) {
            continue;
        }
        for port in ports {
            if let Some(holder) = holders.insert(port, field) {
                let what = format!("{holder} and {field} are both {port}");
                let fields = [(field, "every port must be another"), (holder, "")];
                found.problems.push(facts.conflict(what, &fields, "change one of them"));
            }
            if u32::from(port) + u32::from(facts.port_offset) > u32::from(u16::MAX) {
                let offset = facts.port_offset;
                let what = format!("{field} {port} and --port-offset {offset} exceed 65535");
                let mut problem = facts.conflict(what, &[(field, "")], "lower one of them");
                problem.why = Some("the offset is added to every port of the node".to_owned());
                found.problems.push(problem);
            }
        }
    }
}

fn urls(facts: &Facts<'_>, found: &mut Found) {
    let spec = facts.spec();
    for (field, urls, port_field, port) in [
        ("etcdClientURLs", &spec.etcd_client_urls, "etcdClientPort", spec.etcd_client_port),
        ("etcdPeerURLs", &spec.etcd_peer_urls, "etcdPeerPort", spec.etcd_peer_port),
    ] {
        for url in urls {
            let other = url.port.filter(|other| facts.is_set(port_field) && *other != port);
            if let Some(other) = other.filter(|_| facts.are_sound(&[port_field])) {
                let what = format!("{field} has port {other}, but {port_field} is {port}");
                let fields = [(field, "contradicts the port"), (port_field, "")];
                found.problems.push(facts.conflict(what, &fields, "leave one of them out"));
            }
        }
        plaintext(facts, found, field, urls);
    }
    if let Some(url) = &spec.telemetry.metrics_listen {
        plaintext(facts, found, "telemetry.metricsListen", std::slice::from_ref(url));
    }
}

fn plaintext(facts: &Facts<'_>, found: &mut Found, field: &str, urls: &[Url]) {
    let needs_tls = field == "etcdClientURLs" && facts.spec().tls.client_tls == ClientTls::Always;
    for url in urls.iter().filter(|url| url.scheme == Scheme::Http) {
        if !url.is_local() {
            let what = format!("{field} has {url}, and plaintext is allowed on loopback only");
            let fields = [(field, "http off loopback")];
            found.problems.push(facts.conflict(what, &fields, "use 127.0.0.1, or https://"));
        } else if needs_tls && facts.are_sound(&["tls.clientTLS"]) {
            let what = format!("{field} has {url}, but tls.clientTLS is always");
            let fields = [(field, "plaintext"), ("tls.clientTLS", "")];
            found.problems.push(facts.conflict(what, &fields, "use https://"));
        }
    }
}

fn paths(facts: &Facts<'_>, found: &mut Found) {
    let spec = facts.spec();
    if let (Some(data), Some(backups)) = (&spec.data_dir, &spec.backup_path)
        && facts.are_sound(&["dataDir", "backupPath"])
        && are_nested(data, backups)
    {
        let (data, backups) = (data.display(), backups.display());
        let what = format!("dataDir {data} and backupPath {backups} lie inside one another");
        let fields = [("backupPath", "backups must outlive the store"), ("dataDir", "")];
        found.problems.push(facts.conflict(what, &fields, "choose two directories that are apart"));
    }
}

/// Tells whether one directory contains the other, or both are the same.
pub(crate) fn are_nested(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn times(facts: &Facts<'_>, found: &mut Found) {
    let spec = facts.spec();
    let (tick, loss) = (spec.agent_tick_seconds, spec.node_loss_timeout_seconds);
    if facts.are_sound(&["agentTickSeconds", "nodeLossTimeoutSeconds"]) && loss < 2 * tick {
        let what =
            format!("nodeLossTimeoutSeconds {loss} is less than twice agentTickSeconds {tick}");
        let hint = format!("the timeout must be at least {} with this tick", 2 * tick);
        let fields = [("nodeLossTimeoutSeconds", hint.as_str()), ("agentTickSeconds", "")];
        found.problems.push(facts.conflict(what, &fields, "raise the timeout or lower the tick"));
    }
    let (ttl, election) = (spec.leader_lease_ttl_seconds, spec.store_profile.election_millis());
    if facts.are_sound(&["leaderLeaseTTLSeconds", "storeProfile"]) && ttl * 2000 < election * 3 {
        let profile = spec.store_profile;
        let what = format!(
            "leaderLeaseTTLSeconds {ttl} is less than 1.5 election timeouts ({election} ms) \
             of storeProfile {profile}"
        );
        let hint = format!(
            "the lease must be at least {} with this profile",
            (election * 3).div_ceil(2000)
        );
        let fields = [("leaderLeaseTTLSeconds", hint.as_str()), ("storeProfile", "")];
        found.problems.push(facts.conflict(what, &fields, "raise the lease"));
    }
    let quota = spec.store_quota_mib;
    if quota > QUOTA_USUAL_MAX {
        let note = format!(
            "warning: storeQuotaMiB {quota} is above {QUOTA_USUAL_MAX}: restarts and snapshots \
             become slow"
        );
        found.notes.push((facts.places.get("storeQuotaMiB").copied(), note));
    }
}

fn bucket(facts: &Facts<'_>, found: &mut Found) {
    let Some(s3) = &facts.spec().backup_s3 else { return };
    let missing = [
        ("backupS3.endpoint", s3.endpoint.is_empty()),
        ("backupS3.bucket", s3.bucket.is_empty()),
        ("backupS3.credentialsFile", s3.credentials_file.as_os_str().is_empty()),
    ];
    for (field, _) in
        missing.iter().filter(|(field, is_missing)| *is_missing && facts.are_sound(&[field]))
    {
        let what = format!("{field} is missing");
        let given = ["endpoint", "bucket", "prefix", "region", "credentialsFile"]
            .map(|name| format!("backupS3.{name}"));
        let fields: Vec<_> = given
            .iter()
            .filter(|given| facts.is_set(given))
            .map(|given| (given.as_str(), "needs it"))
            .take(1)
            .collect();
        let fix = "backupS3 needs endpoint, bucket and credentialsFile";
        let problem = facts.conflict(what, &fields, fix);
        found.problems.push(Problem { kind: Kind::Missing, ..problem });
    }
    let is_loopback = |host: &str| {
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    };
    let host = authority(&s3.endpoint).map(|(host, _)| host);
    if s3.endpoint.starts_with("http://") && !host.is_some_and(is_loopback) {
        let what = format!("backupS3.endpoint {} is plaintext off loopback", s3.endpoint);
        let fields = [("backupS3.endpoint", "backups hold everything the store holds")];
        found.problems.push(facts.conflict(what, &fields, "use https://"));
    }
}

/// What the format has and this version does not serve: it must not start as
/// if it did. Whoever only looks gets a note.
fn not_yet(facts: &Facts<'_>, found: &mut Found) {
    let spec = facts.spec();
    let metrics: Vec<Url> = spec.telemetry.metrics_listen.iter().cloned().collect();
    let mut wanted = Vec::new();
    for (field, urls) in [
        ("etcdClientURLs", &spec.etcd_client_urls),
        ("etcdPeerURLs", &spec.etcd_peer_urls),
        ("telemetry.metricsListen", &metrics),
    ] {
        let tls = urls.iter().find(|url| url.scheme.has_tls());
        wanted.extend(tls.map(|url| (field, format!("{field} has {url}"))));
    }
    if spec.tls.client_tls == ClientTls::Always {
        wanted.push(("tls.clientTLS", "tls.clientTLS is always".to_owned()));
    }
    for (field, what) in wanted.into_iter().filter(|(field, _)| facts.are_sound(&[field])) {
        if facts.purpose == Purpose::Look {
            let note = format!("note: {what}, and TLS is not there yet: init will refuse it");
            found.notes.push((facts.places.get(field).copied(), note));
            continue;
        }
        let what = format!("{what}, and TLS is not there yet");
        let fields = [(field, "nothing listens off loopback, or with TLS, in this version")];
        let fix = "use plaintext on loopback, such as http://127.0.0.1:2379, or leave it out";
        let problem = facts.conflict(what, &fields, fix);
        found.problems.push(Problem { kind: Kind::NotYet, ..problem });
    }
}
