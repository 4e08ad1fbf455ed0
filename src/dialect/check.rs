//! The laws of the algebra, for any mapping file: every state has a place, nothing reachable becomes offline, do-not-disturb
//! stays busy, and what is written is read back as what it was.

use super::load::Fault;
use super::state::{Cell, State};
use super::table::{Line, Table};
use super::{Dialect, Format, document_of, state_of};

/// Everything in the tables of a dialect that breaks a law. Places are in its own file; what it inherits and breaks by
/// another row is told at the first line.
#[must_use]
pub fn check(dialect: &Dialect) -> Vec<Fault> {
    let mut faults = Vec::new();
    if dialect.is_verbatim() {
        return faults;
    }
    for format in Format::ALL {
        if let Some(table) = &dialect.presence.tables[format as usize] {
            let before = faults.len();
            places(dialect, format, table, &mut faults);
            // Only a table in which every state has a place can be tried.
            if faults.len() == before {
                round_trips(dialect, format, table, &mut faults);
            }
        }
    }
    faults
}

fn fault(dialect: &Dialect, line: Option<&Line>, what: String, help: String) -> Fault {
    let own = line.filter(|l| l.file == dialect.file);
    Fault {
        line: own.map_or(1, |l| l.line),
        column: own.map_or(1, |l| l.column),
        what,
        help,
    }
}

fn places(dialect: &Dialect, format: Format, table: &Table, faults: &mut Vec<Fault>) {
    for cell in Cell::ALL {
        let (name, form) = (cell.name(), format.name());
        let line = table.nearest[cell.index()].as_ref().map(|(_, line)| line);
        let Some((held, _)) = table.held(cell) else {
            let help = format!("write it under `tables.{form}.write`, or another state for it under `nearest`");
            let what = match line {
                Some(_) => format!("{form}: what stands for `{name}` leads to no state that is written"),
                None => format!("{form}: nothing is written for `{name}` and nothing stands for it"),
            };
            faults.push(fault(dialect, line, what, help));
            continue;
        };
        if cell.is_reachable() && !held.is_reachable() {
            let what = format!("{form}: `{name}` can be reached and is shown as {}", held.name());
            faults.push(fault(dialect, line, what, "take a state that can be reached".into()));
        }
        if cell.is_busy() && !held.is_busy() {
            let what = format!("{form}: `{name}` wants no calls and is shown as {}", held.name());
            faults.push(fault(
                dialect,
                line,
                what,
                "take busy, or a state that is more than that".into(),
            ));
        }
    }
}

fn round_trips(dialect: &Dialect, format: Format, table: &Table, faults: &mut Vec<Fault>) {
    const ENTITY: &str = "sip:a@a.example";
    for cell in Cell::ALL {
        let Some(row) = &table.write[cell.index()] else {
            continue;
        };
        let state = State {
            cell,
            ..State::default()
        }
        .normal();
        let document = document_of(ENTITY, &state);
        let out = dialect.export(format, ENTITY, &document);
        let (name, form) = (cell.name(), format.name());
        match dialect.import(out.media.as_bytes(), ENTITY, &out.body) {
            // PIDF under one label is read by the first of its forms.
            Ok(back) if dialect.presence.reads(out.media.as_bytes()) == Some(format) => {
                let got = state_of(&back.pidf).cell;
                if got != cell {
                    let by = back.why.iter().find(|w| w.line > 0);
                    let by = by.map_or_else(|| "no row".to_owned(), |w| format!("{}:{}", w.file, w.line));
                    let what = format!(
                        "{form}: `{name}` is written so, and read back as {} by {by}",
                        got.name()
                    );
                    let help = "write something else, or put a row that reads it before that one";
                    faults.push(fault(dialect, Some(&row.line), what, help.into()));
                }
            }
            Ok(_) => {}
            Err(refusal) => {
                let what = format!(
                    "{form}: what is written for `{name}` cannot be read back: {}",
                    refusal.what
                );
                faults.push(fault(dialect, Some(&row.line), what, "write something else".into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::{build, parse};
    use super::*;

    #[test]
    fn what_is_compiled_in_keeps_the_laws() {
        for dialect in super::super::built_in() {
            assert_eq!(check(dialect), Vec::new(), "{}", dialect.name);
        }
    }

    #[test]
    fn what_breaks_a_law_is_told_with_its_line() {
        let table = [
            (
                "nearest: { dnd: available }",
                5,
                "wants no calls and is shown as available",
            ),
            (
                "nearest: { busy: offline }",
                5,
                "can be reached and is shown as offline",
            ),
            ("nearest: { busy: meeting, meeting: busy }", 5, "leads to no state"),
            (
                "write: { busy: { availability: 300, activity: 600, number: 3500, text: x }, dnd: { availability: 300, activity: 600, number: 6500 } }",
                5,
                "`dnd` is written so, and read back as busy by mappings/lcs2005.yaml:",
            ),
            (
                "read: [{ is: away, number: \"3000..\" }]",
                1,
                "read back as away by x.yaml:5",
            ),
        ];
        let base = super::super::built_in()[1].clone();
        for (rows, line, says) in table {
            let text = format!("extends: lcs2005\npresence:\n  tables:\n    msrtc:\n      {rows}\n");
            let dialect = parse(&text).map(|w| build("x", "x.yaml", &w, Some(&base)));
            let faults = check(&dialect.expect("reads").expect("is well"));
            let found = faults.iter().find(|f| f.what.contains(says));
            assert_eq!(found.map(|f| f.line), Some(line), "{rows}: {faults:?}");
        }
        let written =
            parse("presence: { tables: { msrtc: { fresh: true, write: { away: { number: 1 } } } } }").expect("reads");
        let mut dialect = build("x", "x.yaml", &written, Some(&base)).expect("is well");
        dialect.presence.verbatim = false;
        assert_eq!(check(&dialect).len(), 12);
    }
}
