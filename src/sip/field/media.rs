//! Media types and Accept (RFC 3261 sections 20.1 and 20.15).

use super::{Items, Params, trim};

/// A media type without parameters, with them beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    /// `type/subtype` as written; case does not count.
    pub essence: &'a [u8],
    /// Its parameters.
    pub params: Params<'a>,
}

impl<'a> MediaType<'a> {
    /// Splits a Content-Type value.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Self {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        Self {
            essence: trim(&value[..end]),
            params: Params::new(&value[end..]),
        }
    }

    /// Compares with a type written in lower case.
    #[must_use]
    pub fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence.as_bytes())
    }
}

/// What a request accepts.
#[derive(Clone, Debug)]
pub struct Accept;

impl Accept {
    /// Preference in thousandths that the Accept values give a type; 0 when it is not acceptable. The most specific
    /// range decides.
    pub fn quality<'a>(values: impl Iterator<Item = &'a [u8]>, essence: &str) -> u16 {
        let (kind, _) = essence.split_once('/').unwrap_or((essence, ""));
        let mut best = (0, 0);
        for item in values.flat_map(Items::new) {
            let range = MediaType::parse(item);
            let specific = if range.is(essence) {
                3
            } else if range.essence.eq_ignore_ascii_case(format!("{kind}/*").as_bytes()) {
                2
            } else if range.essence == b"*/*" || range.essence == b"*" {
                1
            } else {
                continue;
            };
            if specific > best.0 {
                best = (specific, quality(range.params.get(b"q")));
            }
        }
        best.1
    }
}

fn quality(q: Option<&[u8]>) -> u16 {
    let Some(q) = q else { return 1000 };
    let value = core::str::from_utf8(q)
        .ok()
        .and_then(|t| t.parse::<f32>().ok())
        .unwrap_or(0.0);
    (value.clamp(0.0, 1.0) * 1000.0) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_decides() {
        let q = |list: &'static [u8]| Accept::quality([list].into_iter(), "application/pidf+xml");
        assert_eq!(q(b"application/pidf+xml;q=0.3, */*"), 300);
        assert_eq!(q(b"text/plain, application/*;q=0.5"), 500);
        assert_eq!(q(b"APPLICATION/PIDF+XML"), 1000);
        assert_eq!(q(b"text/plain"), 0);
    }
}
