//! The store thread: takes what is queued, writes and syncs it, reports, and compacts while there is nothing to do.
//!
//! Group commit adapts by itself: a batch that finds the thread asleep is synced at once; when batches came during
//! the last sync there is load, and the next sync waits, in short steps, for as long as more keep coming and at most
//! `max_gather` after the first of them.

use super::compact::{self, Compaction};
use super::frame::{self, FRAME_HEADER};
use super::handle::{Chunk, GATHER_BYTES, Queue, RECORD_MAX, Shared, Waiting};
use super::lock::Lock;
use super::log::Log;
use super::{Event, Options, StoreError, Sync};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a failing store is tried.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// What a probe must find room for.
const PROBE_ROOM: usize = 64 << 10;
/// How long a failed compaction is left alone.
const COMPACT_AGAIN: Duration = Duration::from_secs(60);
/// Chunks written between two syncs at most.
const CHUNKS: usize = 64;
/// A gathering that saw nothing new for this part of `max_gather` is over.
const GATHER_STEPS: u32 = 4;

struct Failing {
    cause: String,
    /// The last record refused; the caller must have given it up before anything is tried.
    upto: u64,
    next_probe: Instant,
}

pub(super) struct Writer {
    log: Log,
    shared: Arc<Shared>,
    on_event: Box<dyn Fn(Event) + Send>,
    sync: Sync,
    segment_bytes: u64,
    compact_ratio: f64,
    probe_every: Duration,
    compaction: Option<Compaction>,
    compact_after: Option<Instant>,
    failing: Option<Failing>,
    durable: u64,
    /// Whether the last thing done was to write a batch.
    served: bool,
    _lock: Option<Lock>,
}

impl Writer {
    pub(super) fn new(
        log: Log,
        shared: Arc<Shared>,
        options: &Options,
        on_event: Box<dyn Fn(Event) + Send>,
        lock: Option<Lock>,
    ) -> Self {
        Self {
            log,
            shared,
            on_event,
            sync: options.sync,
            segment_bytes: u64::from(options.segment_bytes.clamp(4 << 10, 1 << 30)),
            compact_ratio: if options.compact_ratio.is_finite() {
                options.compact_ratio.max(0.1)
            } else {
                1.0
            },
            probe_every: PROBE_EVERY,
            compaction: None,
            compact_after: None,
            failing: None,
            durable: 0,
            served: false,
            _lock: lock,
        }
    }

    #[cfg(test)]
    pub(super) fn probe_every(mut self, period: Duration) -> Self {
        self.probe_every = period;
        self
    }

    /// Runs until the store is closed.
    pub(super) fn run(mut self) -> Result<(), StoreError> {
        loop {
            let (mut chunks, closing) = self.take();
            self.served = !chunks.is_empty();
            if self.served {
                self.serve(&mut chunks);
                self.keep_pace(chunks.iter().map(|c| c.bytes.len()).sum());
                self.shared.give_back(chunks);
            } else if closing {
                return self.finish();
            } else if self.failing.is_some() {
                self.probe();
            } else {
                self.compact();
            }
        }
    }

    /// Waits for something to do. Empty-handed, it is time for a probe or a slice of compaction.
    fn take(&self) -> (Vec<Chunk>, bool) {
        let mut queue = self.shared.lock();
        let loaded = self.served && !queue.chunks.is_empty();
        while queue.chunks.is_empty() && !queue.closing {
            let patience = match &self.failing {
                Some(failing) if queue.given_up < failing.upto => None,
                Some(failing) => Some(failing.next_probe.saturating_duration_since(Instant::now())),
                None if self.compaction.is_some() || self.compaction_is_due() => Some(Duration::ZERO),
                None => None,
            };
            if patience.is_some_and(|p| p.is_zero()) {
                break;
            }
            queue = self.wait(queue, Waiting::ForAny, patience);
        }
        let idle = self.failing.is_none() && self.compaction.is_none();
        if let (true, true, Sync::Group { max_gather }) = (loaded, idle, self.sync) {
            queue = self.gather(queue, max_gather);
        }
        let count = queue.chunks.len().min(CHUNKS);
        let chunks: Vec<Chunk> = queue.chunks.drain(..count).collect();
        queue.bytes -= chunks.iter().map(|c| c.bytes.len()).sum::<usize>().min(queue.bytes);
        (chunks, queue.closing)
    }

    fn gather<'a>(&'a self, mut queue: MutexGuard<'a, Queue>, max_gather: Duration) -> MutexGuard<'a, Queue> {
        let end = queue.since + max_gather;
        loop {
            let before = queue.bytes;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || before >= GATHER_BYTES || queue.closing {
                return queue;
            }
            queue = self.wait(queue, Waiting::ForMany, Some(left.min(max_gather / GATHER_STEPS)));
            if queue.bytes == before {
                return queue;
            }
        }
    }

