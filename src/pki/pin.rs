//! Pins: exactly this certificate, or exactly this key (RFC 7469 section 2.4 for the digest over the key).
//!
//! Whoever presents a certificate proves possession of its key in the handshake, so equality is all that is left to
//! check here. Dates and revocation are `verify`'s.

use core::fmt;

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// SHA-256 over a certificate or over its SubjectPublicKeyInfo (both DER).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// Pins exactly this certificate.
    #[must_use]
    pub fn certificate(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Pins the key of a certificate, so that a renewed certificate with the same key counts too.
    #[must_use]
    pub fn key(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self(Sha256::digest(certificate.public_key().raw).into()))
    }

    /// Reads 64 hexadecimal digits, with or without `sha256:` before and colons between.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().strip_prefix("sha256:").unwrap_or(text.trim());
        let mut nibbles = digits.chars().filter(|c| *c != ':').map(|c| c.to_digit(16));
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            *byte = u8::try_from(nibbles.next()?? << 4 | nibbles.next()??).ok()?;
        }
        nibbles.next().is_none().then_some(Self(bytes))
    }

    /// Whether the certificate (DER), or its key, is the pinned one.
    #[must_use]
    pub fn matches(&self, der: &[u8]) -> bool {
        *self == Self::certificate(der) || Self::key(der).is_some_and(|key| key == *self)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{Ca, Leaf};

    #[test]
    fn matches_the_certificate_or_its_key_and_nothing_else() {
        let ca = Ca::new("ca");
        let (one, other) = (ca.issue(Leaf::new("b")), ca.issue(Leaf::new("b")));
        assert!(Pin::certificate(&one.der).matches(&one.der));
        assert!(Pin::key(&one.der).unwrap().matches(&one.der));
        assert!(!Pin::certificate(&one.der).matches(&other.der));
        assert!(!Pin::key(&one.der).unwrap().matches(&other.der));
        assert!(!Pin([0; 32]).matches(b"garbage"));
    }

    #[test]
    fn reads_what_it_writes_and_the_colon_form() {
        let pin = Pin::certificate(b"x");
        assert_eq!(Pin::parse(&pin.to_string()), Some(pin));
        let colons = pin.0.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":");
        assert_eq!(Pin::parse(&colons), Some(pin));
        for wrong in ["", "sha256:", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64)] {
            assert_eq!(Pin::parse(wrong), None, "{wrong}");
        }
    }
}
