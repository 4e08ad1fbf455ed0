//! What a local presentity is composed of besides its own publications: its primary line at a peer, and what peers publish.
//!
//! For each primary line the bridge holds one subscription at the line's peer, under its own address, whoever watches. A
//! source that is lost, or of which nothing is known, leaves the composition: it makes nobody offline. Lines other than
//! the primary one are never looked at. What is an echo of our own words is judged by [`crate::presence::echo`].

use core::hash::Hasher as _;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use super::Engine;
use super::slots::SlotId;
use super::timers::Kind;
use crate::event::publication::Publications;
use crate::policy::{Party, Snapshot, User};
use crate::presence::compose::{Level, winner};
use crate::presence::echo::{Echoes, SourceKey};
use crate::presence::{self, Composed, Document, Gist, LineState, Publication, pidf};
use crate::sip::net::PeerId;
use crate::sip::time::Now;
use crate::sip::uri::Aor;

mod publish;
pub(super) mod why;

/// Lines are subscribed with this much time between them.
const PACE_MS: u64 = 5;
/// And not before the names of peers may have been resolved.
const FIRST_MS: u64 = 100;

/// The timer that looks once for subscriptions that nobody needs, by its number.
const ONCE: u32 = 1;
/// The timer after which nobody waits any more for a line's first state since the start, and how long that is.
const PATIENCE: u32 = 2;
const PATIENCE_MS: u64 = 5_000;

/// One line that is subscribed, or about to be.
#[derive(Debug)]
pub(super) struct Feed {
    peer: PeerId,
    /// Whose primary line it is.
    owners: Vec<Aor>,
    /// The resource of its subscription.
    resource: Option<SlotId>,
    state: LineState,
    since_ms: u64,
}

/// What is remembered of one presentity that peers feed.
#[derive(Debug, Default)]
struct Heard {
    echoes: Echoes,
    gist: Gist,
    because_of: Option<SourceKey>,
}

/// All lines, and what peers feed.
#[derive(Debug, Default)]
pub(super) struct Sources {
    feeds: HashMap<Aor, Feed>,
    by_resource: HashMap<SlotId, Aor>,
    queue: VecDeque<Aor>,
    heard: HashMap<Aor, Heard>,
}

impl Sources {
    /// Whether a resource is a line's, which is subscribed without anybody watching it.
    pub(super) fn feeds(&self, resource: SlotId) -> bool {
        self.by_resource.contains_key(&resource)
    }

    /// The feed of somebody's primary line.
    fn feed_of<'a>(&'a self, user: Option<&'a User>) -> Option<(&'a Aor, &'a Feed)> {
        let line = user.filter(|_| !self.feeds.is_empty())?.primary_line()?;
        self.feeds.get(&line.address).map(|feed| (&line.address, feed))
    }
}

/// The lines to subscribe, in a lasting order: where each is, and whose.
fn wanted(snapshot: &Snapshot) -> BTreeMap<String, (Aor, PeerId, Vec<Aor>)> {
    let mut wanted = BTreeMap::new();
    for (_, user) in snapshot.users.iter().filter(|(_, u)| u.presence) {
        let Some(line) = user.primary_line() else { continue };
        // A peer that publishes is not asked.
        let publishes = |p: &crate::policy::Peer| p.publishes.covers(&user.user, &user.domain);
        if snapshot.peer(line.peer).is_none_or(publishes) {
            continue;
        }
        let entry = wanted.entry(line.address.to_string());
        let entry = entry.or_insert_with(|| (line.address.clone(), line.peer, Vec::new()));
        entry.2.push(user.aor());
    }
    wanted
}

/// The user behind a local address.
fn user_of<'s>(snapshot: &'s Snapshot, aor: &Aor) -> Option<&'s User> {
    snapshot
        .users
        .find_plain(aor.user(), aor.domain())
        .and_then(|id| snapshot.user(id))
}

fn key_of(kind: u8, name: &str) -> SourceKey {
    let mut hasher = SipHasher13::new();
    hasher.write_u8(kind);
    hasher.write(name.as_bytes());
    hasher.finish()
}

fn gist_of(source: &Publication<'_>) -> Gist {
    match source.phone {
        None => Gist::of(source.document),
        Some(LineState::Unknown) => Gist::Unknown,
        Some(LineState::Idle) => Gist::Available,
        Some(LineState::OnThePhone | LineState::Dnd) => Gist::Busy,
    }
}

/// A source of one composition.
struct Source<'a> {
    what: Publication<'a>,
    /// Which peer's source it is; `None` for our own.
    key: Option<SourceKey>,
}

