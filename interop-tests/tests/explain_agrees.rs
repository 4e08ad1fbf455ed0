//! The running engine and `explain` agree: 100,000 random requests go as bytes through the simulated engine, and the
//! status and rule id on the wire are those of the pure decision.

use std::net::SocketAddr;
use std::sync::Arc;

use interop_tests::Outcome;
use trestle::config;
use trestle::engine::{Engine, Input, ListenerAddress, Output, Setup};
use trestle::policy::identity::CertNames;
use trestle::policy::{AuthState, Facts, Identity, Over, Scheme, Snapshot, UriFacts, decide};
use trestle::sip::message::Framing;
use trestle::sip::net::{FlowId, ListenerId, PeerId, Source, Transport};
use trestle::sip::random::Random;
use trestle::sip::time::Now;

const CONFIG: &str = r#"
domains: [a.example, a2.example]
identity: { host: bridge.a.example, certificate: bridge.pem, key: bridge.key }
listeners:
  - { name: udp, transport: udp, bind: ["127.0.0.1:5060"] }
  - { name: tcp, transport: tcp, bind: ["127.0.0.1:5060"] }
  - { name: tls, transport: tls, bind: ["127.0.0.1:5061"], client_certificate: request }
  - { name: peers, transport: tls, bind: ["127.0.0.1:5062"], client_certificate: require }
users:
  - { aor: alice@a.example, password: { plain: x } }
  - { aor: off@a.example, password: { plain: x }, enabled: { presence: false, client: true } }
peers:
  - { name: b, domains: [b.example, b2.example], transport: tls, next_hop: "127.0.0.9:5061", tls: { ca: [ca.pem] }, probe: "off" }
  - { name: c, domains: [c.example], transit: [b.example], transport: udp, next_hop: "127.0.0.8:5060", addresses: [127.0.0.8/32], probe: "off" }
  - { name: front, front_end: true, domains: [a2.example], transport: tcp, next_hop: "127.0.0.7:5060", addresses: [127.0.0.7/32], probe: "off" }
routes:
  - { match: { suffix: .d.example }, peer: b }
  - { match: { digits: "+1555" }, peer: c }
acl:
  incoming:
    - deny: 127.0.0.66/32
limits: { per_source: { requests: 10000000 } }
store: { path: data }
admin: { socket: s.sock, http: "off" }
"#;

/// A request as data: the bytes and the facts are both made from it.
struct Case {
    listener: u16,
    source: &'static str,
    identity: Arc<Identity>,
    method: &'static str,
    uri: &'static str,
    from: &'static str,
    to: &'static str,
    event: Option<&'static str>,
    hops: Option<u32>,
}

const URIS: [&str; 22] = [
    "sip:alice@a.example",
    "sip:ALICE@a.example",
    "sip:off@a.example",
    "sip:nobody@a.example",
    "sip:alice@A.EXAMPLE.",
    "sips:alice@a.example",
    "pres:alice@a.example",
    "im:alice@a.example",
    "sip:any@a2.example",
    "sip:bob@b.example",
    "sip:bob@b2.example",
    "sip:carl@c.example",
    "sip:x@x.d.example",
    "sip:x@d.example",
    "sip:x@evil.example",
    "sip:alice@a.example;maddr=10.0.0.1",
    "sip:x@127.0.0.1:9999",
    "sip:bridge.a.example",
    "sip:a.example",
    "tel:+1-555-0100",
    "tel:+4930",
    "urn:service:sos",
];

const METHODS: [&str; 10] = [
    "MESSAGE",
    "SUBSCRIBE",
    "PUBLISH",
    "REGISTER",
    "OPTIONS",
    "INVITE",
    "NOTIFY",
    "SERVICE",
    "INFO",
    "BYE",
];

fn pick<T: Copy>(random: &mut Random, list: &[T]) -> T {
    list[(random.next_u64() % list.len() as u64) as usize]
}

