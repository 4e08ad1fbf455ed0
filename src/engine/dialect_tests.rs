//! Presence between islands that speak different dialects, in the simulated engine.

use super::sim::{PEER, Sim, body, header, reply};
use crate::sip::net::Source;

const ERIN: &str = "sip:erin@b.example";

/// A peer that speaks a dialect, over one TCP connection of its own.
struct Island {
    sim: Sim,
    line: Source,
    numbers: u32,
    etag: String,
}

impl Island {
    fn new(dialect: &str) -> Self {
        let mut sim = Sim::speaking(dialect);
        let line = sim.open("127.0.0.9:40000");
        Self {
            sim,
            line,
            numbers: 0,
            etag: String::new(),
        }
    }

    /// erin watches alice; the answer.
    fn watch(&mut self, lines: &str) -> String {
        self.numbers += 1;
        let n = self.numbers;
        let text = format!(
            "SUBSCRIBE sip:alice@a.example SIP/2.0\r\nVia: SIP/2.0/tcp 127.0.0.9:40000;branch=z9hG4bKw{n}\r\nFrom: <{ERIN}>;tag=t{n};\
             epid=01ab\r\nTo: <sip:alice@a.example>\r\nCall-ID: w{n}\r\nCSeq: 5 SUBSCRIBE\r\nMax-Forwards: 70\r\nContact: \
             <sip:erin@b.example:40000;maddr=127.0.0.9;transport=tcp>;proxy=replace\r\nEvent: presence\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        self.sim.receive_over(self.line, &text);
        self.sim.answer(&format!("w{n}")).to_string()
    }

    fn publish(&mut self, state: &str) {
        let activities = match state {
            "open" => String::new(),
            activity => format!(
                "<dm:person id='p' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model'><r:activities \
                 xmlns:r='urn:ietf:params:xml:ns:pidf:rpid'><r:{activity}/></r:activities></dm:person>"
            ),
        };
        let body = format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@a.example'><tuple id='t'><status><basic>open</basic>\
             </status></tuple>{activities}</presence>"
        );
        let condition = match self.etag.as_str() {
            "" => String::new(),
            etag => format!("SIP-If-Match: {etag}\r\n"),
        };
        let lines = format!("Event: presence\r\nExpires: 80000\r\n{condition}Content-Type: application/pidf+xml\r\n");
        let call_id = self.sim.ask("alice", "PUBLISH", "sip:alice@a.example", &lines, &body);
        assert_eq!(self.sim.status(&call_id), 200);
        self.etag = header(self.sim.answer(&call_id), "SIP-ETag").unwrap();
    }

    /// Notifications that left so far; NOTIFY is answered.
    fn told(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        for (_, request) in self.sim.take_requests() {
            if request.starts_with("NOTIFY ") {
                self.sim.receive_over(self.line, &reply(&request, "200 OK", ""));
            }
            out.push(request);
        }
        out
    }
}

const LCS_OFFER: &str = "Accept: application/xpidf+xml, text/xml+msrtc.pidf, application/pidf+xml\r\nSupported: \
                         ms-piggyback-first-notify\r\nSupported: ms-benotify\r\nProxy-Require: ms-benotify\r\nSupported: \
                         com.microsoft.autoextend\r\n";

#[test]
fn the_first_document_rides_in_the_answer_and_the_next_needs_none() {
    let mut island = Island::new("lcs2005");
    island.publish("busy");
    let answer = island.watch(LCS_OFFER);
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert_eq!(header(&answer, "ms-piggyback-cseq").as_deref(), Some("1"), "{answer}");
    assert_eq!(header(&answer, "Content-Type").as_deref(), Some("text/xml+msrtc.pidf"));
    assert_eq!(header(&answer, "Expires").as_deref(), Some("28800"));
    assert_eq!(
        header(&answer, "Subscription-State").as_deref(),
        Some("active;expires=28800")
    );
    let supported = header(&answer, "Supported").unwrap();
    for tag in ["ms-benotify", "ms-piggyback-first-notify", "com.microsoft.autoextend"] {
        assert!(supported.contains(tag), "{supported}");
    }
    assert!(body(&answer).contains("600"), "{answer}");
    assert!(island.told().is_empty(), "nothing follows the answer");
    island.publish("open");
    let told = island.told();
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(
        told.starts_with("BENOTIFY sip:erin@b.example:40000;maddr=127.0.0.9;transport=tcp SIP/2.0"),
        "{told}"
    );
    assert_eq!(header(told, "CSeq").as_deref(), Some("2 BENOTIFY"));
    assert!(header(told, "To").unwrap().contains(";epid=01ab;tag=t1"), "{told}");
    assert!(body(told).contains("400"), "{told}");
    island.sim.pass(60_000);
    assert!(island.told().is_empty(), "nobody answers it, and nobody minds");
}

