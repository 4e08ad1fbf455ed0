//! What is too much: a limit of N lets N in and refuses one more.

use std::time::Duration;

use interop_tests::agent::{Agent, PATIENCE};
use interop_tests::link::{Link, Received, TlsSetup};
use interop_tests::net::Family;
use interop_tests::raw::Raw;
use interop_tests::stand::Stand;
use interop_tests::trestle::run;
use interop_tests::wire::Request;
use interop_tests::{Outcome, eventually};

use super::site::{A, ALICE, B, Site};

/// A connection of the peer's, and whether it is served.
fn connect(site: &Site) -> Outcome<(Agent, bool)> {
    let mut bob = site.bob()?;
    // With TLS 1.3 the refusal shows as a closed connection, perhaps before anything is written.
    let served = ask(&mut bob);
    Ok((bob, served))
}

/// Whether the bridge answers.
fn ask(bob: &mut Agent) -> bool {
    let answer = bob.ask(&Request::new("OPTIONS", "sip:a.example"));
    answer.is_ok_and(|a| a.status() == 200)
}

#[test]
fn connections_of_a_peer() -> Outcome {
    let site = Site::start(Family::V4, "    limits: { connections: 2 }\n", "")?;
    let (first, one) = connect(&site)?;
    let (mut second, two) = connect(&site)?;
    assert!(one && two, "two may be open");
    for _ in 0..3 {
        assert!(!connect(&site)?.1, "a third is closed");
    }
    let status = site.bridge.ctl("status")?.replace(' ', "");
    assert!(status.contains("\"connections_refused\":3"), "{status}");
    let log = site.bridge.log();
    let line = |l: &&str| l.contains("peer b holds 2 already, by peer.limits (bridge.yaml:");
    assert_eq!(log.lines().filter(line).count(), 1, "one line for all: {log}");
    assert!(ask(&mut second), "those that are open stay");
    // Users have limits of their own, and what the bridge opens does not count.
    let mut alice = site.alice()?;
    assert_eq!(alice.message("sip:bob@b.example", "hi")?.status(), 200);
    assert_eq!(site.trunk.open(), 1);
    drop(first);
    eventually("there is room again", PATIENCE, || {
        connect(&site).is_ok_and(|(_, served)| served)
    })
}

#[test]
fn subscriptions_of_a_peer() -> Outcome {
    let site = Site::start(Family::V4, "    limits: { subscriptions: 2 }\n", "")?;
    let mut bob = site.bob()?;
    bob.alias = true;
    let mut first = bob.watch(ALICE, 600)?;
    bob.watch("sip:carol@a.example", 600)?;
    let refused = bob.subscribe("sip:dave@a.example", 600)?;
    assert_eq!(refused.status(), 403, "{}", refused.start);
    let warning = refused.header("Warning").unwrap_or_default();
    assert!(warning.contains("peer.limits"), "{warning}");
    eventually("the log names the line", PATIENCE, || {
        site.bridge.log().contains("peer.limits (bridge.yaml:")
    })?;
    assert_eq!(
        bob.rewatch(&mut first, 600)?.status(),
        200,
        "a refresh is no further one"
    );
    assert_eq!(bob.rewatch(&mut first, 0)?.status(), 200);
    bob.notified(&first, "terminated", "")?;
    eventually("there is room again", PATIENCE, || {
        bob.subscribe("sip:dave@a.example", 600)
            .is_ok_and(|a| a.status() == 200)
    })?;
    assert_eq!(bob.subscribe(ALICE, 600)?.status(), 403);
    // Explain shows the step.
    let explain = |held: &str| {
        let args = [
            "explain",
            "--config",
            "bridge.yaml",
            "--peer",
            "b",
            "--method",
            "SUBSCRIBE",
            "--event",
            "presence",
            "--from",
            "sip:bob@b.example",
            "--to",
            ALICE,
            "--held",
            held,
        ];
        run(site.dir(), &args).map(|o| (o.status.code(), String::from_utf8_lossy(&o.stdout).into_owned()))
    };
    let (code, text) = explain("1")?;
    assert!(
        code == Some(0) && text.contains("peer b holds 1 subscriptions of 2"),
        "{text}"
    );
    let (code, text) = explain("2")?;
    assert!(
        code == Some(1) && text.contains("403 Too Many Subscriptions, by peer.limits (bridge.yaml:"),
        "{text}"
    );
    Ok(())
}

#[test]
fn subscriptions_survive_a_restart_as_a_count() -> Outcome {
    let mut site = Site::start(Family::V4, "    limits: { subscriptions: 1 }\n", "")?;
    let mut bob = site.bob()?;
    bob.watch(ALICE, 600)?;
    site.bridge.kill();
    site.bridge.start_again()?;
    let mut bob = site.bob()?;
    assert_eq!(bob.subscribe("sip:carol@a.example", 600)?.status(), 403);
    Ok(())
}

#[test]
fn header_lines() -> Outcome {
    let stand = Stand::start_with(Family::V4, "limits: { max_headers: 20 }\n")?;
    for transport in ["UDP", "TCP"] {
        let send = |lines: usize| -> Outcome<u16> {
            let mut raw = Raw::new(transport, "OPTIONS", "sip:a.example");
            // Content-Length is one of them.
            let own = String::from_utf8(raw.bytes())?.matches("\r\n").count() - 2;
            for n in own..lines {
                raw = raw.line(format!("X-{n}: y"));
            }
            Ok(stand.send(transport, &raw.bytes(), Duration::from_secs(5))?.0)
        };
        assert_ne!(send(20)?, 513, "{transport}: 20 lines");
        assert_eq!(send(21)?, 513, "{transport}: 21 lines");
        assert_ne!(send(20)?, 513, "{transport}: 20 lines again");
    }
    Ok(())
}

#[test]
fn a_limit_on_connections_holds_for_nobody_else() -> Outcome {
    let peer = "    limits: { connections: 1 }\n";
    let site = Site::start(Family::V4, peer, "")?;
    let (_bob, served) = connect(&site)?;
    assert!(served);
    // A user over TLS without a certificate, on the listener that asks for one.
    for _ in 0..3 {
        let setup = TlsSetup {
            ca: site.authority.pem.clone(),
            name: A.into(),
            own: None,
        };
        let mut alice = Agent::new("alice", A, "secret-alice", Link::tls(site.bridge.ports.tls(), &setup)?)?;
        assert_eq!(alice.register(60)?.status(), 200);
    }
    // One more of the peer's is closed without a word.
    let setup = TlsSetup {
        ca: site.authority.pem.clone(),
        name: A.into(),
        own: Some(site.authority.issue(B)?),
    };
    let mut link = Link::tls(site.bridge.ports.trunk(), &setup)?;
    assert!(matches!(link.receive(PATIENCE), Received::Closed));
    Ok(())
}
