//! Peers as they are right now: addresses of their next hops, and up or down by OPTIONS.
//!
//! Names are resolved ahead of traffic and again at intervals, so that no request waits for DNS. A probe counts as
//! answered by any final response: a server that says 404 is alive. A peer that comes back has its subscriptions
//! refreshed, paced.

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::forward::{Owner, is_reliable};
use super::slots::{SlotId, Slots};
use super::timers::Kind;
use super::{Engine, Event, Output};
use crate::config::plan::Plan;
use crate::policy::{Peer, Snapshot};
use crate::sip::net::{Destination, PeerId, Transport};
use crate::sip::time::Now;
use crate::sip::transaction::ClientId;
use crate::sip::write;
use hashbrown::HashMap;

/// Names are looked up again after this; the resolver's own cache keeps to the TTL.
const RESOLVE_AGAIN_MS: u64 = 30_000;
/// A peer that is not known to be well is probed this often.
const UNWELL_MS: u64 = 2_000;
/// Addresses that one round of probes tries: a peer is as well as the best of them.
const PROBED: usize = 8;
/// And this soon while there is no address at all.
const RESOLVE_SOON_MS: u64 = 2_000;

/// A next hop and where it is now. Shared by routes that name the same host.
#[derive(Debug)]
pub(super) struct Hop {
    peer: PeerId,
    host: String,
    port: Option<u16>,
    transport: Transport,
    targets: Vec<(Transport, SocketAddr)>,
    asked: bool,
    /// When it is to be looked up next; a timer that fires before is an older one.
    due_ms: u64,
}

/// A peer, host, port and transport.
type HopKey = (PeerId, String, Option<u16>, Transport);

/// What probing says of a peer.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    pub(super) down: bool,
    pub(super) why: String,
    failures: u32,
    /// A connection to it has ended since it last answered.
    parted: bool,
    probe: Option<ClientId>,
    /// When the next probe is due; a timer that fires before is an older one.
    due_ms: u64,
    /// How many of its addresses have failed in the round of probes under way.
    tried: usize,
    pub(super) since_wall_ms: u64,
}

/// All next hops and the health of all peers.
#[derive(Debug, Default)]
pub(super) struct Peers {
    hops: Slots<Hop>,
    by_name: HashMap<HopKey, SlotId>,
    health: Vec<Health>,
}

impl Peers {
    /// Whether a peer is known to be down.
    pub(super) fn is_down(&self, peer: PeerId) -> bool {
        self.health.get(usize::from(peer.0)).is_some_and(|h| h.down)
    }

    /// A connection that was opened to a peer is no more.
    pub(super) fn connection_ended(&mut self, peer: PeerId) {
        if let Some(health) = self.health.get_mut(usize::from(peer.0)) {
            health.parted = true;
        }
    }

    pub(super) fn health(&self, peer: PeerId) -> Option<&Health> {
        self.health.get(usize::from(peer.0))
    }

    /// The first known address of a peer over a transport.
    pub(super) fn first_target(&self, peer: PeerId, transport: Transport) -> Option<SocketAddr> {
        self.targets_of(peer).find(|(t, _)| *t == transport).map(|(_, to)| to)
    }

    /// The addresses that a round of probes tries.
    fn probed(&self, peer: PeerId, transport: Transport) -> impl Iterator<Item = SocketAddr> {
        let reached = self.targets_of(peer).filter(move |(t, _)| *t == transport);
        reached.map(|(_, to)| to).take(PROBED)
    }

    /// Whether an address is among a peer's resolved next hops.
    pub(super) fn has_target(&self, peer: PeerId, ip: IpAddr) -> bool {
        self.targets_of(peer).any(|(_, to)| to.ip() == ip)
    }

    /// All addresses of a peer's next hops.
    pub(super) fn targets_of(&self, peer: PeerId) -> impl Iterator<Item = (Transport, SocketAddr)> {
        self.hops
            .iter()
            .filter(move |(_, h)| h.peer == peer)
            .flat_map(|(_, h)| h.targets.iter().copied())
    }

    /// The addresses behind one next hop.
    pub(super) fn targets(
        &self,
        peer: PeerId,
        host: &str,
        port: Option<u16>,
        transport: Transport,
    ) -> &[(Transport, SocketAddr)] {
        self.hops
            .iter()
            .find(|(_, h)| h.peer == peer && h.transport == transport && h.port == port && h.host == host)
            .map_or(&[], |(_, h)| &h.targets)
    }
}

