//! Host and domain names as keys: ASCII case and one trailing dot do not count, nothing is allocated to ask.
//!
//! Names are A-labels (RFC 5890): a U-label never matches, the configuration refuses to contain one.

use std::sync::Arc;

use hashbrown::HashTable;

/// The name without its trailing dot (RFC 1034 3.1). `a.example..` is no name and stays as it is.
#[must_use]
pub fn trim(name: &[u8]) -> &[u8] {
    match name {
        [head @ .., b'.'] if !head.is_empty() && !head.ends_with(b".") => head,
        _ => name,
    }
}

/// Whether two names are the same name.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    trim(a).eq_ignore_ascii_case(trim(b))
}

/// FNV-1a over lower-case bytes. The tables hold only what the operator wrote, so nobody can aim collisions at them.
pub(super) fn hash_lower(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |h, b| {
        (h ^ u64::from(b.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The start value of [`hash_lower`].
pub(super) const HASH_SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// Names with a value each, in the order they were written.
#[derive(Clone, Debug)]
pub struct NameMap<V> {
    entries: Vec<(Arc<str>, V)>,
    table: HashTable<u32>,
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            table: HashTable::new(),
        }
    }
}

impl<V> NameMap<V> {
    /// Adds a name, lower-cased and without its trailing dot. Returns its index, or the index it already had.
    pub fn insert(&mut self, name: &str, value: V) -> Result<usize, usize> {
        if let Some(index) = self.index(name.as_bytes()) {
            return Err(index);
        }
        let index = self.entries.len();
        let key: Arc<str> = String::from_utf8_lossy(trim(name.as_bytes()))
            .to_ascii_lowercase()
            .into();
        let hash = hash_lower(HASH_SEED, key.as_bytes());
        self.entries.push((key, value));
        let entries = &self.entries;
        let position = u32::try_from(index).unwrap_or(u32::MAX);
        self.table.insert_unique(hash, position, |i| {
            entries
                .get(*i as usize)
                .map_or(0, |(k, _)| hash_lower(HASH_SEED, k.as_bytes()))
        });
        Ok(index)
    }

    /// The position of a name in writing order.
    #[must_use]
    pub fn index(&self, name: &[u8]) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        let name = trim(name);
        self.table
            .find(hash_lower(HASH_SEED, name), |i| {
                self.entries
                    .get(*i as usize)
                    .is_some_and(|(k, _)| k.as_bytes().eq_ignore_ascii_case(name))
            })
            .map(|i| *i as usize)
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&V> {
        self.entries.get(self.index(name)?).map(|(_, v)| v)
    }

    /// The value of a name, to change.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        let index = self.index(name)?;
        self.entries.get_mut(index).map(|(_, v)| v)
    }

    /// Name and value at a position.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<(&Arc<str>, &V)> {
        self.entries.get(index).map(|(k, v)| (k, v))
    }

    /// Everything, in the order it was written.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &V)> {
        self.entries.iter().map(|(k, v)| (k, v))
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_one_trailing_dot_do_not_count() {
        let mut map = NameMap::default();
        assert_eq!(map.insert("A.Example.", 1), Ok(0));
        assert_eq!(map.insert("a.EXAMPLE", 2), Err(0));
        for spelling in ["a.example", "A.EXAMPLE", "a.example.", "A.example."] {
            assert_eq!(map.get(spelling.as_bytes()), Some(&1), "{spelling}");
        }
        for other in [
            "a.example..",
            ".a.example",
            "xa.example",
            "a.exampl",
            "",
            ".",
            "a%2eexample",
            "а.example",
        ] {
            assert_eq!(map.get(other.as_bytes()), None, "{other}");
        }
    }
}
