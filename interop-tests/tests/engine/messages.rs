//! Kept messages, where a wrong answer would be a false promise.

use interop_tests::Outcome;

use super::sim::{FRONT, Sim, request};

/// User a with this many contacts; b's MESSAGE to them is answered with these statuses, 0 for not at all.
fn outcome(statuses: &[u16]) -> Outcome<Vec<u16>> {
    let mut sim = Sim::start("")?;
    let contacts: String = (0..statuses.len())
        .map(|n| format!("Contact: <sip:c{n}@{FRONT}>\r\n"))
        .collect();
    sim.receive(FRONT, &request("REGISTER", "sip:a.example", "a", "z9hG4bKr", &contacts))?;
    assert_eq!(sim.answers("z9hG4bKr"), [200]);
    sim.receive(FRONT, &request("MESSAGE", "sip:a@a.example", "b", "z9hG4bKm", ""))?;
    let legs = std::mem::take(&mut sim.sent);
    assert_eq!(legs.len(), statuses.len());
    for ((_, leg), status) in legs.iter().zip(statuses) {
        if *status > 0 {
            sim.receive(FRONT, &leg.answer(*status, "t", "", ""))?;
        }
    }
    sim.pass(40_000);
    assert!(!sim.busy());
    let mut answers = sim.answers("z9hG4bKm");
    answers.retain(|s| *s >= 200);
    Ok(answers)
}

#[test]
fn a_message_is_kept_for_the_absent_and_not_for_those_who_refuse_it() -> Outcome {
    for refusal in [400, 403, 404, 415, 482, 486, 603] {
        assert_eq!(outcome(&[refusal])?, [refusal]);
        assert_eq!(outcome(&[refusal, refusal])?, [refusal]);
        assert_eq!(outcome(&[refusal, 480])?, [202], "one of two may still take it");
        assert_eq!(outcome(&[0, refusal])?, [202], "one of two may still take it");
        assert_eq!(outcome(&[refusal, 200])?, [200]);
    }
    for absence in [0, 408, 480, 500, 503] {
        assert_eq!(outcome(&[absence])?, [202], "{absence}");
    }
    Ok(())
}
