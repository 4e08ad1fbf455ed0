//! What users of two organisations do with each other.

use std::time::{Duration, Instant};

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::watch::Watch;
use interop_tests::wire::{Message, Request};

use super::pair::{Near, Pair, etag, refused, status};

const QUIET: Duration = Duration::from_millis(700);

/// Users on both sides watch each other: the state that stands is told at once, a change when it happens.
pub(crate) fn watch_both_ways(pair: &mut Pair) -> Outcome {
    let (mut alice, mut bob) = (pair.near_user("alice")?, pair.far_user("bob")?);
    watch_one_way(&mut alice, &mut bob)?;
    watch_one_way(&mut bob, &mut alice)
}

fn watch_one_way(watcher: &mut Agent, presentity: &mut Agent) -> Outcome {
    let tag = etag(&presentity.publish(None, "open", "at the desk")?)?;
    let watch = watcher.watch(&presentity.aor(), 600)?;
    let first = watcher.notified(&watch, "active", "at the desk")?;
    assert_open(&first, &presentity.aor());
    let tag = etag(&presentity.publish(Some(&tag), "closed", "gone home")?)?;
    let second = watcher.notified(&watch, "active", "gone home")?;
    assert!(second.text().contains("closed"), "{}", second.text());
    assert!(number(&second) > number(&first), "the CSeq of NOTIFY rises");
    // Without its publication nothing of it may be left.
    status(&presentity.ask(&removal(&presentity.aor(), &tag))?, 200)?;
    let third = watcher.notified(&watch, "active", "")?;
    assert!(!third.text().contains("gone home"), "{}", third.text());
    Ok(())
}

fn removal(aor: &str, tag: &str) -> Request {
    Request::new("PUBLISH", aor)
        .with("Event", "presence")
        .with("Expires", "0")
        .with("SIP-If-Match", tag)
}

fn assert_open(notify: &Message, aor: &str) {
    let kind = notify.header("Content-Type").unwrap_or_default();
    assert!(kind.starts_with("application/pidf+xml"), "{kind}");
    let text = notify.text();
    assert!(
        text.contains("open") && text.contains(aor.trim_start_matches("sip:")),
        "{text}"
    );
}

