//! TLS records written by hand, for what no TLS library would send: old versions, weak suites, broken extensions.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::Outcome;

/// A ClientHello to be bent.
#[derive(Debug, Clone)]
pub struct Hello {
    /// Version of the record.
    pub record: u16,
    /// `client_version` (at most 0x0303; later ones are offered by an extension).
    pub version: u16,
    /// Cipher suites.
    pub suites: Vec<u16>,
    /// Extensions: type and content.
    pub extensions: Vec<(u16, Vec<u8>)>,
}

/// What a server answered first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A ServerHello: version (that of `supported_versions` where there is one), suite, extension types.
    Hello {
        /// The protocol version.
        version: u16,
        /// The cipher suite.
        suite: u16,
        /// The types of its extensions.
        extensions: Vec<u16>,
    },
    /// A fatal alert of this description.
    Alert(u8),
    /// It closed the connection without a word.
    Closed,
    /// Nothing in time.
    Silence,
    /// Bytes that are no TLS.
    Other(Vec<u8>),
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn words(list: &[u16]) -> Vec<u8> {
    list.iter().flat_map(|w| w.to_be_bytes()).collect()
}

/// The suites of TLS 1.2 that the bridge has (a few of them).
pub const GOOD_12: [u16; 4] = [0xc02b, 0xc02f, 0xcca9, 0xcca8];

impl Hello {
    /// A proper hello of TLS 1.2 with these suites, for the groups and signatures that are in common use.
    #[must_use]
    pub fn v12(suites: &[u16]) -> Self {
        Self {
            record: 0x0301,
            version: 0x0303,
            suites: suites.to_vec(),
            extensions: vec![
                (10, sized(&words(&[0x001d, 0x0017]))),
                (11, vec![1, 0]),
                (13, sized(&words(&[0x0403, 0x0804, 0x0401]))),
            ],
        }
    }

    /// A proper hello of TLS 1.3 with a key share of X25519 that nobody has the key of.
    #[must_use]
    pub fn v13() -> Self {
        let share = [&words(&[0x001d, 32])[..], &[9; 32]].concat();
        Self::v12(&[0x1301, 0x1302, 0x1303])
            .with(43, &[2, 3, 4])
            .with(51, &sized(&share))
    }

    /// An old one: no extensions, suites of its time.
    #[must_use]
    pub fn old(version: u16) -> Self {
        Self {
            record: version,
            version,
            suites: vec![0xc009, 0xc013, 0x0035, 0x002f, 0x000a, 0x0005, 0x0004],
            extensions: Vec::new(),
        }
    }

    /// With one more extension.
    #[must_use]
    pub fn with(mut self, kind: u16, content: &[u8]) -> Self {
        self.extensions.push((kind, content.to_vec()));
        self
    }

    /// With a server_name extension that holds these names, as they are.
    #[must_use]
    pub fn with_names(self, names: &[&[u8]]) -> Self {
        let list: Vec<u8> = names.iter().flat_map(|n| [&[0][..], &sized(n)].concat()).collect();
        self.with(0, &sized(&list))
    }

    /// The record.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([5; 32]);
        body.push(0);
        body.extend(sized(&words(&self.suites)));
        body.extend([1, 0]);
        if !self.extensions.is_empty() {
            let all: Vec<u8> = self
                .extensions
                .iter()
                .flat_map(|(kind, content)| [&kind.to_be_bytes()[..], &sized(content)].concat())
                .collect();
            body.extend(sized(&all));
        }
        let handshake = [&[1, 0][..], &sized(&body)].concat();
        [&[22][..], &self.record.to_be_bytes(), &sized(&handshake)].concat()
    }
}

/// An SSL 2.0 CLIENT-HELLO that offers SSL 3.0, as old libraries sent it.
#[must_use]
pub fn ssl2() -> Vec<u8> {
    let mut body = vec![1, 3, 0, 0, 9, 0, 0, 0, 16];
    body.extend([0x01, 0x00, 0x80, 0x00, 0x00, 0x05, 0x00, 0x00, 0x0a]);
    body.extend([3; 16]);
    [&[0x80, u8::try_from(body.len()).unwrap_or(0)][..], &body].concat()
}

/// Sends bytes on a connection of their own and reads the first answer.
///
/// # Errors
/// When there is no connection.
pub fn ask(server: SocketAddr, bytes: &[u8], within: Duration) -> Outcome<Answer> {
    let mut stream = TcpStream::connect(server)?;
    if stream.write_all(bytes).is_err() {
        return Ok(Answer::Closed);
    }
    Ok(listen(&mut stream, within))
}

/// Reads the first answer on a connection.
pub fn listen(stream: &mut TcpStream, within: Duration) -> Answer {
    let end = Instant::now() + within;
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(answer) = read(&all) {
            return answer;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Answer::Silence;
        }
        let _ = stream.set_read_timeout(Some(left));
        match stream.read(&mut chunk) {
            Ok(0) => return Answer::Closed,
            Ok(n) => all.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(_) => return Answer::Closed,
        }
    }
}

/// The first record, once it is whole.
fn read(bytes: &[u8]) -> Option<Answer> {
    let head = bytes.get(..5)?;
    if !matches!(head, [20..=23, 3, ..]) {
        return Some(Answer::Other(bytes.to_vec()));
    }
    let length = usize::from(u16::from_be_bytes([*head.get(3)?, *head.get(4)?]));
    let body = bytes.get(5..5 + length)?;
    match (head.first()?, body) {
        (21, [_, description, ..]) => Some(Answer::Alert(*description)),
        (22, [2, rest @ ..]) => server_hello(rest).or_else(|| Some(Answer::Other(bytes.to_vec()))),
        _ => Some(Answer::Other(bytes.to_vec())),
    }
}

fn server_hello(rest: &[u8]) -> Option<Answer> {
    let word = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    // Length 3, version 2, random 32, session id.
    let after = 38 + usize::from(*rest.get(37)?);
    let (mut version, suite, mut extensions) = (word(3)?, word(after)?, Vec::new());
    let mut at = after + 5;
    while let (Some(kind), Some(length)) = (word(at), word(at + 2)) {
        if kind == 43 {
            version = word(at + 4)?;
        }
        extensions.push(kind);
        at += 4 + usize::from(length);
    }
    Some(Answer::Hello {
        version,
        suite,
        extensions,
    })
}
