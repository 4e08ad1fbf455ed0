//! What is told of conversations, and what a new configuration does to them.

use super::super::slots::SlotId;
use super::{End, Engine, Line};
use crate::config::plan::{Plan, Withdrawn};
use crate::dialect::ImMode;
use crate::policy::Party;
use crate::policy::names::same;
use crate::sip::net::PeerId;
use crate::sip::time::Now;

impl Engine {
    /// What refusals have taught of a peer's domains, as `DOMAIN:pager` or `DOMAIN:session`.
    pub(in crate::engine) fn learned_modes(&self, now: Now, peer: PeerId) -> Vec<String> {
        let Some(peer) = self.snapshot.peer(peer) else {
            return Vec::new();
        };
        let known = self
            .talks
            .learned
            .iter()
            .filter(|(domain, l)| l.until_ms > now.mono_ms && peer.domains.get(domain.as_bytes()).is_some());
        let mut modes: Vec<String> = known
            .map(|(domain, l)| format!("{domain}:{}", if l.mode == ImMode::Pager { "pager" } else { "session" }))
            .collect();
        modes.sort_unstable();
        modes
    }

    /// Messages that are on their way.
    pub(in crate::engine) fn messages_under_way(&self) -> usize {
        self.talks.parcels.len()
    }

    /// The configuration in force ends: sessions that lose one of their ends are ended while there is a way to say so.
    pub(in crate::engine) fn end_withdrawn_talks(&mut self, now: Now, plan: &Plan) {
        let lost = |l: &Line| followed(plan, &l.remote).is_none() || followed(plan, &l.local).is_none();
        let lines = self.talks.lines.iter().filter(|(_, l)| lost(l));
        let sessions: Vec<SlotId> = lines.flat_map(|(_, l)| l.sessions.iter().copied()).collect();
        for session in sessions {
            self.end_session(now, session);
        }
    }

    /// Conversations follow their parties to their new ids; what is left of those that have lost one end goes.
    pub(in crate::engine) fn follow_conversations(&mut self, now: Now, plan: &Plan) {
        self.look_for_dialects();
        self.talks.learned.clear();
        let lines: Vec<(SlotId, End, End)> = self
            .talks
            .lines
            .iter()
            .map(|(id, l)| (id, l.remote.clone(), l.local.clone()))
            .collect();
        for (id, remote, local) in lines {
            match (followed(plan, &remote), followed(plan, &local)) {
                (Some(remote), Some(local)) => {
                    if let Some(line) = self.talks.lines.get_mut(id) {
                        (line.remote.party, line.local.party) = (remote, local);
                    }
                }
                _ => self.end_line(id),
            }
        }
        let parcels: Vec<(SlotId, End, End)> = self
            .talks
            .parcels
            .iter()
            .map(|(id, p)| (id, p.from.clone(), p.to.clone()))
            .collect();
        for (id, from, to) in parcels {
            let ends = (followed(plan, &from), followed(plan, &to));
            match (self.talks.parcels.get_mut(id), ends) {
                (Some(parcel), (Some(from), Some(to))) => (parcel.from.party, parcel.to.party) = (from, to),
                (Some(parcel), (from, _)) => {
                    // Who is not known any more hears nothing.
                    parcel.silent |= from.is_none();
                    self.conclude_parcel(now, id, 480, "no longer configured");
                }
                (None, _) => {}
            }
        }
        let typists: Vec<SlotId> = self.talks.typists.iter().map(|(id, _)| id).collect();
        for id in typists {
            self.talks.typists.remove(id);
        }
        self.talks.by_typist.clear();
    }

    fn end_line(&mut self, id: SlotId) {
        let sessions = self.talks.lines.get(id).map(|l| l.sessions.clone()).unwrap_or_default();
        for session in sessions {
            if let Some(client) = self.talks.sessions.get(session).and_then(|s| s.client) {
                self.layer.abandon(client);
            }
            self.drop_session(session);
        }
    }
}

/// The id of a party in the new configuration, if its trust goes on.
fn followed(plan: &Plan, end: &End) -> Option<Party> {
    let lost = plan.withdrawn.iter().any(|withdrawn| match withdrawn {
        Withdrawn::PeerDomain(id, domain) => {
            end.party == Party::Peer(*id) && same(end.aor.domain().as_bytes(), domain.as_bytes())
        }
        Withdrawn::Domain(domain) => same(end.aor.domain().as_bytes(), domain.as_bytes()),
        _ => false,
    });
    let party = match end.party {
        Party::Peer(id) => plan.peer(id).map(Party::Peer),
        Party::User(id) => plan.user(id).map(Party::User),
    };
    party.filter(|_| !lost)
}
