//! Subscriptions we hold at peers, one per watcher and presentity: the remote server authorises by who watches.
//!
//! Only a peer with `view_sharing` gets one per presentity, under the bridge's own address, for all local watchers. Its
//! expiry is its own; its loss shows as unknown, never as a stale state.

mod kept;
mod lines;
mod notified;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use super::forward::{Owner, is_reliable};
use super::peers::text;
use super::reply::{Answer, Request, phrase};
use super::slots::{SlotId, Slots};
use super::timers::Kind;
use super::{Engine, record};
use crate::dialect::{Dialect, Refusal};
use crate::event::subscriber::{Action, Answered, State};
use crate::event::{Package, Subscriber, SubscriptionState};
use crate::policy::RouteSetId;
use crate::presence::{Document, PIDF, pidf};
use crate::sip::dialog::{Dialog, Parts};
use crate::sip::field::{EventHeader, MediaType, NameAddr, parse_expires};
use crate::sip::header::Name;
use crate::sip::message::{Essentials, Malformed, View};
use crate::sip::net::{Destination, PeerId};
use crate::sip::time::Now;
use crate::sip::uri::Aor;
use crate::sip::write;

/// Refreshes after a peer's return go out with this much time between them.
pub(super) const PACE_MS: u64 = 5;
/// A subscription that had to be made anew may bring the state again so soon that nobody need hear of the gap.
const GRACE_MS: u64 = 2000;
/// Timer N of RFC 6665: how long the last NOTIFY of a subscription that we end may take.
const LAST_NOTIFY_MS: u64 = 32_000;

/// Whom an upstream subscription is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) peer: PeerId,
    /// The watcher, or `None` when the view is shared.
    pub(super) watcher: Option<Aor>,
    pub(super) presentity: Aor,
}

/// One subscription at a peer.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) key: Key,
    route: RouteSetId,
    pub(super) machine: Subscriber,
    pub(super) tag: [u8; 16],
    pub(super) call_id: Box<str>,
    pub(super) dialog: Option<Dialog>,
    pub(super) cseq: u32,
    to: Option<Destination>,
    /// Places that have failed since the last success.
    failed: Vec<Destination>,
    pub(super) resource: SlotId,
    /// A refresh that waits for its turn after the peer's return.
    paced: bool,
    /// Put back by the store and not asked yet.
    restored: bool,
    /// What is shown is from a subscription that has ended; from this time on it counts as unknown.
    unsure_at: Option<u64>,
    ending: bool,
    /// The end was confirmed; only its NOTIFY is waited for, until this time.
    drop_at: Option<u64>,
}

impl Upstream {
    /// Whether nobody wants it any more.
    pub(super) fn is_ending(&self) -> bool {
        self.ending
    }
}

/// All subscriptions at peers.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    pub(super) slots: Slots<Upstream>,
    by_key: HashMap<Key, SlotId>,
    by_tag: HashMap<[u8; 16], SlotId>,
}

impl Engine {
    /// The resource that shows `presentity` to `watcher`; subscribes at the peer if nothing does yet.
    pub(super) fn remote_resource(
        &mut self,
        now: Now,
        peer: PeerId,
        route: RouteSetId,
        watcher: &Aor,
        presentity: &Aor,
    ) -> SlotId {
        let shared = self.snapshot.peer(peer).is_some_and(|p| p.view_sharing);
        let key = Key {
            peer,
            watcher: (!shared).then(|| watcher.clone()),
            presentity: presentity.clone(),
        };
        if let Some(id) = self.upstreams.by_key.get(&key)
            && let Some(upstream) = self.upstreams.slots.get(*id)
        {
            let resource = upstream.resource;
            self.upstream_wanted(now, resource);
            return resource;
        }
        let id = self.add_upstream(now, key, route);
        // The watcher's 2xx rests on it, so it must be durable first.
        self.persist_upstream(id);
        self.send_subscribe(now, id);
        self.upstreams.slots.get(id).map(|u| u.resource).unwrap_or_default()
    }

