//! Rings of bridges with a peer in between that rewrites everything it passes on, and a peer that gives back what it hears.

use std::collections::HashMap;

use crate::engine::sim::{CLIENT, PEER, Sim, body, header, reply};
use crate::presence::{Document, Gist};

/// A document about somebody; `state` is `closed`, `open` or an activity of somebody who is open.
fn document(entity: &str, state: &str) -> String {
    let (basic, said) = match state {
        "closed" | "open" => (state, String::new()),
        word => ("open", format!("<r:activities><r:{word}/></r:activities>")),
    };
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
         xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='{entity}'><tuple id='own'><status><basic>{basic}</basic></status>\
         </tuple><dm:person id='p'>{said}</dm:person></presence>"
    )
}

fn gist(body: &str) -> Gist {
    Document::parse(body.as_bytes()).map_or(Gist::Unknown, |d| Gist::of(&d))
}

/// What a lossy peer makes of a body: it knows one word for busy, and its own ids.
fn rewritten(body: &str) -> String {
    body.replace("on-the-phone", "busy")
        .replace("id=\"", "id=\"x")
        .replace("id='", "id='x")
}

/// Bridges, each with a user `alice` whose line is the `alice` of the one before, and the cloud between them.
struct Net {
    sims: Vec<Sim>,
    etags: Vec<Option<String>>,
    /// Which two bridges a call is between.
    calls: HashMap<String, (usize, usize)>,
    /// Requests passed on, by the branch they got: who sent them, with which Via.
    passed: HashMap<String, (usize, String)>,
    /// What is on its way: when it arrives, where, what.
    wire: Vec<(u64, usize, String)>,
    delay_ms: u64,
    count: u64,
    /// NOTIFYs that bridges sent to each other, by sender.
    notifies: Vec<usize>,
    told: Vec<String>,
}

fn name(at: usize) -> char {
    char::from(b'a' + u8::try_from(at).unwrap_or(0))
}

impl Net {
    fn new(size: usize, delay_ms: u64) -> Self {
        let sims = (0..size).map(|at| {
            Sim::configured(|base| {
                let others = (1..size).map(|n| format!("{}.example", name((at + size - n) % size)));
                let others: Vec<String> = others.collect();
                let base = base
                    .replace("domains: [b.example]", "domains: [OTHERS]")
                    .replace("a.example", "OWN");
                let base = base.replace(
                    "alice@OWN, password: { plain: x } }",
                    "alice@OWN, password: { plain: x }, LINE }",
                );
                base.replace("LINE", "lines: [{ number: alice, peer: b }]")
                    .replace("OWN", &format!("{}.example", name(at)))
                    .replace("OTHERS", &others.join(", "))
                    + "notify: { min_interval: 0s }\n"
            })
        });
        let mut net = Self {
            sims: sims.collect(),
            etags: vec![None; size],
            calls: HashMap::new(),
            passed: HashMap::new(),
            wire: Vec::new(),
            delay_ms,
            count: 0,
            notifies: vec![0; size],
            told: vec![String::new(); size],
        };
        for at in 0..size {
            net.watch(at);
        }
        net.pass(2_000);
        net
    }

    fn now(&self) -> u64 {
        self.sims[0].now.mono_ms
    }

    /// A local watcher of each alice.
    fn watch(&mut self, at: usize) {
        let uri = format!("sip:alice@{}.example", name(at));
        let ids = format!(
            "From: <sip:bob@{n}.example>;tag=w\r\nTo: <{uri}>\r\nCall-ID: w{at}\r\nEvent: presence\r\nContact: <sip:bob@{CLIENT}>\r\n\
             Expires: 80000\r\n",
            n = name(at)
        );
        self.sims[at].ask_with("bob", "SUBSCRIBE", &uri, &ids, 1, "");
    }

    fn publish(&mut self, at: usize, state: &str) {
        let uri = format!("sip:alice@{}.example", name(at));
        self.count += 1;
        let condition = self.etags[at]
            .take()
            .map(|e| format!("SIP-If-Match: {e}\r\n"))
            .unwrap_or_default();
        let lines = format!(
            "From: <{uri}>;tag=p\r\nTo: <{uri}>\r\nCall-ID: p{n}\r\nEvent: presence\r\nExpires: 36000\r\n{condition}\
             Content-Type: application/pidf+xml\r\n",
            n = self.count
        );
        self.sims[at].ask_with("alice", "PUBLISH", &uri, &lines, 1, &document(&uri, state));
        let answer = self.sims[at].answer(&format!("p{}", self.count)).to_string();
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
        self.etags[at] = header(&answer, "SIP-ETag");
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(20) {
            for at in 0..self.sims.len() {
                self.sims[at].pass(20);
                self.collect(at);
            }
            let now = self.now();
            let due: Vec<(usize, String)> = self
                .wire
                .extract_if(.., |(when, ..)| *when <= now)
                .map(|(_, at, m)| (at, m))
                .collect();
            for (at, message) in due {
                self.sims[at].receive(PEER, &message);
                self.collect(at);
            }
        }
    }

