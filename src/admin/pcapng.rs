//! Messages as a pcapng file that Wireshark opens as SIP without any settings (draft-ietf-opsawg-pcapng).
//!
//! Each message is one packet of the link type "Wireshark upper PDU": tags name the dissector and both addresses, so that
//! what went under TLS is as readable as the rest. One interface stands for each transport, named after it. There are no
//! checksums, sequence numbers or retransmissions below SIP: those were never seen.

use core::net::{IpAddr, SocketAddr};

use super::trace::Traced;

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// `LINKTYPE_WIRESHARK_UPPER_PDU`.
const UPPER_PDU: u16 = 252;
/// Interfaces, in the order of their blocks.
const TRANSPORTS: [&str; 3] = ["udp", "tcp", "tls"];

/// Tags of exported PDUs (wireshark `epan/exported_pdu.h`).
mod tag {
    pub(super) const DISSECTOR: u16 = 12;
    pub(super) const V4: [u16; 2] = [20, 21];
    pub(super) const V6: [u16; 2] = [22, 23];
    pub(super) const PORT_KIND: u16 = 24;
    pub(super) const PORTS: [u16; 2] = [25, 26];
}

/// The head of a file: the section and its interfaces. Times are in milliseconds.
#[must_use]
pub fn head() -> Vec<u8> {
    let mut section = Vec::new();
    section.extend_from_slice(&0x1A2B_3C4D_u32.to_le_bytes());
    section.extend_from_slice(&1_u16.to_le_bytes());
    section.extend_from_slice(&0_u16.to_le_bytes());
    section.extend_from_slice(&u64::MAX.to_le_bytes());
    option(
        &mut section,
        4,
        concat!("trestle ", env!("CARGO_PKG_VERSION")).as_bytes(),
    );
    option(&mut section, 0, b"");
    let mut out = Vec::new();
    block(&mut out, SECTION, &section);
    for name in TRANSPORTS {
        let mut interface = Vec::new();
        interface.extend_from_slice(&UPPER_PDU.to_le_bytes());
        interface.extend_from_slice(&[0; 2]);
        interface.extend_from_slice(&0_u32.to_le_bytes());
        option(&mut interface, 2, name.as_bytes());
        option(&mut interface, 9, &[3]);
        option(&mut interface, 0, b"");
        block(&mut out, INTERFACE, &interface);
    }
    out
}

/// One message.
#[must_use]
pub fn packet(traced: &Traced) -> Vec<u8> {
    let data = data(traced);
    let at = TRANSPORTS.iter().position(|t| *t == traced.transport).unwrap_or(0);
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes();
    let [_, _, _, _, rest @ ..] = traced.wall_ms.to_be_bytes();
    let (high, low) = (traced.wall_ms >> 32, u32::from_be_bytes(rest));
    let mut body = Vec::with_capacity(data.len() + 128);
    body.extend_from_slice(&u32::try_from(at).unwrap_or(0).to_le_bytes());
    body.extend_from_slice(&u32::try_from(high).unwrap_or(0).to_le_bytes());
    body.extend_from_slice(&low.to_le_bytes());
    body.extend_from_slice(&length);
    body.extend_from_slice(&length);
    body.extend_from_slice(&data);
    pad(&mut body, data.len());
    option(&mut body, 1, comment(traced).as_bytes());
    // epb_flags: 1 inbound, 2 outbound.
    let direction: u32 = if traced.received { 1 } else { 2 };
    option(&mut body, 2, &direction.to_le_bytes());
    if traced.dropped > 0 {
        option(&mut body, 4, &traced.dropped.to_le_bytes());
    }
    option(&mut body, 0, b"");
    let mut out = Vec::new();
    block(&mut out, PACKET, &body);
    out
}

fn comment(traced: &Traced) -> String {
    let (way, over) = (
        if traced.received { "from" } else { "to" },
        traced.transport.to_uppercase(),
    );
    match &traced.peer {
        Some(peer) => format!("{way} peer {peer} over {over}"),
        None => format!("{way} a client over {over}"),
    }
}

/// The tags and the message.
fn data(traced: &Traced) -> Vec<u8> {
    let mut out = Vec::new();
    tag(&mut out, tag::DISSECTOR, b"sip");
    let none = |like: Option<SocketAddr>| match like {
        Some(SocketAddr::V6(_)) => SocketAddr::from(([0_u16; 8], 0)),
        _ => SocketAddr::from(([0, 0, 0, 0], 0)),
    };
    let local = traced.local.unwrap_or_else(|| none(traced.remote));
    let remote = traced.remote.unwrap_or_else(|| none(traced.local));
    let ends = if traced.received {
        [remote, local]
    } else {
        [local, remote]
    };
    for (side, end) in ends.into_iter().enumerate() {
        match end.ip().to_canonical() {
            IpAddr::V4(ip) => tag(&mut out, tag::V4.get(side).copied().unwrap_or(0), &ip.octets()),
            IpAddr::V6(ip) => tag(&mut out, tag::V6.get(side).copied().unwrap_or(0), &ip.octets()),
        }
    }
    let kind: u32 = if traced.transport == "udp" { 3 } else { 2 };
    tag(&mut out, tag::PORT_KIND, &kind.to_be_bytes());
    for (side, end) in ends.into_iter().enumerate() {
        let number = tag::PORTS.get(side).copied().unwrap_or(0);
        tag(&mut out, number, &u32::from(end.port()).to_be_bytes());
    }
    tag(&mut out, 0, b"");
    out.extend_from_slice(&traced.bytes());
    out
}

/// A tag of an exported PDU: big-endian, its value padded to four bytes, padding counted.
fn tag(out: &mut Vec<u8>, number: u16, value: &[u8]) {
    let length = value.len().next_multiple_of(4);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

/// An option of a block: padded, padding not counted.
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..value.len().min(usize::from(u16::MAX))).unwrap_or_default();
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

fn pad(out: &mut Vec<u8>, length: usize) {
    out.resize(out.len() + length.next_multiple_of(4) - length, 0);
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&length);
    out.extend_from_slice(body);
    out.extend_from_slice(&length);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(message: &str) -> Traced {
        Traced {
            wall_ms: 0x0123_4567_89AB,
            received: false,
            transport: "tls".into(),
            local: None,
            remote: Some(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 5061))),
            peer: Some("b".into()),
            message: message.into(),
            hex: None,
            dropped: 4,
        }
    }

    #[test]
    fn every_block_is_a_multiple_of_four_and_says_its_length_twice() {
        for size in 0..9 {
            let mut file = head();
            file.extend(packet(&traced(&"x".repeat(size))));
            let (mut at, mut kinds) = (0, Vec::new());
            while at < file.len() {
                let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
                let length = usize::try_from(word(at + 4)).expect("a length");
                assert!(length.is_multiple_of(4) && word(at + length - 4) == word(at + 4));
                kinds.push(word(at));
                at += length;
            }
            assert_eq!(kinds, [SECTION, INTERFACE, INTERFACE, INTERFACE, PACKET]);
            assert_eq!(at, file.len());
        }
    }

    #[test]
    fn the_packet_names_the_peer_and_its_own_time() {
        let bytes = packet(&traced("MESSAGE"));
        let has = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
        assert!(has(b"to peer b over TLS") && has(b"MESSAGE"));
        assert_eq!(bytes[12..20], [0x23, 0x01, 0, 0, 0xAB, 0x89, 0x67, 0x45]);
    }
}
