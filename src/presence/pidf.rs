//! PIDF (RFC 3863) with the data model (RFC 4479) and what composition needs of RPID (RFC 4480).
//!
//! A [`Document`] keeps each child of the root as the bytes it came in, with the namespaces it may rely on beside it.

use core::ops::Range;

use super::xml::{self, Node, XmlError, attribute, escape};

const NS_PIDF: &str = "urn:ietf:params:xml:ns:pidf";
const NS_DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
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

/// One child of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// What it is.
    pub kind: Kind,
    /// Its `id`, if it has one.
    pub id: Option<String>,
    /// Where it stands in the body.
    pub span: Range<usize>,
    /// Where the start tag's name ends.
    name_end: usize,
    /// Basic status of a tuple.
    pub basic: Option<Basic>,
    /// Local names of RPID activities, and `dnd` of any dialect that marks it.
    pub activities: Vec<String>,
    /// RPID class.
    pub class: Option<String>,
    /// Text of its first note.
    pub note: Option<String>,
    /// Prefixes it declares itself.
    declares: Vec<String>,
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

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// 400 for anything that is not well-formed PIDF, 413 above 256 KiB.
    pub fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut builder = Builder::default();
        xml::walk(body, MAX_BYTES, |depth, node| builder.take(depth, node))?;
        builder.document.ok_or(XmlError::new(0, "there is no presence element"))
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

    /// All activities of persons, then of tuples.
    pub fn activities(&self) -> impl Iterator<Item = &str> {
        let of = |kind| {
            self.elements
                .iter()
                .filter(move |e| e.kind == kind)
                .flat_map(|e| &e.activities)
        };
        of(Kind::Person).chain(of(Kind::Tuple)).map(String::as_str)
    }

    /// The first note of a person, the root or a tuple.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        let first = |kind| {
            self.elements
                .iter()
                .filter(move |e| e.kind == kind)
                .find_map(|e| e.note.as_deref())
        };
        first(Kind::Person)
            .or_else(|| first(Kind::Note))
            .or_else(|| first(Kind::Tuple))
    }
}

/// Writes a child as it came, with the root's namespaces that it does not declare itself, under an id that may be new.
pub fn write_element(out: &mut Vec<u8>, body: &[u8], document: &Document, element: &Element, id: Option<&str>) {
    let raw = body.get(element.span.clone()).unwrap_or_default();
    let name = raw.get(..element.name_end - element.span.start).unwrap_or_default();
    out.extend_from_slice(name);
    for (key, value) in &document.namespaces {
        if !element.declares.contains(key) {
            out.extend_from_slice(format!(" {key}=\"{}\"", escape(value)).as_bytes());
        }
    }
    let rest = raw.get(name.len()..).unwrap_or_default();
    match (id, &element.id) {
        (Some(new), Some(old)) if new != old => {
            for quote in ['"', '\''] {
                let from = format!("id={quote}{}{quote}", escape(old));
                if let Some(at) = memchr::memmem::find(rest, from.as_bytes()) {
                    out.extend_from_slice(&rest[..at]);
                    out.extend_from_slice(format!("id=\"{}\"", escape(new)).as_bytes());
                    out.extend_from_slice(&rest[at + from.len()..]);
                    return;
                }
            }
            out.extend_from_slice(rest);
        }
        _ => out.extend_from_slice(rest),
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
         xmlns:r=\"urn:ietf:params:xml:ns:pidf:rpid\"><r:unknown/></r:activities></dm:person>\n</presence>\n",
        opening(entity)
    )
    .into_bytes()
}

#[derive(Default)]
struct Builder {
    document: Option<Document>,
    current: Option<Element>,
    /// Local names from depth 2 down to the open element.
    path: Vec<String>,
    text: String,
}

