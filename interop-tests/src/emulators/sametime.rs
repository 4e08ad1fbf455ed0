//! Lotus Sametime Gateway 7.5.1 and later: presence by RFC 3863 and RFC 4480, one subscription a user, messages in
//! sessions that end when they are idle. Pager messages are refused, and users that were not assigned to the link as well.

use super::bodies::{pidf, read_pidf};
use super::dialog::Wire;
use super::island::{Habits, Writes};

/// How it behaves.
pub const HABITS: Habits = Habits {
    wire: Wire {
        lower_case_via: false,
        branchless: false,
        epid: false,
        maddr_contact: false,
        ms_route: false,
        cseq_falls: false,
        agent: "IBM Lotus Sametime Gateway",
    },
    accept: "application/pidf+xml",
    subscribe: "Expires: 3600\r\n",
    read,
    write,
    benotify: false,
    piggyback: false,
    state_expires: true,
    lasts: 3_600,
    pager: 405,
    session: 200,
    writes: Writes::Session,
    media: "m=message 5060 sip null",
    invite: "",
    first_in_invite: false,
    keyboard: false,
    session_expires: Some(1_800),
};

/// The word for what its user sees: `offline`, `active`, `not-using`, `away`, `dnd`, `in-meeting`; a note stands
/// behind `active` as its description. Busy as an activity shows as do-not-disturb.
///
/// # Errors
/// When the document is not valid.
pub fn read(kind: &str, entity: &str, body: &[u8]) -> Result<String, String> {
    if kind != "application/pidf+xml" {
        return Err(format!("{kind} is not read"));
    }
    let document = read_pidf(entity, body)?;
    let is = |names: &[&str]| document.activities.iter().any(|a| names.contains(&a.as_str()));
    let word = match document.open {
        Some(false) => "offline",
        None => "unknown",
        _ if is(&["dnd", "do-not-disturb"]) => "dnd",
        _ if is(&["meeting", "appointment", "presentation"]) => "in-meeting",
        _ if is(&["on-the-phone", "busy"]) => "dnd",
        _ if document.idle => "not-using",
        _ if is(&[
            "away",
            "vacation",
            "holiday",
            "travel",
            "permanent-absence",
            "meal",
            "sleeping",
        ]) =>
        {
            "away"
        }
        _ => "active",
    };
    Ok(match document.notes.first() {
        Some(note) if word == "active" && !note.is_empty() => format!("active: {note}"),
        _ => word.into(),
    })
}

/// Writes the state of a user; a description goes into the note.
#[must_use]
pub fn write(entity: &str, word: &str, accept: &str, _number: usize) -> Option<(&'static str, String)> {
    let (word, note) = word.split_once(": ").unwrap_or((word, ""));
    let (basic, activities, person) = match word {
        "active" => ("open", "", ""),
        "not-using" => (
            "open",
            "<r:away/>",
            "<r:user-input last-input=\"2006-11-02T08:30:00Z\">idle</r:user-input>",
        ),
        "away" => ("open", "<r:away/>", ""),
        "dnd" => ("open", "<r:busy/><st:dnd xmlns:st=\"urn:ibm:sametime\"/>", ""),
        "in-meeting" => ("open", "<r:meeting/>", ""),
        _ => ("closed", "", ""),
    };
    let body = pidf(entity, basic, activities, person, note);
    let fits = accept.is_empty() || accept.contains("application/pidf+xml");
    fits.then_some(("application/pidf+xml", body))
}
