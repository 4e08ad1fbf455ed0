//! The order of messages from one party to another through sessions: a bounded queue with one on its way, and who gives
//! way when both sides invite at once.

use std::collections::VecDeque;

/// Messages to one party. What has left is either done with or put back in front.
#[derive(Clone, Debug)]
pub struct Outbox<T> {
    queue: VecDeque<T>,
    on_its_way: Option<T>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            on_its_way: None,
        }
    }
}

impl<T: Copy + PartialEq> Outbox<T> {
    /// Takes a message at the end; false when `most` are there already.
    pub fn push(&mut self, item: T, most: usize) -> bool {
        let room = self.len() < most;
        if room {
            self.queue.push_back(item);
        }
        room
    }

    /// The next message, which is on its way from now on; `None` while another is.
    pub fn send(&mut self) -> Option<T> {
        if self.on_its_way.is_none() {
            self.on_its_way = self.queue.pop_front();
            return self.on_its_way;
        }
        None
    }

    /// A message is done with, wherever it stood; true if it was here.
    pub fn done(&mut self, item: T) -> bool {
        let before = self.len();
        self.on_its_way = self.on_its_way.filter(|sent| *sent != item);
        self.queue.retain(|other| *other != item);
        self.len() < before
    }

    /// What is on its way goes once more, before all others.
    pub fn again(&mut self) {
        if let Some(item) = self.on_its_way.take() {
            self.queue.push_front(item);
        }
    }

    /// Whether one is on its way.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.on_its_way.is_some()
    }

    /// How many there are, the one on its way included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len() + usize::from(self.on_its_way.is_some())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that have not left, in order; they are here no more.
    pub fn take_waiting(&mut self) -> Vec<T> {
        self.queue.drain(..).collect()
    }
}

/// Both sides have invited each other at once. The INVITE of the address that sorts first stands, so that two bridges
/// come to the same session; true if that is ours.
#[must_use]
pub fn ours_stands(ours: &str, theirs: &str) -> bool {
    ours < theirs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost_doubled_or_overtaken(steps in proptest::collection::vec(0u8..4, 0..200)) {
            let mut outbox = Outbox::default();
            let (mut next, mut taken, mut finished) = (0u32, Vec::new(), Vec::new());
            for step in steps {
                match step {
                    0 => {
                        if outbox.push(next, 8) {
                            taken.push(next);
                        }
                        next += 1;
                    }
                    1 => {
                        outbox.send();
                    }
                    2 => outbox.again(),
                    _ => {
                        outbox.send();
                        if let Some(item) = outbox.on_its_way {
                            prop_assert!(outbox.done(item) && !outbox.done(item));
                            finished.push(item);
                        }
                    }
                }
                prop_assert!(outbox.len() <= 8);
            }
            while let Some(item) = outbox.on_its_way.or_else(|| outbox.send()) {
                outbox.done(item);
                finished.push(item);
            }
            prop_assert_eq!(finished, taken);
        }
    }

    #[test]
    fn exactly_one_side_stands() {
        assert!(ours_stands("a@x", "b@y") != ours_stands("b@y", "a@x"));
    }
}
