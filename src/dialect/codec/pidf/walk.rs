//! The walk over a document.

use std::collections::BTreeSet;
use std::sync::Arc;

use quick_xml::events::BytesStart;

use super::{Contact, Facts, Kept, MAX_WORDS, Part, Place};
use crate::dialect::wire::Word;
use crate::presence::pidf::{MAX_BYTES, NS_DATA_MODEL, NS_PIDF, NS_RPID, NS_TRESTLE, Name};
use crate::presence::xml::{self, Node, attribute};
use crate::presence::{Basic, XmlError};

const NS_CAPS: &str = "urn:ietf:params:xml:ns:pidf:caps";
const NS_OLD_CAPS: &str = "urn:ietf:params:xml:ns:pidf:servcaps";
const NS_CIPID: &str = "urn:ietf:params:xml:ns:pidf:cipid";
/// Namespaces of documents before RFC 3863.
const DRAFTS: [&str; 3] = [
    "urn:ietf:params:xml:ns:cpim-pidf",
    "urn:ietf:params:xml:ns:cpim-pidf:1.0",
    "urn:ietf:params:cpim-presence:",
];
/// The text activity of drafts.
const NS_TEXT: &str = "urn:ietf:params:xml:ns:pidf:status:rpid-status";
/// Text kept of one element.
const MAX_TEXT: usize = 8192;
/// Namespaces that are in force at once.
const MAX_SCOPES: usize = 512;
/// Longest namespace of an activity that goes on: it is written with each of them.
const MAX_NAMESPACE: usize = 256;
/// Elements that pass as bytes.
const MAX_KEPT: usize = 256;
/// Tuples looked at; the others are only counted in no way.
const MAX_TUPLES: usize = 1024;

/// Reads a document of PIDF in any of its forms.
pub(crate) fn read(body: &[u8]) -> Result<Facts, XmlError> {
    let mut walk = Walk::default();
    xml::walk(body, MAX_BYTES, |depth, node| walk.take(depth, node))?;
    Ok(walk.facts)
}

#[derive(Default)]
struct Walk {
    facts: Facts,
    scopes: Vec<(usize, String, Arc<str>)>,
    path: Vec<Name>,
    text: String,
    /// What `activity` and friends are counted for: the tuple that is open, or the person.
    in_tuple: bool,
    skipped: bool,
    /// Depth of the element that is kept whole.
    keeping: Option<usize>,
    kept_bytes: usize,
    rank: [u8; 2],
    attributes: Vec<(String, String)>,
}

impl Walk {
    fn take(&mut self, depth: usize, node: Node<'_>) -> Result<(), XmlError> {
        match node {
            Node::Open { tag, start, end: _ } => {
                for (key, value) in declarations(tag) {
                    let prefix = key.strip_prefix("xmlns:").unwrap_or_default().to_owned();
                    self.scopes.push((depth, prefix, value.into()));
                }
                if self.scopes.len() > MAX_SCOPES {
                    return Err(XmlError::new(start as u64, "too many namespaces are declared"));
                }
                let name = self.name(tag);
                self.path.truncate(depth);
                self.path.push(name);
                self.text.clear();
                self.open(depth, tag, start)
            }
            Node::Text(text) => {
                if self.text.len() + text.len() <= MAX_TEXT {
                    self.text.push_str(text);
                }
                Ok(())
            }
            Node::Close { end } => {
                if self.keeping.is_none() {
                    self.close(depth);
                }
                if self.keeping == Some(depth) {
                    self.keeping = None;
                    if let Some(kept) = self.facts.kept.last_mut() {
                        kept.span.end = end;
                    }
                }
                self.path.truncate(depth);
                self.text.clear();
                while self.scopes.last().is_some_and(|s| s.0 >= depth) {
                    self.scopes.pop();
                }
                Ok(())
            }
        }
    }

    fn name(&self, tag: &BytesStart<'_>) -> Name {
        let name = tag.name();
        let full = name.as_ref();
        let (prefix, local) = full.split_once(':').unwrap_or(("", full));
        let scope = self.scopes.iter().rev().find(|s| s.1 == prefix);
        Name {
            namespace: scope.map_or_else(|| Arc::from(""), |s| Arc::clone(&s.2)),
            local: local.into(),
        }
    }

