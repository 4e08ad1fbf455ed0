//! Conversations between parties that speak differently: a back-to-back agent for instant messages.
//!
//! Who sends messages by themselves (RFC 3428) and who sends them in sessions (INVITE, MESSAGE, BYE) understand each other
//! through it, and so do those who cannot show the same content. Between parties that speak alike it does nothing: their
//! requests pass through. A [`Line`] leads from one party to another who takes sessions; it may hold several, one for
//! each endpoint of the other party. A [`Parcel`] is a message on its way; its sender hears within eight seconds how it
//! ended, or that it is kept. What is kept survives a restart; sessions do not, and the next message in one gets 481.

mod answered;
mod incoming;
mod kept;
mod local;
mod out;
mod parcel;
mod status;
mod typing;
mod way;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::reach::Origin;
use super::slots::{SlotId, Slots};
use crate::dialect::ImMode;
use crate::im::content::Said;
use crate::im::session::Outbox;
use crate::im::typing::Relay;
use crate::policy::Party;
use crate::sip::dialog::Dialog;
use crate::sip::message::Framing;
use crate::sip::net::{Destination, PeerId, Source};
use crate::sip::transaction::{ClientId, ServerId};
use crate::sip::uri::Aor;

use super::Engine;

pub(super) use incoming::Accepted;
pub(super) use way::Learned;

/// A sender hears within this how it ended, or gets 202.
const ANSWER_MS: u64 = 8_000;
/// Messages that wait for one session at most.
const MOST_WAITING: usize = 50;
/// Messages that are kept in all: those of one sender, or for one addressee, are as many as `messages.max_stored` says.
const MOST_KEPT: usize = 20_000;
/// Sessions that one user opens, or that the bridge opens for one.
const MOST_OF_ONE_USER: usize = 200;
/// Endpoints of one party that are in session with another.
const MOST_ENDPOINTS: usize = 8;

/// One end of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    aor: Aor,
    party: Party,
}

impl End {
    fn peer(&self) -> Option<PeerId> {
        match self.party {
            Party::Peer(peer) => Some(peer),
            Party::User(_) => None,
        }
    }
}

/// The way from one party to another who takes sessions.
#[derive(Debug)]
struct Line {
    /// Whom the sessions are with.
    remote: End,
    /// For whom they are held.
    local: End,
    sessions: SmallVec<[SlotId; 1]>,
    outbox: Outbox<SlotId>,
    /// An INVITE that collided is sent again after this.
    again_ms: Option<u64>,
    collided: bool,
    /// A contract lets it wait for its turn.
    waiting: bool,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Our INVITE has no answer.
    Inviting,
    /// Our 2xx has no ACK.
    Accepted,
    Open,
    /// Our INVITE is not wanted any more.
    Closing,
}

/// One session of messages.
#[derive(Debug)]
struct Session {
    line: SlotId,
    phase: Phase,
    tag: [u8; 16],
    call_id: Box<[u8]>,
    dialog: Option<Dialog>,
    /// Where the other side was last heard, if it is a client.
    origin: Option<Origin>,
    /// What tells the other side's endpoints apart.
    endpoint: Box<[u8]>,
    /// Which of a user's clients was invited, in their order.
    contact: usize,
    /// Our INVITE, or theirs.
    client: Option<ClientId>,
    server: Option<ServerId>,
    invite_cseq: u32,
    /// Destinations of our INVITE that have not been tried.
    spare: SmallVec<[Destination; 2]>,
    /// What the other side says it takes.
    accept: Vec<String>,
    spoke_ms: u64,
    used_ms: u64,
    /// RFC 4028: without a refresh the session ends then; half of it, if we are to refresh.
    refresh: Option<Refresh>,
}

#[derive(Clone, Copy, Debug)]
struct Refresh {
    interval_ms: u64,
    due_ms: u64,
    ours: bool,
    /// Our UPDATE, which has no answer.
    client: Option<ClientId>,
}

/// Who waits for an answer.
#[derive(Debug)]
struct Waiting {
    server: ServerId,
    request: Bytes,
    framing: Framing,
    source: Source,
}

/// One way of a message that goes by itself.
#[derive(Debug)]
struct Leg {
    uri: Bytes,
    path: Option<Bytes>,
    destinations: SmallVec<[Destination; 2]>,
    next: usize,
    client: Option<ClientId>,
    /// A contract lets it wait for its turn.
    waiting: bool,
}

impl Leg {
    fn is_open(&self) -> bool {
        self.waiting || self.client.is_some()
    }
}

/// A message on its way.
#[derive(Debug)]
struct Parcel {
    from: End,
    to: End,
    said: Said,
    /// As it came, for the store.
    media: Box<str>,
    body: Bytes,
    hops: u32,
    reply: Option<Waiting>,
    deadline_ms: u64,
    /// Its sender has been told that it is kept.
    kept: bool,
    /// Nobody hears of its failure: it is such news itself.
    silent: bool,
    id: [u8; 16],
    /// It went by the other mode, since this one was refused.
    fell_back: Option<ImMode>,
    resent: bool,
    attempts: u8,
    line: Option<SlotId>,
    session: Option<SlotId>,
    client: Option<ClientId>,
    legs: SmallVec<[Leg; 1]>,
    best: Option<u16>,
    /// Legs that ended in a refusal which time does not change.
    refused: usize,
    /// It waits among the messages for an absent user, who is here now.
    delivery: Option<SlotId>,
}

/// What one party says of its typing to another.
#[derive(Debug)]
struct Typist {
    from: End,
    to: End,
    relay: Relay,
}

/// All conversations.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    lines: Slots<Line>,
    by_pair: HashMap<(Aor, Aor), SlotId>,
    sessions: Slots<Session>,
    by_tag: HashMap<[u8; 16], SlotId>,
    parcels: Slots<Parcel>,
    typists: Slots<Typist>,
    by_typist: HashMap<(Aor, Aor), SlotId>,
    learned: HashMap<Box<str>, Learned>,
    count: u32,
    kept: kept::Counts,
    /// Somebody speaks differently: only then anything is looked at.
    bridging: bool,
}

impl Conversations {
    /// Whether somebody waits for an answer.
    pub(super) fn owes(&self) -> bool {
        self.parcels.iter().any(|(_, p)| p.reply.is_some())
    }
}
