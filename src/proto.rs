//! The messages of `proto/`, as prost generates them: etcd's under etcd's
//! package names, ours under `kat`.

#![allow(missing_docs, reason = "the .proto files carry the prose")]
#![allow(clippy::all, reason = "generated code")]
#![allow(
    clippy::allow_attributes_without_reason,
    clippy::wildcard_imports,
    clippy::too_many_lines,
    clippy::match_same_arms,
    clippy::needless_pass_by_value,
    clippy::str_to_string,
    clippy::large_futures,
    clippy::let_underscore_must_use,
    clippy::redundant_closure_for_method_calls,
    clippy::semicolon_if_nothing_returned,
    unused_qualifications,
    reason = "generated code"
)]

/// Keys and events.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Users, roles, rights.
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// etcd's public services.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// etcd's locks.
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// etcd's elections.
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// The standard health service.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// Our own formats.
pub mod kat {
    /// What a raft entry holds.
    pub mod log {
        tonic::include_proto!("kat.log");
    }
    /// What members say to one another.
    pub mod peer {
        tonic::include_proto!("kat.peer");
    }
}
