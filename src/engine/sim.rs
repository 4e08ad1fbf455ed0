//! A bridge without machine: the engine with a store, a clock and clients in memory. For tests only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Engine, Input, ListenerAddress, Output, Setup};
use crate::sip::digest;
use crate::sip::message::Framing;
use crate::sip::net::{Destination, FlowId, ListenerId, Source, Transport};
use crate::sip::random::Random;
use crate::sip::time::Now;

const CONFIG: &str = r#"
domains: [a.example]
identity: { host: a.example, certificate: bridge.pem, key: bridge.key }
listeners: [{ name: udp, transport: udp, bind: ["127.0.0.1:5060"] }]
users:
  - { aor: alice@a.example, password: { plain: x } }
  - { aor: bob@a.example, password: { plain: x } }
peers:
  - { name: b, domains: [b.example], transport: udp, next_hop: "127.0.0.9:5060", addresses: [127.0.0.9/32], probe: "off" }
limits: { per_source: { requests: 10000000 } }
store: { path: data }
admin: { socket: s.sock, http: "off" }
"#;

/// Where the peer is.
pub(super) const PEER: &str = "127.0.0.9:5060";
/// Where clients are.
pub(super) const CLIENT: &str = "127.0.0.1:7001";

type Record = (u64, Box<[u8]>, Option<Box<[u8]>>, bool);

/// The bridge and the world around it.
pub(super) struct Sim {
    pub(super) engine: Engine,
    pub(super) now: Now,
    /// What is durable.
    pub(super) disk: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// What the engine appended and the disk does not have yet.
    pub(super) queued: Vec<Record>,
    /// Whether records become durable at once.
    pub(super) prompt: bool,
    /// Messages that left, with where they went, in order.
    pub(super) sent: Vec<(SocketAddr, String)>,
    snapshot: Arc<crate::policy::Snapshot>,
    /// Open connections.
    flows: BTreeMap<FlowId, SocketAddr>,
    numbers: u64,
}

impl Sim {
    pub(super) fn new() -> Self {
        Self::with("")
    }

    /// With more lines of configuration.
    pub(super) fn with(rest: &str) -> Self {
        Self::on(Self::snapshot(rest, "notify: { min_interval: 0s }"))
    }

    /// With the pacing of NOTIFYs as it comes.
    pub(super) fn paced() -> Self {
        Self::on(Self::snapshot("", ""))
    }

    /// With the peer asked by OPTIONS every 30 s; one that is not answered means down.
    pub(super) fn probing() -> Self {
        Self::peer("probe: { interval: 30s, down_after: 1 }")
    }

    /// With a second listener, over TCP, whose clients speak a dialect.
    pub(super) fn with_clients_of(dialect: &str) -> Self {
        let tcp = format!("}}, {{ name: tcp, transport: tcp, bind: [\"127.0.0.1:5060\"], dialect: {dialect} }}]");
        let config = CONFIG.replace("5060\"] }]", &format!("5060\"] {tcp}")) + "notify: { min_interval: 0s }\n";
        Self::on(Arc::new(crate::config::tests::snapshot(&config)))
    }

    /// With other settings of the peer than that it is not probed.
    pub(super) fn peer(settings: &str) -> Self {
        let config = CONFIG.replace("probe: \"off\"", settings) + "notify: { min_interval: 0s }\n";
        Self::on(Arc::new(crate::config::tests::snapshot(&config)))
    }

    /// With other settings of the peer, and more peers.
    pub(super) fn peers(settings: &str, more: &str) -> Self {
        let config = CONFIG.replace("probe: \"off\" }\n", &format!("probe: \"off\", {settings} }}\n{more}"));
        Self::on(Arc::new(crate::config::tests::snapshot(&config)))
    }

    /// With a peer over TCP that speaks a dialect.
    pub(super) fn speaking(dialect: &str) -> Self {
        let settings = format!("probe: \"off\", dialect: {dialect}");
        let config = CONFIG.replace("transport: udp, next_hop", "transport: tcp, next_hop");
        let config = config.replace("probe: \"off\"", &settings) + "notify: { min_interval: 0s }\n";
        Self::on(Arc::new(crate::config::tests::snapshot(&config)))
    }

    /// On another configuration, beside a dial plan that it names `plan.yaml`.
    pub(super) fn planned(config: &str, plan: &str) -> Self {
        Self::on(Arc::new(crate::config::tests::snapshot_with(config, plan)))
    }

    /// With another configuration, made of the usual one.
    pub(super) fn configured(change: impl FnOnce(&str) -> String) -> Self {
        Self::on(Arc::new(crate::config::tests::snapshot(&change(CONFIG))))
    }

