//! The SIP gateway of Sametime up to early 7.5: drafts of 2002. Presence in `application/cpim-pidf+xml` with the old
//! namespace, open or closed and a note; messages by pager, wrapped in message/cpim; sessions are not implemented.

use super::dialog::Wire;
use super::island::{Habits, Writes};
use super::sametime;
use super::xml::{self, Element, escape};

/// The namespace of the draft.
const DRAFT: &str = "urn:ietf:params:xml:ns:cpim-pidf";

/// How it behaves.
pub const HABITS: Habits = Habits {
    wire: Wire {
        agent: "Sametime SIP Connector/3.1",
        ..sametime::HABITS.wire
    },
    accept: "application/cpim-pidf+xml",
    subscribe: "Expires: 3600\r\n",
    read,
    write,
    pager: 200,
    session: 488,
    writes: Writes::Cpim,
    session_expires: None,
    ..sametime::HABITS
};

/// The word: `closed`, `open` or, without either, `unknown`; the note behind it where there is one.
///
/// # Errors
/// When the document is not one of the draft.
pub fn read(kind: &str, entity: &str, body: &[u8]) -> Result<String, String> {
    let root = xml::read(body)?;
    if kind != "application/cpim-pidf+xml" || root.name != "presence" || root.space != DRAFT {
        return Err(format!("{kind} with {{{}}}{}", root.space, root.name));
    }
    if root.attribute("entity") != format!("sip:{entity}") && root.attribute("entity") != format!("pres:{entity}") {
        return Err(format!("it is about {:?}", root.attribute("entity")));
    }
    if let Some(foreign) = root.every().into_iter().find(|e| e.space != DRAFT) {
        return Err(format!(
            "{{{}}}{}, which the draft does not have",
            foreign.space, foreign.name
        ));
    }
    let basic = root.at("tuple/status/basic").map_or("", Element::trimmed);
    match basic {
        "open" | "closed" => {}
        "" => return Ok("unknown".into()),
        _ => return Err(format!("basic is {basic:?}")),
    }
    let note = root
        .at("tuple/note")
        .or_else(|| root.at("note"))
        .map_or("", Element::trimmed);
    Ok(if note.is_empty() || basic == "closed" {
        basic.into()
    } else {
        format!("{basic}: {note}")
    })
}

/// Writes a state: all it can say is open or closed, and a note.
#[must_use]
pub fn write(entity: &str, word: &str, accept: &str, _number: usize) -> Option<(&'static str, String)> {
    let (word, note) = word.split_once(": ").unwrap_or((word, ""));
    let basic = if matches!(word, "offline" | "closed") {
        "closed"
    } else {
        "open"
    };
    let note = if note.is_empty() {
        String::new()
    } else {
        format!("<note>{}</note>", escape(note))
    };
    let body = format!(
        "<?xml version=\"1.0\"?>\n<presence xmlns=\"{DRAFT}\" entity=\"sip:{entity}\"><tuple id=\"st1\"><status>\
         <basic>{basic}</basic></status>{note}</tuple></presence>\n"
    );
    let fits = accept.is_empty() || accept.contains("application/cpim-pidf+xml");
    fits.then_some(("application/cpim-pidf+xml", body))
}
