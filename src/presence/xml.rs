//! The one XML reader of the house: what is hostile never reaches a parser of meaning.
//!
//! Refused are DOCTYPE, processing instructions, encodings other than UTF-8, more than one root, unbalanced or deeply
//! nested elements, undeclared entities, characters that XML cannot hold and floods of attributes. Offsets are bytes from the start of the body.

use core::fmt;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Deepest nesting taken.
const MAX_DEPTH: usize = 64;
/// Most elements in a document.
const MAX_ELEMENTS: usize = 20_000;
/// Most attributes of one element.
const MAX_ATTRIBUTES: usize = 128;

/// Why a body is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XmlError {
    /// 400, or 413 when the body is too large.
    pub status: u16,
    /// Byte offset of the fault.
    pub at: u64,
    /// What is wrong.
    pub what: &'static str,
}

impl XmlError {
    /// A fault of the body at an offset.
    #[must_use]
    pub fn new(at: u64, what: &'static str) -> Self {
        Self { status: 400, at, what }
    }
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.what, self.at)
    }
}

impl std::error::Error for XmlError {}

/// What the guard shows of a document.
#[derive(Debug)]
pub enum Node<'r> {
    /// An element opens; an empty element opens and closes.
    Open {
        /// The start tag.
        tag: &'r BytesStart<'r>,
        /// Offset of its `<`.
        start: usize,
        /// Offset behind its `>`.
        end: usize,
    },
    /// An element closes.
    Close {
        /// Offset behind its `>`.
        end: usize,
    },
    /// Text, with entities and character references resolved.
    Text(&'r str),
}

/// Walks a document, calling `visit` with the depth of each node (the root has depth 0).
///
/// # Errors
/// At the first fault; nodes before it have been shown.
pub fn walk(
    body: &[u8],
    max_bytes: usize,
    mut visit: impl FnMut(usize, Node<'_>) -> Result<(), XmlError>,
) -> Result<(), XmlError> {
    if body.len() > max_bytes {
        return Err(XmlError {
            status: 413,
            at: max_bytes as u64,
            what: "the body is too large",
        });
    }
    let text =
        core::str::from_utf8(body).map_err(|e| XmlError::new(e.valid_up_to() as u64, "the body is not UTF-8"))?;
    if let Some(at) = no_character(text) {
        return Err(XmlError::new(at as u64, NO_CHARACTER));
    }
    let skipped = text.len() - text.trim_start_matches('\u{feff}').len();
    let mut reader = Reader::from_str(&text[skipped..]);
    reader.config_mut().check_end_names = true;
    let (mut depth, mut elements, mut roots) = (0usize, 0usize, 0usize);
    loop {
        let start = reader.buffer_position() as usize;
        let fault = |what| XmlError::new(start as u64, what);
        let event = reader.read_event().map_err(|_| fault("the XML is not well-formed"))?;
        let end = reader.buffer_position() as usize;
        match event {
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                check_tag(tag, start)?;
                elements += 1;
                roots += usize::from(depth == 0);
                if elements > MAX_ELEMENTS || depth >= MAX_DEPTH || roots > 1 {
                    return Err(fault("there are too many elements, too deep, or a second root"));
                }
                visit(
                    depth,
                    Node::Open {
                        tag,
                        start: start + skipped,
                        end: end + skipped,
                    },
                )?;
                if matches!(event, Event::Start(_)) {
                    depth += 1;
                } else {
                    visit(depth, Node::Close { end: end + skipped })?;
                }
            }
            Event::End(_) => {
                depth = depth
                    .checked_sub(1)
                    .ok_or(fault("an element closes that is not open"))?;
                visit(depth, Node::Close { end: end + skipped })?;
            }
            Event::Text(text) => {
                if depth == 0 && !text.trim().is_empty() {
                    return Err(fault("there is text outside the root"));
                }
                visit(depth, Node::Text(&text))?;
            }
            Event::GeneralRef(reference) => {
                let resolved = resolve(&reference).ok_or(fault("an entity is not declared"))?;
                if !is_character(resolved) {
                    return Err(fault(NO_CHARACTER));
                }
                visit(depth, Node::Text(resolved.encode_utf8(&mut [0; 4])))?;
            }
            Event::CData(data) => {
                visit(depth, Node::Text(&data))?;
            }
            Event::Decl(declaration) => match declaration.encoding() {
                Some(Ok(name)) if !name.eq_ignore_ascii_case("utf-8") && !name.eq_ignore_ascii_case("us-ascii") => {
                    return Err(fault("the encoding is not UTF-8"));
                }
                _ => {}
            },
            Event::DocType(_) => return Err(fault("a DOCTYPE is not taken")),
            Event::PI(_) => return Err(fault("a processing instruction is not taken")),
            Event::Comment(_) => {}
            Event::Eof if depth == 0 && roots == 1 => return Ok(()),
            Event::Eof => return Err(fault("the document ends before its root does")),
        }
    }
}