    fn open(&mut self, depth: usize, tag: &BytesStart<'_>, start: usize) -> Result<(), XmlError> {
        let Some(name) = self.path.last().cloned() else {
            return Ok(());
        };
        self.attributes.clear();
        for key in ["since", "priority"] {
            if let Some(value) = attribute(tag, key) {
                self.attributes.push((key.to_owned(), value));
            }
        }
        if self.keeping.is_some() {
            self.mobility(&name);
            return Ok(());
        }
        match depth {
            0 => {
                self.facts.entity = attribute(tag, "entity");
                return self.root(&name, start);
            }
            1 => self.child(&name, tag, start),
            _ => self.inside(depth, &name, tag, start),
        }
        Ok(())
    }

    fn root(&mut self, name: &Name, start: usize) -> Result<(), XmlError> {
        if &*name.local != "presence" {
            return Err(XmlError::new(start as u64, "the root is not a presence element"));
        }
        if name.namespace.is_empty() {
            self.facts.quirk("the root has no namespace");
        } else if &*name.namespace != NS_PIDF {
            if !is_pidf(&name.namespace) {
                return Err(XmlError::new(start as u64, "the root is not in a namespace of PIDF"));
            }
            self.facts.quirk("the namespace is that of a draft");
        }
        Ok(())
    }

    fn child(&mut self, name: &Name, tag: &BytesStart<'_>, start: usize) {
        let loose = is_pidf(&name.namespace);
        let model = &*name.namespace == NS_DATA_MODEL;
        let rank = match &*name.local {
            "tuple" if loose => 0,
            "note" if loose => 1,
            _ => 2,
        };
        self.order(0, rank);
        self.rank[1] = 0;
        match &*name.local {
            "tuple" if loose => {
                self.in_tuple = true;
                self.skipped = self.facts.tuples.len() >= MAX_TUPLES;
                if self.skipped {
                    self.facts.quirk("there are more tuples than anybody reads");
                    return;
                }
                let id = attribute(tag, "id");
                if id.is_none() {
                    self.facts.quirk("a tuple has no id");
                }
                self.facts.tuples.push(Part { id, ..Part::default() });
            }
            "note" if loose => {}
            "person" if model => {
                (self.in_tuple, self.skipped) = (false, false);
                match attribute(tag, "id") {
                    None => self.facts.quirk("a person has no id"),
                    id => self.facts.person.id = id,
                }
            }
            "device" if model && attribute(tag, "id").is_some() => self.keep(1, Place::Device, tag, start),
            "display-name" if &*name.namespace == NS_CIPID => {}
            _ if loose || name.is_rpid() => self.facts.quirk("an element below the root belongs elsewhere"),
            _ => self.keep(1, Place::Root, tag, start),
        }
    }

    fn inside(&mut self, depth: usize, name: &Name, tag: &BytesStart<'_>, start: usize) {
        let parent = depth.checked_sub(1).and_then(|at| self.path.get(at)).cloned();
        let Some(parent) = parent else { return };
        let outer = self.path.get(1).cloned();
        let Some(outer) = outer else { return };
        let spoken = matches!(&*outer.local, "tuple" | "person");
        if !spoken || (&*outer.local == "tuple") != self.in_tuple || self.skipped {
            return;
        }
        if &*parent.local == "activities" {
            self.notice(depth, name);
            if &*name.namespace == NS_PIDF {
                self.facts.quirk("RPID is in the namespace of PIDF");
            }
            return;
        }
        let place = if self.in_tuple {
            Place::Tuple(self.facts.tuples.len().saturating_sub(1))
        } else {
            Place::Person
        };
        if depth == 2 && self.in_tuple {
            let rank = match &*name.local {
                "status" if is_pidf(&name.namespace) => 0,
                "contact" if is_pidf(&name.namespace) => 2,
                "note" if is_pidf(&name.namespace) => 3,
                "timestamp" if is_pidf(&name.namespace) => 4,
                _ => 1,
            };
            self.order(1, rank);
        }
        self.notice(depth, name);
        match &*name.local {
            _ if &*name.namespace == NS_TRESTLE && &*name.local == "out-of-office" => {
                self.keep(depth, Place::OutOfOffice, tag, start);
            }
            "servcaps" if &*name.namespace == NS_OLD_CAPS => {}
            _ if depth == 2 && &*name.namespace == NS_RPID && !STATE.contains(&&*name.local) => {
                self.keep(depth, place, tag, start);
            }
            _ if depth == 2 && is_foreign(&name.namespace) => self.keep(depth, place, tag, start),
            _ => {}
        }
    }

