//! The life of a list: refresh, end, expiry, restart, reload, peers that come and go.

use super::*;
use crate::engine::{Input, record};
use crate::sip::uri::Aor;

#[test]
fn a_refresh_tells_all_and_an_end_ends_all() {
    let mut world = World::new("lcs2005");
    let answer = world.watch(ACCEPT, &[ALICE, BOB]);
    world.told();
    let refreshed = world.again(&answer, 6, "Expires: 600\r\n", "");
    assert_eq!(header(&refreshed, "Expires").as_deref(), Some("600"), "{refreshed}");
    let told = world.told_once();
    assert!(told.full && told.version == 2 && told.resources.len() == 2, "{told:?}");
    let ended = world.again(&answer, 7, "Expires: 0\r\n", "");
    assert!(ended.starts_with("SIP/2.0 200"), "{ended}");
    let told = world.told();
    assert!(
        header(&told[0], "Subscription-State")
            .unwrap()
            .starts_with("terminated"),
        "{told:?}"
    );
    assert_eq!(
        (world.subscriptions(), world.sim.engine.status().presentities),
        ((0, 0), 0)
    );
    assert!(!world.sim.disk.keys().any(|k| k.starts_with(b"s")));
}

#[test]
fn a_refresh_may_ask_for_another_form() {
    let mut world = World::new("lcs2005");
    let answer = world.watch(OFFER, &[ALICE, BOB]);
    let pidf = ACCEPT.replace("text/xml+msrtc.pidf, ", "");
    world.again(&answer, 6, &pidf, "");
    let told = world.told();
    assert!(told.len() == 1 && told[0].starts_with("NOTIFY "), "{told:?}");
    let told = read(&told[0]);
    assert!(told.full && told.document(ALICE).contains("<presence "), "{told:?}");
    world.publish("bob", "two");
    assert!(world.told_once().document(BOB).contains("<presence "));
}

#[test]
fn a_list_expires_with_all_that_is_on_it() {
    let mut world = World::new("lcs2005");
    world.watch(&format!("{OFFER}Expires: 600\r\n"), &[ALICE, BOB]);
    world.told();
    world.sim.pass(601_000);
    let told = world.told();
    assert!(
        told.len() == 1 && told[0].contains("terminated;reason=timeout"),
        "{told:?}"
    );
    assert_eq!(world.subscriptions(), (0, 0));
    world.publish("alice", "late");
    assert!(world.told().is_empty());
}

#[test]
fn notifying_lengthens_a_list_where_that_was_agreed() {
    for (more, alive) in [("Supported: com.microsoft.autoextend\r\n", 2), ("", 0)] {
        let mut world = World::new("lcs2005");
        world.watch(&format!("{OFFER}{more}"), &[ALICE, BOB]);
        world.told();
        world.sim.pass(20_000_000);
        world.publish("alice", "here");
        world.told();
        world.sim.pass(20_000_000);
        world.told();
        assert_eq!(world.subscriptions().0, alive);
    }
}

#[test]
fn a_refresh_may_name_others() {
    let mut world = World::new("lcs2005");
    let answer = world.watch(ACCEPT, &[ALICE, "sip:nobody@a.example"]);
    world.told();
    let changed = world.again(
        &answer,
        6,
        &format!("{ACCEPT}{ADHOC}"),
        &adhoc(&[BOB, "sip:nobody@a.example"]),
    );
    assert!(changed.starts_with("SIP/2.0 200"), "{changed}");
    let told = world.told_once();
    assert!(told.full, "{told:?}");
    assert_eq!(told.resources.keys().collect::<Vec<_>>(), [BOB, "sip:nobody@a.example"]);
    assert_eq!(world.subscriptions(), (1, 1));
    world.publish("alice", "unseen");
    assert!(world.told().is_empty());
    world.publish("bob", "seen");
    assert_eq!(world.told_once().resources.len(), 1);
    for (lines, body, status) in [
        (format!("{ACCEPT}{ADHOC}"), "<list/>".to_string(), 400),
        ("Accept: application/pidf+xml\r\n".into(), String::new(), 421),
    ] {
        let answer = world.again(&answer, 9, &lines, &body);
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{answer}");
    }
    assert_eq!(world.subscriptions(), (1, 1));
}

