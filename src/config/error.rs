//! What is wrong with a configuration: where, what, and what to do.

use std::fmt;
use std::sync::Arc;

use super::at::Place;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path as the operator named it.
    pub name: Arc<str>,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Something about the value at `place` of this file.
    #[must_use]
    pub fn problem(&self, place: Place, what: impl Into<String>, help: impl Into<String>) -> Problem {
        let index = place.line.saturating_sub(1) as usize;
        let line = self.text.lines().nth(index).unwrap_or_default();
        let before = index
            .checked_sub(1)
            .and_then(|i| self.text.lines().nth(i))
            .unwrap_or_default();
        let line = without_secrets(line, before);
        Problem {
            file: self.name.clone(),
            place,
            source: line,
            what: what.into(),
            help: help.into(),
        }
    }
}

/// The source line with every written password as stars: problems go to logs. Columns stay what they are.
fn without_secrets(line: &str, before: &str) -> String {
    let stars = |text: &str| "*".repeat(text.chars().count());
    let opens = |text: &str| {
        ["plain:", "plain: >", "plain: |"]
            .iter()
            .any(|end| text.trim_end_matches(['-', '+']).trim_end().ends_with(end))
    };
    if opens(before) {
        return stars(line);
    }
    let mut out = line.to_owned();
    for key in secret_keys(line) {
        let Some(start) = out.find(&key).map(|at| at + key.len()) else {
            continue;
        };
        let Some((head, tail)) = out.split_at_checked(start) else {
            continue;
        };
        let value = tail.trim_start();
        if value.is_empty() || value.starts_with('{') {
            continue;
        }
        let lead = tail.len() - value.len();
        let end = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value.rfind(quote).filter(|at| *at > 0).map_or(value.len(), |at| at + 1),
            _ if head.contains('{') => value.find([',', '}']).unwrap_or(value.len()),
            _ => value.len(),
        };
        let (secret, rest) = value.split_at_checked(end).unwrap_or((value, ""));
        out = format!("{head}{}{}{rest}", " ".repeat(lead), stars(secret));
    }
    out
}

/// The keys of a line whose values are secrets, each with its colon: the two there are, and what may be meant for them.
fn secret_keys(line: &str) -> Vec<String> {
    const MEANT: [&str; 6] = ["plain", "password", "pass", "passwd", "pwd", "secret"];
    line.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | ':')))
        .filter_map(|word| word.split_once(':'))
        .map(|(key, _)| key)
        .filter(|key| !key.is_empty() && nearest(&key.to_lowercase(), MEANT).is_some())
        .map(|key| format!("{key}:"))
        .collect()
}

/// One error, or one warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as the operator named it.
    pub file: Arc<str>,
    /// Line and column; line 0 when it is about the whole file.
    pub place: Place,
    /// The source line.
    pub source: String,
    /// What is wrong.
    pub what: String,
    /// What to do; may be empty.
    pub help: String,
}

/// Something that works and is perhaps not meant.
pub type Warning = Problem;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        if line == 0 {
            write!(f, "{}: {}", self.file, self.what)?;
        } else {
            let gutter = line.to_string().len();
            writeln!(f, "{}:{line}:{column}: {}", self.file, self.what)?;
            writeln!(f, " {line} | {}", self.source.replace('\t', " "))?;
            write!(
                f,
                " {:gutter$} | {:indent$}^",
                "",
                "",
                indent = column.saturating_sub(1) as usize
            )?;
        }
        if self.help.is_empty() {
            Ok(())
        } else {
            write!(f, "\n   = {}", self.help)
        }
    }
}

/// All errors that were found together; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The known word nearest to a mistyped one, if it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|k| (distance(word, k), k))
        .filter(|(d, _)| *d <= limit)
        .min()
        .map(|(_, k)| k)
}

/// Edits between two words: insertions, deletions, replacements, swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let above = rows[i][j + 1] + 1;
            let left = row[j] + 1;
            let mut best = above.min(left).min(rows[i][j] + usize::from(x != y));
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}

/// Turns what the YAML reader says into a problem with advice.
pub(super) fn from_yaml(source: &Source, error: &serde_yaml::Error) -> Problem {
    use serde_yaml::Error as Yaml;
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let place = error.location().map_or(Place { line: 1, column: 1 }, |l| Place {
        line: small(l.line()).max(1),
        column: small(l.column()).max(1),
    });
    let list = |known: &[&str]| format!("known here: {}", known.join(", "));
    let (what, help) = match error.without_snippet() {
        Yaml::SerdeUnknownField { field, expected, .. } => (
            format!("unknown key `{field}`"),
            nearest(field, expected.iter().copied())
                .map_or_else(|| list(expected), |near| format!("did you mean `{near}`?")),
        ),
        Yaml::Unexpected { expected, .. } => belongs(expected),
        Yaml::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            ("a second key has no place here".into(), "keep one of them".into())
        }
        // A bare password stands where `{plain: ...}` belongs: it must not be repeated.
        Yaml::SerdeUnknownVariant { expected, .. } if expected.contains(&"plain") => (
            "a password is one of three kinds".into(),
            "write {env: NAME}, {file: PATH} or {plain: TEXT}".into(),
        ),
        Yaml::SerdeUnknownVariant { variant, expected, .. } => (
            format!("`{variant}` is not possible here"),
            nearest(variant, expected.iter().copied())
                .map_or_else(|| possible(expected), |near| format!("did you mean `{near}`?")),
        ),
        Yaml::SerdeMissingField { field, .. } => {
            (format!("`{field}` is missing"), format!("add `{field}:` to this entry"))
        }
        Yaml::SerdeInvalidValue {
            unexpected, expected, ..
        }
        | Yaml::SerdeInvalidType {
            unexpected, expected, ..
        } => (
            format!("{unexpected} is not possible here"),
            format!("write {expected}"),
        ),
        Yaml::InvalidBooleanStrict { .. } => ("this must be a truth value".into(), "write `true` or `false`".into()),
        Yaml::InvalidScalar { ty, .. } => (
            "this is no whole number, or not within its range".into(),
            format!("write a number from 0 to {}", most(ty)),
        ),
        Yaml::DuplicateMappingKey { key, .. } => (
            format!("`{}` is written twice", key.as_deref().unwrap_or("a key")),
            "keep one of them".into(),
        ),
        other => (
            strip_place(&other.to_string()),
            "look at the indentation, brackets and quotes of this line and of the one before".into(),
        ),
    };
    source.problem(place, what, help)
}

