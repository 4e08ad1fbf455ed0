//! The directory of mapping files: which files are dialects, in which order they build on each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::at::Place;
use super::error::{Problem, Source};
use super::load::{World, parse};
use crate::dialect::check::check;
use crate::dialect::load::{Fault, Written, build};
use crate::dialect::{Dialect, built_in};

/// A directory may hold all files of the bridge, this one as it is.
const RFC: &str = include_str!("../../mappings/rfc.yaml");

/// Files that live beside the dialects and are none.
const OTHERS: [&str; 1] = ["dialplan"];

/// What a directory holds.
#[derive(Debug)]
pub struct Found {
    /// The dialects that are compiled in, some of them replaced, then the new ones by name.
    pub dialects: Vec<Arc<Dialect>>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
}

/// A file that waits for its base.
struct Waiting {
    name: String,
    source: Source,
    written: Written,
}

/// Reads every `NAME.yaml` of a directory.
///
/// # Errors
/// The directory cannot be read.
pub fn directory(dir: &Path, world: &dyn World) -> Result<Found, String> {
    let mut found = Found {
        dialects: built_in().to_vec(),
        problems: Vec::new(),
        files: Vec::new(),
    };
    let mut waiting = Vec::new();
    for file in world.list(dir)? {
        let Some(name) = file
            .strip_suffix(".yaml")
            .filter(|n| !n.starts_with('.') && !OTHERS.contains(n))
        else {
            continue;
        };
        let path = dir.join(&file);
        match read(&path, world) {
            Ok((source, written)) => waiting.push(Waiting {
                name: name.to_owned(),
                source,
                written,
            }),
            Err(problem) => found.problems.push(problem),
        }
        found.files.push(path);
    }
    // A file builds on another of the directory, or on what is compiled in; that of its own name is always the latter.
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|w| {
            let base = w.written.extends.as_ref().map(|e| e.value.as_str());
            base.is_none_or(|b| b == w.name || !waiting.iter().any(|other| other.name == b))
        });
        match ready {
            Some(at) => found.take(&waiting.remove(at)),
            None => {
                for w in waiting.drain(..) {
                    let place = w.written.extends.as_ref().map_or(Place::default(), place_of);
                    let help = "let one of them extend a dialect that is built in";
                    let what = "these files extend each other in a circle";
                    found.problems.push(w.source.problem(place, what, help));
                }
            }
        }
    }
    Ok(found)
}

impl Found {
    fn take(&mut self, w: &Waiting) {
        if w.name == "rfc" {
            if w.source.text == RFC {
                return;
            }
            let help = "give the file another name and let it say `extends: rfc`";
            let what = "`rfc` is what the bridge itself speaks and cannot be replaced";
            let place = Place { line: 1, column: 1 };
            return self.problems.push(w.source.problem(place, what, help));
        }
        let base = w.written.extends.as_ref();
        let wanted = base.map_or("rfc", |e| &e.value);
        let found = self.dialects.iter().find(|d| *d.name == *wanted).cloned();
        if let (Some(e), None) = (base, &found) {
            let names: Vec<&str> = self.dialects.iter().map(|d| &*d.name).collect();
            let what = format!("there is no dialect `{}` to extend", e.value);
            let help = format!("known: {}", names.join(", "));
            return self.problems.push(w.source.problem(place_of(e), what, help));
        }
        match build(&w.name, &w.source.name, &w.written, found.as_deref()) {
            Ok(dialect) => {
                let faults = check(&dialect);
                self.problems.extend(faults.into_iter().map(|f| problem(&w.source, f)));
                match self.dialects.iter().position(|d| *d.name == *w.name) {
                    Some(at) => self.dialects[at] = Arc::new(dialect),
                    None => self.dialects.push(Arc::new(dialect)),
                }
            }
            Err(faults) => self.problems.extend(faults.into_iter().map(|f| problem(&w.source, f))),
        }
    }
}

fn place_of<T>(at: &serde_yaml::Spanned<T>) -> Place {
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Place {
        line: small(at.referenced.line()),
        column: small(at.referenced.column()),
    }
}

fn problem(source: &Source, fault: Fault) -> Problem {
    let Fault {
        line,
        column,
        what,
        help,
    } = fault;
    source.problem(Place { line, column }, what, help)
}

fn read(path: &Path, world: &dyn World) -> Result<(Source, Written), Problem> {
    let help = "make it readable for the user that the bridge runs as, or take it away";
    let source = super::load::source(path, world, help)?;
    let written = parse(&source)?;
    Ok((source, written))
}

#[cfg(test)]
mod tests;
