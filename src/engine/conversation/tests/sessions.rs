//! Sessions both ways.

use super::*;

#[test]
fn a_message_opens_a_session_and_its_sender_gets_the_answer() {
    let mut sim = bridge(LCS);
    let first = says(&mut sim, "text/plain", "Привет");
    let invite = one(&mut sim, PEER, "INVITE");
    assert!(invite.contains("m=x-ms-message 5060 sip null\r\n"), "{invite}");
    assert_eq!(sim.status(&first), 0);
    let second = says(&mut sim, "text/plain", "two");
    accept(&mut sim, &invite, "t1");
    let ack = one(&mut sim, PEER, "ACK");
    assert!(
        ack.contains("CSeq: 1 ACK\r\n") && ack.contains(";epid=t1;tag=t1"),
        "{ack}"
    );
    // One at a time, in order.
    let message = one(&mut sim, PEER, "MESSAGE");
    assert_eq!(
        (body(&message), header(&message, "Content-Type").as_deref()),
        ("Привет", Some("text/plain;charset=UTF-8"))
    );
    assert!(
        message.starts_with("MESSAGE sip:bob@127.0.0.9:5060 SIP/2.0"),
        "{message}"
    );
    answer(&mut sim, PEER, &message, "200 OK");
    assert_eq!(sim.status(&first), 200);
    let message = one(&mut sim, PEER, "MESSAGE");
    answer(&mut sim, PEER, &message, "486 Busy Here");
    assert_eq!((body(&message), sim.status(&second)), ("two", 486));
    assert_eq!(sim.engine.peer_status(sim.now)[0].sessions, 1);
    // The 2xx again: its ACK was lost.
    accept(&mut sim, &invite, "t1");
    assert!(one(&mut sim, PEER, "ACK").contains("CSeq: 1 ACK"));
    sim.pass(700_000);
    let bye = one(&mut sim, PEER, "BYE");
    answer(&mut sim, PEER, &bye, "200 OK");
    assert_eq!(sim.engine.peer_status(sim.now)[0].sessions, 0);
}

