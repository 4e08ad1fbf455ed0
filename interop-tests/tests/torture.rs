//! Torture in the manner of RFC 4475 and RFC 5118: messages of our own that are valid but rarely seen, and messages that
//! only look valid. Each says what has to become of it.
//!
//! A valid one is answered whatever the answer is, but never called malformed; a broken one is 400 (or another status that
//! is named), or dropped where it cannot be answered.

use interop_tests::Outcome;
use interop_tests::net::Family;
use interop_tests::raw::{Raw, Verdict};
use interop_tests::stand::{Case, Stand};

const VALID: Verdict = Verdict::Understood;
const BROKEN: Verdict = Verdict::StatusOrDrop(&[400]);

fn options() -> Raw {
    Raw::new("UDP", "OPTIONS", "sip:a.example")
}

fn text(bytes: &str) -> Case {
    Case {
        name: "",
        transport: "UDP",
        bytes: bytes.replace('\n', "\r\n").into_bytes(),
        verdict: VALID,
    }
}

fn named(name: &'static str, case: Case) -> Case {
    Case { name, ..case }
}

/// Everything short, odd and folded at once.
const STRANGE: &str = "OPTIONS sip:a.example SIP/2.0
v:  SIP  / 2.0  / UDP
     host.invalid:5999
  ;  branch  =  z9hG4bK-strange_~!*'`+%.
  ;rport
f : \"A \\\"quoted\\\" \\\\ name\"   <sip:x%40y@third.invalid>  ; tag = 1%2~x
t\t:\t<sip:a.example>
i:one@two
CSEQ:
  0009
  OPTIONS
maX-forWARDS:  0068
S: folded
 over
\tthree lines
NewFangled:   a;b=\"c;d\"
 ;e
m: \"Q\" <sip:x@host.invalid;x=y> ; Q = 0.7 ;newparam
k: a, b
l:  0

";

/// Names without quotes, no space before brackets, a token as display name, an empty parameter.
const TIGHT: &str = "OPTIONS sip:a.example SIP/2.0
Via:SIP/2.0/UDP host.invalid;branch=z9hG4bKtight;rport
From:caller<sip:caller@third.invalid>;tag=x
To:<sip:a.example>
Call-ID:%Z~x<\"1\">(){}[]?/
CSeq:1 OPTIONS
Max-Forwards:9
Contact:<sip:caller@host.invalid>;x
Accept:
Content-Length:0

";

