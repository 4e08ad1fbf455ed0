//! Several contacts of one user, and the way to them (RFC 3261 section 16, RFC 3327).

use interop_tests::Outcome;
use interop_tests::agent::{Agent, PATIENCE};
use interop_tests::net::Family;
use interop_tests::wire::{Message, Request};

use super::bench::{Bench, NO_PROBE, QUIET, status};

/// Two phones of dave.
fn phones(bench: &Bench) -> Outcome<(Agent, Agent)> {
    let (first, mut second) = (bench.registered("dave")?, bench.user("dave")?);
    let register = Request::new("REGISTER", "sip:a.example")
        .with("Contact", format!("{};q=0.5", second.contact()))
        .with("Expires", "600");
    let answer = second.ask(&register)?;
    status(&answer, 200)?;
    assert_eq!(answer.all("Contact").count(), 2, "both are registered");
    Ok((first, second))
}

fn invited(phone: &mut Agent) -> Outcome<Message> {
    phone.expect("INVITE", PATIENCE, |m| m.is("INVITE"))
}

pub(crate) fn the_first_who_answers_wins(family: Family) -> Outcome {
    let bench = Bench::start(family, NO_PROBE, "")?;
    let (mut first, mut second) = phones(&bench)?;
    first.answer_with("INVITE", 180);
    second.answer_with("INVITE", 180);
    let mut alice = bench.registered("alice")?;
    let ringing = std::thread::spawn(move || {
        let call = alice.call("sip:dave@a.example").map_err(|e| e.to_string());
        (alice, call)
    });
    let (one, two) = (invited(&mut first)?, invited(&mut second)?);
    assert_ne!(one.branch(), two.branch(), "each contact has a transaction of its own");
    assert_eq!(
        (one.header("Max-Breadth"), two.header("Max-Breadth")),
        (Some("30"), Some("30"))
    );
    second.send(&two.answer(
        200,
        &format!("t{}", two.branch()),
        &format!("Contact: {}\r\n", second.contact()),
        "",
    ))?;
    let cancel = first.expect("CANCEL", PATIENCE, |m| m.is("CANCEL"))?;
    assert_eq!(cancel.branch(), one.branch());
    first.send(&one.answer(487, &format!("t{}", one.branch()), "", ""))?;
    first.expect("ACK for the 487", PATIENCE, |m| {
        m.is("ACK") && m.branch() == one.branch()
    })?;
    let (mut alice, call) = ringing.join().map_err(|_| "the caller panicked")?;
    let call = call?;
    assert!(
        call.answer
            .header("Contact")
            .is_some_and(|c| c.contains(&second.local().to_string()))
    );
    second.expect("ACK", PATIENCE, |m| m.is("ACK"))?;
    second.expect_none("CANCEL to the winner", QUIET, |m| m.is("CANCEL"))?;
    alice.expect_none("another final answer", QUIET, |m| {
        m.status() >= 300 && m.status() != 407
    })?;
    status(&alice.hang_up(&call)?, 200)?;
    second.expect("BYE", PATIENCE, |m| m.is("BYE"))?;
    first.expect_none("BYE at the loser", QUIET, |m| m.is("BYE"))
}

/// The best of the refusals goes back: 6xx ends it all, else the lowest class.
pub(crate) fn all_refuse(family: Family) -> Outcome {
    let bench = Bench::start(family, NO_PROBE, "")?;
    let (mut first, mut second) = phones(&bench)?;
    let mut alice = bench.registered("alice")?;
    for (one, two, best) in [(486, 603, 603), (500, 404, 404), (486, 486, 486), (503, 503, 500)] {
        first.answer_with("INVITE", one);
        second.answer_with("INVITE", two);
        let answer = alice.ask(&Request::new("INVITE", "sip:dave@a.example").with("Contact", alice.contact()))?;
        status(&answer, best).map_err(|e| format!("{one} and {two}: {e}"))?;
        for phone in [&mut first, &mut second] {
            invited(phone)?;
            phone.expect("ACK", PATIENCE, |m| m.is("ACK"))?;
        }
    }
    Ok(())
}

/// RFC 3428 section 7: a MESSAGE may be forked; its sender sees one answer. `q` orders contacts and keeps none away.
pub(crate) fn a_message_goes_to_every_contact(family: Family) -> Outcome {
    let bench = Bench::start(family, NO_PROBE, "")?;
    let (mut first, mut second) = phones(&bench)?;
    let mut alice = bench.user("alice")?;
    status(&alice.message("sip:dave@a.example", "to both")?, 200)?;
    let (one, two) = (first.messaged("to both")?, second.messaged("to both")?);
    assert_eq!(one.header("Call-ID"), two.header("Call-ID"));
    assert!(one.start.contains(&first.local().to_string()) && two.start.contains(&second.local().to_string()));
    alice.expect_none("second answer", QUIET, |m| m.status() == 200)?;
    // One of them is gone: the other's answer counts.
    first.answer_with("MESSAGE", 480);
    status(&alice.message("sip:dave@a.example", "to one")?, 200)?;
    second.messaged("to one").map(drop)
}

/// RFC 3327: requests for the user go by way of the edge that the REGISTER names.
pub(crate) fn path_is_honoured(family: Family) -> Outcome {
    let bench = Bench::start(family, NO_PROBE, "")?;
    // The edge is on the host the REGISTER comes from; nowhere else would anything be sent.
    let (mut dave, mut edge) = (bench.user("dave")?, bench.user("edge")?);
    let path = format!("<sip:edge@{};lr>", edge.local());
    let register = Request::new("REGISTER", "sip:a.example")
        .with("Contact", "<sip:dave@hidden.invalid>")
        .with("Path", &path)
        .with("Supported", "path")
        .with("Expires", "600");
    let answer = dave.ask(&register)?;
    status(&answer, 200)?;
    assert_eq!(
        answer.header("Path"),
        Some(&*path),
        "the registrar says which Path it took"
    );
    let mut alice = bench.registered("alice")?;
    status(&alice.message("sip:dave@a.example", "over the edge")?, 200)?;
    let got = edge.messaged("over the edge")?;
    assert_eq!(got.header("Route"), Some(&*path));
    assert!(
        got.start.starts_with("MESSAGE sip:dave@hidden.invalid "),
        "{}",
        got.start
    );
    dave.expect_none("MESSAGE past the edge", QUIET, |m| m.is("MESSAGE"))?;
    // A call, too: the edge answers for him.
    let call = alice.call("sip:dave@a.example")?;
    edge.expect("INVITE", PATIENCE, |m| {
        m.is("INVITE") && m.header("Route") == Some(&*path)
    })?;
    status(&alice.hang_up(&call)?, 200)
}
