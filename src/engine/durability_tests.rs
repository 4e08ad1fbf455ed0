//! What a restart and a failing store leave behind, in the simulated engine.

use super::sim::{CLIENT, Sim, body, header};

const BOB: &str = "sip:bob@a.example";

/// Alice watches bob, who has published; everything is delivered and written down.
fn watched() -> (Sim, String) {
    let mut sim = Sim::new();
    let (status, etag) = sim.publish("bob", None, 600, Some("one"));
    assert_eq!(status, 200);
    let watch = sim.subscribe("alice", BOB, 3000);
    assert_eq!(sim.status(&watch), 200);
    let first = sim.notifies();
    assert_eq!(first.len(), 1);
    assert!(first[0].contains("one"), "{}", first[0]);
    sim.pass(1500);
    (sim, etag)
}

#[test]
fn after_a_restart_a_watcher_who_has_seen_the_present_state_hears_nothing() {
    let (mut sim, _) = watched();
    sim.restart(10_000);
    assert_eq!(sim.notifies(), [""; 0]);
    let (status, _) = sim.publish("bob", None, 600, Some("two"));
    assert_eq!(status, 200);
    sim.pass(10);
    let next = sim.notifies();
    assert!(
        next.len() == 1 && next[0].contains("two"),
        "the dialog goes on: {next:?}"
    );
}

#[test]
fn a_change_that_was_not_delivered_is_sent_after_the_restart() {
    let (mut sim, etag) = watched();
    sim.publish("bob", Some(&etag), 600, Some("two"));
    sim.pass(10);
    // The NOTIFY is lost with the crash.
    sim.sent.clear();
    sim.restart(0);
    let sent = sim.notifies();
    assert!(sent.len() == 1 && sent[0].contains("two"), "{sent:?}");
    sim.pass(1500);
    sim.restart(0);
    assert_eq!(sim.notifies(), [""; 0], "it is known now");
}

#[test]
fn a_state_that_came_back_without_being_delivered_is_not_missed() {
    let (mut sim, etag) = watched();
    let (_, etag) = sim.publish("bob", Some(&etag), 600, Some("two"));
    sim.pass(10);
    assert_eq!(sim.notifies().len(), 1);
    // Alice has "two"; bob is back at "one" and the crash comes before she is told, and before anything is written down.
    sim.publish("bob", Some(&etag), 600, Some("one"));
    sim.sent.clear();
    sim.restart(0);
    let sent = sim.notifies();
    assert!(sent.len() == 1 && sent[0].contains("one"), "{sent:?}");
}

#[test]
fn what_expired_while_the_bridge_was_down_is_news() {
    let (mut sim, _) = watched();
    sim.restart(700_000);
    let sent = sim.notifies();
    assert!(sent.len() == 1 && sent[0].contains("closed"), "{sent:?}");
}

#[test]
fn a_watcher_who_came_after_the_last_writing_gets_a_notify() {
    let (mut sim, _) = watched();
    let late = sim.subscribe("bob", BOB, 3000);
    assert_eq!(sim.status(&late), 200);
    sim.sent.clear();
    sim.restart(0);
    let sent = sim.notifies();
    assert_eq!(sent.len(), 1);
    assert_eq!(header(&sent[0], "Call-ID"), Some(late));
}

#[test]
fn a_stop_in_good_order_writes_down_what_is_known_at_once() {
    let mut sim = Sim::new();
    sim.publish("bob", None, 600, Some("one"));
    sim.subscribe("alice", BOB, 3000);
    assert_eq!(sim.notifies().len(), 1);
    sim.engine.save_delivered();
    sim.input(super::Input::Tick);
    sim.restart(0);
    assert_eq!(sim.notifies(), [""; 0]);
}

#[test]
fn deliveries_cost_one_record_a_second_for_all_watchers_together() {
    let mut sim = Sim::new();
    sim.publish("bob", None, 600, Some("one"));
    for _ in 0..20 {
        sim.subscribe("alice", BOB, 3000);
    }
    assert_eq!(sim.notifies().len(), 20);
    sim.prompt = false;
    sim.pass(5000);
    assert_eq!(sim.queued.len(), 1);
    assert!(!sim.queued[0].3, "and nothing waits for it");
}

