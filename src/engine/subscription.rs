//! The subscriptions we serve: what is kept of each, and how each is found.
//!
//! A million of them are held at once, so nothing is kept twice: the watcher's address and the Call-ID stand in the
//! dialog, the tag's table holds slot numbers only, and a watcher is counted by a keyed hash of its address.

use core::hash::Hasher as _;

use hashbrown::{HashMap, HashTable};
use siphasher::sip::SipHasher13;

use super::list::Role;
use super::reach::Reach;
use super::showing::Showing;
use super::slots::{SlotId, Slots};
use super::{Engine, record};
use crate::event::{Pacing, Reason};
use crate::policy::Party;
use crate::sip::dialog::Dialog;
use crate::sip::uri::{Aor, Uri};

/// Our tag of a subscription: random, and its key.
pub(super) type Tag = [u8; 16];

/// One subscription we serve.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) resource: SlotId,
    /// Its place in the resource's list of watchers.
    pub(super) place: u32,
    pub(super) tag: Tag,
    pub(super) role: Role,
    /// See [`Engine::watcher_key`].
    pub(super) watcher: u64,
    pub(super) dialog: Dialog,
    pub(super) event_id: Option<Box<[u8]>>,
    pub(super) reach: Reach,
    pub(super) showing: Showing,
    pub(super) expires_wall_ms: u64,
    /// The sequence number up to which the store has been told.
    pub(super) cseq_ceiling: u32,
    pub(super) pacing: Pacing,
    /// Version last sent.
    pub(super) sent: u32,
    /// When that was, in seconds on the wall clock; 0 is not known.
    pub(super) sent_at_s: u32,
    pub(super) in_flight: bool,
    /// The NOTIFY in flight went as a datagram.
    pub(super) by_datagram: bool,
    /// Something newer than what was sent last waits.
    pub(super) dirty: bool,
    /// A NOTIFY that must go whatever the pacing says: after a refresh, or the first.
    pub(super) owed: bool,
    pub(super) ending: Option<Reason>,
    pub(super) tried_flow: bool,
    /// Answers to its SUBSCRIBEs that wait for the store; no NOTIFY may overtake them.
    pub(super) unconfirmed: u8,
    /// When it was made or refreshed, by [`Engine::moment`].
    pub(super) born: u64,
}

impl Subscription {
    /// Whether the watcher has confirmed a version, and nothing else is due to it.
    pub(super) fn has_seen(&self, version: u32) -> bool {
        let confirms = !self.showing.unanswered;
        let quiet = confirms && !self.in_flight && !self.dirty && !self.owed && self.unconfirmed == 0;
        quiet && self.sent == version && self.ending.is_none()
    }

    /// The watcher confirmed this version before the restart.
    pub(super) fn mark_seen(&mut self, version: u32) {
        (self.sent, self.dirty, self.owed) = (version, false, false);
    }

    /// The watcher's address as its dialog has it.
    pub(super) fn watcher(&self) -> String {
        let uri = self.dialog.remote_uri();
        aor(uri).map_or_else(|| String::from_utf8_lossy(uri).into_owned(), |aor| aor.to_string())
    }
}

fn aor(uri: &[u8]) -> Option<Aor> {
    Uri::parse(uri).ok().as_ref().and_then(Aor::from_uri)
}

/// Subscriptions by tag: slot numbers. Tags are made here at random, so that nobody can choose two that collide.
#[derive(Debug, Default)]
pub(super) struct Tags(HashTable<u32>);

impl Tags {
    fn find(&self, subscriptions: &Slots<Subscription>, tag: &[u8]) -> Option<SlotId> {
        let tag: &Tag = tag.try_into().ok()?;
        let is_it = |slot: &u32| subscriptions.at(*slot).is_some_and(|(_, s)| s.tag == *tag);
        let slot = self.0.find(hash(tag), is_it)?;
        subscriptions.at(*slot).map(|(id, _)| id)
    }

    fn insert(&mut self, subscriptions: &Slots<Subscription>, id: SlotId, tag: &Tag) {
        let again = |slot: &u32| subscriptions.at(*slot).map_or(0, |(_, s)| hash(&s.tag));
        self.0.insert_unique(hash(tag), id.index(), again);
    }

    fn remove(&mut self, id: SlotId, tag: &Tag) {
        if let Ok(entry) = self.0.find_entry(hash(tag), |slot| *slot == id.index()) {
            entry.remove();
        }
    }
}

