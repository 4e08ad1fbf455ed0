//! What happens between a bridge and any of the emulated peers: the same scenes for all, with each one's own words.

use std::time::Duration;

use super::PATIENCE;
use super::site::{ALICE, BOB, ERIN, STATES, Setup, Site, gets, only_once, publish, sees};
use crate::wire::{Message, Request};
use crate::{Outcome, eventually};

/// Somebody over there and a plain watcher here watch the same user through every state.
///
/// # Errors
/// When one sees something else.
pub fn watched(setup: Setup, expected: &[(&str, &str)]) -> Outcome {
    let site = Site::start(setup)?;
    let (mut alice, mut carol) = (site.user("alice")?, site.user("carol")?);
    let watch = carol.watch(&format!("sip:{ALICE}"), 600)?;
    site.peer.watch(BOB, ALICE)?;
    let mut etag = None;
    for state in &STATES {
        let (_, word) = expected
            .iter()
            .find(|(name, _)| *name == state.name)
            .ok_or(state.name)?;
        etag = Some(publish(&mut alice, etag.as_deref(), state)?);
        sees(&mut carol, &watch, state.name)?;
        site.peer.sees(BOB, ALICE, word).map_err(|e| site.explain(&e))?;
    }
    let end = site
        .peer
        .with(|i| i.resubscribe(BOB, ALICE, 0))
        .ok_or("no subscription")?;
    expect_status(&site.peer.ask(&end)?, 200)?;
    eventually("it is over", PATIENCE, || site.peer.with(|i| i.is_over(BOB, ALICE)))?;
    site.peer.judge()
}

/// A plain watcher here watches somebody over there.
///
/// # Errors
/// When one sees something else.
pub fn watches(setup: Setup, words: &[(&str, &str)]) -> Outcome {
    let site = Site::start(setup)?;
    let mut carol = site.user("carol")?;
    let mut watch = carol.watch(&format!("sip:{BOB}"), 600)?;
    site.peer.watched(BOB)?;
    for (word, seen) in words {
        site.peer.set(BOB, word)?;
        sees(&mut carol, &watch, seen).map_err(|e| site.explain(&format!("{word}: {e}")))?;
    }
    carol.rewatch(&mut watch, 0)?;
    eventually("nobody watches", PATIENCE, || site.peer.with(|i| !i.is_watched(BOB)))?;
    site.peer.judge()
}

/// An answer must have this status.
///
/// # Errors
/// When it has another.
pub fn expect_status(answer: &Message, wanted: u16) -> Outcome {
    if answer.status() == wanted {
        return Ok(());
    }
    Err(format!("wanted {wanted}, got:\n{}", String::from_utf8_lossy(&answer.raw)).into())
}

/// A plain user and somebody over there write to each other, who began being `first`: every text arrives once, in order,
/// from whom it is.
///
/// # Errors
/// When one does not.
pub fn converse(setup: Setup, bob_first: bool) -> Outcome {
    let site = Site::start(setup)?;
    let mut alice = site.user("alice")?;
    let to_bob = format!("sip:{BOB}");
    let texts = [
        "one",
        "two: \u{4f60}\u{597d} \u{1f600} <&>",
        "three\r\nlines\r\n",
        "four",
    ];
    for (n, text) in texts.iter().enumerate() {
        for bobs_turn in [bob_first, !bob_first] {
            let text = format!("{text} {n} {}", if bobs_turn { "from bob" } else { "from alice" });
            if bobs_turn {
                site.peer.write(BOB, ALICE, &text)?;
                gets(&mut alice, BOB, &text).map_err(|e| site.explain(&e))?;
                only_once(&mut alice, &text)?;
            } else {
                let answer = alice.message(&to_bob, &text)?;
                if answer.status() / 100 != 2 {
                    return Err(site.explain(&format!("{text:?} was answered {}", answer.start)).into());
                }
                let read = site.peer.reads(BOB, &text).map_err(|e| site.explain(&e))?;
                if read.from != ALICE {
                    return Err(format!("{text:?} is from {}", read.from).into());
                }
            }
        }
    }
    let mut seen = site.peer.with(|i| i.texts.clone());
    let all = seen.len();
    seen.dedup_by(|a, b| a.text == b.text);
    if all != texts.len() || seen.len() != all {
        return Err(site.explain(&format!("bob got {all} texts: {seen:?}")).into());
    }
    site.peer.judge()
}

