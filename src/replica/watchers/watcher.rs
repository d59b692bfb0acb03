//! [`Watcher`]: one watcher of a stream, and what it is told.

use prost::Message;

use super::batch::Batch;
use super::index::Kinds;
use crate::ids::Revision;
use crate::proto::etcdserverpb::watch_create_request::FilterType;
use crate::proto::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchResponse};
use crate::proto::mvccpb;
use crate::store::{Changes, Event, KeyRange, Previous, Reader};

/// The id in responses that concern no watcher, or all of a stream.
pub(super) const NO_ID: i64 = -1;

/// Where a watcher hears of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has a seat in the index, and everything before was delivered.
    Synced,
    /// It has none, and reads history.
    Behind,
    /// Its next revision was compacted: it hears nothing, and keeps its id
    /// until the client cancels it.
    Compacted,
}

/// One watcher of a stream.
///
/// - Everything below `next` that it wants was said, or lies in its batch; nothing
///   from there on.
#[derive(Debug)]
pub(super) struct Watcher {
    /// Its name on the stream.
    pub(super) id: i64,
    /// What it watches.
    pub(super) range: KeyRange,
    /// Which events it wants.
    pub(super) wants: Kinds,
    /// The first revision that it asked for; 0 is what came after its creation.
    pub(super) start: Revision,
    /// The first revision of which it has not heard.
    pub(super) next: Revision,
    /// Where it hears of things.
    pub(super) state: State,
    /// Whether large responses may be split.
    pub(super) fragment: bool,
    /// Whether it is told of progress now and then.
    pub(super) notify: bool,
    /// Whether no event went out since the last round of progress.
    pub(super) quiet: bool,
    /// What was read of history, and not said yet; it ends below `next`.
    pub(super) batch: Batch,
    prev_kv: bool,
}

impl Watcher {
    /// What a client asked for, behind until it is seated.
    pub(super) fn new(id: i64, range: KeyRange, request: &WatchCreateRequest) -> Watcher {
        Watcher {
            id,
            range,
            wants: kinds(&request.filters),
            start: Revision(request.start_revision),
            next: Revision(request.start_revision),
            state: State::Behind,
            fragment: request.fragment,
            notify: request.progress_notify,
            quiet: true,
            batch: Batch::default(),
            prev_kv: request.prev_kv,
        }
    }

    /// Whether everything that it wants up to this revision was said, so that it
    /// may be told so.
    pub(super) fn is_synced_at(&self, revision: Revision) -> bool {
        self.state == State::Synced && self.start <= revision
    }

    /// A response of this watcher without events.
    pub(super) fn response(&self, revision: Revision) -> WatchResponse {
        response(self.id, revision)
    }

    /// Adds the events of one revision that this watcher wants.
    pub(super) fn collect(&self, changes: &Changes, reader: &Reader, out: &mut Vec<mvccpb::Event>) {
        for event in &changes.events {
            if self.wants.holds(event.deleted) && self.range.holds(&event.kv.key) {
                out.push(self.event(event, changes.revision, reader));
            }
        }
    }

    fn event(&self, event: &Event, revision: Revision, reader: &Reader) -> mvccpb::Event {
        let kind = match event.deleted {
            true => mvccpb::event::EventType::Delete,
            false => mvccpb::event::EventType::Put,
        };
        let prev_kv = if self.prev_kv { previous(event, revision, reader) } else { None };
        mvccpb::Event { r#type: kind as i32, kv: Some(event.kv.clone()), prev_kv }
    }
}

/// A response without events.
pub(super) fn response(id: i64, revision: Revision) -> WatchResponse {
    let header = ResponseHeader { revision: revision.0, ..ResponseHeader::default() };
    WatchResponse { header: Some(header), watch_id: id, ..WatchResponse::default() }
}

fn previous(event: &Event, revision: Revision, reader: &Reader) -> Option<mvccpb::KeyValue> {
    match &event.previous {
        Previous::None => None,
        Previous::Known(bytes) => {
            let kv = mvccpb::KeyValue::decode(bytes.clone());
            Some(kv.expect("the store encoded this"))
        }
        Previous::Unknown => reader.before(&event.kv.key, revision),
    }
}

/// Which kinds of events etcd's filters leave; those unknown filter nothing.
fn kinds(filters: &[i32]) -> Kinds {
    let has = |filter: FilterType| filters.contains(&(filter as i32));
    Kinds { puts: !has(FilterType::Noput), deletes: !has(FilterType::Nodelete) }
}
