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
        let params = Params::new(&params[..end]);
        Ok(Self { display, uri, params })
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
