//! What a valid `cluster.kat` says, as types.
//!
//! Every field of the table in `fields.rs` has its place here, with its default
//! filled in. A path is `None` unless somebody set it: `agent::paths` settles
//! the others. Ports are as written; `--port-offset` is added by
//! [`Config`](super::Config), never stored.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::url::Url;

/// The fields of `spec`, all of them legal and, together, free of contradiction.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Where containers get their addresses.
    pub cluster_cidr: Cidr,
    /// Where services get their addresses.
    pub service_cidr: Cidr,
    /// How many bits a node's subnet is longer than `clusterCIDR`.
    pub node_subnet_bits: u8,
    /// The domain of the names in certificates and DNS.
    pub cluster_domain: String,
    /// The port between agents.
    pub agent_port: u16,
    /// The port of the KAT API.
    pub api_port: u16,
    /// The port of the etcd API.
    pub etcd_client_port: u16,
    /// The port between members.
    pub etcd_peer_port: u16,
    /// Where the etcd API listens, if written down; see `Config::client_urls`.
    pub etcd_client_urls: Vec<Url>,
    /// Where peers connect, if written down; see `Config::peer_urls`.
    pub etcd_peer_urls: Vec<Url>,
    /// Where others reach this node.
    pub advertise_address: Advertise,
    /// The store.
    pub data_dir: Option<PathBuf>,
    /// The volumes.
    pub volume_base_path: Option<PathBuf>,
    /// The backups.
    pub backup_path: Option<PathBuf>,
    /// How often a backup is made; 0 is never.
    pub backup_interval_minutes: u32,
    /// How many backups stay.
    pub backup_retention: Retention,
    /// How many nodes hold each backup.
    pub backup_copies: u8,
    /// Where backups are copied off site.
    pub backup_s3: Option<S3>,
    /// The heartbeat of an agent.
    pub agent_tick_seconds: u32,
    /// When a silent node counts as lost.
    pub node_loss_timeout_seconds: u32,
    /// How long the KAT Leader's lease lasts.
    pub leader_lease_ttl_seconds: u32,
    /// The pace of raft.
    pub store_profile: StoreProfile,
    /// How large the store may grow, in MiB.
    pub store_quota_mib: u64,
    /// How much history automatic compaction keeps; 0 is all of it.
    pub store_compaction_hours: u32,
    /// Certificates and who must show one.
    pub tls: Tls,
    /// What is logged, and how.
    pub logging: Logging,
    /// What is measured, and for whom.
    pub telemetry: Telemetry,
}

/// How many backups stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The newest ones.
    pub keep: u32,
    /// One a day for so many days.
    pub daily: u32,
    /// One a week for so many weeks.
    pub weekly: u32,
}

/// A bucket for backups.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct S3 {
    /// The URL of the service.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// What every object's name begins with.
    pub prefix: String,
    /// The region, empty if the service has none.
    pub region: String,
    /// The file with the credentials, whose content is never stored.
    pub credentials_file: PathBuf,
}

/// `spec.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Whether loopback is plaintext.
    pub client_tls: ClientTls,
    /// How long a leaf certificate is valid.
    pub cert_lifetime_days: u32,
    /// Further names in this node's certificate.
    pub extra_sans: Vec<String>,
    /// Keys and certificates.
    pub pki_dir: Option<PathBuf>,
}

/// `spec.logging`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// A level, or a list such as `info,store=debug`.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// `spec.telemetry`.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// Where metrics are served; `None` is nowhere.
    pub metrics_listen: Option<Url>,
    /// How much is measured.
    pub metrics: Metrics,
    /// Where traces go; empty is nowhere.
    pub otlp_endpoint: String,
    /// The share of requests that is traced.
    pub sample_ratio: f64,
}

