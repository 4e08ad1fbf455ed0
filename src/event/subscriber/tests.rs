//! One machine under a clock of its own.

use super::*;

const ACTIVE: SubscriptionState = SubscriptionState::Active(Some(600));
const HOUR: u64 = 3_600_000;

struct Bench {
    machine: Subscriber,
    random: Random,
    now: u64,
}

fn answered(status: u16) -> Answered {
    Answered {
        status,
        ..Answered::default()
    }
}

fn ended(reason: Reason, retry_after: Option<u32>) -> SubscriptionState {
    SubscriptionState::Terminated {
        reason: Some(reason),
        retry_after,
    }
}

impl Bench {
    /// A SUBSCRIBE is out.
    fn started() -> Self {
        Self {
            machine: Subscriber::new(0, 3600),
            random: Random::from_seed([5; 32]),
            now: 0,
        }
    }

    /// Active since a minute, of ten.
    fn active() -> Self {
        let mut bench = Self::started();
        assert_eq!(bench.answer(answered(200)), Action::None);
        assert_eq!(bench.notify(ACTIVE), Action::None);
        bench.now = 60_000;
        bench
    }

    fn answer(&mut self, answer: Answered) -> Action {
        self.machine.response(self.now, answer, &mut self.random)
    }

    fn notify(&mut self, state: SubscriptionState) -> Action {
        self.machine.notify(self.now, state, &mut self.random)
    }

    fn fail(&mut self) -> Action {
        self.machine.failed(self.now, &mut self.random)
    }

    /// Lets time run to the next timer; how long it took and what came.
    fn wait(&mut self) -> (u64, Action) {
        let at = self.machine.due().expect("a timer runs");
        let waited = at - self.now;
        self.now = at;
        (waited, self.machine.timer(self.now, &mut self.random))
    }
}

#[test]
fn a_notify_before_its_2xx_is_as_good_as_after() {
    let mut bench = Bench::started();
    assert_eq!(bench.notify(ACTIVE), Action::None);
    bench.now = 9;
    let granted = Answered {
        expires_s: Some(600),
        ..answered(200)
    };
    assert_eq!(bench.answer(granted), Action::None);
    assert_eq!(bench.machine.state(), State::Active);
    let (waited, action) = bench.wait();
    assert!((480_000..=540_009).contains(&waited), "{waited}");
    assert_eq!(action, Action::Refresh);
}

#[test]
fn silence_after_the_2xx_is_timer_n() {
    let mut bench = Bench::started();
    bench.answer(answered(200));
    assert_eq!(bench.wait(), (32_000, Action::Lost));
    let (waited, action) = bench.wait();
    assert!((5_000..=6_250).contains(&waited) && action == Action::Start, "{waited}");
}

#[test]
fn failures_back_off_up_to_ten_minutes_and_a_peer_that_returns_is_asked_at_once() {
    let mut bench = Bench::started();
    for n in 0..12 {
        assert_eq!(bench.fail(), Action::Lost);
        let (waited, action) = bench.wait();
        let base = (5_000u64 << n).min(600_000);
        assert!((base..=base * 5 / 4).contains(&waited), "{n}: {waited}");
        assert_eq!(action, Action::Start);
    }
    bench.fail();
    assert_eq!(bench.machine.peer_up(bench.now + 1), Action::Start);
}

#[test]
fn each_answer_to_a_first_subscribe() {
    let retry = |status, seconds| Answered {
        retry_after_s: Some(seconds),
        ..answered(status)
    };
    let brief = |min| Answered {
        min_expires_s: Some(min),
        ..answered(423)
    };
    let table = [
        (answered(408), 5_000, 6_250),
        (answered(480), 5_000, 6_250),
        (answered(481), 5_000, 6_250),
        (answered(500), 5_000, 6_250),
        (answered(503), 5_000, 6_250),
        (retry(500, 30), 30_000, 30_000),
        (retry(503, 7_200), 2 * HOUR, 2 * HOUR),
        (answered(403), HOUR, HOUR),
        (answered(404), HOUR, HOUR),
        (answered(407), HOUR, HOUR),
        (answered(489), HOUR, HOUR),
        (retry(404, 7_200), 2 * HOUR, 2 * HOUR),
        (answered(423), HOUR, HOUR),
        (brief(60), HOUR, HOUR),
        (brief(u32::MAX), HOUR, HOUR),
    ];
    for (answer, least, most) in table {
        let mut bench = Bench::started();
        assert_eq!(bench.answer(answer), Action::Lost, "{answer:?}");
        let (waited, action) = bench.wait();
        assert!(
            (least..=most).contains(&waited) && action == Action::Start,
            "{answer:?}: {waited}"
        );
    }
}

#[test]
fn too_brief_an_interval_is_raised_a_few_times_only() {
    let mut bench = Bench::started();
    let brief = |min| Answered {
        min_expires_s: Some(min),
        ..answered(423)
    };
    for min in [4000, 4001, 4002] {
        assert_eq!(bench.answer(brief(min)), Action::Refresh);
        assert_eq!(bench.machine.expires_s(), min);
    }
    assert_eq!(bench.answer(brief(4003)), Action::Lost);
}

