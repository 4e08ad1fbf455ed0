//! Presentities: what is known of somebody, rendered once and shared by all watchers.
//!
//! A local presentity is composed of its publications, or derived from its registration while there is none. A remote
//! one is what an upstream subscription brings. Fan-out goes in slices, so that ten thousand watchers starve nobody.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::HashMap;

use super::commit::Promise;
use super::delivered::Keeping;
use super::registrar::seconds;
use super::reply::{Answer, Request, phrase};
use super::slots::{SlotId, Slots};
use super::subscription::{Held, Subscription, Tags};
use super::timers::Kind;
use super::undo::Undo;
use super::{Engine, record};
use crate::event::publication::{Accepted, Limits, Publications, Publish};
use crate::event::{ALLOW_EVENTS, Package, Refusal};
use crate::policy::Party;
use crate::policy::snapshot::DialectId;
use crate::presence::{Document, PIDF, pidf};
use crate::sip::field::{EventHeader, MediaType, parse_expires};
use crate::sip::header::Name;
use crate::sip::time::Now;
use crate::sip::uri::Aor;

/// NOTIFYs of one slice of a fan-out.
const SLICE: usize = 256;
/// With so many NOTIFYs in datagrams unanswered, the next slice waits for answers: receivers' buffers are not endless, and
/// what they drop costs half a second each (Timer E).
const UNANSWERED: usize = 1024;
/// Those that never answer may not hold up the others for longer than this a slice, milliseconds.
const PATIENCE_MS: u64 = 20;

/// Somebody who is watched or has published.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) aor: Aor,
    pub(super) publications: Publications,
    /// The upstream subscription that feeds it; `None` for a local presentity.
    pub(super) upstream: Option<SlotId>,
    /// The rendered document.
    pub(super) body: Bytes,
    /// Rises with every change of `body`.
    pub(super) version: u32,
    /// What dialects make of it.
    pub(super) rendered: Vec<super::showing::Rendered>,
    pub(super) watchers: Vec<SlotId>,
    /// A fan-out is queued already.
    queued: bool,
    /// The latest document, where watchers must not see it before it is durable.
    pub(super) coming: Option<Bytes>,
    /// Changes of publications that may yet be taken back.
    unsettled: u32,
    /// What is written down of its watchers.
    pub(super) keeping: Keeping,
}

impl Resource {
    fn is_idle(&self) -> bool {
        let quiet = self.coming.is_none() && self.unsettled == 0;
        quiet && self.watchers.is_empty() && self.publications.is_empty() && self.upstream.is_none()
    }
}

/// A fan-out in progress.
#[derive(Debug, Clone, Copy)]
struct FanOut {
    resource: SlotId,
    next: usize,
    version: u32,
}

/// All presentities and subscriptions of the shard.
#[derive(Debug, Default)]
pub(super) struct Presence {
    pub(super) resources: Slots<Resource>,
    local: HashMap<Aor, SlotId>,
    pub(super) subscriptions: Slots<Subscription>,
    pub(super) tags: Tags,
    pub(super) held: Held,
    /// Subscriptions held by each peer; the index is the [`crate::sip::net::PeerId`].
    pub(super) held_by_peer: Vec<u32>,
    fan_out: VecDeque<FanOut>,
    /// NOTIFYs in datagrams that are not answered yet.
    pub(super) unanswered: usize,
    /// When the next slice goes at the latest.
    fan_out_at: u64,
    /// Resources with deliveries that are not written down yet.
    pub(super) unsaved: Vec<SlotId>,
    /// See [`Engine::moment`].
    pub(super) moment: u64,
}

impl Presence {
    /// When the next slice of a fan-out is due, on the monotonic clock; 0 is at once.
    pub(super) fn next_slice(&self) -> Option<u64> {
        let due = if self.unanswered < UNANSWERED {
            0
        } else {
            self.fan_out_at
        };
        (!self.fan_out.is_empty()).then_some(due)
    }

    /// The resource of a local address, if there is one.
    pub(super) fn local_id(&self, aor: &Aor) -> Option<SlotId> {
        self.local.get(aor).copied()
    }

    /// The count of what a peer holds; nobody's when the watcher is a user.
    pub(super) fn held_by(&mut self, party: Party) -> Option<&mut u32> {
        let Party::Peer(peer) = party else { return None };
        let at = usize::from(peer.0);
        if at >= self.held_by_peer.len() {
            self.held_by_peer.resize(at + 1, 0);
        }
        self.held_by_peer.get_mut(at)
    }

