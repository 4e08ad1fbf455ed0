//! Contact lists and rights.

use super::*;

#[test]
fn nobody_reads_or_writes_what_is_another_users() {
    let (mut sim, mut alice) = signed_in();
    let lines = format!("Event: vnd-microsoft-roaming-contacts\r\n{SUPPORTED}");
    let answer = alice.ask(&mut sim, "SUBSCRIBE", "sip:bob@a.example", &lines, "");
    assert!(
        status(&answer) == 403 && rule(&answer).contains("roaming.own"),
        "{answer}"
    );
    let soap = "Content-Type: application/SOAP+xml\r\n";
    let answer = alice.ask(&mut sim, "SERVICE", "sip:bob@a.example", soap, "<a/>");
    assert!(
        status(&answer) == 403 && rule(&answer).contains("service.own"),
        "{answer}"
    );
    let inner = "<m:setPresence><m:presentity m:uri=\"sip:bob@a.example\"/></m:setPresence>";
    assert_eq!(status(&alice.service(&mut sim, inner)), 403);
    // Without the extensions nothing would be understood of what follows.
    let answer = alice.ask(&mut sim, "SUBSCRIBE", SELF, "Event: presence.wpending\r\n", "");
    assert_eq!(status(&answer), 421, "{answer}");
}

#[test]
fn a_contact_list_lasts_counts_and_is_told_to_the_other_endpoint() {
    let (mut sim, mut desk) = signed_in();
    let mut lap = Endpoint::new(&mut sim, 2, "bb02");
    assert_eq!(status(&lap.register(&mut sim, "")), 200);
    let aor = Aor::parse("alice@a.example").unwrap();
    assert_eq!(sim.engine.registrar.bindings(&aor).len(), 2, "one beside the other");
    for endpoint in [&mut desk, &mut lap] {
        endpoint.subscribe(&mut sim, "vnd-microsoft-roaming-contacts", "");
    }
    assert_eq!(status(&desk.add(&mut sim, "sip:bob@a.example", 1)), 200);
    let told = benotifies(&sim);
    assert_eq!(told.len(), 1, "only who does not know: {told:?}");
    assert_eq!(told[0].0, stream(2), "by its connection, whatever maddr says");
    assert!(body(&told[0].1).contains("deltaNum=\"2\"") && body(&told[0].1).contains("uri=\"bob@a.example\""));
    assert_eq!(header(&told[0].1, "CSeq").as_deref(), Some("2 BENOTIFY"));
    // One that was behind is told too.
    assert_eq!(status(&lap.add(&mut sim, "sip:carol@b.example", 1)), 200);
    assert_eq!(benotifies(&sim).len(), 2);
    let answer = desk.service(
        &mut sim,
        "<m:addGroup><m:name>Work</m:name><m:deltaNum>3</m:deltaNum></m:addGroup>",
    );
    assert!(body(&answer).contains("<m:groupID>2</m:groupID>"), "{answer}");
    desk.service(
        &mut sim,
        "<m:modifyGroup><m:groupID>2</m:groupID><m:name>Job</m:name></m:modifyGroup>",
    );
    let gone = desk.service(&mut sim, "<m:deleteGroup><m:groupID>7</m:groupID></m:deleteGroup>");
    assert!(status(&gone) == 403 && rule(&gone).contains("no such"), "{gone}");
    desk.service(
        &mut sim,
        "<m:deleteContact><m:URI>sip:bob@a.example</m:URI></m:deleteContact>",
    );
    sim.restart(1000);
    let mut back = Endpoint::new(&mut sim, 3, "aa01");
    let answer = back.subscribe(&mut sim, "vnd-microsoft-roaming-contacts", "");
    let list = body(&answer);
    assert!(
        list.contains("deltaNum=\"6\"") && list.contains("carol@b.example") && list.contains("name=\"Job\""),
        "{list}"
    );
    assert!(!list.contains("bob@"), "{list}");
}

#[test]
fn a_change_that_the_store_refuses_was_none() {
    let (mut sim, mut alice) = signed_in();
    alice.subscribe(&mut sim, "vnd-microsoft-roaming-contacts", "");
    sim.prompt = false;
    let answer = alice.add(&mut sim, "sip:bob@a.example", 7);
    assert_eq!(answer, "", "nothing is answered before it is durable");
    sim.fail();
    let last = sim.sent.last().unwrap().1.clone();
    assert!(last.starts_with("SIP/2.0 500"), "{last}");
    assert!(benotifies(&sim).is_empty());
    assert_eq!(status(&alice.add(&mut sim, "sip:bob@a.example", 1)), 500);
    sim.prompt = true;
    sim.recover();
    let answer = alice.subscribe(&mut sim, "vnd-microsoft-roaming-contacts", "");
    assert!(
        body(&answer).contains("deltaNum=\"1\"") && !body(&answer).contains("bob"),
        "{answer}"
    );
}

