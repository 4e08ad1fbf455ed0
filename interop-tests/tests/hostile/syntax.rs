//! Syntax: what is wrong is called so, and nothing gets through by it.

use std::time::{Duration, Instant};

use interop_tests::Outcome;
use interop_tests::net::Family;
use interop_tests::raw::{Raw, Verdict};
use interop_tests::stand::{Case, Stand, has_injected};
use interop_tests::wire::Request;

const MALFORMED: Verdict = Verdict::Status(&[400]);
const MALFORMED_OR_DROP: Verdict = Verdict::StatusOrDrop(&[400]);

fn options() -> Raw {
    Raw::new("UDP", "OPTIONS", "sip:a.example")
}

fn message() -> Raw {
    Raw::new("UDP", "MESSAGE", "sip:alice@a.example")
        .line("Content-Type: text/plain")
        .body("hello")
}

#[test]
fn numbers_and_mandatory_headers() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let cseq = |value: &str| options().set("CSeq", value);
    let hops = |value: &str| options().set("Max-Forwards", value);
    // Beyond 2^31-1 and not a number at all; both are answerable.
    let mut cases: Vec<Case> = [
        "-1 OPTIONS",
        "2147483648 OPTIONS",
        "4294967296 OPTIONS",
        "99999999999999999999999 OPTIONS",
    ]
    .iter()
    .chain(&["abc OPTIONS", "1", "1 INVITE", "", "1 OPTIONS OPTIONS"])
    .map(|value| Case::udp("S1 CSeq", &cseq(value), MALFORMED))
    .collect();
    // It would be answered here, not forwarded: either is in order, but never a wrap-around.
    for value in ["0", "-1", "100000000000", "many", "256"] {
        cases.push(Case::udp("S2 Max-Forwards", &hops(value), Verdict::Answered));
    }
    for name in ["To", "From", "Call-ID", "CSeq", "Via"] {
        cases.push(Case::udp(
            "S3 a mandatory header is missing",
            &options().without(name),
            MALFORMED_OR_DROP,
        ));
    }
    for line in [
        "From: <sip:x@a.example>;tag=2",
        "To: <sip:other@a.example>",
        "Call-ID: other@raw.invalid",
        "CSeq: 2 OPTIONS",
    ] {
        cases.push(Case::udp(
            "S4 a second one that differs",
            &options().line(line),
            MALFORMED,
        ));
    }
    for version in ["SIP/7.0", "SIP/3.0", "SIP/1.0", "SIP/2.1"] {
        let start = format!("OPTIONS sip:a.example {version}");
        cases.push(Case::udp(
            "S5 version",
            &options().start(&start),
            Verdict::StatusOrDrop(&[505, 400]),
        ));
    }
    stand.judge(cases)
}

#[test]
fn what_is_not_supported_is_said() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let unknown = Raw::new("UDP", "FROBNICATE", "sip:a.example");
    let scheme = options().start("OPTIONS mailto:alice@a.example SIP/2.0");
    stand.judge(vec![
        // A challenge first is in order: only who may ask is told.
        Case::udp(
            "S6 unknown method",
            &unknown,
            Verdict::Status(&[405, 501, 401, 403, 407]),
        ),
        Case::udp(
            "S7 unknown scheme",
            &scheme,
            Verdict::Status(&[416, 400, 401, 403, 407]),
        ),
        Case::udp(
            "S8 Require",
            &options().line("Require: teleportation"),
            Verdict::Status(&[420, 401, 403, 407]),
        ),
        Case::udp(
            "S8 Proxy-Require",
            &message().line("Proxy-Require: teleportation"),
            Verdict::Status(&[420, 401, 403, 407]),
        ),
    ])?;
    // Who may ask is told.
    let mut alice = stand.user("alice")?;
    for (method, uri, header) in [
        ("OPTIONS", "sip:a.example", "Require"),
        ("SUBSCRIBE", "sip:alice@a.example", "Require"),
        ("MESSAGE", "sip:alice@a.example", "Proxy-Require"),
    ] {
        let request = Request::new(method, uri)
            .with(header, "teleportation")
            .with("Event", "presence");
        let answer = alice.ask(&request.with("Contact", alice.contact()))?;
        assert_eq!(
            (answer.status(), answer.header("Unsupported")),
            (420, Some("teleportation")),
            "S8 {method} {header}"
        );
    }
    let answer = alice.ask(&Request::new("FROBNICATE", "sip:a.example"))?;
    assert!(matches!(answer.status(), 405 | 501), "S6 {}", answer.start);
    Ok(())
}

