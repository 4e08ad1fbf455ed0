//! RFC 3261 section 8.2.2.2: a request that comes over two paths is served once.

use interop_tests::Outcome;
use interop_tests::digest::Challenge;

use super::sim::{FRONT, Sim, request};

const CONTACT: &str = "Contact: <sip:x@127.0.0.7:5060>\r\nEvent: presence\r\nExpires: 600\r\n";

/// What the bridge serves itself, and what it says to the first copy.
const SERVED: [(&str, &str, u16); 4] = [
    ("REGISTER", "sip:a.example", 200),
    ("SUBSCRIBE", "sip:b@a.example", 200),
    ("PUBLISH", "sip:a@a.example", 200),
    ("MESSAGE", "sip:b@a.example", 202),
];

fn body(method: &str) -> String {
    let pidf = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:a@a.example'><tuple id='t'><status><basic>open</basic></status>\
                </tuple></presence>";
    match method {
        "PUBLISH" => format!(
            "Event: presence\r\nExpires: 600\r\nContent-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{pidf}",
            pidf.len()
        ),
        "MESSAGE" => "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi".into(),
        _ => format!("{CONTACT}Content-Length: 0\r\n\r\n"),
    }
}

/// The request under a branch, as text.
fn copy(method: &str, uri: &str, branch: &str) -> Outcome<String> {
    let text = String::from_utf8(request(method, uri, "a", branch, ""))?;
    Ok(text.replace("Content-Length: 0\r\n\r\n", &body(method)))
}

#[test]
fn the_second_path_gets_482_and_repetitions_their_answer() -> Outcome {
    for (method, uri, first) in SERVED {
        let mut sim = Sim::start("")?;
        let one = copy(method, uri, "z9hG4bKone")?;
        sim.receive(FRONT, one.as_bytes())?;
        assert_eq!(sim.answers("z9hG4bKone"), [first], "{method}");
        sim.receive(FRONT, copy(method, uri, "z9hG4bKtwo")?.as_bytes())?;
        assert_eq!(sim.answers("z9hG4bKtwo"), [482], "{method} over another path");
        sim.receive(FRONT, one.as_bytes())?;
        assert_eq!(sim.answers("z9hG4bKone"), [first], "{method} repeated");
        // The next request of the same call, as after a challenge, and the same one long after.
        let next = copy(method, uri, "z9hG4bKnext")?.replace("CSeq: 1", "CSeq: 2");
        sim.receive(FRONT, next.as_bytes())?;
        assert_eq!(sim.answers("z9hG4bKnext"), [first], "{method} with the next CSeq");
        for (what, with) in [("tag=f1", "tag=f2"), ("Call-ID: ", "Call-ID: x")] {
            let branch = format!("z9hG4bK{}", with.len());
            let other = copy(method, uri, &branch)?.replace(what, with);
            sim.receive(FRONT, other.as_bytes())?;
            // A registrar refuses by itself what is out of order in a Call-ID.
            let want = if method == "REGISTER" && what == "tag=f1" {
                500
            } else {
                first
            };
            assert_eq!(sim.answers(&branch), [want], "{method}: {with}");
        }
        assert_eq!(
            sim.subscriptions_and_messages(),
            if method == "SUBSCRIBE" {
                (4, 0)
            } else if method == "MESSAGE" {
                (0, 4)
            } else {
                (0, 0)
            }
        );
        sim.pass(32_000);
        sim.sent.clear();
        let late = copy(method, uri, "z9hG4bKlate")?;
        sim.receive(FRONT, late.as_bytes())?;
        // Again, what is out of order is the registrar's to refuse.
        assert_ne!(sim.answers("z9hG4bKlate"), [482], "{method} after 64*T1");
    }
    Ok(())
}

#[test]
fn a_fork_to_two_users_and_what_is_forwarded_pass() -> Outcome {
    let mut sim = Sim::start("")?;
    for (user, branch) in [("a", "z9hG4bKa"), ("b", "z9hG4bKb")] {
        let subscribe = copy("SUBSCRIBE", &format!("sip:{user}@a.example"), branch)?;
        sim.receive(FRONT, subscribe.as_bytes())?;
        assert_eq!(sim.answers(branch), [200], "{user}");
    }
    let lines = "Contact: <sip:phone@127.0.0.7:5060>\r\n";
    sim.receive(FRONT, &request("REGISTER", "sip:a.example", "b", "z9hG4bKr", lines))?;
    assert_eq!(sim.answers("z9hG4bKr"), [200]);
    sim.sent.clear();
    for method in ["MESSAGE", "INVITE"] {
        for branch in ["z9hG4bKone", "z9hG4bKtwo"] {
            sim.receive(
                FRONT,
                &request(method, "sip:b@a.example", "a", &format!("{branch}{method}"), ""),
            )?;
        }
        let forwarded = sim.sent.iter().filter(|(_, m)| m.is(method)).count();
        assert_eq!(forwarded, 2, "{method}: the phone is the one to tell");
    }
    Ok(())
}

#[test]
fn a_request_is_sent_again_when_its_connection_broke() -> Outcome {
    let mut sim = Sim::start("")?;
    let message = |branch: &str| copy("MESSAGE", "sip:b@a.example", branch);
    for flow in [1, 2] {
        sim.open(flow, FRONT)?;
    }
    sim.receive_over(1, FRONT, message("z9hG4bKone")?.as_bytes())?;
    sim.receive_over(2, FRONT, message("z9hG4bKtwo")?.as_bytes())?;
    assert_eq!(
        (sim.answers("z9hG4bKone"), sim.answers("z9hG4bKtwo")),
        (vec![202], vec![482])
    );
    sim.close(1);
    sim.receive_over(2, FRONT, message("z9hG4bKagain")?.as_bytes())?;
    assert_eq!(sim.answers("z9hG4bKagain"), [202]);
    Ok(())
}

#[test]
fn a_challenged_request_may_come_back_with_the_same_cseq() -> Outcome {
    let mut sim = Sim::start("")?;
    let (client, uri) = ("127.0.0.1:7000", "sip:b@a.example");
    sim.receive(client, copy("SUBSCRIBE", uri, "z9hG4bKone")?.as_bytes())?;
    let challenge = sim
        .sent
        .iter()
        .find_map(|(_, m)| Challenge::parse(m.header("WWW-Authenticate")?))
        .ok_or("no challenge")?;
    assert_eq!(sim.answers("z9hG4bKone"), [401]);
    let proof = challenge.answer("a", "x", "SUBSCRIBE", uri, 1);
    let again = copy("SUBSCRIBE", uri, "z9hG4bKtwo")?.replace("Event:", &format!("Authorization: {proof}\r\nEvent:"));
    sim.receive(client, again.as_bytes())?;
    assert_eq!(sim.answers("z9hG4bKtwo"), [200]);
    Ok(())
}
