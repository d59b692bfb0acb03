//! The table of all fields: names, shapes, scopes and where each one lives.
//!
//! Whatever treats all fields alike walks this table: reading, printing, the
//! schema, the store's copy and its comparison with a file. A field is added by
//! a place in `spec.rs` and a row here.

use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::shape::{Fault, Shape, is_name};
use super::spec::{Advertise, Cidr, ClientTls, LogFormat, Metrics, Spec, StoreProfile};
use super::url::Url;
use super::value::{Meaning, Value};

/// Whose field it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The cluster's: stored, and the same everywhere.
    Cluster,
    /// The node's: never stored.
    Node,
}

/// What it takes to change a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It cannot change after `init`.
    Fixed,
    /// Each agent applies it at its next start.
    Restart,
    /// Every agent applies it within one tick.
    Live,
}

/// A configuration in the making.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) spec: Spec,
}

/// A row of the table.
pub(super) struct Field {
    /// The name, with dots; below `spec`, unless it begins with `metadata.`.
    pub(super) path: &'static str,
    /// The variable of the environment.
    pub(super) variable: &'static str,
    pub(super) scope: Scope,
    pub(super) change: Change,
    pub(super) shape: Shape,
    /// What it is for.
    pub(super) why: &'static str,
    /// Returns the value, null if it is unset and has no default.
    pub(super) read: fn(&Draft) -> Json,
    /// Sets the value, if it is one of the shape.
    pub(super) write: fn(&mut Draft, &Value) -> Result<(), Fault>,
}

/// Spellings that are accepted with a note.
const SPELLINGS: &[(&str, &str)] =
    &[("clusterCidr", "clusterCIDR"), ("serviceCidr", "serviceCIDR")];

/// Returns the field of that name, however its acronym is spelled.
pub(super) fn find(path: &str) -> Option<&'static Field> {
    let path = SPELLINGS.iter().find(|(other, _)| *other == path).map_or(path, |(_, path)| path);
    FIELDS.iter().find(|field| field.path == path)
}

macro_rules! row {
    ($path:literal, $variable:literal, $scope:ident, $change:ident, $shape:expr,
     $($place:ident).+, $why:literal) => {
        Field {
            path: $path,
            variable: $variable,
            scope: Scope::$scope,
            change: Change::$change,
            shape: $shape,
            why: $why,
            read: |draft| draft.$($place).+.show(),
            write: |draft, value| {
                draft.$($place).+ = Accept::accept(value, $shape)?;
                Ok(())
            },
        }
    };
}

macro_rules! s3 {
    ($path:literal, $variable:literal, $shape:expr, $place:ident, $why:literal) => {
        Field {
            path: $path,
            variable: $variable,
            scope: Scope::Cluster,
            change: Change::Live,
            shape: $shape,
            why: $why,
            read: |draft| draft.spec.backup_s3.as_ref().map_or(Json::Null, |s3| s3.$place.show()),
            write: |draft, value| {
                draft.spec.backup_s3.get_or_insert_default().$place =
                    Accept::accept(value, $shape)?;
                Ok(())
            },
        }
    };
}

const PORT: Shape = Shape::Whole(1, 65535);
const COUNT: Shape = Shape::Whole(0, 100_000);

