//! Framing of streams and datagrams.

use std::time::{Duration, Instant};

use interop_tests::Outcome;
use interop_tests::link::Received;
use interop_tests::net::Family;
use interop_tests::raw::{CLOSED, Raw, Verdict};
use interop_tests::stand::{Case, Stand, outcome};

const OPTIONS: &str = "sip:a.example";
const WAIT: Duration = Duration::from_secs(4);

fn options(transport: &str) -> Raw {
    Raw::new(transport, "OPTIONS", OPTIONS)
}

#[test]
fn slow_writers_do_not_hold_up_others_and_are_cut_off() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let bytes = options("TCP").bytes();
    let mut slow = (0..60).map(|_| stand.link("TCP")).collect::<Outcome<Vec<_>>>()?;
    for piece in bytes.chunks(8).take(12) {
        for link in &mut slow {
            // One that was cut off already is what we want.
            let _ = link.send(piece);
        }
        let started = Instant::now();
        stand.alive()?;
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "another client waited {:?}",
            started.elapsed()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    // half_request_timeout is 2 s here.
    let end = Instant::now() + Duration::from_secs(10);
    for link in &mut slow {
        let got = outcome(link, end.saturating_duration_since(Instant::now()));
        assert!(
            got.0 == CLOSED || got.0 == 408 || got.0 == 400,
            "an unfinished request is cut off, got {}",
            got.0
        );
    }
    stand.modest()
}

#[test]
fn requests_are_found_however_the_stream_is_cut() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let mut link = stand.link("TCP")?;
    link.send(&[options("TCP").bytes(), options("TCP").bytes()].concat())?;
    assert!(outcome(&mut link, WAIT).0 >= 200, "F2: the first of two in a segment");
    assert!(outcome(&mut link, WAIT).0 >= 200, "F2: the second of two in a segment");
    for byte in options("TCP").bytes() {
        link.send(&[byte])?;
    }
    assert!(
        outcome(&mut link, WAIT).0 >= 200,
        "F3: a request in segments of one byte"
    );
    link.send(b"\r\n\r\n")?;
    assert!(
        matches!(link.receive(Duration::from_millis(300)), Received::Nothing),
        "F4: a ping"
    );
    link.send(&options("TCP").bytes())?;
    assert!(
        outcome(&mut link, WAIT).0 >= 200,
        "F4: the connection is usable after a ping"
    );
    link.send(&options("TCP").bytes())?;
    link.half_close()?;
    assert!(
        outcome(&mut link, WAIT).0 >= 200,
        "F16: a half-closed connection is answered"
    );
    stand.alive()
}

#[test]
fn lengths_that_lie() -> Outcome {
    let refuse = Verdict::StatusOrDrop(&[400, 413, 513]);
    let mut stand = Stand::start(Family::V4)?;
    let long = |value: &str| options("TCP").set("Content-Length", value);
    stand.judge(vec![
        Case::tcp("F5 more announced than sent", &long("500").body("xy"), Verdict::Silence),
        Case::tcp("F7 negative", &long("-1"), refuse),
        Case::tcp("F8 twenty digits", &long("99999999999999999999"), refuse),
        Case::tcp("F9 two thousand million", &long("2000000000"), refuse),
        Case::tcp("F9 not a number", &long("twelve"), refuse),
        Case::tcp("F11 none", &options("TCP").without("Content-Length"), refuse),
    ])?;
    // F7 to F9 at once: nothing is waited for.
    for value in ["-1", "99999999999999999999", "2000000000"] {
        let (got, _) = stand.send("TCP", &long(value).bytes(), Duration::from_millis(1500))?;
        assert_ne!(got, 0, "Content-Length {value} is refused at once");
    }
    // F6: what is beyond the length is no body, and no request.
    let mut link = stand.link("TCP")?;
    link.send(&long("4").body("abcdGARBAGE GARBAGE\r\n\r\n").bytes())?;
    assert!(outcome(&mut link, WAIT).0 >= 200, "F6: the request itself");
    assert!(
        matches!(outcome(&mut link, Duration::from_secs(1)).0, 0 | CLOSED | 400),
        "F6: the garbage behind it"
    );
    stand.alive()
}