impl Engine {
    /// Follows the configuration: lines that are new are subscribed, one after the other; those that are gone are left.
    pub(super) fn follow_lines(&mut self, now: Now) {
        let wanted = wanted(&self.snapshot);
        if wanted.is_empty() && self.sources.feeds.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut self.sources.feeds);
        let mut again: Vec<Aor> = Vec::new();
        self.sources.by_resource.clear();
        self.sources.queue.clear();
        for (line, peer, owners) in wanted.into_values() {
            let was = before.remove(&line);
            let resource = was.as_ref().and_then(|f| f.resource).filter(|r| self.is_held(*r));
            let (state, since_ms) = match (&was, resource) {
                (Some(was), Some(_)) => (was.state, was.since_ms),
                _ => (LineState::Unknown, now.mono_ms),
            };
            match resource {
                Some(resource) => drop(self.sources.by_resource.insert(resource, line.clone())),
                None => self.sources.queue.push_back(line.clone()),
            }
            let others = was.map(|f| f.owners).unwrap_or_default();
            again.extend(owners.iter().filter(|o| !others.contains(o)).cloned());
            again.extend(others.into_iter().filter(|o| !owners.contains(o)));
            let feed = Feed {
                peer,
                owners,
                resource,
                state,
                since_ms,
            };
            self.sources.feeds.insert(line, feed);
        }
        let mut gone: Vec<(String, Feed)> = before.into_iter().map(|(line, f)| (line.to_string(), f)).collect();
        gone.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, feed) in gone {
            again.extend(feed.owners);
            if let Some(resource) = feed.resource {
                self.upstream_unwatched(resource);
            }
        }
        again.iter().for_each(|owner| self.recompose_owner(owner));
        if !self.sources.queue.is_empty() {
            self.wheel
                .arm(now.mono_ms + FIRST_MS, Kind::Line, SlotId::from_index(0));
        }
    }

    /// The store has given everything back: what it held for lines that are no longer configured is left soon.
    pub(super) fn lines_restored(&mut self, now: Now) {
        for (after, which) in [(FIRST_MS, ONCE), (PATIENCE_MS, PATIENCE)] {
            self.wheel
                .arm(now.mono_ms + after, Kind::Line, SlotId::from_index(which));
        }
    }

    /// Whether watchers of a local presentity should hear nothing since the start before its line has been heard: what they
    /// saw last may still hold.
    pub(super) fn awaits_line(&self, id: SlotId) -> bool {
        let aor = self.presence.resources.get(id).map(|r| &r.aor);
        let feed = aor.and_then(|aor| self.sources.feed_of(user_of(&self.snapshot, aor)));
        feed.is_some_and(|(line, feed)| self.is_subscribed(feed.peer, line))
    }

    /// A line that has not been heard by now does not keep its owner's watchers waiting.
    fn wait_for_no_line(&mut self) {
        let local = self.presence.resources.iter().filter(|(_, r)| r.upstream.is_none());
        let ids: Vec<SlotId> = local.map(|(id, _)| id).collect();
        for id in ids {
            if self.is_asking(id) {
                self.recompose(id);
            }
        }
    }

    /// Whether this is the address of a line that is wanted.
    pub(super) fn is_line(&self, aor: &Aor) -> bool {
        self.sources.feeds.contains_key(aor)
    }

    /// The next line's turn has come.
    pub(super) fn on_line_timer(&mut self, now: Now, id: SlotId) {
        if id == SlotId::from_index(ONCE) {
            return self.leave_unwanted();
        }
        if id == SlotId::from_index(PATIENCE) {
            return self.wait_for_no_line();
        }
        let Some(line) = self.sources.queue.pop_front() else {
            return;
        };
        if let Some(peer) = self.sources.feeds.get(&line).map(|f| f.peer)
            && let Some(resource) = self.line_resource(now, peer, &line)
        {
            self.sources.by_resource.insert(resource, line.clone());
            if let Some(feed) = self.sources.feeds.get_mut(&line) {
                feed.resource = Some(resource);
            }
            let body = self.presence.resources.get(resource).map(|r| r.body.clone());
            if let Some(body) = body {
                self.heard_of_line(resource, &body);
            }
        }
        if !self.sources.queue.is_empty() {
            self.wheel.arm(now.mono_ms + PACE_MS, Kind::Line, SlotId::from_index(0));
        }
    }

    /// A resource has a new document; if it is a line's, its owners may be something else now.
    pub(super) fn heard_of_line(&mut self, resource: SlotId, body: &[u8]) {
        let Some(line) = self.sources.by_resource.get(&resource) else {
            return;
        };
        let document = Document::parse(body).ok();
        let state = document.map_or(LineState::Unknown, |d| LineState::of(&d, &self.snapshot.presence.rules));
        let Some(feed) = self.sources.feeds.get_mut(line) else {
            return;
        };
        if std::mem::replace(&mut feed.state, state) != state {
            feed.since_ms = self.clock.mono_ms;
            for owner in feed.owners.clone() {
                self.recompose_owner(&owner);
            }
        }
    }

    fn recompose_owner(&mut self, owner: &Aor) {
        if let Some(id) = self.presence.local_id(owner) {
            self.recompose(id);
        }
    }

    /// The first document of a local presentity, where it is more than what its contacts say.
    pub(super) fn compose_lines(&mut self, id: SlotId) {
        let aor = self.presence.resources.get(id).map(|r| &r.aor);
        let fed = aor.is_some_and(|aor| self.sources.feed_of(user_of(&self.snapshot, aor)).is_some());
        if fed
            && let Some(body) = self.composed(id)
            && let Some(resource) = self.presence.resources.get_mut(id)
        {
            resource.body = body;
        }
    }

    /// The document of a local presentity as its sources stand now.
    pub(super) fn composed(&mut self, id: SlotId) -> Option<Bytes> {
        let resource = self.presence.resources.get_mut(id)?;
        resource.publications.prepare();
        let fed = !self.sources.feeds.is_empty() || resource.publications.has_peers();
        let user = user_of(&self.snapshot, &resource.aor).filter(|_| fed);
        let body = match self.sources.feed_of(user).is_some() || resource.publications.has_peers() {
            true => self.composed_of_all(id)?,
            false => {
                if !self.sources.heard.is_empty() {
                    self.sources.heard.remove(&resource.aor);
                }
                let (entity, rules) = (resource.aor.to_uri(), &self.snapshot.presence.rules);
                let list: Vec<Publication<'_>> = resource.publications.sources(rules).map(|(_, p)| p).collect();
                match presence::compose(&entity, &list, rules) {
                    Some(composed) => bytes(&resource.publications, composed),
                    None => pidf::derived(&entity, !self.registrar.bindings(&resource.aor).is_empty()).into(),
                }
            }
        };
        self.presence.resources.get_mut(id)?.publications.slim();
        Some(body)
    }

    /// The same where a peer has a word in it.
    fn composed_of_all(&mut self, id: SlotId) -> Option<Bytes> {
        let (now, watched) = (self.clock.mono_ms, self.has_peer_watcher(id));
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        let rules = &snapshot.presence.rules;
        let resource = self.presence.resources.get(id)?;
        let (aor, entity) = (resource.aor.clone(), resource.aor.to_uri());
        let user = user_of(&snapshot, &aor);
        let open = !self.registrar.bindings(&aor).is_empty();
        let derived = pidf::derived(&entity, open);
        let line = self
            .sources
            .feed_of(user)
            .map(|(line, feed)| (line.clone(), feed.state));
        let extra = Extra::of(&entity, line, resource.publications.is_empty() && open, &derived);
        let mut list = sources(&resource.publications, user, &extra, rules);
        let heard = self.sources.heard.entry(aor).or_default();
        heard.judge(now, &mut list, rules, (watched, open));
        if let Some(due) = heard.echoes.due() {
            self.wheel.arm(due, Kind::Source, id);
        }
        let list: Vec<Publication<'_>> = list.into_iter().map(|s| s.what).collect();
        Some(match presence::compose(&entity, &list, rules) {
            Some(composed) => bytes(&resource.publications, composed),
            None => Bytes::from(derived),
        })
    }

    fn has_peer_watcher(&self, id: SlotId) -> bool {
        let watchers = self
            .presence
            .resources
            .get(id)
            .map(|r| &r.watchers[..])
            .unwrap_or_default();
        let of = |w: &SlotId| self.presence.subscriptions.get(*w).map(|s| s.reach.party);
        watchers.iter().any(|w| matches!(of(w), Some(Party::Peer(_))))
    }

    /// A NOTIFY goes to a watcher: what a peer is told may come back.
    pub(super) fn told(&mut self, now: Now, subscription: SlotId) {
        if let Some(subscription) = self.presence.subscriptions.get_mut(subscription) {
            subscription.sent_at_s = u32::try_from(now.wall_ms / 1000).unwrap_or(u32::MAX);
        }
        if self.sources.heard.is_empty() {
            return;
        }
        let slack = u64::try_from(self.snapshot.presence.notify_min_interval.as_millis()).unwrap_or(0);
        let Some(subscription) = self.presence.subscriptions.get(subscription) else {
            return;
        };
        let resource = subscription.resource;
        let Some(aor) = self.presence.resources.get(resource).map(|r| &r.aor) else {
            return;
        };
        if let (Party::Peer(_), Some(heard)) = (subscription.reach.party, self.sources.heard.get_mut(aor)) {
            heard.echoes.tell(now.mono_ms, heard.gist, heard.because_of, slack);
            if let Some(due) = heard.echoes.due() {
                self.wheel.arm(due, Kind::Source, resource);
            }
        }
    }

    /// An echo that did not follow counts again.
    pub(super) fn on_source_timer(&mut self, now: Now, id: SlotId) {
        let Some(aor) = self.presence.resources.get(id).map(|r| &r.aor) else {
            return;
        };
        if self
            .sources
            .heard
            .get_mut(aor)
            .is_some_and(|heard| heard.echoes.timer(now.mono_ms))
        {
            self.recompose(id);
        }
    }
}