impl Builder {
    fn take(&mut self, depth: usize, node: Node<'_>) -> Result<(), XmlError> {
        match node {
            Node::Open { tag, start, .. } if depth == 0 => self.root(tag, start),
            Node::Open { tag, start, end } if depth == 1 => {
                self.current = Some(self.element(tag, start, end));
                self.path.clear();
                self.text.clear();
                Ok(())
            }
            Node::Open { tag, .. } => {
                let local = tag.local_name().as_ref().to_string();
                if self.path.last().is_some_and(|p| p == "activities") && local != "other" {
                    self.activity(&local);
                }
                if matches!(local.as_str(), "dnd" | "do-not-disturb") {
                    self.activity("dnd");
                }
                self.path.push(local);
                self.text.clear();
                Ok(())
            }
            Node::Text(text) => {
                if self.text.len() + text.len() <= 4096 {
                    self.text.push_str(text);
                }
                Ok(())
            }
            Node::Close { end } => self.close(depth, end),
        }
    }

    fn root(&mut self, tag: &quick_xml::events::BytesStart<'_>, start: usize) -> Result<(), XmlError> {
        if tag.local_name().as_ref() != "presence" {
            return Err(XmlError::new(start as u64, "the root is not a presence element"));
        }
        let namespaces: Vec<(String, String)> = namespaces(tag).collect();
        if !namespaces.iter().any(|(_, v)| v == NS_PIDF) {
            return Err(XmlError::new(start as u64, "the root is not in the PIDF namespace"));
        }
        let entity = attribute(tag, "entity").ok_or(XmlError::new(start as u64, "the root names no entity"))?;
        self.document = Some(Document {
            entity,
            namespaces,
            elements: Vec::new(),
        });
        Ok(())
    }

    fn element(&self, tag: &quick_xml::events::BytesStart<'_>, start: usize, end: usize) -> Element {
        let kind = match tag.local_name().as_ref() {
            "tuple" => Kind::Tuple,
            "person" => Kind::Person,
            "device" => Kind::Device,
            "note" => Kind::Note,
            _ => Kind::Foreign,
        };
        Element {
            kind,
            id: attribute(tag, "id"),
            span: start..end,
            name_end: start + 1 + tag.name().as_ref().len(),
            basic: None,
            activities: Vec::new(),
            class: None,
            note: None,
            declares: namespaces(tag).map(|(key, _)| key).collect(),
        }
    }

    fn activity(&mut self, name: &str) {
        if let Some(current) = self.current.as_mut().filter(|c| c.activities.len() < 64) {
            current.activities.push(name.to_string());
        }
    }

    fn close(&mut self, depth: usize, end: usize) -> Result<(), XmlError> {
        if depth == 1 {
            if let (Some(mut element), Some(document)) = (self.current.take(), self.document.as_mut()) {
                element.span.end = end;
                if element.kind == Kind::Note {
                    element.note = Some(self.text.trim().to_string());
                }
                document.elements.push(element);
            }
            return Ok(());
        }
        let (Some(name), Some(current)) = (self.path.pop(), self.current.as_mut()) else {
            return Ok(());
        };
        let text = self.text.trim();
        match name.as_str() {
            "basic" if current.kind == Kind::Tuple => {
                current.basic = match text {
                    "open" => Some(Basic::Open),
                    "closed" => Some(Basic::Closed),
                    _ => return Err(XmlError::new(end as u64, "basic is neither open nor closed")),
                };
            }
            "note" if current.note.is_none() => current.note = Some(text.to_string()),
            "class" if current.class.is_none() => current.class = Some(text.to_string()),
            _ => {}
        }
        self.text.clear();
        Ok(())
    }
}

/// `xmlns` and `xmlns:*` attributes of a tag.
fn namespaces<'t>(tag: &'t quick_xml::events::BytesStart<'_>) -> impl Iterator<Item = (String, String)> + 't {
    tag.attributes().flatten().filter_map(|a| {
        let key = a.key.as_ref();
        (key == "xmlns" || key.starts_with("xmlns:")).then(|| (key.to_string(), a.value.to_string()))
    })
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

    #[test]
    fn what_is_no_pidf_is_refused() {
        for bad in [
            "<presence entity='sip:a@b'/>",
            "<other xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'/>",
            "<presence xmlns='urn:ietf:params:xml:ns:pidf'/>",
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'><tuple id='t'><status><basic>ajar</basic></status></tuple></presence>",
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
