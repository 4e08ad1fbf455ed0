//! Live traces: every message as it is read or written, also those under TLS.
//!
//! Nobody listening costs one look at an empty list. Somebody listening costs a filter and a copy for each message; the
//! queue to each listener is bounded, and what does not fit is counted and told, never waited for.

use core::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::engine::Ends;
use crate::sip::header::Name;
use crate::sip::message::{Framing, Index, View, parse};
use crate::sip::time::Now;
use crate::sip::uri::Aor;

/// One message, as `trestle ctl trace` receives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// Milliseconds since 1970 UTC.
    pub wall_ms: u64,
    /// True when the bridge received it.
    pub received: bool,
    /// The transport.
    pub transport: String,
    /// Our own end, if it is known.
    pub local: Option<SocketAddr>,
    /// The other end, if it is known.
    pub remote: Option<SocketAddr>,
    /// The peer at the other end, if it is one.
    pub peer: Option<String>,
    /// The message; what is not UTF-8 is replaced.
    pub message: String,
    /// All bytes in hexadecimal, where `message` cannot hold them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// Messages that did not fit the queue since the one before.
    #[serde(default)]
    pub dropped: u64,
}

impl Traced {
    /// The message byte for byte, but for secrets.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let Some(hex) = &self.hex else {
            return self.message.as_bytes().to_vec();
        };
        let digit = |b: &u8| {
            char::from(*b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
                .unwrap_or(0)
        };
        hex.as_bytes()
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, b| byte << 4 | digit(b)))
            .collect()
    }
}

/// What a listener wants to see; what is not said is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// To or from this peer.
    pub peer: Option<String>,
    /// With this user, or `user@domain`, as Request-URI, From, To or Contact.
    pub user: Option<String>,
    /// Requests with this method, and their answers.
    pub method: Option<String>,
    /// With this Call-ID.
    pub call_id: Option<String>,
}

impl Filter {
    fn reads_messages(&self) -> bool {
        self.user.is_some() || self.method.is_some() || self.call_id.is_some()
    }

    /// Whether the message is wanted. One that cannot be read is, unless something in it is asked for.
    fn wants(&self, ends: &Ends, view: Option<&View<'_>>) -> bool {
        if self.peer.is_some() && self.peer != ends.peer {
            return false;
        }
        if !self.reads_messages() {
            return true;
        }
        view.is_some_and(|view| self.wants_message(view))
    }

    fn wants_message(&self, view: &View<'_>) -> bool {
        let method = |wanted: &String| {
            let cseq = view.header(Name::CSeq).unwrap_or_default();
            let last = cseq.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
            last.eq_ignore_ascii_case(wanted.as_bytes())
        };
        let call_id = |wanted: &String| view.header(Name::CallId) == Some(wanted.as_bytes());
        self.method.as_ref().is_none_or(method)
            && self.call_id.as_ref().is_none_or(call_id)
            && self.user.as_ref().is_none_or(|user| names(view, user))
    }
}

/// Whether a URI that matters names this user.
fn names(view: &View<'_>, user: &str) -> bool {
    let wanted = user.strip_prefix("sip:").unwrap_or(user);
    let is = |uri: &str| {
        Aor::parse(uri).is_some_and(|aor| {
            if wanted.contains('@') {
                Aor::parse(wanted).is_some_and(|w| w.user() == aor.user() && w.domain() == aor.domain())
            } else {
                aor.user() == wanted
            }
        })
    };
    let request_uri = view.is_request().then(|| view.request_uri());
    let values = [Name::From, Name::To, Name::Contact];
    let headers = values.into_iter().flat_map(|name| view.headers(name)).map(inner);
    request_uri
        .into_iter()
        .chain(headers)
        .any(|uri| is(&String::from_utf8_lossy(uri)))
}

