//! Aliases, the dial plan, assigned users and contracts: what is wrong with them, and what a reload makes of them.

use core::time::Duration;

use super::*;
use crate::policy::UserId;
use crate::policy::contract::Contract;

const PEERS: &str = "\
domains: [a.example, a2.example]
mappings: {dialplan: plan.yaml}
users:
  - {aor: alice@a.example, password: {plain: x}, aliases: [\"+15551001\", \"1001\", \"sip:alice@old.example\", \"tel:2001;phone-context=dialstring;device=SEP1\"]}
  - {aor: bob@a.example, password: {plain: x}}
peers:
  - {name: ucm, domains: [ucm.example], transport: udp, addresses: [192.0.2.1]}
";

const PLAN: &str = "numbers: {rules: [{digits: 4, begins: \"1\", add: \"+1666\"}]}\n";

fn load(main: &str, plan: &str) -> Result<crate::config::Loaded, String> {
    let world = Memory::with(&[("bridge.yaml", main), ("plan.yaml", plan)]);
    load_from(Path::new("bridge.yaml"), &world).map_err(|p| p.to_string())
}

#[test]
fn one_person_has_several_names() {
    let s = load(PEERS, PLAN).map(|l| l.snapshot).expect("fit");
    let alice = Some(UserId(0));
    let number = |n: &str| s.users.aliases().number(n.as_bytes()).map(|(id, rule)| (id, rule.line));
    // 1001 has been kept in its normal form; +15551001 as it is.
    assert_eq!(number("+15551001"), Some((UserId(0), 4)));
    assert_eq!((number("+16661001").map(|n| n.0), number("1001")), (alice, None));
    assert_eq!(number("2001").map(|n| n.0), alice);
    let address = |user: &str, host: &str| s.users.aliases().address(user.as_bytes(), host.as_bytes()).map(|a| a.0);
    assert_eq!(
        (address("alice", "OLD.example."), address("%61lice", "old.example")),
        (alice, alice)
    );
    assert_eq!(
        (address("Alice", "old.example"), address("alice", "older.example")),
        (None, None)
    );
    assert_eq!(s.user(UserId(0)).and_then(|u| u.number()), Some("+15551001"));
}

#[test]
fn an_address_is_one_persons() {
    let bob = |aliases: &str| {
        PEERS.replace(
            "bob@a.example, password: {plain: x}",
            &format!("bob@a.example, password: {{plain: x}}, aliases: {aliases}"),
        )
    };
    for (aliases, what) in [
        (
            "[\"+15551001\"]",
            "bridge.yaml:5:58: `+15551001` is alice@a.example (bridge.yaml:4)",
        ),
        (
            "[\"+1 (666) 1001\"]",
            "`+1 (666) 1001` is neither an address nor a number",
        ),
        ("[\"+1(666)1001\"]", "`+1(666)1001` is alice@a.example (bridge.yaml:4)"),
        ("[\"tel:1001\"]", "`tel:1001` is alice@a.example (bridge.yaml:4)"),
        ("[\"sip:alice@OLD.example\"]", "is alice@a.example (bridge.yaml:4)"),
        (
            "[\"pres:alice@a.example\"]",
            "`pres:alice@a.example` is alice@a.example (bridge.yaml:4)",
        ),
        (
            "[\"sip:x@ucm.example\"]",
            "`ucm.example` belongs to peer ucm (bridge.yaml:7)",
        ),
        ("[\"carol\"]", "`carol` is neither an address nor a number"),
        (
            "[\"tel:1001;phone-context=b.example\"]",
            "is neither an address nor a number",
        ),
    ] {
        let text = load(&bob(aliases), PLAN).map(|_| String::new()).unwrap_or_else(|e| e);
        assert!(text.contains(what), "{aliases}: {text}");
    }
    // An address whose user part is somebody else's number would be two people.
    let own = PEERS.replace("bob@a.example", "\"2001@a.example\"");
    let text = load(&own, PLAN).map(|_| String::new()).unwrap_or_else(|e| e);
    assert!(text.contains("is 2001@a.example (bridge.yaml:5)"), "{text}");
    // One's own, twice, is only needless.
    let loaded = load(&bob("[\"7\", \"7\", \"bob@a.example\"]"), PLAN).expect("fit");
    let needless = loaded.warnings.iter().filter(|w| w.what.contains("already")).count();
    assert_eq!(needless, 2, "{:?}", loaded.warnings);
}

#[test]
fn what_is_wrong_with_a_plan_has_its_line() {
    for (plan, what) in [
        (
            "numbers:\n  rules:\n    - {digits: 4, add: \"1\"}\n",
            "plan.yaml:3:24: `add: \"1\"` makes no full number",
        ),
        (
            "numbers:\n  rules: [{begins: \"+1\", add: \"+\"}]\n",
            "a full number is never normalised",
        ),
        (
            "numbers: {national: [10]}\n",
            "plan.yaml:1:22: `national` numbers need `country`",
        ),
        ("numbers: {country: \"+1\"}\n", "`+1` is no such code"),
        ("numbers: {country: \"1\", area: \"x\"}\n", "`x` is no such code"),
        ("numbers: {area: \"1\"}\n", "an area code without a country code"),
        ("numbers: {extensions: [0]}\n", "no number has 0 digits"),
        ("numbers: {separators: \"1\"}\n", "`1` holds what means something"),
        (
            "dial:\n  - {digits: 11, begin: \"1\"}\n",
            "plan.yaml:2:18: unknown key `begin`",
        ),
        ("dial: [{remove: 40}]\n", "no number has 40 digits to remove"),
        ("dial: [{begins: \"1a\"}]\n", "`1a` is no digit prefix"),
        (
            "peers:\n  umc: {strip: \"1\"}\n",
            "plan.yaml:2:8: there is no peer `umc`\n",
        ),
        ("peers: {ucm: {user: fax}}\n", "`fax` is not known here"),
        ("peers: {ucm: {host: \"a b\"}}\n", "is no host or domain name"),
    ] {
        let text = load(PEERS, plan).map(|_| String::new()).unwrap_or_else(|e| e);
        assert!(text.contains(what), "{plan}: {text}");
    }
    let doubtful = "dial:\n  - {begins: \"1\", remove: 1}\n  - {digits: 11, begins: \"1\", remove: 6}\n";
    let loaded = load(PEERS, doubtful).expect("fit");
    let named: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(
        named
            .iter()
            .any(|w| w.starts_with("plan.yaml:3:1: it is never reached: plan.yaml:2 takes")),
        "{named:?}"
    );
    assert!(load(PEERS, "").is_ok_and(|l| l.snapshot.dialplan.is_empty()));
}

#[test]
fn a_plan_in_the_directory_of_mappings_is_found() {
    let main = PEERS.replace("{dialplan: plan.yaml}", "{dir: maps}");
    let world = Memory::with(&[("bridge.yaml", &main), ("maps/dialplan.yaml", PLAN)]);
    let loaded = load_from(Path::new("bridge.yaml"), &world).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(loaded.snapshot.dialplan.numbers.rules.len(), 1);
    assert!(
        loaded.files.iter().any(|f| f.ends_with("maps/dialplan.yaml")),
        "a reload follows it"
    );
}

#[test]
fn contracts_assignments_and_timeouts() {
    let peer = |keys: &str| PEERS.replace("addresses: [192.0.2.1]}", &format!("addresses: [192.0.2.1], {keys}}}"));
    let s = |keys: &str| load(&peer(keys), PLAN).map(|l| l.snapshot.peers[0].clone());
    let contract = |keys: &str| s(keys).map(|p| p.contract);
    let twenty = Contract {
        messages: Some(20),
        watched: Some(1000),
    };
    assert_eq!(contract("contract: sametime"), Ok(Some(twenty)));
    assert_eq!(contract("contract: {messages: 20/s, watched: 1000}"), Ok(Some(twenty)));
    assert_eq!(contract("reuse: never"), Ok(None));
    for (keys, what) in [
        ("contract: sametme", "did you mean `sametime`? known: sametime"),
        ("contract: {messages: 0/s}", "`0/s` is no rate"),
        ("contract: {watched: 0}", "nothing could be watched"),
        ("contract: {}", "the contract promises nothing"),
        ("assigned: [carol@a.example]", "there is no user `carol@a.example`"),
        ("assigned: [\"9\"]", "there is no user `9`"),
        ("subscription_timeout: 5s", "write 60s to 1d"),
    ] {
        let text = s(keys).map(|_| String::new()).unwrap_or_else(|e| e);
        assert!(text.contains(what), "{keys}: {text}");
    }
    let assigned = |keys: &str| {
        let list = s(keys).ok().and_then(|p| p.assigned);
        list.map(|a| (a.has(UserId(0)), a.has(UserId(1)), a.fits(b"x", b"A2.example.")))
    };
    assert_eq!(assigned("assigned: [bob@A.example]"), Some((false, true, false)));
    assert_eq!(assigned("assigned: [\"1001\"]"), Some((true, false, false)));
    assert_eq!(
        assigned("assigned: [\"*@a.example\", \"*@a2.example\"]"),
        Some((true, true, true))
    );
    assert_eq!(assigned("assigned: []"), Some((false, false, false)));
    let timeout = s("subscription_timeout: 10m").map(|p| p.subscription_timeout);
    assert_eq!(timeout, Ok(Some(Duration::from_secs(600))));
}

#[test]
fn a_reload_says_what_of_it_changes() {
    let old = load(
        &PEERS.replace("addresses: [192.0.2.1]}", "addresses: [192.0.2.1], contract: sametime}"),
        PLAN,
    );
    let new = load(
        &PEERS.replace("\"1001\", ", "").replace(
            "addresses: [192.0.2.1]}",
            "addresses: [192.0.2.1], contract: modest, assigned: [bob@a.example]}",
        ),
        "dial: [{digits: 11, begins: \"1\", remove: 6}]\n",
    );
    let changes = plan(&old.expect("fit").snapshot, &new.expect("fit").snapshot);
    insta::assert_snapshot!(changes, @r"
    ~ peer ucm
    ~ user alice@a.example
    ~ settings dialplan
    ! alice@a.example: no longer assigned to peer ucm, what they have there ends
    ! numbers or aliases mean something else: what was asked for by them ends
    ");
    // Other lines, the same plan.
    let moved = load(&format!("# one line more\n{PEERS}"), &format!("\n\n{PLAN}"));
    let same = load(PEERS, PLAN);
    assert!(plan(&same.expect("fit").snapshot, &moved.expect("fit").snapshot).is_empty());
}
