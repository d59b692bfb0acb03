//! Which path leads to which call.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, MessageDescriptor};

/// The messages and services of `proto/`, as the build wrote them.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Every path behind its prefix, with its service and method. `RangeStream` has none.
const TABLE: &[(&str, &str, &str)] = &[
    ("kv/range", "etcdserverpb.KV", "Range"),
    ("kv/put", "etcdserverpb.KV", "Put"),
    ("kv/deleterange", "etcdserverpb.KV", "DeleteRange"),
    ("kv/txn", "etcdserverpb.KV", "Txn"),
    ("kv/compaction", "etcdserverpb.KV", "Compact"),
    ("watch", "etcdserverpb.Watch", "Watch"),
    ("lease/grant", "etcdserverpb.Lease", "LeaseGrant"),
    ("lease/revoke", "etcdserverpb.Lease", "LeaseRevoke"),
    ("kv/lease/revoke", "etcdserverpb.Lease", "LeaseRevoke"),
    ("lease/keepalive", "etcdserverpb.Lease", "LeaseKeepAlive"),
    ("lease/timetolive", "etcdserverpb.Lease", "LeaseTimeToLive"),
    ("kv/lease/timetolive", "etcdserverpb.Lease", "LeaseTimeToLive"),
    ("lease/leases", "etcdserverpb.Lease", "LeaseLeases"),
    ("kv/lease/leases", "etcdserverpb.Lease", "LeaseLeases"),
    ("cluster/member/add", "etcdserverpb.Cluster", "MemberAdd"),
    ("cluster/member/remove", "etcdserverpb.Cluster", "MemberRemove"),
    ("cluster/member/update", "etcdserverpb.Cluster", "MemberUpdate"),
    ("cluster/member/list", "etcdserverpb.Cluster", "MemberList"),
    ("cluster/member/promote", "etcdserverpb.Cluster", "MemberPromote"),
    ("maintenance/alarm", "etcdserverpb.Maintenance", "Alarm"),
    ("maintenance/status", "etcdserverpb.Maintenance", "Status"),
    ("maintenance/defragment", "etcdserverpb.Maintenance", "Defragment"),
    ("maintenance/hash", "etcdserverpb.Maintenance", "Hash"),
    ("maintenance/hashkv", "etcdserverpb.Maintenance", "HashKV"),
    ("maintenance/snapshot", "etcdserverpb.Maintenance", "Snapshot"),
    ("maintenance/transfer-leadership", "etcdserverpb.Maintenance", "MoveLeader"),
    ("maintenance/downgrade", "etcdserverpb.Maintenance", "Downgrade"),
    ("auth/enable", "etcdserverpb.Auth", "AuthEnable"),
    ("auth/disable", "etcdserverpb.Auth", "AuthDisable"),
    ("auth/status", "etcdserverpb.Auth", "AuthStatus"),
    ("auth/authenticate", "etcdserverpb.Auth", "Authenticate"),
    ("auth/user/add", "etcdserverpb.Auth", "UserAdd"),
    ("auth/user/get", "etcdserverpb.Auth", "UserGet"),
    ("auth/user/list", "etcdserverpb.Auth", "UserList"),
    ("auth/user/delete", "etcdserverpb.Auth", "UserDelete"),
    ("auth/user/changepw", "etcdserverpb.Auth", "UserChangePassword"),
    ("auth/user/grant", "etcdserverpb.Auth", "UserGrantRole"),
    ("auth/user/revoke", "etcdserverpb.Auth", "UserRevokeRole"),
    ("auth/role/add", "etcdserverpb.Auth", "RoleAdd"),
    ("auth/role/get", "etcdserverpb.Auth", "RoleGet"),
    ("auth/role/list", "etcdserverpb.Auth", "RoleList"),
    ("auth/role/delete", "etcdserverpb.Auth", "RoleDelete"),
    ("auth/role/grant", "etcdserverpb.Auth", "RoleGrantPermission"),
    ("auth/role/revoke", "etcdserverpb.Auth", "RoleRevokePermission"),
    ("lock/lock", "v3lockpb.Lock", "Lock"),
    ("lock/unlock", "v3lockpb.Lock", "Unlock"),
    ("election/campaign", "v3electionpb.Election", "Campaign"),
    ("election/proclaim", "v3electionpb.Election", "Proclaim"),
    ("election/leader", "v3electionpb.Election", "Leader"),
    ("election/observe", "v3electionpb.Election", "Observe"),
    ("election/resign", "v3electionpb.Election", "Resign"),
];

/// The prefixes, of which the second is that of old clients.
const PREFIXES: [&str; 2] = ["/v3/", "/v3beta/"];

/// Where a path leads.
pub(super) struct Route {
    /// The path of the call in gRPC.
    pub(super) call: PathAndQuery,
    /// What the call takes.
    pub(super) input: MessageDescriptor,
    /// What it gives.
    pub(super) output: MessageDescriptor,
    /// Whether it takes any number of messages.
    pub(super) takes_stream: bool,
    /// Whether it gives any number of messages.
    pub(super) gives_stream: bool,
}

static ROUTES: LazyLock<BTreeMap<&str, Route>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("the build wrote the descriptors");
    let route = |service: &str, method: &str| {
        let service = pool.get_service_by_name(service).expect("the services are in proto/");
        let method = service.methods().find(|found| found.name() == method);
        let method = method.expect("the methods are in proto/");
        let call = format!("/{}/{}", service.full_name(), method.name());
        Route {
            call: call.parse().expect("names of calls are good paths"),
            input: method.input(),
            output: method.output(),
            takes_stream: method.is_client_streaming(),
            gives_stream: method.is_server_streaming(),
        }
    };
    TABLE.iter().map(|(path, service, method)| (*path, route(service, method))).collect()
});

/// The route of a path, if it has one.
pub(super) fn find(path: &str) -> Option<&'static Route> {
    let rest = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix))?;
    ROUTES.get(rest)
}

/// Every path with its route.
#[cfg(any(test, fuzzing))]
pub(super) fn all() -> impl Iterator<Item = (String, &'static Route)> {
    ROUTES.iter().map(|(path, route)| (format!("/v3/{path}"), route))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_that_etcd_maps_has_a_path() {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let mut unmapped = Vec::new();
        let etcd = ["etcdserverpb", "v3lockpb", "v3electionpb"];
        for service in pool.services().filter(|service| etcd.contains(&service.package_name())) {
            for method in service.methods() {
                let call = format!("/{}/{}", service.full_name(), method.name());
                if !ROUTES.values().any(|route| route.call.as_str() == call) {
                    unmapped.push(call);
                }
            }
        }
        assert_eq!(unmapped, ["/etcdserverpb.KV/RangeStream"]);
        assert_eq!(ROUTES.len(), TABLE.len());
    }

    #[test]
    fn a_path_is_found_under_both_prefixes_and_no_other() {
        for path in ["/v3/kv/range", "/v3beta/kv/range"] {
            let route = find(path).unwrap();
            assert_eq!(route.call.as_str(), "/etcdserverpb.KV/Range");
            assert!(!route.takes_stream && !route.gives_stream);
        }
        let watch = find("/v3/watch").unwrap();
        assert!(watch.takes_stream && watch.gives_stream);
        for path in ["/v3alpha/kv/range", "/v3/kv/range/", "/v3/", "/v3", "/v3/v3/kv/range", ""] {
            assert!(find(path).is_none(), "{path}");
        }
    }
}
