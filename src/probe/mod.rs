//! Floor 2: what a live peer takes and says, found out by a bounded set of harmless requests. Sans-io.
//!
//! [`Session`] sends one question after the other and waits for its answer; [`judge`](judge::judge) says what the answers
//! mean and which key of a mapping file follows; [`overlay`](overlay::suggest) names the dialect that fits best and what
//! differs from it. Nothing here is used by the running bridge. No person is written to unless an address for that is given,
//! and subscriptions are ended at once.

pub mod judge;
pub mod overlay;
mod questions;
mod session;
mod wire;

#[cfg(test)]
mod tests;

pub use session::{Action, Session};

use crate::dialect::Format;
use crate::sip::net::Transport;

/// Requests in all, repetitions and acknowledgements included.
pub const MOST_SENT: usize = 40;
/// Every probe is over after this.
pub const MOST_MS: u64 = 90_000;

/// Who asks whom.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Our own address, `sip:host` or `sip:user@host`.
    pub from: String,
    /// The peer's domain, the target of what is for nobody.
    pub domain: String,
    /// Whose presence is asked for, `sip:user@domain`.
    pub to: Option<String>,
    /// Who takes test messages, `sip:user@domain`. Nobody is written to without.
    pub message_to: Option<String>,
    /// The transport.
    pub transport: Transport,
    /// Our end of the connection, `address:port`, for Via.
    pub local: String,
    /// Where the peer reaches us, `address:port`, for Contact.
    pub contact: String,
    /// How long an answer may take.
    pub patience_ms: u64,
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// OPTIONS.
    Options,
    /// OPTIONS with compact header names.
    Compact,
    /// OPTIONS with a long header.
    Long,
    /// OPTIONS whose Via has no branch.
    Branchless,
    /// OPTIONS with `Proxy-Require: ms-benotify`.
    Required,
    /// An event package that nobody has.
    UnknownEvent,
    /// A fetch of presence in one format alone.
    Fetch(Format),
    /// A subscription that names no expiry.
    NoExpires,
    /// A subscription with everything that Microsoft's clients offer.
    Offers,
    /// The end of a subscription.
    Unsubscribe,
    /// A message by itself, of a type.
    Message(&'static str),
    /// A session of messages, with a media line.
    Invite(&'static str),
}

/// A notification that a question brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notified {
    /// It was a BENOTIFY.
    pub best_effort: bool,
    /// Its Content-Type, if it has a body.
    pub media: Option<String>,
    /// Its User-Agent.
    pub agent: Option<String>,
}

/// A question and what came of it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it was about.
    pub about: About,
    /// What was sent, in a few words.
    pub sent: String,
    /// The final status; `None`: none came.
    pub status: Option<u16>,
    /// Its reason phrase.
    pub reason: String,
    /// How long the answer took.
    pub took_ms: Option<u64>,
    /// The headers of the answer that are worth looking at.
    pub headers: Vec<(&'static str, String)>,
    /// Content-Type of a body in the answer.
    pub media: Option<String>,
    /// Via came back with `received` or a filled `rport`.
    pub rport: bool,
    /// The first notification that followed.
    pub notified: Option<Notified>,
    /// A provisional answer said that the user is being asked.
    pub rang: bool,
    /// Why there is no answer, when it is known.
    pub lost: Option<String>,
}

impl Asked {
    /// A header of the answer.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it was answered with a 2xx.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.status.is_some_and(|s| (200..300).contains(&s))
    }

    /// The status and what came with it, in words.
    #[must_use]
    pub fn came(&self) -> String {
        match (self.status, &self.lost) {
            (Some(status), _) => {
                let reason = crate::dialect::state::printable(&self.reason).unwrap_or_default();
                format!("{status} {reason}").trim_end().to_owned()
            }
            (None, Some(lost)) => lost.clone(),
            (None, None) => "no answer".to_owned(),
        }
    }
}

/// All that was found out on the wire.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The questions, in order.
    pub asked: Vec<Asked>,
    /// A keep-alive of CRLFCRLF was answered within so many milliseconds; `None`: not, or not asked.
    pub pong_ms: Option<u64>,
    /// A keep-alive was sent.
    pub pinged: bool,
    /// Messages that cannot be read.
    pub garbage: u32,
    /// Everything that was sent.
    pub sent: usize,
    /// Why it ended early.
    pub stopped: Option<String>,
}

impl Seen {
    /// What came of the first question of a kind.
    #[must_use]
    pub fn of(&self, about: About) -> Option<&Asked> {
        self.asked.iter().find(|a| a.about == about)
    }

    /// Whether anything was answered at all.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.asked.iter().any(|a| a.status.is_some())
    }
}

/// One line of the score sheet.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was sent.
    pub sent: String,
    /// What came.
    pub came: String,
    /// After so many milliseconds.
    pub ms: Option<u64>,
    /// What it means.
    pub means: String,
    /// The key of a mapping file that follows from it.
    pub key: Option<String>,
}
