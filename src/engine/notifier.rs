//! The notifier (RFC 6665 section 4.2): SUBSCRIBEs that we serve, and their answers. `notify` has the notifications.

mod notify;

use bytes::Bytes;
use smallvec::SmallVec;

use super::commit::Promise;
use super::forward::{Owner, is_reliable};
use super::list::Role;
use super::reach::{Origin, Reach};
use super::registrar::seconds;
use super::reply::{Answer, Request, phrase};
use super::showing::{Offered, Showing, Shown};
use super::slots::SlotId;
use super::subscription::{Subscription, Tag};
use super::timers::Kind;
use super::undo::Undo;
use super::{Engine, record};
use crate::event::{Pacing, Package, Reason, SubscriptionState};
use crate::policy::Party;
use crate::policy::snapshot::DialectId;
use crate::sip::dialog::{Dialog, Parts};
use crate::sip::field::{EventHeader, NameAddr, parse_expires};
use crate::sip::header::Name;
use crate::sip::message::Malformed;
use crate::sip::net::Destination;
use crate::sip::time::Now;
use crate::sip::transaction::Why;
use crate::sip::write;

/// A NOTIFY whose transport failed is tried again after this, until the subscription expires.
const RETRY_MS: u64 = 10_000;
/// Sequence numbers are reserved in blocks, so that a restart continues above the last one used.
const CSEQ_BLOCK: u32 = 64;
/// The next block is reserved this much early, so that it is durable before its first number is used.
const CSEQ_MARGIN: u32 = 16;

impl Engine {
    /// What a SUBSCRIBE must say before anything is made of it. `Err(())` means it has been answered.
    fn read_subscribe(&mut self, now: Now, request: &Request<'_>, before: Showing) -> Result<Wanted, ()> {
        let view = request.view;
        let package = match view.header(Name::Event).map(EventHeader::parse) {
            Some(Ok(event)) => Package::from_name(event.package),
            _ => None,
        };
        if package.is_none() {
            self.bad_event(now, request);
            return Err(());
        }
        let Some(dialect) = self.snapshot.dialect(before.dialect).cloned() else {
            return Err(());
        };
        // A refresh that names no types goes on with what was agreed.
        let again = request.essentials.to.tag().is_some() && view.header(Name::Accept).is_none();
        let format = match again {
            true => Some(before.format),
            false => dialect.choose(view.headers(Name::Accept)),
        };
        let Some(format) = format else {
            let accept = dialect.accept();
            let headers: [(&[u8], &[u8]); 1] = [(b"Accept", accept.as_bytes())];
            self.answer(now, request, Answer::new(406, phrase(406)).with(&headers));
            return Err(());
        };
        let settings = &self.snapshot.presence;
        let (min, max) = (seconds(settings.min_expires), seconds(settings.max_expires));
        let usual = match dialect.sip.subscription_s {
            0 => seconds(settings.default_expires),
            s => s,
        };
        let wanted = match view.header(Name::Expires).map(parse_expires).transpose() {
            Ok(wanted) => wanted.unwrap_or(usual),
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
        let offered = Offered::of(request, &dialect);
        let showing = Showing {
            dialect: before.dialect,
            format,
            unanswered: offered.unanswered,
            extends: offered.extends,
        };
        let expires_s = wanted.min(max);
        Ok(Wanted {
            expires_s,
            showing,
            offered,
        })
    }

    /// Checks a SUBSCRIBE that opens a dialog, then asks `resource` what it is about.
    pub(super) fn on_subscribe(
        &mut self,
        now: Now,
        request: &Request<'_>,
        watcher: (Party, DialectId),
        resource: impl FnOnce(&mut Self) -> SlotId,
    ) {
        self.open_subscription(now, request, watcher, (Role::Plain, resource), |_, _| {});
    }

    /// The same for any role; `fill` is called before anything is said or written down.
    pub(super) fn open_subscription(
        &mut self,
        now: Now,
        request: &Request<'_>,
        (party, dialect): (Party, DialectId),
        (role, resource): (Role, impl FnOnce(&mut Self) -> SlotId),
        fill: impl FnOnce(&mut Self, SlotId),
    ) {
        let before = Showing {
            dialect,
            ..Showing::default()
        };
        let Ok(wanted) = self.read_subscribe(now, request, before) else {
            return;
        };
        let expires_s = wanted.expires_s;
        let dialog_tag = self.random.token::<16>();
        let dialog = match self.dialog_of(request, &dialog_tag, dialect) {
            Ok(dialog) => dialog,
            Err(problem) => return self.answer_problem(now, request, &problem),
        };
        let watcher = self.watcher_key(request.essentials.from.uri);
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
            role,
            watcher,
            dialog,
            event_id: event_id.map(Into::into),
            reach: Reach {
                party,
                origin: request.source.into(),
            },
            showing: wanted.showing,
            expires_wall_ms: now.wall_ms + u64::from(expires_s) * 1000,
            cseq_ceiling: CSEQ_BLOCK,
            pacing: Pacing::default(),
            sent: 0,
            sent_at_s: 0,
            in_flight: false,
            by_datagram: false,
            dirty: false,
            owed: true,
            ending: (expires_s == 0).then_some(Reason::Timeout),
            tried_flow: false,
            unconfirmed: 0,
            born: self.moment(),
        };
        let id = self.add_subscription(subscription);
        fill(self, id);
        if expires_s > 0 {
            self.persist_subscription(id);
            self.wheel
                .arm(now.mono_ms + u64::from(expires_s) * 1000, Kind::Subscription, id);
        }
        self.or_undo(Undo::NewSubscription(id));
        self.confirm_subscription(now, request, id, &wanted);
    }

