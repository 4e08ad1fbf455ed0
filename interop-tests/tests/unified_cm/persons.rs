//! Users that Unified Presence Server watches, and messages with it.

use interop_tests::Outcome;
use interop_tests::emulators::scenes::{converse, watched};

use super::kinds::presence_server;

#[test]
fn it_watches() -> Outcome {
    let words = [
        ("available", "available"),
        ("busy", "busy"),
        ("on-the-phone", "busy"),
        ("away", "away"),
        ("idle", "idle"),
        ("meeting", "busy"),
        ("dnd", "dnd"),
        ("meal", "away"),
        ("vacation", "vacation"),
        ("offline", "unavailable"),
    ];
    presence_server()
        .ways()
        .into_iter()
        .try_for_each(|way| watched(way, &words))
}

#[test]
fn they_write_to_each_other() -> Outcome {
    for setup in presence_server().ways() {
        converse(setup, true)?;
        converse(setup, false)?;
    }
    Ok(())
}
