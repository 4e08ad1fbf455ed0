//! Floor 3: one shard of the bridge, sans-io.
//!
//! The engine owns everything that has state: transactions, forwarded requests, registrations, presentities,
//! subscriptions in both directions, stored messages and the up/down state of peers. The edge calls
//! [`Engine::handle`] with an [`Input`], then drains [`Engine::poll`] until `None`, then sleeps until
//! [`Engine::next_timeout`] or the next input. Answers that promise something durable wait for [`Input::Durable`].

mod auth;
mod buffers;
mod commit;
mod contract;
mod conversation;
mod delivered;
mod ends;
mod facts;
mod fetch;
mod flows;
mod forward;
mod inbound;
mod invite;
mod lcs;
mod list;
mod local;
mod loops;
mod merged;
mod messages;
mod misled;
mod naming;
mod notifier;
mod outbound;
mod owner;
mod peers;
mod presentity;
mod rates;
mod reach;
mod record;
mod registrar;
mod reload;
mod reply;
mod reuse;
mod rings;
mod route_token;
mod showing;
mod sides;
mod slots;
mod sources;
mod status;
mod subscription;
mod timers;
mod undo;
mod upstream;

#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod dialect_tests;
#[cfg(test)]
mod durability_tests;
#[cfg(test)]
mod naming_tests;
#[cfg(test)]
mod presence_tests;
#[cfg(test)]
mod publish_tests;
#[cfg(test)]
mod register_tests;
#[cfg(test)]
mod remote_tests;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod subscribe_tests;
#[cfg(test)]
mod upstream_tests;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::config::plan::Plan;
use crate::policy::{Identity, Snapshot};
use crate::sip::message::{Framing, Index, Malformed};
use crate::sip::net::{Destination, FlowId, ListenerId, PeerId, Source, Transport};
use crate::sip::random::Random;
use crate::sip::time::Now;
use crate::sip::transaction::{Layer, Timers};

pub use contract::ContractStatus;
pub use ends::Ends;
pub use record::RestoreError;
pub use sources::why::{SentWhy, SourceWhy, Why};
pub use status::{PeerStatus, RegistrationStatus, Status, SubscriptionStatus};

/// What the edge tells the engine.
#[derive(Debug)]
pub enum Input<'a> {
    /// One complete message.
    Message {
        /// Where it came from.
        source: Source,
        /// The bytes, start line to end of body.
        bytes: &'a [u8],
        /// How the body's end was found.
        framing: Framing,
    },
    /// A stream whose framing is lost; what can be answered is answered, then the edge closes it.
    Broken {
        /// Where it came from.
        source: Source,
        /// What was read of the message: the header section at best.
        bytes: &'a [u8],
        /// What is wrong.
        problem: Malformed,
    },
    /// A connection is established; for TLS the handshake is done and its identity judged.
    Opened {
        /// The connection.
        source: Source,
        /// Who is at the other end.
        identity: Arc<Identity>,
        /// The peer it was opened to, when we opened it.
        peer: Option<PeerId>,
    },
    /// A connection has ended.
    Closed {
        /// Its name.
        flow: FlowId,
    },
    /// Bytes could not be sent; `token` is what came with [`Output::Send`].
    SendFailed {
        /// The token of the send; 0 was nobody's.
        token: u64,
    },
    /// The answer to [`Output::Resolve`]; empty when the name has no address.
    Resolved {
        /// The token of the question.
        token: u64,
        /// Addresses in the order to try.
        targets: Vec<(Transport, core::net::SocketAddr)>,
    },
    /// Everything appended up to `lsn` will survive what `store.sync` promises.
    Durable {
        /// Log sequence number of [`Output::Persist`].
        lsn: u64,
    },
    /// Records are lost, and with them all that is still on its way; the answers that waited become 500. The store must
    /// take nothing before it knows that this has been heard.
    StoreFailed {
        /// What the lost records are about.
        keys: Vec<Box<[u8]>>,
    },
    /// The store writes again after a failure.
    StoreRecovered,
    /// The present addresses of a host name in the access list.
    AclResolved {
        /// The name.
        host: String,
        /// Its addresses.
        addresses: Vec<core::net::IpAddr>,
    },
    /// A new configuration, and what it changes. [`Engine::judge_flows_again`] follows.
    Reload(Arc<Snapshot>, Plan),
    /// Time has passed; nothing else happened.
    Tick,
}

