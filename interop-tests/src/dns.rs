//! A DNS server for tests: a zone over UDP and TCP, and for some names a lie instead of an answer.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Outcome;
use crate::net::{Family, free_port};

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// What the server does instead of answering about a name and all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Says nothing.
    Silent,
    /// SERVFAIL.
    ServFail,
    /// NXDOMAIN, whatever the zone holds.
    NxDomain,
    /// An alias of itself.
    Loop,
    /// Truncated over UDP; over TCP it closes without an answer.
    Truncated,
    /// The right answer under another id.
    WrongId,
    /// The right answer to another question.
    WrongQuestion,
    /// Random bytes.
    Garbage,
    /// A header that promises 65535 records, and none.
    Empty,
}

#[derive(Debug, Default)]
struct State {
    zone: HashMap<(String, u16), Vec<Vec<u8>>>,
    lies: HashMap<String, Lie>,
    ttl_s: u32,
    down: bool,
    questions: Vec<(String, u16)>,
}

/// The server. Its threads end with the process.
#[derive(Debug, Clone)]
pub struct Dns {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// A name as labels with their lengths.
fn encoded(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|l| !l.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap_or(63));
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

fn sized(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap_or(255)][..], text.as_bytes()].concat()
}

impl Dns {
    /// Starts it with an empty zone; answers live for 300 s.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(family: Family) -> Outcome<Self> {
        let address = family.at(free_port());
        let (udp, tcp) = (UdpSocket::bind(address)?, TcpListener::bind(address)?);
        let state = State {
            ttl_s: 300,
            ..State::default()
        };
        let dns = Self {
            address,
            state: Arc::new(Mutex::new(state)),
        };
        let (datagrams, streams) = (dns.clone(), dns.clone());
        std::thread::spawn(move || datagrams.serve_udp(&udp));
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let dns = streams.clone();
                std::thread::spawn(move || dns.serve_tcp(stream));
            }
        });
        Ok(dns)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, name: &str, kind: u16, data: Vec<u8>) -> &Self {
        let key = (name.to_ascii_lowercase(), kind);
        self.state().zone.entry(key).or_default().push(data);
        self
    }

    /// An address of either family.
    pub fn host(&self, name: &str, ip: IpAddr) -> &Self {
        match ip {
            IpAddr::V4(ip) => self.add(name, A, ip.octets().to_vec()),
            IpAddr::V6(ip) => self.add(name, AAAA, ip.octets().to_vec()),
        }
    }

    /// A service.
    pub fn srv(&self, name: &str, priority: u16, weight: u16, port: u16, target: &str) -> &Self {
        let numbers = [priority, weight, port].map(u16::to_be_bytes).concat();
        self.add(name, SRV, [numbers, encoded(target)].concat())
    }

    /// Which service a domain prefers; flag `s`.
    pub fn naptr(&self, name: &str, order: u16, service: &str, replacement: &str) -> &Self {
        let numbers = [order, 1].map(u16::to_be_bytes).concat();
        let texts = [sized("s"), sized(service), sized("")].concat();
        self.add(name, NAPTR, [numbers, texts, encoded(replacement)].concat())
    }

    /// Another name of a host.
    pub fn alias(&self, name: &str, target: &str) -> &Self {
        self.add(name, CNAME, encoded(target))
    }

    /// Lies about a name and all below it.
    pub fn lie(&self, name: &str, lie: Lie) -> &Self {
        self.state().lies.insert(name.to_ascii_lowercase(), lie);
        self
    }

    /// Forgets all records; lies stay.
    pub fn clear(&self) -> &Self {
        self.state().zone.clear();
        self
    }

    /// How long answers live, in seconds.
    pub fn ttl(&self, seconds: u32) -> &Self {
        self.state().ttl_s = seconds;
        self
    }

    /// Whether it says nothing at all.
    pub fn down(&self, down: bool) -> &Self {
        self.state().down = down;
        self
    }

    /// How many questions were about a name or what is below it.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        let below = format!(".{name}");
        let state = self.state();
        state
            .questions
            .iter()
            .filter(|(n, _)| n == name || n.ends_with(&below))
            .count()
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        loop {
            let Ok((n, from)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            let question = buffer.get(..n).unwrap_or_default();
            if let Some(answer) = self.answer(question, true) {
                let _ = socket.send_to(&answer, from);
            }
        }
    }

    fn serve_tcp(&self, mut stream: TcpStream) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut question).is_err() {
                return;
            }
            let Some(answer) = self.answer(&question, false) else {
                return;
            };
            let length = u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes();
            if stream.write_all(&[&length[..], &answer].concat()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, question: &[u8], is_udp: bool) -> Option<Vec<u8>> {
        let (name, kind, end) = asked(question)?;
        let mut state = self.state();
        state.questions.push((name.clone(), kind));
        if state.down {
            return None;
        }
        let mut parts = name.as_str();
        let lie = loop {
            if let Some(lie) = state.lies.get(parts) {
                break Some(*lie);
            }
            match parts.split_once('.') {
                Some((_, rest)) => parts = rest,
                None => break None,
            }
        };
        let section = question.get(12..end)?;
        let mut id: [u8; 2] = question.get(..2)?.try_into().ok()?;
        let mut answers = state.records(&name, kind);
        let mut flags: u16 = 0x8180;
        let mut section = section.to_vec();
        match lie {
            Some(Lie::Silent) => return None,
            Some(Lie::ServFail) => (flags, answers) = (flags | 2, Vec::new()),
            Some(Lie::NxDomain) => (flags, answers) = (flags | 3, Vec::new()),
            Some(Lie::Loop) => answers = vec![(name.clone(), CNAME, encoded(&name))],
            Some(Lie::Truncated) if is_udp => (flags, answers) = (flags | 0x200, Vec::new()),
            Some(Lie::Truncated) => return None,
            Some(Lie::WrongId) => id[0] ^= 0x55,
            Some(Lie::WrongQuestion) => section = [&encoded("evil.example")[..], &kind.to_be_bytes(), &[0, 1]].concat(),
            Some(Lie::Garbage) => return Some((0..200_u8).map(|n| n.wrapping_mul(73)).collect()),
            Some(Lie::Empty) => {
                let head = [&id[..], &[0x81, 0x80, 0, 1, 0xff, 0xff, 0, 0, 0, 0]].concat();
                return Some([head, section].concat());
            }
            None if answers.is_empty() && !state.knows(&name) => flags |= 3,
            None => {}
        }
        let mut out = whole(id, flags, &section, &answers, state.ttl_s);
        if is_udp && out.len() > 1200 {
            out = whole(id, flags | 0x200, &section, &[], 0);
        }
        Some(out)
    }
}

