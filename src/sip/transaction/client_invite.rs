//! The INVITE client transaction: RFC 3261 section 17.1.1 as replaced by RFC 6026 section 8.4, and Timer C.
//!
//! It knows states and timers only; the layer keeps the messages.

use super::deadlines::{Deadlines, Due, Fired, Timer, Timers};
use super::pool::NEVER;
use super::{State, Why};

/// Calling, Proceeding, Completed, Accepted, Terminated.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientInvite {
    pub(super) state: State,
    pub(super) deadlines: Deadlines,
    reliable: bool,
    /// A CANCEL was sent or Timer C fired: the end is near and no provisional response moves it.
    ending: bool,
}

/// What a response means for the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Absorb it.
    Absorb,
    /// Give it to the owner.
    Pass,
    /// Give it to the owner, build the ACK and send it.
    PassAndAck,
    /// Absorb it, send the stored ACK again.
    RepeatAck,
}

impl ClientInvite {
    /// The request has been sent: Timer A (UDP) and Timer B run.
    pub(super) fn new(now: u64, timers: &Timers, reliable: bool) -> Self {
        let end = Deadlines::end(now, timers.timeout());
        let deadlines = if reliable { end } else { end.repeating(now, timers.t1) };
        Self {
            state: State::Calling,
            deadlines,
            reliable,
            ending: false,
        }
    }

    pub(super) fn response(&mut self, now: u64, timers: &Timers, status: u16) -> Answer {
        match (self.state, status) {
            (State::Calling | State::Proceeding, 100..=199) => {
                self.provisional(now, timers, status);
                Answer::Pass
            }
            (State::Calling | State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                self.deadlines = Deadlines::end(now, timers.timeout());
                Answer::Pass
            }
            (State::Calling | State::Proceeding, 300..=699) => {
                self.state = if self.reliable {
                    State::Terminated
                } else {
                    State::Completed
                };
                self.deadlines = Deadlines::end(now, if self.reliable { 0 } else { timers.d() });
                Answer::PassAndAck
            }
            (State::Accepted, 200..=299) => Answer::Pass,
            (State::Completed, 300..=699) => Answer::RepeatAck,
            _ => Answer::Absorb,
        }
    }

    fn provisional(&mut self, now: u64, timers: &Timers, status: u16) {
        let first = self.state == State::Calling;
        self.state = State::Proceeding;
        if self.ending {
            return;
        }
        if first || status != 100 {
            self.deadlines = Deadlines::end(now, if timers.c == 0 { NEVER } else { timers.c });
        }
    }

    /// Whether a CANCEL may go out now; if so, 64*T1 begin to run (RFC 3261 section 9.1).
    pub(super) fn cancel(&mut self, now: u64, timers: &Timers) -> bool {
        let may = self.state == State::Proceeding;
        if may {
            self.ending = true;
            self.deadlines = Deadlines::end(now, timers.timeout());
        }
        may
    }

    pub(super) fn timer(&mut self, now: u64, timers: &Timers) -> Fired {
        let Some(due) = self.deadlines.fire(now, NEVER) else {
            return Fired::Nothing;
        };
        match (self.state, due) {
            (_, Due::Repeat) => Fired::Repeat(Timer::A),
            (State::Proceeding, Due::End) if !self.ending => {
                self.ending = true;
                self.deadlines = Deadlines::end(now, timers.timeout().max(1));
                Fired::Warn(Timer::C)
            }
            (state, Due::End) => {
                self.state = State::Terminated;
                self.deadlines = Deadlines::none();
                match state {
                    State::Calling => Fired::Expired(Timer::B),
                    State::Proceeding => Fired::Expired(Timer::C),
                    State::Accepted => Fired::Ended(Timer::M),
                    _ => Fired::Ended(Timer::D),
                }
            }
        }
    }

    /// Whether its CANCEL will be on a transport that repeats lost data.
    pub(super) fn is_reliable(&self) -> bool {
        self.reliable
    }

