//! Names on the wire: who is meant here, what that is called at a peer, and what each watcher is told.
//!
//! A presence document is about the presentity that was subscribed to (RFC 3856 section 4, RFC 3863 section 4.1.1). Who
//! asked for `sip:1001@a.example` knows nobody called `alice` and would refuse a document about her, as we do with what
//! peers send ([`Engine::on_notify`] answers 400). So each watcher is told of the name it asked for, provided that this is
//! a name of that very presentity; whatever else a To may claim, the document is about the canonical address.

use std::borrow::Cow;

use bytes::Bytes;

use super::Engine;
use super::forward::Hop;
use super::reply::Request;
use super::showing::Shown;
use super::slots::SlotId;
use super::subscription::Subscription;
use crate::config::plan::{Plan, Withdrawn};
use crate::policy::{Party, Snapshot, UriFacts, UserId, Watched};
use crate::sip::field::NameAddr;
use crate::sip::header::Name;
use crate::sip::net::{Destination, PeerId};
use crate::sip::uri::{Aor, Uri};

/// New values of headers that name somebody.
#[derive(Debug, Default)]
pub(super) struct Names {
    to: Option<Bytes>,
    from: Option<Bytes>,
}

impl Names {
    /// The headers that are written anew.
    pub(super) fn remove(&self) -> impl Iterator<Item = Name> {
        let to = self.to.is_some().then_some(Name::To);
        to.into_iter().chain(self.from.is_some().then_some(Name::From))
    }

    /// Their values.
    pub(super) fn add(&self) -> impl Iterator<Item = (&'static [u8], &[u8])> {
        let to = self.to.iter().map(|v| (&b"To"[..], &v[..]));
        to.chain(self.from.iter().map(|v| (&b"From"[..], &v[..])))
    }

    fn is_some(&self) -> bool {
        self.to.is_some() || self.from.is_some()
    }
}

impl Engine {
    /// The address of a request's target: that of the user it means, whatever name was used.
    pub(super) fn target_aor(&self, request: &Request<'_>, user: Option<UserId>) -> Option<Aor> {
        match user.and_then(|id| self.snapshot.user(id)) {
            Some(user) => Some(Aor::new(&user.user, &user.domain)),
            None => Aor::from_uri(&Uri::parse(request.view.request_uri()).ok()?),
        }
    }

    /// What a SUBSCRIBE of a local user for somebody at a peer is about there.
    pub(super) fn presentity_abroad(&self, request: &Request<'_>, peer: PeerId) -> Option<Aor> {
        let uri = UriFacts::of(request.view.request_uri())?;
        match self.snapshot.abroad(&uri, None, peer) {
            Some(there) => Some(there.aor()),
            None => self.target_aor(request, None),
        }
    }

    /// The target and the From of an upstream subscription, as the peer calls them.
    pub(super) fn upstream_names(&self, key: &super::upstream::Key) -> (String, String) {
        let mut target = key.presentity.to_uri();
        let numbers = self.snapshot.dialplan.peer(key.peer);
        let is_number = || crate::policy::dialplan::plain(key.presentity.user().as_bytes()).is_some();
        if numbers.is_some_and(|n| n.phone) && is_number() {
            target.push_str(";user=phone");
        }
        let Some(watcher) = &key.watcher else {
            return (target, format!("sip:{}", self.host()));
        };
        let caller = numbers
            .and_then(|_| self.snapshot.users.find_plain(watcher.user(), watcher.domain()))
            .and_then(|user| self.snapshot.caller_abroad(user, key.peer));
        (target, caller.map_or_else(|| watcher.to_uri(), |c| c.to_string()))
    }

    /// Calls whom a forwarded request names as `peer` does.
    pub(super) fn named_for_peer(&self, request: &Request<'_>, who: Party, peer: PeerId, hop: &mut Hop) -> Names {
        let mut names = Names::default();
        if self.snapshot.dialplan.peer(peer).is_none() {
            return names;
        }
        let from = match who {
            Party::Peer(id) => Some(id),
            Party::User(_) => None,
        };
        let abroad = |uri: &[u8]| {
            let uri = UriFacts::of(uri)?;
            Some(self.snapshot.abroad(&uri, from, peer)?.to_string())
        };
        hop.uri = abroad(request.view.request_uri()).map(Bytes::from);
        if request.essentials.to.tag().is_none() {
            names.to = abroad(request.essentials.to.uri).map(|uri| renamed(&request.essentials.to, &uri));
        }
        if let Party::User(user) = who
            && let Some(caller) = self.snapshot.caller_abroad(user, peer)
        {
            names.from = Some(renamed(&request.essentials.from, &caller.to_string()));
        }
        names
    }