#[test]
fn a_request_hidden_behind_two_lengths_never_runs() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let hidden = options("TCP").set("Call-ID", "hidden@raw.invalid").bytes();
    for (first, second) in [(0, hidden.len()), (hidden.len(), 0)] {
        let raw = options("TCP")
            .line(format!("Content-Length: {first}"))
            .line(format!("Content-Length: {second}"))
            .body(&hidden);
        let mut link = stand.link("TCP")?;
        link.send(&raw.bytes())?;
        loop {
            let (got, message) = outcome(&mut link, Duration::from_millis(800));
            assert!(matches!(got, 0 | CLOSED | 400), "F10: {got}");
            let call_id = message
                .as_ref()
                .and_then(|m| m.header("Call-ID"))
                .unwrap_or_default()
                .to_string();
            assert!(!call_id.contains("hidden"), "F10: the hidden request was run");
            if got < 200 {
                break;
            }
        }
        stand.alive()?;
    }
    Ok(())
}

#[test]
fn endless_headers_and_noise() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let mut link = stand.link("TCP")?;
    let head = options("TCP").bytes();
    link.send(head.get(..head.len() - 2).unwrap_or_default())?;
    let chunk = [b"X-Long: ".as_slice(), &[b'a'; 8000], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 8 << 20 && link.send(&chunk).is_ok() {
        sent += chunk.len();
    }
    let (got, _) = outcome(&mut link, WAIT);
    assert!(got == CLOSED || got >= 400, "F12: eight megabytes of header: {got}");
    assert!(sent < 8 << 20, "F12: all of it was read");
    stand.alive()?;
    for (name, noise) in [
        ("F13 random", noise(60_000)),
        ("F14 HTTP", b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec()),
    ] {
        let (got, _) = stand.send("TCP", &noise, Duration::from_secs(3))?;
        assert!(!(200..400).contains(&got), "{name}: {got}");
        stand.alive()?;
    }
    stand.modest()
}

/// Bytes without a pattern, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn many_idle_connections_leave_room_for_one_more() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let idle = (0..250).map(|_| stand.link("TCP")).collect::<Outcome<Vec<_>>>()?;
    stand.alive()?;
    assert_eq!(idle.len(), 250);
    stand.modest()
}

#[test]
fn one_source_gets_its_share_of_connections_and_no_more() -> Outcome {
    let limits = "limits: { per_source: { connections: 8, handshakes: 20, requests: 5000 } }\n";
    let stand = Stand::start_with(Family::V4, limits)?;
    let mut links = Vec::new();
    for _ in 0..30 {
        // A refused connection may show as refused or as closed.
        if let Ok(mut link) = stand.link("TCP")
            && link.send(&options("TCP").bytes()).is_ok()
            && outcome(&mut link, Duration::from_millis(500)).0 >= 200
        {
            links.push(link);
        }
    }
    assert!(
        (1..=8).contains(&links.len()),
        "served {} of 30 connections",
        links.len()
    );
    let lines = stand
        .bridge
        .log()
        .lines()
        .filter(|l| l.contains("per_source") || l.contains("per source"))
        .count();
    assert_eq!(lines, 1, "the limit is logged {lines} times for 22 connections");
    Ok(())
}