impl Engine {
    /// Sets up next hops and probes for the configuration in force; what is there already goes on as it is.
    pub(super) fn start_peers(&mut self, now: Now) {
        let snapshot = Arc::clone(&self.snapshot);
        self.peers.health.resize_with(snapshot.peers.len(), Health::default);
        for (id, _) in snapshot.peers() {
            if self.peers.health(id).is_some_and(|h| h.due_ms == 0) {
                let delay = 1 + self.random.next_u64() % 500;
                self.arm_probe(now, id, delay);
            }
        }
        for key in wanted_hops(&snapshot) {
            self.add_hop(now, key);
        }
    }

    /// Follows a new configuration. A peer that is reached as before keeps its state and its addresses.
    pub(super) fn follow_peers(&mut self, now: Now, plan: &Plan, old: &Snapshot) {
        let snapshot = Arc::clone(&self.snapshot);
        let mut health: Vec<Health> = Vec::new();
        health.resize_with(snapshot.peers.len(), Health::default);
        for (at, mut was) in core::mem::take(&mut self.peers.health).into_iter().enumerate() {
            let id = PeerId(u16::try_from(at).unwrap_or(u16::MAX));
            let (before, kept) = (old.peer(id), plan.peer(id));
            let after = kept.and_then(|new| snapshot.peer(new));
            let same_probe = before.map(|p| p.probe) == after.map(|p| p.probe);
            if kept != Some(id) || !same_probe {
                // An answer would be taken for another's, and the timer is under the old id.
                if let Some(client) = was.probe.take() {
                    self.layer.abandon(client);
                }
                was.due_ms = 0;
            }
            if let (Some(before), Some(after), Some(new)) = (before, after, kept)
                && reached_alike(before, after)
                && let Some(place) = health.get_mut(usize::from(new.0))
            {
                *place = was;
            } else if let Some(client) = was.probe.take() {
                self.layer.abandon(client);
            }
        }
        self.peers.health = health;
        self.follow_hops(plan, &wanted_hops(&snapshot));
        self.start_peers(now);
    }

