//! What a reload must not disturb.

use std::time::Duration;

use interop_tests::agent::{Agent, PATIENCE};
use interop_tests::net::Family;
use interop_tests::wire::Message;
use interop_tests::{Outcome, eventually};

use super::site::{A, Site, is_open};

const ALICE: &str = "sip:alice@a.example";
const QUIET: Duration = Duration::from_millis(300);

fn cseq(message: &Message) -> u32 {
    let value = message.header("CSeq").unwrap_or_default();
    value.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[test]
fn a_hangup_reloads_and_a_bad_file_changes_nothing_and_says_where() -> Outcome {
    let mut site = Site::start(Family::V4, "")?;
    let mut bob = site.bob()?;
    let mut alice = site.user("alice")?;
    let watch = bob.watch(ALICE, 600)?;
    bob.notified(&watch, "active", "")?;
    let users = "users:\n";
    site.edit(
        users,
        "users:\n  - { aor: erin@a.example, password: { plain: secret-erin } }\n",
    )?;
    site.bridge.hang_up();
    eventually("erin is known", PATIENCE, || {
        let erin = Agent::tcp("erin", A, site.bridge.ports.client());
        erin.is_ok_and(|mut erin| erin.register(60).is_ok_and(|a| a.status() == 200))
    })?;
    // Line 11 of the file, as it happens: found, not counted.
    let text = std::fs::read_to_string(site.dir().join("bridge.yaml"))?;
    let line = text.lines().position(|l| l == "users:").ok_or("no users")? + 2;
    site.edit("aor: erin@a.example", "aor: erin@nowhere.example")?;
    let problem = site.refused()?;
    assert!(problem.contains(&format!("bridge.yaml:{line}:12")), "{problem}");
    site.bridge.hang_up();
    let stays = format!("the configuration stays as it was: bridge.yaml:{line}:12");
    eventually("the log says where", PATIENCE, || site.bridge.log().contains(&stays))?;
    site.edit("domains:", "domain:")?;
    let problem = site.refused()?;
    assert!(
        problem.contains("bridge.yaml:1:1") && problem.contains("did you mean"),
        "{problem}"
    );
    let mut erin = Agent::tcp("erin", A, site.bridge.ports.client())?;
    assert_eq!(erin.register(60)?.status(), 200, "nothing has changed");
    alice.publish(None, "open", "still here")?;
    bob.notified(&watch, "active", "still here")?;
    assert!(is_open(&mut bob));
    site.edit("domain:", "domains:")?;
    site.edit("aor: erin@nowhere.example", "aor: erin@a.example")?;
    let plan = site.reload()?;
    assert!(plan.contains("\"changes\":[]"), "{plan}");
    Ok(())
}

#[test]
fn a_certificate_file_that_does_not_serve_changes_nothing() -> Outcome {
    let site = Site::start(Family::V4, "")?;
    let mut bob = site.bob()?;
    std::fs::write(site.dir().join("b-ca.pem"), "no certificate")?;
    let problem = site.refused()?;
    assert!(problem.contains("b-ca.pem"), "{problem}");
    assert!(is_open(&mut bob));
    std::fs::write(site.dir().join("b-ca.pem"), &site.b.authority.pem)?;
    site.reload()?;
    assert!(is_open(&mut bob));
    Ok(())
}

/// What is added stands before what was there, so that everything gets another place.
#[test]
fn what_is_added_leaves_live_dialogs_alone() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let site = Site::start(family, "acl: { incoming: [{ deny: 192.0.2.1 }] }\n")?;
        let (mut alice, mut carol) = (site.user("alice")?, site.user("carol")?);
        let (mut bob, mut carl) = (site.bob()?, site.carl()?);
        let far = bob.watch(ALICE, 600)?;
        let near = carol.watch(ALICE, 600)?;
        let first = bob.notified(&far, "active", "")?;
        carol.notified(&near, "active", "")?;
        // A subscription of a user at the peer, and a connection of ours to the other peer.
        let upstream = alice.watch("sip:bob@b.example", 600)?;
        bob.expect("SUBSCRIBE", PATIENCE, |m| m.is("SUBSCRIBE"))?;
        alice.notified(&upstream, "active", "")?;
        carl.alias = false;
        assert_eq!(alice.message("sip:carl@c.example", "one")?.status(), 200);
        assert_eq!((site.c.trunk.accepted(), site.c.trunk.open()), (1, 1));

        site.edit(
            "users:\n",
            "users:\n  - { aor: erin@a.example, password: { plain: secret-erin } }\n",
        )?;
        site.edit(
            "peers:\n",
            "peers:\n  - { name: d, domains: [d.example], transport: udp, addresses: [192.0.2.9], probe: \"off\" }\n",
        )?;
        site.edit("acl:", "routes: [{ match: { suffix: .e.example }, peer: d }]\nacl:")?;
        let plan = site.change("deny: 192.0.2.1 }", "deny: 192.0.2.1 }, { deny: 192.0.2.2 }")?;
        for part in [
            "+usererin@a.example",
            "+peerd",
            "+route*.e.example",
            "~accesslistacl.incoming",
        ] {
            assert!(plan.contains(part), "{family:?}: {plan}");
        }
        assert!(
            plan.contains("\"withdrawn\":[\"fewermayconnect:") && plan.contains("\"restart\":[]"),
            "{plan}"
        );

        alice.publish(None, "open", "after the reload")?;
        let next = bob.notified(&far, "active", "after the reload")?;
        assert!(cseq(&next) > cseq(&first), "{family:?}: the same dialog goes on");
        carol.notified(&near, "active", "after the reload")?;
        assert!(
            is_open(&mut bob) && is_open(&mut carl) && is_open(&mut alice),
            "{family:?}"
        );
        assert_eq!(alice.message("sip:bob@b.example", "two")?.status(), 200);
        bob.messaged("two")?;
        assert_eq!(alice.message("sip:carl@c.example", "two")?.status(), 200);
        assert_eq!(site.b.trunk.accepted(), 0, "{family:?}: bob's connection serves on");
        assert_eq!(site.c.trunk.accepted(), 1, "{family:?}: so does ours to carl");
        bob.expect_none("SUBSCRIBE", QUIET, |m| m.is("SUBSCRIBE"))?;
        let mut erin = Agent::tcp("erin", A, site.bridge.ports.client())?;
        assert_eq!(erin.register(60)?.status(), 200);
    }
    Ok(())
}

