//! `application/xpidf+xml`: the draft that messengers before PIDF spoke, with their substatus.

use super::tree::Element;
use super::{number, without_doctype};
use crate::dialect::wire::Wire;
use crate::presence::xml::escape;
use crate::presence::{Basic, XmlError};

/// Reads a document, and whom it names. Of several addresses the one with the highest priority counts, of equal ones the first.
pub(crate) fn read(body: &[u8]) -> Result<(Wire, Option<String>), XmlError> {
    let blanked = without_doctype(body);
    let root = Element::parse(blanked.as_deref().unwrap_or(body))?;
    let named = root
        .child("presentity")
        .and_then(|p| p.get("uri"))
        .map(ToOwned::to_owned);
    let addresses = root.all("atom").flat_map(|atom| atom.all("address"));
    let priority = |address: &Element| -> u32 {
        // "0.8" and "0.800000" alike, without floating point.
        let text = address.get("priority").unwrap_or_default();
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let thousandths = format!("{part:0<3}").chars().take(3).collect::<String>();
        number(whole)
            .unwrap_or(0)
            .saturating_mul(1000)
            .saturating_add(number(&thousandths).unwrap_or(0))
    };
    let mut best: Option<(&Element, u32)> = None;
    for address in addresses {
        let rank = priority(address);
        if best.is_none_or(|(_, top)| rank > top) {
            best = Some((address, rank));
        }
    }
    let Some((address, _)) = best else {
        return Ok((Wire::default(), named));
    };
    let status = address
        .child("status")
        .and_then(|s| s.get("status"))
        .unwrap_or_default();
    let sub = address.child("msnsubstatus").and_then(|s| s.get("substatus"));
    let wire = Wire {
        basic: match status.to_ascii_lowercase().as_str() {
            "open" | "inuse" => Some(Basic::Open),
            "closed" | "inactive" => Some(Basic::Closed),
            _ => None,
        },
        text: sub.or((status == "inuse").then_some("inuse")).map(Into::into),
        note: address
            .child("note")
            .or_else(|| root.child("note"))
            .map(|n| n.text.clone()),
        ..Wire::default()
    };
    Ok((wire, named))
}

/// Writes a document about `sip:user@domain`.
pub(crate) fn write(entity: &str, wire: &Wire) -> String {
    let uri = escape(entity);
    let status = match wire.basic {
        Some(Basic::Open) => "open",
        _ => "closed",
    };
    let sub = wire.text.as_deref().map_or_else(String::new, |text| {
        format!("<msnsubstatus substatus=\"{}\"/>", escape(text))
    });
    let note = wire
        .note
        .as_deref()
        .map_or_else(String::new, |note| format!("<note>{}</note>", escape(note)));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence>\n<presentity uri=\"{uri};method=SUBSCRIBE\"/>\n<atom \
         id=\"trestle\">\n<address uri=\"{uri}\" priority=\"0.800000\">\n<status status=\"{status}\"/>{sub}{note}\n\
         </address>\n</atom>\n</presence>\n"
    )
}
