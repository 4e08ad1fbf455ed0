//! What the answers mean.

use super::overlay::Observed;
use super::{About, Asked, Finding, Seen};

/// The score sheet, in the order of the questions.
#[must_use]
pub fn judge(seen: &Seen) -> Vec<Finding> {
    let observed = Observed::of(seen);
    let mut all: Vec<Finding> = seen.asked.iter().map(|asked| one(asked, seen, &observed)).collect();
    if let Some(options) = seen.of(About::Options).filter(|a| a.status.is_some()) {
        all.splice(1..1, told(options));
    }
    if seen.pinged {
        all.push(Finding {
            sent: "keep-alive (CRLFCRLF)".into(),
            came: seen.pong_ms.map_or_else(|| "nothing".into(), |_| "CRLF".into()),
            ms: seen.pong_ms,
            means: match seen.pong_ms {
                Some(_) => "it answers keep-alives (RFC 5626)".into(),
                None => "it answers no keep-alives: a dead connection shows only when something is sent".into(),
            },
            key: None,
        });
    }
    if seen.garbage > 0 {
        all.push(Finding {
            sent: "-".into(),
            came: format!("{} messages that are no SIP", seen.garbage),
            ms: None,
            means: "something else than a SIP server answers, or something between changes messages".into(),
            key: None,
        });
    }
    all
}

/// What OPTIONS says of the peer, header by header.
fn told(options: &Asked) -> Vec<Finding> {
    let line = |name: &str, means: &str, key: Option<&str>| {
        let came = options.header(name)?;
        Some(Finding {
            sent: "OPTIONS".into(),
            came: format!("{name}: {came}"),
            ms: None,
            means: means.into(),
            key: key.map(ToOwned::to_owned),
        })
    };
    let timer = options
        .header("Supported")
        .is_some_and(|s| s.split(',').any(|t| t.trim() == "timer"));
    let timer = if timer {
        "session timers (RFC 4028) are supported"
    } else {
        "extensions that it knows; session timers (RFC 4028) are not among them"
    };
    let all = [
        line("Server", "what it calls itself", None),
        line("User-Agent", "what it calls itself", None),
        line("Allow", "methods that it takes", Some("im.mode")),
        line("Accept", "bodies that it takes", Some("im.accept")),
        line("Allow-Events", "event packages that it has", None),
        line("Supported", timer, None),
    ];
    all.into_iter().flatten().collect()
}

fn one(asked: &Asked, seen: &Seen, observed: &Observed) -> Finding {
    let (means, key) = meaning(asked, seen, observed);
    let mut came = asked.came();
    if let Some(media) = &asked.media {
        came += &format!(", {media} in it");
    }
    if let Some(notified) = &asked.notified {
        let method = if notified.best_effort { "BENOTIFY" } else { "NOTIFY" };
        let media = notified.media.as_deref().unwrap_or("no body");
        came += &format!(", {method} with {media}");
    }
    Finding {
        sent: asked.sent.clone(),
        came,
        ms: asked.took_ms,
        means,
        key: key.map(ToOwned::to_owned),
    }
}