#[test]
fn a_session_of_theirs_reaches_a_client_without_sessions() {
    let mut sim = bridge(LCS);
    let mut bob = Theirs::new("b1");
    let ok = bob.open(&mut sim, "");
    assert!(ok.contains("m=x-ms-message 5060 sip sip:alice@a.example\r\n"), "{ok}");
    assert_eq!(
        bob.send(
            &mut sim,
            "MESSAGE",
            "Content-Type: text/html\r\n",
            "<b>Hi</b> &amp; bye"
        ),
        0
    );
    let message = one(&mut sim, CLIENT, "MESSAGE");
    assert_eq!(
        (body(&message), header(&message, "Content-Type").as_deref()),
        ("Hi & bye", Some("text/plain;charset=UTF-8"))
    );
    answer(&mut sim, CLIENT, &message, "200 OK");
    assert_eq!(bob.status(&sim, "MESSAGE"), 200);
    bob.says(&mut sim, "no");
    let message = one(&mut sim, CLIENT, "MESSAGE");
    answer(&mut sim, CLIENT, &message, "403 Forbidden");
    assert_eq!(bob.status(&sim, "MESSAGE"), 403);
    // Her answer goes into the same session, with his epid.
    let call = says(&mut sim, "text/plain", "yes");
    assert!(take(&mut sim, PEER, "INVITE").is_empty());
    let message = one(&mut sim, PEER, "MESSAGE");
    assert!(
        message.contains("To: <sip:bob@b.example>;epid=b1;tag=b1\r\n"),
        "{message}"
    );
    answer(&mut sim, PEER, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
    assert_eq!(bob.send(&mut sim, "BYE", "", ""), 200);
    assert_eq!(bob.says(&mut sim, "late"), 481);
}

#[test]
fn our_200_is_repeated_until_its_ack_and_the_session_ends_without() {
    let mut sim = bridge(LCS);
    let mut bob = Theirs::new("b1");
    assert_eq!(
        bob.send(&mut sim, "INVITE", "Content-Type: application/sdp\r\n", SDP),
        200
    );
    let count = |sim: &Sim| {
        sim.sent
            .iter()
            .filter(|(_, m)| m.starts_with("SIP/2.0 200") && m.contains("INVITE"))
            .count()
    };
    sim.pass(4_000);
    assert!(count(&sim) >= 3, "{}", count(&sim));
    sim.pass(40_000);
    let bye = one(&mut sim, PEER, "BYE");
    answer(&mut sim, PEER, &bye, "200 OK");
    // With an ACK whose CSeq falls it stands.
    let mut bob = Theirs::new("b2");
    bob.send(&mut sim, "INVITE", "Content-Type: application/sdp\r\n", SDP);
    bob.to = header(sim.answer(&bob.call_id), "To").unwrap();
    bob.cseq = 0;
    let ack = bob.text("ACK", "", "");
    sim.receive(PEER, &ack);
    let before = count(&sim);
    sim.pass(40_000);
    assert_eq!((count(&sim), take(&mut sim, PEER, "BYE").len()), (before, 0));
    // So may that of a message.
    bob.cseq = 0;
    bob.says(&mut sim, "again from one");
    assert_eq!(body(&one(&mut sim, CLIENT, "MESSAGE")), "again from one");
}

#[test]
fn text_goes_to_the_endpoint_that_spoke_last_and_a_second_invite_replaces() {
    let mut sim = bridge(LCS);
    let (mut desk, mut phone) = (Theirs::new("desk"), Theirs::new("phone"));
    phone.from = phone.from.replace("5060", "5070");
    desk.open(&mut sim, "");
    sim.pass(10);
    phone.open(&mut sim, "");
    sim.pass(10);
    desk.says(&mut sim, "from the desk");
    let message = one(&mut sim, CLIENT, "MESSAGE");
    answer(&mut sim, CLIENT, &message, "200 OK");
    says(&mut sim, "text/plain", "to the desk");
    let message = one(&mut sim, PEER, "MESSAGE");
    assert!(message.contains("Call-ID: desk@b"), "{message}");
    answer(&mut sim, PEER, &message, "200 OK");
    assert!(take(&mut sim, PEER, "BYE").is_empty());
    let mut again = Theirs::new("desk");
    again.call_id = "desk2@b".into();
    again.open(&mut sim, "");
    let bye = one(&mut sim, PEER, "BYE");
    assert!(bye.contains("Call-ID: desk@b"), "{bye}");
    assert_eq!(sim.engine.peer_status(sim.now)[0].sessions, 2);
}

#[test]
fn the_first_message_is_neither_lost_nor_doubled() {
    let lines = "ms-text-format: text/plain; charset=UTF-8;msgr=WAAt;ms-body=4pi6IEhp\r\nSupported: ms-sender\r\n";
    let mut sim = bridge(LCS);
    let ok = Theirs::new("b1").open(&mut sim, lines);
    assert!(ok.contains("Supported: timer, ms-text-format\r\n"), "{ok}");
    assert_eq!(body(&one(&mut sim, CLIENT, "MESSAGE")), "☺ Hi");
    // What cannot be read is left where it is, and nothing is said.
    let ok = Theirs::new("b2").open(&mut sim, &lines.replace("4pi6IEhp", "****"));
    assert!(!ok.contains("ms-text-format"), "{ok}");
    assert!(take(&mut sim, CLIENT, "MESSAGE").is_empty());
    let mut sim = bridge("dialect: sametime75");
    let ok = Theirs::new("b1").open(&mut sim, lines);
    assert!(!ok.contains("ms-text-format"), "{ok}");
    assert!(take(&mut sim, CLIENT, "MESSAGE").is_empty());
}

#[test]
fn two_invites_at_once_leave_both_texts_alive() {
    let mut sim = bridge(LCS);
    let call = says(&mut sim, "text/plain", "mine");
    let invite = one(&mut sim, PEER, "INVITE");
    answer(&mut sim, PEER, &invite, "180 Ringing");
    // a sorts before b: ours stands, theirs is taken as well.
    let mut bob = Theirs::new("b1");
    bob.open(&mut sim, "");
    let message = one(&mut sim, PEER, "MESSAGE");
    assert_eq!(body(&message), "mine");
    answer(&mut sim, PEER, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
    assert!(take(&mut sim, PEER, "CANCEL").is_empty());
    bob.says(&mut sim, "his");
    assert_eq!(body(&one(&mut sim, CLIENT, "MESSAGE")), "his");
}

#[test]
fn the_invite_that_does_not_stand_is_cancelled_and_its_text_goes_over_the_other() {
    let mut sim = Sim::peers(LCS, "");
    let call = sim.ask(
        "bob",
        "MESSAGE",
        "sip:anna@b.example",
        "Content-Type: text/plain\r\n",
        "mine",
    );
    let invite = one(&mut sim, PEER, "INVITE");
    answer(&mut sim, PEER, &invite, "180 Ringing");
    let mut anna = Theirs::new("a1");
    (anna.from, anna.to) = ("<sip:anna@b.example>;tag=a1".into(), "<sip:bob@a.example>".into());
    let text = anna
        .text("INVITE", "Content-Type: application/sdp\r\n", SDP)
        .replace("sip:alice@", "sip:bob@");
    sim.receive(PEER, &text);
    anna.to = header(sim.answer(&anna.call_id), "To").unwrap();
    let ack = anna.text("ACK", "", "");
    sim.receive(PEER, &ack);
    // anna@b.example sorts before bob@a.example.
    assert_eq!(take(&mut sim, PEER, "CANCEL").len(), 1);
    let message = one(&mut sim, PEER, "MESSAGE");
    assert!(message.contains("Call-ID: a1@b"), "{message}");
    answer(&mut sim, PEER, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
    // It was answered all the same: acknowledged and ended.
    accept(&mut sim, &invite, "t1");
    assert_eq!(
        (take(&mut sim, PEER, "ACK").len(), take(&mut sim, PEER, "BYE").len()),
        (1, 1)
    );
}

#[test]
fn typing_crosses_both_ways_and_opens_nothing() {
    let mut sim = bridge(LCS);
    let active = crate::im::typing::is_composing(true);
    let call = says(&mut sim, "application/im-iscomposing+xml", &active);
    assert_eq!((sim.status(&call), take(&mut sim, PEER, "INVITE").len()), (200, 0));
    sim.pass(130_000);
    let mut bob = Theirs::new("b1");
    bob.open(&mut sim, "");
    assert_eq!(
        bob.send(
            &mut sim,
            "INFO",
            "Content-Type: application/xml\r\n",
            &crate::im::typing::keyboard(true)
        ),
        200
    );
    let message = one(&mut sim, CLIENT, "MESSAGE");
    assert!(
        message.contains("application/im-iscomposing+xml") && message.contains(">active<"),
        "{message}"
    );
    answer(&mut sim, CLIENT, &message, "415 Unsupported Media Type");
    sim.pass(20_000);
    assert!(one(&mut sim, CLIENT, "MESSAGE").contains(">idle<"));
    // That it is over may be said in a message as well.
    for (on, word) in [(true, ">active<"), (false, ">idle<")] {
        let body = crate::im::typing::is_composing(on);
        bob.send(
            &mut sim,
            "MESSAGE",
            "Content-Type: application/im-iscomposing+xml\r\n",
            &body,
        );
        assert!(one(&mut sim, CLIENT, "MESSAGE").contains(word), "{word}");
    }
    says(&mut sim, "application/im-iscomposing+xml", &active);
    let info = one(&mut sim, PEER, "INFO");
    assert!(
        info.contains("Content-Type: application/xml\r\n") && info.contains("status=\"type\""),
        "{info}"
    );
    answer(&mut sim, PEER, &info, "500 No");
    assert_eq!(
        bob.send(&mut sim, "INFO", "Content-Type: application/xml\r\n", "<broken"),
        200
    );
    assert_eq!(sim.engine.peer_status(sim.now)[0].sessions, 1);
}

#[test]
fn sessions_are_refreshed_and_end_without() {
    let mut sim = bridge("dialect: sametime75");
    let mut bob = Theirs::new("b1");
    let short = "Content-Type: application/sdp\r\nSession-Expires: 60\r\n";
    assert_eq!(bob.send(&mut sim, "INVITE", short, SDP), 422);
    let ok = Theirs::new("b2").open(&mut sim, "Session-Expires: 120;refresher=uac\r\nSupported: timer\r\n");
    assert!(
        ok.contains("Session-Expires: 120;refresher=uac\r\n") && ok.contains("Require: timer\r\n"),
        "{ok}"
    );
    sim.pass(100_000);
    let bye = one(&mut sim, PEER, "BYE");
    answer(&mut sim, PEER, &bye, "200 OK");
    let mut bob = Theirs::new("b3");
    bob.open(&mut sim, "Session-Expires: 120;refresher=uac\r\nSupported: timer\r\n");
    sim.pass(60_000);
    assert_eq!(
        bob.send(&mut sim, "UPDATE", "Session-Expires: 120;refresher=uac\r\n", ""),
        200
    );
    sim.pass(60_000);
    assert!(take(&mut sim, PEER, "BYE").is_empty());
    assert_eq!(
        bob.send(&mut sim, "INVITE", "Content-Type: application/sdp\r\n", SDP),
        200
    );
    assert_eq!(bob.send(&mut sim, "PRACK", "", ""), 405);
}

#[test]
fn sessions_of_two_kinds_meet() {
    let (mut sim, mut bob) = opened_across();
    assert!(take(&mut sim, "127.0.0.8:5060", "INVITE").is_empty());
    bob.send(&mut sim, "MESSAGE", "Content-Type: text/rtf\r\n", "{\\rtf1 caf\\'e9}");
    let invite = one(&mut sim, "127.0.0.8:5060", "INVITE");
    assert!(invite.contains("m=message 5060 sip null"), "{invite}");
    let ok = reply(&invite, "200 OK", "Contact: <sip:carol@127.0.0.8:5060>\r\n");
    sim.receive("127.0.0.8:5060", &ok);
    let message = one(&mut sim, "127.0.0.8:5060", "MESSAGE");
    assert_eq!(body(&message), "café");
    answer(&mut sim, "127.0.0.8:5060", &message, "200 OK");
    assert_eq!(bob.status(&sim, "MESSAGE"), 200);
}
