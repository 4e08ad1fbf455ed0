//! Batched subscriptions: one dialog in which a watcher sees many presentities (`application/adrl+xml`, RFC 4662).
//!
//! A list is a [`Subscription`] without a presentity: its dialog, refreshes, expiry, pacing and NOTIFYs are those of any
//! other. Each resource on it that may be watched is a subscription of its own among the watchers of its presentity, so
//! that fan-out, limits, reloads and rights see it as any other; it is never sent anything itself but makes its list
//! send. What may not be watched stays on the list as terminated.

mod admit;
mod document;
mod kept;
mod relist;
#[cfg(test)]
mod tests;

use hashbrown::HashMap;

use super::reply::{Answer, Request, phrase};
use super::slots::SlotId;
use super::subscription::{Restored, Subscription};
use super::timers::Kind;
use super::{Engine, reach};
use crate::dialect::lcs::adhoc::{self, ADRL};
use crate::event::Reason;
use crate::event::list::{Instance, MULTIPART, RLMI};
use crate::policy::{Allow, Party};
use crate::sip::dialog::{Dialog, Parts};
use crate::sip::field::{Accept, MediaType, NameAddr};
use crate::sip::header::Name;
use crate::sip::message::Malformed;
use crate::sip::time::Now;

/// What a subscription stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// One presentity in a dialog of its own.
    #[default]
    Plain,
    /// A list: a dialog without a presentity.
    List,
    /// A presentity on a list: no dialog of its own, though the names of one.
    Member,
}

/// All lists.
#[derive(Debug, Default)]
pub(super) struct Lists {
    lists: HashMap<SlotId, List>,
    /// The list of each member.
    members: HashMap<SlotId, SlotId>,
}

impl Lists {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lists.len()
    }
}

/// One list.
#[derive(Debug)]
struct List {
    /// What it is called: the To of its SUBSCRIBE.
    uri: Box<str>,
    /// The watcher knows the option `eventlist`.
    eventlist: bool,
    entries: Vec<Entry>,
    /// The entries before a refresh that named others, until that is durable.
    before: Option<Vec<Entry>>,
    /// What did not fit into the last notification follows.
    more: bool,
}

/// One resource on a list.
#[derive(Clone, Debug)]
struct Entry {
    /// As the watcher wrote it.
    uri: Box<str>,
    standing: Standing,
    /// What the watcher was told last.
    told: Option<Instance>,
}

/// Whether a resource is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// By this subscription.
    Watched(SlotId),
    /// Not, or no longer.
    Ended(Reason),
}

/// The presentity of a list: there is none.
pub(super) fn nobody() -> SlotId {
    SlotId::from_index(u32::MAX)
}

fn has(request: &Request<'_>, name: Name, tag: &[u8]) -> bool {
    request.view.items(name).any(|t| t.eq_ignore_ascii_case(tag))
}

fn is_adrl(request: &Request<'_>) -> bool {
    let kind = request.view.header(Name::ContentType);
    kind.is_some_and(|kind| MediaType::parse(kind).is(ADRL))
}

impl Engine {
    /// Takes a SUBSCRIBE that opens a dialog about many; `false` when it is about one.
    pub(super) fn subscribes_list(&mut self, now: Now, request: &Request<'_>, allow: &Allow) -> bool {
        if request.essentials.method.as_bytes() != b"SUBSCRIBE" {
            return false;
        }
        let required = has(request, Name::Require, b"adhoclist");
        if !required && !is_adrl(request) {
            return false;
        }
        let dialect = self.own_dialect(allow.who, request.source.listener);
        let knows = self.snapshot.dialect(dialect).is_some_and(|d| d.sip.adhoclist);
        if !knows {
            let (status, headers): (_, [(&[u8], &[u8]); 1]) = match required {
                true => (420, [(b"Unsupported", b"adhoclist")]),
                // No body is taken in a SUBSCRIBE.
                false => (415, [(b"Accept", b"")]),
            };
            self.answer(now, request, Answer::new(status, phrase(status)).with(&headers));
            return true;
        }
        if !self.takes_lists(now, request) {
            return true;
        }
        let Some(uris) = self.read_list(now, request) else {
            return true;
        };
        let who = allow.who;
        let watcher = (who, dialect);
        let fill = |engine: &mut Self, list| engine.fill_list(now, request, who, list, &uris);
        self.open_subscription(now, request, watcher, (Role::List, |_: &mut Self| nobody()), fill);
        true
    }

