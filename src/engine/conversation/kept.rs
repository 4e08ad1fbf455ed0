//! Messages that were accepted with 202 are durable until they have arrived, or their sender was told that they did not.

use bytes::Bytes;

use super::super::commit::Promise;
use super::super::messages::Stored;
use super::super::record;
use super::super::reply::Reply;
use super::super::slots::SlotId;
use super::super::timers::Kind;
use super::super::undo::Undo;
use super::{End, Engine, Parcel};
use crate::im::content;
use crate::sip::time::Now;
use crate::sip::transaction::ServerId;
use crate::sip::uri::Aor;

/// After a start names of peers are looked up first.
const AFTER_START_MS: u64 = 3_000;

impl Engine {
    /// Keeps a message and tells its sender so, once that is durable.
    pub(super) fn keep_parcel(&mut self, now: Now, id: SlotId) {
        let Some(parcel) = self.talks.parcels.get_mut(id) else {
            return;
        };
        parcel.kept = true;
        let Some(waiting) = parcel.reply.take() else { return };
        let (key, value) = (record::parcel_key(&parcel.to.aor, &parcel.id), parcel_value(parcel));
        self.persist(key, Some(value));
        self.or_undo(Undo::Parcel(id));
        let wire = self.answer_to_kept(&waiting.request, waiting.framing, &waiting.source, 202, "");
        if let Some(wire) = wire {
            self.promise_answer(now, waiting.server, wire);
        }
    }

    /// Keeps what came inside an INVITE, whose 200 says that it was taken.
    pub(super) fn keep_first(&mut self, id: SlotId) {
        let Some(parcel) = self.talks.parcels.get_mut(id) else {
            return;
        };
        parcel.kept = true;
        let (key, value) = (record::parcel_key(&parcel.to.aor, &parcel.id), parcel_value(parcel));
        self.persist(key, Some(value));
        self.or_undo(Undo::Parcel(id));
    }

    pub(super) fn promise_answer(&mut self, now: Now, server: ServerId, wire: Bytes) {
        let reply = Reply {
            server,
            status: 202,
            wire,
            recipe: Bytes::new(),
        };
        self.promise(now, Promise::Answer(reply));
    }

    /// Puts a message among those that wait for an absent user here.
    pub(super) fn keep_written(&mut self, now: Now, aor: &Aor, wire: &Bytes) {
        let id = self.message_id(now);
        self.persist(record::message_key(aor, &id), Some(wire.as_ref().into()));
        let stored = Stored {
            id,
            request: Bytes::copy_from_slice(wire),
            position: self.journal.position(),
        };
        let mailbox = self.messages.push(aor, stored);
        self.or_undo(Undo::Message { mailbox, id });
    }

    pub(super) fn forget_kept(&mut self, parcel: &Parcel) {
        self.persist(record::parcel_key(&parcel.to.aor, &parcel.id), None);
    }

    /// The store did not take it, and its sender was told 500.
    pub(in crate::engine) fn take_back_parcel(&mut self, id: SlotId) {
        let Some(parcel) = self.talks.parcels.remove(id) else {
            return;
        };
        if let Some(line) = parcel.line.and_then(|l| self.talks.lines.get_mut(l)) {
            line.outbox.done(id);
        }
    }

    /// What the record of a kept message says now.
    pub(in crate::engine) fn parcel_record(&self, owner: &str, id: &[u8]) -> Option<Box<[u8]>> {
        let found = self.talks.parcels.iter().map(|(_, p)| p);
        let mut kept = found.filter(|p| p.kept && p.id == id && p.to.aor.to_string() == owner);
        kept.next().map(parcel_value)
    }

    /// Puts back a kept message; false when nobody is there any more to whom it could go.
    pub(in crate::engine) fn restore_parcel(&mut self, now: Now, id: [u8; 16], kept: record::KeptParcel<'_>) -> bool {
        let ends = (self.party_of(&kept.from), self.party_of(&kept.to));
        let (Some(from), Some(to), Ok(said)) = (ends.0, ends.1, content::read(kept.media, kept.body)) else {
            return false;
        };
        let (from, to) = (
            End {
                aor: kept.from,
                party: from,
            },
            End {
                aor: kept.to,
                party: to,
            },
        );
        let parcel = Parcel {
            kept: true,
            hops: kept.hops,
            id,
            ..Parcel::new(from, to, said, kept.media, Bytes::copy_from_slice(kept.body))
        };
        let slot = self.talks.parcels.insert(parcel);
        self.wheel.arm(now.mono_ms + AFTER_START_MS, Kind::Parcel, slot);
        true
    }
}

fn parcel_value(parcel: &Parcel) -> Box<[u8]> {
    record::parcel(
        &parcel.from.aor,
        &parcel.to.aor,
        &parcel.media,
        &parcel.body,
        parcel.hops,
    )
}
