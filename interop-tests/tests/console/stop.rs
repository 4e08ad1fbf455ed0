//! How the bridge stops: new work is refused, what is under way ends, and nobody waits for ever.

use std::time::{Duration, Instant};

use interop_tests::agent::Agent;
use interop_tests::link::{Link, Received};
use interop_tests::net::Family;
use interop_tests::wire::{Message, Request, unique};
use interop_tests::{Outcome, eventually};
use nix::sys::signal::Signal;

use crate::bench::{A, Bench};

const PATIENCE: Duration = Duration::from_secs(20);

/// A bridge with a message under way: bob has it and says nothing yet. Over TCP, so that nothing is repeated.
struct Pending {
    bench: Bench,
    bob: Agent,
    /// What bob has to answer.
    asked: Message,
    /// Where the sender waits, somebody of the peer.
    erin: Link,
}

impl Pending {
    fn start(limit: &str) -> Outcome<Self> {
        let bench = Bench::start(Family::V4, &format!("limits: {{ drain_timeout: {limit} }}\n"))?;
        let mut bob = bench.user("bob", "tcp")?;
        bob.answer_with("MESSAGE", 0);
        let mut erin = Link::tls(bench.ports.trunk(), &bench.tls()?)?;
        let request = message("sip:bob@a.example", "wait");
        let via = format!("SIP/2.0/TLS {};branch=z9hG4bK{};rport", erin.local()?, unique());
        erin.send(&request.write(&via))?;
        let asked = bob.expect("MESSAGE", PATIENCE, |m| m.is("MESSAGE"))?;
        Ok(Self {
            bench,
            bob,
            asked,
            erin,
        })
    }

    /// New work is refused on new connections too, so that listeners are still there.
    fn is_refused(&self) -> Outcome {
        let mut refused = None;
        eventually("503", PATIENCE, || {
            let ask = || -> Outcome<Message> {
                let mut agent = Agent::tcp("carol", A, self.bench.ports.client())?;
                agent.options()
            };
            refused = ask().ok().filter(|m| m.status() == 503);
            refused.is_some()
        })?;
        let answer = refused.ok_or("no answer")?;
        let seconds: u32 = answer.header("Retry-After").unwrap_or_default().parse()?;
        assert!((1..=60).contains(&seconds), "{}", answer.start);
        Ok(())
    }
}

fn message(to: &str, text: &str) -> Request {
    let mut request = Request::new("MESSAGE", to)
        .from(format!("<sip:erin@b.example>;tag={}", unique()))
        .to(format!("<{to}>"))
        .body("text/plain", text);
    request.call_id = Some(unique());
    request
}

#[test]
fn what_is_under_way_ends_and_new_work_is_refused() -> Outcome {
    for by_signal in [true, false] {
        let mut pending = Pending::start("60s")?;
        if by_signal {
            pending.bench.bridge.process().signal(Signal::SIGTERM);
        } else {
            assert!(pending.bench.bridge.ctl("drain")?.contains("\"draining\":true"));
        }
        pending.is_refused()?;
        assert!(pending.bench.bridge.ctl("status")?.contains("\"draining\":true"));
        assert!(pending.bench.bridge.process().is_running());
        let answer = pending.asked.answer(200, "bob", "", "");
        pending.bob.send(&answer)?;
        let got = match pending.erin.receive(PATIENCE) {
            Received::Message(got) => got.status(),
            other => return Err(format!("{other:?}").into()),
        };
        assert_eq!(got, 200);
        assert_eq!(pending.bench.bridge.process().wait(PATIENCE)?, Some(0));
    }
    Ok(())
}

#[test]
fn the_limit_ends_what_does_not_end_by_itself() -> Outcome {
    let mut pending = Pending::start("1s")?;
    pending.bench.bridge.process().signal(Signal::SIGTERM);
    assert_eq!(pending.bench.bridge.process().wait(PATIENCE)?, Some(0));
    assert!(pending.bench.bridge.log().contains("the time to stop is up"));
    Ok(())
}

#[test]
fn a_second_signal_ends_it_at_once() -> Outcome {
    let mut pending = Pending::start("60s")?;
    pending.bench.bridge.process().signal(Signal::SIGTERM);
    pending.is_refused()?;
    let told = Instant::now();
    pending.bench.bridge.process().signal(Signal::SIGINT);
    assert_eq!(pending.bench.bridge.process().wait(PATIENCE)?, Some(0));
    assert!(told.elapsed() < Duration::from_secs(15), "{:?}", told.elapsed());
    assert!(pending.bench.bridge.log().contains("told to stop again"));
    Ok(())
}
