//! Splitting a header value at its commas (RFC 3261 section 7.3.1).

use super::trim;

/// Items of one header value; commas inside quotes and angle brackets do not separate, empty items are skipped.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    /// Items of `value`.
    #[must_use]
    pub fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    /// What stands behind the items taken so far and their commas, blanks at both ends removed.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        trim(self.rest)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = item_end(self.rest);
            let item = trim(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !item.is_empty() {
                return Some(item);
            }
        }
        None
    }
}

fn item_end(value: &[u8]) -> usize {
    let (mut quoted, mut angle, mut escaped) = (false, false, false);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !angle => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            b',' if !quoted && !angle => return at,
            _ => {}
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_quotes_and_brackets_do_not_separate() {
        let value = br#""A, \"B\"" <sip:a,b@x>;p=1 ,, <sip:c@y> , d"#;
        let items: Vec<_> = Items::new(value).collect();
        assert_eq!(items, [&br#""A, \"B\"" <sip:a,b@x>;p=1"#[..], b"<sip:c@y>", b"d"]);
        assert_eq!(Items::new(b"").count() + Items::new(b" , ").count(), 0);
    }
}
