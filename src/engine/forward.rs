//! Stateful forwarding (RFC 3261 section 16) with the non-INVITE rules of RFC 4320.
//!
//! A [`Forward`] joins one server transaction to one leg per target. A leg tries its destinations in order. The first
//! 2xx wins; otherwise the best final answer goes back. A request nobody answers gets 504 before the sender's Timer F,
//! never 408. Which targets there are is not decided here.

mod ending;

use bytes::Bytes;
use smallvec::SmallVec;

use super::loops;
use super::naming::Names;
use super::reply::{Answer, Request, phrase};
use super::slots::SlotId;
use super::timers::Kind;
use super::{Engine, Output};
use crate::sip::header::Name;
use crate::sip::message::{Framing, View};
use crate::sip::net::{Destination, PeerId, Source};
use crate::sip::time::Now;
use crate::sip::transaction::{ClientId, ServerId};
use crate::sip::write;

/// RFC 4320 section 4.1: a non-INVITE request gets 100 when Timer E has reached T2, over any transport, and not before.
const LATE_TRYING_MS: u64 = 3_500;
/// A non-INVITE request gets 504 after this, unless its peer says otherwise.
const DEADLINE_MS: u64 = 20_000;
/// RFC 3261 section 16.6 step 11: Timer C is larger than three minutes.
const TIMER_C_MS: u64 = 185_000;

/// One place a request goes to.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    /// The new Request-URI, or `None` to keep the old one.
    pub(super) uri: Option<Bytes>,
    /// Route values put before the rest: a binding's Path.
    pub(super) path: Option<Bytes>,
    /// Destinations in the order to try.
    pub(super) destinations: SmallVec<[Destination; 2]>,
}

impl Hop {
    /// A hop that keeps the Request-URI.
    pub(super) fn to(destinations: SmallVec<[Destination; 2]>) -> Self {
        Self {
            uri: None,
            path: None,
            destinations,
        }
    }
}

/// How a request is sent on.
#[derive(Debug, Default)]
pub(super) struct Manner<'a> {
    /// Our own Route values to take off the top.
    pub(super) drop_routes: usize,
    /// The user part of the Record-Route to add.
    pub(super) record_route: Option<&'a [u8]>,
    /// Milliseconds until 504; 0 means the default of 20 s.
    pub(super) timeout_ms: u64,
    /// Credentials for us are not passed on.
    pub(super) strip_credentials: bool,
    /// From and To as they are called there.
    pub(super) names: Option<Box<Names>>,
    /// The peer it goes to, whose contract may let it wait.
    pub(super) contract: Option<PeerId>,
}

#[derive(Debug)]
struct Leg {
    hop: Hop,
    next: usize,
    client: Option<ClientId>,
    provisional: bool,
    /// A contract lets it wait for its turn.
    waiting: bool,
}

/// One forwarded request.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) server: ServerId,
    request: Bytes,
    framing: Framing,
    source: Source,
    /// When a request that is no INVITE gets 504.
    deadline_ms: u64,
    invite: bool,
    drop_routes: usize,
    record_route: Option<SmallVec<[u8; 48]>>,
    strip_credentials: bool,
    names: Option<Box<Names>>,
    contract: Option<PeerId>,
    legs: SmallVec<[Leg; 1]>,
    /// What tells a loop from a spiral when the request comes back.
    target: u64,
    /// Max-Breadth, to be split among the legs.
    breadth: u32,
    best: Option<(u16, Bytes)>,
    /// An INVITE has been answered with 2xx; only further 2xx pass.
    won: bool,
    cancelled: bool,
    why: &'static str,
    /// A message that will be stored when no contact takes it, unless every one refuses it.
    store_for: Option<crate::sip::uri::Aor>,
    /// How many legs ended in a refusal that time does not change.
    refused: usize,
}

impl Forward {
    /// The peer whose contract the request keeps to.
    pub(super) fn contract(&self) -> Option<PeerId> {
        self.contract
    }

    /// A leg waits for its turn.
    pub(super) fn wait(&mut self, leg: usize) {
        if let Some(leg) = self.legs.get_mut(leg) {
            (leg.client, leg.waiting) = (None, true);
        }
    }

    /// Whether a leg still waits for its turn.
    pub(super) fn is_waiting(&self, leg: usize) -> bool {
        self.legs.get(leg).is_some_and(|leg| leg.waiting)
    }

    fn wait_no_more(&mut self) {
        for leg in &mut self.legs {
            leg.waiting = false;
        }
    }

