//! What the engine tells of itself: for `trestle ctl`, metrics and readiness.

use serde::Serialize;

use super::Engine;
use super::list::Role;
use super::slots::SlotId;
use super::subscription::Subscription;
use crate::sip::time::Now;

/// The shard at a glance.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// Whether new work is refused, since the bridge is stopping.
    pub draining: bool,
    /// Transactions alive.
    pub transactions: usize,
    /// Open connections.
    pub connections: usize,
    /// Subscriptions served: of one presentity each, whether in a dialog of its own or on a list.
    pub subscriptions: usize,
    /// Lists served, each in one dialog.
    pub lists: usize,
    /// Subscriptions held at peers.
    pub upstream_subscriptions: usize,
    /// Presentities known.
    pub presentities: usize,
    /// Contacts registered.
    pub bindings: usize,
    /// Messages kept for absent users.
    pub stored_messages: usize,
    /// Messages of conversations on their way.
    pub messages_under_way: usize,
    /// Requests that reached the decision.
    pub requests: u64,
    /// Requests refused by it.
    pub refused: u64,
    /// Requests forwarded.
    pub forwarded: u64,
    /// NOTIFYs sent.
    pub notifies: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Responses that matched nothing.
    pub stray_responses: u64,
    /// Connections closed since their peer held as many as it may.
    pub connections_refused: u64,
}

/// One peer.
#[derive(Debug, Clone, Serialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Domains it speaks for.
    pub domains: Vec<String>,
    /// `up`, `down`, `unknown` before the first answer, or `unprobed` while nothing is asked and nothing was heard.
    pub state: &'static str,
    /// What was seen last.
    pub why: String,
    /// Seconds since the last change; `None` before the first.
    pub since_s: Option<u64>,
    /// Addresses of its next hops.
    pub targets: Vec<String>,
    /// Connections that are its own.
    pub connections: usize,
    /// What we promised it and how it stands; `None` without a contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract: Option<super::ContractStatus>,
    /// Rings through it: what went out to one peer came back from another.
    pub rings: Vec<String>,
    /// What trusted terminators report of those that came through one.
    pub terminated: Vec<String>,
    /// Sessions of messages that the bridge holds with it.
    pub sessions: usize,
    /// The mode of messages that refusals have taught, by domain.
    pub im_learned: Vec<String>,
}

/// One subscription served.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriptionStatus {
    /// Who watches.
    pub watcher: String,
    /// Who is watched; of a list, how many it names. Whom it watches follows with entries of their own.
    pub presentity: String,
    /// Where NOTIFYs go.
    pub from: String,
    /// Seconds left.
    pub expires_s: u64,
}

/// One contact.
#[derive(Debug, Clone, Serialize)]
pub struct RegistrationStatus {
    /// The address.
    pub aor: String,
    /// The contact.
    pub contact: String,
    /// Where it registered from.
    pub from: String,
    /// Seconds left.
    pub expires_s: u64,
}

impl Engine {
    /// The shard at a glance.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            draining: self.draining,
            transactions: self.layer.len(),
            connections: self.flows.len(),
            subscriptions: self.presence.subscriptions.len().saturating_sub(self.lists.len()),
            lists: self.lists.len(),
            upstream_subscriptions: self.upstreams.slots.len(),
            presentities: self.presence.resources.len(),
            bindings: self.registrar.iter().map(|e| e.bindings.len()).sum(),
            stored_messages: self.messages.len(),
            messages_under_way: self.messages_under_way(),
            requests: self.counters.requests,
            refused: self.counters.refused,
            forwarded: self.counters.forwarded,
            notifies: self.counters.notifies,
            malformed: self.counters.malformed,
            stray_responses: self.counters.stray_responses,
            connections_refused: self.counters.connections_refused,
        }
    }

    /// All peers.
    #[must_use]
    pub fn peer_status(&self, now: Now) -> Vec<PeerStatus> {
        let one = |(id, peer): (crate::sip::net::PeerId, &crate::policy::Peer)| {
            let health = self.peers.health(id);
            let since = health.map_or(0, |h| h.since_wall_ms);
            PeerStatus {
                name: peer.name.to_string(),
                domains: peer.domains.iter().map(|(name, _)| name.to_string()).collect(),
                state: match health {
                    Some(h) if h.down => "down",
                    Some(h) if h.since_wall_ms > 0 => "up",
                    _ if peer.probe.is_none() => "unprobed",
                    _ => "unknown",
                },
                why: health.map(|h| h.why.clone()).unwrap_or_default(),
                since_s: (since > 0).then(|| now.wall_ms.saturating_sub(since) / 1000),
                targets: self
                    .peers
                    .targets_of(id)
                    .map(|(t, to)| format!("{to} {}", t.param()))
                    .collect(),
                connections: self.flows.values().filter(|f| self.is_from_peer(&f.source, id)).count(),
                contract: self.contract_status(now, id),
                rings: self.rings.of_peer(&peer.name),
                terminated: self.terminated_flows(id),
                sessions: self.sessions_with(crate::policy::Party::Peer(id)),
                im_learned: self.learned_modes(now, id),
            }
        };
        self.snapshot.peers().map(one).collect()
    }

    /// What its connections through terminators rest on, each once, in order.
    fn terminated_flows(&self, id: crate::sip::net::PeerId) -> Vec<String> {
        let its = self.flows.values().filter(|f| f.owner == Some(id));
        let told = its.filter_map(|f| Some(f.identity.terminated()?.to_string()));
        told.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// All subscriptions served.
    #[must_use]
    pub fn subscription_status(&self, now: Now) -> Vec<SubscriptionStatus> {
        let one = |(id, s): (SlotId, &Subscription)| {
            let owner = if s.role == Role::Member {
                self.list_of(id).unwrap_or(s)
            } else {
                s
            };
            SubscriptionStatus {
                watcher: s.watcher(),
                presentity: match s.role {
                    Role::List => format!("a list of {}", self.list_len(id)),
                    _ => self
                        .presence
                        .resources
                        .get(s.resource)
                        .map(|r| r.aor.to_string())
                        .unwrap_or_default(),
                },
                from: format!("{} {}", owner.reach.origin.remote, owner.reach.origin.transport.param()),
                expires_s: owner.expires_wall_ms.saturating_sub(now.wall_ms) / 1000,
            }
        };
        self.presence.subscriptions.iter().map(one).collect()
    }

    /// All contacts.
    #[must_use]
    pub fn registration_status(&self, now: Now) -> Vec<RegistrationStatus> {
        let entries = self.registrar.iter();
        entries
            .flat_map(|e| e.bindings.iter().map(move |b| (e, b)))
            .map(|(e, b)| RegistrationStatus {
                aor: e.aor.to_string(),
                contact: String::from_utf8_lossy(&b.uri).into_owned(),
                from: format!("{} {}", b.origin.remote, b.origin.transport.param()),
                expires_s: b.expires_wall_ms.saturating_sub(now.wall_ms) / 1000,
            })
            .collect()
    }
}
