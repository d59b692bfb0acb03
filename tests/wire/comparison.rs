//! Stock etcd and ours, asked the same questions.
//!
//! A subject is a conversation with one server, written once. It is held with a
//! fresh stock etcd and a fresh server of ours, and every field of every answer
//! must be the same, an error's code and text included. Let go are only the
//! raft term, the raft index, sizes on disk and ids that a server drew by
//! chance; cluster and member ids follow from the flags, so they must agree.
//!
//! `KAT_TALK=1` prints what etcd said.
//!
//! A difference is printed as question, etcd's answer, our answer, with the
//! questions that led to it.

mod accounts;
mod accounts_edges;
mod accounts_http;
mod bytes;
mod chance;
mod commands;
mod compactions;
mod connections;
mod errors;
mod etcdctl;
mod etcdctl_accounts;
mod gateway;
mod leases;
mod maintenance;
mod members;
mod ranges;
mod recipes;
mod snapshots;
mod tokens;
mod txns;
mod watches;
mod wire;
mod words;
mod writes;

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::timeout;

use super::process::{Server, peer, until};
use wire::{Exchange, IN_VAIN, Wire};

/// How long one conversation may take.
const PATIENCE: Duration = Duration::from_secs(120);

const GLANCE_EVERY: Duration = Duration::from_millis(20);

/// Differences that are printed; more would only be their consequences.
const PRINTED_MAX: usize = 5;
/// Questions that are printed before the first difference.
const LED_TO_IT: usize = 6;

macro_rules! subjects {
    ($server:ident, $when:ident) => {
        subjects! { $server, $when:
            ranges::reading_one_key
            ranges::reading_a_range
            ranges::reading_the_past
            ranges::sorting_and_limiting
            ranges::filtering_by_revision
            ranges::streaming_a_range
            ranges::streaming_with_a_target
            ranges::streaming_past_a_compaction
            writes::putting
            writes::deleting
            writes::writing_too_much
            writes::writing_far_too_much
            txns::comparing_keys
            txns::comparing_the_unknown
            txns::comparing_ranges
            txns::running_a_branch
            txns::nesting
            txns::writing_a_key_twice
            txns::refusing_a_malformed_txn
            txns::reading_other_revisions
            compactions::compacting
            compactions::hashing
            compactions::starting_again_on_the_data
            compactions::compacting_at_zero
            compactions::crashing_after_a_compaction
            watches::creating_watchers
            watches::seeing_writes_live
            watches::seeing_a_key_change_twice_at_once
            watches::catching_up
            watches::asking_for_progress
            watches::watching_what_was_compacted
            watches::saying_nothing
            watches::falling_silent
            watches::fragmenting
            watches::catching_up_on_much
            leases::granting
            leases::attaching_keys
            leases::keeping_alive
            leases::expiring
            leases::outliving_a_crash
            maintenance::asking_for_status
            maintenance::raising_alarms
            maintenance::raising_alarms_that_nobody_knows
            maintenance::moving_leadership
            maintenance::taking_a_snapshot
            maintenance::downgrading
            maintenance::going_back_a_version
            maintenance::asking_over_http
            maintenance::calling_what_is_not_there
            maintenance::being_without_accounts
            accounts::writing_accounts_down
            accounts::granting_rights
            accounts::enforcing
            accounts::staying_within_ranges
            accounts::running_txns_as_somebody
            accounts::using_leases_as_somebody
            accounts::watching_as_somebody
            accounts::administering
            accounts::protecting_root
            accounts::being_out_of_date
            accounts::passing_on_a_token
            accounts::losing_tokens
            accounts_edges::reaching_past_a_permission
            accounts_edges::hiding_in_a_txn
            accounts_edges::holding_several_roles
            accounts_edges::knowing_odd_passwords
            accounts_edges::changing_whom_a_token_names
            accounts_http::writing_accounts_down_as_json
            accounts_http::showing_tokens_in_headers
            accounts_http::watching_lines_as_somebody
            members::refusing_changes
            members::writing_urls_in_other_ways
            errors::provoking_them_all
            members::changing_urls
            members::joining_a_learner
            members::losing_quorum
            members::asking_without_a_leader
            members::changing_in_alarm
            members::leaving_traces
            members::asking_as_somebody
            recipes::locking
            recipes::campaigning
            recipes::giving_up
            connections::being_called_anything
            connections::being_called_what_is_no_name
            connections::wanting_a_leader
            connections::packing_messages
            gateway::keeping_keys
            gateway::running_txns_as_json
            gateway::refusing_what_is_wrong
            gateway::finding_paths_and_methods
            gateway::granting_and_renewing
            gateway::watching_lines
            gateway::holding_locks_and_seats
            gateway::asking_the_member
            gateway::changing_members_and_versions
            etcdctl::getting
            etcdctl::getting_as_text
            etcdctl::putting_and_deleting
            etcdctl::running_txns
            etcdctl::leasing
            etcdctl::watching
            etcdctl::locking_and_electing
            etcdctl::asking_about_the_server
            etcdctl::asking_to_downgrade
            etcdctl::changing_members
            etcdctl::asking_for_less
            etcdctl::saving_a_snapshot
            etcdctl::checking_speed
            commands::mirroring
            snapshots::restoring_everything
            snapshots::restoring_accounts
            snapshots::saving_a_large_store_under_load
            snapshots::leaving_a_snapshot
        }
    };
    ($server:ident, $when:ident: $($module:ident::$subject:ident)*) => {
        $(
            #[test]
            fn $subject() {
                if super::$when() {
                    let pair = || (super::Server::etcd(), super::Server::$server());
                    super::compare(pair, &super::$module::$subject);
                }
            }
        )*
    };
}

