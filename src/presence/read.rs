//! The parser of PIDF: names are resolved to their namespaces, everything else is noted by where it stands.

use std::sync::Arc;

use quick_xml::events::BytesStart;

use super::pidf::{
    Basic, Document, Element, Inside, Kind, MAX_BYTES, NS_DATA_MODEL, NS_PIDF, NS_TRESTLE, Name, Part, Piece,
};
use super::xml::{self, Node, XmlError, attribute};

/// Names noted inside one element; nobody needs more to tell what it says.
const MAX_INSIDE: usize = 64;
/// Text kept of one element.
const MAX_TEXT: usize = 4096;
/// What namespaces may add when every child of the root is written with them.
const MAX_DECLARED: usize = 2 * MAX_BYTES;

/// Namespaces whose elements are understood, or known to be safe to ignore.
const KNOWN: [&str; 8] = [
    NS_PIDF,
    NS_DATA_MODEL,
    NS_TRESTLE,
    "urn:ietf:params:xml:ns:pidf:caps",
    "urn:ietf:params:xml:ns:pidf:cipid",
    "urn:ietf:params:xml:ns:pidf:geopriv10",
    "urn:ietf:params:xml:ns:pidf:servcaps",
    "urn:ietf:params:xml:ns:pidf:timed-status",
];

pub(super) fn document(body: &[u8]) -> Result<Document, XmlError> {
    let mut builder = Builder::default();
    xml::walk(body, MAX_BYTES, |depth, node| builder.take(depth, node))?;
    let document = builder
        .document
        .ok_or(XmlError::new(0, "there is no presence element"))?;
    let declared: usize = document.namespaces.iter().map(|(k, v)| k.len() + v.len() + 4).sum();
    let pieces: usize = document.elements.iter().map(|e| 1 + e.parts.len()).sum();
    if declared.saturating_mul(pieces) > MAX_DECLARED {
        return Err(XmlError {
            status: 413,
            at: 0,
            what: "the document is too large with its namespaces written out",
        });
    }
    Ok(document)
}

/// A namespace declaration in force.
struct Scope {
    depth: usize,
    /// Empty for the default namespace.
    prefix: String,
    namespace: Arc<str>,
}

#[derive(Default)]
struct Builder {
    document: Option<Document>,
    current: Option<Element>,
    scopes: Vec<Scope>,
    /// Names from depth 2 down to the open element.
    path: Vec<Name>,
    text: String,
}

impl Builder {
    fn take(&mut self, depth: usize, node: Node<'_>) -> Result<(), XmlError> {
        match node {
            Node::Open { tag, start, end } => {
                let declares: Vec<(String, String)> = declarations(tag).collect();
                for (key, value) in &declares {
                    self.scopes.push(Scope {
                        depth,
                        prefix: key.strip_prefix("xmlns:").unwrap_or_default().to_string(),
                        namespace: value.as_str().into(),
                    });
                }
                self.open(depth, tag, start, end, declares)
            }
            Node::Text(text) => {
                if self.text.len() + text.len() <= MAX_TEXT {
                    self.text.push_str(text);
                }
                Ok(())
            }
            Node::Close { end } => {
                let closed = self.close(depth, end);
                while self.scopes.last().is_some_and(|s| s.depth >= depth) {
                    self.scopes.pop();
                }
                closed
            }
        }
    }

    fn name(&self, tag: &BytesStart<'_>) -> Name {
        let name = tag.name();
        let full = name.as_ref();
        let (prefix, local) = full.split_once(':').unwrap_or(("", full));
        let scope = self.scopes.iter().rev().find(|s| s.prefix == prefix);
        Name {
            namespace: scope.map_or_else(|| Arc::from(""), |s| Arc::clone(&s.namespace)),
            local: local.into(),
        }
    }

    fn open(
        &mut self,
        depth: usize,
        tag: &BytesStart<'_>,
        start: usize,
        end: usize,
        declares: Vec<(String, String)>,
    ) -> Result<(), XmlError> {
        let name = self.name(tag);
        self.text.clear();
        let piece = Piece {
            span: start..end,
            name_end: start + 1 + tag.name().as_ref().len(),
            declares,
        };
        match depth {
            0 => return self.root(tag, start, &name, piece.declares),
            1 => {
                self.current = Some(element(tag, &name, piece));
                self.path.clear();
                return Ok(());
            }
            _ => {}
        }
        if let Some(current) = &mut self.current {
            let parent = self.path.last();
            let activity =
                parent.is_some_and(|p| &*p.local == "activities" && is_loosely_rpid(p)) && &*name.local != "note";
            current.is_opaque |= current.kind == Kind::Tuple && must_understand(tag) && !is_known(&name);
            if current.inside.len() < MAX_INSIDE {
                let name = name.clone();
                current.inside.push(Inside { name, activity });
            }
            if depth == 2 && current.kind == Kind::Person {
                let name = name.clone();
                current.parts.push(Part { name, piece });
            }
        }
        self.path.push(name);
        Ok(())
    }

