//! Values that are one of several things. Variants are told apart by their key, or by a word in place of a mapping.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::peers::{Contract, Probe};
use crate::config::at::At;

/// Where a password is.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Password {
    /// In this environment variable.
    Env(At<String>),
    /// In this file, relative to the file that says so; the last line end does not count.
    File(At<String>),
    /// Here. `check` warns.
    Plain(At<String>),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "Env({})", name.value),
            Self::File(path) => write!(f, "File({})", path.value),
            Self::Plain(_) => f.write_str("Plain(***)"),
        }
    }
}

/// What a route is for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// Exactly this domain.
    Domain(At<String>),
    /// Every domain that ends so; starts with a dot.
    Suffix(At<String>),
    /// Every number that starts so.
    Digits(At<String>),
}

/// One entry of an access list.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AclEntry {
    /// Lets in.
    Allow(At<AclSubject>),
    /// Keeps out, whatever else lets in.
    Deny(At<AclSubject>),
}

/// Whom an entry is about: an address, a network, `all`, `{host: ...}` or `{name: ...}`.
#[derive(Clone, Debug)]
pub enum AclSubject {
    /// An address, a network or the word `all`.
    Word(String),
    /// The present addresses of a host name.
    Host(At<String>),
    /// A name in the verified certificate.
    Name(At<String>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum NamedSubject {
    /// The present addresses of this host name; looked up forward, never in reverse.
    Host(At<String>),
    /// This name in the verified certificate.
    Name(At<String>),
}

/// Probing, or `off`.
#[derive(Clone, Debug)]
pub enum ProbeChoice {
    /// No probes.
    Off,
    /// With these settings.
    On(Probe),
}

/// A rate contract, or the name of one.
#[derive(Clone, Debug)]
pub enum ContractChoice {
    /// A preset.
    Named(String),
    /// These figures.
    Is(Contract),
}

/// The HTTP address, or `off`.
#[derive(Clone, Debug)]
pub enum Http {
    /// None.
    Off,
    /// This address and port.
    Address(String),
}

/// Reads a word or a mapping without buffering, so that places survive.
struct WordOr<T, M> {
    expecting: &'static str,
    word: fn(&str) -> Option<T>,
    map: fn(M) -> T,
    of: PhantomData<M>,
}

impl<'de, T, M: Deserialize<'de>> Visitor<'de> for WordOr<T, M> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<T, E> {
        (self.word)(word).ok_or_else(|| E::invalid_value(de::Unexpected::Str(word), &self.expecting))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(self.map)
    }
}

impl<'de> Deserialize<'de> for AclSubject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOr {
            expecting: "an address, a network, `all`, `{host: NAME}` or `{name: NAME}`",
            word: |word| Some(Self::Word(word.to_owned())),
            map: |named| match named {
                NamedSubject::Host(name) => Self::Host(name),
                NamedSubject::Name(name) => Self::Name(name),
            },
            of: PhantomData,
        })
    }
}

impl<'de> Deserialize<'de> for ProbeChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOr {
            expecting: "`off` or `{interval: 30s, timeout: 5s, down_after: 2}`",
            word: |word| (word == "off").then_some(Self::Off),
            map: Self::On,
            of: PhantomData,
        })
    }
}

impl<'de> Deserialize<'de> for ContractChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOr {
            expecting: "the name of a contract, or `{messages: 20/s, watched: 1000}`",
            word: |word| Some(Self::Named(word.to_owned())),
            map: Self::Is,
            of: PhantomData,
        })
    }
}

impl JsonSchema for ContractChoice {
    fn schema_name() -> Cow<'static, str> {
        "ContractOrPreset".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let is = generator.subschema_for::<Contract>();
        json_schema!({ "anyOf": [{ "type": "string", "description": "The name of a preset" }, is] })
    }
}

impl<'de> Deserialize<'de> for Http {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(if word == "off" { Self::Off } else { Self::Address(word) })
    }
}

impl JsonSchema for AclSubject {
    fn schema_name() -> Cow<'static, str> {
        "AclSubject".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let named = NamedSubject::json_schema(generator);
        json_schema!({ "anyOf": [{ "type": "string", "description": "An address, a network, or `all`" }, named] })
    }
}

impl JsonSchema for ProbeChoice {
    fn schema_name() -> Cow<'static, str> {
        "ProbeOrOff".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let on = generator.subschema_for::<Probe>();
        json_schema!({ "anyOf": [{ "const": "off" }, on] })
    }
}

impl JsonSchema for Http {
    fn schema_name() -> Cow<'static, str> {
        "HttpOrOff".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "`off` or an address and port such as 127.0.0.1:9090" })
    }
}