    /// Counts anew what peers hold, after their ids have changed.
    pub(super) fn count_held(&mut self) {
        self.held_by_peer.clear();
        let parties: Vec<Party> = self.subscriptions.iter().map(|(_, s)| s.reach.party).collect();
        for party in parties {
            if let Some(count) = self.held_by(party) {
                *count += 1;
            }
        }
    }
}

impl Engine {
    /// The resource of a local address, made if there is none.
    pub(super) fn local_resource(&mut self, aor: &Aor) -> SlotId {
        if let Some(id) = self.presence.local.get(aor) {
            return *id;
        }
        let open = !self.registrar.bindings(aor).is_empty();
        let body = Bytes::from(pidf::derived(&aor.to_uri(), open));
        let id = self.new_resource(aor.clone(), None, body);
        self.presence.local.insert(aor.clone(), id);
        id
    }

    pub(super) fn new_resource(&mut self, aor: Aor, upstream: Option<SlotId>, body: Bytes) -> SlotId {
        self.presence.resources.insert(Resource {
            aor,
            publications: Publications::default(),
            upstream,
            body,
            version: 1,
            rendered: Vec::new(),
            watchers: Vec::new(),
            queued: false,
            coming: None,
            unsettled: 0,
            keeping: Keeping::default(),
        })
    }

