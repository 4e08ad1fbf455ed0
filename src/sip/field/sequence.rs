//! Numbers in headers: CSeq, Expires and their kin.

use crate::sip::header::Name;
use crate::sip::message::Malformed;
use crate::sip::method::{Method, is_token};

/// A decimal number of at most 18 digits after leading zeros; `None` for anything else.
#[must_use]
pub fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = &value[value.iter().take_while(|b| **b == b'0').count()..];
    (digits.len() <= 18).then(|| digits.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0')))
}

/// Seconds of an Expires value; more than fits saturates (RFC 3261 section 20.19), anything but digits is a fault.
///
/// # Errors
/// 400 when it is not a number.
pub fn parse_expires(value: &[u8]) -> Result<u32, Malformed> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::header(Name::Expires, "it is not a number of seconds"));
    }
    Ok(number(value).and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX))
}

/// CSeq (RFC 3261 section 20.16): a number below 2^31 and a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number.
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Reads a CSeq value.
    ///
    /// # Errors
    /// 400 when the number is missing or too large, or the method is no token.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let blank = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
        let method = super::trim(&value[blank..]);
        let number = number(&value[..blank])
            .filter(|n| *n < 1 << 31)
            .and_then(|n| u32::try_from(n).ok());
        match number {
            Some(number) if is_token(method) => Ok(Self {
                number,
                method: Method::from_bytes(method),
            }),
            Some(_) => Err(Malformed::header(Name::CSeq, "it has no method")),
            None => Err(Malformed::header(Name::CSeq, "its number is not below 2^31")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cseq_bounds() {
        assert_eq!(CSeq::parse(b"0009 \t INVITE").map(|c| c.number), Ok(9));
        assert_eq!(CSeq::parse(b"2147483647 OPTIONS").map(|c| c.number), Ok(2_147_483_647));
        for bad in [
            &b"-1 A"[..],
            b"2147483648 A",
            b"4294967296 A",
            b"100000000000000000000000 A",
            b"abc A",
            b"1",
            b"",
            b"1 ",
        ] {
            assert!(CSeq::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn expires_saturates_and_refuses_what_is_no_number() {
        assert_eq!(parse_expires(b"3600"), Ok(3600));
        assert_eq!(parse_expires(b"4294967296"), Ok(u32::MAX));
        assert_eq!(parse_expires(b"100000000000000000000"), Ok(u32::MAX));
        assert!(parse_expires(b"-1").is_err() && parse_expires(b"abc").is_err() && parse_expires(b"").is_err());
    }
}