    /// Keeps the best final answer that is not 2xx.
    fn offer(&mut self, status: u16, wire: Bytes) {
        if self.best.as_ref().is_none_or(|(best, _)| rank(status) < rank(*best)) {
            self.best = Some((status, wire));
        }
    }
}

impl Engine {
    /// Sends a request on to all hops at once.
    pub(super) fn forward(&mut self, now: Now, request: &Request<'_>, hops: SmallVec<[Hop; 1]>, manner: Manner<'_>) {
        self.forward_or_store(now, request, hops, manner, None);
    }

    /// As [`Engine::forward`]; if no hop takes the message, and not every one refuses it, it is kept for `store_for`.
    pub(super) fn forward_or_store(
        &mut self,
        now: Now,
        request: &Request<'_>,
        hops: SmallVec<[Hop; 1]>,
        manner: Manner<'_>,
        store_for: Option<crate::sip::uri::Aor>,
    ) {
        let breadth = loops::breadth(request.essentials);
        if hops.len() > breadth as usize {
            return self.answer(now, request, Answer::new(440, phrase(440)));
        }
        let target = self.target_hash(request.view, request.essentials);
        let invite = request.essentials.method.as_bytes() == b"INVITE";
        let timeout_ms = if manner.timeout_ms == 0 {
            DEADLINE_MS
        } else {
            manner.timeout_ms
        };
        let kept = self.buffers.keep(request.view.bytes());
        let framing = if request.source.flow.is_some() {
            Framing::Stream
        } else {
            Framing::Datagram
        };
        let id = self.forwards.insert(Forward {
            server: request.server,
            request: kept,
            framing,
            source: *request.source,
            deadline_ms: now.mono_ms + timeout_ms,
            invite,
            drop_routes: manner.drop_routes,
            record_route: manner.record_route.map(SmallVec::from_slice),
            strip_credentials: manner.strip_credentials,
            names: manner.names,
            contract: manner.contract,
            legs: hops
                .into_iter()
                .map(|hop| Leg {
                    hop,
                    next: 0,
                    client: None,
                    provisional: false,
                    waiting: false,
                })
                .collect(),
            target,
            breadth,
            best: None,
            won: false,
            cancelled: false,
            why: "no target answered",
            store_for,
            refused: 0,
        });
        self.layer
            .set_server_user(request.server, id.pack(Owner::Forward as u8));
        self.counters.forwarded += 1;
        if invite {
            self.answer(now, request, Answer::new(100, "Trying"));
            self.wheel.arm(now.mono_ms + TIMER_C_MS, Kind::ForwardDeadline, id);
        } else if timeout_ms > LATE_TRYING_MS {
            self.wheel.arm(now.mono_ms + LATE_TRYING_MS, Kind::LateTrying, id);
        } else {
            self.wheel.arm(now.mono_ms + timeout_ms, Kind::ForwardDeadline, id);
        }
        let legs = self.forwards.get(id).map_or(0, |f| f.legs.len());
        for leg in 0..legs {
            self.try_leg(now, id, leg, Some(request.view));
        }
        self.conclude(now, id);
    }

    /// Sends a leg to its next destination; `view` saves parsing again on the first attempt.
    pub(super) fn try_leg(&mut self, now: Now, id: SlotId, leg: usize, view: Option<&View<'_>>) {
        if self.contract_holds_leg(now, id, leg) {
            return;
        }
        let Some(forward) = self.forwards.get_mut(id) else {
            return;
        };
        let Some(entry) = forward.legs.get_mut(leg) else { return };
        entry.client = None;
        (entry.provisional, entry.waiting) = (false, false);
        let Some(destination) = entry.hop.destinations.get(entry.next).copied() else {
            return;
        };
        entry.next += 1;
        let (invite, target) = (forward.invite, forward.target);
        if self.is_self(destination) {
            return self.leads_back(id);
        }
        let (client, branch) = self.layer.reserve(invite, id.pack(Owner::Forward as u8));
        if let Some(entry) = self.forwards.get_mut(id).and_then(|f| f.legs.get_mut(leg)) {
            entry.client = Some(client);
        }
        let branch = branch.marked(target);
        let wire = match view {
            Some(view) => self.write_forwarded(id, leg, view, destination, branch.as_bytes()),
            None => self.rewrite_forwarded(id, leg, destination, branch.as_bytes()),
        };
        match wire {
            Some(wire) => self
                .layer
                .send(now, client, destination, wire, is_reliable(destination)),
            None => {
                self.layer.abandon(client);
                if let Some(entry) = self.forwards.get_mut(id).and_then(|f| f.legs.get_mut(leg)) {
                    entry.client = None;
                }
            }
        }
    }

