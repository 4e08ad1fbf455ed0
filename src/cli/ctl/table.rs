//! JSON answers as tables for people.

use serde_json::Value;

/// A list of objects as columns, an object as lines.
pub(super) fn table(value: &Value) -> String {
    match value {
        Value::Array(rows) if rows.is_empty() => "none\n".into(),
        Value::Array(rows) => columns(rows),
        Value::Object(fields) => {
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            fields
                .iter()
                .map(|(name, v)| format!("{name:width$}  {}\n", cell(v)))
                .collect()
        }
        other => format!("{}\n", cell(other)),
    }
}

fn columns(rows: &[Value]) -> String {
    let names: Vec<&String> = rows
        .first()
        .and_then(Value::as_object)
        .map(|o| o.keys().collect())
        .unwrap_or_default();
    let mut lines = vec![names.iter().map(|n| n.to_uppercase()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| {
        names
            .iter()
            .map(|n| cell(row.get(n.as_str()).unwrap_or(&Value::Null)))
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

/// One value. What comes from outside cannot move the cursor or break the line.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        Value::Array(list) if list.is_empty() => "-".into(),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_columns() {
        let rows = serde_json::json!([{ "name": "b", "up": true }, { "name": "löng\u{1b}", "up": null }]);
        assert_eq!(table(&rows), "NAME   UP\nb      true\nlöng?  -\n");
        assert_eq!(table(&serde_json::json!([])), "none\n");
        let one = serde_json::json!({ "why": "", "connections": 3, "targets": ["a", "b"] });
        assert_eq!(table(&one), "connections  3\ntargets      a b\nwhy          -\n");
    }
}