#[rustfmt::skip]
pub(super) static FIELDS: &[Field] = &[
    row!("metadata.name", "KAT_METADATA_NAME", Cluster, Fixed, Shape::Label, name,
        "shown everywhere, part of backup names, typed to confirm dangerous commands"),
    row!("clusterCIDR", "KAT_CLUSTER_CIDR", Cluster, Fixed, Shape::Cidr, spec.cluster_cidr,
        "container addresses"),
    row!("serviceCIDR", "KAT_SERVICE_CIDR", Cluster, Fixed, Shape::Cidr, spec.service_cidr,
        "service addresses"),
    row!("nodeSubnetBits", "KAT_NODE_SUBNET_BITS", Cluster, Fixed, Shape::Whole(1, 15),
        spec.node_subnet_bits, "bits added to the clusterCIDR prefix for one node"),
    row!("clusterDomain", "KAT_CLUSTER_DOMAIN", Cluster, Fixed, Shape::Domain,
        spec.cluster_domain, "names in certificates and DNS"),
    row!("agentPort", "KAT_AGENT_PORT", Cluster, Restart, PORT, spec.agent_port,
        "agent to agent, local status page"),
    row!("apiPort", "KAT_API_PORT", Cluster, Restart, PORT, spec.api_port,
        "KAT API: join, certificates"),
    row!("etcdClientPort", "KAT_ETCD_CLIENT_PORT", Cluster, Restart, PORT,
        spec.etcd_client_port, "etcd API"),
    row!("etcdPeerPort", "KAT_ETCD_PEER_PORT", Cluster, Restart, PORT, spec.etcd_peer_port,
        "member to member"),
    row!("etcdClientURLs", "KAT_ETCD_CLIENT_URLS", Node, Restart, Shape::Urls,
        spec.etcd_client_urls, "listen addresses of the etcd API, derived if empty"),
    row!("etcdPeerURLs", "KAT_ETCD_PEER_URLS", Node, Restart, Shape::Urls, spec.etcd_peer_urls,
        "listen addresses for other members, derived if empty"),
    row!("advertiseAddress", "KAT_ADVERTISE_ADDRESS", Node, Restart, Shape::Advertise,
        spec.advertise_address, "where others reach this node"),
    row!("dataDir", "KAT_DATA_DIR", Node, Restart, Shape::Path, spec.data_dir, "the store"),
    row!("volumeBasePath", "KAT_VOLUME_BASE_PATH", Cluster, Restart, Shape::Path,
        spec.volume_base_path, "volumes"),
    row!("backupPath", "KAT_BACKUP_PATH", Cluster, Live, Shape::Path, spec.backup_path,
        "backups"),
    row!("backupIntervalMinutes", "KAT_BACKUP_INTERVAL_MINUTES", Cluster, Live,
        Shape::Whole(0, 10080), spec.backup_interval_minutes, "schedule, 0 is off"),
    row!("backupRetention.keep", "KAT_BACKUP_RETENTION_KEEP", Cluster, Live,
        Shape::Whole(1, 100_000), spec.backup_retention.keep, "newest backups that stay"),
    row!("backupRetention.daily", "KAT_BACKUP_RETENTION_DAILY", Cluster, Live, COUNT,
        spec.backup_retention.daily, "days of which one backup stays"),
    row!("backupRetention.weekly", "KAT_BACKUP_RETENTION_WEEKLY", Cluster, Live, COUNT,
        spec.backup_retention.weekly, "weeks of which one backup stays"),
    row!("backupCopies", "KAT_BACKUP_COPIES", Cluster, Live, Shape::Whole(1, 5),
        spec.backup_copies, "nodes that hold each backup"),
    s3!("backupS3.endpoint", "KAT_BACKUP_S3_ENDPOINT", Shape::Service, endpoint,
        "service that keeps copies off site, https unless on loopback"),
    s3!("backupS3.bucket", "KAT_BACKUP_S3_BUCKET", Shape::Text, bucket, "bucket for the copies"),
    s3!("backupS3.prefix", "KAT_BACKUP_S3_PREFIX", Shape::Text, prefix,
        "what every object's name begins with"),
    s3!("backupS3.region", "KAT_BACKUP_S3_REGION", Shape::Text, region, "region of the bucket"),
    s3!("backupS3.credentialsFile", "KAT_BACKUP_S3_CREDENTIALS_FILE", Shape::Path,
        credentials_file, "file with the credentials, mode 0600, never stored"),
    row!("agentTickSeconds", "KAT_AGENT_TICK_SECONDS", Cluster, Live, Shape::Whole(1, 300),
        spec.agent_tick_seconds, "heartbeat"),
    row!("nodeLossTimeoutSeconds", "KAT_NODE_LOSS_TIMEOUT_SECONDS", Cluster, Live,
        Shape::Whole(2, 86400), spec.node_loss_timeout_seconds,
        "when a silent node counts as lost"),
    row!("leaderLeaseTTLSeconds", "KAT_LEADER_LEASE_TTL_SECONDS", Cluster, Live,
        Shape::Whole(5, 300), spec.leader_lease_ttl_seconds, "KAT Leader lease"),
    row!("storeProfile", "KAT_STORE_PROFILE", Cluster, Restart,
        Shape::Words(StoreProfile::WORDS), spec.store_profile,
        "heartbeat and election of raft: 100/1000, 250/2500, 500/5000 ms"),
    row!("storeQuotaMiB", "KAT_STORE_QUOTA_MIB", Cluster, Restart, Shape::Whole(16, 65536),
        spec.store_quota_mib, "size limit before the NOSPACE alarm"),
    row!("storeCompactionHours", "KAT_STORE_COMPACTION_HOURS", Cluster, Restart,
        Shape::Whole(0, 168), spec.store_compaction_hours,
        "history that automatic compaction keeps, 0 is off"),
    row!("tls.clientTLS", "KAT_TLS_CLIENT_TLS", Cluster, Restart,
        Shape::Words(ClientTls::WORDS), spec.tls.client_tls, "always: TLS on loopback too"),
    row!("tls.certLifetimeDays", "KAT_TLS_CERT_LIFETIME_DAYS", Cluster, Live,
        Shape::Whole(1, 825), spec.tls.cert_lifetime_days, "leaf certificates"),
    row!("tls.extraSANs", "KAT_TLS_EXTRA_SANS", Node, Live, Shape::Names, spec.tls.extra_sans,
        "further names in this node's certificate"),
    row!("tls.pkiDir", "KAT_TLS_PKI_DIR", Node, Restart, Shape::Path, spec.tls.pki_dir,
        "keys and certificates"),
    row!("logging.level", "KAT_LOG_LEVEL", Node, Live, Shape::Level, spec.logging.level,
        "what is logged"),
    row!("logging.format", "KAT_LOG_FORMAT", Node, Restart, Shape::Words(LogFormat::WORDS),
        spec.logging.format, "form of a log line"),
    row!("telemetry.metricsListen", "KAT_TELEMETRY_METRICS_LISTEN", Node, Restart,
        Shape::MaybeUrl, spec.telemetry.metrics_listen,
        "metrics and health without a client certificate"),
    row!("telemetry.metrics", "KAT_TELEMETRY_METRICS", Cluster, Restart,
        Shape::Words(Metrics::WORDS), spec.telemetry.metrics,
        "extensive: histograms for gRPC"),
    row!("telemetry.otlpEndpoint", "KAT_TELEMETRY_OTLP_ENDPOINT", Node, Restart,
        Shape::MaybeService, spec.telemetry.otlp_endpoint, "where traces go"),
    row!("telemetry.sampleRatio", "KAT_TELEMETRY_SAMPLE_RATIO", Node, Live, Shape::Share,
        spec.telemetry.sample_ratio, "share of requests that is traced"),
];

