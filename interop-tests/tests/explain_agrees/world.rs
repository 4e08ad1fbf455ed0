//! The simulated engine, and a model of what it counts.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use interop_tests::Outcome;
use interop_tests::wire::Message;
use trestle::config;
use trestle::engine::{Engine, Input, ListenerAddress, Output, Setup};
use trestle::policy::identity::CertNames;
use trestle::policy::{Identity, Over, Snapshot, UriFacts, UserId, Watched};
use trestle::sip::message::Framing;
use trestle::sip::net::{FlowId, ListenerId, PeerId, Source, Transport};
use trestle::sip::random::Random;
use trestle::sip::time::Now;

use super::cases::Case;

const PER_SOURCE: u32 = 7;
const OF_PEER_C: u32 = 3;
const TRANSACTIONS: usize = 80;

const CONFIG: &str = r#"
domains: [a.example, a2.example]
identity: { host: bridge.a.example, certificate: bridge.pem, key: bridge.key }
listeners:
  - { name: udp, transport: udp, bind: ["127.0.0.1:5060"] }
  - { name: tcp, transport: tcp, bind: ["127.0.0.1:5060"] }
  - { name: tls, transport: tls, bind: ["127.0.0.1:5061"], client_certificate: request }
  - { name: peers, transport: tls, bind: ["127.0.0.1:5062"], client_certificate: require }
users:
  - { aor: alice@a.example, password: { plain: secret-alice }, aliases: ["1001", "sip:alice@old.example"] }
  - { aor: off@a.example, password: { plain: secret-off }, aliases: ["1003"], enabled: { presence: false, client: true } }
  - { aor: mute@a.example, password: { plain: secret-mute }, enabled: { presence: true, client: false } }
  - { aor: dora@a2.example, password: { plain: secret-dora } }
peers:
  - { name: b, domains: [b.example, b2.example], transport: tls, next_hop: "127.0.0.9:5061", tls: { ca: [ca.pem] }, probe: "off" }
  - { name: c, domains: [c.example], transit: [b.example], transport: udp, next_hop: "127.0.0.8:5060", addresses: [127.0.0.8/32], probe: "off",
      limits: { requests: OF_PEER_C } }
  - { name: front, front_end: true, domains: [a2.example], transport: tcp, next_hop: "127.0.0.7:5060", addresses: [127.0.0.7/32], probe: "off" }
  - { name: e, domains: [e.example], transit: ["+1555"], transport: tls, next_hop: "127.0.0.10:5061", tls: { ca: [ca.pem] }, probe: "off",
      assigned: [alice@a.example, mute@a.example, "*@a2.example"], contract: { messages: 100000/s, watched: 1 } }
mappings: { dialplan: plan.yaml }
routes:
  - { match: { suffix: .d.example }, peer: b }
  - { match: { digits: "+1555" }, peer: c }
acl:
  incoming:
    - deny: 127.0.0.66/32
    - deny: { name: evil.example }
    - allow: 127.0.0.0/24
    - allow: { name: e.example }
limits: { per_source: { requests: PER_SOURCE }, max_transactions: TRANSACTIONS }
store: { path: data }
admin: { socket: s.sock, http: "off" }
"#;

const PLAN: &str = r#"
numbers: { rules: [{ digits: 4, begins: "10", add: "+1777" }] }
dial: [{ digits: 11, begins: "1", remove: 7 }]
peers: { e: { strip: "+1777", prefix: "8" } }
"#;

/// The peers in the order of the configuration.
pub(crate) const B: PeerId = PeerId(0);
pub(crate) const C: PeerId = PeerId(1);
pub(crate) const FRONT: PeerId = PeerId(2);
pub(crate) const E: PeerId = PeerId(3);

/// The domains each of them is granted.
pub(crate) const GRANTED: [(PeerId, &str); 5] = [
    (B, "b.example"),
    (B, "b2.example"),
    (C, "c.example"),
    (FRONT, "a2.example"),
    (E, "e.example"),
];

/// Loads the configuration.
pub(crate) fn snapshot(dir: &Path) -> Outcome<Arc<Snapshot>> {
    let text = CONFIG
        .replace("OF_PEER_C", &OF_PEER_C.to_string())
        .replace("PER_SOURCE", &PER_SOURCE.to_string())
        .replace("TRANSACTIONS", &TRANSACTIONS.to_string());
    std::fs::write(dir.join("bridge.yaml"), text)?;
    std::fs::write(dir.join("plan.yaml"), PLAN)?;
    let made = interop_tests::trestle::run(dir, &["cert", "ca", "--dir", ".", "--name", "some CA"])?;
    assert!(made.status.success());
    let loaded = config::load(&dir.join("bridge.yaml")).map_err(|p| p.to_string())?;
    Ok(Arc::new(loaded.snapshot))
}

