//! Numbers as they stand in URIs: visual separators, escapes and the parameters of RFC 3966.

use smallvec::SmallVec;

use crate::policy::users::unescaped;

/// A number without separators: digits, `*`, `#`, and `+` only in front.
pub type Number = SmallVec<[u8; 32]>;

/// E.164 ends at 15 digits; dial strings are longer. What is longer than this is no number.
pub const MOST_DIGITS: usize = 32;

/// The separators of RFC 3966 section 5.1.1, which always fall away.
const VISUAL: &[u8] = b"-.()";

/// A number with what its URI says besides. Everything stays as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Phone<'a> {
    /// The number, separators and escapes included.
    pub number: &'a [u8],
    /// All parameters, without the leading `;`. Unknown ones are kept.
    pub params: &'a [u8],
}

impl<'a> Phone<'a> {
    /// From the user part of a `sip:` URI, or from what follows `tel:`.
    #[must_use]
    pub fn of(text: &'a [u8]) -> Self {
        match memchr::memchr(b';', text) {
            Some(at) => Self {
                number: text.get(..at).unwrap_or_default(),
                params: text.get(at + 1..).unwrap_or_default(),
            },
            None => Self {
                number: text,
                params: b"",
            },
        }
    }

    /// The same with the parameters that a parser has already set aside.
    #[must_use]
    pub fn with(self, params: &'a [u8]) -> Self {
        let params = params.strip_prefix(b";").unwrap_or(params);
        if self.params.is_empty() {
            Self { params, ..self }
        } else {
            self
        }
    }

    /// The value of a parameter; its name in any case, the first one counts.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        self.params.split(|b| *b == b';').find_map(|item| {
            let mut halves = item.splitn(2, |b| *b == b'=');
            let found = halves.next()?.trim_ascii();
            found
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| halves.next().unwrap_or_default().trim_ascii())
        })
    }

    /// The extension behind the number (RFC 3966 section 5.3).
    #[must_use]
    pub fn ext(&self) -> Option<&'a [u8]> {
        self.param("ext")
    }

    /// Where a local number is local (RFC 3966 section 5.1.5): a `+` prefix, a domain, or the word `dialstring`.
    #[must_use]
    pub fn context(&self) -> Option<&'a [u8]> {
        self.param("phone-context")
    }

    /// The device that a line is meant on.
    #[must_use]
    pub fn device(&self) -> Option<&'a [u8]> {
        self.param("device")
    }

    /// The partition that a directory number is in.
    #[must_use]
    pub fn partition(&self) -> Option<&'a [u8]> {
        self.param("partition")
    }

    /// The number without separators; a context that begins with `+` is put before a local number. `None` when it is
    /// no number, when its extension is none, or when its context says that it is local to a domain that `ours` does
    /// not know.
    #[must_use]
    pub fn digits(&self, separators: &[u8], ours: impl FnOnce(&[u8]) -> bool) -> Option<Number> {
        let number = plain_with(self.number, separators)?;
        // Left out, it would mean somebody else; passed on, it would be whatever its sender likes.
        if self.ext().is_some_and(|ext| plain_with(ext, b"").is_none()) {
            return None;
        }
        let Some(context) = self.context().filter(|_| number.first() != Some(&b'+')) else {
            return Some(number);
        };
        if context.first() == Some(&b'+') {
            let mut out = plain_with(context, separators)?;
            out.extend_from_slice(&number);
            return (out.len() <= MOST_DIGITS).then_some(out);
        }
        (context.eq_ignore_ascii_case(b"dialstring") || ours(context)).then_some(number)
    }
}

/// The number without the separators of RFC 3966; `None` when it is no number.
#[must_use]
pub fn plain(text: &[u8]) -> Option<Number> {
    plain_with(text, b"")
}

/// As [`plain`], with further characters that count for nothing.
#[must_use]
pub fn plain_with(text: &[u8], separators: &[u8]) -> Option<Number> {
    let mut out = Number::new();
    for byte in unescaped(text) {
        match byte {
            b'0'..=b'9' | b'*' | b'#' => out.push(byte),
            b'+' if out.is_empty() => out.push(byte),
            _ if VISUAL.contains(&byte) || separators.contains(&byte) => {}
            _ => return None,
        }
        if out.len() > MOST_DIGITS {
            return None;
        }
    }
    (!out.is_empty() && out.as_slice() != b"+").then_some(out)
}