    fn collect(&mut self, at: usize) {
        for (to, message) in std::mem::take(&mut self.sims[at].sent) {
            if to.to_string() == PEER {
                self.cross(at, &message);
            } else if message.starts_with("NOTIFY ") {
                self.told[at] = body(&message).to_string();
                self.sims[at].receive(CLIENT, &reply(&message, "200 OK", ""));
                self.collect(at);
            }
        }
    }

    /// The cloud: another Call-ID, no Via of those before, its own Contact, all hops left, and a body of its own.
    fn cross(&mut self, from: usize, message: &str) {
        let Some(call_id) = header(message, "Call-ID") else {
            return;
        };
        let (call, other) = match call_id.strip_prefix("cloud-") {
            Some(call) => (call.to_string(), call.to_string()),
            None => (call_id.clone(), format!("cloud-{call_id}")),
        };
        let is_request = !message.starts_with("SIP/2.0 ");
        let domain = message
            .split("alice@")
            .nth(1)
            .unwrap_or("a")
            .chars()
            .next()
            .unwrap_or('a');
        let target = usize::from(u8::try_from(domain).unwrap_or(b'a') - b'a');
        let (a, b) = *self.calls.entry(call).or_insert((from, target));
        let to = if from == a { b } else { a };
        let via = header(message, "Via").unwrap_or_default();
        let branch = |via: &str| {
            via.split("branch=")
                .nth(1)
                .unwrap_or_default()
                .split(';')
                .next()
                .unwrap_or_default()
                .to_string()
        };
        let (to, via) = if is_request {
            if message.starts_with("NOTIFY ") {
                self.notifies[from] += 1;
            }
            let name = format!(
                "z9hG4bKc{}",
                branch(&via)
                    .bytes()
                    .map(u64::from)
                    .fold(7, |h: u64, b| h.wrapping_mul(31) + b)
            );
            self.passed.insert(name.clone(), (from, via));
            (to, format!("SIP/2.0/UDP {PEER};branch={name};rport"))
        } else {
            let Some((sender, via)) = self.passed.get(&branch(&via)).cloned() else {
                return;
            };
            (sender, via)
        };
        let mut out = String::new();
        for (n, line) in message.split("\r\n\r\n").next().unwrap_or_default().lines().enumerate() {
            let line = match line.split(": ").next().unwrap_or_default() {
                _ if n == 0 => line.replace(PEER, "127.0.0.1:5060"),
                "Via" => format!("Via: {via}"),
                "Call-ID" => format!("Call-ID: {other}"),
                "Contact" => format!("Contact: <sip:{PEER}>"),
                "Max-Forwards" => "Max-Forwards: 70".to_string(),
                "Content-Length" | "Route" | "Record-Route" => continue,
                _ => line.to_string(),
            };
            out += &(line + "\r\n");
        }
        let body = rewritten(body(message));
        out += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        self.wire.push((self.now() + self.delay_ms, to, out));
    }

    fn gists(&self) -> Vec<Gist> {
        self.told.iter().map(|t| gist(t)).collect()
    }
}

const STATES: [&str; 6] = ["closed", "open", "away", "busy", "on-the-phone", "dnd"];

/// What the alice whose line this is looks like elsewhere: the line is in use, idle, or nothing is known of it.
fn as_line(state: &str) -> Gist {
    match state {
        "closed" => Gist::Offline,
        "open" | "away" => Gist::Available,
        _ => Gist::Busy,
    }
}

#[test]
fn a_ring_of_bridges_follows_every_change_and_comes_to_rest() {
    for (size, delay) in [(2, 20), (3, 60)] {
        let mut net = Net::new(size, delay);
        for first in STATES {
            for second in STATES {
                for state in [first, second] {
                    net.publish(0, state);
                    net.notifies.fill(0);
                    net.pass(5_000);
                    assert!(
                        net.notifies.iter().all(|n| *n <= 2),
                        "{size}: {first} {second}: {:?}",
                        net.notifies
                    );
                    let own = gist(&document("sip:x@y", state));
                    assert_eq!(net.gists()[0], own, "{size}: {first} {second}: {}", net.told[0]);
                    for other in &net.gists()[1..] {
                        assert_eq!(*other, as_line(state), "{size}: {first} {second}: {:?}", net.told);
                    }
                    net.notifies.fill(0);
                    net.pass(10_000);
                    assert!(
                        net.notifies.iter().all(|n| *n == 0),
                        "{size}: {first} {second} is at rest"
                    );
                }
            }
        }
    }
}

#[test]
fn no_call_outlives_those_who_are_in_it() {
    for (size, delay) in [(2, 20), (3, 60), (3, 400)] {
        let mut net = Net::new(size, delay);
        let mut own = vec!["open"; size];
        (0..size).for_each(|at| net.publish(at, "open"));
        let mut dice: u64 = 0x9e37_79b9_7f4a_7c15;
        for round in 0..24 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (at, state) = (
                (dice >> 33) as usize % size,
                ["open", "busy", "open"][(dice >> 40) as usize % 3],
            );
            own[at] = state;
            net.publish(at, state);
            net.pass(if round % 3 == 0 { 40 } else { 15_000 });
            if round % 3 != 0 {
                let wanted = own.iter().map(|s| as_line(s)).max();
                assert!(
                    net.gists().iter().all(|g| Some(*g) == wanted),
                    "{size} {round}: {own:?} {:?}",
                    net.gists()
                );
                net.notifies.fill(0);
                net.pass(5_000);
                assert!(net.notifies.iter().all(|n| *n == 0), "{size} {round}: at rest");
            }
        }
    }
}

