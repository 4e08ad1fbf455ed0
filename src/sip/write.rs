//! Writing messages: answers, forwarded messages with untouched lines byte for byte, and requests of our own.
//!
//! Values that come from configuration or from another message pass a filter that lets no CR, LF or NUL
//! through: a header can never become two.

use core::fmt::Write as _;
use core::net::IpAddr;

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use super::field::{Items, NameAddr, Via};
use super::header::Name;
use super::message::{Salvage, Start, View};

/// Writes a header value without what could end the line.
fn value(out: &mut BytesMut, bytes: &[u8]) {
    if memchr::memchr3(b'\r', b'\n', 0, bytes).is_none() {
        return out.put_slice(bytes);
    }
    for byte in bytes.iter().filter(|b| !matches!(b, b'\r' | b'\n' | 0)) {
        out.put_u8(*byte);
    }
}

/// Writes `name: value CRLF`.
fn header(out: &mut BytesMut, name: &[u8], bytes: &[u8]) {
    out.put_slice(name);
    out.put_slice(b": ");
    value(out, bytes);
    out.put_slice(b"\r\n");
}

fn decimal(out: &mut BytesMut, number: u64) {
    let _ = write!(out, "{number}");
}

/// Ends the header section and adds the body.
fn finish(out: &mut BytesMut, body: Option<(&[u8], &[u8])>) {
    if let Some((content_type, _)) = body {
        header(out, b"Content-Type", content_type);
    }
    let bytes = body.map_or(&b""[..], |(_, b)| b);
    out.put_slice(b"Content-Length: ");
    decimal(out, bytes.len() as u64);
    out.put_slice(b"\r\n\r\n");
    out.put_slice(bytes);
}

/// What a response of our own says; the rest of it is copied from the request (RFC 3261 section 8.2.6).
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The reason phrase.
    pub reason: &'a str,
    /// Added to To when the request has no tag there.
    pub to_tag: Option<&'a [u8]>,
    /// Further headers.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// Content type and body.
    pub body: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Answer<'a> {
    /// A status and its phrase, no more.
    #[must_use]
    pub fn new(status: u16, reason: &'a str) -> Self {
        Self {
            status,
            reason,
            to_tag: None,
            headers: &[],
            body: None,
        }
    }

    /// The same with further headers.
    #[must_use]
    pub fn with(self, headers: &'a [(&'a [u8], &'a [u8])]) -> Self {
        Self { headers, ..self }
    }

    /// The same with a To tag.
    #[must_use]
    pub fn tag(self, to_tag: &'a [u8]) -> Self {
        Self {
            to_tag: Some(to_tag),
            ..self
        }
    }
}

/// A response to `request`: Via lines, From, To, Call-ID, CSeq and, for a dialog-creating answer, Record-Route are
/// copied byte for byte. `received` is the source of the request (section 18.2.1, RFC 3581).
pub fn respond(out: &mut BytesMut, request: &View<'_>, received: Option<(IpAddr, u16)>, answer: &Answer<'_>) {
    start_line(out, answer.status, answer.reason.as_bytes());
    copied(out, request, received, answer.status, answer.to_tag);
    for (name, bytes) in answer.headers {
        header(out, name, bytes);
    }
    finish(out, answer.body);
}

/// What of `answer` cannot be had from the request: a fifth of the response, for a transaction that may have to send it
/// again. The reverse is [`respond_again`].
pub fn recipe(out: &mut BytesMut, answer: &Answer<'_>) {
    let tag = answer.to_tag.unwrap_or_default();
    out.put_u8(u8::try_from(tag.len()).unwrap_or(0));
    out.put_slice(tag.get(..usize::from(u8::MAX)).unwrap_or(tag));
    out.put_u16(answer.status);
    start_line(out, answer.status, answer.reason.as_bytes());
    for (name, bytes) in answer.headers {
        header(out, name, bytes);
    }
    finish(out, answer.body);
}

/// The response that `recipe` was made for, to the same request once more. Nothing is written when it is no recipe.
pub fn respond_again(out: &mut BytesMut, request: &View<'_>, received: Option<(IpAddr, u16)>, recipe: &[u8]) {
    let parts = || {
        let (length, rest) = recipe.split_first()?;
        let (tag, rest) = rest.split_at_checked(usize::from(*length))?;
        let (status, rest) = rest.split_first_chunk::<2>()?;
        let end = memchr::memchr(b'\n', rest)? + 1;
        Some((tag, u16::from_be_bytes(*status), rest.split_at_checked(end)?))
    };
    let Some((tag, status, (start, own))) = parts() else {
        return;
    };
    out.put_slice(start);
    copied(out, request, received, status, (!tag.is_empty()).then_some(tag));
    out.put_slice(own);
}

