//! Authorization and Proxy-Authorization values.

use super::Algorithm;
use crate::sip::field::{Items, unquote};
use crate::sip::header::Name;
use crate::sip::message::Malformed;

/// Digest credentials as a client sent them, unquoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The realm it is for.
    pub realm: String,
    /// The nonce it answers.
    pub nonce: String,
    /// The URI the client computed with.
    pub uri: String,
    /// The response, hexadecimal.
    pub response: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// The client's nonce.
    pub cnonce: String,
    /// The nonce count.
    pub nc: u32,
    /// The nonce count as written.
    pub nc_text: String,
}

/// Why a value is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// A parameter stands twice: two readers could take it for two users. The request is malformed.
    Ambiguous(Malformed),
    /// They are as good as none: another scheme, no qop=auth, a field missing or too long.
    NotTaken(Malformed),
}

/// Longer values are nobody's credentials.
const MAX_VALUE: usize = 4096;
const MAX_FIELD: usize = 1024;

impl Credentials {
    /// Reads credentials. Only Digest with qop=auth is taken: without it a replay cannot be told from a repeat.
    ///
    /// # Errors
    /// Names what is missing or wrong, and whether the request can be answered otherwise than with 400.
    pub fn parse(value: &[u8]) -> Result<Self, Unusable> {
        let fault = |what| Unusable::NotTaken(Malformed::header(Name::Authorization, what));
        if value.len() > MAX_VALUE {
            return Err(fault("it is too long"));
        }
        let scheme = value.get(..7).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case(b"Digest ") {
            return Err(fault("its scheme is not Digest"));
        }
        let mut fields = Fields::default();
        for item in Items::new(&value[7..]) {
            fields.take(item)?;
        }
        let algorithm = Algorithm::from_name(fields.algorithm.as_deref().map(str::as_bytes));
        let need = |field: Option<String>, what| field.filter(|f| f.len() <= MAX_FIELD).ok_or(fault(what));
        if !fields.qop.as_deref().is_some_and(|q| q.eq_ignore_ascii_case("auth")) {
            return Err(fault("its qop is not auth"));
        }
        let nc_text = need(fields.nc, "it has no nc")?;
        let nc = u32::from_str_radix(&nc_text, 16).map_err(|_| fault("its nc is not eight hexadecimal digits"))?;
        Ok(Self {
            username: need(fields.username, "it has no username")?,
            realm: need(fields.realm, "it has no realm")?,
            nonce: need(fields.nonce, "it has no nonce")?,
            uri: need(fields.uri, "it has no uri")?,
            response: need(fields.response, "it has no response")?,
            algorithm: algorithm.ok_or(fault("its algorithm is neither MD5 nor SHA-256"))?,
            cnonce: need(fields.cnonce, "it has no cnonce")?,
            nc,
            nc_text,
        })
    }
}

#[derive(Default)]
struct Fields {
    username: Option<String>,
    realm: Option<String>,
    nonce: Option<String>,
    uri: Option<String>,
    response: Option<String>,
    algorithm: Option<String>,
    cnonce: Option<String>,
    nc: Option<String>,
    qop: Option<String>,
}

impl Fields {
    fn take(&mut self, item: &[u8]) -> Result<(), Unusable> {
        let Some(at) = memchr::memchr(b'=', item) else {
            return Ok(());
        };
        let name = item[..at].trim_ascii().to_ascii_lowercase();
        let slot = match name.as_slice() {
            b"username" => &mut self.username,
            b"realm" => &mut self.realm,
            b"nonce" => &mut self.nonce,
            b"uri" => &mut self.uri,
            b"response" => &mut self.response,
            b"algorithm" => &mut self.algorithm,
            b"cnonce" => &mut self.cnonce,
            b"nc" => &mut self.nc,
            b"qop" => &mut self.qop,
            _ => return Ok(()),
        };
        if slot.is_some() {
            let what = "a parameter stands twice";
            return Err(Unusable::Ambiguous(Malformed::header(Name::Authorization, what)));
        }
        let text = String::from_utf8(unquote(item[at + 1..].trim_ascii()).into_owned());
        let fault = Malformed::header(Name::Authorization, "it holds text that is not UTF-8");
        *slot = Some(text.map_err(|_| Unusable::NotTaken(fault))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"0\", algorithm=MD5, \
                        cnonce=\"c\", nc=00000001, qop=auth, opaque=\"o\"";

    #[test]
    fn a_parameter_that_stands_twice_is_nobodys() {
        assert!(Credentials::parse(GOOD.as_bytes()).is_ok());
        for again in [
            "username=\"a\"",
            "USERNAME = \"b\"",
            "realm=\"r\"",
            "nonce=\"m\"",
            "uri=\"sip:y\"",
            "response=\"1\"",
            "algorithm=MD5",
            "cnonce=\"d\"",
            "nc=00000002",
            "qop=auth",
            "username=\"\u{fc}\"",
        ] {
            for text in [
                format!("{GOOD}, {again}"),
                GOOD.replace("Digest ", &format!("Digest {again}, ")),
            ] {
                let got = Credentials::parse(text.as_bytes());
                assert!(
                    matches!(got, Err(Unusable::Ambiguous(m)) if m.status == 400),
                    "{text}: {got:?}"
                );
            }
        }
        // Also where the second is no text at all.
        let bytes = [GOOD.as_bytes(), b", username=\"\xff\""].concat();
        assert!(matches!(Credentials::parse(&bytes), Err(Unusable::Ambiguous(_))));
        // What nobody reads may stand as often as it likes; inside quotes nothing stands twice.
        let fine = format!("{GOOD}, opaque=\"p\", x=1, x=2").replace("cnonce=\"c\"", "cnonce=\"c, nonce=n\"");
        assert!(Credentials::parse(fine.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_not_taken_is_told_from_what_is_ambiguous() {
        for bad in [
            "Basic YTpi",
            "Digest ",
            "Digest username=\"a\"",
            &GOOD.replace("qop=auth", "qop=auth-int"),
            &GOOD.replace("00000001", "x"),
            &GOOD.replace("MD5", "SHA-512"),
            &GOOD.replace("username=\"a\"", &format!("username=\"{}\"", "a".repeat(1025))),
        ] {
            assert!(
                matches!(Credentials::parse(bad.as_bytes()), Err(Unusable::NotTaken(_))),
                "{bad}"
            );
        }
        let bytes = [&GOOD.as_bytes()[..17], b"\xff", &GOOD.as_bytes()[18..]].concat();
        assert!(
            matches!(Credentials::parse(&bytes), Err(Unusable::NotTaken(_))),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
}
