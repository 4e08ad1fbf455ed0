//! A new configuration for a running engine: what is unchanged goes on, what lost its ground ends (design rule 7).
//!
//! First, still by the old configuration, dialogs that have lost their ground say so and end. Then everything that names
//! a peer or user by its place follows to the new places. Connections are judged afterwards, when the edge has read the
//! new certificates ([`Engine::judge_flows_again`]).

use std::sync::Arc;

use super::showing::Showing;
use super::slots::SlotId;
use super::{Engine, Output, record};
use crate::config::plan::{Plan, Withdrawn};
use crate::event::Reason;
use crate::policy::names::same;
use crate::policy::{Party, Scheme, Snapshot, UriFacts, UserId};
use crate::sip::net::PeerId;
use crate::sip::time::Now;
use crate::sip::uri::Aor;

impl Engine {
    /// Takes a new configuration.
    pub(super) fn on_reload(&mut self, now: Now, snapshot: Arc<Snapshot>, plan: &Plan) {
        let mut next = snapshot;
        if next.acl.hosts().next().is_some() {
            Arc::make_mut(&mut next).acl.resolved_as(&self.snapshot.acl);
        }
        self.end_subscriptions(now, plan, &next);
        self.end_withdrawn_talks(now, plan);
        self.drain_layer(now);
        let peers = plan.kept_peers().collect();
        self.outputs.push_back(Output::Reloaded { peers });
        let old = std::mem::replace(&mut self.snapshot, next);
        self.follow_parties(plan, &old);
        self.follow_conversations(now, plan);
        self.follow_flows(plan, &old);
        self.follow_peers(now, plan, &old);
        self.follow_upstreams(now, plan);
        self.follow_lines(now);
        self.forget_trunks();
        self.rates.follow(plan);
        self.follow_contracts(now, plan);
        self.rings.forget();
        self.forget_users(now, plan, &old);
        // Ids may mean others even where no dialect says anything else.
        if plan.rendered || old.dialects != self.snapshot.dialects {
            self.render_again(&old);
        }
        if old.presence.rules != self.snapshot.presence.rules {
            self.recompose_all();
        }
    }

    /// The last NOTIFY still goes by the old trust: nothing but "terminated" is said.
    fn end_subscriptions(&mut self, now: Now, plan: &Plan, next: &Snapshot) {
        let all: Vec<(SlotId, Reason)> = self
            .presence
            .subscriptions
            .iter()
            .filter_map(|(id, s)| {
                let resource = self.presence.resources.get(s.resource);
                let about = resource.map(|r| &r.aor);
                let remote = resource.is_some_and(|r| r.upstream.is_some());
                let lost = about.is_some_and(|aor| remote && next.routes.domain(aor.domain().as_bytes()).is_none());
                let reason = match lost {
                    true => Reason::NoResource,
                    false => Reason::Rejected,
                };
                let next_id = |party| match party {
                    Party::Peer(id) => plan.peer(id),
                    Party::User(_) => None,
                };
                let no_transit =
                    || remote && next_id(s.reach.party).is_some_and(|id| !may_pass(next, id, s.dialog.local_uri()));
                let withdrawn = || {
                    is_withdrawn(plan, s.reach.party, &s.watcher(), about)
                        || self.loses_its_name(plan, next, s)
                        || no_transit()
                };
                (lost || withdrawn()).then_some((id, reason))
            })
            .collect();
        for (id, reason) in all {
            self.dismiss(now, id, reason);
        }
    }

