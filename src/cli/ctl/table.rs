//! JSON answers as text for people.

use serde_json::Value;

/// A list of objects as columns, an object as lines. `what` names the things a list holds.
pub(super) fn table(what: &str, value: &Value) -> String {
    match value {
        Value::Array(rows) if rows.is_empty() => format!("no {what}\n"),
        Value::Array(rows) => columns(rows),
        Value::Object(fields) => {
            let width = fields.keys().map(|k| label(k).len()).max().unwrap_or(0);
            fields
                .iter()
                .map(|(name, v)| format!("{:width$}  {}\n", label(name), cell(name, v)))
                .collect()
        }
        other => format!("{}\n", cell("", other)),
    }
}

/// What a reload has done.
pub(super) fn reloaded(answer: &Value) -> String {
    let list = |name: &str| {
        let items = answer.get(name).and_then(Value::as_array).into_iter().flatten();
        items.map(|v| cell("", v)).collect::<Vec<_>>()
    };
    let (changes, withdrawn, restart) = (list("changes"), list("withdrawn"), list("restart"));
    if changes.is_empty() && withdrawn.is_empty() && restart.is_empty() {
        return "read again; nothing has changed\n".into();
    }
    let mut out: String = changes.iter().map(|c| format!("{c}\n")).collect();
    out.extend(withdrawn.iter().map(|w| format!("! {w}\n")));
    out.extend(restart.iter().map(|r| format!("! only after a restart: {r}\n")));
    out
}

fn columns(rows: &[Value]) -> String {
    // What only some of them have is a column too.
    let mut names: Vec<&String> = Vec::new();
    for name in rows.iter().filter_map(Value::as_object).flat_map(serde_json::Map::keys) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut lines = vec![names.iter().map(|n| label(n).to_uppercase()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| {
        names
            .iter()
            .map(|n| cell(n, row.get(n.as_str()).unwrap_or(&Value::Null)))
            .collect()
    }));
    let width = |at: usize| lines.iter().filter_map(|l| l.get(at)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..names.len()).map(|at| width(at).unwrap_or(0)).collect();
    lines
        .iter()
        .map(|line| {
            let cells: Vec<String> = line
                .iter()
                .zip(&widths)
                .map(|(c, w)| format!("{c:w$}", w = *w))
                .collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect()
}

/// The name of a field without its unit, which the value shows.
fn label(name: &str) -> &str {
    name.strip_suffix("_ms")
        .or_else(|| name.strip_suffix("_s"))
        .unwrap_or(name)
}

/// One value. What comes from outside cannot move the cursor or break the line.
fn cell(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        Value::Array(list) if list.is_empty() => "-".into(),
        Value::Array(list) => list.iter().map(|v| cell(name, v)).collect::<Vec<_>>().join(" "),
        Value::Null => "-".into(),
        Value::Object(fields) => {
            let parts = fields
                .iter()
                .map(|(name, v)| format!("{} {}", label(name), cell(name, v)));
            parts.collect::<Vec<_>>().join(", ")
        }
        Value::Bool(set) => if *set { "yes" } else { "no" }.into(),
        Value::Number(number) if name.ends_with("_ms") => format!("{number}ms"),
        Value::Number(number) if name.ends_with("_s") => number.as_u64().map_or_else(|| number.to_string(), duration),
        other => other.to_string(),
    }
}

/// Seconds by their two largest units.
fn duration(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, _, _) => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_become_columns_in_the_order_of_their_fields() {
        let rows = json!([{ "name": "b", "up": true }, { "name": "löng\u{1b}", "up": null }]);
        assert_eq!(table("peers", &rows), "NAME   UP\nb      yes\nlöng?  -\n");
        assert_eq!(table("peers", &json!([])), "no peers\n");
        let one = json!({ "why": "", "connections": 3, "targets": ["a", "b"] });
        assert_eq!(table("", &one), "why          -\nconnections  3\ntargets      a b\n");
    }

    #[test]
    fn what_only_some_have_is_a_column_too() {
        let contract = json!({ "messages": 20, "waiting": 3, "stale_ms": 150 });
        let rows = json!([{ "name": "b" }, { "name": "c", "contract": contract }]);
        assert_eq!(
            table("peers", &rows),
            "NAME  CONTRACT\nb     -\nc     messages 20, waiting 3, stale 150ms\n"
        );
    }

    #[test]
    fn seconds_are_told_in_units() {
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3_599, "59m 59s"),
            (3_660, "1h 1m"),
            (90_000, "1d 1h"),
        ] {
            assert_eq!(
                table("", &json!([{ "expires_s": seconds }])),
                format!("EXPIRES\n{shown}\n")
            );
        }
    }

    #[test]
    fn a_reload_says_what_it_has_done() {
        let nothing = json!({ "changes": [], "withdrawn": [], "restart": [] });
        assert_eq!(reloaded(&nothing), "read again; nothing has changed\n");
        let much = json!({ "changes": ["~ peer b", "~ settings store"], "withdrawn": ["trust in peer b ends"], "restart": ["store"] });
        assert_eq!(
            reloaded(&much),
            "~ peer b\n~ settings store\n! trust in peer b ends\n! only after a restart: store\n"
        );
    }
}
