//! A document as elements with their local names, for forms whose namespaces differ from maker to maker.

use crate::presence::XmlError;
use crate::presence::pidf::MAX_BYTES;
use crate::presence::xml::{Node, walk};

/// Text kept of one element.
const MAX_TEXT: usize = 8192;

/// An element.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// Its name without prefix.
    pub(super) name: String,
    /// Attributes by their names without prefix; namespace declarations are left out.
    pub(super) attributes: Vec<(String, String)>,
    /// Text directly in it.
    pub(super) text: String,
    /// Elements in it.
    pub(super) children: Vec<Element>,
}

impl Element {
    /// Reads a document.
    pub(super) fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut open: Vec<Self> = Vec::new();
        let mut root = None;
        walk(body, MAX_BYTES, |_, node| {
            match node {
                Node::Open { tag, .. } => {
                    let local = |name: &str| name.rsplit(':').next().unwrap_or_default().to_owned();
                    let attributes = tag
                        .attributes()
                        .flatten()
                        .filter(|a| !a.key.as_ref().starts_with("xmlns"));
                    let attributes = attributes.filter_map(|a| {
                        let value = quick_xml::escape::unescape(&a.value).ok()?;
                        Some((local(a.key.as_ref()), value.into_owned()))
                    });
                    open.push(Self {
                        name: local(tag.name().as_ref()),
                        attributes: attributes.collect(),
                        ..Self::default()
                    });
                }
                Node::Text(text) => {
                    if let Some(current) = open.last_mut().filter(|e| e.text.len() + text.len() <= MAX_TEXT) {
                        current.text.push_str(text);
                    }
                }
                Node::Close { .. } => {
                    if let Some(done) = open.pop() {
                        match open.last_mut() {
                            Some(parent) => parent.children.push(done),
                            None => root = Some(done),
                        }
                    }
                }
            }
            Ok(())
        })?;
        root.ok_or(XmlError::new(0, "there is no root"))
    }

    /// The value of an attribute.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(n, _)| n == name)?;
        Some(found.1.as_str())
    }

    /// The children of a name.
    pub(super) fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |c| c.name == name)
    }

    /// The first child of a name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|c| c.name == name)
    }
}
