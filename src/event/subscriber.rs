//! The subscriber's side of one subscription (RFC 6665 section 4.1): when to send SUBSCRIBE and what silence means.
//!
//! Pure: the owner sends, and tells what came back. Times are monotonic milliseconds.

use super::subscription_state::{Again, SubscriptionState};
use crate::sip::random::Random;

/// States of RFC 6665 section 4.1.2, and waiting before the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A SUBSCRIBE is out and neither a 2xx nor a NOTIFY has come.
    NotifyWait,
    /// Not yet authorised.
    Pending,
    /// Authorised.
    Active,
    /// No subscription; a new one is tried at the time of [`Subscriber::due`].
    Waiting,
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
    /// Forget the dialog; the state is unknown from now on.
    Lost,
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct Subscriber {
    state: State,
    /// Refresh, Timer N or the next try.
    due: u64,
    expires_s: u32,
    failures: u32,
}

/// Timer N: so long after a 2xx the first NOTIFY may take (64*T1).
const TIMER_N_MS: u64 = 32_000;
const FIRST_RETRY_MS: u64 = 5_000;
const LONGEST_RETRY_MS: u64 = 600_000;
/// After a refusal that will not change by itself.
const REFUSED_RETRY_MS: u64 = 3_600_000;

impl Subscriber {
    /// A subscription whose first SUBSCRIBE is being sent, asking for `expires_s`.
    #[must_use]
    pub fn new(now_ms: u64, expires_s: u32) -> Self {
        Self {
            state: State::NotifyWait,
            due: now_ms + TIMER_N_MS,
            expires_s,
            failures: 0,
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

    /// When [`Subscriber::timer`] is due.
    #[must_use]
    pub fn due(&self) -> u64 {
        self.due
    }

    /// A final answer to SUBSCRIBE.
    pub fn response(
        &mut self,
        now_ms: u64,
        status: u16,
        expires_s: Option<u32>,
        min_expires_s: Option<u32>,
        retry_after_s: Option<u32>,
        random: &mut Random,
    ) -> Action {
        match status {
            200..300 => {
                let granted = expires_s.unwrap_or(self.expires_s);
                if self.state == State::NotifyWait {
                    self.due = now_ms + TIMER_N_MS.min(u64::from(granted) * 1000);
                } else {
                    self.refresh_at(now_ms, granted, random);
                }
                Action::None
            }
            423 if min_expires_s.is_some_and(|m| m > self.expires_s) => {
                self.expires_s = min_expires_s.unwrap_or(self.expires_s).min(86_400);
                Action::Refresh
            }
            481 if self.state != State::NotifyWait => self.start(now_ms),
            403 | 404 | 405 | 410 | 416 | 489 | 501 | 603 | 604 => self.wait(now_ms, REFUSED_RETRY_MS),
            _ => match retry_after_s {
                Some(seconds) => self.wait(now_ms, u64::from(seconds.clamp(1, 3600)) * 1000),
                None => self.back_off(now_ms, random),
            },
        }
    }

    /// A NOTIFY; it may come before its 2xx.
    pub fn notify(&mut self, now_ms: u64, state: SubscriptionState, random: &mut Random) -> Action {
        match state {
            SubscriptionState::Active(expires) | SubscriptionState::Pending(expires) => {
                let active = matches!(state, SubscriptionState::Active(_));
                let first = self.state == State::NotifyWait;
                self.state = if active { State::Active } else { State::Pending };
                self.failures = 0;
                if first || expires.is_some() {
                    self.refresh_at(now_ms, expires.unwrap_or(self.expires_s), random);
                }
                Action::None
            }
            SubscriptionState::Terminated { .. } => match state.again() {
                // A server that ends each new subscription at once is not asked in a tight loop.
                Some(Again::Now) if self.state == State::Active || self.state == State::Pending => self.start(now_ms),
                Some(Again::Now) | None => self.back_off(now_ms, random),
                Some(Again::Later(Some(seconds))) => self.wait(now_ms, u64::from(seconds.clamp(1, 86_400)) * 1000),
                Some(Again::Later(None)) => self.back_off(now_ms, random),
                Some(Again::Never) => self.wait(now_ms, REFUSED_RETRY_MS),
            },
        }
    }

    /// No answer, or the transport failed.
    pub fn failed(&mut self, now_ms: u64, random: &mut Random) -> Action {
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
            State::Pending | State::Active => {
                // Without an answer the transaction fails first; this only guards against a lost owner.
                self.due = now_ms + 2 * TIMER_N_MS;
                Action::Refresh
            }
        }
    }

    /// The peer is back after a loss: tried at once.
    pub fn peer_up(&mut self, now_ms: u64) -> Action {
        match self.state {
            State::Active | State::Pending => {
                self.due = now_ms + 2 * TIMER_N_MS;
                Action::Refresh
            }
            State::Waiting => self.start(now_ms),
            State::NotifyWait => Action::None,
        }
    }

    fn start(&mut self, now_ms: u64) -> Action {
        self.state = State::NotifyWait;
        self.due = now_ms + TIMER_N_MS;
        Action::Start
    }

    fn wait(&mut self, now_ms: u64, ms: u64) -> Action {
        self.state = State::Waiting;
        self.due = now_ms + ms;
        Action::Lost
    }

    fn back_off(&mut self, now_ms: u64, random: &mut Random) -> Action {
        let base = FIRST_RETRY_MS
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST_RETRY_MS);
        self.failures = self.failures.saturating_add(1);
        let jitter = random.next_u64() % (base / 4 + 1);
        self.wait(now_ms, base + jitter)
    }

