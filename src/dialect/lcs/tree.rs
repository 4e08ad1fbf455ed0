//! A small document as a tree, read through the house's XML guard, with bounds of its own.

use quick_xml::events::BytesStart;

use crate::presence::xml::{self, Node, XmlError};

/// Most text kept of one element, bytes.
const MAX_TEXT: usize = 64 * 1024;

/// One element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Its name without prefix.
    pub(super) name: String,
    /// Its attributes, names without prefixes; namespace declarations keep theirs.
    pub(super) attributes: Vec<(String, String)>,
    /// What stands directly in it.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
    /// Where it stands in the body.
    pub(super) span: core::ops::Range<usize>,
}

impl Element {
    /// An attribute, whatever its prefix.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(key, _)| key == name)?;
        Some(&found.1)
    }

    /// The first child of a name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|c| c.name == name)
    }

    /// The trimmed text of the first child of a name; empty when there is none.
    pub(super) fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |c| c.text.trim())
    }

    /// All children of a name.
    pub(super) fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |c| c.name == name)
    }
}

/// Reads a document of at most `max` bytes.
pub(super) fn parse(body: &[u8], max: usize) -> Result<Element, XmlError> {
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    xml::walk(body, max, |_, node| {
        match node {
            Node::Open { tag, start, .. } => open.push(element(tag, start)),
            Node::Text(text) => {
                if let Some(element) = open.last_mut()
                    && element.text.len() + text.len() <= MAX_TEXT
                {
                    element.text.push_str(text);
                }
            }
            Node::Close { end } => {
                if let Some(mut done) = open.pop() {
                    done.span.end = end;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(done),
                        None => root = Some(done),
                    }
                }
            }
        }
        Ok(())
    })?;
    root.ok_or(XmlError::new(0, "there is no root element"))
}

fn element(tag: &BytesStart<'_>, start: usize) -> Element {
    let name = tag.name();
    let attributes = tag.attributes().flatten().map(|a| {
        let key: &str = a.key.as_ref();
        let key = match key.starts_with("xmlns") {
            true => key,
            false => local(key),
        };
        let value = quick_xml::escape::unescape(&a.value).map_or_else(|_| String::new(), |v| v.into_owned());
        (key.to_string(), value)
    });
    Element {
        name: local(name.as_ref()).to_string(),
        attributes: attributes.collect(),
        span: start..start,
        ..Element::default()
    }
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}