    fn on(snapshot: Arc<crate::policy::Snapshot>) -> Self {
        let now = Now {
            mono_ms: 1000,
            wall_ms: 1_700_000_000_000,
        };
        let mut sim = Self {
            engine: engine(&snapshot, now, 1),
            now,
            disk: BTreeMap::new(),
            queued: Vec::new(),
            prompt: true,
            sent: Vec::new(),
            snapshot,
            flows: BTreeMap::new(),
            numbers: 0,
        };
        sim.input(Input::Tick);
        sim
    }

    /// The configuration, with other lines on presence.
    pub(super) fn snapshot(rest: &str, presence: &str) -> Arc<crate::policy::Snapshot> {
        Arc::new(crate::config::tests::snapshot(&format!("{CONFIG}{presence}\n{rest}")))
    }

    /// Starts again on what is durable, after `ms` of downtime.
    pub(super) fn restart(&mut self, ms: u64) {
        self.now.wall_ms += ms;
        self.now.mono_ms = 1000;
        self.numbers += 1;
        self.engine = engine(&self.snapshot, self.now, self.numbers as u8);
        self.queued.clear();
        let records: Vec<_> = self.disk.clone().into_iter().collect();
        self.engine.restore(self.now, records).unwrap();
        self.input(Input::Tick);
        self.pass(100);
    }

    /// The same by another configuration.
    pub(super) fn start_by(&mut self, snapshot: Arc<crate::policy::Snapshot>) {
        self.snapshot = snapshot;
        self.restart(100);
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
        self.drain();
        if self.prompt {
            self.sync();
        }
    }

