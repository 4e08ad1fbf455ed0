//! `trestle mappings matrix`: cell by cell, what one dialect says and what arrives in another.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::Args as ClapArgs;

use super::Own;
use crate::dialect::state::{Cell, State};
use crate::dialect::table::Table;
use crate::dialect::{Dialect, Format, Why, document_of, state_of};

#[derive(Debug, ClapArgs)]
pub(super) struct MatrixArgs {
    /// The dialect of the person who is watched.
    #[arg(value_name = "FROM")]
    from: String,
    /// The dialect of the watcher.
    #[arg(value_name = "TO")]
    to: String,
    /// The form that the watcher gets: pidf, pidf-text, cpim-pidf, xpidf, msrtc, categories. Default: its first.
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The form in which the other side speaks. Default: its first.
    #[arg(long, value_name = "FORMAT")]
    from_format: Option<String>,
    #[command(flatten)]
    pub(super) own: Own,
}

/// One side.
struct Side<'d> {
    dialect: &'d Dialect,
    format: Format,
    table: &'d Table,
}

/// What becomes of one state.
struct Row {
    cell: Cell,
    /// What the watched side says for it.
    said: Cell,
    /// What the watcher understands.
    arrives: Cell,
    why: Vec<Why>,
}

/// What becomes of something beside the state.
struct Beside {
    what: &'static str,
    from: bool,
    to: bool,
}

pub(super) fn matrix(args: &MatrixArgs, dialects: &[Arc<Dialect>]) -> Result<String, String> {
    let from = side(dialects, &args.from, args.from_format.as_deref())?;
    let to = side(dialects, &args.to, args.format.as_deref())?;
    let rows = rows(&from, &to)?;
    let beside = beside(&from, &to);
    if args.own.json {
        return Ok(as_json(&from, &to, &rows, &beside));
    }
    let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    Ok(as_text(&from, &to, &rows, &beside, color))
}

fn side<'d>(dialects: &'d [Arc<Dialect>], name: &str, format: Option<&str>) -> Result<Side<'d>, String> {
    let Some(dialect) = dialects.iter().find(|d| *d.name == *name) else {
        let names: Vec<&str> = dialects.iter().map(|d| &*d.name).collect();
        return Err(format!(
            "there is no dialect `{name}`\n   = known: {}",
            names.join(", ")
        ));
    };
    let tables = &dialect.presence.tables;
    let has = |f: &Format| tables[*f as usize].is_some();
    let format = match format {
        None => dialect.presence.formats.iter().copied().find(has),
        Some(word) => Format::named(word).filter(has),
    };
    let found = format.and_then(|f| Some((f, tables[f as usize].as_ref()?)));
    let (format, table) = found.ok_or_else(|| {
        let names: Vec<&str> = Format::ALL.iter().filter(|f| has(f)).map(|f| f.name()).collect();
        format!(
            "dialect `{name}` has no table for that form\n   = it has: {}",
            names.join(", ")
        )
    })?;
    Ok(Side { dialect, format, table })
}

/// The way that documents go, over their bytes.
fn rows(from: &Side<'_>, to: &Side<'_>) -> Result<Vec<Row>, String> {
    const ENTITY: &str = "sip:a@a.example";
    let cell = |cell: Cell| -> Result<Row, String> {
        let state = State {
            cell,
            ..State::default()
        };
        let document = document_of(ENTITY, &state.normal());
        let theirs = from.dialect.export(from.format, ENTITY, &document);
        let read = |d: &Dialect, media: &str, body: &[u8]| -> Result<(Vec<u8>, Vec<Why>), String> {
            let back = d
                .import(media.as_bytes(), ENTITY, body)
                .map_err(|e| e.what.to_string())?;
            Ok((back.pidf.into_owned(), back.why))
        };
        let (inside, mut why) = read(from.dialect, theirs.media, &theirs.body)?;
        let shown = to.dialect.export(to.format, ENTITY, &inside);
        why.extend(shown.why);
        let (seen, _) = read(to.dialect, shown.media, &shown.body)?;
        Ok(Row {
            cell,
            said: state_of(&inside).cell,
            arrives: state_of(&seen).cell,
            why,
        })
    };
    Cell::ALL.into_iter().map(cell).collect()
}

