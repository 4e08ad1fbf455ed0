//! Which mode is tried, what a refusal teaches, and what passes untouched.

use super::*;

#[test]
fn a_refused_session_is_tried_as_a_message_and_remembered() {
    for status in [
        "405 Method Not Allowed",
        "415 Unsupported Media Type",
        "488 Not Acceptable Here",
        "501 Not Implemented",
    ] {
        let mut sim = bridge(LCS);
        let call = says(&mut sim, "text/plain", "one");
        let invite = one(&mut sim, PEER, "INVITE");
        answer(&mut sim, PEER, &invite, status);
        let message = one(&mut sim, PEER, "MESSAGE");
        assert!(message.starts_with("MESSAGE sip:bob@b.example "), "{message}");
        answer(&mut sim, PEER, &message, "202 Accepted");
        assert_eq!(sim.status(&call), 200);
        assert_eq!(sim.engine.peer_status(sim.now)[0].im_learned, ["b.example:pager"]);
        says(&mut sim, "text/plain", "two");
        assert_eq!(
            (
                take(&mut sim, PEER, "INVITE").len(),
                take(&mut sim, PEER, "MESSAGE").len()
            ),
            (0, 1)
        );
        sim.pass(3_700_000);
        says(&mut sim, "text/plain", "three");
        assert_eq!(take(&mut sim, PEER, "INVITE").len(), 1);
    }
}

#[test]
fn each_mode_is_tried_once() {
    let mut sim = bridge(LCS);
    let call = says(&mut sim, "text/plain", "one");
    let invite = one(&mut sim, PEER, "INVITE");
    answer(&mut sim, PEER, &invite, "488 Not Acceptable Here");
    let message = one(&mut sim, PEER, "MESSAGE");
    answer(&mut sim, PEER, &message, "405 Method Not Allowed");
    assert_eq!((sim.status(&call), take(&mut sim, PEER, "INVITE").len()), (405, 0));
    assert!(sim.engine.peer_status(sim.now)[0].im_learned.is_empty());
}

#[test]
fn a_refused_message_is_tried_in_a_session_and_remembered() {
    let mut sim = bridge("dialect: sametime-legacy");
    let call = says(&mut sim, "text/plain", "one");
    let message = one(&mut sim, PEER, "MESSAGE");
    assert!(
        message.contains("Content-Type: message/cpim\r\n") && message.ends_with("\r\n\r\none"),
        "{message}"
    );
    answer(&mut sim, PEER, &message, "405 Method Not Allowed");
    let invite = one(&mut sim, PEER, "INVITE");
    assert!(invite.contains("m=message 5060 sip null"), "{invite}");
    accept(&mut sim, &invite, "t1");
    let message = one(&mut sim, PEER, "MESSAGE");
    answer(&mut sim, PEER, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
    assert_eq!(sim.engine.peer_status(sim.now)[0].im_learned, ["b.example:session"]);
}

#[test]
fn wrapped_messages_are_unwrapped() {
    let mut sim = bridge("dialect: sametime-legacy");
    let mut bob = Theirs::new("b1");
    let wrapped = "From: <im:bob@b.example>\r\nTo: <im:alice@a.example>\r\n\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nשלום";
    bob.send(&mut sim, "MESSAGE", "Content-Type: message/cpim\r\n", wrapped);
    let message = one(&mut sim, CLIENT, "MESSAGE");
    assert_eq!(
        (body(&message), header(&message, "Content-Type").as_deref()),
        ("שלום", Some("text/plain;charset=UTF-8"))
    );
    answer(&mut sim, CLIENT, &message, "200 OK");
    assert_eq!(bob.status(&sim, "MESSAGE"), 200);
}

#[test]
fn what_is_no_text_session_is_declined_or_passes() {
    let mut sim = bridge(LCS);
    let sdp = |media: &str| SDP.replace("x-ms-message 5060 sip null", media);
    let kind = "Content-Type: application/sdp\r\n";
    for (lines, body, status) in [
        (
            format!("EndPoints: <sip:a@x>, <sip:b@x>, <sip:c@x>\r\n{kind}"),
            SDP.to_string(),
            488,
        ),
        (format!("TriggeredInvite: TRUE\r\n{kind}"), SDP.to_string(), 488),
        (kind.to_string(), sdp("message 7000 TCP/MSRP *"), 488),
        (
            format!("Require: com.microsoft.rtc-multiparty\r\n{kind}"),
            SDP.to_string(),
            420,
        ),
    ] {
        let mut bob = Theirs::new(&format!("b{}{}", status, lines.len() + body.len()));
        assert_eq!(bob.send(&mut sim, "INVITE", &lines, &body), status, "{lines}");
    }
    let mut call = Theirs::new("call");
    call.send(&mut sim, "INVITE", kind, &sdp("audio 4000 RTP/AVP 0"));
    assert!(
        one(&mut sim, CLIENT, "INVITE").contains("m=audio 4000"),
        "a call passes"
    );
    let mut bob = Theirs::new("picture");
    bob.open(&mut sim, "");
    assert_eq!(bob.send(&mut sim, "MESSAGE", "Content-Type: image/png\r\n", "x"), 415);
    assert_eq!(
        bob.send(&mut sim, "MESSAGE", "Content-Type: text/rtf\r\n", "no such thing"),
        400
    );
    assert_eq!(bob.says(&mut sim, "still here"), 0);
    assert_eq!(body(&one(&mut sim, CLIENT, "MESSAGE")), "still here");
}

#[test]
fn those_who_speak_alike_are_left_alone() {
    let mut sim = bridge("dialect: rfc");
    let call = says(&mut sim, "text/html", "<b>x</b>");
    let message = one(&mut sim, PEER, "MESSAGE");
    assert!(
        message.contains(&format!("Call-ID: {call}\r\n")) && message.ends_with("<b>x</b>"),
        "{message}"
    );
}
