//! The dialect that fits what was seen best, and a mapping file that says what differs from it.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{About, Seen, questions};
use crate::dialect::{Dialect, Format, ImMedia, ImMode, load};

/// What the answers say of the things that dialects differ in; `None` is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Media types that a document came for.
    pub formats: Option<Vec<&'static str>>,
    /// BENOTIFY is sent to those that take it.
    pub benotify: Option<bool>,
    /// The first document comes in the answer.
    pub piggyback: Option<bool>,
    /// Messages by themselves are taken.
    pub pager: Option<bool>,
    /// Sessions of messages are taken.
    pub session: Option<bool>,
    /// The only media line that is taken.
    pub media: Option<ImMedia>,
    /// Text is taken in `message/cpim` only.
    pub cpim: bool,
    /// Types of messages that were refused for what they are.
    pub refused: Vec<&'static str>,
}

/// The labels that bring a document. Who writes the same whatever is asked for has one: what it writes.
fn formats(seen: &Seen) -> Option<Vec<&'static str>> {
    let written = |format: Format| {
        let asked = seen.of(About::Fetch(format)).filter(|a| a.is_well())?;
        let notified = asked.notified.as_ref().and_then(|n| n.media.as_deref());
        asked.media.as_deref().or(notified)
    };
    let all: Vec<(Format, &str)> = questions::formats().filter_map(|f| Some((f, written(f)?))).collect();
    let (_, first) = all.first()?;
    let always = all.len() == questions::formats().count() && all.iter().all(|(_, media)| media == first);
    match Format::from_media_type(first.as_bytes()).filter(|_| always) {
        Some(only) => Some(vec![only.media_type()]),
        None => Some(all.iter().map(|(format, _)| format.media_type()).collect()),
    }
}

/// Whether a status says that messages do not go this way.
fn wrong_way(status: u16) -> bool {
    matches!(status, 405 | 415 | 488 | 501 | 606)
}

impl Observed {
    /// Reads it out of the answers.
    #[must_use]
    pub fn of(seen: &Seen) -> Self {
        let formats = formats(seen);
        let offers = seen.of(About::Offers).filter(|a| a.is_well());
        let lists = |value: Option<&str>| {
            value.is_some_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case("ms-benotify")))
        };
        let plain = seen.of(About::Message("text/plain"));
        let cpim = seen.of(About::Message("message/cpim"));
        let taken = |a: &super::Asked| match a.status {
            // 487: it would have been answered, had it not been cancelled.
            Some(487) if a.rang => Some(true),
            Some(200..=299) => Some(true),
            Some(status) if wrong_way(status) => Some(false),
            _ => None,
        };
        let either = |a: Option<bool>, b: Option<bool>| match (a, b) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        };
        let invite = |media| seen.of(About::Invite(media)).and_then(taken);
        let [usual, other] = questions::MEDIA.map(invite);
        Self {
            formats,
            benotify: offers
                .map(|a| lists(a.header("Supported")) || a.notified.as_ref().is_some_and(|n| n.best_effort)),
            piggyback: offers.map(|a| a.media.is_some()),
            pager: either(plain.and_then(taken), cpim.and_then(taken)),
            session: either(usual, other),
            media: match (usual, other) {
                (Some(true), Some(false)) => Some(ImMedia::Message),
                (Some(false), Some(true)) => Some(ImMedia::XMsMessage),
                _ => None,
            },
            cpim: plain.and_then(taken) == Some(false) && cpim.and_then(taken) == Some(true),
            refused: ["text/plain", "message/cpim", "text/html"]
                .into_iter()
                .filter(|m| seen.of(About::Message(m)).is_some_and(|a| a.status == Some(415)))
                .collect(),
        }
    }

    /// The mode that works, where only one does.
    fn mode(&self) -> Option<ImMode> {
        match (self.pager, self.session) {
            (Some(true), Some(false) | None) => Some(ImMode::Pager),
            (Some(false), Some(true)) => Some(ImMode::Session),
            _ => None,
        }
    }

    /// Whether anything tells dialects apart.
    fn is_telling(&self) -> bool {
        self.formats.is_some() || self.benotify.is_some() || self.mode().is_some()
    }

    /// How well a dialect fits.
    fn score(&self, dialect: &Dialect) -> i32 {
        let bit = |seen: Option<bool>, says: bool, weight: i32| match seen {
            Some(seen) if seen == says => weight,
            Some(_) => -weight,
            None => 0,
        };
        let mut score = bit(self.benotify, dialect.sip.benotify, 2) + bit(self.piggyback, dialect.sip.piggyback, 1);
        if let Some(seen) = &self.formats {
            let own = labels(dialect);
            let count = |list: &mut dyn Iterator<Item = &&'static str>, within: &[&str]| {
                list.filter(|m| within.contains(m))
                    .fold((0, 0), |(yes, all), _| (yes + 1, all))
            };
            let both = count(&mut seen.iter(), &own).0;
            let small = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
            score += 4 * both - 2 * (small(own.len()) - both) - (small(seen.len()) - both);
        }
        score += bit(self.mode().map(|m| m == dialect.im.mode), true, 3);
        score + bit(self.media.map(|m| m == dialect.im.media), true, 1)
    }
}

/// The media types that a dialect writes.
fn labels(dialect: &Dialect) -> Vec<&'static str> {
    let mut all: Vec<&str> = Vec::new();
    for format in &dialect.presence.formats {
        if !all.contains(&format.media_type()) {
            all.push(format.media_type());
        }
    }
    all
}