    /// A leg that would end where it began is a loop, whatever its new Request-URI.
    fn leads_back(&mut self, id: SlotId) {
        let wire = self.own_answer(id, 482, "SIP;cause=482;text=\"the contact names this bridge itself\"");
        let (Some(forward), Some(wire)) = (self.forwards.get_mut(id), wire) else {
            return;
        };
        forward.refused += 1;
        forward.offer(482, wire);
    }

    fn rewrite_forwarded(&mut self, id: SlotId, leg: usize, to: Destination, branch: &[u8]) -> Option<Bytes> {
        let forward = self.forwards.get(id)?;
        let (kept, framing) = (forward.request.clone(), forward.framing);
        let mut index = self.index.take().unwrap_or_default();
        let wire = crate::sip::message::parse(&kept, framing, &mut index)
            .ok()
            .and_then(|view| self.write_forwarded(id, leg, &view, to, branch));
        self.index = Some(index);
        wire
    }

    /// Writes the request as it leaves: our Via on top, one hop less to go, everything else as it came.
    fn write_forwarded(
        &mut self,
        id: SlotId,
        leg: usize,
        view: &View<'_>,
        to: Destination,
        branch: &[u8],
    ) -> Option<Bytes> {
        let mut buffer = self.buffers.take();
        let via = self.via_value(to, branch);
        let forward = self.forwards.get(id)?;
        let hop = &forward.legs.get(leg)?.hop;
        let record_route = forward.record_route.as_ref().map(|token| {
            let came = super::reply::reply_destination(&forward.source, None);
            self.record_route_values(to, came, token)
        });
        let mut remove: SmallVec<[Name; 4]> = SmallVec::new();
        if forward.strip_credentials {
            remove.extend([Name::ProxyAuthorization, Name::Authorization]);
        }
        let path = hop.path.clone();
        let mut add: SmallVec<[(&[u8], &[u8]); 3]> = SmallVec::new();
        add.extend(path.as_deref().map(|path| (&b"Route"[..], path)));
        if let Some(names) = &forward.names {
            remove.extend(names.remove());
            add.extend(names.add());
        }
        let plan = write::Forward {
            uri: hop.uri.as_deref(),
            via: &via,
            max_forwards: view.max_forwards().unwrap_or(70).saturating_sub(1),
            max_breadth: Some(loops::share(forward.breadth, forward.legs.len(), leg)),
            drop_first_routes: forward.drop_routes,
            push_record_route: record_route.as_deref(),
            set_received: Some((forward.source.remote.ip(), forward.source.remote.port())),
            remove: &remove,
            add: &add,
        };
        write::forward_request(&mut buffer, view, &plan);
        Some(self.buffers.finish(buffer))
    }

    /// A response to a leg, already matched by the transaction layer.
    pub(super) fn on_forward_response(&mut self, now: Now, id: SlotId, client: ClientId, view: &View<'_>, status: u16) {
        let Some(forward) = self.forwards.get_mut(id) else {
            return;
        };
        let (invite, server, won) = (forward.invite, forward.server, forward.won);
        let Some(leg) = forward.legs.iter().position(|l| l.client == Some(client)) else {
            return;
        };
        if status < 200 {
            forward.legs[leg].provisional = true;
            if invite && status > 100 && !won {
                let wire = self.write_response(view);
                self.layer.respond(now, server, status, wire);
            }
            if invite && self.forwards.get(id).is_some_and(|f| f.cancelled) {
                self.cancel_legs(now, id);
            }
            return;
        }
        if status >= 300 && self.may_fail_over(id, leg, status) {
            return self.try_next(now, id, leg, "the peer answered 503");
        }
        let (status, wire) = self.final_wire(view, status, invite, id);
        let Some(forward) = self.forwards.get_mut(id) else {
            return;
        };
        if !(invite && status < 300) {
            forward.legs[leg].client = None;
        }
        forward.legs[leg].next = usize::MAX;
        if status < 300 {
            forward.won = true;
            self.layer.respond(now, server, status, wire);
            self.settle_other_legs(now, id, client);
            return;
        }
        forward.refused += usize::from(super::messages::is_refusal(status));
        forward.offer(status, wire);
        self.conclude(now, id);
    }