/// What the engine asks the edge to do.
#[derive(Debug)]
pub enum Output {
    /// Send bytes.
    Send {
        /// Where to.
        to: Destination,
        /// The message.
        wire: Bytes,
        /// Comes back in [`Input::SendFailed`]; 0 when nobody waits.
        token: u64,
    },
    /// Find addresses by RFC 3263.
    Resolve {
        /// Comes back in [`Input::Resolved`].
        token: u64,
        /// Host name or address literal.
        host: String,
        /// The written port, which rules out SRV.
        port: Option<u16>,
        /// The transport that is configured.
        transport: Transport,
    },
    /// Append a record to the journal.
    Persist {
        /// Log sequence number, rising by one.
        lsn: u64,
        /// What it is about.
        key: Box<[u8]>,
        /// Its state, or `None` when it is gone.
        value: Option<Box<[u8]>>,
        /// Whether something may wait for it; else it needs no sync of its own.
        awaited: bool,
    },
    /// Use a connection that a peer opened for what goes to that peer over TLS (RFC 5923).
    Reuse {
        /// The connection; its certificate has proved the peer's name.
        flow: FlowId,
        /// The peer.
        peer: PeerId,
        /// Only for what goes to this address; `None`: for all.
        at: Option<core::net::SocketAddr>,
    },
    /// Use a connection no more for what goes to the peer that opened it.
    Disown {
        /// The connection.
        flow: FlowId,
    },
    /// Mark what a connection sends with a differentiated services code point.
    Mark {
        /// The connection.
        flow: FlowId,
        /// 0 to 63.
        dscp: u8,
    },
    /// From here on peers are called as in the new configuration: what stands before this goes by the old settings.
    Reloaded {
        /// The peers whose trust goes on, by their old and new ids.
        peers: Vec<(PeerId, PeerId)>,
    },
    /// Close a connection whose trust is gone.
    Close {
        /// The connection.
        flow: FlowId,
        /// For the log.
        why: &'static str,
    },
    /// Something an administrator wants to read in the log, once.
    Log(Event),
}

/// Events worth a log line.
#[derive(Debug, Clone)]
pub enum Event {
    /// A request was refused by policy.
    Refused {
        /// Where it came from.
        source: Source,
        /// Method, as it was written.
        method: String,
        /// From address.
        from: String,
        /// Request-URI.
        to: String,
        /// Status answered.
        status: u16,
        /// The rule, as `id (file:line)`.
        rule: String,
        /// One sentence that says why.
        why: String,
    },
    /// A peer changed between up and down.
    Peer {
        /// Its name.
        name: String,
        /// True when it answers.
        up: bool,
        /// What was seen.
        why: String,
    },
    /// Something else, already a sentence.
    Note(String),
}

/// Addresses that name this bridge on the wire.
#[derive(Debug, Clone)]
pub struct ListenerAddress {
    /// The listener.
    pub id: ListenerId,
    /// Its transport.
    pub transport: Transport,
    /// The bound socket address, as the operating system tells it.
    pub bound: core::net::SocketAddr,
    /// `host:port` to write in Via and Contact.
    pub advertised: String,
}

/// One open connection.
#[derive(Debug)]
struct Flow {
    source: Source,
    identity: Arc<Identity>,
    peer: Option<PeerId>,
    /// The peer at its other end, if it is one.
    owner: Option<PeerId>,
    /// The peer it belonged to is trusted no more.
    lost: bool,
    /// It has been marked with a code point.
    marked: bool,
    /// It has been offered for reuse.
    offered: bool,
}

/// Counters that the metrics endpoint shows.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    /// Requests that reached `decide`.
    pub requests: u64,
    /// Requests refused by `decide`.
    pub refused: u64,
    /// Requests forwarded to a peer or contact.
    pub forwarded: u64,
    /// NOTIFY requests sent.
    pub notifies: u64,
    /// Messages that could not be parsed.
    pub malformed: u64,
    /// Responses that matched no transaction.
    pub stray_responses: u64,
    /// Connections closed since their peer held as many as it may.
    pub connections_refused: u64,
}

/// One shard.
#[derive(Debug)]
pub struct Engine {
    snapshot: Arc<Snapshot>,
    listeners: Vec<ListenerAddress>,
    random: Random,
    layer: Layer,
    /// The time of the input being handled.
    clock: Now,
    wheel: timers::Wheel,
    index: Option<Box<Index>>,
    buffers: buffers::Buffers,
    outputs: VecDeque<Output>,
    flows: HashMap<FlowId, Flow>,
    no_tls: Arc<Identity>,
    auth: auth::Authenticator,
    journal: commit::Journal,
    peers: peers::Peers,
    forwards: slots::Slots<forward::Forward>,
    registrar: registrar::Registrar,
    presence: presentity::Presence,
    upstreams: upstream::Upstreams,
    sources: sources::Sources,
    messages: messages::Offline,
    roaming: lcs::Roaming,
    lists: list::Lists,
    talks: conversation::Conversations,
    rates: rates::Rates,
    contracts: contract::Contracts,
    merged: merged::Merged,
    rings: rings::Rings,
    route_key: [u8; 16],
    counters: Counters,
    draining: bool,
}

