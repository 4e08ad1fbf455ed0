//! Transactions (RFC 3261 section 17 with RFC 6026, RFC 4320 and RFC 4321): all of one shard in one [`Layer`].
//!
//! The four machines stand in files of their own and know only states and timers; the layer keeps their records,
//! matches messages to them and queues what is to be sent. The owner calls a method, then [`Layer::poll`] until
//! `None`, then sleeps until [`Layer::next_timeout`].
//!
//! The layer neither reads nor writes messages: it is given the fields that matter and stores finished bytes. It
//! does not judge where a response came from, opens nothing, and answers nothing by itself: 100 to an INVITE and
//! 100 after 3.5 s to another request (RFC 4320) are the owner's to send, and so is 408, which nobody may send to
//! anything but an INVITE and which [`Layer::respond`] refuses there.

#[cfg(test)]
mod any_calls;
mod branch;
mod client;
mod client_invite;
mod client_non_invite;
mod deadlines;
#[cfg(test)]
mod lossy;
mod matching;
mod pool;
mod server;
mod server_invite;
mod server_non_invite;
#[cfg(test)]
mod tests;

use crate::sip::net::Destination;
use crate::sip::random::Random;
use crate::sip::time::Now;
use bytes::Bytes;
use std::collections::VecDeque;

pub use branch::{Branch, MAGIC_COOKIE, MarkedBranch, has_magic_cookie};
pub use deadlines::{Timer, Timers};
pub use matching::ServerKey;

/// Names a client transaction. An id outlives its transaction harmlessly: it then finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    slot: u32,
    generation: u32,
}

impl ClientId {
    /// The id as a token; never 0.
    #[must_use]
    pub fn to_token(self) -> u64 {
        (u64::from(self.slot) + 1) << 32 | u64::from(self.generation)
    }

    /// The reverse of [`ClientId::to_token`].
    #[must_use]
    pub fn from_token(token: u64) -> Option<Self> {
        let slot = u32::try_from(token >> 32).ok()?.checked_sub(1)?;
        Some(Self {
            slot,
            generation: token as u32,
        })
    }
}

/// Names a server transaction. An id outlives its transaction harmlessly: it then finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId {
    slot: u32,
    generation: u32,
}

/// The states of RFC 3261 section 17 and RFC 6026, over all four machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Reserved, not yet sent (client; no state of the RFC).
    Reserved,
    /// An INVITE was sent, nothing came back.
    Calling,
    /// A non-INVITE was sent or received, no response yet.
    Trying,
    /// A provisional response was received or sent; also an INVITE that was received and not answered.
    Proceeding,
    /// A final response was received or sent (for an INVITE: other than 2xx).
    Completed,
    /// The ACK for a non-2xx response was received.
    Confirmed,
    /// A 2xx to an INVITE was received or sent (RFC 6026).
    Accepted,
    /// Over; the record is freed at once, so that it is seen only inside.
    Terminated,
}

/// Why a client transaction ended without a final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Nobody answered: Timer B or Timer F, or nothing within 64*T1 after a CANCEL or Timer C.
    Timeout,
    /// The owner reported that it could not be sent.
    Transport,
}

/// What the owner is to do. Each comes once, in the order in which it arose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes.
    Transmit {
        /// To where.
        to: Destination,
        /// One complete message.
        wire: Bytes,
        /// The client transaction to report a failure for, by [`Layer::transport_failed`]; `None` for a response.
        client: Option<ClientId>,
    },
    /// A client transaction ended without a final response and is gone. A CANCEL never reports.
    Failed {
        /// The transaction.
        id: ClientId,
        /// The owner's token.
        user: u64,
        /// The cause.
        why: Why,
    },
    /// Timer C (RFC 3261 section 16.8): an INVITE rings too long. The owner should [`Layer::cancel`] it; it fails
    /// after another 64*T1 in any case.
    TimerC {
        /// The transaction.
        id: ClientId,
        /// The owner's token.
        user: u64,
    },
    /// Timer M: no more 2xx of this INVITE will be passed. Comes only for an INVITE that got a 2xx.
    ClientGone {
        /// The transaction.
        id: ClientId,
        /// The owner's token.
        user: u64,
    },
    /// No ACK came: Timer H after a non-2xx, or Timer L after [`Layer::respond_repeating`] (RFC 3261 section
    /// 13.3.1.4: end the dialog with BYE). `ServerGone` follows.
    Unacknowledged {
        /// The transaction.
        id: ServerId,
        /// The owner's token.
        user: u64,
    },
    /// A server transaction ended and its context can be freed.
    ServerGone {
        /// The owner's token.
        user: u64,
    },
}

