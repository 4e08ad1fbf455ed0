//! REGISTER (RFC 3261 section 10.3, RFC 3327), clause by clause, in the simulated engine.

use super::sim::{CLIENT, Sim, body, header};

const REGISTRAR: &str = "sip:a.example";

/// Bob's REGISTER with these lines: the status, and the contacts of the answer.
fn ask(sim: &mut Sim, lines: &str) -> (u16, Vec<String>) {
    let call_id = sim.ask("bob", "REGISTER", REGISTRAR, lines, "");
    (sim.status(&call_id), contacts(sim.answer(&call_id)))
}

fn contacts(answer: &str) -> Vec<String> {
    let lines = answer.lines().filter_map(|l| l.strip_prefix("Contact: "));
    lines.map(str::to_string).collect()
}

/// A REGISTER of one registering client, which counts its requests.
fn counted(sim: &mut Sim, cseq: u32, lines: &str) -> u16 {
    let ids = "From: <sip:bob@a.example>;tag=f\r\nTo: <sip:bob@a.example>\r\nCall-ID: mine\r\n";
    sim.ask_with("bob", "REGISTER", REGISTRAR, &format!("{ids}{lines}"), cseq, "");
    sim.status("mine")
}

#[test]
fn contacts_are_kept_apart_replaced_listed_and_removed() {
    let mut sim = Sim::new();
    let (status, list) = ask(
        &mut sim,
        "Contact: <sip:bob@127.0.0.1:7001>;expires=100, \"Desk\" <sip:bob@127.0.0.1:7002>;q=0.5\r\nExpires: 200\r\n",
    );
    assert_eq!(status, 200);
    assert_eq!(
        list,
        [
            "<sip:bob@127.0.0.1:7001>;expires=100",
            "<sip:bob@127.0.0.1:7002>;expires=200"
        ]
    );
    // The same contact in other words.
    let (status, list) = ask(&mut sim, "Contact: <sip:bob@127.0.0.1:7001;x=y>;expires=150\r\n");
    assert_eq!((status, list.len()), (200, 2), "{list:?}");
    assert!(list[0].ends_with(";expires=150"));
    // Nothing asked for but the list.
    sim.pass(50_000);
    let (status, list) = ask(&mut sim, "");
    assert!(
        status == 200 && list[0].ends_with("=100") && list[1].ends_with("=150"),
        "{list:?}"
    );
    let (_, list) = ask(&mut sim, "Contact: <sip:bob@127.0.0.1:7002>;expires=0\r\n");
    assert_eq!(list.len(), 1);
    sim.pass(101_000);
    assert_eq!(ask(&mut sim, "").1, [""; 0], "it has expired");
    assert!(!sim.disk.keys().any(|k| k.first() == Some(&b'r')), "so has its record");
}

#[test]
fn whoever_leaves_leaves_nothing() {
    let mut sim = Sim::new();
    for first in [0, 600] {
        assert_eq!(sim.register("bob", first), 200);
        assert_eq!(sim.register("bob", 0), 200);
        assert_eq!(sim.engine.registrar.iter().count(), 0);
    }
    assert_eq!(sim.register("bob", 600), 200);
    assert_eq!(ask(&mut sim, "").1.len(), 1, "and may come back");
}

