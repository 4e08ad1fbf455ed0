//! Promises that wait for the store: an answer that says 2xx leaves only when its record is durable.
//!
//! The engine changes its state at once and appends a record. The 2xx, and whatever others would see of the change
//! (NOTIFYs, deliveries), wait in order of log sequence number. Beside them waits an [`Undo`]: if the store fails, the
//! answers become 500 and the state is what it was before, so what was refused is neither seen nor remembered.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::reply::Reply;
use super::slots::SlotId;
use super::undo::Undo;
use super::{Engine, Output};
use crate::sip::time::Now;

/// What happens when a record is durable.
#[derive(Debug)]
pub(super) enum Promise {
    /// Answer a request; what the 500 of a failed store says is taken from it.
    Answer(Reply),
    /// Send the NOTIFY that follows the 2xx.
    Notify(SlotId),
    /// Show watchers a document.
    Show(SlotId, Bytes),
    /// Tell all watchers, because it is not known what they saw last.
    Repeat(SlotId),
    /// Deliver what is kept for somebody who has registered.
    Deliver(SlotId),
    /// Accept a session of messages, whose INVITE held the first.
    Accept(Box<super::conversation::Accepted>),
    /// Tell the endpoints of a user what has changed of what they keep here.
    Tell(Box<super::lcs::Tell>),
}

/// One entry of the queue.
#[derive(Debug)]
enum Step {
    Keep(Promise),
    TakeBack(Undo),
}

/// Records on their way to the store.
#[derive(Debug)]
pub(super) struct Journal {
    durable: bool,
    broken: bool,
    next_lsn: u64,
    /// The last record that somebody may wait for.
    awaited: u64,
    /// Everything up to here is durable, or given up.
    durable_upto: u64,
    waiting: VecDeque<(u64, Step)>,
    /// Keys whose last record did not reach the store; their state is written when it recovers.
    lost: BTreeSet<Box<[u8]>>,
}

impl Journal {
    pub(super) fn new(durable: bool) -> Self {
        Self {
            durable,
            broken: false,
            next_lsn: 1,
            awaited: 0,
            durable_upto: 0,
            waiting: VecDeque::new(),
            lost: BTreeSet::new(),
        }
    }

    /// Whether an answer waits for the store.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// True while nothing can be promised.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The number of the last record that somebody may wait for; see [`Journal::is_settled`].
    pub(super) fn position(&self) -> u64 {
        self.awaited
    }

    /// Whether everything up to a position is durable.
    pub(super) fn is_settled(&self, position: u64) -> bool {
        !self.durable || position <= self.durable_upto
    }
}

impl Engine {
    /// Appends a record; nothing waits for it by this alone.
    pub(super) fn persist(&mut self, key: Box<[u8]>, value: Option<Box<[u8]>>) {
        self.append(key, value, true);
    }

    /// Appends a record that nothing will ever wait for.
    pub(super) fn persist_lazily(&mut self, key: Box<[u8]>, value: Option<Box<[u8]>>) {
        self.append(key, value, false);
    }

    fn append(&mut self, key: Box<[u8]>, value: Option<Box<[u8]>>, awaited: bool) {
        if !self.journal.durable {
            return;
        }
        if self.journal.broken {
            self.journal.lost.insert(key);
            return;
        }
        let lsn = self.journal.next_lsn;
        self.journal.next_lsn += 1;
        if awaited {
            self.journal.awaited = lsn;
        }
        self.outputs.push_back(Output::Persist {
            lsn,
            key,
            value,
            awaited,
        });
    }

    /// Keeps a promise once everything appended so far is durable.
    pub(super) fn promise(&mut self, now: Now, promise: Promise) {
        let lsn = self.journal.awaited;
        // A promise with nothing to wait for must not wait for somebody else's record. Promises keep their order.
        if self.journal.is_settled(lsn) && self.journal.waiting.is_empty() {
            return self.keep_promise(now, promise);
        }
        self.journal.waiting.push_back((lsn, Step::Keep(promise)));
    }

    /// Notes how to take back what was appended last, should it not become durable.
    pub(super) fn or_undo(&mut self, undo: Undo) {
        let lsn = self.journal.awaited;
        if self.journal.is_settled(lsn) && self.journal.waiting.is_empty() {
            return self.settle(undo);
        }
        self.journal.waiting.push_back((lsn, Step::TakeBack(undo)));
    }

    pub(super) fn on_durable(&mut self, now: Now, lsn: u64) {
        self.journal.durable_upto = self.journal.durable_upto.max(lsn);
        while self.journal.waiting.front().is_some_and(|(at, _)| *at <= lsn) {
            match self.journal.waiting.pop_front() {
                Some((_, Step::Keep(promise))) => self.keep_promise(now, promise),
                Some((_, Step::TakeBack(undo))) => self.settle(undo),
                None => {}
            }
        }
    }