    /// Subscriptions follow their watchers to their new ids; whoever has none has been dismissed.
    fn follow_parties(&mut self, plan: &Plan, old: &Snapshot) {
        let ids: Vec<SlotId> = self.presence.subscriptions.iter().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(subscription) = self.presence.subscriptions.get_mut(id) {
                let party = &mut subscription.reach.party;
                *party = match *party {
                    Party::Peer(id) => Party::Peer(plan.peer(id).unwrap_or(PeerId(u16::MAX))),
                    Party::User(id) => Party::User(plan.user(id).unwrap_or(UserId(u32::MAX))),
                };
                let (showing, who) = (subscription.showing, *party);
                if showing != Showing::default() {
                    let now = self.followed(showing, who, old);
                    let name = |s: &Snapshot, showing: Showing| s.dialect(showing.dialect).map(|d| d.name.clone());
                    let other = now.format != showing.format || name(&self.snapshot, now) != name(old, showing);
                    if let Some(subscription) = self.presence.subscriptions.get_mut(id) {
                        subscription.showing = now;
                    }
                    if other {
                        self.tell_again(id, 0);
                    }
                }
            }
        }
        self.presence.count_held();
    }

    /// What users who must prove themselves anew have left here goes: bindings, publications.
    fn forget_users(&mut self, now: Now, plan: &Plan, old: &Snapshot) {
        let mut gone: Vec<Aor> = Vec::new();
        for withdrawn in &plan.withdrawn {
            match withdrawn {
                Withdrawn::User(id, _) => gone.extend(old.user(*id).map(|u| Aor::new(&u.user, &u.domain))),
                Withdrawn::Domain(domain) => {
                    let there = |aor: &&Aor| same(aor.domain().as_bytes(), domain.as_bytes());
                    gone.extend(self.registrar.iter().map(|e| &e.aor).filter(there).cloned());
                    let resources = self.presence.resources.iter().map(|(_, r)| r);
                    let local = resources.filter(|r| r.upstream.is_none()).map(|r| &r.aor);
                    gone.extend(local.filter(there).cloned());
                }
                _ => {}
            }
        }
        for aor in gone {
            self.forget_bindings(now, &aor);
            self.forget_publications(&aor);
        }
    }

    fn forget_publications(&mut self, aor: &Aor) {
        let Some(id) = self.presence.local_id(aor) else { return };
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return;
        };
        let ids = resource.publications.clear();
        if ids.is_empty() {
            return;
        }
        for id in ids {
            self.persist(record::publication_key(aor, &id), None);
        }
        self.recompose(id);
        self.forget_if_idle(id);
    }
}

/// Whether a peer's watcher may watch somebody abroad through the bridge, as the decision judges a first SUBSCRIBE.
pub(super) fn may_pass(snapshot: &Snapshot, id: PeerId, asked: &[u8]) -> bool {
    let (Some(peer), Some(asked)) = (snapshot.peer(id), UriFacts::of(asked)) else {
        return false;
    };
    let is_number = asked.scheme == Scheme::Tel || snapshot.local_domain(asked.host).is_some();
    match is_number {
        true => snapshot
            .routed_number(&asked, Some(id))
            .is_some_and(|(number, _)| peer.transit.number(&number)),
        false => peer.transit.domain(asked.host),
    }
}

/// Whether a subscription of this watcher to this presentity has lost its ground.
fn is_withdrawn(plan: &Plan, party: Party, watcher: &str, about: Option<&Aor>) -> bool {
    let watcher_domain = watcher.rsplit('@').next().unwrap_or_default();
    let is_about = |domain: &str| about.is_some_and(|aor| same(aor.domain().as_bytes(), domain.as_bytes()));
    let kept = match party {
        Party::Peer(id) => plan.peer(id).is_some(),
        Party::User(id) => plan.user(id).is_some(),
    };
    !kept
        || plan.withdrawn.iter().any(|withdrawn| match withdrawn {
            Withdrawn::PeerDomain(id, domain) => {
                party == Party::Peer(*id) && same(watcher_domain.as_bytes(), domain.as_bytes())
            }
            Withdrawn::Presence(_, address) => about.is_some_and(|aor| aor.to_string() == *address),
            Withdrawn::Domain(domain) => is_about(domain),
            Withdrawn::Assigned(..) | Withdrawn::Names => false,
            Withdrawn::Peer(..) | Withdrawn::User(..) | Withdrawn::Acl => false,
        })
}