fn start_line(out: &mut BytesMut, status: u16, reason: &[u8]) {
    out.put_slice(b"SIP/2.0 ");
    decimal(out, u64::from(status));
    out.put_u8(b' ');
    value(out, reason);
    out.put_slice(b"\r\n");
}

/// The lines of a response that are the request's.
fn copied(out: &mut BytesMut, request: &View<'_>, received: Option<(IpAddr, u16)>, status: u16, to_tag: Option<&[u8]>) {
    let mut first_via = received;
    let dialog = (101..300).contains(&status);
    for line in request.lines() {
        match line.name {
            Name::Via => {
                if via_line(out, line.value, first_via) {
                    first_via = None;
                } else {
                    out.put_slice(line.raw);
                }
            }
            Name::To => to_line(out, line.raw, line.value, to_tag),
            Name::From | Name::CallId | Name::CSeq => out.put_slice(line.raw),
            Name::RecordRoute if dialog => out.put_slice(line.raw),
            _ => {}
        }
    }
}

/// A refusal of a request that cannot be split (RFC 3261 section 8.2.6 as far as it goes).
pub fn refuse(
    out: &mut BytesMut,
    request: &Salvage<'_>,
    status: u16,
    reason: &str,
    to_tag: &[u8],
    received: (IpAddr, u16),
    extra: &[(&[u8], &[u8])],
) {
    start_line(out, status, reason.as_bytes());
    let mut first_via = Some(received);
    for (name, bytes) in &request.lines {
        // Folds and bare line ends go: each line is one line.
        let mut line: SmallVec<[u8; 256]> = SmallVec::new();
        line.extend(bytes.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n' | 0)));
        match name {
            Name::Via => {
                if via_line(out, &line, first_via) {
                    first_via = None;
                } else {
                    header(out, b"Via", &line);
                }
            }
            Name::To => {
                if NameAddr::parse(&line).is_ok_and(|to| to.tag().is_none()) {
                    line.extend_from_slice(b";tag=");
                    line.extend_from_slice(to_tag);
                }
                header(out, b"To", &line);
            }
            other => header(out, other.as_str().as_bytes(), &line),
        }
    }
    for (name, bytes) in extra {
        header(out, name, bytes);
    }
    finish(out, None);
}

fn to_line(out: &mut BytesMut, raw: &[u8], bytes: &[u8], tag: Option<&[u8]>) {
    let has_tag = NameAddr::parse(bytes).is_ok_and(|a| a.tag().is_some());
    match tag {
        Some(tag) if !has_tag => {
            out.put_slice(b"To: ");
            out.put_slice(bytes);
            out.put_slice(b";tag=");
            out.put_slice(tag);
            out.put_slice(b"\r\n");
        }
        _ => out.put_slice(raw),
    }
}

/// Writes a Via line whose first item gets `received` and `rport` as the packet's source says; `false`, and nothing
/// written, when there is no source to note or no item.
fn via_line(out: &mut BytesMut, bytes: &[u8], from: Option<(IpAddr, u16)>) -> bool {
    let mut items = Items::new(bytes);
    let (Some(from), Some(first)) = (from, items.next()) else {
        return false;
    };
    out.put_slice(b"Via: ");
    via_item(out, first, from);
    if !items.rest().is_empty() {
        out.put_slice(b", ");
        out.put_slice(items.rest());
    }
    out.put_slice(b"\r\n");
    true
}

fn via_item(out: &mut BytesMut, item: &[u8], (ip, port): (IpAddr, u16)) {
    let Ok(via) = Via::parse(item) else {
        return out.put_slice(item);
    };
    let wants_rport = via.rport().is_some();
    let lies = !host_is(via.host, ip);
    if !wants_rport && !lies && via.received().is_none() {
        return out.put_slice(item);
    }
    let end = memchr::memchr(b';', item).unwrap_or(item.len());
    out.put_slice(super::field::trim(&item[..end]));
    for (name, parameter) in via.params.iter() {
        if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
            continue;
        }
        out.put_u8(b';');
        out.put_slice(name);
        if let Some(parameter) = parameter {
            out.put_u8(b'=');
            out.put_slice(parameter);
        }
    }
    if lies || wants_rport {
        let _ = write!(out, ";received={ip}");
    }
    if wants_rport {
        let _ = write!(out, ";rport={port}");
    }
}

