//! A vector that grows in blocks and never moves what it holds.
//!
//! A plain vector of a million records doubles by copying them all, which stalls everything else for that long and
//! touches twice the memory. Here growing costs one block, whatever the length.

/// Items of a block: a power of two.
const BLOCK: usize = 1024;

/// The vector. Items are never taken out; owners keep a list of free places.
#[derive(Clone, Debug)]
pub struct Segments<T> {
    blocks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Segments<T> {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Segments<T> {
    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends an item and says where it is.
    pub fn push(&mut self, item: T) -> usize {
        let at = self.len;
        match self.blocks.get_mut(at / BLOCK) {
            Some(block) => block.push(item),
            None => {
                // The first block grows as usual: most owners are small.
                let mut block = Vec::with_capacity(if at == 0 { 0 } else { BLOCK });
                block.push(item);
                self.blocks.push(block);
            }
        }
        self.len += 1;
        at
    }

    /// The item at a place.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&T> {
        self.blocks.get(at / BLOCK)?.get(at % BLOCK)
    }

    /// The item at a place, for changing.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.blocks.get_mut(at / BLOCK)?.get_mut(at % BLOCK)
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_vector_that_does_not_move_its_items() {
        let mut segments = Segments::default();
        assert!(segments.is_empty() && segments.get(0).is_none());
        for n in 0..BLOCK * 3 + 5 {
            assert_eq!(segments.push(n), n);
        }
        let second: *const usize = &raw const segments.blocks[1][0];
        for n in 0..BLOCK * 9 {
            segments.push(n);
        }
        assert_eq!(second, &raw const segments.blocks[1][0]);
        if let Some(item) = segments.get_mut(BLOCK * 2) {
            *item = 7;
        }
        assert_eq!(segments.iter().copied().nth(BLOCK * 2), Some(7));
        assert_eq!(
            (segments.len(), segments.iter().count()),
            (BLOCK * 12 + 5, BLOCK * 12 + 5)
        );
        assert_eq!(segments.get(BLOCK * 12 + 5), None);
    }
}
