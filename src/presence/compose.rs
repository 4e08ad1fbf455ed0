//! Composition: what several publications of one presentity say together (RFC 4479 section 3.5).
//!
//! One publication passes unchanged. Of several, an explicit do-not-disturb comes before anything set by hand, that
//! before anything automatic. Among the automatic: a phone set to do-not-disturb, a phone in use, whoever is reachable by a
//! client, an idle phone, the closed; then the newest. All tuples and devices stand side
//! by side under ids of their own. There is one person: its state is the winner's, foreign XML of the others is kept.
//! Somebody who is closed by hand is hidden: nothing else is shown. The result does not depend on the order of the input.
//! What activities mean beyond that, and timed status (RFC 4481), is not judged here.

use std::collections::BTreeSet;

use super::line::LineState;
use super::pidf::{self, Basic, Document, Element, Kind, NS_DATA_MODEL, NS_RPID, NS_TRESTLE, Part};
use super::rules::Rules;

/// One live publication.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The body as published.
    pub body: &'a [u8],
    /// The body read.
    pub document: &'a Document,
    /// Order of publishing: a larger number is newer. Unique.
    pub age: u64,
    /// Dialect of the publisher; the rules may name it.
    pub dialect: &'a str,
    /// It is the line of a phone, and this is its state; one that is unknown does not count.
    pub phone: Option<LineState>,
}

/// The composed document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Composed<'a> {
    /// One publication's own bytes.
    Verbatim(&'a [u8]),
    /// Put together from several.
    Built(Vec<u8>),
}

impl Composed<'_> {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Verbatim(bytes) => bytes,
            Self::Built(bytes) => bytes,
        }
    }
}

/// A publication and what the rules make of it.
struct Judged<'p, 'a> {
    source: &'p Publication<'a>,
    dnd: bool,
    /// A mark says do-not-disturb, the document does not.
    unsaid: bool,
    manual: bool,
}

impl<'p, 'a> Judged<'p, 'a> {
    fn new(source: &'p Publication<'a>, rules: &Rules) -> Self {
        if source.phone.is_some() {
            return Self {
                source,
                dnd: false,
                unsaid: false,
                manual: false,
            };
        }
        let said = rules.says_dnd(source.document);
        let marked = rules.is_marked_dnd(source);
        Self {
            source,
            dnd: said || marked,
            unsaid: marked && !said,
            manual: rules.is_manual(source),
        }
    }

    fn is_closed(&self) -> bool {
        self.source.document.basic() == Some(Basic::Closed)
    }

    fn level(&self) -> Level {
        match self.source.phone {
            Some(LineState::Dnd) => Level::PhoneDnd,
            Some(LineState::OnThePhone) => Level::OnThePhone,
            Some(LineState::Idle) => Level::IdlePhone,
            Some(LineState::Unknown) => Level::Closed,
            None if self.dnd => Level::Dnd,
            None if self.manual => Level::Manual,
            None if self.is_closed() => Level::Closed,
            None => Level::Reachable,
        }
    }

    /// The greatest wins.
    fn rank(&self) -> (Level, bool, u64) {
        (self.level(), self.manual, self.source.age)
    }

    /// Nobody else speaks of the person's state. Beside an idle phone that wins there are only clients that are closed.
    fn is_exclusive(&self) -> bool {
        self.dnd || self.manual || self.level() == Level::IdlePhone
    }
}

/// What decides between sources, the weightiest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not reachable by this source.
    Closed,
    /// A phone that is idle.
    IdlePhone,
    /// Reachable by a client.
    Reachable,
    /// A phone is in use.
    OnThePhone,
    /// A phone is set to do-not-disturb.
    PhoneDnd,
    /// Set by hand.
    Manual,
    /// Do-not-disturb.
    Dnd,
}

impl Level {
    /// The rule in words, as `trestle why` tells it.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::Closed => "all sources are closed: the newest",
            Self::IdlePhone => "only a phone is there, and it is idle",
            Self::Reachable => "the newest source that is open",
            Self::OnThePhone => "a phone in use before any other automatic state",
            Self::PhoneDnd => "a phone set to do-not-disturb before any other automatic state",
            Self::Manual => "set by hand before anything automatic",
            Self::Dnd => "do-not-disturb before everything",
        }
    }
}

/// The publications that count, the winner first.
fn judge<'p, 'a>(publications: &'p [Publication<'a>], rules: &Rules) -> Vec<Judged<'p, 'a>> {
    let counts = |p: &&Publication<'_>| p.phone != Some(LineState::Unknown);
    let all = publications.iter().filter(counts);
    let mut judged: Vec<Judged<'_, 'a>> = all.map(|p| Judged::new(p, rules)).collect();
    judged.sort_by_key(|j| core::cmp::Reverse(j.rank()));
    if rules.ignore_lone_phone && judged.first().is_some_and(|j| j.level() == Level::IdlePhone) {
        judged.retain(|j| j.level() != Level::IdlePhone);
    }
    judged
}

