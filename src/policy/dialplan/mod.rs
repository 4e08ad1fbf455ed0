//! The dial plan: what a number means here, what it is called at a peer, and which line of which file says so.
//!
//! A number that comes in is read in several ways, in this order: as the sending peer means it ([`PeerNumbers`]), as it
//! stands, normalised ([`Numbers`]), by an application dial rule ([`DialRule`]), and that normalised. The first reading
//! that is an alias of a user is that user; else the first that a route takes goes there ([`Dialplan::readings`]).
//!
//! Normalising is idempotent by construction: whatever a rule makes begins with `+`, and what begins with `+` is left
//! alone. What [`PeerNumbers::claims`] goes to the peer and comes back as the same number.
//!
//! Nothing here looks anything up, and nothing is believed about how long a number is: more than [`MOST_DIGITS`] is none.

mod checks;
mod number;
mod peer;
mod rules;

#[cfg(test)]
mod tests;

use smallvec::SmallVec;

pub use checks::{Doubt, doubts};
pub use number::{MOST_DIGITS, Number, Phone, plain, plain_with};
pub use peer::PeerNumbers;
pub use rules::{DialRule, Numbers, Prefix};

use super::rule::RuleRef;
use crate::sip::net::PeerId;

/// All of it. Without a file it says nothing: numbers mean what they say.
#[derive(Clone, Debug, Default)]
pub struct Dialplan {
    /// How numbers are brought into one form.
    pub numbers: Numbers,
    /// Application dial rules; the first that fits is taken.
    pub dial: Vec<DialRule>,
    /// What numbers are called at peers; the index is the [`PeerId`].
    pub peers: Vec<Option<PeerNumbers>>,
}

/// One way to read a number.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    /// The number so read.
    pub number: Number,
    /// The rule that made it; `None` for the number as it stands.
    pub rule: Option<&'a RuleRef>,
}

/// The readings of one number, the first ones counting more.
pub type Readings<'a> = SmallVec<[Reading<'a>; 4]>;

impl Dialplan {
    /// What numbers are called at a peer.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<&PeerNumbers> {
        self.peers.get(usize::from(id.0))?.as_ref()
    }

    /// Whether it says anything at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.dial.is_empty() && self.peers.iter().all(Option::is_none)
    }

    /// The number in the form that aliases are kept in, and the rule that made it so.
    #[must_use]
    pub fn normalise(&self, number: &[u8]) -> Reading<'_> {
        match self.numbers.apply(number) {
            Some((number, rule)) => Reading {
                number,
                rule: Some(rule),
            },
            None => Reading {
                number: SmallVec::from_slice(number.get(..MOST_DIGITS).unwrap_or(number)),
                rule: None,
            },
        }
    }

    /// What an application dial rule makes of a number.
    #[must_use]
    pub fn dial(&self, number: &[u8]) -> Option<Reading<'_>> {
        self.dial.iter().find_map(|rule| {
            Some(Reading {
                number: rule.apply(number)?,
                rule: Some(&rule.rule),
            })
        })
    }

    /// All readings of a number that has no separators any more, as `from` means it, each once.
    #[must_use]
    pub fn readings(&self, number: &[u8], from: Option<PeerId>) -> Readings<'_> {
        let mut out = Readings::new();
        if let Some((number, rule)) = from.and_then(|id| self.peer(id)).and_then(|p| p.from_peer(number)) {
            let rule = Some(rule);
            add(&mut out, Reading { number, rule });
        }
        let as_it_stands = Reading {
            number: SmallVec::from_slice(number.get(..MOST_DIGITS).unwrap_or(number)),
            rule: None,
        };
        add(&mut out, as_it_stands);
        let normal = self.normalise(number);
        let dialled = self.dial(number).or_else(|| self.dial(&normal.number));
        add(&mut out, normal);
        if let Some(dialled) = dialled {
            let again = self.normalise(&dialled.number);
            add(&mut out, dialled);
            add(&mut out, again);
        }
        out
    }
}

/// Each number once, as it was made first.
fn add<'a>(out: &mut Readings<'a>, reading: Reading<'a>) {
    if !reading.number.is_empty() && out.iter().all(|known| known.number != reading.number) {
        out.push(reading);
    }
}
