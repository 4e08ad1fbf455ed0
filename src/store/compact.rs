//! Compaction: the live records of all finished segments go into one snapshot, which then replaces them.
//!
//! It runs in slices between batches, on the store thread. A record counts as live if the index names its place; in
//! a snapshot, which holds a key once, if the index names no later file. So nothing has to be remembered while it
//! runs, and giving up costs a temporary file. The order at the end makes a crash harmless at any point: the active
//! segment is synced (its records are why others were left out), the snapshot synced, named, the name synced, and
//! only then are the old files removed.

use super::StoreError;
use super::disk::LogFile;
use super::frame::{self, FRAME_HEADER, FileHeader, FileKind, Frame, FrameKind};
use super::index::{at, random};
use super::log::Log;
use super::segment::{Next, Reader, Segment, TEMPORARY_SNAPSHOT, name};
use std::collections::VecDeque;
use std::io;

/// About how much is read or written in a slice.
pub(super) const SLICE: usize = 256 << 10;
/// How much of a snapshot is written between syncs, so that no single sync takes long.
const SYNC_EVERY: usize = 1 << 20;
/// Above this many files, small ones are merged even without garbage.
const MANY_FILES: usize = 64;

/// Whether there is enough to gain.
pub(super) fn is_due(log: &Log, segment_bytes: u64, ratio: f64) -> bool {
    let (total, live) = (log.bytes(), log.index.live_bytes());
    let garbage = total.saturating_sub(live);
    let files = log.sealed.len();
    let scattered = files > MANY_FILES && total / segment_bytes.max(1) < files as u64 / 2;
    scattered || (garbage >= segment_bytes && garbage as f64 > live as f64 * ratio)
}

/// A compaction under way.
pub(super) struct Compaction {
    sources: VecDeque<Segment>,
    reader: Option<(Segment, Reader)>,
    file: Box<dyn LogFile>,
    header: FileHeader,
    seq: u64,
    buffer: Vec<u8>,
    written: u64,
    unsynced: usize,
}

impl Compaction {
    /// Closes the active segment and begins a snapshot of everything up to it.
    pub(super) fn start(log: &mut Log) -> Result<Self, StoreError> {
        let number = log.number();
        log.begin_next(0)?;
        let header = FileHeader {
            kind: FileKind::Snapshot,
            number,
            previous_valid: 0,
            first_seq: 1,
            salt: random(),
        };
        let encoded = header.encode();
        let file = log
            .disk
            .create(TEMPORARY_SNAPSHOT)
            .and_then(|mut file| file.append(&encoded).map(|()| file));
        Ok(Self {
            sources: log.sealed.iter().copied().collect(),
            reader: None,
            file: file.map_err(|source| failed(log, "create", source))?,
            header,
            seq: 1,
            buffer: vec![0; FRAME_HEADER],
            written: encoded.len() as u64,
            unsynced: encoded.len(),
        })
    }

    /// Does a little more; true when the snapshot has taken over. After an error the compaction must be given up.
    pub(super) fn slice(&mut self, log: &mut Log) -> Result<bool, StoreError> {
        if self.buffer.len() >= SLICE {
            self.flush(log, FrameKind::Records)?;
            return Ok(false);
        }
        if self.unsynced >= SYNC_EVERY {
            self.file.sync().map_err(|source| failed(log, "sync", source))?;
            self.unsynced = 0;
            return Ok(false);
        }
        let mut read = 0;
        while read < SLICE && self.buffer.len() < SLICE {
            let Some((segment, reader)) = self.reader.as_mut() else {
                let Some(segment) = self.sources.pop_front() else {
                    return self.finish(log);
                };
                let reader = Reader::open(log.disk.as_ref(), segment.kind, segment.number, segment.valid)?;
                self.reader = Some((segment, reader));
                continue;
            };
            let file = || log.disk.path().join(segment.name());
            match reader.next().map_err(|source| StoreError::Io {
                action: "read",
                path: file(),
                source,
            })? {
                Next::Frame { at, frame } => {
                    read += FRAME_HEADER + reader.payload().len();
                    if frame.kind == FrameKind::Records {
                        copy_live(log, *segment, at, reader.payload(), &mut self.buffer);
                    }
                }
                Next::End => self.reader = None,
                Next::Bad { at } => {
                    let what = "a frame that was intact at the start is not any more";
                    return Err(StoreError::Corrupt {
                        file: file(),
                        offset: at,
                        what,
                    });
                }
            }
        }
        Ok(false)
    }

    /// Leaves no trace.
    pub(super) fn give_up(self, log: &Log) {
        drop(self);
        log.discard(TEMPORARY_SNAPSHOT);
    }

    fn flush(&mut self, log: &Log, kind: FrameKind) -> Result<(), StoreError> {
        if !Frame::seal(&mut self.buffer, kind, self.seq, 0, self.header.salt) {
            return Err(StoreError::TooLarge {
                bytes: self.buffer.len(),
                limit: u32::MAX as usize,
            });
        }
        self.file
            .append(&self.buffer)
            .map_err(|source| failed(log, "write", source))?;
        self.seq += 1;
        self.written += self.buffer.len() as u64;
        self.unsynced += self.buffer.len();
        self.buffer.truncate(FRAME_HEADER);
        Ok(())
    }

    fn finish(&mut self, log: &mut Log) -> Result<bool, StoreError> {
        if self.buffer.len() > FRAME_HEADER {
            self.flush(log, FrameKind::Records)?;
        }
        self.flush(log, FrameKind::End)?;
        self.file.sync().map_err(|source| failed(log, "sync", source))?;
        log.sync_acked()?;
        let (number, valid) = (self.header.number, self.written);
        log.disk
            .rename(TEMPORARY_SNAPSHOT, &name(FileKind::Snapshot, number))
            .and_then(|()| log.disk.sync_names())
            .map_err(|source| failed(log, "name", source))?;
        let snapshot = Segment {
            kind: FileKind::Snapshot,
            number,
            valid,
        };
        let (old, newer): (Vec<_>, Vec<_>) = log.sealed.iter().partition(|s| s.number <= number);
        log.sealed = [snapshot].into_iter().chain(newer).collect();
        for segment in old {
            log.discard(&segment.name());
        }
        Ok(true)
    }
}

fn copy_live(log: &Log, segment: Segment, frame_at: u64, payload: &[u8], out: &mut Vec<u8>) {
    let start = frame_at + FRAME_HEADER as u64;
    for record in frame::records(payload).filter(|r| r.value.is_some()) {
        let live = log.index.place(record.key).is_some_and(|place| match segment.kind {
            FileKind::Snapshot => place.file <= segment.number,
            FileKind::Log => place.file == segment.number && place.offset == at(start, record.at),
        });
        if live {
            out.extend_from_slice(record.raw);
        }
    }
}

fn failed(log: &Log, action: &'static str, source: io::Error) -> StoreError {
    StoreError::Io {
        action,
        path: log.disk.path().join(TEMPORARY_SNAPSHOT),
        source,
    }
}
