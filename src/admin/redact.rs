//! Masks SIP identities in log lines: everything before the `@` of an address, and the numbers of `tel:` URIs. Domains stay:
//! they name organisations and are what an administrator searches for.
//!
//! It works on finished lines, so that no place that logs can forget it. What has no `@` and no scheme cannot be told from
//! a word: names of users alone must not be logged in the first place.

use std::borrow::Cow;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether lines are masked right now; a reload may change it.
static MASKED: AtomicBool = AtomicBool::new(false);

/// Masks lines from now on, or no longer.
pub fn set(masked: bool) {
    MASKED.store(masked, Ordering::Relaxed);
}

/// What ends a word that an address may be in.
fn ends_word(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(
            byte,
            b'"' | b'\'' | b'`' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b'{' | b'}'
        )
}

/// A line without identities.
#[must_use]
pub fn mask(line: &[u8]) -> Cow<'_, [u8]> {
    let suspicious = memchr::memchr(b'@', line).is_some() || find(line, b"tel:").is_some();
    if !suspicious {
        return Cow::Borrowed(line);
    }
    let mut out = Vec::with_capacity(line.len());
    for piece in line.split_inclusive(|b| ends_word(*b)) {
        let (word, end) = match piece.split_last() {
            Some((last, word)) if ends_word(*last) => (word, &piece[word.len()..]),
            _ => (piece, &[][..]),
        };
        mask_word(word, &mut out);
        out.extend_from_slice(end);
    }
    Cow::Owned(out)
}

fn mask_word(word: &[u8], out: &mut Vec<u8>) {
    if let Some(at) = find(word, b"tel:") {
        out.extend_from_slice(word.get(..at + 4).unwrap_or_default());
        out.extend_from_slice(b"***");
        return;
    }
    let Some(at) = memchr::memrchr(b'@', word) else {
        out.extend_from_slice(word);
        return;
    };
    let (user, domain) = word.split_at(at);
    out.extend_from_slice(user.get(..kept(user)).unwrap_or_default());
    out.extend_from_slice(b"***");
    out.extend_from_slice(domain);
}

/// How much of what stands before the `@` is no user part: the name of a field and the scheme.
fn kept(user: &[u8]) -> usize {
    const SCHEMES: [&[u8]; 6] = [b"sips:", b"sip:", b"pres:", b"im:", b"xmpp:", b"mailto:"];
    let scheme = SCHEMES.iter().filter_map(|s| Some(find(user, s)? + s.len())).min();
    scheme.unwrap_or_else(|| {
        // A field's name: letters, then `=`. A user part may hold one too, so only a plain word counts.
        let name = user
            .iter()
            .take_while(|b| b.is_ascii_lowercase() || **b == b'_')
            .count();
        if user.get(name) == Some(&b'=') { name + 1 } else { 0 }
    })
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w.eq_ignore_ascii_case(what))
}

/// Standard error, masked where that is wanted.
#[derive(Debug, Default)]
pub(super) struct Masked;

impl Write for Masked {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> std::io::Result<()> {
        let mut out = std::io::stderr().lock();
        if MASKED.load(Ordering::Relaxed) {
            out.write_all(&mask(line))
        } else {
            out.write_all(line)
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_go_and_domains_stay() {
        for (line, masked) in [
            ("nothing here", "nothing here"),
            (
                "from=\"sip:alice@a.example\" to=sip:bob@b.example;x",
                "from=\"sip:***@a.example\" to=sip:***@b.example;x",
            ),
            (
                "{\"from\":\"sips:alice:secret@a.example\"}",
                "{\"from\":\"sips:***@a.example\"}",
            ),
            (
                "alice@a.example alice%40a.example@b.example",
                "***@a.example ***@b.example",
            ),
            (
                "name=alice@a.example why=<sip:a@b@c.example>",
                "name=***@a.example why=<sip:***@c.example>",
            ),
            ("TEL:+4930123;ext=1 tel:12", "TEL:*** tel:***"),
            ("- { aor: alice@a.example, x: 1}", "- { aor: ***@a.example, x: 1}"),
            ("Alice=1@a.example", "***@a.example"),
            ("sip:al sip:ice@a.example", "sip:al sip:***@a.example"),
        ] {
            assert_eq!(String::from_utf8_lossy(&mask(line.as_bytes())), masked);
        }
    }
}
