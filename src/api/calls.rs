//! [`Calls`]: every call of the API by its path, and how each is counted.
//!
//! The counters of a call are found once, at the start, under the names that
//! etcd's dashboards ask for; during the call they are plain additions.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    DEFAULT_BUCKETS, Histogram, HistogramVec, IntCounter, IntCounterVec, Registry,
    exponential_buckets,
};

use super::metrics::{counters, histograms};

/// How many messages a call takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One and one.
    Unary,
    /// One, and any number of answers.
    ServerStream,
    /// Any number of both.
    BidiStream,
}

/// The services, by who carries them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Keys.
    Kv,
    /// Watchers.
    Watch,
    /// Leases.
    Lease,
    /// Members.
    Cluster,
    /// An operator's business.
    Maintenance,
    /// Accounts.
    Auth,
    /// The standard health service.
    Health,
    /// Locks.
    Lock,
    /// Elections.
    Election,
}

use Kind::{BidiStream, ServerStream, Unary};

/// The names of calls, without their service.
type Methods = &'static [(&'static str, Kind)];

/// The calls that are served without tonic, being the most frequent by far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direct {
    /// A put.
    Put,
    /// A range.
    Range,
    /// A txn.
    Txn,
    /// A deletion.
    DeleteRange,
}

const DIRECT: &[(&str, Direct)] = &[
    ("Put", Direct::Put),
    ("Range", Direct::Range),
    ("Txn", Direct::Txn),
    ("DeleteRange", Direct::DeleteRange),
];

/// Every call there is, most frequent first: a path is looked up in this order.
const TABLE: &[(Service, &str, Methods)] = &[
    (
        Service::Kv,
        "etcdserverpb.KV",
        &[
            ("Put", Unary),
            ("Range", Unary),
            ("Txn", Unary),
            ("DeleteRange", Unary),
            ("RangeStream", ServerStream),
            ("Compact", Unary),
        ],
    ),
    (
        Service::Lease,
        "etcdserverpb.Lease",
        &[
            ("LeaseGrant", Unary),
            ("LeaseRevoke", Unary),
            ("LeaseKeepAlive", BidiStream),
            ("LeaseTimeToLive", Unary),
            ("LeaseLeases", Unary),
        ],
    ),
    (Service::Watch, "etcdserverpb.Watch", &[("Watch", BidiStream)]),
    (
        Service::Maintenance,
        "etcdserverpb.Maintenance",
        &[
            ("Status", Unary),
            ("Alarm", Unary),
            ("Defragment", Unary),
            ("Hash", Unary),
            ("HashKV", Unary),
            ("Snapshot", ServerStream),
            ("MoveLeader", Unary),
            ("Downgrade", Unary),
        ],
    ),
    (
        Service::Cluster,
        "etcdserverpb.Cluster",
        &[
            ("MemberList", Unary),
            ("MemberAdd", Unary),
            ("MemberRemove", Unary),
            ("MemberUpdate", Unary),
            ("MemberPromote", Unary),
        ],
    ),
    (
        Service::Auth,
        "etcdserverpb.Auth",
        &[
            ("Authenticate", Unary),
            ("AuthStatus", Unary),
            ("AuthEnable", Unary),
            ("AuthDisable", Unary),
            ("UserAdd", Unary),
            ("UserGet", Unary),
            ("UserList", Unary),
            ("UserDelete", Unary),
            ("UserChangePassword", Unary),
            ("UserGrantRole", Unary),
            ("UserRevokeRole", Unary),
            ("RoleAdd", Unary),
            ("RoleGet", Unary),
            ("RoleList", Unary),
            ("RoleDelete", Unary),
            ("RoleGrantPermission", Unary),
            ("RoleRevokePermission", Unary),
        ],
    ),
    (
        Service::Health,
        "grpc.health.v1.Health",
        &[("Check", Unary), ("List", Unary), ("Watch", ServerStream)],
    ),
    (Service::Lock, "v3lockpb.Lock", &[("Lock", Unary), ("Unlock", Unary)]),
    (
        Service::Election,
        "v3electionpb.Election",
        &[
            ("Campaign", Unary),
            ("Proclaim", Unary),
            ("Leader", Unary),
            ("Observe", ServerStream),
            ("Resign", Unary),
        ],
    ),
];

/// The calls whose duration is told, and under which type.
const TIMED: &[(&str, &str)] = &[
    ("Put", "Put"),
    ("Range", "Range"),
    ("Txn", "Txn"),
    ("DeleteRange", "DeleteRange"),
    ("Compact", "Compaction"),
    ("LeaseGrant", "LeaseGrant"),
    ("LeaseRevoke", "LeaseRevoke"),
    ("Alarm", "Alarm"),
    ("Authenticate", "Authenticate"),
    ("AuthEnable", "AuthEnable"),
    ("AuthDisable", "AuthDisable"),
    ("AuthStatus", "AuthStatus"),
    ("UserAdd", "AuthUserAdd"),
    ("UserGet", "AuthUserGet"),
    ("UserList", "AuthUserList"),
    ("UserDelete", "AuthUserDelete"),
    ("UserChangePassword", "AuthUserChangePassword"),
    ("UserGrantRole", "AuthUserGrantRole"),
    ("UserRevokeRole", "AuthUserRevokeRole"),
    ("RoleAdd", "AuthRoleAdd"),
    ("RoleGet", "AuthRoleGet"),
    ("RoleList", "AuthRoleList"),
    ("RoleDelete", "AuthRoleDelete"),
    ("RoleGrantPermission", "AuthRoleGrantPermission"),
    ("RoleRevokePermission", "AuthRoleRevokePermission"),
];

