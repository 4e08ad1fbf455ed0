//! Reading the files: the only part of the room that does I/O, all of it through [`World`].

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::at::{At, Place};
use super::error::{Problem, Problems, Source, Warning, from_yaml};
use super::resolve::{File, resolve};
use super::written::{Main, Part};
use crate::policy::Snapshot;

/// A configuration that is fit to run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub snapshot: Snapshot,
    /// What works and is perhaps not meant.
    pub warnings: Vec<Warning>,
    /// Every configuration file that was read, the main one first.
    pub files: Vec<PathBuf>,
}

/// What a configuration may ask of the machine. Tests and fuzzers hand in one of their own.
pub trait World {
    /// The text of a file, or why there is none.
    fn read(&self, path: &Path) -> Result<String, String>;
    /// The file names in a directory, sorted.
    fn list(&self, directory: &Path) -> Result<Vec<String>, String>;
    /// Whether everybody may read the file; `None` when there is no such file.
    fn world_readable(&self, path: &Path) -> Option<bool>;
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// The number of a network interface. A machine may have none.
    fn interface(&self, _name: &str) -> Option<u32> {
        None
    }
}

/// The machine we run on.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl World for Machine {
    fn read(&self, path: &Path) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|e| e.to_string())
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(directory).map_err(|e| e.to_string())?;
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn world_readable(&self, path: &Path) -> Option<bool> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path)
            .ok()
            .map(|m| m.permissions().mode() & 0o004 != 0)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn interface(&self, name: &str) -> Option<u32> {
        nix::net::if_::if_nametoindex(name).ok()
    }
}

/// Reads the configuration at `path` with its includes and secrets.
///
/// # Errors
/// Everything that is wrong with it, each with its place and what to do.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    load_from(path, &Machine)
}

/// As [`load`], from a machine of the caller's choice.
///
/// # Errors
/// As [`load`].
pub fn load_from(path: &Path, world: &dyn World) -> Result<Loaded, Problems> {
    let (source, main): (Source, Main) = read(path, world).map_err(|p| Problems(vec![p]))?;
    let directory = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut included = Included::default();
    for pattern in &main.include {
        included.take(&directory, pattern, &source, world);
    }
    let Included {
        parts,
        mut problems,
        mut warnings,
        ..
    } = included;
    let mut files = vec![path.to_path_buf()];
    files.extend(included.files);
    let main = File {
        source,
        directory,
        written: main,
    };
    let outcome = resolve(&main, &parts, world);
    files.extend(outcome.files);
    warnings.extend(outcome.warnings);
    problems.extend(outcome.problems);
    let order = |p: &Problem| {
        let file = files.iter().position(|f| f.to_string_lossy() == *p.file);
        (file, p.place.line, p.place.column)
    };
    problems.sort_by_key(order);
    warnings.sort_by_key(order);
    match outcome.snapshot {
        Some(snapshot) if problems.is_empty() => Ok(Loaded {
            snapshot,
            warnings,
            files,
        }),
        _ => Err(Problems(problems)),
    }
}

