//! HTTP digest as a client answers it (RFC 7616: MD5 and SHA-256, qop `auth`).

use std::fmt::Write as _;

use md5::Digest as _;

/// A challenge taken apart.
#[derive(Debug, Clone, Default)]
pub struct Challenge {
    /// The realm.
    pub realm: String,
    /// The nonce.
    pub nonce: String,
    /// `MD5` or `SHA-256`; empty when not said, which means MD5.
    pub algorithm: String,
    /// Whether `qop` offers `auth`.
    pub qop: bool,
    /// Whether the nonce was stale.
    pub stale: bool,
}

impl Challenge {
    /// Reads the value of `WWW-Authenticate` or `Proxy-Authenticate`; `None` when the scheme is another.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let field = |name: &str| field(rest, name);
        Some(Self {
            realm: field("realm"),
            nonce: field("nonce"),
            algorithm: field("algorithm"),
            qop: field("qop").split(',').any(|q| q.trim() == "auth"),
            stale: field("stale").eq_ignore_ascii_case("true"),
        })
    }

    /// The value of `Authorization` or `Proxy-Authorization` that answers it, with nonce count `nc`.
    #[must_use]
    pub fn answer(&self, user: &str, password: &str, method: &str, uri: &str, nc: u32) -> String {
        let hash = |text: String| {
            if self.algorithm.eq_ignore_ascii_case("SHA-256") {
                hex(&sha2::Sha256::digest(text))
            } else {
                hex(&md5::Md5::digest(text))
            }
        };
        let secret = hash(format!("{user}:{}:{password}", self.realm));
        let what = hash(format!("{method}:{uri}"));
        let cnonce = crate::wire::unique();
        let (response, qop) = if self.qop {
            let response = hash(format!("{secret}:{}:{nc:08x}:{cnonce}:auth:{what}", self.nonce));
            (response, format!(", qop=auth, nc={nc:08x}, cnonce=\"{cnonce}\""))
        } else {
            (hash(format!("{secret}:{}:{what}", self.nonce)), String::new())
        };
        let algorithm = if self.algorithm.is_empty() {
            String::new()
        } else {
            format!(", algorithm={}", self.algorithm)
        };
        format!(
            "Digest username=\"{user}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\"{algorithm}{qop}",
            self.realm, self.nonce
        )
    }
}

fn field(text: &str, name: &str) -> String {
    let mut rest = text;
    while let Some((key, tail)) = rest.split_once('=') {
        let key = key.trim().trim_start_matches(',').trim();
        let (value, after) = match tail.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => tail.split_once(',').unwrap_or((tail, "")),
        };
        if key.eq_ignore_ascii_case(name) {
            return value.trim().to_string();
        }
        rest = after;
    }
    String::new()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_challenge_are_read_whatever_their_order() {
        let value = r#"Digest realm="a, b", qop="auth-int, auth", algorithm=SHA-256, nonce="n=1", stale=TRUE"#;
        let challenge = Challenge::parse(value).unwrap_or_default();
        assert_eq!((challenge.realm.as_str(), challenge.nonce.as_str()), ("a, b", "n=1"));
        assert!(challenge.qop && challenge.stale && challenge.algorithm == "SHA-256");
        assert!(Challenge::parse("Basic realm=\"x\"").is_none());
    }

    /// RFC 2617 without qop: the response depends on nothing random.
    #[test]
    fn a_response_without_qop_is_the_hash_of_three_parts() {
        let challenge = Challenge {
            realm: "r".into(),
            nonce: "n".into(),
            ..Challenge::default()
        };
        let answer = challenge.answer("u", "p", "REGISTER", "sip:d", 1);
        let secret = hex(&md5::Md5::digest("u:r:p"));
        let what = hex(&md5::Md5::digest("REGISTER:sip:d"));
        assert!(
            answer.contains(&hex(&md5::Md5::digest(format!("{secret}:n:{what}")))),
            "{answer}"
        );
    }
}
