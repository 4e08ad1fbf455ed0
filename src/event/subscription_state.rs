//! Subscription-State (RFC 6665 sections 4.1.3 and 8.2.3).

use core::fmt;

use crate::sip::field::{Params, number, trim};
use crate::sip::header::Name;
use crate::sip::message::Malformed;

/// Why a subscription has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Subscribe again at once.
    Deactivated,
    /// Subscribe again later.
    Probation,
    /// Do not subscribe again.
    Rejected,
    /// It was not refreshed; subscribe again at once if still wanted.
    Timeout,
    /// Nobody authorised it in time; subscribe again at once if still wanted.
    Giveup,
    /// The resource is gone; do not subscribe again.
    NoResource,
    /// The state will never change; do not subscribe again.
    Invariant,
}

/// What a subscriber does about a terminated subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// At once.
    Now,
    /// After so many seconds, or when it sees fit.
    Later(Option<u32>),
    /// Not by itself.
    Never,
}

const REASONS: [(&str, Reason); 7] = [
    ("deactivated", Reason::Deactivated),
    ("probation", Reason::Probation),
    ("rejected", Reason::Rejected),
    ("timeout", Reason::Timeout),
    ("giveup", Reason::Giveup),
    ("noresource", Reason::NoResource),
    ("invariant", Reason::Invariant),
];

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REASONS.iter().find(|(_, r)| r == self).map_or("", |(n, _)| n))
    }
}

/// The header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Authorised; seconds left if they are told.
    Active(Option<u32>),
    /// Not yet authorised; seconds left if they are told.
    Pending(Option<u32>),
    /// Over.
    Terminated {
        /// Why; absent or unknown is `None`.
        reason: Option<Reason>,
        /// Seconds to wait, if told.
        retry_after: Option<u32>,
    },
}

impl SubscriptionState {
    /// Reads the value; an unknown state counts as active, as the RFC says of unknown extensions.
    ///
    /// # Errors
    /// 400 when there is no state at all.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let (state, params) = (trim(&value[..end]), Params::new(&value[end..]));
        let seconds = |name: &[u8]| {
            params
                .get(name)
                .and_then(number)
                .map(|n| u32::try_from(n).unwrap_or(u32::MAX))
        };
        if state.is_empty() {
            return Err(Malformed::header(Name::SubscriptionState, "it names no state"));
        }
        Ok(if state.eq_ignore_ascii_case(b"terminated") {
            let reason = params.get(b"reason").and_then(|r| {
                REASONS
                    .iter()
                    .find(|(n, _)| r.eq_ignore_ascii_case(n.as_bytes()))
                    .map(|(_, reason)| *reason)
            });
            Self::Terminated {
                reason,
                retry_after: seconds(b"retry-after"),
            }
        } else if state.eq_ignore_ascii_case(b"pending") {
            Self::Pending(seconds(b"expires"))
        } else {
            Self::Active(seconds(b"expires"))
        })
    }

    /// What a subscriber does about it (RFC 6665 section 4.1.3); `None` while it lives.
    #[must_use]
    pub fn again(self) -> Option<Again> {
        let Self::Terminated { reason, retry_after } = self else {
            return None;
        };
        Some(match (reason, retry_after) {
            (Some(Reason::Rejected | Reason::NoResource | Reason::Invariant), _) => Again::Never,
            (Some(Reason::Deactivated | Reason::Timeout), _) => Again::Now,
            (Some(Reason::Probation), seconds) => Again::Later(seconds),
            (Some(Reason::Giveup) | None, Some(seconds)) => Again::Later(Some(seconds)),
            (Some(Reason::Giveup) | None, None) => Again::Now,
        })
    }
}

impl fmt::Display for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, expires) = match self {
            Self::Active(expires) => ("active", expires),
            Self::Pending(expires) => ("pending", expires),
            Self::Terminated { reason, retry_after } => {
                f.write_str("terminated")?;
                if let Some(reason) = reason {
                    write!(f, ";reason={reason}")?;
                }
                return retry_after.map_or(Ok(()), |s| write!(f, ";retry-after={s}"));
            }
        };
        f.write_str(name)?;
        expires.map_or(Ok(()), |s| write!(f, ";expires={s}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_acted_on() -> Result<(), Malformed> {
        let table = [
            ("active;expires=60", None),
            ("pending", None),
            ("terminated;reason=deactivated", Some(Again::Now)),
            ("terminated;reason=probation;retry-after=5", Some(Again::Later(Some(5)))),
            ("terminated;reason=rejected;retry-after=5", Some(Again::Never)),
            ("terminated;reason=timeout", Some(Again::Now)),
            ("terminated;reason=giveup", Some(Again::Now)),
            ("terminated;reason=noresource", Some(Again::Never)),
            ("terminated;reason=invariant", Some(Again::Never)),
            ("terminated", Some(Again::Now)),
        ];
        for (text, again) in table {
            let state = SubscriptionState::parse(text.as_bytes())?;
            assert_eq!((state.to_string().as_str(), state.again()), (text, again));
        }
        assert_eq!(
            SubscriptionState::parse(b"TERMINATED ; Reason=odd")?.again(),
            Some(Again::Now)
        );
        assert!(SubscriptionState::parse(b" ;expires=1").is_err());
        Ok(())
    }
}
