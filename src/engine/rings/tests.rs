//! What comes back from a peer is refused and named; what is said twice is not.

use crate::engine::sim::{PEER, Sim, header, reply};
use crate::engine::{Event, Output};

const OTHER: &str = "127.0.0.8:5060";

/// Peer `b` has b.example and, where it says so, peer `c` speaks for it too.
fn sim(c_speaks_for_b: bool) -> Sim {
    let domains = if c_speaks_for_b {
        "c.example, b.example"
    } else {
        "c.example"
    };
    let mut sim = Sim::configured(|base| {
        base.replace("probe: \"off\" }", "probe: \"off\", transit: [c.example] }").replace(
            "limits:",
            &format!(
                "  - {{ name: c, domains: [{domains}], transport: udp, next_hop: \"{OTHER}\", addresses: [127.0.0.8/32], probe: \"off\", \
                 transit: [b.example, c.example] }}\nlimits:"
            ),
        ) + "notify: { min_interval: 0s }\n"
    });
    sim.pass(10);
    sim
}

/// A request from a peer that opens everything anew; returns the status of the answer, 0 while there is none.
fn from(sim: &mut Sim, place: &str, n: u32, method: &str, (from, to): (&str, &str), text: &str) -> u16 {
    let extra = if method == "SUBSCRIBE" {
        format!("Event: presence\r\nExpires: 600\r\nContact: <sip:{place}>\r\n")
    } else {
        "Content-Type: text/plain\r\n".into()
    };
    let request = format!(
        "{method} {to} SIP/2.0\r\nVia: SIP/2.0/UDP {place};branch=z9hG4bKr{n}{port}\r\nFrom: <{from}>;tag=r{n}\r\nTo: <{to}>\r\n\
         Call-ID: ring{n}@{place}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n{extra}Content-Length: {}\r\n\r\n{text}",
        text.len(),
        port = place.replace([':', '.'], "")
    );
    sim.receive(place, &request);
    sim.status(&format!("ring{n}@{place}"))
}

fn rings(sim: &Sim) -> Vec<String> {
    let peers = sim.engine.peer_status(sim.now);
    peers.into_iter().flat_map(|p| p.rings).collect()
}

const CARL: &str = "sip:carl@c.example";
const BERT: &str = "sip:bert@b.example";

#[test]
fn a_message_that_a_peer_sends_back_is_refused_and_the_ring_is_named_once() {
    let mut sim = sim(false);
    let call = sim.ask("alice", "MESSAGE", CARL, "Content-Type: text/plain\r\n", "hello");
    assert_eq!(sim.status(&call), 0);
    for n in 0..3 {
        assert_eq!(
            from(&mut sim, OTHER, n, "MESSAGE", ("sip:alice@a.example", CARL), "hello"),
            482
        );
        assert!(sim.answer(&format!("ring{n}@{OTHER}")).contains("\"hops.ring\""));
    }
    assert_eq!(
        from(&mut sim, PEER, 9, "MESSAGE", ("sip:alice@a.example", CARL), "hello"),
        482
    );
    let named = rings(&sim);
    let wanted = [
        "peer c → … → peer b for sip:carl@c.example",
        "peer c → … → peer c for sip:carl@c.example",
    ];
    assert!(wanted.iter().all(|w| named.iter().any(|n| n == w)), "{named:?}");
    // Another text is no ring, though nobody takes it from there without credentials.
    assert_eq!(
        from(&mut sim, OTHER, 10, "MESSAGE", ("sip:alice@a.example", CARL), "other"),
        0
    );
    assert!(sim.answer(&format!("ring10@{OTHER}")).starts_with("SIP/2.0 407"));
    // Nor is the same one much later.
    sim.pass(6_000);
    let _late = from(&mut sim, OTHER, 11, "MESSAGE", ("sip:alice@a.example", CARL), "hello");
    assert!(sim.answer(&format!("ring11@{OTHER}")).starts_with("SIP/2.0 407"));
}

/// What the bridge carries itself, into a session, comes back no better than what it forwards.
#[test]
fn a_message_that_went_into_a_session_is_known_when_it_comes_back() {
    let mut sim = Sim::configured(|base| {
        base.replace(
            "limits:",
            &format!(
                "  - {{ name: c, domains: [c.example], transport: udp, next_hop: \"{OTHER}\", addresses: [127.0.0.8/32], probe: \"off\", \
                 dialect: sametime75 }}\nlimits:"
            ),
        )
    });
    sim.pass(10);
    let _call = sim.ask("alice", "MESSAGE", CARL, "Content-Type: text/plain\r\n", "hello");
    assert!(sim.take_requests().iter().any(|(_, m)| m.starts_with("INVITE ")));
    let back = ("sip:alice@a.example", CARL);
    assert_eq!(from(&mut sim, PEER, 1, "MESSAGE", back, "hello"), 482);
    assert_eq!(rings(&sim).len(), 2, "named with both of its peers: {:?}", rings(&sim));
}