/// The bytes of a document; those of a publication alone are not copied.
fn bytes(publications: &Publications, composed: Composed<'_>) -> Bytes {
    match composed {
        Composed::Built(text) => text.into(),
        Composed::Verbatim(body) => publications.bytes_of(body),
    }
}

/// Sources that are no publications: what they say, read.
struct Extra<'a> {
    line: Option<(Aor, LineState, Vec<u8>, Document)>,
    registered: Option<(&'a [u8], Document)>,
}

impl<'a> Extra<'a> {
    fn of(entity: &str, line: Option<(Aor, LineState)>, registered: bool, derived: &'a [u8]) -> Self {
        let known = line.as_ref().is_some_and(|(_, state)| *state != LineState::Unknown);
        // One that is unknown does not count, but what was an echo of ours before has to be judged anew afterwards.
        let line = line.and_then(|(line, state)| {
            let body = state.render(entity, &line);
            let document = Document::parse(&body).ok()?;
            Some((line, state, body, document))
        });
        let registered = (registered && known).then(|| Some((derived, Document::parse(derived).ok()?)));
        Self {
            line,
            registered: registered.flatten(),
        }
    }
}

/// All that speaks for a presentity. Of what peers publish on lines, only the primary one counts.
fn sources<'a>(
    publications: &'a Publications,
    user: Option<&User>,
    extra: &'a Extra<'_>,
    rules: &presence::Rules,
) -> Vec<Source<'a>> {
    let primary = user.and_then(User::primary_line);
    let mut list: Vec<Source<'a>> = Vec::new();
    for (entry, what) in publications.sources(rules) {
        if entry.line.is_empty() || primary.is_some_and(|l| l.address.to_string() == *entry.line) {
            let key = (!entry.by.is_empty()).then(|| key_of(b'p', &entry.id));
            list.push(Source { what, key });
        }
    }
    if let Some((line, state, body, document)) = &extra.line {
        let what = Publication {
            body,
            document,
            age: 0,
            dialect: "",
            phone: Some(*state),
        };
        let key = Some(key_of(b'l', &line.to_string()));
        list.push(Source { what, key });
    }
    if let Some((body, document)) = &extra.registered {
        let what = Publication {
            body,
            document,
            age: 1,
            dialect: "",
            phone: None,
        };
        list.push(Source { what, key: None });
    }
    list
}

