//! A small strict XML reader of the emulators' own: elements, attributes, namespaces and text, and nothing that a peer of
//! the time would have to fear (a document type is refused).
//!
//! It shares nothing with the crate under test, so that what the bridge writes is judged by a second reader.

use std::collections::HashMap;

/// An element with all below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// The name without its prefix.
    pub name: String,
    /// The namespace; empty when there is none.
    pub space: String,
    /// Attributes by their names without prefixes.
    pub attributes: Vec<(String, String)>,
    /// Child elements.
    pub children: Vec<Element>,
    /// All text directly below it, joined.
    pub text: String,
}

impl Element {
    /// The children of this name, whatever their namespace.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> + use<'a> {
        self.children.iter().filter(move |e| e.name == name)
    }

    /// The first element at a path of names below this one.
    #[must_use]
    pub fn at<'a>(&'a self, path: &str) -> Option<&'a Element> {
        path.split('/')
            .try_fold(self, |e, name| e.children.iter().find(|c| c.name == name))
    }

    /// An attribute, or nothing.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, v)| v.as_str())
    }

    /// Its text without blanks around it.
    #[must_use]
    pub fn trimmed(&self) -> &str {
        self.text.trim()
    }

    /// Whether its text holds nothing but blanks.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.trimmed().is_empty()
    }

    /// This element and all below it, in document order.
    #[must_use]
    pub fn every(&self) -> Vec<&Element> {
        let mut all = vec![self];
        for child in &self.children {
            all.extend(child.every());
        }
        all
    }
}

struct Reader<'a> {
    rest: &'a str,
}

type Spaces = HashMap<String, String>;

/// Reads a document.
///
/// # Errors
/// When it is not well-formed, uses a prefix that is not declared, or has a document type.
pub fn read(body: &[u8]) -> Result<Element, String> {
    let text = std::str::from_utf8(body).map_err(|e| format!("no UTF-8: {e}"))?;
    let mut reader = Reader { rest: text };
    reader.skip_prolog()?;
    let spaces = Spaces::from([("xml".to_string(), "http://www.w3.org/XML/1998/namespace".to_string())]);
    let root = reader.element(&spaces)?;
    reader.skip_prolog()?;
    if reader.rest.is_empty() {
        Ok(root)
    } else {
        Err(format!("text behind the root: {:.40}", reader.rest))
    }
}

