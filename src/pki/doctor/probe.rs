//! Asks a server what it would speak if we were old: one hand-written ClientHello (RFC 5246 section 7.4.1.2) that offers
//! TLS 1.0 to 1.2 with every common cipher suite. Reads the first answer and hangs up.

use std::io::{Read, Write};
use std::time::Duration;

use super::look::{End, open};

/// What the server answers to an old client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It would speak this version (0x0301 is TLS 1.0) with this suite.
    Hello {
        /// The protocol version.
        version: u16,
        /// The cipher suite.
        suite: u16,
    },
    /// It refuses even so.
    Alert(u8),
    /// Not TLS, or nothing.
    Nothing,
}

/// Sends the old ClientHello.
pub(super) fn probe(address: &str, name: Option<&str>, timeout: Duration) -> Result<Answer, End> {
    let mut stream = open(address, timeout)?;
    let mut random = [0; 32];
    let _ = crate::pki::tls::provider().secure_random.fill(&mut random);
    if stream.write_all(&hello(name, &random)).is_err() {
        return Ok(Answer::Nothing);
    }
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    // A ServerHello says what we want in its first 80 bytes; ten reads bound a server that dribbles.
    for _ in 0..10 {
        match stream.read(&mut piece) {
            Ok(n) if n > 0 => answer.extend(piece.iter().take(n)),
            _ => break,
        }
        if answer.len() >= 128 || matches!(read(&answer), Answer::Hello { .. } | Answer::Alert(_)) {
            break;
        }
    }
    Ok(read(&answer))
}

/// Reads an alert or the start of a ServerHello out of the first record.
fn read(bytes: &[u8]) -> Answer {
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let hello = || {
        // Record header 5, handshake header 4, version 2, random 32, session id.
        let session = usize::from(*bytes.get(43)?);
        Some(Answer::Hello {
            version: word(9)?,
            suite: word(44 + session)?,
        })
    };
    match (bytes.first(), bytes.get(1), bytes.get(5)) {
        (Some(21), Some(3), _) => bytes.get(6).map_or(Answer::Nothing, |alert| Answer::Alert(*alert)),
        (Some(22), Some(3), Some(2)) => hello().unwrap_or(Answer::Nothing),
        _ => Answer::Nothing,
    }
}

const SUITES: [u16; 42] = [
    0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca8, 0xcca9, 0xc009, 0xc00a, 0xc013, 0xc014, 0xc023, 0xc024, 0xc027, 0xc028,
    0x009e, 0x009f, 0x0067, 0x006b, 0x0033, 0x0039, 0x009c, 0x009d, 0x003c, 0x003d, 0x002f, 0x0035, 0x0041, 0x0084,
    0xc008, 0xc012, 0x0016, 0x000a, 0xc007, 0xc011, 0x0005, 0x0004, 0x0032, 0x0038, 0x0013, 0x0040, 0x006a, 0x00ff,
];
const GROUPS: [u16; 4] = [0x001d, 0x0017, 0x0018, 0x0019];
const SIGNATURES: [u16; 12] = [
    0x0401, 0x0501, 0x0601, 0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0201, 0x0203, 0x0202,
];

fn hello(name: Option<&str>, random: &[u8; 32]) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(name) = name.filter(|n| n.len() < 256) {
        let entry = [&[0][..], &sized(name.as_bytes())].concat();
        extension(&mut extensions, 0, &sized(&entry));
    }
    extension(&mut extensions, 10, &sized(&words(&GROUPS)));
    extension(&mut extensions, 11, &[1, 0]);
    extension(&mut extensions, 13, &sized(&words(&SIGNATURES)));
    let mut body = vec![3, 3];
    body.extend(random);
    body.push(0);
    body.extend(sized(&words(&SUITES)));
    body.extend([1, 0]);
    body.extend(sized(&extensions));
    // Client hello is handshake type 1; the length has three bytes, of which the first stays 0 here.
    let handshake = [&[1, 0][..], &sized(&body)].concat();
    [&[22, 3, 1][..], &sized(&handshake)].concat()
}

fn words(list: &[u16]) -> Vec<u8> {
    list.iter().flat_map(|w| w.to_be_bytes()).collect()
}

/// The bytes after their length in 16 bits. All that is built here is far shorter.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn extension(out: &mut Vec<u8>, kind: u16, content: &[u8]) {
    out.extend(kind.to_be_bytes());
    out.extend(sized(content));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hellos_alerts_and_nonsense() {
        let mut hello = vec![22, 3, 1, 0, 49, 2, 0, 0, 45, 3, 1];
        hello.extend([7; 32]);
        hello.extend([2, 9, 9, 0x00, 0x2f, 0]);
        assert_eq!(
            read(&hello),
            Answer::Hello {
                version: 0x0301,
                suite: 0x002f
            }
        );
        for cut in 0..47 {
            assert_eq!(read(&hello[..cut]), Answer::Nothing, "{cut}");
        }
        assert_eq!(read(&[21, 3, 1, 0, 2, 2, 40]), Answer::Alert(40));
        assert_eq!(read(b"SIP/2.0 400 Bad Request\r\n"), Answer::Nothing);
    }

    #[test]
    fn our_own_library_understands_the_hello() {
        let ca = crate::pki::testing::Ca::new("ca");
        let issued = ca.issue(crate::pki::testing::Leaf::domain("b.example"));
        let config = rustls::ServerConfig::builder_with_provider(crate::pki::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(issued.chain.clone(), issued.key_der())
            .unwrap();
        let mut server = rustls::ServerConnection::new(std::sync::Arc::new(config)).unwrap();
        server.read_tls(&mut &hello(Some("b.example"), &[1; 32])[..]).unwrap();
        server.process_new_packets().unwrap();
        let mut answer = Vec::new();
        server.write_tls(&mut answer).unwrap();
        assert!(matches!(read(&answer), Answer::Hello { version: 0x0303, .. }));
    }
}
