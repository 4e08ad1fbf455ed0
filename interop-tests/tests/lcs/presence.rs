//! Presence both ways, in every state and every type of document.

use interop_tests::Outcome;
use interop_tests::emulators::scenes::{hostile, watched, watches};

use super::kinds::{live, office};

const RICH: [(&str, &str); 10] = [
    ("available", "available"),
    ("busy", "busy"),
    ("on-the-phone", "on-the-phone"),
    ("away", "away"),
    ("idle", "idle"),
    ("meeting", "busy"),
    ("dnd", "dnd"),
    ("meal", "out-to-lunch"),
    ("vacation", "away"),
    ("offline", "offline"),
];

/// Only the first tuple's text counts over there.
const POOR: [(&str, &str); 10] = [
    ("available", "available"),
    ("busy", "busy"),
    ("on-the-phone", "busy"),
    ("away", "away"),
    ("idle", "away"),
    ("meeting", "busy"),
    ("dnd", "busy"),
    ("meal", "away"),
    ("vacation", "away"),
    ("offline", "offline"),
];

const CATEGORIES: [(&str, &str); 10] = [
    ("available", "available"),
    ("busy", "busy"),
    ("on-the-phone", "on-the-phone"),
    ("away", "away"),
    ("idle", "idle"),
    ("meeting", "in-a-meeting"),
    ("dnd", "dnd"),
    ("meal", "away"),
    ("vacation", "out-of-office"),
    ("offline", "offline"),
];

#[test]
fn live_communications_server_watches() -> Outcome {
    live().ways().into_iter().try_for_each(|way| watched(way, &RICH))
}

#[test]
fn office_communications_server_watches() -> Outcome {
    office()
        .ways()
        .into_iter()
        .try_for_each(|way| watched(way, &CATEGORIES))
}

/// One that takes PIDF alone reads the old text of the first tuple.
#[test]
fn with_pidf_alone_the_old_text_says_it() -> Outcome {
    let mut setup = live();
    setup.habits.accept = "application/pidf+xml";
    watched(setup, &POOR)
}

/// xpidf knows even less, and nothing reachable becomes offline in it.
#[test]
fn with_xpidf_alone_it_is_true_as_far_as_it_goes() -> Outcome {
    let mut setup = live();
    setup.habits.accept = "application/xpidf+xml";
    let xpidf = [
        ("available", "available"),
        ("busy", "busy"),
        ("on-the-phone", "on-the-phone"),
        ("away", "away"),
        ("idle", "idle"),
        ("meeting", "busy"),
        ("dnd", "busy"),
        ("meal", "out-to-lunch"),
        ("vacation", "away"),
        ("offline", "offline"),
    ];
    watched(setup, &xpidf)
}

/// Without the extensions that only it has, a server gets what the RFCs say: 200, then NOTIFY.
#[test]
fn without_its_extensions_nothing_of_them_is_used() -> Outcome {
    let mut setup = live();
    setup.habits.subscribe = "Expires: 3600\r\n";
    watched(setup, &RICH)
}

const WORDS: [(&str, &str); 9] = [
    ("available", "available"),
    ("busy", "busy"),
    ("on-the-phone", "on-the-phone"),
    ("idle", "idle"),
    ("dnd", "dnd"),
    ("away", "away"),
    ("out-to-lunch", "meal"),
    ("available", "available"),
    ("offline", "offline"),
];

#[test]
fn a_user_watches_live_communications_server() -> Outcome {
    live().ways().into_iter().try_for_each(|way| watches(way, &WORDS))
}

#[test]
fn a_user_watches_office_communications_server() -> Outcome {
    office().ways().into_iter().try_for_each(|way| watches(way, &WORDS))
}

#[test]
fn bodies_that_lie() -> Outcome {
    for setup in [live(), office()] {
        hostile(setup, "available", "available", "away", "away")?;
    }
    Ok(())
}