/// What a handshake proved, and which peer that makes it: said here, not computed.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) identity: Arc<Identity>,
    pub(crate) is: Option<PeerId>,
}

/// No TLS; then certificates: b by either of its domains, a foreign name under b's CA, b's name under another CA, e, e's
/// name under b's CA, and one that several anchors take.
pub(crate) fn identities() -> Vec<Shown> {
    let tls = |dns: &str, anchored: Vec<PeerId>, is| Shown {
        identity: Arc::new(Identity::TlsPeer {
            names: CertNames {
                dns: vec![dns.into()],
                has_san: true,
                ..CertNames::default()
            },
            anchored,
            pinned: Vec::new(),
            chain: Arc::from([]),
        }),
        is,
    };
    vec![
        Shown {
            identity: Arc::new(Identity::no_tls("none")),
            is: None,
        },
        tls("b.example", vec![B], Some(B)),
        tls("b2.example", vec![B], Some(B)),
        tls("evil.example", vec![B], None),
        tls("b.example", vec![E], None),
        tls("e.example", vec![E], Some(E)),
        tls("e.example", vec![B], None),
        tls("e.example", vec![B, E], Some(E)),
    ]
}

/// The addresses that are watched at peer e.
#[derive(Debug)]
pub(crate) struct Told(std::collections::BTreeSet<String>);

impl Watched for Told {
    fn count(&self, peer: PeerId) -> u32 {
        if peer == E { self.0.len() as u32 } else { 0 }
    }

    fn has(&self, peer: PeerId, uri: &UriFacts<'_>) -> bool {
        let user = String::from_utf8_lossy(uri.user.unwrap_or_default()).into_owned();
        peer == E && self.0.contains(&format!("{user}@e.example"))
    }
}

/// One second's count of one source or peer.
#[derive(Default)]
struct Second {
    began_ms: u64,
    count: u32,
}

impl Second {
    fn exceeds(&mut self, now_ms: u64, limit: u32) -> bool {
        if now_ms >= self.began_ms + 1000 {
            (self.began_ms, self.count) = (now_ms, 0);
        }
        self.count += 1;
        self.count > limit
    }
}

/// The engine and the time.
pub(crate) struct World {
    engine: Engine,
    pub(crate) now: Now,
    sources: HashMap<IpAddr, Second>,
    of_c: Second,
    flows: u64,
}

impl World {
    pub(crate) fn start(snapshot: &Arc<Snapshot>, random: &mut Random) -> Outcome<Self> {
        let now = Now {
            mono_ms: 1000,
            wall_ms: 1_700_000_000_000,
        };
        let listener = |id: u16, transport, at: &str| -> Outcome<ListenerAddress> {
            Ok(ListenerAddress {
                id: ListenerId(id),
                transport,
                bound: at.parse()?,
                advertised: at.into(),
            })
        };
        let listeners = vec![
            listener(0, Transport::Udp, "127.0.0.1:5060")?,
            listener(1, Transport::Tcp, "127.0.0.1:5060")?,
            listener(2, Transport::Tls, "127.0.0.1:5061")?,
            listener(3, Transport::Tls, "127.0.0.1:5062")?,
        ];
        let mut seed = [0; 32];
        random.fill(&mut seed);
        let setup = Setup {
            snapshot: Arc::clone(snapshot),
            listeners,
            random: Random::from_seed(seed),
            durable: false,
            route_key: [7; 16],
        };
        let mut world = Self {
            engine: Engine::new(setup, now),
            now,
            sources: HashMap::new(),
            of_c: Second::default(),
            flows: 0,
        };
        world.drain()?;
        Ok(world)
    }

    /// Time passes, and what is due happens: the count of transactions is that of now.
    pub(crate) fn pass(&mut self, ms: u64) -> Outcome {
        self.now = self.now.after(ms);
        self.engine.handle(self.now, Input::Tick);
        self.drain().map(|_| ())
    }