#[test]
fn peers_keep_their_health_and_are_probed_no_more_often() -> Outcome {
    let dead = interop_tests::net::free_port();
    let site = Site::start_with(Family::V4, |b, c| {
        let probe = "probe: { interval: 1s, timeout: 1s, down_after: 2 }";
        let dead = format!("next_hop: \"127.0.0.1:{dead}\"");
        let b = b.settings("").replace(&format!("next_hop: \"{}\"", b.trunk.at), &dead);
        format!("peers:\n{b}{}", c.settings("")).replace("probe: \"off\"", probe)
    })?;
    let states = |site: &Site| -> Outcome<(bool, bool)> {
        let text = site.bridge.ctl("peers")?.replace(' ', "");
        // One object a peer, without another inside; the order of its keys is the program's.
        let is = |name: &str, state: &str| {
            let (name, state) = (format!("\"name\":\"{name}\""), format!("\"state\":\"{state}\""));
            text.split('}').any(|o| o.contains(&name) && o.contains(&state))
        };
        Ok((is("b", "down"), is("c", "up")))
    };
    eventually("b is down and c is up", Duration::from_secs(20), || {
        states(&site).is_ok_and(|s| s == (true, true))
    })?;
    for n in 0..10 {
        site.edit(
            "users:\n",
            &format!("users:\n  - {{ aor: u{n}@a.example, password: {{ plain: x }} }}\n"),
        )?;
        // Every second time the peers change places.
        if n % 2 == 0 {
            let text = std::fs::read_to_string(site.dir().join("bridge.yaml"))?;
            let (head, peers) = text.split_once("peers:\n").ok_or("no peers")?;
            let second = peers.rfind("  - name:").ok_or("one peer")?;
            let (one, two) = peers.split_at(second);
            std::fs::write(site.dir().join("bridge.yaml"), format!("{head}peers:\n{two}{one}"))?;
        }
        site.reload()?;
        assert_eq!(states(&site)?, (true, true), "reload {n} has forgotten it");
    }
    let before = site.c.trunk.requests("OPTIONS").len();
    std::thread::sleep(Duration::from_secs(3));
    let probes = site.c.trunk.requests("OPTIONS").len() - before;
    assert!(probes <= 5, "{probes} probes in 3 s, one a second is due");
    let mut alice = site.user("alice")?;
    assert_eq!(
        alice.message("sip:bob@b.example", "x")?.status(),
        504,
        "b is still known down"
    );
    Ok(())
}

#[test]
fn reuse_follows_its_setting() -> Outcome {
    let site = Site::start(Family::V4, "")?;
    let (mut alice, mut bob) = (site.user("alice")?, site.bob()?);
    let write =
        |alice: &mut Agent, text: &str| -> Outcome<u16> { Ok(alice.message("sip:bob@b.example", text)?.status()) };
    assert!(is_open(&mut bob));
    assert_eq!(write(&mut alice, "over yours")?, 200);
    bob.messaged("over yours")?;
    site.change("probe: \"off\"\n", "probe: \"off\"\n    reuse: never\n")?;
    assert!(is_open(&mut bob), "the connection stays, for what he asks");
    assert_eq!(write(&mut alice, "over ours")?, 200);
    assert_eq!(site.b.trunk.requests("MESSAGE").len(), 1);
    bob.expect_none("MESSAGE", QUIET, |m| m.is("MESSAGE"))?;
    Ok(())
}

#[test]
fn a_route_that_leads_elsewhere_takes_subscriptions_along() -> Outcome {
    let route = "routes: [{ match: { domain: z.example }, peer: b }]\n";
    let site = Site::start(Family::V4, route)?;
    let (mut bob, mut carl, mut alice) = (site.bob()?, site.carl()?, site.user("alice")?);
    assert!(is_open(&mut bob) && is_open(&mut carl));
    let watch = alice.watch("sip:zoe@z.example", 600)?;
    let first = bob.expect("SUBSCRIBE", PATIENCE, |m| m.is("SUBSCRIBE"))?;
    alice.notified(&watch, "active", "")?;
    site.change("peer: b }]", "peer: c }]")?;
    let next = carl.expect("SUBSCRIBE", PATIENCE, |m| m.is("SUBSCRIBE"))?;
    assert_ne!(first.header("Call-ID"), next.header("Call-ID"), "a dialog of its own");
    assert!(next.start.contains("sip:zoe@z.example"), "{}", next.start);
    alice.expect_none("end", QUIET, |m| {
        watch.owns(m)
            && m.header("Subscription-State")
                .is_some_and(|s| s.starts_with("terminated"))
    })
}
