//! Collisions, timers, cancels, reloads: how sessions end, and who hears of what failed.

use super::*;

/// The bridge's INVITE is answered 200 with these lines.
fn accept_with(sim: &mut Sim, invite: &str, lines: &str) {
    let lines = format!("Contact: <sip:bob@127.0.0.9:5060>\r\n{lines}");
    sim.receive(PEER, &reply(invite, "200 OK", &lines));
}

/// A session of ours with the peer; the INVITE.
fn in_session(sim: &mut Sim, lines: &str) -> String {
    says(sim, "text/plain", "hi");
    let invite = one(sim, PEER, "INVITE");
    accept_with(sim, &invite, lines);
    let message = one(sim, PEER, "MESSAGE");
    answer(sim, PEER, &message, "200 OK");
    invite
}

fn sessions(sim: &Sim) -> usize {
    sim.engine.peer_status(sim.now)[0].sessions
}

#[test]
fn a_collision_is_tried_again_once() {
    let mut sim = bridge(LCS);
    let call = says(&mut sim, "text/plain", "hi");
    let invite = one(&mut sim, PEER, "INVITE");
    answer(&mut sim, PEER, &invite, "491 Request Pending");
    sim.pass(2_000);
    assert!(take(&mut sim, PEER, "INVITE").is_empty());
    sim.pass(1_000);
    let again = one(&mut sim, PEER, "INVITE");
    assert_ne!(header(&again, "Call-ID"), header(&invite, "Call-ID"));
    accept(&mut sim, &again, "t1");
    let message = one(&mut sim, PEER, "MESSAGE");
    answer(&mut sim, PEER, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
    // Twice is a refusal.
    let mut sim = bridge(LCS);
    let call = says(&mut sim, "text/plain", "hi");
    for _ in 0..2 {
        let invite = one(&mut sim, PEER, "INVITE");
        answer(&mut sim, PEER, &invite, "491 Request Pending");
        sim.pass(3_000);
    }
    assert_eq!(sim.status(&call), 491);
    // Their own INVITE meanwhile serves as well.
    let mut sim = bridge(LCS);
    let call = says(&mut sim, "text/plain", "hi");
    let invite = one(&mut sim, PEER, "INVITE");
    answer(&mut sim, PEER, &invite, "491 Request Pending");
    Theirs::new("b1").open(&mut sim, "");
    sim.pass(3_000);
    let message = one(&mut sim, PEER, "MESSAGE");
    assert!(message.contains("Call-ID: b1@b"), "{message}");
    answer(&mut sim, PEER, &message, "200 OK");
    assert_eq!((sim.status(&call), take(&mut sim, PEER, "INVITE").len()), (200, 0));
}

#[test]
fn a_cancel_after_our_200_changes_nothing() {
    let mut sim = bridge(LCS);
    let mut bob = Theirs::new("b1");
    let invite = bob.text("INVITE", "Content-Type: application/sdp\r\n", SDP);
    sim.receive(PEER, &invite);
    assert_eq!(bob.status(&sim, "INVITE"), 200);
    let cancel = invite
        .replace("INVITE sip:", "CANCEL sip:")
        .replace(" INVITE\r\n", " CANCEL\r\n")
        .replace("Content-Type: application/sdp\r\n", "")
        .replace(&format!("Content-Length: {}", SDP.len()), "Content-Length: 0")
        .replace(SDP, "");
    sim.receive(PEER, &cancel);
    assert_eq!(bob.status(&sim, "CANCEL"), 200);
    bob.to = header(sim.answer(&bob.call_id), "To").unwrap();
    let ack = bob.text("ACK", "", "");
    sim.receive(PEER, &ack);
    bob.says(&mut sim, "all the same");
    assert_eq!(body(&one(&mut sim, CLIENT, "MESSAGE")), "all the same");
    // Whoever meant it ends the session.
    assert_eq!(bob.send(&mut sim, "BYE", "", ""), 200);
    assert_eq!(sessions(&sim), 0);
}

#[test]
fn we_refresh_when_we_are_named() {
    let mut sim = bridge("dialect: sametime75");
    in_session(&mut sim, "Session-Expires: 120;refresher=uac\r\nRequire: timer\r\n");
    for _ in 0..4 {
        sim.pass(61_000);
        let update = one(&mut sim, PEER, "UPDATE");
        assert!(update.contains("Session-Expires: 120;refresher=uac\r\n"), "{update}");
        assert!(header(&update, "To").unwrap().contains("tag="), "{update}");
        sim.receive(
            PEER,
            &reply(
                &update,
                "200 OK",
                "Session-Expires: 120;refresher=uac\r\nRequire: timer\r\n",
            ),
        );
    }
    assert_eq!((sessions(&sim), take(&mut sim, PEER, "BYE").len()), (1, 0));
    // Their INVITE may name us as well, by name or by knowing no timers.
    for (lines, required) in [
        ("Session-Expires: 120;refresher=uas\r\nSupported: timer\r\n", true),
        ("Session-Expires: 120\r\n", false),
    ] {
        let mut sim = bridge("dialect: sametime75");
        let ok = Theirs::new("b1").open(&mut sim, lines);
        assert!(ok.contains("Session-Expires: 120;refresher=uas\r\n"), "{ok}");
        assert_eq!(ok.contains("Require: timer\r\n"), required, "{ok}");
        sim.pass(61_000);
        let update = one(&mut sim, PEER, "UPDATE");
        // Without the header in the answer there is no timer any more.
        answer(&mut sim, PEER, &update, "200 OK");
        sim.pass(120_000);
        assert_eq!((take(&mut sim, PEER, "UPDATE").len(), sessions(&sim)), (0, 1));
    }
}

#[test]
fn a_refresh_that_fails_ends_the_session_and_the_next_text_opens_another() {
    for (status, byes) in [
        ("481 No Such Dialog", 0),
        ("405 Method Not Allowed", 1),
        ("501 Not Implemented", 1),
        ("", 1),
    ] {
        let mut sim = bridge("dialect: sametime75");
        in_session(&mut sim, "Session-Expires: 120;refresher=uac\r\n");
        sim.pass(61_000);
        let update = take(&mut sim, PEER, "UPDATE").remove(0);
        if status.is_empty() {
            sim.pass(40_000);
        } else {
            answer(&mut sim, PEER, &update, status);
        }
        assert_eq!(
            (take(&mut sim, PEER, "BYE").len(), sessions(&sim)),
            (byes, 0),
            "{status}"
        );
        in_session(&mut sim, "");
    }
    // A glare is none.
    let mut sim = bridge("dialect: sametime75");
    in_session(&mut sim, "Session-Expires: 120;refresher=uac\r\n");
    sim.pass(61_000);
    let update = one(&mut sim, PEER, "UPDATE");
    answer(&mut sim, PEER, &update, "491 Request Pending");
    sim.pass(20_000);
    assert_eq!((take(&mut sim, PEER, "UPDATE").len(), sessions(&sim)), (1, 1));
}

#[test]
fn a_reload_that_withdraws_a_peer_or_a_user_ends_the_sessions() {
    let gone = |of: &str| {
        let mut sim = bridge(LCS);
        let mut bob = Theirs::new("b1");
        bob.open(&mut sim, "");
        let next = Sim::configured(|config| {
            let lines = config.lines().filter(|l| !l.contains(of));
            let config = lines.collect::<Vec<_>>().join("\n") + "\n";
            match of {
                "name: b," => config.replace("peers:\n", ""),
                _ => config.replace("probe: \"off\"", "probe: \"off\", dialect: lcs2005"),
            }
        });
        sim.sent.clear();
        sim.reload(next.engine.snapshot().clone());
        let bye = one(&mut sim, PEER, "BYE");
        assert!(bye.contains("Call-ID: b1@b\r\n"), "{bye}");
        assert_eq!(
            sim.engine
                .peer_status(sim.now)
                .iter()
                .map(|p| p.sessions)
                .sum::<usize>(),
            0
        );
    };
    gone("name: b,");
    gone("alice@a.example");
    // Any other leaves them alone.
    let mut sim = bridge(LCS);
    let mut bob = Theirs::new("b1");
    bob.open(&mut sim, "");
    sim.reload(
        Sim::peers("dialect: lcs2005, limits: { sessions: 9 }", "")
            .engine
            .snapshot()
            .clone(),
    );
    assert!(take(&mut sim, PEER, "BYE").is_empty());
    bob.says(&mut sim, "still here");
    assert_eq!(body(&one(&mut sim, CLIENT, "MESSAGE")), "still here");
}

#[test]
fn who_speaks_in_a_session_hears_in_it_of_what_failed_later() {
    let (mut sim, mut bob) = opened_across();
    bob.says(&mut sim, "anybody?");
    sim.pass(9_000);
    assert_eq!(bob.status(&sim, "MESSAGE"), 202);
    sim.sent.retain(|(to, _)| to.to_string() != PEER);
    sim.pass(60_000);
    let news = one(&mut sim, PEER, "MESSAGE");
    assert!(news.contains("Call-ID: b1@b\r\n"), "{news}");
    assert!(
        body(&news).contains("could not be delivered to carol@c.example") && body(&news).contains("anybody?"),
        "{news}"
    );
}

#[test]
fn notices_pass_where_both_sides_can_and_stop_where_one_cannot() {
    let wrapped = |kind: &str, text: &str| {
        format!(
            "From: <im:bob@b.example>\r\nTo: <im:alice@a.example>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
             imdn.Message-ID: m7\r\nimdn.Disposition-Notification: positive-delivery, negative-delivery\r\n\r\n\
             Content-Type: {kind}\r\n\r\n{text}"
        )
    };
    let (asks, notice) = (wrapped("text/plain", "hi"), wrapped("message/imdn+xml", "<imdn/>"));
    let cpim = "Content-Type: message/cpim\r\n";
    // Two of the same kind: everything as it is, both ways.
    let mut sim = bridge("dialect: rfc");
    let mut bob = Theirs::new("b1");
    bob.send(&mut sim, "MESSAGE", cpim, &asks);
    let message = one(&mut sim, CLIENT, "MESSAGE");
    assert_eq!(body(&message), asks);
    answer(&mut sim, CLIENT, &message, "200 OK");
    let call = says(&mut sim, "message/cpim", &notice);
    let message = one(&mut sim, PEER, "MESSAGE");
    assert_eq!(body(&message), notice);
    answer(&mut sim, PEER, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
    // One that knows nothing of them gets the words, is shown no notice and asks for none.
    let mut sim = bridge("dialect: sametime-legacy");
    let call = says(&mut sim, "message/cpim", &asks);
    let message = one(&mut sim, PEER, "MESSAGE");
    assert!(
        message.ends_with("\r\n\r\nhi") && !message.contains("imdn"),
        "{message}"
    );
    answer(&mut sim, PEER, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
    let call = says(&mut sim, "message/cpim", &notice);
    assert_eq!((sim.status(&call), take(&mut sim, PEER, "MESSAGE").len()), (200, 0));
    let mut bob = Theirs::new("b2");
    bob.send(&mut sim, "MESSAGE", cpim, &asks);
    let message = one(&mut sim, CLIENT, "MESSAGE");
    assert_eq!(
        (body(&message), header(&message, "Content-Type").as_deref()),
        ("hi", Some("text/plain;charset=UTF-8"))
    );
}
