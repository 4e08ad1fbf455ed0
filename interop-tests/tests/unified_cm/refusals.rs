//! What the search space and the presence groups say, and what the bridge does not take.

use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::emulators::PATIENCE;
use interop_tests::emulators::site::{BOB, LINE, Site};
use interop_tests::emulators::unified_cm::{publish, published};

use super::kinds::trunk;

/// What a watcher is told, or 4xx to the SUBSCRIBE at once.
fn refused(status: u16) -> Outcome<Site> {
    let site = Site::start(trunk())?;
    site.peer
        .with(|i| i.refuse.insert("SUBSCRIBE".into(), (status, String::new())));
    let mut carol = site.user("carol")?;
    let answer = carol.subscribe(&format!("sip:{BOB}"), 600)?;
    site.peer
        .wait_for("SUBSCRIBE", |e| !e.sent && e.message.is("SUBSCRIBE"))?;
    if answer.status() < 300 {
        let shown = carol.expect("NOTIFY", PATIENCE, |m| m.is("NOTIFY"))?;
        let text = shown.text();
        assert!(!text.contains(">open<"), "{text}");
    }
    Ok(site)
}

/// Not in the search space, or not allowed: nothing is shown, and nobody asks again every second.
#[test]
fn refusals_are_not_hammered() -> Outcome {
    for status in [403, 404] {
        let site = refused(status)?;
        std::thread::sleep(Duration::from_secs(3));
        let asked = site.peer.received("SUBSCRIBE").len();
        assert!(asked <= 2, "{status}: asked {asked} times in 3 s");
    }
    Ok(())
}

/// A line says nothing about users of other domains.
#[test]
fn it_publishes_for_users_of_the_bridge_only() -> Outcome {
    let site = Site::start(trunk())?;
    for target in ["nobody@a.example", "x@c.example"] {
        let status = site
            .peer
            .ask(&publish(&site.way, LINE, target, None, 600, &published(LINE, true)))?
            .status();
        assert!((400..500).contains(&status), "{target}: {status}");
    }
    Ok(())
}