fn host_is(host: &[u8], ip: IpAddr) -> bool {
    let text = core::str::from_utf8(host).unwrap_or_default();
    text.trim_matches(['[', ']'])
        .parse::<IpAddr>()
        .is_ok_and(|h| h.to_canonical() == ip.to_canonical())
}

/// How a request is changed on its way (RFC 3261 section 16.6).
#[derive(Clone, Copy, Debug, Default)]
pub struct Forward<'a> {
    /// The new Request-URI; `None` keeps the old one.
    pub uri: Option<&'a [u8]>,
    /// The whole value of our Via.
    pub via: &'a [u8],
    /// The new Max-Forwards.
    pub max_forwards: u32,
    /// The new Max-Breadth (RFC 5393); `None` leaves the line as it came.
    pub max_breadth: Option<u32>,
    /// Route values at the top that were ours.
    pub drop_first_routes: usize,
    /// The Record-Route value to put on top.
    pub push_record_route: Option<&'a [u8]>,
    /// Where the request came from, noted in what was its top Via.
    pub set_received: Option<(IpAddr, u16)>,
    /// Headers left out.
    pub remove: &'a [Name],
    /// Headers added.
    pub add: &'a [(&'a [u8], &'a [u8])],
}

/// A request forwarded: our Via on top, Max-Forwards set, Content-Length made sure of; every other line as it came.
pub fn forward_request(out: &mut BytesMut, request: &View<'_>, plan: &Forward<'_>) {
    let Start::Request { method, uri } = request.start() else {
        return;
    };
    out.put_slice(method.as_bytes());
    out.put_u8(b' ');
    value(out, plan.uri.unwrap_or(uri));
    out.put_slice(b" SIP/2.0\r\n");
    header(out, b"Via", plan.via);
    if let Some(route) = plan.push_record_route {
        header(out, b"Record-Route", route);
    }
    if let Some(breadth) = plan.max_breadth {
        out.put_slice(b"Max-Breadth: ");
        decimal(out, u64::from(breadth));
        out.put_slice(b"\r\n");
    }
    for (name, bytes) in plan.add {
        header(out, name, bytes);
    }
    let mut first_via = plan.set_received;
    let (mut drop_routes, mut hops, mut length) = (plan.drop_first_routes, false, false);
    for line in request.lines() {
        match line.name {
            Name::Via => {
                if via_line(out, line.value, first_via) {
                    first_via = None;
                } else {
                    out.put_slice(line.raw);
                }
            }
            Name::MaxForwards => {
                if !std::mem::replace(&mut hops, true) {
                    max_forwards(out, plan.max_forwards);
                }
            }
            Name::MaxBreadth if plan.max_breadth.is_some() => {}
            Name::Route if drop_routes > 0 => drop_routes = routes_left(out, line.value, drop_routes),
            Name::ContentLength => {
                if !std::mem::replace(&mut length, true) {
                    out.put_slice(line.raw);
                }
            }
            name if plan.remove.contains(&name) => {}
            _ => out.put_slice(line.raw),
        }
    }
    if !hops {
        max_forwards(out, plan.max_forwards);
    }
    end_forwarded(out, request.body(), length);
}

fn max_forwards(out: &mut BytesMut, hops: u32) {
    out.put_slice(b"Max-Forwards: ");
    decimal(out, u64::from(hops));
    out.put_slice(b"\r\n");
}

