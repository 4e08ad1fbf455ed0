//! How a watcher is shown documents: in which dialect and form, and how it is notified.
//!
//! A presentity has one document. What a dialect makes of it is rendered once for all who see it so, and kept until the
//! document changes. Where a change makes no difference in a dialect, its watchers are not told.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::list::Role;
use super::reply::Request;
use super::slots::SlotId;
use crate::dialect::{Dialect, Format};
use crate::policy::snapshot::DialectId;
use crate::policy::{Party, Snapshot};
use crate::sip::header::Name;
use crate::sip::net::ListenerId;
use crate::sip::time::Now;

/// What a changed mapping shows anew goes out to so many watchers each millisecond.
const RENDERED_PER_MS: u64 = 4;

/// What was agreed with a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Showing {
    pub(super) dialect: DialectId,
    pub(super) format: Format,
    /// It is notified by BENOTIFY, which nobody answers.
    pub(super) unanswered: bool,
    /// Each notification lengthens the subscription.
    pub(super) extends: bool,
}

impl Default for Showing {
    fn default() -> Self {
        Self {
            dialect: DialectId::default(),
            format: Format::Pidf,
            unanswered: false,
            extends: false,
        }
    }
}

/// What a dialect made of a document.
#[derive(Debug)]
pub(super) struct Rendered {
    dialect: DialectId,
    format: Format,
    /// The document it was made of.
    version: u32,
    /// The first document from which on it has been the same.
    since: u32,
    body: Bytes,
}

/// A document as one watcher sees it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) media: Cow<'static, str>,
    pub(super) body: Bytes,
    /// The first version of the document that looks like this.
    pub(super) since: u32,
    pub(super) version: u32,
}

/// Extensions that a watcher offers for the notifications it gets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offered {
    /// `ms-benotify`
    pub(super) unanswered: bool,
    /// `ms-piggyback-first-notify`
    pub(super) piggyback: bool,
    /// `com.microsoft.autoextend`
    pub(super) extends: bool,
}

impl Offered {
    /// What a request offers, as far as the dialect knows it. What is never answered or comes in one large answer needs a
    /// connection.
    pub(super) fn of(request: &Request<'_>, dialect: &Dialect) -> Self {
        let sip = &dialect.sip;
        if request.source.flow.is_none() || !(sip.benotify || sip.piggyback || sip.autoextend) {
            return Self::default();
        }
        let lists = |tag: &[u8]| {
            let mut tags = request.view.items(Name::Supported);
            tags.any(|t| t.eq_ignore_ascii_case(tag))
        };
        Self {
            unanswered: sip.benotify && lists(b"ms-benotify"),
            piggyback: sip.piggyback && lists(b"ms-piggyback-first-notify"),
            extends: sip.autoextend && lists(b"com.microsoft.autoextend"),
        }
    }

    /// The value of `Supported` in the answer; empty where nothing was agreed.
    pub(super) fn supported(self, piggybacked: bool) -> String {
        let tags = [
            (self.unanswered, "ms-benotify"),
            (piggybacked, "ms-piggyback-first-notify"),
            (self.extends, "com.microsoft.autoextend"),
        ];
        let agreed: Vec<&str> = tags.iter().filter(|(agreed, _)| *agreed).map(|(_, tag)| *tag).collect();
        agreed.join(", ")
    }
}

impl Engine {
    /// Whether documents pass as they are.
    pub(super) fn is_verbatim(&self, showing: Showing) -> bool {
        showing == Showing::default() || self.snapshot.dialect(showing.dialect).is_none_or(|d| d.is_verbatim())
    }

    /// What a subscription is sent next; `in_flight` when the answer to that will be waited for.
    pub(super) fn next_document(&mut self, id: SlotId, now: Now, in_flight: bool) -> Option<Shown> {
        let subscription = self.presence.subscriptions.get(id)?;
        if subscription.role == Role::List {
            return self.list_document(now, id, in_flight);
        }
        let shown = self.shown_to(subscription.resource, subscription.showing)?;
        Some(self.as_asked(id, shown))
    }

    /// The document of a resource as somebody sees it.
    pub(super) fn shown_to(&mut self, id: SlotId, showing: Showing) -> Option<Shown> {
        let verbatim = self.is_verbatim(showing);
        let resource = self.presence.resources.get_mut(id)?;
        let version = resource.version;
        let media = Cow::Borrowed(showing.format.media_type());
        if verbatim {
            let body = resource.body.clone();
            return Some(Shown {
                media,
                body,
                since: version,
                version,
            });
        }
        let same = |r: &Rendered| (r.dialect, r.format) == (showing.dialect, showing.format);
        let at = resource.rendered.iter().position(same);
        if let Some(r) = at
            .and_then(|at| resource.rendered.get(at))
            .filter(|r| r.version == version)
        {
            let (body, since) = (r.body.clone(), r.since);
            return Some(Shown {
                media,
                body,
                since,
                version,
            });
        }
        let dialect = self.snapshot.dialect(showing.dialect)?;
        let exported = dialect.export(showing.format, &resource.aor.to_uri(), &resource.body);
        let mut rendered = Rendered {
            dialect: showing.dialect,
            format: showing.format,
            version,
            since: version,
            body: Bytes::copy_from_slice(&exported.body),
        };
        if let Some(old) = at.map(|at| resource.rendered.swap_remove(at))
            && old.body == rendered.body
        {
            (rendered.since, rendered.body) = (old.since, old.body);
        }
        let (body, since) = (rendered.body.clone(), rendered.since);
        resource.rendered.push(rendered);
        Some(Shown {
            media,
            body,
            since,
            version,
        })
    }

