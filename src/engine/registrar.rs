//! Registrar (RFC 3261 section 10.3, Path RFC 3327): bindings of addresses-of-record to contacts.
//!
//! A contact is a claim like any other: requests for the user go to the address the REGISTER came from, or to the
//! contact when it names that same host. GRUU and outbound (RFC 5626, 5627) are not offered.

use bytes::Bytes;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::commit::Promise;
use super::forward::Hop;
use super::reach::Origin;
use super::reply::{Answer, Request, phrase};
use super::slots::{SlotId, Slots};
use super::timers::Kind;
use super::undo::Undo;
use super::{Engine, record};
use crate::sip::field::{NameAddr, parse_expires};
use crate::sip::header::Name;
use crate::sip::message::{Malformed, View};
use crate::sip::net::{Destination, Transport};
use crate::sip::time::Now;
use crate::sip::uri::{Aor, Uri, without_headers};

/// One contact of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) uri: Bytes,
    /// Preference in thousandths (RFC 3261 section 20.10).
    pub(super) q: u16,
    pub(super) call_id: Bytes,
    pub(super) cseq: u32,
    pub(super) expires_wall_ms: u64,
    pub(super) origin: Origin,
    /// Path values, top first, joined by commas.
    pub(super) path: Option<Bytes>,
    /// What there is to know of the client where it is no plain one.
    pub(super) client: Option<Box<super::lcs::Client>>,
}

/// The contacts of one address.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) aor: Aor,
    pub(super) bindings: SmallVec<[Binding; 1]>,
}

/// All registrations.
#[derive(Debug, Default)]
pub(super) struct Registrar {
    entries: Slots<Entry>,
    by_aor: HashMap<Aor, SlotId>,
}

impl Registrar {
    /// The contacts of an address, none if it is not registered.
    pub(super) fn bindings(&self, aor: &Aor) -> &[Binding] {
        self.by_aor
            .get(aor)
            .and_then(|id| self.entries.get(*id))
            .map_or(&[], |e| &e.bindings)
    }

    /// A contact of an address, to be changed.
    pub(super) fn binding_mut(&mut self, aor: &Aor, fits: impl Fn(&Binding) -> bool) -> Option<&mut Binding> {
        let id = self.by_aor.get(aor).copied()?;
        let entry = self.entries.get_mut(id)?;
        entry.bindings.iter_mut().find(|b| fits(b))
    }

    fn snapshot(&self, aor: &Aor) -> SmallVec<[Binding; 1]> {
        self.bindings(aor).iter().cloned().collect()
    }

    /// All entries in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|(_, e)| e)
    }

    fn entry(&mut self, aor: &Aor) -> SlotId {
        if let Some(id) = self.by_aor.get(aor) {
            return *id;
        }
        let id = self.entries.insert(Entry {
            aor: aor.clone(),
            bindings: SmallVec::new(),
        });
        self.by_aor.insert(aor.clone(), id);
        id
    }
}

/// What one Contact of a REGISTER asks for.
pub(super) struct Wish {
    pub(super) uri: Bytes,
    q: u16,
    pub(super) expires_s: u32,
}

enum Wishes {
    /// No Contact: only the list is asked for.
    Query,
    /// `*`: everything goes.
    RemoveAll,
    /// One per Contact.
    Contacts(Vec<Wish>),
}

impl Engine {
    /// A REGISTER that the decision allowed: it is for the sender's own address.
    pub(super) fn on_register(&mut self, now: Now, request: &Request<'_>, aor: &Aor) {
        let wishes = match self.read_wishes(request.view) {
            Ok(wishes) => wishes,
            Err(problem) => return self.answer_problem(now, request, &problem),
        };
        if self.journal.is_broken() && !matches!(wishes, Wishes::Query) {
            return self.answer_store_failure(now, request);
        }
        let before = self.registrar.snapshot(aor);
        let outcome = match wishes {
            Wishes::Query => Ok(()),
            Wishes::RemoveAll => self.remove_all(now, request, aor),
            Wishes::Contacts(list) => self.apply_wishes(now, request, aor, list),
        };
        match outcome {
            Ok(()) => self.confirm_registration(now, request, aor, before),
            Err(Refused::TooBrief) => {
                let min = (self.snapshot.registrar.min_expires.as_secs()).to_string();
                let headers: [(&[u8], &[u8]); 1] = [(b"Min-Expires", min.as_bytes())];
                self.answer(now, request, Answer::new(423, phrase(423)).with(&headers));
            }
            Err(Refused::TooMany) => self.answer(now, request, Answer::new(403, "Too Many Contacts")),
            Err(Refused::OutOfOrder) => self.answer(now, request, Answer::new(500, "CSeq Out of Order")),
        }
    }

