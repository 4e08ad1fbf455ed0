//! What a list sends: all of it at first and at a refresh, in between what has changed.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Entry, Standing};
use crate::engine::Engine;
use crate::engine::showing::Shown;
use crate::engine::slots::SlotId;
use crate::engine::timers::Kind;
use crate::event::list::{self, Instance, Part, RLMI, Resource};
use crate::sip::time::Now;

/// Documents that one notification carries, bytes; what does not fit follows in the next.
const MAX_DOCUMENTS: usize = 192 * 1024;
/// When that is, where nobody answers.
const NEXT_MS: u64 = 20;

/// A document on its way into a notification.
struct Document {
    media: Cow<'static, str>,
    cid: String,
    body: Bytes,
}

/// A notification in the making.
struct Draft<'a> {
    full: bool,
    in_flight: bool,
    version: u32,
    resources: Vec<Resource<'a>>,
    documents: Vec<Document>,
    size: usize,
    more: bool,
    told: Vec<SlotId>,
}

impl Engine {
    /// Whether a list has nothing to say that its watcher does not know.
    pub(in crate::engine) fn list_is_known(&mut self, id: SlotId) -> bool {
        if self.presence.subscriptions.get(id).is_none_or(|s| s.owed) {
            return false;
        }
        let Some(list) = self.lists.lists.get_mut(&id) else {
            return true;
        };
        let entries = std::mem::take(&mut list.entries);
        let news = entries.iter().any(|e| self.has_news(e));
        if let Some(list) = self.lists.lists.get_mut(&id) {
            list.entries = entries;
        }
        if let Some(subscription) = self.presence.subscriptions.get_mut(id).filter(|_| !news) {
            subscription.dirty = false;
        }
        !news
    }

    fn has_news(&mut self, entry: &Entry) -> bool {
        let Standing::Watched(member) = entry.standing else {
            return entry.told != Some(self.instance(entry));
        };
        let Some(subscription) = self.presence.subscriptions.get(member) else {
            return false;
        };
        let (resource, waits) = (subscription.resource, subscription.dirty || subscription.owed);
        // After a restart nobody is told anything before the peer has spoken.
        if self.is_asking(resource) {
            return false;
        }
        match self.instance(entry) {
            Instance::Active if entry.told == Some(Instance::Active) => waits && !self.makes_no_difference(member),
            instance => entry.told != Some(instance),
        }
    }

    fn instance(&self, entry: &Entry) -> Instance {
        match entry.standing {
            Standing::Ended(reason) => Instance::Terminated(reason),
            Standing::Watched(member) => {
                let resource = self.presence.subscriptions.get(member).map(|s| s.resource);
                let silent = resource.is_some_and(|r| self.is_unheard(r) || self.is_asking(r));
                match silent {
                    true => Instance::Pending,
                    false => Instance::Active,
                }
            }
        }
    }

    /// The next notification of a list. `in_flight` when its answer will be waited for.
    pub(in crate::engine) fn list_document(&mut self, now: Now, id: SlotId, in_flight: bool) -> Option<Shown> {
        let subscription = self.presence.subscriptions.get(id)?;
        // The number that the notification will have in the dialog: it rises by one, and over a restart.
        let version = (subscription.dialog.local_cseq.wrapping_add(1) & 0x7fff_ffff).max(1);
        let full = subscription.owed || subscription.sent == 0;
        let list = self.lists.lists.get_mut(&id)?;
        let (uri, mut entries) = (list.uri.clone(), std::mem::take(&mut list.entries));
        let mut told = Vec::with_capacity(entries.len());
        let mut draft = Draft {
            full,
            in_flight,
            version,
            resources: Vec::new(),
            documents: Vec::new(),
            size: 0,
            more: false,
            told: Vec::new(),
        };
        for (n, entry) in entries.iter().enumerate() {
            told.push(match full || self.has_news(entry) {
                true => self.draft(&mut draft, n, entry),
                false => entry.told,
            });
        }
        let shown = self.bound(&uri, &draft);
        for member in std::mem::take(&mut draft.told) {
            self.told(now, member);
        }
        let more = draft.more;
        drop(draft);
        for (entry, told) in entries.iter_mut().zip(told) {
            entry.told = told;
        }
        let list = self.lists.lists.get_mut(&id)?;
        (list.entries, list.more) = (entries, more);
        Some(shown)
    }

