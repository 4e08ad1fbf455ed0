//! Lines of users at peers, and what peers may publish.

use super::*;

#[test]
fn lines_name_a_peer_and_one_of_them_speaks_for_the_person() {
    let with = |lines: &str, publishes: &str| {
        format!(
            "domains: [a.example]\nusers:\n  - {{aor: alice@a.example, password: {{plain: x}}, lines: {lines}}}\npeers:\n  \
             - {{name: ccm, domains: [ccm.example], transport: udp, addresses: [192.0.2.1], publishes: {publishes}}}\n"
        )
    };
    let good = snapshot(&with(
        "[{number: \"4711\", peer: ccm}, {number: \"4712\", peer: ccm}]",
        "[\"*\"]",
    ));
    let lines = good
        .users
        .iter()
        .map(|(_, u)| u.lines.clone())
        .next()
        .unwrap_or_default();
    let told: Vec<(String, bool)> = lines.iter().map(|l| (l.address.to_string(), l.primary)).collect();
    assert_eq!(
        told,
        [("4711@ccm.example".into(), true), ("4712@ccm.example".into(), false)]
    );
    assert!(good.peers[0].publishes.covers("anybody", "a.example"));
    for (lines, publishes, what) in [
        ("[{number: \"1\", peer: other}]", "[]", "there is no peer `other`"),
        ("[{number: \"1 2\", peer: ccm}]", "[]", "is no number of a line"),
        (
            "[{number: \"1\", peer: ccm, primary: true}, {number: \"2\", peer: ccm, primary: true}]",
            "[]",
            "two primary lines",
        ),
        (
            "[{number: \"1\", peer: ccm}, {number: \"1\", peer: ccm}]",
            "[]",
            "is listed twice",
        ),
        ("[]", "[alice@b.example]", "is no local domain"),
    ] {
        let told = problems(&[("bridge.yaml", &with(lines, publishes))]);
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn a_plan_names_lines_and_grants_that_change() {
    let with = |line: &str, grant: &str| {
        snapshot(&format!(
            "domains: [a.example]\nusers:\n  - {{aor: alice@a.example, password: {{plain: x}}, lines: [{{number: \"{line}\", \
             peer: ccm}}]}}\npeers:\n  - {{name: ccm, domains: [ccm.example], transport: udp, addresses: [192.0.2.1], \
             publishes: {grant}}}\n"
        ))
    };
    let was = with("1", "[]");
    assert!(plan(&was, &with("1", "[]")).is_empty());
    assert_eq!(plan(&was, &with("2", "[]")).to_string(), "~ user alice@a.example\n");
    assert_eq!(plan(&was, &with("1", "[\"*\"]")).to_string(), "~ peer ccm\n");
}
