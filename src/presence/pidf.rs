//! PIDF (RFC 3863) with the data model (RFC 4479) and what composition needs of RPID (RFC 4480).
//!
//! A [`Document`] keeps each child of the root as the bytes it came in, with the namespaces it may rely on beside it, so
//! that foreign XML passes untouched. What is read of it serves decisions only. `read` has the parser.

use core::ops::Range;
use std::sync::Arc;

use super::xml::{XmlError, escape};

/// The namespace of PIDF.
pub const NS_PIDF: &str = "urn:ietf:params:xml:ns:pidf";
/// The namespace of the data model.
pub const NS_DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
/// The namespace of RPID.
pub const NS_RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// RPID as its drafts had it, and as a vendor extends it; both are read as RPID.
const NS_RPID_FORMS: [&str; 2] = [
    "urn:ietf:params:xml:ns:pidf:status:rpid",
    "urn:cisco:params:xml:ns:pidf:rpid",
];
/// Our own element that says do-not-disturb, for which RPID has no word.
pub const NS_TRESTLE: &str = "urn:trestle:params:xml:ns:presence";
/// Bodies above this are 413.
pub const MAX_BYTES: usize = 256 * 1024;

/// The basic status of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basic {
    /// Not reachable.
    Closed,
    /// Reachable.
    Open,
}

/// What a child of the root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A service.
    Tuple,
    /// The person.
    Person,
    /// A device.
    Device,
    /// A note on the whole.
    Note,
    /// Anything else.
    Foreign,
}

/// The name of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Namespace; empty for none.
    pub namespace: Arc<str>,
    /// Name in it.
    pub local: Box<str>,
}

/// An element inside a child of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Its name.
    pub name: Name,
    /// It stands in `activities`.
    pub activity: bool,
}

/// The bytes of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it stands in the body.
    pub span: Range<usize>,
    /// Where the start tag's name ends.
    pub(super) name_end: usize,
    /// Namespace declarations of its own: attribute name and value.
    pub(super) declares: Vec<(String, String)>,
}

/// A child of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: Name,
    /// Its bytes.
    pub piece: Piece,
}

/// One child of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// What it is.
    pub kind: Kind,
    /// Its `id`, if it has one.
    pub id: Option<String>,
    /// Its bytes.
    pub piece: Piece,
    /// Basic status of a tuple.
    pub basic: Option<Basic>,
    /// Elements inside, in document order; of a tuple that [`is_opaque`](Self::is_opaque), none.
    pub inside: Vec<Inside>,
    /// Children, for a person.
    pub parts: Vec<Part>,
    /// RPID class.
    pub class: Option<String>,
    /// Text of its first note.
    pub note: Option<String>,
    /// Something inside must be understood and is not: it passes on, and no conclusions are drawn (RFC 3863 section
    /// 4.2.4).
    pub is_opaque: bool,
}

/// A parsed document over its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The `entity` of the root.
    pub entity: String,
    /// Namespace declarations of the root: attribute name and value.
    pub namespaces: Vec<(String, String)>,
    /// Children in order.
    pub elements: Vec<Element>,
}

impl Name {
    /// Whether it is of RPID, in any of its forms.
    #[must_use]
    pub fn is_rpid(&self) -> bool {
        *self.namespace == *NS_RPID || NS_RPID_FORMS.contains(&&*self.namespace)
    }