impl Heard {
    /// Takes echoes out of the list, and notes what the rest comes to.
    fn judge(&mut self, now: u64, list: &mut Vec<Source<'_>>, rules: &presence::Rules, (watched, open): (bool, bool)) {
        let derived = if open { Gist::Available } else { Gist::Offline };
        let of = |list: &[Source<'_>], own_only: bool| -> (Gist, Option<SourceKey>) {
            let counted = list.iter().filter(|s| !own_only || s.key.is_none());
            let what: Vec<Publication<'_>> = counted.map(|s| s.what).collect();
            let age = winner(&what, rules).map(|(age, _): (u64, Level)| age);
            let won = list.iter().find(|s| Some(s.what.age) == age);
            won.map_or((derived, None), |s| (gist_of(&s.what), s.key))
        };
        if watched && !self.echoes.has_told() {
            // Peers were told what we had without them.
            let (gist, _) = of(list, true);
            self.echoes.tell(0, gist, None, 0);
        }
        self.echoes.begin();
        list.retain(|s| {
            s.key
                .is_none_or(|key| !self.echoes.hear(now, key, gist_of(&s.what), s.what.phone.is_some()))
        });
        self.echoes.forget_unheard();
        (self.gist, self.because_of) = of(list, false);
    }
}

#[cfg(test)]
mod place_tests;
#[cfg(test)]
mod ring_tests;
#[cfg(test)]
mod tests;
