//! Where transactions live: slots with generations, a free list, and one wheel.
//!
//! A slot, not a transaction, owns the wheel's entry: a new transaction in a freed slot finds the entry of its
//! predecessor and needs none of its own unless it is due earlier. Short transactions therefore hardly touch the
//! wheel, and the wheel stays about as large as the pool. Deadlines are kept in the values; an entry that fires in
//! vain is set again.

use crate::sip::segments::Segments;
use crate::sip::timer::Wheel;

const NIL: u32 = u32::MAX;

/// No deadline.
pub(super) const NEVER: u64 = u64::MAX;

/// A value with a deadline.
pub(super) trait Timed {
    /// Milliseconds of the monotonic clock, [`NEVER`] for none.
    fn due(&self) -> u64;
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    next_free: u32,
    /// The time of the wheel's entry for this slot that counts; later entries are leftovers.
    wheel_at: u64,
    value: Option<T>,
}

/// The pool. Ids are slot and generation; an id whose value was removed finds nothing.
#[derive(Debug)]
pub(super) struct Pool<T> {
    slots: Segments<Slot<T>>,
    free: u32,
    live: usize,
    wheel: Wheel<u32>,
}

impl<T: Timed> Pool<T> {
    /// An empty pool; the clock stands at `now` milliseconds.
    pub(super) fn new(now: u64) -> Self {
        Self {
            slots: Segments::default(),
            free: NIL,
            live: 0,
            wheel: Wheel::new(now),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Puts a value in; its deadline counts from the next [`Pool::arm`].
    pub(super) fn insert(&mut self, value: T) -> (u32, u32) {
        self.live += 1;
        let index = self.free;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            self.free = slot.next_free;
            slot.value = Some(value);
            return (index, slot.generation);
        }
        let index = self.slots.push(Slot {
            generation: 0,
            next_free: NIL,
            wheel_at: NEVER,
            value: Some(value),
        });
        (index as u32, 0)
    }

    pub(super) fn get(&self, (index, generation): (u32, u32)) -> Option<&T> {
        self.slots
            .get(index as usize)
            .filter(|slot| slot.generation == generation)?
            .value
            .as_ref()
    }

    pub(super) fn get_mut(&mut self, (index, generation): (u32, u32)) -> Option<&mut T> {
        self.slots
            .get_mut(index as usize)
            .filter(|slot| slot.generation == generation)?
            .value
            .as_mut()
    }

    /// The value in a slot and its generation, whichever that is.
    pub(super) fn at(&self, index: u32) -> Option<(u32, &T)> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().map(|value| (slot.generation, value))
    }

    pub(super) fn remove(&mut self, (index, generation): (u32, u32)) -> Option<T> {
        let slot = self
            .slots
            .get_mut(index as usize)
            .filter(|slot| slot.generation == generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.next_free = self.free;
        self.free = index;
        self.live -= 1;
        Some(value)
    }

    /// Makes sure that the wheel wakes this value in time; to be called whenever its deadline may have changed.
    pub(super) fn arm(&mut self, (index, generation): (u32, u32)) {
        let Some(slot) = self
            .slots
            .get_mut(index as usize)
            .filter(|slot| slot.generation == generation)
        else {
            return;
        };
        let due = slot.value.as_ref().map_or(NEVER, Timed::due);
        if due < slot.wheel_at {
            slot.wheel_at = due;
            self.wheel.insert(due, index);
        }
    }

    /// The next value whose deadline has come. The caller moves the deadline and arms it, or removes the value.
    pub(super) fn fire(&mut self, now: u64) -> Option<(u32, u32)> {
        while let Some((due, index)) = self.wheel.pop(now) {
            let Some(slot) = self.slots.get_mut(index as usize).filter(|slot| slot.wheel_at == due) else {
                continue;
            };
            slot.wheel_at = NEVER;
            let id = (index, slot.generation);
            match &slot.value {
                Some(value) if value.due() <= now => return Some(id),
                Some(_) => self.arm(id),
                None => {}
            }
        }
        None
    }

    /// When to call [`Pool::fire`]; may be early, never late.
    pub(super) fn next(&self) -> Option<u64> {
        self.wheel.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Timed for u64 {
        fn due(&self) -> u64 {
            *self
        }
    }

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut pool = Pool::new(0);
        let old = pool.insert(5);
        assert_eq!(pool.remove(old), Some(5));
        let new = pool.insert(6);
        assert_eq!(old.0, new.0);
        assert_eq!((pool.remove(old), pool.len()), (None, 1));
        assert_eq!(pool.get(old), None);
        assert_eq!(pool.get((99, 0)), None);
        assert_eq!(pool.get(new), Some(&6));
    }

    #[test]
    fn successors_share_the_wheel_entry_of_their_slot() {
        let mut pool = Pool::new(0);
        for due in 1_000..2_000 {
            let id = pool.insert(due);
            pool.arm(id);
            pool.remove(id);
        }
        assert_eq!(pool.wheel.len(), 1);
        let id = pool.insert(3_000);
        pool.arm(id);
        assert_eq!(pool.fire(2_999), None);
        assert_eq!(pool.fire(3_000), Some(id));
    }

    #[test]
    fn an_earlier_successor_is_woken_once() {
        let mut pool = Pool::new(0);
        let first = pool.insert(9_000);
        pool.arm(first);
        pool.remove(first);
        let second = pool.insert(100);
        pool.arm(second);
        assert_eq!(pool.fire(100), Some(second));
        pool.remove(second);
        assert_eq!(pool.fire(10_000), None);
    }
}
