//! Sessions that never answer, stores that fail, programs that end.

use super::*;

#[test]
fn who_waits_for_eight_seconds_hears_202_and_of_the_end_later() {
    let mut sim = bridge(LCS);
    let call = says(&mut sim, "text/plain", "hello?");
    sim.pass(7_900);
    assert_eq!(sim.status(&call), 0);
    sim.pass(200);
    assert_eq!(sim.status(&call), 202);
    let invite = one(&mut sim, PEER, "INVITE");
    answer(&mut sim, PEER, &invite, "603 Decline");
    let news = one(&mut sim, CLIENT, "MESSAGE");
    assert!(news.contains("From: <sip:bob@b.example>;tag="), "{news}");
    assert!(
        body(&news).contains("could not be delivered to bob@b.example (603") && body(&news).contains("hello?"),
        "{news}"
    );
    assert!(!sim.disk.keys().any(|k| k.first() == Some(&b'c')));
}

#[test]
fn a_notice_is_sent_to_those_who_asked_for_one() {
    let mut sim = bridge(LCS);
    let wrapped = "From: <im:a@x>\r\nTo: <im:b@y>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: m7\r\n\
        imdn.Disposition-Notification: negative-delivery\r\n\r\nContent-Type: text/plain\r\n\r\nhi";
    says(&mut sim, "message/cpim", wrapped);
    sim.pass(9_000);
    let invite = one(&mut sim, PEER, "INVITE");
    answer(&mut sim, PEER, &invite, "480 Gone");
    let news = one(&mut sim, CLIENT, "MESSAGE");
    assert!(
        news.contains("Content-Type: message/cpim\r\n") && news.contains("<message-id>m7</message-id>"),
        "{news}"
    );
    assert!(news.contains("<failed/>"), "{news}");
    // Who wants to know of success alone is told in words: 202 was the last that was said.
    let mut sim = bridge(LCS);
    says(&mut sim, "message/cpim", &wrapped.replace("negative", "positive"));
    sim.pass(9_000);
    let invite = one(&mut sim, PEER, "INVITE");
    answer(&mut sim, PEER, &invite, "480 Gone");
    let news = one(&mut sim, CLIENT, "MESSAGE");
    assert!(body(&news).contains("could not be delivered"), "{news}");
}

#[test]
fn what_was_promised_survives_a_restart() {
    let mut sim = bridge(LCS);
    let call = says(&mut sim, "text/plain", "kept");
    sim.pass(9_000);
    assert_eq!(sim.status(&call), 202);
    sim.restart(1_000);
    sim.sent.clear();
    sim.pass(5_000);
    let invite = one(&mut sim, PEER, "INVITE");
    accept(&mut sim, &invite, "t1");
    let message = one(&mut sim, PEER, "MESSAGE");
    assert_eq!(body(&message), "kept");
    answer(&mut sim, PEER, &message, "200 OK");
    assert!(!sim.disk.keys().any(|k| k.first() == Some(&b'c')), "it is forgotten");
    // Sessions end with the program.
    let mut bob = Theirs::of(&invite, "t1");
    sim.restart(1_000);
    assert_eq!(bob.says(&mut sim, "still there?"), 481);
}

#[test]
fn nothing_is_promised_that_the_store_does_not_take() {
    let mut sim = bridge(LCS);
    let call = says(&mut sim, "text/plain", "kept?");
    sim.prompt = false;
    sim.pass(9_000);
    assert_eq!(sim.status(&call), 0, "202 waits for the store");
    sim.fail();
    assert_eq!(sim.status(&call), 500);
    assert_eq!(sim.engine.status().messages_under_way, 0);
}

#[test]
fn what_the_store_refuses_holds_up_nobody_behind_it() {
    let mut sim = bridge(LCS);
    says(&mut sim, "text/plain", "one");
    let invite = one(&mut sim, PEER, "INVITE");
    accept(&mut sim, &invite, "t1");
    assert_eq!(body(&one(&mut sim, PEER, "MESSAGE")), "one");
    sim.pass(5_000);
    let second = says(&mut sim, "text/plain", "two");
    sim.prompt = false;
    sim.pass(3_500);
    take(&mut sim, PEER, "MESSAGE");
    sim.fail();
    sim.pass(10);
    let message = one(&mut sim, PEER, "MESSAGE");
    assert_eq!(body(&message), "two");
    answer(&mut sim, PEER, &message, "200 OK");
    assert_eq!(sim.status(&second), 200);
}

