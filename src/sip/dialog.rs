//! Dialogs (RFC 3261 section 12) as subscriptions use them: identifiers, route set, sequence numbers.
//!
//! Everything that is written into requests is kept in one buffer of finished header lines, so a dialog costs one
//! allocation and a NOTIFY copies one slice.

use super::field::NameAddr;
use super::message::Malformed;
use super::uri::{Uri, without_headers};

/// One side of a dialog, ready to send requests in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// Request-URI, then the finished lines.
    text: Box<[u8]>,
    uri_end: u32,
    /// End of the Route lines, which begin at `uri_end`.
    routes_end: u32,
    /// First URI to send to: the first route, or the target.
    next: (u32, u32),
    /// Sequence number of our last request.
    pub local_cseq: u32,
    /// Sequence number of their last request; `None` before the first.
    pub remote_cseq: Option<u32>,
}

/// The pieces a dialog is made of.
#[derive(Clone, Debug, Default)]
pub struct Parts<'a> {
    /// Call-ID.
    pub call_id: &'a [u8],
    /// Our From value without tag.
    pub local: &'a [u8],
    /// Our tag.
    pub local_tag: &'a [u8],
    /// Their To value without tag.
    pub remote: &'a [u8],
    /// Their tag; empty for a peer that gives none.
    pub remote_tag: &'a [u8],
    /// URI of their Contact.
    pub target: &'a [u8],
    /// Route values in the order they are to be written.
    pub routes: Vec<&'a [u8]>,
}

impl Dialog {
    /// Builds the finished text. A strict router as first route gets RFC 3261 section 12.2.1.1's treatment.
    ///
    /// # Errors
    /// When the target or a route is not a URI.
    pub fn new(parts: &Parts<'_>, local_cseq: u32, remote_cseq: Option<u32>) -> Result<Self, Malformed> {
        Uri::parse(parts.target)?;
        let mut routes: Vec<Vec<u8>> = Vec::with_capacity(parts.routes.len());
        for route in &parts.routes {
            Uri::parse(NameAddr::parse(route)?.uri)?;
            routes.push(route.to_vec());
        }
        let first = parts
            .routes
            .first()
            .and_then(|r| NameAddr::parse(r).ok())
            .map(|a| a.uri);
        let strict = first.is_some_and(|uri| Uri::parse(uri).is_ok_and(|u| u.params.get(b"lr").is_none()));
        let mut text = Vec::with_capacity(256);
        if let (true, Some(first)) = (strict, first) {
            routes.remove(0);
            routes.push([b"<", parts.target, b">"].concat());
            text.extend_from_slice(first);
        } else {
            text.extend_from_slice(without_headers(parts.target));
        }
        let uri_end = text.len();
        for route in &routes {
            line(&mut text, b"Route", &[route]);
        }
        let routes_end = text.len();
        line(&mut text, b"From", &[parts.local, b";tag=", parts.local_tag]);
        if parts.remote_tag.is_empty() {
            line(&mut text, b"To", &[parts.remote]);
        } else {
            line(&mut text, b"To", &[parts.remote, b";tag=", parts.remote_tag]);
        }
        line(&mut text, b"Call-ID", &[parts.call_id]);
        let next = if strict {
            (0, uri_end)
        } else {
            next_uri(&text, uri_end, routes.first().map(Vec::as_slice))
        };
        Ok(Self {
            uri_end: uri_end as u32,
            routes_end: routes_end as u32,
            next: (next.0 as u32, next.1 as u32),
            text: text.into(),
            local_cseq,
            remote_cseq,
        })
    }

    /// The Request-URI of our requests.
    #[must_use]
    pub fn request_uri(&self) -> &[u8] {
        &self.text[..self.uri_end as usize]
    }

