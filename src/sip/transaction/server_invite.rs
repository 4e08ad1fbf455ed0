//! The INVITE server transaction: RFC 3261 section 17.2.1 as replaced by RFC 6026 section 8.5, and the repetition of
//! a 2xx by the user agent server (RFC 3261 section 13.3.1.4), which needs the same clock.
//!
//! It knows states and timers only; the layer keeps the messages.

use super::State;
use super::deadlines::{Deadlines, Due, Fired, Timer, Timers};

/// Proceeding, Completed, Confirmed, Accepted, Terminated.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerInvite {
    pub(super) state: State,
    pub(super) deadlines: Deadlines,
    reliable: bool,
    /// Our own 2xx awaits its ACK.
    repeating: bool,
}

/// What an ACK means for the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acked {
    /// For the non-2xx response.
    Confirmed,
    /// Repeated, or for nothing.
    Absorb,
    /// For a 2xx: goes to the owner.
    Pass,
}

impl ServerInvite {
    /// The request has come: no timer runs until a final response.
    pub(super) fn new(reliable: bool) -> Self {
        Self {
            state: State::Proceeding,
            deadlines: Deadlines::none(),
            reliable,
            repeating: false,
        }
    }

    /// Whether the response may be sent now.
    pub(super) fn respond(&mut self, now: u64, timers: &Timers, status: u16) -> bool {
        match (self.state, status) {
            (State::Proceeding, 100..=199) | (State::Accepted, 200..=299) => true,
            (State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                self.deadlines = Deadlines::end(now, timers.timeout());
                true
            }
            (State::Proceeding, 300..=699) => {
                self.state = State::Completed;
                let end = Deadlines::end(now, timers.timeout());
                self.deadlines = if self.reliable {
                    end
                } else {
                    end.repeating(now, timers.t1)
                };
                true
            }
            _ => false,
        }
    }

    /// Whether the stored response goes out again for a repeated INVITE.
    pub(super) fn repeated(&self) -> bool {
        matches!(self.state, State::Proceeding | State::Completed)
    }

    /// Whether the stored response may go out again at all.
    pub(super) fn needs_last(&self) -> bool {
        self.repeated() || self.repeating
    }

    pub(super) fn ack(&mut self, now: u64, timers: &Timers) -> Acked {
        match self.state {
            State::Completed => {
                self.state = if self.reliable {
                    State::Terminated
                } else {
                    State::Confirmed
                };
                self.deadlines = Deadlines::end(now, if self.reliable { 0 } else { timers.t4 });
                Acked::Confirmed
            }
            State::Accepted => Acked::Pass,
            _ => Acked::Absorb,
        }
    }

    /// Stops Timer G: the final response is sent again only when the INVITE comes again.
    pub(super) fn hush(&mut self) {
        if self.state == State::Completed {
            self.deadlines = self.deadlines.quiet();
        }
    }

    /// Begins to repeat the 2xx, on reliable transports too: it is the ACK end to end that stops it.
    pub(super) fn repeat_2xx(&mut self, now: u64, timers: &Timers) -> bool {
        let may = self.state == State::Accepted && !self.repeating;
        if may {
            self.repeating = true;
            self.deadlines = self.deadlines.repeating(now, timers.t1);
        }
        may
    }

    /// The ACK for our own 2xx has come; `false` if none was awaited.
    pub(super) fn acknowledged(&mut self) -> bool {
        let awaited = core::mem::take(&mut self.repeating);
        if awaited {
            self.deadlines = self.deadlines.quiet();
        }
        awaited
    }

