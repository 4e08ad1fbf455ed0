//! INVITE and what follows it: loose routing through the bridge in both directions, CANCEL, hops.

use interop_tests::Outcome;
use interop_tests::agent::{Agent, PATIENCE};
use interop_tests::net::Family;
use interop_tests::wire::{Message, Request, unique};

use super::bench::{AT_ONCE, Bench, NO_PROBE, QUIET, of_callee, of_caller, status};

/// What each side sends inside the dialog reaches the other, through the bridge, and nobody else's does.
fn talk(caller: &mut Agent, callee: &mut Agent, stranger: &mut Agent) -> Outcome {
    let call = caller.call(&callee.aor())?;
    let invite = callee.expect("INVITE", PATIENCE, |m| m.is("INVITE"))?;
    let record_route = invite.header("Record-Route").ok_or("the bridge stays in the path")?;
    assert!(record_route.contains(";lr"), "{record_route}");
    callee.expect("ACK", PATIENCE, |m| m.is("ACK"))?;
    for (n, method) in ["INFO", "INVITE", "UPDATE"].into_iter().enumerate() {
        let cseq = 100 + 10 * u32::try_from(n)?;
        let answer = callee.ask(&of_callee(&invite, method, cseq).with("Contact", callee.contact()))?;
        status(&answer, 200).map_err(|e| format!("{method} of the callee: {e}"))?;
        let got = caller.expect(method, PATIENCE, |m| m.is(method))?;
        assert!(
            got.header("Route").is_none(),
            "our Route comes off: {:?}",
            got.header("Route")
        );
        let answer = caller.ask(&of_caller(&call.answer, method, cseq).with("Contact", caller.contact()))?;
        status(&answer, 200).map_err(|e| format!("{method} of the caller: {e}"))?;
        callee.expect(method, PATIENCE, |m| m.is(method))?;
    }
    // Somebody who has seen it all, but is neither of the two.
    let forged = of_caller(&call.answer, "BYE", 900).from(stranger.new_from());
    let answer = stranger.ask(&forged)?;
    assert!(matches!(answer.status(), 403 | 481), "{}", answer.start);
    callee.expect_none("BYE of a stranger", QUIET, |m| m.is("BYE"))?;
    // The side that was called hangs up.
    status(&callee.ask(&of_callee(&invite, "BYE", 500))?, 200)?;
    caller.expect("BYE", PATIENCE, |m| m.is("BYE")).map(drop)
}

pub(crate) fn both_sides_speak_inside_a_dialog(family: Family) -> Outcome {
    let mut bench = Bench::start(family, NO_PROBE, "")?;
    let (mut alice, mut carol) = (bench.registered("alice")?, bench.user("carol")?);
    talk(&mut alice, &mut bench.bob, &mut carol)?;
    talk(&mut bench.bob, &mut alice, &mut carol)
}

pub(crate) fn users_of_the_bridge_call_each_other(family: Family) -> Outcome {
    let bench = Bench::start(family, NO_PROBE, "")?;
    let (mut alice, mut dave, mut carol) = (
        bench.registered("alice")?,
        bench.registered("dave")?,
        bench.user("carol")?,
    );
    talk(&mut alice, &mut dave, &mut carol)
}

/// An INVITE on its way: the request as it was sent last, and its Via.
fn ring(caller: &mut Agent, target: &str) -> Outcome<(Request, String)> {
    let mut request = Request::new("INVITE", target)
        .with("Contact", caller.contact())
        .from(caller.new_from())
        .to(format!("<{target}>"));
    request.call_id = Some(format!("{}@ring.invalid", unique()));
    let via = |caller: &Agent| format!("SIP/2.0/UDP {};branch=z9hG4bK{};rport", caller.local(), unique());
    let first = via(caller);
    caller.send(&request.write(&first))?;
    let asked = caller.expect("407", PATIENCE, |m| m.status() == 407)?;
    let ack = Request {
        method: "ACK".into(),
        to: asked.header("To").map(Into::into),
        ..request.clone()
    };
    caller.send(&ack.write(&first))?;
    let challenge = caller.choose(&asked, "Proxy-Authenticate").ok_or("no challenge")?;
    let value = challenge.answer(&caller.user, &caller.password, "INVITE", target, 1);
    request = Request { cseq: 2, ..request }.with("Proxy-Authorization", value);
    let second = via(caller);
    caller.send(&request.write(&second))?;
    Ok((request, second))
}