#[test]
fn a_refused_publication_is_neither_seen_nor_remembered() {
    let (mut sim, etag) = watched();
    sim.prompt = false;
    let (status, _) = sim.publish("bob", Some(&etag), 600, Some("two"));
    assert_eq!(status, 0, "it waits for the store");
    sim.pass(10);
    assert_eq!(sim.notifies(), [""; 0], "and so does the NOTIFY");
    sim.fail();
    let (_, last) = sim.sent.last().unwrap();
    assert!(last.starts_with("SIP/2.0 500 Store Failure\r\n") && last.contains("Warning: 399 a.example \"the store"));
    assert!(header(last, "SIP-ETag").is_none());
    sim.pass(1000);
    assert_eq!(sim.notifies(), [""; 0]);
    // While it lasts, new state is refused at once and the old one is served.
    assert_eq!(sim.publish("bob", None, 600, Some("three")).0, 500);
    let more = sim.subscribe("alice", BOB, 600);
    assert_eq!(sim.status(&more), 500);
    let fetch = sim.subscribe("alice", BOB, 0);
    assert_eq!(sim.status(&fetch), 200);
    assert!(sim.notifies()[0].contains("one"));
    sim.prompt = true;
    sim.recover();
    let (status, _) = sim.publish("bob", Some(&etag), 600, Some("two"));
    assert_eq!(status, 200, "the old entity tag is good for the retry");
    let sent = sim.notifies();
    assert!(sent.len() == 1 && sent[0].contains("two"), "{sent:?}");
    sim.pass(1500);
    sim.restart(0);
    assert_eq!(sim.notifies(), [""; 0]);
}

#[test]
fn a_refused_removal_leaves_the_publication() {
    let (mut sim, etag) = watched();
    sim.prompt = false;
    sim.publish("bob", Some(&etag), 0, None);
    sim.fail();
    sim.prompt = true;
    sim.recover();
    assert_eq!(sim.notifies(), [""; 0]);
    assert_eq!(sim.publish("bob", Some(&etag), 600, None).0, 200);
    // A removal that is taken leaves nothing behind.
    let watching = sim.engine.status().presentities;
    let (_, alone) = sim.publish("alice", None, 600, Some("x"));
    assert_eq!(sim.publish("alice", Some(&alone), 0, None).0, 200);
    assert_eq!(sim.engine.status().presentities, watching);
}

#[test]
fn a_refused_subscription_gets_no_notify_and_a_refused_refresh_keeps_the_old_expiry() {
    let (mut sim, etag) = watched();
    sim.prompt = false;
    let refused = sim.subscribe("alice", BOB, 3000);
    let before = sim.engine.status().subscriptions;
    sim.fail();
    assert_eq!(
        (sim.status(&refused), sim.engine.status().subscriptions),
        (500, before - 1)
    );
    assert_eq!(sim.notifies(), [""; 0]);
    sim.prompt = true;
    sim.recover();
    // A refresh of the first, which has some 3000 s left.
    let watch = sim.subscribe("alice", BOB, 100);
    let dialog = sim.answer(&watch).to_string();
    sim.notifies();
    let lines = |seconds: u32| {
        format!(
            "From: {}\r\nTo: {}\r\nCall-ID: {watch}\r\nEvent: presence\r\nContact: <sip:alice@{CLIENT}>\r\nExpires: {seconds}\r\n",
            header(&dialog, "From").unwrap(),
            header(&dialog, "To").unwrap()
        )
    };
    sim.prompt = false;
    let target = "sip:127.0.0.1:5060";
    sim.ask_with("alice", "SUBSCRIBE", target, &lines(3000), 10, "");
    sim.fail();
    assert_eq!(sim.status(&watch), 500);
    sim.prompt = true;
    sim.recover();
    sim.ask_with("alice", "SUBSCRIBE", target, &lines(0), 20, "");
    assert_eq!(sim.status(&watch), 200, "an end is taken");
    assert!(sim.notifies().iter().any(|n| n.contains("terminated")));
    sim.publish("bob", Some(&etag), 600, Some("two"));
    assert_eq!(sim.notifies().len(), 1, "the first one lives");
}