#[test]
fn a_star_removes_all_and_only_with_expires_0() {
    let mut sim = Sim::new();
    sim.register("bob", 600);
    for lines in [
        "Contact: *\r\nExpires: 600\r\n",
        "Contact: *\r\n",
        "Contact: *, <sip:bob@127.0.0.1:7001>\r\nExpires: 0\r\n",
    ] {
        assert_eq!(ask(&mut sim, lines).0, 400, "{lines}");
    }
    assert_eq!(ask(&mut sim, "").1.len(), 1);
    let (status, list) = ask(&mut sim, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!((status, list), (200, Vec::new()));
}

#[test]
fn too_brief_is_423_and_changes_nothing() {
    let mut sim = Sim::new();
    sim.register("bob", 600);
    let lines = "Contact: <sip:bob@127.0.0.1:7005>;expires=600, <sip:bob@127.0.0.1:7006>;expires=3\r\n";
    let call_id = sim.ask("bob", "REGISTER", REGISTRAR, lines, "");
    assert_eq!(sim.status(&call_id), 423);
    assert_eq!(header(sim.answer(&call_id), "Min-Expires").as_deref(), Some("60"));
    assert_eq!(ask(&mut sim, "").1.len(), 1, "all or nothing");
}

/// RFC 3261 section 10.3 step 7: of one Call-ID only what is newer counts.
#[test]
fn an_outdated_cseq_changes_nothing() {
    let mut sim = Sim::new();
    let contact = format!("Contact: <sip:bob@{CLIENT}>\r\n");
    assert_eq!(counted(&mut sim, 10, &format!("{contact}Expires: 600\r\n")), 200);
    // The challenged one takes 9, the one with credentials 10: that is what was.
    assert_eq!(counted(&mut sim, 9, &format!("{contact}Expires: 0\r\n")), 500);
    assert_eq!(counted(&mut sim, 4, "Contact: *\r\nExpires: 0\r\n"), 500);
    assert_eq!(ask(&mut sim, "").1.len(), 1);
    sim.restart(1000);
    assert_eq!(
        counted(&mut sim, 6, &format!("{contact}Expires: 0\r\n")),
        500,
        "a restart forgets nothing"
    );
    assert_eq!(counted(&mut sim, 20, &format!("{contact}Expires: 0\r\n")), 200);
    assert_eq!(ask(&mut sim, "").1, [""; 0]);
}

/// A contact's headers are no part of a request line (RFC 3261 section 19.1.1, RFC 4475 3.1.1.12).
#[test]
fn headers_of_a_contact_are_kept_and_not_sent() {
    let mut sim = Sim::new();
    let contact = format!("<sip:bob@{CLIENT}?Route=%3Csip:evil.invalid%3E>");
    let (status, list) = ask(&mut sim, &format!("Contact: {contact};expires=600\r\n"));
    assert_eq!((status, list), (200, vec![format!("{contact};expires=600")]));
    sim.take_requests();
    sim.ask(
        "alice",
        "MESSAGE",
        "sip:bob@a.example",
        "Content-Type: text/plain\r\n",
        "hi",
    );
    let sent = sim.requests();
    let first = sent[0].lines().next().unwrap();
    assert_eq!(first, format!("MESSAGE sip:bob@{CLIENT} SIP/2.0"));
    let uri = "sip:bob@a.example?Subject=x";
    let asked = sim.ask("alice", "MESSAGE", uri, "Content-Type: text/plain\r\n", "hi");
    assert_eq!(sim.status(&asked), 400, "nor do they come in by a request line");
}

/// A kept message goes the way the REGISTER names, as any other.
#[test]
fn a_kept_message_takes_the_path() {
    let mut sim = Sim::with("messages: { store_offline: true }\n");
    let kept = sim.ask(
        "alice",
        "MESSAGE",
        "sip:bob@a.example",
        "Content-Type: text/plain\r\n",
        "hi",
    );
    assert_eq!(sim.status(&kept), 202);
    let path = format!("<sip:edge@{CLIENT};lr>");
    let (status, _) = ask(
        &mut sim,
        &format!("Contact: <sip:bob@hidden.invalid>;expires=600\r\nPath: {path}\r\nSupported: path\r\n"),
    );
    assert_eq!(status, 200);
    sim.pass(100);
    let sent = sim.requests();
    let message = sent.iter().find(|m| m.starts_with("MESSAGE ")).unwrap();
    assert!(
        message.starts_with("MESSAGE sip:bob@hidden.invalid SIP/2.0"),
        "{message}"
    );
    assert_eq!(header(message, "Route"), Some(path));
    assert_eq!((header(message, "Call-ID"), body(message)), (Some(kept), "hi"));
}
