//! What conversations send a peer keeps to its contract.

use super::*;

/// A peer that answers everything, for some seconds. What reached it, with the time; and what clients were answered.
fn pass_to(sim: &mut Sim, seconds: u64) -> (Vec<(u64, String)>, Vec<String>) {
    let (mut got, mut told) = (Vec::new(), Vec::new());
    for _ in 0..seconds * 100 {
        sim.pass(10);
        let answers = sim.sent.iter().filter(|(_, m)| m.starts_with("SIP/2.0 "));
        told.extend(answers.map(|(_, m)| m.clone()));
        for (to, request) in sim.take_requests() {
            if to.to_string() != PEER {
                answer(sim, &to.to_string(), &request, "200 OK");
                continue;
            }
            match request.split(' ').next() {
                Some("ACK") => continue,
                Some("INVITE") => accept(sim, &request, "t1"),
                _ => answer(sim, PEER, &request, "200 OK"),
            }
            if !got.iter().any(|(_, m)| *m == request) {
                got.push((sim.now.mono_ms, request));
            }
        }
    }
    (got, told)
}

fn keeps_to_ten_a_second(got: &[(u64, String)]) {
    for (at, _) in got {
        let within = got.iter().filter(|(t, _)| (*at..at + 1_000).contains(t)).count();
        assert!(within <= 11, "{within} in the second after {at}");
    }
}

#[test]
fn texts_wait_for_their_turn_in_order() {
    for (dialect, outside) in [("lcs2005", 0), ("sametime-legacy", 40)] {
        let mut sim = bridge(&format!("dialect: {dialect}, contract: {{ messages: 10/s }}"));
        sim.pass(1_000);
        let calls: Vec<String> = (0..40)
            .map(|n| says(&mut sim, "text/plain", &format!("n{n}")))
            .collect();
        let (got, told) = pass_to(&mut sim, 6);
        keeps_to_ten_a_second(&got);
        let texts: Vec<&str> = got
            .iter()
            .filter(|(_, m)| m.starts_with("MESSAGE "))
            .map(|(_, m)| m.rsplit("\r\n\r\n").next().unwrap_or_default())
            .collect();
        let wanted: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
        assert_eq!(texts, wanted, "{dialect}");
        let is_answered = |call: &String| {
            let line = format!("Call-ID: {call}\r\n");
            told.iter().any(|m| m.starts_with("SIP/2.0 200") && m.contains(&line))
        };
        assert!(calls.iter().all(is_answered), "{dialect}");
        let by_themselves = got
            .iter()
            .filter(|(_, m)| m.starts_with("MESSAGE sip:bob@b.example "))
            .count();
        assert_eq!(by_themselves, outside, "{dialect}");
    }
}

#[test]
fn whoever_would_wait_too_long_is_told_how_long() {
    let mut sim = bridge("dialect: sametime-legacy, contract: { messages: 10/s }");
    sim.pass(1_000);
    let calls: Vec<String> = (0..100).map(|n| says(&mut sim, "text/plain", &n.to_string())).collect();
    let refused: Vec<&String> = calls.iter().filter(|c| sim.status(c) == 480).collect();
    assert!((10..=20).contains(&refused.len()), "{}", refused.len());
    let told = sim.answer(refused[0]);
    assert!(
        header(told, "Retry-After").is_some() && told.contains("contract"),
        "{told}"
    );
    let (got, _) = pass_to(&mut sim, 9);
    keeps_to_ten_a_second(&got);
    assert_eq!(got.len() + refused.len(), calls.len());
}

#[test]
fn invites_are_paced_and_typing_is_left_out() {
    let mut sim = bridge("dialect: lcs2005, contract: { messages: 10/s }");
    sim.pass(1_000);
    for n in 0..20 {
        let uri = format!("sip:u{n}@b.example");
        sim.ask("alice", "MESSAGE", &uri, "Content-Type: text/plain\r\n", "hi");
    }
    assert_eq!(take(&mut sim, PEER, "INVITE").len(), 1);
    let (got, _) = pass_to(&mut sim, 1);
    keeps_to_ten_a_second(&got);
    // All wait: that she types is not worth a place.
    says(
        &mut sim,
        "application/im-iscomposing+xml",
        &crate::im::typing::is_composing(true),
    );
    let (got, _) = pass_to(&mut sim, 6);
    keeps_to_ten_a_second(&got);
    assert!(!got.iter().any(|(_, m)| m.starts_with("INFO ")));
    assert_eq!(sim.engine.status().messages_under_way, 0);
}

#[test]
fn a_line_that_waits_lives_through_a_reload_that_ends_the_contract() {
    let with = "contract: { messages: 1/s }";
    let mut sim = bridge(&format!("dialect: sametime-legacy, {with}"));
    sim.pass(2_000);
    let calls: Vec<String> = (0..5).map(|n| says(&mut sim, "text/plain", &n.to_string())).collect();
    let first = one(&mut sim, PEER, "MESSAGE");
    answer(&mut sim, PEER, &first, "200 OK");
    sim.reload(Sim::peers("dialect: sametime-legacy", "").engine.snapshot().clone());
    let (got, _) = pass_to(&mut sim, 1);
    assert_eq!((got.len(), calls.len()), (4, 5));
}
