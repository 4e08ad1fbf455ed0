//! Normalisation, and application dial rules: how many digits, what they begin with, what goes and what comes.

use std::sync::Arc;

use super::number::{MOST_DIGITS, Number};
use crate::policy::rule::RuleRef;

/// How numbers are brought into one form. Whatever a rule makes begins with `+`; what begins with `+` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Characters that count for nothing besides those of RFC 3966.
    pub separators: Arc<str>,
    /// Prefix rules; the first that fits is taken.
    pub rules: Vec<Prefix>,
    /// Lengths of internal numbers, which stay as they are.
    pub extensions: Vec<u8>,
    /// The country code without `+`, where it is written.
    pub country: Option<(Arc<str>, RuleRef)>,
    /// Lengths of national numbers: the country code completes them.
    pub national: Vec<u8>,
    /// The area code, where it is written.
    pub area: Option<(Arc<str>, RuleRef)>,
    /// Lengths of local numbers: country and area code complete them.
    pub local: Vec<u8>,
}

/// One prefix rule: such a number loses digits in front and gains others.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// How many digits it has; `None`: any number.
    pub digits: Option<u8>,
    /// What it begins with; empty: anything.
    pub begins: Arc<str>,
    /// How many digits fall away in front.
    pub remove: u8,
    /// What is put in front; begins with `+`.
    pub add: Arc<str>,
    /// Where it is written.
    pub rule: RuleRef,
}

/// One application dial rule.
#[derive(Clone, Debug)]
pub struct DialRule {
    /// How many digits the number has, `+` not counted; `None`: any number.
    pub digits: Option<u8>,
    /// What it begins with: digits, or `+` and digits for numbers in full form only. Empty: anything.
    pub begins: Arc<str>,
    /// How many digits fall away in front, a `+` with the first of them.
    pub remove: u8,
    /// What is put in front.
    pub add: Arc<str>,
    /// Where it is written.
    pub rule: RuleRef,
}

impl Numbers {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.country.is_none() && self.separators.is_empty()
    }

    /// The full form of a number and the rule that makes it; `None` when the number stays as it is.
    #[must_use]
    pub fn apply(&self, number: &[u8]) -> Option<(Number, &RuleRef)> {
        if number.is_empty() || number.first() == Some(&b'+') || number.len() > MOST_DIGITS {
            return None;
        }
        if let Some(rule) = self.rules.iter().find(|rule| rule.fits(number)) {
            let left = number.get(usize::from(rule.remove)..).filter(|left| !left.is_empty())?;
            return Some((join(&[rule.add.as_bytes(), left])?, &rule.rule));
        }
        let dialled = number.iter().all(u8::is_ascii_digit);
        let length = u8::try_from(number.len()).ok().filter(|_| dialled)?;
        if self.extensions.contains(&length) {
            return None;
        }
        let (country, by_country) = self.country.as_ref()?;
        if self.national.contains(&length) {
            return Some((join(&[b"+", country.as_bytes(), number])?, by_country));
        }
        let (area, by_area) = self.area.as_ref()?;
        if self.local.contains(&length) {
            return Some((join(&[b"+", country.as_bytes(), area.as_bytes(), number])?, by_area));
        }
        None
    }
}

impl Prefix {
    /// Whether a number without `+` is one that the rule is for.
    #[must_use]
    pub fn fits(&self, number: &[u8]) -> bool {
        self.digits.is_none_or(|n| usize::from(n) == number.len()) && number.starts_with(self.begins.as_bytes())
    }
}

impl DialRule {
    /// What the rule makes of a number; `None` when it is not for it, or nothing would be left.
    #[must_use]
    pub fn apply(&self, number: &[u8]) -> Option<Number> {
        let digits = number.strip_prefix(b"+").unwrap_or(number);
        let begins = self.begins.as_bytes();
        let fits = if begins.first() == Some(&b'+') {
            number.starts_with(begins)
        } else {
            digits.starts_with(begins)
        };
        if !fits || self.digits.is_some_and(|n| usize::from(n) != digits.len()) {
            return None;
        }
        let left = match self.remove {
            0 if self.add.is_empty() => number,
            n => digits.get(usize::from(n)..)?,
        };
        join(&[self.add.as_bytes(), left]).filter(|made| !made.is_empty() && made.as_slice() != b"+")
    }
}

/// Pieces as one number; `None` when it is longer than a number may be.
pub(super) fn join(pieces: &[&[u8]]) -> Option<Number> {
    let mut out = Number::new();
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    (out.len() <= MOST_DIGITS).then_some(out)
}
