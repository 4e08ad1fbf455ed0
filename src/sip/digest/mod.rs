//! HTTP Digest for SIP (RFC 3261 section 22, RFC 8760): MD5 and SHA-256, qop=auth, never Basic.

mod credentials;
mod nonce;
mod respond;

pub use credentials::{Credentials, Unusable};
pub use nonce::{Nonces, Verdict};
pub use respond::{Challenge, answer};

use core::fmt::Write as _;

use md5::Digest as _;

/// The hash of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5, which most clients still speak.
    Md5,
    /// SHA-256 (RFC 8760), offered first.
    Sha256,
}

impl Algorithm {
    /// The name in challenges and credentials.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Reads the name in any case; absent means MD5.
    #[must_use]
    pub fn from_name(name: Option<&[u8]>) -> Option<Self> {
        match name {
            None => Some(Self::Md5),
            Some(n) if n.eq_ignore_ascii_case(b"MD5") => Some(Self::Md5),
            Some(n) if n.eq_ignore_ascii_case(b"SHA-256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    fn hex(self, parts: &[&[u8]]) -> String {
        let joined = parts.join(&b":"[..]);
        match self {
            Self::Md5 => hex(&md5::Md5::digest(joined)),
            Self::Sha256 => hex(&sha2::Sha256::digest(joined)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

/// The response value for a password (RFC 7616 section 3.4.1 with qop=auth).
#[must_use]
pub fn response(credentials: &Credentials, username: &str, password: &str, method: &[u8]) -> String {
    let c = credentials;
    let ha1 = c
        .algorithm
        .hex(&[username.as_bytes(), c.realm.as_bytes(), password.as_bytes()]);
    let ha2 = c.algorithm.hex(&[method, c.uri.as_bytes()]);
    c.algorithm.hex(&[
        ha1.as_bytes(),
        c.nonce.as_bytes(),
        c.nc_text.as_bytes(),
        c.cnonce.as_bytes(),
        b"auth",
        ha2.as_bytes(),
    ])
}

/// Whether credentials prove knowledge of a password. Takes the same time whatever differs.
#[must_use]
pub fn proves(credentials: &Credentials, password: &str, method: &[u8]) -> bool {
    let want = response(credentials, &credentials.username, password, method);
    same(want.as_bytes(), credentials.response.to_ascii_lowercase().as_bytes())
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7616 section 3.9.1.
    #[test]
    fn known_answers() -> Result<(), Unusable> {
        for (algorithm, want) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            (
                "SHA-256",
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ] {
            let header = format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
                 cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{want}\""
            );
            let c = Credentials::parse(header.as_bytes())?;
            assert!(proves(&c, "Circle of Life", b"GET"));
            assert!(!proves(&c, "circle of life", b"GET") && !proves(&c, "Circle of Life", b"PUT"));
        }
        Ok(())
    }
}
