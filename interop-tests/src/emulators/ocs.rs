//! Office Communications Server 2007 as a federated server: what its predecessor does, with event categories, GRUU
//! instead of `maddr`, and `m=message`.

use super::dialog::Wire;
use super::island::Habits;
use super::lcs;
use super::xml::{self, Element};

/// How it behaves.
pub const HABITS: Habits = Habits {
    wire: Wire {
        maddr_contact: false,
        agent: "UCCP/2.0.6362.0 OC/2.0.6362.0 (Microsoft Office Communicator)",
        ..lcs::HABITS.wire
    },
    accept: "application/msrtc-event-categories+xml, text/xml+msrtc.pidf, application/pidf+xml, application/rlmi+xml, \
             multipart/related",
    subscribe: "Supported: com.microsoft.autoextend\r\nSupported: ms-benotify\r\nProxy-Require: ms-benotify\r\n\
                Supported: ms-piggyback-first-notify\r\nSupported: msrtc-event-categories\r\n\
                ms-edge-proxy-message-trust: ms-source-type=EdgeProxyGenerated;ms-ep-fqdn=edge.b.example;\
                ms-source-verified-user=verified\r\nms-asserted-verification-level: ms-source-verified-user=verified\r\n\
                Proxy-Authentication-Info: Kerberos rspauth=\"602306092A\", srand=\"0B1C2D3E\", snum=\"7\", opaque=\"5F\", \
                qop=\"auth\", targetname=\"sip/ocs.b.example\", realm=\"SIP Communications Service\"\r\n",
    read,
    write,
    invite: "Ms-Conversation-ID: 84ac3f1d21\r\nSupported: ms-sender\r\nSupported: ms-text-format\r\n\
             Supported: ms-safe-transfer\r\nms-keep-alive: UAC;hop-hop=yes\r\n\
             ms-edge-proxy-message-trust: ms-source-type=EdgeProxyGenerated;ms-ep-fqdn=edge.b.example\r\n",
    media: "m=message 5060 sip null",
    ..lcs::HABITS
};

/// Reads categories, and what its predecessor read.
///
/// # Errors
/// When it could not show anything.
pub fn read(kind: &str, entity: &str, body: &[u8]) -> Result<String, String> {
    if kind != "application/msrtc-event-categories+xml" {
        return lcs::read(kind, entity, body);
    }
    let root = xml::read(body)?;
    if root.name != "categories" || root.attribute("uri") != format!("sip:{entity}") {
        return Err(format!("{} of {:?}", root.name, root.attribute("uri")));
    }
    if root.space != "http://schemas.microsoft.com/2006/09/sip/categories" {
        return Err(format!("categories in {:?}", root.space));
    }
    let states = root.all("category").filter(|c| c.attribute("name") == "state");
    let state = states.filter_map(|c| c.at("state")).next().ok_or("no category state")?;
    if state.space != "http://schemas.microsoft.com/2006/09/sip/state" {
        return Err(format!("state in {:?}", state.space));
    }
    let text = state.at("availability").map_or("", Element::trimmed);
    let number: u32 = text.parse().map_err(|_| format!("availability is {text:?}"))?;
    if number < 3000 {
        return Err(format!("{number}, which different clients show differently"));
    }
    Ok(match state.at("activity").map_or("", |a| a.attribute("token")) {
        token @ ("on-the-phone" | "in-a-meeting" | "in-a-conference" | "out-of-office") => token.into(),
        _ => lcs::state_word(number).to_string(),
    })
}

/// Writes categories to those that accept them.
#[must_use]
pub fn write(entity: &str, word: &str, accept: &str, number: usize) -> Option<(&'static str, String)> {
    if !accept.contains("application/msrtc-event-categories+xml") {
        return lcs::write(entity, word, accept, number);
    }
    let (value, token) = match word {
        "available" => (3_500, ""),
        "idle" => (5_000, ""),
        "busy" => (6_500, ""),
        "on-the-phone" => (6_500, "on-the-phone"),
        "dnd" => (9_500, ""),
        "be-right-back" => (12_500, ""),
        "away" => (15_500, ""),
        "out-to-lunch" => (15_500, "out-to-lunch"),
        _ => (18_500, ""),
    };
    let activity = if token.is_empty() {
        String::new()
    } else {
        format!("<activity token=\"{token}\"/>")
    };
    let body = format!(
        "<categories xmlns=\"http://schemas.microsoft.com/2006/09/sip/categories\" uri=\"sip:{entity}\">\
         <category name=\"contactCard\" instance=\"0\" publishTime=\"2007-11-02T08:30:00.1\" version=\"{number}\">\
         <contactCard xmlns=\"http://schemas.microsoft.com/2006/09/sip/contactcard\"/></category>\
         <category name=\"state\" instance=\"1\" publishTime=\"2007-11-02T08:30:00.1\" container=\"2\" version=\"{number}\" \
         expireType=\"user\"><state xsi:type=\"aggregateState\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xmlns=\"http://schemas.microsoft.com/2006/09/sip/state\"><availability>{value}</availability>{activity}\
         <endpointLocation/></state></category></categories>"
    );
    Some(("application/msrtc-event-categories+xml", body))
}
