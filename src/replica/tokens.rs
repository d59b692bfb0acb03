//! [`Tokens`]: who shows what, in the memory of this member.
//!
//! Every member applies every login, so a token is good everywhere; none
//! outlives the process. Being used keeps a token alive.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::store::TokenChange;

/// Tokens at a time. When there are as many, the half goes that was not used
/// for the longest: their users are told to log in again.
const TOKENS_MAX: usize = 1 << 16;

/// All tokens that were given out.
pub(super) struct Tokens(Mutex<BTreeMap<String, Token>>);

struct Token {
    user: String,
    used: Duration,
}

impl Tokens {
    /// None is known.
    pub(super) fn new() -> Tokens {
        Tokens(Mutex::default())
    }

    /// Takes what an entry did.
    pub(super) fn on_applied(&self, changes: Vec<TokenChange>, now: Duration) {
        let mut tokens = self.0.lock();
        for change in changes {
            match change {
                TokenChange::Assigned { token, user } => {
                    if tokens.len() >= TOKENS_MAX {
                        forget_half(&mut tokens);
                    }
                    tokens.insert(token, Token { user, used: now });
                }
                TokenChange::Dropped(user) => tokens.retain(|_, token| token.user != user),
                TokenChange::Cleared => tokens.clear(),
            }
        }
    }

    /// Whose a token is, if it was used within its time to live.
    pub(super) fn user(&self, token: &str, now: Duration, ttl: Duration) -> Option<String> {
        let mut tokens = self.0.lock();
        let found = tokens.get_mut(token)?;
        if now.saturating_sub(found.used) >= ttl {
            tokens.remove(token);
            return None;
        }
        found.used = now;
        Some(found.user.clone())
    }
}

fn forget_half(tokens: &mut BTreeMap<String, Token>) {
    let mut used: Vec<_> = tokens.values().map(|token| token.used).collect();
    used.sort_unstable();
    let median = used[used.len() / 2];
    let mut left = tokens.len() / 2;
    tokens.retain(|_, token| {
        let goes = token.used <= median && left > 0;
        left -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn assigned(token: &str, user: &str) -> TokenChange {
        TokenChange::Assigned { token: token.into(), user: user.into() }
    }

    #[test]
    fn being_used_keeps_a_token_alive() {
        let tokens = Tokens::new();
        tokens.on_applied(vec![assigned("a.1", "alice")], s(0));
        assert_eq!(tokens.user("a.1", s(299), TTL).as_deref(), Some("alice"));
        assert_eq!(tokens.user("a.1", s(598), TTL).as_deref(), Some("alice"));
        assert_eq!(tokens.user("a.1", s(898), TTL), None);
        assert_eq!(tokens.user("a.1", s(898), TTL), None);
    }

    #[test]
    fn a_user_loses_all_tokens_at_once() {
        let tokens = Tokens::new();
        let given =
            vec![assigned("a.1", "alice"), assigned("b.1", "bob"), assigned("c.2", "alice")];
        tokens.on_applied(given, s(0));
        tokens.on_applied(vec![TokenChange::Dropped("alice".into())], s(1));
        assert_eq!(tokens.user("a.1", s(1), TTL), None);
        assert_eq!(tokens.user("c.2", s(1), TTL), None);
        assert_eq!(tokens.user("b.1", s(1), TTL).as_deref(), Some("bob"));
        tokens.on_applied(vec![TokenChange::Cleared], s(2));
        assert_eq!(tokens.user("b.1", s(2), TTL), None);
    }

    #[test]
    fn when_there_are_too_many_those_go_that_nobody_uses() {
        let tokens = Tokens::new();
        for count in 0..TOKENS_MAX as u64 {
            tokens.on_applied(vec![assigned(&format!("t.{count}"), "u")], s(count));
        }
        let now = s(TOKENS_MAX as u64);
        let forever = Duration::MAX;
        assert!(tokens.user("t.0", now, forever).is_some());
        tokens.on_applied(vec![assigned("last", "u")], now);
        assert!(tokens.user("t.0", now, forever).is_some());
        assert!(tokens.user("t.1", now, forever).is_none());
        assert!(tokens.user("last", now, forever).is_some());
        assert_eq!(tokens.0.lock().len(), TOKENS_MAX / 2 + 1);
    }
}