    pub(super) fn timer(&mut self, now: u64, timers: &Timers) -> Fired {
        match self.deadlines.fire(now, timers.t2) {
            None => Fired::Nothing,
            Some(Due::Repeat) => Fired::Repeat(if self.state == State::Accepted {
                Timer::L
            } else {
                Timer::G
            }),
            Some(Due::End) => {
                let state = core::mem::replace(&mut self.state, State::Terminated);
                self.deadlines = Deadlines::none();
                match state {
                    State::Accepted if self.repeating => Fired::Expired(Timer::L),
                    State::Accepted => Fired::Ended(Timer::L),
                    State::Confirmed => Fired::Ended(Timer::I),
                    _ => Fired::Expired(Timer::H),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::deadlines::run;
    use super::super::pool::NEVER;
    use super::*;

    const TIMERS: Timers = Timers {
        t1: 500,
        t2: 4_000,
        t4: 5_000,
        c: 185_000,
    };

    fn timers_of(machine: &mut ServerInvite) -> Vec<(u64, Fired)> {
        run(
            machine,
            |machine| machine.deadlines,
            |machine, at| machine.timer(at, &TIMERS),
        )
    }

    /// A machine in the given state, entered at time 1,000.
    fn in_state(state: State, reliable: bool) -> ServerInvite {
        let mut machine = ServerInvite::new(reliable);
        match state {
            State::Accepted => drop(machine.respond(1_000, &TIMERS, 200)),
            State::Completed => drop(machine.respond(1_000, &TIMERS, 486)),
            State::Confirmed => {
                machine.respond(1_000, &TIMERS, 486);
                machine.ack(1_000, &TIMERS);
            }
            _ => {}
        }
        machine
    }

    #[test]
    fn a_hushed_answer_is_repeated_only_for_a_repeated_invite() {
        let mut machine = in_state(State::Completed, false);
        machine.hush();
        assert!(machine.repeated(), "for the INVITE");
        assert_eq!(
            timers_of(&mut machine),
            [(33_000, Fired::Expired(Timer::H))],
            "by itself"
        );
        let mut accepted = in_state(State::Accepted, false);
        accepted.hush();
        assert_eq!(accepted.deadlines, in_state(State::Accepted, false).deadlines);
    }

    #[test]
    fn responses() {
        use State::{Accepted, Completed, Confirmed, Proceeding};
        let table = [
            // state, reliable, status; sent, state after, next deadline (response at 1,100)
            (Proceeding, false, 100, true, Proceeding, NEVER),
            (Proceeding, false, 183, true, Proceeding, NEVER),
            (Proceeding, false, 200, true, Accepted, 33_100),
            (Proceeding, true, 200, true, Accepted, 33_100),
            (Proceeding, false, 408, true, Completed, 1_600),
            (Proceeding, true, 603, true, Completed, 33_100),
            (Proceeding, false, 700, false, Proceeding, NEVER),
            (Accepted, false, 180, false, Accepted, 33_000),
            (Accepted, false, 202, true, Accepted, 33_000),
            (Accepted, false, 500, false, Accepted, 33_000),
            (Completed, false, 200, false, Completed, 1_500),
            (Completed, true, 500, false, Completed, 33_000),
            (Confirmed, false, 200, false, Confirmed, 6_000),
        ];
        for (state, reliable, status, sent, after, next) in table {
            let mut machine = in_state(state, reliable);
            assert_eq!(machine.state, state);
            let got = machine.respond(1_100, &TIMERS, status);
            assert_eq!(
                (got, machine.state, machine.deadlines.next()),
                (sent, after, next),
                "{state:?} reliable={reliable} {status}"
            );
        }
    }

    #[test]
    fn acks_and_repeated_invites() {
        use State::{Accepted, Completed, Confirmed, Proceeding, Terminated};
        let table = [
            // state, reliable; ACK, state after, an INVITE before the ACK replays the response
            (Proceeding, false, Acked::Absorb, Proceeding, true),
            (Completed, false, Acked::Confirmed, Confirmed, true),
            (Completed, true, Acked::Confirmed, Terminated, true),
            (Confirmed, false, Acked::Absorb, Confirmed, false),
            (Accepted, false, Acked::Pass, Accepted, false),
            (Accepted, true, Acked::Pass, Accepted, false),
        ];
        for (state, reliable, acked, after, replays) in table {
            let mut machine = in_state(state, reliable);
            assert_eq!(machine.repeated(), replays, "{state:?}");
            assert_eq!(
                (machine.ack(1_100, &TIMERS), machine.state),
                (acked, after),
                "{state:?} {reliable}"
            );
        }
    }

    #[test]
    fn timers() {
        use Fired::{Ended, Expired, Repeat};
        let repeats = [
            1_500, 2_500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500, 32_500,
        ];
        let mut completed: Vec<_> = repeats.iter().map(|&at| (at, Repeat(Timer::G))).collect();
        completed.push((33_000, Expired(Timer::H)));
        let table = [
            (State::Completed, false, completed),
            (State::Completed, true, vec![(33_000, Expired(Timer::H))]),
            (State::Confirmed, false, vec![(6_000, Ended(Timer::I))]),
            (State::Accepted, false, vec![(33_000, Ended(Timer::L))]),
            (State::Accepted, true, vec![(33_000, Ended(Timer::L))]),
        ];
        for (state, reliable, expected) in table {
            let mut machine = in_state(state, reliable);
            assert_eq!(timers_of(&mut machine), expected, "{state:?} reliable={reliable}");
            assert_eq!(machine.state, State::Terminated);
        }
        assert_eq!(timers_of(&mut in_state(State::Proceeding, false)), []);
    }

    #[test]
    fn our_own_2xx_is_repeated_until_its_ack() {
        let mut machine = in_state(State::Accepted, true);
        assert!(machine.repeat_2xx(1_000, &TIMERS) && !machine.repeat_2xx(1_000, &TIMERS));
        let fired = timers_of(&mut machine);
        assert_eq!(fired.len(), 11);
        assert_eq!(
            fired[..2],
            [(1_500, Fired::Repeat(Timer::L)), (2_500, Fired::Repeat(Timer::L))]
        );
        assert_eq!(fired[10], (33_000, Fired::Expired(Timer::L)));
        let mut machine = in_state(State::Accepted, false);
        machine.repeat_2xx(1_000, &TIMERS);
        assert!(machine.acknowledged() && !machine.acknowledged());
        assert_eq!(timers_of(&mut machine), [(33_000, Fired::Ended(Timer::L))]);
        assert!(!in_state(State::Completed, false).repeat_2xx(1_000, &TIMERS));
    }
}
