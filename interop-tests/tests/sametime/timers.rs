//! Time: subscriptions that last shortly, gateways that hang, and what their OPTIONS say.

use std::time::Duration;

use interop_tests::emulators::PATIENCE;
use interop_tests::emulators::site::{BOB, Site, sees};
use interop_tests::{Outcome, eventually};

use super::kinds::{legacy, newer};

/// A subscription timeout of seconds: the bridge refreshes before it is over, and no state is missed.
#[test]
fn a_short_subscription_is_refreshed_in_time() -> Outcome {
    let mut setup = newer();
    setup.habits.lasts = 12;
    let site = Site::start(setup)?;
    let mut carol = site.user("carol")?;
    let watch = carol.watch(&format!("sip:{BOB}"), 600)?;
    site.peer.watched(BOB)?;
    let subscribed = || site.peer.received("SUBSCRIBE").len();
    eventually("it is refreshed", Duration::from_secs(30), || subscribed() > 1)?;
    let first = site.peer.received("SUBSCRIBE");
    let dialogs: Vec<_> = first.iter().map(|m| m.header("Call-ID")).collect();
    assert_eq!(dialogs.first(), dialogs.get(1), "refreshed, not begun anew");
    site.peer.set(BOB, "dnd")?;
    sees(&mut carol, &watch, "dnd").map_err(|e| site.explain(&e))?;
    assert_eq!(site.peer.with(|i| i.watchers_of(BOB)), 1);
    site.peer.judge()
}

/// OPTIONS that is refused was still answered: the peer is there.
#[test]
fn a_refused_probe_is_a_sign_of_life() -> Outcome {
    for (setup, status) in [(newer(), 405), (legacy(), 501)] {
        let site = Site::start(setup)?;
        site.peer
            .with(|i| i.refuse.insert("OPTIONS".into(), (status, String::new())));
        site.bridge.wait_for_peer("up").map_err(|e| site.explain(&e))?;
    }
    Ok(())
}

/// A gateway that hangs: nothing is known of its users then, and their states are there again when it is.
#[test]
fn a_gateway_that_hangs_makes_nobody_offline() -> Outcome {
    let site = Site::start(newer())?;
    let mut carol = site.user("carol")?;
    let watch = carol.watch(&format!("sip:{BOB}"), 600)?;
    site.peer.watched(BOB)?;
    site.peer.set(BOB, "away")?;
    sees(&mut carol, &watch, "away").map_err(|e| site.explain(&e))?;
    site.peer.with(|i| i.mute = true);
    // Somebody asks, so the silence is noticed.
    let _ = carol.ask(&interop_tests::wire::Request::new("MESSAGE", &format!("sip:{BOB}")).body("text/plain", "?"));
    eventually("it is down", Duration::from_secs(60), || {
        site.bridge
            .ctl("peers")
            .is_ok_and(|s| s.replace(' ', "").contains("\"state\":\"down\""))
    })
    .map_err(|e| site.explain(&e))?;
    let shown = carol.expect("NOTIFY", PATIENCE, |m| watch.owns(m))?;
    assert!(
        !shown.text().contains("closed"),
        "a hanging peer makes offline:\n{}",
        shown.text()
    );
    site.peer.with(|i| {
        i.mute = false;
        i.users.insert(BOB.into(), "dnd".into());
    });
    eventually("it is up", Duration::from_secs(60), || {
        site.bridge
            .ctl("peers")
            .is_ok_and(|s| s.replace(' ', "").contains("\"state\":\"up\""))
    })?;
    sees(&mut carol, &watch, "dnd").map_err(|e| site.explain(&e))?;
    site.peer.judge()
}
