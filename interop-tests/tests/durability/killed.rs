//! `kill -9` right behind the last 2xx, in both modes of `store.sync` and on both families: everything is still there.

use interop_tests::Outcome;
use interop_tests::net::Family;
use interop_tests::pki::Authority;
use interop_tests::trestle::{self, Ports, Trestle};

use super::{BOB, CAROL, DAVE, DOMAIN, PRESENCE, etag, number, ok, user};

fn nothing_is_lost(sync: &str, family: Family) -> Outcome {
    let (dir, ports) = (tempfile::tempdir()?, Ports::free(family));
    Authority::new()?.issue(DOMAIN)?.write(dir.path(), DOMAIN)?;
    let store = format!("store: {{ path: data, sync: {sync} }}");
    let config = trestle::config(DOMAIN, &ports, PRESENCE).replace("store: { path: data }", &store);
    assert!(config.contains(&store));
    std::fs::write(dir.path().join("bridge.yaml"), config)?;
    let mut bridge = Trestle::start(dir.path(), ports)?;
    let (mut alice, mut bob, mut dave) = (user(&bridge, "alice")?, user(&bridge, "bob")?, user(&bridge, "dave")?);
    ok(dave.register(600)?)?;
    let mut tag = etag(&ok(bob.publish(None, "open", "round 0")?)?)?;
    let mut watch = alice.watch(BOB, 600)?;
    let mut last = 0;
    for round in 1..=3 {
        let (note, kept) = (format!("round {round}"), format!("kept in round {round}"));
        let seen = format!("seen {round}");
        // A refresh, a change and a message; then the end at once.
        ok(alice.rewatch(&mut watch, 600)?)?;
        tag = etag(&ok(bob.publish(Some(&tag), "open", &note)?)?)?;
        ok(bob.message(CAROL, &kept)?)?;
        bridge.kill();
        bridge.start_again()?;
        // It may have come before the end already, and once more after it.
        let told = alice.notified(&watch, "active", &note)?;
        assert!(number(&told) > last, "CSeq {} after {last}", number(&told));
        last = number(&told);
        tag = etag(&ok(bob.publish(Some(&tag), "open", &seen)?)?)?;
        let told = alice.notified(&watch, "active", &seen)?;
        assert!(number(&told) > last, "CSeq {} after {last}", number(&told));
        last = number(&told);
        ok(bob.message(DAVE, &note)?)?;
        dave.messaged(&note)?;
    }
    // What was kept for carol came in order; what she has taken is gone.
    let mut carol = user(&bridge, "carol")?;
    ok(carol.register(600)?)?;
    for round in 1..=3 {
        carol.messaged(&format!("kept in round {round}"))?;
    }
    ok(alice.rewatch(&mut watch, 0)?)?;
    alice.notified(&watch, "terminated", "seen 3").map(drop)
}

#[test]
fn group_ipv4() -> Outcome {
    nothing_is_lost("group", Family::V4)
}

#[test]
fn group_ipv6() -> Outcome {
    nothing_is_lost("group", Family::V6)
}

#[test]
fn process_ipv4() -> Outcome {
    nothing_is_lost("process", Family::V4)
}

#[test]
fn process_ipv6() -> Outcome {
    nothing_is_lost("process", Family::V6)
}
