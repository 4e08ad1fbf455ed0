//! A new configuration for a running engine: what is unchanged goes on, what lost its ground ends (design rule 7).

use std::sync::Arc;

use super::Engine;
use super::slots::SlotId;
use crate::config::plan;
use crate::event::Reason;
use crate::policy::{Party, Snapshot};
use crate::sip::time::Now;

impl Engine {
    /// Takes a new configuration. Identities of open connections are judged again by the edge, which closes those that
    /// lost theirs; dialogs, bindings and publications of users and peers that are gone end here.
    pub(super) fn on_reload(&mut self, now: Now, snapshot: Arc<Snapshot>) {
        let plan = plan::plan(&self.snapshot, &snapshot);
        let map = |party: Party| match party {
            Party::Peer(id) => plan.peer(id).map(Party::Peer),
            Party::User(id) => plan.user(id).map(Party::User),
        };
        let ids: Vec<SlotId> = self.presence.subscriptions.iter().map(|(id, _)| id).collect();
        let mut ended = Vec::new();
        for id in ids {
            let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
                continue;
            };
            match map(subscription.reach.party) {
                Some(party) => subscription.reach.party = party,
                None => ended.push(id),
            }
        }
        self.presence.count_held();
        // The last NOTIFY still goes by the old trust: nothing but "terminated" is said.
        for id in ended {
            self.end_subscription(now, id, Reason::Rejected);
        }
        self.remap_upstreams(&plan);
        for flow in self.flows.values_mut() {
            flow.peer = flow.peer.and_then(|id| plan.peer(id));
        }
        let old = std::mem::replace(&mut self.snapshot, snapshot);
        self.forget_users(now, &old);
        self.peers = super::peers::Peers::default();
        self.start_peers(now);
    }

    /// Bindings of users that are no longer configured go.
    fn forget_users(&mut self, now: Now, old: &Snapshot) {
        let gone: Vec<_> = old
            .users
            .iter()
            .filter(|(_, u)| self.snapshot.users.find_plain(&u.user, &u.domain).is_none())
            .map(|(_, u)| crate::sip::uri::Aor::new(&u.user, &u.domain))
            .collect();
        for aor in gone {
            self.forget_bindings(now, &aor);
        }
    }
}
