//! What numbers are called at a peer, there and back.

use std::sync::Arc;

use super::number::Number;
use super::rules::join;
use crate::policy::rule::RuleRef;

/// The address form of one peer: `strip` falls away in front of a number, `prefix` comes in its place, `host` behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerNumbers {
    /// What the numbers of the peer begin with here; empty: every number.
    pub strip: Arc<str>,
    /// What they begin with there.
    pub prefix: Arc<str>,
    /// The host of the address there; `None`: that of the address that was asked for.
    pub host: Option<Arc<str>>,
    /// Whether the address carries `;user=phone`.
    pub phone: bool,
    /// Whether our users are called by their number in From.
    pub from: bool,
    /// Where it is written.
    pub rule: RuleRef,
}

impl PeerNumbers {
    /// The number as the peer calls it. A number that the rule is not for keeps its name.
    #[must_use]
    pub fn to_peer(&self, number: &[u8]) -> Number {
        self.translated(number).unwrap_or_else(|| Number::from_slice(number))
    }

    fn translated(&self, number: &[u8]) -> Option<Number> {
        let rest = number.strip_prefix(self.strip.as_bytes()).filter(|r| !r.is_empty())?;
        // A `+` has its place in front only.
        let whole = rest.first() != Some(&b'+') || (self.prefix.is_empty() && self.strip.is_empty());
        join(&[self.prefix.as_bytes(), rest]).filter(|_| whole)
    }

    /// What a number of the peer is here, and by which rule; `None` when it is the same here.
    #[must_use]
    pub fn from_peer(&self, number: &[u8]) -> Option<(Number, &RuleRef)> {
        if number.first() == Some(&b'+') && !self.prefix.starts_with('+') {
            return None;
        }
        let rest = number.strip_prefix(self.prefix.as_bytes()).filter(|r| !r.is_empty())?;
        if rest.first() == Some(&b'+') {
            return None;
        }
        let made = join(&[self.strip.as_bytes(), rest])?;
        (made.as_slice() != number).then_some((made, &self.rule))
    }

    /// Whether the number comes back from the peer as the number it went out as.
    #[must_use]
    pub fn claims(&self, number: &[u8]) -> bool {
        let there = self.to_peer(number);
        self.from_peer(&there)
            .map_or(there.as_slice() == number, |(back, _)| back.as_slice() == number)
    }

    /// Whether the rule changes the number at all.
    #[must_use]
    pub fn covers(&self, number: &[u8]) -> bool {
        self.translated(number).is_some()
    }
}