    /// Adds one resource to a notification; what its watcher knows of it then.
    fn draft<'a>(&mut self, draft: &mut Draft<'a>, n: usize, entry: &'a Entry) -> Option<Instance> {
        let instance = self.instance(entry);
        let (uri, member) = (&*entry.uri, entry.member().filter(|_| instance == Instance::Active));
        let Some(member) = member else {
            draft.resources.push(Resource {
                uri,
                instance,
                cid: None,
            });
            return Some(instance);
        };
        let full = draft.size >= MAX_DOCUMENTS;
        let shown = match full {
            true => None,
            false => self.next_document(member, self.clock, false),
        };
        let Some(shown) = shown else {
            draft.more = true;
            if let Some(subscription) = self.presence.subscriptions.get_mut(member) {
                subscription.owed = true;
            }
            // Nothing is said of it yet, or that it is still watched.
            if draft.full {
                let instance = entry.told.filter(|t| *t == instance).unwrap_or(Instance::Pending);
                draft.resources.push(Resource {
                    uri,
                    instance,
                    cid: None,
                });
                return Some(instance);
            }
            return entry.told;
        };
        if let Some(subscription) = self.presence.subscriptions.get_mut(member) {
            subscription.mark_seen(shown.version);
            subscription.in_flight = draft.in_flight;
        }
        let cid = format!("{n}.{}@{}", draft.version, self.host());
        draft.size += shown.body.len();
        draft.told.push(member);
        draft.resources.push(Resource {
            uri,
            instance,
            cid: Some(cid.clone()),
        });
        draft.documents.push(Document {
            media: shown.media,
            cid,
            body: shown.body,
        });
        Some(instance)
    }

    fn bound(&mut self, uri: &str, draft: &Draft<'_>) -> Shown {
        let rlmi = list::rlmi(uri, draft.version, draft.full, &draft.resources);
        let root = format!("list.{}@{}", draft.version, self.host());
        let token = self.random.token::<16>();
        let first = Part {
            media: "application/rlmi+xml;charset=\"UTF-8\"",
            cid: &root,
            body: rlmi.as_bytes(),
        };
        debug_assert!(first.media.starts_with(RLMI));
        let rest = draft.documents.iter().map(|d| Part {
            media: &d.media,
            cid: &d.cid,
            body: &d.body,
        });
        let parts: Vec<Part<'_>> = core::iter::once(first).chain(rest).collect();
        let boundary = list::boundary(&String::from_utf8_lossy(&token), &parts);
        Shown {
            media: Cow::Owned(list::media(&boundary, &root)),
            body: Bytes::from(list::multipart(&boundary, &parts)),
            since: draft.version,
            version: draft.version,
        }
    }

    /// A notification of a list has been answered, or never will be. What was lost is said again, with all the rest.
    pub(in crate::engine) fn list_answered(&mut self, id: SlotId, well: bool) {
        let Some(list) = self.lists.lists.get_mut(&id) else {
            return;
        };
        if !well {
            list.entries.iter_mut().for_each(|e| e.told = None);
        }
        for member in list.members() {
            let Some(subscription) = self.presence.subscriptions.get_mut(member) else {
                continue;
            };
            if std::mem::take(&mut subscription.in_flight) && !well {
                (subscription.dirty, subscription.sent) = (true, 0);
            }
        }
    }

    /// A notification of a list is over and done with: what did not fit into it follows.
    pub(in crate::engine) fn list_delivered(&mut self, now: Now, id: SlotId) {
        let Some(list) = self.lists.lists.get_mut(&id) else {
            return;
        };
        let (more, members) = (std::mem::take(&mut list.more), list.members());
        if more && let Some(subscription) = self.presence.subscriptions.get_mut(id) {
            subscription.dirty = true;
            self.wheel.arm(now.mono_ms + NEXT_MS, Kind::Subscription, id);
        }
        for member in members {
            if let Some(resource) = self.presence.subscriptions.get(member).map(|s| s.resource) {
                self.note_delivery(now, resource);
            }
        }
    }
}
