//! The notifier (RFC 6665 section 4.2): subscriptions we serve, and their NOTIFYs.
//!
//! One NOTIFY of a subscription is out at a time, so states cannot overtake each other; what changes meanwhile is sent
//! when the answer is in, latest state only.

use core::net::SocketAddr;

use bytes::Bytes;

use super::commit::Promise;
use super::forward::{Owner, is_reliable};
use super::reach::Reach;
use super::registrar::seconds;
use super::reply::{Answer, Request, phrase};
use super::slots::SlotId;
use super::timers::Kind;
use super::undo::Undo;
use super::{Engine, record};
use crate::event::{Pacing, Package, Reason, SubscriptionState};
use crate::policy::Party;
use crate::presence::PIDF;
use crate::sip::dialog::{Dialog, Parts};
use crate::sip::field::{EventHeader, NameAddr, parse_expires};
use crate::sip::header::Name;
use crate::sip::message::Malformed;
use crate::sip::net::{Destination, Source};
use crate::sip::time::Now;
use crate::sip::transaction::Why;
use crate::sip::uri::Aor;
use crate::sip::write;

/// Our tag of a subscription: random, and its key.
pub(super) type Tag = [u8; 16];

/// A NOTIFY whose transport failed is tried again after this, until the subscription expires.
const RETRY_MS: u64 = 10_000;
/// Sequence numbers are reserved in blocks, so that a restart continues above the last one used.
const CSEQ_BLOCK: u32 = 64;
/// The next block is reserved this much early, so that it is durable before its first number is used.
const CSEQ_MARGIN: u32 = 16;

/// One subscription we serve.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) resource: SlotId,
    /// Its place in the resource's list of watchers.
    place: u32,
    pub(super) tag: Tag,
    pub(super) watcher: Box<str>,
    pub(super) dialog: Dialog,
    pub(super) call_id: Box<[u8]>,
    pub(super) event_id: Option<Box<[u8]>>,
    pub(super) reach: Reach,
    pub(super) expires_wall_ms: u64,
    /// The sequence number up to which the store has been told.
    pub(super) cseq_ceiling: u32,
    pacing: Pacing,
    /// Version last sent.
    sent: u32,
    in_flight: bool,
    /// Something newer than what was sent last waits.
    dirty: bool,
    /// A NOTIFY that must go whatever the pacing says: after a refresh, or the first.
    owed: bool,
    ending: Option<Reason>,
    tried_flow: bool,
    /// Answers to its SUBSCRIBEs that wait for the store; no NOTIFY may overtake them.
    unconfirmed: u8,
    /// When it was made or refreshed, by [`Engine::moment`].
    pub(super) born: u64,
}

/// Of a subscription whose record does not say when it was made.
pub(super) const UNKNOWN_BIRTH: u64 = u64::MAX;

impl Subscription {
    /// Whether the watcher has confirmed a version, and nothing else is due to it.
    pub(super) fn has_seen(&self, version: u32) -> bool {
        let quiet = !self.in_flight && !self.dirty && !self.owed && self.unconfirmed == 0;
        quiet && self.sent == version && self.ending.is_none()
    }

    /// The watcher confirmed this version before the restart.
    pub(super) fn mark_seen(&mut self, version: u32) {
        (self.sent, self.dirty, self.owed) = (version, false, false);
    }
}

impl Engine {
    /// The subscription of our tag, if Call-ID fits, and who holds it.
    pub(super) fn subscription_by_tag(&self, tag: &[u8], call_id: &[u8]) -> Option<(SlotId, Party)> {
        let tag: Tag = tag.try_into().ok()?;
        let id = *self.presence.by_tag.get(&tag)?;
        let subscription = self.presence.subscriptions.get(id)?;
        (*subscription.call_id == *call_id).then_some((id, subscription.reach.party))
    }

