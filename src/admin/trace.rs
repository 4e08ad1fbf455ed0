//! Live traces: every message as it is read or written, also those under TLS.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::sip::net::{Destination, Source};
use crate::sip::time::Now;

/// One message, as `trestle ctl trace` receives it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Traced {
    /// Milliseconds since 1970 UTC.
    pub wall_ms: u64,
    /// True when the bridge received it.
    pub received: bool,
    /// The transport.
    pub transport: String,
    /// The other end, if it is known by address.
    pub remote: Option<SocketAddr>,
    /// The message; what is not UTF-8 is replaced.
    pub message: String,
}

/// Where traces go. A slow reader loses messages, never the bridge.
#[derive(Debug, Clone)]
pub struct Tap(mpsc::Sender<Traced>);

impl Tap {
    /// A tap and its reading end, which holds `room` messages.
    #[must_use]
    pub fn new(room: usize) -> (Self, mpsc::Receiver<Traced>) {
        let (sender, receiver) = mpsc::channel(room);
        (Self(sender), receiver)
    }

    /// Whether somebody still reads.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    /// A message that came in.
    pub fn received(&self, now: Now, source: &Source, bytes: &[u8]) {
        self.put(now, true, source.transport.param(), Some(source.remote), bytes);
    }

    /// A message that goes out.
    pub fn sent(&self, now: Now, to: Destination, bytes: &[u8]) {
        let (transport, remote) = match to {
            Destination::Datagram { to, .. } => ("udp", Some(to)),
            Destination::Peer { transport, to, .. } => (transport.param(), Some(to)),
            Destination::Contact { to } => ("tcp", Some(to)),
            Destination::Flow(_) => ("stream", None),
        };
        self.put(now, false, transport, remote, bytes);
    }

    fn put(&self, now: Now, received: bool, transport: &str, remote: Option<SocketAddr>, bytes: &[u8]) {
        let message = hide_secrets(&String::from_utf8_lossy(bytes));
        let _ = self.0.try_send(Traced {
            wall_ms: now.wall_ms,
            received,
            transport: transport.into(),
            remote,
            message,
        });
    }
}

/// Digest responses stay out of traces.
fn hide_secrets(message: &str) -> String {
    let Some(at) = message.find(" response=\"") else {
        return message.to_string();
    };
    let (head, tail) = message.split_at(at + 11);
    let end = tail.find('"').unwrap_or(tail.len());
    format!("{head}***{}", &tail[end..])
}
