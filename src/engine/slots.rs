//! A slab whose ids carry a generation, so that a stale id finds nothing instead of somebody else.

use crate::sip::segments::Segments;

/// Names one entry of a [`Slots`]; safe to keep after the entry is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SlotId {
    index: u32,
    generation: u32,
}

/// Generations wrap at 24 bits so that an id and a kind fit one timer payload.
const GENERATIONS: u32 = 1 << 24;

impl SlotId {
    /// The id of a place that is never freed.
    #[must_use]
    pub(super) fn from_index(index: u32) -> Self {
        Self { index, generation: 0 }
    }

    /// The place alone.
    #[must_use]
    pub(super) fn index(self) -> u32 {
        self.index
    }

    /// Packs the id under an 8-bit kind into the payload of a timer or a transaction.
    #[must_use]
    pub(super) fn pack(self, kind: u8) -> u64 {
        (u64::from(kind) << 56) | (u64::from(self.generation) << 32) | u64::from(self.index)
    }

    /// The reverse of [`SlotId::pack`].
    #[must_use]
    pub(super) fn unpack(payload: u64) -> (u8, Self) {
        let generation = ((payload >> 32) as u32) & (GENERATIONS - 1);
        (
            (payload >> 56) as u8,
            Self {
                index: payload as u32,
                generation,
            },
        )
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by [`SlotId`], with reuse of freed places.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Segments<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            slots: Segments::default(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    /// Stores a value and names it.
    pub(super) fn insert(&mut self, value: T) -> SlotId {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.value = Some(value);
            return SlotId {
                index,
                generation: slot.generation,
            };
        }
        let index = self.slots.push(Slot {
            generation: 0,
            value: Some(value),
        });
        SlotId {
            index: index as u32,
            generation: 0,
        }
    }

    /// The value, if the id is still current.
    #[must_use]
    pub(super) fn get(&self, id: SlotId) -> Option<&T> {
        self.slots
            .get(id.index as usize)
            .filter(|s| s.generation == id.generation)?
            .value
            .as_ref()
    }

    /// The value at a place, whichever that is, and its present id.
    #[must_use]
    pub(super) fn at(&self, index: u32) -> Option<(SlotId, &T)> {
        let slot = self.slots.get(index as usize)?;
        let id = SlotId {
            index,
            generation: slot.generation,
        };
        slot.value.as_ref().map(|value| (id, value))
    }

    /// The value for changing, if the id is still current.
    pub(super) fn get_mut(&mut self, id: SlotId) -> Option<&mut T> {
        self.slots
            .get_mut(id.index as usize)
            .filter(|s| s.generation == id.generation)?
            .value
            .as_mut()
    }

    /// Takes the value out; its id is stale from now on.
    pub(super) fn remove(&mut self, id: SlotId) -> Option<T> {
        let slot = self
            .slots
            .get_mut(id.index as usize)
            .filter(|s| s.generation == id.generation)?;
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) % GENERATIONS;
        self.free.push(id.index);
        Some(value)
    }

    /// Number of values held.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True when nothing is held.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All values with their ids, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SlotId, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let id = SlotId {
                index: index as u32,
                generation: slot.generation,
            };
            slot.value.as_ref().map(|value| (id, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slots = Slots::default();
        let a = slots.insert("a");
        assert_eq!(slots.remove(a), Some("a"));
        let b = slots.insert("b");
        assert_eq!((slots.get(a), slots.get(b), slots.len()), (None, Some(&"b"), 1));
        assert_eq!(SlotId::unpack(b.pack(9)), (9, b));
    }
}
