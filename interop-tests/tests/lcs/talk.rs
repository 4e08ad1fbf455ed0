//! Conversations in sessions, the first message inside the INVITE, typing, and clients that do not answer.

use std::time::Duration;

use interop_tests::emulators::scenes::{converse, expect_status, in_session, typing};
use interop_tests::emulators::site::{ALICE, BOB, Site, gets, only_once};
use interop_tests::emulators::{PATIENCE, bodies};
use interop_tests::{Outcome, eventually};

use super::kinds::{live, office};

#[test]
fn it_begins_a_conversation() -> Outcome {
    live().ways().into_iter().try_for_each(|way| converse(way, true))?;
    converse(office(), true)
}

#[test]
fn a_plain_user_begins_a_conversation() -> Outcome {
    live().ways().into_iter().try_for_each(|way| converse(way, false))?;
    converse(office(), false)
}

#[test]
fn typing_crosses() -> Outcome {
    live().ways().into_iter().try_for_each(typing)?;
    typing(office())
}

/// Without the text in the INVITE the first message is the one that follows, and comes once as well.
#[test]
fn an_invite_without_a_text() -> Outcome {
    let mut setup = live();
    setup.habits.first_in_invite = false;
    converse(setup, true)
}

/// The session is asked for anew, and its numbers fall behind that: what follows is not taken for a repeat.
#[test]
fn numbers_fall_after_a_re_invite() -> Outcome {
    let site = Site::start(live())?;
    let mut alice = site.user("alice")?;
    site.peer.write(BOB, ALICE, "before")?;
    gets(&mut alice, BOB, "before").map_err(|e| site.explain(&e))?;
    in_session(&site)?;
    for round in 0..2 {
        let again = site.peer.with(|i| i.reinvite(BOB, ALICE)).ok_or("no session")?;
        expect_status(&site.peer.ask(&again)?, 200).map_err(|e| site.explain(&e))?;
        // The ACK leaves before anything else is written.
        eventually("the ACK is out", PATIENCE, || {
            let log = site.peer.log();
            let acks = log.iter().filter(|e| e.sent && e.message.is("ACK")).count();
            acks == round + 2
        })?;
        for n in 0..3 {
            let text = format!("after {round} {n}");
            site.peer.write(BOB, ALICE, &text)?;
            gets(&mut alice, BOB, &text).map_err(|e| site.explain(&e))?;
            only_once(&mut alice, &text)?;
        }
    }
    let log = site.peer.log();
    let refused = log.iter().find(|e| !e.sent && matches!(e.message.status(), 400 | 500));
    assert!(refused.is_none(), "{}", site.peer.story());
    site.peer.judge()
}

/// Its clients now and then show a text and do not answer: the session lives on, nothing is sent twice.
#[test]
fn a_message_without_an_answer_is_no_end() -> Outcome {
    let site = Site::start(live())?;
    let mut alice = site.user("alice")?;
    let to_bob = format!("sip:{BOB}");
    expect_status(&alice.message(&to_bob, "first")?, 200).map_err(|e| site.explain(&e))?;
    site.peer.with(|i| i.silent = 1);
    // Whatever the answer is, it comes, and it is no lie: the text was shown.
    let status = alice.message(&to_bob, "unanswered")?.status();
    assert!(matches!(status, 200 | 202), "{status}");
    site.peer.reads(BOB, "unanswered")?;
    assert_eq!(alice.message(&to_bob, "third")?.status() / 100, 2);
    site.peer.reads(BOB, "third")?;
    assert_eq!(site.peer.received("INVITE").len(), 1, "{}", site.peer.story());
    assert_eq!(site.peer.times(BOB, "unanswered"), 1);
    site.peer.judge()
}

/// It never gets a message outside a session: not once, not to try.
#[test]
fn nothing_goes_outside_a_session() -> Outcome {
    let site = Site::start(live())?;
    let mut alice = site.user("alice")?;
    for n in 0..3 {
        expect_status(&alice.message(&format!("sip:{BOB}"), &format!("text {n}"))?, 200)
            .map_err(|e| site.explain(&e))?;
    }
    let outside = site.peer.received("MESSAGE");
    assert!(
        outside
            .iter()
            .all(|m| m.header("To").is_some_and(|to| to.contains("tag=")))
    );
    assert_eq!(site.peer.received("INVITE").len(), 1);
    site.peer.judge()
}

/// An INVITE for a conversation of many is declined, or taken for one of two; never left open.
#[test]
fn a_conversation_of_many() -> Outcome {
    let mut setup = live();
    setup.habits.invite = "EndPoints: <sip:bob@b.example>, <sip:alice@a.example>, <sip:erin@b.example>\r\n\
                           Require: com.microsoft.rtc-multiparty\r\nSupported: com.microsoft.rtc-multiparty\r\n\
                           Roster-Manager: sip:bob@b.example\r\nTriggeredInvite: TRUE\r\n";
    setup.habits.first_in_invite = false;
    let site = Site::start(setup)?;
    let _alice = site.user("alice")?;
    site.peer.write(BOB, ALICE, "hello all")?;
    let answer = site.peer.wait_for("an answer to INVITE", |e| {
        let invite = e.message.header("CSeq").is_some_and(|c| c.ends_with("INVITE"));
        !e.sent && e.message.status() >= 200 && invite
    })?;
    assert!(matches!(answer.status(), 200 | 420 | 488), "{}", answer.start);
    site.peer.judge()
}

