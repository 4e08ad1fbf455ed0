//! `application/msrtc-event-categories+xml`: the categories `state`, `note` and `contactCard`.

use super::number;
use super::tree::Element;
use crate::dialect::wire::Wire;
use crate::presence::XmlError;
use crate::presence::xml::escape;

const NS_CATEGORIES: &str = "http://schemas.microsoft.com/2006/09/sip/categories";
const NS_STATE: &str = "http://schemas.microsoft.com/2006/09/sip/state";
const NS_NOTE: &str = "http://schemas.microsoft.com/2006/09/sip/note";
const NS_CARD: &str = "http://schemas.microsoft.com/2006/09/sip/contactcard";

/// Reads a document, and whom it names. The aggregate state counts; where there is none, the least available of the others.
pub(crate) fn read(body: &[u8]) -> Result<(Wire, Option<String>), XmlError> {
    let root = Element::parse(body)?;
    let named = root.get("uri").map(ToOwned::to_owned);
    let of = |name: &'static str| root.all("category").flat_map(move |c| c.all(name));
    let rank = |state: &&Element| {
        let aggregate = state.get("type").is_some_and(|t| t.ends_with("aggregateState"));
        (aggregate, state.child("availability").and_then(|a| number(&a.text)))
    };
    let state = of("state").max_by_key(rank);
    let activity = state.and_then(|s| s.child("activity"));
    let token = activity.and_then(|a| a.get("token"));
    let manual = of("state").any(|s| matches!(s.get("manual"), Some("true" | "1")));
    let bodies = || of("note").flat_map(|n| n.all("body"));
    let oof = |b: &&Element| b.get("type").is_some_and(|t| t.eq_ignore_ascii_case("oof"));
    let note = bodies().find(|b| !oof(b)).or_else(|| bodies().next());
    let name = of("contactCard").find_map(|c| c.child("identity")?.child("name")?.child("full"));
    let name = name.or_else(|| of("contactCard").find_map(|c| c.child("displayName")));
    let wire = Wire {
        number: state.and_then(|s| rank(&s).1),
        text: token.filter(|t| !t.is_empty()).map(Into::into),
        since: state.and_then(|s| s.get("lastActive")).map(ToOwned::to_owned),
        manual,
        note: note.map(|b| b.text.clone()).filter(|n| !n.trim().is_empty()),
        display_name: name.map(|n| n.text.clone()),
        out_of_office: bodies().any(|b| oof(&b)),
        ..Wire::default()
    };
    Ok((wire, named))
}

/// Writes a document about `sip:user@domain`.
pub(crate) fn write(entity: &str, wire: &Wire) -> String {
    let uri = escape(entity);
    let mut out =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<categories xmlns=\"{NS_CATEGORIES}\" uri=\"{uri}\">\n");
    let mut category = |name: &str, inside: String| {
        out.push_str(&format!(
            "<category name=\"{name}\" instance=\"0\">{inside}</category>\n"
        ));
    };
    if let Some(number) = wire.number {
        let since = wire
            .since
            .as_deref()
            .map_or_else(String::new, |s| format!(" lastActive=\"{}\"", escape(s)));
        let manual = if wire.manual { " manual=\"true\"" } else { "" };
        let token = wire
            .text
            .as_deref()
            .map_or_else(String::new, |t| format!("<activity token=\"{}\"/>", escape(t)));
        category(
            "state",
            format!(
                "<state xmlns=\"{NS_STATE}\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
                 xsi:type=\"aggregateState\"{since}{manual}><availability>{number}</availability>{token}</state>"
            ),
        );
    }
    if wire.note.is_some() || wire.out_of_office {
        let mut bodies = String::new();
        if let Some(note) = &wire.note {
            bodies.push_str(&format!("<body type=\"personal\" uri=\"\">{}</body>", escape(note)));
        }
        if wire.out_of_office {
            bodies.push_str("<body type=\"OOF\" uri=\"\"/>");
        }
        category("note", format!("<note xmlns=\"{NS_NOTE}\">{bodies}</note>"));
    }
    if let Some(name) = &wire.display_name {
        let full = escape(name);
        category(
            "contactCard",
            format!(
                "<contactCard xmlns=\"{NS_CARD}\"><identity><name><full>{full}</full></name></identity></contactCard>"
            ),
        );
    }
    out.push_str("</categories>\n");
    out
}
