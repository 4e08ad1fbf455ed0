//! The body of a batched subscription (`application/adrl+xml`): whom one SUBSCRIBE is to watch.

use core::fmt;

use crate::presence::xml::{self, Node, XmlError};

/// The media type.
pub const ADRL: &str = "application/adrl+xml";
/// Most resources one list may name.
pub const MAX_RESOURCES: usize = 500;
/// Most bytes of a list.
pub const MAX_BYTES: usize = 64 * 1024;

/// Why a list is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdhocError {
    /// It is too large, not XML, or hostile.
    Xml(XmlError),
    /// Its root is something else.
    Root,
    /// It names more than [`MAX_RESOURCES`].
    TooMany,
    /// It names nobody.
    Empty,
    /// A resource has no address, or one that cannot be written back.
    Address,
}

impl AdhocError {
    /// The status to answer with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Xml(error) => error.status,
            Self::TooMany => 413,
            Self::Root | Self::Empty | Self::Address => 400,
        }
    }
}

impl fmt::Display for AdhocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xml(error) => error.fmt(f),
            Self::Root => f.write_str("the root is not adhoclist"),
            Self::TooMany => write!(f, "a list may name {MAX_RESOURCES} resources; send several lists"),
            Self::Empty => f.write_str("the list names no resource in create"),
            Self::Address => f.write_str("a resource has no uri, or one with control characters"),
        }
    }
}

impl From<XmlError> for AdhocError {
    fn from(error: XmlError) -> Self {
        Self::Xml(error)
    }
}

/// Reads `adhoclist/create/resource@uri`, in the order of the document, each text once.
///
/// # Errors
/// When the body is not such a list, or is larger than the bounds of this module.
pub fn read(body: &[u8]) -> Result<Vec<String>, AdhocError> {
    let (mut path, mut found) = (Vec::new(), Vec::new());
    let mut fault = None;
    let stop = XmlError::new(0, "the list is not taken");
    let walked = xml::walk(body, MAX_BYTES, |depth, node| {
        path.truncate(depth);
        let Node::Open { tag, .. } = node else { return Ok(()) };
        let name = tag.name();
        let name: &str = name.as_ref();
        path.push(name.rsplit_once(':').map_or(name, |(_, local)| local) == EXPECTED.get(depth).copied().unwrap_or(""));
        let refused = match path[..] {
            [false] => Some(AdhocError::Root),
            [true, true, true] if found.len() >= MAX_RESOURCES => Some(AdhocError::TooMany),
            [true, true, true] => match xml::attribute(tag, "uri").filter(|uri| is_writable(uri)) {
                Some(uri) => {
                    found.push(uri);
                    None
                }
                None => Some(AdhocError::Address),
            },
            _ => None,
        };
        match refused {
            Some(refused) => {
                fault = Some(refused);
                Err(stop)
            }
            None => Ok(()),
        }
    });
    match (fault, walked) {
        (Some(fault), _) => return Err(fault),
        (None, walked) => walked?,
    }
    if found.is_empty() {
        return Err(AdhocError::Empty);
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|uri| seen.insert(uri.clone()));
    Ok(found)
}

/// What stands where.
const EXPECTED: [&str; 3] = ["adhoclist", "create", "resource"];

/// Whether an address can be named in the answer.
fn is_writable(uri: &str) -> bool {
    !uri.is_empty()
        && !uri
            .chars()
            .any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(resources: &str) -> String {
        format!(
            "<adhoclist xmlns='urn:ietf:params:xml:ns:adrl' uri='sip:e@b' name='x'><create xmlns=''>{resources}</create></adhoclist>"
        )
    }

    #[test]
    fn resources_are_read_in_order_and_once() {
        let body = list(
            "<resource uri='sip:a@x'/>\n<resource uri='sip:b@x?a&amp;b'><context/></resource><resource uri='sip:a@x'/><other \
             uri='sip:c@x'/>",
        );
        assert_eq!(read(body.as_bytes()), Ok(vec!["sip:a@x".into(), "sip:b@x?a&b".into()]));
        let prefixed = b"<a:adhoclist xmlns:a='u'><a:create><a:resource uri='sip:a@x'/></a:create></a:adhoclist>";
        assert_eq!(read(prefixed), Ok(vec!["sip:a@x".into()]));
    }

    #[test]
    fn what_is_elsewhere_is_nobody() {
        let elsewhere =
            b"<adhoclist><delete><resource uri='sip:a@x'/></delete><resource uri='sip:b@x'/><create><group><resource \
                          uri='sip:c@x'/></group></create></adhoclist>";
        assert_eq!(read(elsewhere), Err(AdhocError::Empty));
        assert_eq!(read(list("").as_bytes()), Err(AdhocError::Empty));
    }

    #[test]
    fn hostile_lists_are_refused_with_a_status() {
        let many = |n: usize| {
            list(
                &(0..n)
                    .map(|i| format!("<resource uri='sip:{i}@x'/>"))
                    .collect::<String>(),
            )
        };
        assert_eq!(read(many(500).as_bytes()).map(|l| l.len()), Ok(500));
        let bomb = "<!DOCTYPE l [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><adhoclist>&b;</adhoclist>";
        for (body, status) in [
            (many(501), 413),
            (many(10_000), 413),
            (bomb.to_string(), 400),
            ("<list><create><resource uri='sip:a@x'/></create></list>".into(), 400),
            (list("<resource/>"), 400),
            (list("<resource uri=''/>"), 400),
            (list("<resource uri='sip:a@x&#1;'/>"), 400),
            (list("<resource uri='sip:a@x&#10;b'/>"), 400),
            (list("<resource uri='sip:a@x'>"), 400),
            (String::new(), 400),
            ("sip:a@x".into(), 400),
        ] {
            let error = read(body.as_bytes()).err();
            assert_eq!(
                error.as_ref().map(AdhocError::status),
                Some(status),
                "{error:?} {}",
                &body[..body.len().min(80)]
            );
        }
    }
}
