//! Scripted peers.

use super::judge::judge;
use super::overlay::{Suggestion, suggest};
use super::{About, Action, Finding, MOST_MS, MOST_SENT, Seen, Session, Setup};
use crate::dialect::{Format, built_in, load};
use crate::sip::message::{Framing, Index, parse};
use crate::sip::net::Transport;
use crate::sip::random::Random;

/// A request as a script sees it.
struct Got<'a> {
    text: &'a str,
}

impl Got<'_> {
    fn method(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }

    fn has(&self, what: &str) -> bool {
        self.text.contains(what)
    }

    fn header(&self, name: &str) -> &str {
        let find = |l: &&str| {
            l.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)) && l[name.len()..].starts_with(':')
        };
        let line = self.text.split("\r\n").find(find).unwrap_or_default();
        line.get(name.len() + 1..).unwrap_or_default().trim()
    }

    fn answer(&self, status: &str, lines: &str, body: &str) -> String {
        let long = |a: &str, b: &str| {
            if self.header(a).is_empty() {
                self.header(b).to_owned()
            } else {
                self.header(a).to_owned()
            }
        };
        let tag = if long("To", "t").contains("tag=") {
            ""
        } else {
            ";tag=there"
        };
        format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:there@192.0.2.1>\r\n\
             {lines}Content-Length: {}\r\n\r\n{body}",
            long("Via", "v"),
            long("From", "f"),
            long("To", "t"),
            long("Call-ID", "i"),
            self.header("CSeq"),
            body.len()
        )
    }

    fn notify(&self, method: &str, media: &str) -> String {
        let (kind, body) = if media.is_empty() {
            (String::new(), "")
        } else {
            (format!("Content-Type: {media}\r\n"), "<x/>")
        };
        format!(
            "{method} sip:192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKn\r\nFrom: {};tag=there\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\nEvent: presence\r\nSubscription-State: active\r\n{kind}\
             Content-Length: {}\r\n\r\n{body}",
            self.header("To"),
            self.header("From"),
            self.header("Call-ID"),
            body.len()
        )
    }
}

fn setup(message_to: bool) -> Setup {
    Setup {
        from: "sip:a.example".into(),
        domain: "b.example".into(),
        to: Some("sip:bob@b.example".into()),
        message_to: message_to.then(|| "sip:test@b.example".into()),
        transport: Transport::Tcp,
        local: "192.0.2.9:5070".into(),
        contact: "192.0.2.9:5070".into(),
        patience_ms: 4_000,
    }
}

/// Runs a session against a script; everything that was sent.
fn run(setup: Setup, script: impl Fn(&Got<'_>) -> Vec<String>) -> (Seen, Vec<String>) {
    let mut session = Session::new(setup, Random::from_seed([7; 32]));
    let (mut now, mut sent) = (0, Vec::new());
    loop {
        match session.poll(now) {
            Action::Done => break,
            Action::Wait(until) => {
                assert!(until > now, "time stands still");
                now = until;
            }
            Action::Send(bytes) if bytes == b"\r\n\r\n" => session.pong(now + 3),
            Action::Send(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                now += 1;
                for message in script(&Got { text: &text }) {
                    let _answer = session.take(now, message.as_bytes());
                }
                sent.push(text);
            }
        }
        assert!(now <= MOST_MS + 40_000, "it never ends");
    }
    let seen = session.seen();
    assert!(seen.sent <= MOST_SENT, "{} sent", seen.sent);
    (seen, sent)
}

/// A peer with these formats and answers to messages.
struct Kind {
    formats: &'static [&'static str],
    label: Option<&'static str>,
    offers: bool,
    pager: &'static str,
    session: &'static str,
}