#[test]
fn valid_but_rarely_seen() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let from = |value: &str| options().set("From", value);
    let method = Raw::new("UDP", "!interesting-Method0123456789_*+`.%indeed'~", "sip:a.example");
    stand.judge(vec![
        named("compact forms, folding and spaces", text(STRANGE)),
        named("no spaces at all", text(TIGHT)),
        Case::udp("a method of every token character", &method, VALID),
        Case::udp("an escaped user", &options().start("OPTIONS sip:%61lice@a.example SIP/2.0"), VALID),
        Case::udp("a user with slashes and semicolons", &options().start("OPTIONS sip:1;p=q;r/s@a.example SIP/2.0"), VALID),
        Case::udp("upper case in scheme and host", &options().start("OPTIONS SIP:A.EXAMPLE SIP/2.0"), VALID),
        Case::udp("lower case in the version", &options().start("OPTIONS sip:a.example sip/2.0"), Verdict::StatusOrDrop(&[400, 505, 200, 401, 403, 407])),
        Case::udp("a NUL escaped in an address to register", &Raw::new("UDP", "REGISTER", "sip:a.example").set("To", "<sip:n%00l@a.example>").set("From", "<sip:n%00l@a.example>;tag=1"), VALID),
        Case::udp("a NUL escaped in a user", &from("<sip:a%00b@third.invalid>;tag=1"), VALID),
        Case::udp("UTF-8 in a display name", &from("\"Grüße \u{1F44B}\" <sip:x@third.invalid>;tag=1"), VALID),
        Case::udp("no tag in From (RFC 2543)", &from("<sip:x@third.invalid>"), Verdict::Answered),
        Case::udp("no branch (RFC 2543)", &options().set("Via", "SIP/2.0/UDP h.invalid;rport"), VALID),
        Case::udp("a branch without the cookie", &options().set("Via", "SIP/2.0/UDP h.invalid;branch=7;rport"), VALID),
        Case::udp("a branch that is only the cookie", &options().set("Via", "SIP/2.0/UDP h.invalid;branch=z9hG4bK;rport"), Verdict::Answered),
        Case::udp("three Via in one line", &options().set("Via", "SIP/2.0/UDP a.invalid;branch=z9hG4bK1;rport, SIP/2.0/TCP b.invalid;branch=z9hG4bK2,SIP/2.0/SCTP [2001:db8::1]:7;branch=z9hG4bK3"), VALID),
        Case::udp("an unknown transport in Via", &options().line("Via: SIP/2.0/CARRIER-PIGEON c.invalid;branch=z9hG4bKp"), VALID),
        Case::udp("unknown parameters with quoted strings", &options().set("To", "<sip:a.example>;x=\"a;b,c<d>\";y"), VALID),
        Case::udp("commas in quotes and brackets", &options().set("Contact", "\"a, b\" <sip:x@h.invalid;m=1,2>, <sip:y@h.invalid>"), VALID),
        Case::udp("an unknown scheme in From", &from("<mailto:x@third.invalid>;tag=1"), Verdict::Answered),
        Case::udp("a body of an unknown type", &options().line("Content-Type: x/y").body(b"\0\xff\r\n\r\n"), VALID),
        Case::udp("the highest CSeq", &options().set("CSeq", "2147483647 OPTIONS"), VALID),
        Case::udp("Max-Forwards 0 for us", &options().set("Max-Forwards", "0"), Verdict::Answered),
        Case::udp("blank lines before the request", &options().start("\r\n\r\nOPTIONS sip:a.example SIP/2.0"), Verdict::Answered),
        Case::udp("a date nobody reads", &options().line("Date: Fri, 01 Jan 2010 16:00:00 EST"), Verdict::Answered),
    ])
}