mod kat_answers_as_etcd {
    use super::{
        Server, Wire, accounts, chance, commands, compare, etcdctl, etcdctl_accounts, maintenance,
        members, watches, writes,
    };

    subjects!(kat, always);

    #[test]
    fn random_sequences_make_no_difference() {
        chance::play(|| (Server::etcd_with(&chance::QUICK), Server::kat_with(&chance::QUICK)));
    }

    #[test]
    fn random_sequences_find_a_difference_and_what_makes_it() {
        chance::find(|| {
            let other = [&chance::QUICK[..], &["--max-txn-ops=1"]].concat();
            (Server::etcd_with(&chance::QUICK), Server::kat_with(&other))
        });
    }

    #[test]
    fn progress_is_told_as_often() {
        let often = ["--watch-progress-notify-interval=300ms"];
        compare(both(&often), &watches::hearing_progress);
    }

    #[test]
    fn limits_are_what_the_operator_sets() {
        let limits = ["--max-txn-ops=3", "--max-request-bytes=10000"];
        compare(both(&limits), &writes::meeting_other_limits);
    }

    #[test]
    fn a_quota_that_would_be_exceeded_raises_the_alarm() {
        let quota = ["--quota-backend-bytes=1048576"];
        compare(both(&quota), &maintenance::exceeding_the_quota);
    }

    #[test]
    fn etcdctl_makes_accounts() {
        compare(both(&chance::QUICK), &etcdctl_accounts::making_accounts);
    }

    #[test]
    fn etcdctl_runs_every_command_in_every_format() {
        compare(both(&chance::QUICK), &commands::running_them_all);
    }

    #[test]
    fn etcdctl_runs_every_command_in_every_format_as_root() {
        compare(both(&chance::QUICK), &commands::running_them_as_root);
    }

    #[test]
    fn etcdctl_runs_every_command_over_mutual_tls() {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be written");
        let flags = commands::mutual_tls(folder.path());
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let subject =
            async |wire: &mut Wire| commands::running_them_over_tls(wire, folder.path()).await;
        compare(both(&flags), &subject);
    }

    #[test]
    fn etcdctl_asks_as_somebody() {
        compare(both(&chance::QUICK), &etcdctl_accounts::asking_as_somebody);
    }

    #[test]
    fn a_token_lives_as_long_as_the_operator_wants() {
        let short = ["--auth-token-ttl=1", "--bcrypt-cost=4"];
        compare(both(&short), &accounts::outliving_a_token);
    }

    #[test]
    fn an_operator_may_answer_for_quorum() {
        let unchecked = ["--strict-reconfig-check=false", "--max-learners=2"];
        compare(both(&unchecked), &members::changing_without_checks);
    }

    #[test]
    fn etcdctl_asks_the_whole_cluster() {
        let own_url = ["--advertise-client-urls=CLIENT_URL"];
        compare(both(&own_url), &etcdctl::asking_the_whole_cluster);
    }

