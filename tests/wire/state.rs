//! The contract of `StateStore`, checked against every store that should keep it.
//!
//! Each case gets a server of its own, and runs against all of them under the
//! same name. What only one of them can show stands apart.

mod accounts;
mod cable;
mod keys;
mod leadership;
mod unreachable;
mod watches;

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use kat::state::{EtcdStore, Options, WatchEvent, WatchStream};
use tokio::runtime::Builder;
use tokio::time::{interval, timeout};

use super::process::Server;

/// How long anything that a case waits for may take.
const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE_EVERY: Duration = Duration::from_millis(20);

macro_rules! cases {
    ($server:ident) => {
        cases! { $server:
            keys::what_was_put_is_read_back
            keys::a_put_detaches_the_lease
            keys::a_delete_tells_whether_the_key_existed
            keys::a_listing_holds_a_prefix_in_order
            keys::a_listing_reads_many_pages_at_one_revision
            keys::a_transaction_runs_one_branch
            keys::a_transaction_compares_versions
            keys::what_makes_no_sense_is_refused
            keys::a_key_that_is_not_text_is_named
            keys::a_closed_store_does_nothing
            keys::a_channel_in_memory_will_do
            watches::a_write_after_the_return_is_seen
            watches::a_trailing_slash_means_a_prefix
            watches::history_is_replayed_from_a_revision
            watches::a_compacted_start_ends_the_watch
            watches::a_watch_survives_a_restart
            watches::a_watch_survives_a_cut
            watches::a_compacted_resume_point_ends_the_watch
            watches::a_slow_reader_misses_nothing
            watches::closing_the_store_ends_the_watch
            leadership::the_only_candidate_leads
            leadership::the_next_candidate_takes_over
            leadership::a_lease_that_ends_ends_leadership
            leadership::a_deleted_key_ends_leadership
            leadership::a_store_that_goes_ends_leadership
            leadership::a_leader_that_is_cut_off_knows_first
            leadership::leadership_outlives_a_restart
            leadership::a_fence_stops_a_former_leader
            leadership::a_store_has_one_candidacy
            leadership::a_dropped_campaign_withdraws
            leadership::a_candidate_without_a_lease_starts_over
            leadership::closing_the_store_resigns
            leadership::a_stock_candidate_competes
            leadership::observers_see_every_leader
            accounts::rights_end_where_they_end
            accounts::who_is_not_known_is_told_so
            accounts::an_old_token_is_renewed
        }
    };
    ($server:ident: $($module:ident::$case:ident)*) => {
        $(
            #[test]
            fn $case() {
                super::run(async {
                    super::$module::$case(&mut super::Server::$server()).await;
                });
            }
        )*
    };
}

mod against_stock_etcd {
    cases!(etcd);
}

mod against_kat {
    cases!(kat);
}

/// Runs one case to its end.
fn run(case: impl Future<Output = ()>) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("threads can be started").block_on(case);
}

/// Connects as the agent does.
fn store(server: &Server) -> EtcdStore {
    store_at(&server.endpoint())
}

fn store_at(endpoint: &str) -> EtcdStore {
    let endpoints = [endpoint.to_owned()];
    EtcdStore::connect(&endpoints, Options::default()).expect("the endpoint is a URL")
}

/// Connects as anybody does.
async fn stranger(server: &Server) -> etcd_client::Client {
    etcd_client::Client::connect([server.endpoint()], None).await.expect("the server answers")
}

/// Looks again and again, while others go on, until there is something to see.
async fn until<T, F, Fut>(what: &str, look: F) -> T
where
    F: Fn() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let mut glances = interval(GLANCE_EVERY);
    let look = async {
        loop {
            glances.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    soon(what, look).await
}

/// Fails when something takes too long.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// The next event of a watch that must go on.
async fn next(watch: &mut WatchStream) -> WatchEvent {
    let event = soon("an event", watch.next()).await;
    event.expect("the watch goes on").expect("the watch is in order")
}
