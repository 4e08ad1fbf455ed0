//! `trestle ctl trace`: messages live, as text, JSON or a pcapng file.

use std::io::{BufRead as _, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::admin::pcapng;
use crate::admin::trace::{Filter, Traced};
use crate::cli::exit;

/// Show messages live, also those under TLS, as they were before encryption. Digest responses are masked.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Only messages from or to this peer.
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Only messages that name this user, `user` or `user@domain`, as Request-URI, From, To or Contact.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only requests with this method, and their answers.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// Only messages with this Call-ID.
    #[arg(long, value_name = "ID")]
    call_id: Option<String>,
    /// Stop after so many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop after so many seconds.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Write a pcapng file that Wireshark opens as SIP; `-` is standard output. What went under TLS is in it in clear:
    /// keep it as safe as the keys.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    write: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  trestle ctl trace
  trestle ctl trace --peer b --method SUBSCRIBE --count 10
  trestle ctl trace --user alice@a.example --for 60 --write alice.pcapng
  trestle ctl trace --write - | wireshark -k -i -";

/// Where messages go.
enum Sink {
    Text(Box<dyn Write>),
    Json(Box<dyn Write>),
    Capture(Box<dyn Write>),
}

impl Sink {
    fn open(args: &Args, json: bool) -> std::io::Result<Self> {
        let out = || Box::new(std::io::stdout().lock());
        Ok(match &args.write {
            Some(path) if path.as_os_str() == "-" => Self::Capture(out()),
            Some(path) => Self::Capture(Box::new(private(path)?)),
            None if json => Self::Json(out()),
            None => Self::Text(out()),
        })
    }

    /// What stands before the first message.
    fn begin(&mut self) -> std::io::Result<()> {
        match self {
            Self::Capture(out) => out.write_all(&pcapng::head()).and_then(|()| out.flush()),
            Self::Text(_) | Self::Json(_) => Ok(()),
        }
    }

    fn put(&mut self, line: &str, traced: &Traced) -> std::io::Result<()> {
        let out = match self {
            Self::Text(out) => {
                out.write_all(text(traced).as_bytes())?;
                out
            }
            Self::Json(out) => {
                writeln!(out, "{line}")?;
                out
            }
            Self::Capture(out) => {
                out.write_all(&pcapng::packet(traced))?;
                out
            }
        };
        out.flush()
    }
}

/// A new file that nobody else may read.
fn private(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Shows messages until there is a reason to stop.
pub(super) fn run(args: &Args, mut stream: UnixStream, json: bool) -> std::io::Result<ExitCode> {
    let mut sink = match Sink::open(args, json) {
        Ok(sink) => sink,
        Err(error) => {
            let path = args.write.as_deref().unwrap_or(std::path::Path::new("-"));
            eprintln!("{}: {error}", path.display());
            return Ok(exit::unusable());
        }
    };
    let filter = Filter {
        peer: args.peer.clone(),
        user: args.user.clone(),
        method: args.method.clone(),
        call_id: args.call_id.clone(),
    };
    writeln!(stream, "trace {}", serde_json::to_string(&filter)?)?;
    let end = args.seconds.map(|s| Instant::now() + Duration::from_secs(s));
    let mut lines = Lines {
        reader: BufReader::new(stream),
        line: Vec::new(),
    };
    let first = lines.next(end)?.unwrap_or_default();
    if let Some(error) = serde_json::from_str::<Value>(&first)?.get("error") {
        eprintln!("{}", error.as_str().unwrap_or_default());
        return Ok(ExitCode::FAILURE);
    }
    match follow(args, &mut lines, &mut sink, end) {
        // The reader of the pipe has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

fn follow(args: &Args, lines: &mut Lines, sink: &mut Sink, end: Option<Instant>) -> std::io::Result<()> {
    sink.begin()?;
    eprintln!("tracing; Ctrl-C ends it");
    let (mut shown, mut dropped) = (0, 0);
    while args.count.is_none_or(|count| shown < count) {
        let Some(line) = lines.next(end)? else { break };
        let Ok(traced) = serde_json::from_str::<Traced>(&line) else {
            continue;
        };
        sink.put(&line, &traced)?;
        shown += 1;
        if traced.dropped > 0 {
            dropped += traced.dropped;
            eprintln!("{} messages are missing here: this end was too slow", traced.dropped);
        }
    }
    if dropped > 0 {
        eprintln!("{shown} shown, {dropped} missing: a filter makes it less");
    }
    Ok(())
}

/// Lines of the control socket, up to a point in time.
struct Lines {
    reader: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Lines {
    /// The next line; `None` when the time is up.
    fn next(&mut self, end: Option<Instant>) -> std::io::Result<Option<String>> {
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            self.reader.get_ref().set_read_timeout(left)?;
            match self.reader.read_until(b'\n', &mut self.line) {
                Ok(0) => return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "it has stopped")),
                Ok(_) => {
                    let line = String::from_utf8_lossy(&self.line).into_owned();
                    self.line.clear();
                    return Ok(Some(line.trim_end().to_string()));
                }
                // What has come of a line so far stays for the next look.
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// A message for people. Control characters of strangers do not reach the terminal.
fn text(traced: &Traced) -> String {
    let arrow = if traced.received { "<-" } else { "->" };
    let remote = traced
        .remote
        .map_or_else(|| "a connection that is gone".to_string(), |r| r.to_string());
    let peer = traced.peer.as_ref().map(|p| format!(" ({p})")).unwrap_or_default();
    let seconds = traced.wall_ms / 1000 % 86_400;
    let (h, m, s, ms) = (seconds / 3600, seconds / 60 % 60, seconds % 60, traced.wall_ms % 1000);
    let message: String = traced
        .message
        .replace("\r\n", "\n")
        .chars()
        .map(|c| {
            if c.is_control() && !matches!(c, '\n' | '\t') {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    format!(
        "{h:02}:{m:02}:{s:02}.{ms:03} {arrow} {} {remote}{peer}\n{message}\n",
        traced.transport
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_move_the_cursor() {
        let traced = Traced {
            wall_ms: 3_600_001,
            received: true,
            transport: "tcp".into(),
            local: None,
            remote: None,
            peer: Some("b".into()),
            message: "OPTIONS\r\nX: \u{1b}[2J\u{9b}m\r\n\r\n".into(),
            hex: None,
            dropped: 0,
        };
        let wanted = "01:00:00.001 <- tcp a connection that is gone (b)\nOPTIONS\nX: \u{fffd}[2J\u{fffd}m\n\n\n";
        assert_eq!(text(&traced), wanted);
    }
}
