//! The log on disk as the store thread writes it: frames into the active segment, and the change to the next one.
//!
//! Three marks run through the active segment: `written` (handed to the system), `acked` (called durable) and
//! `synced` (on the medium). Under group commit the last two move together; under process durability `acked` leads.
//! After any error the segment is `suspect` and gets no more frames (see the module's note on fsyncgate).

use super::StoreError;
use super::disk::{Disk, LogFile};
use super::frame::{FILE_HEADER, FRAME_HEADER, FileHeader, FileKind, Frame, FrameKind};
use super::index::{Index, random};
use super::recover::Found;
use super::segment::{Segment, TEMPORARY_LOG, name, read_tail};
use std::io;

struct Active {
    file: Box<dyn LogFile>,
    number: u32,
    salt: u64,
    written: u64,
    acked: u64,
    synced: u64,
    /// `seq` of the last synced frame.
    synced_seq: u64,
    /// A write or sync failed.
    suspect: bool,
    /// A sync failed: what lies beyond `synced` may be in memory only, whatever a later sync says.
    lost_sync: bool,
}

pub(super) struct Log {
    pub(super) disk: Box<dyn Disk>,
    pub(super) index: Index,
    /// Finished files, oldest first.
    pub(super) sealed: Vec<Segment>,
    active: Active,
    next_seq: u64,
}

/// Frames to begin a segment with, and where they came to lie.
type Carried = Vec<(u64, Vec<u8>)>;

impl Log {
    /// Goes on where recovery ended: in a new segment, with what was not certainly on disk carried into it.
    pub(super) fn start(disk: Box<dyn Disk>, found: Found) -> Result<Self, StoreError> {
        let Found {
            index,
            mut segments,
            proven,
            next_seq,
            leftovers,
            ..
        } = found;
        let (number, carry) = match segments.last_mut() {
            Some(last) => {
                let carry = read_tail(disk.as_ref(), *last, proven)?;
                last.valid = proven;
                (last.number.saturating_add(1), carry)
            }
            None => (1, Vec::new()),
        };
        let (active, carried, next_seq) = begin(disk.as_ref(), number, proven, next_seq, 0, carry)?;
        let mut log = Self {
            disk,
            index,
            sealed: segments,
            active,
            next_seq,
        };
        log.settle(&carried);
        for name in leftovers {
            log.discard(&name);
        }
        Ok(log)
    }

    /// Finishes the active segment and begins the next, which starts with `room` bytes of padding.
    ///
    /// What is acked but not synced goes along: by a sync of the old segment if that still means something, else by
    /// writing it again.
    pub(super) fn begin_next(&mut self, room: usize) -> Result<(), StoreError> {
        if self.active.acked > self.active.synced && !self.active.lost_sync {
            self.sync()?;
        }
        let kept = self.active.synced.min(self.active.acked);
        let old = Segment {
            kind: FileKind::Log,
            number: self.active.number,
            valid: self.active.acked,
        };
        let carry = read_tail(self.disk.as_ref(), old, kept)?;
        let number = self.active.number.saturating_add(1);
        let (active, carried, next_seq) = begin(self.disk.as_ref(), number, kept, self.next_seq, room, carry)?;
        self.sealed.push(Segment { valid: kept, ..old });
        (self.active, self.next_seq) = (active, next_seq);
        self.settle(&carried);
        Ok(())
    }

    /// Whether the next frame belongs into a new segment.
    pub(super) fn wants_next(&self, segment_bytes: u64) -> bool {
        self.active.suspect || self.active.written >= segment_bytes
    }

    /// Number of the active segment.
    pub(super) fn number(&self) -> u32 {
        self.active.number
    }

    /// Writes one frame of records (with room for its header in front) and says where it starts.
    pub(super) fn write(&mut self, frame: &mut [u8]) -> Result<u64, StoreError> {
        let at = self.active.written;
        self.write_kind(frame, FrameKind::Records)?;
        Ok(at)
    }

    fn write_kind(&mut self, frame: &mut [u8], kind: FrameKind) -> Result<(), StoreError> {
        let active = &mut self.active;
        if !Frame::seal(frame, kind, self.next_seq, active.synced_seq, active.salt) {
            return Err(StoreError::TooLarge {
                bytes: frame.len(),
                limit: u32::MAX as usize,
            });
        }
        self.next_seq += 1;
        active.written += frame.len() as u64;
        active.file.append(frame).map_err(|source| {
            active.suspect = true;
            let path = self.disk.path().join(name(FileKind::Log, active.number));
            StoreError::Io {
                action: "write",
                path,
                source,
            }
        })
    }