/// An answer is due where there is somebody to answer: each fault by its own number, over both transports.
#[test]
fn each_fault_has_its_number() -> Outcome {
    let mut stand = Stand::start_with(
        Family::V4,
        "limits: { max_headers: 100, max_header_bytes: 20000, max_body_bytes: 20000 }\n",
    )?;
    let long_uri = format!("OPTIONS sip:{}@a.example SIP/2.0", "u".repeat(9000));
    let mut cases = Vec::new();
    for transport in ["UDP", "TCP", "TLS"] {
        let large = || Raw::new(transport, "OPTIONS", "sip:a.example").line(format!("X: {}", "y".repeat(30_000)));
        let options = || Raw::new(transport, "OPTIONS", "sip:a.example");
        let many = (0..200).fold(options(), |raw, n| raw.line(format!("X-{n}: y")));
        let table: [(&'static str, Raw, Verdict); 6] = [
            ("400", options().set("CSeq", "x OPTIONS"), Verdict::Status(&[400])),
            ("413", options().body("x".repeat(30_000)), Verdict::Status(&[413])),
            ("414", options().start(&long_uri), Verdict::Status(&[414])),
            (
                "505",
                options().start("OPTIONS sip:a.example SIP/3.0"),
                Verdict::Status(&[505]),
            ),
            ("513 lines", many, Verdict::Status(&[513])),
            (
                "513 bytes",
                large(),
                if transport == "UDP" {
                    Verdict::Status(&[513])
                } else {
                    Verdict::StatusOrDrop(&[513])
                },
            ),
        ];
        cases.extend(table.into_iter().map(|(name, raw, verdict)| Case {
            name,
            transport,
            bytes: raw.bytes(),
            verdict,
        }));
    }
    stand.judge(cases)?;
    // S7 as a user: no such scheme here, whichever it is.
    let mut alice = stand.user("alice")?;
    for uri in [
        "mailto:bob@a.example",
        "http://a.example/",
        "urn:service:sos",
        "xmpp:bob@a.example",
        "sip2:bob@a.example",
    ] {
        let answer = alice.ask(&Request::new("OPTIONS", uri))?;
        assert_eq!(answer.status(), 416, "S7 {uri}: {}", answer.start);
    }
    Ok(())
}

#[test]
fn size_costs_no_more_than_its_share() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let many = |line: &str, count: usize| {
        (0..count).fold(options_tcp(), |raw, n| raw.line(line.replace("{}", &n.to_string())))
    };
    let params: String = (0..2000).map(|n| format!(";p{n}=v")).collect();
    let uri = format!("OPTIONS sip:a.example{params} SIP/2.0");
    let long_user = "u".repeat(40_000);
    let long = Raw::new("TCP", "MESSAGE", &format!("sip:{long_user}@a.example"));
    let cases = [
        ("S9 1000 headers", many("X-{}: y", 1000)),
        ("S9 200 Via", many("Via: SIP/2.0/TCP h{}.invalid;branch=z9hG4bK{}", 200)),
        ("S9 2000 parameters", options_tcp().start(&uri)),
        ("S9 500 Record-Route", many("Record-Route: <sip:h{}.invalid;lr>", 500)),
        ("S10 a user part of 40 kB", long),
        (
            "S10 a Call-ID of 50 kB",
            options_tcp().set("Call-ID", "c".repeat(50_000)),
        ),
    ];
    for (name, raw) in cases {
        let started = Instant::now();
        let (got, _) = stand.send("TCP", &raw.bytes(), Duration::from_secs(2))?;
        assert!(got != 0, "{name}: neither answered nor refused in 2 s");
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{name} took {:?}",
            started.elapsed()
        );
        assert!(
            !name.starts_with("S10 a user") || got == 1 || got >= 400,
            "{name}: {got}"
        );
        stand.alive()?;
    }
    stand.modest()
}

