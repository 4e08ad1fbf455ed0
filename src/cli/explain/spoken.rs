//! What would be spoken once a request is allowed: the content types, with the lines of mapping files that say so.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::Args;
use crate::dialect::{Dialect, Format, ImMode, Place, state_of};
use crate::event::package::Package;
use crate::im::bridging::{Asked, bridges};
use crate::im::{content, cpim};
use crate::policy::decision::{Allow, Party};
use crate::policy::{Snapshot, Target};
use crate::presence::PIDF;
use crate::sip::field::{Accept, Items};
use crate::sip::net::ListenerId;

/// The biggest body that is read.
const MOST: u64 = 1 << 20;
/// What speaks for itself in a question that has no body.
const SAMPLE: &str = "text";

/// One thing that would be spoken, or read.
#[derive(Debug)]
pub(super) struct Spoken {
    /// `notify`, `ask`, `read`, `message`, `dialect`.
    about: &'static str,
    /// What it is.
    value: String,
    /// The line that says so.
    place: Option<Place>,
    /// Why.
    because: String,
}

fn spoken(about: &'static str, value: impl Into<String>, place: Option<&Place>, because: impl Into<String>) -> Spoken {
    Spoken {
        about,
        value: value.into(),
        place: place.cloned(),
        because: because.into(),
    }
}

/// What would be spoken for an allowed request.
///
/// # Errors
/// When the body cannot be read.
pub(super) fn of(snapshot: &Snapshot, args: &Args, allow: &Allow, listener: ListenerId) -> Result<Vec<Spoken>, String> {
    let body = args.body.as_deref().map(body_of).transpose()?;
    let sides = Sides::of(snapshot, allow, listener);
    Ok(match &*args.method {
        "SUBSCRIBE" if is_presence(args) => subscribe(args, allow, &sides),
        "PUBLISH" if is_presence(args) => publish(args, allow, &sides.near, body.as_deref()),
        "MESSAGE" => message(snapshot, args, allow, &sides, body.as_deref()),
        _ => Vec::new(),
    })
}

/// What a NOTIFY of a peer is read as, whatever becomes of one outside of a subscription.
///
/// # Errors
/// When the body cannot be read.
pub(super) fn notify(args: &Args, dialect: &Dialect) -> Result<Vec<Spoken>, String> {
    let body = args.body.as_deref().map(body_of).transpose()?;
    Ok(match &*args.method {
        "NOTIFY" if is_presence(args) => read(args, dialect, body.as_deref(), &args.from),
        _ => Vec::new(),
    })
}

fn is_presence(args: &Args) -> bool {
    let package = args.event.as_deref().map(str::as_bytes).and_then(Package::from_name);
    package == Some(Package::Presence)
}

fn body_of(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |e: &dyn core::fmt::Display| format!("--body: {}: {e}", path.display());
    let size = std::fs::metadata(path).map_err(|e| wrong(&e))?.len();
    if size > MOST {
        return Err(wrong(&format!("{size} bytes; at most {MOST} are read")));
    }
    std::fs::read(path).map_err(|e| wrong(&e))
}

/// Who speaks how: the sender, and whoever it goes to.
struct Sides {
    near: std::sync::Arc<Dialect>,
    far: std::sync::Arc<Dialect>,
    /// The peer that it goes to.
    peer: Option<String>,
    /// It is known how the far side speaks; that of a local user shows only when it registers.
    certain: bool,
}

impl Sides {
    fn of(snapshot: &Snapshot, allow: &Allow, listener: ListenerId) -> Self {
        let named = |id| snapshot.dialect(id).cloned().unwrap_or_else(Dialect::rfc);
        let of_peer = |id| snapshot.peer(id).map_or_else(Dialect::rfc, |p| named(p.dialect));
        let of_listener = || {
            snapshot
                .listener(listener)
                .map_or_else(Dialect::rfc, |l| named(l.dialect))
        };
        let near = match allow.who {
            Party::Peer(id) => of_peer(id),
            Party::User(_) => of_listener(),
        };
        let (peer, certain) = match allow.target {
            Target::Route { peer, .. } | Target::Dialog(Party::Peer(peer)) => (Some(peer), true),
            _ => (None, snapshot.listeners.iter().all(|l| l.dialect.0 == 0)),
        };
        Self {
            near,
            far: peer.map_or_else(Dialect::rfc, of_peer),
            peer: peer.and_then(|id| snapshot.peer(id)).map(|p| p.name.to_string()),
            certain,
        }
    }

    fn other(&self) -> String {
        let who = self
            .peer
            .as_ref()
            .map_or_else(|| "the user".to_owned(), |p| format!("peer {p}"));
        match self.certain {
            true => format!("{who} speaks {}", self.far.name),
            false => format!(
                "{who} speaks as the listener it registered by; {} is assumed",
                self.far.name
            ),
        }
    }
}

