//! The peer port of a member that is alone: it is taken, and says who is there.
//!
//! etcd answers `/version` and `/members` there, and so do we. Deliberately not
//! here: raft's messages; a lone member has nobody to talk to.

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::api::{Listener, serve_pages};
use crate::replica::Replica;

/// The version of etcd whose API this is.
pub const ETCD_VERSION: &str = "3.7.1";
/// The version that members agree to speak.
pub(super) const CLUSTER_VERSION: &str = "3.7.0";

/// Answers on the peer port until it is stopped.
pub(super) async fn serve(replica: Replica, listener: Listener, stop: CancellationToken) {
    const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];
    let members = replica.clone();
    let version = async move || (JSON, version(&replica));
    let members = async move || (JSON, list(&members));
    let pages = Router::new().route("/version", get(version)).route("/members", get(members));
    serve_pages(listener, pages, stop).await;
}

fn version(replica: &Replica) -> String {
    let cluster = replica.reader().cluster_version();
    let storage = cluster.clone().unwrap_or_else(|| "unknown".to_owned());
    let cluster = cluster.unwrap_or_else(|| "not_decided".to_owned());
    format!(r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{cluster}","storage":"{storage}"}}"#)
}

fn list(replica: &Replica) -> String {
    let members: Vec<_> = replica
        .reader()
        .members()
        .into_iter()
        .map(|member| {
            serde_json::json!({
                "id": member.id,
                "peerURLs": member.peer_ur_ls,
                "name": member.name,
                "clientURLs": member.client_ur_ls,
            })
        })
        .collect();
    serde_json::Value::Array(members).to_string()
}
