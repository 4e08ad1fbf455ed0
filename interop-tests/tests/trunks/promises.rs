//! What a peer was promised: a rate, so many addresses, and only those users who are assigned to it.

use std::time::{Duration, Instant};

use interop_tests::agent::PATIENCE;
use interop_tests::net::Family;
use interop_tests::trestle::run;
use interop_tests::{Outcome, eventually};

use super::site::{ALICE, Site};

#[test]
fn a_peer_gets_no_more_than_it_was_promised() -> Outcome {
    let promise = "    contract: { messages: 5/s, watched: 1 }\n    assigned: [alice@a.example]\n";
    let site = Site::start(Family::V4, promise, "")?;
    let mut bob = site.bob()?;
    bob.alias = true;
    // Twelve first states, five a second: two seconds at least, whatever the machine does.
    let start = Instant::now();
    for _ in 0..12 {
        assert_eq!(bob.subscribe(ALICE, 600)?.status(), 200);
    }
    let state = || site.bridge.ctl("peers").map(|t| t.replace([' ', '\n'], ""));
    let shown = state()?;
    assert!(shown.contains("\"contract\":{\"messages\":5,"), "{shown}");
    for n in 0..12 {
        bob.expect(&format!("state {n}"), PATIENCE, |m| m.is("NOTIFY"))?;
    }
    assert!(start.elapsed() > Duration::from_millis(1_800), "{:?}", start.elapsed());
    eventually("nothing waits any more", PATIENCE, || {
        state().is_ok_and(|s| s.contains("\"waiting\":0,\"stale_ms\":0"))
    })?;
    // Who is not assigned is told so, both ways.
    let refused = bob.subscribe("sip:carol@a.example", 600)?;
    assert_eq!(refused.status(), 403, "{}", refused.start);
    assert!(refused.header("Warning").is_some_and(|w| w.contains("peer.assigned")));
    eventually("the log names the line", PATIENCE, || {
        site.bridge.log().contains("peer.assigned (bridge.yaml:")
    })?;
    // One address may be watched there.
    let mut alice = site.alice()?;
    assert_eq!(alice.subscribe("sip:dan@b.example", 600)?.status(), 200);
    eventually("it counts", PATIENCE, || {
        state().is_ok_and(|s| s.contains("\"watched\":1,\"watched_most\":1"))
    })?;
    let refused = alice.subscribe("sip:eve@b.example", 600)?;
    assert_eq!(refused.status(), 403, "{}", refused.start);
    assert!(refused.header("Warning").is_some_and(|w| w.contains("peer.contract")));
    let table = run(site.dir(), &["ctl", "--config", "bridge.yaml", "peers"])?;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        table.contains("CONTRACT") && table.contains("messages 5, tokens "),
        "{table}"
    );
    Ok(())
}

#[test]
fn what_becomes_of_a_number() -> Outcome {
    let site = Site::start(
        Family::V4,
        "",
        "mappings: { dialplan: plan.yaml }\nroutes: [{ match: { digits: \"+1555\" }, peer: b }]\n",
    );
    // The file is missing: the bridge says which, and does not start.
    assert!(site.is_err_and(|e| e.to_string().contains("plan.yaml")));
    let site = Site::start(Family::V4, "", "routes: [{ match: { digits: \"+1555\" }, peer: b }]\n")?;
    let said = run(
        site.dir(),
        &["dial", "+1-555-1042", "--config", "bridge.yaml", "--json"],
    )?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said.status.code(), Some(0), "{text}");
    assert!(
        text.contains("+15551042 to peer b") && text.contains("\"rule\": \"route\""),
        "{text}"
    );
    let said = run(site.dir(), &["dial", "99", "--config", "bridge.yaml"])?;
    assert_eq!(said.status.code(), Some(1));
    Ok(())
}
