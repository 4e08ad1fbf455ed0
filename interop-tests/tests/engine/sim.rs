//! One engine on 127.0.0.1:5060 (UDP and TCP), whatever it sends, and the time.

use std::net::SocketAddr;
use std::sync::Arc;

use interop_tests::Outcome;
use interop_tests::digest::Challenge;
use interop_tests::wire::Message;
use trestle::config;
use trestle::engine::{Engine, Input, ListenerAddress, Output, Setup};
use trestle::policy::Identity;
use trestle::sip::message::Framing;
use trestle::sip::net::{Destination, FlowId, ListenerId, Source, Transport};
use trestle::sip::random::Random;
use trestle::sip::time::Now;

/// The head of every configuration: the domain a.example, and at 127.0.0.7 a front end that speaks for its users
/// without digest.
const HEAD: &str = r#"
domains: [a.example]
identity: { host: bridge.a.example }
listeners:
  - { name: udp, transport: udp, bind: ["127.0.0.1:5060"] }
  - { name: tcp, transport: tcp, bind: ["127.0.0.1:5060"] }
users:
  - { aor: a@a.example, password: { plain: x } }
  - { aor: b@a.example, password: { plain: x } }
peers:
  - { name: front, front_end: true, domains: [a.example], transport: udp, accept: [udp, tcp], next_hop: "127.0.0.7:5060", addresses: [127.0.0.7/32], probe: "off" }
store: { path: data }
admin: { socket: s.sock, http: "off" }
"#;

/// The address of the front end.
pub(crate) const FRONT: &str = "127.0.0.7:5060";

/// A simulated bridge.
pub(crate) struct Sim {
    engine: Engine,
    now: Now,
    /// What it has sent, oldest first.
    pub(crate) sent: Vec<(Destination, Message)>,
}

impl Sim {
    /// Starts one with this at the end of its configuration.
    pub(crate) fn start(rest: &str) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("bridge.yaml");
        std::fs::write(&file, format!("{HEAD}{rest}"))?;
        let snapshot = Arc::new(config::load(&file).map_err(|p| p.to_string())?.snapshot);
        let now = Now {
            mono_ms: 1000,
            wall_ms: 1_700_000_000_000,
        };
        let listener = |id, transport| ListenerAddress {
            id: ListenerId(id),
            transport,
            bound: SocketAddr::from(([127, 0, 0, 1], 5060)),
            advertised: "127.0.0.1:5060".into(),
        };
        let setup = Setup {
            snapshot,
            listeners: vec![listener(0, Transport::Udp), listener(1, Transport::Tcp)],
            random: Random::from_seed([5; 32]),
            durable: false,
            route_key: [7; 16],
        };
        let mut sim = Self {
            engine: Engine::new(setup, now),
            now,
            sent: Vec::new(),
        };
        sim.drain();
        Ok(sim)
    }

    /// A datagram comes in.
    pub(crate) fn receive(&mut self, from: &str, bytes: &[u8]) -> Outcome {
        let (source, framing) = (source(from, None)?, Framing::Datagram);
        self.engine.handle(self.now, Input::Message { source, bytes, framing });
        self.drain();
        Ok(())
    }

    /// A message comes in over the TCP connection of this number.
    pub(crate) fn receive_over(&mut self, flow: u64, from: &str, bytes: &[u8]) -> Outcome {
        let (source, framing) = (source(from, Some(FlowId(flow)))?, Framing::Stream);
        self.engine.handle(self.now, Input::Message { source, bytes, framing });
        self.drain();
        Ok(())
    }

    /// A TCP connection comes in.
    pub(crate) fn open(&mut self, flow: u64, from: &str) -> Outcome {
        let source = source(from, Some(FlowId(flow)))?;
        let (identity, peer) = (Arc::new(Identity::no_tls("TCP")), None);
        self.engine.handle(self.now, Input::Opened { source, identity, peer });
        self.drain();
        Ok(())
    }

    /// A TCP connection ends.
    pub(crate) fn close(&mut self, flow: u64) {
        self.engine.handle(self.now, Input::Closed { flow: FlowId(flow) });
        self.drain();
    }

    /// Time passes, with every timer at its time.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.after(ms);
        while let Some(due) = self.engine.next_timeout().filter(|due| *due <= end.mono_ms) {
            let step = due.saturating_sub(self.now.mono_ms);
            self.now = self.now.after(step);
            self.engine.handle(self.now, Input::Tick);
            self.drain();
        }
        self.now = end;
        self.engine.handle(self.now, Input::Tick);
        self.drain();
    }

    /// A user's request from an address of no peer, with the digest it is asked for; the branch is `z9hG4bKREQUEST`.
    pub(crate) fn as_user(
        &mut self,
        from: &str,
        method: &str,
        uri: &str,
        user: &str,
        lines: &str,
    ) -> Outcome<Vec<u16>> {
        let text = |branch: &str, lines: &str| {
            let bytes = request(method, uri, user, branch, lines);
            String::from_utf8_lossy(&bytes).replace(FRONT, from)
        };
        self.receive(from, text("z9hG4bKasked", lines).as_bytes())?;
        let challenge = |(_, m): &(Destination, Message)| {
            Challenge::parse(
                m.header("WWW-Authenticate")
                    .or_else(|| m.header("Proxy-Authenticate"))?,
            )
        };
        let challenge = self.sent.iter().find_map(challenge).ok_or("no challenge")?;
        self.answers("z9hG4bKasked");
        let proof = challenge.answer(user, "x", method, uri, 1);
        let name = if matches!(method, "REGISTER" | "SUBSCRIBE" | "PUBLISH") {
            "Authorization"
        } else {
            "Proxy-Authorization"
        };
        self.receive(
            from,
            text("z9hG4bKREQUEST", &format!("{name}: {proof}\r\n{lines}")).as_bytes(),
        )?;
        Ok(self.answers("z9hG4bKREQUEST"))
    }

    /// The answers to a request that were sent so far, taken out.
    pub(crate) fn answers(&mut self, branch: &str) -> Vec<u16> {
        let (mine, rest) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition(|(_, m): &(Destination, Message)| m.status() > 0 && m.branch() == branch);
        self.sent = rest;
        let mine: Vec<(Destination, Message)> = mine;
        mine.iter().map(|(_, m)| m.status()).collect()
    }

    /// Whether forwarded requests wait for an answer.
    pub(crate) fn busy(&self) -> bool {
        self.engine.busy()
    }

    /// How many subscriptions it serves and how many messages it keeps.
    pub(crate) fn subscriptions_and_messages(&self) -> (usize, usize) {
        let status = self.engine.status();
        (status.subscriptions, status.stored_messages)
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll() {
            if let Output::Send { to, wire, .. } = output
                && let Some(message) = Message::parse(&wire)
            {
                self.sent.push((to, message));
            }
        }
    }
}

fn source(from: &str, flow: Option<FlowId>) -> Outcome<Source> {
    let (transport, listener) = if flow.is_some() {
        (Transport::Tcp, 1)
    } else {
        (Transport::Udp, 0)
    };
    Ok(Source {
        transport,
        remote: from.parse()?,
        local: SocketAddr::from(([127, 0, 0, 1], 5060)),
        listener: Some(ListenerId(listener)),
        flow,
    })
}

/// A request of the front end for one of its users.
pub(crate) fn request(method: &str, uri: &str, user: &str, branch: &str, extra: &str) -> Vec<u8> {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {FRONT};rport;branch={branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@a.example>;tag=f1\r\nTo: <sip:{user}@a.example>\r\nCall-ID: {method}-{user}\r\nCSeq: 1 {method}\r\n{extra}\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}