    /// Calls the sender of a peer's request as we do, so that an answer to it finds its way back.
    pub(super) fn named_for_us(&self, request: &Request<'_>, who: Party) -> Names {
        let mut names = Names::default();
        let Party::Peer(peer) = who else { return names };
        if self.snapshot.dialplan.peer(peer).is_none() {
            return names;
        }
        let from = UriFacts::of(request.essentials.from.uri);
        if let Some(caller) = from.and_then(|from| Some(self.snapshot.caller_here(&from, peer)?.to_string())) {
            names.from = Some(renamed(&request.essentials.from, &caller));
        }
        names
    }

    /// A document about another name of the user who publishes it, about the canonical one: inside there is one name.
    pub(super) fn in_own_name<'b>(&self, body: Cow<'b, [u8]>, aor: &Aor) -> Cow<'b, [u8]> {
        if self.snapshot.users.aliases().is_empty() {
            return body;
        }
        let named = entity(&body).and_then(|(start, end)| body.get(start..end));
        let Some(uri) = named
            .filter(|uri| aor_of(uri).as_ref() != Some(aor))
            .and_then(UriFacts::of)
        else {
            return body;
        };
        let meant = self
            .snapshot
            .meant(&uri, None, false)
            .and_then(|m| self.snapshot.user(m.user));
        let own = meant.is_some_and(|user| *user.user == *aor.user() && *user.domain == *aor.domain());
        match own.then(|| with_entity(&body, &aor.to_uri())).flatten() {
            Some(renamed) => Cow::Owned(renamed.to_vec()),
            None => body,
        }
    }

    /// What a watcher is shown, about the name that it asked for.
    pub(super) fn as_asked(&self, id: SlotId, shown: Shown) -> Shown {
        if self.snapshot.users.aliases().is_empty() && self.snapshot.dialplan.is_empty() {
            return shown;
        }
        match self.another_document(id, &shown.body) {
            Some(body) => Shown { body, ..shown },
            None => shown,
        }
    }

    fn another_document(&self, id: SlotId, shown: &[u8]) -> Option<Bytes> {
        let subscription = self.presence.subscriptions.get(id)?;
        let asked = self.other_name(subscription, &self.snapshot)?;
        let showing = subscription.showing;
        if self.is_verbatim(showing) {
            return with_entity(shown, &asked);
        }
        let resource = self.presence.resources.get(subscription.resource)?;
        let dialect = self.snapshot.dialect(showing.dialect)?;
        let exported = dialect.export(showing.format, &asked, &resource.body);
        Some(Bytes::copy_from_slice(&exported.body))
    }

    /// The name that a watcher used, if it is another one of the presentity it sees.
    fn other_name(&self, subscription: &Subscription, snapshot: &Snapshot) -> Option<String> {
        let asked = subscription.dialog.local_uri();
        let resource = self.presence.resources.get(subscription.resource)?;
        if aor_of(asked).as_ref() == Some(&resource.aor) {
            return None;
        }
        self.is_named(subscription, snapshot)
            .then(|| String::from_utf8_lossy(asked).into_owned())
    }

    /// Whether what a watcher asked for is, by a configuration, the presentity that it sees.
    fn is_named(&self, subscription: &Subscription, snapshot: &Snapshot) -> bool {
        let asked = UriFacts::of(subscription.dialog.local_uri());
        let resource = self.presence.resources.get(subscription.resource);
        let (Some(asked), Some(resource)) = (asked, resource) else {
            return false;
        };
        let upstream = resource.upstream.and_then(|id| self.upstreams.slots.get(id));
        match upstream {
            Some(upstream) => snapshot
                .abroad(&asked, None, upstream.key.peer)
                .is_some_and(|there| there.aor() == resource.aor),
            None => {
                let from = match subscription.reach.party {
                    Party::Peer(peer) => Some(peer),
                    Party::User(_) => None,
                };
                let meant = snapshot.meant(&asked, from, true).and_then(|m| snapshot.user(m.user));
                meant.is_some_and(|user| *user.user == *resource.aor.user() && *user.domain == *resource.aor.domain())
            }
        }
    }

    /// Whether a reload takes away what a subscription rests on: an assignment, or the name that was asked for.
    pub(super) fn loses_its_name(&self, plan: &Plan, next: &Snapshot, subscription: &Subscription) -> bool {
        let Some(resource) = self.presence.resources.get(subscription.resource) else {
            return false;
        };
        let upstream = resource.upstream.and_then(|id| self.upstreams.slots.get(id));
        plan.withdrawn.iter().any(|withdrawn| match withdrawn {
            Withdrawn::Assigned(peer, _, users) => {
                let (theirs, user) = match upstream {
                    Some(upstream) => (upstream.key.peer == *peer, subscription.watcher()),
                    None => (subscription.reach.party == Party::Peer(*peer), resource.aor.to_string()),
                };
                theirs && users.iter().any(|lost| **lost == *user)
            }
            Withdrawn::Names => {
                // Asked under another name that now is somebody else's, or nobody's.
                self.other_name(subscription, &self.snapshot).is_some()
                    && !self.is_named_after(plan, next, subscription)
            }
            _ => false,
        })
    }

    /// As [`Engine::is_named`], by a configuration in which peers may be called otherwise.
    fn is_named_after(&self, plan: &Plan, next: &Snapshot, subscription: &Subscription) -> bool {
        let asked = UriFacts::of(subscription.dialog.local_uri());
        let resource = self.presence.resources.get(subscription.resource);
        let (Some(asked), Some(resource)) = (asked, resource) else {
            return false;
        };
        match resource.upstream.and_then(|id| self.upstreams.slots.get(id)) {
            Some(upstream) => plan
                .peer(upstream.key.peer)
                .and_then(|peer| next.abroad(&asked, None, peer))
                .is_some_and(|there| there.aor() == resource.aor),
            None => {
                let from = match subscription.reach.party {
                    Party::Peer(peer) => plan.peer(peer),
                    Party::User(_) => None,
                };
                let meant = next.meant(&asked, from, true).and_then(|m| next.user(m.user));
                meant.is_some_and(|user| *user.user == *resource.aor.user() && *user.domain == *resource.aor.domain())
            }
        }
    }
}

