//! Each writes to the other in the way of its own side.

use interop_tests::Outcome;
use interop_tests::emulators::cups;
use interop_tests::net::Family;

use super::strait::{BOB, IRIS, Kind, LEGACY, LIVE, NEWER, OFFICE, PRESENCE_SERVER, Strait};

/// Texts cross both ways, once each, whoever begins.
fn write(b: Kind, c: Kind) -> Outcome {
    for bob_first in [true, false] {
        let strait = Strait::start(Family::V4, b, c)?;
        for n in 0..3 {
            for bobs_turn in [bob_first, !bob_first] {
                let text = format!("{n} {bobs_turn} \u{e9} <&>");
                let (from, at, user) = if bobs_turn {
                    strait.b.write(BOB, IRIS, &text)?;
                    (BOB, &strait.c, IRIS)
                } else {
                    strait.c.write(IRIS, BOB, &text)?;
                    (IRIS, &strait.b, BOB)
                };
                let read = at.reads(user, &text).map_err(|e| strait.explain(&e))?;
                assert_eq!(read.from, from);
                assert_eq!(at.times(user, &text), 1);
            }
        }
        strait.b.judge()?;
        strait.c.judge()?;
    }
    Ok(())
}

#[test]
fn sessions_and_single_messages_become_each_other() -> Outcome {
    write(LIVE, LEGACY)
}

#[test]
fn sessions_of_two_kinds_become_each_other() -> Outcome {
    write(LIVE, NEWER)?;
    write(OFFICE, NEWER)
}

#[test]
fn single_messages_stay_single() -> Outcome {
    write(("rfc", cups::HABITS), PRESENCE_SERVER)
}
