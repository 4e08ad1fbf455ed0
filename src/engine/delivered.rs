//! What each watcher saw last, kept across restarts (design rule 6): afterwards only what changed is sent again.
//!
//! One record per resource says which document its watchers have, as a keyed hash, and which of them do not have it. It
//! is written at most once a second and waits for no sync. A change takes it away again, durably, before anybody sees
//! the change: so a crash may cost a repeated NOTIFY, never a missed one.

use core::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::commit::Promise;
use super::slots::SlotId;
use super::subscription::Tag;
use super::timers::Kind;
use super::{Engine, record};
use crate::sip::time::Now;

/// Deliveries are written down so long after the first of them.
const LAZY_MS: u64 = 1000;
/// Watchers looked at in one go; the rest has its turn soon after.
const SLICE: usize = 16 * 1024;
const NEXT_SLICE_MS: u64 = 20;
/// With more watchers left out than this, nothing is written: most of them would get a repeat anyway.
const MAX_LEFT_OUT: usize = 256;

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    /// Subscriptions made or refreshed later than this are not meant.
    pub(super) at: u64,
    /// Hash of the document.
    pub(super) hash: u128,
    /// Subscriptions that did not have it.
    pub(super) left_out: Vec<Tag>,
}

/// Where the record of one resource stands.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// There is a record in the store, or may be.
    saved: bool,
    /// The resource is in the list of those to be written.
    listed: bool,
    /// After a restart: the resource's document is being asked for, and nobody is told anything before.
    asking: bool,
    /// The record found at the start.
    found: Option<Box<Delivered>>,
}

impl Engine {
    /// A number greater than all before, also than those in the store.
    pub(super) fn moment(&mut self) -> u64 {
        self.presence.moment = self.presence.moment.saturating_add(1);
        self.presence.moment
    }

    /// A watcher has answered a NOTIFY well.
    pub(super) fn note_delivery(&mut self, now: Now, resource: SlotId) {
        let Some(entry) = self.presence.resources.get_mut(resource) else {
            return;
        };
        if !std::mem::replace(&mut entry.keeping.listed, true) {
            if self.presence.unsaved.is_empty() {
                self.wheel
                    .arm(now.mono_ms + LAZY_MS, Kind::Delivered, SlotId::from_index(0));
            }
            self.presence.unsaved.push(resource);
        }
    }

    pub(super) fn on_delivered_timer(&mut self, now: Now) {
        let wait = if self.journal.is_broken() {
            LAZY_MS
        } else {
            self.save_some(SLICE);
            NEXT_SLICE_MS
        };
        if !self.presence.unsaved.is_empty() {
            self.wheel
                .arm(now.mono_ms + wait, Kind::Delivered, SlotId::from_index(0));
        }
    }

    /// Writes down what every watcher has seen; for a stop in good order.
    pub fn save_delivered(&mut self) {
        if !self.journal.is_broken() {
            self.save_some(usize::MAX);
        }
    }

    fn save_some(&mut self, mut budget: usize) {
        let mut list = std::mem::take(&mut self.presence.unsaved);
        let mut again = Vec::new();
        while budget > 0
            && let Some(id) = list.pop()
        {
            let Some(resource) = self.presence.resources.get_mut(id) else {
                continue;
            };
            if resource.coming.is_some() {
                again.push(id);
                budget -= 1;
                continue;
            }
            resource.keeping.listed = false;
            budget = budget.saturating_sub(resource.watchers.len().max(1));
            self.save(id);
        }
        list.append(&mut again);
        self.presence.unsaved = list;
    }