    /// Whether a pattern names it: `local` in any namespace, or `{namespace}local`.
    #[must_use]
    pub fn fits(&self, pattern: &str) -> bool {
        match pattern.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((namespace, local)) => *self.namespace == *namespace && *self.local == *local,
            None => *self.local == *pattern,
        }
    }
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// 400 for anything that is not well-formed PIDF, 413 above 256 KiB.
    pub fn parse(body: &[u8]) -> Result<Self, XmlError> {
        super::read::document(body)
    }

    /// Whether the document speaks of this address (`user@domain` as an AoR displays), whatever scheme it names.
    #[must_use]
    pub fn is_about(&self, aor: &crate::sip::uri::Aor) -> bool {
        crate::sip::uri::Aor::parse(&self.entity).is_some_and(|entity| entity == *aor)
    }

    /// Open if any tuple is, closed if all that say are, `None` when none says.
    #[must_use]
    pub fn basic(&self) -> Option<Basic> {
        self.elements.iter().filter_map(|e| e.basic).max()
    }

    /// The children of one kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Element> {
        self.elements.iter().filter(move |e| e.kind == kind)
    }

    /// All activities of persons, then of tuples.
    pub fn activities(&self) -> impl Iterator<Item = &str> {
        let of = |kind| self.of_kind(kind).flat_map(|e| &e.inside).filter(|i| i.activity);
        of(Kind::Person).chain(of(Kind::Tuple)).map(|i| &*i.name.local)
    }

    /// The first note of a person, the root or a tuple.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        let first = |kind| self.of_kind(kind).find_map(|e| e.note.as_deref());
        first(Kind::Person)
            .or_else(|| first(Kind::Note))
            .or_else(|| first(Kind::Tuple))
    }
}

/// Writes a child as it came, with the root's namespaces that it does not declare itself, under an id that may be new.
pub fn write_element(out: &mut Vec<u8>, body: &[u8], document: &Document, element: &Element, id: Option<&str>) {
    let id = id.filter(|id| Some(*id) != element.id.as_deref());
    write_piece(out, body, &element.piece, &[&document.namespaces], id);
}

/// Writes a child of a person as it came, able to stand in another person.
pub fn write_part(out: &mut Vec<u8>, body: &[u8], document: &Document, person: &Element, part: &Part) {
    let outer: [&[(String, String)]; 2] = [&person.piece.declares, &document.namespaces];
    write_piece(out, body, &part.piece, &outer, None);
}

/// `outer`: declarations around it, the innermost first.
fn write_piece(out: &mut Vec<u8>, body: &[u8], piece: &Piece, outer: &[&[(String, String)]], id: Option<&str>) {
    let raw = body.get(piece.span.clone()).unwrap_or_default();
    let (name, rest) = raw
        .split_at_checked(piece.name_end - piece.span.start)
        .unwrap_or_default();
    out.extend_from_slice(name);
    let mut declared: Vec<&str> = piece.declares.iter().map(|(key, _)| key.as_str()).collect();
    for (key, value) in outer.iter().copied().flatten() {
        if !declared.contains(&key.as_str()) {
            out.extend_from_slice(format!(" {key}=\"{}\"", escape(value)).as_bytes());
            declared.push(key);
        }
    }
    match id.and_then(|id| Some((id, id_value(rest)?))) {
        Some((id, at)) => {
            out.extend_from_slice(&rest[..at.start]);
            out.extend_from_slice(format!("\"{}\"", escape(id)).as_bytes());
            out.extend_from_slice(&rest[at.end..]);
        }
        None => out.extend_from_slice(rest),
    }
}

/// Where the value of `id` stands, quotes included, in a well-formed start tag behind its name.
fn id_value(tag: &[u8]) -> Option<Range<usize>> {
    let mut at = 0;
    loop {
        at += tag.get(at..)?.iter().position(|b| !b.is_ascii_whitespace())?;
        let equals = at + memchr::memchr(b'=', tag.get(at..)?)?;
        let name = tag.get(at..equals)?.trim_ascii_end();
        let start = equals + memchr::memchr2(b'"', b'\'', tag.get(equals..)?)?;
        let end = start + 2 + memchr::memchr(*tag.get(start)?, tag.get(start + 1..)?)?;
        if name == b"id" {
            return Some(start..end);
        }
        at = end;
    }
}

/// The start of a document of our own.
#[must_use]
pub fn opening(entity: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"{NS_PIDF}\" entity=\"{}\">\n",
        escape(entity)
    )
}

