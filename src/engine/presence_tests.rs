//! Composition as watchers see it, in the simulated engine.

use super::sim::{Sim, body};
use crate::presence::Document;

const BOB: &str = "sip:bob@a.example";

fn seen(sim: &mut Sim) -> Vec<String> {
    sim.notifies().iter().map(|n| body(n).to_string()).collect()
}

fn publish(sim: &mut Sim, document: &str) -> u16 {
    let lines = "Event: presence\r\nExpires: 600\r\nContent-Type: application/pidf+xml\r\n";
    let call_id = sim.ask("bob", "PUBLISH", BOB, lines, document);
    sim.status(&call_id)
}

fn document(id: &str, basic: &str, activity: &str) -> String {
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
         xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='{BOB}'><tuple id='{id}'><status><basic>{basic}</basic></status>\
         </tuple><dm:person id='p'><r:activities><r:{activity}/></r:activities></dm:person></presence>"
    )
}

#[test]
fn a_registration_counts_only_while_nothing_is_published_and_closed_outranks_it() {
    let mut sim = Sim::new();
    sim.subscribe("alice", BOB, 3000);
    assert!(seen(&mut sim)[0].contains("closed"));
    sim.register("bob", 3600);
    assert!(seen(&mut sim)[0].contains("open"));
    let closed = document("t", "closed", "away");
    assert_eq!(publish(&mut sim, &closed), 200);
    assert_eq!(seen(&mut sim), [closed], "the only publication, byte for byte");
    sim.register("bob", 3600);
    assert_eq!(seen(&mut sim), [""; 0]);
    sim.pass(601_000);
    assert!(
        seen(&mut sim)[0].contains("open"),
        "it has expired: the registration counts again"
    );
}

#[test]
fn two_publishers_make_one_document_and_by_hand_decides() {
    let mut sim = Sim::new();
    sim.subscribe("alice", BOB, 3000);
    seen(&mut sim);
    publish(&mut sim, &document("manual-1", "open", "busy"));
    seen(&mut sim);
    publish(&mut sim, &document("phone", "open", "on-the-phone"));
    let last = seen(&mut sim).pop().unwrap();
    let read = Document::parse(last.as_bytes()).unwrap();
    assert_eq!(read.activities().collect::<Vec<_>>(), ["busy"]);
    assert!(last.contains("manual-1") && last.contains("phone"));
}

#[test]
fn which_publication_is_by_hand_is_data_that_a_reload_changes() {
    let mut sim = Sim::new();
    sim.subscribe("alice", BOB, 3000);
    seen(&mut sim);
    publish(&mut sim, &document("own-1", "open", "busy"));
    seen(&mut sim);
    publish(&mut sim, &document("phone", "open", "meeting"));
    let activity = |text: &str| {
        let read = Document::parse(text.as_bytes()).unwrap();
        read.activities().next().map(str::to_string)
    };
    let before = seen(&mut sim).pop().unwrap();
    assert_eq!(activity(&before).as_deref(), Some("meeting"));
    let changed = Sim::snapshot(
        "",
        "notify: { min_interval: 0s }\npresence: { manual: [{ tuple: \"own-*\", dialect: rfc }] }",
    );
    sim.reload(changed);
    sim.pass(10);
    let after = seen(&mut sim).pop().unwrap();
    assert_eq!(activity(&after).as_deref(), Some("busy"));
    let quiet = "notify: { min_interval: 0s }\npresence: { dnd: { elements: [meeting] } }";
    sim.reload(Sim::snapshot("", quiet));
    sim.pass(10);
    let after = seen(&mut sim).pop().unwrap();
    assert_eq!(activity(&after).as_deref(), Some("meeting"));
}

#[test]
fn the_same_body_published_again_is_the_newest() {
    let mut sim = Sim::new();
    sim.subscribe("alice", BOB, 3000);
    seen(&mut sim);
    let laptop = document("laptop", "open", "busy");
    let lines = "Event: presence\r\nExpires: 600\r\nContent-Type: application/pidf+xml\r\n";
    let first = sim.ask("bob", "PUBLISH", BOB, lines, &laptop);
    let etag = super::sim::header(sim.answer(&first), "SIP-ETag").unwrap();
    seen(&mut sim);
    publish(&mut sim, &document("phone", "open", "meeting"));
    let activity = |text: &str| {
        let read = Document::parse(text.as_bytes()).unwrap();
        read.activities().next().map(str::to_string)
    };
    assert_eq!(activity(&seen(&mut sim)[0]).as_deref(), Some("meeting"));
    sim.ask(
        "bob",
        "PUBLISH",
        BOB,
        &format!("{lines}SIP-If-Match: {etag}\r\n"),
        &laptop,
    );
    assert_eq!(activity(&seen(&mut sim)[0]).as_deref(), Some("busy"));
}

#[test]
fn a_refused_publication_of_somebody_unknown_leaves_nothing() {
    let mut sim = Sim::new();
    let lines = "Event: presence\r\nSIP-If-Match: none\r\nExpires: 600\r\n";
    let refused = sim.ask("bob", "PUBLISH", BOB, lines, "");
    assert_eq!((sim.status(&refused), sim.engine.status().presentities), (412, 0));
    assert_eq!(publish(&mut sim, "<presence/>"), 400);
    assert_eq!(sim.engine.status().presentities, 0);
}

#[test]
fn a_kept_publication_that_cannot_be_read_any_more_is_dropped() {
    let mut sim = Sim::new();
    publish(&mut sim, &document("t", "open", "busy"));
    let key = sim.disk.keys().find(|k| k.first() == Some(&b'p')).cloned().unwrap();
    let value = sim.disk.get_mut(&key).unwrap();
    let at = memchr::memmem::find(value, b"<basic>").unwrap();
    value[at + 1] = b'x';
    sim.restart(0);
    assert_eq!(sim.engine.status().presentities, 0);
    assert!(!sim.disk.contains_key(&key));
}

#[test]
fn a_refresh_with_another_contact_moves_the_notifies() {
    use super::sim::{CLIENT, header};
    let mut sim = Sim::new();
    let watch = sim.subscribe("alice", BOB, 3000);
    let answer = sim.answer(&watch).to_string();
    seen(&mut sim);
    let lines = format!(
        "From: {}\r\nTo: {}\r\nCall-ID: {watch}\r\nEvent: presence\r\nContact: <sip:moved@{CLIENT}>\r\nExpires: 3000\r\n",
        header(&answer, "From").unwrap(),
        header(&answer, "To").unwrap()
    );
    sim.ask_with("alice", "SUBSCRIBE", "sip:127.0.0.1:5060", &lines, 10, "");
    let sent = sim.notifies();
    assert!(
        sent.len() == 1 && sent[0].starts_with(&format!("NOTIFY sip:moved@{CLIENT} SIP/2.0")),
        "{sent:?}"
    );
}