    fn save(&mut self, id: SlotId) {
        let Some(resource) = self.presence.resources.get(id) else {
            return;
        };
        let mut left_out = Vec::new();
        for subscription in resource
            .watchers
            .iter()
            .filter_map(|w| self.presence.subscriptions.get(*w))
        {
            if !subscription.has_seen(resource.version) {
                left_out.push(subscription.tag);
                if left_out.len() > MAX_LEFT_OUT {
                    return;
                }
            }
        }
        if left_out.len() == resource.watchers.len() {
            return;
        }
        let hash = self.hash(&resource.body);
        let at = self.moment();
        let value = record::delivered(&Delivered { at, hash, left_out });
        let Some(key) = self.delivered_key(id) else { return };
        if let Some(resource) = self.presence.resources.get_mut(id) {
            resource.keeping.saved = true;
        }
        self.persist_lazily(key, Some(value));
    }

    fn hash(&self, body: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.route_key);
        hasher.write(body);
        hasher.finish128().as_u128()
    }

    fn delivered_key(&self, id: SlotId) -> Option<Box<[u8]>> {
        let resource = self.presence.resources.get(id)?;
        let upstream = resource.upstream.and_then(|u| self.upstreams.slots.get(u));
        Some(record::delivered_key(&resource.aor, upstream.map(|u| &u.key)))
    }

    /// The document changes, or the resource goes: what is written of it is wrong from now on.
    pub(super) fn forget_delivered(&mut self, id: SlotId) {
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return;
        };
        if std::mem::take(&mut resource.keeping.saved)
            && let Some(key) = self.delivered_key(id)
        {
            self.persist(key, None);
        }
    }

    /// Takes a record at the start. `false` when nobody watches the resource any more.
    pub(super) fn restore_delivered(&mut self, resource: SlotId, delivered: Delivered) -> bool {
        self.presence.moment = self.presence.moment.max(delivered.at);
        let Some(entry) = self.presence.resources.get_mut(resource) else {
            return false;
        };
        if entry.watchers.is_empty() {
            return false;
        }
        (entry.keeping.saved, entry.keeping.found) = (true, Some(Box::new(delivered)));
        true
    }

    /// Everything is back: what has changed since is sent. Remote presentities are asked for first.
    pub(super) fn restored(&mut self, now: Now) {
        let ids: Vec<SlotId> = self.presence.resources.iter().map(|(id, _)| id).collect();
        for id in ids {
            if self.is_local_resource(id) && !self.awaits_line(id) {
                let body = self.composed(id);
                if let (Some(resource), Some(body)) = (self.presence.resources.get_mut(id), body) {
                    resource.body = body;
                }
                self.compare_with_delivered(now, id);
            } else if let Some(resource) = self.presence.resources.get_mut(id) {
                resource.keeping.asking = !resource.watchers.is_empty();
            }
        }
    }

    /// Whether watchers of a remote presentity wait for its first document since the start.
    pub(super) fn is_asking(&self, id: SlotId) -> bool {
        self.presence.resources.get(id).is_some_and(|r| r.keeping.asking)
    }

    /// The first document since the start, if it is that.
    pub(super) fn take_first_document(&mut self, now: Now, id: SlotId, body: &bytes::Bytes) -> bool {
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return false;
        };
        if !std::mem::take(&mut resource.keeping.asking) {
            return false;
        }
        resource.body = body.clone();
        resource.version = resource.version.wrapping_add(1).max(1);
        self.compare_with_delivered(now, id);
        true
    }

    /// Sends the document to those who have not seen it before the restart.
    fn compare_with_delivered(&mut self, now: Now, id: SlotId) {
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return;
        };
        let found = resource.keeping.found.take();
        let (version, body) = (resource.version, resource.body.clone());
        let Some(found) = found.filter(|f| f.hash == self.hash(&body)) else {
            self.forget_delivered(id);
            return self.promise(now, Promise::Repeat(id));
        };
        let Some(resource) = self.presence.resources.get(id) else {
            return;
        };
        for watcher in &resource.watchers {
            let Some(subscription) = self.presence.subscriptions.get_mut(*watcher) else {
                continue;
            };
            if subscription.born < found.at && !found.left_out.contains(&subscription.tag) {
                subscription.mark_seen(version);
            } else {
                self.wheel.arm(now.mono_ms + 1, Kind::Subscription, *watcher);
            }
        }
    }
}
