//! A hierarchical timing wheel: many timers, one millisecond a tick, constant time to set one.
//!
//! Eleven levels of 64 slots cover all of `u64`. A timer lies in the level of the highest group of six bits in which
//! its time differs from the wheel's; when the wheel reaches a slot of an upper level, the slot's timers move down.
//! Occupancy bits let the wheel skip empty time in one step, so advancing costs what fires plus one step a level.
//!
//! There is no cancelling: the owner remembers what it still waits for and ignores what fires in vain. Timers of the
//! same millisecond come in no promised order, but always in the same one.

use super::segments::Segments;

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 11;
const CHUNK: usize = 15;
const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    due: u64,
    value: T,
}

/// Slots are lists of small blocks out of one pool, so a full slot wastes little and an empty one keeps nothing.
#[derive(Clone, Copy, Debug)]
struct Chunk<T> {
    entries: [Entry<T>; CHUNK],
    len: u32,
    next: u32,
}

/// The wheel. Sixteen bytes a timer for payloads of up to eight bytes; allocates only when it grows beyond the largest
/// number of timers it ever held.
#[derive(Clone, Debug)]
pub struct Wheel<T> {
    now: u64,
    len: usize,
    levels: u16,
    occupied: [u64; LEVELS],
    heads: Box<[[u32; SLOTS]; LEVELS]>,
    chunks: Segments<Chunk<T>>,
    free: u32,
}

