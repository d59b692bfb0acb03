//! Names for members and clusters, derived as etcd derives them.
//!
//! A member's id is the beginning of the SHA-1 of its peer URLs, sorted and
//! joined, and of the cluster's token; a cluster's id that of the ids of the
//! members that founded it. So whoever knows the configuration of a cluster
//! knows its ids, before any member has started.

use sha1::{Digest as _, Sha1};

use crate::ids::{ClusterId, MemberId};

/// Returns the id of a member that founds a cluster.
pub(super) fn member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    MemberId(head_of_sha1(format!("{}{token}", sorted.concat()).as_bytes()))
}

/// Returns the id of the cluster that these members found.
pub(super) fn cluster_id(members: &[MemberId]) -> ClusterId {
    let mut sorted = members.to_vec();
    sorted.sort_unstable();
    let bytes: Vec<u8> = sorted.iter().flat_map(|member| member.0.to_be_bytes()).collect();
    ClusterId(head_of_sha1(&bytes))
}

fn head_of_sha1(bytes: &[u8]) -> u64 {
    let hash = Sha1::digest(bytes);
    let head = hash.first_chunk().expect("SHA-1 has twenty bytes");
    u64::from_be_bytes(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_etcd_gives() {
        // What a stock etcd without any flag calls itself and its cluster.
        let member = member_id(&["http://localhost:2380".into()], "etcd-cluster");
        assert_eq!(member.to_string(), "8e9e05c52164694d");
        assert_eq!(cluster_id(&[member]).to_string(), "cdf818194e3a8c32");
    }

    #[test]
    fn the_order_of_urls_and_members_does_not_matter() {
        let (a, b) = ("http://a:1".to_owned(), "http://b:1".to_owned());
        let one = member_id(&[a.clone(), b.clone()], "t");
        assert_eq!(one, member_id(&[b, a.clone()], "t"));
        assert_ne!(one, member_id(&[a], "t"));
        let two = MemberId(7);
        assert_eq!(cluster_id(&[one, two]), cluster_id(&[two, one]));
    }
}