    fn wait<'a>(
        &'a self,
        mut queue: MutexGuard<'a, Queue>,
        waiting: Waiting,
        patience: Option<Duration>,
    ) -> MutexGuard<'a, Queue> {
        queue.waiting = waiting;
        let wake = &self.shared.wake;
        let mut queue = match patience {
            Some(patience) => {
                wake.wait_timeout(queue, patience)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
        };
        queue.waiting = Waiting::No;
        queue
    }

    fn serve(&mut self, chunks: &mut [Chunk]) {
        let (Some(first), Some(last)) = (chunks.first().map(|c| c.first), chunks.last().map(|c| c.last)) else {
            return;
        };
        if let Some(failing) = &mut self.failing {
            failing.upto = last;
            let cause = failing.cause.clone();
            return (self.on_event)(Event::Failed {
                lsn: first,
                upto: last,
                keys: keys(chunks, first),
                error: StoreError::Refusing { cause },
            });
        }
        if let Err((lsn, error)) = self.store(chunks, first) {
            self.fail(lsn, last, keys(chunks, lsn), error);
        }
    }

    /// Writes and reports; an error names the first record that is not durable.
    fn store(&mut self, chunks: &mut [Chunk], first: u64) -> Result<(), (u64, StoreError)> {
        if self.log.wants_next(self.segment_bytes) {
            self.log.begin_next(0).map_err(|error| (first, error))?;
        }
        let group = self.sync != Sync::Process;
        let awaited = chunks.iter().any(|chunk| chunk.awaited);
        let mut written = Vec::with_capacity(chunks.len());
        for chunk in chunks.iter_mut() {
            let lost_from = if group { first } else { chunk.first };
            if let Some(bytes) = chunk.refused {
                let limit = RECORD_MAX;
                return Err((lost_from, StoreError::TooLarge { bytes, limit }));
            }
            let at = self.log.write(&mut chunk.bytes).map_err(|error| (lost_from, error))?;
            if group && awaited {
                written.push((at, &*chunk));
            } else {
                if !group {
                    self.report(chunk.last);
                }
                self.log.acknowledge(at, &chunk.bytes);
            }
        }
        let Some((_, last)) = written.last() else { return Ok(()) };
        self.log.sync().map_err(|error| (first, error))?;
        self.report(last.last);
        for (at, chunk) in written {
            self.log.acknowledge(at, &chunk.bytes);
        }
        Ok(())
    }

    fn report(&mut self, lsn: u64) {
        self.durable = self.durable.max(lsn);
        (self.on_event)(Event::Durable { lsn: self.durable });
    }

    fn fail(&mut self, lsn: u64, upto: u64, keys: Vec<Box<[u8]>>, error: StoreError) {
        // A snapshot under way may be what filled the disk.
        self.give_up_compaction();
        self.failing = Some(Failing {
            cause: error.to_string(),
            upto,
            next_probe: Instant::now() + self.probe_every,
        });
        (self.on_event)(Event::Failed { lsn, upto, keys, error });
    }

    fn probe(&mut self) {
        match self.log.begin_next(PROBE_ROOM) {
            Ok(()) => {
                self.failing = None;
                (self.on_event)(Event::Recovered);
            }
            Err(error) => {
                if let Some(failing) = &mut self.failing {
                    failing.cause = error.to_string();
                    failing.next_probe = Instant::now() + self.probe_every;
                }
            }
        }
    }

    fn compaction_is_due(&self) -> bool {
        self.compact_after.is_none_or(|after| Instant::now() >= after)
            && compact::is_due(&self.log, self.segment_bytes, self.compact_ratio)
    }

    /// Lets compaction have its share under load too: a slice a batch, and more after a big one.
    fn keep_pace(&mut self, bytes: usize) {
        for _ in 0..=bytes / compact::SLICE {
            if self.failing.is_none() && (self.compaction.is_some() || self.compaction_is_due()) {
                self.compact();
            }
        }
    }

    fn compact(&mut self) {
        let done = match &mut self.compaction {
            Some(compaction) => compaction.slice(&mut self.log),
            None => Compaction::start(&mut self.log).map(|compaction| {
                self.compaction = Some(compaction);
                false
            }),
        };
        match done {
            Ok(false) => {}
            Ok(true) => (self.compaction, self.compact_after) = (None, None),
            Err(error) => {
                tracing::warn!(%error, "the store cannot be compacted now; it will be tried again in a minute");
                self.give_up_compaction();
            }
        }
    }

    fn give_up_compaction(&mut self) {
        self.compact_after = Some(Instant::now() + COMPACT_AGAIN);
        if let Some(compaction) = self.compaction.take() {
            compaction.give_up(&self.log);
        }
    }

    fn finish(mut self) -> Result<(), StoreError> {
        self.give_up_compaction();
        match self.failing.take() {
            Some(failing) => Err(StoreError::Refusing { cause: failing.cause }),
            None => self.log.finish(),
        }
    }
}

/// The keys of the records from `lsn` on; a chunk is looked at whole, so some before it may be among them.
fn keys(chunks: &[Chunk], lsn: u64) -> Vec<Box<[u8]>> {
    chunks
        .iter()
        .filter(|chunk| chunk.last >= lsn)
        .flat_map(|chunk| frame::records(chunk.bytes.get(FRAME_HEADER..).unwrap_or_default()))
        .map(|record| record.key.into())
        .collect()
}