impl<T: Copy> Wheel<T> {
    /// An empty wheel whose clock stands at `now`.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self {
            now,
            len: 0,
            levels: 0,
            occupied: [0; LEVELS],
            heads: Box::new([[NIL; SLOTS]; LEVELS]),
            chunks: Segments::default(),
            free: NIL,
        }
    }

    /// How many timers are set, those included that the owner no longer waits for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets a timer for `due` (milliseconds of the clock that [`Wheel::pop`] is given). A time that has passed
    /// fires at the next call.
    pub fn insert(&mut self, due: u64, value: T) {
        self.len += 1;
        self.place(Entry { due, value });
    }

    /// When to call [`Wheel::pop`] again: the exact time of the earliest timer or an earlier one, never a later one.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.lowest().map(|(_, _, start)| start)
    }

    /// Takes one timer that is due at `now`, with the time it was set for; earlier ones first. The owner may set new
    /// timers between two calls. A clock that steps back fires nothing.
    pub fn pop(&mut self, now: u64) -> Option<(u64, T)> {
        loop {
            let Some((level, slot, start)) = self.lowest().filter(|&(_, _, start)| start <= now) else {
                self.now = self.now.max(now);
                return None;
            };
            self.now = start;
            if level == 0 {
                return self.take(slot).map(|entry| (entry.due, entry.value));
            }
            self.cascade(level, slot);
        }
    }

    /// Fires everything that is due at `now`; a shorthand for owners that set no timer meanwhile.
    pub fn advance(&mut self, now: u64, mut fire: impl FnMut(T)) {
        while let Some((_, value)) = self.pop(now) {
            fire(value);
        }
    }

    /// The first occupied slot: level, slot and the time at which it begins.
    fn lowest(&self) -> Option<(usize, usize, u64)> {
        let level = self.levels.trailing_zeros() as usize;
        let occupied = *self.occupied.get(level)?;
        let slot = occupied.trailing_zeros();
        let shift = BITS * level as u32;
        let above = shift + BITS;
        let prefix = if above >= u64::BITS {
            0
        } else {
            (self.now >> above) << above
        };
        Some((level, slot as usize, prefix | (u64::from(slot) << shift)))
    }

    fn place(&mut self, entry: Entry<T>) {
        let at = entry.due.max(self.now);
        let differing = (at ^ self.now) | 1;
        let level = (differing.ilog2() / BITS) as usize;
        let slot = ((at >> (BITS * level as u32)) & (SLOTS as u64 - 1)) as usize;
        let head = self.heads[level][slot];
        match self.chunks.get_mut(head as usize) {
            Some(chunk) if (chunk.len as usize) < CHUNK => {
                chunk.entries[chunk.len as usize] = entry;
                chunk.len += 1;
            }
            _ => self.heads[level][slot] = self.new_chunk(entry, head),
        }
        self.occupied[level] |= 1 << slot;
        self.levels |= 1 << level;
    }

    fn new_chunk(&mut self, entry: Entry<T>, next: u32) -> u32 {
        let fresh = Chunk {
            entries: [entry; CHUNK],
            len: 1,
            next,
        };
        let index = self.free;
        if let Some(chunk) = self.chunks.get_mut(index as usize) {
            self.free = chunk.next;
            *chunk = fresh;
            return index;
        }
        self.chunks.push(fresh) as u32
    }

    /// Puts a chunk on the free list; returns the one after it.
    fn free_chunk(&mut self, index: u32) -> u32 {
        let Some(chunk) = self.chunks.get_mut(index as usize) else {
            return NIL;
        };
        let next = chunk.next;
        chunk.next = self.free;
        self.free = index;
        next
    }

    fn clear(&mut self, level: usize, slot: usize) {
        self.occupied[level] &= !(1 << slot);
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    fn take(&mut self, slot: usize) -> Option<Entry<T>> {
        let head = self.heads[0][slot];
        let chunk = self.chunks.get_mut(head as usize)?;
        chunk.len = chunk.len.saturating_sub(1);
        let entry = chunk.entries[chunk.len as usize];
        if chunk.len == 0 {
            let next = self.free_chunk(head);
            self.heads[0][slot] = next;
            if next == NIL {
                self.clear(0, slot);
            }
        }
        self.len -= 1;
        Some(entry)
    }

    fn cascade(&mut self, level: usize, slot: usize) {
        let mut head = core::mem::replace(&mut self.heads[level][slot], NIL);
        self.clear(level, slot);
        while let Some(chunk) = self.chunks.get(head as usize).copied() {
            for entry in &chunk.entries[..chunk.len as usize] {
                self.place(*entry);
            }
            head = self.free_chunk(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    #[test]
    fn an_entry_is_sixteen_bytes() {
        assert_eq!(size_of::<Entry<u64>>(), 16);
        assert_eq!(size_of::<Entry<u32>>(), 16);
    }

    #[test]
    fn the_ends_of_time_are_reached() {
        let mut wheel = Wheel::new(0);
        for due in [u64::MAX, 0, 1, 63, 64, 4096, u64::MAX - 1, 1 << 60] {
            wheel.insert(due, due);
        }
        let mut fired = Vec::new();
        wheel.advance(1 << 59, |due| fired.push(due));
        assert_eq!(fired, [0, 1, 63, 64, 4096]);
        assert_eq!(wheel.len(), 3);
        wheel.advance(u64::MAX, |due| fired.push(due));
        assert_eq!(&fired[5..], [1 << 60, u64::MAX - 1, u64::MAX]);
        assert!(wheel.is_empty() && wheel.next().is_none());
        wheel.insert(3, 3);
        assert_eq!(wheel.pop(u64::MAX), Some((3, 3)), "a past time fires at once");
    }

    #[test]
    fn a_clock_that_steps_back_fires_nothing() {
        let mut wheel = Wheel::new(0);
        assert_eq!(wheel.pop(1000), None);
        wheel.insert(900, 'a');
        assert_eq!(wheel.pop(950), None);
        assert_eq!(wheel.next(), Some(1000));
        assert_eq!(wheel.pop(1000), Some((900, 'a')));
    }

    #[test]
    fn a_million_timers_fire_once_and_memory_is_reused() {
        let mut wheel = Wheel::new(0);
        let mut chunks = 0;
        for round in 0..2u64 {
            let start = round * 40_000;
            for i in 0..1_000_000u64 {
                wheel.insert(start + 1 + (i * 7919) % 32_000, i as u32);
            }
            let (mut count, mut last) = (0, 0);
            while let Some((due, _)) = wheel.pop(start + 32_000) {
                assert!(due >= last);
                last = due;
                count += 1;
            }
            assert_eq!(count, 1_000_000);
            if round == 0 {
                chunks = wheel.chunks.len();
                assert!(chunks < 1_000_000 / CHUNK * 2);
            }
        }
        assert!(wheel.chunks.len() <= chunks + chunks / 8);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Advance(u64),
        ToNext,
    }

    fn step() -> impl Strategy<Value = Step> {
        let distance = prop_oneof![0..100u64, 0..10_000u64, 0..100_000_000u64, any::<u64>()];
        prop_oneof![
            4 => distance.prop_map(Step::Insert),
            1 => (0..50_000u64).prop_map(Step::Advance),
            1 => Just(Step::ToNext),
        ]
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_heap(start in prop_oneof![Just(0), any::<u64>()],
                                 steps in proptest::collection::vec(step(), 1..200)) {
            let (mut wheel, mut heap, mut now, mut id) = (Wheel::new(start), BinaryHeap::new(), start, 0u64);
            prop_assert_eq!(wheel.pop(now), None);
            for step in steps {
                match step {
                    Step::Insert(distance) => {
                        let due = now.saturating_add(distance).saturating_sub(10);
                        wheel.insert(due, id);
                        heap.push(Reverse((due, id)));
                        id += 1;
                    }
                    Step::Advance(by) => now = now.saturating_add(by),
                    Step::ToNext => now = now.max(wheel.next().unwrap_or(now)),
                }
                let mut fired = Vec::new();
                while let Some((due, id)) = wheel.pop(now) {
                    fired.push((due, id));
                }
                fired.sort_unstable();
                let mut expected = Vec::new();
                while let Some(&Reverse(first)) = heap.peek().filter(|first| first.0.0 <= now) {
                    expected.push(first);
                    heap.pop();
                }
                prop_assert_eq!(fired, expected);
                prop_assert_eq!(wheel.len(), heap.len());
                match (wheel.next(), heap.peek()) {
                    (Some(next), Some(Reverse((due, _)))) => prop_assert!(now < next && next <= *due),
                    (next, due) => prop_assert!(next.is_none() && due.is_none()),
                }
            }
        }
    }
}