    /// What a SUBSCRIBE must say before anything is made of it. `Err(())` means it has been answered.
    fn read_subscribe(&mut self, now: Now, request: &Request<'_>) -> Result<u32, ()> {
        let view = request.view;
        let package = match view.header(Name::Event).map(EventHeader::parse) {
            Some(Ok(event)) => Package::from_name(event.package),
            _ => None,
        };
        let Some(package) = package else {
            self.bad_event(now, request);
            return Err(());
        };
        if package.negotiate(view.headers(Name::Accept)).is_none() {
            let headers: [(&[u8], &[u8]); 1] = [(b"Accept", PIDF.as_bytes())];
            self.answer(now, request, Answer::new(406, phrase(406)).with(&headers));
            return Err(());
        }
        let settings = &self.snapshot.presence;
        let (min, max) = (seconds(settings.min_expires), seconds(settings.max_expires));
        let wanted = match view.header(Name::Expires).map(parse_expires).transpose() {
            Ok(wanted) => wanted.unwrap_or(seconds(settings.default_expires)),
            Err(problem) => {
                self.answer_problem(now, request, &problem);
                return Err(());
            }
        };
        if wanted != 0 && wanted < min {
            let min = min.to_string();
            let headers: [(&[u8], &[u8]); 1] = [(b"Min-Expires", min.as_bytes())];
            self.answer(now, request, Answer::new(423, phrase(423)).with(&headers));
            return Err(());
        }
        // A fetch is served from memory: nothing of it is kept.
        let fetch = wanted == 0 && request.essentials.to.tag().is_none();
        if self.journal.is_broken() && !fetch {
            self.answer_store_failure(now, request);
            return Err(());
        }
        Ok(wanted.min(max))
    }

    /// Checks a SUBSCRIBE that opens a dialog, then asks `resource` what it is about.
    pub(super) fn on_subscribe(
        &mut self,
        now: Now,
        request: &Request<'_>,
        party: Party,
        resource: impl FnOnce(&mut Self) -> SlotId,
    ) {
        let Ok(expires_s) = self.read_subscribe(now, request) else {
            return;
        };
        let dialog_tag = self.random.token::<16>();
        let dialog = match self.dialog_of(request, &dialog_tag) {
            Ok(dialog) => dialog,
            Err(problem) => return self.answer_problem(now, request, &problem),
        };
        let watcher = Aor::parse(&String::from_utf8_lossy(request.essentials.from.uri)).map(|a| a.to_string());
        let watcher = watcher.unwrap_or_default();
        if expires_s > 0 && self.held_by(&watcher) >= self.snapshot.presence.max_subscriptions as usize {
            return self.answer(now, request, Answer::new(403, "Too Many Subscriptions"));
        }
        let resource = resource(self);
        let event_id = request
            .view
            .header(Name::Event)
            .and_then(|v| EventHeader::parse(v).ok())
            .and_then(|e| e.id);
        let subscription = Subscription {
            resource,
            place: 0,
            tag: dialog_tag,
            watcher: watcher.into(),
            dialog,
            call_id: request.essentials.call_id.into(),
            event_id: event_id.map(Into::into),
            reach: Reach {
                party,
                source: *request.source,
            },
            expires_wall_ms: now.wall_ms + u64::from(expires_s) * 1000,
            cseq_ceiling: CSEQ_BLOCK,
            pacing: Pacing::default(),
            sent: 0,
            in_flight: false,
            dirty: false,
            owed: true,
            ending: (expires_s == 0).then_some(Reason::Timeout),
            tried_flow: false,
            unconfirmed: 0,
            born: self.moment(),
        };
        let id = self.add_subscription(subscription);
        if expires_s > 0 {
            self.persist_subscription(id);
            self.wheel
                .arm(now.mono_ms + u64::from(expires_s) * 1000, Kind::Subscription, id);
        }
        self.or_undo(Undo::NewSubscription(id));
        self.confirm_subscription(now, request, id, expires_s, &dialog_tag);
    }

