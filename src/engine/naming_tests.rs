//! One person with several names, and what peers call us and we call them, in the simulated engine.

use super::sim::{CLIENT, PEER, Sim, body, header, reply};

const CONFIG: &str = r#"
domains: [a.example]
mappings: { dialplan: plan.yaml }
identity: { host: bridge.a.example, certificate: bridge.pem, key: bridge.key }
listeners: [{ name: udp, transport: udp, bind: ["127.0.0.1:5060"] }]
users:
  - { aor: alice@a.example, password: { plain: x }, aliases: ["1001", "sip:alice@old.example"] }
  - { aor: bob@a.example, password: { plain: x }, aliases: ["1002"] }
peers:
  - { name: ucm, domains: [ucm.example], transport: udp, next_hop: "127.0.0.9:5060", addresses: [127.0.0.9/32], probe: "off" }
routes: [{ match: { digits: "+1555" }, peer: ucm }]
limits: { per_source: { requests: 10000000 } }
notify: { min_interval: 0s }
store: { path: data }
admin: { socket: s.sock, http: "off" }
"#;

const PLAN: &str = "\
numbers: {rules: [{digits: 4, begins: \"1\", add: \"+1555\"}]}
peers: {ucm: {strip: \"+1555\", user: phone, from: number, host: ucm.example}}
";

fn world() -> Sim {
    let mut sim = Sim::planned(CONFIG, PLAN);
    sim.pass(10);
    sim
}

fn entity(message: &str) -> &str {
    let body = body(message);
    let start = body.find("entity=").map_or(0, |at| at + 8);
    let rest = body.get(start..).unwrap_or_default();
    rest.split(['"', '\'']).next().unwrap_or_default()
}

/// A request of the peer.
fn from_peer(sim: &mut Sim, method: &str, from: &str, uri: &str, n: u32, rest: &str, body: &str) {
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKp{n}\r\nFrom: \"Desk\" <{from}>;tag=f{n}\r\n\
         To: <{uri}>\r\nCall-ID: p{n}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n{rest}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    sim.receive(PEER, &text);
}

#[test]
fn three_names_are_one_presentity_with_one_state() {
    let mut sim = world();
    let names = [
        "sip:alice@a.example",
        "sip:1001@a.example",
        "tel:+15551001",
        "sip:alice@old.example",
    ];
    for name in names {
        let call = sim.subscribe("bob", name, 3600);
        assert_eq!(sim.status(&call), 200, "{name}");
    }
    assert_eq!(sim.engine.status().presentities, 1);
    let first = sim.notifies();
    let mut told: Vec<&str> = first.iter().map(|m| entity(m)).collect();
    told.sort_unstable();
    let mut asked = names;
    asked.sort_unstable();
    assert_eq!(told, asked, "each is told of the name it asked for");
    let (status, _) = sim.publish("alice", None, 3600, Some("here"));
    assert_eq!(status, 200);
    sim.pass(10);
    let changed = sim.notifies();
    assert_eq!(changed.len(), 4);
    assert!(changed.iter().all(|m| m.contains("here")));
    // Publishing by a number is publishing all the same.
    let lines = "Event: presence\r\nExpires: 3600\r\nContent-Type: application/pidf+xml\r\n";
    let document = super::sim::pidf("sip:alice@a.example", "by number");
    let call = sim.ask("alice", "PUBLISH", "tel:+15551001", lines, &document);
    assert_eq!(sim.status(&call), 200);
    sim.pass(10);
    assert!(sim.notifies().iter().all(|m| m.contains("by number")));
}

#[test]
fn a_document_about_another_name_of_oneself_is_ones_own() {
    let mut sim = world();
    for name in ["sip:alice@a.example", "sip:1001@a.example"] {
        sim.subscribe("bob", name, 3600);
    }
    sim.notifies();
    let lines = "Event: presence\r\nExpires: 3600\r\nContent-Type: application/pidf+xml\r\n";
    for (entity, status) in [
        ("tel:+15551001", 200),
        ("pres:1001@a.example", 200),
        ("sip:1002@a.example", 403),
        ("sip:bob@a.example", 403),
        ("tel:+15551099", 403),
    ] {
        let document = super::sim::pidf(entity, "by number");
        let call = sim.ask("alice", "PUBLISH", "sip:1001@a.example", lines, &document);
        assert_eq!(sim.status(&call), status, "{entity}");
    }
    sim.pass(10);
    let told: std::collections::BTreeSet<String> = sim.notifies().iter().map(|m| entity(m).to_owned()).collect();
    let asked = ["sip:1001@a.example", "sip:alice@a.example"];
    assert_eq!(told.iter().map(String::as_str).collect::<Vec<_>>(), asked);
}

#[test]
fn a_to_that_names_somebody_else_changes_nothing() {
    let mut sim = world();
    let rest = format!("Contact: <sip:71@{PEER}>\r\nEvent: presence\r\nExpires: 600\r\n");
    let text = format!(
        "SUBSCRIBE sip:1001@a.example SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKq\r\n\
         From: <sip:1099@ucm.example>;tag=f\r\nTo: <sip:1002@a.example>\r\nCall-ID: q\r\nCSeq: 1 SUBSCRIBE\r\n\
         Max-Forwards: 70\r\n{rest}Content-Length: 0\r\n\r\n"
    );
    sim.receive(PEER, &text);
    let notifies = sim.notifies();
    assert_eq!(notifies.len(), 1);
    assert_eq!(entity(&notifies[0]), "sip:alice@a.example");
}

#[test]
fn a_number_of_the_peer_is_watched_as_the_peer_calls_it() {
    let mut sim = world();
    let calls: Vec<String> = [
        "tel:+15551042",
        "sip:1042@a.example",
        "sip:+15551042@ucm.example",
        "sip:1042@ucm.example",
    ]
    .into_iter()
    .map(|name| sim.subscribe("alice", name, 3600))
    .collect();
    assert!(calls.iter().all(|call| sim.status(call) == 200));
    assert_eq!(sim.engine.status().upstream_subscriptions, 1, "one address there");
    let requests = sim.take_requests();
    let subscribe = requests
        .iter()
        .find(|(_, m)| m.starts_with("SUBSCRIBE "))
        .map(|(_, m)| m.clone());
    let subscribe = subscribe.expect("it has gone");
    assert!(
        subscribe.starts_with("SUBSCRIBE sip:1042@ucm.example;user=phone SIP/2.0\r\n"),
        "{subscribe}"
    );
    assert_eq!(
        header(&subscribe, "To").as_deref(),
        Some("<sip:1042@ucm.example;user=phone>")
    );
    let from = header(&subscribe, "From").unwrap_or_default();
    assert!(from.starts_with("<sip:1001@a.example;user=phone>;tag="), "{from}");
    for (to, request) in &requests {
        sim.receive(
            &to.to_string(),
            &reply(
                request,
                "200 OK",
                "Expires: 3600\r\nContact: <sip:ucm@127.0.0.9:5060>\r\n",
            ),
        );
    }
    let document = super::sim::pidf("sip:1042@ucm.example", "on the phone");
    let text = format!(
        "NOTIFY sip:bridge@127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKn\r\n\
         From: <sip:1042@ucm.example>;tag=theirs\r\nTo: {from}\r\nCall-ID: {}\r\nCSeq: 1 NOTIFY\r\nMax-Forwards: 70\r\n\
         Contact: <sip:ucm@127.0.0.9:5060>\r\nEvent: presence\r\nSubscription-State: active;expires=3600\r\n\
         Content-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{document}",
        header(&subscribe, "Call-ID").unwrap_or_default(),
        document.len()
    );
    sim.receive(PEER, &text);
    sim.pass(10);
    let told: std::collections::BTreeSet<String> = sim
        .notifies()
        .iter()
        .filter(|m| m.contains("on the phone"))
        .map(|m| entity(m).to_owned())
        .collect();
    let asked = [
        "sip:+15551042@ucm.example",
        "sip:1042@a.example",
        "sip:1042@ucm.example",
        "tel:+15551042",
    ];
    assert_eq!(told.iter().map(String::as_str).collect::<Vec<_>>(), asked);
}

#[test]
fn messages_and_calls_are_addressed_as_the_peer_does() {
    for method in ["MESSAGE", "INVITE"] {
        let mut sim = world();
        let lines = "Content-Type: text/plain\r\nContact: <sip:alice@127.0.0.1:7001>\r\n";
        sim.ask("alice", method, "sip:1042@a.example", lines, "hello");
        let sent = sim.take_requests();
        let there: Vec<&String> = sent
            .iter()
            .filter(|(to, _)| to.to_string() == PEER)
            .map(|(_, m)| m)
            .collect();
        assert_eq!(there.len(), 1, "{sent:?}");
        let line = format!("{method} sip:1042@ucm.example;user=phone SIP/2.0\r\n");
        assert!(there[0].starts_with(&line), "{}", there[0]);
        assert_eq!(
            header(there[0], "To").as_deref(),
            Some("<sip:1042@ucm.example;user=phone>")
        );
        let from = header(there[0], "From").unwrap_or_default();
        assert!(from.starts_with("<sip:1001@a.example;user=phone>;tag="), "{from}");
        assert_eq!(
            there[0].matches("\r\nFrom:").count() + there[0].matches("\r\nTo:").count(),
            2
        );
    }
}

#[test]
fn a_message_of_the_peer_reaches_whom_its_number_means() {
    let mut sim = world();
    assert_eq!(sim.register("alice", 3600), 200);
    sim.requests();
    let lines = "Content-Type: text/plain\r\n";
    from_peer(
        &mut sim,
        "MESSAGE",
        "sip:1099@ucm.example",
        "sip:1001@bridge.a.example",
        7,
        lines,
        "hello",
    );
    let got = sim.take_requests();
    let here: Vec<&String> = got
        .iter()
        .filter(|(to, _)| to.to_string() == CLIENT)
        .map(|(_, m)| m)
        .collect();
    assert_eq!(here.len(), 1, "{got:?}");
    // An answer to that address goes back to 1099 there.
    assert_eq!(
        header(here[0], "From").as_deref(),
        Some("\"Desk\" <sip:+15551099@ucm.example>;tag=f7")
    );
}

#[test]
fn a_name_that_moves_to_somebody_else_takes_nobody_along() {
    let mut sim = world();
    for name in ["sip:alice@a.example", "sip:1001@a.example"] {
        sim.subscribe("bob", name, 3600);
    }
    sim.notifies();
    let moved = CONFIG
        .replace("\"1002\"", "\"1002\", \"1001\"")
        .replace("\"1001\", \"sip:alice@old", "\"sip:alice@old");
    let next = Sim::planned(&moved, PLAN).engine.snapshot().clone();
    sim.reload(next);
    let ended: Vec<String> = sim
        .notifies()
        .into_iter()
        .filter(|m| m.contains("terminated"))
        .collect();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert!(
        header(&ended[0], "From").is_some_and(|f| f.contains("1001@")),
        "{ended:?}"
    );
    assert_eq!(sim.engine.status().subscriptions, 1);
}

#[test]
fn who_is_assigned_no_more_is_not_watched_any_more() {
    let mut sim = world();
    let lines = format!("Contact: <sip:1099@{PEER}>\r\nEvent: presence\r\nExpires: 3600\r\n");
    for (n, whom) in [(1, "sip:1001@a.example"), (2, "sip:1002@a.example")] {
        from_peer(&mut sim, "SUBSCRIBE", "sip:1099@ucm.example", whom, n, &lines, "");
    }
    for user in ["alice", "bob"] {
        let call = sim.subscribe(user, "sip:1042@ucm.example", 3600);
        assert_eq!(sim.status(&call), 200);
    }
    sim.notifies();
    assert_eq!(sim.engine.status().subscriptions, 4);
    let next = CONFIG.replace("probe: \"off\" }", "probe: \"off\", assigned: [alice@a.example] }");
    let next = Sim::planned(&next, PLAN).engine.snapshot().clone();
    sim.reload(next);
    let ended = sim.notifies().into_iter().filter(|m| m.contains("terminated")).count();
    assert_eq!((ended, sim.engine.status().subscriptions), (2, 2));
    let call = sim.subscribe("bob", "sip:1042@ucm.example", 3600);
    assert_eq!(sim.status(&call), 403);
}

#[test]
fn an_extension_that_is_none_makes_no_number() {
    let mut sim = world();
    let long = "1".repeat(900);
    let escaped = "%41".repeat(300);
    for name in [
        format!("tel:+15551042;ext={long}"),
        format!("sip:+15551042;ext={escaped}@a.example"),
        "sip:+15551042;ext=%3e%0d%0a@a.example".to_owned(),
        "tel:+15551042;ext=<x>".to_owned(),
    ] {
        let call = sim.subscribe("bob", &name, 3600);
        let status = sim.status(&call);
        assert!(matches!(status, 400..=499), "{name}: {status}");
        let sent = sim.take_requests();
        assert!(!sent.iter().any(|(to, _)| to.to_string() == PEER), "{name}: {sent:?}");
    }
    let call = sim.subscribe("bob", "tel:+15551042;ext=12-3", 3600);
    assert_eq!(sim.status(&call), 200);
    // What was taken can be read again.
    sim.restart(1000);
}