/// The URI of a name-addr, without brackets and parameters.
fn inner(value: &[u8]) -> &[u8] {
    let open = value.iter().position(|b| *b == b'<').map_or(0, |at| at + 1);
    let rest = value.get(open..).unwrap_or_default();
    let end = rest.iter().position(|b| matches!(b, b'>' | b';' | b'?'));
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default().trim_ascii()
}

/// Where traces go. A slow reader loses messages, never the bridge.
#[derive(Debug, Clone)]
pub struct Tap {
    sender: mpsc::Sender<Traced>,
    filter: Filter,
    dropped: Arc<AtomicU64>,
}

impl Tap {
    /// A tap and its reading end, which holds `room` messages.
    #[must_use]
    pub fn new(room: usize, filter: Filter) -> (Self, mpsc::Receiver<Traced>) {
        let (sender, receiver) = mpsc::channel(room);
        let tap = Self {
            sender,
            filter,
            dropped: Arc::default(),
        };
        (tap, receiver)
    }

    fn put(&self, traced: &Traced) {
        let Ok(room) = self.sender.try_reserve() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut traced = traced.clone();
        traced.dropped = self.dropped.swap(0, Ordering::Relaxed);
        room.send(traced);
    }
}

/// Everybody who listens.
#[derive(Debug, Default)]
pub struct Taps(Vec<Tap>);

impl Taps {
    /// One more listener.
    pub fn add(&mut self, tap: Tap) {
        self.0.push(tap);
    }

    /// Whether nobody listens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Passes a message on to those who want it. Listeners that are gone are forgotten.
    pub fn put(&mut self, now: Now, received: bool, ends: &Ends, bytes: &[u8]) {
        self.0.retain(|tap| !tap.sender.is_closed());
        let mut index = Index::new();
        let read = self.0.iter().any(|tap| tap.filter.reads_messages());
        let view = read.then(|| parse(bytes, Framing::Datagram, &mut index).ok()).flatten();
        let mut traced = None;
        for tap in self.0.iter().filter(|tap| tap.filter.wants(ends, view.as_ref())) {
            tap.put(traced.get_or_insert_with(|| shown(now, received, ends, bytes)));
        }
    }
}

fn shown(now: Now, received: bool, ends: &Ends, bytes: &[u8]) -> Traced {
    let mut bytes = bytes.to_vec();
    hide_secrets(&mut bytes);
    let text = String::from_utf8(bytes);
    let hex = text.as_ref().err().map(|e| {
        use core::fmt::Write as _;
        e.as_bytes().iter().fold(String::new(), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        })
    });
    Traced {
        wall_ms: now.wall_ms,
        received,
        transport: ends.transport.param().into(),
        local: ends.local,
        remote: ends.remote,
        peer: ends.peer.clone(),
        message: text.unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()),
        hex,
        dropped: 0,
    }
}

/// Digest responses stay out of traces: each of their characters becomes a star, so that lengths stay what they were.
fn hide_secrets(message: &mut [u8]) {
    let head = memchr::memmem::find(message, b"\r\n\r\n").unwrap_or(message.len());
    let mut at = 0;
    while let Some(start) = next_response(message.get(at..head).unwrap_or_default()).map(|found| at + found) {
        let rest = message.get(start..head).unwrap_or_default();
        let quoted = rest.first() == Some(&b'"');
        let from = start + usize::from(quoted);
        let ends = |b: &u8| match quoted {
            true => matches!(b, b'"' | b'\r' | b'\n'),
            false => matches!(b, b',' | b' ' | b'\t' | b'\r' | b'\n'),
        };
        let secret = message.get_mut(from..head).unwrap_or_default();
        let length = secret.iter().position(ends).unwrap_or(secret.len());
        secret.iter_mut().take(length).for_each(|b| *b = b'*');
        at = from + length;
    }
}