    /// A new configuration, as the edge hands it over.
    pub(super) fn reload(&mut self, snapshot: Arc<crate::policy::Snapshot>) {
        let plan = crate::config::plan::plan(self.engine.snapshot(), &snapshot);
        self.input(Input::Reload(snapshot, plan));
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send { to, wire, .. } => {
                    let to = match to {
                        Destination::Datagram { to, .. }
                        | Destination::Peer { to, .. }
                        | Destination::Contact { to } => to,
                        Destination::Flow(flow) => match self.flows.get(&flow) {
                            Some(remote) => *remote,
                            None => continue,
                        },
                    };
                    self.sent.push((to, String::from_utf8_lossy(&wire).into_owned()));
                }
                Output::Persist {
                    lsn,
                    key,
                    value,
                    awaited,
                } => self.queued.push((lsn, key, value, awaited)),
                Output::Resolve {
                    token,
                    host,
                    port,
                    transport,
                } => {
                    let targets = host
                        .parse()
                        .map(|ip| (transport, SocketAddr::new(ip, port.unwrap_or(5060))));
                    let targets = targets.into_iter().collect();
                    self.engine.handle(self.now, Input::Resolved { token, targets });
                }
                _ => {}
            }
        }
    }

    /// Everything appended is durable.
    pub(super) fn sync(&mut self) {
        while !self.queued.is_empty() {
            let mut durable = None;
            for (lsn, key, value, awaited) in std::mem::take(&mut self.queued) {
                match value {
                    Some(value) => self.disk.insert(key, value),
                    None => self.disk.remove(&key),
                };
                durable = if awaited { Some(lsn) } else { durable };
            }
            if let Some(lsn) = durable {
                self.engine.handle(self.now, Input::Durable { lsn });
                self.drain();
            }
        }
    }

    /// The disk refuses what is on its way.
    pub(super) fn fail(&mut self) {
        let keys = std::mem::take(&mut self.queued)
            .into_iter()
            .map(|(_, key, ..)| key)
            .collect();
        self.engine.handle(self.now, Input::StoreFailed { keys });
        self.drain();
    }

    pub(super) fn recover(&mut self) {
        self.input(Input::StoreRecovered);
    }

    /// Time passes, timer by timer.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        loop {
            let next = self.engine.next_timeout().unwrap_or(u64::MAX).max(self.now.mono_ms);
            let at = next.min(end);
            self.now.wall_ms += at - self.now.mono_ms;
            self.now.mono_ms = at;
            self.input(Input::Tick);
            if at == end && self.engine.next_timeout().is_none_or(|t| t > end) {
                return;
            }
        }
    }

    pub(super) fn receive(&mut self, from: &str, text: &str) {
        let source = Source {
            transport: Transport::Udp,
            remote: from.parse().unwrap(),
            local: "127.0.0.1:5060".parse().unwrap(),
            listener: Some(ListenerId(0)),
            flow: None,
        };
        self.input(Input::Message {
            source,
            bytes: text.as_bytes(),
            framing: Framing::Datagram,
        });
    }

    /// A connection of a client to the second listener.
    pub(super) fn connect(&mut self, number: u64) {
        let identity = Arc::new(crate::policy::Identity::no_tls("tcp"));
        self.flows.insert(FlowId(number), stream(number));
        self.input(Input::Opened {
            source: streamed(number),
            identity,
            peer: None,
        });
    }

    /// A message over such a connection.
    pub(super) fn receive_by(&mut self, number: u64, text: &str) {
        self.input(Input::Message {
            source: streamed(number),
            bytes: text.as_bytes(),
            framing: Framing::Stream,
        });
    }

    /// Somebody opens a TCP connection.
    pub(super) fn open(&mut self, from: &str) -> Source {
        let flow = FlowId(100 + self.flows.len() as u64);
        let remote = from.parse().unwrap();
        self.flows.insert(flow, remote);
        let source = Source {
            transport: Transport::Tcp,
            remote,
            local: "127.0.0.1:5060".parse().unwrap(),
            listener: Some(ListenerId(0)),
            flow: Some(flow),
        };
        let identity = Arc::new(crate::policy::Identity::no_tls("TCP carries no certificate"));
        self.input(Input::Opened {
            source,
            identity,
            peer: None,
        });
        source
    }

    /// A message over an open connection.
    pub(super) fn receive_over(&mut self, source: Source, text: &str) {
        self.input(Input::Message {
            source,
            bytes: text.as_bytes(),
            framing: Framing::Stream,
        });
    }

    /// Sends a request of a user and answers its challenge; returns its Call-ID. `lines` end with CRLF each.
    pub(super) fn ask(&mut self, user: &str, method: &str, uri: &str, lines: &str, body: &str) -> String {
        self.numbers += 1;
        let call_id = format!("c{}", self.numbers);
        let to = if method == "REGISTER" {
            format!("sip:{user}@a.example")
        } else {
            uri.into()
        };
        let ids = format!("From: <sip:{user}@a.example>;tag=f{call_id}\r\nTo: <{to}>\r\nCall-ID: {call_id}\r\n");
        self.ask_with(user, method, uri, &format!("{ids}{lines}"), 1, body);
        call_id
    }

    /// The same with From, To and Call-ID given.
    pub(super) fn ask_with(&mut self, user: &str, method: &str, uri: &str, lines: &str, cseq: u32, body: &str) {
        let mut auth = String::new();
        for cseq in [cseq, cseq + 1] {
            self.numbers += 1;
            let text = format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {CLIENT};rport;branch=z9hG4bKx{}\r\n{lines}CSeq: {cseq} {method}\r\n\
                 Max-Forwards: 70\r\n{auth}Content-Length: {}\r\n\r\n{body}",
                self.numbers,
                body.len()
            );
            let before = self.sent.len();
            self.receive(CLIENT, &text);
            let Some(challenge) = self.sent[before..].iter().find_map(|(_, m)| challenge(m)) else {
                return;
            };
            let (name, value) = challenge;
            let challenge = digest::Challenge::parse(value.as_bytes()).unwrap();
            let value = digest::answer(
                &challenge,
                user,
                "x",
                method.as_bytes(),
                uri,
                1,
                &mut Random::from_seed([3; 32]),
            );
            auth = format!("{name}: {value}\r\n");
        }
    }

    /// Takes back the INVITE that was asked last, once it has gone with credentials.
    pub(super) fn cancel(&mut self, user: &str, uri: &str, call_id: &str) {
        let text = format!(
            "CANCEL {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {CLIENT};rport;branch=z9hG4bKx{}\r\nFrom: <sip:{user}@a.example>;tag=f{call_id}\r\n\
             To: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: 2 CANCEL\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            self.numbers
        );
        self.receive(CLIENT, &text);
    }

    /// The status of the last final answer with this Call-ID; 0 while there is none.
    pub(super) fn status(&self, call_id: &str) -> u16 {
        let line = format!("Call-ID: {call_id}\r\n");
        let fits = |m: &&(SocketAddr, String)| m.1.starts_with("SIP/2.0 ") && m.1.contains(&line);
        let last = self
            .sent
            .iter()
            .rev()
            .find(fits)
            .map(|(_, m)| m[8..11].parse().unwrap());
        last.filter(|status| *status != 407 && *status != 401).unwrap_or(0)
    }

    /// The last answer with this Call-ID.
    pub(super) fn answer(&self, call_id: &str) -> &str {
        let line = format!("Call-ID: {call_id}\r\n");
        let fits = |m: &&(SocketAddr, String)| m.1.starts_with("SIP/2.0 ") && m.1.contains(&line);
        self.sent.iter().rev().find(fits).map_or("", |(_, m)| m)
    }

    /// Takes the requests that left so far, answers them with 200 and returns them, each once.
    pub(super) fn requests(&mut self) -> Vec<String> {
        let requests = self.take_requests();
        for (to, request) in &requests {
            self.receive(&to.to_string(), &reply(request, "200 OK", ""));
        }
        requests.into_iter().map(|(_, m)| m).collect()
    }

    /// The same without an answer.
    pub(super) fn take_requests(&mut self) -> Vec<(SocketAddr, String)> {
        let mut requests = std::mem::take(&mut self.sent);
        requests.retain(|(_, m)| !m.starts_with("SIP/2.0 "));
        // Over UDP what is not answered at once is repeated.
        requests.sort();
        requests.dedup();
        requests
    }

    /// The NOTIFYs that left so far, which are answered with 200.
    pub(super) fn notifies(&mut self) -> Vec<String> {
        let mut list = self.requests();
        list.retain(|m| m.starts_with("NOTIFY "));
        list
    }

    pub(super) fn subscribe(&mut self, user: &str, whom: &str, seconds: u32) -> String {
        let lines = format!("Event: presence\r\nContact: <sip:{user}@{CLIENT}>\r\nExpires: {seconds}\r\n");
        self.ask(user, "SUBSCRIBE", whom, &lines, "")
    }

    /// Publishes a state with a note; the entity tag of an answer that came.
    pub(super) fn publish(
        &mut self,
        user: &str,
        etag: Option<&str>,
        seconds: u32,
        note: Option<&str>,
    ) -> (u16, String) {
        let uri = format!("sip:{user}@a.example");
        let condition = etag.map(|e| format!("SIP-If-Match: {e}\r\n")).unwrap_or_default();
        let (kind, body) = match note {
            Some(note) => ("Content-Type: application/pidf+xml\r\n", pidf(&uri, note)),
            None => ("", String::new()),
        };
        let lines = format!("Event: presence\r\nExpires: {seconds}\r\n{condition}{kind}");
        let call_id = self.ask(user, "PUBLISH", &uri, &lines, &body);
        let etag = header(self.answer(&call_id), "SIP-ETag").unwrap_or_default();
        (self.status(&call_id), etag)
    }

    pub(super) fn register(&mut self, user: &str, seconds: u32) -> u16 {
        let lines = format!("Contact: <sip:{user}@{CLIENT}>\r\nExpires: {seconds}\r\n");
        let call_id = self.ask(user, "REGISTER", "sip:a.example", &lines, "");
        self.status(&call_id)
    }
}

