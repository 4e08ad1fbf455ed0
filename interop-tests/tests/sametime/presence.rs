//! Presence both ways, loss and return of a community.

use interop_tests::Outcome;
use interop_tests::emulators::scenes::{watched, watches};
use interop_tests::emulators::site::{Site, sees};

use super::kinds::{legacy, newer};

const NEWER: [(&str, &str); 10] = [
    ("available", "active"),
    ("busy", "active: Busy"),
    ("on-the-phone", "active: On the phone"),
    ("away", "away"),
    ("idle", "not-using"),
    ("meeting", "in-meeting"),
    ("dnd", "dnd"),
    ("meal", "away"),
    ("vacation", "away"),
    ("offline", "offline"),
];

const LEGACY: [(&str, &str); 10] = [
    ("available", "open"),
    ("busy", "open: Busy"),
    ("on-the-phone", "open: On the phone"),
    ("away", "open: Away"),
    ("idle", "open: Idle"),
    ("meeting", "open: In a meeting"),
    ("dnd", "open: Do not disturb"),
    ("meal", "open: Out to lunch"),
    ("vacation", "open: On vacation"),
    ("offline", "closed"),
];

#[test]
fn a_newer_gateway_watches() -> Outcome {
    newer().ways().into_iter().try_for_each(|way| watched(way, &NEWER))
}

#[test]
fn a_legacy_gateway_watches() -> Outcome {
    legacy().ways().into_iter().try_for_each(|way| watched(way, &LEGACY))
}

#[test]
fn a_user_watches_a_newer_gateway() -> Outcome {
    let words = [
        ("active", "available"),
        ("dnd", "dnd"),
        ("not-using", "idle"),
        ("in-meeting", "meeting"),
        ("active: Busy", "busy"),
        ("away", "away"),
        ("active: On the phone", "on-the-phone"),
        ("offline", "offline"),
        ("active: all is well", "available"),
    ];
    newer().ways().into_iter().try_for_each(|way| watches(way, &words))
}

#[test]
fn a_user_watches_a_legacy_gateway() -> Outcome {
    let words = [
        ("active", "available"),
        ("active: Away from desk", "away"),
        ("active: Do not disturb", "dnd"),
        ("active: In a meeting", "meeting"),
        ("active: On the phone", "on-the-phone"),
        ("offline", "offline"),
        ("active: In a good mood", "available"),
    ];
    legacy().ways().into_iter().try_for_each(|way| watches(way, &words))
}

/// The gateway loses its community and gets it back: everybody is offline, then everybody's state comes in one burst.
#[test]
fn a_community_goes_and_returns() -> Outcome {
    for setup in [newer(), legacy()] {
        let site = Site::start(setup)?;
        let users: Vec<String> = (0..40).map(|n| format!("user{n}@b.example")).collect();
        site.peer
            .with(|i| i.users.extend(users.iter().map(|u| (u.clone(), "active".to_string()))));
        let mut carol = site.user("carol")?;
        let mut watches = Vec::new();
        for user in &users {
            watches.push(carol.watch(&format!("sip:{user}"), 600)?);
        }
        for (user, watch) in users.iter().zip(&watches) {
            site.peer.watched(user)?;
            sees(&mut carol, watch, "available").map_err(|e| site.explain(&e))?;
        }
        site.peer.act(|i| ((), i.lose()))?;
        for watch in &watches {
            sees(&mut carol, watch, "offline")?;
        }
        // Back: each has another state than before, several times over, and the last one counts.
        site.peer.act(|i| {
            let all = ["active", "away", "active", "away"];
            (
                (),
                all.iter()
                    .flat_map(|word| users.iter().flat_map(|u| i.set(u, word)).collect::<Vec<_>>())
                    .collect(),
            )
        })?;
        for watch in &watches {
            sees(
                &mut carol,
                watch,
                if setup.recipe == "sametime75" {
                    "away"
                } else {
                    "available"
                },
            )?;
        }
        site.peer.judge()?;
    }
    Ok(())
}