    /// Route, From, To and Call-ID lines of our requests.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.text[self.uri_end as usize..]
    }

    /// From, To and Call-ID lines alone.
    #[must_use]
    pub fn identity_lines(&self) -> &[u8] {
        &self.text[self.routes_end as usize..]
    }

    /// The Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &[u8] {
        self.line_value(b"Call-ID: ")
    }

    /// The other side's address: the URI in To.
    #[must_use]
    pub fn remote_uri(&self) -> &[u8] {
        let to = self.line_value(b"To: ");
        NameAddr::parse(to).map_or(to, |address| address.uri)
    }

    /// Our own URI, as our requests carry it in From.
    #[must_use]
    pub fn local_uri(&self) -> &[u8] {
        let from = self.line_value(b"From: ");
        NameAddr::parse(from).map_or(from, |address| address.uri)
    }

    /// The value of one of the finished lines behind the routes, which hold no line break inside.
    fn line_value(&self, name: &[u8]) -> &[u8] {
        let mut lines = self.identity_lines().split(|b| *b == b'\n');
        let value = lines.find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        value.strip_suffix(b"\r").unwrap_or(value)
    }

    /// The URI whose address our requests go to.
    #[must_use]
    pub fn next_uri(&self) -> &[u8] {
        &self.text[self.next.0 as usize..self.next.1 as usize]
    }

    /// Takes a new remote target (RFC 3261 section 12.2; SUBSCRIBE and NOTIFY refresh it, RFC 6665). What is no URI
    /// changes nothing, and behind a strict router the old target stays.
    pub fn retarget(&mut self, target: &[u8]) {
        let target = without_headers(target);
        let strict = self.next == (0, self.uri_end) && self.routes_end > self.uri_end;
        if strict || target == self.request_uri() || Uri::parse(target).is_err() {
            return;
        }
        let lines = &self.text[self.uri_end as usize..];
        let moved = |mark: u32| mark - self.uri_end + target.len() as u32;
        let next = match self.next.0 {
            0 => (0, target.len() as u32),
            _ => (moved(self.next.0), moved(self.next.1)),
        };
        (self.next, self.routes_end) = (next, moved(self.routes_end));
        self.text = [target, lines].concat().into();
        self.uri_end = target.len() as u32;
    }

    /// The sequence number of our next request.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.wrapping_add(1) & 0x7fff_ffff;
        self.local_cseq
    }

    /// Takes a remote sequence number; false when it is not above the last (RFC 3261 section 12.2.2: 500).
    pub fn take_remote_cseq(&mut self, cseq: u32) -> bool {
        if self.remote_cseq.is_some_and(|last| cseq <= last) {
            return false;
        }
        self.remote_cseq = Some(cseq);
        true
    }

    /// The text and its marks, for a store.
    #[must_use]
    pub fn to_raw(&self) -> (&[u8], [u32; 4]) {
        (&self.text, [self.uri_end, self.routes_end, self.next.0, self.next.1])
    }

    /// The reverse of [`Dialog::to_raw`]; `None` when the marks do not fit the text.
    #[must_use]
    pub fn from_raw(text: Box<[u8]>, marks: [u32; 4], local_cseq: u32, remote_cseq: Option<u32>) -> Option<Self> {
        let [uri_end, routes_end, from, to] = marks;
        let fits =
            uri_end <= routes_end && routes_end as usize <= text.len() && from <= to && to as usize <= text.len();
        fits.then_some(Self {
            text,
            uri_end,
            routes_end,
            next: (from, to),
            local_cseq,
            remote_cseq,
        })
    }
}

fn line(text: &mut Vec<u8>, name: &[u8], parts: &[&[u8]]) {
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    for part in parts {
        if memchr::memchr3(b'\r', b'\n', 0, part).is_none() {
            text.extend_from_slice(part);
        } else {
            text.extend(part.iter().filter(|b| !matches!(b, b'\r' | b'\n' | 0)));
        }
    }
    text.extend_from_slice(b"\r\n");
}

