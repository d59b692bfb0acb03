//! [`Queue`]: from one thread to another that takes everything at once.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Things in order, for one receiver. The receiver's file bounds it.
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
}

struct Waiting<T> {
    things: Vec<T>,
    is_nudged: bool,
    has_ended: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Queue<T> {
        let waiting = Waiting { things: Vec::new(), is_nudged: false, has_ended: false };
        Queue { waiting: Mutex::new(waiting), arrived: Condvar::new() }
    }

    /// Adds things at the end, and wakes the receiver.
    pub(super) fn push(&self, things: Vec<T>) {
        if !things.is_empty() {
            self.add(things);
            self.arrived.notify_one();
        }
    }

    /// Adds things at the end; whoever adds them sees to it that they are taken.
    pub(super) fn add(&self, mut things: Vec<T>) {
        let mut waiting = self.waiting.lock();
        if waiting.things.is_empty() {
            waiting.things = things;
        } else {
            waiting.things.append(&mut things);
        }
    }

    /// Wakes the receiver though there is nothing to take.
    pub(super) fn nudge(&self) {
        self.waiting.lock().is_nudged = true;
        self.arrived.notify_one();
    }

    /// Nothing comes any more.
    pub(super) fn end(&self) {
        self.waiting.lock().has_ended = true;
        self.arrived.notify_one();
    }

    /// Waits for things, a nudge, or the end of `patience`; false when everything
    /// was taken and nothing comes any more.
    pub(super) fn wait(&self, patience: Option<Duration>) -> bool {
        let mut waiting = self.waiting.lock();
        let is_quiet = |waiting: &mut Waiting<T>| {
            waiting.things.is_empty() && !waiting.is_nudged && !waiting.has_ended
        };
        match patience {
            Some(patience) if is_quiet(&mut waiting) => {
                let _ = self.arrived.wait_for(&mut waiting, patience);
            }
            Some(_) => {}
            None => self.arrived.wait_while(&mut waiting, is_quiet),
        }
        waiting.is_nudged = false;
        !(waiting.things.is_empty() && waiting.has_ended)
    }

    /// Takes what there is.
    pub(super) fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.waiting.lock().things)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_is_taken_at_once_and_before_the_end() {
        let queue = Queue::new();
        queue.push(vec![1, 2]);
        queue.push(vec![3]);
        queue.end();
        assert!(queue.wait(None));
        assert_eq!(queue.take(), [1, 2, 3]);
        assert!(!queue.wait(None));
    }

    #[test]
    fn a_nudge_wakes_once() {
        let queue = Queue::<u8>::new();
        queue.nudge();
        assert!(queue.wait(None));
        assert!(!queue.waiting.lock().is_nudged);
        assert!(queue.wait(Some(Duration::from_millis(1))), "it waited in vain, not to the end");
        assert_eq!(queue.take(), [0_u8; 0]);
    }
}