#[test]
fn a_text_typed_twice_passes_twice() {
    let mut sim = sim(false);
    for n in 0..5 {
        let call = sim.ask("alice", "MESSAGE", CARL, "Content-Type: text/plain\r\n", "ok");
        assert_eq!(sim.status(&call), 0, "round {n}");
        assert_eq!(from(&mut sim, PEER, n, "MESSAGE", (BERT, CARL), "ok"), 0, "round {n}");
        sim.pass(300);
    }
    let texts = sim.requests();
    let mut calls: Vec<_> = texts
        .iter()
        .filter(|m| m.ends_with("\r\n\r\nok"))
        .filter_map(|m| header(m, "Call-ID"))
        .collect();
    calls.sort();
    calls.dedup();
    assert_eq!(calls.len(), 10);
    assert!(rings(&sim).is_empty());
}

#[test]
fn what_went_out_to_a_peer_does_not_come_in_from_it_even_where_it_might_have_said_it() {
    let mut sim = sim(true);
    assert_eq!(from(&mut sim, PEER, 1, "MESSAGE", (BERT, CARL), "ok"), 0);
    assert_eq!(from(&mut sim, OTHER, 2, "MESSAGE", (BERT, CARL), "ok"), 482);
}

#[test]
fn a_ring_that_leads_back_by_the_same_way_is_bounded() {
    let mut sim = sim(false);
    let answers: Vec<u16> = (0..12)
        .map(|n| from(&mut sim, PEER, n, "MESSAGE", (BERT, CARL), "round"))
        .collect();
    assert_eq!(answers.iter().filter(|s| **s == 0).count(), 8, "{answers:?}");
    assert!(answers[8..].iter().all(|s| *s == 482), "{answers:?}");
}

#[test]
fn our_own_subscribe_that_comes_back_is_refused() {
    let mut sim = sim(false);
    let watch = sim.subscribe("alice", CARL, 600);
    assert_eq!(sim.status(&watch), 200);
    assert_eq!(
        from(&mut sim, OTHER, 1, "SUBSCRIBE", ("sip:alice@a.example", CARL), ""),
        482
    );
    // She watches again, from another device: no ring.
    let again = sim.subscribe("alice", CARL, 600);
    assert_eq!(sim.status(&again), 200);
    // And what a user of one peer asks of a user of another.
    assert_eq!(from(&mut sim, PEER, 2, "SUBSCRIBE", (BERT, CARL), ""), 200);
    assert_eq!(from(&mut sim, OTHER, 3, "SUBSCRIBE", (BERT, CARL), ""), 482);
    assert_eq!(
        from(&mut sim, PEER, 4, "SUBSCRIBE", (BERT, CARL), ""),
        200,
        "a second device"
    );
}

#[test]
fn the_bridge_s_own_view_never_comes_from_anybody_else() {
    let mut sim = Sim::configured(|base| base.replace("probe: \"off\"", "probe: \"off\", view_sharing: true"));
    sim.pass(10);
    let _watch = sim.subscribe("alice", BERT, 600);
    let sent = sim.take_requests();
    let (_, subscribe) = sent
        .iter()
        .find(|(_, m)| m.starts_with("SUBSCRIBE "))
        .cloned()
        .unwrap_or_else(|| panic!("{sent:?}"));
    sim.receive(
        PEER,
        &reply(
            &subscribe,
            "200 OK",
            &format!("Expires: 600\r\nContact: <sip:{PEER}>\r\n"),
        ),
    );
    // Long after it went.
    sim.pass(30_000);
    let own = header(&subscribe, "From").unwrap_or_default();
    let own = own
        .trim_start_matches('<')
        .split('>')
        .next()
        .unwrap_or_default()
        .to_string();
    assert_eq!(from(&mut sim, PEER, 1, "SUBSCRIBE", (&own, BERT), ""), 482);
    assert_eq!(sim.engine.rings.held.len(), 1);
    sim.pass(2_000_000);
    assert!(
        sim.engine.rings.held.is_empty(),
        "nothing is remembered of what has ended"
    );
}

#[test]
fn it_is_logged_once() {
    let mut sim = sim(false);
    let _call = sim.ask("alice", "MESSAGE", CARL, "Content-Type: text/plain\r\n", "hello");
    let mut notes = 0;
    for n in 0..3 {
        let request = format!(
            "MESSAGE {CARL} SIP/2.0\r\nVia: SIP/2.0/UDP {OTHER};branch=z9hG4bKl{n}\r\nFrom: <sip:alice@a.example>;tag=l\r\nTo: <{CARL}>\r\n\
             Call-ID: l{n}\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
        );
        let source = crate::sip::net::Source {
            transport: crate::sip::net::Transport::Udp,
            remote: OTHER.parse().unwrap_or_else(|_| unreachable!()),
            local: "127.0.0.1:5060".parse().unwrap_or_else(|_| unreachable!()),
            listener: Some(crate::sip::net::ListenerId(0)),
            flow: None,
        };
        let input = crate::engine::Input::Message {
            source,
            bytes: request.as_bytes(),
            framing: crate::sip::message::Framing::Datagram,
        };
        sim.engine.handle(sim.now, input);
        while let Some(output) = sim.engine.poll() {
            notes += usize::from(matches!(&output, Output::Log(Event::Note(text)) if text.contains("a ring: peer c")));
        }
    }
    assert_eq!(notes, 1);
}
