//! The JSON Schema of `bridge.yaml`, for editors. Made from the written types, so it cannot disagree with them.

use super::written::Main;

/// The schema as pretty JSON with a line end.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(Main);
    let mut text = serde_json::to_string_pretty(schema.as_value()).unwrap_or_default();
    text.push('\n');
    text
}
