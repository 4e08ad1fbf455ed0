//! Several names of one person, numbers of peers, assigned users, contracts.

use super::*;
use crate::config::tests::snapshot_with;
use crate::policy::facts::Watched;

const CONFIG: &str = "\
domains: [a.example, a2.example]
mappings: {dialplan: plan.yaml}
identity: {host: bridge.a.example}
users:
  - {aor: alice@a.example, password: {plain: x}, aliases: [\"1001\", \"sip:alice@old.example\", \"tel:+15559000;ext=7\"]}
  - {aor: bob@a.example, password: {plain: x}, aliases: [\"51212\"]}
  - {aor: quiet@a.example, password: {plain: x}, enabled: {presence: false}, aliases: [\"1003\"]}
peers:
  - {name: b, domains: [b.example], transport: udp, addresses: [198.51.100.1], contract: {watched: 2}}
  - {name: ucm, domains: [ucm.example], transport: udp, addresses: [192.0.2.1], assigned: [alice@a.example]}
  - {name: front, domains: [a2.example], front_end: true, transport: udp, addresses: [192.0.2.7]}
routes:
  - {match: {digits: \"+1555\"}, peer: ucm}
  - {match: {digits: \"8\"}, peer: b}
";

const PLAN: &str = "\
numbers: {separators: \" \", rules: [{digits: 4, begins: \"1\", add: \"+1555\"}, {digits: 11, begins: \"1\", add: \"+\"}]}
dial: [{digits: 11, begins: \"1\", remove: 6}]
peers:
  ucm: {strip: \"+1555\", prefix: \"7\", user: phone, from: number}
";

const PEER_B: PeerId = PeerId(0);
const UCM: PeerId = PeerId(1);
const UCM_USER: &str = "sip:71099@ucm.example";

fn world() -> Snapshot {
    snapshot_with(CONFIG, PLAN)
}

fn from_ucm<'a>(method: &'a str, uri: &'a str, identity: &'a Identity) -> Facts<'a> {
    from_c(request(method, UCM_USER, uri, identity))
}

#[test]
fn every_name_of_a_person_is_that_person() {
    let (s, id) = (world(), plain());
    for name in [
        A,
        "sip:1001@a.example",
        "sip:1001@a2.example",
        "sip:%31001@A.EXAMPLE.",
        "sip:1-0.0(1)@a.example;user=phone",
        "sip:%2B15551001@a.example",
        "sip:+1 555 1001@a.example",
        "tel:1001",
        "TEL:+1-555-1001",
        "tel:1001;phone-context=dialstring;device=SEP0011",
        "tel:1001;phone-context=+1555",
        "tel:1001;phone-context=a.example",
        "pres:1001@a.example",
        "im:+15551001@a.example",
        "sip:alice@old.example",
        "pres:alice@OLD.example",
        "sip:%61lice@old.example",
        "tel:+15559000;ext=7",
        "sip:+15559000;ext=7@a.example",
        "sip:1001@bridge.a.example",
    ] {
        for method in ["SUBSCRIBE", "MESSAGE", "INVITE"] {
            let facts = by_user(request(method, TO_BOB, name, &id), BOB);
            allowed(&s, &facts, Party::User(BOB), local(Some(ALICE)));
        }
    }
    for other in [
        "tel:1001;phone-context=b.example",
        "tel:+15559000;ext=8",
        "tel:10011",
        "tel:+",
        "tel:",
    ] {
        let facts = by_user(request("SUBSCRIBE", TO_BOB, other, &id), BOB);
        assert!(
            !matches!(decide(&s, &facts, &mut ()), Decision::Allow(a) if a.target == local(Some(ALICE))),
            "{other}"
        );
    }
    let facts = by_user(request("SUBSCRIBE", A, "sip:18005551212@a.example", &id), ALICE);
    allowed(&s, &facts, Party::User(ALICE), local(Some(BOB)));
}

#[test]
fn no_name_is_a_way_around_what_is_switched_off() {
    let (s, id) = (world(), plain());
    for name in [
        "sip:quiet@a.example",
        "sip:1003@a.example",
        "tel:+15551003",
        "pres:1003@a.example",
        "sip:%31003@a2.example",
    ] {
        let facts = by_user(request("SUBSCRIBE", TO_BOB, name, &id), BOB);
        expect(&s, &facts, 403, "user.enabled");
    }
}

#[test]
fn publishing_by_another_name_is_publishing_for_oneself() {
    let (s, id) = (world(), plain());
    for name in ["sip:1001@a.example", "tel:+15551001", "sip:alice@old.example"] {
        let own = by_user(request("PUBLISH", A, name, &id), ALICE);
        allowed(&s, &own, Party::User(ALICE), local(Some(ALICE)));
        let others = by_user(request("PUBLISH", TO_BOB, name, &id), BOB);
        expect(&s, &others, 403, "publish.own");
        // One speaks as oneself only.
        let spoken = by_user(request("MESSAGE", name, TO_BOB, &id), ALICE);
        assert!(!matches!(decide(&s, &spoken, &mut ()), Decision::Allow(_)), "{name}");
    }
}

#[test]
fn a_peer_means_its_own_numbers() {
    let (s, id) = (world(), plain());
    // 71001 there is +15551001 here.
    for name in [
        "sip:71001@a.example",
        "sip:71001@bridge.a.example",
        "tel:71001",
        "sip:+15551001@a.example",
    ] {
        allowed(
            &s,
            &from_ucm("SUBSCRIBE", name, &id),
            Party::Peer(UCM),
            local(Some(ALICE)),
        );
    }
    let b = |name| Facts {
        source: ip("198.51.100.1"),
        ..request("SUBSCRIBE", B_USER, name, &id)
    };
    expect(&s, &b("sip:71001@a.example"), 404, "user.unknown");
    allowed(&s, &b("sip:1001@a.example"), Party::Peer(PEER_B), local(Some(ALICE)));
}

#[test]
fn what_an_address_is_called_at_a_peer() {
    let s = world();
    let at = |uri: &str| {
        let uri = UriFacts::of(uri.as_bytes()).expect("test URI");
        s.abroad(&uri, None, UCM)
            .map(|there| there.to_string())
            .unwrap_or_default()
    };
    for (here, there) in [
        ("tel:+15551042", "sip:71042@ucm.example;user=phone"),
        ("sip:1042@a.example", "sip:71042@ucm.example;user=phone"),
        ("tel:+1-555-1042;ext=3", "sip:71042;ext=3@ucm.example;user=phone"),
        ("sip:+15551042@ucm.example", "sip:71042@ucm.example;user=phone"),
        ("sip:71042@ucm.example", ""),
        ("sip:carl@ucm.example", ""),
        ("tel:+498912", "sip:+498912@ucm.example;user=phone"),
    ] {
        assert_eq!(at(here), there, "{here}");
    }
    let caller = s.caller_abroad(ALICE, UCM).map(|c| c.to_string());
    assert_eq!(caller.as_deref(), Some("sip:71001@a.example;user=phone"));
    assert!(s.caller_abroad(ALICE, PEER_B).is_none());
    let here = |from: &str| {
        let from = UriFacts::of(from.as_bytes()).expect("test URI");
        s.caller_here(&from, UCM).map(|c| c.to_string()).unwrap_or_default()
    };
    assert_eq!(here(UCM_USER), "sip:+15551099@ucm.example");
    assert_eq!(
        (here("sip:71001@a.example"), here("sip:carl@ucm.example")),
        (String::new(), String::new())
    );
    // And back: an answer to that From finds its way.
    assert_eq!(at("sip:+15551099@ucm.example"), "sip:71099@ucm.example;user=phone");
}

#[test]
fn who_is_not_assigned_is_refused_both_ways() {
    let (s, id) = (world(), plain());
    for method in ["SUBSCRIBE", "MESSAGE", "INVITE"] {
        allowed(&s, &from_ucm(method, A, &id), Party::Peer(UCM), local(Some(ALICE)));
        for bob in [TO_BOB, "tel:51212", "sip:51212@a.example"] {
            expect(&s, &from_ucm(method, bob, &id), 403, "peer.assigned");
        }
        for there in ["sip:carl@ucm.example", "tel:+15551042"] {
            let by = |from, user| by_user(request(method, from, there, &id), user);
            assert_eq!(outcome(&s, &by(A, ALICE)).0, 0, "{there}");
            expect(&s, &by(TO_BOB, BOB), 403, "peer.assigned");
            // Whom a front end vouches for is judged like anybody.
            let fronted = Facts {
                source: ip("192.0.2.7"),
                ..request(method, "sip:dora@a2.example", there, &id)
            };
            assert_ne!(outcome(&s, &fronted).0, 0);
        }
    }
    let dialog = |sender, towards| {
        Some(InDialog {
            sender,
            towards: Some(towards),
        })
    };
    let inside = |facts: Facts<'static>, d| Facts { dialog: d, ..facts };
    let plain: &'static Identity = Box::leak(Box::new(plain()));
    let bye = inside(
        from_ucm("BYE", TO_BOB, plain),
        dialog(Party::Peer(UCM), Party::User(BOB)),
    );
    expect(&s, &bye, 403, "peer.assigned");
    let bye = inside(
        by_user(request("BYE", TO_BOB, UCM_USER, plain), BOB),
        dialog(Party::User(BOB), Party::Peer(UCM)),
    );
    expect(&s, &bye, 403, "peer.assigned");
}

#[derive(Debug)]
struct Held<'a>(u32, &'a str);

impl Watched for Held<'_> {
    fn count(&self, peer: PeerId) -> u32 {
        if peer == PEER_B { self.0 } else { 0 }
    }

    fn has(&self, peer: PeerId, uri: &UriFacts<'_>) -> bool {
        peer == PEER_B && uri.user == Some(self.1.as_bytes())
    }
}

#[test]
fn so_many_are_watched_by_contract() {
    let (s, id) = (world(), plain());
    let watch = |held: &Held<'_>, method: &str| {
        let facts = by_user(request(method, A, B_USER, &id), ALICE);
        outcome(
            &s,
            &Facts {
                watched: Some(held),
                ..facts
            },
        )
    };
    let (fine, full) = ((0, String::new()), (403, "peer.contract".to_owned()));
    assert_eq!(watch(&Held(1, "x"), "SUBSCRIBE"), fine);
    assert_eq!(watch(&Held(2, "x"), "SUBSCRIBE"), full);
    assert_eq!(
        watch(&Held(2, "bert"), "SUBSCRIBE"),
        fine,
        "one more watcher of the same costs nothing"
    );
    assert_eq!(watch(&Held(2, "x"), "MESSAGE"), fine);
    let elsewhere = by_user(request("SUBSCRIBE", A, "sip:x@ucm.example", &id), ALICE);
    let held = Held(9, "");
    assert_eq!(
        outcome(
            &s,
            &Facts {
                watched: Some(&held),
                ..elsewhere
            }
        ),
        fine
    );
}