#[test]
fn each_answer_to_a_refresh() {
    for (status, action, state) in [
        (481, Action::Start, State::NotifyWait),
        (403, Action::Lost, State::Waiting),
        (404, Action::Lost, State::Waiting),
        (489, Action::Lost, State::Waiting),
        (408, Action::None, State::Active),
        (500, Action::None, State::Active),
        (503, Action::None, State::Active),
    ] {
        let mut bench = Bench::active();
        assert_eq!(bench.wait().1, Action::Refresh);
        assert_eq!(bench.answer(answered(status)), action, "{status}");
        assert_eq!(bench.machine.state(), state, "{status}");
    }
}

#[test]
fn refreshes_that_fail_are_repeated_until_the_subscription_expires() {
    let mut bench = Bench::active();
    loop {
        let (_, action) = bench.wait();
        if bench.now >= 600_000 {
            assert_eq!((bench.now, action), (600_000, Action::Start));
            break;
        }
        assert_eq!(action, Action::Refresh);
        assert_eq!(bench.answer(answered(500)), Action::None);
    }
}

#[test]
fn a_refresh_without_an_answer_makes_the_state_unknown_and_keeps_the_dialog() {
    let mut bench = Bench::active();
    bench.wait();
    assert_eq!((bench.fail(), bench.machine.state()), (Action::Unknown, State::Active));
    let (waited, action) = bench.wait();
    assert!(
        (5_000..=6_250).contains(&waited) && action == Action::Refresh,
        "{waited}"
    );
    assert_eq!(bench.machine.peer_up(bench.now), Action::Refresh);
}

/// A time to wait that the peer has named holds whatever else is known of it.
#[test]
fn a_peer_that_is_back_is_given_the_time_it_asked_for() {
    let busy = Answered {
        retry_after_s: Some(30),
        ..answered(503)
    };
    let mut bench = Bench::started();
    assert_eq!(bench.answer(busy), Action::Lost);
    assert_eq!(bench.machine.peer_up(bench.now + 29_999), Action::None);
    assert_eq!(bench.machine.due(), Some(30_000));
    assert_eq!(bench.machine.peer_up(bench.now + 30_000), Action::Start);
    let mut bench = Bench::active();
    assert_eq!(bench.answer(busy), Action::None);
    assert_eq!(bench.machine.peer_up(bench.now + 29_999), Action::None);
    assert_eq!(bench.machine.peer_up(bench.now + 30_000), Action::Refresh);
    let mut bench = Bench::active();
    assert_eq!(bench.notify(ended(Reason::Probation, Some(30))), Action::Lost);
    assert_eq!(bench.machine.peer_up(bench.now + 29_999), Action::None);
    assert_eq!(bench.machine.peer_up(bench.now + 30_000), Action::Start);
}

#[test]
fn each_reason_of_a_termination() {
    let table = [
        (ended(Reason::Deactivated, None), Action::Start, None),
        (ended(Reason::Timeout, None), Action::Start, None),
        (ended(Reason::Timeout, Some(9)), Action::Start, None),
        (ended(Reason::Probation, Some(77)), Action::Lost, Some(77_000..=77_000)),
        (ended(Reason::Probation, None), Action::Lost, Some(5_000..=6_250)),
        (ended(Reason::Giveup, Some(9)), Action::Lost, Some(9_000..=9_000)),
        (ended(Reason::Giveup, None), Action::Start, None),
        (
            SubscriptionState::Terminated {
                reason: None,
                retry_after: None,
            },
            Action::Start,
            None,
        ),
    ];
    for (state, action, next) in table {
        let mut bench = Bench::active();
        assert_eq!(bench.notify(state), action, "{state:?}");
        if let Some(range) = next {
            let (waited, action) = bench.wait();
            assert!(
                range.contains(&waited) && action == Action::Start,
                "{state:?}: {waited}"
            );
        }
    }
    for (reason, action, again) in [
        (Reason::Rejected, Action::Lost, Action::Start),
        (Reason::NoResource, Action::Lost, Action::Start),
        (Reason::Invariant, Action::Final, Action::None),
    ] {
        let mut bench = Bench::active();
        assert_eq!(bench.notify(ended(reason, None)), action);
        assert_eq!(
            (bench.machine.due(), bench.machine.peer_up(bench.now)),
            (None, Action::None)
        );
        assert_eq!(
            bench.machine.wanted(bench.now),
            again,
            "{reason}: only when somebody asks"
        );
    }
}

#[test]
fn a_peer_that_ends_each_new_subscription_at_once_gets_no_storm() {
    let mut bench = Bench::started();
    let mut sent = 0;
    while bench.now < 60_000 {
        bench.answer(answered(200));
        bench.notify(ACTIVE);
        assert_eq!(bench.notify(ended(Reason::Deactivated, None)), Action::Lost);
        assert_eq!(bench.wait().1, Action::Start);
        sent += 1;
    }
    assert!(sent <= 12, "{sent}");
    let mut refused = Bench::started();
    refused.notify(ended(Reason::Rejected, None));
    assert_eq!(refused.machine.wanted(1), Action::None, "nor do watchers make one");
}

#[test]
fn a_dialog_from_before_a_restart_that_is_gone_is_replaced_at_once() {
    let mut bench = Bench::started();
    bench.machine = Subscriber::restored(1, 3600);
    bench.now = 2;
    assert_eq!(bench.answer(answered(481)), Action::Start);
    bench.machine = Subscriber::restored(1, 3600);
    assert_eq!(bench.fail(), Action::Unknown);
}
