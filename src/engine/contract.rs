//! Rate contracts: what we send a peer goes at the rate that we promised it, and the last state always arrives.
//!
//! A bucket of tokens for each peer that has a contract; a NOTIFY, a SUBSCRIBE, a MESSAGE or whatever else is sent takes
//! one. What finds none waits: a NOTIFY as its subscription only, so that what goes in the end is the latest state; a
//! SUBSCRIBE likewise; a forwarded request, and what a conversation sends, in the order it came, and no longer than
//! [`LONGEST_WAIT_MS`], else its sender is told 480 with the time to wait. The three take turns. That somebody types is
//! not said when there is no token. A probe goes at once and is paid for by those after it, and
//! so does the last word to a watcher whose trust has ended. Answers, ACK and CANCEL are not counted, nor what the
//! transport repeats (RFC 3261 section 17.1).

use std::collections::VecDeque;

use hashbrown::HashSet;
use serde::Serialize;

use super::Engine;
use super::naming::Watching;
use super::peers::{peer_of, probe_id};
use super::reply::{Answer, Request, phrase};
use super::slots::SlotId;
use super::timers::Kind;
use crate::config::plan::Plan;
use crate::event::Reason;
use crate::policy::{Party, Watched};
use crate::sip::net::PeerId;
use crate::sip::time::Now;

/// A request that would have to wait longer than this is refused. Senders hear within Timer F, whatever is behind us.
const LONGEST_WAIT_MS: u64 = 8_000;
/// What one request costs; a bucket gains its rate of these each millisecond.
const TOKEN: i64 = 1_000;

/// A request that waits for a token.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    /// A subscription whose watcher has not seen the latest state.
    Notify(SlotId),
    /// A subscription of ours.
    Subscribe(SlotId),
    /// A leg of a forwarded request.
    Leg(SlotId, usize),
    /// A message of a conversation by itself, and the way it takes.
    Parcel(SlotId, usize),
    /// A line of a conversation: its next INVITE or MESSAGE.
    Talk(SlotId),
}

/// Subscriptions that wait, each once, the longest first.
#[derive(Debug, Default)]
struct Line {
    order: VecDeque<(SlotId, u64)>,
    there: HashSet<SlotId>,
}

impl Line {
    fn join(&mut self, id: SlotId, now_ms: u64) {
        if self.there.insert(id) {
            self.order.push_back((id, now_ms));
        }
    }

    fn next(&mut self) -> Option<SlotId> {
        let (id, _) = self.order.pop_front()?;
        self.there.remove(&id);
        Some(id)
    }
}

/// One peer's contract as it stands.
#[derive(Debug)]
struct Bucket {
    /// Requests a second.
    rate: u32,
    /// In parts of [`TOKEN`]; below zero while a probe is to be paid for.
    tokens: i64,
    filled_ms: u64,
    notifies: Line,
    subscribes: Line,
    /// Forwarded requests and those of conversations, in the order they came.
    legs: VecDeque<Waiting>,
    /// Whose turn it is.
    turn: u8,
    /// The next request goes without asking: its token is taken.
    granted: bool,
    /// When the timer fires, if it is armed.
    armed_ms: Option<u64>,
}

impl Bucket {
    fn new(rate: u32, now_ms: u64) -> Self {
        Self {
            rate,
            tokens: burst(rate),
            filled_ms: now_ms,
            notifies: Line::default(),
            subscribes: Line::default(),
            legs: VecDeque::new(),
            turn: 0,
            granted: false,
            armed_ms: None,
        }
    }

    fn fill(&mut self, now_ms: u64) {
        let gained = now_ms
            .saturating_sub(self.filled_ms)
            .saturating_mul(u64::from(self.rate));
        self.filled_ms = self.filled_ms.max(now_ms);
        let gained = i64::try_from(gained).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(gained).min(burst(self.rate));
    }

    fn is_idle(&self) -> bool {
        self.notifies.order.is_empty() && self.subscribes.order.is_empty() && self.legs.is_empty()
    }

