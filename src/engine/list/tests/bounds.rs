//! What is not taken, and what is bounded.

use super::*;

#[test]
fn a_dialect_without_lists_says_so() {
    let mut world = World::new("rfc");
    let answer = world.watch(OFFER, &[ALICE]);
    assert!(answer.starts_with("SIP/2.0 420"), "{answer}");
    assert_eq!(
        header(&answer, "Unsupported").as_deref(),
        Some("adhoclist, ms-benotify")
    );
    let answer = world.send(
        &format!("{ACCEPT}Content-Type: application/adrl+xml\r\n"),
        &adhoc(&[ALICE]),
    );
    assert!(answer.starts_with("SIP/2.0 415"), "{answer}");
    // A local user's watcher speaks plain SIP, also about somebody at a peer that knows lists.
    let lines = format!("Event: presence\r\nContact: <sip:bob@127.0.0.1:7001>\r\n{ACCEPT}{ADHOC}");
    for uri in [ALICE, "sip:frank@b.example"] {
        let call_id = world.sim.ask("bob", "SUBSCRIBE", uri, &lines, &adhoc(&[ALICE]));
        assert_eq!(world.sim.status(&call_id), 420, "{}", world.sim.answer(&call_id));
    }
    assert_eq!(world.subscriptions(), (0, 0));
}

#[test]
fn whoever_does_not_read_lists_gets_none() {
    let mut world = World::new("lcs2005");
    for (lines, status, name, value) in [
        ("Accept: text/xml+msrtc.pidf\r\n", "421", "Require", "eventlist"),
        ("", "421", "Require", "eventlist"),
        (
            "Accept: multipart/related, text/xml+msrtc.pidf\r\n",
            "421",
            "Require",
            "eventlist",
        ),
        (
            "Accept: text/xml+msrtc.pidf\r\nSupported: eventlist\r\n",
            "406",
            "Accept",
            "multipart/related, application/rlmi+xml",
        ),
    ] {
        let answer = world.watch(lines, &[ALICE]);
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{answer}");
        assert_eq!(header(&answer, name).as_deref(), Some(value), "{answer}");
    }
    // Lists, but no document that could be written.
    let answer = world.watch(
        "Accept: multipart/related, application/rlmi+xml, text/plain\r\n",
        &[ALICE],
    );
    assert!(answer.starts_with("SIP/2.0 406"), "{answer}");
    assert_eq!(world.subscriptions(), (0, 0));
}

