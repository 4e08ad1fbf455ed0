//! What is understood from it is not promised to others, nor half done for it.

use interop_tests::Outcome;
use interop_tests::emulators::dialog::Dialog;
use interop_tests::emulators::scenes::{control_character, expect_status, somebody_elses};
use interop_tests::emulators::site::{ALICE, BOB, Site};
use interop_tests::wire::Request;

use super::kinds::{live, office};

/// `Proxy-Require: ms-benotify` is understood from this peer; from one of the bridge's own plain clients it is not.
#[test]
fn its_option_is_understood_from_it_alone() -> Outcome {
    let site = Site::start(live())?;
    let mut alice = site.user("alice")?;
    let mut dialog = Dialog::begin(&live().habits.wire, &site.way, BOB, ALICE);
    let lines = "Event: presence\r\nAccept: application/pidf+xml\r\nProxy-Require: ms-benotify\r\n";
    let bytes = dialog.request(&live().habits.wire, &site.way, "SUBSCRIBE", lines, b"");
    expect_status(&site.peer.ask(&bytes)?, 200).map_err(|e| site.explain(&e))?;
    let request = Request::new("SUBSCRIBE", &format!("sip:{ALICE}"))
        .with("Contact", alice.contact())
        .with("Event", "presence")
        .with("Proxy-Require", "ms-benotify");
    let answer = alice.ask(&request)?;
    assert_eq!(answer.status(), 420, "{}", answer.start);
    assert!(answer.header("Unsupported").is_some_and(|u| u.contains("ms-benotify")));
    Ok(())
}

#[test]
fn a_document_about_somebody_else() -> Outcome {
    somebody_elses(live())?;
    somebody_elses(office())
}

#[test]
fn a_control_character() -> Outcome {
    [live(), office()].into_iter().try_for_each(control_character)
}
