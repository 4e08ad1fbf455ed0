//! What unfinished messages may take up, all together and of one source: a connection alone is bounded by the size of a
//! message, but many of them are not, and nobody has proved anything yet.
//!
//! Beginnings of a few kilobytes are not counted: the limit of connections bounds them.

use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use std::collections::HashMap;
use std::rc::Rc;

use crate::policy::acl::source_of;

/// Bytes of a connection that are not worth counting.
const FLOOR: usize = 4 << 10;
/// Counted bytes of one source.
const OF_A_SOURCE: usize = 16 << 20;
/// Counted bytes of all sources.
const OF_ALL: usize = 64 << 20;

/// The books of a shard.
#[derive(Debug, Default)]
pub(super) struct Budget {
    total: Cell<usize>,
    sources: RefCell<HashMap<IpAddr, usize>>,
}

/// What one connection holds; it is given back with the connection.
#[derive(Debug)]
pub(super) struct Holding {
    budget: Rc<Budget>,
    source: IpAddr,
    bytes: usize,
}

impl Holding {
    /// Nothing held by a connection of this address.
    pub(super) fn new(budget: &Rc<Budget>, ip: IpAddr) -> Self {
        Self {
            budget: Rc::clone(budget),
            source: source_of(ip),
            bytes: 0,
        }
    }

    /// The connection holds so many bytes now. False if that is more than there is for its source or for all; less than
    /// before is never too much.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        let bytes = if bytes > FLOOR { bytes } else { 0 };
        if bytes == self.bytes {
            return true;
        }
        let before = core::mem::replace(&mut self.bytes, bytes);
        let total = self.budget.total.get() - before + bytes;
        self.budget.total.set(total);
        let mut sources = self.budget.sources.borrow_mut();
        let of_source = sources.entry(self.source).or_default();
        *of_source = *of_source - before + bytes;
        let fits = *of_source <= OF_A_SOURCE && total <= OF_ALL;
        if *of_source == 0 {
            sources.remove(&self.source);
        }
        fits || bytes < before
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(budget: &Rc<Budget>, last: u8) -> Holding {
        Holding::new(budget, IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_source_has_its_share_and_all_have_theirs() {
        let budget = Rc::new(Budget::default());
        let mut held: Vec<Holding> = (0..16).map(|_| holding(&budget, 1)).collect();
        assert!(held.iter_mut().all(|h| h.set(1 << 20)));
        let mut more = holding(&budget, 1);
        assert!(!more.set(1 << 20), "one more of the same source");
        assert!(holding(&budget, 2).set(1 << 20), "another source has its own");
        assert!(more.set(1 << 19), "less is never too much");
        drop(more);
        let all: Vec<bool> = (2..8)
            .flat_map(|s| (0..16).map(move |_| s))
            .map(|s| {
                let mut next = holding(&budget, s);
                let fits = next.set(1 << 20);
                held.push(next);
                fits
            })
            .collect();
        assert_eq!(all.iter().filter(|fits| **fits).count(), 48, "of 64 MiB 16 were taken");
        held.clear();
        assert!(budget.total.get() == 0 && budget.sources.borrow().is_empty());
    }

    #[test]
    fn small_beginnings_are_not_counted() {
        let budget = Rc::new(Budget::default());
        let mut one = holding(&budget, 1);
        assert!(one.set(FLOOR) && budget.total.get() == 0);
        assert!(one.set(FLOOR + 1) && budget.total.get() == FLOOR + 1);
        assert!(one.set(10) && budget.sources.borrow().is_empty());
    }
}