fn aor_of(uri: &[u8]) -> Option<Aor> {
    Aor::from_uri(&Uri::parse(uri).ok()?)
}

/// What is watched at peers, counted when it is asked for: only a contract asks, and only for a new subscription.
pub(super) struct Watching<'a>(pub(super) &'a Engine);

impl core::fmt::Debug for Watching<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Watching")
    }
}

impl Watching<'_> {
    fn at(&self, peer: PeerId) -> impl Iterator<Item = &Aor> {
        let held = self.0.upstreams.slots.iter().map(|(_, u)| u);
        held.filter(move |u| u.key.peer == peer && !u.is_ending())
            .map(|u| &u.key.presentity)
    }
}

impl Watched for Watching<'_> {
    fn count(&self, peer: PeerId) -> u32 {
        let distinct: std::collections::BTreeSet<(&str, &str)> =
            self.at(peer).map(|aor| (aor.domain(), aor.user())).collect();
        u32::try_from(distinct.len()).unwrap_or(u32::MAX)
    }

    fn has(&self, peer: PeerId, uri: &UriFacts<'_>) -> bool {
        let aor = match self.0.snapshot.abroad(uri, None, peer) {
            Some(there) => Some(there.aor()),
            None => {
                let user: Vec<u8> = uri
                    .user
                    .map(crate::policy::users::unescaped)
                    .into_iter()
                    .flatten()
                    .collect();
                let host = core::str::from_utf8(uri.host).ok();
                host.and_then(|host| Some(Aor::new(core::str::from_utf8(&user).ok()?, host)))
            }
        };
        aor.is_some_and(|aor| self.at(peer).any(|watched| *watched == aor))
    }
}

