//! Reading the log at start: which files count, where the log ends, and what is live.
//!
//! - The newest snapshot replaces every segment up to its number; files it replaces are leftovers of a crash.
//! - Every segment but the last counts for as many bytes as its successor's header states, and all of them must be
//!   intact. A gap in the numbers is an error.
//! - In the last segment the first frame that is not intact ends the log, unless a later frame says (`synced`) that
//!   the bad one had been on disk: then it is damage, and an error. A crash can leave anything behind the last sync,
//!   intact frames behind a hole included, and all of that is cut.
//!
//! Nothing is truncated: the next segment's header states what counts. Frames at the end that no later frame vouches
//! for may live in the page cache only, so they are carried over into that next segment and synced there.

use super::disk::Disk;
use super::frame::{self, FILE_HEADER, FileKind, FrameKind};
use super::index::{Fingerprint, Index, Place, at};
use super::segment::{Next, Reader, Segment, name, parse_name};
use super::{Pair, Recovered, StoreError};
use hashbrown::HashMap;
use std::io::{self, Read};

/// What is on disk.
pub(super) struct Found {
    pub(super) recovered: Recovered,
    pub(super) index: Index,
    /// In order; the last one's `valid` ends behind its last intact frame.
    pub(super) segments: Vec<Segment>,
    /// Bytes of the last segment that are known to be on the medium.
    pub(super) proven: u64,
    /// Above every `seq` in use.
    pub(super) next_seq: u64,
    /// Files that no longer count.
    pub(super) leftovers: Vec<String>,
}

/// Reads everything. Changes nothing on disk.
pub(super) fn recover(disk: &dyn Disk) -> Result<Found, StoreError> {
    let listing = Listing::read(disk)?;
    let mut replay = Replay::default();
    let mut found = Found {
        recovered: Recovered::default(),
        index: Index::new(),
        segments: Vec::new(),
        proven: 0,
        next_seq: 1,
        leftovers: listing.leftovers,
    };
    if let Some((number, size)) = listing.snapshot {
        let segment = Segment {
            kind: FileKind::Snapshot,
            number,
            valid: size,
        };
        let mut reader = Reader::open(disk, segment.kind, number, size)?;
        replay.sealed(disk, &mut found, segment, &mut reader)?;
    }
    let mut logs = listing.logs.into_iter().peekable();
    while let Some((number, size)) = logs.next() {
        let successor = match logs.peek() {
            Some(&(next, size)) => Some(Reader::open(disk, FileKind::Log, next, size)?.header),
            None => None,
        };
        let valid = successor.map_or(size, |header| header.previous_valid);
        if valid > size {
            let file = disk.path().join(name(FileKind::Log, number));
            return Err(StoreError::Corrupt {
                file,
                offset: size,
                what: "the file is cut short",
            });
        }
        let segment = Segment {
            kind: FileKind::Log,
            number,
            valid,
        };
        let mut reader = Reader::open(disk, segment.kind, number, valid)?;
        found.next_seq = found.next_seq.max(reader.header.first_seq);
        match successor {
            Some(_) => replay.sealed(disk, &mut found, segment, &mut reader)?,
            None => replay.last(disk, &mut found, segment, &mut reader)?,
        }
    }
    found.recovered.records = replay.live.into_iter().flatten().collect();
    Ok(found)
}

/// The directory, sorted out.
struct Listing {
    snapshot: Option<(u32, u64)>,
    logs: Vec<(u32, u64)>,
    leftovers: Vec<String>,
}

impl Listing {
    fn read(disk: &dyn Disk) -> Result<Self, StoreError> {
        let files = disk.list().map_err(|source| io_error(disk, "list", "", source))?;
        let mut listing = Self {
            snapshot: None,
            logs: Vec::new(),
            leftovers: Vec::new(),
        };
        for (name, size) in &files {
            if let Some((FileKind::Snapshot, number)) = parse_name(name) {
                listing.snapshot = listing.snapshot.max(Some((number, *size)));
            }
        }
        let base = listing.snapshot.map_or(0, |(number, _)| number);
        for (name, size) in files {
            match parse_name(&name) {
                Some((FileKind::Log, number)) if number > base => listing.logs.push((number, size)),
                Some((FileKind::Snapshot, number)) if number == base => {}
                Some(_) => listing.leftovers.push(name),
                None if name.ends_with(".tmp") => listing.leftovers.push(name),
                None => {}
            }
        }
        listing.logs.sort_unstable();
        let any = base > 0 || !listing.logs.is_empty();
        let gap = (base + 1..)
            .zip(listing.logs.iter().map(|(n, _)| *n))
            .find(|(want, n)| want != n);
        let missing = gap
            .map(|(want, _)| want)
            .or((any && listing.logs.is_empty()).then_some(base + 1));
        match missing {
            Some(number) => Err(StoreError::Missing {
                file: disk.path().join(name(FileKind::Log, number)),
            }),
            None => Ok(listing),
        }
    }
}