#[test]
fn a_fetch_of_a_list_leaves_nothing() {
    let mut world = World::new("lcs2005");
    let answer = world.watch(&format!("{OFFER}Expires: 0\r\n"), &[ALICE, BOB]);
    assert_eq!(read(&answer).resources.len(), 2);
    world.sim.pass(100);
    assert!(world.told().is_empty());
    assert_eq!(world.subscriptions(), (0, 0));
    // With somebody at a peer the only notification waits for it.
    world.watch(&format!("{OFFER}Expires: 0\r\n"), &[ALICE, CARL]);
    let asked = world.asked();
    assert_eq!(asked.len(), 1);
    world.far_says(&asked[0], 1, "there");
    let told = world.told_once();
    assert!(told.full && told.document(CARL).contains("<presentity"), "{told:?}");
    assert_eq!(world.subscriptions(), (0, 0));
}

#[test]
fn somebody_at_a_peer_is_pending_until_the_peer_speaks() {
    let mut world = World::new("lcs2005");
    let answer = world.watch(OFFER, &[ALICE, CARL]);
    let first = read(&answer);
    assert_eq!((first.state(ALICE), first.state(CARL)), ("active", "pending"));
    let asked = world.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(header(&asked[0], "From").unwrap().contains(ERIN), "{asked:?}");
    world.far_says(&asked[0], 1, "there");
    let told = world.told_once();
    assert_eq!(
        (told.full, told.state(CARL), told.resources.len()),
        (false, "active", 1)
    );
    world.far_says(&asked[0], 2, "elsewhere");
    assert!(world.told_once().document(CARL).contains("elsewhere"));
    // With the list ends what was asked of the peer.
    let call_id = header(&asked[0], "Call-ID");
    let ended = world.again(&answer, 6, &format!("{OFFER}Expires: 0\r\n"), "");
    assert!(ended.starts_with("SIP/2.0 200"), "{ended}");
    assert_eq!(world.subscriptions(), (0, 0));
    let asked = world.asked();
    let expires = asked.iter().map(|m| (header(m, "Call-ID"), header(m, "Expires")));
    assert_eq!(expires.collect::<Vec<_>>(), [(call_id, Some("0".to_string()))]);
}

#[test]
fn a_peer_that_is_lost_takes_along_what_it_said_and_nothing_else() {
    let mut world = World::new("lcs2005");
    world.sim = Sim::configured(|base| {
        let config = config(base, "lcs2005", AT_ONCE);
        let at = config.find("name: c,").unwrap();
        config[..at].to_string() + &config[at..].replacen("\"off\"", "{ interval: 30s, down_after: 1 }", 1)
    });
    world.line = world.sim.open("127.0.0.9:40000");
    for (to, request) in world.sim.take_requests() {
        world.sim.receive(&to.to_string(), &reply(&request, "200 OK", ""));
    }
    world.watch(OFFER, &[ALICE, CARL]);
    let asked = world.asked();
    world.far_says(&asked[0], 1, "there");
    assert!(world.told_once().document(CARL).contains("aggregate=\"300\""));
    world.sim.pass(100_000);
    let told = world.told_once();
    assert_eq!((told.resources.len(), told.state(CARL)), (1, "active"), "{told:?}");
    assert!(!told.document(CARL).contains("aggregate=\"300\""), "{told:?}");
    assert_eq!(world.subscriptions(), (2, 1));
}

