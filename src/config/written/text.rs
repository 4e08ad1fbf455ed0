//! Scalars with a form of their own.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// A time such as `200ms`, `5s`, `30m`, `1h`, `1d`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Time(pub String);

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "description": "A time: 200ms, 5s, 30m, 1h, 1d" })
    }
}

/// A number of bytes such as `4096`, `64KiB`, `1MiB`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Count(pub String);

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+(KiB|MiB)?$",
            "minimum": 1,
            "description": "A number of bytes: 4096, 64KiB, 1MiB"
        })
    }
}
