//! A roaming client and its registrar, request by request, in the simulated engine.

use crate::dialect::lcs::contacts::MAX_CONTACTS;
use crate::engine::sim::{Sim, body, challenge, header, stream};
use crate::engine::{Input, record};
use crate::sip::digest;
use crate::sip::net::FlowId;
use crate::sip::random::Random;
use crate::sip::uri::Aor;

const DIALECT: &str = "lcs2005-clients";
const SUPPORTED: &str =
    "Supported: ms-benotify\r\nProxy-Require: ms-benotify\r\nSupported: ms-piggyback-first-notify\r\n";
const SELF: &str = "sip:alice@a.example";

/// One endpoint of Alice.
struct Endpoint {
    flow: u64,
    epid: &'static str,
    user: &'static str,
    password: &'static str,
    /// What the digest names as its URI.
    digest_uri: &'static str,
    count: u32,
}

impl Endpoint {
    fn new(sim: &mut Sim, flow: u64, epid: &'static str) -> Self {
        sim.connect(flow);
        Self {
            flow,
            epid,
            user: "alice",
            password: "x",
            digest_uri: "(null)",
            count: 0,
        }
    }

    /// Sends a request, and answers its challenge as these clients do: the same request, branch and CSeq once more.
    fn ask(&mut self, sim: &mut Sim, method: &str, uri: &str, lines: &str, text: &str) -> String {
        self.count += 1;
        let to = if method == "REGISTER" { SELF } else { uri };
        let call_id = format!("{}{}-{}", self.epid, self.flow, self.count);
        let ids = format!(
            "From: <sip:{}@a.example>;tag=t{};epid={}\r\nTo: <{to}>\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n",
            self.user, self.count, self.epid
        );
        self.send(sim, method, uri, &format!("{ids}{lines}"), text)
    }

    /// The same with From, To, Call-ID and CSeq given.
    fn send(&mut self, sim: &mut Sim, method: &str, uri: &str, lines: &str, text: &str) -> String {
        self.count += 1;
        let at = stream(self.flow);
        let contact = match lines.contains("Contact: ") {
            true => String::new(),
            false => format!(
                "Contact: <sip:alice@a.example:{};maddr=192.0.2.66;transport=tcp>;proxy=replace\r\n",
                at.port()
            ),
        };
        let start = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/tcp {at};branch=z9hG4bK{}{}\r\n{lines}Max-Forwards: 70\r\n{contact}",
            self.epid, self.count
        );
        let length = format!("Content-Length: {}\r\n\r\n{text}", text.len());
        sim.sent.clear();
        sim.receive_by(self.flow, &format!("{start}{length}"));
        let answers = |sim: &Sim| sim.sent.iter().rev().find(|(_, m)| m.starts_with("SIP/2.0 ")).cloned();
        let Some((_, first)) = answers(sim) else {
            return String::new();
        };
        assert!(!first.starts_with("SIP/2.0 401"), "these clients give up on it");
        let Some((name, value)) = challenge(&first) else {
            return first;
        };
        let asked = digest::Challenge::parse(value.as_bytes()).unwrap();
        let mut random = Random::from_seed([9; 32]);
        let value = digest::answer(
            &asked,
            self.user,
            self.password,
            method.as_bytes(),
            self.digest_uri,
            1,
            &mut random,
        );
        sim.sent.clear();
        sim.receive_by(self.flow, &format!("{start}{name}: {value}\r\n{length}"));
        answers(sim).map_or_else(String::new, |(_, m)| m)
    }

    fn register(&mut self, sim: &mut Sim, lines: &str) -> String {
        self.ask(
            sim,
            "REGISTER",
            "sip:a.example",
            &format!("Event: registration\r\n{lines}"),
            "",
        )
    }

    fn subscribe(&mut self, sim: &mut Sim, event: &str, lines: &str) -> String {
        self.ask(
            sim,
            "SUBSCRIBE",
            SELF,
            &format!("Event: {event}\r\n{SUPPORTED}{lines}"),
            "",
        )
    }

    fn service(&mut self, sim: &mut Sim, inner: &str) -> String {
        let text = format!(
            "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:m=\"http://schemas.microsoft.com/winrtc/2002/11/sip\"><s:Body>{inner}</s:Body></s:Envelope>"
        );
        self.ask(sim, "SERVICE", SELF, "Content-Type: application/SOAP+xml\r\n", &text)
    }

    fn add(&mut self, sim: &mut Sim, uri: &str, seen: u32) -> String {
        let inner = format!(
            "<m:setContact><m:displayName>x</m:displayName><m:groups>1</m:groups><m:subscribed>true</m:subscribed>\
             <m:URI>{uri}</m:URI><m:externalURI/><m:deltaNum>{seen}</m:deltaNum></m:setContact>"
        );
        self.service(sim, &inner)
    }
}