    /// Whether a watcher has seen what it would be shown now: the change makes no difference in its dialect.
    pub(super) fn makes_no_difference(&mut self, id: SlotId) -> bool {
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return true;
        };
        if subscription.role == Role::List {
            return self.list_is_known(id);
        }
        let (resource, showing, sent) = (subscription.resource, subscription.showing, subscription.sent);
        if subscription.owed || sent == 0 || self.is_verbatim(showing) {
            return false;
        }
        let Some(shown) = self.shown_to(resource, showing) else {
            return false;
        };
        // Versions are counted on: how far each is behind the present one says which is older.
        let same = shown.version.wrapping_sub(sent) <= shown.version.wrapping_sub(shown.since);
        if same && let Some(subscription) = self.presence.subscriptions.get_mut(id) {
            (subscription.sent, subscription.dirty) = (shown.version, false);
        }
        same
    }

    /// The dialect of whoever sent a request: a peer's, or a user's by the listener it came in by.
    pub(super) fn own_dialect(&self, who: Party, listener: Option<ListenerId>) -> DialectId {
        match who {
            Party::Peer(id) => self.snapshot.peer(id).map(|p| p.dialect).unwrap_or_default(),
            Party::User(_) => self.client_dialect_id(listener),
        }
    }

    /// What was agreed under another configuration: the dialect its peer speaks now, if that knows the form; else the one
    /// of the same name, else plain PIDF.
    pub(super) fn followed(&self, showing: Showing, who: Party, old: &Snapshot) -> Showing {
        let now = self.own_dialect(who, None);
        let knows = |d: &&Arc<Dialect>| d.presence.formats.contains(&showing.format);
        let dialect = match who {
            Party::Peer(_) if self.snapshot.dialect(now).is_some_and(|d| knows(&d)) => Some(now),
            _ => old
                .dialect(showing.dialect)
                .and_then(|d| self.snapshot.dialect_named(&d.name)),
        };
        match dialect {
            Some(dialect) => Showing { dialect, ..showing },
            None => Showing::default(),
        }
    }

    /// Dialects have changed: everything is rendered anew, and told to those whose own dialect shows it in another way.
    pub(super) fn render_again(&mut self, old: &Snapshot) {
        for id in self.presence.resources.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some(resource) = self.presence.resources.get_mut(id) {
                resource.rendered.clear();
            }
        }
        let shows_anew = |showing: &Showing| {
            self.snapshot.dialect(showing.dialect).is_none_or(|new| {
                let was = old.dialect_named(&new.name).and_then(|id| old.dialect(id));
                was.is_none_or(|was| was.differences(new).iter().any(|part| part.starts_with("presence")))
            })
        };
        let theirs = self.presence.subscriptions.iter();
        let ids: Vec<SlotId> = theirs
            .filter(|(_, s)| s.showing != Showing::default() && shows_anew(&s.showing))
            .map(|(id, _)| id)
            .collect();
        for (n, id) in ids.into_iter().enumerate() {
            self.tell_again(id, n as u64 / RENDERED_PER_MS);
        }
    }

    /// Tells a watcher after so many milliseconds what it has been told before.
    pub(super) fn tell_again(&mut self, id: SlotId, after_ms: u64) {
        if let Some(subscription) = self.presence.subscriptions.get_mut(id) {
            (subscription.dirty, subscription.sent) = (true, 0);
        }
        let due = self.clock.mono_ms + after_ms;
        self.wheel.arm(due, super::timers::Kind::Subscription, id);
    }

    /// A peer that gets notifications without answers is back: what it missed is not known, so it is told again.
    pub(super) fn repeat_unanswered(&mut self, peer: crate::sip::net::PeerId) {
        let party = Party::Peer(peer);
        let theirs = |s: &super::subscription::Subscription| s.showing.unanswered && s.reach.party == party;
        let ids: Vec<SlotId> = self
            .presence
            .subscriptions
            .iter()
            .filter(|(_, s)| theirs(s))
            .map(|(id, _)| id)
            .collect();
        for (n, id) in ids.into_iter().enumerate() {
            self.tell_again(id, n as u64 * super::upstream::PACE_MS);
        }
    }
}
