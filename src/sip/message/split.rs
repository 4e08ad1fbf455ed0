//! Splitting a complete message into start line, header lines and body.

use memchr::memchr;

use super::index::{Index, Slot, range};
use super::{Framing, Malformed, View};
use crate::sip::header::Name;
use crate::sip::method::is_token;

/// RFC 3261 leaves the length of a Request-URI open; nothing real comes near.
const MAX_URI: usize = 8 * 1024;

/// Splits a complete message; `bytes` hold nothing before the start line but CRLFs.
///
/// # Errors
/// When there is no start line or a header line cannot be told from its neighbours. Fields are not judged here.
pub fn parse<'a>(bytes: &'a [u8], framing: Framing, index: &'a mut Index) -> Result<View<'a>, Malformed> {
    if bytes.len() > u32::MAX as usize / 2 {
        return Err(Malformed::new(513, None, "the message is too large"));
    }
    index.slots.clear();
    let start = bytes
        .iter()
        .position(|b| !matches!(b, b'\r' | b'\n'))
        .unwrap_or(bytes.len());
    let at = start_line(bytes, start, index)?;
    let body = header_lines(bytes, at, index)?;
    index.body = range(body, bytes.len());
    index.short_body = false;
    if framing == Framing::Datagram {
        cut_body(bytes, index);
    }
    Ok(View::new(bytes, index))
}

/// Reads the start line; returns the offset behind it.
fn start_line(bytes: &[u8], start: usize, index: &mut Index) -> Result<usize, Malformed> {
    let rest = bytes.get(start..).unwrap_or_default();
    let newline = memchr(b'\n', rest).ok_or(Malformed::message("there is no start line"))?;
    let line = rest[..newline]
        .strip_suffix(b"\r")
        .ok_or(Malformed::message("the start line ends in a bare LF"))?;
    index.start_line = range(start, start + line.len());
    if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        status_line(line, start, index)?;
    } else {
        request_line(line, start, index)?;
    }
    Ok(start + newline + 1)
}

fn status_line(line: &[u8], start: usize, index: &mut Index) -> Result<(), Malformed> {
    let space = memchr(b' ', line).ok_or(Malformed::message("the status line has no status"))?;
    let code = line.get(space + 1..space + 4).unwrap_or_default();
    let status = code
        .iter()
        .try_fold(0u16, |n, b| b.is_ascii_digit().then(|| n * 10 + u16::from(b - b'0')));
    let end = line.get(space + 4);
    match (status, end) {
        (Some(status @ 100..=699), None | Some(b' ')) => index.status = status,
        _ => return Err(Malformed::message("the status is not a number from 100 to 699")),
    }
    index.version_ok = line[..space].eq_ignore_ascii_case(b"SIP/2.0");
    index.first = range(start, start);
    index.second = range((start + space + 5).min(start + line.len()), start + line.len());
    Ok(())
}

fn request_line(line: &[u8], start: usize, index: &mut Index) -> Result<(), Malformed> {
    let first = memchr(b' ', line).ok_or(Malformed::message("the request line has no Request-URI"))?;
    let last = memchr::memrchr(b' ', line).unwrap_or(first);
    if first == last || !is_token(&line[..first]) {
        return Err(Malformed::message(
            "the request line is not METHOD SP Request-URI SP SIP/2.0",
        ));
    }
    let version = &line[last + 1..];
    if version.len() < 5 || !version[..4].eq_ignore_ascii_case(b"SIP/") {
        return Err(Malformed::message("the request line does not end in SIP/2.0"));
    }
    index.status = 0;
    index.version_ok = version.eq_ignore_ascii_case(b"SIP/2.0");
    index.first = range(start, start + first);
    index.second = range(start + first + 1, start + last);
    Ok(())
}

/// Reads header lines up to the empty line; returns the offset of the body.
fn header_lines(bytes: &[u8], mut at: usize, index: &mut Index) -> Result<usize, Malformed> {
    loop {
        let line_start = at;
        let (content_end, next) = line_end(bytes, at)?;
        if content_end == line_start {
            return Ok(next);
        }
        let mut end = next;
        let mut value_end = content_end;
        while matches!(bytes.get(end), Some(b' ' | b'\t')) {
            let (fold_content, fold_next) = line_end(bytes, end)?;
            value_end = fold_content;
            end = fold_next;
        }
        at = end;
        if index.slots.len() >= index.max_headers {
            return Err(Malformed::new(513, None, "there are too many header lines"));
        }
        index.slots.push(slot(bytes, line_start, content_end, value_end, end)?);
    }
}

/// Content end and start of the next line. A datagram may end without the empty line; a lone LF is refused.
fn line_end(bytes: &[u8], at: usize) -> Result<(usize, usize), Malformed> {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Ok((at, at));
    }
    let newline = memchr(b'\n', rest).ok_or(Malformed::message("the header section does not end in CRLF"))?;
    if newline == 0 || rest[newline - 1] != b'\r' {
        return Err(Malformed::message("a header line ends in a bare LF"));
    }
    let content = &rest[..newline - 1];
    if memchr(b'\r', content).is_some() {
        return Err(Malformed::message("a header line holds a bare CR"));
    }
    Ok((at + newline - 1, at + newline + 1))
}

fn slot(bytes: &[u8], start: usize, first_end: usize, value_end: usize, end: usize) -> Result<Slot, Malformed> {
    let line = &bytes[start..first_end];
    let colon = memchr(b':', line).ok_or(Malformed::message("a header line has no colon"))?;
    let name = trim(&line[..colon]);
    if !is_token(name) || line.first().is_some_and(u8::is_ascii_whitespace) {
        return Err(Malformed::message("a header name is not a token"));
    }
    let mut from = start + colon + 1;
    let mut to = value_end;
    while from < to && is_blank(bytes[from]) {
        from += 1;
    }
    while to > from && is_blank(bytes[to - 1]) {
        to -= 1;
    }
    Ok(Slot {
        name: Name::from_bytes(name),
        start: start as u32,
        name_end: (start + name.len()) as u32,
        value: range(from, to),
        end: end as u32,
    })
}

/// Applies Content-Length to a datagram: surplus bytes are dropped, missing ones are remembered.
fn cut_body(bytes: &[u8], index: &mut Index) {
    let declared = index
        .slots
        .iter()
        .find(|s| s.name == Name::ContentLength)
        .and_then(|s| {
            let value = &bytes[s.value.start as usize..s.value.end as usize];
            core::str::from_utf8(value).ok()?.parse::<usize>().ok()
        });
    let Some(declared) = declared else { return };
    let have = (index.body.end - index.body.start) as usize;
    index.short_body = declared > have;
    index.body.end = index.body.start + declared.min(have) as u32;
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without blanks at either end.
#[must_use]
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

pub(super) const URI_LIMIT: usize = MAX_URI;