#[test]
fn broken_though_it_looks_well() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let via = |value: &str| options().set("Via", value);
    let start = |line: &str| options().start(line);
    stand.judge(vec![
        Case::udp(
            "commas and semicolons before the values",
            &via("SIP/2.0/UDP h.invalid;;,;,,;branch=z9hG4bK1"),
            Verdict::Survive,
        ),
        Case::udp("a Via that is only separators", &via(";,;"), BROKEN),
        Case::udp(
            "two spaces in the first line",
            &start("OPTIONS  sip:a.example SIP/2.0"),
            BROKEN,
        ),
        Case::udp(
            "blanks at its end",
            &start("OPTIONS sip:a.example SIP/2.0  "),
            Verdict::Status(&[400]),
        ),
        Case::udp(
            "headers in the Request-URI",
            &start("OPTIONS sip:x@a.example?Route=%3Csip:h.invalid%3E SIP/2.0"),
            Verdict::Status(&[400]),
        ),
        Case::udp(
            "brackets around the Request-URI",
            &start("OPTIONS <sip:a.example> SIP/2.0"),
            Verdict::StatusOrDrop(&[400, 416]),
        ),
        Case::udp(
            "a space in the Request-URI",
            &start("OPTIONS sip:a.example; lr SIP/2.0"),
            BROKEN,
        ),
        Case::udp(
            "no version",
            &start("OPTIONS sip:a.example"),
            Verdict::StatusOrDrop(&[400, 505]),
        ),
        Case::udp(
            "no host in the Request-URI",
            &start("OPTIONS sip: SIP/2.0"),
            Verdict::StatusOrDrop(&[400, 404, 416]),
        ),
        Case::udp(
            "a port that is none",
            &start("OPTIONS sip:a.example:port SIP/2.0"),
            BROKEN,
        ),
        Case::udp(
            "a port beyond 65535",
            &start("OPTIONS sip:a.example:65536 SIP/2.0"),
            BROKEN,
        ),
        Case::udp(
            "a bad escape",
            &start("OPTIONS sip:a%zz@a.example SIP/2.0"),
            Verdict::RefusedOrDrop,
        ),
        Case::udp(
            "an escaped method is another method",
            &start("%4FPTIONS sip:a.example SIP/2.0"),
            Verdict::Answered,
        ),
        Case::udp(
            "CSeq of another method",
            &options().set("CSeq", "1 INVITE"),
            Verdict::Status(&[400]),
        ),
        Case::udp(
            "a response with a request's CSeq",
            &start("SIP/2.0 200"),
            Verdict::Silence,
        ),
        Case::udp(
            "unquoted commas in a display name: one address, and that is understood",
            &options().set("From", "Bell, Alexander <sip:x@third.invalid>;tag=1"),
            VALID,
        ),
        Case::udp(
            "two addresses in From",
            &options().set("From", "<sip:x@third.invalid>;tag=1, <sip:y@third.invalid>;tag=2"),
            Verdict::Status(&[400]),
        ),
        Case::udp(
            "an address that could be a name",
            &options().set("To", "sip:a.example, <sip:b.example>"),
            Verdict::Status(&[400]),
        ),
        Case::udp(
            "credentials that are two users'",
            &options().line(
                "Authorization: Digest username=\"alice\", username=\"bob\", realm=\"a.example\", nonce=\"n\", uri=\"sip:a.example\", \
                 response=\"0\", cnonce=\"c\", nc=00000001, qop=auth",
            ),
            Verdict::Status(&[400]),
        ),
        Case::udp(
            "To without brackets but with a question mark",
            &options().set("To", "sip:a.example?Route=%3Csip:h.invalid%3E"),
            Verdict::Answered,
        ),
        Case::udp(
            "Expires that is a date",
            &Raw::new("UDP", "REGISTER", "sip:a.example").line("Expires: Thu, 01 Dec 1994 16:00:00 GMT"),
            Verdict::Answered,
        ),
        Case::udp(
            "Content-Length written twice, alike",
            &options().line("Content-Length: 0").line("Content-Length: 0"),
            Verdict::Answered,
        ),
        Case::udp(
            "two Max-Forwards that differ",
            &options().line("Max-Forwards: 5"),
            Verdict::Answered,
        ),
        Case::udp(
            "a header nobody ended",
            &options().line("Subject: \"unterminated"),
            VALID,
        ),
    ])
}

/// What cannot be split into header lines is told so where an answer can be made: never silence, and nothing of what hid
/// behind a bare LF comes back.
#[test]
fn unreadable_requests_are_told_so() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let all_lf = |raw: Raw| String::from_utf8_lossy(&raw.bytes()).replace("\r\n", "\n").into_bytes();
    let mut cases = Vec::new();
    for transport in ["UDP", "TCP"] {
        let raw = || Raw::new(transport, "OPTIONS", "sip:a.example");
        let told = [
            ("every line ends in LF", all_lf(raw())),
            (
                "one line ends in LF",
                raw().line("Subject: one\nX-Injected: two").bytes(),
            ),
            (
                "the start line ends in LF",
                String::from_utf8_lossy(&raw().bytes())
                    .replacen("\r\n", "\n", 1)
                    .into_bytes(),
            ),
            ("a line without a colon", raw().line("this is no header").bytes()),
            ("a name that is no token", raw().line("Not a token: x").bytes()),
            ("a name that is empty", raw().line(": x").bytes()),
            ("a bare CR", raw().line("Subject: one\rtwo").bytes()),
            ("2,100 lines", (0..2100).fold(raw(), |raw, _| raw.line("X: y")).bytes()),
        ];
        for (name, bytes) in told {
            cases.push(Case {
                name,
                transport,
                bytes,
                verdict: Verdict::Status(&[400, 513]),
            });
        }
        let dropped = [
            (
                "an ACK is never answered",
                all_lf(Raw::new(transport, "ACK", "sip:a.example")),
            ),
            ("no Call-ID to answer with", all_lf(raw().without("Call-ID"))),
            ("no way back", all_lf(raw().set("Via", "nonsense"))),
        ];
        for (name, bytes) in dropped {
            cases.push(Case {
                name,
                transport,
                bytes,
                verdict: Verdict::Silence,
            });
        }
    }
    stand.judge(cases)?;
    let bytes = options()
        .set("From", "<sip:x@a.example>;tag=1\nX-Injected: yes")
        .line("Call-Info: x\nTo: <sip:other@a.example>")
        .bytes();
    let (got, answer) = stand.send("UDP", &bytes, std::time::Duration::from_secs(2))?;
    assert_eq!(
        got, 0,
        "two To lines for a lenient reader: nobody can say which counts: {answer:?}"
    );
    let bytes = options()
        .set("From", "<sip:x@a.example>;tag=1\nX-Injected: yes")
        .bytes();
    let (got, answer) = stand.send("UDP", &bytes, std::time::Duration::from_secs(2))?;
    let answer = answer.ok_or("no answer")?;
    assert!(
        got == 400 && !interop_tests::stand::has_injected(&answer, "X-Injected"),
        "{got}: {answer:?}"
    );
    assert!(
        !interop_tests::agent::to_tag(&answer).is_empty() && answer.header("Warning").is_some_and(|w| w.contains("LF"))
    );
    Ok(())
}

