//! What is forwarded keeps every line that is not the proxy's to change, byte for byte and in order; and what was written
//! reads back.

use core::net::IpAddr;

use bytes::BytesMut;
use proptest::prelude::*;

use super::header::Name;
use super::message::{Framing, Index, parse};
use super::uri::Uri;
use super::write;

/// Header lines that nobody on the way may touch.
fn untouched() -> impl Strategy<Value = String> {
    prop_oneof![
        ("[A-Za-z-]{1,12}", "[ -~]{0,30}").prop_map(|(name, value)| format!("X-{name}: {value}\r\n")),
        ("[\t ]{0,3}", "[!-~]{1,10}", "[\t ]{1,2}", "[!-~]{0,10}")
            .prop_map(|(a, b, c, d)| format!("Subject{a}:{a}{b}\r\n{c}{d}\r\n")),
        Just("s: \u{fc}\u{1f44b}\r\n".to_string()),
        Just("Contact: \"a, b\" <sip:x@h;m=1,2>;q=0.5, <sip:y@h>\r\n".to_string()),
        Just("m:<sip:x@h>\r\n".to_string()),
        Just("Record-Route: <sip:p1;lr>,<sip:p2;lr>\r\n".to_string()),
        Just("Expires:60\r\n".to_string()),
        Just("SUPPORTED :  path\t\r\n".to_string()),
    ]
}

#[derive(Debug, Clone)]
struct Lines {
    all: Vec<String>,
    body: Vec<u8>,
}

/// A request of mandatory lines, some in compact form, and others in any order.
fn request() -> impl Strategy<Value = Lines> {
    let via = proptest::sample::select(vec![
        "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n",
        "v:SIP/2.0/UDP h;rport;branch=z9hG4bK1 , SIP/2.0/TCP i\r\n",
    ]);
    let more = prop_oneof![Just(""), Just("Via: SIP/2.0/TCP j;branch=z9hG4bK2\r\n")];
    let route = prop_oneof![
        Just(""),
        Just("Route: <sip:us;lr>\r\n"),
        Just("Route: <sip:us;lr>,\r\n <sip:next;lr>\r\n")
    ];
    let hops = prop_oneof![Just(""), Just("Max-Forwards: 70\r\n"), Just("max-forwards:\t070\r\n")];
    let breadth = prop_oneof![Just(""), Just("Max-Breadth: 4\r\n")];
    (
        via,
        more,
        route,
        hops,
        breadth,
        proptest::collection::vec(untouched(), 0..8),
        any::<prop::sample::Index>(),
        proptest::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(via, more, route, hops, breadth, others, at, body)| {
            let mut all: Vec<String> = [via, more, route, hops, breadth]
                .into_iter()
                .filter(|l| !l.is_empty())
                .map(str::to_string)
                .collect();
            all.extend(
                [
                    "f: <sip:a@x>;tag=1\r\n",
                    "To:<sip:b@x>\r\n",
                    "i: c\r\n",
                    "CSeq: 1  MESSAGE\r\n",
                ]
                .map(str::to_string),
            );
            all.push(format!("l: {}\r\n", body.len()));
            let at = at.index(all.len() + 1);
            all.splice(at..at, others);
            Lines { all, body }
        })
}

fn whole(start: &str, lines: &Lines) -> Vec<u8> {
    [start.as_bytes(), lines.all.concat().as_bytes(), b"\r\n", &lines.body].concat()
}

/// Lines that forwarding may change or add.
fn may_change(line: &str) -> bool {
    let name = Name::from_bytes(line.split(':').next().unwrap_or_default().trim().as_bytes());
    matches!(name, Name::Via | Name::Route | Name::MaxForwards | Name::MaxBreadth)
}

fn kept(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).filter(|l| !may_change(l)).collect()
}

/// The lines of written bytes with folds, and the body.
fn read_back(bytes: &[u8]) -> (Vec<String>, Vec<u8>) {
    let mut index = Index::new();
    let view = parse(bytes, Framing::Stream, &mut index).expect("what we write can be read");
    view.essentials().expect("and is complete");
    let lines = view
        .lines()
        .map(|l| String::from_utf8_lossy(l.raw).into_owned())
        .collect();
    (lines, view.body().to_vec())
}