fn subscribe(args: &Args, allow: &Allow, sides: &Sides) -> Vec<Spoken> {
    match (allow.target, allow.who) {
        (Target::Local { .. }, _) => vec![chosen(args, &sides.near, "notify")],
        (Target::Route { .. }, Party::Peer(_)) => vec![through("between peers a subscription passes as it is")],
        (Target::Route { .. }, Party::User(_)) => {
            let peer = sides.peer.as_deref().unwrap_or_default();
            vec![asked(&sides.far, peer), chosen(args, &sides.near, "notify")]
        }
        _ => Vec::new(),
    }
}

fn through(because: &str) -> Spoken {
    spoken("body", "as it is", None, because)
}

/// What the bridge asks a peer for.
fn asked(dialect: &Dialect, peer: &str) -> Spoken {
    if dialect.is_verbatim() {
        let place = dialect.places.verbatim.as_ref();
        return spoken(
            "ask",
            PIDF,
            place,
            format!("peer {peer} speaks {}, which takes documents as they are", dialect.name),
        );
    }
    let because = format!(
        "Accept towards peer {peer}: all formats of {}, the best first",
        dialect.name
    );
    spoken("ask", dialect.accept(), dialect.places.formats.first(), because)
}

/// In which format a watcher is told.
fn chosen(args: &Args, dialect: &Dialect, about: &'static str) -> Spoken {
    let lines = || args.accept.iter().map(String::as_bytes);
    let Some(format) = dialect.choose(lines()) else {
        let because = format!(
            "no Accept line takes what {} can write: {}",
            dialect.name,
            dialect.accept()
        );
        return spoken(about, "406 Not Acceptable", dialect.places.formats.first(), because);
    };
    let at = dialect.presence.formats.iter().position(|f| *f == format);
    let place = at.and_then(|at| dialect.places.formats.get(at));
    let because = match (because_of(lines(), format), at) {
        (None, _) => "without Accept it is PIDF (RFC 3856 section 6.7)".to_owned(),
        (Some(by), Some(_)) => format!(
            "format {} of {}: the first that is liked best, by {by}",
            format.name(),
            dialect.name
        ),
        (Some(by), None) => format!("PIDF, which everybody can be given, by {by}"),
    };
    spoken(about, format.media_type(), place, because)
}

/// Which line of Accept takes a format, and how much it likes it.
fn because_of<'a>(lines: impl Iterator<Item = &'a [u8]> + Clone, format: Format) -> Option<String> {
    lines.clone().flat_map(Items::new).next()?;
    let wanted = Accept::quality(lines.clone(), format.media_type());
    let (number, line) = (1..).zip(lines).find(|(_, line)| {
        let here = Accept::quality(core::iter::once(*line), format.media_type());
        here > 0 && here == wanted
    })?;
    let like = if wanted == 1000 {
        String::new()
    } else {
        format!(", q={}.{:03}", wanted / 1000, wanted % 1000)
    };
    Some(format!("Accept line {number} `{}`{like}", line.escape_ascii()))
}

fn publish(args: &Args, allow: &Allow, dialect: &Dialect, body: Option<&[u8]>) -> Vec<Spoken> {
    match allow.target {
        Target::Local { .. } => read(args, dialect, body, &args.to),
        _ => vec![through("a document for somebody elsewhere passes")],
    }
}

/// What a document is read as.
fn read(args: &Args, dialect: &Dialect, body: Option<&[u8]>, about: &str) -> Vec<Spoken> {
    let kind = args.content_type.as_deref().unwrap_or(PIDF);
    let format = dialect.presence.reads(kind.as_bytes());
    let verbatim = dialect.is_verbatim();
    let taken = format.filter(|f| match verbatim {
        true => *f == Format::Pidf,
        false => f.is_pidf() || dialect.presence.tables.get(*f as usize).is_some_and(Option::is_some),
    });
    let Some(format) = taken else {
        let because = format!(
            "{} has no table for {kind}; it asks for {}",
            dialect.name,
            dialect.accept()
        );
        return vec![spoken(
            "read",
            "415 Unsupported Media Type",
            dialect.places.formats.first(),
            because,
        )];
    };
    let at = dialect.presence.formats.iter().position(|f| *f == format);
    let place = at.and_then(|at| dialect.places.formats.get(at));
    let because = match verbatim {
        true => format!("{} takes documents as they are", dialect.name),
        false => format!("{kind} in {} is format {}", dialect.name, format.name()),
    };
    let mut all = vec![spoken("read", kind, place, because)];
    if let Some(body) = body {
        decode(dialect, (kind, body), about, &mut all);
    }
    all
}

/// What a body says, and by which lines.
fn decode(dialect: &Dialect, (kind, body): (&str, &[u8]), about: &str, all: &mut Vec<Spoken>) {
    let entity = about.split(['?', ';']).next().unwrap_or(about);
    let imported = match dialect.import(kind.as_bytes(), entity, body) {
        Ok(imported) => imported,
        Err(refusal) => {
            all.push(spoken("read", refusal.status.to_string(), None, refusal.what));
            return;
        }
    };
    all.extend(imported.why.iter().map(|why| {
        let place = Place {
            file: std::sync::Arc::clone(&why.file),
            line: why.line,
        };
        spoken("table", "", Some(&place), &*why.what)
    }));
    let state = state_of(&imported.pidf);
    let note = state
        .note
        .as_ref()
        .map_or_else(String::new, |n| format!(", note {n:?}"));
    all.push(spoken(
        "state",
        state.cell.name(),
        None,
        format!("what others are told{note}"),
    ));
}