/// What an engine needs to start.
#[derive(Debug)]
pub struct Setup {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    /// The sockets that listen.
    pub listeners: Vec<ListenerAddress>,
    /// Seeded from the operating system, or by a simulation.
    pub random: Random,
    /// Whether answers wait for a store.
    pub durable: bool,
    /// Key of the Record-Route tokens; kept across restarts so that dialogs continue.
    pub route_key: [u8; 16],
}

impl Engine {
    /// An engine without state; [`Engine::restore`] brings back what the store held.
    #[must_use]
    pub fn new(setup: Setup, now: Now) -> Self {
        let Setup {
            snapshot,
            listeners,
            mut random,
            durable,
            route_key,
        } = setup;
        let mut engine = Self {
            layer: Layer::new(Timers::default(), &mut random, now),
            clock: now,
            wheel: timers::Wheel::new(now.mono_ms),
            index: Some(Box::new(Index::new())),
            buffers: buffers::Buffers::default(),
            outputs: VecDeque::new(),
            flows: HashMap::new(),
            no_tls: Arc::new(Identity::no_tls("the transport carries no certificate")),
            auth: auth::Authenticator::new(&mut random),
            journal: commit::Journal::new(durable),
            peers: peers::Peers::default(),
            forwards: slots::Slots::default(),
            registrar: registrar::Registrar::default(),
            presence: presentity::Presence::default(),
            upstreams: upstream::Upstreams::default(),
            sources: sources::Sources::default(),
            messages: messages::Offline::default(),
            roaming: lcs::Roaming::default(),
            lists: list::Lists::default(),
            talks: conversation::Conversations::default(),
            rates: rates::Rates::default(),
            contracts: contract::Contracts::default(),
            merged: merged::Merged::new(&mut random),
            rings: rings::Rings::new(&mut random),
            counters: Counters::default(),
            draining: false,
            route_key,
            random,
            listeners,
            snapshot,
        };
        engine.start_contracts(now);
        engine.look_for_dialects();
        engine.start_peers(now);
        engine.follow_lines(now);
        engine
    }

    /// Takes one input. Call [`Engine::poll`] until it returns `None` afterwards.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.clock = now;
        match input {
            Input::Message { source, bytes, framing } => self.on_bytes(now, &source, bytes, framing),
            Input::Broken { source, bytes, problem } => self.on_broken(&source, bytes, &problem),
            Input::Opened { source, identity, peer } => self.on_opened(now, source, identity, peer),
            Input::Closed { flow } => self.on_closed(now, flow),
            Input::SendFailed { token } => self.on_send_failed(now, token),
            Input::Resolved { token, targets } => self.on_resolved(now, token, targets),
            Input::Durable { lsn } => self.on_durable(now, lsn),
            Input::StoreFailed { keys } => self.on_store_failed(now, keys),
            Input::StoreRecovered => self.on_store_recovered(),
            Input::AclResolved { host, addresses } => self.on_acl_resolved(&host, &addresses),
            Input::Reload(snapshot, plan) => self.on_reload(now, snapshot, &plan),
            Input::Tick => {}
        }
        self.layer.handle_timeout(now);
        self.drain_layer(now);
        self.run_timers(now);
        self.fan_out(now);
        self.drain_layer(now);
    }

    /// The next thing to do, or `None`.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Monotonic milliseconds at which [`Input::Tick`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        [self.layer.next_timeout(), self.wheel.next(), self.presence.next_slice()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Names the sockets that listen, before the first input.
    pub fn set_listeners(&mut self, listeners: Vec<ListenerAddress>) {
        self.listeners = listeners;
    }

    /// Refuses new work from now on; what is under way goes on.
    pub fn start_draining(&mut self) {
        self.draining = true;
    }

    /// Whether anything is under way that a stop should wait for.
    #[must_use]
    pub fn busy(&self) -> bool {
        !self.forwards.is_empty() || self.talks.owes() || self.journal.has_waiting()
    }

    /// The configuration in force.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The counters since start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