proptest! {
    #[test]
    fn a_forwarded_request_keeps_what_is_not_ours(lines in request(), drop in 0usize..2, push: bool) {
        let bytes = whole("MESSAGE sip:b@x;p=%20 SIP/2.0\r\n", &lines);
        let mut index = Index::new();
        let view = parse(&bytes, Framing::Stream, &mut index).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let plan = write::Forward {
            via: b"SIP/2.0/TCP us;branch=z9hG4bKn",
            max_forwards: 69,
            max_breadth: Some(2),
            drop_first_routes: drop,
            push_record_route: push.then_some(b"<sip:us;lr>"),
            set_received: Some((IpAddr::from([192, 0, 2, 1]), 5999)),
            ..write::Forward::default()
        };
        let mut out = BytesMut::new();
        write::forward_request(&mut out, &view, &plan);
        prop_assert!(out.starts_with(b"MESSAGE sip:b@x;p=%20 SIP/2.0\r\nVia: SIP/2.0/TCP us;branch=z9hG4bKn\r\n"));
        let (mut after, body) = read_back(&out);
        prop_assert_eq!(after.iter().filter(|l| l.starts_with("Max-Forwards: 69\r\n")).count(), 1);
        prop_assert_eq!(after.iter().filter(|l| l.starts_with("Max-Breadth: 2\r\n")).count(), 1);
        if push {
            prop_assert_eq!(after.remove(1), "Record-Route: <sip:us;lr>\r\n");
        }
        prop_assert_eq!(kept(&after), kept(&lines.all));
        prop_assert_eq!(body, lines.body);
        // Written once more without a change of ours, only the new Via differs.
        let mut index = Index::new();
        let view = parse(&out, Framing::Stream, &mut index).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let again = write::Forward { via: b"SIP/2.0/UDP two", max_forwards: 69, ..write::Forward::default() };
        let mut twice = BytesMut::new();
        write::forward_request(&mut twice, &view, &again);
        let via = b"Via: SIP/2.0/UDP two\r\n";
        let at = b"MESSAGE sip:b@x;p=%20 SIP/2.0\r\n".len();
        prop_assert_eq!(&twice[at..at + via.len()], via);
        prop_assert_eq!([&twice[..at], &twice[at + via.len()..]].concat(), out.to_vec());
    }

    #[test]
    fn a_forwarded_response_loses_only_the_top_via(lines in request()) {
        let mut with_ours = lines.clone();
        with_ours.all.insert(0, "Via: SIP/2.0/TCP us;branch=z9hG4bKn\r\n".into());
        let bytes = whole("SIP/2.0 200 Fine  here\r\n", &with_ours);
        let mut index = Index::new();
        let view = parse(&bytes, Framing::Stream, &mut index).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let mut out = BytesMut::new();
        write::forward_response(&mut out, &view);
        prop_assert_eq!(out.to_vec(), whole("SIP/2.0 200 Fine  here\r\n", &lines));
    }

    #[test]
    fn an_answer_copies_what_belongs_to_the_transaction(lines in request()) {
        let bytes = whole("MESSAGE sip:b@x SIP/2.0\r\n", &lines);
        let mut index = Index::new();
        let view = parse(&bytes, Framing::Stream, &mut index).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let mut out = BytesMut::new();
        write::respond(&mut out, &view, None, &write::Answer::new(404, "Not Found").tag(b"t"));
        let (after, _) = read_back(&out);
        let copied = |l: &&String| {
            let name = Name::from_bytes(l.split(':').next().unwrap_or_default().trim().as_bytes());
            matches!(name, Name::Via | Name::From | Name::CallId | Name::CSeq)
        };
        let (before, after): (Vec<&String>, Vec<&String>) = (lines.all.iter().filter(copied).collect(), after.iter().filter(copied).collect());
        prop_assert_eq!(before, after);
    }
}

/// URIs of pieces that comparison looks at.
fn uri() -> impl Strategy<Value = String> {
    let pick = |list: &'static [&'static str]| proptest::sample::select(list);
    (
        pick(&["sip:", "SIP:", "sips:", "pres:", "tel:", "urn:"]),
        pick(&["alice@", "%61lice@", "ALICE@", "alice:pw@", "", "+1-555@"]),
        pick(&[
            "a.example",
            "A.example",
            "a.example.",
            "[::1]",
            "[0:0::1]",
            "10.0.0.1",
            "+1555",
        ]),
        pick(&["", ":5060", ":5061"]),
        proptest::collection::vec(
            pick(&[
                ";transport=tcp",
                ";TRANSPORT=TCP",
                ";lr",
                ";x=1",
                ";x=2",
                ";X=%31",
                ";user=phone",
                ";maddr=h",
                ";ttl=1",
                ";method=INFO",
                ";",
            ]),
            0..4,
        ),
        pick(&["", "?a=b", "?a=b&c=d", "?c=d&a=b", "?A=b"]),
    )
        .prop_map(|(scheme, user, host, port, params, headers)| {
            format!("{scheme}{user}{host}{port}{}{headers}", params.concat())
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn uri_equality_is_reflexive_and_symmetric(a in uri(), b in uri()) {
        let (Ok(x), Ok(y)) = (Uri::parse(a.as_bytes()), Uri::parse(b.as_bytes())) else { return Ok(()) };
        prop_assert!(x.equals(&x), "{} is not itself", a);
        prop_assert_eq!(x.equals(&y), y.equals(&x), "{} and {}", a, b);
    }
}

/// RFC 3261 section 19.1.4 has examples of its own for both; these are in their manner.
#[test]
fn uri_equality_tells_apart_what_differs() {
    let same = |a: &str, b: &str| match (Uri::parse(a.as_bytes()), Uri::parse(b.as_bytes())) {
        (Ok(a), Ok(b)) => a.equals(&b),
        other => panic!("{other:?}"),
    };
    for (a, b) in [
        (
            "sip:%61lice@a.example;transport=TCP",
            "sip:alice@A.EXAMPLE;Transport=tcp",
        ),
        ("sip:a@x;newparam=5", "sip:a@x"),
        ("sip:a@x?h=1&g=2", "sip:a@x?g=2&h=1"),
        ("sip:a@[::1]", "sip:a@[0:0:0::1]"),
    ] {
        assert!(same(a, b), "{a} {b}");
    }
    for (a, b) in [
        ("sip:ALICE@x", "sip:alice@x"),
        ("sip:a@x", "sip:a@x:5060"),
        ("sip:a@x", "sip:a@x;transport=udp"),
        ("sip:a@x", "sips:a@x"),
        ("sip:a@x", "sip:a@x?h=1"),
        ("sip:a@x;p=1", "sip:a@x;p=2"),
        ("sip:a:pw@x", "sip:a@x"),
    ] {
        assert!(!same(a, b), "{a} {b}");
    }
}
