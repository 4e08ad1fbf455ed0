//! Subscriptions of users to what they keep here: the document rides in the 200 (`ms-piggyback-first-notify`), changes
//! follow as BENOTIFY, which nobody answers. They end with their connection.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::lists::{Kept, Tell};
use super::{epid, lists, sender};
use crate::dialect::lcs::{contacts, provisioning, rights};
use crate::engine::registrar::seconds;
use crate::engine::reply::{Request, phrase};
use crate::engine::slots::{SlotId, Slots};
use crate::engine::subscription::Tag;
use crate::engine::{Engine, Output};
use crate::policy::{RuleRef, UserId};
use crate::sip::dialog::Dialog;
use crate::sip::field::{EventHeader, NameAddr, parse_expires};
use crate::sip::header::Name;
use crate::sip::net::{Destination, FlowId};
use crate::sip::time::Now;
use crate::sip::uri::Aor;
use crate::sip::write::{self, Answer};

/// Subscriptions of one user to what it keeps here, all endpoints together.
const MAX_PER_USER: usize = 64;

/// What may be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Package {
    Contacts,
    Rights,
    Pending,
    Provisioning,
    Provisioning2,
}

impl Package {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Contacts, "vnd-microsoft-roaming-contacts"),
        (Self::Rights, "vnd-microsoft-roaming-ACL"),
        (Self::Pending, "presence.wpending"),
        (Self::Provisioning, "vnd-microsoft-provisioning"),
        (Self::Provisioning2, "vnd-microsoft-provisioning-v2"),
    ];

    fn of(request: &Request<'_>) -> Option<Self> {
        let event = EventHeader::parse(request.view.header(Name::Event)?).ok()?;
        let fits = |(_, name): &&(Self, &str)| event.package.eq_ignore_ascii_case(name.as_bytes());
        Self::ALL.iter().find(fits).map(|(package, _)| *package)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(p, _)| *p == self).map_or("", |(_, name)| name)
    }

    /// The document and its type.
    fn document(self, aor: &Aor, kept: &Kept) -> (&'static str, String) {
        match self {
            Self::Contacts => (contacts::CONTACTS, kept.contacts.to_xml()),
            Self::Rights => (rights::ACLS, kept.rights.to_xml()),
            Self::Pending => ("text/xml+msrtc.wpending", "<watchers/>".into()),
            // Here the user's line goes, once users have lines.
            Self::Provisioning => (provisioning::PROVISIONING, provisioning::to_xml(&aor.to_uri(), None)),
            Self::Provisioning2 => (
                "application/vnd-microsoft-roaming-provisioning-v2+xml",
                "<provisionGroupList/>".into(),
            ),
        }
    }
}

#[derive(Debug)]
struct Subscription {
    aor: Aor,
    epid: Box<str>,
    package: Package,
    flow: FlowId,
    dialog: Dialog,
    tag: Tag,
    expires_wall_ms: u64,
}

type Ids = SmallVec<[SlotId; 8]>;

/// What all users keep, and who of their endpoints hears of changes.
#[derive(Debug, Default)]
pub(in crate::engine) struct Roaming {
    pub(super) kept: HashMap<Aor, Kept>,
    subscriptions: Slots<Subscription>,
    by_tag: HashMap<Tag, SlotId>,
    by_user: HashMap<Aor, Ids>,
    by_flow: HashMap<FlowId, Ids>,
    /// Users who have registered over a connection.
    pub(super) signed_in: HashMap<FlowId, SmallVec<[Aor; 1]>>,
}

impl Roaming {
    fn add(&mut self, subscription: Subscription) {
        let (tag, aor, flow) = (subscription.tag, subscription.aor.clone(), subscription.flow);
        let id = self.subscriptions.insert(subscription);
        self.by_tag.insert(tag, id);
        self.by_user.entry(aor).or_default().push(id);
        self.by_flow.entry(flow).or_default().push(id);
    }

