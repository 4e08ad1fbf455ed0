//! Splitting and checking, on valid and hostile messages of our own wording.

use proptest::prelude::*;

use super::*;
use crate::sip::header::Name;

fn with<R>(bytes: &[u8], check: impl FnOnce(Result<View<'_>, Malformed>) -> R) -> R {
    let mut index = Index::new();
    check(parse(bytes, Framing::Datagram, &mut index))
}

fn request(lines: &str) -> Vec<u8> {
    format!(
        "MESSAGE sip:b@x SIP/2.0\r\n{}\r\n\r\n",
        lines.trim_end().replace('\n', "\r\n")
    )
    .into_bytes()
}

const GOOD: &str = "Via: SIP/2.0/UDP h;branch=z9hG4bK1\nFrom: <sip:a@x>;tag=1\nTo: <sip:b@x>\nCall-ID: c\nCSeq: 1 MESSAGE\nMax-Forwards: 70\nContent-Length: 0";

/// The status `essentials` would answer with; 0 when it is satisfied.
fn verdict(bytes: &[u8]) -> u16 {
    with(bytes, |view| match view.and_then(|v| v.essentials().map(|_| ())) {
        Ok(()) => 0,
        Err(problem) => problem.status,
    })
}

#[test]
fn every_legal_oddity_is_accepted() {
    let odd = b"\r\n\r\nBENOTIFY sip:vivek@example.com;unknown?x=y%20z SIP/2.0\r\n\
        TO :\r\n sip:vivek@example.com ;   tag    = 1918181833n\r\n\
        f   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n\
        MaX-fOrWaRdS: 0068\r\ni: c.a@[2001:db8::9]\r\ncseq: 0009\r\n  BENOTIFY\r\n\
        v:  SIP  / 2.0\r\n /UDP\r\n    [2001:db8::9:1];branch=z9hG4bK2;x\r\n\
        Subject:\r\nX-\x61: \xff\xfe caf\xe9\r\nl: 3\r\n\r\n\x00\xff\x01surplus";
    with(odd, |view| {
        let view = view.expect("splits");
        let e = view.essentials().expect("is complete");
        assert_eq!(e.method.as_bytes(), b"BENOTIFY");
        assert_eq!(
            (e.from.tag(), e.to.tag()),
            (Some(&b"98asjd8"[..]), Some(&b"1918181833n"[..]))
        );
        assert_eq!(
            (e.cseq.number, e.max_forwards, e.via.host),
            (9, Some(68), &b"[2001:db8::9:1]"[..])
        );
        assert_eq!(view.body(), b"\x00\xff\x01");
        assert_eq!(view.named("x-A").next(), Some(&b"\xff\xfe caf\xe9"[..]));
        assert_eq!(view.header(Name::Subject), Some(&b""[..]));
    });
}

#[test]
fn faults_have_their_status() {
    assert_eq!(verdict(&request(GOOD)), 0);
    let replaced = |from: &str, to: &str| verdict(&request(&GOOD.replace(from, to)));
    for cseq in [
        "-1 MESSAGE",
        "2147483648 MESSAGE",
        "99999999999999999999999 MESSAGE",
        "abc MESSAGE",
        "1",
        "1 INVITE",
    ] {
        assert_eq!(replaced("1 MESSAGE", cseq), 400, "{cseq}");
    }
    for hops in ["-1", "100000000000", "many", "256"] {
        assert_eq!(replaced("70", hops), 400, "{hops}");
    }
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let line = GOOD.lines().find(|l| l.starts_with(name)).expect("is there");
        assert_eq!(replaced(line, "X: y"), 400, "{name} missing");
        if name != "Via" {
            assert_eq!(
                verdict(&request(&format!("{GOOD}\n{name}: 2 <sip:else@x>"))),
                400,
                "{name} twice"
            );
        }
    }
    for length in ["-1", "99999999999999999999", "x"] {
        assert_eq!(replaced("Content-Length: 0", &format!("l: {length}")), 400, "{length}");
    }
    assert_eq!(replaced("Content-Length: 0", "l: 5"), 400, "longer than the datagram");
    let version = |v: &str| {
        String::from_utf8_lossy(&request(GOOD))
            .replacen("SIP/2.0", v, 1)
            .into_bytes()
    };
    assert_eq!((verdict(&version("SIP/7.0")), verdict(&version("SIP/3.0"))), (505, 505));
    let long = String::from_utf8_lossy(&request(GOOD)).replacen("sip:b@x", &format!("sip:{}@x", "u".repeat(9000)), 1);
    assert_eq!(verdict(long.as_bytes()), 414);
}

#[test]
fn what_cannot_be_split_is_refused() {
    for bad in [
        &b""[..],
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"MESSAGE sip:a@b SIP/2.0\nVia: x\n\n",
        b"MESSAGE sip:a@b SIP/2.0\r\nVia: x\nEvil: y\r\n\r\n",
        b"MESSAGE sip:a@b SIP/2.0\r\nno colon\r\n\r\n",
        b"MESSAGE sip:a@b SIP/2.0\r\n: empty\r\n\r\n",
        b"MESSAGE sip:a@b\r\n\r\n",
        b"SIP/2.0 99 Low\r\n\r\n",
        b"SIP/2.0 4294967301 Big\r\n\r\n",
        b"SIP/2.0 2x0 OK\r\n\r\n",
    ] {
        assert!(with(bad, |view| view.is_err()), "{}", String::from_utf8_lossy(bad));
    }
    let many = request(&"X: y\n".repeat(2100));
    assert_eq!(with(&many, |view| view.err().map(|m| m.status)), Some(513));
}

#[test]
fn so_many_header_lines_are_let_in_and_not_one_more() {
    let mut index = Index::new();
    for (limit, lines, fits) in [(8, 8, true), (8, 9, false), (2048, 2048, true), (9999, 2049, false)] {
        index.limit_headers(limit);
        let bytes = request(&"X: y\n".repeat(lines));
        let status = parse(&bytes, Framing::Stream, &mut index).err().map(|m| m.status);
        assert_eq!(status, (!fits).then_some(513), "{lines} of {limit}");
    }
}

#[test]
fn long_lists_cost_no_more_than_their_length() {
    let vias = "SIP/2.0/UDP h;branch=z9hG4bK1, ".repeat(20_000);
    let bytes = request(&GOOD.replace("SIP/2.0/UDP h;branch=z9hG4bK1", vias.trim_end_matches(", ")));
    with(&bytes, |view| {
        assert_eq!(view.expect("splits").items(Name::Via).count(), 20_000)
    });
}

proptest! {
    #[test]
    fn noise_never_panics(noise: Vec<u8>) {
        let _ = verdict(&noise);
        let mut glued = request(GOOD);
        let at = noise.len() % glued.len();
        glued.splice(at..at, noise);
        let _ = verdict(&glued);
    }
}