#[test]
fn the_first_message_is_said_to_be_taken_when_it_is_durable() {
    let lines = "ms-text-format: text/plain; charset=UTF-8;msgr=WAAt;ms-body=SGk=\r\nContent-Type: application/sdp\r\n";
    let mut sim = bridge(LCS);
    sim.prompt = false;
    let mut bob = Theirs::new("b1");
    let status = bob.send(&mut sim, "INVITE", lines, SDP);
    assert_eq!(status, 0, "the 200 waits for the store");
    assert!(take(&mut sim, CLIENT, "MESSAGE").is_empty());
    sim.sync();
    assert_eq!(bob.status(&sim, "INVITE"), 200);
    assert!(sim.answer(&bob.call_id).contains("ms-text-format"));
    assert_eq!(body(&one(&mut sim, CLIENT, "MESSAGE")), "Hi");
    let mut bob = Theirs::new("b2");
    bob.send(&mut sim, "INVITE", lines, SDP);
    sim.fail();
    assert_eq!(bob.status(&sim, "INVITE"), 500);
    assert!(
        take(&mut sim, CLIENT, "MESSAGE").is_empty(),
        "what was refused is not said"
    );
    assert_eq!(sim.engine.peer_status(sim.now)[0].sessions, 1);
}

#[test]
fn a_dialog_that_is_gone_is_opened_once_more_and_the_text_sent_again_once() {
    for status in [
        "408 Request Timeout",
        "480 Temporarily Unavailable",
        "481 No Such Dialog",
    ] {
        let mut sim = bridge(LCS);
        let call = says(&mut sim, "text/plain", "one");
        let invite = one(&mut sim, PEER, "INVITE");
        accept(&mut sim, &invite, "t1");
        let message = one(&mut sim, PEER, "MESSAGE");
        answer(&mut sim, PEER, &message, status);
        let invite = one(&mut sim, PEER, "INVITE");
        accept(&mut sim, &invite, "t2");
        let message = one(&mut sim, PEER, "MESSAGE");
        assert_eq!(body(&message), "one");
        answer(&mut sim, PEER, &message, status);
        assert!(matches!(sim.status(&call), 480 | 481 | 504), "{}", sim.status(&call));
        assert!(take(&mut sim, PEER, "INVITE").is_empty());
    }
}

#[test]
fn a_message_that_nobody_answers_does_not_end_the_session() {
    let mut sim = bridge(LCS);
    let mut bob = Theirs::new("b1");
    bob.open(&mut sim, "");
    let call = says(&mut sim, "text/plain", "lost");
    sim.pass(40_000);
    assert_eq!(sim.status(&call), 202);
    let news = one(&mut sim, CLIENT, "MESSAGE");
    assert!(body(&news).contains("could not be delivered"), "{news}");
    answer(&mut sim, CLIENT, &news, "200 OK");
    bob.says(&mut sim, "I am here");
    assert_eq!(body(&one(&mut sim, CLIENT, "MESSAGE")), "I am here");
    assert!(take(&mut sim, PEER, "BYE").is_empty());
}

#[test]
fn a_session_that_never_answers_holds_a_bounded_queue() {
    let mut sim = bridge(LCS);
    let calls: Vec<String> = (0..55).map(|n| says(&mut sim, "text/plain", &n.to_string())).collect();
    assert_eq!(calls.iter().filter(|c| sim.status(c) == 480).count(), 5);
    assert_eq!(take(&mut sim, PEER, "INVITE").len(), 1);
    sim.pass(9_000);
    assert_eq!(calls.iter().filter(|c| sim.status(c) == 202).count(), 50);
    sim.pass(300_000);
    assert_eq!(sim.engine.status().messages_under_way, 0);
}

#[test]
fn only_its_two_speak_in_a_session() {
    let mut sim = bridge(LCS);
    let mut bob = Theirs::new("b1");
    bob.open(&mut sim, "");
    let own = bob.from.clone();
    bob.from = own.replace("bob@", "mallory@");
    assert_eq!(bob.says(&mut sim, "not me"), 481);
    bob.from = own.replace("tag=b1", "tag=other");
    assert_eq!(bob.says(&mut sim, "nor me"), 481);
    bob.from = own.clone();
    let stranger = bob.text("MESSAGE", "Content-Type: text/plain\r\n", "I neither");
    sim.receive("127.0.0.66:5060", &stranger);
    assert!(take(&mut sim, CLIENT, "MESSAGE").is_empty());
    bob.says(&mut sim, "I");
    assert_eq!(body(&one(&mut sim, CLIENT, "MESSAGE")), "I");
}

