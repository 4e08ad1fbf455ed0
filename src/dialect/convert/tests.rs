//! The algebra, over every cell of every form of every dialect, through the bytes.

mod algebra;
mod hostile;
mod readings;

use super::*;
use crate::dialect::state::Capabilities;
use crate::presence::Document;

pub(super) const ENTITY: &str = "sip:ann@a.example";

pub(super) fn dialect(name: &str) -> &'static Dialect {
    built_in()
        .iter()
        .find(|d| &*d.name == name)
        .unwrap_or_else(|| panic!("{name}"))
}

/// Every form of every dialect.
pub(super) fn forms() -> Vec<(&'static Dialect, Format, &'static Table)> {
    let of = |d: &'static Dialect| {
        let table = move |f: Format| Some((d, f, d.presence.tables[f as usize].as_ref()?));
        Format::ALL.into_iter().filter_map(table)
    };
    built_in().iter().flat_map(|d| of(d)).collect()
}

/// Every combination of what stands beside the cell, for every cell, in its one form.
pub(super) fn states() -> Vec<State> {
    let mut all = Vec::new();
    for cell in Cell::ALL {
        for bits in 0..64_u32 {
            let bit = |n: u32| bits & (1 << n) != 0;
            let state = State {
                cell,
                manual: bit(0),
                mobile: bit(1),
                out_of_office: bit(2),
                since: bit(3).then(|| "2026-03-02T08:15:00Z".to_owned()),
                note: bit(4).then(|| "Back at 3 <&> \"later\"".to_owned()),
                display_name: bit(5).then(|| "Ann Ö. O'Hara".to_owned()),
                capabilities: Capabilities {
                    audio: bit(0),
                    text: bit(4),
                    video: bit(3),
                },
            }
            .normal();
            if !all.contains(&state) {
                all.push(state);
            }
        }
    }
    all
}

/// A state through a form and back, over the bytes.
pub(super) fn through(dialect: &Dialect, format: Format, document: &[u8]) -> Vec<u8> {
    let out = dialect.export(format, ENTITY, document);
    let back = dialect.import(out.media.as_bytes(), ENTITY, &out.body);
    let back = back.unwrap_or_else(|e| panic!("{} {format:?}: {e:?}\n{}", dialect.name, text(&out.body)));
    back.pidf.into_owned()
}

pub(super) fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// Well-formed, PIDF, in the order of its schemas, with ids where they belong.
pub(super) fn sound(document: &[u8]) {
    let read = Document::parse(document).unwrap_or_else(|e| panic!("{e}\n{}", text(document)));
    assert!(read.elements.iter().all(|e| e.kind == crate::presence::pidf::Kind::Note
        || e.id.is_some()
        || e.kind == crate::presence::pidf::Kind::Foreign));
    let facts = pidf::read(document).unwrap_or_default();
    assert!(
        facts.quirks.is_empty() && !facts.tuples.is_empty(),
        "{:?}\n{}",
        facts.quirks,
        text(document)
    );
}