/// What the includes of a file have brought.
#[derive(Default)]
struct Included {
    files: Vec<PathBuf>,
    parts: Vec<File<Part>>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Included {
    /// Reads the files that an entry of `source` names, each once.
    fn take(&mut self, directory: &Path, pattern: &At<String>, source: &Source, world: &dyn World) {
        let found = match matching(directory, pattern, source, world) {
            Ok(found) => found,
            Err(problem) => return self.problems.push(problem),
        };
        if found.is_empty() {
            let what = format!("`{}` matches no file", pattern.value);
            let help = "correct the path, which is relative to this file, or leave it for files to come";
            self.warnings.push(source.problem(pattern.place, what, help));
        }
        for file in found {
            if self.files.contains(&file) || file == Path::new(&*source.name) {
                continue;
            }
            match read(&file, world) {
                Ok((source, written)) => self.parts.push(File {
                    directory: file.parent().unwrap_or(Path::new("")).to_path_buf(),
                    source,
                    written,
                }),
                // The file that can be corrected is the one that names it.
                Err(unread) if unread.place.line == 0 => {
                    let what = format!("{} {}", unread.file, unread.what);
                    let help = "the path is relative to this file";
                    self.problems.push(source.problem(pattern.place, what, help));
                }
                Err(problem) => self.problems.push(problem),
            }
            self.files.push(file);
        }
    }
}

/// The parts of a configuration that say where the running bridge listens for `trestle ctl`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Sketch {
    admin: SketchAdmin,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SketchAdmin {
    socket: Option<String>,
}

/// Where the control socket of the bridge on this configuration is. Whatever else is wrong with the file does not matter:
/// the bridge that runs has read an older one, and whoever has just spoilt it needs to reach that bridge.
///
/// # Errors
/// The file cannot be read, or is no YAML.
pub fn control_socket(path: &Path) -> Result<PathBuf, Problem> {
    let (_, sketch): (Source, Sketch) = read(path, &Machine)?;
    let written = sketch.admin.socket.unwrap_or_else(|| DEFAULT_SOCKET.to_owned());
    Ok(join(path.parent().unwrap_or(Path::new("")), &written))
}

/// Where the control socket is when `admin.socket` does not say, relative to the configuration.
pub(super) const DEFAULT_SOCKET: &str = "../data/trestle.sock";

fn read<T: DeserializeOwned + Default>(path: &Path, world: &dyn World) -> Result<(Source, T), Problem> {
    let source = source(path, world, "name a file that can be read: --config FILE")?;
    let written = parse(&source)?;
    Ok((source, written))
}

/// The text of a file; `help` says what to do where it cannot be read.
pub(super) fn source(path: &Path, world: &dyn World, help: &str) -> Result<Source, Problem> {
    let name: Arc<str> = path.to_string_lossy().into();
    let text = world.read(path).map_err(|error| Problem {
        file: name.clone(),
        place: Place::default(),
        source: String::new(),
        what: format!("cannot be read: {error}"),
        help: help.into(),
    })?;
    Ok(Source { name, text })
}

/// Parses one file. An empty one, or one of comments only, says nothing and is fine.
pub(super) fn parse<T: DeserializeOwned + Default>(source: &Source) -> Result<T, Problem> {
    let bare = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if source.text.lines().all(bare) {
        return Ok(T::default());
    }
    // Large routing tables are legitimate; the file is the operator's own.
    let options = serde_yaml::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_yaml::budget! { max_events: 20_000_000, max_nodes: 10_000_000 },
    };
    serde_yaml::from_str_with_options(&source.text, options).map_err(|error| from_yaml(source, &error))
}

/// The files that an include names: the path itself, or those whose name fits when it has a `*`.
fn matching(base: &Path, pattern: &At<String>, source: &Source, world: &dyn World) -> Result<Vec<PathBuf>, Problem> {
    let full = join(base, &pattern.value);
    let name = full.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
    let directory = full.parent().unwrap_or(Path::new("")).to_path_buf();
    if directory.to_string_lossy().contains('*') {
        let help = "list the directories one by one";
        return Err(source.problem(pattern.place, "`*` stands only in the file name", help));
    }
    if !name.contains('*') {
        return Ok(vec![full]);
    }
    let names = world.list(&directory).unwrap_or_default();
    Ok(names
        .into_iter()
        .filter(|n| !n.starts_with('.') && fits(&name, n))
        .map(|n| directory.join(n))
        .collect())
}

/// Whether a text fits a pattern whose `*` stand for any text.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(head) else {
        return false;
    };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return left.ends_with(piece);
        }
        match left.find(piece) {
            Some(at) => left = left.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    left.is_empty()
}

/// A path as written in a file, relative to that file's directory, without needless `..`.
pub(super) fn join(directory: &Path, written: &str) -> PathBuf {
    let mut out = PathBuf::new();
    for part in directory.join(written).components() {
        let up = part == Component::ParentDir && matches!(out.components().next_back(), Some(Component::Normal(_)));
        if up {
            out.pop();
        } else if part != Component::CurDir {
            out.push(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit() {
        for (pattern, text, expected) in [
            ("*.yaml", "b.yaml", true),
            ("*.yaml", "b.yml", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
            ("ab*ba", "aba", false),
            ("plain", "plain", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn paths_are_relative_to_their_file() {
        assert_eq!(join(Path::new("config"), "../certs/a.pem"), Path::new("certs/a.pem"));
        assert_eq!(
            join(Path::new("/etc/trestle"), "./peers/b.yaml"),
            Path::new("/etc/trestle/peers/b.yaml")
        );
        assert_eq!(join(Path::new("config"), "/abs"), Path::new("/abs"));
        assert_eq!(join(Path::new(""), "../up"), Path::new("../up"));
    }
}