    /// A watcher asks for a resource again: a subscription that the peer ended for good is tried once more.
    pub(super) fn upstream_wanted(&mut self, now: Now, resource: SlotId) {
        let Some(id) = self.presence.resources.get(resource).and_then(|r| r.upstream) else {
            return;
        };
        if let Some(upstream) = self.upstreams.slots.get_mut(id).filter(|u| !u.ending) {
            let action = upstream.machine.wanted(now.mono_ms);
            if action != Action::None {
                self.act(now, id, action);
            }
        }
    }

    pub(super) fn add_upstream(&mut self, now: Now, key: Key, route: RouteSetId) -> SlotId {
        let body = Bytes::from(pidf::unknown(&key.presentity.to_uri()));
        let resource = self.new_resource(key.presentity.clone(), None, body);
        let expires_s = self.upstream_expires_s(key.peer);
        let tag = self.random.token::<16>();
        let call_id = self.call_id_with(&tag);
        let id = self.upstreams.slots.insert(Upstream {
            machine: Subscriber::new(now.mono_ms, expires_s),
            key: key.clone(),
            route,
            tag,
            call_id,
            dialog: None,
            cseq: 0,
            to: None,
            failed: Vec::new(),
            resource,
            paced: false,
            restored: false,
            unsure_at: None,
            ending: false,
            drop_at: None,
        });
        if let Some(resource) = self.presence.resources.get_mut(resource) {
            resource.upstream = Some(id);
        }
        self.upstreams.by_key.insert(key, id);
        self.upstreams.by_tag.insert(tag, id);
        id
    }

    /// The upstream subscription of our tag, if Call-ID fits, and the peer it is at.
    pub(super) fn upstream_by_tag(&self, tag: &[u8], call_id: &[u8]) -> Option<(SlotId, PeerId)> {
        let tag: [u8; 16] = tag.try_into().ok()?;
        let id = *self.upstreams.by_tag.get(&tag)?;
        let upstream = self.upstreams.slots.get(id)?;
        (upstream.call_id.as_bytes() == call_id).then_some((id, upstream.key.peer))
    }

    /// The expiry that we ask for at a peer.
    fn upstream_expires_s(&self, peer: PeerId) -> u32 {
        let own = self.snapshot.peer(peer).and_then(|p| p.subscription_timeout);
        super::registrar::seconds(own.unwrap_or(self.snapshot.presence.default_expires))
    }

    /// Sends SUBSCRIBE, in the dialog if there is one.
    pub(super) fn send_subscribe(&mut self, now: Now, id: SlotId) {
        if self.contract_holds_subscribe(now, id) {
            return;
        }
        let Some(upstream) = self.upstreams.slots.get(id) else {
            return;
        };
        let peer = upstream.key.peer;
        let next = upstream.dialog.as_ref().map(|d| d.next_uri().to_vec());
        let to = match next {
            Some(uri) => self.peer_in_dialog(peer, &uri),
            None => {
                self.note_asked(id);
                self.next_place(id)
            }
        };
        let Some(to) = to else {
            let action = match self.upstreams.slots.get_mut(id) {
                Some(upstream) => upstream.machine.failed(now.mono_ms, &mut self.random),
                None => return,
            };
            return self.act(now, id, action);
        };
        let (client, branch) = self.layer.reserve(false, id.pack(Owner::Upstream as u8));
        match self.write_subscribe(id, to, branch.as_bytes()) {
            Some(wire) => self.layer.send(now, client, to, wire, is_reliable(to)),
            None => self.layer.abandon(client),
        }
        self.arm_upstream(id);
    }

