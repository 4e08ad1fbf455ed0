//! What we promise a peer, and which local users may use the way to it.

use std::sync::Arc;

use super::rule::RuleRef;
use super::users::UserId;

/// The rates we keep to towards a peer; `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// Requests a second that we send.
    pub messages: Option<u32>,
    /// Distinct addresses that we watch there.
    pub watched: Option<u32>,
}

/// Contracts that have a name. The figures are ours: modest guesses of what such servers bear, for want of published figures, not what their makers promise.
pub const PRESETS: [(&str, Contract); 3] = [
    (
        "sametime",
        Contract {
            messages: Some(20),
            watched: Some(1_000),
        },
    ),
    (
        "unified-cm",
        Contract {
            messages: Some(50),
            watched: Some(5_000),
        },
    ),
    (
        "modest",
        Contract {
            messages: Some(5),
            watched: Some(200),
        },
    ),
];

/// The local users who may use the way to a peer.
#[derive(Clone, Debug, Default)]
pub struct Assigned {
    /// Patterns over `user@domain`, each with its place.
    pub patterns: Vec<(Arc<str>, RuleRef)>,
    /// One bit for each user of the configuration.
    users: Vec<u64>,
}

impl Assigned {
    /// Assigns a user.
    pub fn insert(&mut self, user: UserId) {
        let (word, bit) = (user.0 as usize / 64, user.0 % 64);
        if word >= self.users.len() {
            self.users.resize(word + 1, 0);
        }
        if let Some(word) = self.users.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// Whether a user is assigned.
    #[must_use]
    pub fn has(&self, user: UserId) -> bool {
        let word = self.users.get(user.0 as usize / 64).copied().unwrap_or(0);
        word >> (user.0 % 64) & 1 == 1
    }

    /// Whether an address of nobody in the configuration, as a front end vouches for it, fits a pattern. The user part is
    /// as on the wire.
    #[must_use]
    pub fn fits(&self, user: &[u8], host: &[u8]) -> bool {
        let plain: Vec<u8> = super::users::unescaped(user).collect();
        let (Ok(user), Ok(host)) = (
            core::str::from_utf8(&plain),
            core::str::from_utf8(super::names::trim(host)),
        ) else {
            return false;
        };
        let address = format!("{user}@{}", host.to_ascii_lowercase());
        self.patterns
            .iter()
            .any(|(pattern, _)| crate::config::load::fits(pattern, &address))
    }
}