    /// PUBLISH (RFC 3903 section 6) for the sender's own address.
    pub(super) fn on_publish(&mut self, now: Now, request: &Request<'_>, aor: &Aor, dialect: DialectId) {
        let view = request.view;
        let package = view.header(Name::Event).map(EventHeader::parse);
        match package {
            Some(Ok(event)) if Package::from_name(event.package) == Some(Package::Presence) => {}
            _ => return self.bad_event(now, request),
        }
        let expires_s = match view.header(Name::Expires).map(parse_expires).transpose() {
            Ok(expires) => expires,
            Err(problem) => return self.answer_problem(now, request, &problem),
        };
        let Ok(body) = self.published(now, request, aor, dialect) else {
            return;
        };
        if self.journal.is_broken() {
            return self.answer_store_failure(now, request);
        }
        let document = (!body.is_empty()).then(|| Document::parse(&body));
        // A body about somebody else must not change anybody; what does not parse is refused later, as 400.
        if matches!(&document, Some(Ok(document)) if !document.is_about(aor)) {
            return self.answer(now, request, Answer::new(403, "Entity Is Somebody Else"));
        }
        let dialect = self.snapshot.dialect(dialect).cloned();
        let mut tags = view.headers(Name::SipIfMatch);
        let mut if_match = tags.next().map(|v| String::from_utf8_lossy(v).into_owned());
        if let (Some(tag), Some(_)) = (&mut if_match, tags.next()) {
            // A second line is what a comma is.
            tag.push(',');
        }
        let publish = Publish {
            if_match: if_match.as_deref(),
            expires_s,
            body: &body,
            document,
            dialect: dialect.as_ref().map_or("rfc", |d| &d.name),
        };
        let limits = self.publication_limits();
        let id = self.local_resource(aor);
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return;
        };
        match resource.publications.publish(now, publish, limits, &mut self.random) {
            Ok(accepted) => self.confirm_publication(now, request, id, aor, accepted),
            Err(refusal) => {
                self.refuse_publication(now, request, &refusal);
                self.forget_if_idle(id);
            }
        }
    }

    /// The body of a PUBLISH as it is kept: PIDF. `Err(())` means that the request has been answered.
    fn published<'r>(
        &mut self,
        now: Now,
        request: &Request<'r>,
        aor: &Aor,
        dialect: DialectId,
    ) -> Result<Cow<'r, [u8]>, ()> {
        let body = request.view.body();
        let content_type = request.view.header(Name::ContentType).unwrap_or_default();
        let Some(dialect) = self.snapshot.dialect(dialect).filter(|_| !body.is_empty()).cloned() else {
            return Ok(Cow::Borrowed(body));
        };
        if dialect.is_verbatim() && MediaType::parse(content_type).is(PIDF) {
            return Ok(Cow::Borrowed(body));
        }
        let refusal = match dialect.is_verbatim() {
            true => None,
            false => match dialect.import(content_type, &aor.to_uri(), body) {
                Ok(imported) => return Ok(imported.pidf),
                Err(refusal) => Some(refusal),
            },
        };
        let accept = dialect.accept();
        let status = refusal.as_ref().map_or(415, |r| r.status);
        let what = refusal.map_or_else(|| "the media type is not taken".into(), |r| r.what.replace('"', "'"));
        let warning = format!("399 {} \"{what}\"", self.host());
        let headers: [(&[u8], &[u8]); 2] = [(b"Warning", warning.as_bytes()), (b"Accept", accept.as_bytes())];
        let used = 1 + usize::from(status == 415);
        self.answer(now, request, Answer::new(status, phrase(status)).with(&headers[..used]));
        Err(())
    }

    fn publication_limits(&self) -> Limits {
        let p = &self.snapshot.presence;
        Limits {
            min_expires_s: seconds(p.min_expires),
            max_expires_s: seconds(p.max_expires),
            default_expires_s: seconds(p.default_expires),
            max_entries: p.max_publications as usize,
        }
    }

    fn confirm_publication(&mut self, now: Now, request: &Request<'_>, id: SlotId, aor: &Aor, accepted: Accepted) {
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return;
        };
        let (before, key) = (
            accepted.before.map(Box::new),
            record::publication_key(aor, &accepted.id),
        );
        let value = resource.publications.by_id(&accepted.id).map(record::publication);
        if value.is_some() || before.is_some() {
            resource.unsettled += 1;
            if value.is_some() {
                let at = now.mono_ms + u64::from(accepted.expires_s) * 1000;
                self.wheel.arm(at, Kind::Publication, id);
            }
            self.persist(key, value);
            self.or_undo(Undo::Publication {
                resource: id,
                id: accepted.id,
                before,
            });
        }
        let expires = accepted.expires_s.to_string();
        let headers: [(&[u8], &[u8]); 2] = [
            (b"SIP-ETag", accepted.etag.as_bytes()),
            (b"Expires", expires.as_bytes()),
        ];
        let reply = self.reply_to(request, Answer::new(200, "OK").with(&headers));
        self.promise(now, Promise::Answer(reply));
        if accepted.changed {
            self.recompose(id);
        }
        self.forget_if_idle(id);
    }

    fn refuse_publication(&mut self, now: Now, request: &Request<'_>, refusal: &Refusal) {
        let text;
        let mut headers: Vec<(&[u8], &[u8])> = Vec::new();
        let (status, reason) = match refusal {
            Refusal::ManyTags => (400, "One Entity Tag Only"),
            Refusal::ConditionFailed => (412, phrase(412)),
            Refusal::TooBrief(min) => {
                text = min.to_string();
                headers.push((b"Min-Expires", text.as_bytes()));
                (423, phrase(423))
            }
            Refusal::NoBody => (400, "Body Missing"),
            Refusal::Body(error) => {
                text = format!("399 {} \"{error}\"", self.host());
                headers.push((b"Warning", text.as_bytes()));
                (error.status, phrase(error.status))
            }
            Refusal::TooMany => (403, "Too Many Publications"),
        };
        self.answer(now, request, Answer::new(status, reason).with(&headers));
    }

    /// 489 with what there is.
    pub(super) fn bad_event(&mut self, now: Now, request: &Request<'_>) {
        let headers: [(&[u8], &[u8]); 1] = [(b"Allow-Events", ALLOW_EVENTS.as_bytes())];
        self.answer(now, request, Answer::new(489, phrase(489)).with(&headers));
    }

    /// Renders a local presentity again; watchers hear of it once it is durable, and only if something changed.
    pub(super) fn recompose(&mut self, id: SlotId) {
        if let Some(body) = self.composed(id) {
            self.show(id, body);
        }
    }

    /// The rules have changed.
    pub(super) fn recompose_all(&mut self) {
        let ids: Vec<SlotId> = self.presence.resources.iter().map(|(id, _)| id).collect();
        for id in ids {
            if self.is_local_resource(id) {
                self.recompose(id);
            }
        }
    }

    /// The document of a local presentity as its publications and contacts stand now.
    pub(super) fn composed(&mut self, id: SlotId) -> Option<Bytes> {
        let resource = self.presence.resources.get_mut(id)?;
        let entity = resource.aor.to_uri();
        let open = !self.registrar.bindings(&resource.aor).is_empty();
        Some(
            match resource.publications.compose(&entity, &self.snapshot.presence.rules) {
                Some(composed) => composed,
                None => Bytes::from(pidf::derived(&entity, open)),
            },
        )
    }

    /// A new document for a resource, local or remote, once what it rests on is durable.
    pub(super) fn show(&mut self, id: SlotId, body: Bytes) {
        if self.take_first_document(self.clock, id, &body) {
            return;
        }
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return;
        };
        if *resource.coming.as_ref().unwrap_or(&resource.body) == body {
            return;
        }
        resource.coming = Some(body.clone());
        self.forget_delivered(id);
        self.promise(self.clock, Promise::Show(id, body));
    }

    /// The document is durable.
    pub(super) fn shown(&mut self, id: SlotId, body: Bytes) {
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return;
        };
        if resource.coming.as_ref() == Some(&body) {
            resource.coming = None;
        }
        self.set_body(id, body);
        self.forget_if_idle(id);
    }

    fn set_body(&mut self, id: SlotId, body: Bytes) {
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return;
        };
        if resource.body == body {
            return;
        }
        resource.body = body;
        // 0 is what nobody has seen.
        resource.version = resource.version.wrapping_add(1).max(1);
        self.repeat_to_all(id);
    }

    /// Queues a fan-out.
    pub(super) fn repeat_to_all(&mut self, id: SlotId) {
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return;
        };
        if !resource.watchers.is_empty() && !std::mem::replace(&mut resource.queued, true) {
            let version = resource.version;
            self.presence.fan_out.push_back(FanOut {
                resource: id,
                next: 0,
                version,
            });
        }
    }

    /// Whether a resource is a presentity of our own.
    pub(super) fn is_local_resource(&self, id: SlotId) -> bool {
        self.presence.resources.get(id).is_some_and(|r| r.upstream.is_none())
    }

    /// A change of a publication cannot be taken back any more.
    pub(super) fn release_resource(&mut self, id: SlotId) {
        if let Some(resource) = self.presence.resources.get_mut(id) {
            resource.unsettled = resource.unsettled.saturating_sub(1);
        }
        self.forget_if_idle(id);
    }

    /// One slice of the oldest fan-out; a change on the way starts it again, so that the last state reaches all.
    pub(super) fn fan_out(&mut self, now: Now) {
        if self.presence.next_slice().is_none_or(|due| due > now.mono_ms) {
            return;
        }
        self.presence.fan_out_at = now.mono_ms + PATIENCE_MS;
        let Some(mut job) = self.presence.fan_out.pop_front() else {
            return;
        };
        let Some(resource) = self.presence.resources.get_mut(job.resource) else {
            return;
        };
        if resource.version != job.version {
            job = FanOut {
                next: 0,
                version: resource.version,
                ..job
            };
        }
        let slice: Vec<SlotId> = resource.watchers.iter().skip(job.next).take(SLICE).copied().collect();
        if job.next + slice.len() >= resource.watchers.len() {
            resource.queued = false;
        } else {
            self.presence.fan_out.push_back(FanOut {
                next: job.next + slice.len(),
                ..job
            });
        }
        for id in slice {
            self.state_changed(now, id);
        }
    }

    /// A registration came or went: what is derived from it may change.
    pub(super) fn registration_changed(&mut self, _now: Now, aor: &Aor) {
        if let Some(id) = self.presence.local.get(aor).copied() {
            self.recompose(id);
        }
    }

    /// Publications may have expired.
    pub(super) fn on_publication_timer(&mut self, now: Now, id: SlotId) {
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return;
        };
        let aor = resource.aor.clone();
        let gone = resource.publications.expire(now);
        if gone.is_empty() {
            return;
        }
        for id in gone {
            self.persist(record::publication_key(&aor, &id), None);
        }
        self.recompose(id);
        self.forget_if_idle(id);
    }

    /// A resource that nobody watches and nobody publishes costs nothing.
    pub(super) fn forget_if_idle(&mut self, id: SlotId) {
        let idle = self.presence.resources.get(id).is_some_and(Resource::is_idle);
        if idle {
            self.forget_delivered(id);
        }
        if idle && let Some(resource) = self.presence.resources.remove(id) {
            self.presence.local.remove(&resource.aor);
        }
    }
}
