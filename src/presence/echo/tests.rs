//! Rings of people who are fed by each other, with delays and with peers in between that lose half of what is said.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const S: SourceKey = 7;
const ALL: [Gist; 4] = [Gist::Offline, Gist::Away, Gist::Available, Gist::Busy];

#[test]
fn what_was_told_and_comes_back_is_an_echo_as_long_as_it_follows() {
    let mut e = Echoes::default();
    e.tell(100, Gist::Busy, None, 0);
    assert!(e.hear(200, S, Gist::Busy, false));
    assert_eq!(e.due(), None);
    e.tell(5_000, Gist::Available, None, 0);
    assert_eq!(e.due(), Some(7_000));
    assert!(e.hear(5_100, S, Gist::Available, false));
    assert_eq!(e.due(), None);
    assert!(!e.timer(7_000) && e.is_echo(S));
}

#[test]
fn what_stays_behind_was_true() {
    let mut e = Echoes::default();
    e.tell(100, Gist::Busy, None, 0);
    assert!(e.hear(200, S, Gist::Busy, false));
    e.tell(5_000, Gist::Available, None, 0);
    assert!(!e.timer(6_999) && e.timer(7_000) && !e.is_echo(S));
    // It makes us say busy again, and may go on saying so.
    e.tell(7_001, Gist::Busy, Some(S), 0);
    assert!(!e.hear(9_000, S, Gist::Busy, false) && e.due().is_none());
    // Something that nobody told it is its own word.
    assert!(!e.hear(9_500, S, Gist::Away, false));
}

#[test]
fn what_comes_before_it_was_told_is_no_echo_nor_is_a_second_call() {
    let mut e = Echoes::default();
    e.tell(50, Gist::Available, None, 0);
    for n in 1..5 {
        let at = n * 10_000;
        assert!(!e.hear(at, S, Gist::Busy, false), "call {n}");
        e.tell(at + 1, Gist::Busy, Some(S), 0);
        // Hanging up may look like an echo of our own word; nothing is lost by that.
        let _either = e.hear(at + 5_000, S, Gist::Available, false);
        e.tell(at + 5_001, Gist::Available, None, 0);
    }
}

#[test]
fn a_peer_that_is_always_late_is_given_more_time() {
    let mut e = Echoes::default();
    let mut given_up = 0;
    for round in 0..6 {
        let at = round * 20_000;
        e.tell(at + 1, Gist::Busy, None, 0);
        given_up += u32::from(e.timer(at + 2_999));
        let _either = e.hear(at + 3_000, S, Gist::Busy, false);
        e.tell(at + 10_000, Gist::Available, None, 0);
        given_up += u32::from(e.timer(at + 12_999));
        let _either = e.hear(at + 13_000, S, Gist::Available, false);
    }
    assert_eq!(given_up, u32::from(LATE));
    e.tell(200_000, Gist::Busy, None, 0);
    assert_eq!(e.due(), Some(205_998));
}

/// One bridge of the ring: its user's own client, what the one before it says, and what it last said itself.
struct Bridge {
    own: Gist,
    fed: Option<Gist>,
    echoes: Echoes,
    said: Option<Gist>,
}

impl Bridge {
    /// Composes as the engine does: what is not an echo, the weightier first, the own one when they tie.
    fn compose(&mut self, now: u64) -> (Gist, Option<SourceKey>) {
        if !self.echoes.has_told() {
            self.echoes.tell(0, self.own, None, 0);
        }
        match self.fed {
            Some(fed) if !self.echoes.hear(now, S, fed, false) && fed > self.own => (fed, Some(S)),
            _ => (self.own, None),
        }
    }
}

/// A ring in which each bridge feeds the next after a delay; returns how many NOTIFYs went over each hop.
struct Ring {
    bridges: Vec<Bridge>,
    now: u64,
    /// By time and order: to which bridge, what.
    wire: BTreeMap<(u64, u64), (usize, Gist)>,
    delays: Vec<u64>,
    count: u64,
    notifies: Vec<u64>,
}