fn number(message: &Message) -> u64 {
    message
        .header("CSeq")
        .and_then(|c| c.split(' ').next())
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// A subscription is refreshed, fetched beside, and ended; afterwards nothing comes any more.
pub(crate) fn refresh_and_unsubscribe(pair: &mut Pair) -> Outcome {
    let (mut alice, mut bob) = (pair.near_user("alice")?, pair.far_user("bob")?);
    refresh_one_way(&mut alice, &mut bob)?;
    refresh_one_way(&mut bob, &mut alice)
}

fn refresh_one_way(watcher: &mut Agent, presentity: &mut Agent) -> Outcome {
    let tag = etag(&presentity.publish(None, "open", "first")?)?;
    let mut watch = watcher.watch(&presentity.aor(), 300)?;
    watcher.notified(&watch, "active", "first")?;
    let answer = watcher.rewatch(&mut watch, 500)?;
    status(&answer, 200)?;
    let seconds: u32 = answer.header("Expires").and_then(|e| e.parse().ok()).unwrap_or(0);
    assert!((1..=500).contains(&seconds), "Expires of the refresh: {seconds}");
    watcher.notified(&watch, "active", "first")?;
    // A fetch in between is a dialog of its own.
    let fetch = watcher.watch(&presentity.aor(), 0)?;
    watcher.notified(&fetch, "terminated", "first")?;
    status(&watcher.rewatch(&mut watch, 0)?, 200)?;
    watcher.notified(&watch, "terminated", "")?;
    watcher.forget(|m| watch.owns(m));
    etag(&presentity.publish(Some(&tag), "open", "second")?)?;
    watcher.not_notified(&watch, QUIET)?;
    let answer = watcher.rewatch(&mut watch, 300)?;
    assert_eq!(answer.status(), 481, "the dialog is over: {}", answer.start);
    Ok(())
}

/// What bob of b.example says of who may watch him (RFC 5025).
fn rules(of: &[(&str, &str)]) -> String {
    let rule = |(user, handling): &(&str, &str)| {
        format!(
            "<cp:rule id=\"{user}\"><cp:conditions><cp:identity><cp:one id=\"sip:{user}@a.example\"/></cp:identity></cp:conditions>\
             <cp:actions><pr:sub-handling>{handling}</pr:sub-handling></cp:actions><cp:transformations><pr:provide-devices>\
             <pr:all-devices/></pr:provide-devices><pr:provide-persons><pr:all-persons/></pr:provide-persons><pr:provide-services>\
             <pr:all-services/></pr:provide-services></cp:transformations></cp:rule>"
        )
    };
    let rules: String = of.iter().map(rule).collect();
    format!(
        "<cp:ruleset xmlns:cp=\"urn:ietf:params:xml:ns:common-policy\" xmlns:pr=\"urn:ietf:params:xml:ns:pres-rules\">{rules}</cp:ruleset>"
    )
}

/// The far server decides who may watch, by who really watches: whom bob blocks sees nothing of him, although somebody
/// else of the same bridge sees all.
pub(crate) fn blocked_watchers(pair: &mut Pair) -> Outcome {
    let handling = rules(&[("alice", "allow"), ("carol", "block"), ("dave", "polite-block")]);
    pair.far.stop();
    pair.far.setup.rules = vec![("bob".into(), handling)];
    pair.far.start_again()?;
    let mut bob = pair.far_user("bob")?;
    pair.wait_for_peer("up")?;
    let tag = etag(&bob.publish(None, "open", "only for alice")?)?;
    let (mut alice, mut carol, mut dave) = (
        pair.near_user("alice")?,
        pair.near_user("carol")?,
        pair.near_user("dave")?,
    );
    let target = bob.aor();
    // The blocked first, so that a shared view would be theirs; then beside the one who may.
    for round in 0..2 {
        for blocked in [&mut carol, &mut dave] {
            blocked.subscribe(&target, 600)?;
        }
        if round == 0 {
            let watch = alice.watch(&target, 600)?;
            alice.notified(&watch, "active", "only for alice")?;
        }
    }
    etag(&bob.publish(Some(&tag), "open", "still only for alice")?)?;
    alice.expect("the change", Duration::from_secs(10), |m| {
        m.is("NOTIFY") && m.text().contains("still only for alice")
    })?;
    for blocked in [&mut carol, &mut dave] {
        blocked.expect_none("bob's state although he blocks", QUIET * 2, |m| {
            m.is("NOTIFY") && (m.text().contains("alice") || m.text().contains("<basic>open"))
        })?;
    }
    // A fetch shows no more.
    let fetch = carol.subscribe(&target, 0)?;
    if fetch.status() < 300 {
        carol.expect_none("bob's state by a fetch", QUIET * 2, |m| m.text().contains("for alice"))?;
    }
    Ok(())
}

/// Instant messages both ways, with bytes that are easily broken.
pub(crate) fn messages_both_ways(pair: &mut Pair) -> Outcome {
    let (mut alice, mut bob) = (pair.near_user("alice")?, pair.far_user("bob")?);
    for (from, to) in [(0, 1), (1, 0)] {
        let both = [&mut alice, &mut bob];
        let target = both[to].aor();
        let text = "Hello, how are you?\r\n\r\nGrüße \u{1F44B} %0d%0a <&>";
        status(&both[from].message(&target, text)?, 200)?;
        let got = both[to].messaged(text)?;
        assert!(
            got.header("From").is_some_and(|f| f.contains(&both[from].aor())),
            "From: {:?}",
            got.header("From")
        );
        let raw: Vec<u8> = (0..=255).collect();
        status(
            &both[from].ask(&Request::new("MESSAGE", &target).body("application/octet-stream", raw.clone()))?,
            200,
        )?;
        both[to].expect("MESSAGE with every byte", QUIET * 4, |m| {
            m.is("MESSAGE") && m.body == raw
        })?;
        // Each exactly once.
        both[to].expect_none("second MESSAGE", QUIET, |m| m.is("MESSAGE"))?;
    }
    Ok(())
}

/// Who is not there is told as such, in time.
pub(crate) fn unknown_users(pair: &mut Pair) -> Outcome {
    let (mut alice, mut bob) = (pair.near_user("alice")?, pair.far_user("bob")?);
    let started = Instant::now();
    status(&alice.message("sip:nobody@b.example", "hello")?, 404)?;
    refused(&bob.message("sip:nobody@a.example", "hello")?)?;
    refused(&alice.message("sip:x@nowhere.example", "hello")?)?;
    refused(&bob.message("sip:x@nowhere.example", "hello")?)?;
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "refusals took {:?}",
        started.elapsed()
    );
    Ok(())
}

/// INVITE and what follows pass through both ways.
pub(crate) fn calls_both_ways(pair: &mut Pair) -> Outcome {
    let (mut alice, mut bob) = (pair.near_user("alice")?, pair.far_user("bob")?);
    for (from, to) in [(0, 1), (1, 0)] {
        let both = [&mut alice, &mut bob];
        let target = both[to].aor();
        let call = both[from].call(&target)?;
        assert!(
            call.answer.text().starts_with("v=0"),
            "the answer's description arrives"
        );
        both[to].expect("INVITE", QUIET * 4, |m| m.is("INVITE"))?;
        both[to].expect("ACK", QUIET * 4, |m| m.is("ACK"))?;
        status(&both[from].hang_up(&call)?, 200)?;
        both[to].expect("BYE", QUIET * 4, |m| m.is("BYE"))?;
    }
    alice.answer_with("INVITE", 486);
    match bob.call("sip:alice@a.example") {
        Err(error) if error.to_string().contains("486") => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err("a busy callee was reached".into()),
    }
}

