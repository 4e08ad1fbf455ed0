//! `trestle mappings`: the dialects there are, whether mapping files are well, and what survives between two of them.

mod matrix;

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args as ClapArgs, Subcommand};

use super::check::problems_json;
use super::exit;
use crate::config::Machine;
use crate::config::mappings::{Found, directory};
use crate::dialect::{Dialect, ImMode, built_in};

/// List, check and compare dialects.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read the mapping files of a directory and say what is wrong with them.
    Check(CheckArgs),
    /// Say which states survive from one dialect to another, and what is lost.
    Matrix(matrix::MatrixArgs),
    /// List the dialects that peers may have.
    List(ListArgs),
}

/// Where mapping files are.
#[derive(Debug, ClapArgs)]
struct Own {
    /// A directory with mapping files of your own, as `mappings.dir` names it.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Machine-readable output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, ClapArgs)]
struct CheckArgs {
    /// The directory with the mapping files.
    #[arg(value_name = "DIR", default_value = "mappings")]
    dir: PathBuf,
    /// Machine-readable output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, ClapArgs)]
struct ListArgs {
    #[command(flatten)]
    own: Own,
}

/// Exits 0 when all is well, 1 when `check` finds a problem, 2 when something cannot be read or is not there.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let (text, code) = match &args.what {
        What::Check(args) => check(args),
        What::List(args) => with(&args.own, |dialects| Ok(list(dialects, args.own.json))),
        What::Matrix(args) => with(&args.own, |dialects| matrix::matrix(args, dialects)),
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    if written.is_err() {
        exit::unusable()
    } else {
        ExitCode::from(code)
    }
}

/// The dialects of a directory, or those that are compiled in.
fn with(own: &Own, then: impl FnOnce(&[Arc<Dialect>]) -> Result<String, String>) -> (String, u8) {
    let told = match &own.dir {
        None => then(built_in()),
        Some(dir) => read(dir).and_then(|found| match found.problems.as_slice() {
            [] => then(&found.dialects),
            [first, ..] => Err(format!(
                "{first}\n\nall of it: trestle mappings check {}",
                dir.display()
            )),
        }),
    };
    told.map_or_else(
        |error| {
            eprintln!("{error}");
            (String::new(), 2)
        },
        |text| (text, 0),
    )
}

fn read(dir: &Path) -> Result<Found, String> {
    let help = "name a directory with mapping files, as `mappings.dir` of the configuration does";
    directory(dir, &Machine).map_err(|e| format!("{}: cannot be read: {e}\n   = {help}", dir.display()))
}

fn check(args: &CheckArgs) -> (String, u8) {
    let found = match read(&args.dir) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return (String::new(), 2);
        }
    };
    let code = u8::from(!found.problems.is_empty());
    if args.json {
        return (problems_json(&found.problems, &[]), code);
    }
    let mut out = String::new();
    for problem in &found.problems {
        let _fits = writeln!(out, "{problem}\n");
    }
    let _fits = match (found.problems.len(), found.files.len()) {
        (0, files) => writeln!(out, "{files} {}, well", plural(files, "file")),
        (n, files) => writeln!(out, "{n} {} in {files} {}", plural(n, "error"), plural(files, "file")),
    };
    (out, code)
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}

fn list(dialects: &[Arc<Dialect>], json: bool) -> String {
    let formats = |d: &Dialect| d.presence.formats.iter().map(|f| f.name()).collect::<Vec<_>>();
    let mode = |d: &Dialect| match d.im.mode {
        ImMode::Pager => "pager",
        ImMode::Session => "session",
    };
    if json {
        let one = |d: &Arc<Dialect>| {
            serde_json::json!({
                "name": &*d.name, "file": &*d.file, "about": &*d.about, "presence": formats(d), "messages": mode(d),
            })
        };
        let all: Vec<_> = dialects.iter().map(one).collect();
        return format!("{}\n", serde_json::Value::from(all));
    }
    let width = dialects.iter().map(|d| d.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for d in dialects {
        let _fits = writeln!(out, "{:width$}  {}", d.name, d.about);
        let _fits = writeln!(
            out,
            "{:width$}  presence {}; messages {}; {}",
            "",
            formats(d).join(", "),
            mode(d),
            d.file
        );
    }
    out
}

#[cfg(test)]
mod tests;
