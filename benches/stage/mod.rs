//! One engine without sockets, store or clock, and the messages that benches and the allocation gate feed it.
//!
//! Everything comes and goes over UDP; what is to be durable is durable at once.

#![allow(dead_code, reason = "each user of this module needs a part of it")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use trestle::config;
use trestle::engine::{Engine, Input, ListenerAddress, Output, Setup};
use trestle::policy::Snapshot;
use trestle::sip::message::Framing;
use trestle::sip::net::{ListenerId, Source, Transport};
use trestle::sip::random::Random;
use trestle::sip::time::Now;

const CONFIG: &str = r#"
domains: [bridge.test, pres.test, reg.test]
identity: { host: server.test, certificate: server.pem, key: server.key }
listeners: [{ name: main, transport: udp, bind: ["127.0.0.1:5060"] }]
presence: { max_subscriptions: 1000000 }
notify: { min_interval: 0s }
limits: { max_transactions: 4000000, per_source: { requests: 10000000 } }
store: { path: data }
admin: { socket: s.sock, http: "off" }
peers:
  - { name: front, front_end: true, domains: [pres.test, reg.test], transport: udp, next_hop: "127.0.0.1:7002", probe: "off", addresses: [127.0.0.1/32] }
  - { name: a, domains: [a.test], transit: [b.test], transport: udp, next_hop: "127.0.0.1:7001", probe: "off", addresses: [127.0.0.1/32] }
  - { name: b, domains: [b.test], transport: udp, next_hop: "127.0.0.1:7002", probe: "off", addresses: [127.0.0.1/32] }
"#;

/// Where requests come from.
pub(crate) const NEAR: u16 = 7001;
/// Where requests go to.
pub(crate) const FAR: u16 = 7002;

struct Files;

impl config::World for Files {
    fn read(&self, _: &Path) -> Result<String, String> {
        Ok(CONFIG.into())
    }