    /// Refreshes before the end: at 80 to 90 percent of a long expiry, five seconds early of a short one.
    fn refresh_at(&mut self, now_ms: u64, granted_s: u32, random: &mut Random) {
        let total = u64::from(granted_s) * 1000;
        let part = if total > 60_000 {
            total * 8 / 10 + random.next_u64() % (total / 10)
        } else {
            total.saturating_sub(5_000).max(total / 2)
        };
        self.due = now_ms + part.max(500);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::subscription_state::Reason;

    fn fresh() -> (Subscriber, Random) {
        (Subscriber::new(0, 3600), Random::from_seed([5; 32]))
    }

    const ACTIVE: SubscriptionState = SubscriptionState::Active(Some(600));

    #[test]
    fn a_notify_before_its_2xx_is_as_good_as_after() {
        let (mut s, mut r) = fresh();
        assert_eq!(s.notify(5, ACTIVE, &mut r), Action::None);
        assert_eq!(s.response(9, 200, Some(600), None, None, &mut r), Action::None);
        assert_eq!(s.state(), State::Active);
        assert!((480_000..=540_009).contains(&s.due()), "{}", s.due());
        let due = s.due();
        assert_eq!(s.timer(due, &mut r), Action::Refresh);
    }

    #[test]
    fn silence_after_the_2xx_is_timer_n() {
        let (mut s, mut r) = fresh();
        s.response(10, 200, Some(600), None, None, &mut r);
        assert_eq!(
            (s.timer(32_009, &mut r), s.timer(32_010, &mut r)),
            (Action::None, Action::Lost)
        );
    }

    #[test]
    fn failures_back_off_up_to_ten_minutes_and_a_peer_that_returns_is_asked_at_once() {
        let (mut s, mut r) = fresh();
        let mut waits = Vec::new();
        let mut now = 0;
        for _ in 0..12 {
            assert_eq!(s.failed(now, &mut r), Action::Lost);
            waits.push((s.due() - now) / 1000);
            now = s.due();
            assert_eq!(s.timer(now, &mut r), Action::Start);
        }
        assert!(
            (5..=6).contains(&waits[0]) && waits.windows(2).all(|w| w[1] + 200 >= w[0]) && waits[11] <= 750,
            "{waits:?}"
        );
        s.failed(now, &mut r);
        assert_eq!(s.peer_up(now + 1), Action::Start);
    }

    #[test]
    fn answers_have_their_meaning() {
        let table = [
            (403, None, None, Action::Lost, 3_600_000),
            (489, None, None, Action::Lost, 3_600_000),
            (500, None, Some(30), Action::Lost, 30_000),
        ];
        for (status, min, retry, action, wait) in table {
            let (mut s, mut r) = fresh();
            assert_eq!(s.response(0, status, None, min, retry, &mut r), action);
            assert_eq!(s.due(), wait, "{status}");
        }
        let (mut s, mut r) = fresh();
        assert_eq!(s.response(0, 423, None, Some(7200), None, &mut r), Action::Refresh);
        assert_eq!(s.expires_s(), 7200);
        s.notify(0, ACTIVE, &mut r);
        assert_eq!(s.response(1, 481, None, None, None, &mut r), Action::Start);
    }

    #[test]
    fn a_terminated_subscription_starts_again_as_its_reason_says() {
        let ended = |reason, retry_after| SubscriptionState::Terminated { reason, retry_after };
        let (mut s, mut r) = fresh();
        s.notify(0, ACTIVE, &mut r);
        assert_eq!(
            s.notify(1, ended(Some(Reason::Deactivated), None), &mut r),
            Action::Start
        );
        assert_eq!(
            s.notify(2, ended(Some(Reason::Deactivated), None), &mut r),
            Action::Lost,
            "no tight loop"
        );
        s.notify(3, ACTIVE, &mut r);
        assert_eq!(s.notify(4, ended(Some(Reason::Rejected), None), &mut r), Action::Lost);
        assert_eq!(s.due(), 3_600_004);
    }
}