#[test]
fn what_was_not_offered_is_not_done() {
    let mut island = Island::new("lcs2005");
    let answer = island.watch("Accept: application/pidf+xml\r\nExpires: 600\r\n");
    assert_eq!(
        (header(&answer, "ms-piggyback-cseq"), header(&answer, "Supported")),
        (None, None)
    );
    let told = island.told();
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(told.starts_with("NOTIFY "), "{told}");
    assert_eq!(header(told, "Content-Type").as_deref(), Some("application/pidf+xml"));
    // A plain peer gets none of it, whatever it offers.
    let mut plain = Island::new("rfc");
    let answer = plain.watch(LCS_OFFER);
    assert!(answer.starts_with("SIP/2.0 420"), "{answer}");
    assert_eq!(header(&answer, "Unsupported").as_deref(), Some("ms-benotify"));
    let answer = plain.watch(&LCS_OFFER.replace("Proxy-Require: ms-benotify\r\n", ""));
    assert_eq!(header(&answer, "Supported"), None, "{answer}");
    assert!(plain.told()[0].starts_with("NOTIFY "));
    let answer = plain.watch("Accept: text/xml+msrtc.pidf\r\n");
    assert!(answer.starts_with("SIP/2.0 406"), "{answer}");
    assert_eq!(header(&answer, "Accept").as_deref(), Some("application/pidf+xml"));
}

#[test]
fn a_fetch_is_answered_in_the_answer() {
    let mut island = Island::new("lcs2005");
    let answer = island.watch(&format!("{LCS_OFFER}Expires: 0\r\n"));
    assert_eq!(
        header(&answer, "Subscription-State").as_deref(),
        Some("terminated;reason=timeout")
    );
    island.sim.pass(100);
    assert!(island.told().is_empty());
    assert_eq!(island.sim.engine.status().subscriptions, 0);
}

#[test]
fn notifying_lengthens_the_subscription_where_that_was_agreed() {
    for (offer, alive) in [
        (LCS_OFFER, true),
        ("Accept: text/xml+msrtc.pidf\r\nExpires: 28800\r\n", false),
    ] {
        let mut island = Island::new("lcs2005");
        island.watch(offer);
        island.told();
        island.sim.pass(20_000_000);
        island.publish("busy");
        island.told();
        island.sim.pass(20_000_000);
        assert_eq!(island.sim.engine.status().subscriptions, usize::from(alive));
    }
}

#[test]
fn a_sequence_number_may_fall_where_the_dialect_says_so() {
    for (dialect, status) in [("lcs2005", "200"), ("rfc", "500")] {
        let mut island = Island::new(dialect);
        let answer = island.watch("Expires: 600\r\n");
        island.told();
        let to = header(&answer, "To").unwrap();
        let text = format!(
            "SUBSCRIBE sip:a.example SIP/2.0\r\nVia: SIP/2.0/tcp 127.0.0.9:40000\r\nFrom: <{ERIN}>;tag=t1;epid=01ab\r\nTo: {to}\r\n\
             Call-ID: w1\r\nCSeq: 3 SUBSCRIBE\r\nMax-Forwards: 70\r\nEvent: presence\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"
        );
        island.sim.receive_over(island.line, &text);
        let answer = island.sim.answer("w1");
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{dialect} {answer}");
    }
}

