//! What is odd about its requests is understood from it, and from nobody else.

use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::emulators::PATIENCE;
use interop_tests::emulators::dialog::Dialog;
use interop_tests::emulators::scenes::expect_status;
use interop_tests::emulators::site::{A, ALICE, BOB, STATES, Site, publish, sees};

use super::kinds::live;

/// BENOTIFY is never answered, by whoever it is, and one of nobody's subscription changes nothing.
#[test]
fn a_benotify_of_nothing_is_not_answered() -> Outcome {
    let site = Site::start(live())?;
    let mut dialog = Dialog::begin(&live().habits.wire, &site.way, BOB, ALICE);
    dialog.remote += ";tag=none";
    let lines = "Event: presence\r\nSubscription-State: active\r\n";
    let bytes = dialog.request(&live().habits.wire, &site.way, "BENOTIFY", lines, b"");
    site.peer.send(&bytes)?;
    // What is asked behind it is answered, so it has been taken.
    let mut options = Dialog::begin(&live().habits.wire, &site.way, BOB, A);
    expect_status(
        &site
            .peer
            .ask(&options.request(&live().habits.wire, &site.way, "OPTIONS", "", b""))?,
        200,
    )?;
    let answered = site.peer.log().iter().any(|e| {
        let cseq = e.message.header("CSeq").unwrap_or_default();
        !e.sent && cseq.ends_with("BENOTIFY")
    });
    assert!(!answered, "{}", site.peer.story());
    let mut stranger = Agent::tcp("mallory", A, site.bridge.ports.client())?;
    stranger.send(&bytes)?;
    stranger.expect_none("answer", Duration::from_millis(500), |m| m.status() > 0)
}

/// The first document comes in the 200 when that is asked for; then no NOTIFY repeats it.
#[test]
fn the_first_document_comes_in_the_answer() -> Outcome {
    let site = Site::start(live())?;
    let mut alice = site.user("alice")?;
    publish(&mut alice, None, &STATES[1])?;
    site.peer.watch(BOB, ALICE)?;
    site.peer.sees(BOB, ALICE, "busy").map_err(|e| site.explain(&e))?;
    let answer = site.peer.wait_for("200", |e| !e.sent && e.message.status() == 200)?;
    assert_eq!(answer.header("ms-piggyback-cseq"), Some("1"), "{}", site.peer.story());
    let state = answer.header("Subscription-State").unwrap_or_default();
    assert!(state.starts_with("active"), "{state:?}");
    assert!(site.peer.received("NOTIFY").is_empty() && site.peer.received("BENOTIFY").is_empty());
    site.peer.judge()
}

/// Who asks for it gets BENOTIFY; nobody waits for answers to those.
#[test]
fn benotify_goes_to_who_asked_for_it() -> Outcome {
    let site = Site::start(live())?;
    let mut alice = site.user("alice")?;
    site.peer.watch(BOB, ALICE)?;
    let mut etag = None;
    for state in &STATES[1..4] {
        etag = Some(publish(&mut alice, etag.as_deref(), state)?);
        site.peer.sees(BOB, ALICE, state.name)?;
    }
    assert!(!site.peer.received("BENOTIFY").is_empty(), "{}", site.peer.story());
    assert!(site.peer.received("NOTIFY").is_empty(), "{}", site.peer.story());
    site.peer.judge()
}

/// Keep-alives between messages and inside the pause of one.
#[test]
fn keep_alives_are_swallowed() -> Outcome {
    let site = Site::start(live())?;
    let mut alice = site.user("alice")?;
    for _ in 0..5 {
        site.peer.send(b"\r\n\r\n")?;
    }
    site.peer.watch(BOB, ALICE)?;
    site.peer.send(b"\r\n\r\n")?;
    publish(&mut alice, None, &STATES[1])?;
    site.peer.sees(BOB, ALICE, "busy").map_err(|e| site.explain(&e))?;
    site.peer.judge()
}

/// It ends the subscriptions it holds, and takes the end of those held with it.
#[test]
fn subscriptions_end_cleanly() -> Outcome {
    let site = Site::start(live())?;
    let mut carol = site.user("carol")?;
    let mut watch = carol.watch(&format!("sip:{BOB}"), 600)?;
    site.peer.watched(BOB)?;
    site.peer.set(BOB, "busy")?;
    sees(&mut carol, &watch, "busy").map_err(|e| site.explain(&e))?;
    carol.rewatch(&mut watch, 0)?;
    interop_tests::eventually("nobody watches", PATIENCE, || site.peer.with(|i| !i.is_watched(BOB)))?;
    site.peer.judge()
}
