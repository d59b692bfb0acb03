//! What was acknowledged is kept: at its revision, on every member, for ever or
//! until it is compacted away.

use kat::proto::etcdserverpb::RangeRequest;
use kat::store::{Reader, Rejection};

use super::linear::Value;

/// The changes that were acknowledged.
#[derive(Default)]
pub struct Kept(Vec<Change>);

struct Change {
    key: Vec<u8>,
    revision: i64,
    value: Option<Value>,
}

impl Kept {
    /// A client was told that `key` holds `value` since `revision`.
    pub fn on_change(&mut self, key: &[u8], revision: i64, value: Option<Value>) {
        self.0.push(Change { key: key.to_vec(), revision, value });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a member has all of them.
    pub fn check(&self, reader: &Reader) -> Result<(), String> {
        for Change { key, revision, value } in &self.0 {
            let request = RangeRequest {
                key: key.clone().into(),
                revision: *revision,
                ..RangeRequest::default()
            };
            let found = match reader.range(&request) {
                Ok(response) => response.kvs.into_iter().next(),
                Err(Rejection::Compacted { .. }) => continue,
                Err(why) => return Err(format!("reading at revision {revision}: {why}")),
            };
            let expected = value.map(|value| (value.to_string().into_bytes(), *revision));
            let found = found.map(|kv| (kv.value.to_vec(), kv.mod_revision));
            if found != expected {
                let key = String::from_utf8_lossy(key);
                return Err(format!("{key} was set to {expected:?}, now holds {found:?}"));
            }
        }
        Ok(())
    }
}