    fn held_by(&self, watcher: &str) -> usize {
        self.presence.held.get(watcher).copied().unwrap_or(0)
    }

    fn dialog_of(&self, request: &Request<'_>, tag: &Tag) -> Result<Dialog, Malformed> {
        let (view, e) = (request.view, request.essentials);
        let contact = view.items(Name::Contact).next();
        let contact = contact.ok_or(Malformed::header(Name::Contact, "a SUBSCRIBE needs one"))?;
        let target = NameAddr::parse(contact)?.uri;
        let local = view.header(Name::To).unwrap_or_default();
        let remote = without_tag(view.header(Name::From).unwrap_or_default());
        let parts = Parts {
            call_id: e.call_id,
            local: without_tag(local),
            local_tag: tag,
            remote,
            remote_tag: e.from.tag().unwrap_or_default(),
            target,
            routes: view.items(Name::RecordRoute).collect(),
        };
        Dialog::new(&parts, 0, Some(e.cseq.number))
    }

    /// Puts a subscription where it is found: by id, by tag, among the watchers of its resource.
    pub(super) fn add_subscription(&mut self, subscription: Subscription) -> SlotId {
        let (tag, resource, watcher) = (subscription.tag, subscription.resource, subscription.watcher.clone());
        let id = self.presence.subscriptions.insert(subscription);
        self.presence.by_tag.insert(tag, id);
        *self.presence.held.entry(watcher).or_insert(0) += 1;
        if let Some(resource) = self.presence.resources.get_mut(resource) {
            let place = resource.watchers.len() as u32;
            resource.watchers.push(id);
            if let Some(subscription) = self.presence.subscriptions.get_mut(id) {
                subscription.place = place;
            }
        }
        id
    }

    fn confirm_subscription(&mut self, now: Now, request: &Request<'_>, id: SlotId, expires_s: u32, tag: &Tag) {
        let expires = expires_s.to_string();
        let reach = Reach {
            party: Party::User(crate::policy::UserId(0)),
            source: *request.source,
        };
        let towards = self.reply_path(&reach);
        let contact = self.own_uri(towards, b"", false);
        let headers: [(&[u8], &[u8]); 2] = [(b"Expires", expires.as_bytes()), (b"Contact", &contact)];
        let answer = Answer::new(200, "OK").with(&headers).tag(tag);
        let wire = self.write_answer(request.source, request.view, answer);
        if let Some(subscription) = self.presence.subscriptions.get_mut(id) {
            subscription.unconfirmed = subscription.unconfirmed.saturating_add(1);
        }
        let (server, status) = (request.server, 200);
        self.promise(now, Promise::Answer { server, status, wire });
        self.promise(now, Promise::Notify(id));
    }

    /// The 2xx to a SUBSCRIBE has gone; its NOTIFY follows.
    pub(super) fn confirmed(&mut self, now: Now, id: SlotId) {
        if let Some(subscription) = self.presence.subscriptions.get_mut(id) {
            subscription.unconfirmed = subscription.unconfirmed.saturating_sub(1);
            self.notify_now(now, id);
        }
    }

    /// A refresh, or an end, that was refused for want of a store: all is as before.
    pub(super) fn take_back_refresh(&mut self, now: Now, id: SlotId, source: Source, expires_wall_ms: u64) {
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        subscription.unconfirmed = subscription.unconfirmed.saturating_sub(1);
        (subscription.reach.source, subscription.expires_wall_ms) = (source, expires_wall_ms);
        (subscription.ending, subscription.owed) = (None, false);
        let left = expires_wall_ms.saturating_sub(now.wall_ms);
        self.wheel.arm(now.mono_ms + left, Kind::Subscription, id);
        if subscription.dirty {
            self.state_changed(now, id);
        }
    }

