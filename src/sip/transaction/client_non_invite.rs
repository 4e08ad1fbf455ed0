//! The non-INVITE client transaction: RFC 3261 section 17.1.2.
//!
//! It knows states and timers only; the layer keeps the messages.

use super::deadlines::{Deadlines, Due, Fired, Timer, Timers};
use super::{State, Why};

/// Trying, Proceeding, Completed, Terminated.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientNonInvite {
    pub(super) state: State,
    pub(super) deadlines: Deadlines,
    reliable: bool,
}

impl ClientNonInvite {
    /// The request has been sent: Timer E (UDP) and Timer F run.
    pub(super) fn new(now: u64, timers: &Timers, reliable: bool) -> Self {
        let end = Deadlines::end(now, timers.timeout());
        let deadlines = if reliable { end } else { end.repeating(now, timers.t1) };
        Self {
            state: State::Trying,
            deadlines,
            reliable,
        }
    }

    /// Whether the owner shall see the response.
    pub(super) fn response(&mut self, now: u64, timers: &Timers, status: u16) -> bool {
        match (self.state, status) {
            (State::Trying | State::Proceeding, 100..=199) => {
                self.state = State::Proceeding;
                true
            }
            (State::Trying | State::Proceeding, 200..=699) => {
                self.state = if self.reliable {
                    State::Terminated
                } else {
                    State::Completed
                };
                self.deadlines = Deadlines::end(now, if self.reliable { 0 } else { timers.t4 });
                true
            }
            _ => false,
        }
    }

    pub(super) fn timer(&mut self, now: u64, timers: &Timers) -> Fired {
        let Some(due) = self.deadlines.fire(now, timers.t2) else {
            return Fired::Nothing;
        };
        match (self.state, due) {
            (State::Proceeding, Due::Repeat) => {
                self.deadlines = self.deadlines.repeating(now, timers.t2);
                Fired::Repeat(Timer::E)
            }
            (_, Due::Repeat) => Fired::Repeat(Timer::E),
            (state, Due::End) => {
                self.state = State::Terminated;
                self.deadlines = Deadlines::none();
                if state == State::Completed {
                    Fired::Ended(Timer::K)
                } else {
                    Fired::Expired(Timer::F)
                }
            }
        }
    }

    /// The transport gave up. Says what to tell the owner, if it has not had its outcome.
    pub(super) fn transport_failed(&mut self) -> Option<Why> {
        matches!(self.state, State::Trying | State::Proceeding).then(|| {
            self.state = State::Terminated;
            Why::Transport
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::deadlines::run;
    use super::*;

    const TIMERS: Timers = Timers {
        t1: 500,
        t2: 4_000,
        t4: 5_000,
        c: 185_000,
    };

    fn timers_of(machine: &mut ClientNonInvite) -> Vec<(u64, Fired)> {
        run(
            machine,
            |machine| machine.deadlines,
            |machine, at| machine.timer(at, &TIMERS),
        )
    }

    fn in_state(state: State, reliable: bool) -> ClientNonInvite {
        let mut machine = ClientNonInvite::new(1_000, &TIMERS, reliable);
        match state {
            State::Proceeding => drop(machine.response(1_000, &TIMERS, 100)),
            State::Completed => drop(machine.response(1_000, &TIMERS, 200)),
            _ => {}
        }
        machine
    }

    #[test]
    fn responses() {
        use State::{Completed, Proceeding, Terminated, Trying};
        let table = [
            // state, reliable, status; pass, state after, next deadline (response at 1,100)
            (Trying, false, 100, true, Proceeding, 1_500),
            (Trying, true, 100, true, Proceeding, 33_000),
            (Trying, false, 200, true, Completed, 6_100),
            (Trying, true, 200, true, Terminated, 1_100),
            (Proceeding, false, 183, true, Proceeding, 1_500),
            (Proceeding, false, 404, true, Completed, 6_100),
            (Proceeding, true, 699, true, Terminated, 1_100),
            (Completed, false, 100, false, Completed, 6_000),
            (Completed, false, 200, false, Completed, 6_000),
            (Completed, false, 404, false, Completed, 6_000),
        ];
        for (state, reliable, status, pass, after, next) in table {
            let mut machine = in_state(state, reliable);
            assert_eq!(machine.state, state);
            let got = machine.response(1_100, &TIMERS, status);
            assert_eq!(
                (got, machine.state, machine.deadlines.next()),
                (pass, after, next),
                "{state:?} reliable={reliable} {status}"
            );
        }
    }

    #[test]
    fn timers() {
        use Fired::{Ended, Expired, Repeat};
        let times = |first: &[u64]| -> Vec<(u64, Fired)> {
            let repeats = first.iter().map(|&at| (at, Repeat(Timer::E)));
            repeats.chain([(33_000, Expired(Timer::F))]).collect()
        };
        let trying = times(&[
            1_500, 2_500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500, 32_500,
        ]);
        let proceeding = times(&[1_500, 5_500, 9_500, 13_500, 17_500, 21_500, 25_500, 29_500]);
        let table = [
            (State::Trying, false, trying),
            (State::Trying, true, times(&[])),
            (State::Proceeding, false, proceeding),
            (State::Proceeding, true, times(&[])),
            (State::Completed, false, vec![(6_000, Ended(Timer::K))]),
        ];
        for (state, reliable, expected) in table {
            let mut machine = in_state(state, reliable);
            assert_eq!(timers_of(&mut machine), expected, "{state:?} reliable={reliable}");
            assert_eq!(machine.state, State::Terminated);
        }
    }

    #[test]
    fn transport_failure() {
        use State::{Completed, Proceeding, Terminated, Trying};
        let table = [
            (Trying, Some(Why::Transport), Terminated),
            (Proceeding, Some(Why::Transport), Terminated),
            (Completed, None, Completed),
        ];
        for (state, why, after) in table {
            let mut machine = in_state(state, false);
            assert_eq!((machine.transport_failed(), machine.state), (why, after), "{state:?}");
        }
    }
}