fn cancel(invite: &Request) -> Request {
    Request {
        method: "CANCEL".into(),
        headers: Vec::new(),
        ..invite.clone()
    }
}

fn answers<'a>(method: &'a str, status: u16) -> impl Fn(&Message) -> bool + 'a {
    move |m| m.status() == status && m.header("CSeq").is_some_and(|c| c.ends_with(method))
}

pub(crate) fn a_call_is_cancelled(family: Family) -> Outcome {
    let mut bench = Bench::start(family, NO_PROBE, "")?;
    let mut alice = bench.user("alice")?;
    // It rings; she gives up.
    bench.bob.answer_with("INVITE", 180);
    let (invite, via) = ring(&mut alice, "sip:bob@b.example")?;
    alice.expect("180", PATIENCE, |m| m.status() == 180)?;
    let far = bench.bob.expect("INVITE", PATIENCE, |m| m.is("INVITE"))?;
    alice.send(&cancel(&invite).write(&via))?;
    alice.expect("200 to CANCEL", PATIENCE, answers("CANCEL", 200))?;
    let cancelled = bench.bob.expect("CANCEL", PATIENCE, |m| m.is("CANCEL"))?;
    assert_eq!(cancelled.branch(), far.branch(), "it is for that INVITE");
    bench
        .bob
        .send(&far.answer(487, &format!("t{}", far.branch()), "", ""))?;
    alice.expect("487 to INVITE", PATIENCE, answers("INVITE", 487))?;
    bench
        .bob
        .expect("ACK", PATIENCE, |m| m.is("ACK") && m.branch() == far.branch())?;
    // Nothing has rung yet: the CANCEL waits for that.
    bench.bob.answer_with("INVITE", 0);
    let (invite, via) = ring(&mut alice, "sip:bob@b.example")?;
    let far = bench.bob.expect("INVITE", PATIENCE, |m| m.is("INVITE"))?;
    alice.send(&cancel(&invite).write(&via))?;
    alice.expect("200 to CANCEL", PATIENCE, answers("CANCEL", 200))?;
    bench
        .bob
        .expect_none("CANCEL before anything rang", QUIET, |m| m.is("CANCEL"))?;
    bench.bob.send(&far.answer(180, "t1", "", ""))?;
    bench.bob.expect("CANCEL", PATIENCE, |m| m.is("CANCEL"))?;
    bench.bob.send(&far.answer(487, "t1", "", ""))?;
    alice.expect("487 to INVITE", PATIENCE, answers("INVITE", 487))?;
    // What is not there cannot be cancelled.
    let (invite, via) = ring(&mut alice, "sip:bob@b.example")?;
    bench.bob.expect("INVITE", PATIENCE, |m| m.is("INVITE"))?;
    let nothing = format!("SIP/2.0/UDP {};branch=z9hG4bK{};rport", alice.local(), unique());
    alice.send(&cancel(&invite).write(&nothing))?;
    alice.expect("481 to CANCEL", PATIENCE, answers("CANCEL", 481))?;
    alice.send(&cancel(&invite).write(&via))?;
    alice
        .expect("200 to CANCEL", PATIENCE, answers("CANCEL", 200))
        .map(drop)
}

pub(crate) fn hops_are_counted(family: Family) -> Outcome {
    let mut bench = Bench::start(family, NO_PROBE, "")?;
    let mut alice = bench.user("alice")?;
    let message = |hops: &str| {
        Request::new("MESSAGE", "sip:bob@b.example")
            .with("Max-Forwards", hops)
            .body("text/plain", hops)
    };
    status(&alice.ask(&message("0"))?, 483)?;
    bench
        .bob
        .expect_none("MESSAGE without hops", QUIET, |m| m.is("MESSAGE"))?;
    status(&alice.ask(&message("1"))?, 200)?;
    let got = bench.bob.expect("MESSAGE", AT_ONCE, |m| m.is("MESSAGE"))?;
    assert_eq!(
        (got.header("Max-Forwards"), got.header("Max-Breadth")),
        (Some("0"), Some("60"))
    );
    // What ends here needs no hops.
    let options = Request::new("OPTIONS", "sip:a.example").with("Max-Forwards", "0");
    status(&alice.ask(&options)?, 200)
}
