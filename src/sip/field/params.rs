//! Parameters `;name=value` of header fields and URIs.

use std::borrow::Cow;

use super::trim;

/// Parameters as they stand on the wire, with or without the first semicolon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Params<'a> {
    raw: &'a [u8],
}

impl<'a> Params<'a> {
    /// Wraps the raw text.
    #[must_use]
    pub fn new(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// The raw text.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Names and values in order; a parameter without `=` has `None`. Quotes are kept.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.raw;
        core::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = param_end(rest);
                let item = trim(&rest[..end]);
                rest = rest.get(end + 1..).unwrap_or_default();
                if !item.is_empty() {
                    return Some(split(item));
                }
            }
            None
        })
    }

    /// The value of the first parameter of that name (any case); empty for one without value. Quotes are kept.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.unwrap_or_default())
    }
}

fn split(item: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'=', item) {
        Some(at) => (trim(&item[..at]), Some(trim(&item[at + 1..]))),
        None => (item, None),
    }
}

fn param_end(raw: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in raw.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => return at,
            _ => {}
        }
    }
    raw.len()
}

/// The content of a quoted string with its escapes undone; anything else as it is.
#[must_use]
pub fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = value else {
        return Cow::Borrowed(value);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next()),
            other => out.push(*other),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_quotes_hide_semicolons() {
        let params = Params::new(br#";tag = abc;lr;Q="a;\"b";x="#);
        assert_eq!(params.get(b"TAG"), Some(&b"abc"[..]));
        assert_eq!(params.get(b"lr"), Some(&b""[..]));
        assert_eq!(unquote(params.get(b"q").unwrap_or_default()).as_ref(), br#"a;"b"#);
        assert_eq!(params.get(b"y"), None);
        assert_eq!(params.iter().count(), 4);
    }
}
