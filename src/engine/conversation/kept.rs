//! Messages that were accepted with 202 are durable until they have arrived, or their sender was told that they did not.

use bytes::Bytes;
use hashbrown::HashMap;

use super::super::commit::Promise;
use super::super::messages::Stored;
use super::super::record;
use super::super::reply::Reply;
use super::super::slots::SlotId;
use super::super::timers::Kind;
use super::super::undo::Undo;
use super::{End, Engine, MOST_KEPT, Parcel};
use crate::im::content;
use crate::sip::time::Now;
use crate::sip::transaction::ServerId;
use crate::sip::uri::Aor;

/// After a start names of peers are looked up first.
const AFTER_START_MS: u64 = 3_000;

/// How many messages are kept: of whom, for whom, and in all.
#[derive(Debug, Default)]
pub(super) struct Counts {
    of: HashMap<Aor, u32>,
    for_whom: HashMap<Aor, u32>,
    all: usize,
}

impl Counts {
    fn more(&mut self, parcel: &Parcel) {
        self.all += 1;
        *self.of.entry(parcel.from.aor.clone()).or_default() += 1;
        *self.for_whom.entry(parcel.to.aor.clone()).or_default() += 1;
    }

    fn less(&mut self, parcel: &Parcel) {
        self.all = self.all.saturating_sub(1);
        for (counts, aor) in [(&mut self.of, &parcel.from.aor), (&mut self.for_whom, &parcel.to.aor)] {
            if let Some(count) = counts.get_mut(aor) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    counts.remove(aor);
                }
            }
        }
    }

    fn is_full(&self, from: &Aor, to: &Aor, most: u32) -> bool {
        let full = |counts: &HashMap<Aor, u32>, aor| counts.get(aor).is_some_and(|count| *count >= most);
        self.all >= MOST_KEPT || full(&self.of, from) || full(&self.for_whom, to)
    }
}

impl Engine {
    /// Whether one more message may be kept.
    pub(super) fn may_keep(&self, from: &End, to: &End) -> bool {
        let most = self.snapshot.messages.max_stored;
        !self.talks.kept.is_full(&from.aor, &to.aor, most)
    }

    /// Keeps a message and tells its sender so, once that is durable.
    pub(super) fn keep_parcel(&mut self, now: Now, id: SlotId) {
        let Some(parcel) = self.talks.parcels.get_mut(id) else {
            return;
        };
        parcel.kept = true;
        self.talks.kept.more(parcel);
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
        self.talks.kept.more(parcel);
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
        self.talks.kept.less(parcel);
        self.persist(record::parcel_key(&parcel.to.aor, &parcel.id), None);
    }

    /// The store did not take it, and its sender was told 500.
    pub(in crate::engine) fn take_back_parcel(&mut self, now: Now, id: SlotId) {
        let Some(parcel) = self.talks.parcels.remove(id) else {
            return;
        };
        self.talks.kept.less(&parcel);
        if let Some(line) = parcel.line {
            if let Some(entry) = self.talks.lines.get_mut(line) {
                entry.outbox.done(id);
            }
            // Those behind it go on.
            self.pump(now, line);
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
        let said = self.as_meant(&from, said);
        let parcel = Parcel {
            kept: true,
            hops: kept.hops,
            id,
            ..Parcel::new(from, to, said, kept.media, Bytes::copy_from_slice(kept.body))
        };
        self.talks.kept.more(&parcel);
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