    /// Notes what no schema has.
    fn notice(&mut self, depth: usize, name: &Name) {
        let (rpid, loose) = (name.is_rpid(), is_pidf(&name.namespace));
        let status = STATUS.contains(&&*name.local);
        if rpid && &*name.namespace != NS_RPID {
            self.facts.quirk("RPID is in a namespace of its own");
        } else if &*name.namespace == NS_TEXT || &*name.namespace == NS_OLD_CAPS {
            self.facts.quirk("an element is in the namespace of a draft");
        } else if !self.in_tuple && loose && status {
            self.facts.quirk("a person has a status");
        } else if loose && &*name.namespace != NS_PIDF && !name.namespace.is_empty() {
            self.facts.quirk("the namespace is that of a draft");
        } else if name.namespace.is_empty() {
            self.facts.quirk("an element has no namespace");
        } else if loose && STATE.contains(&&*name.local) {
            self.facts.quirk("RPID is in the namespace of PIDF");
        } else if self.in_tuple && rpid && depth > 2 && &*name.local == "activities" {
            self.facts.quirk("activities stand in a status");
        } else if name.namespace.starts_with("urn:cisco:") {
            self.facts.quirk("an element is private to its maker");
        }
    }

    fn order(&mut self, level: usize, rank: u8) {
        if let Some(last) = self.rank.get_mut(level) {
            if rank < *last {
                self.facts
                    .quirk("elements are in another order than that of the schema");
            }
            *last = (*last).max(rank);
        }
    }

    fn keep(&mut self, depth: usize, place: Place, tag: &BytesStart<'_>, start: usize) {
        if self.facts.kept.len() >= MAX_KEPT || self.kept_bytes > MAX_BYTES {
            self.facts.quirk("there is more foreign XML than is kept");
            return;
        }
        let name_end = start + 1 + tag.name().as_ref().len();
        let mut declares: Vec<(String, Arc<str>)> = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for (at, prefix, namespace) in self.scopes.iter().rev() {
            // An own declaration hides those around it; the default of a PIDF is the same in every PIDF.
            let usual = prefix.is_empty() && is_pidf(namespace);
            if seen.insert(prefix) && *at < depth && !usual && !namespace.is_empty() {
                declares.push((prefix.clone(), Arc::clone(namespace)));
            }
        }
        self.kept_bytes += declares.iter().map(|(p, n)| p.len() + n.len() + 10).sum::<usize>();
        if self.kept_bytes > MAX_BYTES {
            self.facts.quirk("there is more foreign XML than is kept");
            return;
        }
        self.keeping = Some(depth);
        self.facts.kept.push(Kept {
            place,
            span: start..start,
            name_end,
            declares: declares.into(),
        });
        let name = self.path.last().cloned();
        if let Some(name) = name {
            self.mobility(&name);
        }
    }

    /// Inside of what is kept only this is of interest: capabilities (RFC 5196).
    fn mobility(&mut self, name: &Name) {
        let within = |local: &str| self.path.iter().any(|n| &*n.local == local);
        if &*name.namespace == NS_CAPS && &*name.local == "mobile" && within("mobility") && within("supported") {
            self.facts.mobile = true;
        }
    }

    fn part(&mut self) -> Option<&mut Part> {
        match self.in_tuple {
            true => self.facts.tuples.last_mut().filter(|_| !self.skipped),
            false => Some(&mut self.facts.person),
        }
    }