/// The live set as it grows.
#[derive(Default)]
struct Replay {
    slots: HashMap<Fingerprint, usize>,
    live: Vec<Option<Pair>>,
}

impl Replay {
    /// A file that must be intact up to its stated end; a snapshot must say that it is finished.
    fn sealed(
        &mut self,
        disk: &dyn Disk,
        found: &mut Found,
        segment: Segment,
        reader: &mut Reader,
    ) -> Result<(), StoreError> {
        let file = || disk.path().join(segment.name());
        let mut ended = segment.kind == FileKind::Log;
        loop {
            match reader
                .next()
                .map_err(|source| io_error(disk, "read", &segment.name(), source))?
            {
                Next::Frame { at, frame } => {
                    ended |= frame.kind == FrameKind::End;
                    self.frame(&mut found.index, segment, at, frame.kind, reader.payload());
                }
                Next::End if ended => break,
                Next::End => {
                    let what = "the snapshot is cut short";
                    return Err(StoreError::Corrupt {
                        file: file(),
                        offset: segment.valid,
                        what,
                    });
                }
                Next::Bad { at } => {
                    let what = "a frame in the middle of the log fails its checksum";
                    return Err(StoreError::Corrupt {
                        file: file(),
                        offset: at,
                        what,
                    });
                }
            }
        }
        found.next_seq = found.next_seq.max(reader.next_seq());
        found.segments.push(segment);
        Ok(())
    }

    /// The segment that was being written.
    fn last(
        &mut self,
        disk: &dyn Disk,
        found: &mut Found,
        segment: Segment,
        reader: &mut Reader,
    ) -> Result<(), StoreError> {
        let mut valid = FILE_HEADER as u64;
        let mut unproven = Vec::new();
        found.proven = valid;
        loop {
            match reader
                .next()
                .map_err(|source| io_error(disk, "read", &segment.name(), source))?
            {
                Next::Frame { at, frame } => {
                    self.frame(&mut found.index, segment, at, frame.kind, reader.payload());
                    valid = at + (frame::FRAME_HEADER + reader.payload().len()) as u64;
                    unproven.push((frame.seq, valid));
                    unproven.retain(|&(seq, end)| {
                        let proven = seq <= frame.synced;
                        if proven {
                            found.proven = end;
                        }
                        !proven
                    });
                }
                Next::End => break,
                Next::Bad { at } => {
                    refuse_damage(disk, segment, at, reader)?;
                    found.recovered.torn_bytes = segment.valid - at;
                    break;
                }
            }
        }
        found.next_seq = found.next_seq.max(reader.next_seq());
        found.segments.push(Segment { valid, ..segment });
        Ok(())
    }

    fn frame(&mut self, index: &mut Index, segment: Segment, frame_at: u64, kind: FrameKind, payload: &[u8]) {
        if kind != FrameKind::Records {
            return;
        }
        let start = frame_at + frame::FRAME_HEADER as u64;
        for record in frame::records(payload) {
            index.apply(
                &record,
                Place {
                    file: segment.number,
                    offset: at(start, record.at),
                },
            );
            let key = index.fingerprint(record.key);
            let slot = self.slots.get(&key).copied();
            match (record.value, slot) {
                (Some(value), Some(slot)) => {
                    if let Some(Some(pair)) = self.live.get_mut(slot) {
                        pair.1 = value.into();
                    }
                }
                (Some(value), None) => {
                    self.slots.insert(key, self.live.len());
                    self.live.push(Some((record.key.into(), value.into())));
                }
                (None, Some(slot)) => {
                    self.slots.remove(&key);
                    if let Some(pair) = self.live.get_mut(slot) {
                        *pair = None;
                    }
                }
                (None, None) => {}
            }
        }
    }
}

/// An error if anything behind the bad frame at `at` vouches for it.
fn refuse_damage(disk: &dyn Disk, segment: Segment, at: u64, reader: &Reader) -> Result<(), StoreError> {
    let mut rest = Vec::new();
    disk.read(&segment.name(), at)
        .and_then(|mut input| input.read_to_end(&mut rest))
        .map_err(|source| io_error(disk, "read", &segment.name(), source))?;
    let mut from = 0;
    while let Some((skip, frame)) = rest
        .get(from..)
        .and_then(|tail| frame::find_frame(tail, reader.header.salt))
    {
        if frame.synced >= reader.next_seq() {
            let what = "a frame in the middle of the log fails its checksum";
            return Err(StoreError::Corrupt {
                file: disk.path().join(segment.name()),
                offset: at,
                what,
            });
        }
        from += skip + 1;
    }
    Ok(())
}

fn io_error(disk: &dyn Disk, action: &'static str, name: &str, source: io::Error) -> StoreError {
    StoreError::Io {
        action,
        path: disk.path().join(name),
        source,
    }
}