fn end_forwarded(out: &mut BytesMut, body: &[u8], length: bool) {
    if !length {
        out.put_slice(b"Content-Length: ");
        decimal(out, body.len() as u64);
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
    out.put_slice(body);
}

/// Writes a Route line without its first `drop` items; returns how many are still to drop.
fn routes_left(out: &mut BytesMut, bytes: &[u8], mut drop: usize) -> usize {
    let mut open = false;
    for item in Items::new(bytes) {
        if drop > 0 {
            drop -= 1;
            continue;
        }
        out.put_slice(if open { b", " } else { b"Route: " });
        out.put_slice(item);
        open = true;
    }
    if open {
        out.put_slice(b"\r\n");
    }
    drop
}

/// A response forwarded: the topmost Via item, which is ours, comes off (RFC 3261 section 16.7 step 3).
pub fn forward_response(out: &mut BytesMut, response: &View<'_>) {
    let Start::Response { status, reason } = response.start() else {
        return;
    };
    start_line(out, status, reason);
    let (mut first, mut length) = (true, false);
    for line in response.lines() {
        match line.name {
            Name::Via if first => {
                let mut items = Items::new(line.value);
                // A line without items, which nobody should write, is not the one that holds ours.
                first = items.next().is_none();
                if !items.rest().is_empty() {
                    header(out, b"Via", items.rest());
                }
            }
            Name::ContentLength => {
                if !std::mem::replace(&mut length, true) {
                    out.put_slice(line.raw);
                }
            }
            _ => out.put_slice(line.raw),
        }
    }
    end_forwarded(out, response.body(), length);
}

/// The ACK for a final answer other than 2xx (RFC 3261 section 17.1.1.3), from the INVITE as it was sent.
pub fn ack_for_failure(out: &mut BytesMut, invite: &View<'_>, response: &View<'_>) {
    let to = response.header(Name::To).unwrap_or_default();
    derived(out, invite, b"ACK", Some(to));
}

/// The CANCEL for an INVITE as it was sent (RFC 3261 section 9.1).
pub fn cancel(out: &mut BytesMut, invite: &View<'_>) {
    derived(out, invite, b"CANCEL", None);
}

/// Request-URI, top Via, Route, From, Call-ID and CSeq number of `invite` under another method.
fn derived(out: &mut BytesMut, invite: &View<'_>, method: &[u8], to: Option<&[u8]>) {
    out.put_slice(method);
    out.put_u8(b' ');
    value(out, invite.request_uri());
    out.put_slice(b" SIP/2.0\r\n");
    let mut first = true;
    for line in invite.lines() {
        match line.name {
            Name::Via if first => {
                if let Some(item) = Items::new(line.value).next() {
                    first = false;
                    header(out, b"Via", item);
                }
            }
            Name::To => header(out, b"To", to.unwrap_or(line.value)),
            Name::From | Name::CallId | Name::Route => out.put_slice(line.raw),
            Name::CSeq => {
                let digits = line.value.iter().take_while(|b| b.is_ascii_digit()).count();
                out.put_slice(b"CSeq: ");
                out.put_slice(&line.value[..digits]);
                out.put_u8(b' ');
                out.put_slice(method);
                out.put_slice(b"\r\n");
            }
            _ => {}
        }
    }
    header(out, b"Max-Forwards", b"70");
    finish(out, None);
}

/// A request of our own, header by header.
#[derive(Debug)]
pub struct Request<'b> {
    out: &'b mut BytesMut,
}

impl<'b> Request<'b> {
    /// Writes the request line.
    pub fn start(out: &'b mut BytesMut, method: &[u8], uri: &[u8]) -> Self {
        out.put_slice(method);
        out.put_u8(b' ');
        value(out, uri);
        out.put_slice(b" SIP/2.0\r\n");
        Self { out }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(self, name: &[u8], bytes: &[u8]) -> Self {
        header(self.out, name, bytes);
        self
    }

    /// Adds a header whose value comes in parts.
    #[must_use]
    pub fn parts(self, name: &[u8], parts: &[&[u8]]) -> Self {
        self.out.put_slice(name);
        self.out.put_slice(b": ");
        for part in parts {
            value(self.out, part);
        }
        self.out.put_slice(b"\r\n");
        self
    }

    /// Adds a header with a number and text behind it.
    #[must_use]
    pub fn number(self, name: &[u8], number: u64, rest: &[u8]) -> Self {
        self.out.put_slice(name);
        self.out.put_slice(b": ");
        decimal(self.out, number);
        value(self.out, rest);
        self.out.put_slice(b"\r\n");
        self
    }

    /// Adds a header whose value knows how to write itself; it must not hold line ends.
    #[must_use]
    pub fn display(self, name: &[u8], value: &impl core::fmt::Display) -> Self {
        self.out.put_slice(name);
        let _ = write!(self.out, ": {value}\r\n");
        self
    }

    /// Adds lines that are complete and were checked when they were made.
    #[must_use]
    pub fn lines(self, lines: &[u8]) -> Self {
        self.out.put_slice(lines);
        self
    }

    /// Ends the message; `body` is content type and bytes.
    pub fn body(self, body: Option<(&[u8], &[u8])>) {
        finish(self.out, body);
    }
}

#[cfg(test)]
mod tests;