impl Kind {
    fn answers(&self, got: &Got<'_>) -> Vec<String> {
        match got.method() {
            "ACK" => Vec::new(),
            "SUBSCRIBE" if !got.header("Event").starts_with("presence") => vec![got.answer("489 Bad Event", "", "")],
            "SUBSCRIBE" if self.offers && got.has("ms-piggyback") => {
                vec![got.answer(
                    "200 OK",
                    "Supported: ms-benotify\r\nContent-Type: text/xml+msrtc.pidf\r\n",
                    "<x/>",
                )]
            }
            "SUBSCRIBE" => {
                let accept = got.header("Accept");
                let found = self.formats.iter().find(|f| accept.split(',').any(|a| a.trim() == **f));
                match found {
                    None if !accept.is_empty() => vec![got.answer("406 Not Acceptable", "", "")],
                    found => {
                        let media = self.label.or(found.copied()).unwrap_or_default();
                        vec![
                            got.answer("200 OK", "Expires: 3600\r\n", ""),
                            got.notify("NOTIFY", media),
                        ]
                    }
                }
            }
            "MESSAGE" => vec![got.answer(self.pager, "", "")],
            "INVITE" => vec![got.answer(self.session, "", "")],
            _ => vec![got.answer(
                "200 OK",
                "Allow: INVITE, MESSAGE\r\nSupported: timer, path\r\nServer: Kind/1\r\n",
                "",
            )],
        }
    }

    fn suggested(&self, message_to: bool, now: &str) -> (Suggestion, Vec<Finding>, Vec<String>) {
        let (seen, sent) = run(setup(message_to), |got| self.answers(got));
        let suggestion = suggest("b", &seen, built_in(), now);
        let base = built_in().iter().find(|d| d.name == suggestion.base);
        let written = load::parse(&suggestion.yaml).unwrap_or_else(|e| panic!("{e}\n{}", suggestion.yaml));
        assert!(
            load::build("b", "b.yaml", &written, base.map(|d| &**d)).is_ok(),
            "{}",
            suggestion.yaml
        );
        (suggestion, judge(&seen), sent)
    }
}

const MSRTC: &str = "text/xml+msrtc.pidf";
const PIDF: &str = "application/pidf+xml";
const CPIM: &str = "application/cpim-pidf+xml";
const XPIDF: &str = "application/xpidf+xml";
const CATEGORIES: &str = "application/msrtc-event-categories+xml";

const RFC: Kind = Kind {
    formats: &[PIDF],
    label: None,
    offers: false,
    pager: "200 OK",
    session: "488 Not Acceptable Here",
};

#[test]
fn each_kind_is_recognised() {
    let session = Kind {
        pager: "405 Method Not Allowed",
        session: "200 OK",
        ..RFC
    };
    for (kind, base) in [
        (RFC, "rfc"),
        (session, "sametime75"),
        (
            Kind {
                formats: &[CPIM],
                ..RFC
            },
            "sametime-legacy",
        ),
        (
            Kind {
                formats: &[PIDF, CPIM],
                label: Some(PIDF),
                pager: "405 No",
                ..RFC
            },
            "unified-cm",
        ),
        (
            Kind {
                formats: &[MSRTC, PIDF, XPIDF],
                offers: true,
                pager: "405 No",
                session: "200 OK",
                ..RFC
            },
            "lcs2005",
        ),
        (
            Kind {
                formats: &[CATEGORIES, MSRTC, PIDF, XPIDF],
                offers: true,
                pager: "405 No",
                session: "200 OK",
                ..RFC
            },
            "ocs2007",
        ),
    ] {
        let (suggestion, findings, _) = kind.suggested(true, "rfc");
        assert_eq!(&*suggestion.base, base, "{}", suggestion.yaml);
        assert!(suggestion.differs.is_empty(), "{base}: {}", suggestion.yaml);
        let says = |part: &str| findings.iter().any(|f| f.means.contains(part));
        assert!(
            says("RFC 4028") && says("refused as RFC 6665 says") && says("answers keep-alives"),
            "{findings:#?}"
        );
        assert!(findings.iter().all(|f| !f.means.is_empty() && !f.came.is_empty()));
    }
}

