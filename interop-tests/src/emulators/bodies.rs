//! Bodies that several kinds of servers share, written and read by hand.

use super::Way;
use super::xml::{self, Element};

/// The namespace of PIDF.
pub const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
/// The namespace of RPID as it became RFC 4480.
pub const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// The namespace of the data model (RFC 4479).
pub const MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";

/// A session description with this media line.
#[must_use]
pub fn sdp(way: &Way, media: &str) -> String {
    let at = way.own();
    let (ip, version) = (at.ip(), if at.is_ipv6() { "IP6" } else { "IP4" });
    format!(
        "v=0\r\no=- 0 0 IN {version} {ip}\r\ns=session\r\nc=IN {version} {ip}\r\nt=0 0\r\n{media}\r\n\
         a=accept-types:text/plain text/html\r\n"
    )
}

/// The media line of a description for messages, if it is one that is taken: port not 0, protocol `sip`.
#[must_use]
pub fn message_media(sdp: &str) -> Option<&str> {
    let complete = sdp.starts_with("v=0")
        && sdp.lines().any(|l| l.starts_with("o="))
        && sdp.lines().any(|l| l.starts_with("c=IN IP"));
    let fits = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), ["m=message" | "m=x-ms-message", port, "sip", _] if *port != "0")
    };
    sdp.lines().find(fits).filter(|_| complete)
}

/// A text as message/cpim.
#[must_use]
pub fn cpim(from: &str, to: &str, text: &str) -> String {
    format!(
        "From: <im:{from}>\r\nTo: <im:{to}>\r\nDateTime: 2006-11-02T09:30:00+01:00\r\n\r\n\
         Content-Type: text/plain; charset=UTF-8\r\n\r\n{text}"
    )
}

/// The text in a message/cpim.
///
/// # Errors
/// When it is none, or holds no plain text.
pub fn read_cpim(body: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
    let (outer, rest) = text.split_once("\r\n\r\n").ok_or("no end of the outer header")?;
    let (inner, content) = rest.split_once("\r\n\r\n").ok_or("no end of the inner header")?;
    let has = |head: &str, name: &str| {
        let name = format!("{}:", name.to_ascii_lowercase());
        head.to_ascii_lowercase().lines().any(|l| l.starts_with(&name))
    };
    if !has(outer, "From") || !has(outer, "To") {
        return Err("no From or To inside".into());
    }
    if !has(inner, "Content-Type") || !inner.to_ascii_lowercase().contains("text/plain") {
        return Err(format!("the content is no plain text: {inner}"));
    }
    Ok(content.into())
}

/// Typing as LCS clients say it.
#[must_use]
pub fn keyboard(on: bool) -> String {
    let status = if on { "type" } else { "idle" };
    format!(
        "<?xml version=\"1.0\"?>\r\n<KeyboardActivity>\r\n  <status status=\"{status}\" />\r\n</KeyboardActivity>\r\n"
    )
}

/// Reads that.
///
/// # Errors
/// When it is something else.
pub fn read_keyboard(body: &[u8]) -> Result<bool, String> {
    let root = xml::read(body)?;
    let status = root.at("status").map_or("", |s| s.attribute("status"));
    match (root.name.as_str(), status) {
        ("KeyboardActivity", "type") => Ok(true),
        ("KeyboardActivity", "idle") => Ok(false),
        other => Err(format!("no KeyboardActivity: {other:?}")),
    }
}

/// Typing as RFC 3994 has it.
#[must_use]
pub fn composing(on: bool) -> String {
    let state = if on { "active" } else { "idle" };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\">\
         <state>{state}</state><contenttype>text/plain</contenttype><refresh>60</refresh></isComposing>"
    )
}

/// The font line of a message, as its clients send it: UTF-16, base64, unpadded.
#[must_use]
pub fn msgr() -> String {
    let line = "X-MMS-IM-Format: FN=MS%20Shell%20Dlg; EF=; CO=0; CS=0; PF=0\r\n\r\n";
    base64(
        &line.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
        false,
    )
}

/// Base64.
#[must_use]
pub fn base64(bytes: &[u8], padded: bool) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for i in 0..4 {
            if i <= chunk.len() {
                let digit = usize::try_from((group >> (18 - 6 * i)) & 63).unwrap_or(0);
                out.push(char::from(*DIGITS.get(digit).unwrap_or(&b'A')));
            } else if padded {
                out.push('=');
            }
        }
    }
    out
}

/// A PIDF document as a strict reader of RFC 3863 and RFC 4480 sees it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pidf {
    /// Any tuple is open; `None` without a basic status anywhere.
    pub open: Option<bool>,
    /// Activities of the person, by their names; those of other namespaces as well.
    pub activities: Vec<String>,
    /// The person's user-input says idle.
    pub idle: bool,
    /// All notes.
    pub notes: Vec<String>,
}