/// A From or To value with another address.
fn renamed(was: &NameAddr<'_>, uri: &str) -> Bytes {
    let mut out = Vec::with_capacity(uri.len() + was.display.len() + was.params.raw().len() + 4);
    if !was.display.is_empty() {
        out.extend_from_slice(was.display);
        out.push(b' ');
    }
    out.push(b'<');
    out.extend_from_slice(uri.as_bytes());
    out.push(b'>');
    out.extend_from_slice(was.params.raw());
    Bytes::from(out)
}

/// A presence document about somebody of another name: the attribute `entity` of its root is written anew, nothing else.
fn with_entity(body: &[u8], uri: &str) -> Option<Bytes> {
    let (start, end) = entity(body)?;
    let mut out = Vec::with_capacity(body.len() + uri.len());
    out.extend_from_slice(body.get(..start)?);
    for byte in uri.bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            b'\'' => out.extend_from_slice(b"&apos;"),
            _ => out.push(byte),
        }
    }
    out.extend_from_slice(body.get(end..)?);
    Some(Bytes::from(out))
}

/// Where the value of `entity` stands in the root element. The document has been read before, so it is well-formed.
fn entity(body: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    let mut rest = loop {
        at += memchr::memchr(b'<', body.get(at..)?)? + 1;
        let inside = body.get(at..)?;
        if inside.starts_with(b"!--") {
            at += memchr::memmem::find(inside, b"-->")?;
        } else if !inside.starts_with(b"?") && !inside.starts_with(b"!") {
            break at;
        }
    };
    rest += body
        .get(rest..)?
        .iter()
        .position(|b| b.is_ascii_whitespace() || *b == b'>')?;
    loop {
        let tail = body.get(rest..)?;
        let name = rest + tail.iter().position(|b| !b.is_ascii_whitespace())?;
        if matches!(body.get(name)?, b'>' | b'/') {
            return None;
        }
        let equals = name + memchr::memchr(b'=', body.get(name..)?)?;
        let open = equals + body.get(equals..)?.iter().position(|b| matches!(b, b'"' | b'\''))?;
        let close = open + 1 + memchr::memchr(*body.get(open)?, body.get(open + 1..)?)?;
        if body.get(name..equals)?.trim_ascii() == b"entity" {
            return Some((open + 1, close));
        }
        rest = close + 1;
    }
}

impl Engine {
    /// The hop towards a peer, and the names that go there.
    pub(super) fn hop_to_peer(
        &self,
        request: &Request<'_>,
        who: Party,
        peer: PeerId,
        destinations: smallvec::SmallVec<[Destination; 2]>,
    ) -> (Hop, Option<Box<Names>>) {
        let mut hop = Hop::to(destinations);
        let names = self.named_for_peer(request, who, peer, &mut hop);
        (hop, names.is_some().then(|| Box::new(names)))
    }

    /// The names of a peer's request on its way to one of ours.
    pub(super) fn names_for_us(&self, request: &Request<'_>, who: Party) -> Option<Box<Names>> {
        let names = self.named_for_us(request, who);
        names.is_some().then(|| Box::new(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_entity_is_written_anew() {
        for (before, after) in [
            ("<presence entity=\"sip:a@b\"/>", "<presence entity=\"tel:1&amp;2\"/>"),
            (
                "<?xml version='1.0'?><!-- <x entity='no'> --><p:presence xmlns:p='u' x=\"entity='no'\" entity = 'sip:a@b' ><p:t entity='no'/></p:presence>",
                "<?xml version='1.0'?><!-- <x entity='no'> --><p:presence xmlns:p='u' x=\"entity='no'\" entity = 'tel:1&amp;2' ><p:t entity='no'/></p:presence>",
            ),
        ] {
            let made = with_entity(before.as_bytes(), "tel:1&2").expect("it has one");
            assert_eq!(String::from_utf8_lossy(&made), after);
        }
        for none in [
            "<presence/>",
            "<presence x='1'/>",
            "",
            "<",
            "<?xml",
            "<!--",
            "<presence entity",
            "<presence entity=",
        ] {
            assert_eq!(with_entity(none.as_bytes(), "x"), None, "{none}");
        }
    }
}
