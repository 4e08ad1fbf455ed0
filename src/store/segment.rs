//! Names of files, and reading them frame by frame.

use super::StoreError;
use super::disk::Disk;
use super::frame::{BadHeader, FILE_HEADER, FRAME_HEADER, FileHeader, FileKind, Frame, FrameKind, VERSION};
use std::io::{self, BufReader, Read};

/// The name under which every file is made before it is whole.
pub(super) const TEMPORARY_LOG: &str = "new.log.tmp";
/// The name under which a snapshot grows.
pub(super) const TEMPORARY_SNAPSHOT: &str = "new.snap.tmp";

/// A finished file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) kind: FileKind,
    pub(super) number: u32,
    /// Bytes that count, from the start of the file.
    pub(super) valid: u64,
}

impl Segment {
    pub(super) fn name(&self) -> String {
        name(self.kind, self.number)
    }
}

pub(super) fn name(kind: FileKind, number: u32) -> String {
    let ending = match kind {
        FileKind::Log => "log",
        FileKind::Snapshot => "snap",
    };
    format!("{number:010}.{ending}")
}

/// The reverse of [`name`].
pub(super) fn parse_name(text: &str) -> Option<(FileKind, u32)> {
    let (number, ending) = text.split_once('.')?;
    let kind = match ending {
        "log" => FileKind::Log,
        "snap" => FileKind::Snapshot,
        _ => return None,
    };
    let number = number.parse().ok()?;
    (name(kind, number) == text).then_some((kind, number))
}

/// What comes next in a file.
#[derive(Debug)]
pub(super) enum Next {
    /// A frame that starts here; its payload is in [`Reader::payload`].
    Frame { at: u64, frame: Frame },
    /// The end, exactly behind a frame.
    End,
    /// Something that is no intact frame starts here.
    Bad { at: u64 },
}

/// Reads the frames of one file in order.
pub(super) struct Reader {
    input: BufReader<Box<dyn Read + Send>>,
    pub(super) header: FileHeader,
    at: u64,
    end: u64,
    next_seq: u64,
    payload: Vec<u8>,
}

impl Reader {
    /// Opens a file and checks its header; reads frames up to `end` bytes from its start.
    pub(super) fn open(disk: &dyn Disk, kind: FileKind, number: u32, end: u64) -> Result<Self, StoreError> {
        let file = name(kind, number);
        let path = disk.path().join(&file);
        let io = |source| StoreError::Io {
            action: "read",
            path: path.clone(),
            source,
        };
        let damaged = |what| StoreError::Corrupt {
            file: path.clone(),
            offset: 0,
            what,
        };
        let mut input = BufReader::with_capacity(256 << 10, disk.read(&file, 0).map_err(io)?);
        let mut bytes = [0; FILE_HEADER];
        if end < FILE_HEADER as u64 {
            return Err(damaged("the file header is cut short"));
        }
        input.read_exact(&mut bytes).map_err(io)?;
        let header = FileHeader::decode(&bytes).map_err(|bad| match bad {
            BadHeader::Damaged => damaged("the file header is not one of this store"),
            BadHeader::Version(found) => StoreError::Version {
                file: path.clone(),
                found,
                known: VERSION,
            },
        })?;
        if (header.kind, header.number) != (kind, number) {
            return Err(damaged("the file header belongs to another file"));
        }
        let next_seq = header.first_seq;
        Ok(Self {
            input,
            header,
            at: FILE_HEADER as u64,
            end,
            next_seq,
            payload: Vec::new(),
        })
    }

    /// The payload of the frame that [`Reader::next`] found last.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The `seq` that the next frame must have.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Reads the next frame. After anything but a frame, do not call it again.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        let at = self.at;
        let left = self.end.saturating_sub(at);
        if left == 0 {
            return Ok(Next::End);
        }
        if left < FRAME_HEADER as u64 {
            return Ok(Next::Bad { at });
        }
        let mut header = [0; FRAME_HEADER];
        self.input.read_exact(&mut header)?;
        let frame = match Frame::decode(&header, self.header.salt) {
            Some(frame) if frame.seq == self.next_seq => frame,
            _ => return Ok(Next::Bad { at }),
        };
        if u64::from(frame.len) > left - FRAME_HEADER as u64 {
            return Ok(Next::Bad { at });
        }
        self.payload.resize(frame.len as usize, 0);
        self.input.read_exact(&mut self.payload)?;
        if !frame.holds(&self.payload, self.header.salt) || !well_formed(&frame, &self.payload) {
            return Ok(Next::Bad { at });
        }
        self.at = at + (FRAME_HEADER + self.payload.len()) as u64;
        self.next_seq += 1;
        Ok(Next::Frame { at, frame })
    }
}

fn well_formed(frame: &Frame, payload: &[u8]) -> bool {
    if frame.kind != FrameKind::Records {
        return true;
    }
    let mut records = super::frame::records(payload);
    records.by_ref().for_each(drop);
    records.is_whole()
}

/// The payloads of the record frames in `from..segment.valid`, all of which must be intact.
pub(super) fn read_tail(disk: &dyn Disk, segment: Segment, from: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    let path = disk.path().join(segment.name());
    let mut payloads = Vec::new();
    if from >= segment.valid {
        return Ok(payloads);
    }
    let mut reader = Reader::open(disk, segment.kind, segment.number, segment.valid)?;
    loop {
        match reader.next() {
            Ok(Next::Frame { at, frame }) if at >= from && frame.kind == FrameKind::Records => {
                payloads.push(reader.payload().to_vec());
            }
            Ok(Next::Frame { .. }) => {}
            Ok(Next::End) => return Ok(payloads),
            Ok(Next::Bad { at }) => {
                return Err(StoreError::Corrupt {
                    file: path,
                    offset: at,
                    what: "a frame changed after it was read",
                });
            }
            Err(source) => {
                return Err(StoreError::Io {
                    action: "read",
                    path,
                    source,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_strangers_are_not_ours() {
        for kind in [FileKind::Log, FileKind::Snapshot] {
            assert_eq!(parse_name(&name(kind, 42)), Some((kind, 42)));
        }
        for stranger in [
            "42.log",
            "lock",
            TEMPORARY_LOG,
            "0000000042.log.bak",
            "00000000x2.log",
            "9999999999.log",
        ] {
            assert_eq!(parse_name(stranger), None, "{stranger}");
        }
    }
}