fn case(random: &mut Random, identities: &[Arc<Identity>]) -> Case {
    let listener = (random.next_u64() % 4) as u16;
    let identity = if listener < 2 {
        0
    } else {
        (random.next_u64() % identities.len() as u64) as usize
    };
    // Half of the cases come from somebody who may speak; the rest of the request stays random.
    let speakers = [
        (2, "127.0.0.9:5061", 1, "sip:bob@b.example"),
        (0, "127.0.0.8:5060", 0, "sip:carl@c.example"),
        (1, "127.0.0.7:5060", 0, "sip:any@a2.example"),
    ];
    if random.next_u64().is_multiple_of(2) {
        let (listener, source, identity, from) = pick(random, &speakers);
        let rest = anybody(random, listener, Arc::clone(&identities[identity]));
        return Case { source, from, ..rest };
    }
    anybody(random, listener, Arc::clone(&identities[identity]))
}

fn anybody(random: &mut Random, listener: u16, identity: Arc<Identity>) -> Case {
    Case {
        listener,
        source: pick(
            random,
            &[
                "127.0.0.1:7000",
                "127.0.0.8:5060",
                "127.0.0.7:5060",
                "127.0.0.66:1",
                "127.0.0.9:5061",
            ],
        ),
        identity,
        method: pick(random, &METHODS),
        uri: pick(random, &URIS),
        from: pick(random, &URIS),
        to: pick(random, &URIS),
        event: pick(random, &[None, Some("presence"), Some("dialog")]),
        hops: pick(random, &[None, Some(0), Some(1), Some(70)]),
    }
}

/// The facts, made without the engine's parser.
fn uri_facts(uri: &str) -> UriFacts<'_> {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let kind = match scheme {
        "sip" => Scheme::Sip,
        "sips" => Scheme::Sips,
        "tel" => Scheme::Tel,
        "pres" => Scheme::Pres,
        "im" => Scheme::Im,
        _ => Scheme::Other,
    };
    if matches!(kind, Scheme::Tel | Scheme::Other) {
        return UriFacts {
            scheme: kind,
            user: Some(rest.as_bytes()),
            host: b"",
            port: None,
            maddr: false,
        };
    }
    let (user, host) = rest.split_once('@').map_or((None, rest), |(u, h)| (Some(u), h));
    let (host, params) = host.split_once(';').unwrap_or((host, ""));
    let (host, port) = host.split_once(':').map_or((host, None), |(h, p)| (h, p.parse().ok()));
    let maddr = params.starts_with("maddr");
    UriFacts {
        scheme: kind,
        user: user.map(str::as_bytes),
        host: host.as_bytes(),
        port,
        maddr,
    }
}

fn source_of(case: &Case, number: u64) -> Result<Source, std::net::AddrParseError> {
    let transport = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Tls][usize::from(case.listener)];
    let local: SocketAddr =
        ["127.0.0.1:5060", "127.0.0.1:5060", "127.0.0.1:5061", "127.0.0.1:5062"][usize::from(case.listener)].parse()?;
    let flow = (transport != Transport::Udp).then_some(FlowId(number + 1));
    Ok(Source {
        transport,
        remote: case.source.parse()?,
        local,
        listener: Some(ListenerId(case.listener)),
        flow,
    })
}

/// The request as bytes.
fn bytes(case: &Case, number: u64) -> String {
    let event = case.event.map(|e| format!("Event: {e}\r\n")).unwrap_or_default();
    let hops = case.hops.map(|h| format!("Max-Forwards: {h}\r\n")).unwrap_or_default();
    format!(
        "{} {} SIP/2.0\r\nVia: SIP/2.0/UDP client.example;rport;branch=z9hG4bK{number}\r\n{hops}From: <{}>;tag=f{number}\r\nTo: <{}>\r\n\
         Call-ID: c{number}\r\nCSeq: 1 {}\r\nContact: <sip:x@127.0.0.1:7000>\r\n{event}Content-Length: 0\r\n\r\n",
        case.method, case.uri, case.from, case.to, case.method
    )
}

/// What the pure decision says: status and rule id; `None` when it allows.
fn expected(snapshot: &Snapshot, case: &Case, source: &Source) -> Option<(u16, String)> {
    let facts = Facts {
        listener: source.listener,
        transport: source.transport,
        source: source.remote.ip(),
        local: Some(source.local),
        identity: &case.identity,
        method: case.method.as_bytes(),
        uri: uri_facts(case.uri),
        from: uri_facts(case.from),
        to: uri_facts(case.to),
        event: case.event.map(str::as_bytes),
        max_forwards: case.hops,
        dialog: None,
        credentials: AuthState::None,
        looped: false,
        over: Over::default(),
        held: &[],
    };
    let decision = decide(snapshot, &facts, &mut ());
    Some((decision.status()?, decision.rule()?.id.to_string()))
}