impl Ring {
    fn new(own: &[Gist], delays: &[u64]) -> Self {
        let bridge = |own: &Gist| Bridge {
            own: *own,
            fed: None,
            echoes: Echoes::default(),
            said: None,
        };
        let mut ring = Self {
            bridges: own.iter().map(bridge).collect(),
            now: 1,
            wire: BTreeMap::new(),
            delays: delays.to_vec(),
            count: 0,
            notifies: vec![0; own.len()],
        };
        (0..own.len()).for_each(|at| ring.look(at));
        ring
    }

    fn look(&mut self, at: usize) {
        let (gist, because_of) = self.bridges[at].compose(self.now);
        let changed = self.bridges[at].said != Some(gist);
        self.bridges[at].said = Some(gist);
        self.bridges[at].echoes.tell(self.now, gist, because_of, 0);
        if changed {
            let next = (at + 1) % self.bridges.len();
            self.count += 1;
            self.notifies[at] += 1;
            self.wire.insert((self.now + self.delays[at], self.count), (next, gist));
        }
    }

    /// Lets time pass until nothing is on its way and no timer runs; false when that never comes.
    fn settle(&mut self) -> bool {
        for _ in 0..400 {
            let timers = self.bridges.iter().filter_map(|b| b.echoes.due()).min();
            let Some(next) = self
                .wire
                .keys()
                .next()
                .map(|(at, _)| *at)
                .into_iter()
                .chain(timers)
                .min()
            else {
                return true;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.wire.first_entry().filter(|e| e.key().0 <= self.now) {
                let (to, gist) = entry.remove();
                self.bridges[to].fed = Some(gist);
                self.look(to);
            }
            for at in 0..self.bridges.len() {
                if self.bridges[at].echoes.timer(self.now) {
                    self.look(at);
                }
            }
        }
        false
    }

    fn change(&mut self, at: usize, own: Gist) {
        self.now += 60_000;
        self.bridges[at].own = own;
        self.notifies.fill(0);
        self.look(at);
    }

    fn said(&self) -> Vec<Gist> {
        self.bridges.iter().filter_map(|b| b.said).collect()
    }
}

fn gist() -> impl Strategy<Value = Gist> {
    proptest::sample::select(&ALL[..])
}

proptest! {
    /// From any starting state and after any changes, a ring comes to rest and nothing in it outlives its cause: the
    /// weightiest of what people's own clients say stands everywhere.
    #[test]
    fn a_ring_settles_on_what_somebody_really_is(
        own in proptest::collection::vec(gist(), 2..4),
        changes in proptest::collection::vec((0usize..3, gist()), 1..8),
        delays in proptest::collection::vec(1u64..500, 3),
    ) {
        let mut ring = Ring::new(&own, &delays);
        prop_assert!(ring.settle(), "at the start");
        for (at, own) in changes {
            ring.change(at % ring.bridges.len(), own);
            prop_assert!(ring.settle(), "after {own:?}");
            let wanted = ring.bridges.iter().map(|b| b.own).max();
            prop_assert_eq!(ring.said().into_iter().max(), wanted, "{:?}", ring.said());
            prop_assert!(ring.said().iter().all(|s| Some(*s) == wanted), "{:?} {:?}", ring.said(), wanted);
        }
    }
}

/// One person who changes while the others stay what they are lightest: no hop carries more than one superfluous NOTIFY.
#[test]
fn one_superfluous_notify_a_hop_at_most() {
    for size in [2, 3] {
        for (from, to) in ALL.iter().flat_map(|a| ALL.iter().map(move |b| (*a, *b))) {
            let mut own = vec![Gist::Offline; size];
            own[0] = from;
            let mut ring = Ring::new(&own, &[10, 20, 30]);
            assert!(ring.settle());
            ring.change(0, to);
            assert!(ring.settle());
            assert_eq!(ring.said(), vec![to; size], "{from} to {to}");
            assert!(
                ring.notifies.iter().all(|n| *n <= 2),
                "{from} to {to}: {:?}",
                ring.notifies
            );
        }
    }
}