#[test]
fn hostile_bodies_are_refused() {
    let mut world = World::new("lcs2005");
    let many: Vec<String> = (0..10_000).map(|n| format!("sip:u{n}@a.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let bomb = "<!DOCTYPE l [<!ENTITY a 'aaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]><adhoclist>&b;</adhoclist>";
    for (kind, body, status) in [
        ("application/adrl+xml", adhoc(&many), 413),
        ("application/adrl+xml", adhoc(&many[..501]), 413),
        ("application/adrl+xml", bomb.into(), 400),
        ("application/adrl+xml", adhoc(&[]), 400),
        (
            "application/adrl+xml",
            adhoc(&[ALICE]).replace("adhoclist", "list"),
            400,
        ),
        ("application/adrl+xml", String::new(), 400),
        ("application/resource-lists+xml", adhoc(&[ALICE]), 415),
    ] {
        let answer = world.send(&format!("{OFFER}Require: adhoclist\r\nContent-Type: {kind}\r\n"), &body);
        assert!(
            answer.starts_with(&format!("SIP/2.0 {status}")),
            "{kind} {status} {answer}"
        );
        assert!(
            header(&answer, "Warning").is_some() || header(&answer, "Accept").is_some(),
            "{answer}"
        );
    }
    assert_eq!(world.subscriptions(), (0, 0));
    assert_eq!(world.sim.engine.status().presentities, 0);
}

#[test]
fn the_same_resource_twice_is_one() {
    let mut world = World::new("lcs2005");
    let other = "sip:alice@A.EXAMPLE";
    let first = read(&world.watch(OFFER, &[ALICE, ALICE, other, ALICE]));
    assert_eq!(first.resources.len(), 2, "as they were written: {first:?}");
    assert_eq!(first.document(ALICE), first.document(other));
    assert_eq!(world.subscriptions(), (2, 1));
}

#[test]
fn five_hundred_unknown_ones_cost_nothing_that_stays() {
    let mut world = World::new("lcs2005");
    let many: Vec<String> = (0..500).map(|n| format!("sip:u{n}@a.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let first = read(&world.watch(OFFER, &many));
    assert_eq!(first.resources.len(), 500);
    assert!(
        first.resources.values().all(|r| r.0 == "terminated noresource"),
        "{first:?}"
    );
    assert_eq!(
        (world.subscriptions(), world.sim.engine.status().presentities),
        ((0, 1), 0)
    );
}

#[test]
fn each_member_counts_for_the_limits() {
    for limit in ["presence: { max_subscriptions: 3 }", ""] {
        let rest = format!("{AT_ONCE}\n{limit}");
        let change = |base: &str| {
            let config = config(base, "lcs2005", &rest);
            match limit {
                "" => config.replace("dialect: lcs2005", "dialect: lcs2005, limits: { subscriptions: 3 }"),
                _ => config,
            }
        };
        let mut world = World::new("lcs2005");
        world.sim = Sim::configured(change);
        world.line = world.sim.open("127.0.0.9:40000");
        // One is the list itself, and one is at another peer.
        let first = read(&world.watch(OFFER, &[ALICE, CARL, BOB]));
        assert_eq!(
            (first.state(ALICE), first.state(CARL)),
            ("active", "pending"),
            "{limit} {first:?}"
        );
        assert_eq!(first.state(BOB), "terminated rejected", "{limit}");
        let answer = world.send(OFFER, "");
        assert!(answer.starts_with("SIP/2.0 403"), "{limit} {answer}");
    }
}

#[test]
fn a_list_needs_a_connection() {
    let mut world = World::new("lcs2005");
    let text = format!(
        "SUBSCRIBE {ALICE} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.9:5060;branch=z9hG4bKu\r\nFrom: <{ERIN}>;tag=t\r\nTo: <{ALICE}>\r\n\
         Call-ID: u\r\nCSeq: 1 SUBSCRIBE\r\nMax-Forwards: 70\r\nContact: <sip:erin@127.0.0.9>\r\nEvent: presence\r\n{OFFER}{ADHOC}\
         Content-Length: {}\r\n\r\n{}",
        adhoc(&[ALICE]).len(),
        adhoc(&[ALICE])
    );
    world.sim.receive("127.0.0.9:5060", &text);
    let answer = world.sim.answer("u").to_string();
    assert!(!answer.starts_with("SIP/2.0 2"), "{answer}");
    assert_eq!(world.subscriptions(), (0, 0));
}

#[test]
fn what_does_not_fit_into_one_notification_follows() {
    for (offer, verb) in [(OFFER, "BENOTIFY "), (ACCEPT, "NOTIFY ")] {
        let users: Vec<String> = (0..300).map(|n| format!("user{n}")).collect();
        let written: String = users
            .iter()
            .map(|u| format!("  - {{ aor: {u}@a.example, password: {{ plain: x }} }}\n"))
            .collect();
        let mut world = World::new("lcs2005");
        world.sim =
            Sim::configured(|base| config(base, "lcs2005", AT_ONCE).replace("peers:\n", &format!("{written}peers:\n")));
        world.line = world.sim.open("127.0.0.9:40000");
        let note = "n".repeat(8_000);
        for user in &users {
            world.publish(user, &note);
        }
        let uris: Vec<String> = users.iter().map(|u| format!("sip:{u}@a.example")).collect();
        let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
        let pidf = offer.replace("text/xml+msrtc.pidf, ", "");
        let answer = world.watch(&pidf, &uris);
        let mut seen = BTreeMap::new();
        let mut messages = match verb {
            "BENOTIFY " => vec![answer],
            _ => Vec::new(),
        };
        for _ in 0..20 {
            messages.extend(world.told());
            world.sim.pass(100);
        }
        assert!(messages.len() > 2, "{}", messages.len());
        for (n, message) in messages.iter().enumerate() {
            assert!(message.len() < 300_000, "{}", message.len());
            let told = read(message);
            assert_eq!((told.full, told.version), (n == 0, n as u32 + 1));
            if n == 0 {
                assert_eq!(told.resources.len(), 300);
            }
            seen.extend(told.resources.into_iter().filter(|(_, r)| !r.1.is_empty()));
        }
        assert_eq!(seen.len(), 300, "{verb}");
    }
}
