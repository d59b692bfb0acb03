//! [`Trace`]: what happened, one line per event.
//!
//! Two runs of a seed write the same lines, or something that is not in the
//! seed had a say.

use std::time::Duration;

/// The lines of a run; none if nobody wants to read them.
#[derive(Default)]
pub struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines.
    pub fn kept() -> Trace {
        Trace { lines: Some(Vec::new()) }
    }

    /// Notes an event.
    pub fn note(&mut self, now: Duration, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>6} {}", now.as_millis(), line()));
        }
    }

    /// What was noted.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