    fn reply_path(&self, reach: &Reach) -> Destination {
        match reach.source.flow {
            Some(flow) => Destination::Flow(flow),
            None => Destination::Datagram {
                listener: self.datagram_listener(reach.source.remote.ip(), reach.source.listener),
                to: SocketAddr::new(reach.source.remote.ip(), reach.source.remote.port()),
            },
        }
    }

    /// SUBSCRIBE inside the dialog: refresh or end.
    pub(super) fn on_resubscribe(&mut self, now: Now, request: &Request<'_>, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        if !subscription.dialog.take_remote_cseq(request.essentials.cseq.number) {
            return self.answer(now, request, Answer::new(500, "CSeq Out of Order"));
        }
        let tag = subscription.tag;
        let Ok(expires_s) = self.read_subscribe(now, request) else {
            return;
        };
        let born = self.moment();
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        subscription.born = born;
        let resource = subscription.resource;
        let undo = Undo::Refresh {
            subscription: id,
            source: subscription.reach.source,
            expires_wall_ms: subscription.expires_wall_ms,
        };
        subscription.reach.source = *request.source;
        if let Some(contact) = request.view.items(Name::Contact).next()
            && let Ok(contact) = NameAddr::parse(contact)
        {
            subscription.dialog.retarget(contact.uri);
        }
        subscription.expires_wall_ms = now.wall_ms + u64::from(expires_s) * 1000;
        subscription.owed = true;
        subscription.tried_flow = false;
        if expires_s == 0 {
            subscription.ending = Some(Reason::Timeout);
            self.persist(record::subscription_key(&tag), None);
        } else {
            self.persist_subscription(id);
            self.wheel
                .arm(now.mono_ms + u64::from(expires_s) * 1000, Kind::Subscription, id);
        }
        self.or_undo(undo);
        if expires_s > 0 {
            self.upstream_wanted(now, resource);
        }
        self.confirm_subscription(now, request, id, expires_s, &tag);
    }

    pub(super) fn persist_subscription(&mut self, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return;
        };
        let key = record::subscription_key(&subscription.tag);
        if let Some(value) = self.subscription_value(id) {
            self.persist(key, Some(value));
        }
    }

    /// The record of a subscription; `None` once it ends.
    pub(super) fn subscription_value(&self, id: SlotId) -> Option<Box<[u8]>> {
        let subscription = self.presence.subscriptions.get(id).filter(|s| s.ending.is_none())?;
        let resource = self.presence.resources.get(subscription.resource)?;
        let upstream = resource
            .upstream
            .and_then(|id| self.upstreams.slots.get(id))
            .map(|u| &u.key);
        let party = self.party_name(subscription.reach.party);
        Some(record::subscription(subscription, &resource.aor, upstream, &party))
    }

    /// The resource has a new state for this subscription: now, or when pacing and the NOTIFY in flight allow.
    pub(super) fn state_changed(&mut self, now: Now, id: SlotId) {
        let min_interval = u64::try_from(self.snapshot.presence.notify_min_interval.as_millis()).unwrap_or(u64::MAX);
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        subscription.dirty = true;
        if subscription.in_flight || subscription.unconfirmed > 0 || subscription.ending.is_some() {
            return;
        }
        match subscription.pacing.try_send(now.mono_ms, min_interval) {
            Ok(()) => self.notify_now(now, id),
            Err(at) => self.wheel.arm(at, Kind::Subscription, id),
        }
    }

    /// Sends a NOTIFY with the present state, unless one is in flight.
    pub(super) fn notify_now(&mut self, now: Now, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return;
        };
        if subscription.in_flight || subscription.unconfirmed > 0 {
            return;
        }
        let to = match (subscription.tried_flow, subscription.reach.source.flow) {
            (true, Some(flow)) => Destination::Flow(flow),
            _ => self.destination(&subscription.reach, subscription.dialog.next_uri()),
        };
        let (client, branch) = self.layer.reserve(false, id.pack(Owner::Notify as u8));
        let Some((wire, past_ceiling)) = self.write_notify(now, id, to, branch.as_bytes()) else {
            self.layer.abandon(client);
            return;
        };
        if past_ceiling {
            self.persist_subscription(id);
        }
        self.counters.notifies += 1;
        self.layer.send(now, client, to, wire, is_reliable(to));
    }

    /// Renders a NOTIFY; also says whether the reserved block of sequence numbers was used up.
    fn write_notify(&mut self, now: Now, id: SlotId, to: Destination, branch: &[u8]) -> Option<(Bytes, bool)> {
        let mut buffer = self.take_buffer();
        let via = self.via_value(to, branch);
        let contact = self.own_uri(to, b"", false);
        let subscription = self.presence.subscriptions.get_mut(id)?;
        let resource = self.presence.resources.get(subscription.resource)?;
        let left = subscription.expires_wall_ms.saturating_sub(now.wall_ms).div_ceil(1000);
        let state = match subscription.ending {
            Some(reason) => SubscriptionState::Terminated {
                reason: Some(reason),
                retry_after: None,
            },
            None => SubscriptionState::Active(Some(u32::try_from(left).unwrap_or(u32::MAX))),
        };
        let cseq = subscription.dialog.next_cseq();
        let past_ceiling = cseq + CSEQ_MARGIN >= subscription.cseq_ceiling;
        if past_ceiling {
            subscription.cseq_ceiling = cseq + CSEQ_BLOCK;
        }
        subscription.in_flight = true;
        subscription.dirty = false;
        subscription.owed = false;
        subscription.sent = resource.version;
        let mut request = write::Request::start(&mut buffer, b"NOTIFY", subscription.dialog.request_uri())
            .header(b"Via", &via)
            .lines(subscription.dialog.lines())
            .number(b"CSeq", u64::from(cseq), b" NOTIFY")
            .header(b"Max-Forwards", b"70")
            .header(b"Contact", &contact);
        request = match &subscription.event_id {
            Some(event_id) => request.parts(b"Event", &[b"presence;id=", event_id]),
            None => request.header(b"Event", b"presence"),
        };
        request
            .display(b"Subscription-State", &state)
            .body(Some((PIDF.as_bytes(), &resource.body)));
        Some((self.finish(buffer), past_ceiling))
    }

    /// An answer to a NOTIFY.
    pub(super) fn on_notify_response(&mut self, now: Now, id: SlotId, status: u16, retry_after_s: Option<u32>) {
        if status < 200 {
            return;
        }
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        subscription.in_flight = false;
        let ended = subscription.ending.is_some() && !subscription.owed;
        match (status, retry_after_s) {
            (200..300, _) if ended => self.remove_subscription(id),
            (200..300, _) => self.after_notify(now, id),
            // RFC 6665 section 4.2.2: an error without Retry-After ends the subscription.
            (_, Some(seconds)) if !ended => {
                subscription.dirty = true;
                self.wheel.arm(
                    now.mono_ms + u64::from(seconds.clamp(1, 600)) * 1000,
                    Kind::Subscription,
                    id,
                );
            }
            _ => self.remove_subscription(id),
        }
    }

    fn after_notify(&mut self, now: Now, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return;
        };
        let (resource, owed, dirty) = (subscription.resource, subscription.owed, subscription.dirty);
        if owed {
            self.notify_now(now, id);
        } else if dirty {
            self.state_changed(now, id);
        } else {
            self.note_delivery(now, resource);
        }
    }

    /// A NOTIFY that could not be sent or was not answered. A peer that is down keeps its subscriptions until they
    /// expire; a client over a dead connection is tried once more over the connection it came by.
    pub(super) fn on_notify_failure(&mut self, now: Now, id: SlotId, why: Why) {
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        subscription.in_flight = false;
        subscription.dirty = true;
        if subscription.ending.is_some() {
            return self.remove_subscription(id);
        }
        let peer_down = match subscription.reach.party {
            Party::Peer(peer) => self.peers.is_down(peer),
            Party::User(_) => false,
        };
        match why {
            Why::Timeout if !peer_down => self.remove_subscription(id),
            Why::Transport if !subscription.tried_flow && subscription.reach.source.flow.is_some() => {
                subscription.tried_flow = true;
                self.notify_now(now, id);
            }
            _ => {
                subscription.tried_flow = false;
                self.wheel.arm(now.mono_ms + RETRY_MS, Kind::Subscription, id);
            }
        }
    }

    /// Expiry, pacing or a retry.
    pub(super) fn on_subscription_timer(&mut self, now: Now, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        if subscription.expires_wall_ms <= now.wall_ms {
            if subscription.ending.is_none() {
                subscription.ending = Some(Reason::Timeout);
                let tag = subscription.tag;
                self.persist(record::subscription_key(&tag), None);
                self.notify_now(now, id);
            }
        } else if subscription.dirty && !subscription.in_flight {
            self.state_changed(now, id);
        }
    }

    /// Ends a subscription that has lost its ground, telling the watcher.
    pub(super) fn end_subscription(&mut self, now: Now, id: SlotId, reason: Reason) {
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        if subscription.ending.is_none() {
            subscription.ending = Some(reason);
            subscription.owed = true;
            let tag = subscription.tag;
            self.persist(record::subscription_key(&tag), None);
            self.notify_now(now, id);
        }
    }

    /// Whether the answer to a NOTIFY is still to come.
    #[must_use]
    pub fn awaits_watchers(&self) -> bool {
        self.presence.subscriptions.iter().any(|(_, s)| s.in_flight)
    }

    /// Takes a subscription away without a word.
    pub(super) fn remove_subscription(&mut self, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.remove(id) else {
            return;
        };
        self.presence.by_tag.remove(&subscription.tag);
        self.persist(record::subscription_key(&subscription.tag), None);
        if let Some(count) = self.presence.held.get_mut(&subscription.watcher) {
            *count -= 1;
            if *count == 0 {
                self.presence.held.remove(&subscription.watcher);
            }
        }
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
pub(super) struct Restored<'a> {
    pub(super) resource: SlotId,
    pub(super) tag: Tag,
    pub(super) watcher: &'a str,
    pub(super) dialog: Dialog,
    pub(super) call_id: &'a [u8],
    pub(super) event_id: Option<Box<[u8]>>,
    pub(super) reach: Reach,
    pub(super) expires_wall_ms: u64,
    pub(super) cseq_ceiling: u32,
    pub(super) born: u64,
}

