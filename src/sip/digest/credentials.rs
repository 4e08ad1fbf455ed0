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

/// Longer values are nobody's credentials.
const MAX_VALUE: usize = 4096;
const MAX_FIELD: usize = 1024;

impl Credentials {
    /// Reads credentials. Only Digest with qop=auth is taken: without it a replay cannot be told from a repeat.
    ///
    /// # Errors
    /// 400 naming what is missing or wrong.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let fault = |what| Malformed::header(Name::Authorization, what);
        if value.len() > MAX_VALUE {
            return Err(fault("it is too long"));
        }
        let scheme = value.get(..7).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case(b"Digest ") {
            return Err(fault("its scheme is not Digest"));
        }
        let mut fields = Fields::default();
        for item in Items::new(&value[7..]) {
            fields.take(item);
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
    fn take(&mut self, item: &[u8]) {
        let Some(at) = memchr::memchr(b'=', item) else { return };
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
            _ => return,
        };
        // Text that is not UTF-8 cannot be anybody's name here; losing it means the credentials are refused.
        *slot = String::from_utf8(unquote(item[at + 1..].trim_ascii()).into_owned()).ok();
    }
}