    #[test]
    fn checks_for_corruption_find_none() {
        let checks = [
            "--feature-gates=InitialCorruptCheck=true,CompactHashCheck=true",
            "--corrupt-check-time=1s",
            "--compact-hash-check-time=1s",
        ];
        compare(both(&checks), &maintenance::looking_for_corruption);
    }

    #[test]
    fn whoever_lost_all_others_goes_on_alone() {
        let unchecked = ["--strict-reconfig-check=false", "--max-learners=2"];
        compare(both(&unchecked), &members::going_on_alone);
    }

    fn both(arguments: &[&str]) -> impl Fn() -> (Server, Server) {
        || (Server::etcd_with(arguments), Server::kat_with(arguments))
    }
}

/// A script that etcd itself would fail now and then proves nothing.
mod etcd_answers_as_etcd {
    use super::{Server, chance, is_slow};

    #[test]
    fn random_sequences_make_no_difference() {
        if is_slow() {
            chance::play(|| (Server::etcd_with(&chance::QUICK), Server::etcd_with(&chance::QUICK)));
        }
    }

    subjects!(etcd, is_slow);
}

fn always() -> bool {
    true
}

/// Whether there is time for what need not run every time.
fn is_slow() -> bool {
    std::env::var_os("KAT_SLOW").is_some()
}

/// Talks with two servers at once.
fn talk(servers: (Server, Server), subject: impl AsyncFnOnce(&mut Wire, &mut Wire)) {
    let (stock, ours) = servers;
    alone(stock, async |stock: &mut Wire| subject(stock, &mut Wire::new(ours)).await);
}

/// Talks with one server.
fn alone(server: Server, subject: impl AsyncFnOnce(&mut Wire)) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let in_time = runtime.expect("threads can be started").block_on(async {
        let mut wire = Wire::new(server);
        timeout(PATIENCE, subject(&mut wire)).await.is_ok()
    });
    assert!(in_time, "the conversation did not end");
}

/// Holds one conversation with both servers at once, and compares.
fn compare(pair: impl Fn() -> (Server, Server), subject: &impl AsyncFn(&mut Wire)) {
    let (stock, ours) = pair();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let said = runtime.expect("threads can be started").block_on(async {
        let (mut stock, mut ours) = (Wire::new(stock), Wire::new(ours));
        let talks = async { tokio::join!(subject(&mut stock), subject(&mut ours)) };
        let in_time = timeout(PATIENCE, talks).await.is_ok();
        (stock.said, ours.said, in_time)
    });
    let (stock, ours, in_time) = said;
    if std::env::var_os("KAT_TALK").is_some() {
        tell(&stock);
    }
    let vain = stock.iter().find(|exchange| exchange.answered.contains(IN_VAIN));
    assert!(vain.is_none(), "the script waits for what etcd never says");
    if let Some(report) = differences(&stock, &ours) {
        panic!("{report}");
    }
    assert!(in_time, "the conversation did not end; last came {}", stock[stock.len() - 1].asked);
}

#[allow(clippy::print_stdout, reason = "somebody asks for it")]
fn tell(said: &[Exchange]) {
    for Exchange { asked, answered } in said {
        println!("Q {asked}\nA {answered}");
    }
}

/// Where two conversations differ, if they do.
fn differences(stock: &[Exchange], ours: &[Exchange]) -> Option<String> {
    let silent = Exchange { asked: "(nothing more)".into(), answered: "(nothing more)".into() };
    let mut report = String::new();
    let mut found = 0;
    for i in 0..stock.len().max(ours.len()) {
        let (theirs, mine) = (stock.get(i).unwrap_or(&silent), ours.get(i).unwrap_or(&silent));
        if theirs == mine {
            continue;
        }
        if found == 0 {
            for before in &stock[i.saturating_sub(LED_TO_IT).min(stock.len())..i.min(stock.len())] {
                report += &format!("before: {}\n", before.asked);
            }
        }
        found += 1;
        if found <= PRINTED_MAX {
            report += &format!("\nasked:  {}\n", theirs.asked);
            if theirs.asked != mine.asked {
                report += &format!("asked:  {} (ours)\n", mine.asked);
            }
            report += &format!("etcd:   {}\nours:   {}\n", theirs.answered, mine.answered);
        }
    }
    (found > 0).then(|| format!("{found} of {} answers differ\n{report}", stock.len()))
}