#[test]
fn a_text_for_somebody_absent_is_kept_as_any_other() {
    let mut sim = Sim::peers(LCS, "");
    let mut bob = Theirs::new("b1");
    bob.open(&mut sim, "");
    assert_eq!(bob.says(&mut sim, "later"), 202);
    assert_eq!(sim.register("alice", 3600), 200);
    assert_eq!(body(&one(&mut sim, CLIENT, "MESSAGE")), "later");
}

#[test]
fn sessions_are_limited_by_peer_and_in_all() {
    let all = |sim: &mut Sim| {
        Theirs::new("one").open(sim, "");
        let mut two = Theirs::new("two");
        let status = two.send(sim, "INVITE", "Content-Type: application/sdp\r\n", SDP);
        let warning = header(sim.answer(&two.call_id), "Warning").unwrap_or_default();
        (status, warning)
    };
    let (status, warning) = all(&mut bridge("dialect: lcs2005, limits: { sessions: 1 }"));
    assert!(status == 486 && warning.contains("limits"), "{status} {warning}");
    let mut sim = Sim::peers(LCS, "messages: { max_sessions: 1 }\n");
    let (status, warning) = all(&mut sim);
    assert!(
        status == 486 && warning.contains("messages.max_sessions"),
        "{status} {warning}"
    );
    let call = sim.ask(
        "alice",
        "MESSAGE",
        "sip:other@b.example",
        "Content-Type: text/plain\r\n",
        "x",
    );
    assert_eq!(sim.status(&call), 480);
}

/// Messages of alice's to many at the peer.
fn to_many(sim: &mut Sim, count: usize) -> Vec<String> {
    let kind = "Content-Type: text/plain\r\n";
    let to = |n: usize| format!("sip:x{n}@b.example");
    (0..count)
        .map(|n| sim.ask("alice", "MESSAGE", &to(n), kind, "x"))
        .collect()
}

#[test]
fn nobody_has_more_kept_than_may_be_stored() {
    let mut sim = Sim::peers(LCS, "messages: { max_stored: 3 }\n");
    let calls = to_many(&mut sim, 5);
    sim.pass(9_000);
    let mut statuses: Vec<u16> = calls.iter().map(|call| sim.status(call)).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 202, 202, 480, 480]);
    let kept = |sim: &Sim| sim.disk.keys().filter(|k| k.first() == Some(&b'c')).count();
    assert_eq!(kept(&sim), 3);
    sim.restart(1_000);
    let more = to_many(&mut sim, 1);
    sim.pass(9_000);
    assert_eq!((sim.status(&more[0]), kept(&sim)), (480, 3));
}

#[test]
fn a_user_opens_a_bounded_number_of_sessions() {
    let mut sim = Sim::peers(LCS, "");
    let calls = to_many(&mut sim, 210);
    assert_eq!(sim.status(&calls[199]), 0);
    assert_eq!(sim.status(&calls[209]), 480);
    assert_eq!(sim.engine.peer_status(sim.now)[0].sessions, 200);
}

#[test]
fn what_the_bridge_says_itself_counts_for_a_contract() {
    let mut sim = bridge("dialect: sametime-legacy, contract: { messages: 20/s }");
    let calls = to_many(&mut sim, 200);
    let last = sim.answer(&calls[199]).to_string();
    assert!(last.starts_with("SIP/2.0 480"), "{last}");
    assert!(header(&last, "Retry-After").is_some(), "{last}");
    sim.pass(7_000);
    let fetch = to_many(&mut sim, 1);
    assert_eq!(sim.status(&fetch[0]), 0, "there is room again");
}

#[test]
fn news_of_a_failure_does_not_go_round_for_ever() {
    let mut sim = bridge(LCS);
    says(&mut sim, "text/plain", "hello?");
    sim.pass(9_000);
    let invite = one(&mut sim, PEER, "INVITE");
    answer(&mut sim, PEER, &invite, "603 Decline");
    let news = one(&mut sim, CLIENT, "MESSAGE");
    assert_eq!(header(&news, "Max-Forwards").as_deref(), Some("68"), "{news}");
}
