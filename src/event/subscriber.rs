//! The subscriber's side of one subscription (RFC 6665 section 4.1): when to send SUBSCRIBE and what silence means.
//!
//! Pure: the owner sends, and tells what came back. Times are monotonic milliseconds.

use super::subscription_state::{Again, Reason, SubscriptionState};
use crate::sip::random::Random;

/// States of RFC 6665 section 4.1.2, and waiting before the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A SUBSCRIBE is out and no NOTIFY has come.
    NotifyWait,
    /// Not yet authorised.
    Pending,
    /// Authorised.
    Active,
    /// No subscription; a new one is tried at the time of [`Subscriber::due`].
    Waiting,
    /// No subscription, and none is tried before somebody asks ([`Subscriber::wanted`]).
    Ended,
}

/// What the owner must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Send SUBSCRIBE in the present dialog.
    Refresh,
    /// Forget the dialog and send a new SUBSCRIBE.
    Start,
    /// Keep the dialog; the state is unknown from now on.
    Unknown,
    /// Forget the dialog; the state is unknown from now on.
    Lost,
    /// Forget the dialog; the state stays what it is for ever.
    Final,
}

/// A final answer to SUBSCRIBE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Status code.
    pub status: u16,
    /// Expires, seconds.
    pub expires_s: Option<u32>,
    /// Min-Expires, seconds.
    pub min_expires_s: Option<u32>,
    /// Retry-After, seconds.
    pub retry_after_s: Option<u32>,
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct Subscriber {
    state: State,
    /// Refresh, Timer N or the next try.
    due: u64,
    /// When the last SUBSCRIBE outside a dialog went; `None` is long ago.
    fresh_at: Option<u64>,
    /// The end of what was granted.
    expires_at: u64,
    expires_s: u32,
    failures: u32,
    /// The peer said that it is not to be asked before this time.
    held_until: u64,
    /// How often 423 made it ask for longer.
    raised: u8,
    /// The state will never change.
    invariant: bool,
}

/// Timer N: so long after a 2xx the first NOTIFY may take (64*T1).
const TIMER_N_MS: u64 = 32_000;
const FIRST_RETRY_MS: u64 = 5_000;
const LONGEST_RETRY_MS: u64 = 600_000;
/// After a refusal that will not change by itself.
const REFUSED_RETRY_MS: u64 = 3_600_000;
const DAY_S: u32 = 86_400;
const NEVER: u64 = u64::MAX;

impl Subscriber {
    /// A subscription whose first SUBSCRIBE is being sent, asking for `expires_s`.
    #[must_use]
    pub fn new(now_ms: u64, expires_s: u32) -> Self {
        Self {
            state: State::NotifyWait,
            due: now_ms + TIMER_N_MS,
            fresh_at: Some(now_ms),
            expires_at: now_ms,
            expires_s,
            failures: 0,
            held_until: 0,
            raised: 0,
            invariant: false,
        }
    }

