//! SIP as the test client reads and writes it: plain strings, nothing shared with the crate under test.

use std::sync::atomic::{AtomicU64, Ordering};

/// A token that no other call of this process gets.
#[must_use]
pub fn unique() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    format!("{:x}x{:x}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A message taken apart.
#[derive(Debug, Clone)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Header names as written, and values; folded lines joined.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// All of it, as it came.
    pub raw: Vec<u8>,
}

impl Message {
    /// Takes a complete message apart; `None` when it is none.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let end = find(raw, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(raw.get(..end)?)
            .replace("\r\n ", " ")
            .replace("\r\n\t", " ");
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_string();
        if !start.contains("SIP/2.0") {
            return None;
        }
        let headers = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.trim().to_string(), v.trim().to_string()))
            .collect();
        let mut message = Self {
            start,
            headers,
            body: raw.get(end + 4..)?.to_vec(),
            raw: raw.to_vec(),
        };
        if let Some(length) = message.header("Content-Length").and_then(|v| v.parse().ok()) {
            message.body.truncate(length);
        }
        Some(message)
    }

    /// The first value of a header, by its long name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All lines of a header, by its long name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> + use<'_> {
        let (long, short) = (name.to_string(), compact(name).to_string());
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(&long) || n.eq_ignore_ascii_case(&short))
            .map(|(_, v)| v.as_str())
    }

    /// The status of a response; 0 for a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        let mut words = self.start.split(' ');
        match words.next() {
            Some("SIP/2.0") => words.next().and_then(|s| s.parse().ok()).unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether it is a request of this method.
    #[must_use]
    pub fn is(&self, method: &str) -> bool {
        self.status() == 0 && self.start.split(' ').next() == Some(method)
    }

    /// The branch of the top Via.
    #[must_use]
    pub fn branch(&self) -> &str {
        self.header("Via").map_or("", |v| param(v, "branch"))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// An answer to this request, as a user agent gives it. `extra` is whole header lines.
    #[must_use]
    pub fn answer(&self, status: u16, tag: &str, extra: &str, body: &str) -> Vec<u8> {
        let mut out = format!("SIP/2.0 {status} {}\r\n", if status < 300 { "OK" } else { "No" });
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in self.all(name) {
                let tag = if name == "To" && param(value, "tag").is_empty() {
                    format!(";tag={tag}")
                } else {
                    String::new()
                };
                out += &format!("{name}: {value}{tag}\r\n");
            }
        }
        out += &format!("{extra}Content-Length: {}\r\n\r\n{body}", body.len());
        out.into_bytes()
    }
}

/// A request to be sent. What is `None` is filled in by the agent.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The Request-URI.
    pub uri: String,
    /// Value of From, with its tag.
    pub from: Option<String>,
    /// Value of To.
    pub to: Option<String>,
    /// Call-ID.
    pub call_id: Option<String>,
    /// The number in CSeq.
    pub cseq: u32,
    /// Further header lines.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request outside a dialog.
    #[must_use]
    pub fn new(method: &str, uri: &str) -> Self {
        Self {
            method: method.into(),
            uri: uri.into(),
            cseq: 1,
            ..Self::default()
        }
    }

    /// Adds a header line.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body and its type.
    #[must_use]
    pub fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.headers.push(("Content-Type".into(), kind.into()));
        self.body = body.into();
        self
    }

    /// Sets the value of From.
    #[must_use]
    pub fn from(mut self, from: impl Into<String>) -> Self {
        self.from = Some(from.into());
        self
    }

    /// Sets the value of To.
    #[must_use]
    pub fn to(mut self, to: impl Into<String>) -> Self {
        self.to = Some(to.into());
        self
    }

    /// Writes it. `via` is the whole value of the top Via; From, To and Call-ID are taken as they are.
    #[must_use]
    pub fn write(&self, via: &str) -> Vec<u8> {
        let mut out = format!("{} {} SIP/2.0\r\nVia: {via}\r\n", self.method, self.uri);
        if !self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("Max-Forwards")) {
            out += "Max-Forwards: 70\r\n";
        }
        for (name, value) in [("From", &self.from), ("To", &self.to), ("Call-ID", &self.call_id)] {
            if let Some(value) = value {
                out += &format!("{name}: {value}\r\n");
            }
        }
        out += &format!("CSeq: {} {}\r\n", self.cseq, self.method);
        for (name, value) in &self.headers {
            out += &format!("{name}: {value}\r\n");
        }
        out += &format!("Content-Length: {}\r\n\r\n", self.body.len());
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.body);
        out
    }
}

fn compact(name: &str) -> &str {
    match name {
        "Via" => "v",
        "From" => "f",
        "To" => "t",
        "Call-ID" => "i",
        "Contact" => "m",
        "Event" => "o",
        "Content-Length" => "l",
        "Content-Type" => "c",
        _ => name,
    }
}

/// The URI inside angle brackets, or the value up to its first parameter.
#[must_use]
pub fn uri_of(value: &str) -> &str {
    match value.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        Some((uri, _)) => uri,
        None => value.split(';').next().unwrap_or(value),
    }
}

/// A parameter behind the angle brackets (or the first `;`), unquoted; empty when there is none.
#[must_use]
pub fn param<'a>(value: &'a str, name: &str) -> &'a str {
    let tail = value.rsplit_once('>').map_or(value, |(_, tail)| tail);
    tail.split([';', ','])
        .filter_map(|p| p.split_once('='))
        .find(|(n, _)| n.trim().eq_ignore_ascii_case(name))
        .map_or("", |(_, v)| v.trim().trim_matches('"'))
}

/// Where `needle` begins in `hay`.
#[must_use]
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}

/// Length of the complete message at the front of a stream, if there is one.
#[must_use]
pub fn complete(buffer: &[u8]) -> Option<usize> {
    let head = find(buffer, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(buffer.get(..head)?);
    let length: usize = text
        .lines()
        .filter_map(|l| l.split_once(':'))
        .find(|(n, _)| n.trim().eq_ignore_ascii_case("content-length") || n.trim() == "l")
        .and_then(|(_, v)| v.trim().parse().ok())
        .unwrap_or(0);
    let end = head.checked_add(length)?;
    (buffer.len() >= end).then_some(end)
}