fn signed_in() -> (Sim, Endpoint) {
    let mut sim = Sim::with_clients_of(DIALECT);
    let mut alice = Endpoint::new(&mut sim, 1, "aa01");
    let answer = alice.register(&mut sim, "");
    assert_eq!(status(&answer), 200, "{answer}");
    (sim, alice)
}

fn status(answer: &str) -> u16 {
    answer.get(8..11).and_then(|s| s.parse().ok()).unwrap_or(0)
}

fn rule(answer: &str) -> String {
    header(answer, "Warning").unwrap_or_default()
}

fn benotifies(sim: &Sim) -> Vec<(std::net::SocketAddr, String)> {
    let is_one = |(_, m): &&(std::net::SocketAddr, String)| m.starts_with("BENOTIFY ");
    sim.sent.iter().filter(is_one).cloned().collect()
}

#[test]
fn registering_says_what_these_clients_read() {
    let (mut sim, mut alice) = signed_in();
    let answer = alice.register(&mut sim, "Expires: 600\r\n");
    assert_eq!(header(&answer, "Expires").as_deref(), Some("600"));
    let packages = header(&answer, "Allow-Events").unwrap();
    assert!(
        packages.contains("vnd-microsoft-roaming-contacts") && !packages.contains(' '),
        "{packages}"
    );
    assert!(
        !answer.contains("msrtc-event-categories") && !answer.contains("adhoclist"),
        "{answer}"
    );
    let aor = Aor::parse("alice@a.example").unwrap();
    let binding = &sim.engine.registrar.bindings(&aor)[0];
    assert_eq!(&*sim.engine.client_dialect_of(binding).name, DIALECT);
    sim.restart(1000);
    let binding = &sim.engine.registrar.bindings(&aor)[0];
    assert_eq!(
        &*sim.engine.client_dialect_of(binding).name,
        DIALECT,
        "a restart forgets nothing"
    );
    let mut alice = Endpoint::new(&mut sim, 2, "aa01");
    let answer = alice.register(&mut sim, "Expires: 0\r\n");
    assert_eq!(
        (status(&answer), header(&answer, "Expires").as_deref()),
        (200, Some("0"))
    );
    assert!(sim.engine.registrar.bindings(&aor).is_empty());
}

