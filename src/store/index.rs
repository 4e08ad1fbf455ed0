//! What compaction must know: for each live key, where its record is. 28 bytes a key; keys and values stay on disk.
//!
//! A key stands as its 128-bit SipHash under a random key, so that nobody can choose two keys that collide.

use super::frame::{self, Record};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasher, Hasher, RandomState};

/// Where a record is. In a snapshot the offset says nothing: a snapshot holds a key once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment's (or snapshot's) number.
    pub(super) file: u32,
    /// Of the record, from the start of the file.
    pub(super) offset: u32,
}

/// A key's stand-in; as words, so that an entry needs no padding.
pub(super) type Fingerprint = [u32; 4];

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Fingerprint,
    place: Place,
    len: u32,
}

#[derive(Debug)]
pub(super) struct Index {
    entries: HashTable<Entry>,
    hasher: SipHasher13,
    live_bytes: u64,
}

impl Index {
    pub(super) fn new() -> Self {
        let hasher = SipHasher13::new_with_keys(random(), random());
        Self {
            entries: HashTable::new(),
            hasher,
            live_bytes: 0,
        }
    }

    pub(super) fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        let mut hasher = self.hasher;
        hasher.write(key);
        let (a, b) = hasher.finish128().as_u64();
        [low(a), low(a >> 32), low(b), low(b >> 32)]
    }

    /// Bytes of the records that count.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Takes note of one record at `place`.
    pub(super) fn apply(&mut self, record: &Record<'_>, place: Place) {
        let key = self.fingerprint(record.key);
        let len = u32::try_from(record.raw.len()).unwrap_or(u32::MAX);
        let slot = self.entries.entry(bucket(&key), |e| e.key == key, |e| bucket(&e.key));
        match (slot, record.value) {
            (Slot::Occupied(mut slot), Some(_)) => {
                let entry = slot.get_mut();
                self.live_bytes = self.live_bytes - u64::from(entry.len) + u64::from(len);
                (entry.place, entry.len) = (place, len);
            }
            (Slot::Vacant(slot), Some(_)) => {
                slot.insert(Entry { key, place, len });
                self.live_bytes += u64::from(len);
            }
            (Slot::Occupied(slot), None) => {
                let (entry, _) = slot.remove();
                self.live_bytes -= u64::from(entry.len);
            }
            (Slot::Vacant(_), None) => {}
        }
    }

    /// Takes note of all records of a payload that starts at `offset` in segment `file`.
    pub(super) fn apply_all(&mut self, payload: &[u8], file: u32, offset: u64) {
        for record in frame::records(payload) {
            self.apply(
                &record,
                Place {
                    file,
                    offset: at(offset, record.at),
                },
            );
        }
    }

    /// Where the key's live record is.
    pub(super) fn place(&self, key: &[u8]) -> Option<Place> {
        let key = self.fingerprint(key);
        self.entries.find(bucket(&key), |e| e.key == key).map(|e| e.place)
    }
}

/// A place's offset. Segments stay far below 4 GiB (see `Options::segment_bytes`); beyond that a record would merely
/// be taken for live once too often.
pub(super) fn at(frame: u64, record: usize) -> u32 {
    u32::try_from(frame.saturating_add(record as u64)).unwrap_or(u32::MAX)
}

/// A number that nobody outside can know.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}

fn low(word: u64) -> u32 {
    (word & u64::from(u32::MAX)) as u32
}

/// The fingerprint is a keyed hash already.
fn bucket(key: &Fingerprint) -> u64 {
    u64::from(key[0]) | u64::from(key[1]) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::frame::put_record;

    #[test]
    fn entries_are_compact() {
        assert_eq!(size_of::<Entry>(), 28);
    }

    #[test]
    fn live_bytes_follow_puts_and_deletes() {
        let mut index = Index::new();
        let mut payload = Vec::new();
        put_record(&mut payload, b"a", Some(b"12345"));
        put_record(&mut payload, b"b", Some(b"1"));
        let (a, b) = (8 + 1 + 5, 8 + 1 + 1);
        index.apply_all(&payload, 3, 100);
        assert_eq!(index.live_bytes(), a + b);
        assert_eq!(index.place(b"b"), Some(Place { file: 3, offset: 114 }));
        let mut more = Vec::new();
        put_record(&mut more, b"a", None);
        put_record(&mut more, b"never", None);
        put_record(&mut more, b"b", Some(b"22"));
        index.apply_all(&more, 4, 64);
        assert_eq!(index.live_bytes(), b + 1);
        assert_eq!(index.place(b"a"), None);
        assert_eq!(index.place(b"b").map(|p| p.file), Some(4));
    }
}