    /// A subscription with a dialog from before a restart, which is refreshed at once.
    #[must_use]
    pub fn restored(now_ms: u64, expires_s: u32) -> Self {
        Self {
            state: State::Active,
            due: now_ms + 2 * TIMER_N_MS,
            fresh_at: None,
            expires_at: now_ms + u64::from(expires_s) * 1000,
            ..Self::new(now_ms, expires_s)
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Seconds to ask for.
    #[must_use]
    pub fn expires_s(&self) -> u32 {
        self.expires_s
    }

    /// When [`Subscriber::timer`] is due; `None` when nothing is.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        (self.due != NEVER).then_some(self.due)
    }

    fn is_alive(&self) -> bool {
        matches!(self.state, State::Active | State::Pending)
    }

    /// A final answer to SUBSCRIBE.
    pub fn response(&mut self, now_ms: u64, answer: Answered, random: &mut Random) -> Action {
        if matches!(self.state, State::Waiting | State::Ended) {
            return Action::None;
        }
        let retry_ms = u64::from(answer.retry_after_s.unwrap_or(0).min(DAY_S)) * 1000;
        if answer.status >= 300 {
            self.held_until = now_ms + retry_ms;
        }
        match answer.status {
            200..300 => {
                let granted = answer.expires_s.unwrap_or(self.expires_s);
                if self.is_alive() {
                    self.failures = 0;
                    self.granted(now_ms, granted, random);
                } else {
                    self.due = now_ms + TIMER_N_MS.min(u64::from(granted) * 1000);
                }
                Action::None
            }
            423 => match answer.min_expires_s {
                Some(min) if min > self.expires_s && min <= DAY_S && self.raised < 3 => {
                    self.raised += 1;
                    self.expires_s = min;
                    Action::Refresh
                }
                _ => self.wait(now_ms, REFUSED_RETRY_MS),
            },
            481 if self.is_alive() => self.again_at_once(now_ms, random),
            status if will_hardly_change(status) => self.wait(now_ms, REFUSED_RETRY_MS.max(retry_ms)),
            // RFC 6665 section 4.1.2.2: what a failed refresh should have prolonged lives on until it expires.
            _ if self.is_alive() && now_ms < self.expires_at => {
                let pause = self.pause(random).max(retry_ms);
                self.due = (now_ms + pause).min(self.expires_at);
                Action::None
            }
            _ => {
                let pause = self.pause(random);
                self.wait(now_ms, if retry_ms > 0 { retry_ms } else { pause })
            }
        }
    }

    /// A NOTIFY; it may come before its 2xx.
    pub fn notify(&mut self, now_ms: u64, state: SubscriptionState, random: &mut Random) -> Action {
        match state {
            SubscriptionState::Active(expires) | SubscriptionState::Pending(expires) => {
                let active = matches!(state, SubscriptionState::Active(_));
                let first = !self.is_alive();
                self.state = if active { State::Active } else { State::Pending };
                (self.failures, self.raised) = (0, 0);
                if first || expires.is_some() {
                    self.granted(now_ms, expires.unwrap_or(self.expires_s), random);
                }
                Action::None
            }
            SubscriptionState::Terminated { reason, .. } => match state.again() {
                Some(Again::Now) | None => self.again_at_once(now_ms, random),
                Some(Again::Later(Some(seconds))) => {
                    let ms = u64::from(seconds.clamp(1, DAY_S)) * 1000;
                    self.held_until = now_ms + ms;
                    self.wait(now_ms, ms)
                }
                Some(Again::Later(None)) => self.back_off(now_ms, random),
                Some(Again::Never) => {
                    (self.state, self.due) = (State::Ended, NEVER);
                    self.invariant = reason == Some(Reason::Invariant);
                    if self.invariant { Action::Final } else { Action::Lost }
                }
            },
        }
    }

    /// No answer, or the transport failed.
    pub fn failed(&mut self, now_ms: u64, random: &mut Random) -> Action {
        if self.is_alive() && now_ms < self.expires_at {
            self.due = (now_ms + self.pause(random)).min(self.expires_at);
            return Action::Unknown;
        }
        if matches!(self.state, State::Waiting | State::Ended) {
            return Action::None;
        }
        self.back_off(now_ms, random)
    }

    /// The time of [`Subscriber::due`] has come.
    pub fn timer(&mut self, now_ms: u64, random: &mut Random) -> Action {
        if now_ms < self.due {
            return Action::None;
        }
        match self.state {
            State::NotifyWait => self.back_off(now_ms, random),
            State::Waiting => self.start(now_ms),
            State::Pending | State::Active if now_ms >= self.expires_at => self.again_at_once(now_ms, random),
            State::Pending | State::Active => self.refresh(now_ms),
            State::Ended => Action::None,
        }
    }

    /// The peer is back after a loss: tried at once, unless it named a time to wait (RFC 3261 section 20.33).
    pub fn peer_up(&mut self, now_ms: u64) -> Action {
        match self.state {
            _ if now_ms < self.held_until => Action::None,
            State::Active | State::Pending => self.refresh(now_ms),
            State::Waiting => self.start(now_ms),
            State::NotifyWait | State::Ended => Action::None,
        }
    }

    /// Somebody asks for it anew: a subscription that has ended is tried again, unless the state will never change.
    pub fn wanted(&mut self, now_ms: u64) -> Action {
        if self.state == State::Ended && !self.invariant && !self.is_young(now_ms) {
            return self.start(now_ms);
        }
        Action::None
    }

    fn is_young(&self, now_ms: u64) -> bool {
        self.fresh_at.is_some_and(|at| now_ms < at + FIRST_RETRY_MS)
    }

    fn refresh(&mut self, now_ms: u64) -> Action {
        // Without an answer the transaction fails first; this only guards against a lost owner.
        self.due = now_ms + 2 * TIMER_N_MS;
        Action::Refresh
    }

    fn start(&mut self, now_ms: u64) -> Action {
        (self.state, self.fresh_at, self.due) = (State::NotifyWait, Some(now_ms), now_ms + TIMER_N_MS);
        Action::Start
    }

    /// A server that ends each new subscription is not asked in a tight loop.
    fn again_at_once(&mut self, now_ms: u64, random: &mut Random) -> Action {
        if self.is_young(now_ms) {
            return self.back_off(now_ms, random);
        }
        self.start(now_ms)
    }

    fn wait(&mut self, now_ms: u64, ms: u64) -> Action {
        (self.state, self.due) = (State::Waiting, now_ms + ms);
        Action::Lost
    }

    fn back_off(&mut self, now_ms: u64, random: &mut Random) -> Action {
        let pause = self.pause(random);
        self.wait(now_ms, pause)
    }

    /// The pause after so many failures, and a quarter more at random.
    fn pause(&mut self, random: &mut Random) -> u64 {
        let base = FIRST_RETRY_MS
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST_RETRY_MS);
        self.failures = self.failures.saturating_add(1);
        base + random.next_u64() % (base / 4 + 1)
    }

    /// Refreshes before the end: at 80 to 90 percent of a long expiry, five seconds early of a short one.
    fn granted(&mut self, now_ms: u64, granted_s: u32, random: &mut Random) {
        let total = u64::from(granted_s) * 1000;
        let part = if total > 60_000 {
            total * 8 / 10 + random.next_u64() % (total / 10)
        } else {
            total.saturating_sub(5_000).max(total / 2)
        };
        self.expires_at = now_ms + total;
        self.due = now_ms + part.max(500);
    }
}

/// Answers that the same request will get again for a long time.
fn will_hardly_change(status: u16) -> bool {
    const LASTING: [u16; 24] = [
        401, 402, 403, 404, 405, 406, 407, 410, 413, 414, 415, 416, 420, 421, 484, 485, 488, 489, 501, 505, 513, 603,
        604, 606,
    ];
    LASTING.contains(&status)
}

#[cfg(test)]
mod tests;
