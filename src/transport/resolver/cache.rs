//! What DNS has answered: kept for its time to live, and served stale for some hours when DNS is down (RFC 8767).
//!
//! That a name does not exist is an answer too, and is kept (RFC 2308). Pure: the clock comes in.

use core::net::IpAddr;
use std::collections::HashMap;
use std::rc::Rc;

use super::order::{Naptr, Srv};

/// Names that are kept.
const MAX_ENTRIES: usize = 10_000;
/// Longest and shortest time an answer is fresh, in milliseconds.
const TTL_MS: core::ops::RangeInclusive<u64> = 1_000..=86_400_000;
/// The longest time that nothing is taken for an answer.
const MAX_NEGATIVE_MS: u64 = 300_000;
/// After a failure a stale answer is served for so long before DNS is asked again.
const HOLD_MS: u64 = 5_000;
/// After a failure without a stale answer.
const HOLD_EMPTY_MS: u64 = 1_000;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    A,
    Aaaa,
    Srv,
    Naptr,
}

/// The records of one name and kind; empty when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) srv: Vec<Srv>,
    pub(super) naptr: Vec<Naptr>,
}

impl Records {
    fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.srv.is_empty() && self.naptr.is_empty()
    }
}

pub(super) type Key = (String, Kind);

/// What the cache knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Good as it is.
    Fresh(Rc<Records>),
    /// Old; better than nothing.
    Stale(Rc<Records>),
    /// Not known.
    Unknown,
}

#[derive(Debug)]
struct Entry {
    records: Rc<Records>,
    fresh_until: u64,
    stale_until: u64,
    /// DNS is not asked again before this.
    hold_until: u64,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    max_stale_ms: u64,
}

impl Cache {
    pub(super) fn new(max_stale_ms: u64) -> Self {
        Self {
            entries: HashMap::new(),
            max_stale_ms,
        }
    }

    pub(super) fn find(&self, now_ms: u64, key: &Key) -> Found {
        match self.entries.get(key) {
            Some(e) if now_ms < e.fresh_until => Found::Fresh(Rc::clone(&e.records)),
            Some(e) if now_ms < e.stale_until && now_ms < e.hold_until => Found::Fresh(Rc::clone(&e.records)),
            Some(e) if now_ms < e.stale_until => Found::Stale(Rc::clone(&e.records)),
            _ => Found::Unknown,
        }
    }

    /// For how many milliseconds what is known needs no asking; `None` when nothing is known.
    pub(super) fn fresh_for(&self, now_ms: u64, key: &Key) -> Option<u64> {
        let entry = self.entries.get(key)?;
        Some(entry.fresh_until.max(entry.hold_until).saturating_sub(now_ms))
    }

    /// DNS answered; `ttl_s` in seconds.
    pub(super) fn store(&mut self, now_ms: u64, key: Key, records: Records, ttl_s: u64) {
        self.make_room(now_ms, &key);
        let ttl_ms = ttl_s.saturating_mul(1000).clamp(*TTL_MS.start(), *TTL_MS.end());
        let (fresh_until, stale_until) = if records.is_empty() {
            let until = now_ms + ttl_ms.min(MAX_NEGATIVE_MS);
            (until, until)
        } else {
            (now_ms + ttl_ms, now_ms + ttl_ms + self.max_stale_ms)
        };
        self.entries.insert(
            key,
            Entry {
                records: Rc::new(records),
                fresh_until,
                stale_until,
                hold_until: 0,
            },
        );
    }

    /// DNS did not answer. What was known stays.
    pub(super) fn failed(&mut self, now_ms: u64, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|e| now_ms < e.stale_until) {
            entry.hold_until = now_ms + HOLD_MS;
            return;
        }
        self.make_room(now_ms, &key);
        let until = now_ms + HOLD_EMPTY_MS;
        let entry = Entry {
            records: Rc::default(),
            fresh_until: until,
            stale_until: until,
            hold_until: 0,
        };
        self.entries.insert(key, entry);
    }

    fn make_room(&mut self, now_ms: u64, key: &Key) {
        if self.entries.len() < MAX_ENTRIES || self.entries.contains_key(key) {
            return;
        }
        self.entries.retain(|_, e| now_ms < e.stale_until);
        if self.entries.len() >= MAX_ENTRIES {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, e)| e.fresh_until)
                .map(|(k, _)| k.clone());
            oldest.and_then(|k| self.entries.remove(&k));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Records {
        Records {
            addresses: vec![IpAddr::from([192, 0, 2, 1])],
            ..Records::default()
        }
    }

    fn key(name: &str) -> Key {
        (name.to_owned(), Kind::A)
    }

    #[test]
    fn fresh_then_stale_then_unknown() {
        let mut cache = Cache::new(3_600_000);
        cache.store(0, key("a"), some(), 60);
        let records = Rc::new(some());
        assert_eq!(cache.find(59_999, &key("a")), Found::Fresh(Rc::clone(&records)));
        assert_eq!(cache.find(60_000, &key("a")), Found::Stale(Rc::clone(&records)));
        cache.failed(60_000, key("a"));
        assert_eq!(
            cache.find(60_001, &key("a")),
            Found::Fresh(Rc::clone(&records)),
            "not asked again for a while"
        );
        assert_eq!(cache.find(60_000 + HOLD_MS, &key("a")), Found::Stale(records));
        assert_eq!(cache.find(3_660_000, &key("a")), Found::Unknown, "stale has an end");
    }

    #[test]
    fn nothing_is_an_answer_that_replaces_and_ends() {
        let mut cache = Cache::new(3_600_000);
        cache.store(0, key("a"), some(), 1);
        cache.store(1_000, key("a"), Records::default(), 86_400);
        assert_eq!(cache.find(2_000, &key("a")), Found::Fresh(Rc::default()));
        assert_eq!(cache.find(1_000 + MAX_NEGATIVE_MS, &key("a")), Found::Unknown);
        cache.failed(0, key("b"));
        assert_eq!(cache.find(HOLD_EMPTY_MS, &key("b")), Found::Unknown);
    }

    #[test]
    fn it_is_bounded() {
        let mut cache = Cache::new(1);
        for n in 0..12_000 {
            cache.store(0, key(&n.to_string()), some(), 60 + n);
        }
        assert_eq!(cache.entries.len(), MAX_ENTRIES);
        assert_eq!(cache.find(1, &key("0")), Found::Unknown, "the one to expire first went");
    }
}
