//! A node that is overloaded says how long it wants to be left alone.

use std::time::Duration;

use interop_tests::emulators::site::{BOB, Site};
use interop_tests::wire::Message;
use interop_tests::{Outcome, eventually};

use super::kinds::trunk;

/// 503 with Retry-After is waited for, and then asked again.
#[test]
fn an_overloaded_node_is_given_its_time() -> Outcome {
    let site = Site::start(trunk())?;
    site.peer
        .with(|i| i.refuse.insert("SUBSCRIBE".into(), (503, "Retry-After: 3\r\n".into())));
    let mut carol = site.user("carol")?;
    site.bridge.wait_for_peer("up")?;
    carol.subscribe(&format!("sip:{BOB}"), 600)?;
    // The recipe has a line, which is subscribed as well.
    let about_bob = |m: &Message| m.is("SUBSCRIBE") && m.start.contains(BOB);
    site.peer.wait_for("SUBSCRIBE", |e| !e.sent && about_bob(&e.message))?;
    let times = |site: &Site| -> Vec<std::time::Instant> {
        let log = site.peer.log();
        log.iter()
            .filter(|e| !e.sent && about_bob(&e.message))
            .map(|e| e.at)
            .collect()
    };
    site.peer.with(|i| {
        i.refuse.clear();
        i.users.insert(BOB.into(), "idle".into());
    });
    let again = eventually("it is asked again", Duration::from_secs(40), || times(&site).len() > 1);
    again.map_err(|e| site.explain(&e))?;
    let all = times(&site);
    let (Some(first), Some(second)) = (all.first(), all.get(1)) else {
        return Err("not asked twice".into());
    };
    assert!(
        second.duration_since(*first) >= Duration::from_millis(2_900),
        "after {:?}",
        second.duration_since(*first)
    );
    site.peer.watched(BOB)
}