/// Reads a document strictly: namespaces, identifiers, order within a tuple.
///
/// # Errors
/// When it is not valid.
pub fn read_pidf(entity: &str, body: &[u8]) -> Result<Pidf, String> {
    let root = xml::read(body)?;
    if root.name != "presence" || root.space != PIDF {
        return Err(format!("the root is {{{}}}{}", root.space, root.name));
    }
    let about = root.attribute("entity");
    if about != format!("sip:{entity}") && about != format!("pres:{entity}") {
        return Err(format!("it is about {about:?}, not sip:{entity}"));
    }
    let mut out = Pidf::default();
    let mut ids: Vec<&str> = Vec::new();
    for child in &root.children {
        let id = child.attribute("id");
        match (child.name.as_str(), child.space.as_str()) {
            ("tuple", PIDF) | ("person" | "device", MODEL) => {
                let first = id.chars().next();
                if first.is_none_or(|c| !(c.is_alphabetic() || c == '_')) || ids.contains(&id) {
                    return Err(format!(
                        "{} has the id {id:?}, which is no XML ID of its own",
                        child.name
                    ));
                }
                ids.push(id);
            }
            _ => {}
        }
        match (child.name.as_str(), child.space.as_str()) {
            ("tuple", PIDF) => read_tuple(child, &mut out)?,
            ("person", MODEL) => read_person(child, &mut out)?,
            ("note", PIDF) => out.notes.push(child.trimmed().into()),
            ("person", other) => return Err(format!("person in {other:?}")),
            _ => {}
        }
    }
    Ok(out)
}

fn read_tuple(tuple: &Element, out: &mut Pidf) -> Result<(), String> {
    let names: Vec<&str> = tuple
        .children
        .iter()
        .filter(|c| c.space == PIDF)
        .map(|c| c.name.as_str())
        .collect();
    let rank = |name: &&str| {
        ["status", "contact", "note", "timestamp"]
            .iter()
            .position(|n| n == name)
            .unwrap_or(9)
    };
    if !names.is_sorted_by_key(rank) || names.first() != Some(&"status") {
        return Err(format!("children of a tuple in the order {names:?}"));
    }
    match tuple.at("status/basic").map(|b| (b.space.as_str(), b.trimmed())) {
        Some((PIDF, "open")) => out.open = Some(true),
        Some((PIDF, "closed")) => out.open = out.open.or(Some(false)),
        None => {}
        other => return Err(format!("basic is {other:?}")),
    }
    for contact in tuple.all("contact") {
        let priority = contact.attribute("priority");
        if !priority.is_empty() && !priority.parse::<f32>().is_ok_and(|p| (0.0..=1.0).contains(&p)) {
            return Err(format!("a priority of {priority}"));
        }
    }
    out.notes.extend(tuple.all("note").map(|n| n.trimmed().to_string()));
    Ok(())
}

fn read_person(person: &Element, out: &mut Pidf) -> Result<(), String> {
    for child in &person.children {
        match (child.name.as_str(), child.space.as_str()) {
            ("activities", RPID) => {
                let all = child.children.iter().filter(|c| c.name != "note");
                out.activities.extend(all.map(|c| {
                    if c.name == "other" {
                        c.trimmed().into()
                    } else {
                        c.name.clone()
                    }
                }));
            }
            ("activities", other) => return Err(format!("activities in {other:?}")),
            ("user-input", RPID) => out.idle = child.trimmed() == "idle",
            ("note", MODEL) => out.notes.push(child.trimmed().into()),
            ("status", _) => return Err("a status in person".into()),
            _ => {}
        }
    }
    Ok(())
}

/// A document of RFC 3863 and RFC 4480 with one tuple and one person.
#[must_use]
pub fn pidf(entity: &str, basic: &str, activities: &str, person: &str, note: &str) -> String {
    let note = if note.is_empty() {
        String::new()
    } else {
        format!("<note>{}</note>", xml::escape(note))
    };
    let inside = if activities.is_empty() {
        String::new()
    } else {
        format!("<r:activities>{activities}</r:activities>")
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"{PIDF}\" xmlns:dm=\"{MODEL}\" xmlns:r=\"{RPID}\" \
         entity=\"sip:{entity}\"><tuple id=\"t1\"><status><basic>{basic}</basic></status>{note}</tuple>\
         <dm:person id=\"p1\">{inside}{person}</dm:person></presence>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_with_and_without_padding() {
        assert_eq!(base64(b"any carnal pleas", true), "YW55IGNhcm5hbCBwbGVhcw==");
        assert_eq!(base64(b"any carnal pleas", false), "YW55IGNhcm5hbCBwbGVhcw");
        assert_eq!(base64(b"abc", true), "YWJj");
    }

    #[test]
    fn a_document_of_ours_is_read_and_a_wrong_one_is_not() {
        let good = pidf("a@x", "open", "<r:busy/>", "<r:user-input>idle</r:user-input>", "n");
        let read = read_pidf("a@x", good.as_bytes()).unwrap_or_default();
        assert_eq!(
            (read.open, read.idle, read.activities),
            (Some(true), true, vec!["busy".to_string()])
        );
        assert_eq!(read.notes, ["n"]);
        for (from, to) in [
            (PIDF, "urn:ietf:params:xml:ns:cpim-pidf"),
            ("sip:a@x", "sip:b@x"),
            (" id=\"p1\"", ""),
            ("id=\"p1\"", "id=\"t1\""),
            ("id=\"t1\"", "id=\"1\""),
            ("open", "ajar"),
            ("<status>", "<note>x</note><status>"),
        ] {
            assert!(read_pidf("a@x", good.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn cpim_both_ways() {
        assert_eq!(read_cpim(cpim("a@x", "b@y", "hi").as_bytes()).as_deref(), Ok("hi"));
        assert!(read_cpim(b"hi").is_err());
    }
}