/// Waits until the session of the two is acknowledged: a text inside the INVITE arrives before that.
///
/// # Errors
/// When there is none.
pub fn in_session(site: &Site) -> Outcome {
    let up = || site.peer.with(|i| i.sessions_of(BOB, ALICE)) > 0;
    eventually("the session is up", PATIENCE, up).map_err(|e| site.explain(&e).into())
}

/// Typing crosses both ways in a conversation that is going on.
///
/// # Errors
/// When it does not.
pub fn typing(setup: Setup) -> Outcome {
    let site = Site::start(setup)?;
    let mut alice = site.user("alice")?;
    site.peer.write(BOB, ALICE, "hello")?;
    gets(&mut alice, BOB, "hello").map_err(|e| site.explain(&e))?;
    in_session(&site)?;
    for on in [true, false] {
        let bytes = site
            .peer
            .with(|i| i.type_to(BOB, ALICE, on))
            .ok_or("bob has no session")?;
        expect_status(&site.peer.ask(&bytes)?, 200)?;
        let state = if on { "active" } else { "idle" };
        alice
            .expect(&format!("typing {state}"), PATIENCE, |m| {
                let kind = m.header("Content-Type").unwrap_or_default();
                m.is("MESSAGE") && kind.starts_with("application/im-iscomposing+xml") && m.text().contains(state)
            })
            .map_err(|e| site.explain(&e))?;
        let body = super::bodies::composing(on);
        let request = Request::new("MESSAGE", &format!("sip:{BOB}")).body("application/im-iscomposing+xml", body);
        let answer = alice.ask(&request)?;
        if answer.status() / 100 != 2 {
            return Err(site.explain(&format!("typing was answered {}", answer.start)).into());
        }
        let wanted = (ALICE.to_string(), BOB.to_string(), on);
        let shown = || site.peer.with(|i| i.typing.last() == Some(&wanted));
        eventually(&format!("alice is seen typing: {on}"), PATIENCE, shown).map_err(|e| site.explain(&e))?;
    }
    site.peer.judge()
}

/// Documents that claim one type and hold another, that are endless, or hold numbers beyond all ranges: each is refused or
/// taken for what it is, no watcher is shown anything from it that is not valid, and the next good one is shown.
///
/// # Errors
/// When the trunk or the subscription does not survive.
pub fn hostile(setup: Setup, word: &str, seen: &str, after: &str, seen_after: &str) -> Outcome {
    let site = Site::start(setup)?;
    let mut carol = site.user("carol")?;
    let watch = carol.watch(&format!("sip:{BOB}"), 600)?;
    site.peer.watched(BOB)?;
    site.peer.set(BOB, word)?;
    sees(&mut carol, &watch, seen).map_err(|e| site.explain(&e))?;
    for (name, kind, body) in lies() {
        let bytes = site
            .peer
            .with(|i| i.notify_raw(BOB, kind, &body))
            .ok_or("nobody watches bob")?;
        let answer = site
            .peer
            .ask(&bytes)
            .map_err(|e| site.explain(&format!("{name}: {e}")))?;
        if answer.status() >= 500 && answer.status() != 513 {
            return Err(site.explain(&format!("{name} was answered {}", answer.start)).into());
        }
        if answer.status() == 481 {
            return Err(site.explain(&format!("{name} ended the subscription")).into());
        }
        site.peer.set(BOB, after)?;
        sees(&mut carol, &watch, seen_after).map_err(|e| site.explain(&format!("after {name}: {e}")))?;
        site.peer.set(BOB, word)?;
        sees(&mut carol, &watch, seen).map_err(|e| site.explain(&format!("after {name}: {e}")))?;
    }
    site.peer.judge()
}