/// Where the value of the next `response` parameter begins.
fn next_response(head: &[u8]) -> Option<usize> {
    const WORD: &[u8] = b"response";
    let mut at = 0;
    loop {
        let found = head
            .get(at..)?
            .windows(WORD.len())
            .position(|w| w.eq_ignore_ascii_case(WORD))?
            + at;
        let before = found.checked_sub(1).and_then(|b| head.get(b));
        let rest = head.get(found + WORD.len()..)?;
        let blank = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        if before.is_some_and(|b| matches!(b, b' ' | b'\t' | b',')) && rest.get(blank) == Some(&b'=') {
            let value = rest.get(blank + 1..)?;
            let more = value.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
            return Some(found + WORD.len() + blank + 1 + more);
        }
        at = found + WORD.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::net::Transport;

    const MESSAGE: &[u8] = b"MESSAGE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
        From: \"A\" <sip:alice@a.example>;tag=1\r\nTo: <sip:bob@b.example>\r\nCall-ID: c1\r\nCSeq: 1 MESSAGE\r\n\
        Authorization: Digest username=\"alice\", response=\"0123abcd\",Response = ffff, nonce=\"response\"\r\n\
        Content-Length: 2\r\n\r\n\xff\x01";
    const NOW: Now = Now { mono_ms: 1, wall_ms: 2 };

    fn ends(peer: Option<&str>) -> Ends {
        Ends {
            transport: Transport::Udp,
            local: None,
            remote: None,
            peer: peer.map(Into::into),
        }
    }

    #[test]
    fn secrets_become_stars_of_the_same_length() {
        let traced = shown(NOW, true, &ends(None), MESSAGE);
        assert!(
            traced
                .message
                .contains("response=\"********\",Response = ****, nonce=\"response\"")
        );
        let bytes = traced.bytes();
        assert_eq!(bytes.len(), MESSAGE.len());
        assert!(bytes.ends_with(b"\r\n\r\n\xff\x01"));
    }

    #[test]
    fn filters_see_peer_user_method_and_call() {
        let mut index = Index::new();
        let view = parse(MESSAGE, Framing::Datagram, &mut index).expect("it is good");
        let wants = |peer: Option<&str>, make: fn(&mut Filter)| {
            let mut filter = Filter::default();
            make(&mut filter);
            filter.wants(&ends(peer), Some(&view))
        };
        assert!(wants(None, |_| {}));
        assert!(wants(Some("b"), |f| f.peer = Some("b".into())));
        assert!(!wants(None, |f| f.peer = Some("b".into())));
        assert!(wants(None, |f| f.user = Some("bob".into())));
        assert!(wants(None, |f| f.user = Some("sip:alice@a.example".into())));
        assert!(!wants(None, |f| f.user = Some("alice@b.example".into())));
        assert!(!wants(None, |f| f.user = Some("A".into())));
        assert!(wants(None, |f| f.method = Some("message".into())));
        assert!(!wants(None, |f| f.method = Some("MESS".into())));
        assert!(wants(None, |f| f.call_id = Some("c1".into())));
        assert!(!wants(None, |f| f.call_id = Some("c".into())));
        let unread = Filter {
            method: Some("MESSAGE".into()),
            ..Filter::default()
        };
        assert!(!unread.wants(&ends(None), None));
    }

    #[test]
    fn a_slow_reader_loses_messages_and_is_told_how_many() {
        let mut taps = Taps::default();
        let (tap, mut reader) = Tap::new(2, Filter::default());
        taps.add(tap);
        (0..5).for_each(|_| taps.put(NOW, true, &ends(None), MESSAGE));
        assert_eq!(reader.try_recv().map(|t| t.dropped), Ok(0));
        taps.put(NOW, false, &ends(None), MESSAGE);
        assert_eq!(reader.try_recv().map(|t| t.dropped), Ok(0));
        assert_eq!(reader.try_recv().map(|t| t.dropped), Ok(3));
        drop(reader);
        taps.put(NOW, true, &ends(None), MESSAGE);
        assert!(taps.is_empty());
    }
}
