//! What is declined, and how clearly.

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::emulators::dialog::Dialog;
use interop_tests::emulators::site::{ALICE, BOB, Site};
use interop_tests::wire::Request;

use super::kinds::live;

/// A batch: one SUBSCRIBE for several users is answered with all of them, or refused so that it falls back to one by one.
#[test]
fn a_batch_is_served_or_refused_clearly() -> Outcome {
    let site = Site::start(live())?;
    let wire = live().habits.wire;
    let mut dialog = Dialog::begin(&wire, &site.way, BOB, ALICE);
    let body = "<adhoclist xmlns=\"urn:ietf:params:xml:ns:adrl\" uri=\"sip:bob@b.example\" name=\"x\"><create>\
                <resource uri=\"sip:alice@a.example\"/><resource uri=\"sip:carol@a.example\"/></create></adhoclist>";
    let lines = "Event: presence\r\nRequire: adhoclist\r\nSupported: eventlist\r\nContent-Type: application/adrl+xml\r\n\
                 Accept: application/rlmi+xml, multipart/related, text/xml+msrtc.pidf\r\n";
    let bytes = dialog.request(&wire, &site.way, "SUBSCRIBE", lines, body.as_bytes());
    let answer = site.peer.ask(&bytes)?;
    match answer.status() {
        200 => {
            let document = if answer.body.is_empty() {
                let notify = site
                    .peer
                    .wait_for("NOTIFY", |e| !e.sent && e.message.header("Event").is_some());
                notify?.text()
            } else {
                answer.text()
            };
            for user in ["alice@a.example", "carol@a.example"] {
                assert!(document.contains(user), "{document}");
            }
        }
        420 => assert!(answer.header("Unsupported").is_some_and(|u| u.contains("adhoclist"))),
        other => return Err(format!("a batch was answered {other}").into()),
    }
    Ok(())
}

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