/// A control character that XML cannot hold is refused or taken out: no watcher is shown it.
///
/// # Errors
/// When one is.
pub fn control_character(setup: Setup) -> Outcome {
    let site = Site::start(setup)?;
    let mut carol = site.user("carol")?;
    let watch = carol.watch(&format!("sip:{BOB}"), 600)?;
    site.peer.watched(BOB)?;
    let body = super::bodies::pidf(BOB, "open", "<r:away/>", "", "bell \u{7} rings");
    let bytes = site
        .peer
        .with(|i| i.notify_raw(BOB, "application/pidf+xml", body.as_bytes()));
    site.peer.ask(&bytes.ok_or("nobody watches bob")?)?;
    let shown = |m: &Message| watch.owns(m) && m.body.contains(&7);
    carol.expect_none("control character", Duration::from_millis(500), shown)?;
    site.peer.judge()
}

/// A document in somebody's subscription that is about somebody else is refused, or at least never shown under that name.
///
/// # Errors
/// When the watcher is shown it.
pub fn somebody_elses(setup: Setup) -> Outcome {
    let site = Site::start(setup)?;
    let mut carol = site.user("carol")?;
    let watch = carol.watch(&format!("sip:{BOB}"), 600)?;
    site.peer.watched(BOB)?;
    let body = super::bodies::pidf(ERIN, "open", "<r:away/>", "", "erin's");
    let bytes = site
        .peer
        .with(|i| i.notify_raw(BOB, "application/pidf+xml", body.as_bytes()));
    let answer = site.peer.ask(&bytes.ok_or("nobody watches bob")?)?;
    if answer.status() < 300 {
        return Err(site.explain(&format!("it was answered {}", answer.start)).into());
    }
    let shown = |m: &Message| watch.owns(m) && m.text().contains("erin");
    carol.expect_none("document about erin", Duration::from_millis(500), shown)?;
    site.peer.judge()
}

type Lie = (&'static str, &'static str, Vec<u8>);

fn lies() -> Vec<Lie> {
    let pidf = super::bodies::pidf(BOB, "open", "", "", "");
    let msrtc = |availability: &str, activity: &str| {
        format!(
            "<presentity xmlns=\"http://schemas.microsoft.com/2002/09/sip/presence\" uri=\"{BOB}\">\
             <availability aggregate=\"{availability}\"/><activity aggregate=\"{activity}\"/></presentity>"
        )
        .into_bytes()
    };
    let tuples: String = (0..10_000)
        .map(|n| format!("<tuple id=\"t{n}\"><status><basic>open</basic></status></tuple>"))
        .collect();
    let many = pidf.replace("<tuple id=\"t1\">", &format!("{tuples}<tuple id=\"last\">"));
    let bomb = pidf.replace(
        "<presence",
        "<!DOCTYPE p [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><presence",
    );
    let (types, label) = ("application/pidf+xml", "text/xml+msrtc.pidf");
    let categories = "application/msrtc-event-categories+xml";
    vec![
        ("PIDF that says it is msrtc", label, pidf.clone().into_bytes()),
        ("msrtc that says it is PIDF", types, msrtc("300", "400")),
        ("PIDF that says it is categories", categories, pidf.clone().into_bytes()),
        (
            "PIDF that says it is the draft's",
            "application/cpim-pidf+xml",
            pidf.clone().into_bytes(),
        ),
        ("a text that says it is PIDF", types, b"open".to_vec()),
        ("PIDF that says it is a picture", "image/png", pidf.clone().into_bytes()),
        ("a number that is negative", label, msrtc("-1", "400")),
        ("a number beyond its range", label, msrtc("300", "99999")),
        (
            "a number beyond all integers",
            label,
            msrtc("300000000000000000000000", "4"),
        ),
        ("a number that is none", label, msrtc("NaN", "")),
        ("ten thousand tuples", types, many.into_bytes()),
        ("entities", types, bomb.into_bytes()),
        (
            "an activity nobody knows",
            types,
            pidf.replace(
                "<dm:person id=\"p1\">",
                "<dm:person id=\"p1\"><r:activities><r:juggling/></r:activities>",
            )
            .into_bytes(),
        ),
        (
            "an end in the middle",
            types,
            pidf.get(..pidf.len() / 2).unwrap_or_default().as_bytes().to_vec(),
        ),
        ("no UTF-8", types, [pidf.as_bytes(), b"\xff\xfe"].concat()),
        ("nothing", types, Vec::new()),
    ]
}