    /// Makes all that was written durable.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        let active = &mut self.active;
        let sync = if active.lost_sync {
            Err(io::Error::other(
                "an earlier sync failed, so the system can no longer vouch for this file",
            ))
        } else {
            active.file.sync()
        };
        sync.map_err(|source| {
            (active.suspect, active.lost_sync) = (true, true);
            let path = self.disk.path().join(name(FileKind::Log, active.number));
            StoreError::Io {
                action: "sync",
                path,
                source,
            }
        })?;
        (active.synced, active.synced_seq) = (active.written, self.next_seq - 1);
        Ok(())
    }

    /// Makes all that was acked durable, if it is not yet.
    pub(super) fn sync_acked(&mut self) -> Result<(), StoreError> {
        if self.active.synced < self.active.acked {
            self.sync()
        } else {
            Ok(())
        }
    }

    /// Takes note that the frame at `at` has been called durable.
    pub(super) fn acknowledge(&mut self, at: u64, frame: &[u8]) {
        self.active.acked = at + frame.len() as u64;
        let payload = frame.get(FRAME_HEADER..).unwrap_or_default();
        self.index
            .apply_all(payload, self.active.number, at + FRAME_HEADER as u64);
    }

    /// Syncs and says that the end is meant, so that the next start need not carry anything over.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        if self.active.suspect {
            self.begin_next(0)?;
        }
        self.sync()?;
        let mut end = vec![0; FRAME_HEADER];
        self.write_kind(&mut end, FrameKind::End)?;
        self.sync()
    }

    /// Bytes in all files that count.
    pub(super) fn bytes(&self) -> u64 {
        self.sealed.iter().map(|s| s.valid).sum::<u64>() + self.active.acked
    }

    /// Removes a file that does not count. If it cannot, the next start will.
    pub(super) fn discard(&self, name: &str) {
        if let Err(error) = self.disk.remove(name)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.disk.path().join(name).display(), %error, "cannot remove an old store file");
        }
    }

    fn settle(&mut self, carried: &Carried) {
        for (at, payload) in carried {
            self.index.apply_all(payload, self.active.number, *at);
        }
    }
}

/// Makes a segment under a temporary name, syncs it and gives it its name. On error nothing counts that did not
/// before: a segment that already has its name holds nothing new, and the next attempt replaces it.
fn begin(
    disk: &dyn Disk,
    number: u32,
    previous_valid: u64,
    first_seq: u64,
    room: usize,
    carry: Vec<Vec<u8>>,
) -> Result<(Active, Carried, u64), StoreError> {
    let path = disk.path().join(name(FileKind::Log, number));
    let io = |action: &'static str| {
        let path = path.clone();
        move |source| StoreError::Io { action, path, source }
    };
    let header = FileHeader {
        kind: FileKind::Log,
        number,
        previous_valid,
        first_seq,
        salt: random(),
    };
    let mut seq = first_seq;
    let mut carried = Carried::with_capacity(carry.len());
    let mut bytes = header.encode().to_vec();
    let pad = (room > 0).then(|| (FrameKind::Pad, vec![0; room]));
    for (kind, payload) in pad
        .into_iter()
        .chain(carry.into_iter().map(|payload| (FrameKind::Records, payload)))
    {
        let start = bytes.len();
        bytes.resize(start + FRAME_HEADER, 0);
        bytes.extend_from_slice(&payload);
        Frame::seal(
            bytes.get_mut(start..).unwrap_or_default(),
            kind,
            seq,
            first_seq - 1,
            header.salt,
        );
        seq += 1;
        if kind == FrameKind::Records {
            carried.push(((start + FRAME_HEADER) as u64, payload));
        }
    }
    let made = disk.create(TEMPORARY_LOG).map_err(io("create")).and_then(|mut file| {
        file.append(&bytes).map_err(io("write"))?;
        file.sync().map_err(io("sync"))?;
        disk.rename(TEMPORARY_LOG, &name(FileKind::Log, number))
            .map_err(io("name"))?;
        disk.sync_names().map_err(io("name"))?;
        Ok(file)
    });
    if made.is_err() {
        // It may have its name already, or be beyond removing on this disk; either way it does not count.
        let _ = disk.remove(TEMPORARY_LOG);
    }
    let written = bytes.len() as u64;
    debug_assert!(written >= FILE_HEADER as u64);
    let active = Active {
        file: made?,
        number,
        salt: header.salt,
        written,
        acked: written,
        synced: written,
        synced_seq: seq - 1,
        suspect: false,
        lost_sync: false,
    };
    Ok((active, carried, seq))
}