/// What should stand where something of another kind does.
fn belongs(expected: &str) -> (String, String) {
    let (what, help) = match expected {
        "sequence start" => (
            "a list belongs here",
            "write [a, b], or a line that starts with `- ` for each; leave the key out when there is none",
        ),
        "mapping start" => (
            "keys with values belong here",
            "write {key: value}, or indented `key: value` lines; leave the key out when there is none",
        ),
        "string scalar" | "scalar" => (
            "a single value belongs here",
            "write it without brackets, braces or a leading `- `",
        ),
        _ => {
            return (
                format!("expected {expected}"),
                "look at the indentation, brackets and quotes of this line and of the one before".into(),
            );
        }
    };
    (what.into(), help.into())
}

/// The words that may stand here, or the keys, whose values tell what they are about.
fn possible(expected: &[&str]) -> String {
    const KEYS: [&str; 3] = ["allow", "domain", "host"];
    if expected.iter().any(|e| KEYS.contains(e)) {
        let keys: Vec<String> = expected.iter().map(|e| format!("{{{e}: ...}}")).collect();
        format!("write {}", keys.join(" or "))
    } else {
        format!("possible: {}", expected.join(", "))
    }
}

/// The largest number of a type.
fn most(ty: &str) -> u64 {
    match ty {
        "u8" => u8::MAX.into(),
        "u16" => u16::MAX.into(),
        "u32" => u32::MAX.into(),
        _ => u64::MAX,
    }
}

/// The reader's own words without the place it appends, which is shown already.
fn strip_place(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    first
        .split(" at line ")
        .next()
        .unwrap_or(first)
        .trim_start_matches("error: ")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (before, line, shown) in [
            ("", "  password: {plain: s3c}", "  password: {plain: ***}"),
            (
                "",
                "- {aor: a, password: { plain: \"a}b\" }, x: 1}",
                "- {aor: a, password: { plain: ***** }, x: 1}",
            ),
            ("", "    plain: a, b", "    plain: ****"),
            ("", "  password: s3c", "  password: ***"),
            ("    plain: >-", "      s3c", "*********"),
            ("    plain:", "      s3c", "*********"),
            ("", "  password: {env: NAME}", "  password: {env: NAME}"),
            (
                "",
                "- {aor: a@b, pasword: s3c, x: 1}",
                "- {aor: a@b, pasword: ***, x: 1}",
            ),
            ("", "  Passwd: s3c", "  Passwd: ***"),
            ("", "  path: data", "  path: data"),
        ] {
            assert_eq!(without_secrets(line, before), shown);
        }
    }

    #[test]
    fn nearest_finds_what_was_meant_and_nothing_far() {
        let known = ["domains", "transit", "transport", "next_hop"];
        assert_eq!(nearest("domain", known), Some("domains"));
        assert_eq!(nearest("trasnport", known), Some("transport"));
        assert_eq!(nearest("nexthop", known), Some("next_hop"));
        assert_eq!(nearest("password", known), None);
    }

    #[test]
    fn what_is_of_the_wrong_kind_is_told_what_belongs_there() {
        use crate::config::load_from;
        use crate::config::tests::Memory;
        for (line, place, what, help) in [
            ("include: a.yaml", "2:10", "a list belongs here", "write [a, b]"),
            ("peers:", "2:6", "a list belongs here", "leave the key out"),
            ("limits: 7", "2:9", "keys with values belong here", "write {key: value}"),
            (
                "identity: { host: [x] }",
                "2:19",
                "a single value belongs here",
                "without brackets",
            ),
            (
                "limits: { max_headers: -5 }",
                "2:24",
                "no whole number",
                "0 to 4294967295",
            ),
            (
                "routes: [{ match: b.example, peer: b }]",
                "2:19",
                "`b.example` is not possible here",
                "write {domain: ...} or {suffix: ...} or {digits: ...}",
            ),
            (
                "routes: [{ match: { domain: x.example, suffix: .y }, peer: b }]",
                "2:40",
                "a second key has no place here",
                "keep one",
            ),
            (
                "acl: { incoming: [192.0.2.1] }",
                "2:19",
                "`192.0.2.1` is not possible here",
                "write {allow: ...} or {deny: ...}",
            ),
            (
                "include: [gone.yaml]",
                "2:11",
                "gone.yaml cannot be read",
                "relative to this file",
            ),
        ] {
            let world = Memory::with(&[("b.yaml", &format!("domains: [a.example]\n{line}\n"))]);
            let problem = load_from(std::path::Path::new("b.yaml"), &world).map(|_| ());
            let text = problem.err().map(|p| p.to_string()).unwrap_or_default();
            let (head, rest) = text.split_once('\n').unwrap_or_default();
            assert!(
                head.starts_with(&format!("b.yaml:{place}: ")) && head.contains(what),
                "{text}"
            );
            assert!(
                rest.contains(line) && rest.contains("^\n   = ") && rest.contains(help),
                "{text}"
            );
        }
    }
}