impl Engine {
    /// Puts a subscription back after a restart. Whether its watcher is told anything is decided once all is back.
    pub(super) fn restored_subscription(&mut self, restored: Restored<'_>) -> SlotId {
        let Restored {
            resource,
            tag,
            watcher,
            dialog,
            call_id,
            event_id,
            reach,
            expires_wall_ms,
            cseq_ceiling,
            born,
        } = restored;
        let id = self.add_subscription(Subscription {
            resource,
            place: 0,
            tag,
            watcher: watcher.into(),
            dialog,
            call_id: call_id.into(),
            event_id,
            reach,
            expires_wall_ms,
            cseq_ceiling,
            pacing: Pacing::default(),
            sent: 0,
            in_flight: false,
            dirty: true,
            owed: true,
            ending: None,
            tried_flow: false,
            unconfirmed: 0,
            born,
        });
        if born != UNKNOWN_BIRTH {
            self.presence.moment = self.presence.moment.max(born);
        }
        id
    }
}

/// A From or To value without its tag: the address in brackets, as requests of ours carry it.
pub(super) fn without_tag(value: &[u8]) -> &[u8] {
    let Ok(address) = NameAddr::parse(value) else {
        return value;
    };
    let params = address.params.raw();
    if params.is_empty() {
        return value;
    }
    crate::sip::field::trim(value.strip_suffix(params).unwrap_or(value))
}