    fn read_wishes(&self, view: &View<'_>) -> Result<Wishes, Malformed> {
        let default = match view.header(Name::Expires) {
            Some(value) => parse_expires(value)?,
            None => seconds(self.snapshot.registrar.default_expires),
        };
        let mut list = Vec::new();
        let mut star = false;
        for item in view.items(Name::Contact) {
            if item == b"*" {
                star = true;
                continue;
            }
            let contact = NameAddr::parse(item)?;
            Uri::parse(contact.uri)?;
            let expires_s = match contact.params.get(b"expires") {
                Some(value) => parse_expires(value).unwrap_or(default),
                None => default,
            };
            let q = contact.params.get(b"q").map_or(1000, quality);
            list.push(Wish {
                uri: Bytes::copy_from_slice(contact.uri),
                q,
                expires_s,
            });
        }
        match (star, list.is_empty(), default) {
            (true, true, 0) => Ok(Wishes::RemoveAll),
            (true, _, _) => Err(Malformed::new(
                400,
                Some(Name::Contact),
                "Contact: * needs Expires: 0 and no other contact",
            )),
            (false, true, _) => Ok(Wishes::Query),
            (false, false, _) => Ok(Wishes::Contacts(list)),
        }
    }

    fn remove_all(&mut self, now: Now, request: &Request<'_>, aor: &Aor) -> Result<(), Refused> {
        let (call_id, cseq) = (request.essentials.call_id, request.essentials.cseq.number);
        if self
            .registrar
            .bindings(aor)
            .iter()
            .any(|b| b.call_id == call_id && b.cseq >= cseq)
        {
            return Err(Refused::OutOfOrder);
        }
        self.forget_bindings(now, aor);
        Ok(())
    }

    /// Takes all contacts of an address away.
    pub(super) fn forget_bindings(&mut self, now: Now, aor: &Aor) {
        let Some(id) = self.registrar.by_aor.remove(aor) else {
            return;
        };
        for binding in self
            .registrar
            .entries
            .remove(id)
            .map(|e| e.bindings)
            .unwrap_or_default()
        {
            self.persist(record::binding_key(aor, &binding.uri), None);
            self.client_left(aor, binding.client.as_deref());
        }
        self.registration_changed(now, aor);
    }

    /// Takes one contact of an address away.
    pub(super) fn forget_binding(&mut self, now: Now, aor: &Aor, uri: &[u8]) {
        let id = self.registrar.by_aor.get(aor).copied();
        let Some((id, entry)) = id.and_then(|id| Some((id, self.registrar.entries.get_mut(id)?))) else {
            return;
        };
        let at = entry.bindings.iter().position(|b| b.uri == uri);
        let gone = at.map(|at| entry.bindings.remove(at));
        if entry.bindings.is_empty() {
            self.registrar.entries.remove(id);
            self.registrar.by_aor.remove(aor);
        }
        self.persist(record::binding_key(aor, uri), None);
        self.client_left(aor, gone.as_ref().and_then(|b| b.client.as_deref()));
        self.registration_changed(now, aor);
    }