#[test]
fn dialects_and_what_was_agreed_survive_a_restart() {
    let mut island = Island::new("lcs2005");
    island.watch(LCS_OFFER);
    island.told();
    island.sim.restart(1000);
    island.line = island.sim.open("127.0.0.9:40001");
    island.told();
    island.publish("busy");
    let told = island.told();
    let last = told.last().unwrap();
    assert!(last.starts_with("BENOTIFY ") && body(last).contains("600"), "{told:?}");
    assert_eq!(header(last, "Content-Type").as_deref(), Some("text/xml+msrtc.pidf"));
}

/// alice watches erin at the peer: the SUBSCRIBE that the peer gets.
fn upstream(dialect: &str) -> (Sim, String) {
    watched(Sim::speaking(dialect))
}

fn watched(mut sim: Sim) -> (Sim, String) {
    sim.pass(10);
    let watch = sim.subscribe("alice", ERIN, 3600);
    assert_eq!(sim.status(&watch), 200, "{}", sim.answer(&watch));
    let requests = sim.take_requests();
    let subscribe = requests
        .iter()
        .find(|(_, m)| m.starts_with("SUBSCRIBE "))
        .unwrap()
        .1
        .clone();
    for (to, notify) in requests.iter().filter(|(_, m)| m.starts_with("NOTIFY ")) {
        sim.receive(&to.to_string(), &reply(notify, "200 OK", ""));
    }
    (sim, subscribe)
}

const MSRTC: &str = "<presentity uri=\"erin@b.example\" xmlns=\"http://schemas.microsoft.com/2002/09/sip/presence\"><availability \
                     aggregate=\"300\"/><activity aggregate=\"600\"/></presentity>";

#[test]
fn a_peer_is_asked_and_read_in_its_own_dialect() {
    let (mut sim, subscribe) = upstream("lcs2005");
    assert!(
        header(&subscribe, "Accept").unwrap().starts_with("text/xml+msrtc.pidf"),
        "{subscribe}"
    );
    assert_eq!(header(&subscribe, "Proxy-Require").as_deref(), Some("ms-benotify"));
    let line = sim.open(PEER);
    let lines = format!(
        "Contact: <sip:{PEER};transport=tcp>\r\nExpires: 3600\r\nms-piggyback-cseq: 1\r\nSubscription-State: active;expires=3600\r\n\
         Content-Type: text/xml+msrtc.pidf\r\n"
    );
    let answer =
        reply(&subscribe, "200 OK", &lines).replace("Content-Length: 0", &format!("Content-Length: {}", MSRTC.len()));
    sim.receive_over(line, &format!("{answer}{MSRTC}"));
    let told = sim.notifies();
    let Some(last) = told.last() else {
        panic!("{:?} {answer}{MSRTC}", sim.sent)
    };
    assert_eq!(header(last, "Content-Type").as_deref(), Some("application/pidf+xml"));
    assert!(
        body(last).contains("busy") && body(last).contains("sip:erin@b.example"),
        "{last}"
    );
    // The next comes as BENOTIFY, which gets no answer.
    let (from, to, call_id) = (
        header(&subscribe, "From").unwrap(),
        header(&subscribe, "To").unwrap(),
        header(&subscribe, "Call-ID").unwrap(),
    );
    let available = MSRTC.replace("600", "400");
    let notify = format!(
        "BENOTIFY sip:a.example SIP/2.0\r\nVia: SIP/2.0/tcp {PEER}\r\nFrom: {to};tag=theirs\r\nTo: {from}\r\nCall-ID: {call_id}\r\n\
         CSeq: 2 BENOTIFY\r\nMax-Forwards: 70\r\nEvent: presence\r\nSubscription-State: active;expires=3600\r\nContent-Type: \
         text/xml+msrtc.pidf\r\nContent-Length: {}\r\n\r\n{available}",
        available.len()
    );
    sim.sent.clear();
    sim.receive_over(line, &notify);
    assert!(
        !sim.sent.iter().any(|(_, m)| m.starts_with("SIP/2.0")),
        "{:?}",
        sim.sent
    );
    let told = sim.notifies();
    assert!(!body(told.last().unwrap()).contains("busy"), "{told:?}");
    // A stranger's changes nothing.
    let stranger = sim.open("127.0.0.66:5060");
    sim.receive_over(stranger, &notify.replace("CSeq: 2", "CSeq: 3").replace("400", "600"));
    assert!(sim.notifies().is_empty());
}

