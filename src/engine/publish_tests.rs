//! PUBLISH (RFC 3903 sections 4 and 6), clause by clause, in the simulated engine.

use super::sim::{Sim, body, header, pidf};

const BOB: &str = "sip:bob@a.example";
const TYPE: &str = "Content-Type: application/pidf+xml\r\n";

/// What alice has been told since she was asked last.
fn seen(sim: &mut Sim) -> Vec<String> {
    sim.notifies().iter().map(|n| body(n).to_string()).collect()
}

fn watched() -> Sim {
    let mut sim = Sim::new();
    sim.subscribe("alice", BOB, 80_000);
    seen(&mut sim);
    sim
}

/// Bob's PUBLISH with these lines and this body: the status, and the answer.
fn ask(sim: &mut Sim, lines: &str, body: &str) -> (u16, String) {
    let call_id = sim.ask("bob", "PUBLISH", BOB, &format!("Event: presence\r\n{lines}"), body);
    (sim.status(&call_id), sim.answer(&call_id).to_string())
}

#[test]
fn each_step_gives_a_new_tag_and_only_the_newest_counts() {
    let mut sim = watched();
    let (status, first) = sim.publish("bob", None, 600, Some("one"));
    assert_eq!(status, 200);
    assert!(seen(&mut sim)[0].contains("one"));
    // A refresh: another tag, the same state, and nobody hears of it.
    let (status, second) = sim.publish("bob", Some(&first), 600, None);
    assert!(status == 200 && second != first);
    assert_eq!(seen(&mut sim), [""; 0]);
    assert_eq!(
        sim.publish("bob", Some(&first), 600, None).0,
        412,
        "the old tag is used up"
    );
    // A change.
    let (status, third) = sim.publish("bob", Some(&second), 600, Some("two"));
    assert_eq!(status, 200);
    let told = seen(&mut sim);
    assert!(told.len() == 1 && told[0].contains("two") && !told[0].contains("one"));
    // A removal; its own tag is good for nothing.
    let (status, last) = sim.publish("bob", Some(&third), 0, None);
    assert_eq!(status, 200);
    let told = seen(&mut sim);
    assert!(told.len() == 1 && !told[0].contains("two"));
    for tag in [&third, &last] {
        assert_eq!(sim.publish("bob", Some(tag), 600, Some("three")).0, 412);
    }
    assert_eq!(seen(&mut sim), [""; 0], "what is refused changes nothing");
}

#[test]
fn a_refresh_after_expiry_is_412_and_creates_nothing() {
    let mut sim = watched();
    let (_, tag) = sim.publish("bob", None, 120, Some("short"));
    seen(&mut sim);
    sim.pass(119_000);
    let (status, tag) = sim.publish("bob", Some(&tag), 120, None);
    assert_eq!(status, 200, "a second before its end");
    sim.pass(119_000);
    assert_eq!(seen(&mut sim), [""; 0], "the refresh moved the end");
    sim.pass(2_000);
    let told = seen(&mut sim);
    assert!(told.len() == 1 && !told[0].contains("short"), "{told:?}");
    for note in [None, Some("late")] {
        assert_eq!(sim.publish("bob", Some(&tag), 120, note).0, 412);
    }
    assert_eq!(seen(&mut sim), [""; 0]);
}

#[test]
fn a_tag_is_good_for_its_own_presentity_only() {
    let mut sim = watched();
    let (_, tag) = sim.publish("bob", None, 600, Some("mine"));
    seen(&mut sim);
    for (seconds, note) in [(600, None), (600, Some("stolen")), (0, None)] {
        assert_eq!(sim.publish("alice", Some(&tag), seconds, note).0, 412);
    }
    assert_eq!(seen(&mut sim), [""; 0]);
    assert_eq!(sim.publish("bob", Some(&tag), 600, None).0, 200, "it is still his");
}

