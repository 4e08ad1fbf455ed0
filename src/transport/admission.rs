//! What one source may take up: connections, handshakes, messages a second; and one log line a minute about it.
//!
//! A source is an address; of IPv6 it is the /64, since whoever has one address there has them all. Tables are bounded:
//! whatever number of addresses a flood invents, they share one entry once the table is full.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use tokio::sync::Notify;

use crate::policy::acl::{SourceLoad, source_of};
use crate::sip::net::FlowId;

/// Sources that are counted apart.
const MAX_SOURCES: usize = 65_536;
/// Sources of which the log knows.
const MAX_NOTED: usize = 4_096;
/// A source is named in the log once in this time, in milliseconds.
const NOTE_EVERY_MS: u64 = 60_000;

#[derive(Debug, Default, Clone, Copy)]
struct Entry {
    connections: u32,
    /// Handshakes under way.
    handshaking: u32,
    /// Handshakes begun within the second `window`.
    begun: u32,
    window: u64,
    /// Thousandths of messages that may come at once.
    credit: u64,
    /// When `credit` was reckoned; 0 before the first message.
    credited_ms: u64,
}

#[derive(Debug)]
struct Half {
    source: IpAddr,
    give_up: Rc<Notify>,
}

#[derive(Debug, Default)]
struct Note {
    since_ms: u64,
    unsaid: u64,
}

/// The books on all sources of a shard.
#[derive(Debug, Default)]
pub(super) struct Sources {
    entries: HashMap<IpAddr, Entry>,
    connections: u32,
    /// Handshakes under way, oldest first.
    halves: BTreeMap<FlowId, Half>,
    /// By source, what it does as a terminator apart from what else is said of that address.
    notes: HashMap<(IpAddr, bool), Note>,
}

impl Sources {
    /// For what the limit of connections bounds.
    fn entry(&mut self, ip: IpAddr) -> &mut Entry {
        self.entries.entry(source_of(ip)).or_default()
    }

    /// For what costs a sender nothing: shared once the table is full.
    fn bounded_entry(&mut self, ip: IpAddr) -> &mut Entry {
        let mut key = source_of(ip);
        if self.entries.len() >= MAX_SOURCES && !self.entries.contains_key(&key) {
            key = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        }
        self.entries.entry(key).or_default()
    }

    /// What the source takes up now.
    pub(super) fn load(&mut self, now_ms: u64, ip: IpAddr) -> SourceLoad {
        let all_connections = self.connections;
        let entry = self.entries.get(&source_of(ip)).copied().unwrap_or_default();
        let handshakes = if entry.window == now_ms / 1000 { entry.begun } else { 0 };
        SourceLoad {
            connections: entry.connections,
            handshakes,
            all_connections,
        }
    }

    /// One connection more. Undone by [`Sources::release`].
    pub(super) fn occupy(&mut self, ip: IpAddr) {
        self.connections += 1;
        self.entry(ip).connections += 1;
    }

    /// One connection less.
    pub(super) fn release(&mut self, ip: IpAddr) {
        self.connections = self.connections.saturating_sub(1);
        let entry = self.entry(ip);
        entry.connections = entry.connections.saturating_sub(1);
    }

    /// A handshake begins. If that is more than `most` of this source or `all` together, the oldest one gives up: a
    /// stalled one makes room, and a proper peer behind the same address still gets in.
    pub(super) fn begin(&mut self, now_ms: u64, ip: IpAddr, flow: FlowId, most: u32, all: usize) -> Rc<Notify> {
        self.begun(now_ms, ip);
        self.hold(ip, flow, most, all)
    }

    /// The same for a connection whose handshake is not its own source's.
    pub(super) fn hold(&mut self, ip: IpAddr, flow: FlowId, most: u32, all: usize) -> Rc<Notify> {
        let entry = self.entry(ip);
        entry.handshaking += 1;
        let crowded = entry.handshaking > most;
        let source = source_of(ip);
        let oldest = match (crowded, self.halves.len() >= all) {
            (true, _) => self.halves.iter().find(|(_, h)| h.source == source).map(|(f, _)| *f),
            (false, true) => self.halves.keys().next().copied(),
            _ => None,
        };
        if let Some(oldest) = oldest {
            self.end(oldest);
        }
        let give_up = Rc::new(Notify::new());
        self.halves.insert(
            flow,
            Half {
                source,
                give_up: Rc::clone(&give_up),
            },
        );
        give_up
    }

    /// Counts a handshake, ours or one that a terminator has done for us.
    pub(super) fn begun(&mut self, now_ms: u64, ip: IpAddr) {
        let entry = self.entry(ip);
        let window = now_ms / 1000;
        entry.begun = if entry.window == window { entry.begun + 1 } else { 1 };
        entry.window = window;
    }

    /// A handshake is over, well or not. True if it was still counted, that is if it was not made to give up.
    pub(super) fn end(&mut self, flow: FlowId) -> bool {
        let Some(half) = self.halves.remove(&flow) else {
            return false;
        };
        half.give_up.notify_one();
        let entry = self.entry(half.source);
        entry.handshaking = entry.handshaking.saturating_sub(1);
        true
    }

    /// Handshakes under way.
    pub(super) fn handshaking(&self) -> usize {
        self.halves.len()
    }

