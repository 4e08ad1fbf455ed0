//! Requests that no proper client writes, and verdicts on what becomes of them.

use crate::wire::unique;

/// A request as lines, to be bent.
#[derive(Debug, Clone)]
pub struct Raw {
    start: String,
    lines: Vec<Vec<u8>>,
    body: Vec<u8>,
    length: bool,
}

impl Raw {
    /// A proper request of a stranger to `uri`, over `UDP` or `TCP`; nobody has to hear its Via host.
    #[must_use]
    pub fn new(transport: &str, method: &str, uri: &str) -> Self {
        let lines = [
            format!(
                "Via: SIP/2.0/{transport} client.invalid:5999;branch=z9hG4bK{};rport",
                unique()
            ),
            "Max-Forwards: 70".to_string(),
            format!("From: <sip:caller@a.example>;tag={}", unique()),
            format!("To: <{uri}>"),
            format!("Call-ID: {}@raw.invalid", unique()),
            format!("CSeq: 1 {method}"),
            "Contact: <sip:caller@client.invalid:5999>".to_string(),
        ];
        let lines = lines.into_iter().map(String::into_bytes).collect();
        Self {
            start: format!("{method} {uri} SIP/2.0"),
            lines,
            body: Vec::new(),
            length: true,
        }
    }

    /// Another first line.
    #[must_use]
    pub fn start(mut self, start: &str) -> Self {
        self.start = start.into();
        self
    }

    /// Without the header lines of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.length &= !name.eq_ignore_ascii_case("Content-Length");
        self.lines.retain(|l| !is(l, name));
        self
    }

    /// With another value in the place of the first line of this name; appended when there is none.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let line = [name.as_bytes(), b": ", value.as_ref()].concat();
        match self.lines.iter_mut().find(|l| is(l, name)) {
            Some(old) => *old = line,
            None => self.lines.push(line),
        }
        self
    }

    /// With one more header line, as it is.
    #[must_use]
    pub fn line(mut self, line: impl AsRef<[u8]>) -> Self {
        self.lines.push(line.as_ref().to_vec());
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// The bytes; Content-Length is the body's unless a line says something else.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.start.clone().into_bytes();
        out.extend_from_slice(b"\r\n");
        for line in &self.lines {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
        if self.length && !self.lines.iter().any(|l| is(l, "Content-Length") || is(l, "l")) {
            out.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }
}

fn is(line: &[u8], name: &str) -> bool {
    let at = line.iter().position(|b| *b == b':').unwrap_or(0);
    line.get(..at)
        .is_some_and(|n| n.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

/// What has to become of a request.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// A final answer with one of these statuses.
    Status(&'static [u16]),
    /// Any final answer but one that says something was done: a challenge is as good as another refusal.
    Refused,
    /// One of these statuses, or no answer at all, or a closed connection.
    StatusOrDrop(&'static [u16]),
    /// A refusal, no answer, or a closed connection.
    RefusedOrDrop,
    /// Any final answer: it is a valid message, so it must not be called malformed (400) or left without an answer.
    Understood,
    /// Any final answer, 400 included: what matters is that the server lives.
    Answered,
    /// Nothing may come back.
    Silence,
    /// Anything: what matters is that the server lives.
    Survive,
}

/// What did become of it: a status, or 0 for silence, or 1 for a closed connection.
pub const SILENCE: u16 = 0;
/// See [`SILENCE`].
pub const CLOSED: u16 = 1;

impl Verdict {
    /// Whether an outcome is in order.
    #[must_use]
    pub fn allows(self, outcome: u16) -> bool {
        let refused = (300..700).contains(&outcome);
        match self {
            Self::Status(all) => all.contains(&outcome),
            Self::Refused => refused,
            Self::StatusOrDrop(all) => outcome < 100 || all.contains(&outcome),
            Self::RefusedOrDrop => outcome < 100 || refused,
            Self::Understood => outcome >= 200 && outcome != 400,
            Self::Answered => outcome >= 200,
            Self::Silence => outcome < 100,
            Self::Survive => true,
        }
    }

    /// Whether it is worth waiting long for an answer.
    #[must_use]
    pub fn wants_answer(self) -> bool {
        matches!(
            self,
            Self::Status(_) | Self::Refused | Self::Understood | Self::Answered
        )
    }
}
