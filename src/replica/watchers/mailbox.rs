//! [`Mailbox`]: the notes that the hub leaves for one stream.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ids::Revision;
use crate::store::Changes;

/// Notes that wait for one stream, 256 KiB of them. A watcher whose note finds
/// no room reads history from that revision on.
const NOTES_MAX: usize = 8192;
/// Room that an empty mailbox keeps for the next notes.
const NOTES_KEPT: usize = 256;

/// A revision at which something happened that a watcher may want.
#[derive(Clone, Debug)]
pub(super) struct Note {
    /// The watcher's number in the hub.
    pub(super) number: u64,
    /// The revision.
    pub(super) revision: Revision,
    /// What happened, while the ring holds it. A note that never held anything
    /// says that all from this revision on is to be found in history.
    pub(super) changes: Weak<Changes>,
}

/// Filled by the hub, emptied by the stream.
///
/// - Notes lie in the order of their revisions.
/// - After a lost note no other follows for that watcher until the stream has
///   emptied the mailbox.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    notes: Mutex<Notes>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Notes {
    queue: VecDeque<Note>,
    lost: BTreeSet<u64>,
}

impl Mailbox {
    /// Leaves a note; whether the stream is to be woken.
    pub(super) fn post(&self, number: u64, changes: &Arc<Changes>) -> bool {
        let mut notes = self.notes.lock();
        if notes.queue.len() >= NOTES_MAX {
            return notes.lose(number, changes.revision);
        }
        if !notes.lost.is_empty() && notes.lost.contains(&number) {
            return false;
        }
        let revision = changes.revision;
        notes.queue.push_back(Note { number, revision, changes: Arc::downgrade(changes) });
        notes.queue.len() == 1
    }

    /// Sends a watcher to history; whether the stream is to be woken.
    pub(super) fn lose(&self, number: u64, from: Revision) -> bool {
        self.notes.lock().lose(number, from)
    }

    /// Takes all notes into an empty queue, and leaves that one in their place.
    pub(super) fn empty_into(&self, queue: &mut VecDeque<Note>) {
        queue.shrink_to(NOTES_KEPT);
        let mut notes = self.notes.lock();
        std::mem::swap(&mut notes.queue, queue);
        notes.lost.clear();
    }

    /// How many notes wait.
    pub(super) fn waiting(&self) -> u64 {
        self.notes.lock().queue.len() as u64
    }

    /// Wakes the stream.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Returns once the stream was woken, at once if it was since the last time.
    pub(super) async fn heard(&self) {
        self.bell.notified().await;
    }
}

impl Notes {
    fn lose(&mut self, number: u64, revision: Revision) -> bool {
        if !self.lost.insert(number) {
            return false;
        }
        self.queue.push_back(Note { number, revision, changes: Weak::new() });
        self.queue.len() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(revision: i64) -> Arc<Changes> {
        Arc::new(Changes { revision: Revision(revision), events: Vec::new() })
    }

    fn taken(mailbox: &Mailbox) -> Vec<(u64, i64, bool)> {
        let mut queue = VecDeque::new();
        mailbox.empty_into(&mut queue);
        let seen = |note: Note| (note.number, note.revision.0, note.changes.upgrade().is_some());
        queue.into_iter().map(seen).collect()
    }

    #[test]
    fn only_the_first_note_rings() {
        let (mailbox, changes) = (Mailbox::default(), changes(2));
        assert!(mailbox.post(1, &changes));
        assert!(!mailbox.post(2, &changes));
        assert_eq!(taken(&mailbox), [(1, 2, true), (2, 2, true)]);
        assert!(mailbox.post(1, &changes));
    }

    #[test]
    fn a_full_mailbox_remembers_who_must_read_history() {
        let mailbox = Mailbox::default();
        let first = changes(2);
        for _ in 0..NOTES_MAX {
            mailbox.post(1, &first);
        }
        for revision in 3..10 {
            assert!(!mailbox.post(7, &changes(revision)));
        }
        let notes = taken(&mailbox);
        assert_eq!(notes.len(), NOTES_MAX + 1);
        assert_eq!(notes[NOTES_MAX], (7, 3, false));
        let later = changes(11);
        assert!(mailbox.post(7, &later));
        assert_eq!(taken(&mailbox), [(7, 11, true)]);
    }

    #[test]
    fn nothing_follows_a_lost_note() {
        let (mailbox, later) = (Mailbox::default(), changes(9));
        assert!(mailbox.lose(1, Revision(5)));
        assert!(!mailbox.post(1, &later));
        assert!(!mailbox.post(2, &later));
        assert_eq!(taken(&mailbox), [(1, 5, false), (2, 9, true)]);
    }
}
