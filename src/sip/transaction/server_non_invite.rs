//! The non-INVITE server transaction: RFC 3261 section 17.2.2 within the bounds of RFC 4320.
//!
//! A response later than 64*T1 after the request is of no use to anybody and forbidden to send (RFC 4320 section
//! 4.2), so the transaction ends by itself at that time; the RFC has no letter for it. It knows states and timers
//! only; the layer keeps the messages.

use super::State;
use super::deadlines::{Fired, Timer, Timers};
use super::pool::NEVER;

/// Trying, Proceeding, Completed, Terminated.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerNonInvite {
    pub(super) state: State,
    reliable: bool,
    /// The one deadline it has; kept bare, for half a million of these are held at once.
    end_at: u64,
}

impl ServerNonInvite {
    pub(super) fn new(now: u64, timers: &Timers, reliable: bool) -> Self {
        Self {
            state: State::Trying,
            reliable,
            end_at: now.saturating_add(timers.timeout()),
        }
    }

    pub(super) fn due(&self) -> u64 {
        self.end_at
    }

    /// Whether the response may be sent now. Of provisional ones only 100 (RFC 4320 section 4.1), and never 408
    /// (section 4.2).
    pub(super) fn respond(&mut self, now: u64, timers: &Timers, status: u16) -> bool {
        match (self.state, status) {
            (_, 408) => false,
            (State::Trying | State::Proceeding, 100) => {
                self.state = State::Proceeding;
                true
            }
            (State::Trying | State::Proceeding, 200..=699) => {
                self.state = if self.reliable {
                    State::Terminated
                } else {
                    State::Completed
                };
                self.end_at = now.saturating_add(if self.reliable { 0 } else { timers.timeout() });
                true
            }
            _ => false,
        }
    }

    /// Whether the stored response goes out again for a repeated request.
    pub(super) fn repeated(&self) -> bool {
        matches!(self.state, State::Proceeding | State::Completed)
    }

    pub(super) fn timer(&mut self, now: u64) -> Fired {
        if self.end_at > now {
            return Fired::Nothing;
        }
        self.state = State::Terminated;
        self.end_at = NEVER;
        Fired::Ended(Timer::J)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMERS: Timers = Timers {
        t1: 500,
        t2: 4_000,
        t4: 5_000,
        c: 185_000,
    };

    /// A machine in the given state, entered at time 1,000.
    fn in_state(state: State, reliable: bool) -> ServerNonInvite {
        let mut machine = ServerNonInvite::new(1_000, &TIMERS, reliable);
        match state {
            State::Proceeding => drop(machine.respond(1_000, &TIMERS, 100)),
            State::Completed => drop(machine.respond(1_000, &TIMERS, 200)),
            _ => {}
        }
        machine
    }

    #[test]
    fn responses_and_repeated_requests() {
        use State::{Completed, Proceeding, Terminated, Trying};
        let table = [
            // state, reliable, status; sent, state after, next deadline (response at 2,000), replays then
            (Trying, false, 100, true, Proceeding, 33_000, true),
            (Trying, false, 183, false, Trying, 33_000, false),
            (Trying, false, 408, false, Trying, 33_000, false),
            (Trying, false, 200, true, Completed, 34_000, true),
            (Trying, true, 200, true, Terminated, 2_000, false),
            (Trying, false, 700, false, Trying, 33_000, false),
            (Proceeding, false, 100, true, Proceeding, 33_000, true),
            (Proceeding, false, 408, false, Proceeding, 33_000, true),
            (Proceeding, false, 504, true, Completed, 34_000, true),
            (Proceeding, true, 504, true, Terminated, 2_000, false),
            (Completed, false, 100, false, Completed, 33_000, true),
            (Completed, false, 200, false, Completed, 33_000, true),
        ];
        for (state, reliable, status, sent, after, next, replays) in table {
            let mut machine = in_state(state, reliable);
            assert_eq!(machine.state, state);
            let got = machine.respond(2_000, &TIMERS, status);
            assert_eq!(
                (got, machine.state, machine.due(), machine.repeated()),
                (sent, after, next, replays),
                "{state:?} reliable={reliable} {status}"
            );
        }
    }

    #[test]
    fn timer_j_and_the_end_of_an_unanswered_request() {
        for state in [State::Trying, State::Proceeding, State::Completed] {
            let mut machine = in_state(state, false);
            assert_eq!(machine.timer(32_999), Fired::Nothing);
            assert_eq!(
                (machine.due(), machine.timer(33_000)),
                (33_000, Fired::Ended(Timer::J)),
                "{state:?}"
            );
            assert_eq!((machine.due(), machine.timer(u64::MAX - 1)), (NEVER, Fired::Nothing));
            assert_eq!(machine.state, State::Terminated);
        }
    }
}