/// Status and rule of the answer on the wire; 0 when the request is still under way.
fn answered(engine: &mut Engine, number: u64) -> (u16, Option<String>) {
    let call_id = format!("Call-ID: c{number}\r\n");
    let (mut status, mut rule) = (0, None);
    while let Some(output) = engine.poll() {
        let Output::Send { wire, .. } = output else { continue };
        let text = String::from_utf8_lossy(&wire).into_owned();
        if !text.starts_with("SIP/2.0 ") || !text.contains(&call_id) {
            continue;
        }
        status = text[8..11].parse().unwrap_or(0);
        rule = text
            .split("Warning: 399 ")
            .nth(1)
            .and_then(|w| w.split('"').nth(1))
            .map(str::to_string);
    }
    (status, rule)
}

#[test]
fn a_hundred_thousand_requests_are_judged_alike() -> Outcome {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("bridge.yaml"), CONFIG)?;
    let made = interop_tests::trestle::run(dir.path(), &["cert", "ca", "--dir", ".", "--name", "some CA"])?;
    assert!(made.status.success());
    let loaded = config::load(&dir.path().join("bridge.yaml")).map_err(|p| p.to_string())?;
    let snapshot = Arc::new(loaded.snapshot);
    let names = |dns: &str| CertNames {
        dns: vec![dns.into()],
        has_san: true,
        ..CertNames::default()
    };
    let peer = |dns: &str, anchored: Vec<PeerId>| {
        Arc::new(Identity::TlsPeer {
            names: names(dns),
            anchored,
            pinned: Vec::new(),
            chain: Arc::from([]),
        })
    };
    let identities = [
        Arc::new(Identity::no_tls("none")),
        peer("b.example", vec![PeerId(0)]),
        peer("b2.example", vec![PeerId(0)]),
        peer("evil.example", vec![PeerId(0)]),
        peer("b.example", vec![PeerId(1)]),
    ];
    let now = Now {
        mono_ms: 1000,
        wall_ms: 1_700_000_000_000,
    };
    let mut random = Random::from_seed([42; 32]);
    let engine = |random: &Random| {
        let setup = Setup {
            snapshot: Arc::clone(&snapshot),
            listeners: Vec::new(),
            random: random.clone(),
            durable: false,
            route_key: [7; 16],
        };
        let mut engine = Engine::new(setup, now);
        engine.set_listeners(vec![ListenerAddress {
            id: ListenerId(0),
            transport: Transport::Udp,
            bound: SocketAddr::from(([127, 0, 0, 1], 5060)),
            advertised: "127.0.0.1:5060".into(),
        }]);
        engine
    };
    let mut running = engine(&random);
    let (mut refused, mut allowed) = (0u32, 0u32);
    for number in 0..100_000u64 {
        if number.is_multiple_of(10_000) {
            running = engine(&random);
        }
        let case = case(&mut random, &identities);
        let source = source_of(&case, number)?;
        if source.flow.is_some() {
            running.handle(
                now,
                Input::Opened {
                    source,
                    identity: Arc::clone(&case.identity),
                    peer: None,
                },
            );
        }
        let text = bytes(&case, number);
        running.handle(
            now,
            Input::Message {
                source,
                bytes: text.as_bytes(),
                framing: Framing::Datagram,
            },
        );
        let (status, rule) = answered(&mut running, number);
        match expected(&snapshot, &case, &source) {
            Some((want, id)) => {
                refused += 1;
                assert_eq!(
                    (status, rule.as_deref()),
                    (want, Some(id.as_str())),
                    "case {number}:\n{text}"
                );
            }
            None => {
                allowed += 1;
                assert_eq!(
                    rule, None,
                    "case {number} is allowed, yet refused with {status}:\n{text}"
                );
            }
        }
    }
    println!("{refused} refused, {allowed} allowed");
    assert!(
        allowed > 5_000 && refused > 50_000,
        "{refused} refused, {allowed} allowed: the cases are lopsided"
    );
    Ok(())
}
