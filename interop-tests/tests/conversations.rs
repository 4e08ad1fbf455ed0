//! Conversations between a client that sends messages by themselves and a peer that takes them in sessions, through the
//! running bridge: over UDP and TCP, IPv4 and IPv6. The peer is scripted here, byte by byte.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use interop_tests::Outcome;
use interop_tests::agent::{Agent, PATIENCE};
use interop_tests::net::Family;
use interop_tests::pki::Authority;
use interop_tests::stand::DOMAIN;
use interop_tests::trestle::{self, Ports, Trestle};
use interop_tests::wire::{Message, Request, complete, param, unique, uri_of};
use tempfile::TempDir;

/// The socket of the peer.
enum Wire {
    Udp(UdpSocket),
    Tcp(TcpListener, Option<TcpStream>, Vec<u8>),
}

/// Bob, at a server that takes sessions only.
struct Bob {
    wire: Wire,
    local: SocketAddr,
    bridge: SocketAddr,
    seen: Vec<Vec<u8>>,
}

impl Bob {
    fn new(family: Family, tcp: bool, bridge: SocketAddr) -> Outcome<Self> {
        let wire = if tcp {
            Wire::Tcp(TcpListener::bind(family.at(0))?, None, Vec::new())
        } else {
            Wire::Udp(UdpSocket::bind(family.at(0))?)
        };
        let local = match &wire {
            Wire::Udp(socket) => socket.local_addr()?,
            Wire::Tcp(listener, ..) => listener.local_addr()?,
        };
        Ok(Self {
            wire,
            local,
            bridge,
            seen: Vec::new(),
        })
    }

    fn contact(&self) -> String {
        let transport = if matches!(self.wire, Wire::Tcp(..)) {
            ";transport=tcp"
        } else {
            ""
        };
        format!("<sip:bob@{}{transport}>", self.local)
    }

    fn send(&mut self, bytes: &[u8]) -> Outcome {
        match &mut self.wire {
            Wire::Udp(socket) => {
                socket.send_to(bytes, self.bridge)?;
            }
            Wire::Tcp(_, stream, _) => {
                if stream.is_none() {
                    *stream = Some(TcpStream::connect(self.bridge)?);
                }
                stream.as_mut().ok_or("no stream")?.write_all(bytes)?;
            }
        }
        Ok(())
    }

    /// One message off the wire, if one comes soon.
    fn read(&mut self) -> Outcome<Option<Message>> {
        let wait = Duration::from_millis(50);
        let mut bytes = vec![0; 65_536];
        match &mut self.wire {
            Wire::Udp(socket) => {
                socket.set_read_timeout(Some(wait))?;
                let Ok(n) = socket.recv(&mut bytes) else {
                    return Ok(None);
                };
                Ok(Message::parse(&bytes[..n]))
            }
            Wire::Tcp(listener, stream, pending) => {
                if stream.is_none() {
                    listener.set_nonblocking(true)?;
                    match listener.accept() {
                        Ok((accepted, _)) => {
                            accepted.set_nonblocking(false)?;
                            *stream = Some(accepted);
                        }
                        Err(_) => {
                            std::thread::sleep(wait);
                            return Ok(None);
                        }
                    }
                }
                let stream = stream.as_mut().ok_or("no stream")?;
                stream.set_read_timeout(Some(wait))?;
                if complete(pending).is_none()
                    && let Ok(n) = stream.read(&mut bytes)
                {
                    pending.extend_from_slice(&bytes[..n]);
                }
                let Some(end) = complete(pending) else { return Ok(None) };
                let whole: Vec<u8> = pending.drain(..end).collect();
                Ok(Message::parse(&whole))
            }
        }
    }

    /// Waits for something new that fits.
    fn expect(&mut self, what: &str, fits: impl Fn(&Message) -> bool) -> Outcome<Message> {
        let end = Instant::now() + PATIENCE * 2;
        let mut other = Vec::new();
        while Instant::now() < end {
            let Some(message) = self.read()? else { continue };
            if self.seen.contains(&message.raw) {
                continue;
            }
            self.seen.push(message.raw.clone());
            if fits(&message) {
                return Ok(message);
            }
            other.push(message.start);
        }
        Err(format!("bob: no {what}; what came: {other:?}").into())
    }

    fn request(&mut self, method: &str) -> Outcome<Message> {
        self.expect(method, |m| m.is(method))
    }

    fn answer(&mut self, request: &Message, status: u16) -> Outcome {
        self.send(&request.answer(status, "bobs", "", ""))
    }

    fn description(&self) -> String {
        let (ip, kind) = (self.local.ip(), if self.local.is_ipv6() { "IP6" } else { "IP4" });
        format!(
            "v=0\r\no=- 0 0 IN {kind} {ip}\r\ns=session\r\nc=IN {kind} {ip}\r\nt=0 0\r\nm=x-ms-message 5060 sip null\r\n\
             a=accept-types:text/plain text/html text/rtf\r\n"
        )
    }

