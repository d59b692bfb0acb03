//! An etcd's life: ports, lock, member, ready, and an end like etcd's own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::timeout;

use super::ports::{self, FIXTURES, Traffic};
use super::settings::Settings;
use super::start::{LISTENER_FAILED, START_FAILED, tell_end, tell_notes, tell_start};
use super::value::as_go_says;
use crate::agent::errors::{Kind, Report, disk};
use crate::agent::lock::Lock;
use crate::agent::logs::FATAL;
use crate::agent::member::{self, Founding, Member};
use crate::agent::notify::notify;
use crate::agent::serve::Services;
use crate::agent::signals::{Second, Stop};
use crate::agent::state_file;

/// How long an end may take for the flush that shortens the next start; open
/// requests have had a second before, and starters kill what is not gone soon.
const FLUSH_WITHIN: Duration = Duration::from_millis(400);

/// How the process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Of this signal, as etcd dies of it.
    Signal(i32),
    /// In peace: it was removed from its cluster.
    Removed,
    /// With this code: the reason is the last line of the log.
    Failed(u8),
}

/// Serves until it is asked to stop.
pub async fn serve(settings: Settings) -> Ended {
    match live(&settings).await {
        Ok(ended) => ended,
        Err(report) => {
            let Report { what, why, fix, code, .. } = &report;
            let error = as_go_says(why.as_deref().unwrap_or(what));
            let (what, fix, code) = (what.as_str(), &**fix, *code);
            let text = if what == LISTENER_FAILED { LISTENER_FAILED } else { START_FAILED };
            tracing::error!(target: FATAL, error, what, fix, code, "{text}");
            Ended::Failed(report.exit)
        }
    }
}

async fn live(settings: &Settings) -> Result<Ended, Report> {
    tell_notes(settings);
    let stop = Stop::listen(Second::IsIgnored)?;
    let listeners = ports::take(settings).await?;
    let traffic = ports::traffic(&listeners);
    // Starters that hide every other line take this one for readiness.
    if let Some(warning) = &settings.token_warning {
        tracing::warn!("{warning}");
    }
    let taken = async {
        check_place(&settings.data_dir)?;
        make_place(&settings.data_dir)?;
        let lock = Lock::wait(&settings.data_dir).await?;
        Ok((lock, open(settings).await?))
    };
    let Some(taken) = stop.token.run_until_cancelled(taken).await else {
        return Ok(last_signal(&stop));
    };
    let (lock, member) = taken?;
    // Whoever has connected waits, and finds a member that knows its own name.
    let published = member.publish(&settings.name, &settings.advertise_clients);
    let mut is_removed = false;
    let outcome = match stop.token.run_until_cancelled(published).await {
        Some(Ok(())) => {
            maybe_defragment(settings, &member).await;
            let services = Services::start(&member, listeners, settings.history);
            tell_ready(settings, &member, &traffic);
            tokio::select! {
                () = stop.token.cancelled() => {}
                () = member.leave() => is_removed = true,
            }
            notify(&[NotifyState::Stopping]);
            tell_end(settings, "closing etcd server");
            services.stop().await;
            Ok(())
        }
        Some(failed) => failed,
        None => Ok(()),
    };
    if timeout(FLUSH_WITHIN, member.stop()).await.is_err() {
        tracing::info!("the log supplies at the next start what is not flushed yet");
    }
    tell_end(settings, "closed etcd server");
    drop(lock);
    outcome.map(|()| if is_removed { Ended::Removed } else { last_signal(&stop) })
}

/// Gives wasted space back before anybody is served, where that was asked for.
async fn maybe_defragment(settings: &Settings, member: &Member) {
    let threshold = settings.flags.number("bootstrap-defrag-threshold-megabytes") << 20;
    if threshold == 0 {
        return;
    }
    let sizes = member.replica().reader().sizes();
    if sizes.total - sizes.in_use >= threshold {
        return member.replica().defragment().await;
    }
    tracing::info!(
        "current-db-size-bytes" = sizes.total,
        "current-db-size-in-use-bytes" = sizes.in_use,
        "bootstrap-defrag-threshold-bytes" = threshold,
        "Skipping defragmentation"
    );
}

fn last_signal(stop: &Stop) -> Ended {
    Ended::Signal(stop.signal().unwrap_or(signal_hook::consts::SIGTERM))
}

/// A node of KAT is not served without its agent.
fn check_place(data_dir: &Path) -> Result<(), Report> {
    if !data_dir.join(state_file::FILE).exists() {
        return Ok(());
    }
    let what = format!("{} belongs to a node of kat", data_dir.display());
    Err(Kind::DROPIN_STORE.report(what, "kat-agent run").because("kat-state.json is there"))
}

/// Makes the data directory; one that others can enter draws a warning alone.
fn make_place(data_dir: &Path) -> Result<(), Report> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};

    let mut folder = fs::DirBuilder::new();
    let made = folder.recursive(true).mode(0o700).create(data_dir);
    made.map_err(|why| disk("create", data_dir, &why))?;
    let metadata = fs::metadata(data_dir).map_err(|why| disk("read", data_dir, &why))?;
    let (mode, dir) = (metadata.permissions().mode() & 0o7777, data_dir.display().to_string());
    if mode & 0o077 != 0 {
        let mode = format!("{mode:o}");
        tracing::warn!(dir, mode, "the data directory should have mode 0700");
    }
    let entries = fs::read_dir(data_dir).map_err(|why| disk("read", data_dir, &why))?;
    let ours = [member::MEMBER, member::FOUNDING, crate::agent::lock::FILE, FIXTURES, "lost+found"];
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !ours.contains(&name.as_str()) {
            tracing::warn!(dir, filename = name, "found invalid file under data directory");
        }
    }
    Ok(())
}

/// Opens the member, founding it if there is none.
async fn open(settings: &Settings) -> Result<Member, Report> {
    let is_there = member::exists(&settings.data_dir)?;
    if !is_there && !settings.is_new {
        // Nobody but this member is named, so there is nobody to ask.
        let why = "cannot fetch cluster info from peer urls: could not retrieve cluster \
                   information from the given URLs";
        let report = Kind::STORE.report("discovery failed", "--initial-cluster-state=new");
        return Err(Report { exit: 1, ..report.because(why) });
    }
    tell_start(settings, is_there);
    let settings = settings.clone();
    let work = move || {
        if !is_there {
            let Settings { advertise_peers, token, .. } = &settings;
            let founding = Founding { peer_urls: advertise_peers.clone(), token: token.clone() };
            member::make(&settings.data_dir, &founding)?;
        }
        Member::open(&settings.data_dir, &settings.replica, settings.api)
    };
    tokio::task::spawn_blocking(work).await.map_err(|why| {
        Kind::STORE.report("the store cannot be opened", "look at the log").because(why)
    })?
}

fn tell_ready(settings: &Settings, member: &Member, traffic: &[Traffic]) {
    let (id, name) = (member.id().to_string(), settings.name.as_str());
    let cluster = member.replica().identity().cluster.to_string();
    let urls = settings.advertise_clients.join(",");
    tracing::info!(
        "local-member-id" = id,
        "local-member-attributes" = format!("{{Name:{name} ClientURLs:[{urls}]}}"),
        "cluster-id" = cluster,
        "published local member to cluster through raft"
    );
    traffic.iter().for_each(Traffic::tell);
    notify(&[NotifyState::Ready]);
}