#[test]
fn expiries_are_bounded_both_ways_and_said() {
    let mut sim = Sim::new();
    let body = pidf(BOB, "x");
    let (status, answer) = ask(&mut sim, &format!("Expires: 59\r\n{TYPE}"), &body);
    assert_eq!((status, header(&answer, "Min-Expires").as_deref()), (423, Some("60")));
    assert_eq!(sim.engine.status().presentities, 0, "a refusal leaves nothing");
    let (status, answer) = ask(&mut sim, &format!("Expires: 60\r\n{TYPE}"), &body);
    assert_eq!((status, header(&answer, "Expires").as_deref()), (200, Some("60")));
    let (status, answer) = ask(&mut sim, &format!("Expires: 4294967295\r\n{TYPE}"), &body);
    let granted: u32 = header(&answer, "Expires").unwrap().parse().unwrap();
    assert!(status == 200 && granted <= 86_400);
    let (status, answer) = ask(&mut sim, TYPE, &body);
    let granted: u32 = header(&answer, "Expires").unwrap().parse().unwrap();
    assert!(
        status == 200 && granted > 60,
        "without Expires it is the default: {granted}"
    );
    // The condition is judged before the interval (RFC 3903 section 6, steps 3 and 4).
    let (status, _) = ask(&mut sim, "Expires: 5\r\nSIP-If-Match: none\r\n", "");
    assert_eq!(status, 412);
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_helps() {
    let mut sim = watched();
    let (_, tag) = sim.publish("bob", None, 600, Some("mine"));
    seen(&mut sim);
    for lines in [
        format!("SIP-If-Match: {tag}, {tag}\r\n"),
        format!("SIP-If-Match: {tag}\r\nSIP-If-Match: other\r\n"),
    ] {
        assert_eq!(ask(&mut sim, &format!("Expires: 600\r\n{lines}"), "").0, 400, "{lines}");
    }
    assert_eq!(ask(&mut sim, "Expires: 600\r\n", "").0, 400, "a first one needs a body");
    let (status, answer) = ask(&mut sim, "Expires: 600\r\nContent-Type: text/plain\r\n", "hello");
    assert_eq!(status, 415);
    assert_eq!(header(&answer, "Accept").as_deref(), Some("application/pidf+xml"));
    let wrong = sim.ask("bob", "PUBLISH", BOB, &format!("Event: dialog\r\n{TYPE}"), "x");
    assert_eq!(sim.status(&wrong), 489);
    assert!(header(sim.answer(&wrong), "Allow-Events").is_some());
    assert_eq!(seen(&mut sim), [""; 0]);
    assert_eq!(
        sim.publish("bob", Some(&tag), 600, None).0,
        200,
        "the tag has survived all that"
    );
}

#[test]
fn a_first_publication_that_ends_at_once_shows_nobody_anything() {
    let mut sim = watched();
    let (status, answer) = ask(&mut sim, &format!("Expires: 0\r\n{TYPE}"), &pidf(BOB, "never"));
    assert_eq!(status, 200);
    assert!(header(&answer, "SIP-ETag").is_some());
    assert_eq!(seen(&mut sim), [""; 0]);
}

/// What baresip 1.0 publishes before it knows better.
#[test]
fn a_basic_status_that_is_unknown_is_taken_and_shown() {
    let mut sim = watched();
    let body = pidf(BOB, "x").replace("open", "unknown");
    assert_eq!(ask(&mut sim, &format!("Expires: 600\r\n{TYPE}"), &body).0, 200);
    assert_eq!(seen(&mut sim), [body]);
}

#[test]
fn tags_and_expiries_survive_a_restart() {
    let mut sim = watched();
    let (_, tag) = sim.publish("bob", None, 600, Some("kept"));
    let (_, tag) = sim.publish("bob", Some(&tag), 600, None);
    seen(&mut sim);
    sim.restart(300_000);
    let (status, tag) = sim.publish("bob", Some(&tag), 600, None);
    assert_eq!(status, 200, "its last tag");
    sim.restart(601_000);
    assert_eq!(sim.publish("bob", Some(&tag), 600, None).0, 412, "it ended meanwhile");
}
