//! Cutting messages out of a stream (RFC 3261 section 18.3) and keep-alives (RFC 5626 section 3.5.1).
//!
//! The caller owns the buffer; the framer remembers how far it has looked, so bytes that arrive one by one cost O(n).

use memchr::memmem;

use super::field::number;
use super::header::Name;
use super::message::Malformed;

/// What a stream may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Start line and headers, in bytes.
    pub max_header_bytes: usize,
    /// Body, in bytes.
    pub max_body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_header_bytes: 64 * 1024,
            max_body_bytes: 1024 * 1024,
        }
    }
}

/// What stands at the front of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// More bytes are needed.
    Incomplete,
    /// CRLFCRLF of this length: to be answered with CRLF.
    Ping(usize),
    /// CRLF of this length: an answer, or padding.
    Pong(usize),
    /// A message of this length.
    Message(usize),
    /// The stream cannot be followed any further; the header section, if it is complete, has this length.
    Broken {
        /// Bytes that may be parsed to answer; 0 if there is nothing to answer.
        headers: usize,
        /// What is wrong.
        problem: Malformed,
    },
}

/// The framer of one stream.
#[derive(Clone, Debug)]
pub struct Framer {
    limits: Limits,
    /// Bytes at the front that hold no end of the header section.
    scanned: usize,
    /// Length of the message at the front, once its header section is read.
    total: Option<usize>,
}

impl Framer {
    /// A framer at the start of a message.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            scanned: 0,
            total: None,
        }
    }

    /// Looks at the front of `buffer`, which must begin where the last frame ended.
    pub fn next(&mut self, buffer: &[u8]) -> Frame {
        if let Some(total) = self.total {
            return self.complete(buffer, total);
        }
        match buffer {
            [b'\r', b'\n', b'\r', b'\n', ..] => return self.reset(Frame::Ping(4)),
            [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return Frame::Incomplete,
            [b'\r', b'\n', ..] => return self.reset(Frame::Pong(2)),
            [first, ..] if !first.is_ascii_alphabetic() && !b"-.!%*_+`'~".contains(first) => {
                return broken(0, Malformed::message("a message does not begin with a token"));
            }
            _ => {}
        }
        let Some(headers) = self.header_section(buffer) else {
            self.scanned = buffer.len();
            if buffer.len() > self.limits.max_header_bytes {
                return broken(0, Malformed::new(513, None, "the header section is too large"));
            }
            return Frame::Incomplete;
        };
        if headers > self.limits.max_header_bytes {
            return broken(0, Malformed::new(513, None, "the header section is too large"));
        }
        if !buffer[..headers].ends_with(b"\r\n\r\n") {
            return broken(headers, BARE_LF);
        }
        match content_length(&buffer[..headers]) {
            Ok(length) if length > self.limits.max_body_bytes as u64 => broken(
                headers,
                Malformed::new(413, Some(Name::ContentLength), "the body is too large"),
            ),
            Ok(length) => {
                let total = headers + usize::try_from(length).unwrap_or(usize::MAX);
                self.total = Some(total);
                self.complete(buffer, total)
            }
            Err((headers, problem)) => broken(headers, problem),
        }
    }

    /// Length of the header section, if its end is there. One that ends in bare LF has no proper end: it is found all
    /// the same, or the sender would wait for an answer until it is cut off.
    fn header_section(&self, buffer: &[u8]) -> Option<usize> {
        let from = self.scanned.saturating_sub(3);
        let rest = buffer.get(from..).unwrap_or_default();
        let end = memmem::find(rest, b"\n\r\n").map(|at| at + 3);
        // In a section of permitted size `content_length` sees an empty line without CR by itself.
        let end = match end {
            Some(at) if from + at <= self.limits.max_header_bytes && rest[..at].ends_with(b"\r\n\r\n") => end,
            _ => memmem::find(&rest[..end.unwrap_or(rest.len())], b"\n\n").map_or(end, |at| Some(at + 2)),
        };
        end.map(|end| from + end)
    }

    /// True in the middle of a message.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.total.is_some() || self.scanned > 0
    }

    /// Bytes that the message at the front still lacks, as far as is known.
    #[must_use]
    pub fn wanted(&self, have: usize) -> usize {
        self.total.map_or(0, |total| total.saturating_sub(have))
    }

    fn complete(&mut self, buffer: &[u8], total: usize) -> Frame {
        if buffer.len() < total {
            Frame::Incomplete
        } else {
            self.reset(Frame::Message(total))
        }
    }

    fn reset(&mut self, frame: Frame) -> Frame {
        self.scanned = 0;
        self.total = None;
        frame
    }
}