    fn apply_wishes(&mut self, now: Now, request: &Request<'_>, aor: &Aor, list: Vec<Wish>) -> Result<(), Refused> {
        let rules = self.snapshot.registrar.clone();
        let (min, max) = (seconds(rules.min_expires), seconds(rules.max_expires));
        if list.iter().any(|w| w.expires_s != 0 && w.expires_s < min) {
            return Err(Refused::TooBrief);
        }
        let (call_id, cseq) = (request.essentials.call_id, request.essentials.cseq.number);
        let present = self.registrar.bindings(aor);
        let is_new = |w: &&Wish| w.expires_s > 0 && !present.iter().any(|b| same_contact(&b.uri, &w.uri));
        if present.len() + list.iter().filter(is_new).count() > rules.max_contacts as usize {
            return Err(Refused::TooMany);
        }
        let stale =
            |b: &Binding| b.call_id == call_id && b.cseq >= cseq && list.iter().any(|w| same_contact(&b.uri, &w.uri));
        if present.iter().any(stale) {
            return Err(Refused::OutOfOrder);
        }
        let path = joined(request.view.items(Name::Path));
        let client = self.client_of(request, aor);
        self.forget_former(now, aor, client.as_deref(), &list);
        let id = self.registrar.entry(aor);
        for wish in list {
            let granted = u64::from(wish.expires_s.min(max)) * 1000;
            let binding = Binding {
                uri: wish.uri,
                q: wish.q,
                call_id: Bytes::copy_from_slice(call_id),
                cseq,
                expires_wall_ms: now.wall_ms + granted,
                origin: request.source.into(),
                path: path.clone(),
                client: client.clone(),
            };
            self.put_binding(now, id, aor, binding, granted);
        }
        if self.registrar.bindings(aor).is_empty() {
            self.registrar.entries.remove(id);
            self.registrar.by_aor.remove(aor);
        }
        self.registration_changed(now, aor);
        Ok(())
    }

    fn put_binding(&mut self, now: Now, id: SlotId, aor: &Aor, binding: Binding, granted_ms: u64) {
        let Some(entry) = self.registrar.entries.get_mut(id) else {
            return;
        };
        let at = entry.bindings.iter().position(|b| same_contact(&b.uri, &binding.uri));
        if granted_ms == 0 {
            if let Some(at) = at {
                let gone = entry.bindings.remove(at);
                self.persist(record::binding_key(aor, &gone.uri), None);
                self.client_left(aor, gone.client.as_deref());
            }
            return;
        }
        let (key, value) = (record::binding_key(aor, &binding.uri), record::binding(&binding));
        match at.and_then(|at| entry.bindings.get_mut(at)) {
            Some(old) => {
                // The same contact, perhaps written differently.
                let old = std::mem::replace(old, binding);
                let old_key = record::binding_key(aor, &old.uri);
                if old_key != key {
                    self.persist(old_key, None);
                }
            }
            None => entry.bindings.push(binding),
        }
        self.persist(key, Some(value));
        self.wheel.arm(now.mono_ms + granted_ms, Kind::Binding, id);
    }

    /// Puts back the contacts that a refused REGISTER changed.
    pub(super) fn restore_bindings(&mut self, now: Now, aor: &Aor, before: SmallVec<[Binding; 1]>) {
        let id = self.registrar.entry(aor);
        for binding in &before {
            let left = binding.expires_wall_ms.saturating_sub(now.wall_ms);
            self.wheel.arm(now.mono_ms + left, Kind::Binding, id);
        }
        if before.is_empty() {
            self.registrar.entries.remove(id);
            self.registrar.by_aor.remove(aor);
        } else if let Some(entry) = self.registrar.entries.get_mut(id) {
            entry.bindings = before;
        }
        self.registration_changed(now, aor);
    }

    /// Puts back a binding that the store held.
    pub(super) fn restore_binding(&mut self, now: Now, aor: Aor, binding: Binding) {
        let left = binding.expires_wall_ms.saturating_sub(now.wall_ms);
        let id = self.registrar.entry(&aor);
        if let Some(entry) = self.registrar.entries.get_mut(id) {
            entry.bindings.push(binding);
        }
        self.wheel.arm(now.mono_ms + left, Kind::Binding, id);
    }

    /// 200 with the present list (RFC 3261 section 10.3 step 8).
    fn confirm_registration(&mut self, now: Now, request: &Request<'_>, aor: &Aor, before: SmallVec<[Binding; 1]>) {
        self.or_undo(Undo::Bindings(Box::new((aor.clone(), before))));
        let contacts: Vec<Vec<u8>> = self
            .registrar
            .bindings(aor)
            .iter()
            .map(|b| {
                let left = b.expires_wall_ms.saturating_sub(now.wall_ms).div_ceil(1000);
                [b"<", &b.uri[..], format!(">;expires={left}").as_bytes()].concat()
            })
            .collect();
        let mut headers: Vec<(&[u8], &[u8])> = contacts.iter().map(|c| (&b"Contact"[..], &c[..])).collect();
        headers.push((b"Supported", b"path"));
        let expires;
        if self.client_dialect(request.source.listener).sip.roaming {
            expires = self.granted(now, request, aor).to_string();
            headers.extend(super::lcs::register_headers(&expires));
        }
        // RFC 3327 section 5.3: the client learns which Path was taken.
        headers.extend(request.view.headers(Name::Path).map(|path| (&b"Path"[..], path)));
        let reply = self.reply_to(request, Answer::new(200, "OK").with(&headers));
        self.promise(now, Promise::Answer(reply));
        if !self.registrar.bindings(aor).is_empty() {
            self.deliver_stored(now, aor);
        }
    }