fn options_tcp() -> Raw {
    Raw::new("TCP", "OPTIONS", "sip:a.example")
}

#[test]
fn quotes_brackets_and_bytes() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let from = |value: &[u8]| options().set("From", value);
    stand.judge(vec![
        Case::udp(
            "S11 unterminated quote",
            &from(b"\"never ends <sip:x@a.example>;tag=1"),
            MALFORMED,
        ),
        Case::udp("S11 no closing bracket", &from(b"<sip:x@a.example;tag=1"), MALFORMED),
        Case::udp(
            "S11 two opening brackets",
            &from(b"<<sip:x@a.example>;tag=1"),
            MALFORMED,
        ),
        Case::udp(
            "S11 NUL in the display name",
            &from(b"\"a\0b\" <sip:x@a.example>;tag=1"),
            Verdict::Answered,
        ),
        Case::udp(
            "S12 invalid UTF-8",
            &from(b"\"\xff\xfe\xc0\x80\" <sip:x@a.example>;tag=1"),
            Verdict::Answered,
        ),
        Case::udp(
            "S13 bare LF in a header",
            &options().line("Subject: one\nX-Injected: two"),
            Verdict::Survive,
        ),
        Case::udp(
            "S13 bare CR in a header",
            &options().line("Subject: one\rX-Injected: two"),
            Verdict::Survive,
        ),
        Case::udp("an empty header name", &options().line(": nothing"), MALFORMED_OR_DROP),
        Case::udp(
            "a line that is no header",
            &options().line("what is this"),
            MALFORMED_OR_DROP,
        ),
        Case::udp("an empty Via", &options().set("Via", ""), MALFORMED_OR_DROP),
        Case::udp(
            "a Via port beyond 65535",
            &options().set("Via", "SIP/2.0/UDP h.invalid:99999;branch=z9hG4bKx"),
            MALFORMED_OR_DROP,
        ),
    ])
}

#[test]
fn nothing_can_be_written_into_an_answer() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let user = Raw::new("UDP", "MESSAGE", "sip:alice%0d%0aX-Injected:%20yes@a.example").body("x");
    let raws = [
        user,
        options().line("Subject: one\nX-Injected: two"),
        options().set("From", "\"a\\\r\nX-Injected: two\" <sip:x@a.example>;tag=1"),
        options().set("To", "<sip:a.example>;x=\"%0d%0aX-Injected: y\""),
    ];
    for raw in raws {
        let (_, answer) = stand.send("UDP", &raw.bytes(), Duration::from_secs(2))?;
        if let Some(answer) = answer {
            let echoed = answer.header("X-Injected").is_some();
            // A header that was a line of its own in the request may not come back either.
            assert!(
                !echoed && !has_injected(&answer, "X-Injected"),
                "{}",
                String::from_utf8_lossy(&answer.raw)
            );
        }
    }
    Ok(())
}

#[test]
fn stray_responses_are_dropped() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let response = |status: &str| {
        format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP 127.0.0.1:{};branch=z9hG4bKguess\r\nFrom: <sip:x@a.example>;tag=1\r\n\
             To: <sip:y@a.example>;tag=2\r\nCall-ID: stray\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n",
            stand.bridge.ports.plain
        )
        .into_bytes()
    };
    let all = [
        "200 OK",
        "100 Trying",
        "999 Strange",
        "0 Zero",
        "1000 Too Much",
        "-1 Minus",
        "abc Word",
        "486",
        "699 x",
    ];
    let all: Vec<Vec<u8>> = all.iter().map(|s| response(s)).collect();
    let cases = all
        .into_iter()
        .map(|bytes| Case {
            name: "S15",
            transport: "UDP",
            bytes,
            verdict: Verdict::Silence,
        })
        .collect();
    stand.judge(cases)
}
