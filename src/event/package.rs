//! Event packages the bridge serves (RFC 6665 section 7.2). A package that is not listed gets 489.

use crate::presence::PIDF;
use crate::sip::field::Accept;

/// The value of Allow-Events.
pub const ALLOW_EVENTS: &str = "presence";

/// A package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// RFC 3856.
    Presence,
}

impl Package {
    /// Finds a package by its name; case counts (RFC 6665 section 8.2.1).
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        (name == b"presence").then_some(Self::Presence)
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
        }
    }

    /// The content type for a subscriber's Accept values; no Accept means the package's default. `None` is 406.
    pub fn negotiate<'a>(self, mut accept: impl Iterator<Item = &'a [u8]>) -> Option<&'static str> {
        let Some(first) = accept.next() else { return Some(PIDF) };
        (Accept::quality(core::iter::once(first).chain(accept), PIDF) > 0).then_some(PIDF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_decides() {
        let negotiate = |list: &'static [&'static [u8]]| Package::Presence.negotiate(list.iter().copied());
        assert_eq!(negotiate(&[]), Some(PIDF));
        assert_eq!(negotiate(&[b"text/plain", b"application/*;q=0.1"]), Some(PIDF));
        assert_eq!(negotiate(&[b"application/pidf+xml;q=0"]), None);
        assert_eq!(negotiate(&[b"text/plain"]), None);
        assert_eq!(
            (Package::from_name(b"Presence"), Package::from_name(b"dialog")),
            (None, None)
        );
    }
}