fn hash(tag: &Tag) -> u64 {
    let (words, _) = tag.as_chunks::<8>();
    words.iter().fold(0, |hash: u64, word| {
        (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

/// Subscriptions held by each watcher, by its key.
pub(super) type Held = HashMap<u64, u32>;

impl super::presentity::Presence {
    /// The subscription of a tag.
    pub(super) fn tagged(&self, tag: &[u8]) -> Option<SlotId> {
        self.tags.find(&self.subscriptions, tag)
    }

    /// How many subscriptions a watcher holds.
    pub(super) fn held_by_watcher(&self, watcher: u64) -> usize {
        self.held.get(&watcher).copied().unwrap_or(0) as usize
    }

    fn release(&mut self, watcher: u64) {
        if let Some(count) = self.held.get_mut(&watcher) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&watcher);
            }
        }
    }
}

impl Engine {
    /// Stands for a watcher's address where only sameness counts; nobody outside can make two addresses collide.
    pub(super) fn watcher_key(&self, uri: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.route_key);
        match aor(uri) {
            Some(aor) => {
                hasher.write(aor.user().as_bytes());
                hasher.write_u8(0);
                hasher.write(aor.domain().as_bytes());
            }
            None => hasher.write(uri),
        }
        hasher.finish()
    }

    /// The subscription of our tag, if Call-ID fits, and who holds it.
    pub(super) fn subscription_by_tag(&self, tag: &[u8], call_id: &[u8]) -> Option<(SlotId, Party)> {
        let id = self.presence.tagged(tag)?;
        let subscription = self.presence.subscriptions.get(id)?;
        (subscription.dialog.call_id() == call_id).then_some((id, subscription.reach.party))
    }

    /// Puts a subscription where it is found: by id, by tag, among the watchers of its resource.
    pub(super) fn add_subscription(&mut self, subscription: Subscription) -> SlotId {
        let (tag, resource) = (subscription.tag, subscription.resource);
        if let Some(count) = self.presence.held_by(subscription.reach.party) {
            *count += 1;
        }
        *self.presence.held.entry(subscription.watcher).or_insert(0) += 1;
        let id = self.presence.subscriptions.insert(subscription);
        let presence = &mut self.presence;
        presence.tags.insert(&presence.subscriptions, id, &tag);
        if let Some(resource) = presence.resources.get_mut(resource) {
            let place = resource.watchers.len() as u32;
            resource.watchers.push(id);
            if let Some(subscription) = presence.subscriptions.get_mut(id) {
                subscription.place = place;
            }
        }
        id
    }

    /// Takes a subscription away without a word.
    pub(super) fn remove_subscription(&mut self, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.remove(id) else {
            return;
        };
        self.presence.tags.remove(id, &subscription.tag);
        self.left_list(id, subscription.role);
        if subscription.by_datagram {
            self.presence.unanswered -= 1;
        }
        if subscription.role != Role::Member {
            self.persist(record::subscription_key(&subscription.tag), None);
        }
        if let Some(count) = self.presence.held_by(subscription.reach.party) {
            *count = count.saturating_sub(1);
        }
        self.presence.release(subscription.watcher);
        let Some(resource) = self.presence.resources.get_mut(subscription.resource) else {
            return;
        };
        let place = subscription.place as usize;
        if resource.watchers.get(place) == Some(&id) {
            resource.watchers.swap_remove(place);
            let moved = resource.watchers.get(place).copied();
            if let Some(other) = moved.and_then(|m| self.presence.subscriptions.get_mut(m)) {
                other.place = subscription.place;
            }
        }
        self.upstream_unwatched(subscription.resource);
        self.forget_if_idle(subscription.resource);
    }
}

/// A subscription as the store kept it.
pub(super) struct Restored {
    pub(super) resource: SlotId,
    pub(super) tag: Tag,
    pub(super) dialog: Dialog,
    pub(super) event_id: Option<Box<[u8]>>,
    pub(super) reach: Reach,
    pub(super) showing: Showing,
    pub(super) expires_wall_ms: u64,
    pub(super) cseq_ceiling: u32,
    pub(super) born: u64,
    pub(super) role: Role,
}

impl Engine {
    /// Puts a subscription back after a restart. Whether its watcher is told anything is decided once all is back.
    pub(super) fn restored_subscription(&mut self, restored: Restored) -> SlotId {
        let Restored {
            resource,
            tag,
            dialog,
            event_id,
            reach,
            showing,
            expires_wall_ms,
            cseq_ceiling,
            born,
            role,
        } = restored;
        self.presence.moment = self.presence.moment.max(born);
        self.add_subscription(Subscription {
            resource,
            place: 0,
            tag,
            role,
            watcher: self.watcher_key(dialog.remote_uri()),
            dialog,
            event_id,
            reach,
            showing,
            expires_wall_ms,
            cseq_ceiling,
            pacing: Pacing::default(),
            sent: 0,
            sent_at_s: 0,
            in_flight: false,
            by_datagram: false,
            dirty: true,
            owed: true,
            ending: None,
            tried_flow: false,
            unconfirmed: 0,
            born,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_small() {
        assert!(size_of::<Subscription>() <= 216, "{}", size_of::<Subscription>());
    }
}
