//! What is told of numbers, assigned users and contracts.

use clap::Parser as _;

use super::explain;
use super::tests::Cli;

#[test]
fn numbers_assignments_and_contracts_name_their_lines() {
    let config = "\
domains: [a.example]
mappings: {dialplan: plan.yaml}
users:
  - {aor: alice@a.example, password: {plain: x}, aliases: [\"1001\"]}
  - {aor: bob@a.example, password: {plain: x}}
peers:
  - {name: ucm, domains: [ucm.example], transport: udp, addresses: [192.0.2.1], assigned: [alice@a.example], contract: {watched: 5}}
routes: [{match: {digits: \"+1555\"}, peer: ucm}]
";
    let plan = "numbers: {rules: [{digits: 4, add: \"+1555\"}]}\npeers:\n  ucm: {strip: \"+1555\", user: phone, from: number}\n";
    let world = crate::config::tests::snapshot_with(config, plan);
    let ask = |words: &str| {
        let args = Cli::try_parse_from(core::iter::once("explain").chain(words.split(' ')));
        args.ok()
            .and_then(|args| explain(&world, &args.args).ok())
            .unwrap_or_default()
            .0
    };
    let alice = "--from sip:alice@a.example --user alice@a.example --method SUBSCRIBE --event presence";
    for (words, line) in [
        (
            "--from sip:1042@ucm.example --peer ucm --to sip:1001@a.example".to_owned(),
            "1001 is +15551001 by dialplan.peers (plan.yaml:3), which is alice@a.example",
        ),
        (
            "--from sip:1042@ucm.example --peer ucm --to sip:1001@a.example".to_owned(),
            "peer ucm may speak for ucm.example, 1042 is sip:+15551042@ucm.example by dialplan.peers (plan.yaml:3)",
        ),
        (format!("{alice} --to tel:1042"), "number +15551042"),
        (
            format!("{alice} --to tel:1042"),
            "peer ucm, 1 way(s), there sip:1042@ucm.example;user=phone by dialplan.peers (plan.yaml:3), from sip:1001@a.example;user=phone",
        ),
        (
            format!("{alice} --to tel:1042 --watched 4"),
            "within limits: 4 addresses of 5 are watched at peer ucm",
        ),
        (
            format!("{alice} --to tel:1042 --watched 5"),
            "refuse: 403 Too Many Watched, by peer.contract (bridge.yaml:7)",
        ),
        (
            "--from sip:bob@a.example --user bob@a.example --to sip:x@ucm.example".to_owned(),
            "refuse: 403 Not Assigned, by peer.assigned (bridge.yaml:7)",
        ),
        (
            "--from sip:1042@ucm.example --peer ucm --to sip:bob@a.example".to_owned(),
            "the user who is meant is not assigned to peer ucm",
        ),
    ] {
        let table = ask(&words);
        assert!(table.contains(line), "{words}:\n{table}");
    }
}