/// RFC 5118: IPv6 in every place, right and wrong.
#[test]
fn addresses_of_ipv6() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let mut stand = Stand::start(family)?;
        let via = |value: &str| options().set("Via", value);
        stand.judge(vec![
            Case::udp(
                "a literal in the Request-URI",
                &options().start("OPTIONS sip:[2001:db8::10] SIP/2.0"),
                VALID,
            ),
            Case::udp(
                "with a port",
                &options().start("OPTIONS sip:x@[2001:db8::10]:5070 SIP/2.0"),
                VALID,
            ),
            Case::udp(
                "no brackets, so no telling the port",
                &options().start("OPTIONS sip:2001:db8::10 SIP/2.0"),
                BROKEN,
            ),
            Case::udp(
                "a literal in Via",
                &via("SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bK1;rport"),
                VALID,
            ),
            Case::udp(
                "received without brackets",
                &via("SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bK2;rport"),
                VALID,
            ),
            Case::udp(
                "received with brackets",
                &via("SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bK3;rport"),
                VALID,
            ),
            Case::udp(
                "no brackets in Via",
                &via("SIP/2.0/UDP 2001:db8::9:1;branch=z9hG4bK4;rport"),
                BROKEN,
            ),
            Case::udp(
                "IPv4 inside IPv6",
                &options().set("Contact", "<sip:x@[::ffff:192.0.2.1]>"),
                VALID,
            ),
            Case::udp(
                "two double colons",
                &options().start("OPTIONS sip:x@[2001::db8::1] SIP/2.0"),
                BROKEN,
            ),
            Case::udp(
                "a zone on the wire",
                &options().start("OPTIONS sip:x@[fe80::1%25lo] SIP/2.0"),
                Verdict::StatusOrDrop(&[400, 403, 404, 401, 407]),
            ),
            Case::udp(
                "an unclosed bracket",
                &options().start("OPTIONS sip:x@[2001:db8::1 SIP/2.0"),
                BROKEN,
            ),
            Case::udp(
                "a phone number as user",
                &options().start("OPTIONS sip:+1-555;phone-context=x@[::1]:5060;user=phone SIP/2.0"),
                VALID,
            ),
        ])?;
    }
    Ok(())
}

/// Two requests with one Call-ID, and a request that comes again by another way (RFC 3261 8.2.2.2).
#[test]
fn repeated_requests_get_the_same_answer() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let bytes = options().bytes();
    let mut link = stand.link("UDP")?;
    let mut tags = Vec::new();
    for _ in 0..3 {
        link.send(&bytes)?;
        let (_, answer) = interop_tests::stand::outcome(&mut link, std::time::Duration::from_secs(2));
        let answer = answer.ok_or("a repeated request is answered again")?;
        tags.push(interop_tests::agent::to_tag(&answer).to_string());
    }
    tags.dedup();
    assert_eq!(tags.len(), 1, "a repeated request gets the stored answer: {tags:?}");
    Ok(())
}