    /// Whether the watcher says that it reads lists (RFC 4662 section 4.1); it has been answered otherwise.
    fn takes_lists(&mut self, now: Now, request: &Request<'_>) -> bool {
        let reads = |kind| Accept::quality(request.view.headers(Name::Accept), kind) > 0;
        if reads(MULTIPART) && reads(RLMI) {
            return true;
        }
        let accept = format!("{MULTIPART}, {RLMI}");
        let (status, headers): (_, [(&[u8], &[u8]); 1]) = match has(request, Name::Supported, b"eventlist") {
            true => (406, [(b"Accept", accept.as_bytes())]),
            false => (421, [(b"Require", b"eventlist")]),
        };
        self.answer(now, request, Answer::new(status, phrase(status)).with(&headers));
        false
    }

    /// Whom the body names; `None` when the request has been answered.
    fn read_list(&mut self, now: Now, request: &Request<'_>) -> Option<Vec<String>> {
        if !is_adrl(request) {
            let headers: [(&[u8], &[u8]); 1] = [(b"Accept", ADRL.as_bytes())];
            self.answer(now, request, Answer::new(415, phrase(415)).with(&headers));
            return None;
        }
        let (status, text) = match adhoc::read(request.view.body()) {
            // What is long goes over a connection or not at all.
            Ok(_) if request.source.flow.is_none() => {
                (488, "a list needs a connection: send it over TCP or TLS".into())
            }
            Ok(uris) => return Some(uris),
            Err(error) => (error.status(), error.to_string()),
        };
        let warning = format!("399 {} \"{text}\"", self.host());
        let headers: [(&[u8], &[u8]); 1] = [(b"Warning", warning.as_bytes())];
        self.answer(now, request, Answer::new(status, phrase(status)).with(&headers));
        None
    }

    fn fill_list(&mut self, now: Now, request: &Request<'_>, who: Party, list: SlotId, uris: &[String]) {
        let uri = String::from_utf8_lossy(request.essentials.to.uri).into_owned();
        let entries = self.entries_of(now, request, who, (list, &[]), uris);
        self.lists.lists.insert(
            list,
            List {
                uri: uri.into(),
                eventlist: has(request, Name::Supported, b"eventlist"),
                entries,
                before: None,
                more: false,
            },
        );
    }

