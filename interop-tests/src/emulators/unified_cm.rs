//! The presence trunk of Unified CM: it notifies about lines in a dialect of drafts, and in its later form publishes them.
//!
//! Its person has no id, has a status and stands before the tuple; activities are of the draft's or Cisco's namespace, in
//! the person, the tuple or both; now and then the root has no namespace. Subscription-State says no time.

use super::Way;
use super::dialog::{Dialog, Wire};
use super::island::{Habits, Writes};
use super::sametime;
use super::xml;

/// How it behaves.
pub const HABITS: Habits = Habits {
    wire: Wire {
        agent: "Cisco-CUCM7.0",
        ..sametime::HABITS.wire
    },
    accept: "application/cpim-pidf+xml",
    subscribe: "Expires: 3600\r\nAllow-Events: presence, kpml\r\n",
    read,
    write,
    state_expires: false,
    pager: 405,
    session: 488,
    writes: Writes::Pager,
    session_expires: None,
    ..sametime::HABITS
};

const DRAFT_RPID: &str = "urn:ietf:params:xml:ns:pidf:status:rpid";
const CISCO_RPID: &str = "urn:cisco:params:xml:ns:pidf:rpid";

/// What a lamp shows: `idle`, `busy` or `unknown`. The label is the draft's; the body is of RFC 3863, and activities are
/// looked for by their names anywhere.
///
/// # Errors
/// When it is no document about the entity.
pub fn read(kind: &str, entity: &str, body: &[u8]) -> Result<String, String> {
    let root = xml::read(body)?;
    if kind != "application/cpim-pidf+xml" || root.name != "presence" {
        return Err(format!("{kind} with {}", root.name));
    }
    if !root.attribute("entity").contains(entity) {
        return Err(format!("it is about {:?}", root.attribute("entity")));
    }
    let all = root.every();
    let open = all.iter().any(|e| e.name == "basic" && e.trimmed() == "open");
    let busy = ["on-the-phone", "busy", "meeting", "dnd"];
    let is_busy = all.iter().any(|e| busy.contains(&e.name.as_str()));
    Ok(match (open, is_busy) {
        (_, true) => "busy",
        (true, _) => "idle",
        _ => "unknown",
    }
    .into())
}

/// Where activities stand in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the person.
    Person,
    /// In the status of the tuple.
    Tuple,
    /// In both.
    Both,
}

/// The three places.
pub const PLACES: [Place; 3] = [Place::Person, Place::Tuple, Place::Both];

/// A document about a line: `idle`, `on-the-phone`, `held`, `ringing`, `dnd`, `unregistered`.
#[must_use]
pub fn document(entity: &str, word: &str, place: Place, cisco: bool, root_space: bool) -> String {
    let (basic, activity) = match word {
        "idle" => ("open", ""),
        "on-the-phone" | "held" if cisco => ("open", "<ce:on-the-phone/>"),
        "on-the-phone" => ("open", "<e:on-the-phone/>"),
        "held" => ("open", "<e:on-the-phone/><e:busy/>"),
        "ringing" => ("open", "<ce:alerting/>"),
        "dnd" => ("open", "<ce:dnd/>"),
        _ => ("closed", ""),
    };
    let activities = if activity.is_empty() {
        String::new()
    } else {
        format!("<e:activities>{activity}</e:activities>")
    };
    let at = |here: bool| if here { activities.as_str() } else { "" };
    let (in_person, in_tuple) = (at(place != Place::Tuple), at(place != Place::Person));
    let space = if root_space {
        " xmlns=\"urn:ietf:params:xml:ns:pidf\""
    } else {
        ""
    };
    let (dn, host) = entity.split_once('@').unwrap_or((entity, "ccm.invalid"));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence{space} entity=\"sip:{entity}\" xmlns:e=\"{DRAFT_RPID}\" \
         xmlns:ce=\"{CISCO_RPID}\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:sc=\"urn:ietf:params:xml:ns:pidf:servcaps\"><dm:person><status><basic>{basic}</basic></status>{in_person}\
         </dm:person><tuple id=\"cmp-{dn}-7\"><status><basic>{basic}</basic>{in_tuple}</status><sc:servcaps><sc:audio>true\
         </sc:audio></sc:servcaps><contact priority=\"0.8\">sip:{dn}@{host}:5060</contact>\
         <timestamp>2009-03-02T08:15:00Z</timestamp></tuple></presence>\n"
    )
}

/// Writes a state, with the activities in another place, the other namespace and now and then no root namespace each time.
#[must_use]
pub fn write(entity: &str, word: &str, accept: &str, number: usize) -> Option<(&'static str, String)> {
    let place = PLACES.get(number % 3).copied().unwrap_or(Place::Both);
    let body = document(entity, word, place, number % 4 > 1, !number.is_multiple_of(5));
    let types = ["application/pidf+xml", "application/cpim-pidf+xml", "*/*"];
    let fits = accept.is_empty() || types.iter().any(|t| accept.contains(t));
    fits.then_some(("application/pidf+xml", body))
}

/// What its later form publishes about a line: closed and busy while it is in use, open when it is idle.
#[must_use]
pub fn published(entity: &str, in_use: bool) -> String {
    let text = document(
        entity,
        if in_use { "on-the-phone" } else { "idle" },
        Place::Both,
        false,
        true,
    );
    if in_use {
        text.replace("open", "closed").replace("<e:on-the-phone/>", "<e:busy/>")
    } else {
        text
    }
}

/// A PUBLISH of the line `from` about a user; nothing in the body when it only refreshes.
#[must_use]
pub fn publish(way: &Way, from: &str, entity: &str, etag: Option<&str>, expires: u32, body: &str) -> Vec<u8> {
    let mut dialog = Dialog::begin(&HABITS.wire, way, from, entity);
    let mut lines = format!("Event: presence\r\nExpires: {expires}\r\n");
    if let Some(etag) = etag {
        lines += &format!("SIP-If-Match: {etag}\r\n");
    }
    if !body.is_empty() {
        lines += "Content-Type: application/pidf+xml\r\n";
    }
    dialog.request(&HABITS.wire, way, "PUBLISH", &lines, body.as_bytes())
}
