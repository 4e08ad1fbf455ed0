//! Taking back what the store refused: how each kind of state looked before, and the present record of each key.

use smallvec::SmallVec;

use super::reach::Origin;
use super::registrar::Binding;
use super::slots::SlotId;
use super::timers::Kind;
use super::{Engine, record};
use crate::event::publication;
use crate::sip::time::Now;
use crate::sip::uri::Aor;

/// State as it was before a change that is not durable yet.
#[derive(Debug)]
pub(super) enum Undo {
    /// The contacts of an address.
    Bindings(Box<(Aor, SmallVec<[Binding; 1]>)>),
    /// A publication; `before` is `None` when it was new.
    Publication {
        resource: SlotId,
        id: Box<str>,
        before: Option<Box<publication::Entry>>,
    },
    /// There was no such subscription.
    NewSubscription(SlotId),
    /// A subscription before its refresh or its end.
    Refresh {
        subscription: SlotId,
        origin: Origin,
        expires_wall_ms: u64,
    },
    /// A contact list and rights as they were.
    Roaming(Box<(Aor, super::lcs::Kept)>),
    /// A message was not kept yet.
    Message { mailbox: SlotId, id: [u8; 16] },
    /// A message on its way was not kept yet.
    Parcel(SlotId),
}

impl Engine {
    /// The change is durable: there is nothing to take back any more.
    pub(super) fn settle(&mut self, undo: Undo) {
        if let Undo::Publication { resource, .. } = undo {
            self.release_resource(resource);
        }
    }

    pub(super) fn take_back(&mut self, now: Now, undo: Undo) {
        match undo {
            Undo::Bindings(before) => {
                let (aor, bindings) = *before;
                self.restore_bindings(now, &aor, bindings);
            }
            Undo::Publication { resource, id, before } => {
                self.take_back_publication(now, resource, &id, before);
            }
            Undo::NewSubscription(id) => self.remove_subscription(id),
            Undo::Refresh {
                subscription,
                origin,
                expires_wall_ms,
            } => self.take_back_refresh(now, subscription, origin, expires_wall_ms),
            Undo::Roaming(before) => self.take_back_roaming(*before),
            Undo::Message { mailbox, id } => self.forget_message(mailbox, id),
            Undo::Parcel(id) => self.take_back_parcel(now, id),
        }
    }

    fn take_back_publication(&mut self, now: Now, resource: SlotId, id: &str, before: Option<Box<publication::Entry>>) {
        let due = before.as_ref().map(|b| b.expires_wall_ms.saturating_sub(now.wall_ms));
        if let Some(entry) = self.presence.resources.get_mut(resource) {
            entry.publications.put_back(id, before.map(|b| *b));
        }
        if let Some(due) = due {
            self.wheel.arm(now.mono_ms + due, Kind::Publication, resource);
        }
        self.recompose(resource);
        self.release_resource(resource);
    }

    /// What a record says now; `None` when what it was about is gone.
    pub(super) fn value_of(&self, key: &[u8]) -> Option<Box<[u8]>> {
        let (kind, owner, part) = record::split_key(key)?;
        match kind {
            b'r' => {
                let aor = Aor::parse(owner)?;
                let binding = self.registrar.bindings(&aor).iter().find(|b| b.uri == part)?;
                Some(record::binding(binding))
            }
            b'p' => {
                let resource = self
                    .presence
                    .resources
                    .get(self.presence.local_id(&Aor::parse(owner)?)?)?;
                let entry = resource.publications.by_id(core::str::from_utf8(part).ok()?)?;
                Some(record::publication(entry))
            }
            b's' => self.subscription_value(self.presence.tagged(part)?),
            b'k' | b'e' => self.roaming_value(kind, owner),
            b'u' => self.upstream_value(key),
            b'c' => self.parcel_record(owner, part),
            b'm' => self.messages.get(&Aor::parse(owner)?, part).map(Into::into),
            _ => None,
        }
    }
}