    /// Entries for what a request names; those that are there and watched stay.
    fn entries_of(
        &mut self,
        now: Now,
        request: &Request<'_>,
        who: Party,
        (list, there): (SlotId, &[Entry]),
        uris: &[String],
    ) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(uris.len());
        for uri in uris {
            let watched = |e: &&Entry| *e.uri == **uri && matches!(e.standing, Standing::Watched(_));
            if let Some(entry) = there.iter().find(watched) {
                entries.push(entry.clone());
                continue;
            }
            let admitted = self.admit(now, request, who, uri);
            let member = admitted.and_then(|resource| self.add_member(list, uri, resource).ok_or(Reason::NoResource));
            entries.push(Entry {
                uri: uri.as_str().into(),
                standing: match member {
                    Ok(member) => Standing::Watched(member),
                    Err(reason) => Standing::Ended(reason),
                },
                told: None,
            });
        }
        entries
    }

    fn add_member(&mut self, list: SlotId, uri: &str, resource: SlotId) -> Option<SlotId> {
        let (tag, born) = (self.random.token::<16>(), self.moment());
        self.put_member(list, uri, (resource, tag, born))
    }

    /// A subscription that stands for one resource of a list.
    fn put_member(
        &mut self,
        list: SlotId,
        uri: &str,
        (resource, tag, born): (SlotId, [u8; 16], u64),
    ) -> Option<SlotId> {
        let owner = self.presence.subscriptions.get(list)?;
        let Ok(dialog) = names_of(&owner.dialog, uri, &tag) else {
            self.upstream_unwatched(resource);
            self.forget_if_idle(resource);
            return None;
        };
        let restored = Restored {
            resource,
            tag,
            dialog,
            event_id: None,
            reach: reach::Reach { ..owner.reach },
            showing: owner.showing,
            // It ends with its list.
            expires_wall_ms: u64::MAX,
            cseq_ceiling: 0,
            born,
            role: Role::Member,
        };
        let member = self.restored_subscription(restored);
        self.lists.members.insert(member, list);
        Some(member)
    }

    /// The list that a member is on.
    pub(super) fn list_of(&self, member: SlotId) -> Option<&Subscription> {
        self.presence.subscriptions.get(*self.lists.members.get(&member)?)
    }

    /// How many resources a list names.
    pub(super) fn list_len(&self, id: SlotId) -> usize {
        self.lists.lists.get(&id).map_or(0, |l| l.entries.len())
    }

    /// Whether messages of a list say that they need `eventlist` understood.
    pub(super) fn requires_eventlist(&self, id: SlotId) -> bool {
        !self.lists.lists.is_empty() && self.lists.lists.get(&id).is_some_and(|l| l.eventlist)
    }

    /// What was agreed for a list at a refresh, and where it came from, holds for all that is on it.
    pub(super) fn list_agreed(&mut self, id: SlotId) {
        let Some(list) = self.lists.lists.get(&id) else { return };
        let Some(owner) = self.presence.subscriptions.get(id) else {
            return;
        };
        let (reach, showing) = (owner.reach, owner.showing);
        let resource = |m: &SlotId| self.presence.subscriptions.get(*m).map(|s| s.resource);
        let resources: Vec<SlotId> = list.members().iter().filter_map(resource).collect();
        for member in list.members() {
            if let Some(subscription) = self.presence.subscriptions.get_mut(member) {
                (subscription.reach, subscription.showing) = (reach, showing);
            }
        }
        // A refresh of a subscription of its own would ask the peer again.
        for resource in resources {
            self.upstream_wanted(self.clock, resource);
        }
    }

    /// A presentity has a new state for a member: its list has news.
    pub(super) fn member_changed(&mut self, now: Now, member: SlotId) {
        if let Some(subscription) = self.presence.subscriptions.get_mut(member) {
            subscription.dirty = true;
        }
        if let Some(list) = self.lists.members.get(&member).copied() {
            self.state_changed(now, list);
        }
    }

    /// A member loses its ground: it is terminated on its list, and the list goes on.
    pub(super) fn end_member(&mut self, now: Now, member: SlotId, reason: Reason) {
        let Some(id) = self.lists.members.remove(&member) else {
            return self.remove_subscription(member);
        };
        if let Some(list) = self.lists.lists.get_mut(&id) {
            list.end(member, reason);
        }
        self.remove_subscription(member);
        self.persist_subscription(id);
        if let Some(subscription) = self.presence.subscriptions.get_mut(id) {
            subscription.dirty = true;
            // Others may follow at once.
            self.wheel.arm(now.mono_ms + 1, Kind::Subscription, id);
        }
    }

    /// A subscription with a part in a list is gone.
    pub(super) fn left_list(&mut self, id: SlotId, role: Role) {
        match role {
            Role::Plain => {}
            Role::List => {
                let Some(list) = self.lists.lists.remove(&id) else {
                    return;
                };
                for member in list.members() {
                    self.lists.members.remove(&member);
                    self.remove_subscription(member);
                }
            }
            Role::Member => {
                let list = self.lists.members.remove(&id);
                if let Some(list) = list.and_then(|list| self.lists.lists.get_mut(&list)) {
                    list.end(id, Reason::NoResource);
                }
            }
        }
    }

    /// Whether peers may yet say something of those on a list of whom they have said nothing.
    pub(super) fn list_is_unheard(&self, id: SlotId) -> bool {
        let Some(list) = self.lists.lists.get(&id) else {
            return false;
        };
        let resource = |m: &SlotId| self.presence.subscriptions.get(*m).map(|s| s.resource);
        list.members()
            .iter()
            .filter_map(resource)
            .any(|resource| self.is_unheard(resource))
    }
}

impl List {
    /// All members, also those that a refresh under way leaves out.
    fn members(&self) -> Vec<SlotId> {
        let all = self.entries.iter().chain(self.before.iter().flatten());
        let mut members: Vec<SlotId> = all.filter_map(Entry::member).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    fn end(&mut self, member: SlotId, reason: Reason) {
        for entry in self.entries.iter_mut().chain(self.before.iter_mut().flatten()) {
            if entry.member() == Some(member) {
                entry.standing = Standing::Ended(reason);
            }
        }
    }
}

impl Entry {
    fn member(&self) -> Option<SlotId> {
        match self.standing {
            Standing::Watched(member) => Some(member),
            Standing::Ended(_) => None,
        }
    }
}

/// The names of a member as a dialog holds them: whom it asked for, and who it is. Nothing is ever sent in it.
fn names_of(list: &Dialog, uri: &str, tag: &[u8]) -> Result<Dialog, Malformed> {
    let (local, remote) = (format!("<{uri}>"), [b"<", list.remote_uri(), b">"].concat());
    NameAddr::parse(local.as_bytes())?;
    let parts = Parts {
        call_id: list.call_id(),
        local: local.as_bytes(),
        local_tag: tag,
        remote: &remote,
        remote_tag: b"list",
        target: list.remote_uri(),
        routes: Vec::new(),
    };
    Dialog::new(&parts, 0, None)
}