    fn list(&self, _: &Path) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    fn world_readable(&self, _: &Path) -> Option<bool> {
        Some(false)
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

/// The configuration.
pub(crate) fn snapshot() -> Arc<Snapshot> {
    match config::load_from(Path::new("bridge.yaml"), &Files) {
        Ok(loaded) => Arc::new(loaded.snapshot),
        Err(problems) => panic!("{problems}"),
    }
}

/// Where a message comes from.
pub(crate) fn source(port: u16) -> Source {
    Source {
        transport: Transport::Udp,
        remote: SocketAddr::from(([127, 0, 0, 1], port)),
        local: SocketAddr::from(([127, 0, 0, 1], 5060)),
        listener: Some(ListenerId(0)),
        flow: None,
    }
}

/// Runs the engine's own work, so that somebody may count around it.
pub(crate) type Around = fn(&mut dyn FnMut());

/// An engine and its clock.
pub(crate) struct World {
    engine: Engine,
    now: Now,
    around: Around,
    durable: Option<u64>,
    /// What was sent since the last look.
    pub(crate) sent: Vec<Bytes>,
}

impl World {
    /// An engine that has found its peers.
    pub(crate) fn new(around: Around) -> Self {
        let now = Now {
            mono_ms: 1000,
            wall_ms: 1_700_000_000_000,
        };
        let setup = Setup {
            snapshot: snapshot(),
            listeners: Vec::new(),
            random: Random::from_seed([42; 32]),
            durable: true,
            route_key: [7; 16],
        };
        let mut engine = Engine::new(setup, now);
        engine.set_listeners(vec![ListenerAddress {
            id: ListenerId(0),
            transport: Transport::Udp,
            bound: source(0).local,
            advertised: "127.0.0.1:5060".into(),
        }]);
        let mut world = Self {
            engine,
            now,
            around,
            durable: None,
            sent: Vec::new(),
        };
        world.drain();
        world
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        self.handle(Input::Tick);
        self.drain();
    }

    fn handle(&mut self, input: Input<'_>) {
        let (engine, now, mut input) = (&mut self.engine, self.now, Some(input));
        (self.around)(&mut || {
            if let Some(input) = input.take() {
                engine.handle(now, input);
            }
        });
    }

    /// A message arrives, and all that follows from it happens.
    pub(crate) fn receive(&mut self, port: u16, bytes: &[u8]) {
        self.handle(Input::Message {
            source: source(port),
            bytes,
            framing: Framing::Datagram,
        });
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.engine.poll() {
                match output {
                    Output::Send { wire, .. } => self.sent.push(wire),
                    Output::Persist { lsn, .. } => self.durable = Some(lsn),
                    Output::Resolve { token, host, port, .. } => {
                        let to = format!("{host}:{}", port.unwrap_or(5060)).parse();
                        let targets = to.map(|to| vec![(Transport::Udp, to)]).unwrap_or_default();
                        self.handle(Input::Resolved { token, targets });
                    }
                    Output::Reuse { .. } | Output::Disown { .. } | Output::Mark { .. } | Output::Reloaded { .. } => {}
                    Output::Close { .. } | Output::Log(_) => {}
                }
            }
            match self.durable.take() {
                Some(lsn) => self.handle(Input::Durable { lsn }),
                None if self.engine.next_timeout() == Some(0) => self.handle(Input::Tick),
                None => return,
            }
        }
    }

    /// What was sent, whose first line begins like this.
    pub(crate) fn take(&mut self, start: &str) -> Vec<Bytes> {
        let all = std::mem::take(&mut self.sent);
        all.into_iter()
            .filter(|wire| wire.starts_with(start.as_bytes()))
            .collect()
    }

    /// Answers every request that was sent with these words in its first line, and returns how many there were.
    pub(crate) fn answer_all(&mut self, method: &str) -> usize {
        let requests = self.take(method);
        for request in &requests {
            let answer = answer(request);
            self.receive(FAR, &answer);
        }
        self.sent.clear();
        requests.len()
    }
}

/// A 200 to a request.
pub(crate) fn answer(request: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(request);
    let mut out = String::from("SIP/2.0 200 OK\r\n");
    for line in text.split("\r\n").take_while(|line| !line.is_empty()) {
        if line.starts_with("To:") && !line.contains(";tag=") {
            out += &format!("{line};tag=far\r\n");
        } else if ["Via:", "Record-Route:", "From:", "To:", "Call-ID:", "CSeq:"]
            .iter()
            .any(|n| line.starts_with(n))
        {
            out += &format!("{line}\r\n");
        }
    }
    out += "Content-Length: 0\r\n\r\n";
    out.into_bytes()
}

fn request(method: &str, uri: &str, from: &str, to: &str, number: usize, more: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{NEAR};branch=z9hG4bK{method}{number};rport\r\nMax-Forwards: 70\r\n\
         From: <{from}>;tag=f{number}\r\nTo: <{to}>\r\nCall-ID: {method}{number}@load.test\r\nCSeq: 1 {method}\r\n{more}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A MESSAGE from one trunk to the other, 200 bytes of body.
pub(crate) fn message(number: usize) -> Vec<u8> {
    let (from, to) = (
        format!("sip:u{}@a.test", number % 1000),
        format!("sip:u{}@b.test", number % 1000),
    );
    request(
        "MESSAGE",
        &to,
        &from,
        &to,
        number,
        "Content-Type: text/plain\r\n",
        &"x".repeat(200),
    )
}

/// A SUBSCRIBE of watcher `number` for a presentity.
pub(crate) fn subscribe(number: usize, presentity: usize) -> Vec<u8> {
    let (from, to) = (
        format!("sip:w{number}@pres.test"),
        format!("sip:p{presentity}@pres.test"),
    );
    let more = format!(
        "Contact: <sip:w{number}@127.0.0.1:{FAR}>\r\nEvent: presence\r\nAccept: application/pidf+xml\r\nExpires: 3600\r\n"
    );
    request("SUBSCRIBE", &to, &from, &to, number, &more, "")
}

/// A PIDF document of about 500 bytes.
pub(crate) fn document(presentity: usize, version: usize) -> String {
    let basic = if version.is_multiple_of(2) { "closed" } else { "open" };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         entity=\"sip:p{presentity}@pres.test\"><tuple id=\"t\"><status><basic>{basic}</basic></status>\
         <contact priority=\"0.8\">sip:p{presentity}@desk.pres.test</contact><note>version {version}</note></tuple>\
         <dm:person id=\"h\"><rpid:activities><rpid:busy/></rpid:activities></dm:person></presence>"
    )
}

/// A PUBLISH of a version; `etag` when there is one before it.
pub(crate) fn publish(number: usize, presentity: usize, version: usize, etag: &str) -> Vec<u8> {
    let uri = format!("sip:p{presentity}@pres.test");
    let condition = if etag.is_empty() {
        String::new()
    } else {
        format!("SIP-If-Match: {etag}\r\n")
    };
    let more = format!("Event: presence\r\nExpires: 3600\r\n{condition}Content-Type: application/pidf+xml\r\n");
    request(
        "PUBLISH",
        &uri,
        &uri,
        &uri,
        number,
        &more,
        &document(presentity, version),
    )
}

/// A REGISTER of one contact.
pub(crate) fn register(number: usize) -> Vec<u8> {
    let aor = format!("sip:r{number}@reg.test");
    let more = format!("Contact: <sip:r{number}@127.0.0.1:{FAR}>\r\nExpires: 3600\r\n");
    request("REGISTER", "sip:reg.test", &aor, &aor, number, &more, "")
}

/// One MESSAGE all the way and its 200 all the way back.
pub(crate) fn relay(world: &mut World, bytes: &[u8]) {
    world.receive(NEAR, bytes);
    assert_eq!(world.answer_all("MESSAGE "), 1, "it is forwarded");
}

/// The value of SIP-ETag in the answer to a PUBLISH.
pub(crate) fn etag(wire: &[u8]) -> String {
    let text = String::from_utf8_lossy(wire);
    let line = text.lines().find_map(|line| line.strip_prefix("SIP-ETag: "));
    line.unwrap_or_else(|| panic!("no SIP-ETag in {text}")).to_string()
}