type Meaning = (String, Option<&'static str>);

fn meaning(asked: &Asked, seen: &Seen, observed: &Observed) -> Meaning {
    let Some(status) = asked.status else {
        return silence(asked, seen);
    };
    let plain = |text: &str| (text.to_owned(), None);
    match asked.about {
        About::Options if asked.rport => plain("it is there, and says where our requests come from (RFC 3581)"),
        About::Options => plain("it is there; Via comes back without received and rport"),
        About::Compact if status < 500 => plain("compact header names are understood"),
        About::Long if matches!(status, 413 | 513) => plain("long headers are too much for it: keep Record-Routes few"),
        About::Long => plain("long headers are understood"),
        About::Branchless if status == 400 => plain("it wants a branch in Via, as RFC 3261 says"),
        About::Branchless => plain("requests without a branch are taken"),
        About::Required if status == 420 => plain("ms-benotify is unknown there"),
        About::Required if asked.is_well() => plain("Proxy-Require: ms-benotify is no reason to refuse"),
        About::UnknownEvent if status == 489 => plain("unknown event packages are refused as RFC 6665 says"),
        About::UnknownEvent if asked.is_well() => {
            plain("it takes any event package: its answers to SUBSCRIBE promise nothing")
        }
        About::Fetch(format) => fetch(asked, status, format.media_type(), observed),
        About::NoExpires if asked.is_well() => {
            let lasts = asked.header("Expires").unwrap_or("an unknown number of");
            (format!("a subscription that names no expiry lasts {lasts} s"), None)
        }
        About::Offers if asked.is_well() => offers(observed),
        About::Unsubscribe if asked.is_well() => plain("the subscription is over"),
        About::Unsubscribe => plain("the subscription could not be ended: it runs out by itself"),
        About::Message(media) => message(asked, status, media),
        About::Invite(media) => invite(asked, status, media),
        _ => refused(status),
    }
}

fn silence(asked: &Asked, seen: &Seen) -> Meaning {
    let text = match (asked.about, seen.is_answered()) {
        (_, false) => "nobody answers SIP here, or everything of ours is dropped: see its access list and its log",
        (About::Branchless, _) => "requests without a branch are dropped",
        (About::Compact, _) => "compact header names seem to be dropped",
        (About::Long, _) => "long headers seem to be dropped",
        _ => "it drops this instead of refusing it",
    };
    (text.to_owned(), None)
}

/// Refusals that say nothing of what was asked.
fn refused(status: u16) -> Meaning {
    let text = match status {
        401 | 407 => {
            "it wants a password: make the link trusted over there, or speak with --from somebody it trusts".to_owned()
        }
        403 => "it refuses us: see its list of federated domains and hosts".to_owned(),
        404 | 604 => "nobody of that name is there".to_owned(),
        408 | 504 => "it could not reach who was asked for".to_owned(),
        480 => "who was asked for is not there now".to_owned(),
        500..=699 => "it fails over this".to_owned(),
        _ => format!("refused with {status}"),
    };
    (text, None)
}

fn fetch(asked: &Asked, status: u16, media: &str, observed: &Observed) -> Meaning {
    let key = Some("presence.formats");
    let came = asked
        .media
        .as_ref()
        .or(asked.notified.as_ref().and_then(|n| n.media.as_ref()));
    match (status, came) {
        (200..=299, Some(came)) if came.to_ascii_lowercase().starts_with(media) => (format!("it writes {media}"), key),
        (200..=299, Some(came)) => (format!("it takes the label {media} and writes {came}"), key),
        (200..=299, None) if observed.formats.is_some() => {
            (format!("it accepts {media}, and has nothing to write in it"), key)
        }
        (200..=299, None) => {
            let text = "no document reached us: it may go to the bridge's own port, where --listen can take its place";
            (text.to_owned(), None)
        }
        (406 | 415 | 489, _) => (format!("it does not write {media}"), key),
        (status, _) => refused(status),
    }
}

fn offers(observed: &Observed) -> Meaning {
    match (observed.benotify, observed.piggyback) {
        (Some(true), Some(true)) => (
            "it takes BENOTIFY and sends the first document in the answer".into(),
            Some("sip.benotify, sip.piggyback"),
        ),
        (Some(true), _) => ("it takes BENOTIFY".into(), Some("sip.benotify")),
        (_, Some(true)) => (
            "it sends the first document in the answer".into(),
            Some("sip.piggyback"),
        ),
        _ => (
            "it takes up none of what was offered".into(),
            Some("sip.benotify, sip.piggyback"),
        ),
    }
}

fn message(asked: &Asked, status: u16, media: &str) -> Meaning {
    match status {
        200..=299 => (format!("messages by themselves are taken as {media}"), Some("im.mode")),
        415 => (format!("{media} is not taken"), Some("im.accept")),
        405 | 488 | 501 => ("messages by themselves are not taken".into(), Some("im.mode")),
        _ => {
            let (text, key) = refused(status);
            let rest = asked.header("Warning").map_or_else(String::new, |w| format!(" ({w})"));
            (text + &rest, key)
        }
    }
}

fn invite(asked: &Asked, status: u16, media: &str) -> Meaning {
    match status {
        200..=299 => {
            let timer = asked
                .header("Session-Expires")
                .map_or_else(String::new, |s| format!(", with a session timer of {s} s"));
            (
                format!("sessions of messages are taken with m={media}{timer}"),
                Some("im.mode, im.media"),
            )
        }
        487 if asked.rang => (
            format!("the user was asked about m={media}: sessions are taken"),
            Some("im.mode, im.media"),
        ),
        405 | 415 | 488 | 501 | 606 => (format!("m={media} is not taken"), Some("im.mode, im.media")),
        _ => refused(status),
    }
}
