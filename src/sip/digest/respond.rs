//! The client side: reading a challenge and answering it.

use super::{Algorithm, Credentials, response};
use crate::sip::field::{Items, unquote};
use crate::sip::random::Random;

/// One challenge of a WWW-Authenticate or Proxy-Authenticate header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Whom the password is for.
    pub realm: String,
    /// The nonce to answer.
    pub nonce: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// Handed back as it came.
    pub opaque: Option<String>,
    /// The last answer failed only for the age of its nonce.
    pub stale: bool,
}

impl Challenge {
    /// Reads a challenge; `None` when it is not Digest with qop=auth and a known hash.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let scheme = value.get(..7)?;
        if !scheme.eq_ignore_ascii_case(b"Digest ") {
            return None;
        }
        let get = |name: &str| {
            Items::new(&value[7..]).find_map(|item| {
                let at = memchr::memchr(b'=', item)?;
                let found = item[..at].trim_ascii().eq_ignore_ascii_case(name.as_bytes());
                found.then(|| String::from_utf8_lossy(&unquote(item[at + 1..].trim_ascii())).into_owned())
            })
        };
        if !get("qop")?.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth")) {
            return None;
        }
        Some(Self {
            realm: get("realm")?,
            nonce: get("nonce")?,
            algorithm: Algorithm::from_name(get("algorithm").as_deref().map(str::as_bytes))?,
            opaque: get("opaque"),
            stale: get("stale").is_some_and(|s| s.eq_ignore_ascii_case("true")),
        })
    }
}

/// The credentials that answer a challenge for the `nc`-th time.
pub fn answer(
    challenge: &Challenge,
    username: &str,
    password: &str,
    method: &[u8],
    uri: &str,
    nc: u32,
    random: &mut Random,
) -> String {
    let cnonce = String::from_utf8_lossy(&random.token::<16>()).into_owned();
    let mut credentials = Credentials {
        username: username.into(),
        realm: challenge.realm.clone(),
        nonce: challenge.nonce.clone(),
        uri: uri.into(),
        response: String::new(),
        algorithm: challenge.algorithm,
        cnonce,
        nc,
        nc_text: format!("{nc:08x}"),
    };
    credentials.response = response(&credentials, username, password, method);
    let c = &credentials;
    let opaque = challenge
        .opaque
        .as_ref()
        .map(|o| format!(", opaque=\"{o}\""))
        .unwrap_or_default();
    format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{}\", algorithm={}, cnonce=\"{}\", nc={}, qop=auth{opaque}",
        quoted(&c.username),
        quoted(&c.realm),
        c.nonce,
        c.uri,
        c.response,
        c.algorithm.name(),
        c.cnonce,
        c.nc_text
    )
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
