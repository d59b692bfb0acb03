//! Taking an etcd's ports, and saying what is spoken on them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::listen::{Address, Listen};
use super::security::Side;
use super::self_signed::{self, Purpose};
use super::settings::Settings;
use super::start::{LISTENER_FAILED, START_FAILED};
use super::value::go_error;
use crate::agent::bind::{self, Listeners, Refused};
use crate::agent::errors::{Kind, Report};
use crate::api::{BadTls, Listener, Manner, Serves, Tls, TlsOptions};

/// Where certificates are kept that a member makes for itself.
pub(super) const FIXTURES: &str = "fixtures";

/// What is spoken on a port of the clients.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    address: String,
    manner: Manner,
}

/// What several URLs want of one place.
struct Wanted {
    address: Address,
    /// As it is written: what is written otherwise is another place.
    authority: String,
    is_plain: bool,
    is_secure: bool,
    is_http: bool,
}

/// Takes all ports.
pub(super) async fn take(settings: &Settings) -> Result<Listeners, Report> {
    let (mut client, mut peer) = (settings.security.client.clone(), settings.security.peer.clone());
    let peers = make_certificate(&mut peer, settings, &[&settings.listen_peers])?;
    tell_tls(&peer);
    let peers_tls = secure(&peer, peers, &settings.listen_peers, |address| {
        format!("cannot listen on TLS for {address}: KeyFile and CertFile are not presented")
    })?;
    check_peer_files(&peer).map_err(refuse)?;
    let (rpc, http) = (&settings.listen_clients, &settings.listen_http);
    let clients = make_certificate(&mut client, settings, &[rpc, http])?;
    let all = [rpc.as_slice(), http].concat();
    tell_ignored(&client, &all);
    let missing = all.iter().find(|listen| listen.is_secure).filter(|_| client.is_empty());
    if let Some(Listen { url, .. }) = missing {
        return Err(refuse(format!(
            "TLS key/cert (--cert-file, --key-file) must be provided for client url {url} with \
             HTTPS scheme"
        )));
    }
    let wanted = gather(rpc, http)?;
    let listens = [all, settings.listen_metrics.clone()].concat();
    tell_tls(&client);
    let tls = secure(&client, clients, &listens, |_| {
        "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url"
            .to_owned()
    })?;
    if tls.is_some() && http.is_empty() {
        client.check_http2().map_err(refuse)?;
    }
    let mut listeners = Listeners::default();
    let manner = |is_plain: bool, is_secure: bool, tls: &Option<Tls>, serves: Serves| Manner {
        is_plain,
        tls: tls.clone().filter(|_| is_secure),
        serves,
    };
    tell_urls(&settings.listen_peers, "peers");
    for Listen { address, is_secure, .. } in &settings.listen_peers {
        let manner = manner(!is_secure, *is_secure, &peers_tls, Serves::Everything);
        listeners.peers.push(bind(address, "peers").await?.with(manner));
    }
    tell_urls(&settings.listen_clients, "clients");
    for Wanted { address, is_plain, is_secure, is_http, .. } in wanted {
        let serves = match (is_http, http.is_empty()) {
            (true, _) => Serves::Http,
            (false, true) => Serves::Everything,
            (false, false) => Serves::Grpc,
        };
        let manner = manner(is_plain, is_secure, &tls, serves);
        listeners.clients.push(bind(&address, "clients").await?.with(manner));
    }
    tell_urls(&settings.listen_metrics, "metrics");
    for Listen { address, is_secure, .. } in &settings.listen_metrics {
        let manner = manner(!is_secure, *is_secure, &tls, Serves::Http);
        listeners.metrics.push(bind(address, "metrics").await?.with(manner));
    }
    Ok(listeners)
}

/// What is spoken on the ports of the clients.
pub(super) fn traffic(listeners: &Listeners) -> Vec<Traffic> {
    let of = |listener: &Listener| Traffic {
        address: listener.place(),
        manner: listener.manner().clone(),
    };
    listeners.clients.iter().map(of).collect()
}

impl Traffic {
    /// Says that it is served.
    pub(super) fn tell(&self) {
        let address = self.address.as_str();
        let traffic = match self.manner.serves {
            Serves::Everything => "grpc+http",
            Serves::Grpc => "grpc",
            Serves::Http => "http",
        };
        tracing::info!("ready to serve client requests");
        if self.manner.is_plain {
            tracing::info!(
                traffic,
                address,
                "serving client traffic insecurely; this is strongly discouraged!"
            );
        }
        if self.manner.tls.is_some() {
            tracing::info!(traffic, address, "serving client traffic securely");
        }
    }
}

/// One entry for each place: http and https may share it, gRPC and HTTP not.
fn gather(rpc: &[Listen], http: &[Listen]) -> Result<Vec<Wanted>, Report> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let all = rpc.iter().map(|listen| (listen, false));
    for (listen, is_http) in all.chain(http.iter().map(|listen| (listen, true))) {
        let Listen { url, address, is_secure } = listen;
        // A port that the system chooses is never another's.
        let is_chosen = matches!(address, Address::Tcp(address) if address.port() == 0);
        let authority = listen.authority();
        let is_same = |one: &Wanted| one.address == *address && one.authority == authority;
        let same = wanted.iter_mut().find(|one| !is_chosen && is_same(one));
        match same {
            Some(one) if one.is_http != is_http => {
                let text = "cannot bind both --listen-client-urls and --listen-client-http-urls \
                            on the same url";
                return Err(refuse(format!("{text} {url}")));
            }
            Some(one) => {
                one.is_plain |= !is_secure;
                one.is_secure |= is_secure;
            }
            None => wanted.push(Wanted {
                address: address.clone(),
                authority: authority.to_owned(),
                is_plain: !is_secure,
                is_secure: *is_secure,
                is_http,
            }),
        }
    }
    Ok(wanted)
}