#[test]
fn a_refused_refresh_expires_when_it_would_have() {
    let mut sim = Sim::new();
    let watch = sim.subscribe("alice", BOB, 100);
    let dialog = sim.answer(&watch).to_string();
    sim.notifies();
    let lines = format!(
        "From: {}\r\nTo: {}\r\nCall-ID: {watch}\r\nEvent: presence\r\nContact: <sip:alice@{CLIENT}>\r\nExpires: 3000\r\n",
        header(&dialog, "From").unwrap(),
        header(&dialog, "To").unwrap()
    );
    sim.prompt = false;
    sim.ask_with("alice", "SUBSCRIBE", "sip:127.0.0.1:5060", &lines, 10, "");
    sim.fail();
    sim.prompt = true;
    sim.recover();
    sim.pass(99_000);
    assert_eq!(sim.notifies(), [""; 0]);
    sim.pass(2_000);
    let sent = sim.notifies();
    assert!(
        sent.len() == 1 && sent[0].contains("terminated;reason=timeout"),
        "{sent:?}"
    );
}

#[test]
fn a_refused_registration_is_not_there_and_watchers_do_not_see_it() {
    let mut sim = Sim::new();
    sim.subscribe("alice", BOB, 3000);
    assert!(body(&sim.notifies()[0]).contains("closed"));
    sim.prompt = false;
    sim.register("bob", 600);
    sim.fail();
    sim.pass(1000);
    assert_eq!(sim.notifies(), [""; 0]);
    assert_eq!(sim.engine.status().bindings, 0);
    sim.prompt = true;
    sim.recover();
    assert_eq!(sim.register("bob", 600), 200);
    let sent = sim.notifies();
    assert!(sent.len() == 1 && sent[0].contains("open"), "{sent:?}");
    // A refused refresh keeps the old expiry.
    sim.pass(500_000);
    sim.prompt = false;
    sim.register("bob", 600);
    sim.fail();
    sim.prompt = true;
    sim.recover();
    assert_eq!(sim.engine.status().bindings, 1);
    sim.pass(101_000);
    assert_eq!(sim.engine.status().bindings, 0);
}

#[test]
fn a_refused_message_is_not_delivered() {
    let mut sim = Sim::new();
    sim.prompt = false;
    let refused = sim.ask("alice", "MESSAGE", BOB, "Content-Type: text/plain\r\n", "lost");
    assert_eq!((sim.status(&refused), sim.engine.status().stored_messages), (0, 1));
    sim.fail();
    assert_eq!((sim.status(&refused), sim.engine.status().stored_messages), (500, 0));
    sim.prompt = true;
    sim.recover();
    let kept = sim.ask("alice", "MESSAGE", BOB, "Content-Type: text/plain\r\n", "kept");
    assert_eq!(sim.status(&kept), 202);
    sim.register("bob", 600);
    let sent = sim.requests();
    assert!(
        sent.iter().any(|m| m.contains("kept")) && !sent.iter().any(|m| m.contains("lost")),
        "{sent:?}"
    );
}

#[test]
fn what_the_disk_missed_without_a_promise_is_written_when_it_recovers() {
    let (mut sim, _) = watched();
    sim.prompt = false;
    // The publication expires while the disk is full: nobody is refused anything, watchers see it.
    sim.fail();
    sim.pass(700_000);
    let sent = sim.notifies();
    assert!(sent.len() == 1 && sent[0].contains("closed"), "{sent:?}");
    assert!(sim.disk.keys().any(|k| k.first() == Some(&b'p')));
    sim.prompt = true;
    sim.recover();
    assert!(
        !sim.disk.keys().any(|k| k.first() == Some(&b'p')),
        "the record is gone now"
    );
}