    /// Counts a request, as the engine will, and says what it is over.
    pub(crate) fn count(&mut self, source: &Source) -> Over {
        let now = self.now.mono_ms;
        let ip = source.remote.ip();
        // Who may come by UDP may come by TCP.
        let is_c = source.transport != Transport::Tls && ip == IpAddr::from([127, 0, 0, 8]);
        Over {
            source_requests: self.sources.entry(ip).or_default().exceeds(now, PER_SOURCE),
            peer_requests: is_c && self.of_c.exceeds(now, OF_PEER_C),
            subscriptions: false,
            // Its own transaction counts too.
            overloaded: self.engine.status().transactions + 1 >= TRANSACTIONS,
        }
    }

    /// What is watched at peers, told by who watches whom.
    pub(crate) fn watched(&self) -> Told {
        let all = self.engine.subscription_status(self.now);
        let there = all
            .into_iter()
            .map(|s| s.presentity)
            .filter(|p| p.ends_with("@e.example"));
        Told(there.collect())
    }

    /// A user of the configuration.
    pub(crate) fn user(&self, user: &[u8], host: &[u8]) -> Option<UserId> {
        self.engine.snapshot().users.find(user, host)
    }

    pub(crate) fn over(&mut self, case: &Case) -> Over {
        self.count(&case.source)
    }

    /// A place a request comes from: listener (`None`: a connection that we opened) and remote address.
    pub(crate) fn source(&mut self, listener: Option<u16>, remote: &str) -> Outcome<Source> {
        let (transport, local): (_, &str) = match listener {
            Some(0) => (Transport::Udp, "127.0.0.1:5060"),
            Some(1) => (Transport::Tcp, "127.0.0.1:5060"),
            Some(2) => (Transport::Tls, "127.0.0.1:5061"),
            _ => (Transport::Tls, "127.0.0.1:5062"),
        };
        self.flows += 1;
        Ok(Source {
            transport,
            remote: remote.parse::<SocketAddr>()?,
            local: local.parse()?,
            listener: listener.map(ListenerId),
            flow: (transport != Transport::Udp).then_some(FlowId(self.flows)),
        })
    }

    /// Sends a request; returns everything that comes of it. Who is watched, asked or called answers 200 by itself.
    pub(crate) fn exchange(&mut self, source: Source, shown: &Shown, text: &str) -> Outcome<Vec<Message>> {
        if source.flow.is_some() {
            let peer = if source.listener.is_none() { shown.is } else { None };
            let identity = Arc::clone(&shown.identity);
            self.engine.handle(self.now, Input::Opened { source, identity, peer });
        }
        self.receive(source, text.as_bytes())
    }

    fn receive(&mut self, source: Source, bytes: &[u8]) -> Outcome<Vec<Message>> {
        let framing = Framing::Datagram;
        self.engine.handle(self.now, Input::Message { source, bytes, framing });
        self.drain()
    }

    fn drain(&mut self) -> Outcome<Vec<Message>> {
        let mut all = Vec::new();
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Resolve {
                    token,
                    host,
                    port,
                    transport,
                } => {
                    let targets = vec![(transport, SocketAddr::new(host.parse()?, port.unwrap_or(5060)))];
                    self.engine.handle(self.now, Input::Resolved { token, targets });
                }
                Output::Send { wire, .. } => all.extend(Message::parse(&wire)),
                _ => {}
            }
        }
        let asked: Vec<Vec<u8>> = all
            .iter()
            .filter(|m| m.is("NOTIFY") || m.is("SUBSCRIBE") || m.is("INVITE"))
            .map(|m| m.answer(200, "far", "Expires: 3600\r\nContact: <sip:far@127.0.0.9:5061>\r\n", ""))
            .collect();
        let far = self.source(Some(0), "127.0.0.250:5060")?;
        for answer in asked {
            all.extend(self.receive(far, &answer)?);
        }
        Ok(all)
    }

    /// Status and rule of the answer to a case; 0 when it is still under way.
    pub(crate) fn send(&mut self, case: &Case) -> Outcome<(u16, Option<String>)> {
        let all = self.exchange(case.source, &case.shown, &case.text)?;
        let mine = all.iter().rfind(|m| m.status() > 0 && m.branch() == case.branch);
        // The text of what is malformed has blanks, the id of a rule has none.
        let rule = mine
            .and_then(|m| m.header("Warning")?.split('"').nth(1))
            .filter(|text| !text.contains(' '));
        Ok((mine.map_or(0, Message::status), rule.map(str::to_string)))
    }
}
