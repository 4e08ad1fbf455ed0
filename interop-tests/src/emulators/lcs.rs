//! Live Communications Server 2005 as a federated server.
//!
//! Its SUBSCRIBE carries `Proxy-Require: ms-benotify` and no Expires; From and To carry `epid`; Via has a lower-case
//! transport and, inside dialogs, no branch; CSeq falls back after a re-INVITE; Contact has `maddr`; Record-Route is long
//! and must come back as it was. It takes no pager messages and writes in sessions.

use super::bodies::PIDF;
use super::dialog::Wire;
use super::island::{Habits, Writes};
use super::xml::{self, Element, escape};

/// How it behaves.
pub const HABITS: Habits = Habits {
    wire: Wire {
        lower_case_via: true,
        branchless: true,
        epid: true,
        maddr_contact: true,
        ms_route: true,
        cseq_falls: true,
        agent: "LCC/1.3",
    },
    accept: "application/xpidf+xml, text/xml+msrtc.pidf, application/pidf+xml",
    subscribe: "Supported: com.microsoft.autoextend\r\nSupported: ms-benotify\r\nProxy-Require: ms-benotify\r\n\
                Supported: ms-piggyback-first-notify\r\n",
    read,
    write,
    benotify: true,
    piggyback: true,
    state_expires: true,
    lasts: 28_800,
    pager: 405,
    session: 200,
    writes: Writes::Session,
    media: "m=x-ms-message 5060 sip null",
    invite: "Ms-Conversation-ID: 84ac3f1d20\r\nSupported: ms-sender\r\nSupported: ms-text-format\r\n",
    first_in_invite: true,
    keyboard: true,
    session_expires: None,
};

/// What a reader of such a server shows for a document.
///
/// # Errors
/// When it could not show anything.
pub fn read(kind: &str, entity: &str, body: &[u8]) -> Result<String, String> {
    let root = xml::read(body)?;
    match kind {
        "text/xml+msrtc.pidf" => read_msrtc(entity, &root),
        "application/pidf+xml" => read_first_tuple(entity, &root),
        "application/xpidf+xml" => read_xpidf(entity, &root),
        other => Err(format!("{other} is not read")),
    }
}

fn number(element: Option<&Element>, name: &str, most: u32) -> Result<u32, String> {
    let text = element
        .ok_or_else(|| format!("no element with {name}"))?
        .attribute(name);
    match text.parse() {
        Ok(number) if number <= most => Ok(number),
        _ => Err(format!("{name} is {text:?}")),
    }
}

fn read_msrtc(entity: &str, root: &Element) -> Result<String, String> {
    if root.name != "presentity" || root.attribute("uri") != entity {
        return Err(format!(
            "{} of {:?}, not presentity of {entity:?}",
            root.name,
            root.attribute("uri")
        ));
    }
    let availability = number(root.at("availability"), "aggregate", 999)?;
    let activity = number(root.at("activity"), "aggregate", 999)?;
    let (word, implied) = aggregates(availability, activity);
    // A state only raises what the aggregates say.
    let states = root
        .every()
        .into_iter()
        .filter(|e| e.name == "state" && !e.attribute("avail").is_empty());
    let mut highest = None;
    for state in states {
        highest = highest.max(Some(number(Some(state), "avail", 99_999)?));
    }
    match highest {
        Some(state) if state < 3000 => Err(format!("the state {state}, which shows as offline")),
        Some(state) if state > implied => Ok(state_word(state).into()),
        _ => Ok(word.into()),
    }
}

/// The word for two aggregates, and the number of the newer scale that it stands for.
fn aggregates(availability: u32, activity: u32) -> (&'static str, u32) {
    match (availability, activity) {
        (0..=99, _) => ("offline", 18_500),
        (_, 150..=199) => ("out-to-lunch", 15_500),
        (_, 200..=299) => ("idle", 5_000),
        (_, 300..=399) => ("be-right-back", 12_500),
        (_, 400..=499 | 800..) => ("available", 3_500),
        (_, 500..=599) => ("on-the-phone", 6_500),
        (_, 600..=699) => ("busy", 6_500),
        _ => ("away", 15_500),
    }
}

/// The word for a number of the newer scale.
#[must_use]
pub fn state_word(number: u32) -> &'static str {
    match number {
        0..4_500 => "available",
        4_500..6_000 => "idle",
        6_000..9_000 => "busy",
        9_000..12_000 => "dnd",
        12_000..15_000 => "be-right-back",
        15_000..18_000 => "away",
        _ => "offline",
    }
}

