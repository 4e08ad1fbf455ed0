//! A roaming client and its registrar, request by request, in the simulated engine.

mod lists;
mod states;

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
/// Alice's answer to a challenge of a REGISTER, with `(null)` where the URI belongs.
fn answer_without_uri(challenge: &str) -> String {
    let asked = digest::Challenge::parse(challenge.as_bytes()).unwrap();
    let random = &mut Random::from_seed([4; 32]);
    digest::answer(&asked, "alice", "x", b"REGISTER", "(null)", 1, random)
}

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
    let value = answer_without_uri(&value);
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
    let value = answer_without_uri(&value);
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