fn beside(from: &Side<'_>, to: &Side<'_>) -> Vec<Beside> {
    let all = |table: &Table| {
        let k = table.keeps;
        [
            ("note", k.note),
            ("idle since", k.since),
            ("set by hand", k.manual),
            ("mobile", k.mobile),
            ("out of office", k.out_of_office),
            ("display name", k.display_name),
            ("capabilities", k.capabilities),
        ]
    };
    let both = all(from.table).into_iter().zip(all(to.table));
    both.map(|((what, from), (_, to))| Beside { what, from, to }).collect()
}

impl Row {
    fn outcome(&self) -> (&'static str, String) {
        let (cell, said, arrives) = (self.cell.name(), self.said.name(), self.arrives.name());
        if self.said != self.cell {
            ("unsaid", format!("cannot be said there; {said} arrives as {arrives}"))
        } else if self.arrives == self.cell {
            ("same", cell.to_owned())
        } else {
            ("changed", arrives.to_owned())
        }
    }
}

impl Beside {
    fn outcome(&self) -> (&'static str, &'static str) {
        match (self.from, self.to) {
            (true, true) => ("same", "kept"),
            (true, false) => ("lost", "lost: the watcher's form has no place for it"),
            (false, _) => ("unsaid", "never said there"),
        }
    }
}

fn as_text(from: &Side<'_>, to: &Side<'_>, rows: &[Row], beside: &[Beside], color: bool) -> String {
    let paint = |kind: &str, text: &str| {
        let code = match kind {
            "same" => "32",
            "unsaid" => "2",
            _ => "33",
        };
        if color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    let title = |s: &Side<'_>| format!("{} ({})", s.dialect.name, s.format.name());
    let mut out = format!("{} -> {}\n\n", title(from), title(to));
    for row in rows {
        let (kind, text) = row.outcome();
        let _fits = writeln!(out, "{:<15}{}", row.cell.name(), paint(kind, &text));
        // Only where something changes is it of interest who says so.
        for why in row.why.iter().filter(|_| kind == "changed") {
            let _fits = writeln!(out, "{:<15}  {}:{}: {}", "", why.file, why.line, why.what);
        }
    }
    out.push('\n');
    for one in beside {
        let (kind, text) = one.outcome();
        let _fits = writeln!(out, "{:<15}{}", one.what, paint(kind, text));
    }
    let same = rows.iter().filter(|r| r.outcome().0 == "same").count();
    let _fits = writeln!(out, "\n{same} of {} states arrive as they are", rows.len());
    out
}

fn as_json(from: &Side<'_>, to: &Side<'_>, rows: &[Row], beside: &[Beside]) -> String {
    let states: Vec<_> = rows
        .iter()
        .map(|r| {
            let line = |w: &Why| serde_json::json!({ "file": &*w.file, "line": w.line, "what": &*w.what });
            serde_json::json!({
                "state": r.cell.name(), "said": r.said.name(), "arrives": r.arrives.name(), "outcome": r.outcome().0,
                "why": r.why.iter().map(line).collect::<Vec<_>>(),
            })
        })
        .collect();
    let beside: Vec<_> = beside
        .iter()
        .map(|b| serde_json::json!({ "what": b.what, "outcome": b.outcome().0 }))
        .collect();
    let side = |s: &Side<'_>| serde_json::json!({ "dialect": &*s.dialect.name, "format": s.format.name() });
    let all = serde_json::json!({ "from": side(from), "to": side(to), "states": states, "beside": beside });
    format!("{all}\n")
}