fn engine(snapshot: &Arc<crate::policy::Snapshot>, now: Now, seed: u8) -> Engine {
    let setup = Setup {
        snapshot: Arc::clone(snapshot),
        listeners: [(0, Transport::Udp), (1, Transport::Tcp)]
            .map(|(id, transport)| ListenerAddress {
                id: ListenerId(id),
                transport,
                bound: "127.0.0.1:5060".parse().unwrap(),
                advertised: "127.0.0.1:5060".into(),
            })
            .into(),
        random: Random::from_seed([seed; 32]),
        durable: true,
        route_key: [7; 16],
    };
    Engine::new(setup, now)
}

/// Where a connection comes from.
pub(super) fn stream(number: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], 40_000 + number as u16))
}

fn streamed(number: u64) -> Source {
    Source {
        transport: Transport::Tcp,
        remote: stream(number),
        local: "127.0.0.1:5060".parse().unwrap(),
        listener: Some(ListenerId(1)),
        flow: Some(FlowId(number)),
    }
}

pub(super) fn challenge(message: &str) -> Option<(&'static str, String)> {
    match message.get(8..11)? {
        "401" => Some(("Authorization", header(message, "WWW-Authenticate")?)),
        "407" => Some(("Proxy-Authorization", header(message, "Proxy-Authenticate")?)),
        _ => None,
    }
}

/// The value of a header line.
pub(super) fn header(message: &str, name: &str) -> Option<String> {
    let start = format!("{name}: ");
    let line = message.lines().find(|l| l.starts_with(&start))?;
    Some(line[start.len()..].to_string())
}

/// The body of a message.
pub(super) fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// A response to a request of the bridge.
pub(super) fn reply(request: &str, status: &str, lines: &str) -> String {
    let mut out = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let value = header(request, name).unwrap_or_default();
        let tag = if name == "To" && !value.contains(";tag=") {
            ";tag=theirs"
        } else {
            ""
        };
        out += &format!("{name}: {value}{tag}\r\n");
    }
    out + lines + "Content-Length: 0\r\n\r\n"
}

pub(super) fn pidf(entity: &str, note: &str) -> String {
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='{entity}'><tuple id='t'><status><basic>open</basic></status>\
         <note>{note}</note></tuple></presence>"
    )
}
