//! Lines of Unified CM that users watch, and users that its telephones watch.

use interop_tests::Outcome;
use interop_tests::emulators::scenes::{hostile, watched, watches};
use interop_tests::emulators::site::{BOB, Site, sees};
use interop_tests::emulators::unified_cm::{PLACES, document};

use super::kinds::trunk;

/// Telephones have lamps: idle, busy, unknown.
#[test]
fn telephones_watch() -> Outcome {
    let lamps = [
        ("available", "idle"),
        ("busy", "busy"),
        ("on-the-phone", "busy"),
        ("away", "idle"),
        ("idle", "idle"),
        ("meeting", "busy"),
        ("dnd", "busy"),
        ("meal", "idle"),
        ("vacation", "idle"),
        ("offline", "unknown"),
    ];
    trunk().ways().into_iter().try_for_each(|way| watched(way, &lamps))
}

#[test]
fn a_user_watches_a_line() -> Outcome {
    let words = [
        ("idle", "available"),
        ("on-the-phone", "on-the-phone"),
        ("ringing", "available"),
        ("held", "on-the-phone"),
        ("dnd", "dnd"),
        ("idle", "available"),
        // A telephone that is gone says nothing about anybody.
        ("unregistered", "unknown"),
    ];
    trunk().ways().into_iter().try_for_each(|way| watches(way, &words))
}

/// Each state, in person, tuple or both, in each namespace, with and without a namespace at the root.
#[test]
fn activities_are_read_wherever_they_stand() -> Outcome {
    let site = Site::start(trunk())?;
    let mut carol = site.user("carol")?;
    let watch = carol.watch(&format!("sip:{BOB}"), 600)?;
    site.peer.watched(BOB)?;
    for place in PLACES {
        for cisco in [false, true] {
            for root_space in [true, false] {
                for (word, seen) in [
                    ("on-the-phone", "on-the-phone"),
                    ("idle", "available"),
                    ("dnd", "dnd"),
                    ("ringing", "available"),
                    ("held", "on-the-phone"),
                    ("unregistered", "unknown"),
                ] {
                    let body = document(BOB, word, place, cisco, root_space);
                    let bytes = site
                        .peer
                        .with(|i| i.notify_raw(BOB, "application/pidf+xml", body.as_bytes()));
                    site.peer.send(&bytes.ok_or("nobody watches")?)?;
                    sees(&mut carol, &watch, seen)
                        .map_err(|e| site.explain(&format!("{word} {place:?} cisco {cisco} root {root_space}: {e}")))?;
                }
            }
        }
    }
    site.peer.judge()
}

#[test]
fn bodies_that_lie() -> Outcome {
    hostile(trunk(), "idle", "available", "dnd", "dnd")
}
