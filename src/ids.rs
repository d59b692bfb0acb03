//! The numbers that name things, one type each: two `u64` arguments in a row
//! are a bug waiting.

use std::fmt;

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