/// Which publication wins, by its age, and by which rule.
#[must_use]
pub fn winner(publications: &[Publication<'_>], rules: &Rules) -> Option<(u64, Level)> {
    let judged = judge(publications, rules);
    judged.first().map(|j| (j.source.age, j.level()))
}

/// Composes the publications of one presentity; `None` when there are none.
#[must_use]
pub fn compose<'a>(entity: &str, publications: &[Publication<'a>], rules: &Rules) -> Option<Composed<'a>> {
    let judged = judge(publications, rules);
    let winner = judged.first()?;
    let hidden = winner.manual && !winner.dnd && winner.is_closed();
    if hidden || (judged.len() == 1 && !winner.unsaid) {
        return Some(Composed::Verbatim(winner.source.body));
    }
    let mut builder = Builder {
        out: pidf::opening(entity).into_bytes(),
        ..Builder::default()
    };
    builder.all(&judged, Kind::Tuple);
    builder.all(&judged, Kind::Note);
    builder.person(&judged);
    builder.all(&judged, Kind::Device);
    builder.all(&judged, Kind::Foreign);
    builder.out.extend_from_slice(b"</presence>\n");
    Some(Composed::Built(builder.out))
}

#[derive(Default)]
struct Builder {
    out: Vec<u8>,
    ids: BTreeSet<String>,
    /// Elements without an id that stand there already.
    seen: BTreeSet<Vec<u8>>,
}

impl Builder {
    fn all(&mut self, judged: &[Judged<'_, '_>], kind: Kind) {
        for j in judged {
            for element in j.source.document.of_kind(kind) {
                self.put(j.source, element);
            }
        }
    }

    fn put(&mut self, source: &Publication<'_>, element: &Element) {
        let id = element.id.as_deref().map(|wanted| self.unique(wanted));
        let mut text = Vec::new();
        pidf::write_element(&mut text, source.body, source.document, element, id.as_deref());
        if id.is_some() || self.seen.insert(text.clone()) {
            self.out.append(&mut text);
            self.out.push(b'\n');
        }
    }

    fn unique(&mut self, wanted: &str) -> String {
        let mut id = wanted.to_string();
        let mut n = 1;
        while !self.ids.insert(id.clone()) {
            n += 1;
            id = format!("{wanted}-{n}");
        }
        id
    }

    fn person(&mut self, judged: &[Judged<'_, '_>]) {
        let Some(winner) = judged.first() else { return };
        let persons = || {
            let of = |j| move |element| (j, element);
            judged
                .iter()
                .flat_map(move |j| j.source.document.of_kind(Kind::Person).map(of(j)))
        };
        // A winner by hand without a person says nothing of activities; an automatic one must not speak in its place.
        let own = |j: &Judged<'_, '_>| j.source.age == winner.source.age;
        let base = persons().find(|(j, _)| own(j) || !winner.is_exclusive());
        let mut parts = Parts::default();
        if let Some((j, element)) = base {
            for part in element.parts.iter().filter(|p| !(winner.unsaid && is_activities(p))) {
                parts.add(j.source, element, part);
            }
        }
        if winner.unsaid {
            parts.own(do_not_disturb());
        }
        let before = parts.count;
        for (j, element) in persons().filter(|(_, e)| base.is_none_or(|(_, b)| !core::ptr::eq(*e, b))) {
            let others = element.parts.iter().filter(|p| may_join(p, winner.is_exclusive()));
            others.for_each(|part| parts.add(j.source, element, part));
        }
        match base {
            Some((j, element)) if parts.count == before && !winner.unsaid => self.put(j.source, element),
            _ if parts.count == 0 => {}
            _ => {
                let id = self.unique(base.and_then(|(_, e)| e.id.as_deref()).unwrap_or("person"));
                let open = format!(
                    "<dm:person xmlns:dm=\"{NS_DATA_MODEL}\" id=\"{}\">",
                    super::xml::escape(&id)
                );
                self.out.extend_from_slice(open.as_bytes());
                parts.write(&mut self.out);
                self.out.extend_from_slice(b"</dm:person>\n");
            }
        }
    }
}

/// The children of a person in the making, in the order of their schema.
#[derive(Default)]
struct Parts<'d> {
    /// Other namespaces, notes, timestamp.
    by_place: [Vec<Vec<u8>>; 3],
    names: Vec<&'d pidf::Name>,
    count: usize,
}

impl<'d> Parts<'d> {
    fn add(&mut self, source: &Publication<'_>, person: &Element, part: &'d Part) {
        let model = &*part.name.namespace == NS_DATA_MODEL;
        let place = match &*part.name.local {
            "note" if model => 1,
            "timestamp" if model => 2,
            _ => 0,
        };
        let mut text = Vec::new();
        pidf::write_part(&mut text, source.body, source.document, person, part);
        let known = place != 1 && self.names.contains(&&part.name);
        if let Some(list) = self
            .by_place
            .get_mut(place)
            .filter(|list| !known && !list.contains(&text))
        {
            list.push(text);
            self.names.push(&part.name);
            self.count += 1;
        }
    }

    fn own(&mut self, text: Vec<u8>) {
        self.by_place[0].push(text);
        self.count += 1;
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.by_place
            .iter()
            .flatten()
            .for_each(|text| out.extend_from_slice(text));
    }
}

fn is_activities(part: &Part) -> bool {
    &*part.name.local == "activities"
}

/// Whether a part of another person than the winner's may stand in the composed one.
fn may_join(part: &Part, exclusive: bool) -> bool {
    let model = &*part.name.namespace == NS_DATA_MODEL;
    let state = is_activities(part) || &*part.name.local == "user-input";
    let timestamp = model && &*part.name.local == "timestamp";
    !state && !timestamp && !(exclusive && (model || part.name.is_rpid()))
}

/// Do-not-disturb for those who do not know our own element: busy.
fn do_not_disturb() -> Vec<u8> {
    format!("<r:activities xmlns:r=\"{NS_RPID}\"><r:busy/><t:dnd xmlns:t=\"{NS_TRESTLE}\"/></r:activities>")
        .into_bytes()
}

#[cfg(test)]
mod tests;