    fn close(&mut self, depth: usize) {
        let text = core::mem::take(&mut self.text);
        let Some(name) = self.path.get(depth).cloned() else {
            return;
        };
        let parent = depth.checked_sub(1).and_then(|at| self.path.get(at)).cloned();
        if depth == 1 {
            match &*name.local {
                "note" if is_pidf(&name.namespace) => drop(self.facts.note.get_or_insert(text)),
                "display-name" => drop(self.facts.display_name.get_or_insert(text)),
                "tuple" => self.in_tuple = false,
                _ => {}
            }
            return;
        }
        let outer = self
            .path
            .get(1)
            .is_some_and(|n| matches!(&*n.local, "tuple" | "person"));
        if depth == 0 || !outer {
            return;
        }
        let since = self
            .attributes
            .iter()
            .find(|(k, _)| k == "since")
            .map(|(_, v)| v.clone());
        let priority = self
            .attributes
            .iter()
            .find(|(k, _)| k == "priority")
            .map(|(_, v)| v.clone());
        let in_activities = parent.as_ref().is_some_and(|p| &*p.local == "activities");
        if &*name.local == "display-name" && &*name.namespace == NS_CIPID {
            let _first = self.facts.display_name.get_or_insert(text);
            return;
        }
        let Some(part) = self.part() else { return };
        if in_activities {
            return part.activity(&name, &text);
        }
        part.take(&name, &text, since, priority);
    }
}

impl Part {
    fn activity(&mut self, name: &Name, text: &str) {
        let loose = is_pidf(&name.namespace) || name.is_rpid() || &*name.namespace == NS_TEXT;
        if &*name.local == "activity" && loose {
            let _first = self.text.get_or_insert(text.trim().to_owned());
        } else if &*name.local != "note" && name.namespace.len() <= MAX_NAMESPACE && self.activities.len() < MAX_WORDS {
            let word = Word::of(name, text);
            if !self.activities.contains(&word) {
                self.activities.push(word);
            }
        }
    }

    fn take(&mut self, name: &Name, text: &str, since: Option<String>, priority: Option<String>) {
        let text = text.trim();
        let pidf = is_pidf(&name.namespace);
        let loose = pidf || name.is_rpid();
        match &*name.local {
            "basic" if pidf => {
                let said = match text.to_ascii_lowercase().as_str() {
                    "open" => Some(Basic::Open),
                    "closed" => Some(Basic::Closed),
                    _ => None,
                };
                self.basic = self.basic.max(said);
            }
            "user-input" if loose => {
                self.idle = match text {
                    "idle" => Some(true),
                    "active" => Some(false),
                    _ => self.idle,
                };
                self.since = self.since.take().or(since);
            }
            "class" if loose => self.manual |= text.eq_ignore_ascii_case("manual"),
            "note" if pidf || &*name.namespace == NS_DATA_MODEL => drop(self.note.get_or_insert(text.to_owned())),
            "timestamp" if pidf => self.timestamp = Some(text.to_owned()),
            "contact" if pidf => {
                let uri = text.to_owned();
                self.contact.get_or_insert(Contact { uri, priority });
            }
            "audio" | "video" | "text" | "message" if CAPABILITIES.contains(&&*name.namespace) => {
                let able = text == "true" || text == "1";
                let c = &mut self.capabilities;
                match &*name.local {
                    "audio" => c.audio |= able,
                    "video" => c.video |= able,
                    _ => c.text |= able,
                }
            }
            _ => {}
        }
    }
}

/// What makes a state, of RPID.
const STATE: [&str; 3] = ["activities", "class", "user-input"];
/// What makes a status, of PIDF.
const STATUS: [&str; 2] = ["status", "basic"];
const CAPABILITIES: [&str; 2] = [NS_CAPS, NS_OLD_CAPS];

fn is_pidf(namespace: &str) -> bool {
    namespace.is_empty() || namespace == NS_PIDF || DRAFTS.iter().any(|d| namespace.starts_with(d))
}

/// Whether elements of a namespace pass as bytes.
fn is_foreign(namespace: &str) -> bool {
    let known = [NS_DATA_MODEL, NS_TRESTLE, NS_TEXT, NS_CIPID];
    let rpid = Name {
        namespace: namespace.into(),
        local: Box::default(),
    };
    !(is_pidf(namespace)
        || rpid.is_rpid()
        || known.contains(&namespace)
        || CAPABILITIES.contains(&namespace)
        || namespace.starts_with("urn:cisco:"))
}

fn declarations<'t>(tag: &'t BytesStart<'_>) -> impl Iterator<Item = (String, String)> + 't {
    tag.attributes().flatten().filter_map(|a| {
        let key = a.key.as_ref();
        let value = quick_xml::escape::unescape(&a.value).ok()?;
        (key == "xmlns" || key.starts_with("xmlns:")).then(|| (key.to_owned(), value.into_owned()))
    })
}
