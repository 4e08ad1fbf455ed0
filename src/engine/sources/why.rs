//! Why a watcher sees what it sees: `trestle why`, answered by the running bridge.

use serde::Serialize;

use super::{Extra, Source, gist_of, key_of, sources, user_of};
use crate::engine::Engine;
use crate::engine::slots::SlotId;
use crate::event::publication::Publications;
use crate::policy::User;
use crate::presence::compose::winner;
use crate::presence::{Document, Gist, LineState, Publication, pidf};
use crate::sip::time::Now;
use crate::sip::uri::Aor;

/// Why a watcher sees what it sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// Who watches.
    pub watcher: String,
    /// Who is watched.
    pub presentity: String,
    /// The state as it stands now.
    pub state: String,
    /// Its number; it rises with every change.
    pub version: u32,
    /// The rule of composition that decided.
    pub rule: String,
    /// What it is composed of, the winner first.
    pub sources: Vec<SourceWhy>,
    /// What was sent on each subscription of the watcher.
    pub sent: Vec<SentWhy>,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceWhy {
    /// `publication`, `line`, `registration` or `subscription` at a peer.
    pub kind: &'static str,
    /// Who says it: an entity tag, a peer, a line.
    pub from: String,
    /// What it says.
    pub state: String,
    /// Seconds since it says so, where that is known.
    pub since_s: Option<u64>,
    /// Seconds until it ends, where it does.
    pub expires_s: Option<u64>,
    /// It is set by hand.
    pub manual: bool,
    /// `wins`, `counts`, or why it is left out.
    pub part: &'static str,
}

/// What was sent on one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SentWhy {
    /// Where it goes.
    pub to: String,
    /// Seconds since the last NOTIFY; `None` before the first and after a restart.
    pub ago_s: Option<u64>,
    /// The version that was sent; 0 is none.
    pub version: u32,
    /// Whether the watcher has the present version, it is on its way, or something waits.
    pub progress: &'static str,
    /// The form it is shown in.
    pub content_type: &'static str,
    /// The dialect it is shown in.
    pub dialect: String,
    /// The state as the watcher sees it in the present version, as far as that is PIDF.
    pub shows: String,
    /// Lines of the mapping that decided, `file:line what`.
    pub mapping: Vec<String>,
}

impl Engine {
    /// Why `watcher` sees of `presentity` what it sees.
    ///
    /// # Errors
    /// A sentence when one of them is no address, or does not watch the other.
    pub fn why(&self, now: Now, watcher: &str, presentity: &str) -> Result<Why, String> {
        let read = |text: &str| Aor::parse(text).ok_or_else(|| format!("{text} is no address: write alice@a.example"));
        let (watcher, presentity) = (read(watcher)?, read(presentity)?);
        let key = self.watcher_key(watcher.to_uri().as_bytes());
        let all = self.presence.subscriptions.iter();
        let found: Vec<(SlotId, SlotId)> = all
            .filter(|(_, s)| s.watcher == key)
            .filter(|(_, s)| {
                self.presence
                    .resources
                    .get(s.resource)
                    .is_some_and(|r| r.aor == presentity)
            })
            .map(|(id, s)| (id, s.resource))
            .collect();
        let Some((_, resource)) = found.first().copied() else {
            return Err(format!(
                "{watcher} does not watch {presentity} here; see trestle ctl subscriptions"
            ));
        };
        let sent = found.iter().filter_map(|(id, _)| self.sent_why(now, *id)).collect();
        let (rule, sources) = self.sources_why(now, resource);
        let shown = self.presence.resources.get(resource).ok_or("it is gone")?;
        Ok(Why {
            watcher: watcher.to_string(),
            presentity: presentity.to_string(),
            state: said(&shown.body),
            version: shown.version,
            rule,
            sources,
            sent,
        })
    }

    fn sent_why(&self, now: Now, id: SlotId) -> Option<SentWhy> {
        let s = self.presence.subscriptions.get(id)?;
        let resource = self.presence.resources.get(s.resource)?;
        let dialect = self.snapshot.dialect(s.showing.dialect);
        let exported = dialect.map(|d| d.export(s.showing.format, &resource.aor.to_uri(), &resource.body));
        let progress = match () {
            () if s.in_flight => "on its way",
            () if s.dirty || s.owed => "a newer state waits",
            () if s.sent == resource.version => "the watcher has it",
            () => "nothing that it can see has changed",
        };
        let body = exported.as_ref().map_or(&resource.body[..], |e| &e.body);
        Some(SentWhy {
            to: format!("{} {}", s.reach.origin.remote, s.reach.origin.transport.param()),
            ago_s: (s.sent_at_s > 0).then(|| (now.wall_ms / 1000).saturating_sub(u64::from(s.sent_at_s))),
            version: s.sent,
            progress,
            content_type: s.showing.format.media_type(),
            dialect: dialect.map_or_else(|| "rfc".into(), |d| d.name.to_string()),
            shows: said(body),
            mapping: exported
                .map(|e| e.why)
                .unwrap_or_default()
                .iter()
                .map(line_of)
                .collect(),
        })
    }

    fn sources_why(&self, now: Now, id: SlotId) -> (String, Vec<SourceWhy>) {
        if let Some(at) = self.presence.resources.get(id).and_then(|r| r.upstream) {
            let source = self.upstream_why(at, id);
            return ("as its own server says".into(), source.into_iter().collect());
        }
        self.local_why(now, id).unwrap_or_default()
    }

    fn upstream_why(&self, at: SlotId, id: SlotId) -> Option<SourceWhy> {
        let (upstream, resource) = (self.upstreams.slots.get(at)?, self.presence.resources.get(id)?);
        Some(SourceWhy {
            kind: "subscription",
            from: format!("peer {}", self.peer_name(upstream.key.peer)),
            state: said(&resource.body),
            since_s: None,
            expires_s: None,
            manual: false,
            part: "wins",
        })
    }

