//! Each sees the other in the words of its own side.

use interop_tests::Outcome;
use interop_tests::net::Family;

use super::strait::{BOB, IRIS, Kind, LEGACY, LIVE, NEWER, OFFICE, PRESENCE_SERVER, Strait};

/// What `bob` sees of `iris`, and she of him: words of hers with his, and of his with hers.
fn watch(b: Kind, c: Kind, hers: &[(&str, &str)], his: &[(&str, &str)]) -> Outcome {
    for family in [Family::V4, Family::V6] {
        let strait = Strait::start(family, b, c)?;
        strait.b.watch(BOB, IRIS)?;
        strait.c.watched(IRIS).map_err(|e| strait.explain(&e))?;
        strait.c.watch(IRIS, BOB)?;
        strait.b.watched(BOB).map_err(|e| strait.explain(&e))?;
        for (word, seen) in hers {
            strait.c.set(IRIS, word)?;
            strait
                .b
                .sees(BOB, IRIS, seen)
                .map_err(|e| strait.explain(&format!("{word}: {e}")))?;
        }
        for (word, seen) in his {
            strait.b.set(BOB, word)?;
            strait
                .c
                .sees(IRIS, BOB, seen)
                .map_err(|e| strait.explain(&format!("{word}: {e}")))?;
        }
        strait.b.judge()?;
        strait.c.judge()?;
    }
    Ok(())
}

#[test]
fn live_communications_server_and_newer_sametime_watch() -> Outcome {
    let hers = [
        ("active", "available"),
        ("dnd", "dnd"),
        ("in-meeting", "busy"),
        ("away", "away"),
        ("not-using", "idle"),
        ("offline", "offline"),
    ];
    let his = [
        ("available", "active"),
        ("busy", "active: Busy"),
        ("dnd", "dnd"),
        ("idle", "not-using"),
        ("on-the-phone", "active: On the phone"),
        ("away", "away"),
        ("offline", "offline"),
    ];
    watch(LIVE, NEWER, &hers, &his)
}

#[test]
fn live_communications_server_and_legacy_sametime_watch() -> Outcome {
    let hers = [
        ("active", "available"),
        ("active: Do not disturb", "dnd"),
        ("active: Away from desk", "away"),
        ("offline", "offline"),
    ];
    let his = [
        ("available", "open"),
        ("busy", "open: Busy"),
        ("out-to-lunch", "open: Out to lunch"),
        ("offline", "closed"),
    ];
    watch(LIVE, LEGACY, &hers, &his)
}

#[test]
fn office_communications_server_and_unified_presence_watch() -> Outcome {
    let hers = [
        ("available", "available"),
        ("busy", "busy"),
        ("dnd", "dnd"),
        ("vacation", "out-of-office"),
        ("unavailable", "offline"),
    ];
    let his = [
        ("available", "available"),
        ("busy", "busy"),
        ("dnd", "dnd"),
        ("away", "away"),
        ("offline", "unavailable"),
    ];
    watch(OFFICE, PRESENCE_SERVER, &hers, &his)
}