    fn root(
        &mut self,
        tag: &BytesStart<'_>,
        start: usize,
        name: &Name,
        namespaces: Vec<(String, String)>,
    ) -> Result<(), XmlError> {
        let fault = |what| XmlError::new(start as u64, what);
        if &*name.local != "presence" {
            return Err(fault("the root is not a presence element"));
        }
        if &*name.namespace != NS_PIDF {
            return Err(fault("the root is not in the PIDF namespace"));
        }
        let entity = attribute(tag, "entity").ok_or(fault("the root names no entity"))?;
        self.document = Some(Document {
            entity,
            namespaces,
            elements: Vec::new(),
        });
        Ok(())
    }

    fn close(&mut self, depth: usize, end: usize) -> Result<(), XmlError> {
        if depth == 1 {
            if let (Some(mut element), Some(document)) = (self.current.take(), self.document.as_mut()) {
                element.piece.span.end = end;
                if element.kind == Kind::Note {
                    element.note = Some(self.text.trim().to_string());
                }
                if element.is_opaque {
                    (element.basic, element.class) = (None, None);
                    element.inside.clear();
                }
                document.elements.push(element);
            }
            return Ok(());
        }
        let (Some(name), Some(current)) = (self.path.pop(), self.current.as_mut()) else {
            return Ok(());
        };
        if depth == 2
            && let Some(part) = current.parts.last_mut()
        {
            part.piece.span.end = end;
        }
        let text = self.text.trim();
        match &*name.local {
            "basic" if current.kind == Kind::Tuple && &*name.namespace == NS_PIDF => {
                current.basic = match text {
                    "open" => current.basic.max(Some(Basic::Open)),
                    "closed" => current.basic.max(Some(Basic::Closed)),
                    // baresip says `unknown` at first. It tells nothing, and refusing it would end a peer's subscription.
                    _ => current.basic,
                };
            }
            "note" if current.note.is_none() => current.note = Some(text.to_string()),
            "class" if current.class.is_none() && name.is_rpid() => current.class = Some(text.to_string()),
            _ => {}
        }
        self.text.clear();
        Ok(())
    }
}

fn element(tag: &BytesStart<'_>, name: &Name, piece: Piece) -> Element {
    let kind = match (&*name.namespace, &*name.local) {
        (NS_PIDF, "tuple") => Kind::Tuple,
        (NS_PIDF, "note") => Kind::Note,
        (NS_DATA_MODEL, "person") => Kind::Person,
        (NS_DATA_MODEL, "device") => Kind::Device,
        _ => Kind::Foreign,
    };
    Element {
        kind,
        id: attribute(tag, "id"),
        piece,
        basic: None,
        inside: Vec::new(),
        parts: Vec::new(),
        class: None,
        note: None,
        is_opaque: false,
    }
}

/// Publishers write `activities` in RPID, in PIDF itself or in no namespace at all.
fn is_loosely_rpid(name: &Name) -> bool {
    name.is_rpid() || name.namespace.is_empty() || &*name.namespace == NS_PIDF
}

fn is_known(name: &Name) -> bool {
    name.is_rpid() || KNOWN.contains(&&*name.namespace)
}

/// `mustUnderstand` of PIDF (RFC 3863 section 4.2.4), which some write without its prefix.
fn must_understand(tag: &BytesStart<'_>) -> bool {
    tag.attributes().flatten().any(|a| {
        let key = a.key.as_ref();
        let local = key.split_once(':').map_or(key, |(_, local)| local);
        local == "mustUnderstand" && matches!(a.value.trim(), "1" | "true")
    })
}

/// `xmlns` and `xmlns:*` attributes of a tag.
fn declarations<'t>(tag: &'t BytesStart<'_>) -> impl Iterator<Item = (String, String)> + 't {
    tag.attributes().flatten().filter_map(|a| {
        let key = a.key.as_ref();
        let value = quick_xml::escape::unescape(&a.value).ok()?;
        (key == "xmlns" || key.starts_with("xmlns:")).then(|| (key.to_string(), value.into_owned()))
    })
}
