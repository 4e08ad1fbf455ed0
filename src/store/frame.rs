//! The bytes of the log: a file header, then frames; a frame is a header and records.
//!
//! ```text
//! file    "TRESTLEJ" version:u32 kind:u32 number:u32 0:u32 previous_valid:u64 first_seq:u64 salt:u64 0:u64 0:u32 crc:u32
//! frame   magic:u32 kind:u32 seq:u64 synced:u64 len:u32 payload_crc:u32 header_crc:u32, then len bytes of records
//! record  key_len:u32 value_len:u32 (2^32-1: delete) key value
//! ```
//! All numbers are little endian. Both checksums of a frame (CRC-32) start from the file's random salt, so no value
//! that a stranger made us store can pass for a frame. `synced` is the highest `seq` known to be on disk when the
//! frame was written: it is what tells a torn tail from damage (see `recover`).

use crc32fast::Hasher;

/// Bytes before the first frame of a file.
pub(super) const FILE_HEADER: usize = 64;
/// Bytes before the records of a frame.
pub(super) const FRAME_HEADER: usize = 36;
/// The format this program reads and writes.
pub(super) const VERSION: u32 = 1;

const FILE_MAGIC: [u8; 8] = *b"TRESTLEJ";
const FRAME_MAGIC: u32 = 0x4652_4d31;
const DELETE: u32 = u32::MAX;
const RECORD_HEADER: usize = 8;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A segment of the log.
    Log,
    /// The live set of all segments up to its number.
    Snapshot,
}

/// The first bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) kind: FileKind,
    pub(super) number: u32,
    /// How many bytes of segment `number - 1` count; what lies behind them is void.
    pub(super) previous_valid: u64,
    /// `seq` of the first frame.
    pub(super) first_seq: u64,
    pub(super) salt: u64,
}

/// Why a file header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Not ours, or damaged.
    Damaged,
    /// Of this version.
    Version(u32),
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; FILE_HEADER] {
        let mut out = [0; FILE_HEADER];
        let kind: u32 = match self.kind {
            FileKind::Log => 1,
            FileKind::Snapshot => 2,
        };
        out[..8].copy_from_slice(&FILE_MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&kind.to_le_bytes());
        out[16..20].copy_from_slice(&self.number.to_le_bytes());
        out[24..32].copy_from_slice(&self.previous_valid.to_le_bytes());
        out[32..40].copy_from_slice(&self.first_seq.to_le_bytes());
        out[40..48].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8; FILE_HEADER]) -> Result<Self, BadHeader> {
        if bytes[..8] != FILE_MAGIC || u32_at(bytes, 60) != crc32fast::hash(&bytes[..60]) {
            return Err(BadHeader::Damaged);
        }
        if u32_at(bytes, 8) != VERSION {
            return Err(BadHeader::Version(u32_at(bytes, 8)));
        }
        let kind = match u32_at(bytes, 12) {
            1 => FileKind::Log,
            2 => FileKind::Snapshot,
            _ => return Err(BadHeader::Damaged),
        };
        Ok(Self {
            kind,
            number: u32_at(bytes, 16),
            previous_valid: u64_at(bytes, 24),
            first_seq: u64_at(bytes, 32),
            salt: u64_at(bytes, 40),
        })
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// Records.
    Records,
    /// Zeros, written to prove that there is room.
    Pad,
    /// Nothing: the file was finished on purpose.
    End,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: FrameKind,
    pub(super) seq: u64,
    pub(super) synced: u64,
    pub(super) len: u32,
    payload_crc: u32,
}

impl Frame {
    /// Fills in the header of `frame`, whose first [`FRAME_HEADER`] bytes are room for it. False when the frame is
    /// too short to have one or too long for its length field.
    pub(super) fn seal(frame: &mut [u8], kind: FrameKind, seq: u64, synced: u64, salt: u64) -> bool {
        let Some((header, payload)) = frame.split_first_chunk_mut::<FRAME_HEADER>() else {
            return false;
        };
        let Ok(len) = u32::try_from(payload.len()) else {
            return false;
        };
        let kind: u32 = match kind {
            FrameKind::Records => 1,
            FrameKind::Pad => 2,
            FrameKind::End => 3,
        };
        header[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[8..16].copy_from_slice(&seq.to_le_bytes());
        header[16..24].copy_from_slice(&synced.to_le_bytes());
        header[24..28].copy_from_slice(&len.to_le_bytes());
        header[28..32].copy_from_slice(&salted(salt, payload).to_le_bytes());
        let crc = salted(salt, &header[..32]);
        header[32..].copy_from_slice(&crc.to_le_bytes());
        true
    }

    /// The header, if its own checksum holds.
    pub(super) fn decode(bytes: &[u8; FRAME_HEADER], salt: u64) -> Option<Self> {
        if u32_at(bytes, 0) != FRAME_MAGIC || u32_at(bytes, 32) != salted(salt, &bytes[..32]) {
            return None;
        }
        let kind = match u32_at(bytes, 4) {
            1 => FrameKind::Records,
            2 => FrameKind::Pad,
            3 => FrameKind::End,
            _ => return None,
        };
        Some(Self {
            kind,
            seq: u64_at(bytes, 8),
            synced: u64_at(bytes, 16),
            len: u32_at(bytes, 24),
            payload_crc: u32_at(bytes, 28),
        })
    }

    /// Whether `payload` is what the frame was written with.
    pub(super) fn holds(&self, payload: &[u8], salt: u64) -> bool {
        self.payload_crc == salted(salt, payload)
    }
}

/// Finds the next intact frame header in `bytes`.
pub(super) fn find_frame(bytes: &[u8], salt: u64) -> Option<(usize, Frame)> {
    let magic = FRAME_MAGIC.to_le_bytes();
    memchr::memmem::find_iter(bytes, &magic).find_map(|at| {
        let header = bytes.get(at..)?.first_chunk::<FRAME_HEADER>()?;
        Some((at, Frame::decode(header, salt)?))
    })
}

/// One record as it lies in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) key: &'a [u8],
    /// Absent: a delete.
    pub(super) value: Option<&'a [u8]>,
    /// All of its bytes, to be copied as they are.
    pub(super) raw: &'a [u8],
    /// Where it starts in the payload.
    pub(super) at: usize,
}

