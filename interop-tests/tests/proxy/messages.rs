//! MESSAGE (RFC 3428): kept for absent users, and its size.

use std::time::Instant;

use interop_tests::Outcome;
use interop_tests::agent::{Agent, PATIENCE};
use interop_tests::net::Family;
use interop_tests::stand::DOMAIN;
use interop_tests::wire::{Message, Request};

use super::bench::{AT_ONCE, Bench, NO_PROBE, QUIET, status};

fn call_id(message: &Message) -> String {
    message.header("Call-ID").unwrap_or_default().to_string()
}

pub(crate) fn kept_for_the_absent_and_survive_a_kill(family: Family) -> Outcome {
    let mut bench = Bench::start(family, NO_PROBE, "messages: { store_offline: true }\n")?;
    let mut sent = Vec::new();
    // From a user and from the peer; each is 202 at once.
    let mut alice = bench.user("alice")?;
    for (n, text) in ["one", "two", "three", "four", "five"].into_iter().enumerate() {
        let who = if n % 2 == 0 { &mut alice } else { &mut bench.bob };
        let started = Instant::now();
        let answer = who.message("sip:dave@a.example", text)?;
        status(&answer, 202)?;
        assert!(started.elapsed() < AT_ONCE, "202 took {:?}", started.elapsed());
        sent.push((text, call_id(&answer)));
    }
    // What was answered 202 is there after a kill, and comes with the next REGISTER, in order.
    bench.bridge.kill();
    bench.bridge.start_again()?;
    let mut deaf = bench.user("dave")?;
    deaf.answer_with("MESSAGE", 0);
    status(&deaf.register(600)?, 200)?;
    let first = deaf.messaged("one")?;
    assert_eq!(call_id(&first), sent[0].1);
    deaf.expect_none("second before the first is taken", QUIET, |m| m.is("MESSAGE"))?;
    // He has not taken it. A kill in between, and he is back elsewhere: it comes again, as the same message.
    bench.bridge.kill();
    bench.bridge.start_again()?;
    status(&deaf.register(0)?, 200)?;
    let mut dave = bench.registered("dave")?;
    for (text, call_id) in &sent {
        let got = dave.messaged(text)?;
        assert_eq!(got.header("Call-ID"), Some(&**call_id), "{text}");
    }
    // Taken is taken: it does not come a third time. Records keep their order, so once a later 2xx is there, what was
    // taken is gone for good; before, a kill might bring it back, which "at least once" allows.
    interop_tests::eventually("nothing is kept any more", PATIENCE, || {
        bench
            .bridge
            .ctl("status")
            .is_ok_and(|s| s.replace(' ', "").contains("\"stored_messages\":0"))
    })?;
    status(&dave.register(600)?, 200)?;
    bench.bridge.kill();
    dave.forget(|m| m.is("MESSAGE"));
    bench.bridge.start_again()?;
    status(&dave.register(600)?, 200)?;
    dave.expect_none("MESSAGE that was taken", QUIET, |m| m.is("MESSAGE"))
}

pub(crate) fn not_kept_where_it_is_not_wanted(family: Family) -> Outcome {
    let mut bench = Bench::start(family, NO_PROBE, "messages: { store_offline: false }\n")?;
    let mut alice = bench.user("alice")?;
    for who in [&mut alice, &mut bench.bob] {
        let started = Instant::now();
        status(&who.message("sip:dave@a.example", "now or never")?, 480)?;
        assert!(started.elapsed() < AT_ONCE, "480 took {:?}", started.elapsed());
    }
    let mut dave = bench.registered("dave")?;
    dave.expect_none("MESSAGE", QUIET, |m| m.is("MESSAGE"))
}

/// RFC 3261 section 18.1.1: what is longer than 1,300 bytes does not leave as a datagram. What came by TCP and could only
/// go on by UDP is refused with 513; what leaves by TCP passes.
pub(crate) fn long_ones_do_not_leave_as_datagrams(family: Family) -> Outcome {
    let mut bench = Bench::start(family, NO_PROBE, "")?;
    let mut alice = Agent::tcp("alice", DOMAIN, bench.bridge.ports.client())?;
    let (mut by_udp, mut by_tcp) = (
        bench.registered("dave")?,
        Agent::tcp("carol", DOMAIN, bench.bridge.ports.client())?,
    );
    status(&by_tcp.register(600)?, 200)?;
    let (short, long) = ("s".repeat(500), "l".repeat(1_400));
    for (target, status_of_long) in [
        ("sip:bob@b.example", 513),
        ("sip:dave@a.example", 513),
        ("sip:carol@a.example", 200),
    ] {
        let send = |alice: &mut Agent, text: &str| alice.ask(&Request::new("MESSAGE", target).body("text/plain", text));
        status(&send(&mut alice, &short)?, 200).map_err(|e| format!("short to {target}: {e}"))?;
        status(&send(&mut alice, &long)?, status_of_long).map_err(|e| format!("long to {target}: {e}"))?;
    }
    by_tcp.messaged(&long)?;
    for udp in [&mut bench.bob, &mut by_udp] {
        udp.messaged(&short)?;
        udp.expect_none("long MESSAGE over UDP", QUIET, |m| m.is("MESSAGE"))?;
    }
    // A user with both: the phone on TCP gets it.
    let mut second = Agent::tcp("dave", DOMAIN, bench.bridge.ports.client())?;
    status(&second.register(600)?, 200)?;
    status(&alice.message("sip:dave@a.example", &long)?, 200)?;
    second.messaged(&long)?;
    by_udp.expect_none("long MESSAGE over UDP", QUIET, |m| m.is("MESSAGE"))
}