#[test]
fn what_differs_is_written_and_no_more() {
    let head = "about: \"b, as it answered to trestle peer probe\"\nextends: ";
    let by_session = Kind {
        pager: "405 No",
        session: "200 OK",
        ..RFC
    };
    let odd = Kind {
        formats: &[MSRTC, XPIDF],
        ..by_session
    };
    let (suggestion, _, _) = odd.suggested(true, "lcs2005");
    let rest = "lcs2005\nsip:\n  benotify: false\n  piggyback: false\npresence:\n  formats: [msrtc, xpidf]\n";
    assert_eq!(suggestion.yaml, format!("{head}{rest}"));
    assert_eq!(
        suggestion.differs,
        ["sip.benotify", "sip.piggyback", "presence.formats"]
    );
    let newer = Kind {
        formats: &[CPIM],
        ..by_session
    };
    let (suggestion, _, _) = newer.suggested(true, "rfc");
    assert_eq!(
        suggestion.yaml,
        format!("{head}sametime-legacy\nim:\n  mode: session\n")
    );
}

#[test]
fn who_does_not_look_at_accept_has_one_format() {
    let deaf = Kind {
        formats: &[PIDF, CPIM, XPIDF, MSRTC, CATEGORIES],
        label: Some("application/pidf+xml;charset=\"UTF-8\""),
        ..RFC
    };
    let (suggestion, findings, _) = deaf.suggested(true, "rfc");
    assert_eq!((&*suggestion.base, suggestion.differs.len()), ("rfc", 0));
    let says = |part: &str| findings.iter().any(|f| f.means.contains(part));
    assert!(
        says("takes the label text/xml+msrtc.pidf and writes application/pidf+xml"),
        "{findings:#?}"
    );
}

#[test]
fn of_those_that_fit_alike_the_present_one_stays() {
    for (now, base) in [("rfc", "rfc"), ("sametime75", "sametime75"), ("lcs2005", "rfc")] {
        let (suggestion, ..) = RFC.suggested(false, now);
        assert_eq!(&*suggestion.base, base);
        assert!(suggestion.yaml.starts_with("# Fits as well: "), "{}", suggestion.yaml);
    }
}

#[test]
fn nobody_is_written_to_unasked_and_every_subscription_is_ended() {
    let (_, _, sent) = RFC.suggested(false, "rfc");
    assert!(
        !sent.iter().any(|s| s.starts_with("MESSAGE") || s.starts_with("INVITE")),
        "{sent:#?}"
    );
    let starts = |what: &str| {
        sent.iter()
            .filter(|s| s.starts_with("SUBSCRIBE") && s.contains(what))
            .count()
    };
    let lasting = sent
        .iter()
        .filter(|s| s.starts_with("SUBSCRIBE sip:bob") && !s.contains("Expires: 0"))
        .count();
    assert_eq!((lasting, starts("SUBSCRIBE sip:there@192.0.2.1 SIP")), (2, 2));
    let (seen, sent) = run(setup(true), |got| match got.method() {
        "INVITE" => vec![got.answer("180 Ringing", "", "")],
        _ => RFC.answers(got),
    });
    let count = |method: &str| sent.iter().filter(|s| s.starts_with(method)).count();
    assert_eq!(
        (count("INVITE"), count("CANCEL")),
        (2, 2),
        "who is rung is let go at once"
    );
    assert!(
        sent.iter()
            .all(|s| !s.starts_with("MESSAGE") || s.starts_with("MESSAGE sip:test@b.example "))
    );
    assert!(seen.of(About::Invite("message")).is_some_and(|a| a.rang));
    let (_, sent) = run(setup(true), |got| match got.method() {
        "INVITE" => vec![got.answer("200 OK", "", "")],
        _ => RFC.answers(got),
    });
    let count = |method: &str| sent.iter().filter(|s| s.starts_with(method)).count();
    assert_eq!((count("ACK"), count("BYE")), (2, 2));
}

#[test]
fn all_that_is_sent_is_sip() {
    let (_, sent) = run(setup(true), |got| RFC.answers(got));
    for text in &sent {
        let mut index = Index::new();
        let view = parse(text.as_bytes(), Framing::Stream, &mut index).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert!(view.essentials().is_ok(), "{text}");
        assert!(
            !text.starts_with("MESSAGE") || !text.contains("Contact:"),
            "RFC 3428 section 9"
        );
    }
    let mut hostile = setup(true);
    hostile.from = "sip:x\r\nEvil: 1\r\n\r\n@a.example".into();
    let (_, sent) = run(hostile, |got| RFC.answers(got));
    assert!(
        !sent.iter().any(|s| s.contains("\r\nEvil")),
        "no address becomes a header"
    );
}