/// Where in the text the first route's URI stands; without routes the Request-URI.
fn next_uri(text: &[u8], uri_end: usize, first_route: Option<&[u8]>) -> (usize, usize) {
    let uri = first_route.and_then(|r| NameAddr::parse(r).ok()).map(|a| a.uri);
    match uri.and_then(|uri| memchr::memmem::find(&text[uri_end..], uri).map(|at| (uri_end + at, uri.len()))) {
        Some((at, len)) => (at, at + len),
        None => (0, uri_end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(routes: &[&'a [u8]]) -> Parts<'a> {
        Parts {
            call_id: b"c1",
            local: b"<sip:a@x>",
            local_tag: b"l",
            remote: b"<sip:b@y>",
            remote_tag: b"r",
            target: b"sip:b@10.0.0.2:5070",
            routes: routes.to_vec(),
        }
    }

    #[test]
    fn loose_and_strict_routes() -> Result<(), Malformed> {
        let dialog = Dialog::new(&parts(&[b"<sip:p1;lr>", b"<sip:p2;lr>"]), 0, None)?;
        assert_eq!(dialog.request_uri(), b"sip:b@10.0.0.2:5070");
        assert_eq!(dialog.next_uri(), b"sip:p1;lr");
        assert!(
            dialog
                .lines()
                .starts_with(b"Route: <sip:p1;lr>\r\nRoute: <sip:p2;lr>\r\nFrom: <sip:a@x>;tag=l\r\n")
        );
        let dialog = Dialog::new(&parts(&[b"<sip:p1>", b"<sip:p2;lr>"]), 0, None)?;
        assert_eq!(
            (dialog.request_uri(), dialog.next_uri()),
            (&b"sip:p1"[..], &b"sip:p1"[..])
        );
        assert!(
            dialog
                .lines()
                .starts_with(b"Route: <sip:p2;lr>\r\nRoute: <sip:b@10.0.0.2:5070>\r\n")
        );
        let dialog = Dialog::new(&parts(&[]), 0, None)?;
        assert_eq!(dialog.next_uri(), b"sip:b@10.0.0.2:5070");
        assert_eq!((dialog.call_id(), dialog.remote_uri()), (&b"c1"[..], &b"sip:b@y"[..]));
        Ok(())
    }

    #[test]
    fn a_new_target_leaves_everything_else() -> Result<(), Malformed> {
        for routes in [&[][..], &[&b"<sip:p1;lr>"[..], b"<sip:p2;lr>"]] {
            for target in [
                &b"sip:b@10.0.0.2:5070"[..],
                b"sip:x@y",
                b"sip:somebody.else@a.long.host.example:5099",
            ] {
                let mut dialog = Dialog::new(&parts(routes), 0, None)?;
                dialog.retarget(target);
                let wanted = Parts {
                    target,
                    ..parts(routes)
                };
                assert_eq!(dialog, Dialog::new(&wanted, 0, None)?);
            }
        }
        let mut strict = Dialog::new(&parts(&[b"<sip:p1>"]), 0, None)?;
        let before = strict.clone();
        strict.retarget(b"sip:x@y");
        strict.retarget(b"no URI");
        assert_eq!(strict, before);
        Ok(())
    }

    #[test]
    fn sequence_numbers_only_rise() -> Result<(), Malformed> {
        let mut dialog = Dialog::new(&parts(&[]), 5, Some(7))?;
        assert_eq!((dialog.next_cseq(), dialog.next_cseq()), (6, 7));
        assert!(!dialog.take_remote_cseq(7) && !dialog.take_remote_cseq(3) && dialog.take_remote_cseq(9));
        let (text, marks) = dialog.to_raw();
        assert_eq!(Dialog::from_raw(text.into(), marks, 7, Some(9)), Some(dialog.clone()));
        assert!(Dialog::from_raw(text[..10].into(), marks, 7, None).is_none());
        Ok(())
    }
}