#[test]
fn datagrams() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let with = |length: &str, body: &str| options("UDP").set("Content-Length", length).body(body);
    stand.judge(vec![
        Case::udp(
            "F17 length beyond the datagram",
            &with("500", "xy"),
            Verdict::Status(&[400]),
        ),
        Case::udp("F18 surplus bytes", &with("0", "surplus"), Verdict::Understood),
        Case::udp(
            "F19 no length",
            &options("UDP").without("Content-Length"),
            Verdict::Understood,
        ),
    ])?;
    let odd = [
        Vec::new(),
        vec![b'x'],
        vec![0; 500],
        noise(60_000),
        b"\r\n\r\n".to_vec(),
        b"SIP/2.0 200 OK\r\n\r\n".to_vec(),
    ];
    for bytes in odd {
        stand.send("UDP", &bytes, Duration::from_millis(100))?;
        stand.alive()?;
    }
    stand.modest()
}

/// The same bytes inside TLS.
#[test]
fn the_same_under_tls() -> Outcome {
    let refuse = Verdict::StatusOrDrop(&[400, 413, 513]);
    let mut stand = Stand::start(Family::V4)?;
    let long = |value: &str| options("TLS").set("Content-Length", value);
    let hidden = options("TLS").set("Call-ID", "hidden@raw.invalid").bytes();
    let two = options("TLS")
        .line("Content-Length: 0")
        .line(format!("Content-Length: {}", hidden.len()));
    let case = |name, bytes: Vec<u8>, verdict| Case {
        name,
        transport: "TLS",
        bytes,
        verdict,
    };
    stand.judge(vec![
        case("F5", long("500").body("xy").bytes(), Verdict::Silence),
        case("F7", long("-1").bytes(), refuse),
        case("F8", long("99999999999999999999").bytes(), refuse),
        case("F9", long("2000000000").bytes(), refuse),
        case("F10", two.body(&hidden).bytes(), refuse),
        case("F11", options("TLS").without("Content-Length").bytes(), refuse),
        case("F13", noise(60_000), Verdict::RefusedOrDrop),
        case(
            "F14",
            b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(),
            Verdict::RefusedOrDrop,
        ),
    ])?;
    let mut link = stand.link("TLS")?;
    link.send(&[options("TLS").bytes(), b"\r\n\r\n".to_vec(), options("TLS").bytes()].concat())?;
    assert!(outcome(&mut link, WAIT).0 >= 200, "F2");
    assert!(outcome(&mut link, WAIT).0 >= 200, "F2 F4");
    for byte in options("TLS").bytes() {
        link.send(&[byte])?;
    }
    assert!(outcome(&mut link, WAIT).0 >= 200, "F3");
    // F1, F12: neither slow nor endless headers hold up anybody.
    let mut slow = (0..20).map(|_| stand.link("TLS")).collect::<Outcome<Vec<_>>>()?;
    for link in &mut slow {
        let _ = link.send(b"OPTIONS sip:a.example SIP/2.0\r\nVia: ");
    }
    stand.alive()?;
    let end = Instant::now() + Duration::from_secs(10);
    for link in &mut slow {
        let (got, _) = outcome(link, end.saturating_duration_since(Instant::now()));
        assert!(matches!(got, CLOSED | 400 | 408), "F1: {got}");
    }
    let mut endless = stand.link("TLS")?;
    let mut sent = 0;
    while sent < 8 << 20
        && endless
            .send(&[b"X: ".as_slice(), &[b'y'; 8000], b"\r\n"].concat())
            .is_ok()
    {
        sent += 8005;
    }
    assert!(sent < 8 << 20, "F12: all of it was read");
    Ok(())
}

#[test]
fn the_same_on_ipv6() -> Outcome {
    let mut stand = Stand::start(Family::V6)?;
    stand.judge(vec![
        Case::tcp(
            "F9",
            &options("TCP").set("Content-Length", "2000000000"),
            Verdict::StatusOrDrop(&[400, 413, 513]),
        ),
        Case::udp(
            "F17",
            &options("UDP").set("Content-Length", "500"),
            Verdict::Status(&[400]),
        ),
        Case::udp("F19", &options("UDP").without("Content-Length"), Verdict::Understood),
    ])
}