#[test]
fn silence_garbage_and_refusals_end() {
    let (seen, sent) = run(setup(true), |_| Vec::new());
    assert!(!seen.is_answered() && sent.len() <= 4, "{sent:#?}");
    assert_eq!(seen.stopped.as_deref(), Some("it does not answer"));
    let (seen, _) = run(setup(true), |_| {
        vec!["HTTP/1.1 400 Bad Request\r\n\r\n".into(), "\0\u{1}SIP".into()]
    });
    assert!(!seen.is_answered() && seen.garbage > 0);
    assert!(judge(&seen).iter().any(|f| f.came.contains("no SIP")));
    let (seen, _) = run(setup(true), |got| {
        vec![got.answer("403 Forbidden", "Warning: 399 x \"\u{1b}[31mno\"\r\n", "")]
    });
    assert!(seen.is_answered());
    let findings = judge(&seen);
    assert!(
        findings.iter().any(|f| f.means.contains("federated domains")),
        "{findings:#?}"
    );
    assert!(
        findings
            .iter()
            .all(|f| !f.came.contains('\u{1b}') && !f.means.contains('\u{1b}')),
        "{findings:#?}"
    );
    let suggestion = suggest("b", &seen, built_in(), "unified-cm");
    assert_eq!((&*suggestion.base, suggestion.differs.len()), ("unified-cm", 0));
    assert!(
        suggestion.yaml.starts_with("# Nothing that tells dialects apart"),
        "{}",
        suggestion.yaml
    );
}

#[test]
fn answers_for_others_count_for_nothing() {
    let (seen, _) = run(setup(false), |got| {
        let other = got.answer("200 OK", "", "").replace("Call-ID: ", "Call-ID: x");
        let early = got.answer("200 OK", "", "").replace("CSeq: ", "CSeq: 9");
        vec![other, early]
    });
    assert!(!seen.is_answered());
}

#[test]
fn a_lost_connection_is_noted_and_the_next_question_goes_on() {
    let mut session = Session::new(setup(false), Random::from_seed([1; 32]));
    let mut now = 0;
    let mut sent = 0;
    while sent < 2 {
        match session.poll(now) {
            Action::Send(_) => {
                sent += 1;
                session.lost(now, "it closed the connection");
            }
            Action::Wait(until) => now = until,
            Action::Done => panic!("too early"),
        }
    }
    let seen = session.seen();
    assert!(
        seen.asked.iter().all(|a| a.came() == "it closed the connection"),
        "{seen:?}"
    );
}

#[test]
fn datagrams_are_repeated_but_never_too_often() {
    let udp = Setup {
        transport: Transport::Udp,
        ..setup(true)
    };
    let answered = core::cell::Cell::new(0);
    let (seen, sent) = run(udp, |got| {
        answered.set(answered.get() + 1);
        if answered.get() % 3 == 0 {
            RFC.answers(got)
        } else {
            Vec::new()
        }
    });
    assert!(sent.len() <= MOST_SENT && seen.is_answered());
    assert!(seen.of(About::Options).is_some_and(|a| a.is_well()));
    assert!(
        seen.of(About::Long).is_none(),
        "a long header is no question over datagrams"
    );
    assert!(seen.of(About::Fetch(Format::Pidf)).is_some());
}

proptest::proptest! {
    /// Whatever comes, nothing panics, and everything ends.
    #[test]
    fn anything_may_come(junk in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), 1..4),
        cut in 0..400usize, at in 0..400usize, byte in proptest::prelude::any::<u8>()) {
        run(setup(true), |got| {
            let mut out: Vec<String> = junk.iter().map(|j| String::from_utf8_lossy(j).into_owned()).collect();
            let mut answer = got.answer("200 OK", "Content-Type: x\r\nAllow: \u{1}\r\n", "<x/>").into_bytes();
            let place = at % answer.len();
            if let Some(b) = answer.get_mut(place) {
                *b = byte;
            }
            answer.truncate(answer.len().saturating_sub(cut % 8));
            out.push(String::from_utf8_lossy(&answer).into_owned());
            out.push(got.notify("BENOTIFY", "text/plain"));
            out
        });
    }
}