    /// A binding may have expired; the record goes and watchers hear of it.
    pub(super) fn on_binding_timer(&mut self, now: Now, id: SlotId) {
        let Some(entry) = self.registrar.entries.get_mut(id) else {
            return;
        };
        let aor = entry.aor.clone();
        let before = entry.bindings.len();
        let expired: Vec<Binding> = entry
            .bindings
            .iter()
            .filter(|b| b.expires_wall_ms <= now.wall_ms)
            .cloned()
            .collect();
        entry.bindings.retain(|b| b.expires_wall_ms > now.wall_ms);
        if entry.bindings.len() == before {
            return;
        }
        if entry.bindings.is_empty() {
            self.registrar.entries.remove(id);
            self.registrar.by_aor.remove(&aor);
        }
        for gone in expired {
            self.persist(record::binding_key(&aor, &gone.uri), None);
            self.client_left(&aor, gone.client.as_deref());
        }
        self.registration_changed(now, &aor);
    }

    /// Hops to the contacts of a user that a request for `uri` may go to, the preferred first: `sips:` asks for TLS on
    /// every hop (RFC 3261 section 26.2.2), so what it names goes only over connections under TLS.
    pub(super) fn hops_for(&self, aor: &Aor, uri: &[u8]) -> SmallVec<[Hop; 1]> {
        let mut hops = self.contact_hops(aor);
        if is_sips(uri) {
            let secure = |to: &Destination| {
                let Destination::Flow(flow) = to else { return false };
                self.flows
                    .get(flow)
                    .is_some_and(|f| f.identity.counts_as(f.source.transport) == Transport::Tls)
            };
            hops.retain(|hop| hop.destinations.iter().all(secure));
        }
        hops
    }

    /// Hops to all contacts of a user, the preferred first.
    pub(super) fn contact_hops(&self, aor: &Aor) -> SmallVec<[Hop; 1]> {
        let mut bindings: SmallVec<[&Binding; 4]> = self.registrar.bindings(aor).iter().collect();
        bindings.sort_by_key(|b| core::cmp::Reverse(b.q));
        bindings
            .into_iter()
            .map(|b| {
                let next = b.path.as_deref().map_or(&b.uri[..], first_uri);
                Hop {
                    uri: Some(b.uri.slice(..without_headers(&b.uri).len())),
                    path: b.path.clone(),
                    destinations: smallvec::smallvec![self.client_destination(&b.origin, next)],
                }
            })
            .collect()
    }
}

/// Whether a URI asks for TLS on every hop.
pub(super) fn is_sips(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// Why a REGISTER changes nothing.
enum Refused {
    TooBrief,
    TooMany,
    OutOfOrder,
}

/// Contacts compare by URI comparison (RFC 3261 section 19.1.4).
pub(super) fn same_contact(a: &[u8], b: &[u8]) -> bool {
    a == b || matches!((Uri::parse(a), Uri::parse(b)), (Ok(a), Ok(b)) if a.equals(&b))
}

/// `0.7` as 700; anything unreadable is the default of 1.
fn quality(value: &[u8]) -> u16 {
    let text = core::str::from_utf8(value).unwrap_or("1");
    let q = text.parse::<f32>().unwrap_or(1.0).clamp(0.0, 1.0);
    (q * 1000.0) as u16
}

/// Header items joined into one value, or `None` if there are none.
pub(super) fn joined<'a>(items: impl Iterator<Item = &'a [u8]>) -> Option<Bytes> {
    let all: Vec<&[u8]> = items.collect();
    (!all.is_empty()).then(|| Bytes::from(all.join(&b", "[..])))
}

/// The URI of the first name-addr in a list.
pub(super) fn first_uri(list: &[u8]) -> &[u8] {
    NameAddr::parse(list).map_or(list, |a| a.uri)
}

/// Whole seconds, as SIP counts expiries.
pub(super) fn seconds(duration: core::time::Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