/// What a request turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// A new transaction: handle the request and [`Layer::respond`].
    New(ServerId),
    /// Seen before and absorbed; if there is an answer, it is queued again.
    Retransmission,
    /// The same; its answer is kept as a recipe, by which the owner writes it again: see [`Layer::recipe`].
    Repeated(ServerId),
    /// An ACK for a non-2xx response; absorbed.
    Ack(ServerId),
    /// An ACK that belongs to no INVITE answered with a non-2xx: it goes to the dialog, and may be forwarded.
    AckFor2xx,
    /// A new CANCEL: answer it by `id` (200, or 481 when nothing matches) and an `invite` that has no final response
    /// yet with 487, after cancelling what was forwarded of it.
    Cancel {
        /// The INVITE from the same source; `None` when there is none or it is another method that matches.
        invite: Option<ServerId>,
        /// Whether any transaction matches (RFC 3261 section 9.2: 200 then, whatever its method; else 481).
        matched: bool,
        /// The transaction of the CANCEL itself.
        id: ServerId,
    },
}

/// What a response turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The client transaction.
    pub id: ClientId,
    /// The owner's token.
    pub user: u64,
    /// Whether the owner shall see it; otherwise it was a repetition, or answers a CANCEL, and is absorbed.
    pub pass: bool,
}

/// What became of a wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The CANCEL is queued; the INVITE ends within 64*T1 (RFC 3261 section 9.1).
    Sent,
    /// No provisional response yet: ask again after the first one (RFC 3261 section 9.1).
    Wait,
    /// Answered, cancelled already, not an INVITE, not sent or gone.
    Pointless,
}

/// What is known of a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// The owner's token.
    pub user: u64,
    /// Its state.
    pub state: State,
    /// Whether it is an INVITE.
    pub invite: bool,
    /// Whether it has its final response.
    pub answered: bool,
}

/// What is known of a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// The owner's token.
    pub user: u64,
    /// Its state.
    pub state: State,
    /// Whether it is an INVITE.
    pub invite: bool,
}

/// All transactions of one shard. No heap allocation per transaction once it has held as many before.
#[derive(Debug)]
pub struct Layer {
    timers: Timers,
    branches: branch::BranchKey,
    clients: client::Clients,
    servers: server::Servers,
    outputs: VecDeque<Output>,
}

impl Layer {
    /// An empty layer; `random` makes the keys of its branches and of the hash that matches requests.
    #[must_use]
    pub fn new(timers: Timers, random: &mut Random, now: Now) -> Self {
        Self {
            timers,
            branches: branch::BranchKey::new(random),
            clients: client::Clients::new(now.mono_ms),
            servers: server::Servers::new(random, now.mono_ms),
            outputs: VecDeque::new(),
        }
    }

    /// How many transactions there are, those included that only absorb repetitions. The owner limits it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.client_len() + self.server_len()
    }

    /// Whether there is no transaction.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many client transactions there are, reserved ones included.
    #[must_use]
    pub fn client_len(&self) -> usize {
        self.clients.len()
    }

    /// How many server transactions there are.
    #[must_use]
    pub fn server_len(&self) -> usize {
        self.servers.len()
    }

    /// A hash of the fields of a received request that decide where it goes, for [`Branch::marked`].
    #[must_use]
    pub fn target_hash<'a>(&self, fields: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        self.branches.hash(fields)
    }

    /// Whether a branch in a lower Via means a loop (RFC 5393 section 4.2): this layer has made it, its transaction
    /// ended or not, and the request had the target that it has again. With another target it is a spiral. A branch
    /// without a mark is of a request that began here, which has no business to come back.
    #[must_use]
    pub fn is_loop(&self, branch: &[u8], target: impl FnOnce() -> u64) -> bool {
        Branch::read(&self.branches, branch).is_some() && Branch::mark(branch).is_none_or(|mark| mark == target())
    }

    /// Sets new timer values; running timers keep theirs until they are set again.
    pub fn set_timers(&mut self, timers: Timers) {
        self.timers = timers;
    }

    /// Fires the timers that are due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.fire_clients(now.mono_ms);
        self.fire_servers(now.mono_ms);
    }

    /// When to call [`Layer::handle_timeout`] (milliseconds of the monotonic clock); may be early, never late.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        match (self.clients.next(), self.servers.next()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