    /// Takes a token; nothing overtakes what waits.
    fn take(&mut self, now_ms: u64) -> bool {
        if core::mem::take(&mut self.granted) {
            return true;
        }
        self.fill(now_ms);
        let free = self.is_idle() && self.tokens >= TOKEN;
        if free {
            self.tokens -= TOKEN;
        }
        free
    }

    /// Milliseconds until a token is there.
    fn due_in(&self) -> u64 {
        let lacking = u64::try_from((TOKEN - self.tokens).max(0)).unwrap_or(0);
        lacking.div_ceil(u64::from(self.rate.max(1)))
    }

    /// The next in turn.
    fn next(&mut self) -> Option<Waiting> {
        for _ in 0..3 {
            self.turn = (self.turn + 1) % 3;
            let found = match self.turn {
                0 => self.notifies.next().map(Waiting::Notify),
                1 => self.legs.pop_front(),
                _ => self.subscribes.next().map(Waiting::Subscribe),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// How long one more forwarded request would wait at most, the others taking their turns.
    fn wait_ms(&self) -> u64 {
        let lines = [!self.notifies.order.is_empty(), !self.subscribes.order.is_empty()];
        let ahead = self.legs.len() as u64 + 1;
        let turns = ahead * (1 + lines.into_iter().filter(|full| *full).count() as u64);
        let lacking = i64::try_from(turns).unwrap_or(i64::MAX).saturating_mul(TOKEN) - self.tokens;
        u64::try_from(lacking.max(0)).unwrap_or(0) / u64::from(self.rate.max(1))
    }
}

/// A tenth of a second's worth and at least one: what goes at once after a silence, on top of the rate.
fn burst(rate: u32) -> i64 {
    i64::from((rate / 10).max(1)) * TOKEN
}

/// The buckets of all peers; nothing where no peer has a contract.
#[derive(Debug, Default)]
pub(super) struct Contracts(Vec<Option<Bucket>>);

impl Contracts {
    fn get(&self, peer: PeerId) -> Option<&Bucket> {
        self.0.get(usize::from(peer.0))?.as_ref()
    }

    fn get_mut(&mut self, peer: PeerId) -> Option<&mut Bucket> {
        self.0.get_mut(usize::from(peer.0))?.as_mut()
    }
}

/// A contract as it stands.
#[derive(Debug, Clone, Serialize)]
pub struct ContractStatus {
    /// Requests a second that we promised not to pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<u32>,
    /// Requests that could go at once.
    pub tokens: u64,
    /// Requests that wait.
    pub waiting: usize,
    /// How long the oldest of the waiting states has been waiting, milliseconds: nothing that this peer shows of what we
    /// know is older by more than this and the way there.
    pub stale_ms: u64,
    /// Distinct addresses that we watch there.
    pub watched: u32,
    /// How many it may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watched_most: Option<u32>,
}

impl Engine {
    /// Buckets for the configuration in force.
    pub(super) fn start_contracts(&mut self, now: Now) {
        let rates: Vec<Option<u32>> = self
            .snapshot
            .peers
            .iter()
            .map(|p| p.contract.and_then(|c| c.messages))
            .collect();
        if rates.iter().any(Option::is_some) {
            let bucket = |rate: Option<u32>| rate.map(|rate| Bucket::new(rate, now.mono_ms));
            self.contracts.0 = rates.into_iter().map(bucket).collect();
        }
    }

    /// Follows a new configuration: who waited goes on waiting, at the new rate, or goes at once when none is left.
    pub(super) fn follow_contracts(&mut self, now: Now, plan: &Plan) {
        let mut before = core::mem::take(&mut self.contracts);
        self.start_contracts(now);
        let mut freed: Vec<(PeerId, Bucket)> = Vec::new();
        for (old, new) in plan.kept_peers() {
            let Some(mut was) = before.0.get_mut(usize::from(old.0)).and_then(Option::take) else {
                continue;
            };
            was.fill(now.mono_ms);
            was.armed_ms = None;
            match self.contracts.get_mut(new) {
                Some(bucket) => {
                    (was.rate, was.tokens) = (bucket.rate, was.tokens.min(bucket.tokens));
                    *bucket = was;
                    self.arm_contract(now, new);
                }
                None => freed.push((new, was)),
            }
        }
        // Of peers that are gone nothing goes; forwarded requests end by their own time.
        for (_, mut bucket) in freed {
            while let Some(waiting) = bucket.next() {
                self.go(now, waiting);
            }
        }
    }

    /// Whether a NOTIFY waits for its turn.
    pub(super) fn contract_holds_notify(&mut self, now: Now, id: SlotId) -> bool {
        if self.contracts.0.is_empty() {
            return false;
        }
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return false;
        };
        let Party::Peer(peer) = subscription.reach.party else {
            return false;
        };
        if subscription.ending.is_some_and(|reason| reason != Reason::Timeout) {
            // The connection may be about to close.
            self.contract_counts(now, peer);
            return false;
        }
        self.waits(now, peer, Waiting::Notify(id))
    }

    /// Whether a SUBSCRIBE of ours waits for its turn.
    pub(super) fn contract_holds_subscribe(&mut self, now: Now, id: SlotId) -> bool {
        if self.contracts.0.is_empty() {
            return false;
        }
        let Some(peer) = self.upstreams.slots.get(id).map(|u| u.key.peer) else {
            return false;
        };
        self.waits(now, peer, Waiting::Subscribe(id))
    }

    /// Whether a forwarded request waits for its turn.
    pub(super) fn contract_holds_leg(&mut self, now: Now, id: SlotId, leg: usize) -> bool {
        if self.contracts.0.is_empty() {
            return false;
        }
        let Some(peer) = self.forwards.get(id).and_then(super::forward::Forward::contract) else {
            return false;
        };
        let holds = self.waits(now, peer, Waiting::Leg(id, leg));
        if let Some(forward) = self.forwards.get_mut(id).filter(|_| holds) {
            forward.wait(leg);
        }
        holds
    }

    /// Whether a message of a conversation waits for its turn.
    pub(super) fn contract_holds_parcel(&mut self, now: Now, peer: PeerId, id: SlotId, leg: usize) -> bool {
        self.waits(now, peer, Waiting::Parcel(id, leg))
    }

    /// Whether what a line of a conversation would send next waits for its turn.
    pub(super) fn contract_holds_talk(&mut self, now: Now, peer: PeerId, line: SlotId) -> bool {
        self.waits(now, peer, Waiting::Talk(line))
    }

    /// Whether there is a token now for what is not worth waiting for; then it is taken.
    pub(super) fn contract_spares(&mut self, now: Now, peer: PeerId) -> bool {
        self.contracts.get_mut(peer).is_none_or(|b| b.take(now.mono_ms))
    }

    /// Takes a token, or joins the line.
    fn waits(&mut self, now: Now, peer: PeerId, what: Waiting) -> bool {
        let Some(bucket) = self.contracts.get_mut(peer) else {
            return false;
        };
        if bucket.take(now.mono_ms) {
            return false;
        }
        match what {
            Waiting::Notify(id) => bucket.notifies.join(id, now.mono_ms),
            Waiting::Subscribe(id) => bucket.subscribes.join(id, now.mono_ms),
            other => bucket.legs.push_back(other),
        }
        self.arm_contract(now, peer);
        true
    }

    /// What goes whatever the contract says counts all the same.
    pub(super) fn contract_counts(&mut self, now: Now, peer: PeerId) {
        if let Some(bucket) = self.contracts.get_mut(peer) {
            bucket.fill(now.mono_ms);
            bucket.tokens -= TOKEN;
        }
    }

    /// Answers a request that would wait too long; true when it did. A BYE always waits: the dialog is over for its sender.
    pub(super) fn contract_turns_away(&mut self, now: Now, request: &Request<'_>, peer: PeerId) -> bool {
        let Some(bucket) = self.contracts.get_mut(peer) else {
            return false;
        };
        bucket.fill(now.mono_ms);
        let wait = bucket.wait_ms();
        if wait <= LONGEST_WAIT_MS || request.essentials.method.as_bytes() == b"BYE" {
            return false;
        }
        let retry = wait.div_ceil(1000).to_string();
        let rule = self.snapshot.peer(peer).map(|p| p.contract_rule.id.clone());
        let warning = format!("399 {} \"{}\"", self.host(), rule.as_deref().unwrap_or_default());
        let headers: [(&[u8], &[u8]); 2] = [(b"Retry-After", retry.as_bytes()), (b"Warning", warning.as_bytes())];
        self.answer(now, request, Answer::new(480, phrase(480)).with(&headers));
        true
    }

    fn arm_contract(&mut self, now: Now, peer: PeerId) {
        let Some(bucket) = self.contracts.get_mut(peer).filter(|b| !b.is_idle()) else {
            return;
        };
        let due = now.mono_ms + bucket.due_in().max(1);
        if bucket.armed_ms.is_none_or(|armed| armed > due || armed <= now.mono_ms) {
            bucket.armed_ms = Some(due);
            self.wheel.arm(due, Kind::Contract, probe_id(peer));
        }
    }

    /// Lets go what there are tokens for.
    pub(super) fn on_contract_timer(&mut self, now: Now, id: SlotId) {
        let peer = peer_of(id);
        if let Some(bucket) = self.contracts.get_mut(peer)
            && bucket.armed_ms.is_some_and(|due| due <= now.mono_ms)
        {
            bucket.armed_ms = None;
        }
        loop {
            let Some(bucket) = self.contracts.get_mut(peer) else {
                return;
            };
            bucket.fill(now.mono_ms);
            if bucket.tokens < TOKEN {
                break;
            }
            let Some(waiting) = bucket.next() else { break };
            bucket.tokens -= TOKEN;
            bucket.granted = true;
            self.go(now, waiting);
            // Who has gone meanwhile, or waits for an answer first, needs no token.
            if let Some(bucket) = self.contracts.get_mut(peer)
                && core::mem::take(&mut bucket.granted)
            {
                bucket.tokens += TOKEN;
            }
        }
        self.arm_contract(now, peer);
    }

    fn go(&mut self, now: Now, waiting: Waiting) {
        match waiting {
            Waiting::Notify(id) => self.notify_now(now, id),
            Waiting::Subscribe(id) => self.send_subscribe(now, id),
            Waiting::Leg(id, leg) => {
                if self.forwards.get(id).is_some_and(|f| f.is_waiting(leg)) {
                    self.try_leg(now, id, leg, None);
                    self.conclude(now, id);
                }
            }
            Waiting::Parcel(id, leg) => self.parcel_goes(now, id, leg),
            Waiting::Talk(line) => self.line_goes(now, line),
        }
    }

    /// How the contract with a peer stands.
    pub(super) fn contract_status(&self, now: Now, peer: PeerId) -> Option<ContractStatus> {
        let contract = self.snapshot.peer(peer)?.contract?;
        let mut status = ContractStatus {
            messages: contract.messages,
            tokens: 0,
            waiting: 0,
            stale_ms: 0,
            watched: Watching(self).count(peer),
            watched_most: contract.watched,
        };
        if let Some(bucket) = self.contracts.get(peer) {
            let gained = now
                .mono_ms
                .saturating_sub(bucket.filled_ms)
                .saturating_mul(u64::from(bucket.rate));
            let tokens = bucket.tokens.saturating_add(i64::try_from(gained).unwrap_or(i64::MAX));
            status.tokens = u64::try_from(tokens.min(burst(bucket.rate)) / TOKEN).unwrap_or(0);
            // What has ended meanwhile waits for nothing.
            let alive = |id: &SlotId| self.presence.subscriptions.get(*id).is_some();
            let states = || bucket.notifies.order.iter().filter(|(id, _)| alive(id));
            status.waiting = states().count() + bucket.subscribes.order.len() + bucket.legs.len();
            status.stale_ms = states()
                .next()
                .map_or(0, |(_, since)| now.mono_ms.saturating_sub(*since));
        }
        Some(status)
    }
}