#[test]
fn whoever_denies_the_watcher_is_terminated() {
    let mut world = World::new("lcs2005");
    let alice = Aor::parse("alice@a.example").unwrap();
    let rights =
        "<ACLlist deltaNum=\"2\"><ACL><ACE type=\"USER\" mask=\"erin@b.example\" rights=\"BD\"/></ACL></ACLlist>";
    world
        .sim
        .disk
        .insert(record::roaming_key(b'e', &alice), record::roaming(rights));
    world.sim.restart(0);
    world.line = world.sim.open("127.0.0.9:40001");
    let first = read(&world.watch(OFFER, &[ALICE, BOB]));
    assert_eq!(
        (first.state(ALICE), first.state(BOB)),
        ("terminated rejected", "active")
    );
}

#[test]
fn a_peer_that_refuses_leaves_somebody_of_whom_nothing_is_known() {
    let mut world = World::new("lcs2005");
    world.watch(OFFER, &[ALICE, CARL]);
    let asked = world.asked();
    world.sim.receive(FAR, &reply(&asked[0], "404 Not Found", ""));
    let told = world.told_once();
    assert_eq!((told.state(CARL), told.resources.len()), ("active", 1), "{told:?}");
    assert!(!told.document(CARL).is_empty());
}

#[test]
fn a_list_survives_a_restart_with_all_that_is_on_it() {
    for (offer, verb) in [(OFFER, "BENOTIFY "), (ACCEPT, "NOTIFY ")] {
        let mut world = World::new("lcs2005");
        world.publish("alice", "one");
        world.watch(offer, &[ALICE, BOB, "sip:closed@a.example"]);
        world.told();
        world.sim.pass(2_000);
        world.sim.restart(1_000);
        world.line = world.sim.open("127.0.0.9:40001");
        assert_eq!(world.subscriptions(), (2, 1));
        world.sim.pass(100);
        let repeated = world.told();
        // Where nobody answers it is not known what was seen.
        assert_eq!(repeated.is_empty(), verb == "NOTIFY ", "{repeated:?}");
        world.publish("bob", "two");
        let told = world.told();
        assert!(told.iter().all(|t| t.starts_with(verb)), "{told:?}");
        let told = read(told.last().unwrap());
        assert!(told.version > 1 && told.document(BOB).contains("two"), "{told:?}");
        if repeated.is_empty() {
            assert!(told.full, "what its watcher counts has jumped");
            assert_eq!(told.resources.len(), 3);
            assert!(told.state("sip:closed@a.example").starts_with("terminated "));
        }
    }
}

#[test]
fn a_change_that_was_not_delivered_is_sent_after_the_restart() {
    let mut world = World::new("lcs2005");
    world.watch(ACCEPT, &[ALICE, BOB]);
    world.told();
    world.sim.pass(2_000);
    world.publish("bob", "lost");
    world.sim.sent.clear();
    world.sim.restart(0);
    world.line = world.sim.open("127.0.0.9:40001");
    let told = world.told();
    assert!(told.len() <= 1, "{told:?}");
    world.sim.pass(11_000);
    let told: Vec<String> = told.into_iter().chain(world.told()).collect();
    let told = read(told.last().unwrap());
    assert!(told.full && told.document(BOB).contains("lost"), "{told:?}");
}

