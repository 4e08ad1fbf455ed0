//! What is refused, what is lost, and what of that is made good again.

use std::time::Duration;

use interop_tests::emulators::PATIENCE;
use interop_tests::emulators::scenes::expect_status;
use interop_tests::emulators::site::{BOB, ERIN, Site, sees};
use interop_tests::{Outcome, eventually};

use super::kinds::{legacy, newer};

/// Whoever is not assigned to the link is refused over there: the watcher here gets that, and nothing is left hanging.
#[test]
fn an_unassigned_user_is_refused() -> Outcome {
    for setup in [newer(), legacy()] {
        let site = Site::start(setup)?;
        site.peer.with(|i| {
            i.unassigned.insert(BOB.into());
            i.users.insert(BOB.into(), "active".into());
        });
        let mut carol = site.user("carol")?;
        let answer = carol.subscribe(&format!("sip:{BOB}"), 600)?;
        site.peer
            .wait_for("SUBSCRIBE", |e| !e.sent && e.message.is("SUBSCRIBE"))?;
        if answer.status() < 300 {
            // Told afterwards is as good as told at once, as long as nothing is made up.
            let shown = carol.expect("NOTIFY", PATIENCE, |m| m.is("NOTIFY"))?.text();
            assert!(!shown.contains(">open<"), "{shown}");
        } else {
            assert_eq!(answer.status(), 403);
        }
        let status = carol.message(&format!("sip:{BOB}"), "may I?")?.status();
        assert!((400..500).contains(&status), "{status}");
        assert_eq!(site.peer.times(BOB, "may I?"), 0);
        site.peer.judge()?;
    }
    Ok(())
}

/// Its connection breaks, and it forgets what it had: the bridge subscribes again by itself.
#[test]
fn a_gateway_that_forgets_is_asked_again() -> Outcome {
    let site = Site::start(newer())?;
    let mut carol = site.user("carol")?;
    site.peer.set(ERIN, "away")?;
    let watch = carol.watch(&format!("sip:{ERIN}"), 600)?;
    sees(&mut carol, &watch, "away")?;
    let before = site.peer.received("SUBSCRIBE").len();
    site.peer.with(|i| i.forget());
    site.peer.hang_up();
    // Whatever next passes shows the loss: here the refresh of a subscription that is not known any more.
    let mut again = carol.watch(&format!("sip:{ERIN}"), 60)?;
    carol.rewatch(&mut again, 60)?;
    eventually("it is asked again", Duration::from_secs(40), || {
        site.peer.received("SUBSCRIBE").len() > before
    })?;
    site.peer.set(ERIN, "dnd")?;
    sees(&mut carol, &again, "dnd").map_err(|e| site.explain(&e))?;
    site.peer.judge()
}

#[test]
fn both_refused_is_a_refusal_for_the_sender() -> Outcome {
    for setup in [newer(), legacy()] {
        let mut setup = setup;
        (setup.habits.pager, setup.habits.session) = (405, 488);
        let site = Site::start(setup)?;
        let mut alice = site.user("alice")?;
        let status = alice.message(&format!("sip:{BOB}"), "hello?")?.status();
        assert!(status >= 400, "{status}");
        assert_eq!(site.peer.times(BOB, "hello?"), 0);
        site.peer.judge()?;
    }
    Ok(())
}

/// A message for somebody who is not there, or may not, is answered so.
#[test]
fn refusals_reach_the_sender() -> Outcome {
    for setup in [newer(), legacy()] {
        let site = Site::start(setup)?;
        let mut alice = site.user("alice")?;
        expect_status(&alice.message("sip:nobody@b.example", "hello?")?, 404).map_err(|e| site.explain(&e))?;
        site.peer.with(|i| i.unassigned.insert(BOB.into()));
        expect_status(&alice.message(&format!("sip:{BOB}"), "hello?")?, 403).map_err(|e| site.explain(&e))?;
        // The other way: nobody of that name here.
        site.peer.write(BOB, "nobody@a.example", "hello?")?;
        site.peer
            .wait_for("a refusal", |e| !e.sent && e.message.status() == 404)?;
        site.peer.judge()?;
    }
    Ok(())
}