    /// The response as it goes back: 503 is a statement about the next server only (RFC 3261 section 16.7), 408 is no
    /// answer to a non-INVITE request (RFC 4320 section 4.2).
    fn final_wire(&mut self, view: &View<'_>, status: u16, invite: bool, id: SlotId) -> (u16, Bytes) {
        let replacement = match status {
            503 => Some((500, "SIP;cause=503;text=\"the next server is unavailable\"")),
            408 if !invite => Some((504, "SIP;cause=408;text=\"the next server timed out\"")),
            _ => None,
        };
        if let Some((status, why)) = replacement
            && let Some(wire) = self.own_answer(id, status, why)
        {
            return (status, wire);
        }
        (status, self.write_response(view))
    }

    /// A response forwarded: the top Via, which is ours, comes off.
    fn write_response(&mut self, view: &View<'_>) -> Bytes {
        let mut buffer = self.buffers.take_answer();
        write::forward_response(&mut buffer, view);
        self.buffers.finish_answer(buffer)
    }

    fn may_fail_over(&self, id: SlotId, leg: usize, status: u16) -> bool {
        let Some(forward) = self.forwards.get(id) else {
            return false;
        };
        status == 503 && forward.legs.get(leg).is_some_and(|l| l.next < l.hop.destinations.len()) && !forward.cancelled
    }

    fn try_next(&mut self, now: Now, id: SlotId, leg: usize, why: &'static str) {
        if let Some(forward) = self.forwards.get_mut(id) {
            forward.why = why;
        }
        self.try_leg(now, id, leg, None);
        self.conclude(now, id);
    }

    /// A leg whose bytes could not be sent, or that nobody answered.
    pub(super) fn on_forward_failure(&mut self, now: Now, id: SlotId, client: ClientId, why: &'static str) {
        let Some(forward) = self.forwards.get(id) else { return };
        let Some(leg) = forward.legs.iter().position(|l| l.client == Some(client)) else {
            return;
        };
        if forward.cancelled {
            return self.conclude(now, id);
        }
        self.try_next(now, id, leg, why);
    }

    /// A 2xx has been passed on: other legs of an INVITE are cancelled, those of anything else forgotten.
    fn settle_other_legs(&mut self, now: Now, id: SlotId, winner: ClientId) {
        let Some(forward) = self.forwards.get(id) else { return };
        if forward.invite {
            return self.cancel_others(now, id, Some(winner));
        }
        if let Some(forward) = self.forwards.remove(id) {
            for client in forward.legs.iter().filter_map(|l| l.client) {
                self.layer.abandon(client);
            }
        }
    }

    /// Sends bytes outside any transaction.
    pub(super) fn send_raw(&mut self, to: Destination, wire: Bytes) {
        self.outputs.push_back(Output::Send { to, wire, token: 0 });
    }
}

/// Who owns a client transaction: the kind in its user token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Owner {
    /// A leg of a [`Forward`].
    Forward = 1,
    /// A NOTIFY of ours.
    Notify,
    /// A SUBSCRIBE of ours.
    Upstream,
    /// An OPTIONS probe.
    Probe,
    /// A stored message on its way.
    Delivery,
    /// An INVITE of a session of messages, ours or theirs.
    Session,
    /// A message of a conversation.
    Parcel,
    /// What nothing depends on: typing, BYE, a refresh.
    Aside,
}

impl Owner {
    /// The reverse of the cast.
    pub(super) fn from_u8(kind: u8) -> Option<Self> {
        [
            Self::Forward,
            Self::Notify,
            Self::Upstream,
            Self::Probe,
            Self::Delivery,
            Self::Session,
            Self::Parcel,
            Self::Aside,
        ]
        .into_iter()
        .find(|k| *k as u8 == kind)
    }
}

/// Whether a destination's transport repeats lost data.
pub(super) fn is_reliable(to: Destination) -> bool {
    match to {
        Destination::Datagram { .. } => false,
        Destination::Peer { transport, .. } => transport.is_reliable(),
        Destination::Flow(_) | Destination::Contact { .. } => true,
    }
}

/// RFC 3261 section 16.7 step 6: 6xx first, then the lowest class; 401, 407, 415, 420 and 484 before others of theirs.
fn rank(status: u16) -> (u16, u16) {
    let class = if status >= 600 { 0 } else { status / 100 };
    (class, u16::from(!matches!(status, 401 | 407 | 415 | 420 | 484)))
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn the_best_answer_is_the_one_the_sender_can_act_on() {
        assert!(rank(603) < rank(404));
        assert!(rank(302) < rank(404));
        assert!(rank(401) < rank(404));
        assert!(rank(404) < rank(500));
    }
}