/// What to write into a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The dialect that fits best.
    pub base: Arc<str>,
    /// Others that fit as well.
    pub ties: Vec<Arc<str>>,
    /// Keys in which the peer differs from it.
    pub differs: Vec<&'static str>,
    /// The mapping file.
    pub yaml: String,
}

/// Chooses among dialects; of those that fit alike the one that the peer has now is taken, else the first.
#[must_use]
pub fn suggest(peer: &str, seen: &Seen, dialects: &[Arc<Dialect>], now: &str) -> Suggestion {
    let observed = Observed::of(seen);
    // Some are of our own registrar's clients only.
    let servers = || dialects.iter().filter(|d| !d.sip.digest_uri_null && !d.sip.roaming);
    let best = servers().map(|d| observed.score(d)).max().unwrap_or(0);
    let alike: Vec<&Arc<Dialect>> = servers().filter(|d| observed.score(d) == best).collect();
    let present = alike.iter().find(|d| *d.name == *now).or(alike.first());
    let base = present.map_or_else(Dialect::rfc, |d| Arc::clone(d));
    let ties = alike
        .iter()
        .filter(|d| d.name != base.name)
        .map(|d| Arc::clone(&d.name));
    let ties: Vec<_> = ties.collect();
    let (mut yaml, mut differs) = write(peer, &observed, &base, &ties);
    let read = load::parse(&yaml).ok();
    if read.is_none_or(|written| load::build("overlay", "overlay.yaml", &written, Some(&base)).is_err()) {
        // What cannot be said in a mapping file is left to its reader.
        (yaml, differs) = write(peer, &Observed::default(), &base, &ties);
    }
    Suggestion {
        base: Arc::clone(&base.name),
        ties,
        differs,
        yaml,
    }
}

fn write(peer: &str, observed: &Observed, base: &Dialect, ties: &[Arc<str>]) -> (String, Vec<&'static str>) {
    let about = serde_json::Value::from(format!("{peer}, as it answered to trestle peer probe"));
    let mut out = String::new();
    if !observed.is_telling() {
        out += "# Nothing that tells dialects apart was answered: ask with --to, and with --message-to.\n";
    } else if !ties.is_empty() {
        let names: Vec<&str> = ties.iter().map(|t| &**t).collect();
        let _fits = writeln!(
            out,
            "# Fits as well: {}. More questions tell: --to, --message-to.",
            names.join(", ")
        );
    }
    let _fits = writeln!(out, "about: {about}\nextends: {}", base.name);
    let mut differs = Vec::new();
    let mut section = |head: &str, lines: Vec<(&'static str, String)>| {
        if !lines.is_empty() {
            let _fits = writeln!(out, "{head}:");
        }
        for (key, value) in lines {
            let name = key.rsplit_once('.').map_or(key, |(_, name)| name);
            let _fits = writeln!(out, "  {name}: {value}");
            differs.push(key);
        }
    };
    section("sip", sip(observed, base));
    section("presence", presence(observed, base));
    section("im", im(observed, base));
    (out, differs)
}

fn sip(observed: &Observed, base: &Dialect) -> Vec<(&'static str, String)> {
    let all = [
        ("sip.benotify", observed.benotify, base.sip.benotify),
        ("sip.piggyback", observed.piggyback, base.sip.piggyback),
    ];
    let differ = all
        .into_iter()
        .filter_map(|(key, seen, says)| Some((key, seen.filter(|s| *s != says)?)));
    differ.map(|(key, seen)| (key, seen.to_string())).collect()
}

fn presence(observed: &Observed, base: &Dialect) -> Vec<(&'static str, String)> {
    let Some(seen) = observed.formats.as_ref().filter(|_| !base.is_verbatim()) else {
        return Vec::new();
    };
    let own = &base.presence.formats;
    let has_table = |f: &&Format| base.presence.tables.get(**f as usize).is_some_and(Option::is_some);
    let kept = own.iter().filter(|f| seen.contains(&f.media_type()));
    let labels = labels(base);
    let new = Format::ALL
        .iter()
        .filter(has_table)
        .filter(|f| seen.contains(&f.media_type()) && !labels.contains(&f.media_type()));
    let names: Vec<&str> = kept.chain(new).map(|f| f.name()).collect();
    let same = own.iter().map(|f| f.name()).eq(names.iter().copied());
    match same || names.is_empty() {
        true => Vec::new(),
        false => vec![("presence.formats", format!("[{}]", names.join(", ")))],
    }
}

fn im(observed: &Observed, base: &Dialect) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    let mut put = |key, value: &str| all.push((key, value.to_owned()));
    match observed.mode().filter(|m| *m != base.im.mode) {
        Some(ImMode::Pager) => put("im.mode", "pager"),
        Some(ImMode::Session) => put("im.mode", "session"),
        None => {}
    }
    match observed.media.filter(|m| *m != base.im.media) {
        Some(ImMedia::Message) => put("im.media", "message"),
        Some(ImMedia::XMsMessage) => put("im.media", "x-ms-message"),
        None => {}
    }
    if observed.cpim && !base.im.cpim {
        put("im.cpim", "true");
    }
    let shown = || base.im.accept.iter().filter(|a| !observed.refused.contains(&&***a));
    // Text in a wrapper is still text.
    let without = shown().count() < base.im.accept.len() && !observed.cpim;
    if without && shown().next().is_some() {
        let list: Vec<&str> = shown().map(|a| &**a).collect();
        put("im.accept", &format!("[{}]", list.join(", ")));
    }
    all
}