fn check_tag(tag: &BytesStart<'_>, at: usize) -> Result<(), XmlError> {
    let mut count = 0;
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|_| XmlError::new(at as u64, "an attribute cannot be read"))?;
        count += 1;
        if count > MAX_ATTRIBUTES || attribute.value.contains('<') {
            return Err(XmlError::new(
                at as u64,
                "an element has too many attributes, or one holds '<'",
            ));
        }
        if memchr::memchr(b'&', attribute.value.as_bytes()).is_some() {
            let value = quick_xml::escape::unescape(&attribute.value)
                .map_err(|_| XmlError::new(at as u64, "an entity is not declared"))?;
            if !value.chars().all(is_character) {
                return Err(XmlError::new(at as u64, NO_CHARACTER));
            }
        }
    }
    Ok(())
}

const NO_CHARACTER: &str = "there is a character that XML cannot hold";

/// Whether XML 1.0 (section 2.2) knows a character. What it does not know cannot even be written as a reference.
fn is_character(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Where a character stands that is none.
fn no_character(text: &str) -> Option<usize> {
    let odd = |b: u8| (b < b' ') & (b != b'\t') & (b != b'\n') & (b != b'\r');
    // Without branches, so that the usual document is looked at many bytes at a time.
    let any = text.bytes().fold(false, |any, b| any | odd(b));
    if any {
        return text.bytes().position(odd);
    }
    memchr::memmem::find_iter(text.as_bytes(), b"\xef\xbf")
        .find(|at| matches!(text.as_bytes().get(at + 2), Some(0xbe | 0xbf)))
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Option<char> {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return Some(character);
    }
    match &**reference {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

/// The value of an attribute without namespace, with its entities resolved.
#[must_use]
pub fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = tag.attributes().flatten().find(|a| a.key.as_ref() == name)?;
    quick_xml::escape::unescape(&found.value)
        .ok()
        .map(std::borrow::Cow::into_owned)
}

/// Text with the five specials escaped.
#[must_use]
pub fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(body: &[u8]) -> Option<u16> {
        walk(body, 256 * 1024, |_, _| Ok(())).err().map(|e| e.status)
    }

    #[test]
    fn ordinary_documents_pass() {
        for good in [
            "<a/>",
            "\u{feff}<?xml version='1.0' encoding='UTF-8'?>\n<a b='1'>x &amp; &#65;<b/></a>\n<!-- end -->",
            "<a b='&#9;&lt;'>\t\r\n&#xD;\u{fffd}\u{ffe5}\u{1f600}\u{7f}\u{85}</a>",
        ] {
            assert_eq!(fate(good.as_bytes()), None, "{good}");
        }
    }

    #[test]
    fn hostile_documents_do_not() {
        let bomb = "<!DOCTYPE l [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><l>&b;</l>";
        let deep = "<a>".repeat(20_000);
        let balanced = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
        let prefixes: String = (0..10_000).map(|i| format!(" xmlns:p{i}='u{i}'")).collect();
        let utf16: Vec<u8> = "\u{feff}<a/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let many = format!("<a>{}</a>", "<b/>".repeat(30_000));
        for bad in [
            bomb.as_bytes(),
            b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
            b"<a>&x;</a>",
            deep.as_bytes(),
            balanced.as_bytes(),
            format!("<a{prefixes}/>").as_bytes(),
            &utf16,
            b"<?xml version='1.0' encoding='utf-7'?><a/>",
            b"<?xml-stylesheet href='x'?><a/>",
            many.as_bytes(),
            b"",
            b"   ",
            b"text",
            b"<a/><b/>",
            b"<a/>text",
            b"<a></b>",
            b"<a>",
            b"</a>",
            b"<a b=1/>",
            b"<a b='1' b='2'/>",
            b"<a b='&x;'/>",
            b"<a>\x07</a>",
            b"<a b='\x01'/>",
            b"<a><!-- \x0b --></a>",
            b"<a><![CDATA[\x00]]></a>",
            b"<a>&#7;</a>",
            b"<a>&#x1F;</a>",
            b"<a b='&#1;'/>",
            b"<a>&#xFFFF;</a>",
            "<a>\u{fffe}</a>".as_bytes(),
            b"<a>\xff</a>",
        ] {
            assert_eq!(
                fate(bad),
                Some(400),
                "{}",
                String::from_utf8_lossy(&bad[..bad.len().min(80)])
            );
        }
        assert_eq!(fate(&vec![b' '; 1024 * 1024]), Some(413));
    }
}