    fn write_subscribe(&mut self, id: SlotId, to: Destination, branch: &[u8]) -> Option<Bytes> {
        let mut buffer = self.buffers.take();
        let via = self.via_value(to, branch);
        let contact = self.own_uri(to, b"", false);
        let first = self.upstreams.slots.get(id).filter(|u| u.dialog.is_none());
        let (target, from) = first.map(|u| self.upstream_names(&u.key)).unwrap_or_default();
        let accept = self.accepted_of(id);
        let unanswered = is_reliable(to) && self.dialect_of_upstream(id).is_some_and(|d| d.sip.benotify);
        let upstream = self.upstreams.slots.get_mut(id)?;
        upstream.cseq += 1;
        upstream.to = Some(to);
        let expires = if upstream.ending {
            0
        } else {
            upstream.machine.expires_s()
        };
        let request = match &mut upstream.dialog {
            Some(dialog) => {
                upstream.cseq = dialog.next_cseq();
                write::Request::start(&mut buffer, b"SUBSCRIBE", dialog.request_uri())
                    .header(b"Via", &via)
                    .lines(dialog.lines())
            }
            None => write::Request::start(&mut buffer, b"SUBSCRIBE", target.as_bytes())
                .header(b"Via", &via)
                .parts(b"From", &[b"<", from.as_bytes(), b">;tag=", &upstream.tag])
                .parts(b"To", &[b"<", target.as_bytes(), b">"])
                .header(b"Call-ID", upstream.call_id.as_bytes()),
        };
        let request = match unanswered {
            true => request
                .header(
                    b"Supported",
                    b"ms-benotify, ms-piggyback-first-notify, com.microsoft.autoextend",
                )
                .header(b"Proxy-Require", b"ms-benotify"),
            false => request,
        };
        request
            .number(b"CSeq", u64::from(upstream.cseq), b" SUBSCRIBE")
            .header(b"Max-Forwards", b"70")
            .header(b"Contact", &contact)
            .header(b"Event", b"presence")
            .header(b"Accept", accept.as_bytes())
            .number(b"Expires", u64::from(expires), b"")
            .body(None);
        Some(self.buffers.finish(buffer))
    }