#[test]
fn a_plain_listener_has_plain_clients() {
    let mut sim = Sim::with_clients_of("rfc");
    let mut alice = Endpoint::new(&mut sim, 1, "aa01");
    alice.digest_uri = "sip:a.example";
    sim.receive_by(
        1,
        "REGISTER sip:a.example SIP/2.0\r\nVia: SIP/2.0/tcp h;branch=z9hG4bK1\r\nFrom: <sip:alice@a.example>;tag=1\r\n\
                       To: <sip:alice@a.example>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(sim.sent.last().unwrap().1.starts_with("SIP/2.0 401"), "not as a proxy");
    assert_eq!(status(&alice.service_plain(&mut sim)), 501);
}

impl Endpoint {
    fn service_plain(&mut self, sim: &mut Sim) -> String {
        self.digest_uri = SELF;
        self.service(sim, "<m:directorySearch/>")
    }
}

/// `(null)` proves the password and not the request, so it opens little: here, over a stream, and of whom From names.
#[test]
fn a_digest_without_uri_opens_only_its_own_address_at_these_listeners() {
    let (mut sim, mut alice) = signed_in();
    alice.password = "wrong";
    let answer = alice.register(&mut sim, "");
    assert!(
        status(&answer) == 403 && answer.contains("Wrong Credentials"),
        "{answer}"
    );
    alice.password = "x";
    // Bob's From with Alice's password.
    alice.user = "bob";
    let lines = "From: <sip:bob@a.example>;tag=1\r\nTo: <sip:bob@a.example>\r\nCall-ID: f\r\nCSeq: 1 REGISTER\r\n";
    let start = format!(
        "REGISTER sip:a.example SIP/2.0\r\nVia: SIP/2.0/tcp {};branch=z9hG4bKf\r\n{lines}",
        stream(1)
    );
    sim.sent.clear();
    sim.receive_by(1, &format!("{start}Content-Length: 0\r\n\r\n"));
    let (name, value) = challenge(&sim.sent[0].1).unwrap();
    let asked = digest::Challenge::parse(value.as_bytes()).unwrap();
    let value = digest::answer(
        &asked,
        "alice",
        "x",
        b"REGISTER",
        "(null)",
        1,
        &mut Random::from_seed([4; 32]),
    );
    sim.receive_by(1, &format!("{start}{name}: {value}\r\nContent-Length: 0\r\n\r\n"));
    assert!(sim.sent.last().unwrap().1.starts_with("SIP/2.0 403"), "{:?}", sim.sent);
    // Another URI is as wrong as ever.
    alice.user = "alice";
    alice.digest_uri = "sip:b.example";
    assert_eq!(status(&alice.register(&mut sim, "")), 403);
    // And at the listener beside it, over datagrams, `(null)` is nothing.
    let call_id = "udp";
    let start = format!(
        "REGISTER sip:a.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:7001;rport;branch=z9hG4bKu\r\n\
         From: <{SELF}>;tag=1\r\nTo: <{SELF}>\r\nCall-ID: {call_id}\r\nCSeq: 1 REGISTER\r\n"
    );
    sim.sent.clear();
    sim.receive("127.0.0.1:7001", &format!("{start}Content-Length: 0\r\n\r\n"));
    let (name, value) = challenge(&sim.sent[0].1).unwrap();
    let asked = digest::Challenge::parse(value.as_bytes()).unwrap();
    let value = digest::answer(
        &asked,
        "alice",
        "x",
        b"REGISTER",
        "(null)",
        1,
        &mut Random::from_seed([4; 32]),
    );
    let again = start.replace("z9hG4bKu", "z9hG4bKv");
    sim.receive(
        "127.0.0.1:7001",
        &format!("{again}{name}: {value}\r\nContent-Length: 0\r\n\r\n"),
    );
    assert!(sim.sent.last().unwrap().1.starts_with("SIP/2.0 401"), "{:?}", sim.sent);
}

#[test]
fn documents_ride_in_the_answers() {
    let (mut sim, mut alice) = signed_in();
    for (event, media, holds) in [
        ("presence.wpending", "text/xml+msrtc.wpending", "<watchers/>"),
        (
            "vnd-microsoft-roaming-ACL",
            "application/vnd-microsoft-roaming-acls+xml",
            "rights=\"AA\"",
        ),
        (
            "vnd-microsoft-roaming-contacts",
            "application/vnd-microsoft-roaming-contacts+xml",
            "<group id=\"1\" name=\"~\"",
        ),
    ] {
        let answer = alice.subscribe(&mut sim, event, "");
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(header(&answer, "ms-piggyback-cseq").as_deref(), Some("1"), "{answer}");
        assert_eq!(header(&answer, "Expires").as_deref(), Some("28800"));
        assert_eq!(header(&answer, "Content-Type").as_deref(), Some(media));
        assert_eq!(header(&answer, "Event").as_deref(), Some(event));
        assert!(body(&answer).contains(holds), "{answer}");
    }
    let answer = alice.subscribe(&mut sim, "vnd-microsoft-provisioning", "Expires: 0\r\n");
    assert_eq!(
        (status(&answer), header(&answer, "Expires").as_deref()),
        (200, Some("0"))
    );
    assert!(!body(&answer).contains("<line"), "no line, no phone: {answer}");
    assert_eq!(
        sim.engine.roaming.subscriptions_of("alice@a.example"),
        3,
        "a fetch is not kept"
    );
}

#[test]
fn nobody_reads_or_writes_what_is_another_users() {
    let (mut sim, mut alice) = signed_in();
    let lines = format!("Event: vnd-microsoft-roaming-contacts\r\n{SUPPORTED}");
    let answer = alice.ask(&mut sim, "SUBSCRIBE", "sip:bob@a.example", &lines, "");
    assert!(
        status(&answer) == 403 && rule(&answer).contains("roaming.own"),
        "{answer}"
    );
    let soap = "Content-Type: application/SOAP+xml\r\n";
    let answer = alice.ask(&mut sim, "SERVICE", "sip:bob@a.example", soap, "<a/>");
    assert!(
        status(&answer) == 403 && rule(&answer).contains("service.own"),
        "{answer}"
    );
    let inner = "<m:setPresence><m:presentity m:uri=\"sip:bob@a.example\"/></m:setPresence>";
    assert_eq!(status(&alice.service(&mut sim, inner)), 403);
    // Without the extensions nothing would be understood of what follows.
    let answer = alice.ask(&mut sim, "SUBSCRIBE", SELF, "Event: presence.wpending\r\n", "");
    assert_eq!(status(&answer), 421, "{answer}");
}

#[test]
fn a_contact_list_lasts_counts_and_is_told_to_the_other_endpoint() {
    let (mut sim, mut desk) = signed_in();
    let mut lap = Endpoint::new(&mut sim, 2, "bb02");
    assert_eq!(status(&lap.register(&mut sim, "")), 200);
    let aor = Aor::parse("alice@a.example").unwrap();
    assert_eq!(sim.engine.registrar.bindings(&aor).len(), 2, "one beside the other");
    for endpoint in [&mut desk, &mut lap] {
        endpoint.subscribe(&mut sim, "vnd-microsoft-roaming-contacts", "");
    }
    assert_eq!(status(&desk.add(&mut sim, "sip:bob@a.example", 1)), 200);
    let told = benotifies(&sim);
    assert_eq!(told.len(), 1, "only who does not know: {told:?}");
    assert_eq!(told[0].0, stream(2), "by its connection, whatever maddr says");
    assert!(body(&told[0].1).contains("deltaNum=\"2\"") && body(&told[0].1).contains("uri=\"bob@a.example\""));
    assert_eq!(header(&told[0].1, "CSeq").as_deref(), Some("2 BENOTIFY"));
    // One that was behind is told too.
    assert_eq!(status(&lap.add(&mut sim, "sip:carol@b.example", 1)), 200);
    assert_eq!(benotifies(&sim).len(), 2);
    let answer = desk.service(
        &mut sim,
        "<m:addGroup><m:name>Work</m:name><m:deltaNum>3</m:deltaNum></m:addGroup>",
    );
    assert!(body(&answer).contains("<m:groupID>2</m:groupID>"), "{answer}");
    desk.service(
        &mut sim,
        "<m:modifyGroup><m:groupID>2</m:groupID><m:name>Job</m:name></m:modifyGroup>",
    );
    let gone = desk.service(&mut sim, "<m:deleteGroup><m:groupID>7</m:groupID></m:deleteGroup>");
    assert!(status(&gone) == 403 && rule(&gone).contains("no such"), "{gone}");
    desk.service(
        &mut sim,
        "<m:deleteContact><m:URI>sip:bob@a.example</m:URI></m:deleteContact>",
    );
    sim.restart(1000);
    let mut back = Endpoint::new(&mut sim, 3, "aa01");
    let answer = back.subscribe(&mut sim, "vnd-microsoft-roaming-contacts", "");
    let list = body(&answer);
    assert!(
        list.contains("deltaNum=\"6\"") && list.contains("carol@b.example") && list.contains("name=\"Job\""),
        "{list}"
    );
    assert!(!list.contains("bob@"), "{list}");
}

#[test]
fn a_change_that_the_store_refuses_was_none() {
    let (mut sim, mut alice) = signed_in();
    alice.subscribe(&mut sim, "vnd-microsoft-roaming-contacts", "");
    sim.prompt = false;
    let answer = alice.add(&mut sim, "sip:bob@a.example", 7);
    assert_eq!(answer, "", "nothing is answered before it is durable");
    sim.fail();
    let last = sim.sent.last().unwrap().1.clone();
    assert!(last.starts_with("SIP/2.0 500"), "{last}");
    assert!(benotifies(&sim).is_empty());
    assert_eq!(status(&alice.add(&mut sim, "sip:bob@a.example", 1)), 500);
    sim.prompt = true;
    sim.recover();
    let answer = alice.subscribe(&mut sim, "vnd-microsoft-roaming-contacts", "");
    assert!(
        body(&answer).contains("deltaNum=\"1\"") && !body(&answer).contains("bob"),
        "{answer}"
    );
}

#[test]
fn lists_are_bounded_and_hostile_bodies_refused() {
    let (mut sim, mut alice) = signed_in();
    let mut refused = 0;
    for n in 0..10_000 {
        let answer = alice.add(&mut sim, &format!("sip:u{n}@a.example"), 0);
        match status(&answer) {
            200 => {}
            403 => {
                assert!(rule(&answer).contains("contact list holds 1000"), "{answer}");
                refused += 1;
                if refused == 3 {
                    break;
                }
            }
            _ => panic!("{answer}"),
        }
        assert!(n <= MAX_CONTACTS + 3);
    }
    assert_eq!(refused, 3);
    let soap = "Content-Type: application/SOAP+xml\r\n";
    let bomb = "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>";
    let answer = alice.ask(&mut sim, "SERVICE", SELF, soap, bomb);
    assert!(status(&answer) == 400 && rule(&answer).contains("DOCTYPE"), "{answer}");
    let answer = alice.ask(&mut sim, "SERVICE", SELF, soap, &" ".repeat(70_000));
    assert_eq!(status(&answer), 413, "{answer}");
    let answer = alice.ask(&mut sim, "SERVICE", SELF, "Content-Type: text/plain\r\n", "<a/>");
    assert_eq!(
        (status(&answer), header(&answer, "Accept").as_deref()),
        (415, Some("application/SOAP+xml"))
    );
    let answer = alice.service(&mut sim, "<m:getEverything/>");
    assert!(
        status(&answer) == 501 && rule(&answer).contains("getEverything"),
        "{answer}"
    );
    let answer = alice.service(&mut sim, "<m:directorySearch/>");
    assert!(
        status(&answer) == 200 && body(&answer).contains("directorySearch"),
        "{answer}"
    );
}

#[test]
fn subscriptions_end_with_their_connection_and_are_bounded() {
    let (mut sim, mut alice) = signed_in();
    let answers: Vec<u16> = (0..66)
        .map(|_| status(&alice.subscribe(&mut sim, "presence.wpending", "")))
        .collect();
    assert_eq!(answers.iter().filter(|s| **s == 200).count(), 64);
    assert_eq!(answers.last(), Some(&403));
    let aor = Aor::parse("alice@a.example").unwrap();
    assert_eq!(sim.engine.registrar.bindings(&aor).len(), 1);
    sim.input(Input::Closed { flow: FlowId(1) });
    assert!(
        sim.engine.registrar.bindings(&aor).is_empty(),
        "signing out is closing the connection"
    );
    assert_eq!(sim.engine.roaming.subscriptions_of("alice@a.example"), 0);
    let mut alice = Endpoint::new(&mut sim, 2, "aa01");
    let answer = alice.subscribe(&mut sim, "presence.wpending", "Expires: 60\r\n");
    let tag = header(&answer, "To").unwrap();
    let call_id = header(&answer, "Call-ID").unwrap();
    let from = header(&answer, "From").unwrap();
    let lines = format!("From: {from}\r\nTo: {tag}\r\nCall-ID: {call_id}\r\nCSeq: 1 SUBSCRIBE\r\nExpires: 0\r\n");
    let ended = alice.send(&mut sim, "SUBSCRIBE", "sip:127.0.0.1:5060;transport=tcp", &lines, "");
    assert_eq!(
        (status(&ended), header(&ended, "Expires").as_deref()),
        (200, Some("0")),
        "{ended}"
    );
    let again = alice.send(&mut sim, "SUBSCRIBE", "sip:127.0.0.1:5060;transport=tcp", &lines, "");
    assert_eq!(status(&again), 481);
}

#[test]
fn whoever_is_denied_watches_no_more() {
    let (mut sim, mut alice) = signed_in();
    sim.subscribe("bob", SELF, 600);
    sim.pass(100);
    assert_eq!(sim.notifies().len(), 1);
    let inner = "<m:setACE><m:type>USER</m:type><m:mask>sip:bob@a.example</m:mask><m:rights>BD</m:rights></m:setACE>";
    assert_eq!(status(&alice.service(&mut sim, inner)), 200);
    let ends = sim.notifies();
    assert!(
        ends.iter().any(|n| n.contains("terminated;reason=rejected")),
        "{ends:?}"
    );
    let refused = sim.subscribe("bob", SELF, 600);
    assert_eq!(sim.status(&refused), 403);
    assert!(rule(sim.answer(&refused)).contains("rights.denied"));
    sim.restart(1000);
    let refused = sim.subscribe("bob", SELF, 600);
    assert_eq!(sim.status(&refused), 403, "it lasts");
    let mut alice = Endpoint::new(&mut sim, 2, "aa01");
    assert_eq!(status(&alice.service(&mut sim, &inner.replace("BD", "AA"))), 200);
    let watches = sim.subscribe("bob", SELF, 600);
    assert_eq!(sim.status(&watches), 200);
}

#[test]
fn a_former_contact_of_an_endpoint_goes_and_records_of_nobody_too() {
    let (mut sim, mut alice) = signed_in();
    let aor = Aor::parse("alice@a.example").unwrap();
    let contact = |port: u16| format!("<sip:127.0.0.2:{port};transport=tcp>");
    for port in [40_001, 40_002] {
        let lines = format!("Contact: {}\r\n", contact(port));
        alice.ask(&mut sim, "REGISTER", "sip:a.example", &lines, "");
    }
    let known: Vec<_> = sim
        .engine
        .registrar
        .bindings(&aor)
        .iter()
        .map(|b| b.uri.clone())
        .collect();
    assert!(!known.iter().any(|u| u.ends_with(b"40001;transport=tcp")), "{known:?}");
    let key = record::roaming_key(b'k', &Aor::parse("nobody@a.example").unwrap());
    sim.disk
        .insert(key.clone(), record::roaming("<contactList deltaNum=\"4\"/>"));
    sim.restart(0);
    assert!(!sim.disk.contains_key(&key));
}

/// What a client sets, as SIPE writes it.
fn state(aggregate: u32, number: Option<u32>) -> String {
    let by_hand = number.map_or_else(String::new, |n| {
        format!("<states><state avail=\"{n}\" since=\"2026-01-01T00:00:00Z\" set=\"manual\">x</state></states>")
    });
    format!(
        "<m:setPresence><m:presentity m:uri=\"{SELF}\"><m:availability m:aggregate=\"300\"/>\
         <m:activity m:aggregate=\"{aggregate}\"/><userInfo xmlns=\"http://schemas.microsoft.com/2002/09/sip/presence\">\
         <note>here</note>{by_hand}</userInfo></m:presentity></m:setPresence>"
    )
}

#[test]
fn a_state_is_a_publication_that_lives_as_long_as_its_registration() {
    let (mut sim, mut desk) = signed_in();
    sim.subscribe("bob", SELF, 3600);
    sim.pass(100);
    sim.notifies();
    assert_eq!(status(&desk.service(&mut sim, &state(600, Some(6500)))), 200);
    let seen = sim.notifies().pop().unwrap();
    assert!(
        body(&seen).contains("busy") && body(&seen).contains("manual") && body(&seen).contains("here"),
        "{seen}"
    );
    // Another endpoint's state stands beside it; what is set by hand outweighs what is not.
    let mut lap = Endpoint::new(&mut sim, 2, "bb02");
    assert_eq!(
        status(&lap.service(&mut sim, &state(400, None))),
        403,
        "it has not registered"
    );
    lap.register(&mut sim, "Expires: 3000\r\n");
    assert_eq!(status(&lap.service(&mut sim, &state(400, None))), 200);
    let id = sim
        .engine
        .presence
        .local_id(&Aor::parse("alice@a.example").unwrap())
        .unwrap();
    let count = |sim: &Sim| sim.disk.keys().filter(|k| k.first() == Some(&b'p')).count();
    assert_eq!(count(&sim), 2);
    assert!(String::from_utf8_lossy(&sim.engine.presence.resources.get(id).unwrap().body).contains("busy"));
    // The same endpoint's next state takes the place of its last, also after a restart.
    sim.restart(1000);
    let mut desk = Endpoint::new(&mut sim, 3, "aa01");
    desk.register(&mut sim, "Expires: 600\r\n");
    assert_eq!(status(&desk.service(&mut sim, &state(100, Some(15500)))), 200);
    assert_eq!(count(&sim), 2);
    sim.input(Input::Closed { flow: FlowId(3) });
    assert_eq!(count(&sim), 1, "it went with its connection");
    sim.pass(3_100_000);
    assert_eq!(count(&sim), 0, "the other with its registration");
}

#[test]
fn who_is_disabled_for_presence_sets_no_state() {
    let disabled = |config: &str| {
        let tcp = format!("}}, {{ name: tcp, transport: tcp, bind: [\"127.0.0.1:5060\"], dialect: {DIALECT} }}]");
        let config = config.replace("5060\"] }]", &format!("5060\"] {tcp}"));
        config.replacen(
            "password: { plain: x } }",
            "password: { plain: x }, enabled: { presence: false } }",
            1,
        )
    };
    let mut sim = Sim::configured(disabled);
    let mut alice = Endpoint::new(&mut sim, 1, "aa01");
    assert_eq!(status(&alice.register(&mut sim, "")), 200);
    assert_eq!(status(&alice.service(&mut sim, &state(600, None))), 403);
    assert!(!sim.disk.keys().any(|k| k.first() == Some(&b'p')));
}

#[test]
fn a_state_that_makes_no_sense_changes_nothing() {
    let (mut sim, mut alice) = signed_in();
    let hostile = "<m:setPresence><m:presentity m:uri=\"sip:alice@a.example\"/></m:setPresence>";
    let answer = alice.service(&mut sim, hostile);
    assert!(matches!(status(&answer), 200 | 400), "{answer}");
    let answer = alice.service(&mut sim, &hostile.replace("presentity m:uri", "presence m:uri"));
    assert!(
        status(&answer) == 400 && rule(&answer).contains("no presentity"),
        "{answer}"
    );
}

/// The same INVITE, without a branch, once more with credentials, and no ACK for the 407 between.
#[test]
fn an_invite_is_asked_for_credentials_once() {
    let (mut sim, _alice) = signed_in();
    assert_eq!(sim.register("bob", 600), 200);
    let lines = "From: <sip:alice@a.example>;tag=i;epid=aa01\r\nTo: <sip:bob@a.example>\r\nCall-ID: invite\r\nCSeq: 1 INVITE\r\n";
    let start = format!(
        "INVITE sip:bob@a.example SIP/2.0\r\nVia: SIP/2.0/tcp {}\r\n{lines}Max-Forwards: 70\r\n",
        stream(1)
    );
    sim.sent.clear();
    sim.receive_by(1, &format!("{start}Content-Length: 0\r\n\r\n"));
    let (name, value) = challenge(&sim.sent.last().unwrap().1).unwrap();
    let asked = digest::Challenge::parse(value.as_bytes()).unwrap();
    let value = digest::answer(
        &asked,
        "alice",
        "x",
        b"INVITE",
        "(null)",
        1,
        &mut Random::from_seed([4; 32]),
    );
    sim.sent.clear();
    sim.receive_by(1, &format!("{start}{name}: {value}\r\nContent-Length: 0\r\n\r\n"));
    assert!(
        !sim.sent.iter().any(|(_, m)| m.starts_with("SIP/2.0 407")),
        "{:?}",
        sim.sent
    );
    assert!(
        sim.sent
            .iter()
            .any(|(_, m)| m.starts_with("INVITE ") || m.starts_with("SIP/2.0 1")),
        "{:?}",
        sim.sent
    );
}
