//! Every key of the configuration with what it means, for reading. Made from the schema, so from the written types.

use std::collections::BTreeSet;

use serde_json::Value;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it stands: `peers[].probe.interval`.
    pub path: String,
    /// What it means, with its default.
    pub meaning: String,
}

/// All keys, in the order in which they are declared.
#[must_use]
pub fn keys() -> Vec<Key> {
    keys_of::<super::written::Main>()
}

/// All keys of what is written so.
#[must_use]
pub fn keys_of<T: schemars::JsonSchema>() -> Vec<Key> {
    let schema = schemars::schema_for!(T);
    let mut walk = Walk {
        root: schema.as_value(),
        seen: BTreeSet::new(),
        keys: Vec::new(),
    };
    walk.of(schema.as_value(), "");
    walk.keys
}

struct Walk<'a> {
    root: &'a Value,
    seen: BTreeSet<String>,
    keys: Vec<Key>,
}

impl<'a> Walk<'a> {
    /// The keys below a schema that stands at `path`.
    fn of(&mut self, schema: &'a Value, path: &str) {
        let root = self.root;
        let named = schema["$ref"].as_str().and_then(|r| root.pointer(r.strip_prefix('#')?));
        if let Some(target) = named {
            self.of(target, path);
        }
        for choice in ["anyOf", "oneOf"] {
            for one in schema[choice].as_array().into_iter().flatten() {
                self.of(one, path);
            }
        }
        if schema["items"].is_object() {
            self.of(&schema["items"], &format!("{path}[]"));
        }
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{name}");
            if self.seen.insert(path.clone()) {
                // A key that tells variants apart is described by its variant.
                let meaning = below["description"].as_str().or(schema["description"].as_str());
                let meaning = meaning.unwrap_or_default().replace('\n', " ");
                self.keys.push(Key {
                    path: path.clone(),
                    meaning,
                });
            }
            self.of(below, &path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value, path: &str, out: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, below) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    let path = format!("{path}{dot}{name}");
                    out.insert(path.clone());
                    written(below, &path, out);
                }
            }
            Value::Array(items) => items.iter().for_each(|v| written(v, &format!("{path}[]"), out)),
            _ => {}
        }
    }

    #[test]
    fn they_are_those_of_the_full_example_and_each_is_explained() {
        let full: Value = serde_yaml::from_str(include_str!("full.yaml")).expect("full.yaml parses");
        let mut used = BTreeSet::new();
        written(&full, "", &mut used);
        let keys = keys();
        let known: BTreeSet<String> = keys.iter().map(|k| k.path.clone()).collect();
        let unknown: Vec<&String> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "not in the schema: {unknown:?}");
        // Further ways to write what stands there in another.
        let other = |k: &String| k.ends_with(".plain") || k.starts_with("acl.incoming[].deny.");
        let left_out: Vec<&String> = known.difference(&used).filter(|k| !other(k)).collect();
        assert!(left_out.is_empty(), "not in full.yaml: {left_out:?}");
        for key in keys {
            assert!(key.meaning.len() > 3 && key.meaning.ends_with('.'), "{key:?}");
        }
    }
}
