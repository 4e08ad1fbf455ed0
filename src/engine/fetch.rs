//! Fetches (RFC 6665 section 4.4.3: SUBSCRIBE with Expires 0 outside a dialog) of presentities at a peer.
//!
//! A fetch gets one NOTIFY. Of a presentity that nobody here watches yet nothing is known, so that NOTIFY waits for the
//! peer's first word, but not for long.

use super::Engine;
use super::list::Role;
use super::slots::SlotId;
use super::subscription::Subscription;
use super::timers::Kind;
use crate::event::subscriber::State;
use crate::sip::time::Now;

/// So long a fetch waits for the peer: well below the 32 s that the watcher waits for its NOTIFY (Timer N).
const WAIT_MS: u64 = 4_000;

impl Subscription {
    /// Whether it is a fetch (Expires 0 outside a dialog) whose answer has gone and whose only NOTIFY has not.
    pub(super) fn is_waiting_fetch(&self) -> bool {
        self.sent == 0 && self.ending.is_some() && self.owed && !self.in_flight && self.unconfirmed == 0
    }
}

impl Engine {
    /// The 2xx to a SUBSCRIBE has gone. Whether its NOTIFY waits for a peer, because it is the only one.
    pub(super) fn fetch_waits(&mut self, now: Now, id: SlotId) -> bool {
        let fetch = self.presence.subscriptions.get(id).filter(|s| s.is_waiting_fetch());
        let waits = fetch.is_some_and(|s| self.is_unheard(s.resource) || self.list_is_unheard(id));
        if waits {
            self.wheel.arm(now.mono_ms + WAIT_MS, Kind::Subscription, id);
        }
        waits
    }

    /// What there is to know has come, even if it is that nothing is known: whoever fetches it is told, and lists on which
    /// it was pending.
    pub(super) fn repeat_to_fetches(&mut self, resource: SlotId) {
        let watchers = self.presence.resources.get(resource).map(|r| r.watchers.iter());
        let subscriptions = &self.presence.subscriptions;
        let waits = |s: &Subscription| s.is_waiting_fetch() || s.role == Role::Member;
        let fetches = |id: &&SlotId| subscriptions.get(**id).is_some_and(waits);
        let fetches: Vec<SlotId> = watchers.into_iter().flatten().filter(fetches).copied().collect();
        for id in fetches {
            self.state_changed(self.clock, id);
        }
    }

    /// Whether a peer may yet say something of a presentity of which it has said nothing.
    pub(super) fn is_unheard(&self, resource: SlotId) -> bool {
        let Some(entry) = self.presence.resources.get(resource) else {
            return false;
        };
        let upstream = entry.upstream.and_then(|id| self.upstreams.slots.get(id));
        entry.version == 1
            && upstream.is_some_and(|u| u.machine.state() == State::NotifyWait && !self.peers.is_down(u.key.peer))
    }
}
