//! Peers that are silent, down or overloaded, and what of it their neighbours hear (RFC 4320).

use std::time::{Duration, Instant};

use interop_tests::Outcome;
use interop_tests::agent::{Agent, PATIENCE};
use interop_tests::net::Family;
use interop_tests::stand::DOMAIN;
use interop_tests::wire::{Message, Request, unique};

use super::bench::{AT_ONCE, Bench, NO_PROBE, QUIET, status};

/// A MESSAGE with its credentials, sent once and not waited for; returns its branch.
fn send(agent: &mut Agent, transport: &str, text: &str) -> Outcome<String> {
    let target = "sip:bob@b.example";
    let mut request = Request::new("MESSAGE", target)
        .from(agent.new_from())
        .to(format!("<{target}>"))
        .body("text/plain", text);
    request.call_id = Some(format!("{}@silence.invalid", unique()));
    let asked = agent.transact(&request)?;
    status(&asked, 407)?;
    let challenge = agent.choose(&asked, "Proxy-Authenticate").ok_or("no challenge")?;
    let value = challenge.answer(&agent.user, &agent.password, "MESSAGE", target, 1);
    request = Request { cseq: 2, ..request }.with("Proxy-Authorization", value);
    let branch = format!("z9hG4bK{}", unique());
    agent.send(&request.write(&format!("SIP/2.0/{transport} {};branch={branch};rport", agent.local())))?;
    Ok(branch)
}

pub(crate) fn silence_is_answered_in_time(family: Family) -> Outcome {
    let peer = format!("{NO_PROBE}    request_timeout: 6s\n");
    let mut bench = Bench::start_with(family, &peer, "", |bob| bob.answer_with("MESSAGE", 0))?;
    let server = bench.bridge.ports.client();
    let mut by_udp = bench.user("alice")?;
    let mut by_tcp = Agent::tcp("carol", DOMAIN, server)?;
    let (started, udp) = (Instant::now(), send(&mut by_udp, "UDP", "over UDP")?);
    let tcp = send(&mut by_tcp, "TCP", "over TCP")?;
    let asked = [bench.bob.messaged("over UDP")?, bench.bob.messaged("over TCP")?];
    // RFC 4320 section 4.1: a 100 over any transport, but not before Timer E has reached T2.
    let mine = |branch: &str| {
        let branch = branch.to_string();
        move |m: &Message| m.status() > 0 && m.branch() == branch
    };
    for (agent, branch) in [(&mut by_udp, &udp), (&mut by_tcp, &tcp)] {
        let first = agent.expect("100", PATIENCE, mine(branch))?;
        assert_eq!(first.status(), 100, "{}", first.start);
        assert!(
            started.elapsed() >= Duration::from_millis(3_400),
            "100 after {:?}",
            started.elapsed()
        );
    }
    for (agent, branch) in [(&mut by_udp, &udp), (&mut by_tcp, &tcp)] {
        let answer = agent.expect("504", PATIENCE, mine(branch))?;
        status(&answer, 504)?;
        assert!(answer.header("Reason").is_some(), "it says why");
        let took = started.elapsed();
        assert!(
            took >= Duration::from_secs(5) && took < Duration::from_secs(20),
            "504 after {took:?}"
        );
    }
    // The peer wakes up too late: nothing more is said.
    for message in asked {
        bench.bob.send(&message.answer(200, "late", "", ""))?;
    }
    by_udp.expect_none("answer after the answer", QUIET, mine(&udp))?;
    by_tcp.expect_none("answer after the answer", QUIET, mine(&tcp))?;
    // A peer that says 408 itself is not believed either (RFC 4320 section 4.2).
    bench.bob.answer_with("MESSAGE", 408);
    status(&by_udp.message("sip:bob@b.example", "late again")?, 504)
}

pub(crate) fn a_peer_that_is_down_is_told_at_once(family: Family) -> Outcome {
    let probe = "    probe: { interval: 1s, timeout: 1s, down_after: 2 }\n";
    let mut bench = Bench::start_with(family, probe, "", |bob| bob.answer_with("OPTIONS", 0))?;
    let mut alice = bench.user("alice")?;
    bench.bridge.wait_for_peer("down")?;
    for method in ["MESSAGE", "INVITE"] {
        let started = Instant::now();
        let answer = alice.ask(&Request::new(method, "sip:bob@b.example").with("Contact", alice.contact()))?;
        assert!(matches!(answer.status(), 504 | 480), "{method}: {}", answer.start);
        assert!(
            answer.header("Reason").is_some_and(|r| r.contains("far")),
            "{:?}",
            answer.header("Reason")
        );
        assert!(started.elapsed() < AT_ONCE, "{method} took {:?}", started.elapsed());
    }
    bench.bob.expect_none("anything for a peer that is down", QUIET, |m| {
        m.is("MESSAGE") || m.is("INVITE")
    })?;
    // It answers again, and all goes on.
    bench.bob.answer_with("OPTIONS", 200);
    bench.bridge.wait_for_peer("up")?;
    status(&alice.message("sip:bob@b.example", "back")?, 200)?;
    bench.bob.messaged("back").map(drop)
}

/// A peer's 503 says nothing of the bridge: another status goes back. Our own says when to come again.
pub(crate) fn only_our_own_overload_is_503(family: Family) -> Outcome {
    let mut bench = Bench::start(family, NO_PROBE, "limits: { max_transactions: 40 }\n")?;
    let mut alice = bench.user("alice")?;
    bench.bob.answer_with("MESSAGE", 503);
    let answer = alice.message("sip:bob@b.example", "you are busy")?;
    status(&answer, 500)?;
    assert!(
        answer.header("Retry-After").is_none(),
        "{:?}",
        answer.header("Retry-After")
    );
    // Each datagram's transaction stays for 64*T1.
    let mut busy = None;
    for _ in 0..60 {
        let answer = bench.bob.ask(&Request::new("OPTIONS", "sip:a.example"))?;
        if answer.status() != 200 {
            busy = Some(answer);
            break;
        }
    }
    let busy = busy.ok_or("40 transactions are never reached")?;
    status(&busy, 503)?;
    assert!(
        busy.header("Retry-After")
            .is_some_and(|r| r.parse::<u32>().is_ok_and(|s| s > 0)),
        "{busy:?}"
    );
    Ok(())
}
