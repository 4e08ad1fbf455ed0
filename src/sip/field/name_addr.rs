//! name-addr and addr-spec with parameters: From, To, Contact, Route (RFC 3261 section 20.10).

use super::{Params, trim};
use crate::sip::header::Name;
use crate::sip::message::Malformed;

/// A display name, a URI and header parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as written, quotes included; empty if there is none.
    pub display: &'a [u8],
    /// The URI without angle brackets.
    pub uri: &'a [u8],
    /// Parameters of the header, not of the URI.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads the first address in `value`; what follows a top-level comma is not looked at.
    ///
    /// # Errors
    /// 400 for an unterminated quote or bracket, an empty URI, or blanks inside it.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        Self::first(value).map(|(address, _)| address)
    }

    /// The first address and what stands behind it.
    fn first(value: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let fault = |what| Malformed::header(Name::Other, what);
        let (display, rest) = display_name(value).ok_or(fault("a quoted name is not closed"))?;
        let (uri, params) = if let Some(inside) = rest.strip_prefix(b"<") {
            let close = memchr::memchr(b'>', inside).ok_or(fault("an angle bracket is not closed"))?;
            (&inside[..close], &inside[close + 1..])
        } else {
            let end = rest
                .iter()
                .position(|b| matches!(b, b';' | b',' | b'>'))
                .unwrap_or(rest.len());
            (trim(&rest[..end]), &rest[end..])
        };
        if uri.is_empty() || uri.iter().any(|b| *b <= b' ' || *b == b'<' || *b == b'"') {
            return Err(fault("its URI is empty or holds blanks"));
        }
        let params = trim(params);
        if !(params.is_empty() || params.starts_with(b";") || params.starts_with(b",")) {
            return Err(fault("there is text behind the address"));
        }
        let end = super::Items::new(params)
            .next()
            .map_or(0, |first| if params.starts_with(b",") { 0 } else { first.len() });
        let (params, rest) = (Params::new(&params[..end]), &params[end..]);
        Ok((Self { display, uri, params }, rest))
    }

    /// Reads the one address of a From or To value. A display name with commas that nobody quoted, as in
    /// `Doe, John <sip:john@x>`, is taken for what it is: these headers hold no list. What could be read as two
    /// addresses is nobody's identity.
    ///
    /// # Errors
    /// As [`NameAddr::parse`], and 400 for more than one address.
    pub fn only(value: &'a [u8]) -> Result<Self, Malformed> {
        let (address, rest) = Self::first(value)?;
        let unquoted = address.display.first() != Some(&b'"') && address.display.contains(&b',');
        let list = unquoted && address.display.iter().any(|b| matches!(b, b':' | b'@'));
        if list || !rest.is_empty() {
            return Err(Malformed::header(Name::Other, "it holds more than one address"));
        }
        Ok(address)
    }

    /// The tag parameter.
    #[must_use]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.get(b"tag").filter(|t| !t.is_empty())
    }
}

/// Splits off a display name; `None` when a quote stays open.
fn display_name(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let value = trim(value);
    if value.first() == Some(&b'"') {
        let mut escaped = false;
        for (at, byte) in value.iter().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                0 => return None,
                b'"' => return Some((&value[..=at], trim(&value[at + 1..]))),
                _ => {}
            }
        }
        return None;
    }
    match memchr::memchr(b'<', value) {
        Some(at) if !value[..at].contains(&b';') => Some((trim(&value[..at]), &value[at..])),
        _ => Some((b"", value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes() -> Result<(), Malformed> {
        let a = NameAddr::parse(br#" "Quote \"x\" <y>" <sip:a@b;lr>;tag=1 "#)?;
        assert_eq!((a.uri, a.tag()), (&b"sip:a@b;lr"[..], Some(&b"1"[..])));
        let a = NameAddr::parse(b"sip:a@b;tag=2")?;
        assert_eq!((a.uri, a.tag()), (&b"sip:a@b"[..], Some(&b"2"[..])));
        let a = NameAddr::parse(b"Bell, Alexander <sip:a@b>")?;
        assert_eq!((a.display, a.tag()), (&b"Bell, Alexander"[..], None));
        let a = NameAddr::parse(b"<sip:a@b>;expires=5, <sip:c@d>;tag=no")?;
        assert_eq!((a.params.get(b"expires"), a.tag()), (Some(&b"5"[..]), None));
        Ok(())
    }

    #[test]
    fn commas_in_a_name_are_told_from_a_list() {
        for (fine, display) in [
            ("Doe, John <sip:john@x>;tag=1", "Doe, John"),
            ("Doe,John<sip:john@x>;tag=1", "Doe,John"),
            (
                "Doe, John (Sales, \u{e9}) <sip:john@x>;tag=1",
                "Doe, John (Sales, \u{e9})",
            ),
            ("\"a@b, <sip:c@d>\" <sip:john@x>;tag=1", "\"a@b, <sip:c@d>\""),
            ("a@b <sip:john@x>;tag=1", "a@b"),
            ("<sip:john@x>;x=\"a, b\";tag=1", ""),
        ] {
            let got = NameAddr::only(fine.as_bytes()).map(|a| (a.uri, a.tag(), a.display));
            assert_eq!(
                got,
                Ok((&b"sip:john@x"[..], Some(&b"1"[..]), display.as_bytes())),
                "{fine}"
            );
        }
        for two in [
            "<sip:john@x>;tag=1, <sip:jim@y>",
            "<sip:john@x>, <sip:jim@y>;tag=1",
            "<sip:john@x>,",
            "sip:john@x, <sip:jim@y>;tag=1",
            "john@x, <sip:jim@y>;tag=1",
            "sip:john@x, sip:jim@y;tag=1",
            "Doe, John <sip:john@x>;tag=1, Roe, Jim <sip:jim@y>;tag=2",
            "<sip:john@x>;tag=1,2",
        ] {
            assert!(NameAddr::only(two.as_bytes()).is_err(), "{two}");
        }
    }

    #[test]
    fn broken_shapes_are_refused() {
        for bad in [
            &b"\"open <sip:a@b>"[..],
            b"<sip:a@b",
            b"<>",
            b"",
            b"<sip:a b@c>",
            b"<sip:a@b> text",
            b"\"N\0\" <sip:a@b>",
        ] {
            assert!(NameAddr::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