/// A type that a field can have.
trait Accept: Sized {
    /// Reads a value.
    fn accept(value: &Value, shape: Shape) -> Result<Self, Fault>;

    /// Returns the value as it is stored and printed.
    fn show(&self) -> Json;
}

macro_rules! accept_numbers {
    ($($number:ty)*) => {$(
        impl Accept for $number {
            fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
                let number = shape.whole(value)?;
                Ok(Self::try_from(number).expect("the bounds of the shape fit the type"))
            }

            fn show(&self) -> Json {
                json!(self)
            }
        }
    )*};
}

accept_numbers!(u16 u32 u64);

macro_rules! accept_words {
    ($($name:ty)*) => {$(
        impl Accept for $name {
            fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
                let word = shape.text(value)?;
                Ok(Self::from_word(word).expect("the shape has the words of the type"))
            }

            fn show(&self) -> Json {
                json!(self.word())
            }
        }
    )*};
}

accept_words!(StoreProfile ClientTls LogFormat Metrics);

/// The small numbers: subnet bits, whose meaning is often mistaken, and copies.
impl Accept for u8 {
    fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
        let number = shape.whole(value).map_err(|fault| match value.meaning() {
            Meaning::Whole(16..) if shape == Shape::Whole(1, 15) => {
                let hint = "bits added to the clusterCIDR prefix, not a prefix length: \
                            /16 and 7 bits make a /23 per node";
                Fault { hint: hint.to_owned(), ..fault }
            }
            _ => fault,
        })?;
        Ok(Self::try_from(number).expect("the bounds of the shape fit the type"))
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Accept for f64 {
    fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
        shape.number(value)
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Accept for String {
    fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
        shape.text(value).map(str::to_owned)
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Accept for PathBuf {
    fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
        // Through its parts, so that /a//b/ and /a/b are the same.
        shape.text(value).map(|text| PathBuf::from(text).components().collect())
    }

    fn show(&self) -> Json {
        json!(self.to_string_lossy())
    }
}

impl Accept for Option<PathBuf> {
    fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
        PathBuf::accept(value, shape).map(Some)
    }

    fn show(&self) -> Json {
        self.as_ref().map_or(Json::Null, Accept::show)
    }
}

impl Accept for Cidr {
    fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
        shape.cidr(value)
    }

    fn show(&self) -> Json {
        json!(self.to_string())
    }
}

impl Accept for Vec<Url> {
    fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
        shape.list(value, Url::parse)
    }

    fn show(&self) -> Json {
        self.iter().map(|url| json!(url.to_string())).collect()
    }
}

impl Accept for Option<Url> {
    fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
        shape.maybe_url(value)
    }

    fn show(&self) -> Json {
        json!(self.as_ref().map_or(String::new(), ToString::to_string))
    }
}

impl Accept for Vec<String> {
    fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
        let is_san = |text: &str| text.parse::<IpAddr>().is_ok() || is_name(text);
        shape.list(value, |text| match is_san(text) {
            true => Ok(text.to_owned()),
            false => Err("neither a DNS name nor an IP address".to_owned()),
        })
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Accept for Advertise {
    fn accept(value: &Value, shape: Shape) -> Result<Self, Fault> {
        let text = shape.text(value)?;
        match text.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => Err(Fault::bad(
                format!("must be {}", shape.noun()),
                "others cannot reach this node there",
            )),
            Ok(ip) => Ok(Advertise::Ip(ip)),
            Err(_) if text == "auto" => Ok(Advertise::Auto),
            Err(_) if is_name(text) => Ok(Advertise::Name(text.to_owned())),
            Err(_) => {
                let hint = "neither an IP address nor a DNS name";
                Err(Fault::bad(format!("must be {}", shape.noun()), hint))
            }
        }
    }

    fn show(&self) -> Json {
        json!(self.to_string())
    }
}