/// A value that is one of a few words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$word_doc:meta])* $variant:ident = $word:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$word_doc])* $variant,)* }

        impl $name {
            /// All words, in the order in which they are shown.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// Returns the variant that a word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Returns the word, as it is written in the file.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// The pace of raft, by how fast disk and network are.
    StoreProfile {
        /// Heartbeats every 100 ms, elections after 1000 ms.
        Default = "default",
        /// 250 ms and 2500 ms.
        SlowDisk = "slow-disk",
        /// 500 ms and 5000 ms.
        Wan = "wan",
    }
}

words! {
    /// Where clients need TLS.
    ClientTls {
        /// Everywhere but on loopback and unix sockets.
        Auto = "auto",
        /// On loopback too.
        Always = "always",
    }
}

words! {
    /// The form of a log line.
    LogFormat {
        /// Decided by where the log goes.
        Auto = "auto",
        /// For a terminal.
        Human = "human",
        /// A JSON object a line.
        Json = "json",
        /// Native journald fields.
        Journald = "journald",
    }
}

words! {
    /// How much is measured.
    Metrics {
        /// Counters and gauges.
        Basic = "basic",
        /// With histograms for gRPC.
        Extensive = "extensive",
    }
}

impl StoreProfile {
    /// Returns the raft heartbeat in milliseconds.
    pub fn heartbeat_millis(self) -> u32 {
        match self {
            StoreProfile::Default => 100,
            StoreProfile::SlowDisk => 250,
            StoreProfile::Wan => 500,
        }
    }

    /// Returns the raft election timeout in milliseconds.
    pub fn election_millis(self) -> u32 {
        10 * self.heartbeat_millis()
    }
}

/// Where others reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advertise {
    /// The source address of the default route.
    Auto,
    /// This address.
    Ip(IpAddr),
    /// Whatever this name resolves to.
    Name(String),
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Advertise::Auto => f.write_str("auto"),
            Advertise::Ip(ip) => write!(f, "{ip}"),
            Advertise::Name(name) => f.write_str(name),
        }
    }
}

/// A block of IPv4 addresses whose host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The first address.
    pub address: Ipv4Addr,
    /// How many leading bits all addresses share.
    pub prefix: u8,
}

impl Cidr {
    /// Returns the block that contains an address.
    pub fn around(address: Ipv4Addr, prefix: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        Self { address: Ipv4Addr::from_bits(address.to_bits() & mask), prefix }
    }

    /// Tells whether the two blocks share an address.
    pub fn overlaps(self, other: Self) -> bool {
        let prefix = self.prefix.min(other.prefix);
        Self::around(self.address, prefix) == Self::around(other.address, prefix)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            cluster_cidr: Cidr::around(Ipv4Addr::new(10, 100, 0, 0), 16),
            service_cidr: Cidr::around(Ipv4Addr::new(10, 200, 0, 0), 16),
            node_subnet_bits: 7,
            cluster_domain: "kat.cluster.local".to_owned(),
            agent_port: 9116,
            api_port: 9115,
            etcd_client_port: 2379,
            etcd_peer_port: 2380,
            etcd_client_urls: Vec::new(),
            etcd_peer_urls: Vec::new(),
            advertise_address: Advertise::Auto,
            data_dir: None,
            volume_base_path: None,
            backup_path: None,
            backup_interval_minutes: 30,
            backup_retention: Retention { keep: 48, daily: 7, weekly: 4 },
            backup_copies: 2,
            backup_s3: None,
            agent_tick_seconds: 15,
            node_loss_timeout_seconds: 60,
            leader_lease_ttl_seconds: 15,
            store_profile: StoreProfile::Default,
            store_quota_mib: 2048,
            store_compaction_hours: 1,
            tls: Tls {
                client_tls: ClientTls::Auto,
                cert_lifetime_days: 90,
                extra_sans: Vec::new(),
                pki_dir: None,
            },
            logging: Logging { level: "info".to_owned(), format: LogFormat::Auto },
            telemetry: Telemetry {
                metrics_listen: Some(Url::loopback(2381)),
                metrics: Metrics::Basic,
                otlp_endpoint: String::new(),
                sample_ratio: 0.01,
            },
        }
    }
}