/// Only the first tuple counts, and in it the text of the draft's activity.
fn read_first_tuple(entity: &str, root: &Element) -> Result<String, String> {
    if root.name != "presence" || root.space != PIDF || root.attribute("entity") != format!("sip:{entity}") {
        return Err(format!(
            "{{{}}}{} of {:?}",
            root.space,
            root.name,
            root.attribute("entity")
        ));
    }
    let status = root.at("tuple/status").ok_or("no tuple with a status")?;
    let activity = status.at("activities/activity").map_or("", Element::trimmed);
    match (status.at("basic").map(Element::trimmed), activity) {
        (Some("closed"), _) => Ok("offline".into()),
        (Some("open"), "busy") => Ok("busy".into()),
        (Some("open"), "away") => Ok("away".into()),
        (Some("open"), _) => Ok("available".into()),
        other => Err(format!("basic is {other:?}")),
    }
}

fn read_xpidf(entity: &str, root: &Element) -> Result<String, String> {
    let uri = root.at("presentity").map_or("", |p| p.attribute("uri"));
    if root.name != "presence" || !uri.contains(entity) {
        return Err(format!("{} of {uri:?}", root.name));
    }
    let address = root.at("atom/address").ok_or("no atom with an address")?;
    let status = address.at("status").map_or("", |s| s.attribute("status"));
    match (
        status,
        address.at("msnsubstatus").map_or("", |s| s.attribute("substatus")),
    ) {
        ("closed", _) => Ok("offline".into()),
        ("open", "" | "online") => Ok("available".into()),
        ("inuse" | "open", "away") => Ok("away".into()),
        ("inuse" | "open", "idle") => Ok("idle".into()),
        ("inuse" | "open", "berightback") => Ok("be-right-back".into()),
        ("inuse" | "open", "outtolunch") => Ok("out-to-lunch".into()),
        ("inuse" | "open", "onthephone") => Ok("on-the-phone".into()),
        ("inuse", _) | ("open", "busy") => Ok("busy".into()),
        other => Err(format!("a status of {other:?}")),
    }
}

/// The two aggregates and the state of a word.
fn numbers(word: &str) -> (u32, u32, Option<u32>) {
    match word {
        "available" => (300, 400, None),
        "idle" => (300, 200, None),
        "away" => (300, 100, None),
        "out-to-lunch" => (300, 150, None),
        "be-right-back" => (300, 300, None),
        "on-the-phone" => (300, 500, None),
        "busy" => (300, 600, None),
        "dnd" => (300, 600, Some(9_500)),
        _ => (0, 0, None),
    }
}

/// A document in what is best of the types that are accepted.
#[must_use]
pub fn write(entity: &str, word: &str, accept: &str, number: usize) -> Option<(&'static str, String)> {
    if accept.contains("text/xml+msrtc.pidf") {
        return Some(("text/xml+msrtc.pidf", msrtc(entity, word, number)));
    }
    let activity = match word {
        "available" | "offline" => "",
        "busy" | "on-the-phone" | "dnd" => "busy",
        _ => "away",
    };
    let basic = if word == "offline" { "closed" } else { "open" };
    let activities = if activity.is_empty() {
        String::new()
    } else {
        format!("<ep:activities><ep:activity>{activity}</ep:activity></ep:activities>")
    };
    let body = format!(
        "<presence xmlns=\"{PIDF}\" xmlns:ep=\"urn:ietf:params:xml:ns:pidf:status:rpid-status\" \
         xmlns:ci=\"urn:ietf:params:xml:ns:pidf:cipid\" entity=\"sip:{entity}\"><tuple id=\"0\"><status>\
         <basic>{basic}</basic>{activities}</status></tuple><ci:display-name>{}</ci:display-name></presence>",
        escape(entity)
    );
    let types = ["application/pidf+xml", "*/*"];
    (accept.is_empty() || types.iter().any(|t| accept.contains(t))).then_some(("application/pidf+xml", body))
}

/// The richer document; every second one has prefixes on its attributes, and the aggregates lie anywhere in their ranges.
fn msrtc(entity: &str, word: &str, number: usize) -> String {
    let (availability, activity, state) = numbers(word);
    let extra = u32::try_from(number % 7).unwrap_or(0);
    let (availability, activity) = (availability + extra, activity + extra);
    let m = if number.is_multiple_of(2) { "m:" } else { "" };
    let states = state.map_or(String::new(), |n| {
        format!(
            "<states><state avail=\"{n}\" since=\"2006-11-02T08:30:00Z\" set=\"manual\">do-not-disturb</state></states>"
        )
    });
    format!(
        "<?xml version=\"1.0\"?>\r\n<presentity xmlns=\"http://schemas.microsoft.com/2002/09/sip/presence\" \
         xmlns:m=\"http://schemas.microsoft.com/2002/09/sip/presence\" uri=\"{entity}\">\
         <availability {m}aggregate=\"{availability}\" {m}description=\"\" {m}epid=\"01ab\"/>\
         <activity {m}aggregate=\"{activity}\" {m}description=\"\" {m}note=\"\"/>\
         <displayName displayName=\"{}\"/><userInfo>{states}</userInfo>\
         <devices><devicePresence epid=\"01ab\"><availability aggregate=\"{availability}\"/></devicePresence></devices>\
         </presentity>",
        escape(entity)
    )
}