    pub(super) fn dialog_of(&self, request: &Request<'_>, tag: &Tag, dialect: DialectId) -> Result<Dialog, Malformed> {
        let (view, e) = (request.view, request.essentials);
        let keeps = self.snapshot.dialect(dialect).is_some_and(|d| d.sip.keep_epid);
        let contact = view.items(Name::Contact).next();
        let contact = contact.ok_or(Malformed::header(Name::Contact, "a SUBSCRIBE needs one"))?;
        let target = NameAddr::parse(contact)?.uri;
        let local = view.header(Name::To).unwrap_or_default();
        let from = view.header(Name::From).unwrap_or_default();
        let kept;
        let remote = if keeps {
            kept = with_endpoint(from);
            &kept
        } else {
            without_tag(from)
        };
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

    fn confirm_subscription(&mut self, now: Now, request: &Request<'_>, id: SlotId, wanted: &Wanted) {
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return;
        };
        let (tag, resource) = (subscription.tag, subscription.resource);
        // A list names as pending whom it knows nothing of yet; a fetch has no second chance.
        let unheard = self.is_unheard(resource) || (wanted.expires_s == 0 && self.list_is_unheard(id));
        let piggybacked = wanted.offered.piggyback && !unheard;
        let expires = wanted.expires_s.to_string();
        let reach = Reach {
            party: Party::User(crate::policy::UserId(0)),
            origin: request.source.into(),
        };
        let towards = self.reply_path(&reach);
        let contact = self.own_uri(towards, b"", false);
        let supported = wanted.offered.supported(piggybacked);
        let first = piggybacked.then(|| self.piggyback(now, id, wanted)).flatten();
        let mut headers: SmallVec<[(&[u8], &[u8]); 7]> = SmallVec::new();
        headers.push((b"Expires", expires.as_bytes()));
        headers.push((b"Contact", &contact));
        if !supported.is_empty() {
            headers.push((b"Supported", supported.as_bytes()));
        }
        if self.requires_eventlist(id) {
            headers.push((b"Require", b"eventlist"));
        }
        if let Some(first) = &first {
            headers.push((b"Event", b"presence"));
            headers.push((b"Subscription-State", first.state.as_bytes()));
            headers.push((b"ms-piggyback-cseq", first.cseq.as_bytes()));
        }
        let mut answer = Answer::new(200, "OK").with(&headers).tag(&tag);
        answer.body = first.as_ref().map(|f| (f.shown.media.as_bytes(), &f.shown.body[..]));
        let reply = self.reply_to(request, answer);
        if let Some(subscription) = self.presence.subscriptions.get_mut(id) {
            subscription.unconfirmed = subscription.unconfirmed.saturating_add(1);
        }
        self.promise(now, Promise::Answer(reply));
        self.promise(now, Promise::Notify(id));
    }

    fn piggyback(&mut self, now: Now, id: SlotId, wanted: &Wanted) -> Option<Piggyback> {
        let shown = self.next_document(id, now, false)?;
        let subscription = self.presence.subscriptions.get_mut(id)?;
        (subscription.sent, subscription.owed, subscription.dirty) = (shown.version, false, false);
        let cseq = subscription.dialog.next_cseq().to_string();
        let state = match wanted.expires_s {
            0 => "terminated;reason=timeout".to_owned(),
            s => format!("active;expires={s}"),
        };
        Some(Piggyback { shown, state, cseq })
    }

