//! The bridge restarts, in good order or not: who watched goes on watching, in the way that was agreed.

use interop_tests::emulators::PATIENCE;
use interop_tests::emulators::site::{ALICE, BOB, STATES, Setup, Site, publish, sees};
use interop_tests::{Outcome, eventually};

use super::kinds::{live, office};

fn restarted(setup: Setup, kill: bool) -> Outcome {
    let mut site = Site::start(setup)?;
    let (mut alice, mut carol) = (site.user("alice")?, site.user("carol")?);
    publish(&mut alice, None, &STATES[1])?;
    site.peer.watch(BOB, ALICE)?;
    site.peer.sees(BOB, ALICE, "busy").map_err(|e| site.explain(&e))?;
    site.peer.set(BOB, "busy")?;
    let watch = carol.watch(&format!("sip:{BOB}"), 600)?;
    sees(&mut carol, &watch, "busy").map_err(|e| site.explain(&e))?;
    if kill {
        site.bridge.kill();
    } else {
        site.bridge.stop();
    }
    site.bridge.start_again()?;
    let (mut alice, mut carol) = (site.user("alice")?, site.user("carol")?);
    publish(&mut alice, None, &STATES[6])?;
    site.peer.sees(BOB, ALICE, "dnd").map_err(|e| site.explain(&e))?;
    let last = site.peer.received("BENOTIFY");
    assert!(!last.is_empty(), "what was agreed is forgotten\n{}", site.peer.story());
    // The watcher's own subscription is known as well, over her new connection.
    let again = carol.watch(&format!("sip:{BOB}"), 600)?;
    site.peer.watched(BOB)?;
    site.peer.set(BOB, "away")?;
    sees(&mut carol, &again, "away").map_err(|e| site.explain(&e))?;
    let end = site
        .peer
        .with(|i| i.resubscribe(BOB, ALICE, 0))
        .ok_or("no subscription")?;
    assert_eq!(site.peer.ask(&end)?.status(), 200);
    eventually("it is over", PATIENCE, || site.peer.with(|i| i.is_over(BOB, ALICE)))?;
    site.peer.judge()
}

#[test]
fn after_a_restart_in_good_order() -> Outcome {
    restarted(live(), false)?;
    restarted(office(), false)
}

#[test]
fn after_a_kill() -> Outcome {
    restarted(live(), true)?;
    restarted(office(), true)
}
