//! Two thousand lines over a set of hosts: paced, elsewhere when a host is gone, slowly where they are refused.

use std::collections::BTreeMap;

use crate::engine::sim::{Sim, header, reply};

const FIRST: &str = "127.0.0.9:5060";
const SECOND: &str = "127.0.0.10:5060";

fn sim(lines: usize) -> Sim {
    Sim::configured(|base| {
        let users: String = (0..lines)
            .map(|n| {
                format!(
                    "  - {{ aor: u{n}@a.example, password: {{ plain: x }}, lines: [{{ number: \"{}\", peer: b }}] }}\n",
                    4000 + n
                )
            })
            .collect();
        let config = base.replace("users:\n", &format!("users:\n{users}"));
        let config = config.replace("127.0.0.9/32", "127.0.0.0/24");
        config
            + "notify: { min_interval: 0s }\nroutes:\n  - { match: { domain: b.example }, peer: b, priority: 1, next_hop: \""
            + FIRST
            + "\" }\n  - { match: { domain: b.example }, peer: b, priority: 2, next_hop: \""
            + SECOND
            + "\" }\n"
    })
}

/// SUBSCRIBEs that went to a place, by their Request-URI, with repeats counted once.
fn asked(requests: &[(std::net::SocketAddr, String)], place: &str) -> BTreeMap<String, String> {
    let there = requests
        .iter()
        .filter(|(to, m)| to.to_string() == place && m.starts_with("SUBSCRIBE "));
    let uri = |m: &str| m.split(' ').nth(1).unwrap_or_default().to_string();
    there.map(|(_, m)| (uri(m), m.clone())).collect()
}

#[test]
fn two_thousand_lines_are_subscribed_in_turn_and_all_move_when_a_host_is_gone() {
    let mut sim = sim(2000);
    sim.pass(1_000);
    let begun = asked(&sim.take_requests(), FIRST).len();
    assert!((100..=250).contains(&begun), "{begun} in the first second");
    // The first host never answers.
    let mut second = BTreeMap::new();
    for _ in 0..12 {
        sim.pass(5_000);
        let requests = sim.take_requests();
        for (uri, subscribe) in asked(&requests, SECOND) {
            sim.receive(
                SECOND,
                &reply(
                    &subscribe,
                    "200 OK",
                    "Expires: 3600\r\nContact: <sip:x@127.0.0.10:5060>\r\n",
                ),
            );
            assert!(second.insert(uri, subscribe).is_none(), "one dialog a line");
        }
    }
    assert_eq!(second.len(), 2000);
}

fn one(sim: &mut Sim, place: &str) -> Vec<String> {
    asked(&sim.take_requests(), place).into_values().collect()
}

#[test]
fn a_host_that_dies_under_a_dialog_is_left_for_the_other() {
    let mut sim = sim(1);
    sim.pass(300);
    let subscribe = one(&mut sim, FIRST).pop().unwrap_or_default();
    sim.receive(
        FIRST,
        &reply(
            &subscribe,
            "200 OK",
            "Expires: 600\r\nContact: <sip:x@127.0.0.9:5060>\r\n",
        ),
    );
    let (from, call_id) = (
        header(&subscribe, "From").unwrap_or_default(),
        header(&subscribe, "Call-ID").unwrap_or_default(),
    );
    let notify = format!(
        "NOTIFY sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {FIRST};branch=z9hG4bKn1\r\nFrom: <sip:4000@b.example>;tag=theirs\r\n\
         To: {from}\r\nCall-ID: {call_id}\r\nCSeq: 1 NOTIFY\r\nMax-Forwards: 70\r\nContact: <sip:x@127.0.0.9:5060>\r\n\
         Event: presence\r\nSubscription-State: active;expires=600\r\nContent-Length: 0\r\n\r\n"
    );
    sim.receive(FIRST, &notify);
    assert_eq!(sim.status(&call_id), 200);
    let mut moved = None;
    for _ in 0..130 {
        sim.pass(5_000);
        moved = moved.or(one(&mut sim, SECOND).pop());
        if moved.is_some() {
            break;
        }
    }
    let moved = moved.unwrap_or_default();
    assert!(
        moved.contains("To: <sip:4000@b.example>\r\n") && header(&moved, "Call-ID") != Some(call_id),
        "{moved}"
    );
    assert!(
        sim.now.mono_ms < 620_000,
        "before the old one ended: {}",
        sim.now.mono_ms
    );
}

#[test]
fn refusals_are_retried_slowly_and_retry_after_is_kept() {
    let table = [
        ("404 Not Found", "", 3_000),
        ("403 Forbidden", "", 3_000),
        ("503 Busy", "Retry-After: 90\r\n", 80),
    ];
    for (answer, lines, quiet_s) in table {
        let mut sim = sim(1);
        sim.pass(300);
        let subscribe = one(&mut sim, FIRST).pop().unwrap_or_default();
        sim.receive(FIRST, &reply(&subscribe, answer, lines));
        let _answered = sim.take_requests();
        sim.pass(quiet_s * 1000);
        let early = sim.take_requests();
        assert!(
            early.iter().all(|(_, m)| !m.starts_with("SUBSCRIBE ")),
            "{answer}: {early:?}"
        );
        sim.pass(quiet_s * 1000 / 2);
        assert_eq!(one(&mut sim, FIRST).len(), 1, "{answer}");
    }
}