    /// Takes one message out of the source's allowance of `rate` a second; if there is none, says in how many
    /// milliseconds there will be.
    pub(super) fn take(&mut self, now_ms: u64, ip: IpAddr, rate: u32) -> Result<(), u64> {
        let rate = u64::from(rate.max(1));
        let entry = self.bounded_entry(ip);
        let full = rate * 1000;
        entry.credit = match entry.credited_ms {
            0 => full,
            at => full.min(
                entry
                    .credit
                    .saturating_add(now_ms.saturating_sub(at).saturating_mul(rate)),
            ),
        };
        entry.credited_ms = now_ms.max(1);
        if entry.credit < 1000 {
            return Err((1000 - entry.credit).div_ceil(rate).max(1));
        }
        entry.credit -= 1000;
        Ok(())
    }

    /// Whether something about this source may be logged now; then also how often it was not since the last time.
    /// `terminator`: it is a trusted terminator, and this is about what it does as one.
    pub(super) fn note(&mut self, now_ms: u64, ip: IpAddr, terminator: bool) -> Option<u64> {
        let mut key = (source_of(ip), terminator);
        if self.notes.len() >= MAX_NOTED && !self.notes.contains_key(&key) {
            key.0 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        }
        match self.notes.get_mut(&key) {
            Some(note) if now_ms < note.since_ms + NOTE_EVERY_MS => {
                note.unsaid += 1;
                None
            }
            Some(note) => {
                note.since_ms = now_ms;
                Some(core::mem::take(&mut note.unsaid))
            }
            None => {
                self.notes.insert(
                    key,
                    Note {
                        since_ms: now_ms,
                        unsaid: 0,
                    },
                );
                Some(0)
            }
        }
    }

    /// Forgets sources that take up nothing. Called now and then.
    pub(super) fn tidy(&mut self, now_ms: u64) {
        self.entries.retain(|_, e| {
            e.connections > 0 || e.handshaking > 0 || e.window == now_ms / 1000 || e.credited_ms + 2_000 > now_ms
        });
        self.notes.retain(|_, n| n.since_ms + 2 * NOTE_EVERY_MS > now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_source_is_an_address_or_a_slash_64() {
        assert_eq!(source_of(ip("2001:db8::1")), source_of(ip("2001:db8::ffff:2")));
        assert_ne!(source_of(ip("2001:db8::1")), source_of(ip("2001:db8:0:1::1")));
        assert_eq!(source_of(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn the_allowance_is_a_second_s_worth_and_refills() {
        let (mut sources, a) = (Sources::default(), ip("192.0.2.1"));
        assert!((0..10).all(|_| sources.take(5, a, 10).is_ok()));
        assert_eq!(sources.take(5, a, 10), Err(100));
        assert_eq!(sources.take(55, a, 10), Err(50));
        assert_eq!(sources.take(105, a, 10), Ok(()));
        assert!(
            sources.take(105, ip("192.0.2.2"), 10).is_ok(),
            "another source has its own"
        );
        assert_eq!(
            (0..100).filter(|_| sources.take(60_000, a, 10).is_ok()).count(),
            10,
            "no more than a second's worth"
        );
    }

    #[test]
    fn the_oldest_handshake_of_a_crowded_source_gives_up() {
        let mut sources = Sources::default();
        let (a, b) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let other = sources.begin(1, b, FlowId(1), 2, 10);
        let first = sources.begin(1, a, FlowId(2), 2, 10);
        let _second = sources.begin(1, a, FlowId(3), 2, 10);
        let _third = sources.begin(1, a, FlowId(4), 2, 10);
        assert_eq!(sources.handshaking(), 3);
        assert!(!sources.end(FlowId(2)), "it was the one to go");
        assert!(sources.end(FlowId(1)) && sources.end(FlowId(4)));
        drop((first, other));
        for flow in 10..40 {
            let _ = sources.begin(1, IpAddr::from([10, 0, 0, flow]), FlowId(u64::from(flow)), 2, 10);
        }
        assert_eq!(sources.handshaking(), 10, "and there is a limit for all together");
    }

    #[test]
    fn one_line_a_minute_with_the_number_of_those_not_written() {
        let (mut sources, a) = (Sources::default(), ip("192.0.2.1"));
        assert_eq!(sources.note(1_000, a, false), Some(0));
        assert!((0..500).all(|n| sources.note(1_001 + n, a, false).is_none()));
        assert_eq!(sources.note(61_000, a, false), Some(500));
    }

    #[test]
    fn invented_addresses_do_not_fill_memory() {
        let mut sources = Sources::default();
        for n in 0..200_000u32 {
            let _ = sources.take(1, IpAddr::from(n.to_be_bytes()), 5);
            let _ = sources.note(1, IpAddr::from(n.to_be_bytes()), n % 2 == 0);
        }
        assert!(sources.entries.len() <= MAX_SOURCES + 1 && sources.notes.len() <= MAX_NOTED + 2);
        sources.tidy(200_000);
        assert!(sources.entries.is_empty() && sources.notes.is_empty());
    }

    #[test]
    fn connections_are_counted_by_source_and_together() {
        let (mut sources, a) = (Sources::default(), ip("192.0.2.1"));
        sources.occupy(a);
        sources.occupy(ip("192.0.2.9"));
        let load = sources.load(1, a);
        assert_eq!((load.connections, load.all_connections), (1, 2));
        sources.release(a);
        assert_eq!(sources.load(1, a).connections, 0);
    }
}
