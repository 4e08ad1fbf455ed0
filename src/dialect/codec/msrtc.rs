//! `text/xml+msrtc.pidf`: aggregates of availability and activity, and the numbers of 2007 beside them.

use super::number;
use super::tree::Element;
use crate::dialect::wire::Wire;
use crate::presence::XmlError;
use crate::presence::xml::escape;

const NAMESPACE: &str = "http://schemas.microsoft.com/2002/09/sip/presence";

/// The number of 2007 that the aggregates stand for.
fn implied(availability: Option<u32>, activity: Option<u32>) -> Option<u32> {
    Some(match (availability?, activity.unwrap_or(400)) {
        (0..=99, _) => 18500,
        (_, 0..=199 | 700..=799) => 15500,
        (_, 200..=299) => 5000,
        (_, 300..=399) => 12500,
        (_, 500..=699) => 6500,
        _ => 3500,
    })
}

/// Reads a document, and whom it names. A state number counts only where it is larger than what the aggregates imply.
pub(crate) fn read(body: &[u8]) -> Result<(Wire, Option<String>), XmlError> {
    let root = Element::parse(body)?;
    let named = root.get("uri").map(ToOwned::to_owned);
    let aggregate = |name: &str| root.child(name)?.get("aggregate").and_then(number);
    let (availability, activity) = (aggregate("availability"), aggregate("activity"));
    let info = root.child("userInfo");
    let states = info.and_then(|i| i.child("states"));
    let states = states.iter().flat_map(|s| s.all("state"));
    let live = states.filter(|s| s.get("nil") != Some("true"));
    let top = live
        .filter_map(|s| Some((s.get("avail").and_then(number)?, s)))
        .max_by_key(|(n, _)| *n);
    let implied = implied(availability, activity);
    let said = top.filter(|(n, _)| implied.is_none_or(|i| *n >= i || same_range(*n, i)));
    let state = said.map(|(_, s)| s);
    let note = info.and_then(|i| i.child("note")).map(|n| n.text.clone());
    let note = note.or_else(|| root.child("activity")?.get("note").map(ToOwned::to_owned));
    let wire = Wire {
        availability,
        activity,
        number: said.map(|(n, _)| n).max(implied),
        text: state.map(|s| s.text.trim()).filter(|t| !t.is_empty()).map(Into::into),
        since: state.and_then(|s| s.get("since")).map(ToOwned::to_owned),
        manual: state.is_some_and(|s| s.get("set") == Some("manual")),
        note: note.filter(|n| !n.trim().is_empty()),
        display_name: root
            .child("displayName")
            .and_then(|d| d.get("displayName"))
            .map(ToOwned::to_owned),
        out_of_office: info.is_some_and(|i| i.child("oof").is_some()),
        ..Wire::default()
    };
    Ok((wire, named))
}

/// Whether a number says with a word what the aggregates say without.
fn same_range(a: u32, b: u32) -> bool {
    const STARTS: [u32; 8] = [3000, 4500, 6000, 7500, 9000, 12000, 15000, 18000];
    let range = |n: u32| STARTS.iter().filter(|s| **s <= n).count();
    range(a) == range(b)
}

/// Writes a document about `sip:user@domain`.
pub(crate) fn write(entity: &str, wire: &Wire) -> String {
    let uri = escape(entity.strip_prefix("sip:").unwrap_or(entity));
    let mut out =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presentity uri=\"{uri}\" xmlns=\"{NAMESPACE}\">\n");
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    if let Some(n) = wire.availability {
        line(format!("<availability aggregate=\"{n}\" description=\"\"/>"));
    }
    if let Some(n) = wire.activity {
        line(format!("<activity aggregate=\"{n}\" description=\"\"/>"));
    }
    if let Some(name) = &wire.display_name {
        line(format!("<displayName displayName=\"{}\"/>", escape(name)));
    }
    let mut info = String::new();
    if let Some(note) = &wire.note {
        info.push_str(&format!("<note>{}</note>", escape(note)));
    }
    if wire.out_of_office {
        info.push_str("<oof/>");
    }
    if let Some(number) = wire.number {
        let since = wire
            .since
            .as_deref()
            .map_or_else(String::new, |s| format!(" since=\"{}\"", escape(s)));
        let set = if wire.manual { " set=\"manual\"" } else { "" };
        let text = escape(wire.text.as_deref().unwrap_or_default());
        info.push_str(&format!(
            "<states><state avail=\"{number}\"{since}{set}>{text}</state></states>"
        ));
    }
    if !info.is_empty() {
        line(format!("<userInfo>{info}</userInfo>"));
    }
    out.push_str("</presentity>\n");
    out
}