/// What is known of somebody who has published nothing: open while registered, else closed.
#[must_use]
pub fn derived(entity: &str, open: bool) -> Vec<u8> {
    let basic = if open { "open" } else { "closed" };
    format!(
        "{}<tuple id=\"reg\"><status><basic>{basic}</basic></status></tuple>\n</presence>\n",
        opening(entity)
    )
    .into_bytes()
}

/// What is known of somebody whose server cannot be asked: nothing (RFC 4480 `unknown`, no basic status).
#[must_use]
pub fn unknown(entity: &str) -> Vec<u8> {
    format!(
        "{}<tuple id=\"lost\"><status/></tuple>\n<dm:person xmlns:dm=\"{NS_DATA_MODEL}\" id=\"p\"><r:activities \
         xmlns:r=\"{NS_RPID}\"><r:unknown/></r:activities></dm:person>\n</presence>\n",
        opening(entity)
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::uri::Aor;

    const RICH: &str = r#"<?xml version="1.0"?><p:presence xmlns:p="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
      xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" xmlns:x="urn:own" entity="pres:Bob@B.example">
      <p:tuple id="t1"><p:status><p:basic> open </p:basic><x:odd k="&lt;"/></p:status><r:class>manual</r:class><p:note xml:lang="en">Hi &amp; bye</p:note></p:tuple>
      <dm:person id="p1"><r:activities><r:busy/><r:on-the-phone/></r:activities></dm:person><x:mine/></p:presence>"#;

    #[test]
    fn the_parts_that_matter_are_read_and_foreign_ones_kept() -> Result<(), XmlError> {
        let d = Document::parse(RICH.as_bytes())?;
        assert!(d.is_about(&Aor::new("Bob", "b.example")) && !d.is_about(&Aor::new("bob", "b.example")));
        assert_eq!((d.basic(), d.note()), (Some(Basic::Open), Some("Hi & bye")));
        assert_eq!(d.activities().collect::<Vec<_>>(), ["busy", "on-the-phone"]);
        assert_eq!(d.elements[0].class.as_deref(), Some("manual"));
        let mut out = opening("sip:bob@b.example").into_bytes();
        for e in &d.elements {
            write_element(&mut out, RICH.as_bytes(), &d, e, e.id.as_deref().map(|_| "new"));
        }
        out.extend_from_slice(b"</presence>");
        let again = Document::parse(&out)?;
        assert_eq!(again.elements.len(), 3);
        assert_eq!(again.elements[0].id.as_deref(), Some("new"));
        assert!(String::from_utf8_lossy(&out).contains("<x:odd k=\"&lt;\"/>"));
        Ok(())
    }

    /// RFC 3863 section 4.1.4 knows open and closed only; clients in use say more.
    #[test]
    fn a_basic_status_of_another_word_says_nothing() -> Result<(), XmlError> {
        let tuple = |basic: &str| format!("<tuple id='{basic}'><status><basic>{basic}</basic></status></tuple>");
        let of = |inside: String| {
            let text = format!("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'>{inside}</presence>");
            Document::parse(text.as_bytes()).map(|d| d.basic())
        };
        assert_eq!(of(tuple("unknown"))?, None);
        assert_eq!(of(tuple("unknown") + &tuple("closed"))?, Some(Basic::Closed));
        assert_eq!(of(tuple("open") + &tuple("ajar"))?, Some(Basic::Open));
        Ok(())
    }

    #[test]
    fn what_is_no_pidf_is_refused() {
        for bad in [
            "<presence entity='sip:a@b'/>",
            "<other xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'/>",
            "<presence xmlns='urn:ietf:params:xml:ns:pidf'/>",
        ] {
            assert!(Document::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn our_own_documents_parse() -> Result<(), XmlError> {
        assert_eq!(Document::parse(&derived("sip:a@b", true))?.basic(), Some(Basic::Open));
        assert_eq!(
            Document::parse(&derived("sip:a&b@c", false))?.basic(),
            Some(Basic::Closed)
        );
        let lost = Document::parse(&unknown("sip:a@b"))?;
        assert_eq!((lost.basic(), lost.activities().next()), (None, Some("unknown")));
        Ok(())
    }
}