/// A peer that watches alice and publishes for her what it hears, after its own fashion.
struct Mirror {
    sim: Sim,
    /// The entity tag of what it published.
    etag: Option<String>,
    /// Whether it gives back what it hears.
    mirrors: bool,
    count: u32,
    told: String,
    published: u32,
}

impl Mirror {
    fn new() -> Self {
        let grant = "probe: \"off\", publishes: [\"*\"]";
        let sim = Sim::configured(|base| base.replace("probe: \"off\"", grant) + "notify: { min_interval: 0s }\n");
        let mut mirror = Self {
            sim,
            etag: None,
            mirrors: true,
            count: 0,
            told: String::new(),
            published: 0,
        };
        let _watch = mirror.sim.subscribe("bob", "sip:alice@a.example", 80_000);
        mirror.request(
            "SUBSCRIBE",
            &format!("Event: presence\r\nContact: <sip:{PEER}>\r\nExpires: 80000\r\nContent-Length: 0\r\n\r\n"),
        );
        mirror.pass(200);
        mirror
    }

    fn request(&mut self, method: &str, rest: &str) -> String {
        self.count += 1;
        let n = self.count;
        let text = format!(
            "{method} sip:alice@a.example SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKm{n}\r\nFrom: <sip:carl@b.example>;tag=m\r\n\
             To: <sip:alice@a.example>\r\nCall-ID: m{n}\r\nCSeq: {n} {method}\r\nMax-Forwards: 70\r\n{rest}"
        );
        self.sim.receive(PEER, &text);
        self.sim.answer(&format!("m{n}")).to_string()
    }

    fn publish(&mut self, body: &str) {
        let condition = self
            .etag
            .take()
            .map(|e| format!("SIP-If-Match: {e}\r\n"))
            .unwrap_or_default();
        let answer = self.request(
            "PUBLISH",
            &format!(
                "Event: presence\r\nExpires: 3600\r\n{condition}Content-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
        self.etag = header(&answer, "SIP-ETag");
        self.published += 1;
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(50) {
            self.sim.pass(50);
            let mut heard = None;
            for (to, request) in self.sim.take_requests() {
                self.sim.receive(&to.to_string(), &reply(&request, "200 OK", ""));
                if to.to_string() == PEER {
                    heard = Some(rewritten(body(&request)));
                } else {
                    self.told = body(&request).to_string();
                }
            }
            if let Some(body) = heard.filter(|_| self.mirrors) {
                self.publish(&body);
            }
        }
    }

    fn own(&mut self, etag: Option<&str>, state: &str) -> String {
        let uri = "sip:alice@a.example";
        let condition = etag.map(|e| format!("SIP-If-Match: {e}\r\n")).unwrap_or_default();
        let lines = format!("Event: presence\r\nExpires: 36000\r\n{condition}Content-Type: application/pidf+xml\r\n");
        let call = self.sim.ask("alice", "PUBLISH", uri, &lines, &document(uri, state));
        header(self.sim.answer(&call), "SIP-ETag").unwrap_or_default()
    }
}

#[test]
fn a_peer_that_publishes_what_it_hears_keeps_nothing_alive() {
    for first in STATES {
        let mut mirror = Mirror::new();
        let mut etag = mirror.own(None, first);
        mirror.pass(5_000);
        for second in STATES {
            etag = mirror.own(Some(&etag), second);
            mirror.published = 0;
            mirror.pass(5_000);
            assert_eq!(
                gist(&mirror.told),
                gist(&document("sip:x@y", second)),
                "{first} {second}: {}",
                mirror.told
            );
            assert!(mirror.published <= 1, "{first} {second}: {}", mirror.published);
        }
    }
}

#[test]
fn a_true_state_of_the_peer_that_looks_like_an_echo_counts_after_two_seconds() {
    let mut mirror = Mirror::new();
    mirror.mirrors = false;
    let etag = mirror.own(None, "busy");
    mirror.pass(1_000);
    mirror.publish(&document("sip:alice@a.example", "busy"));
    mirror.pass(1_000);
    let _etag = mirror.own(Some(&etag), "closed");
    mirror.pass(1_500);
    assert_eq!(gist(&mirror.told), Gist::Offline, "{}", mirror.told);
    mirror.pass(1_000);
    assert_eq!(gist(&mirror.told), Gist::Busy, "{}", mirror.told);
    mirror.publish(&document("sip:alice@a.example", "closed"));
    mirror.pass(500);
    assert_eq!(gist(&mirror.told), Gist::Offline, "{}", mirror.told);
}
