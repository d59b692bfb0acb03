//! The numbers that name things, one type each: two `u64` arguments in a row
//! are a bug waiting.

use std::fmt;

use sha1::{Digest as _, Sha1};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $form:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $form, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(", $form, ")"), self.0)
            }
        }
    };
}

id!(
    /// A member of the cluster, derived as etcd derives it; never zero.
    MemberId(u64), "{:x}");
id!(
    /// The cluster itself, derived as etcd derives it.
    ClusterId(u64), "{:x}");
id!(
    /// A lease. Any value but zero, negative ones included; zero is "none".
    LeaseId(i64), "{:x}");
id!(
    /// A place in the raft log. The first entry is 1.
    LogIndex(u64), "{}");
id!(
    /// A raft term.
    Term(u64), "{}");
id!(
    /// A revision of the keyspace: 1 when empty, one more for each change.
    Revision(i64), "{}");

impl MemberId {
    /// The id of a member, as etcd derives it: the beginning of the SHA-1 of its
    /// peer URLs, sorted and joined, and of `salt`, which is the cluster's token
    /// for those who found it and a time in seconds for those who come later.
    ///
    /// So whoever knows the configuration of a cluster knows its ids, before any
    /// member has started.
    pub fn derived(peer_urls: &[String], salt: &str) -> MemberId {
        let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        MemberId(head_of_sha1(format!("{}{salt}", sorted.concat()).as_bytes()))
    }
}

impl ClusterId {
    /// The id of the cluster that these members found, as etcd derives it.
    pub fn derived(members: &[MemberId]) -> ClusterId {
        let mut sorted = members.to_vec();
        sorted.sort_unstable();
        let bytes: Vec<u8> = sorted.iter().flat_map(|member| member.0.to_be_bytes()).collect();
        ClusterId(head_of_sha1(&bytes))
    }
}

fn head_of_sha1(bytes: &[u8]) -> u64 {
    let hash = Sha1::digest(bytes);
    let head = hash.first_chunk().expect("SHA-1 has twenty bytes");
    u64::from_be_bytes(*head)
}

/// Names one proposal for ever: the member that was asked, its boot, a count.
///
/// - Boots rise with every start of a member, so an entry that is replayed
///   after a restart never answers a new caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId {
    /// Who was asked, and so who answers.
    pub member: MemberId,
    /// Which run of that member.
    pub boot: u64,
    /// Counts from 1 within the boot.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_etcd_gives() {
        // What a stock etcd without any flag calls itself and its cluster.
        let member = MemberId::derived(&["http://localhost:2380".into()], "etcd-cluster");
        assert_eq!(member.to_string(), "8e9e05c52164694d");
        assert_eq!(ClusterId::derived(&[member]).to_string(), "cdf818194e3a8c32");
    }

    #[test]
    fn the_order_of_urls_and_members_does_not_matter() {
        let (a, b) = ("http://a:1".to_owned(), "http://b:1".to_owned());
        let one = MemberId::derived(&[a.clone(), b.clone()], "t");
        assert_eq!(one, MemberId::derived(&[b, a.clone()], "t"));
        assert_ne!(one, MemberId::derived(&[a], "t"));
        let two = MemberId(7);
        assert_eq!(ClusterId::derived(&[one, two]), ClusterId::derived(&[two, one]));
    }
}
