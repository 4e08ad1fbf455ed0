//! What users keep here: contact lists and rights. Each change counts, is durable before it is answered, and is told to the
//! user's other endpoints.

use crate::dialect::lcs::{ContactList, Rights};
use crate::engine::{Engine, record};
use crate::event::Reason;
use crate::sip::time::Now;
use crate::sip::uri::{Aor, Uri};

use super::packages::Package;
use crate::engine::commit::Promise;
use crate::engine::reply::{Request, phrase};
use crate::engine::slots::SlotId;
use crate::engine::undo::Undo;
use crate::sip::write::Answer;

/// What one user keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::engine) struct Kept {
    pub(super) contacts: ContactList,
    pub(super) rights: Rights,
}

/// Who is to be told of a change.
#[derive(Debug)]
pub(in crate::engine) struct Tell {
    pub(super) aor: Aor,
    pub(super) package: Package,
    /// The endpoint that made the change and knows of it.
    pub(super) but: Option<Box<str>>,
}

impl Engine {
    /// What a user keeps; an empty list and leave for all when there is nothing.
    pub(super) fn kept(&self, aor: &Aor) -> Kept {
        self.roaming.kept.get(aor).cloned().unwrap_or_default()
    }

    /// Takes a change of a list that has been made, and answers once it is durable.
    pub(super) fn keep(&mut self, now: Now, request: &Request<'_>, after: Kept, tell: Tell, body: Option<String>) {
        let aor = tell.aor.clone();
        let (kind, document) = match tell.package {
            Package::Rights => (b'e', after.rights.to_xml()),
            _ => (b'k', after.contacts.to_xml()),
        };
        let before = self.roaming.kept.insert(aor.clone(), after).unwrap_or_default();
        self.persist(record::roaming_key(kind, &aor), Some(record::roaming(&document)));
        self.or_undo(Undo::Roaming(Box::new((aor.clone(), before))));
        let answer = Answer {
            body: body.as_ref().map(|b| (super::service::TYPE, b.as_bytes())),
            ..Answer::new(200, phrase(200))
        };
        let reply = self.reply_to(request, answer);
        self.promise(now, Promise::Answer(reply));
        let of_rights = tell.package == Package::Rights;
        self.promise(now, Promise::Tell(Box::new(tell)));
        if of_rights {
            self.dismiss_denied(now, &aor);
        }
    }

    /// Whether a request is a subscription to somebody who does not want to be watched by its sender. Whoever is answered
    /// so learns that; a state that is always closed would be more polite, and a lie that lasts over restarts.
    pub(in crate::engine) fn is_denied(&self, request: &Request<'_>, target: &Aor) -> bool {
        if self.roaming.kept.is_empty() || request.essentials.method.as_bytes() != b"SUBSCRIBE" {
            return false;
        }
        let Some(kept) = self.roaming.kept.get(target) else {
            return false;
        };
        super::sender(request).is_some_and(|watcher| watcher != *target && kept.rights.blocks(&watcher.to_string()))
    }

    /// Ends the subscriptions of those who may not watch any more.
    fn dismiss_denied(&mut self, now: Now, aor: &Aor) {
        let Some(resource) = self
            .presence
            .local_id(aor)
            .and_then(|id| self.presence.resources.get(id))
        else {
            return;
        };
        let Some(kept) = self.roaming.kept.get(aor) else { return };
        let denied = |id: &&SlotId| {
            let subscription = self.presence.subscriptions.get(**id);
            let watcher = subscription.and_then(|s| Uri::parse(s.dialog.remote_uri()).ok());
            let watcher = watcher.as_ref().and_then(Aor::from_uri);
            watcher.is_some_and(|w| w != *aor && kept.rights.blocks(&w.to_string()))
        };
        let denied: Vec<SlotId> = resource.watchers.iter().filter(denied).copied().collect();
        for id in denied {
            self.dismiss(now, id, Reason::Rejected);
        }
    }

    pub(in crate::engine) fn take_back_roaming(&mut self, (aor, before): (Aor, Kept)) {
        self.roaming.kept.insert(aor, before);
    }

    /// The record of a list as it stands.
    pub(in crate::engine) fn roaming_value(&self, kind: u8, owner: &str) -> Option<Box<[u8]>> {
        let kept = self.roaming.kept.get(&Aor::parse(owner)?)?;
        let document = match kind {
            b'e' => kept.rights.to_xml(),
            _ => kept.contacts.to_xml(),
        };
        Some(record::roaming(&document))
    }

    /// Puts a list back; `None` is damage, `Some(false)` a list of nobody.
    pub(in crate::engine) fn restore_roaming(&mut self, kind: u8, owner: &str, document: &[u8]) -> Option<bool> {
        let aor = Aor::parse(owner)?;
        if self.snapshot.users.find_plain(aor.user(), aor.domain()).is_none() {
            return Some(false);
        }
        let kept = self.roaming.kept.entry(aor).or_default();
        match kind {
            b'e' => kept.rights = Rights::from_xml(document).ok()?,
            _ => kept.contacts = ContactList::from_xml(document).ok()?,
        }
        Some(true)
    }
}