#[test]
fn notifications_without_an_answer_count_as_requests() {
    let config = |config: &str| {
        let config = config.replace("transport: udp, next_hop", "transport: tcp, next_hop");
        let settings = "probe: \"off\", dialect: lcs2005, limits: { requests: 5 }";
        config.replace("probe: \"off\"", settings) + "notify: { min_interval: 0s }\n"
    };
    let (mut sim, subscribe) = watched(Sim::configured(config));
    let line = sim.open(PEER);
    let lines = format!("Contact: <sip:{PEER};transport=tcp>\r\nExpires: 3600\r\n");
    sim.receive_over(line, &reply(&subscribe, "200 OK", &lines));
    sim.notifies();
    let (from, to, call_id) = (
        header(&subscribe, "From").unwrap(),
        header(&subscribe, "To").unwrap(),
        header(&subscribe, "Call-ID").unwrap(),
    );
    let mut told = 0;
    for n in 2..40 {
        let text = MSRTC.replace("600", if n % 2 == 0 { "600" } else { "400" });
        let notify = format!(
            "BENOTIFY sip:a.example SIP/2.0\r\nVia: SIP/2.0/tcp {PEER}\r\nFrom: {to};tag=theirs\r\nTo: {from}\r\nCall-ID: {call_id}\r\n\
             CSeq: {n} BENOTIFY\r\nMax-Forwards: 70\r\nEvent: presence\r\nSubscription-State: active;expires=3600\r\nContent-Type: \
             text/xml+msrtc.pidf\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        sim.receive_over(line, &notify);
        told += sim.notifies().len();
    }
    assert!((1..=5).contains(&told), "{told} of a flood were taken");
}

#[test]
fn what_cannot_be_read_is_refused_with_what_is_taken() {
    let (mut sim, subscribe) = upstream("lcs2005");
    let line = sim.open(PEER);
    let contact = format!("Contact: <sip:{PEER};transport=tcp>\r\nExpires: 3600\r\n");
    sim.receive_over(line, &reply(&subscribe, "200 OK", &contact));
    let (from, to, call_id) = (
        header(&subscribe, "From").unwrap(),
        header(&subscribe, "To").unwrap(),
        header(&subscribe, "Call-ID").unwrap(),
    );
    for (n, (kind, text, status)) in [
        ("text/plain", "busy".to_string(), 415),
        ("text/xml+msrtc.pidf", "<not".into(), 400),
    ]
    .iter()
    .enumerate()
    {
        let notify = format!(
            "NOTIFY sip:a.example SIP/2.0\r\nVia: SIP/2.0/tcp {PEER};branch=z9hG4bKn{n}\r\nFrom: {to};tag=theirs\r\nTo: {from}\r\n\
             Call-ID: {call_id}\r\nCSeq: {} NOTIFY\r\nMax-Forwards: 70\r\nEvent: presence\r\nSubscription-State: active\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{text}",
            n + 1,
            text.len()
        );
        sim.receive_over(line, &notify);
        let answer = sim.answer(&call_id).to_string();
        sim.sent.clear();
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{answer}");
        assert_eq!(header(&answer, "Accept").is_some(), *status == 415, "{answer}");
        assert!(header(&answer, "Warning").is_some(), "{answer}");
    }
    assert!(sim.notifies().iter().all(|m| !m.contains("busy")));
}

#[test]
fn a_subscription_from_before_there_were_dialects_lives_on() {
    let mut sim = Sim::new();
    let watch = sim.subscribe("bob", "sip:alice@a.example", 3600);
    assert_eq!(sim.status(&watch), 200);
    sim.notifies();
    let plain = super::showing::Showing::default();
    let tail = 4 + crate::dialect::Dialect::rfc().name.len() + 4 + plain.format.name().len() + 8;
    let record = sim
        .disk
        .iter_mut()
        .find(|(key, _)| key.first() == Some(&b's'))
        .unwrap()
        .1;
    *record = record[..record.len() - tail].into();
    sim.restart(1000);
    assert_eq!(sim.engine.status().subscriptions, 1);
}
