//! Lines as sources of their owners' presence: subscribed behind the scenes, or published by the trunk, where closed and
//! busy is a line in use. A telephone alone makes nobody offline.

use std::time::Duration;

use interop_tests::emulators::PATIENCE;
use interop_tests::emulators::scenes::expect_status;
use interop_tests::emulators::site::{ALICE, CAROL, LINE, STATES, Site, publish as publish_state, sees};
use interop_tests::emulators::unified_cm::{publish, published};
use interop_tests::{Outcome, eventually};

use super::kinds::trunk;

/// The line that the recipe lets the peer publish.
const PUBLISHED: &str = "4712@b.example";

#[test]
fn a_published_line_in_use_is_on_the_phone() -> Outcome {
    for setup in trunk().ways() {
        let site = Site::start(setup)?;
        let (mut carol, mut alice) = (site.user("carol")?, site.user("alice")?);
        let watch = alice.watch(&format!("sip:{CAROL}"), 600)?;
        publish_state(&mut carol, None, &STATES[0])?;
        sees(&mut alice, &watch, "available")?;
        let send = |etag: Option<&str>, expires: u32, body: &str| {
            site.peer
                .ask(&publish(&site.way, PUBLISHED, CAROL, etag, expires, body))
        };
        let first = send(None, 600, &published(PUBLISHED, true))?;
        expect_status(&first, 200).map_err(|e| site.explain(&e))?;
        sees(&mut alice, &watch, "on-the-phone").map_err(|e| site.explain(&e))?;
        // Refreshed, changed, removed; a tag that is no longer good is said to be so.
        let etag = first.header("SIP-ETag").ok_or("no SIP-ETag")?.to_string();
        let second = send(Some(&etag), 600, "")?;
        expect_status(&second, 200)?;
        let etag = second.header("SIP-ETag").ok_or("no SIP-ETag")?.to_string();
        let third = send(Some(&etag), 600, &published(PUBLISHED, false))?;
        expect_status(&third, 200)?;
        sees(&mut alice, &watch, "available").map_err(|e| site.explain(&e))?;
        expect_status(&send(Some("stale"), 600, "")?, 412)?;
        let etag = third.header("SIP-ETag").ok_or("no SIP-ETag")?.to_string();
        expect_status(&send(Some(&etag), 0, "")?, 200)?;
        site.peer.judge()?;
    }
    Ok(())
}

#[test]
fn a_watched_line_is_a_source_of_its_owner() -> Outcome {
    for setup in trunk().ways() {
        let site = Site::start(setup)?;
        site.peer.with(|i| i.users.insert(LINE.into(), "idle".into()));
        let (mut alice, mut carol) = (site.user("alice")?, site.user("carol")?);
        let watch = carol.watch(&format!("sip:{ALICE}"), 600)?;
        publish_state(&mut alice, None, &STATES[3])?;
        eventually("the line is watched", Duration::from_secs(60), || {
            site.peer.with(|i| i.is_watched(LINE))
        })
        .map_err(|e| site.explain(&e))?;
        sees(&mut carol, &watch, "away")?;
        for (word, seen) in [
            ("on-the-phone", "on-the-phone"),
            ("idle", "away"),
            ("held", "on-the-phone"),
        ] {
            site.peer.set(LINE, word)?;
            sees(&mut carol, &watch, seen).map_err(|e| site.explain(&format!("{word}: {e}")))?;
        }
        // A telephone that is gone says nothing: what alice said herself is left.
        site.peer.set(LINE, "unregistered")?;
        sees(&mut carol, &watch, "away").map_err(|e| site.explain(&e))?;
        assert_eq!(
            site.peer.with(|i| i.watchers_of(LINE)),
            1,
            "one subscription, whoever watches"
        );
        site.peer.judge()?;
    }
    Ok(())
}

/// A telephone alone: idle may mean available, gone never means offline.
#[test]
fn a_lone_telephone_makes_nobody_offline() -> Outcome {
    let site = Site::start(trunk())?;
    site.peer.with(|i| i.users.insert(LINE.into(), "idle".into()));
    let mut carol = site.user("carol")?;
    let watch = carol.watch(&format!("sip:{ALICE}"), 600)?;
    sees(&mut carol, &watch, "available").map_err(|e| site.explain(&e))?;
    site.peer.set(LINE, "on-the-phone")?;
    sees(&mut carol, &watch, "on-the-phone").map_err(|e| site.explain(&e))?;
    site.peer.set(LINE, "unregistered")?;
    carol.expect("NOTIFY without the call", PATIENCE, |m| {
        watch.owns(m) && !m.text().contains("on-the-phone")
    })?;
    site.peer.judge()
}
