//! Documents of Unified Presence Server: persons of several tuples that break their schema.

use interop_tests::Outcome;
use interop_tests::emulators::scenes::{hostile, watches};

use super::kinds::presence_server;

#[test]
fn a_user_watches_it() -> Outcome {
    let words = [
        ("available", "available"),
        ("busy", "busy"),
        ("away", "away"),
        ("dnd", "dnd"),
        ("vacation", "vacation"),
        ("idle", "idle"),
        ("available", "available"),
        ("unavailable", "offline"),
    ];
    presence_server()
        .ways()
        .into_iter()
        .try_for_each(|way| watches(way, &words))
}

#[test]
fn bodies_that_lie() -> Outcome {
    hostile(presence_server(), "available", "available", "away", "away")
}