    fn remove(&mut self, id: SlotId) {
        let Some(gone) = self.subscriptions.remove(id) else {
            return;
        };
        self.by_tag.remove(&gone.tag);
        if let Some(ids) = self.by_user.get_mut(&gone.aor) {
            ids.retain(|i| *i != id);
            if ids.is_empty() {
                self.by_user.remove(&gone.aor);
            }
        }
        if let Some(ids) = self.by_flow.get_mut(&gone.flow) {
            ids.retain(|i| *i != id);
            if ids.is_empty() {
                self.by_flow.remove(&gone.flow);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn subscriptions_of(&self, aor: &str) -> usize {
        Aor::parse(aor)
            .and_then(|aor| self.by_user.get(&aor))
            .map_or(0, |ids| ids.len())
    }

    /// The subscriptions of a user that have not expired; the others go.
    fn alive(&mut self, now: Now, aor: &Aor) -> Ids {
        let ids = self.by_user.get(aor).cloned().unwrap_or_default();
        let (alive, expired): (Ids, Ids) = ids.into_iter().partition(|id| {
            let subscription = self.subscriptions.get(*id);
            subscription.is_some_and(|s| s.expires_wall_ms > now.wall_ms)
        });
        for id in expired {
            self.remove(id);
        }
        alive
    }
}

impl Engine {
    /// Whether a SUBSCRIBE of such a client is about what its user keeps here.
    pub(in crate::engine) fn is_roaming_package(&self, request: &Request<'_>) -> bool {
        self.client_dialect(request.source.listener).sip.roaming && Package::of(request).is_some()
    }

    /// The subscription of our tag and its user.
    pub(in crate::engine) fn roaming_by_tag(&self, tag: &[u8], call_id: &[u8]) -> Option<(SlotId, UserId)> {
        if self.roaming.by_tag.is_empty() {
            return None;
        }
        let tag: &Tag = tag.try_into().ok()?;
        let id = *self.roaming.by_tag.get(tag)?;
        let subscription = self.roaming.subscriptions.get(id)?;
        let user = self
            .snapshot
            .users
            .find_plain(subscription.aor.user(), subscription.aor.domain())?;
        (subscription.dialog.call_id() == call_id).then_some((id, user))
    }

    /// Opens a subscription, or answers a fetch.
    pub(in crate::engine) fn on_roaming_subscribe(&mut self, now: Now, request: &Request<'_>, aor: &Aor) {
        let (Some(package), Some(flow)) = (Package::of(request), request.source.flow) else {
            return self.bad_event(now, request);
        };
        if sender(request).as_ref() != Some(aor) {
            let rule = RuleRef::built_in("roaming.own");
            return self.refuse(now, request, 403, "Not Your Address", &rule);
        }
        if !lists(request, Name::Supported, b"ms-benotify")
            || !lists(request, Name::Supported, b"ms-piggyback-first-notify")
        {
            let headers: [(&[u8], &[u8]); 1] = [(b"Require", b"ms-benotify, ms-piggyback-first-notify")];
            return self.answer(now, request, Answer::new(421, "Extension Required").with(&headers));
        }
        let expires_s = match self.roaming_expires(request) {
            Ok(expires) => expires,
            Err(problem) => return self.answer_problem(now, request, &problem),
        };
        if expires_s > 0 && self.roaming.alive(now, aor).len() >= MAX_PER_USER {
            let rule = RuleRef::built_in("roaming.subscriptions");
            return self.refuse(now, request, 403, "Too Many Subscriptions", &rule);
        }
        let tag = self.random.token::<16>();
        let dialect = self.client_dialect_id(request.source.listener);
        let mut dialog = match self.dialog_of(request, &tag, dialect) {
            Ok(dialog) => dialog,
            Err(problem) => return self.answer_problem(now, request, &problem),
        };
        // What rides in the 200 is the first.
        let cseq = dialog.next_cseq();
        self.answer_with_document(now, request, (package, aor), (expires_s, cseq), &tag);
        if expires_s > 0 {
            self.roaming.add(Subscription {
                aor: aor.clone(),
                epid: epid(request),
                package,
                flow,
                dialog,
                tag,
                expires_wall_ms: now.wall_ms + u64::from(expires_s) * 1000,
            });
        }
    }

    fn roaming_expires(&self, request: &Request<'_>) -> Result<u32, crate::sip::message::Malformed> {
        let usual = self.client_dialect(request.source.listener).sip.subscription_s;
        let settings = &self.snapshot.presence;
        let usual = if usual == 0 {
            seconds(settings.default_expires)
        } else {
            usual
        };
        let wanted = request.view.header(Name::Expires).map(parse_expires).transpose()?;
        Ok(wanted.unwrap_or(usual).min(seconds(settings.max_expires)))
    }

    /// SUBSCRIBE inside the dialog: refresh or end. Sequence numbers may fall, so they are not looked at.
    pub(in crate::engine) fn on_roaming_refresh(&mut self, now: Now, request: &Request<'_>, id: SlotId) {
        let expires_s = match self.roaming_expires(request) {
            Ok(expires) => expires,
            Err(problem) => return self.answer_problem(now, request, &problem),
        };
        let Some(subscription) = self.roaming.subscriptions.get_mut(id) else {
            return self.answer(now, request, Answer::new(481, phrase(481)));
        };
        subscription.expires_wall_ms = now.wall_ms + u64::from(expires_s) * 1000;
        if let Some(contact) = request.view.items(Name::Contact).next()
            && let Ok(contact) = NameAddr::parse(contact)
        {
            subscription.dialog.retarget(contact.uri);
        }
        let cseq = subscription.dialog.next_cseq();
        let (package, aor, tag) = (subscription.package, subscription.aor.clone(), subscription.tag);
        self.answer_with_document(now, request, (package, &aor), (expires_s, cseq), &tag);
        if expires_s == 0 {
            self.roaming.remove(id);
        }
    }

    fn answer_with_document(
        &mut self,
        now: Now,
        request: &Request<'_>,
        (package, aor): (Package, &Aor),
        (expires_s, cseq): (u32, u32),
        tag: &Tag,
    ) {
        let (media, document) = package.document(aor, &self.kept(aor));
        let (expires, cseq) = (expires_s.to_string(), cseq.to_string());
        let state = match expires_s {
            0 => "terminated;reason=timeout".to_string(),
            _ => format!("active;expires={expires}"),
        };
        // A fetch is told as active: some clients read nothing else.
        let state = match package {
            Package::Provisioning | Package::Provisioning2 => "active;expires=0".to_string(),
            _ => state,
        };
        let towards = crate::engine::reply::reply_destination(request.source, Some(request.essentials));
        let contact = self.own_uri(towards, b"", false);
        let headers: [(&[u8], &[u8]); 6] = [
            (b"Contact", &contact),
            (b"Expires", expires.as_bytes()),
            (b"Event", package.name().as_bytes()),
            (b"subscription-state", state.as_bytes()),
            (b"ms-piggyback-cseq", cseq.as_bytes()),
            (b"Supported", b"ms-benotify, ms-piggyback-first-notify"),
        ];
        let answer = Answer {
            body: Some((media.as_bytes(), document.as_bytes())),
            ..Answer::new(200, phrase(200)).with(&headers).tag(tag)
        };
        self.answer(now, request, answer);
    }

    /// A change is durable: the endpoints of its user hear of it.
    pub(in crate::engine) fn tell_endpoints(&mut self, now: Now, tell: &Tell) {
        let (media, document) = tell.package.document(&tell.aor, &self.kept(&tell.aor));
        for id in self.roaming.alive(now, &tell.aor) {
            let Some(subscription) = self.roaming.subscriptions.get_mut(id) else {
                continue;
            };
            if subscription.package != tell.package || tell.but.as_ref() == Some(&subscription.epid) {
                continue;
            }
            let flow = subscription.flow;
            if !self.flows.contains_key(&flow) {
                continue;
            }
            let left = subscription.expires_wall_ms.saturating_sub(now.wall_ms).div_ceil(1000);
            let cseq = subscription.dialog.next_cseq();
            let to = Destination::Flow(flow);
            let branch = [&b"z9hG4bK"[..], &self.random.token::<16>()].concat();
            let (via, contact) = (self.via_value(to, &branch), self.own_uri(to, b"", false));
            let mut buffer = self.buffers.take();
            let Some(subscription) = self.roaming.subscriptions.get(id) else {
                continue;
            };
            write::Request::start(&mut buffer, b"BENOTIFY", subscription.dialog.request_uri())
                .header(b"Via", &via)
                .lines(subscription.dialog.lines())
                .number(b"CSeq", u64::from(cseq), b" BENOTIFY")
                .header(b"Max-Forwards", b"70")
                .header(b"Contact", &contact)
                .header(b"Event", tell.package.name().as_bytes())
                .header(b"subscription-state", format!("active;expires={left}").as_bytes())
                .body(Some((media.as_bytes(), document.as_bytes())));
            let wire = self.buffers.finish(buffer);
            self.outputs.push_back(Output::Send { to, wire, token: 0 });
        }
    }

    /// A connection has ended, and with it the subscriptions that came over it.
    pub(super) fn forget_roaming_flow(&mut self, flow: FlowId) {
        for id in self.roaming.by_flow.remove(&flow).unwrap_or_default() {
            self.roaming.remove(id);
        }
    }
}
