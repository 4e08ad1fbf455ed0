//! Promises that wait for the store: an answer that says 2xx leaves only when its record is durable.
//!
//! The engine changes its state at once and appends a record; the 2xx, and what must follow it on the wire, waits in
//! order of log sequence number. If the store fails, the waiting answers become 500 and the state is taken back by the
//! sender's retry: a false 2xx is never sent.

use std::collections::VecDeque;

use bytes::Bytes;

use super::slots::SlotId;
use super::{Engine, Output};
use crate::sip::time::Now;
use crate::sip::transaction::ServerId;

/// What happens when a record is durable.
#[derive(Debug)]
pub(super) enum Promise {
    /// Answer a request; `otherwise` is the 500 for a store that failed.
    Answer {
        server: ServerId,
        status: u16,
        wire: Bytes,
        otherwise: Bytes,
    },
    /// Send the NOTIFY that follows the 2xx.
    Notify(SlotId),
}

/// Records on their way to the store.
#[derive(Debug)]
pub(super) struct Journal {
    durable: bool,
    broken: bool,
    next_lsn: u64,
    /// Everything up to here is durable.
    durable_upto: u64,
    waiting: VecDeque<(u64, Promise)>,
}

impl Journal {
    pub(super) fn new(durable: bool) -> Self {
        Self {
            durable,
            broken: false,
            next_lsn: 1,
            durable_upto: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Marks the store as failing or well.
    pub(super) fn set_broken(&mut self, broken: bool) {
        self.broken = broken;
    }

    /// Whether an answer waits for the store.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// True while nothing can be promised.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }
}

impl Engine {
    /// Appends a record; nothing waits for it.
    pub(super) fn persist(&mut self, key: Box<[u8]>, value: Option<Box<[u8]>>) {
        if self.journal.durable {
            let lsn = self.journal.next_lsn;
            self.journal.next_lsn += 1;
            self.outputs.push_back(Output::Persist { lsn, key, value });
        }
    }

    /// Keeps a promise once everything appended so far is durable.
    pub(super) fn promise(&mut self, now: Now, promise: Promise) {
        let lsn = self.journal.next_lsn - 1;
        // A promise with nothing to wait for must not wait for somebody else's record. Promises keep their order.
        let settled = lsn <= self.journal.durable_upto && self.journal.waiting.is_empty();
        if !self.journal.durable || settled {
            return self.keep_promise(now, promise);
        }
        self.journal.waiting.push_back((lsn, promise));
    }

    pub(super) fn on_durable(&mut self, now: Now, lsn: u64) {
        self.journal.durable_upto = self.journal.durable_upto.max(lsn);
        while self.journal.waiting.front().is_some_and(|(at, _)| *at <= lsn) {
            if let Some((_, promise)) = self.journal.waiting.pop_front() {
                self.keep_promise(now, promise);
            }
        }
    }

    pub(super) fn on_store_failed(&mut self, now: Now, lsn: u64, upto: u64) {
        self.journal.set_broken(true);
        // Nothing is written again of what failed, so nothing may wait for it.
        self.journal.durable_upto = self.journal.durable_upto.max(upto);
        let (lost, kept) = self
            .journal
            .waiting
            .drain(..)
            .partition(|(at, _)| (lsn..=upto).contains(at));
        self.journal.waiting = kept;
        let lost: VecDeque<(u64, Promise)> = lost;
        for (_, promise) in lost {
            if let Promise::Answer { server, otherwise, .. } = promise {
                self.layer.respond(now, server, 500, otherwise);
            }
        }
    }

    fn keep_promise(&mut self, now: Now, promise: Promise) {
        match promise {
            Promise::Answer {
                server, status, wire, ..
            } => {
                self.layer.respond(now, server, status, wire);
            }
            Promise::Notify(id) => self.notify_now(now, id),
        }
    }
}