    /// Records are lost. Whatever else is on its way was built on them: all of it is given up, and the store takes
    /// nothing more before it has been told so.
    pub(super) fn on_store_failed(&mut self, now: Now, keys: Vec<Box<[u8]>>) {
        self.journal.broken = true;
        self.journal.durable_upto = self.journal.next_lsn - 1;
        self.journal.lost.extend(keys);
        let (mut undos, mut after) = (Vec::new(), Vec::new());
        for (_, step) in std::mem::take(&mut self.journal.waiting) {
            match step {
                Step::TakeBack(undo) => undos.push(undo),
                Step::Keep(Promise::Answer(reply)) => {
                    let wire = refused(&reply.wire, self.host());
                    self.layer.respond(now, reply.server, 500, wire);
                }
                Step::Keep(Promise::Accept(accepted)) => {
                    let wire = refused(&accepted.reply.wire, self.host());
                    self.layer.respond(now, accepted.reply.server, 500, wire);
                    self.not_accepted(&accepted);
                }
                Step::Keep(Promise::Show(id, body)) => after.push(Promise::Show(id, body)),
                Step::Keep(Promise::Repeat(id)) => after.push(Promise::Repeat(id)),
                Step::Keep(Promise::Notify(_) | Promise::Deliver(_) | Promise::Tell(_)) => {}
            }
        }
        for undo in undos.into_iter().rev() {
            self.take_back(now, undo);
        }
        for promise in after {
            match promise {
                // Composed from what has just been taken back, perhaps.
                Promise::Show(id, _) if self.is_local_resource(id) => self.recompose(id),
                other => self.keep_promise(now, other),
            }
        }
    }

    /// The store takes records again: what it missed meanwhile is written as it stands now.
    pub(super) fn on_store_recovered(&mut self) {
        self.journal.broken = false;
        for key in std::mem::take(&mut self.journal.lost) {
            let value = self.value_of(&key);
            self.persist(key, value);
        }
    }

    fn keep_promise(&mut self, now: Now, promise: Promise) {
        match promise {
            Promise::Answer(reply) => self.send_reply(now, reply),
            Promise::Notify(id) => self.confirmed(now, id),
            Promise::Show(id, body) => self.shown(id, body),
            Promise::Repeat(id) => self.repeat_to_all(id),
            Promise::Deliver(id) => self.deliver_next(now, id),
            Promise::Accept(accepted) => self.accepted(now, *accepted),
            Promise::Tell(tell) => self.tell_endpoints(now, &tell),
        }
    }
}

/// The 500 that takes the place of an answer of ours: its start and what names the transaction, nothing of its promise.
pub(super) fn refused(wire: &[u8], host: &str) -> Bytes {
    const KEPT: [&[u8]; 5] = [b"via", b"from", b"to", b"call-id", b"cseq"];
    let mut out = b"SIP/2.0 500 Store Failure\r\n".to_vec();
    let mut keep = false;
    for line in wire.split_inclusive(|b| *b == b'\n').skip(1) {
        if line.trim_ascii().is_empty() {
            break;
        }
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let name = line.split(|b| *b == b':').next().unwrap_or_default().trim_ascii();
            keep = KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept)) || COMPACT.contains(&name);
        }
        if keep {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(format!("Warning: {}\r\nContent-Length: 0\r\n\r\n", warning(host)).as_bytes());
    out.into()
}

const COMPACT: [&[u8]; 8] = [b"v", b"V", b"f", b"F", b"t", b"T", b"i", b"I"];

/// Says in a response why it is a 500.
pub(super) fn warning(host: &str) -> String {
    format!("399 {host} \"the store does not take records now; try again\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_the_transaction_and_nothing_of_the_promise() {
        let ok =
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nv: SIP/2.0/UDP b\r\nFrom: <sip:a@x>;tag=1\r\n\
            To: <sip:b@x>\r\n ;tag=2\r\nCall-ID: c\r\nCSeq: 1 PUBLISH\r\nSIP-ETag: e\r\n ;folded\r\nExpires: 5\r\n\
            Content-Length: 0\r\n\r\n";
        let text = String::from_utf8_lossy(&refused(ok, "h.example")).into_owned();
        assert_eq!(
            text,
            "SIP/2.0 500 Store Failure\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nv: SIP/2.0/UDP b\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:b@x>\r\n ;tag=2\r\nCall-ID: c\r\nCSeq: 1 PUBLISH\r\nWarning: 399 h.example \"the store does not take \
             records now; try again\"\r\nContent-Length: 0\r\n\r\n"
        );
    }
}
