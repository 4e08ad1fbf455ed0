//! Floods: what somebody who proves nothing gets out of the bridge, in answers, memory and log lines.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use interop_tests::Outcome;
use interop_tests::net::Family;
use interop_tests::raw::Raw;
use interop_tests::stand::Stand;
use interop_tests::wire::{Message, Request};

/// A socket on a loopback address of its own.
fn at(last: u8) -> Outcome<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(IpAddr::from([127, 0, 3, last]), 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Final answers that have come: how many of them, of the 480s among them, and bytes.
#[derive(Debug, Default, Clone, Copy)]
struct Answers {
    all: usize,
    too_many: usize,
    bytes: usize,
}

impl Answers {
    fn read(&mut self, socket: &UdpSocket) {
        let mut bytes = [0; 65_535];
        while let Ok((length, _)) = socket.recv_from(&mut bytes) {
            let message = Message::parse(bytes.get(..length).unwrap_or_default());
            let status = message.map_or(0, |m| m.status());
            if status >= 200 {
                self.all += 1;
                self.bytes += length;
                self.too_many += usize::from(status == 480);
            }
        }
    }
}

/// Sends requests that differ, and reads what comes.
fn flood(socket: &UdpSocket, server: SocketAddr, count: usize, request: impl Fn(usize) -> Vec<u8>) -> Outcome<Answers> {
    let mut answers = Answers::default();
    for n in 0..count {
        socket.send_to(&request(n), server)?;
        if n % 20 == 19 {
            // No buffer on the way shall be what keeps the flood away.
            std::thread::sleep(Duration::from_millis(10));
            answers.read(socket);
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    answers.read(socket);
    Ok(answers)
}

/// The number behind a name in `trestle ctl status`.
fn counted(stand: &Stand, name: &str) -> Outcome<u64> {
    let status = stand.bridge.ctl("status")?.replace(' ', "");
    let rest = status.split_once(&format!("\"{name}\":")).ok_or("no such number")?.1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}

fn log_lines(stand: &Stand, word: &str) -> usize {
    stand.bridge.log().lines().filter(|l| l.contains(word)).count()
}

/// A source address may be a lie: its owner must not get more out of the bridge than the liar puts in.
#[test]
fn a_refused_request_is_answered_once_for_each_time_it_comes() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let server = stand.bridge.ports.client();
    let mut socks = BTreeMap::new();
    let requests = [
        ("challenged", Raw::new("UDP", "INVITE", "sip:alice@a.example")),
        (
            "a stranger",
            Raw::new("UDP", "INVITE", "sip:alice@a.example").set("From", "<sip:x@evil.example>;tag=1"),
        ),
        ("a bad URI", Raw::new("UDP", "INVITE", "sip:alice@[a.example")),
        ("a scheme", Raw::new("UDP", "INVITE", "mailto:alice@a.example")),
        (
            "no dialog",
            Raw::new("UDP", "INVITE", "sip:alice@a.example").set("To", "<sip:alice@a.example>;tag=2"),
        ),
        (
            "a bad number",
            Raw::new("UDP", "INVITE", "sip:alice@a.example").set("CSeq", "abc INVITE"),
        ),
        ("no call to cancel", Raw::new("UDP", "CANCEL", "sip:alice@a.example")),
        ("OPTIONS", Raw::new("UDP", "OPTIONS", "sip:a.example")),
    ];
    for (n, (name, raw)) in requests.iter().enumerate() {
        let socket = at(u8::try_from(n + 1)?)?;
        for _ in 0..2 {
            socket.send_to(&raw.bytes(), server)?;
        }
        socks.insert(*name, (socket, raw.bytes().len() * 2));
    }
    // Timer G would have sent five more by then.
    std::thread::sleep(Duration::from_secs(9));
    for (name, (socket, sent)) in &socks {
        let mut got = Answers::default();
        got.read(socket);
        assert!((1..=2).contains(&got.all), "{name}: {got:?} for 2 requests");
        assert!(got.bytes <= 3 * sent, "{name}: {got:?} for {sent} bytes");
    }
    Ok(())
}

/// Requests that nobody answers for must not crowd out those of users, nor fill memory.
#[test]
fn refused_requests_leave_the_room_to_users() -> Outcome {
    let limits =
        "limits: { max_transactions: 400, per_source: { connections: 100, handshakes: 100, requests: 100000 } }\n";
    let stand = Stand::start_with(Family::V4, limits)?;
    let server = stand.bridge.ports.client();
    let mut alice = stand.user("alice")?;
    for method in ["OPTIONS", "INVITE", "REGISTER", "CANCEL", "SUBSCRIBE"] {
        let got = flood(&at(50)?, server, 600, |_| {
            Raw::new("UDP", method, "sip:alice@a.example").bytes()
        })?;
        assert!(got.all > 300, "{method}: {got:?}");
        let held = counted(&stand, "transactions")?;
        assert!(held < 200, "{method}: {held} transactions of 400 are held");
        let answer = alice.ask(&Request::new("OPTIONS", "sip:a.example"))?;
        assert_eq!(answer.status(), 200, "{method}: a user is told {}", answer.start);
    }
    Ok(())
}

/// (M) of F: a rate for each source, configurable. A little too much is told so, more is not even read; one log line.
#[test]
fn a_source_gets_its_share_of_requests_and_one_line() -> Outcome {
    let limits = "limits: { per_source: { connections: 100, handshakes: 100, requests: 20 } }\n";
    let mut stand = Stand::start_with(Family::V4, limits)?;
    let server = stand.bridge.ports.client();
    let started = Instant::now();
    let request = |_| Raw::new("UDP", "OPTIONS", "sip:a.example").bytes();
    let got = flood(&at(60)?, server, 400, request)?;
    let seconds = usize::try_from(started.elapsed().as_secs())? + 2;
    let served = got.all - got.too_many;
    assert!((1..=20 * seconds).contains(&served), "{got:?} in {seconds} s");
    assert!((1..=40 * seconds).contains(&got.all), "{got:?} in {seconds} s");
    // Another source is served meanwhile.
    stand.alive()?;
    for word in ["source is held back", "limits.per_source.requests"] {
        let lines = log_lines(&stand, word);
        assert_eq!(lines, 1, "{word}: {}", stand.bridge.log());
    }
    // A stream is read no faster, and loses nothing.
    std::thread::sleep(Duration::from_secs(2));
    let mut stream = stand.link("TCP")?;
    let started = Instant::now();
    for _ in 0..120 {
        stream.send(&Raw::new("TCP", "OPTIONS", "sip:a.example").bytes())?;
    }
    for n in 0..120 {
        let (status, _) = interop_tests::stand::outcome(&mut stream, Duration::from_secs(10));
        assert!(status >= 200, "{n}: {status}");
    }
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
    // The last question of all needs an allowance, too.
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

/// What cannot be read, what is refused, who fails to log in: the log names a source once, not once for each packet.
#[test]
fn a_flood_is_one_line_in_the_log() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let server = stand.bridge.ports.client();
    flood(&at(70)?, server, 300, |n| {
        format!("garbage number {n}\r\n\r\n").into_bytes()
    })?;
    flood(&at(71)?, server, 300, |_| {
        let stranger = Raw::new("UDP", "MESSAGE", "sip:alice@a.example").set("From", "<sip:x@evil.example>;tag=1");
        stranger.bytes()
    })?;
    flood(&at(72)?, server, 300, |n| {
        let digest = format!(
            "Authorization: Digest username=\"alice\", realm=\"a.example\", nonce=\"{n}\", uri=\"sip:a.example\", \
             response=\"0123456789abcdef0123456789abcdef\", qop=auth, nc=00000001, cnonce=\"c\""
        );
        Raw::new("UDP", "REGISTER", "sip:a.example").line(digest).bytes()
    })?;
    for last in ["127.0.3.70", "127.0.3.71", "127.0.3.72"] {
        let lines = log_lines(&stand, last);
        assert_eq!(lines, 1, "{last}: {}", stand.bridge.log());
    }
    Ok(())
}

/// Many who each take what one may: unfinished bodies, and answers that are never read.
#[test]
fn memory_is_bounded_whoever_fills_it() -> Outcome {
    // With patience for slow ones, as it is usual.
    let limits = "limits: { per_source: { connections: 1000, handshakes: 1000, requests: 100000 }, half_request_timeout: 30s }\n";
    let mut stand = Stand::start_with(Family::V4, limits)?;
    let begun = Raw::new("TCP", "OPTIONS", "sip:a.example")
        .set("Content-Length", "1000000")
        .bytes();
    let part = vec![b'x'; 900_000];
    let mut open = Vec::new();
    for _ in 0..400 {
        let mut link = stand.link("TCP")?;
        // One that was cut off already is what we want.
        if link.send(&begun).is_ok() && link.send(&part).is_ok() {
            open.push(link);
        }
    }
    stand.alive()?;
    stand.modest().map_err(|e| format!("unfinished bodies: {e}"))?;
    drop(open);
    // An answer repeats every Via.
    let long = |raw: Raw, n: usize| {
        raw.line(format!(
            "Via: SIP/2.0/TCP {}{n}.invalid;branch=z9hG4bKx",
            "h".repeat(700)
        ))
    };
    let many = (0..60)
        .fold(Raw::new("TCP", "OPTIONS", "sip:a.example"), long)
        .bytes()
        .repeat(4);
    let mut deaf = Vec::new();
    for _ in 0..60 {
        let stream = std::net::TcpStream::connect(stand.bridge.ports.client())?;
        stream.set_nonblocking(true)?;
        deaf.push((stream, 0));
    }
    let end = Instant::now() + Duration::from_secs(60);
    while !deaf.is_empty() && Instant::now() < end {
        stand.modest().map_err(|e| format!("answers that nobody reads: {e}"))?;
        deaf.retain_mut(
            |(stream, at)| match std::io::Write::write(stream, many.get(*at..).unwrap_or_default()) {
                Ok(written) => {
                    *at = (*at + written) % many.len();
                    true
                }
                Err(e) => e.kind() == std::io::ErrorKind::WouldBlock,
            },
        );
    }
    stand.alive()
}
