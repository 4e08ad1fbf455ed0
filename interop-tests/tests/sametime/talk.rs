//! Messages: by session with the newer gateway, one by one with the older, and what is learnt from refusals.

use std::time::{Duration, Instant};

use interop_tests::emulators::PATIENCE;
use interop_tests::emulators::island::Writes;
use interop_tests::emulators::scenes::{converse, expect_status, typing};
use interop_tests::emulators::site::{ALICE, BOB, Setup, Site, gets, only_once};
use interop_tests::{Outcome, eventually};

use super::kinds::{legacy, newer};

#[test]
fn a_newer_gateway_talks_in_sessions() -> Outcome {
    newer().ways().into_iter().try_for_each(|way| converse(way, true))?;
    newer().ways().into_iter().try_for_each(|way| converse(way, false))
}

#[test]
fn a_legacy_gateway_talks_in_single_messages() -> Outcome {
    legacy().ways().into_iter().try_for_each(|way| converse(way, true))?;
    legacy().ways().into_iter().try_for_each(|way| converse(way, false))
}

#[test]
fn typing_crosses_to_a_newer_gateway() -> Outcome {
    newer().ways().into_iter().try_for_each(typing)
}

/// The answers of the two kinds are swapped: what is tried first is refused, the other is tried, and remembered.
fn swapped(setup: Setup, refused: &str, taken: &str) -> Outcome {
    let mut setup = setup;
    if refused == "MESSAGE" {
        (setup.habits.pager, setup.habits.session) = (405, 200);
        setup.habits.writes = Writes::Session;
    } else {
        (setup.habits.pager, setup.habits.session) = (200, 488);
        setup.habits.writes = Writes::Pager;
    }
    let site = Site::start(setup)?;
    let mut alice = site.user("alice")?;
    for n in 0..4 {
        let text = format!("text {n}");
        let answer = alice.message(&format!("sip:{BOB}"), &text)?;
        if answer.status() / 100 != 2 {
            return Err(site.explain(&format!("{text} was answered {}", answer.start)).into());
        }
        site.peer.reads(BOB, &text).map_err(|e| site.explain(&e))?;
    }
    let outside = |method: &str| {
        let all = site.peer.received(method);
        all.iter()
            .filter(|m| m.header("To").is_some_and(|to| !to.contains("tag=")))
            .count()
    };
    assert_eq!(
        outside(refused),
        1,
        "{refused} was tried once and no more\n{}",
        site.peer.story()
    );
    assert!(outside(taken) >= 1);
    site.peer.judge()
}

#[test]
fn single_messages_refused_sessions_are_tried_and_remembered() -> Outcome {
    swapped(legacy(), "MESSAGE", "INVITE")
}

#[test]
fn sessions_refused_single_messages_are_tried_and_remembered() -> Outcome {
    swapped(newer(), "INVITE", "MESSAGE")
}

/// The gateway ends an idle session; the next text opens another, and none is lost.
#[test]
fn a_session_that_is_ended_is_opened_again() -> Outcome {
    let site = Site::start(newer())?;
    let mut alice = site.user("alice")?;
    expect_status(&alice.message(&format!("sip:{BOB}"), "first")?, 200).map_err(|e| site.explain(&e))?;
    site.peer.reads(BOB, "first")?;
    eventually("a session is up", PATIENCE, || {
        site.peer.with(|i| i.sessions_of(BOB, ALICE)) == 1
    })?;
    let bye = site
        .peer
        .with(|i| i.in_session(BOB, ALICE, "BYE", "", b""))
        .ok_or("no session")?;
    expect_status(&site.peer.ask(&bye)?, 200)?;
    expect_status(&alice.message(&format!("sip:{BOB}"), "second")?, 200)?;
    site.peer.reads(BOB, "second")?;
    assert_eq!(site.peer.received("INVITE").len(), 2);
    site.peer.judge()
}

/// It forgets the session without a word: the text goes into a new one.
#[test]
fn a_session_that_is_forgotten_is_opened_again() -> Outcome {
    let site = Site::start(newer())?;
    let mut alice = site.user("alice")?;
    site.peer.write(BOB, ALICE, "first")?;
    gets(&mut alice, BOB, "first").map_err(|e| site.explain(&e))?;
    site.peer.with(|i| i.forget());
    let status = alice.message(&format!("sip:{BOB}"), "second")?.status();
    assert_eq!(status / 100, 2, "{}", site.peer.story());
    site.peer.reads(BOB, "second")?;
    assert_eq!(site.peer.times(BOB, "second"), 1);
    site.peer.judge()
}