#[test]
fn a_member_that_loses_its_ground_is_terminated_on_its_list() {
    let mut world = World::new("lcs2005");
    world.watch(OFFER, &[ALICE, BOB, CARL]);
    let asked = world.asked();
    world.far_says(&asked[0], 1, "there");
    world.told();
    let next = World::snapshot(|config| {
        config.replace(
            "aor: bob@a.example, password: { plain: x }",
            "aor: bob@a.example, password: { plain: x }, enabled: { presence: false }",
        )
    });
    world.sim.reload(next);
    world.sim.pass(100);
    let told = world.told_once();
    assert_eq!((told.full, told.resources.len()), (false, 1), "{told:?}");
    assert_eq!(told.state(BOB), "terminated rejected");
    world.publish("alice", "goes on");
    assert!(world.told_once().document(ALICE).contains("goes on"));
    assert_eq!(world.subscriptions(), (2, 1));
    // It stays so, also over a restart.
    world.sim.pass(2_000);
    world.sim.restart(0);
    assert_eq!(world.subscriptions(), (2, 1));
    // The peer of another member goes.
    let next = World::snapshot(|config| {
        let at = config.find("  - { name: c,").unwrap();
        let end = at + config[at..].find('\n').unwrap() + 1;
        config[..at].to_string() + &config[end..]
    });
    world.line = world.sim.open("127.0.0.9:40001");
    world.told();
    world.sim.reload(next);
    world.sim.pass(100);
    let told: Vec<Told> = world.told().iter().map(|t| read(t)).collect();
    assert_eq!(told.last().unwrap().state(CARL), "terminated noresource", "{told:?}");
    assert_eq!(world.subscriptions(), (1, 1));
}

#[test]
fn a_watcher_that_loses_its_ground_is_told_once() {
    let mut world = World::new("lcs2005");
    world.watch(ACCEPT, &[ALICE, BOB]);
    world.told();
    let next = World::snapshot(|config| config.replace("domains: [b.example]", "domains: [other.example]"));
    world.sim.reload(next);
    world.sim.pass(100);
    let told = world.told();
    assert!(
        told.len() == 1 && told[0].contains("terminated;reason=rejected"),
        "{told:?}"
    );
    assert_eq!(world.subscriptions(), (0, 0));
}

#[test]
fn a_notification_that_is_refused_is_said_again_in_full() {
    let mut world = World::new("lcs2005");
    world.watch(ACCEPT, &[ALICE, BOB]);
    world.told();
    world.publish("bob", "two");
    let sent = world.sim.take_requests();
    let notify = &sent.iter().find(|(_, m)| m.starts_with("NOTIFY ")).unwrap().1;
    assert!(!read(notify).full);
    world
        .sim
        .receive_over(world.line, &reply(notify, "503 Busy", "Retry-After: 2\r\n"));
    world.sim.pass(3_000);
    let told = world.told_once();
    assert!(
        told.full && told.resources.len() == 2 && told.document(BOB).contains("two"),
        "{told:?}"
    );
    // One that is refused for good ends the list.
    world.publish("bob", "three");
    let sent = world.sim.take_requests();
    let notify = &sent.iter().find(|(_, m)| m.starts_with("NOTIFY ")).unwrap().1;
    world.sim.receive_over(world.line, &reply(notify, "481 Gone", ""));
    assert_eq!(world.subscriptions(), (0, 0));
}

#[test]
fn what_the_store_refuses_is_taken_back() {
    let mut world = World::new("lcs2005");
    let answer = world.watch(ACCEPT, &[ALICE, BOB]);
    world.told();
    world.sim.prompt = false;
    world.again(&answer, 6, &format!("{ACCEPT}{ADHOC}"), &adhoc(&[BOB, CARL]));
    assert_eq!(world.subscriptions(), (3, 1), "whom it leaves out is still watched");
    world.sim.fail();
    assert!(
        world
            .sim
            .answer(&header(&answer, "Call-ID").unwrap())
            .starts_with("SIP/2.0 500")
    );
    assert_eq!(world.subscriptions(), (2, 1));
    world.sim.recover();
    world.sim.prompt = true;
    world.sim.input(Input::Tick);
    world.sim.sync();
    world.told();
    world.publish("alice", "still");
    assert!(world.told_once().document(ALICE).contains("still"));
    // A new list that is refused leaves nothing.
    world.sim.prompt = false;
    world.watch(OFFER, &[ALICE, BOB]);
    assert_eq!(world.subscriptions(), (4, 2));
    world.sim.fail();
    assert_eq!(world.subscriptions(), (2, 1));
}
