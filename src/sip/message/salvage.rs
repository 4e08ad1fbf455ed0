//! What can be answered of a request that cannot be split: bare LF line ends, lines that are no headers.
//!
//! Nothing is ever done with such a request; it is told 400 where Via, From, To, Call-ID and CSeq can be read. Lines are
//! taken as a lenient reader would take them, and only those five come back, so that nothing gets into the answer.

use smallvec::SmallVec;

use super::trim;
use crate::sip::field::{CSeq, NameAddr, Via};
use crate::sip::header::Name;
use crate::sip::method::is_token;

/// More Via lines than this are nobody's path.
const MAX_VIAS: usize = 70;

/// The lines an answer copies, in their own order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvage<'a> {
    /// Header and value; folds are kept.
    pub lines: SmallVec<[(Name, &'a [u8]); 8]>,
}

/// Reads what an answer needs; `None` when it is no request, an ACK, or one of the five cannot be read.
#[must_use]
pub fn salvage(bytes: &[u8]) -> Option<Salvage<'_>> {
    let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    let mut rest = bytes.get(start..)?;
    if !is_answerable(next_line(&mut rest)) {
        return None;
    }
    let mut found = Salvage::default();
    while !rest.is_empty() {
        let line = folded_line(&mut rest);
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = split(line) else { continue };
        match name {
            Name::Via if found.count(Name::Via) >= MAX_VIAS => return None,
            Name::Via => found.lines.push((name, value)),
            Name::From | Name::To | Name::CallId | Name::CSeq if found.count(name) > 0 => return None,
            Name::From | Name::To | Name::CallId | Name::CSeq => found.lines.push((name, value)),
            _ => {}
        }
    }
    found.is_readable().then_some(found)
}

impl<'a> Salvage<'a> {
    fn count(&self, name: Name) -> usize {
        self.lines.iter().filter(|(n, _)| *n == name).count()
    }

    fn first(&self, name: Name) -> Option<&'a [u8]> {
        self.lines.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    fn is_readable(&self) -> bool {
        let address = |name| self.first(name).is_some_and(|v| NameAddr::parse(v).is_ok());
        self.first(Name::Via).is_some_and(|v| Via::parse(v).is_ok())
            && address(Name::From)
            && address(Name::To)
            && self.first(Name::CSeq).is_some_and(|v| CSeq::parse(v).is_ok())
            && self.first(Name::CallId).is_some_and(|v| !v.is_empty())
    }
}

/// `METHOD SP something SP SIP/n`, and not an ACK, which nobody may answer.
fn is_answerable(line: &[u8]) -> bool {
    let mut words = line.trim_ascii_end().split(|b| *b == b' ');
    let (method, version) = (words.next().unwrap_or_default(), words.next_back().unwrap_or_default());
    let is_sip = |word: &[u8]| word.get(..4).is_some_and(|head| head.eq_ignore_ascii_case(b"SIP/"));
    is_token(method) && !is_sip(method) && method != b"ACK" && words.next().is_some() && is_sip(version)
}

/// The next line without its end, whichever that is.
fn next_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let line = &rest[..end];
    *rest = rest.get(end + 1..).unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The next line with the ones that continue it.
fn folded_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let whole = *rest;
    let first = next_line(rest);
    if first.is_empty() {
        return first;
    }
    while matches!(rest.first(), Some(b' ' | b'\t')) {
        next_line(rest);
    }
    trim(&whole[..whole.len() - rest.len()])
}

fn split(line: &[u8]) -> Option<(Name, &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    Some((Name::from_bytes(trim(&line[..colon])), trim(&line[colon + 1..])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "OPTIONS sip:a.example SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\nv: SIP/2.0/UDP i\nFrom: <sip:a@x>;tag=1\n\
                        t: <sip:b@x>\n ;x=y\nCall-ID: c\nno header\nCSeq: 1 OPTIONS\n\nFrom: body\n";

    #[test]
    fn five_headers_are_found_whatever_ends_the_lines() {
        let blank = GOOD.replacen("2.0\n", "2.0  \r\n", 1);
        for text in [
            GOOD.to_string(),
            GOOD.replace('\n', "\r\n"),
            format!("\r\n{GOOD}"),
            blank,
        ] {
            let found = salvage(text.as_bytes()).expect("it can be answered");
            let names: Vec<Name> = found.lines.iter().map(|(name, _)| *name).collect();
            let want = [Name::Via, Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq];
            assert_eq!(names, want);
            assert_eq!(found.first(Name::CSeq), Some(&b"1 OPTIONS"[..]));
            assert!(found.first(Name::To).is_some_and(|to| to.ends_with(b";x=y")));
        }
    }

    #[test]
    fn what_may_not_be_answered_is_not() {
        for (from, to) in [
            ("OPTIONS sip", "ACK sip"),
            ("OPTIONS sip:a.example SIP/2.0", "SIP/2.0 200 OK"),
            ("OPTIONS sip:a.example SIP/2.0", "GET / HTTP/1.1"),
            ("OPTIONS sip:a.example SIP/2.0", "OPTIONS SIP/2.0"),
            ("Via: ", "X: "),
            ("Via: SIP/2.0/UDP h", "Via: nonsense"),
            ("From: ", "X: "),
            ("From: <", "From: \"<"),
            ("t: ", "X: "),
            ("Call-ID: c", "Call-ID: "),
            ("CSeq: 1", "CSeq: x"),
            ("Call-ID: c", "Call-ID: c\nCall-ID: d"),
        ] {
            // Only the first of the two Via is broken or missing; the second has no branch, which is no fault.
            let text = GOOD.replacen(from, to, 1).replace("\nv: SIP/2.0/UDP i", "");
            assert_eq!(salvage(text.as_bytes()), None, "{to}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise: Vec<u8>, at in 0..GOOD.len()) {
            let _ = salvage(&noise);
            let mut glued = GOOD.as_bytes().to_vec();
            glued.splice(at..at, noise);
            let _ = salvage(&glued);
        }
    }
}