/// gRPC's codes as its monitoring spells them, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// One call of the API.
#[derive(Debug)]
pub(super) struct Call {
    /// Who carries it out.
    pub(super) service: Service,
    /// How many messages it takes and gives.
    pub(super) kind: Kind,
    /// Whether there is a shorter way to it.
    pub(super) direct: Option<Direct>,
    /// How often it began.
    pub(super) started: IntCounter,
    /// Messages taken.
    pub(super) received: IntCounter,
    /// Messages given.
    pub(super) sent: IntCounter,
    handled: Vec<IntCounter>,
    /// Each by failure and success.
    seconds: Vec<[Histogram; 2]>,
    /// How long it was open, where that is measured.
    open_seconds: Option<Histogram>,
}

impl Call {
    /// It ended with this code.
    pub(super) fn ended(&self, code: tonic::Code) {
        let at = usize::try_from(code as i32).unwrap_or(0);
        self.handled[at].inc();
    }

    /// Whether its duration is told.
    pub(super) fn is_timed(&self) -> bool {
        !self.seconds.is_empty()
    }

    /// Whether it is measured how long it was open.
    pub(super) fn is_measured(&self) -> bool {
        self.open_seconds.is_some()
    }

    /// It was open for this long.
    pub(super) fn was_open(&self, duration: Duration) {
        if let Some(seconds) = &self.open_seconds {
            seconds.observe(duration.as_secs_f64());
        }
    }

    /// It took this long. As in etcd, a command is a success once it was applied,
    /// whatever came of it, and what is refused at the door is not timed.
    pub(super) fn took(&self, duration: Duration, code: tonic::Code) {
        use tonic::Code::{
            Cancelled, DeadlineExceeded, Internal, InvalidArgument, Ok, Unauthenticated,
            Unavailable, Unknown,
        };
        let is_success = match code {
            Ok => true,
            InvalidArgument | Unauthenticated => return,
            Unavailable | DeadlineExceeded | Cancelled | Internal | Unknown => false,
            _ => !matches!(self.direct, Some(Direct::Range)),
        };
        for seconds in &self.seconds {
            seconds[usize::from(is_success)].observe(duration.as_secs_f64());
        }
    }
}

/// Something by its name.
type Named<T> = (&'static str, T);

/// All calls.
pub(super) struct Calls {
    services: Vec<Named<Vec<Named<Arc<Call>>>>>,
}

/// What a path leads to.
pub(super) enum Found<'a> {
    /// A call.
    Call(&'a Arc<Call>),
    /// No call of a service that exists.
    Service,
    /// Nothing at all.
    Nothing,
}

impl Calls {
    /// All calls, with counters that are registered here.
    pub(super) fn new(registry: &Registry, is_extensive: bool) -> Calls {
        let counts = Counts::new(registry, is_extensive);
        let call = |service, name, (method, kind): (&'static str, Kind)| {
            (method, Arc::new(counts.call(service, name, method, kind)))
        };
        let services = TABLE.iter().map(|(service, name, methods)| {
            (*name, methods.iter().map(|method| call(*service, name, *method)).collect())
        });
        Calls { services: services.collect() }
    }

    /// The call of a path.
    pub(super) fn find(&self, path: &str) -> Found<'_> {
        let Some((service, method)) = path.strip_prefix('/').and_then(|p| p.rsplit_once('/'))
        else {
            return Found::Nothing;
        };
        let Some((_, methods)) = self.services.iter().find(|(name, _)| *name == service) else {
            return Found::Nothing;
        };
        let call = methods.iter().find(|(name, _)| *name == method);
        call.map_or(Found::Service, |(_, call)| Found::Call(call))
    }

    /// The call of a path that stands in the table.
    pub(super) fn get(&self, path: &str) -> Arc<Call> {
        match self.find(path) {
            Found::Call(call) => Arc::clone(call),
            Found::Service | Found::Nothing => panic!("{path} is not in the table of calls"),
        }
    }
}

/// The families of counters.
struct Counts {
    started: IntCounterVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    handled: IntCounterVec,
    seconds: HistogramVec,
    range_seconds: HistogramVec,
    open_seconds: Option<HistogramVec>,
}

