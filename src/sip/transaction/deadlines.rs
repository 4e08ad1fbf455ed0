//! Timer names and values (RFC 3261 table 4, RFC 6026 section 8), and the two deadlines that a transaction can have.

use super::pool::NEVER;

/// The timers by the RFCs' letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// INVITE request repetition, UDP only.
    A,
    /// INVITE transaction timeout.
    B,
    /// Proxy INVITE transaction timeout.
    C,
    /// Wait time for response repetitions after a non-2xx to INVITE.
    D,
    /// Non-INVITE request repetition, UDP only.
    E,
    /// Non-INVITE transaction timeout.
    F,
    /// INVITE response repetition, UDP only.
    G,
    /// Wait time for the ACK.
    H,
    /// Wait time for ACK repetitions.
    I,
    /// Wait time for non-INVITE request repetitions.
    J,
    /// Wait time for response repetitions.
    K,
    /// Wait time for INVITE repetitions after a 2xx (RFC 6026).
    L,
    /// Wait time for further 2xx to INVITE (RFC 6026).
    M,
}

/// Base values, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// T1, the estimated round trip.
    pub t1: u64,
    /// T2, the longest interval between repetitions of a non-INVITE request or an INVITE response.
    pub t2: u64,
    /// T4, the longest time a message stays in the network.
    pub t4: u64,
    /// Timer C: how long an INVITE may ring since the last 101 to 199; more than three minutes by RFC 3261 section
    /// 16.6. 0 switches it off.
    pub c: u64,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: 500,
            t2: 4_000,
            t4: 5_000,
            c: 185_000,
        }
    }
}

impl Timers {
    /// 64*T1: Timers B, F, H, J, L and M.
    #[must_use]
    pub fn timeout(&self) -> u64 {
        self.t1.saturating_mul(64)
    }

    /// Timer D over UDP: as long as the other side may wait by its Timer H, at least 32 s.
    pub(super) fn d(&self) -> u64 {
        self.timeout().max(32_000)
    }
}

/// When to repeat and when to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadlines {
    repeat_at: u64,
    end_at: u64,
    interval: u64,
}

/// Which deadline has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Repeat,
    End,
}

impl Deadlines {
    pub(super) fn none() -> Self {
        Self {
            repeat_at: NEVER,
            end_at: NEVER,
            interval: 0,
        }
    }

    /// An end and no repetition.
    pub(super) fn end(now: u64, after: u64) -> Self {
        Self {
            repeat_at: NEVER,
            end_at: now.saturating_add(after),
            interval: 0,
        }
    }

    /// The same with a first repetition after `interval`.
    pub(super) fn repeating(self, now: u64, interval: u64) -> Self {
        let interval = interval.max(1);
        Self {
            repeat_at: now.saturating_add(interval),
            interval,
            ..self
        }
    }

    /// The same without repetitions.
    pub(super) fn quiet(self) -> Self {
        Self {
            repeat_at: NEVER,
            ..self
        }
    }

    pub(super) fn next(&self) -> u64 {
        self.repeat_at.min(self.end_at)
    }

    /// What is due; an end outranks a repetition of the same moment. A repetition is set again at twice the interval
    /// up to `cap`, counted from `now`: a late edge repeats once, not in a burst.
    pub(super) fn fire(&mut self, now: u64, cap: u64) -> Option<Due> {
        if self.end_at <= now {
            return Some(Due::End);
        }
        if self.repeat_at > now {
            return None;
        }
        *self = self.repeating(now, self.interval.saturating_mul(2).min(cap));
        Some(Due::Repeat)
    }
}

/// What a machine's timer means for the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fired {
    /// Not due.
    Nothing,
    /// Send the stored message again.
    Repeat(Timer),
    /// Tell the owner, go on.
    Warn(Timer),
    /// Terminated without an outcome: tell the owner.
    Expired(Timer),
    /// Terminated, all is said.
    Ended(Timer),
}

/// Runs a machine's timers to the end: when each fired and what it meant.
#[cfg(test)]
pub(super) fn run<M>(
    machine: &mut M,
    deadlines: impl Fn(&M) -> Deadlines,
    fire: impl Fn(&mut M, u64) -> Fired,
) -> Vec<(u64, Fired)> {
    let mut fired = Vec::new();
    while deadlines(machine).next() != NEVER {
        let at = deadlines(machine).next();
        fired.push((at, fire(machine, at)));
    }
    fired
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_edge_repeats_once_and_an_end_outranks_it() {
        let mut deadlines = Deadlines::end(0, 32_000).repeating(0, 500);
        assert_eq!(deadlines.fire(499, 4_000), None);
        assert_eq!(deadlines.fire(10_000, 4_000), Some(Due::Repeat));
        assert_eq!(deadlines.next(), 11_000);
        assert_eq!(deadlines.fire(40_000, 4_000), Some(Due::End));
    }

    #[test]
    fn absurd_values_neither_overflow_nor_stand_still() {
        let timers = Timers {
            t1: u64::MAX,
            t2: 0,
            t4: 0,
            c: 0,
        };
        assert_eq!(timers.timeout(), u64::MAX);
        let mut deadlines = Deadlines::end(u64::MAX - 5, timers.timeout()).repeating(7, 0);
        assert_eq!(deadlines.fire(8, 0), Some(Due::Repeat));
        assert_eq!(deadlines.next(), 9);
    }
}