    /// The 2xx to a SUBSCRIBE has gone; its NOTIFY follows.
    pub(super) fn confirmed(&mut self, now: Now, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        subscription.unconfirmed = subscription.unconfirmed.saturating_sub(1);
        if subscription.role == Role::List {
            self.settle_relist(id, true);
        }
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return;
        };
        if !subscription.owed && subscription.sent != 0 && subscription.unconfirmed == 0 {
            return self.after_piggyback(now, id);
        }
        if !self.fetch_waits(now, id) {
            self.notify_now(now, id);
        }
    }

    /// The first notification has gone with the answer.
    fn after_piggyback(&mut self, now: Now, id: SlotId) {
        match self.presence.subscriptions.get(id) {
            Some(subscription) if subscription.ending.is_some() => self.remove_subscription(id),
            Some(_) => self.after_notify(now, id),
            None => {}
        }
    }

    /// A refresh, or an end, that was refused for want of a store: all is as before.
    pub(super) fn take_back_refresh(&mut self, now: Now, id: SlotId, origin: Origin, expires_wall_ms: u64) {
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        subscription.unconfirmed = subscription.unconfirmed.saturating_sub(1);
        (subscription.reach.origin, subscription.expires_wall_ms) = (origin, expires_wall_ms);
        (subscription.ending, subscription.owed) = (None, false);
        let dirty = subscription.dirty;
        self.settle_relist(id, false);
        let left = expires_wall_ms.saturating_sub(now.wall_ms);
        self.wheel.arm(now.mono_ms + left, Kind::Subscription, id);
        if dirty {
            self.state_changed(now, id);
        }
    }

    fn reply_path(&self, reach: &Reach) -> Destination {
        match reach.origin.flow {
            Some(flow) => Destination::Flow(flow),
            None => Destination::Datagram {
                listener: self.datagram_listener(reach.origin.remote.ip(), reach.origin.listener),
                to: reach.origin.remote,
            },
        }
    }

    /// SUBSCRIBE inside the dialog: refresh or end.
    pub(super) fn on_resubscribe(&mut self, now: Now, request: &Request<'_>, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        // Its end has been said, even if that NOTIFY has no answer yet.
        if subscription.ending.is_some() {
            return self.answer(now, request, Answer::new(481, phrase(481)));
        }
        let may_fall = |d: &DialectId| self.snapshot.dialect(*d).is_some_and(|d| d.sip.cseq_may_fall);
        if !subscription.dialog.take_remote_cseq(request.essentials.cseq.number)
            && !may_fall(&subscription.showing.dialect)
        {
            return self.answer(now, request, Answer::new(500, "CSeq Out of Order"));
        }
        let (tag, before, role) = (subscription.tag, subscription.showing, subscription.role);
        let Ok(wanted) = self.read_subscribe(now, request, before) else {
            return;
        };
        let expires_s = wanted.expires_s;
        if role == Role::List && expires_s > 0 && !self.relist(now, request, id) {
            return;
        }
        let born = self.moment();
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        (subscription.born, subscription.showing) = (born, wanted.showing);
        let resource = subscription.resource;
        let undo = Undo::Refresh {
            subscription: id,
            origin: subscription.reach.origin,
            expires_wall_ms: subscription.expires_wall_ms,
        };
        subscription.reach.origin = request.source.into();
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
            self.list_agreed(id);
            self.upstream_wanted(now, resource);
        }
        self.confirm_subscription(now, request, id, &wanted);
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
        match subscription.role {
            Role::Plain => {}
            Role::List => return self.list_value(id),
            Role::Member => return None,
        }
        let resource = self.presence.resources.get(subscription.resource)?;
        let upstream = resource
            .upstream
            .and_then(|id| self.upstreams.slots.get(id))
            .map(|u| &u.key);
        let party = self.party_name(subscription.reach.party);
        let dialect = self.snapshot.dialect(subscription.showing.dialect)?;
        Some(record::subscription(
            subscription,
            &resource.aor,
            upstream,
            party,
            &dialect.name,
        ))
    }
}

/// What a SUBSCRIBE asks for.
struct Wanted {
    expires_s: u32,
    showing: Showing,
    offered: Offered,
}

/// The first notification inside the answer.
struct Piggyback {
    shown: Shown,
    /// Subscription-State.
    state: String,
    /// The sequence number of the notification it stands for.
    cseq: String,
}

/// A From value without its tag but with its `epid`, which names the endpoint: requests in the dialog carry it back.
pub(super) fn with_endpoint(value: &[u8]) -> Vec<u8> {
    let mut out = without_tag(value).to_vec();
    if let Some(epid) = NameAddr::parse(value).ok().and_then(|a| a.params.get(b"epid")) {
        out.extend_from_slice(b";epid=");
        out.extend_from_slice(epid);
    }
    out
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
