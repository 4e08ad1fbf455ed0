//! The PROXY protocol, version 2 (HAProxy's `proxy-protocol.txt`), as a trusted terminator speaks it before its bytes.
//!
//! Reads one header: addresses of stream connections over IPv4 and IPv6, `LOCAL`, the TLS field with its parts, the
//! checksum, and one field of the operator's choice with the client's certificate. Not read: version 1, datagrams, Unix
//! addresses, and every other field, which is skipped. What must be unique and is not makes the header invalid: two
//! readers of one header shall never believe two different things. Judges nothing.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::policy::ReportedTls;
use crate::policy::terminator::Origin;

/// The longest header that is taken, in bytes. The format could say 65,551; a certificate and its chain need a few thousand.
pub const MAX_HEADER: usize = 32 * 1024;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED: usize = 16;

const TLV_CRC32C: u8 = 0x03;
const TLV_SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;
const CLIENT_CERT_SESS: u8 = 0x04;

/// What is said of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is.
    pub origin: Origin,
    /// The TLS it came under.
    pub tls: Option<ReportedTls>,
}

/// No header that could be believed. The terminator's fault, or that of whoever pretends to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY protocol v2 header: {0}")]
pub struct Broken(pub &'static str);

/// Reads the header at the front of `bytes` and its length; `None` while there is more to come. `certificate` is the type
/// of the field that holds the client's certificate. Says no as soon as it can.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8], certificate: Option<u8>) -> Result<Option<(Header, usize)>, Broken> {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes.get(..seen) != SIGNATURE.get(..seen) {
        return Err(Broken(if b"PROXY ".starts_with(&bytes[..bytes.len().min(6)]) {
            "it is version 1, which cannot tell of TLS; write send-proxy-v2-ssl-cn"
        } else {
            "something else comes first"
        }));
    }
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else {
        return Ok(None);
    };
    let [command, family] = [byte(fixed, 12), byte(fixed, 13)];
    let length = usize::from(short(fixed, 14));
    if FIXED + length > MAX_HEADER {
        return Err(Broken("it is too long"));
    }
    if command >> 4 != 2 {
        return Err(Broken("its version is not 2"));
    }
    let local = match command & 0x0f {
        0 => true,
        1 => false,
        _ => return Err(Broken("its command is neither LOCAL nor PROXY")),
    };
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let end = FIXED + length;
    if local {
        // The format: what else is in it is not to be looked at.
        let origin = Origin::Own;
        return Ok(Some((Header { origin, tls: None }, end)));
    }
    let (origin, fields) = origin(family, body)?;
    let whole = bytes.get(..end).unwrap_or_default();
    let tls = read_fields(fields, whole, end - fields.len(), certificate)?;
    Ok(Some((Header { origin, tls }, end)))
}

/// The sender's address, and what follows the addresses.
fn origin(family: u8, body: &[u8]) -> Result<(Origin, &[u8]), Broken> {
    let short_of = Broken("it is too short for its addresses");
    let (ip, port, fields): (IpAddr, u16, &[u8]) = match family {
        0x00 => return Ok((Origin::Untold, body)),
        0x11 => {
            let (at, fields) = body.split_at_checked(12).ok_or(short_of)?;
            let ip = <[u8; 4]>::try_from(&at[..4]).map_err(|_| short_of)?;
            (Ipv4Addr::from(ip).into(), short(at, 8), fields)
        }
        0x21 => {
            let (at, fields) = body.split_at_checked(36).ok_or(short_of)?;
            let ip = <[u8; 16]>::try_from(&at[..16]).map_err(|_| short_of)?;
            (Ipv6Addr::from(ip).into(), short(at, 32), fields)
        }
        0x12 | 0x22 => return Err(Broken("it is for datagrams")),
        0x31 | 0x32 => return Err(Broken("its addresses are those of Unix sockets")),
        _ => return Err(Broken("its address family is unknown")),
    };
    let ip = ip.to_canonical();
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(Broken("its source is no address of a single host"));
    }
    Ok((Origin::From(SocketAddr::new(ip, port)), fields))
}