    /// A response to our SUBSCRIBE.
    pub(super) fn on_subscribe_response(&mut self, now: Now, id: SlotId, view: &View<'_>, status: u16) {
        if status < 200 {
            return;
        }
        let seconds = |name| view.header(name).and_then(|v| parse_expires(v).ok());
        let answer = Answered {
            status,
            expires_s: seconds(Name::Expires),
            min_expires_s: seconds(Name::MinExpires),
            retry_after_s: seconds(Name::RetryAfter),
        };
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return;
        };
        if upstream.ending && status < 300 {
            upstream.drop_at = Some(now.mono_ms + LAST_NOTIFY_MS);
            return self.wheel.arm(now.mono_ms + LAST_NOTIFY_MS, Kind::Upstream, id);
        }
        if upstream.ending {
            return self.drop_upstream(id);
        }
        if status < 300 && upstream.dialog.is_none() {
            let routes: Vec<&[u8]> = view.items(Name::RecordRoute).collect();
            let reversed = routes.into_iter().rev().collect();
            if let Ok(dialog) = upstream_dialog(upstream, view, Name::To, reversed, None) {
                upstream.dialog = Some(dialog);
            }
        }
        if status < 300 {
            upstream.failed.clear();
        } else if matches!(status, 408 | 500 | 502..=504)
            && answer.retry_after_s.is_none()
            && self.go_elsewhere(now, id)
        {
            return;
        }
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return;
        };
        let action = upstream.machine.response(now.mono_ms, answer, &mut self.random);
        self.persist_upstream(id);
        self.act(now, id, action);
        if status < 300 && !view.body().is_empty() {
            self.take_piggybacked(now, id, view);
        }
    }

    /// The first notification may come inside the answer, from a peer that was told it may.
    fn take_piggybacked(&mut self, now: Now, id: SlotId, view: &View<'_>) {
        let Some(cseq) = view.named("ms-piggyback-cseq").next() else {
            return;
        };
        let knows = self.dialect_of_upstream(id).is_some_and(|d| d.sip.piggyback);
        let cseq = core::str::from_utf8(cseq).ok().and_then(|c| c.trim().parse().ok());
        let (true, Some(cseq)) = (knows, cseq) else { return };
        let state = view.header(Name::SubscriptionState).map(SubscriptionState::parse);
        let Ok(state) = state.unwrap_or(Ok(SubscriptionState::Active(None))) else {
            return;
        };
        if let Some(dialog) = self.upstreams.slots.get_mut(id).and_then(|u| u.dialog.as_mut()) {
            dialog.take_remote_cseq(cseq);
        }
        if let Ok(body) = self.notify_body(now, view, id) {
            self.take_notify(now, id, state, body);
        }
    }

    /// No answer, or the connection failed.
    pub(super) fn on_subscribe_failure(&mut self, now: Now, id: SlotId) {
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return;
        };
        if upstream.ending {
            return self.drop_upstream(id);
        }
        if self.go_elsewhere(now, id) {
            return;
        }
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return;
        };
        let action = upstream.machine.failed(now.mono_ms, &mut self.random);
        self.act(now, id, action);
    }

    pub(super) fn on_upstream_timer(&mut self, now: Now, id: SlotId) {
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return;
        };
        if std::mem::take(&mut upstream.restored) {
            return self.send_subscribe(now, id);
        }
        if upstream.ending {
            if upstream.drop_at.is_some_and(|at| at <= now.mono_ms) {
                self.drop_upstream(id);
            }
            return;
        }
        let waits = upstream.machine.state() == State::NotifyWait;
        if waits && upstream.unsure_at.is_some_and(|at| at <= now.mono_ms) {
            upstream.unsure_at = None;
            self.show_unknown(id);
        }
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return;
        };
        let action = if std::mem::take(&mut upstream.paced) {
            upstream.machine.peer_up(now.mono_ms)
        } else {
            upstream.machine.timer(now.mono_ms, &mut self.random)
        };
        self.act(now, id, action);
    }

    fn act(&mut self, now: Now, id: SlotId, action: Action) {
        match action {
            Action::None => self.arm_upstream(id),
            Action::Refresh => self.send_subscribe(now, id),
            Action::Start => {
                self.new_dialog(id);
                if let Some(upstream) = self.upstreams.slots.get_mut(id) {
                    upstream.unsure_at = Some(now.mono_ms + GRACE_MS);
                    self.wheel.arm(now.mono_ms + GRACE_MS, Kind::Upstream, id);
                }
                self.send_subscribe(now, id);
            }
            Action::Unknown => {
                self.show_unknown(id);
                self.arm_upstream(id);
            }
            Action::Final => self.new_dialog(id),
            Action::Lost => {
                self.show_unknown(id);
                self.new_dialog(id);
                self.arm_upstream(id);
            }
        }
    }

    /// A new subscription has new identifiers, so that a late NOTIFY of the old one finds nothing.
    fn new_dialog(&mut self, id: SlotId) {
        let tag = self.random.token::<16>();
        let call_id = self.call_id_with(&tag);
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return;
        };
        self.upstreams.by_tag.remove(&upstream.tag);
        self.upstreams.by_tag.insert(tag, id);
        upstream.tag = tag;
        upstream.call_id = call_id;
        upstream.dialog = None;
        upstream.cseq = 0;
    }

    fn show_unknown(&mut self, id: SlotId) {
        let Some(upstream) = self.upstreams.slots.get(id) else {
            return;
        };
        let (resource, entity) = (upstream.resource, upstream.key.presentity.to_uri());
        self.show(resource, Bytes::from(pidf::unknown(&entity)));
        // For whoever fetches that is an answer, even where it changes nothing.
        self.repeat_to_fetches(resource);
    }

    fn arm_upstream(&mut self, id: SlotId) {
        if let Some(due) = self.upstreams.slots.get(id).and_then(|u| u.machine.due()) {
            self.wheel.arm(due, Kind::Upstream, id);
        }
    }

    /// A peer went down: what it told us is not known any more.
    pub(super) fn upstreams_lost(&mut self, _now: Now, peer: PeerId) {
        for id in self.upstreams_of(peer) {
            self.show_unknown(id);
        }
    }

    /// A peer is back: each of its subscriptions is refreshed, one after the other.
    pub(super) fn upstreams_return(&mut self, now: Now, peer: PeerId) {
        for (n, id) in self.upstreams_of(peer).into_iter().enumerate() {
            if let Some(upstream) = self.upstreams.slots.get_mut(id) {
                upstream.paced = true;
            }
            self.wheel.arm(now.mono_ms + n as u64 * PACE_MS, Kind::Upstream, id);
        }
    }

    fn upstreams_of(&self, peer: PeerId) -> Vec<SlotId> {
        self.upstreams
            .slots
            .iter()
            .filter(|(_, u)| u.key.peer == peer)
            .map(|(id, _)| id)
            .collect()
    }

    /// The last local watcher of a remote presentity has gone.
    pub(super) fn upstream_unwatched(&mut self, resource: SlotId) {
        let Some(entry) = self.presence.resources.get(resource) else {
            return;
        };
        let idle = entry.watchers.is_empty() && !self.sources.feeds(resource);
        let (Some(id), true) = (entry.upstream, idle) else {
            return;
        };
        self.leave_upstream(id);
    }

    fn leave_upstream(&mut self, id: SlotId) {
        let now = self.clock;
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return;
        };
        upstream.ending = true;
        let key = upstream.key.clone();
        let in_dialog = upstream.dialog.is_some();
        self.upstreams.by_key.remove(&key);
        self.persist(record::upstream_key(&key), None);
        if in_dialog {
            self.send_subscribe(now, id);
        } else {
            self.drop_upstream(id);
        }
    }

    fn drop_upstream(&mut self, id: SlotId) {
        if let Some(resource) = self.upstreams.slots.get(id).map(|u| u.resource) {
            self.forget_delivered(resource);
        }
        let Some(upstream) = self.upstreams.slots.remove(id) else {
            return;
        };
        self.upstreams.by_tag.remove(&upstream.tag);
        if self.upstreams.by_key.get(&upstream.key) == Some(&id) {
            self.upstreams.by_key.remove(&upstream.key);
        }
        // One that ends may have a follower already.
        if upstream.key.watcher.is_none() && !self.upstreams.by_key.contains_key(&upstream.key) {
            self.forget_asked(&upstream.key.presentity);
        }
        self.presence.resources.remove(upstream.resource);
    }
}

