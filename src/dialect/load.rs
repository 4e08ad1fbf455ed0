//! Mapping files: text to [`Dialect`]. Pure; `config` reads the files and shows what is wrong with them.
//!
//! A file says only what differs from the dialect that it extends, or from plain SIP when it extends none.

pub mod table;
mod written;

use std::sync::Arc;

use serde_yaml::Spanned;

use super::Dialect;
use super::format::Format;
pub use written::Written;

/// What is wrong with a mapping file: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line from 1.
    pub line: u32,
    /// Column from 1.
    pub column: u32,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl Fault {
    fn at<T>(place: &Spanned<T>, what: impl Into<String>, help: impl Into<String>) -> Self {
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            line: small(place.referenced.line()),
            column: small(place.referenced.column()),
            what: what.into(),
            help: help.into(),
        }
    }
}

/// The files that are compiled in, a base before what extends it.
const FILES: [(&str, &str); 8] = [
    ("rfc", include_str!("../../mappings/rfc.yaml")),
    ("lcs2005", include_str!("../../mappings/lcs2005.yaml")),
    ("lcs2005-clients", include_str!("../../mappings/lcs2005-clients.yaml")),
    ("ocs2007", include_str!("../../mappings/ocs2007.yaml")),
    ("sametime75", include_str!("../../mappings/sametime75.yaml")),
    ("sametime-legacy", include_str!("../../mappings/sametime-legacy.yaml")),
    ("unified-cm", include_str!("../../mappings/unified-cm.yaml")),
    ("cups", include_str!("../../mappings/cups.yaml")),
];

/// Reads one file.
///
/// # Errors
/// What the YAML reader says, with its place.
pub fn parse(text: &str) -> Result<Written, serde_yaml::Error> {
    let options = serde_yaml::options! { strict_booleans: true, with_snippet: false };
    serde_yaml::from_str_with_options(text, options)
}

/// Makes a dialect of what is written, on top of the one that it extends.
///
/// # Errors
/// Everything that is wrong with it.
pub fn build(name: &str, file: &str, written: &Written, base: Option<&Dialect>) -> Result<Dialect, Vec<Fault>> {
    let mut dialect = base.cloned().unwrap_or_else(|| Dialect::plain(name, file));
    dialect.name = name.into();
    dialect.file = file.into();
    if let Some(about) = &written.about {
        dialect.about = about.as_str().into();
    }
    let mut faults = Vec::new();
    written.sip.apply(&mut dialect.sip);
    written.im.apply(&mut dialect.im, &mut faults);
    written.place(file, &mut dialect.places);
    let place = Arc::clone(&dialect.file);
    written.presence.apply(&mut dialect.presence, &place, &mut faults);
    match faults.is_empty() {
        true => Ok(dialect),
        false => Err(faults),
    }
}

/// What is compiled in. A test holds that each file reads.
pub(super) fn built_in() -> Vec<Arc<Dialect>> {
    let mut all: Vec<Arc<Dialect>> = Vec::new();
    for (name, text) in FILES {
        let file = format!("mappings/{name}.yaml");
        let read = parse(text).ok().and_then(|written| {
            let wanted = written.extends.as_ref().map(|e| e.value.as_str());
            let base = all.iter().find(|d| Some(&*d.name) == wanted).cloned();
            build(name, &file, &written, base.as_deref()).ok()
        });
        all.push(Arc::new(read.unwrap_or_else(|| Dialect::plain(name, &file))));
    }
    all
}

fn format_named(at: &Spanned<String>, faults: &mut Vec<Fault>) -> Option<Format> {
    let found = Format::named(&at.value);
    if found.is_none() {
        let names: Vec<&str> = Format::ALL.iter().map(|f| f.name()).collect();
        faults.push(Fault::at(
            at,
            format!("there is no format `{}`", at.value),
            format!("known: {}", names.join(", ")),
        ));
    }
    found
}

#[cfg(test)]
mod tests;
