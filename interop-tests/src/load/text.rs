//! What the load reads of a message: a header line by name, a number, a parameter. No more than it must check.

use crate::wire::find;

/// The value of the first header line of this name, long form.
#[must_use]
pub fn header<'a>(message: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    lines(message).find_map(|line| value(line, name))
}

/// How many header lines have this name.
#[must_use]
pub fn count(message: &[u8], name: &[u8]) -> usize {
    lines(message).filter(|line| value(line, name).is_some()).count()
}

fn lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .take_while(|line| !line.is_empty())
}

fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let start = line.get(..name.len())?;
    if !start.eq_ignore_ascii_case(name) {
        return None;
    }
    Some(
        line.get(name.len()..)?
            .trim_ascii_start()
            .strip_prefix(b":")?
            .trim_ascii(),
    )
}

/// The number that a header value begins with.
#[must_use]
pub fn number(message: &[u8], name: &[u8]) -> Option<u64> {
    leading(header(message, name)?)
}

/// The decimal number that a text begins with.
#[must_use]
pub fn leading(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

/// The status of a response.
#[must_use]
pub fn status(message: &[u8]) -> Option<u64> {
    leading(message.strip_prefix(b"SIP/2.0 ")?)
}

/// Whether it is a request of this method.
#[must_use]
pub fn is(message: &[u8], method: &[u8]) -> bool {
    message.starts_with(method) && message.get(method.len()) == Some(&b' ')
}

/// A parameter of a header value.
#[must_use]
pub fn param<'a>(value: &'a [u8], name: &str) -> &'a [u8] {
    let Some(at) = find(value, format!(";{name}=").as_bytes()) else {
        return b"";
    };
    let rest = value.get(at + name.len() + 2..).unwrap_or_default();
    let end = rest.iter().position(|b| matches!(b, b';' | b',' | b' ' | b'>'));
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

/// What stands between two marks.
#[must_use]
pub fn between<'a>(text: &'a [u8], before: &str, after: &str) -> Option<&'a [u8]> {
    let start = find(text, before.as_bytes())? + before.len();
    let rest = text.get(start..)?;
    rest.get(..find(rest, after.as_bytes())?)
}

/// The body.
#[must_use]
pub fn body(message: &[u8]) -> &[u8] {
    find(message, b"\r\n\r\n").map_or(&[], |at| message.get(at + 4..).unwrap_or_default())
}

/// A 200 to a request: what RFC 3261 8.2.6 copies, with a tag and further lines.
#[must_use]
pub fn ok(request: &[u8], tag: &str, extra: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"SIP/2.0 200 OK\r\n");
    for line in lines(request) {
        let keep = [&b"Via"[..], b"Record-Route", b"From", b"Call-ID", b"CSeq"]
            .iter()
            .any(|name| value(line, name).is_some());
        let to = value(line, b"To");
        if keep || to.is_some() {
            out.extend_from_slice(line);
            if to.is_some_and(|to| param(to, "tag").is_empty()) {
                out.extend_from_slice(b";tag=");
                out.extend_from_slice(tag.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(extra.as_bytes());
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTIFY: &[u8] =
        b"NOTIFY sip:w@x SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9\r\nVia: b\r\nTo: <sip:w@x>;tag=w1\r\n\
        From: <sip:p@x>;tag=abc\r\nCSeq: 17 NOTIFY\r\nContent-Length: 4\r\n\r\nTo: ";

    #[test]
    fn reads_what_it_must() {
        assert!(is(NOTIFY, b"NOTIFY") && !is(NOTIFY, b"NOT"));
        assert_eq!(
            (number(NOTIFY, b"cseq"), count(NOTIFY, b"Via"), count(NOTIFY, b"To")),
            (Some(17), 2, 1)
        );
        assert_eq!(header(NOTIFY, b"From").map(|f| param(f, "tag")), Some(&b"abc"[..]));
        assert_eq!((body(NOTIFY), status(NOTIFY)), (&b"To: "[..], None));
        let answer = ok(NOTIFY, "unused", "");
        assert_eq!(status(&answer), Some(200));
        assert!(find(&answer, b"tag=w1\r\n").is_some() && find(&answer, b"unused").is_none());
    }
}