impl Counts {
    fn new(registry: &Registry, is_extensive: bool) -> Counts {
        const LABELS: &[&str] = &["grpc_type", "grpc_service", "grpc_method"];
        const WITH_CODE: &[&str] = &["grpc_type", "grpc_service", "grpc_method", "grpc_code"];
        let buckets =
            |first, steps| exponential_buckets(first, 2.0, steps).expect("the bounds rise");
        Counts {
            started: counters(registry, "grpc_server_started_total", "Calls begun.", LABELS),
            received: counters(
                registry,
                "grpc_server_msg_received_total",
                "Messages received in calls.",
                LABELS,
            ),
            sent: counters(
                registry,
                "grpc_server_msg_sent_total",
                "Messages sent in calls.",
                LABELS,
            ),
            handled: counters(
                registry,
                "grpc_server_handled_total",
                "Calls ended, with success or not.",
                WITH_CODE,
            ),
            seconds: histograms(
                registry,
                "etcd_server_request_duration_seconds",
                "How long requests took.",
                buckets(0.001, 14),
                &["type", "success"],
            ),
            range_seconds: histograms(
                registry,
                "etcd_server_range_duration_seconds",
                "How long ranges took.",
                buckets(0.0001, 20),
                &["success"],
            ),
            open_seconds: is_extensive.then(|| {
                let (name, help) = ("grpc_server_handling_seconds", "How long calls were open.");
                histograms(registry, name, help, DEFAULT_BUCKETS.to_vec(), LABELS)
            }),
        }
    }

    fn call(&self, service: Service, name: &str, method: &str, kind: Kind) -> Call {
        let grpc_type = match kind {
            Unary => "unary",
            ServerStream => "server_stream",
            BidiStream => "bidi_stream",
        };
        let labels = [grpc_type, name, method];
        let handled = CODES
            .iter()
            .map(|code| self.handled.with_label_values(&[grpc_type, name, method, code]));
        let mut seconds = Vec::new();
        if let Some((_, name)) = TIMED.iter().find(|(timed, _)| *timed == method) {
            let by = |success: &str| self.seconds.with_label_values(&[name, success]);
            seconds.push(["false", "true"].map(by));
        }
        if method == "Range" {
            let by = |success: &str| self.range_seconds.with_label_values(&[success]);
            seconds.push(["false", "true"].map(by));
        }
        Call {
            service,
            kind,
            direct: DIRECT.iter().find(|(name, _)| *name == method).map(|(_, direct)| *direct),
            started: self.started.with_label_values(&labels),
            received: self.received.with_label_values(&labels),
            sent: self.sent.with_label_values(&labels),
            handled: handled.collect(),
            seconds,
            open_seconds: self.open_seconds.as_ref().map(|all| all.with_label_values(&labels)),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn every_call_is_counted_from_zero_with_every_code() {
        let registry = Registry::new();
        let calls = Calls::new(&registry, false);
        calls.get("/etcdserverpb.Watch/Watch").ended(tonic::Code::Unavailable);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        let methods: usize = TABLE.iter().map(|(_, _, methods)| methods.len()).sum();
        assert_eq!(series("grpc_server_started_total{"), methods);
        assert_eq!(series("grpc_server_handled_total{"), methods * CODES.len());
        let watch = |code: &str| {
            let method = "grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\"";
            let labels = format!("grpc_code=\"{code}\",{method},grpc_type=\"bidi_stream\"");
            format!("grpc_server_handled_total{{{labels}}}")
        };
        assert!(text.contains(&(watch("Unavailable") + " 1")), "{text}");
        assert!(text.contains(&(watch("OK") + " 0")), "{text}");
    }

    #[test]
    fn a_command_that_was_applied_is_a_success() {
        use tonic::Code;
        let registry = Registry::new();
        let calls = Calls::new(&registry, false);
        let codes = [Code::Ok, Code::NotFound, Code::InvalidArgument, Code::Unavailable];
        for path in ["/etcdserverpb.Lease/LeaseRevoke", "/etcdserverpb.KV/Range"] {
            for code in codes {
                calls.get(path).took(Duration::from_millis(1), code);
            }
        }
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let count = |success: bool, kind: &str| {
            let name = "etcd_server_request_duration_seconds_count";
            let series = format!("{name}{{success=\"{success}\",type=\"{kind}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&series));
            line.unwrap().parse::<u64>().unwrap()
        };
        assert_eq!((count(true, "LeaseRevoke"), count(false, "LeaseRevoke")), (2, 1));
        assert_eq!((count(true, "Range"), count(false, "Range")), (1, 2));
    }

    #[test]
    fn a_path_leads_to_a_call_a_service_or_nothing() {
        let calls = Calls::new(&Registry::new(), false);
        let Found::Call(call) = calls.find("/etcdserverpb.KV/RangeStream") else {
            panic!("not found");
        };
        assert_eq!((call.service, call.kind), (Service::Kv, ServerStream));
        assert!(matches!(calls.find("/etcdserverpb.KV/Rang"), Found::Service));
        assert!(matches!(calls.find("/etcdserverpb.KV/"), Found::Service));
        let wrong = ["/etcdserverpb.K/Range", "/etcdserverpb.KV/Range/x", "", "/", "//", "/KV"];
        for path in wrong {
            assert!(matches!(calls.find(path), Found::Nothing), "{path}");
        }
    }
}