impl<'a> Reader<'a> {
    fn until(&mut self, end: &str) -> Result<&'a str, String> {
        let (before, after) = self.rest.split_once(end).ok_or_else(|| format!("no {end:?}"))?;
        self.rest = after;
        Ok(before)
    }

    fn eat(&mut self, what: &str) -> bool {
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Declarations, instructions, comments and blanks.
    fn skip_prolog(&mut self) -> Result<(), String> {
        loop {
            self.rest = self.rest.trim_start();
            if self.eat("<?") {
                self.until("?>")?;
            } else if self.eat("<!--") {
                self.until("-->")?;
            } else if self.rest.starts_with("<!") {
                return Err("a document type".into());
            } else {
                return Ok(());
            }
        }
    }

    fn element(&mut self, outer: &Spaces) -> Result<Element, String> {
        if !self.eat("<") {
            return Err(format!("no element: {:.40}", self.rest));
        }
        let name = self.name()?;
        let (raw, empty) = self.attributes()?;
        let mut spaces = outer.clone();
        for (key, value) in &raw {
            if key == "xmlns" {
                spaces.insert(String::new(), value.clone());
            } else if let Some(prefix) = key.strip_prefix("xmlns:") {
                spaces.insert(prefix.into(), value.clone());
            }
        }
        let mut element = Element::default();
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        element.space = space(&spaces, prefix)?;
        element.name = local.into();
        for (key, value) in raw.into_iter().filter(|(k, _)| !k.starts_with("xmlns")) {
            let (prefix, local) = key.split_once(':').unwrap_or(("", &key));
            if !prefix.is_empty() {
                space(&spaces, prefix)?;
            }
            element.attributes.push((local.into(), value));
        }
        if !empty {
            self.content(&mut element, name, &spaces)?;
        }
        Ok(element)
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || matches!(c, '>' | '/' | '='))
            .ok_or("a tag that does not end")?;
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let bad = |c: char| !(c.is_alphanumeric() || matches!(c, ':' | '-' | '_' | '.'));
        if name.is_empty() || name.contains(bad) {
            return Err(format!("{name:?} is no name"));
        }
        Ok(name)
    }

    /// The attributes up to the end of the tag, and whether the element is empty.
    fn attributes(&mut self) -> Result<(Vec<(String, String)>, bool), String> {
        let mut all: Vec<(String, String)> = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.eat("/>") {
                return Ok((all, true));
            }
            if self.eat(">") {
                return Ok((all, false));
            }
            let name = self.name()?.to_string();
            self.rest = self.rest.trim_start();
            if !self.eat("=") {
                return Err(format!("attribute {name} has no value"));
            }
            self.rest = self.rest.trim_start();
            let quote = if self.eat("\"") {
                "\""
            } else if self.eat("'") {
                "'"
            } else {
                return Err(format!("attribute {name} is not quoted"));
            };
            let value = unescape(self.until(quote)?)?;
            if all.iter().any(|(n, _)| *n == name) {
                return Err(format!("attribute {name} twice"));
            }
            all.push((name, value));
        }
    }

    fn content(&mut self, element: &mut Element, name: &str, spaces: &Spaces) -> Result<(), String> {
        loop {
            let at = self.rest.find('<').ok_or_else(|| format!("{name} does not end"))?;
            let (text, rest) = self.rest.split_at(at);
            element.text += &unescape(text)?;
            self.rest = rest;
            if self.eat("<!--") {
                self.until("-->")?;
            } else if self.eat("<![CDATA[") {
                element.text += self.until("]]>")?;
            } else if self.eat("<?") {
                self.until("?>")?;
            } else if self.eat("</") {
                let end = self.until(">")?.trim();
                return if end == name {
                    Ok(())
                } else {
                    Err(format!("{name} is ended by {end}"))
                };
            } else {
                element.children.push(self.element(spaces)?);
            }
        }
    }
}

fn space(spaces: &Spaces, prefix: &str) -> Result<String, String> {
    match spaces.get(prefix) {
        Some(space) => Ok(space.clone()),
        None if prefix.is_empty() => Ok(String::new()),
        None => Err(format!("prefix {prefix} is not declared")),
    }
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out += before;
        let (entity, after) = after.split_once(';').ok_or("& without ;")?;
        let number = entity.strip_prefix('#').map(|n| match n.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => n.parse().ok(),
        });
        out.push(match (entity, number) {
            ("lt", _) => '<',
            ("gt", _) => '>',
            ("amp", _) => '&',
            ("quot", _) => '"',
            ("apos", _) => '\'',
            (_, Some(code)) => code.and_then(char::from_u32).ok_or_else(|| format!("&{entity};"))?,
            _ => return Err(format!("&{entity}; is not known")),
        });
        rest = after;
    }
    // XML 1.0 2.2: these cannot be written at all.
    out += rest;
    match out.chars().find(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
        Some(c) if u32::from(c) < 0x20 => Err(format!("control character {:#x}", u32::from(c))),
        _ => Ok(out),
    }
}

/// Writes text so that it can stand between tags and in attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_attributes_and_namespaces() {
        let text = "<?xml version='1.0'?><!-- c --><p:a xmlns:p='urn:p' xmlns=\"urn:d\" x='1'>t<b y=\"&lt;&#x41;\"/><![CDATA[<]]></p:a> ";
        let root = read(text.as_bytes()).unwrap_or_default();
        assert_eq!((root.name.as_str(), root.space.as_str()), ("a", "urn:p"));
        assert_eq!((root.attribute("x"), root.text.as_str()), ("1", "t<"));
        let b = root.at("b").map(|b| (b.space.as_str(), b.attribute("y")));
        assert_eq!(b, Some(("urn:d", "<A")));
    }

    #[test]
    fn what_is_no_document() {
        for bad in [
            "",
            "<a>",
            "<a></b>",
            "<p:a/>",
            "<a x=1/>",
            "<a x='1' x='2'/>",
            "<!DOCTYPE a><a/>",
            "<a/>x",
            "<a>&x;</a>",
            "<a>&#1;</a>",
            "<a p:x='1'/>",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