type Record = (String, u16, Vec<u8>);

fn whole(id: [u8; 2], flags: u16, section: &[u8], answers: &[Record], ttl_s: u32) -> Vec<u8> {
    let mut out = id.to_vec();
    out.extend(flags.to_be_bytes());
    out.extend([0, 1]);
    out.extend(u16::try_from(answers.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend([0; 4]);
    out.extend(section);
    for (owner, kind, data) in answers {
        out.extend(encoded(owner));
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(ttl_s.to_be_bytes());
        out.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(data);
    }
    out
}

impl State {
    fn knows(&self, name: &str) -> bool {
        let below = format!(".{name}");
        self.zone.keys().any(|(n, _)| n == name || n.ends_with(&below))
    }

    /// The records of a name, behind its aliases; at most eight of those.
    fn records(&self, name: &str, kind: u16) -> Vec<Record> {
        let (mut out, mut owner) = (Vec::new(), name.to_string());
        for _ in 0..8 {
            if let Some(found) = self.zone.get(&(owner.clone(), kind)) {
                out.extend(found.iter().map(|data| (owner.clone(), kind, data.clone())));
                break;
            }
            let Some(alias) = self.zone.get(&(owner.clone(), CNAME)).and_then(|a| a.first()) else {
                break;
            };
            out.push((owner.clone(), CNAME, alias.clone()));
            let Some((target, _)) = decoded(alias, 0) else { break };
            owner = target;
        }
        out
    }
}

/// The uncompressed name at a place, lower case, and where it ends.
fn decoded(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*bytes.get(at)?);
        if length == 0 {
            return Some((labels.join("."), at + 1));
        }
        let label = bytes.get(at + 1..at + 1 + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + length;
    }
}

/// Name and kind of the question, and where its section ends.
fn asked(question: &[u8]) -> Option<(String, u16, usize)> {
    let (name, end) = decoded(question, 12)?;
    let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
    Some((name, kind, end + 4))
}
