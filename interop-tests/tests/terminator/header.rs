//! PROXY protocol headers, written here byte by byte.

use std::net::{IpAddr, SocketAddr};

/// The header of a client at `source` that showed a certificate with this common name, verified.
pub(crate) fn shown(source: SocketAddr, cn: &str) -> Vec<u8> {
    let mut tls = vec![0x07, 0, 0, 0, 0];
    for (kind, value) in [(0x21, "TLSv1"), (0x22, cn), (0x23, "AES128-SHA")] {
        tls.extend(field(kind, value.as_bytes()));
    }
    header(0x21, source, &field(0x20, &tls))
}

/// A health check.
pub(crate) fn local(source: SocketAddr) -> Vec<u8> {
    header(0x20, source, &[])
}

/// One with these fields.
pub(crate) fn header(command: u8, source: SocketAddr, fields: &[u8]) -> Vec<u8> {
    let (family, addresses) = match source.ip() {
        IpAddr::V4(ip) => (0x11, [ip.octets(), ip.octets()].concat()),
        IpAddr::V6(ip) => (0x21, [ip.octets(), ip.octets()].concat()),
    };
    let body = [&addresses[..], &source.port().to_be_bytes(), &[0x13, 0xc5], fields].concat();
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, &body].concat()
}

pub(crate) fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[kind][..], &length, value].concat()
}