/// A session timer that is asked for is granted, and refreshed by whoever is named.
#[test]
fn a_session_timer_is_granted_and_kept() -> Outcome {
    let mut setup = newer();
    setup.habits.session_expires = Some(90);
    let site = Site::start(setup)?;
    let mut alice = site.user("alice")?;
    site.peer.write(BOB, ALICE, "first")?;
    gets(&mut alice, BOB, "first").map_err(|e| site.explain(&e))?;
    let answer = site.peer.wait_for("200 to INVITE", |e| {
        !e.sent && e.message.status() == 200 && e.message.header("CSeq").is_some_and(|c| c.ends_with("INVITE"))
    })?;
    let granted = answer.header("Session-Expires").unwrap_or_default();
    let seconds: u32 = granted.split(';').next().and_then(|s| s.parse().ok()).unwrap_or(0);
    assert!((90..=1800).contains(&seconds), "Session-Expires: {granted:?}");
    if granted.contains("refresher=uas") {
        eventually("the bridge refreshes", Duration::from_secs(80), || {
            let all = [site.peer.received("INVITE"), site.peer.received("UPDATE")].concat();
            !all.is_empty()
        })?;
    }
    site.peer.judge()
}

/// Nobody ever answers the INVITE: the sender is told within 8 s that it waits, and later, once, that it has failed.
#[test]
fn a_session_that_is_never_answered() -> Outcome {
    let mut setup = newer();
    setup.habits.session = 0;
    let site = Site::start(setup)?;
    let mut alice = site.user("alice")?;
    let began = Instant::now();
    let answer = alice.message(&format!("sip:{BOB}"), "is anybody there?")?;
    let took = began.elapsed();
    assert_eq!(answer.status(), 202, "{}", site.explain(&answer.start));
    assert!(took < Duration::from_secs(12), "{took:?}");
    let told = alice.expect("word of the failure", Duration::from_secs(60), |m| m.is("MESSAGE"));
    let told = told.map_err(|e| site.explain(&e))?;
    let from = told.header("From").unwrap_or_default();
    assert!(from.contains("b.example"), "{from}");
    alice.expect_none("second word", Duration::from_secs(2), |m| m.is("MESSAGE"))?;
    assert_eq!(site.peer.times(BOB, "is anybody there?"), 0);
    Ok(())
}

/// Both begin at the same time: every text arrives once, whichever session stays.
#[test]
fn two_invites_that_collide() -> Outcome {
    for round in 0..5 {
        let site = Site::start(newer())?;
        let mut alice = site.user("alice")?;
        let (hers, his) = (format!("hers {round}"), format!("his {round}"));
        let (answer, written) = std::thread::scope(|scope| {
            let his = scope.spawn(|| site.peer.write(BOB, ALICE, &his).map_err(|e| e.to_string()));
            let answer = alice.message(&format!("sip:{BOB}"), &hers);
            (answer, his.join())
        });
        written.map_err(|_| "the other thread")??;
        let answer = answer?;
        assert_eq!(answer.status() / 100, 2, "{}", site.explain(&answer.start));
        gets(&mut alice, BOB, &his).map_err(|e| site.explain(&e))?;
        only_once(&mut alice, &his)?;
        site.peer.reads(BOB, &hers).map_err(|e| site.explain(&e))?;
        assert_eq!(site.peer.times(BOB, &hers), 1);
        // What follows goes on in one of them.
        for n in 0..3 {
            let text = format!("more {n}");
            assert_eq!(alice.message(&format!("sip:{BOB}"), &text)?.status() / 100, 2);
            site.peer.reads(BOB, &text)?;
            assert_eq!(site.peer.times(BOB, &text), 1);
        }
        site.peer.judge()?;
    }
    Ok(())
}

/// Everything that may stand in a text arrives as it was, or is refused. Control characters but tab and the ends of lines
/// are the exception: between parties that speak differently they are taken out, and the rest arrives.
#[test]
fn odd_texts_arrive_without_their_control_characters() -> Outcome {
    for setup in [newer(), legacy()] {
        let site = Site::start(setup)?;
        let mut alice = site.user("alice")?;
        let long = "long ".repeat(8_000);
        let texts = [
            ("bell \u{7} escape \u{1b}[31m", "bell  escape [31m"),
            ("tab\tline\r\nline\n", "tab\tline\r\nline\n"),
            (
                "\r\n\r\nContent-Type: text/html\r\n\r\n<b>",
                "\r\n\r\nContent-Type: text/html\r\n\r\n<b>",
            ),
            ("nul \u{0}", "nul "),
            (
                "\u{202e}\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
                "\u{202e}\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
            ),
            (" ", " "),
            (&long, &long),
        ];
        for (n, (text, shown)) in texts.iter().enumerate() {
            let answer = alice.message(&format!("sip:{BOB}"), text)?;
            if answer.status() / 100 == 2 {
                site.peer
                    .reads(BOB, shown)
                    .map_err(|e| site.explain(&format!("text {n}: {e}")))?;
            }
            // Only what is too long may be refused.
            assert!(
                answer.status() / 100 == 2 || text.len() > 20_000,
                "text {n}: {}",
                answer.start
            );
        }
        assert_eq!(
            alice.message(&format!("sip:{BOB}"), "after all that")?.status() / 100,
            2
        );
        site.peer.reads(BOB, "after all that")?;
        site.peer.judge()?;
    }
    Ok(())
}