    /// Next hops that are still wanted keep their places, so that answers and timers still find them.
    fn follow_hops(&mut self, plan: &Plan, wanted: &[HopKey]) {
        self.peers.by_name.clear();
        let ids: Vec<SlotId> = self.peers.hops.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(hop) = self.peers.hops.get_mut(id) else {
                continue;
            };
            let key = plan
                .peer(hop.peer)
                .map(|peer| (peer, hop.host.clone(), hop.port, hop.transport));
            match key.filter(|key| wanted.contains(key)) {
                Some(key) => {
                    hop.peer = key.0;
                    self.peers.by_name.insert(key, id);
                }
                None => drop(self.peers.hops.remove(id)),
            }
        }
    }

    fn arm_probe(&mut self, now: Now, peer: PeerId, delay_ms: u64) {
        let due = now.mono_ms + delay_ms;
        if let Some(health) = self.peers.health.get_mut(usize::from(peer.0)) {
            health.due_ms = due;
        }
        self.wheel.arm(due, Kind::Probe, probe_id(peer));
    }

    fn add_hop(&mut self, now: Now, key: HopKey) {
        if self.peers.by_name.contains_key(&key) {
            return;
        }
        let (peer, host, port, transport) = key.clone();
        let literal = host.parse::<IpAddr>().ok();
        let targets = literal
            .map(|ip| {
                (
                    transport,
                    SocketAddr::new(ip, port.unwrap_or_else(|| transport.default_port())),
                )
            })
            .into_iter()
            .collect();
        let id = self.peers.hops.insert(Hop {
            peer,
            host,
            port,
            transport,
            targets,
            asked: false,
            due_ms: 0,
        });
        self.peers.by_name.insert(key, id);
        if literal.is_none() {
            self.resolve_hop(now, id);
        }
    }

    fn resolve_hop(&mut self, now: Now, id: SlotId) {
        let Some(hop) = self.peers.hops.get_mut(id) else { return };
        if !std::mem::replace(&mut hop.asked, true) {
            let (host, port, transport) = (hop.host.clone(), hop.port, hop.transport);
            self.outputs.push_back(Output::Resolve {
                token: id.pack(Kind::Resolve as u8),
                host,
                port,
                transport,
            });
        }
        self.arm_resolve(now, id, RESOLVE_AGAIN_MS);
    }

    fn arm_resolve(&mut self, now: Now, id: SlotId, delay_ms: u64) {
        let due = now.mono_ms + delay_ms;
        if let Some(hop) = self.peers.hops.get_mut(id) {
            hop.due_ms = due;
        }
        self.wheel.arm(due, Kind::Resolve, id);
    }

    /// The answer of the resolver. No answer keeps what was known: stale addresses beat none.
    pub(super) fn on_resolved(&mut self, now: Now, token: u64, targets: Vec<(Transport, SocketAddr)>) {
        let (_, id) = SlotId::unpack(token);
        let Some((peer, host)) = self.peers.hops.get(id).map(|h| (h.peer, h.host.clone())) else {
            return;
        };
        let targets = self.not_misled(now, peer, &host, targets);
        let Some(hop) = self.peers.hops.get_mut(id) else { return };
        hop.asked = false;
        if !targets.is_empty() {
            hop.targets = targets;
        } else if hop.targets.is_empty() {
            let note = format!("the name {} has no address; it is asked for again every 2 s", hop.host);
            self.outputs.push_back(Output::Log(Event::Note(note)));
            self.arm_resolve(now, id, RESOLVE_SOON_MS);
        }
    }

    pub(super) fn on_resolve_timer(&mut self, now: Now, id: SlotId) {
        if self.peers.hops.get(id).is_some_and(|h| h.due_ms <= now.mono_ms) {
            self.resolve_hop(now, id);
        }
    }

    /// Time for the next OPTIONS to a peer.
    pub(super) fn on_probe_timer(&mut self, now: Now, id: SlotId) {
        let peer = peer_of(id);
        let Some(probe) = self.snapshot.peer(peer).map(|p| p.probe) else {
            return;
        };
        let Some(probe) = probe else { return };
        if self.peers.health(peer).is_none_or(|h| h.due_ms > now.mono_ms) {
            return;
        }
        let configured = u64::try_from(probe.interval.as_millis()).unwrap_or(u64::MAX).max(100);
        // A peer that does not answer is asked more often, so that its return is seen soon.
        let well = self
            .peers
            .health(peer)
            .is_some_and(|h| h.since_wall_ms > 0 && h.failures == 0);
        let interval = if well { configured } else { configured.min(UNWELL_MS) };
        self.arm_probe(now, peer, interval);
        let pending = self
            .peers
            .health
            .get_mut(usize::from(peer.0))
            .and_then(|h| h.probe.take());
        if let Some(client) = pending {
            self.layer.abandon(client);
            self.probe_failed(now, peer, "no answer to OPTIONS");
        }
        self.probe_now(now, peer);
    }

    /// Asks a peer that was thought down, if it is not being asked already.
    pub(super) fn probe_now(&mut self, now: Now, peer: PeerId) {
        if self.peers.health(peer).is_some_and(|h| h.probe.is_none()) {
            self.send_probe(now, peer);
        }
    }

    fn send_probe(&mut self, now: Now, peer: PeerId) {
        let Some(config) = self.snapshot.peer(peer) else { return };
        let transport = config.transport;
        let domain = config
            .domains
            .iter()
            .next()
            .map_or_else(String::new, |(d, _)| d.to_string());
        let tried = self.peers.health(peer).map_or(0, |h| h.tried);
        let Some(to) = self.peers.probed(peer, transport).nth(tried) else {
            return self.probe_failed(now, peer, "its name has no address");
        };
        let destination = match transport {
            Transport::Udp => Destination::Datagram {
                listener: self.datagram_listener(to.ip(), None),
                to,
            },
            _ => Destination::Peer { peer, transport, to },
        };
        self.contract_counts(now, peer);
        let user = probe_id(peer).pack(Owner::Probe as u8);
        let (client, branch) = self.layer.reserve(false, user);
        let host = self.host().to_string();
        let from = format!("<sip:{host}>;tag={}", text(&self.random.token::<12>()));
        let call_id = format!("{}@{host}", text(&self.random.token::<20>()));
        let uri = format!("sip:{domain}");
        let via = self.via_value(destination, branch.as_bytes());
        let mut buffer = self.buffers.take();
        write::Request::start(&mut buffer, b"OPTIONS", uri.as_bytes())
            .header(b"Via", &via)
            .header(b"Max-Forwards", b"70")
            .header(b"From", from.as_bytes())
            .header(b"To", format!("<{uri}>").as_bytes())
            .header(b"Call-ID", call_id.as_bytes())
            .header(b"CSeq", b"1 OPTIONS")
            .header(b"Contact", &self.own_uri(destination, b"", false))
            .header(b"Accept", b"application/pidf+xml, text/plain")
            .body(None);
        let wire = self.buffers.finish(buffer);
        self.layer
            .send(now, client, destination, wire, is_reliable(destination));
        if let Some(health) = self.peers.health.get_mut(usize::from(peer.0)) {
            health.probe = Some(client);
        }
    }

    /// Any final answer to a probe means up.
    pub(super) fn on_probe_response(&mut self, now: Now, id: SlotId, status: u16) {
        if status < 200 {
            return;
        }
        let peer = peer_of(id);
        if let Some(health) = self.peers.health.get_mut(usize::from(peer.0)) {
            health.probe = None;
        }
        self.peer_answers(now, peer, &format!("OPTIONS was answered {status}"));
    }

    /// A probe that got no answer or could not be sent.
    pub(super) fn on_probe_failure(&mut self, now: Now, id: SlotId, why: &str) {
        let peer = peer_of(id);
        if let Some(health) = self.peers.health.get_mut(usize::from(peer.0)) {
            health.probe = None;
        }
        self.probe_failed(now, peer, why);
    }

    /// Goes on to the peer's next address; once all have failed, so has the peer.
    fn probe_failed(&mut self, now: Now, peer: PeerId, why: &str) {
        let Some((name, limit, transport)) = self.snapshot.peer(peer).map(|p| {
            let limit = p.probe.map_or(2, |probe| probe.down_after);
            (p.name.to_string(), limit, p.transport)
        }) else {
            return;
        };
        let addresses = self.peers.probed(peer, transport).count();
        let Some(health) = self.peers.health.get_mut(usize::from(peer.0)) else {
            return;
        };
        health.tried += 1;
        if health.tried < addresses {
            return self.send_probe(now, peer);
        }
        health.tried = 0;
        health.failures += 1;
        if health.failures >= limit && !health.down {
            health.down = true;
            health.why = why.to_string();
            health.since_wall_ms = now.wall_ms;
            self.outputs.push_back(Output::Log(Event::Peer {
                name,
                up: false,
                why: why.to_string(),
            }));
            self.upstreams_lost(now, peer);
        }
    }

    /// The peer has shown life: a probe answered, or a connection of its own.
    pub(super) fn peer_answers(&mut self, now: Now, peer: PeerId, why: &str) {
        let Some(name) = self.snapshot.peer(peer).map(|p| p.name.to_string()) else {
            return;
        };
        let Some(health) = self.peers.health.get_mut(usize::from(peer.0)) else {
            return;
        };
        // Who has not answered for a while, or has ended a connection, may have lost what it knew.
        let parted = core::mem::take(&mut health.parted);
        let returns = health.down || health.failures > 0 || parted;
        (health.failures, health.tried) = (0, 0);
        if health.down || health.since_wall_ms == 0 {
            health.down = false;
            health.why = why.to_string();
            health.since_wall_ms = now.wall_ms;
            self.outputs.push_back(Output::Log(Event::Peer {
                name,
                up: true,
                why: why.to_string(),
            }));
        }
        if returns {
            self.upstreams_return(now, peer);
            self.repeat_unanswered(peer);
        }
    }
}