    /// Takes the bridge's INVITE.
    fn accept(&mut self, invite: &Message) -> Outcome {
        let lines = format!("Contact: {}\r\nContent-Type: application/sdp\r\n", self.contact());
        let body = self.description();
        self.send(&invite.answer(200, "bobs", &lines, &body))
    }

    fn write(&mut self, request: &Request) -> Outcome {
        let transport = if matches!(self.wire, Wire::Tcp(..)) {
            "TCP"
        } else {
            "UDP"
        };
        let via = format!("SIP/2.0/{transport} {};branch=z9hG4bK{};rport", self.local, unique());
        let bytes = request.write(&via);
        self.send(&bytes)
    }

    fn ask(&mut self, request: &Request) -> Outcome<Message> {
        self.write(request)?;
        let (id, cseq) = (request.call_id.clone(), format!("{} {}", request.cseq, request.method));
        self.expect(&format!("answer to {cseq}"), |m| {
            m.status() >= 200 && m.header("Call-ID") == id.as_deref() && m.header("CSeq") == Some(&*cseq)
        })
    }
}

struct Bench {
    bridge: Trestle,
    bob: Bob,
    alice: Agent,
    _dir: TempDir,
}

impl Bench {
    fn start(family: Family, tcp: bool) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let (authority, ports) = (Authority::new()?, Ports::free(family));
        let bob = Bob::new(family, tcp, ports.client())?;
        authority.issue(DOMAIN)?.write(dir.path(), DOMAIN)?;
        let rest = format!(
            "peers:\n  - {{ name: far, domains: [b.example], transport: {}, next_hop: \"{}\", addresses: [\"{}\"], probe: \"off\", \
             dialect: lcs2005 }}\n",
            if tcp { "tcp" } else { "udp" },
            bob.local,
            family.ip()
        );
        std::fs::write(dir.path().join("bridge.yaml"), trestle::config(DOMAIN, &ports, &rest))?;
        let bridge = Trestle::start(dir.path(), ports)?;
        let mut alice = if tcp {
            Agent::tcp("alice", DOMAIN, ports.client())?
        } else {
            Agent::udp("alice", DOMAIN, ports.client())?
        };
        let registered = alice.register(600)?;
        assert_eq!(registered.status(), 200, "{}", registered.start);
        Ok(Self {
            bridge,
            bob,
            alice,
            _dir: dir,
        })
    }

    fn sessions(&self) -> Outcome<String> {
        Ok(self.bridge.ctl("peers")?.replace(' ', ""))
    }
}

/// Alice writes, bob's server gets a session; both talk in it; bob leaves; alice's next message opens another.
fn a_client_opens_a_conversation(family: Family, tcp: bool) -> Outcome {
    let mut bench = Bench::start(family, tcp)?;
    let (bob, alice) = (&mut bench.bob, &mut bench.alice);
    let said = "Grüße, 你好, שלום";
    let answer = std::thread::scope(|scope| -> Outcome<Message> {
        let sending = scope.spawn(|| alice.message("sip:bob@b.example", said).map_err(|e| e.to_string()));
        let invite = bob.request("INVITE")?;
        assert!(
            invite.text().contains("m=x-ms-message 5060 sip null\r\n"),
            "{}",
            invite.text()
        );
        bob.accept(&invite)?;
        bob.request("ACK")?;
        let message = bob.request("MESSAGE")?;
        assert_eq!(message.text(), said);
        bob.answer(&message, 200)?;
        // His turn, in the dialog that the bridge has opened.
        let mut reply = Request::new("MESSAGE", uri_of(invite.header("Contact").unwrap_or_default()))
            .from(format!(
                "<sip:bob@b.example>;tag={}",
                param(message.header("To").unwrap_or_default(), "tag")
            ))
            .to(invite.header("From").unwrap_or_default())
            .body("text/html", "<p>Hello <b>alice</b></p>");
        reply.call_id = invite.header("Call-ID").map(Into::into);
        let answered = bob.ask(&reply)?;
        assert_eq!(answered.status(), 200, "{}", answered.start);
        let mut bye = Request {
            method: "BYE".into(),
            body: Vec::new(),
            cseq: 2,
            ..reply
        };
        bye.headers.clear();
        let answered = bob.ask(&bye)?;
        assert_eq!(answered.status(), 200, "{}", answered.start);
        Ok(sending.join().map_err(|_| "the sender has panicked")??)
    })?;
    assert_eq!(answer.status(), 200, "{}", answer.start);
    let got = alice.messaged("Hello alice")?;
    assert_eq!(got.header("Content-Type"), Some("text/plain;charset=UTF-8"));
    let answer = std::thread::scope(|scope| -> Outcome<Message> {
        let sending = scope.spawn(|| alice.message("sip:bob@b.example", "again").map_err(|e| e.to_string()));
        let invite = bob.request("INVITE")?;
        bob.answer(&invite, 603)?;
        Ok(sending.join().map_err(|_| "the sender has panicked")??)
    })?;
    assert_eq!(answer.status(), 603, "{}", answer.start);
    assert!(bench.sessions()?.contains("\"sessions\":0"), "{}", bench.sessions()?);
    Ok(())
}