fn message(snapshot: &Snapshot, args: &Args, allow: &Allow, sides: &Sides, body: Option<&[u8]>) -> Vec<Spoken> {
    let kind = args.content_type.as_deref().unwrap_or("text/plain");
    if matches!(allow.target, Target::Bridge | Target::Dialog(_)) {
        return Vec::new();
    }
    let other = sides.other();
    let sips = args.to.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("sips:"));
    if sips || sides.near.name == sides.far.name {
        let why = match sips {
            true => "what is addressed to sips: is never rewritten".to_owned(),
            false => format!("the sender speaks {} and {other}", sides.near.name),
        };
        return vec![spoken(
            "message",
            format!("pager, {kind}"),
            None,
            format!("passes as it is: {why}"),
        )];
    }
    let im = &sides.far.im;
    let places = &sides.far.places;
    let fallback = match im.fallback {
        true => {
            let remembered = snapshot.messages.remember_mode.as_secs();
            format!("; refused with 405, 415, 488 or 501 the other way is tried, and remembered for {remembered} s")
        }
        false => String::new(),
    };
    let mode = if im.mode == ImMode::Pager { "pager" } else { "session" };
    let mut all = vec![spoken("way", mode, places.mode.as_ref(), format!("{other}{fallback}"))];
    all.push(content(kind, body, sides));
    all
}

/// What becomes of the content of a message.
fn content(kind: &str, body: Option<&[u8]>, sides: &Sides) -> Spoken {
    let (im, places) = (&sides.far.im, &sides.far.places);
    let name = &sides.far.name;
    let accept = places.accept.first();
    if bridges(&sides.near, &sides.far, im.mode, Asked::Message(kind)).is_none() {
        return spoken("message", kind, accept, format!("passes as it is: {name} shows it"));
    }
    let bare = |media: &str| media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let wrapped = || cpim::wrap("sip:a", "sip:b", "", "", "text/plain", SAMPLE.as_bytes());
    let sample = match body {
        Some(body) => Cow::Borrowed(body),
        None if bare(kind) == "message/cpim" => Cow::Owned(wrapped()),
        None => Cow::Borrowed(SAMPLE.as_bytes()),
    };
    let ends = content::Ends {
        from: "sip:a",
        to: "sip:b",
        wall_ms: 0,
    };
    let (shown, status) = match content::read(kind, &sample) {
        Ok(content::Said::Text(text)) => (text.shown(im, &[], ends).0, None),
        Ok(_) => (kind.to_owned(), None),
        Err(status) => (status.to_string(), Some(status)),
    };
    let (place, because) = match status {
        Some(415) => (None, format!("{kind} holds no text")),
        Some(_) => (None, format!("the body is not what {kind} says")),
        None if im.cpim && bare(&shown) == "message/cpim" => (places.cpim.as_ref(), format!("{name} wraps messages")),
        None if bare(&shown) == bare(kind) => (accept, format!("{name} shows it")),
        None => (accept, format!("{name} does not show {kind}: reduced")),
    };
    let line = accept_line(&sides.far, &bare(&shown));
    spoken("message", shown, line.or(place), because)
}

/// The line that lists a media type.
fn accept_line<'d>(dialect: &'d Dialect, media: &str) -> Option<&'d Place> {
    let at = dialect.im.accept.iter().position(|a| **a == *media)?;
    dialect.places.accept.get(at).filter(|_| media != "message/cpim")
}

/// For `--json`.
pub(super) fn as_json(all: &[Spoken]) -> Value {
    let one = |s: &Spoken| {
        let line = s.place.as_ref().map(|p| p.line).filter(|line| *line > 0);
        json!({
            "about": s.about, "value": s.value, "because": s.because,
            "file": s.place.as_ref().map(|p| &*p.file), "line": line,
        })
    };
    all.iter().map(one).collect()
}

/// For people.
pub(super) fn add(table: &mut String, all: &[Spoken]) {
    let place = |s: &Spoken| s.place.as_ref().map_or_else(String::new, ToString::to_string);
    let width = |of: &dyn Fn(&Spoken) -> usize| all.iter().map(of).max().unwrap_or(0);
    let (abouts, values) = (width(&|s| s.about.len()), width(&|s| s.value.chars().count()));
    let places = width(&|s| place(s).chars().count());
    for s in all {
        let line = format!(
            "{:abouts$}  {:values$}  {:places$}  {}",
            s.about,
            s.value,
            place(s),
            s.because
        );
        let _fits = writeln!(table, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests;