/// Makes a certificate for a side that is to have its own, and says whether
/// that side has any.
fn make_certificate(
    side: &mut Side,
    settings: &Settings,
    listens: &[&Vec<Listen>],
) -> Result<bool, Report> {
    if side.is_auto && !side.is_empty() {
        tracing::warn!("ignoring {} auto TLS since certs given", side.name);
    } else if side.is_auto {
        let hosts = listens.iter().flat_map(|listens| listens.iter()).map(Listen::host);
        let is_clients = side.name == "peer";
        let purpose = Purpose { hosts: hosts.collect(), years: side.years, is_clients };
        let folder = settings.data_dir.join(FIXTURES).join(side.name);
        let pair = self_signed::find_or_make(&folder, &purpose).map_err(|why| {
            let what = format!("failed to get {} self-signed certs", side.name);
            let report = Kind::STORE.report(what, "look at the data directory");
            Report { exit: 1, ..report.because(why) }
        })?;
        let TlsOptions { cert_file, key_file, .. } = &mut side.options;
        (*cert_file, *key_file) = (pair.cert, pair.key);
    }
    Ok(!side.is_empty())
}

/// Reads what a side needs for TLS, if it is to speak it anywhere.
fn secure(
    side: &Side,
    has_certificate: bool,
    listens: &[Listen],
    missing: impl Fn(&Address) -> String,
) -> Result<Option<Tls>, Report> {
    let Some(first) = listens.iter().find(|listen| listen.is_secure) else { return Ok(None) };
    if !has_certificate {
        return Err(refuse(missing(&first.address)));
    }
    side.check_pair().map_err(refuse)?;
    let without = side.options.missing_suites();
    if !without.is_empty() {
        let suites = without.join(",");
        tracing::warn!(suites, "these cipher suites are not offered here");
    }
    let tls = Tls::new(side.options.clone()).map_err(|why| match side.name {
        "client" => refuse_listener(&why),
        _ => refuse(why.to_string()),
    })?;
    Ok(Some(tls))
}

/// What other members would be shown is read in any case, as by etcd.
fn check_peer_files(side: &Side) -> Result<(), String> {
    let TlsOptions { cert_file, key_file, ca_file, .. } = &side.options;
    if !side.is_empty() {
        side.check_pair()?;
    }
    let given = [Some(cert_file), Some(key_file), ca_file.as_ref()];
    let mut given = given.into_iter().flatten().filter(|path| !path.as_os_str().is_empty());
    given.try_for_each(|path| match fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(why) => Err(format!("open {}: {}", path.display(), go_error(&why))),
    })
}

fn refuse(why: String) -> Report {
    let report = Kind::USAGE.report(START_FAILED, "correct the flags");
    Report { exit: 1, ..report.because(why) }
}

/// What etcd notices of its clients' listeners only when it is about to serve.
fn refuse_listener(why: &BadTls) -> Report {
    let report = Kind::USAGE.report(LISTENER_FAILED, "correct the flags");
    Report { exit: 1, ..report.because(why.to_string()) }
}

async fn bind(address: &Address, what: &str) -> Result<Listener, Report> {
    let report = |why: String| {
        let fix = "stop whoever listens there, or choose another port";
        let report = Kind::PORT_TAKEN.report(format!("failed to listen for {what}"), fix);
        Report { exit: 1, ..report.because(why) }
    };
    match address {
        Address::Tcp(address) => bind_tcp(*address).await.map_err(|why| report(why.into_go())),
        Address::Unix(path) => Listener::unix(path).map_err(|why| report(refused(path, &why))),
    }
}

async fn bind_tcp(address: SocketAddr) -> Result<Listener, Refused> {
    let mut bound = bind::all(&[address]).await?;
    Ok(bound.remove(0))
}

fn refused(path: &Path, why: &io::Error) -> String {
    format!("listen unix {}: bind: {}", path.display(), go_error(why))
}

fn tell_urls(listens: &[Listen], what: &str) {
    let urls = listens.iter().map(|listen| listen.url.as_str()).collect::<Vec<_>>().join(",");
    if !listens.is_empty() {
        tracing::info!(urls, "listening for {what}");
    }
}

/// Says what is given and has no use.
fn tell_ignored(client: &Side, listens: &[Listen]) {
    for Listen { url, .. } in listens.iter().filter(|listen| !listen.is_secure) {
        let url = url.as_str();
        if !client.is_empty() {
            tracing::warn!(
                "client-url" = url,
                "scheme is http or unix while key and cert files are present; ignoring key and \
                 cert files"
            );
        }
        if client.options.client_cert_auth {
            tracing::warn!(
                "client-url" = url,
                "scheme is http or unix while --client-cert-auth is enabled; ignoring client \
                 cert auth for this URL"
            );
        }
    }
}

fn tell_tls(side: &Side) {
    if side.is_empty() {
        return;
    }
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map_or_else(String::new, |path| path.display().to_string())
    };
    let TlsOptions { cert_file, key_file, ca_file, crl_file, suites, .. } = &side.options;
    let info = format!(
        "cert = {}, key = {}, trusted-ca = {}, client-cert-auth = {}, crl-file = {}",
        cert_file.display(),
        key_file.display(),
        path(ca_file),
        side.options.client_cert_auth,
        path(crl_file),
    );
    let suites = suites.join(",");
    tracing::info!("tls-info" = info, "cipher-suites" = suites, "starting with {} TLS", side.name);
}