/// The next hops that a configuration names.
fn wanted_hops(snapshot: &Snapshot) -> Vec<HopKey> {
    let mut wanted = Vec::new();
    for (id, peer) in snapshot.peers() {
        if let Some(at) = &peer.next_hop {
            wanted.push((id, at.host.to_string(), at.port, peer.transport));
        } else {
            let domains = peer.domains.iter();
            wanted.extend(domains.map(|(d, _)| (id, d.to_string(), None, peer.transport)));
        }
    }
    for route in snapshot.routes.iter().flat_map(|set| set.routes()) {
        if let Some(at) = &route.next_hop {
            wanted.push((route.peer, at.host.to_string(), at.port, route.transport));
        }
    }
    wanted
}

/// Whether what is known of a peer's health still holds: it is asked at the same place, or it is not asked at all.
fn reached_alike(a: &Peer, b: &Peer) -> bool {
    let domains = |p: &Peer| p.domains.iter().map(|(d, _)| d.clone()).collect::<Vec<_>>();
    (a.transport, &a.next_hop, a.probe.is_some()) == (b.transport, &b.next_hop, b.probe.is_some())
        && (a.next_hop.is_some() || domains(a) == domains(b))
}

/// Peers are few and keep their index, so the index itself serves as a timer's id.
pub(super) fn probe_id(peer: PeerId) -> SlotId {
    SlotId::from_index(u32::from(peer.0))
}

pub(super) fn peer_of(id: SlotId) -> PeerId {
    PeerId(u16::try_from(id.index()).unwrap_or(u16::MAX))
}

/// Tokens are ASCII by construction.
pub(super) fn text(token: &[u8]) -> &str {
    core::str::from_utf8(token).unwrap_or_default()
}
