//! Connection reuse (RFC 5923): a peer that asks for it gets our requests over the connection it opened.

use std::time::Duration;

use interop_tests::agent::{Agent, PATIENCE};
use interop_tests::net::Family;
use interop_tests::pki::Flaw;
use interop_tests::wire::Message;
use interop_tests::{Outcome, eventually};

use super::site::{ALICE, B, Site};

const BOTH: [Family; 2] = [Family::V4, Family::V6];
const QUIET: Duration = Duration::from_millis(300);

/// `alice` writes to `bob`; the answer must be 200.
fn write_to_bob(alice: &mut Agent, text: &str) -> Outcome {
    match alice.message("sip:bob@b.example", text)?.status() {
        200 => Ok(()),
        other => Err(format!("MESSAGE was answered {other}").into()),
    }
}

fn has(text: &str) -> impl Fn(&Message) -> bool {
    move |m| m.is("MESSAGE") && m.text() == text
}

#[test]
fn with_alias_everything_comes_over_the_peers_own_connection() -> Outcome {
    for family in BOTH {
        let site = Site::start(family, "", "")?;
        let (mut alice, mut bob) = (site.alice()?, site.bob()?);
        bob.alias = true;
        let mut watch = bob.watch(ALICE, 600)?;
        bob.notified(&watch, "active", "")?;
        alice.publish(None, "open", "at the desk")?;
        bob.notified(&watch, "active", "at the desk")?;
        write_to_bob(&mut alice, "over yours")?;
        bob.messaged("over yours")?;
        let other = alice.watch("sip:carl@b.example", 600)?;
        bob.expect("SUBSCRIBE", PATIENCE, |m| m.is("SUBSCRIBE"))?;
        alice.notified(&other, "", "")?;
        bob.rewatch(&mut watch, 0)?;
        bob.notified(&watch, "terminated", "")?;
        assert_eq!(site.trunk.accepted(), 0, "{family:?}: a connection was opened");
        // With the connection the reuse ends.
        drop(bob);
        eventually("the bridge connects itself", PATIENCE, || {
            let _ = write_to_bob(&mut alice, "over ours");
            site.trunk.requests("MESSAGE").iter().any(has("over ours"))
        })?;
        assert!(site.trunk.accepted() > 0);
    }
    Ok(())
}

#[test]
fn without_alias_the_bridge_opens_a_connection_of_its_own_and_offers_it() -> Outcome {
    for family in BOTH {
        let site = Site::start(family, "", "")?;
        let (mut alice, mut bob) = (site.alice()?, site.bob()?);
        bob.watch(ALICE, 600)?;
        write_to_bob(&mut alice, "over ours")?;
        eventually("the NOTIFY is there", PATIENCE, || {
            !site.trunk.requests("NOTIFY").is_empty()
        })?;
        assert_eq!(site.trunk.accepted(), 1, "{family:?}");
        bob.expect_none("NOTIFY", QUIET, |m| m.is("NOTIFY") || m.is("MESSAGE"))?;
        let all = [site.trunk.requests("NOTIFY"), site.trunk.requests("MESSAGE")].concat();
        for request in all {
            let via = request.header("Via").unwrap_or_default();
            let offers = via.split(';').any(|p| p == "alias");
            assert!(offers, "{family:?}: {via}");
        }
    }
    Ok(())
}

#[test]
fn the_setting_overrules_the_via() -> Outcome {
    let site = Site::start(Family::V4, "    reuse: never\n", "")?;
    let (mut alice, mut bob) = (site.alice()?, site.bob()?);
    bob.alias = true;
    assert_eq!(bob.message(ALICE, "hello")?.status(), 200);
    write_to_bob(&mut alice, "over ours")?;
    assert_eq!(site.trunk.accepted(), 1, "never");
    let sent = site.trunk.requests("MESSAGE");
    let via = sent.first().and_then(|m| m.header("Via")).unwrap_or_default();
    assert!(!via.contains("alias"), "never: {via}");

    let site = Site::start(Family::V4, "    reuse: always\n", "")?;
    let (mut alice, mut bob) = (site.alice()?, site.bob()?);
    // Nobody could ever connect to what this Via says.
    bob.sent_by = None;
    assert_eq!(bob.message(ALICE, "hello")?.status(), 200);
    write_to_bob(&mut alice, "over yours")?;
    bob.messaged("over yours")?;
    assert_eq!(site.trunk.accepted(), 0, "always");
    Ok(())
}

#[test]
fn an_alias_holds_for_the_port_it_names_only() -> Outcome {
    let site = Site::start(Family::V4, "", "")?;
    let (mut alice, mut bob) = (site.alice()?, site.bob()?);
    (bob.alias, bob.sent_by) = (true, None);
    assert_eq!(bob.message(ALICE, "hello")?.status(), 200);
    write_to_bob(&mut alice, "to the next hop")?;
    assert!(site.trunk.requests("MESSAGE").iter().any(has("to the next hop")));
    bob.expect_none("MESSAGE", QUIET, |m| m.is("MESSAGE"))
}

#[test]
fn a_wrong_certificate_never_gets_traffic() -> Outcome {
    let site = Site::start(Family::V4, "    reuse: always\n", "")?;
    let mut alice = site.alice()?;
    for flaw in Flaw::ALL {
        let certificate = site.authority.flawed(B, flaw)?;
        // The handshake may fail, or what is asked: with either there is nothing to reuse.
        let Ok(mut mallory) = site.caller(certificate) else {
            continue;
        };
        mallory.alias = true;
        for request in ["MESSAGE", "SUBSCRIBE"] {
            let answer = match request {
                "MESSAGE" => mallory.message(ALICE, "let me in"),
                _ => mallory.subscribe(ALICE, 600),
            };
            if let Ok(answer) = answer {
                assert!(answer.status() >= 400, "{flaw:?}: {}", answer.start);
            }
        }
        let text = format!("past {flaw:?}");
        write_to_bob(&mut alice, &text)?;
        assert!(site.trunk.requests("MESSAGE").iter().any(has(&text)), "{flaw:?}");
        mallory.expect_none("request", QUIET, |m| m.status() == 0)?;
    }
    alice.expect_none("MESSAGE", QUIET, |m| m.is("MESSAGE"))
}

#[test]
fn plain_tcp_is_never_reused() -> Outcome {
    let peer = format!(
        "    accept: [tls, tcp]\n    addresses: [\"{}\"]\n    reuse: always\n",
        Family::V4.ip()
    );
    let site = Site::start(Family::V4, &peer, "")?;
    let mut alice = site.alice()?;
    let mut bob = Agent::new(
        "bob",
        B,
        "",
        interop_tests::link::Link::tcp(site.bridge.ports.client())?,
    )?;
    (bob.alias, bob.sent_by) = (true, Some(site.trunk.at));
    assert_eq!(bob.message(ALICE, "by address alone")?.status(), 200);
    write_to_bob(&mut alice, "over ours")?;
    assert!(site.trunk.requests("MESSAGE").iter().any(has("over ours")));
    bob.expect_none("MESSAGE", QUIET, |m| m.is("MESSAGE"))
}
