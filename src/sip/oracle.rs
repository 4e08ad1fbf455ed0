//! `rsip` as an oracle: whatever both accept, both must read alike. Values are made of pieces that a sender may write,
//! right and wrong; how many of them both took is asserted, so that agreement is not silence.
//!
//! Known faults of the oracle are kept out of the pieces and named where they would stand.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rsip::prelude::*;

use super::digest::Credentials;
use super::field::{CSeq, NameAddr, Via};
use super::header::Name;
use super::message::{Framing, Index, parse};
use super::uri::Uri;

/// What one side makes of a value: fields by name, or nothing when it refuses.
type Reading = Option<Vec<(&'static str, String)>>;

const CASES: usize = 4_000;

/// Runs both readers over many values; both must agree on all that both take, and take at least `least`.
fn agree(
    strategy: impl Strategy<Value = String>,
    least: usize,
    ours: impl Fn(&str) -> Reading,
    theirs: impl Fn(&str) -> Reading,
) {
    let mut runner = TestRunner::deterministic();
    let mut both = 0;
    for _ in 0..CASES {
        let value = strategy
            .new_tree(&mut runner)
            .expect("the strategy rejects nothing")
            .current();
        if let (Some(we), Some(they)) = (ours(&value), theirs(&value)) {
            assert_eq!(we, they, "{value:?}");
            both += 1;
        }
    }
    assert!(both >= least, "only {both} of {CASES} values were taken by both");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn one_of(list: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(list).prop_map(str::to_string)
}

/// URIs. Not among them: IPv6 and schemes without meaning here, which the oracle does not read or takes for a user.
fn uri() -> impl Strategy<Value = String> {
    (
        one_of(&["sip:", "sips:", "SIP:", "", "sip"]),
        one_of(&[
            "alice@",
            "a.b-c_d@",
            "+1555@",
            "al%20ice@",
            "alice:pw@",
            "",
            "@",
            "%zz@",
        ]),
        one_of(&[
            "a.example",
            "A.EXAMPLE",
            "10.0.0.1",
            "localhost",
            "a_b.example",
            "",
            "a b",
        ]),
        one_of(&["", ":5060", ":65535", ":70000", ":x"]),
        one_of(&["", ";transport=tcp", ";lr", ";maddr=1.2.3.4;ttl=1", ";x=y"]),
    )
        .prop_map(|(scheme, user, host, port, params)| format!("{scheme}{user}{host}{port}{params}"))
}

fn our_uri(bytes: &[u8]) -> Reading {
    let uri = Uri::parse(bytes).ok()?;
    let part = |part: Option<&[u8]>| part.map(text).unwrap_or_default();
    Some(vec![
        ("user", part(uri.user)),
        ("password", part(uri.password)),
        ("host", text(uri.host_bytes()).to_ascii_lowercase()),
        ("port", uri.port.map(|p| p.to_string()).unwrap_or_default()),
        ("maddr", part(uri.params.get(b"maddr"))),
        ("lr", uri.params.get(b"lr").is_some().to_string()),
    ])
}

/// The oracle puts a user that is more than letters and digits into the host, and takes URIs without scheme: no reading
/// then.
fn their_uri(uri: &rsip::Uri) -> Reading {
    if uri.host().to_string().contains('@') || uri.scheme.is_none() {
        return None;
    }
    let maddr = uri.params.iter().find_map(|p| match p {
        rsip::Param::Maddr(m) => Some(m.to_string()),
        _ => None,
    });
    Some(vec![
        ("user", uri.user().unwrap_or_default().to_string()),
        (
            "password",
            uri.auth.as_ref().and_then(|a| a.password.clone()).unwrap_or_default(),
        ),
        ("host", uri.host().to_string().to_ascii_lowercase()),
        ("port", uri.port().map(|p| p.to_string()).unwrap_or_default()),
        ("maddr", maddr.unwrap_or_default()),
        (
            "lr",
            uri.params.iter().any(|p| matches!(p, rsip::Param::Lr)).to_string(),
        ),
    ])
}

#[test]
fn uris() {
    agree(
        uri(),
        300,
        |value| our_uri(value.as_bytes()),
        |value| rsip::Uri::try_from(value).ok().and_then(|u| their_uri(&u)),
    );
}

fn address() -> impl Strategy<Value = String> {
    (
        one_of(&["", "\"Alice\" ", "Alice ", "\"A. \\\"Q\\\" B\" ", "Alice B "]),
        uri(),
        one_of(&[
            "",
            ";tag=1928301774",
            ";tag=a-b.c",
            ";x=y;tag=z",
            ";expires=60;q=0.5",
            ";TAG=q",
        ]),
    )
        .prop_map(|(name, uri, params)| format!("{name}<{uri}>{params}"))
}

fn our_address(value: &str) -> Reading {
    let address = NameAddr::only(value.as_bytes()).ok()?;
    let mut fields = our_uri(address.uri)?;
    let param = |name: &[u8]| address.params.get(name).map(text).unwrap_or_default();
    fields.push(("tag", param(b"tag")));
    fields.push(("expires", param(b"expires")));
    Some(fields)
}

fn their_address(uri: &rsip::Uri, params: &[rsip::Param]) -> Reading {
    let mut fields = their_uri(uri)?;
    let tag = params.iter().find_map(|p| match p {
        rsip::Param::Tag(tag) => Some(tag.to_string()),
        _ => None,
    });
    let expires = params.iter().find_map(|p| match p {
        rsip::Param::Expires(expires) => Some(expires.to_string()),
        _ => None,
    });
    fields.push(("tag", tag.unwrap_or_default()));
    fields.push(("expires", expires.unwrap_or_default()));
    Some(fields)
}

#[test]
fn from_to_and_contact() {
    agree(address(), 300, our_address, |value| {
        let from = rsip::headers::From::new(value).typed().ok()?;
        their_address(&from.uri, &from.params)
    });
    agree(address(), 300, our_address, |value| {
        let to = rsip::headers::To::new(value).typed().ok()?;
        their_address(&to.uri, &to.params)
    });
    agree(address(), 300, our_address, |value| {
        let contact = rsip::headers::Contact::new(value).typed().ok()?;
        their_address(&contact.uri, &contact.params)
    });
}

#[test]
fn via() {
    let value = (
        one_of(&["SIP/2.0/UDP ", "SIP/2.0/TCP ", "SIP/2.0/TLS ", "SIP/3.0/UDP ", "UDP "]),
        one_of(&["h.example", "10.0.0.1:5070", "h:99999", "H.Example:1", ""]),
        one_of(&[
            "",
            ";branch=z9hG4bK776asdhds",
            ";branch=old",
            ";rport;branch=z9hG4bKx",
            ";rport=5070",
        ]),
        one_of(&["", ";received=192.0.2.1", ";ttl=1", ";maddr=x"]),
    )
        .prop_map(|(protocol, host, branch, rest)| format!("{protocol}{host}{branch}{rest}"));
    let ours = |value: &str| {
        let via = Via::parse(value.as_bytes()).ok()?;
        Some(vec![
            ("transport", text(via.transport)),
            ("host", text(via.host).to_ascii_lowercase()),
            ("port", via.port.map(|p| p.to_string()).unwrap_or_default()),
            ("branch", via.branch().map(text).unwrap_or_default()),
            ("received", via.received().map(text).unwrap_or_default()),
        ])
    };
    let theirs = |value: &str| {
        let via = rsip::headers::Via::new(value).typed().ok()?;
        let received = via.received().ok()?;
        Some(vec![
            ("transport", via.transport.to_string()),
            ("host", via.uri.host().to_string().to_ascii_lowercase()),
            ("port", via.uri.port().map(|p| p.to_string()).unwrap_or_default()),
            ("branch", via.branch().map(|b| b.to_string()).unwrap_or_default()),
            ("received", received.map(|r| r.to_string()).unwrap_or_default()),
        ])
    };
    agree(value, 1_000, ours, theirs);
}

/// Not among the methods: lower case, which the oracle takes for upper case.
#[test]
fn cseq() {
    let value = (
        one_of(&["1", "0", "2147483647", "2147483648", "-1", "x", ""]),
        one_of(&[" ", "  ", "\t", ""]),
        one_of(&["INVITE", "MESSAGE", "SUBSCRIBE", "PUBLISH", "BENOTIFY", ""]),
    )
        .prop_map(|(number, blank, method)| format!("{number}{blank}{method}"));
    let ours = |value: &str| {
        let cseq = CSeq::parse(value.as_bytes()).ok()?;
        Some(vec![
            ("number", cseq.number.to_string()),
            ("method", text(cseq.method.as_bytes())),
        ])
    };
    let theirs = |value: &str| {
        let cseq = rsip::headers::CSeq::new(value).typed().ok()?;
        Some(vec![
            ("number", cseq.seq.to_string()),
            ("method", cseq.method.to_string()),
        ])
    };
    agree(value, 200, ours, theirs);
}

#[test]
fn digest_credentials() {
    let value = (
        one_of(&["Digest ", "digest ", "Basic ", ""]),
        one_of(&["username=\"alice\"", "username=\"a b\"", "username=\"\"", "user=\"x\""]),
        one_of(&["nonce=\"84a4cc6f\"", "nonce=\"a=b==\"", ""]),
        one_of(&[", algorithm=MD5", ", algorithm=SHA-256", ", algorithm=X", ""]),
        one_of(&[", qop=auth, nc=00000001, cnonce=\"c\"", ", qop=auth, nc=0000000a, cnonce=\"0a4f113b\"", ", qop=auth-int, nc=00000001, cnonce=\"c\"", ""]),
    )
        .prop_map(|(scheme, user, nonce, algorithm, qop)| {
            format!("{scheme}{user}, realm=\"a.example\", {nonce}, uri=\"sip:a.example\", response=\"7587245234b3434cc3412213e5f113a5\"{algorithm}{qop}")
        });
    let ours = |value: &str| {
        let c = Credentials::parse(value.as_bytes()).ok()?;
        let nc = c.nc.to_string();
        Some(vec![
            ("username", c.username),
            ("realm", c.realm),
            ("nonce", c.nonce),
            ("uri", c.uri),
            ("response", c.response),
            ("algorithm", c.algorithm.name().to_string()),
            ("cnonce", c.cnonce),
            ("nc", nc),
        ])
    };
    let theirs = |value: &str| {
        let c = rsip::headers::Authorization::new(value).typed().ok()?;
        let Some(rsip::headers::auth::AuthQop::Auth { cnonce, nc }) = c.qop else {
            return None;
        };
        let algorithm = c.algorithm.unwrap_or(rsip::headers::auth::Algorithm::Md5).to_string();
        Some(vec![
            ("username", c.username),
            ("realm", c.realm),
            ("nonce", c.nonce),
            ("uri", c.uri.to_string()),
            ("response", c.response),
            ("algorithm", algorithm),
            ("cnonce", cnonce),
            ("nc", nc.to_string()),
        ])
    };
    agree(value, 100, ours, theirs);
}

fn message(start: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let header = one_of(&[
        "Subject: hello\r\n",
        "X-Own: a: b\r\n",
        "Contact: <sip:x@h>\r\n",
        "Expires: 60\r\n",
        "Supported: path, 100rel\r\n",
        "Via: SIP/2.0/TCP second;branch=z9hG4bK2\r\n",
        "User-Agent: me/1\r\n",
        "Max-Forwards: 70\r\n",
        "Broken\r\n",
    ]);
    (start, proptest::collection::vec(header, 0..6), address(), one_of(&["1 MESSAGE", "7 MESSAGE"]), "[a-z0-9@.]{1,20}", "[ -~]{0,40}").prop_map(
        |(start, headers, from, cseq, call_id, body)| {
            format!(
                "{start}\r\nVia: SIP/2.0/UDP h.example;branch=z9hG4bK1\r\nFrom: {from}\r\nTo: <sip:b@y.example>\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n{}\
                 Content-Length: {}\r\n\r\n{body}",
                headers.concat(),
                body.len()
            )
        },
    )
}

fn our_message(value: &str) -> Reading {
    let mut index = Index::new();
    let view = parse(value.as_bytes(), Framing::Stream, &mut index).ok()?;
    let e = view.essentials().ok()?;
    let first = view
        .status()
        .map_or_else(|| text(e.method.as_bytes()), |s| s.to_string());
    let lines: Vec<String> = view.lines().map(|l| text(l.value)).collect();
    Some(vec![
        ("first", first),
        ("uri", text(view.request_uri())),
        ("call-id", text(e.call_id)),
        ("cseq", e.cseq.number.to_string()),
        ("vias", view.items(Name::Via).count().to_string()),
        ("values", lines.join("|")),
        ("body", text(view.body())),
    ])
}

fn their_message(first: String, uri: String, message: &impl HeadersExt, body: &[u8]) -> Reading {
    let lines: Vec<String> = message
        .headers()
        .iter()
        .map(|h| {
            h.to_string()
                .split_once(": ")
                .map_or_else(String::new, |(_, v)| v.to_string())
        })
        .collect();
    let vias = message
        .headers()
        .iter()
        .filter(|h| matches!(h, rsip::Header::Via(_)))
        .count();
    Some(vec![
        ("first", first),
        ("uri", uri),
        ("call-id", message.call_id_header().ok()?.value().to_string()),
        ("cseq", message.cseq_header().ok()?.typed().ok()?.seq.to_string()),
        ("vias", vias.to_string()),
        ("values", lines.join("|")),
        ("body", text(body)),
    ])
}

#[test]
fn requests() {
    let start = one_of(&[
        "MESSAGE sip:b@y.example SIP/2.0",
        "MESSAGE sip:y.example;lr SIP/2.0",
        "MESSAGE  SIP/2.0",
        "MESSAGE sip:b@y.example SIP/3.0",
    ]);
    agree(message(start), 500, our_message, |value| {
        let request = rsip::Request::try_from(value.as_bytes()).ok()?;
        their_message(
            request.method.to_string(),
            request.uri.to_string(),
            &request,
            &request.body,
        )
    });
}

#[test]
fn responses() {
    let start = one_of(&[
        "SIP/2.0 200 OK",
        "SIP/2.0 486 Busy Here",
        "SIP/2.0 699 x",
        "SIP/2.0 100 Trying",
        "SIP/2.0 99 x",
        "SIP/2.0 abc x",
    ]);
    agree(message(start), 500, our_message, |value| {
        let response = rsip::Response::try_from(value.as_bytes()).ok()?;
        their_message(
            response.status_code.code().to_string(),
            String::new(),
            &response,
            &response.body,
        )
    });
}