    fn local_why(&self, now: Now, id: SlotId) -> Option<(String, Vec<SourceWhy>)> {
        let resource = self.presence.resources.get(id)?;
        // What is kept unread is read here, and forgotten again.
        let mut publications = resource.publications.clone();
        publications.prepare();
        let rules = &self.snapshot.presence.rules;
        let user = user_of(&self.snapshot, &resource.aor);
        let open = !self.registrar.bindings(&resource.aor).is_empty();
        let (entity, feed) = (resource.aor.to_uri(), self.sources.feed_of(user));
        let derived = pidf::derived(&entity, open);
        let line = feed.map(|(line, feed)| (line.clone(), feed.state));
        let extra = Extra::of(&entity, line, publications.is_empty() && open, &derived);
        let mut list = sources(&publications, user, &extra, rules);
        let heard = self.sources.heard.get(&resource.aor);
        let is_echo = |s: &Source<'_>| s.key.is_some_and(|key| heard.is_some_and(|h| h.echoes.is_echo(key)));
        let counted: Vec<Publication<'_>> = list.iter().filter(|s| !is_echo(s)).map(|s| s.what).collect();
        let won = winner(&counted, rules);
        // Ages are counted up; the winner first, then the newest.
        list.sort_by_key(|s| {
            (
                won.map(|(age, _)| age) != Some(s.what.age),
                core::cmp::Reverse(s.what.age),
            )
        });
        let hidden = won.is_some_and(|(_, level)| level == crate::presence::compose::Level::Manual)
            && list.first().is_some_and(|s| gist_of(&s.what) == Gist::Offline);
        let mut told: Vec<SourceWhy> = Vec::new();
        for source in &list {
            let part = match () {
                () if is_echo(source) => "left out: an echo of what we told",
                () if source.what.phone == Some(LineState::Unknown) => "left out: unknown",
                () if won.map(|(age, _)| age) == Some(source.what.age) => "wins",
                () if hidden => "left out: hidden by hand",
                () if won.is_none() => "left out: an idle phone alone is ignored",
                () => "counts",
            };
            let mut one = described(source, &publications, now);
            (one.part, one.manual) = (part, source.what.phone.is_none() && rules.is_manual(&source.what));
            if let Some((line, feed)) = feed.filter(|(line, _)| source.key == Some(key_of(b'l', &line.to_string()))) {
                one.kind = "line";
                one.from = format!("{line} at peer {}", self.peer_name(feed.peer));
                one.since_s = Some(now.mono_ms.saturating_sub(feed.since_ms) / 1000);
            }
            told.push(one);
        }
        told.extend(secondary(&publications, user));
        if won.is_none() {
            told.push(registration(open));
        }
        let rule = won.map_or("nobody says anything: whether a contact is registered", |(_, level)| {
            level.rule()
        });
        Some((rule.into(), told))
    }
}

/// A source as far as it tells itself.
fn described(source: &Source<'_>, publications: &Publications, now: Now) -> SourceWhy {
    let entry = publications
        .entries()
        .find(|e| core::ptr::eq(&raw const *e.body, source.what.body));
    let state = match source.what.phone {
        Some(state) => state.to_string(),
        None => worded(source.what.document),
    };
    let (kind, from) = match entry {
        None => {
            return SourceWhy {
                state,
                ..registration(true)
            };
        }
        Some(e) if e.by.is_empty() => ("publication", e.etag.clone()),
        Some(e) if e.line.is_empty() => ("publication", format!("peer {}", e.by)),
        Some(e) => ("line", format!("{} by PUBLISH of peer {}", e.line, e.by)),
    };
    SourceWhy {
        kind,
        from,
        state,
        since_s: None,
        expires_s: entry.map(|e| e.expires_wall_ms.saturating_sub(now.wall_ms) / 1000),
        manual: false,
        part: "counts",
    }
}

/// What peers publish on other lines than the primary one.
fn secondary<'a>(publications: &'a Publications, user: Option<&'a User>) -> impl Iterator<Item = SourceWhy> + 'a {
    let primary = user.and_then(User::primary_line).map(|l| l.address.to_string());
    let others = publications.entries();
    let others = others.filter(move |e| !e.line.is_empty() && primary.as_deref() != Some(&*e.line));
    others.map(|e| SourceWhy {
        kind: "line",
        from: format!("{} by PUBLISH of peer {}", e.line, e.by),
        state: said(&e.body),
        since_s: None,
        expires_s: None,
        manual: false,
        part: "left out: not the primary line",
    })
}

fn registration(open: bool) -> SourceWhy {
    SourceWhy {
        kind: "registration",
        from: "the registrar".into(),
        state: if open { "available" } else { "offline" }.into(),
        since_s: None,
        expires_s: None,
        manual: false,
        part: "wins",
    }
}

/// The state of a body in words; of one that is not read here, nothing.
fn said(body: &[u8]) -> String {
    Document::parse(body).map(|d| worded(&d)).unwrap_or_default()
}

/// Gist, activities and note.
fn worded(document: &Document) -> String {
    let mut words: Vec<&str> = document.activities().take(8).collect();
    words.dedup();
    let note = document
        .note()
        .map(|n| format!("\u{201c}{}\u{201d}", crate::engine::inbound::printable(n.as_bytes())));
    let more: Vec<String> = words.into_iter().map(Into::into).chain(note).collect();
    match more.is_empty() {
        true => Gist::of(document).to_string(),
        false => format!("{} ({})", Gist::of(document), more.join(", ")),
    }
}

fn line_of(why: &crate::dialect::Why) -> String {
    format!("{}:{} {}", why.file, why.line, why.what)
}