    /// The transport gave up. Says what to tell the owner, if it has not had its outcome.
    pub(super) fn transport_failed(&mut self) -> Option<Why> {
        match self.state {
            State::Calling | State::Proceeding => {
                self.state = State::Terminated;
                Some(Why::Transport)
            }
            State::Completed => {
                self.state = State::Terminated;
                None
            }
            _ => None,
        }
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

    fn timers_of(machine: &mut ClientInvite) -> Vec<(u64, Fired)> {
        run(
            machine,
            |machine| machine.deadlines,
            |machine, at| machine.timer(at, &TIMERS),
        )
    }

    /// A machine at time 1,000 in the given state, entered then.
    fn in_state(state: State, reliable: bool) -> ClientInvite {
        let mut machine = ClientInvite::new(1_000, &TIMERS, reliable);
        match state {
            State::Proceeding => drop(machine.response(1_000, &TIMERS, 180)),
            State::Accepted => drop(machine.response(1_000, &TIMERS, 200)),
            State::Completed => drop(machine.response(1_000, &TIMERS, 486)),
            _ => {}
        }
        machine
    }

    #[test]
    fn responses() {
        use Answer::{Absorb, Pass, PassAndAck, RepeatAck};
        use State::{Accepted, Calling, Completed, Proceeding, Terminated};
        let table = [
            // state, reliable, status; answer, state after, next deadline (response at 2,000)
            (Calling, false, 100, Pass, Proceeding, 187_000),
            (Calling, false, 183, Pass, Proceeding, 187_000),
            (Calling, false, 200, Pass, Accepted, 34_000),
            (Calling, false, 302, PassAndAck, Completed, 34_000),
            (Calling, true, 200, Pass, Accepted, 34_000),
            (Calling, true, 603, PassAndAck, Terminated, 2_000),
            (Proceeding, false, 100, Pass, Proceeding, 186_000),
            (Proceeding, false, 199, Pass, Proceeding, 187_000),
            (Proceeding, false, 299, Pass, Accepted, 34_000),
            (Proceeding, false, 487, PassAndAck, Completed, 34_000),
            (Proceeding, true, 487, PassAndAck, Terminated, 2_000),
            (Accepted, false, 180, Absorb, Accepted, 33_000),
            (Accepted, false, 200, Pass, Accepted, 33_000),
            (Accepted, true, 200, Pass, Accepted, 33_000),
            (Accepted, false, 486, Absorb, Accepted, 33_000),
            (Completed, false, 180, Absorb, Completed, 33_000),
            (Completed, false, 200, Absorb, Completed, 33_000),
            (Completed, false, 486, RepeatAck, Completed, 33_000),
        ];
        for (state, reliable, status, answer, after, next) in table {
            let mut machine = in_state(state, reliable);
            assert_eq!(machine.state, state);
            let got = machine.response(2_000, &TIMERS, status);
            assert_eq!(
                (got, machine.state, machine.deadlines.next()),
                (answer, after, next),
                "{state:?} reliable={reliable} {status}"
            );
        }
    }

    #[test]
    fn timers() {
        use Fired::{Ended, Expired, Repeat, Warn};
        let table = [
            (
                State::Calling,
                false,
                vec![
                    (1_500, Repeat(Timer::A)),
                    (2_500, Repeat(Timer::A)),
                    (4_500, Repeat(Timer::A)),
                    (8_500, Repeat(Timer::A)),
                    (16_500, Repeat(Timer::A)),
                    (32_500, Repeat(Timer::A)),
                    (33_000, Expired(Timer::B)),
                ],
            ),
            (State::Calling, true, vec![(33_000, Expired(Timer::B))]),
            (
                State::Proceeding,
                false,
                vec![(186_000, Warn(Timer::C)), (218_000, Expired(Timer::C))],
            ),
            (State::Accepted, false, vec![(33_000, Ended(Timer::M))]),
            (State::Accepted, true, vec![(33_000, Ended(Timer::M))]),
            (State::Completed, false, vec![(33_000, Ended(Timer::D))]),
        ];
        for (state, reliable, expected) in table {
            let mut machine = in_state(state, reliable);
            assert_eq!(timers_of(&mut machine), expected, "{state:?} reliable={reliable}");
            assert_eq!(machine.state, State::Terminated);
        }
    }

    #[test]
    fn timer_d_is_at_least_32_s_and_timer_c_can_be_off() {
        let quick = Timers { t1: 10, c: 0, ..TIMERS };
        let mut machine = ClientInvite::new(0, &quick, false);
        machine.response(0, &quick, 180);
        assert_eq!(machine.deadlines.next(), NEVER);
        machine.response(0, &quick, 500);
        assert_eq!(machine.deadlines.next(), 32_000);
    }

    #[test]
    fn after_a_cancel_64_t1_are_left() {
        for state in [State::Calling, State::Accepted, State::Completed] {
            assert!(!in_state(state, false).cancel(2_000, &TIMERS), "{state:?}");
        }
        let mut machine = in_state(State::Proceeding, false);
        assert!(machine.cancel(2_000, &TIMERS));
        machine.response(3_000, &TIMERS, 180);
        assert_eq!(timers_of(&mut machine), [(34_000, Fired::Expired(Timer::C))]);
        let mut machine = in_state(State::Proceeding, false);
        assert_eq!(machine.timer(186_000, &TIMERS), Fired::Warn(Timer::C));
        assert!(machine.cancel(187_000, &TIMERS));
        assert_eq!(machine.response(187_100, &TIMERS, 487), Answer::PassAndAck);
    }

    #[test]
    fn transport_failure() {
        use State::{Accepted, Calling, Completed, Proceeding, Terminated};
        let table = [
            (Calling, Some(Why::Transport), Terminated),
            (Proceeding, Some(Why::Transport), Terminated),
            (Completed, None, Terminated),
            (Accepted, None, Accepted),
        ];
        for (state, why, after) in table {
            let mut machine = in_state(state, false);
            assert_eq!((machine.transport_failed(), machine.state), (why, after), "{state:?}");
        }
    }
}