#[test]
fn lists_are_bounded_and_hostile_bodies_refused() {
    let (mut sim, mut alice) = signed_in();
    let mut refused = 0;
    for n in 0..10_000 {
        let answer = alice.add(&mut sim, &format!("sip:u{n}@a.example"), 0);
        match status(&answer) {
            200 => {}
            403 => {
                assert!(rule(&answer).contains("contact list holds 1000"), "{answer}");
                refused += 1;
                if refused == 3 {
                    break;
                }
            }
            _ => panic!("{answer}"),
        }
        assert!(n <= MAX_CONTACTS + 3);
    }
    assert_eq!(refused, 3);
    let soap = "Content-Type: application/SOAP+xml\r\n";
    let bomb = "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>";
    let answer = alice.ask(&mut sim, "SERVICE", SELF, soap, bomb);
    assert!(status(&answer) == 400 && rule(&answer).contains("DOCTYPE"), "{answer}");
    let answer = alice.ask(&mut sim, "SERVICE", SELF, soap, &" ".repeat(70_000));
    assert_eq!(status(&answer), 413, "{answer}");
    let answer = alice.ask(&mut sim, "SERVICE", SELF, "Content-Type: text/plain\r\n", "<a/>");
    assert_eq!(
        (status(&answer), header(&answer, "Accept").as_deref()),
        (415, Some("application/SOAP+xml"))
    );
    let answer = alice.service(&mut sim, "<m:getEverything/>");
    assert!(
        status(&answer) == 501 && rule(&answer).contains("getEverything"),
        "{answer}"
    );
    let answer = alice.service(&mut sim, "<m:directorySearch/>");
    assert!(
        status(&answer) == 200 && body(&answer).contains("directorySearch"),
        "{answer}"
    );
}

#[test]
fn subscriptions_end_with_their_connection_and_are_bounded() {
    let (mut sim, mut alice) = signed_in();
    let answers: Vec<u16> = (0..66)
        .map(|_| status(&alice.subscribe(&mut sim, "presence.wpending", "")))
        .collect();
    assert_eq!(answers.iter().filter(|s| **s == 200).count(), 64);
    assert_eq!(answers.last(), Some(&403));
    let aor = Aor::parse("alice@a.example").unwrap();
    assert_eq!(sim.engine.registrar.bindings(&aor).len(), 1);
    sim.input(Input::Closed { flow: FlowId(1) });
    assert!(
        sim.engine.registrar.bindings(&aor).is_empty(),
        "signing out is closing the connection"
    );
    assert_eq!(sim.engine.roaming.subscriptions_of("alice@a.example"), 0);
    let mut alice = Endpoint::new(&mut sim, 2, "aa01");
    let answer = alice.subscribe(&mut sim, "presence.wpending", "Expires: 60\r\n");
    let tag = header(&answer, "To").unwrap();
    let call_id = header(&answer, "Call-ID").unwrap();
    let from = header(&answer, "From").unwrap();
    let lines = format!("From: {from}\r\nTo: {tag}\r\nCall-ID: {call_id}\r\nCSeq: 1 SUBSCRIBE\r\nExpires: 0\r\n");
    let ended = alice.send(&mut sim, "SUBSCRIBE", "sip:127.0.0.1:5060;transport=tcp", &lines, "");
    assert_eq!(
        (status(&ended), header(&ended, "Expires").as_deref()),
        (200, Some("0")),
        "{ended}"
    );
    let again = alice.send(&mut sim, "SUBSCRIBE", "sip:127.0.0.1:5060;transport=tcp", &lines, "");
    assert_eq!(status(&again), 481);
}

#[test]
fn whoever_is_denied_watches_no_more() {
    let (mut sim, mut alice) = signed_in();
    sim.subscribe("bob", SELF, 600);
    sim.pass(100);
    assert_eq!(sim.notifies().len(), 1);
    let inner = "<m:setACE><m:type>USER</m:type><m:mask>sip:bob@a.example</m:mask><m:rights>BD</m:rights></m:setACE>";
    assert_eq!(status(&alice.service(&mut sim, inner)), 200);
    let ends = sim.notifies();
    assert!(
        ends.iter().any(|n| n.contains("terminated;reason=rejected")),
        "{ends:?}"
    );
    let refused = sim.subscribe("bob", SELF, 600);
    assert_eq!(sim.status(&refused), 403);
    assert!(rule(sim.answer(&refused)).contains("rights.denied"));
    sim.restart(1000);
    let refused = sim.subscribe("bob", SELF, 600);
    assert_eq!(sim.status(&refused), 403, "it lasts");
    let mut alice = Endpoint::new(&mut sim, 2, "aa01");
    assert_eq!(status(&alice.service(&mut sim, &inner.replace("BD", "AA"))), 200);
    let watches = sim.subscribe("bob", SELF, 600);
    assert_eq!(sim.status(&watches), 200);
}

#[test]
fn a_former_contact_of_an_endpoint_goes_and_records_of_nobody_too() {
    let (mut sim, mut alice) = signed_in();
    let aor = Aor::parse("alice@a.example").unwrap();
    let contact = |port: u16| format!("<sip:127.0.0.2:{port};transport=tcp>");
    for port in [40_001, 40_002] {
        let lines = format!("Contact: {}\r\n", contact(port));
        alice.ask(&mut sim, "REGISTER", "sip:a.example", &lines, "");
    }
    let known: Vec<_> = sim
        .engine
        .registrar
        .bindings(&aor)
        .iter()
        .map(|b| b.uri.clone())
        .collect();
    assert!(!known.iter().any(|u| u.ends_with(b"40001;transport=tcp")), "{known:?}");
    let key = record::roaming_key(b'k', &Aor::parse("nobody@a.example").unwrap());
    sim.disk
        .insert(key.clone(), record::roaming("<contactList deltaNum=\"4\"/>"));
    sim.restart(0);
    assert!(!sim.disk.contains_key(&key));
}