/// Reads the fields behind the addresses; `start` is where they begin in `whole`.
fn read_fields(
    fields: &[u8],
    whole: &[u8],
    start: usize,
    certificate: Option<u8>,
) -> Result<Option<ReportedTls>, Broken> {
    let (mut ssl, mut shown, mut sum) = (None, None, None);
    let mut at = start;
    let mut rest = fields;
    while !rest.is_empty() {
        let (kind, value, after) = field(rest)?;
        match kind {
            TLV_CRC32C => once(&mut sum, (at + 3, value), "it has two checksums")?,
            TLV_SSL => once(&mut ssl, value, "it tells of TLS twice")?,
            kind if Some(kind) == certificate => once(&mut shown, value, "it has two certificates")?,
            _ => {}
        }
        at += rest.len() - after.len();
        rest = after;
    }
    if let Some((at, value)) = sum {
        let stated = <[u8; 4]>::try_from(value).map_err(|_| Broken("its checksum is no checksum"))?;
        if crc32c(whole, at) != u32::from_be_bytes(stated) {
            return Err(Broken("its checksum is wrong"));
        }
    }
    let mut tls = ssl.map(read_ssl).transpose()?.flatten();
    if let Some(tls) = &mut tls {
        // An empty one is how a terminator says that there was none.
        tls.certificate = shown.filter(|c| !c.is_empty()).map(Box::from);
    }
    Ok(tls)
}

/// The TLS field; `None` when it says that there was no TLS.
fn read_ssl(value: &[u8]) -> Result<Option<ReportedTls>, Broken> {
    let (head, mut rest) = value
        .split_at_checked(5)
        .ok_or(Broken("it is too short for what it tells of TLS"))?;
    let client = byte(head, 0);
    let (mut version, mut cipher, mut name) = (None, None, None);
    while !rest.is_empty() {
        let (kind, value, after) = field(rest)?;
        match kind {
            SSL_VERSION => once(&mut version, value, "it has two TLS versions")?,
            SSL_CIPHER => once(&mut cipher, value, "it has two ciphers")?,
            SSL_CN => once(&mut name, value, "it has two common names")?,
            _ => {}
        }
        rest = after;
    }
    if client & CLIENT_SSL == 0 {
        return Ok(None);
    }
    let shown = |text: Option<&[u8]>| {
        let text = text.unwrap_or_default();
        text.get(..64).unwrap_or(text).escape_ascii().to_string().into()
    };
    Ok(Some(ReportedTls {
        shown_now: client & CLIENT_CERT_CONN != 0,
        shown_before: client & CLIENT_CERT_SESS != 0,
        verify: u32::from(short(head, 1)) << 16 | u32::from(short(head, 3)),
        version: shown(version),
        cipher: shown(cipher),
        common_name: name.map(Box::from),
        certificate: None,
    }))
}

/// Type, value, and what follows.
fn field(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Broken> {
    let cut = Broken("a field is cut off");
    let (head, rest) = bytes.split_at_checked(3).ok_or(cut)?;
    let (value, rest) = rest.split_at_checked(usize::from(short(head, 1))).ok_or(cut)?;
    Ok((byte(head, 0), value, rest))
}

fn once<T>(place: &mut Option<T>, value: T, twice: &'static str) -> Result<(), Broken> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Broken(twice)),
    }
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([byte(bytes, at), byte(bytes, at + 1)])
}

/// CRC-32C (Castagnoli; RFC 3309 appendix) with the four bytes at `hole` taken for zero.
fn crc32c(bytes: &[u8], hole: usize) -> u32 {
    let mut sum = u32::MAX;
    for (at, byte) in bytes.iter().enumerate() {
        let byte = if (hole..hole + 4).contains(&at) { 0 } else { *byte };
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests;
