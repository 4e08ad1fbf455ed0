//! A Cisco Unified Presence server of 2007: one person from several tuples, in documents whose root has no namespace,
//! whose children ignore the schema's order, and whose activities are Cisco's inside RFC 4480's.

use super::bodies::read_pidf;
use super::dialog::Wire;
use super::island::{Habits, Writes};
use super::sametime;

/// How it behaves.
pub const HABITS: Habits = Habits {
    wire: Wire {
        agent: "Cisco-CUP/6.0",
        ..sametime::HABITS.wire
    },
    accept: "multipart/related, application/pidf+xml, application/rlmi+xml, application/cpim-pidf+xml",
    subscribe: "Supported: eventlist\r\nExpires: 3600\r\n",
    read,
    write,
    pager: 202,
    session: 488,
    writes: Writes::Pager,
    session_expires: None,
    ..sametime::HABITS
};

/// The word: the overall state of a person.
///
/// # Errors
/// When the document is not valid.
pub fn read(kind: &str, entity: &str, body: &[u8]) -> Result<String, String> {
    if kind != "application/pidf+xml" {
        return Err(format!("{kind} is not asked for here"));
    }
    let document = read_pidf(entity, body)?;
    let is = |names: &[&str]| document.activities.iter().any(|a| names.contains(&a.as_str()));
    let word = match document.open {
        Some(false) => "unavailable",
        None => "unknown",
        _ if is(&["dnd", "do-not-disturb"]) => "dnd",
        _ if is(&["busy", "on-the-phone", "meeting", "appointment"]) => "busy",
        _ if is(&["vacation", "holiday"]) => "vacation",
        _ if document.idle => "idle",
        _ if is(&["away", "meal"]) => "away",
        _ => "available",
    };
    Ok(word.into())
}

/// Writes a person with a phone and a client.
#[must_use]
pub fn write(entity: &str, word: &str, accept: &str, number: usize) -> Option<(&'static str, String)> {
    let basic = if matches!(word, "unavailable" | "offline") {
        "closed"
    } else {
        "open"
    };
    let activity = if word == "offline" { "unavailable" } else { word };
    let body = document(entity, activity, basic, number);
    let fits = accept.is_empty() || accept.contains("application/pidf+xml");
    fits.then_some(("application/pidf+xml", body))
}

fn document(entity: &str, activity: &str, basic: &str, number: usize) -> String {
    let user = entity.split('@').next().unwrap_or(entity);
    let root = if number.is_multiple_of(3) {
        " xmlns=\"urn:ietf:params:xml:ns:pidf\""
    } else {
        ""
    };
    let (activity, input) = match activity {
        "idle" => ("available", "idle"),
        "on-the-phone" => ("busy", "active"),
        other => (other, "active"),
    };
    // The lone phone is idle all the time; without a client and a profile nobody would be there.
    let tuples = if basic == "closed" {
        "<tuple id=\"default\"><status><basic>closed</basic></status></tuple>".to_string()
    } else {
        format!(
            "<tuple id=\"cmp-4711-{number}sip:4711@ccm.example\"><contact priority=\"0.8\">sip:4711@ccm.example:5060</contact>\
             <status><basic>open</basic></status><sc:servcaps><sc:audio>true</sc:audio></sc:servcaps></tuple>\
             <tuple id=\"cisco-upc\"><contact priority=\"0\">sip:{entity}</contact><so:source>1.1.0</so:source>\
             <status><basic>open</basic></status><user-input>{input}</user-input></tuple>\
             <tuple id=\"email\"><contact priority=\"0\">mailto:{entity}</contact><status><basic>open</basic></status></tuple>\
             <tuple id=\"phone\"><contact priority=\"1\">phone:4711</contact><status><basic>open</basic></status></tuple>"
        )
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence{root} entity=\"sip:{entity}\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:r=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         xmlns:ce=\"urn:cisco:params:xml:ns:pidf:rpid\" xmlns:sc=\"urn:ietf:params:xml:ns:pidf:servcaps\" \
         xmlns:so=\"urn:cisco:params:xml:ns:pidf:source\"><dm:person id=\"{user}\"><r:activities><ce:{activity}/>\
         </r:activities></dm:person>{tuples}</presence>\n"
    )
}