fn broken(headers: usize, problem: Malformed) -> Frame {
    Frame::Broken { headers, problem }
}

const BARE_LF: Malformed = Malformed::message("the header lines end in bare LF");

/// The one Content-Length of a header section. Two that differ would let a second request hide in the body. An error
/// comes with the length of what may be parsed to answer.
fn content_length(headers: &[u8]) -> Result<u64, (usize, Malformed)> {
    // An empty line without CR ends the section whatever stands before it: it may arrive before anything behind it.
    stated_length(headers).map_err(|fault| match memmem::find(headers, b"\n\n") {
        Some(at) => (at + 2, BARE_LF),
        None => fault,
    })
}

fn stated_length(headers: &[u8]) -> Result<u64, (usize, Malformed)> {
    let fault = |what| (headers.len(), Malformed::header(Name::ContentLength, what));
    let mut found = None;
    let mut at = 0;
    while let Some(newline) = memchr::memchr(b'\n', headers.get(at..).unwrap_or_default()) {
        let line = &headers[at..at + newline];
        at += newline + 1;
        if line.is_empty() {
            return Err((at, BARE_LF));
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let name = super::field::trim(&line[..colon]);
        if line.first().is_some_and(u8::is_ascii_whitespace) || Name::from_bytes(name) != Name::ContentLength {
            continue;
        }
        let mut value = super::field::trim(&line[colon + 1..]);
        while matches!(headers.get(at), Some(b' ' | b'\t')) {
            let end = memchr::memchr(b'\n', &headers[at..]).map_or(headers.len(), |n| at + n + 1);
            let more = super::field::trim(&headers[at..end]);
            at = end;
            value = match (value, more) {
                (first, []) => first,
                ([], second) => second,
                // A number in two pieces is none.
                _ => return Err(fault("it is not a number")),
            };
        }
        let length = number(value).ok_or(fault("it is not a number"))?;
        match found {
            Some(before) if before != length => return Err(fault("it stands twice with different values")),
            _ => found = Some(length),
        }
    }
    found.ok_or(fault("it is missing, and a stream needs it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUEST: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nl: 4\r\n\r\nbody";

    fn frames(limits: Limits, chunks: &[&[u8]]) -> Vec<Frame> {
        let (mut framer, mut buffer, mut out) = (Framer::new(limits), Vec::new(), Vec::new());
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            loop {
                let frame = framer.next(&buffer);
                match frame {
                    Frame::Incomplete => break,
                    Frame::Ping(n) | Frame::Pong(n) | Frame::Message(n) => drop(buffer.drain(..n)),
                    Frame::Broken { .. } => {
                        out.push(frame);
                        return out;
                    }
                }
                out.push(frame);
            }
        }
        out
    }

    #[test]
    fn two_in_one_segment_and_pings_between() {
        let all = [REQUEST, b"\r\n\r\n", b"\r\n", REQUEST].concat();
        let n = REQUEST.len();
        let want = vec![Frame::Message(n), Frame::Ping(4), Frame::Pong(2), Frame::Message(n)];
        assert_eq!(frames(Limits::default(), &[&all]), want);
    }

    #[test]
    fn lies_about_the_length_break_the_stream_at_once() {
        let with = |line: &str| format!("OPTIONS sip:a@b SIP/2.0\r\n{line}\r\n\r\n").into_bytes();
        let cases = [
            ("l: -1", 400),
            ("Content-Length: 99999999999999999999", 400),
            ("Content-Length: 2000000000", 413),
            ("Content-Length: 4\r\nContent-Length: 5", 400),
            ("To: x", 400),
            ("Content-Length: 1\r\n 4", 400),
        ];
        for (line, status) in cases {
            match frames(Limits::default(), &[&with(line)]).first() {
                Some(Frame::Broken { problem, .. }) => assert_eq!(problem.status, status, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        for fine in ["l: 0\r\nl: 0", "Content-Length:\r\n 0", "Content-Length            : 0"] {
            let got = frames(Limits::default(), &[&with(fine)]);
            assert!(matches!(got[..], [Frame::Message(_)]), "{fine}: {got:?}");
        }
    }

    #[test]
    fn an_endless_header_section_is_cut_off() {
        let endless = [b"OPTIONS sip:a@b SIP/2.0\r\nX: ".as_slice(), &[b'x'; 70_000]].concat();
        assert!(matches!(
            frames(Limits::default(), &[&endless]).first(),
            Some(Frame::Broken { headers: 0, .. })
        ));
        assert!(matches!(
            frames(Limits::default(), &[b"\x16\x03\x01"]).first(),
            Some(Frame::Broken { .. })
        ));
    }

    #[test]
    fn bare_lf_ends_the_header_section_and_the_stream() {
        let lines = "OPTIONS sip:a@b SIP/2.0\nVia: SIP/2.0/TCP h\nl: 0\n";
        let crlf = lines.replace('\n', "\r\n");
        for (head, rest) in [
            (format!("{lines}\n"), "more"),
            (format!("{lines}\r\n"), ""),
            (format!("{crlf}\n"), ""),
            (format!("{lines}\n"), "X: y\r\n\r\n"),
            (format!("{crlf}\n"), "l: 5\r\n\r\nhello"),
            (
                format!("{crlf}l: 9\r\n\n"),
                "\nOPTIONS sip:a@b SIP/2.0\r\nl: 4\r\n\r\nbody",
            ),
        ] {
            let want = vec![broken(head.len(), BARE_LF)];
            assert_eq!(
                frames(Limits::default(), &[(head.clone() + rest).as_bytes()]),
                want,
                "{head}"
            );
            assert_eq!(
                frames(Limits::default(), &[head.as_bytes(), rest.as_bytes()]),
                want,
                "{head}"
            );
        }
        // A bare LF inside is the parser's to refuse; the message can still be followed.
        let inside = crlf.replace("l: 0", "X: a\nl: 0") + "\r\n";
        assert_eq!(
            frames(Limits::default(), &[inside.as_bytes()]),
            [Frame::Message(inside.len())]
        );
    }

    /// Streams of pieces that matter to a framer.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(REQUEST.to_vec()),
            1 => proptest::sample::select(vec![
                "\r\n\r\n", "\r\n", "\n\n", "\n\r\n", "\r", "\n", "x", "OPTIONS sip:a@b SIP/2.0\r\n", "l: 2\r\n", "Content-Length: 9999\r\n",
                "l:\r\n 3\r\n", "To: x\r\n", "To: x\n", " fold\r\n", "ab",
            ]).prop_map(|text| text.as_bytes().to_vec()),
            1 => (0usize..200).prop_map(|n| vec![b'x'; n]),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing_of_any_stream(all in stream(), cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12)) {
            let limits = Limits { max_header_bytes: 150, max_body_bytes: 100 };
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(all.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(all.len());
            let mut at = 0;
            let chunks: Vec<&[u8]> = cuts.into_iter().map(|cut| &all[std::mem::replace(&mut at, cut)..cut]).collect();
            let whole = frames(limits, &[&all]);
            prop_assert_eq!(frames(limits, &chunks), &whole[..]);
            let single: Vec<&[u8]> = all.chunks(1).collect();
            prop_assert_eq!(frames(limits, &single), whole);
        }

        #[test]
        fn chunking_changes_nothing(cuts in proptest::collection::vec(0usize..200, 0..20)) {
            let all = [REQUEST, b"\r\n\r\n", REQUEST, REQUEST].concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c % all.len()).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut at = 0;
            for cut in cuts {
                chunks.push(&all[at..cut]);
                at = cut;
            }
            chunks.push(&all[at..]);
            prop_assert_eq!(frames(Limits::default(), &chunks), frames(Limits::default(), &[&all]));
        }

        #[test]
        fn noise_never_panics(noise: Vec<u8>) {
            let _ = frames(Limits::default(), &[&noise]);
        }
    }
}