/// Appends a record to a frame under construction. The caller keeps the lengths within `u32`.
pub(super) fn put_record(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(DELETE - 1);
    out.reserve(RECORD_HEADER + key.len() + value.map_or(0, <[u8]>::len));
    out.extend_from_slice(&length(key).to_le_bytes());
    out.extend_from_slice(&value.map_or(DELETE, length).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value.unwrap_or_default());
}

/// The records of a payload, in order; ends early (see [`Records::is_whole`]) if the lengths do not add up.
pub(super) fn records(payload: &[u8]) -> Records<'_> {
    Records { payload, at: 0 }
}

pub(super) struct Records<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Records<'_> {
    /// After the last record: whether every byte belonged to one.
    pub(super) fn is_whole(&self) -> bool {
        self.at == self.payload.len()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let rest = self.payload.get(self.at..)?;
        let header = rest.first_chunk::<RECORD_HEADER>()?;
        let key_len = u32_at(header, 0) as usize;
        let value_len = u32_at(header, 4);
        let delete = value_len == DELETE;
        let value_len = if delete { 0 } else { value_len as usize };
        let raw = rest.get(..RECORD_HEADER.checked_add(key_len)?.checked_add(value_len)?)?;
        let (key, value) = raw.get(RECORD_HEADER..)?.split_at_checked(key_len)?;
        let at = self.at;
        self.at += raw.len();
        Some(Record {
            key,
            value: (!delete).then_some(value),
            raw,
            at,
        })
    }
}

fn salted(salt: u64, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Reads at a constant offset of a fixed-size header; bytes beyond it read as zero.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u64::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(records: &[(&[u8], Option<&[u8]>)], seq: u64, salt: u64) -> Vec<u8> {
        let mut bytes = vec![0; FRAME_HEADER];
        for (key, value) in records {
            put_record(&mut bytes, key, *value);
        }
        assert!(Frame::seal(&mut bytes, FrameKind::Records, seq, seq - 1, salt));
        bytes
    }

    #[test]
    fn headers_round_trip_and_refuse_any_flipped_bit() {
        let header = FileHeader {
            kind: FileKind::Log,
            number: 7,
            previous_valid: 900,
            first_seq: 33,
            salt: 0xfeed,
        };
        let bytes = header.encode();
        assert_eq!(FileHeader::decode(&bytes), Ok(header));
        for bit in 0..FILE_HEADER * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::decode(&bad), Err(BadHeader::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let header = FileHeader {
            kind: FileKind::Log,
            number: 1,
            previous_valid: 0,
            first_seq: 1,
            salt: 1,
        };
        let mut bytes = header.encode();
        bytes[8] = 9;
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(FileHeader::decode(&bytes), Err(BadHeader::Version(9)));
    }

    #[test]
    fn records_come_back_and_lengths_are_checked() {
        let bytes = frame(&[(b"a", Some(b"1")), (b"", Some(b"")), (b"gone", None)], 5, 1);
        let payload = &bytes[FRAME_HEADER..];
        let mut reader = records(payload);
        let got: Vec<_> = reader.by_ref().map(|r| (r.key, r.value)).collect();
        assert_eq!(got, [(&b"a"[..], Some(&b"1"[..])), (b"", Some(b"")), (b"gone", None)]);
        assert!(reader.is_whole());
        let mut short = records(&payload[..payload.len() - 1]);
        assert_eq!(short.by_ref().count(), 2);
        assert!(!short.is_whole());
    }

    #[test]
    fn a_frame_inside_a_value_is_not_taken_for_one() {
        let inner = frame(&[(b"x", Some(b"y"))], 9, 1);
        let outer = frame(&[(b"k", Some(&inner))], 8, 2);
        assert!(find_frame(&outer[1..], 2).is_none());
        let both = [outer.clone(), frame(&[], 9, 2)].concat();
        assert_eq!(
            find_frame(&both[1..], 2).map(|(at, f)| (at + 1, f.seq)),
            Some((outer.len(), 9))
        );
    }
}