/// Kamailio restarts and has forgotten everything. A watcher at the bridge need not do anything; a watcher whose own
/// dialog ended there subscribes again.
pub(crate) fn far_side_restarts(pair: &mut Pair) -> Outcome {
    let mut alice = pair.near_user("alice")?;
    let mut bob = pair.far_user("bob")?;
    bob.publish(None, "open", "before")?;
    let mut watch = alice.watch("sip:bob@b.example", 600)?;
    alice.notified(&watch, "active", "before")?;
    pair.restart_far()?;
    // His connection is gone with the server.
    let mut bob = pair.far_user("bob")?;
    pair.wait_for_peer("up")?;
    bob.publish(None, "open", "after")?;
    if pair.kind() == Near::Kamailio {
        status(&alice.rewatch(&mut watch, 600)?, 481)?;
        watch = alice.watch("sip:bob@b.example", 600)?;
    }
    notified_long(&mut alice, &watch, "after")?;
    status(&alice.message("sip:bob@b.example", "again")?, 200)?;
    bob.messaged("again")?;
    status(&bob.message("sip:alice@a.example", "you too")?, 200)?;
    alice.messaged("you too").map(drop)
}

/// A peer that returns is asked again at once, but paced: give it a little longer than anything else.
fn notified_long(agent: &mut Agent, watch: &Watch, note: &str) -> Outcome {
    let what = format!("NOTIFY with {note:?}");
    agent
        .expect(&what, Duration::from_secs(20), |m| {
            watch.owns(m) && m.text().contains(note)
        })
        .map(drop)
}

/// The near side restarts in good order. The bridge has kept everything; Kamailio's users begin anew.
pub(crate) fn near_side_restarts(pair: &mut Pair) -> Outcome {
    near_side_returns(pair, Pair::restart_near)
}

/// The same with `kill -9`.
pub(crate) fn near_side_is_killed(pair: &mut Pair) -> Outcome {
    near_side_returns(pair, |pair| {
        let bridge = pair.bridge().ok_or("no bridge")?;
        bridge.kill();
        bridge.start_again()
    })
}

fn near_side_returns(pair: &mut Pair, again: impl FnOnce(&mut Pair) -> Outcome) -> Outcome {
    let (mut alice, mut bob) = (pair.near_user("alice")?, pair.far_user("bob")?);
    let mut tag = etag(&alice.publish(None, "open", "before")?)?;
    let mut watch = bob.watch("sip:alice@a.example", 600)?;
    let first = bob.notified(&watch, "active", "before")?;
    let bobs = etag(&bob.publish(None, "open", "bob before")?)?;
    let mut back = alice.watch("sip:bob@b.example", 600)?;
    alice.notified(&back, "active", "bob before")?;
    again(pair)?;
    if pair.kind() == Near::Kamailio {
        status(&alice.register(600)?, 200)?;
        tag = etag(&alice.publish(None, "open", "anew")?)?;
        watch = bob.watch("sip:alice@a.example", 600)?;
        back = alice.watch("sip:bob@b.example", 600)?;
    } else {
        pair.wait_for_peer("up")?;
    }
    etag(&alice.publish(Some(&tag), "open", "after")?)?;
    let later = bob.notified(&watch, "active", "after")?;
    if pair.kind() == Near::Bridge {
        assert!(
            number(&later) > number(&first),
            "CSeq rises across a restart: {} {}",
            number(&first),
            number(&later)
        );
        assert_eq!(later.header("From"), first.header("From"), "the dialog is the same");
    }
    etag(&bob.publish(Some(&bobs), "closed", "bob after")?)?;
    notified_long(&mut alice, &back, "bob after")?;
    // Registrations too.
    status(&bob.message("sip:alice@a.example", "still there?")?, 200)?;
    alice.messaged("still there?").map(drop)
}

/// While the peer is down requests for it are answered at once, and a watcher's view is not stale; when it is back all
/// goes on.
pub(crate) fn far_side_is_down(pair: &mut Pair) -> Outcome {
    let (mut alice, mut bob) = (pair.near_user("alice")?, pair.far_user("bob")?);
    bob.publish(None, "open", "here")?;
    let watch = alice.watch("sip:bob@b.example", 600)?;
    alice.notified(&watch, "active", "here")?;
    pair.far.stop();
    pair.wait_for_peer("down")?;
    alice.expect("NOTIFY without the old state", Duration::from_secs(20), |m| {
        watch.owns(m) && !m.text().contains("<basic>open</basic>")
    })?;
    let started = Instant::now();
    let answer = alice.message("sip:bob@b.example", "anybody?")?;
    assert!(matches!(answer.status(), 504 | 480), "{}", answer.start);
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "a peer known down is told at once: {:?}",
        started.elapsed()
    );
    pair.far.start_again()?;
    let mut bob = pair.far_user("bob")?;
    bob.publish(None, "open", "back")?;
    pair.wait_for_peer("up")?;
    notified_long(&mut alice, &watch, "back")
}