/// HTML and RTF are shown as text by those who know nothing else.
#[test]
fn rich_text_becomes_text() -> Outcome {
    let site = Site::start(live())?;
    let mut alice = site.user("alice")?;
    site.peer.write(BOB, ALICE, "plain")?;
    gets(&mut alice, BOB, "plain").map_err(|e| site.explain(&e))?;
    in_session(&site)?;
    let html = "<html><body><b>bold</b> &amp; <i>not</i></body></html>";
    for (kind, body) in [
        ("text/html; charset=UTF-8", html),
        (
            "text/rtf",
            "{\\rtf1\\ansi{\\fonttbl{\\f0 Arial;}}\\f0\\b bold\\b0  & not\\par}",
        ),
    ] {
        let lines = format!("Content-Type: {kind}\r\n");
        let bytes = site
            .peer
            .with(|i| i.in_session(BOB, ALICE, "MESSAGE", &lines, body.as_bytes()));
        let answer = site.peer.ask(&bytes.ok_or("no session")?)?;
        assert_eq!(answer.status(), 200, "{kind}");
        let got = alice.expect("MESSAGE with the words", PATIENCE, |m| {
            m.is("MESSAGE") && m.text().contains("bold") && m.text().contains("not")
        });
        let got = got.map_err(|e| site.explain(&e))?;
        let text = got.text();
        let kind = got.header("Content-Type").unwrap_or_default();
        let raw = kind.starts_with("text/plain") && (text.contains('<') || text.contains("\\rtf"));
        assert!(!raw, "{kind}: {text}");
    }
    // Parameters without blanks, with the font of the text.
    let lines = format!("Content-Type: text/plain;charset=UTF-8;msgr={}\r\n", bodies::msgr());
    let bytes = site
        .peer
        .with(|i| i.in_session(BOB, ALICE, "MESSAGE", &lines, b"in a font"));
    assert_eq!(site.peer.ask(&bytes.ok_or("no session")?)?.status(), 200);
    gets(&mut alice, BOB, "in a font")?;
    site.peer.judge()
}

/// An INFO that is nothing the bridge knows does not end the session.
#[test]
fn an_unknown_info_is_no_end() -> Outcome {
    let site = Site::start(live())?;
    let mut alice = site.user("alice")?;
    site.peer.write(BOB, ALICE, "one")?;
    gets(&mut alice, BOB, "one").map_err(|e| site.explain(&e))?;
    in_session(&site)?;
    for (kind, body) in [
        ("application/xml", "<Unknown/>"),
        (
            "application/xml",
            "<KeyboardActivity><status status=\"sneezing\"/></KeyboardActivity>",
        ),
        ("application/xml", "<KeyboardActivity>"),
        ("application/octet-stream", "\u{1}\u{2}"),
    ] {
        let lines = format!("Content-Type: {kind}\r\n");
        let bytes = site
            .peer
            .with(|i| i.in_session(BOB, ALICE, "INFO", &lines, body.as_bytes()));
        let status = site.peer.ask(&bytes.ok_or("no session")?)?.status();
        assert!(status < 500 && status != 481, "{body}: {status}");
    }
    site.peer.write(BOB, ALICE, "two")?;
    gets(&mut alice, BOB, "two")?;
    alice.expect_none("INFO", Duration::from_millis(300), |m| m.is("INFO"))?;
    site.peer.judge()
}

/// One user at two endpoints: a reply goes to the one that spoke last, and the other session is not ended by it.
#[test]
fn a_reply_goes_to_the_endpoint_that_spoke_last() -> Outcome {
    let site = Site::start(live())?;
    let mut alice = site.user("alice")?;
    let mut sessions = Vec::new();
    for text in ["from the desk", "from the meeting room"] {
        site.peer.act(|i| ((), i.write_anew(BOB, ALICE, text)))?;
        gets(&mut alice, BOB, text).map_err(|e| site.explain(&e))?;
        let log = site.peer.log();
        let invite = log.iter().rev().find(|e| e.sent && e.message.is("INVITE"));
        let call = invite.and_then(|e| e.message.header("Call-ID")).unwrap_or_default();
        sessions.push(call.to_string());
    }
    let answer = alice.message(&format!("sip:{BOB}"), "reply")?;
    assert_eq!(answer.status() / 100, 2, "{}", site.explain(&answer.start));
    site.peer.reads(BOB, "reply")?;
    assert_eq!(site.peer.times(BOB, "reply"), 1);
    let sent = site.peer.received("MESSAGE");
    let call = sent.last().and_then(|m| m.header("Call-ID"));
    assert_eq!(call, sessions.last().map(String::as_str));
    site.peer.judge()
}
