//! What is declined, and how clearly.

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::emulators::site::{ALICE, BOB, Site};
use interop_tests::wire::Request;

use super::kinds::live;

/// A stranger who looks like it, from another address, is refused.
#[test]
fn a_stranger_is_no_server() -> Outcome {
    let mut setup = live();
    setup.tls = true;
    let site = Site::start(setup)?;
    let mut mallory = Agent::tcp("bob", "b.example", site.bridge.ports.client())?;
    mallory.password = String::new();
    for method in ["SUBSCRIBE", "MESSAGE", "INVITE"] {
        let request = Request::new(method, &format!("sip:{ALICE}"))
            .with("Contact", mallory.contact())
            .with("Event", "presence");
        let status = mallory.ask(&request)?.status();
        assert!(matches!(status, 401 | 403 | 407), "{method}: {status}");
    }
    Ok(())
}

/// Media that is not for messages is declined at once.
#[test]
fn an_invite_that_offers_something_else() -> Outcome {
    let mut setup = live();
    setup.habits.media = "m=application 5060 sip remote-assistance";
    setup.habits.first_in_invite = false;
    let site = Site::start(setup)?;
    let alice = site.user("alice")?;
    alice.answer_with("INVITE", 488);
    site.peer.write(BOB, ALICE, "help me")?;
    let answer = site
        .peer
        .wait_for("an answer to INVITE", |e| !e.sent && e.message.status() >= 200)?;
    assert!(answer.status() >= 400, "{}", answer.start);
    Ok(())
}
