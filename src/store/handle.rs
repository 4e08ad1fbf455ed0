//! The shard's side: records are encoded into a staging buffer, which `kick` hands to the store thread.
//!
//! `append` touches nothing shared, so it never waits and makes no system call; `kick` takes a lock that the store
//! thread holds for a swap only, and wakes that thread only if it sleeps.

use super::StoreError;
use super::frame::{self, FRAME_HEADER};
use std::cell::RefCell;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Key and value together may not exceed this; nothing the bridge keeps comes near it.
pub(super) const RECORD_MAX: usize = 64 << 20;
/// A chunk that has reached this size is not added to any more.
const CHUNK_BYTES: usize = 1 << 20;
/// A gathering that has reached this size is not waited for any longer.
pub(super) const GATHER_BYTES: usize = 256 << 10;
/// Buffers kept for reuse.
const SPARE: usize = 4;

/// The records of one or more batches, encoded behind room for a frame header.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) first: u64,
    pub(super) last: u64,
    /// Whether somebody waits for any of them: then they are synced, else only written.
    pub(super) awaited: bool,
    /// Set instead of content: a record of this many bytes was too large.
    pub(super) refused: Option<usize>,
}

impl Chunk {
    fn is_empty(&self) -> bool {
        self.bytes.len() <= FRAME_HEADER && self.refused.is_none()
    }

    fn joins(&self, other: &Self) -> bool {
        self.refused.is_none() && other.refused.is_none() && self.bytes.len() + other.bytes.len() <= CHUNK_BYTES
    }
}

/// What must happen for the store thread to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// It works.
    No,
    /// It has nothing to do.
    ForAny,
    /// It gathers, and only a full buffer is worth a wake.
    ForMany,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) chunks: Vec<Chunk>,
    pub(super) bytes: usize,
    /// When the oldest queued chunk came.
    pub(super) since: Instant,
    pub(super) closing: bool,
    /// Up to here the caller knows what failed.
    pub(super) given_up: u64,
    pub(super) waiting: Waiting,
    spare: Vec<Vec<u8>>,
}

/// What the shard and the store thread share.
#[derive(Debug)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    pub(super) wake: Condvar,
}

impl Shared {
    pub(super) fn new() -> Self {
        let queue = Queue {
            chunks: Vec::new(),
            bytes: 0,
            since: Instant::now(),
            closing: false,
            given_up: 0,
            waiting: Waiting::No,
            spare: Vec::new(),
        };
        Self {
            queue: Mutex::new(queue),
            wake: Condvar::new(),
        }
    }

    /// The queue is plain data and valid between any two statements, so a poisoned lock is still usable.
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives emptied buffers back for reuse.
    pub(super) fn give_back(&self, chunks: Vec<Chunk>) {
        let mut queue = self.lock();
        for mut chunk in chunks {
            if queue.spare.len() < SPARE && chunk.bytes.capacity() <= 2 * CHUNK_BYTES {
                chunk.bytes.clear();
                queue.spare.push(chunk.bytes);
            }
        }
    }
}

/// A shard's handle on its store. It may move between threads but not be shared: one shard, one store.
#[derive(Debug)]
pub struct Store {
    staging: RefCell<Chunk>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Store {
    pub(super) fn new(shared: Arc<Shared>, thread: JoinHandle<Result<(), StoreError>>) -> Self {
        Self {
            staging: RefCell::default(),
            shared,
            thread: Some(thread),
        }
    }

    /// Queues a put of `value`, or a delete of `key` when there is none. Nothing is written before [`Store::kick`].
    ///
    /// `lsn` is the caller's number for it and must not fall; several records may share one, and are then durable
    /// together. A record beyond 64 MiB is answered with [`super::Event::Failed`].
    pub fn append(&self, lsn: u64, key: &[u8], value: Option<&[u8]>) {
        self.stage(lsn, key, value, true);
    }

    /// As [`Store::append`] for a record that nobody waits for: it is written with the next batch, and a batch of
    /// nothing else is not synced and not reported as [`super::Event::Durable`].
    pub fn append_lazily(&self, lsn: u64, key: &[u8], value: Option<&[u8]>) {
        self.stage(lsn, key, value, false);
    }

    fn stage(&self, lsn: u64, key: &[u8], value: Option<&[u8]>, awaited: bool) {
        let size = key.len().saturating_add(value.map_or(0, <[u8]>::len));
        let mut staging = self.staging.borrow_mut();
        if size > RECORD_MAX {
            self.hand_over(&mut staging);
            *staging = Chunk {
                bytes: Vec::new(),
                first: lsn,
                last: lsn,
                awaited,
                refused: Some(size),
            };
            self.hand_over(&mut staging);
            return;
        }
        if staging.bytes.len() >= CHUNK_BYTES && staging.last != lsn {
            self.hand_over(&mut staging);
        }
        if staging.bytes.is_empty() {
            staging.bytes.resize(FRAME_HEADER, 0);
            staging.first = lsn;
            staging.awaited = false;
        }
        staging.awaited |= awaited;
        frame::put_record(&mut staging.bytes, key, value);
        staging.last = lsn;
    }

    /// Ends a batch: hands what was appended to the store thread and wakes it if it sleeps. Cheap when there is
    /// nothing to hand over.
    pub fn kick(&self) {
        let mut staging = self.staging.borrow_mut();
        self.hand_over(&mut staging);
        let mut queue = self.shared.lock();
        let wake = match queue.waiting {
            Waiting::No => false,
            Waiting::ForAny => !queue.chunks.is_empty(),
            Waiting::ForMany => queue.bytes >= GATHER_BYTES,
        };
        if wake {
            queue.waiting = Waiting::No;
            drop(queue);
            self.shared.wake.notify_one();
        }
    }

    /// Says that the caller has learnt of a failure and given up every record up to `lsn`. Until then a store that
    /// failed refuses all records: what was built on a lost one must not become durable without it.
    pub fn give_up(&self, lsn: u64) {
        let mut queue = self.shared.lock();
        queue.given_up = queue.given_up.max(lsn);
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Bytes handed over that the store thread has not taken yet. It grows without bound while the disk stalls, so
    /// a shard should refuse new work above some mark.
    pub fn backlog(&self) -> usize {
        self.shared.lock().bytes
    }

    /// Writes and syncs what is queued, in either [`super::Sync`] mode, and ends the store thread.
    ///
    /// # Errors
    /// What kept the last records from being durable; each was also reported as [`super::Event::Failed`].
    pub fn close(mut self) -> Result<(), StoreError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.hand_over(&mut self.staging.borrow_mut());
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        thread.join().unwrap_or(Err(StoreError::ThreadGone))
    }

    fn hand_over(&self, staging: &mut Chunk) {
        if staging.is_empty() {
            return;
        }
        let mut queue = self.shared.lock();
        if queue.chunks.is_empty() {
            queue.since = Instant::now();
        }
        queue.bytes += staging.bytes.len();
        match queue.chunks.last_mut() {
            Some(last) if last.joins(staging) => {
                last.bytes
                    .extend_from_slice(staging.bytes.get(FRAME_HEADER..).unwrap_or_default());
                last.last = staging.last;
                last.awaited |= staging.awaited;
                staging.bytes.clear();
            }
            _ => {
                let bytes = queue.spare.pop().unwrap_or_default();
                queue.chunks.push(mem::replace(
                    staging,
                    Chunk {
                        bytes,
                        ..Chunk::default()
                    },
                ));
            }
        }
    }
}

impl Drop for Store {
    /// As [`Store::close`], with nobody to tell about an error.
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the store could not be closed cleanly");
        }
    }
}