/// Their tag in a dialog of ours.
fn their_tag(dialog: &Dialog) -> Option<&[u8]> {
    let to = dialog
        .identity_lines()
        .split(|b| *b == b'\n')
        .find_map(|line| line.strip_prefix(b"To: "))?;
    NameAddr::parse(to.trim_ascii_end()).ok()?.tag()
}

/// The dialog of an upstream subscription, from a 2xx (their side is To) or from a NOTIFY (their side is From).
fn upstream_dialog(
    upstream: &Upstream,
    view: &View<'_>,
    theirs: Name,
    routes: Vec<&[u8]>,
    remote_cseq: Option<u32>,
) -> Result<Dialog, Malformed> {
    let ours = if theirs == Name::To { Name::From } else { Name::To };
    let remote = view.header(theirs).unwrap_or_default();
    let endpoint = super::notifier::with_endpoint(remote);
    let local = view.header(ours).unwrap_or_default();
    let contact = view
        .items(Name::Contact)
        .next()
        .ok_or(Malformed::header(Name::Contact, "it is missing"))?;
    let parts = Parts {
        call_id: upstream.call_id.as_bytes(),
        local: super::notifier::without_tag(local),
        local_tag: &upstream.tag,
        remote: &endpoint,
        remote_tag: NameAddr::parse(remote)?.tag().unwrap_or_default(),
        target: NameAddr::parse(contact)?.uri,
        routes,
    };
    Dialog::new(&parts, upstream.cseq, remote_cseq)
}