/// Bob's server opens a session, with its first message inside; it shows in `trestle ctl peers`; a restart ends it.
fn a_peer_opens_a_conversation(family: Family, tcp: bool) -> Outcome {
    let mut bench = Bench::start(family, tcp)?;
    let bob = &mut bench.bob;
    let mut invite = Request::new("INVITE", "sip:alice@a.example")
        .from("<sip:bob@b.example>;tag=b1;epid=0a1b2c3d")
        .to("<sip:alice@a.example>")
        .with("Contact", bob.contact())
        .with("ms-text-format", "text/plain; charset=UTF-8;msgr=WAAt;ms-body=Zmlyc3Q=")
        .body("application/sdp", bob.description());
    invite.call_id = Some(format!("{}@b.example", unique()));
    let ok = bob.ask(&invite)?;
    assert_eq!(ok.status(), 200, "{}", ok.start);
    assert!(ok.all("Supported").any(|s| s.contains("ms-text-format")));
    let inside = |method: &str, cseq: u32| Request {
        method: method.into(),
        uri: uri_of(ok.header("Contact").unwrap_or_default()).into(),
        to: ok.header("To").map(Into::into),
        cseq,
        headers: Vec::new(),
        body: Vec::new(),
        ..invite.clone()
    };
    bob.write(&inside("ACK", 1))?;
    bench.alice.messaged("first")?;
    let text = inside("MESSAGE", 2).body("text/rtf", "{\\rtf1\\ansi caf\\'e9}");
    let answer = bob.ask(&text)?;
    assert_eq!(answer.status(), 200, "{}", answer.start);
    bench.alice.messaged("café")?;
    let typing = inside("INFO", 3).body(
        "application/xml",
        "<KeyboardActivity><status status=\"type\"/></KeyboardActivity>",
    );
    let answer = bob.ask(&typing)?;
    assert_eq!(answer.status(), 200, "{}", answer.start);
    bench
        .alice
        .expect("typing", PATIENCE, |m| m.text().contains("<state>active</state>"))?;
    assert!(bench.sessions()?.contains("\"sessions\":1"), "{}", bench.sessions()?);
    bench.bridge.stop();
    bench.bridge.start_again()?;
    if let Wire::Tcp(_, stream, pending) = &mut bench.bob.wire {
        *stream = None;
        pending.clear();
    }
    let answer = bench
        .bob
        .ask(&inside("MESSAGE", 4).body("text/plain", "still there?"))?;
    assert_eq!(answer.status(), 481, "{}", answer.start);
    Ok(())
}

/// A server that never answers: 202 in time, and the truth later.
fn silence_is_told(family: Family, tcp: bool) -> Outcome {
    let mut bench = Bench::start(family, tcp)?;
    let (bob, alice) = (&mut bench.bob, &mut bench.alice);
    let started = Instant::now();
    let (answer, invite) = std::thread::scope(|scope| -> Outcome<(Message, Message)> {
        let sending = scope.spawn(|| {
            alice
                .message("sip:bob@b.example", "anybody?")
                .map_err(|e| e.to_string())
        });
        let invite = bob.request("INVITE")?;
        bob.answer(&invite, 180)?;
        Ok((sending.join().map_err(|_| "the sender has panicked")??, invite))
    })?;
    assert_eq!(answer.status(), 202, "{}", answer.start);
    assert!(started.elapsed() >= Duration::from_secs(7), "{:?}", started.elapsed());
    bob.answer(&invite, 480)?;
    let news = alice.expect("news of the failure", PATIENCE, |m| m.is("MESSAGE"))?;
    assert!(
        news.text().contains("could not be delivered to bob@b.example"),
        "{}",
        news.text()
    );
    assert!(
        news.header("From").is_some_and(|f| f.contains("@b.example")),
        "{:?}",
        news.header("From")
    );
    Ok(())
}

/// `name: function;` makes the tests `name::udp_v4` and so on.
macro_rules! everywhere {
    ($($name:ident),+) => {
        $(mod $name {
            use super::*;
            #[test]
            fn udp_v4() -> Outcome {
                super::$name(Family::V4, false)
            }
            #[test]
            fn udp_v6() -> Outcome {
                super::$name(Family::V6, false)
            }
            #[test]
            fn tcp_v4() -> Outcome {
                super::$name(Family::V4, true)
            }
            #[test]
            fn tcp_v6() -> Outcome {
                super::$name(Family::V6, true)
            }
        })+
    };
}

everywhere!(
    a_client_opens_a_conversation,
    a_peer_opens_a_conversation,
    silence_is_told
);
