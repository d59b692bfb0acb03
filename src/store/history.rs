//! Events again, long after they happened: read from the rows of `revisions`.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::body;
use super::hash::parse;
use super::rejection::Rejection;
use super::schema::{REVISIONS, Version, revision_start};
use super::view::{Shared, View};
use super::watch::{Changes, Event, History, KeyRange, Previous};
use crate::ids::Revision;
use crate::proto::mvccpb::KeyValue;

/// Rows looked at in one call, up to the end of a revision.
const ROWS_MAX: usize = 4096;
/// Versions of a single key looked at in one call, likewise.
const VERSIONS_MAX: usize = 512;

/// A history in the making.
///
/// - It ends only between revisions.
struct Piece {
    changes: Vec<Changes>,
    bytes: usize,
    bytes_max: usize,
    rows: usize,
    rows_max: usize,
    last: i64,
}

impl Piece {
    fn new(bytes_max: usize, rows_max: usize) -> Piece {
        Piece { changes: Vec::new(), bytes: 0, bytes_max, rows: 0, rows_max, last: 0 }
    }

    /// Whether there is room for a row of this revision.
    fn takes(&mut self, version: Version) -> bool {
        let is_full = self.rows >= self.rows_max || self.bytes >= self.bytes_max;
        if is_full && version.main != self.last {
            return false;
        }
        self.last = version.main;
        self.rows += 1;
        true
    }

    fn push(&mut self, version: Version, row: Bytes) {
        self.bytes += row.len();
        let mut kv = body::decode(row);
        let is_creation = !version.deleted && kv.create_revision == kv.mod_revision;
        let previous = if is_creation { Previous::None } else { Previous::Unknown };
        if version.deleted {
            kv.mod_revision = version.main;
        }
        let event = Event { deleted: version.deleted, kv, previous };
        match self.changes.last_mut() {
            Some(last) if last.revision.0 == version.main => last.events.push(event),
            _ => {
                let revision = Revision(version.main);
                self.changes.push(Changes { revision, events: vec![event] });
            }
        }
    }

    fn end(self, next: i64) -> History {
        History { changes: self.changes, next: Revision(next) }
    }
}

/// Events of a range from a revision on.
pub(super) fn history(
    shared: &Arc<Shared>,
    range: &KeyRange,
    from: Revision,
    bytes_max: usize,
) -> Result<History, Rejection> {
    let Some(view) = view_from(shared, from.0)? else {
        return Ok(Piece::new(0, 0).end(from.0));
    };
    match range.single() {
        Some(key) => Ok(of_key(shared, &view, key, from.0, bytes_max)),
        None => Ok(of_range(shared, &view, range, from.0, bytes_max)),
    }
}

/// A view that keeps everything from a revision on; `None` if nothing has
/// happened there yet.
fn view_from(shared: &Arc<Shared>, from: i64) -> Result<Option<View>, Rejection> {
    let state = shared.state.read();
    let published = state.published;
    if from < published.compacted {
        return Err(Rejection::Compacted { oldest: published.compacted });
    }
    Ok((from <= published.revision).then(|| shared.pin(published, from)))
}

fn of_range(
    shared: &Shared,
    view: &View,
    range: &KeyRange,
    from: i64,
    bytes_max: usize,
) -> History {
    let mut piece = Piece::new(bytes_max, ROWS_MAX);
    let newest = view.published.revision;
    let (start, end) = (revision_start(from), revision_start(newest + 1));
    let mut next = newest + 1;
    shared.engine.scan(REVISIONS, &start, Some(&end), &mut |key, row| {
        let (version, body) = parse(key, row);
        if !piece.takes(version) {
            next = version.main;
            return ControlFlow::Break(());
        }
        if range.holds(body.key) {
            piece.push(version, Bytes::copy_from_slice(row));
        }
        ControlFlow::Continue(())
    });
    piece.end(next)
}

/// The index knows where the versions of a key are: the rows between are none
/// of its history.
fn of_key(shared: &Shared, view: &View, key: &[u8], from: i64, bytes_max: usize) -> History {
    let newest = view.published.revision;
    let mut next = newest + 1;
    let mut versions = Vec::new();
    let mut bound = Piece::new(usize::MAX, VERSIONS_MAX);
    let state = shared.state.read();
    for version in state.keyspace.get(key).into_iter().flat_map(|index| index.since(from)) {
        if version.main > newest {
            break;
        }
        if !bound.takes(version) {
            next = version.main;
            break;
        }
        versions.push(version);
    }
    drop(state);
    let mut piece = Piece::new(bytes_max, VERSIONS_MAX);
    for version in versions {
        if !piece.takes(version) {
            return piece.end(version.main);
        }
        let row = shared.engine.get(REVISIONS, &version.key());
        piece.push(version, row.unwrap_or_else(|| panic!("the row of {version:?} is gone")));
    }
    piece.end(next)
}

/// What a key held before a revision.
pub(super) fn before(shared: &Arc<Shared>, key: &[u8], revision: Revision) -> Option<KeyValue> {
    let view = shared.view(Some(revision.0 - 1).filter(|at| *at > 0)?).ok()?;
    view.source().get(key)
}
