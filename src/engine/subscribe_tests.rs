//! SUBSCRIBE and NOTIFY (RFC 6665 section 4.2, RFC 3856), clause by clause, in the simulated engine.

use super::sim::{CLIENT, Sim, body, header, reply};

const BOB: &str = "sip:bob@a.example";

/// Lines of a SUBSCRIBE that wants this for so long.
fn wants(event: &str, seconds: u32) -> String {
    format!("Event: {event}\r\nContact: <sip:alice@{CLIENT}>\r\nExpires: {seconds}\r\n")
}

/// A SUBSCRIBE in the dialog of an answer.
fn again(sim: &mut Sim, answer: &str, cseq: u32, seconds: u32) -> u16 {
    let of = |name| header(answer, name).unwrap();
    let call_id = of("Call-ID");
    let lines = format!(
        "From: {}\r\nTo: {}\r\nCall-ID: {call_id}\r\n{}",
        of("From"),
        of("To"),
        wants("presence", seconds)
    );
    sim.ask_with("alice", "SUBSCRIBE", "sip:127.0.0.1:5060", &lines, cseq, "");
    sim.status(&call_id)
}

fn state(notify: &str) -> String {
    header(notify, "Subscription-State").unwrap()
}

fn number(notify: &str) -> u32 {
    header(notify, "CSeq")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_refresh_moves_the_end_and_repeats_the_state() {
    let mut sim = Sim::new();
    let watch = sim.subscribe("alice", BOB, 600);
    let answer = sim.answer(&watch).to_string();
    let first = sim.notifies().remove(0);
    assert_eq!(state(&first), "active;expires=600");
    sim.pass(500_000);
    assert_eq!(again(&mut sim, &answer, 10, 300), 200);
    assert_eq!(header(sim.answer(&watch), "Expires").as_deref(), Some("300"));
    let second = sim.notifies().remove(0);
    assert_eq!(state(&second), "active;expires=300");
    assert_eq!((number(&second), body(&second)), (number(&first) + 1, body(&first)));
    sim.pass(299_000);
    assert_eq!(sim.notifies(), [""; 0], "the first end has passed");
    sim.pass(2_000);
    assert_eq!(state(&sim.notifies()[0]), "terminated;reason=timeout");
    assert_eq!(again(&mut sim, &answer, 20, 300), 481);
}

#[test]
fn an_end_is_said_once_and_then_nothing_comes() {
    let mut sim = Sim::new();
    let watch = sim.subscribe("alice", BOB, 600);
    let answer = sim.answer(&watch).to_string();
    sim.notifies();
    assert_eq!(again(&mut sim, &answer, 10, 0), 200);
    let last = sim.notifies();
    assert!(last.len() == 1 && state(&last[0]).starts_with("terminated"), "{last:?}");
    sim.publish("bob", None, 600, Some("later"));
    assert_eq!(sim.notifies(), [""; 0]);
    assert_eq!(again(&mut sim, &answer, 20, 600), 481);
    assert_eq!(sim.engine.status().subscriptions, 0);
}

/// No 2xx for a subscription whose end has been said, though the watcher has not answered that NOTIFY yet.
#[test]
fn a_refresh_that_crosses_the_last_notify_is_481() {
    let mut sim = Sim::new();
    let watch = sim.subscribe("alice", BOB, 60);
    let answer = sim.answer(&watch).to_string();
    sim.notifies();
    sim.pass(60_001);
    let last = sim.take_requests();
    assert!(state(&last[0].1).starts_with("terminated"));
    assert_eq!(again(&mut sim, &answer, 10, 600), 481);
}

#[test]
fn a_fetch_is_one_notify_and_leaves_nothing() {
    let mut sim = Sim::new();
    sim.publish("bob", None, 600, Some("here"));
    let fetch = sim.ask("alice", "SUBSCRIBE", BOB, &wants("presence", 0), "");
    assert_eq!(sim.status(&fetch), 200);
    assert_eq!(header(sim.answer(&fetch), "Expires").as_deref(), Some("0"));
    let told = sim.notifies();
    assert_eq!(told.len(), 1);
    assert!(state(&told[0]).starts_with("terminated") && body(&told[0]).contains("here"));
    sim.publish("bob", None, 600, Some("there"));
    assert_eq!(sim.notifies(), [""; 0]);
    assert!(
        !sim.disk.keys().any(|k| k.first() == Some(&b's')),
        "nothing is kept of it"
    );
}

#[test]
fn several_dialogs_of_one_watcher_live_apart() {
    let mut sim = Sim::new();
    let (one, two) = (sim.subscribe("alice", BOB, 600), sim.subscribe("alice", BOB, 1200));
    let first = sim.answer(&one).to_string();
    assert_ne!(header(&first, "To"), header(sim.answer(&two), "To"));
    sim.notifies();
    sim.publish("bob", None, 600, Some("both"));
    assert_eq!(sim.notifies().len(), 2);
    assert_eq!(again(&mut sim, &first, 10, 0), 200);
    sim.notifies();
    sim.publish("bob", None, 600, Some("one"));
    let told = sim.notifies();
    assert!(told.len() == 1 && header(&told[0], "Call-ID").as_deref() == Some(&*two));
}

#[test]
fn the_id_of_an_event_comes_back_in_every_notify() {
    let mut sim = Sim::new();
    let watch = sim.ask("alice", "SUBSCRIBE", BOB, &wants("presence;id=7a", 600), "");
    assert_eq!(sim.status(&watch), 200);
    let first = sim.notifies();
    assert_eq!(header(&first[0], "Event").as_deref(), Some("presence;id=7a"));
    sim.restart(1000);
    sim.publish("bob", None, 600, Some("after"));
    let later = sim.notifies().pop().unwrap();
    assert_eq!(
        header(&later, "Event").as_deref(),
        Some("presence;id=7a"),
        "after a restart too"
    );
}

#[test]
fn what_is_not_served_is_said_with_what_is() {
    let mut sim = Sim::new();
    for event in ["dialog", "presence.winfo", "Presence"] {
        let asked = sim.ask("alice", "SUBSCRIBE", BOB, &wants(event, 600), "");
        assert_eq!(sim.status(&asked), 489, "{event}");
        assert_eq!(header(sim.answer(&asked), "Allow-Events").as_deref(), Some("presence"));
    }
    for (accept, status) in [
        ("text/html", 406),
        ("application/pidf+xml;q=0", 406),
        ("text/html, application/pidf+xml", 200),
        ("*/*", 200),
    ] {
        let lines = format!("{}Accept: {accept}\r\n", wants("presence", 600));
        let asked = sim.ask("alice", "SUBSCRIBE", BOB, &lines, "");
        assert_eq!(sim.status(&asked), status, "{accept}");
    }
    let asked = sim.ask("alice", "SUBSCRIBE", BOB, &wants("presence", 30), "");
    assert_eq!(sim.status(&asked), 423);
    assert_eq!(header(sim.answer(&asked), "Min-Expires").as_deref(), Some("60"));
}

/// `notify.min_interval`, 5 s as it comes: the first change at once, then the latest; refresh and end are exempt.
#[test]
fn changes_are_paced_and_refresh_and_end_are_not() {
    let mut sim = Sim::paced();
    let watch = sim.subscribe("alice", BOB, 600);
    let answer = sim.answer(&watch).to_string();
    assert_eq!(sim.notifies().len(), 1);
    let mut tag = String::new();
    for note in ["n1", "n2", "n3", "n4"] {
        let before = (!tag.is_empty()).then(|| tag.clone());
        tag = sim.publish("bob", before.as_deref(), 600, Some(note)).1;
        sim.pass(100);
    }
    let told = sim.notifies();
    assert!(told.len() == 1 && body(&told[0]).contains("n1"), "{told:?}");
    // A refresh brings the state at once, and what was waiting with it.
    assert_eq!(again(&mut sim, &answer, 10, 600), 200);
    let told = sim.notifies();
    assert!(told.len() == 1 && body(&told[0]).contains("n4"), "{told:?}");
    sim.pass(10_000);
    assert_eq!(sim.notifies(), [""; 0], "it has been told already");
    tag = sim.publish("bob", Some(&tag), 600, Some("m1")).1;
    assert!(body(&sim.notifies()[0]).contains("m1"));
    for note in ["m2", "m3"] {
        tag = sim.publish("bob", Some(&tag), 600, Some(note)).1;
    }
    sim.pass(4_800);
    assert_eq!(sim.notifies(), [""; 0], "less than 5 s");
    sim.pass(300);
    let told = sim.notifies();
    assert!(told.len() == 1 && body(&told[0]).contains("m3"), "{told:?}");
    sim.publish("bob", Some(&tag), 600, Some("m4"));
    assert_eq!(again(&mut sim, &answer, 20, 0), 200);
    let told = sim.notifies();
    assert!(
        told.len() == 1 && state(&told[0]).starts_with("terminated") && body(&told[0]).contains("m4"),
        "{told:?}"
    );
}

/// RFC 6665 section 4.2.2: 481 and other refusals end a subscription, Retry-After puts a NOTIFY off.
#[test]
fn what_a_watcher_answers_counts() {
    for (status, lines, survives) in [
        ("481 Gone", "", false),
        ("489 Bad Event", "", false),
        ("500 Later", "Retry-After: 20\r\n", true),
    ] {
        let mut sim = Sim::new();
        let watch = sim.subscribe("alice", BOB, 600);
        assert_eq!(sim.status(&watch), 200);
        for (to, notify) in sim.take_requests() {
            sim.receive(&to.to_string(), &reply(&notify, status, lines));
        }
        assert_eq!(sim.engine.status().subscriptions, usize::from(survives), "{status}");
        sim.pass(21_000);
        assert_eq!(sim.notifies().len(), usize::from(survives), "{status}");
    }
}
