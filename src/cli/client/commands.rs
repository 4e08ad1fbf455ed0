//! The three commands.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rsip::prelude::*;

use super::session::{Ask, Session};
use super::typed::{Answer, Remote};
use super::{Problem, Who, address};
use crate::cli::exit;
use crate::presence::{Basic, Document, PIDF};
use crate::sip::header::Name;
use crate::sip::message::{Framing, Index, parse};
use crate::sip::uri::Aor;

/// Send an instant message.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  TRESTLE_PASSWORD=alice-dev trestle message bob@a.example 'lunch?' --from alice@a.example
  trestle message bob@a.example hello --from erin@b.example --transport tls --server 127.0.0.1:5062 \\
      --cert b.pem --ca certs/ca.pem --server-name a.example

Exit codes: 0 answered 2xx, 1 refused, 2 could not run, 3 nobody answers.")]
pub struct MessageArgs {
    /// Whom to, user@domain.
    pub to: String,
    /// What to say.
    pub text: String,
    /// Print the answer as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    who: Who,
}

/// Publish a presence state.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  TRESTLE_PASSWORD=bob-dev trestle publish open --note 'at my desk' --from bob@a.example
  trestle publish closed --from bob@a.example --transport tcp --json

Exit codes: 0 answered 2xx, 1 refused, 2 could not run, 3 nobody answers.")]
pub struct PublishArgs {
    /// open or closed.
    #[arg(value_parser = ["open", "closed"])]
    pub basic: String,
    /// A note for watchers.
    #[arg(long, default_value = "")]
    pub note: String,
    /// Seconds it lasts.
    #[arg(long, default_value_t = 3600)]
    pub expires: u32,
    /// Print the answer as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    who: Who,
}

/// Watch somebody's presence, one line a change.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  TRESTLE_PASSWORD=alice-dev trestle watch bob@a.example --from alice@a.example
  trestle watch bob@a.example --json --count 1 | jq -r .basic

Exit codes: 0 it was watched, 1 refused, 2 could not run, 3 nobody answers.")]
pub struct WatchArgs {
    /// Whom, user@domain.
    pub presentity: String,
    /// Stop after so many seconds.
    #[arg(long, default_value_t = 3600)]
    pub seconds: u32,
    /// Stop after so many states.
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    who: Who,
}

/// 0 when it was answered 2xx, 1 when refused, 2 when it could not run, 3 when nobody answers.
fn conclude(outcome: Result<bool, Problem>) -> ExitCode {
    let (text, code) = match outcome {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => return ExitCode::FAILURE,
        Err(Problem::Unusable(text)) => (text, exit::unusable()),
        Err(Problem::Unreachable(text)) => (text, exit::unreachable()),
        Err(Problem::Refused(text)) => (text, ExitCode::FAILURE),
    };
    eprintln!("trestle: {text}");
    code
}

/// Prints an answer; true when it is 2xx.
fn report(answer: &Answer, json: bool) -> bool {
    if json {
        let line = serde_json::json!({
            "status": answer.status, "reason": answer.reason, "detail": answer.detail, "etag": answer.etag,
        });
        println!("{line}");
    } else {
        let detail = answer.detail.as_ref().map(|d| format!("  ({d})")).unwrap_or_default();
        println!("{} {}{detail}", answer.status, answer.reason);
    }
    if matches!(answer.status, 401 | 407) {
        eprintln!(
            "trestle: the password is missing or wrong: TRESTLE_PASSWORD, or --config with a bridge that knows it"
        );
    }
    answer.is_good()
}

/// Runs `trestle message`.
#[must_use]
pub fn message(args: &MessageArgs) -> ExitCode {
    conclude((|| {
        let target = address(&args.to)?;
        let answer = Session::open(&args.who)?.ask(Ask {
            method: rsip::Method::Message,
            target: &target,
            remote: None,
            headers: &[],
            body: Some(("text/plain;charset=UTF-8", args.text.as_str())),
        })?;
        Ok(report(&answer, args.json))
    })())
}

/// Runs `trestle publish`.
#[must_use]
pub fn publish(args: &PublishArgs) -> ExitCode {
    conclude((|| {
        let mut session = Session::open(&args.who)?;
        let target = session.aor.clone();
        let note = if args.note.is_empty() {
            String::new()
        } else {
            format!("<note>{}</note>", crate::presence::xml::escape(&args.note))
        };
        // Somebody who types a state means it: the id marks it as set by hand, so the last one typed is what counts.
        let body = format!(
            "{}<tuple id=\"manual-cli\"><status><basic>{}</basic></status>{note}</tuple>\n</presence>\n",
            crate::presence::pidf::opening(&target.to_uri()),
            args.basic
        );
        let headers = [
            rsip::headers::Event::new("presence").into(),
            rsip::headers::Expires::from(args.expires).into(),
        ];
        let answer = session.ask(Ask {
            method: rsip::Method::Publish,
            target: &target,
            remote: None,
            headers: &headers,
            body: Some((PIDF, &body)),
        })?;
        Ok(report(&answer, args.json))
    })())
}

/// Runs `trestle watch`.
#[must_use]
pub fn watch(args: &WatchArgs) -> ExitCode {
    conclude((|| {
        let target = address(&args.presentity)?;
        let mut session = Session::open(&args.who)?;
        let headers = [
            session.contact(),
            rsip::headers::Event::new("presence").into(),
            rsip::headers::Accept::new(PIDF).into(),
            rsip::headers::Expires::from(args.seconds.max(60)).into(),
        ];
        let answer = session.ask(Ask {
            method: rsip::Method::Subscribe,
            target: &target,
            remote: None,
            headers: &headers,
            body: None,
        })?;
        if !answer.is_good() {
            return Ok(report(&answer, args.json));
        }
        let remote = answer.remote;
        let end = Instant::now() + Duration::from_secs(u64::from(args.seconds));
        let mut shown = 0;
        while args.count.is_none_or(|count| shown < count)
            && let Some(left) = end.checked_duration_since(Instant::now())
            && let Some(message) = session.next_request(left)?
        {
            match show(&message, args.json) {
                Shown::Nothing => {}
                Shown::State => shown += 1,
                Shown::End => return Ok(true),
            }
        }
        leave(&mut session, &target, remote.as_ref())?;
        Ok(true)
    })())
}

/// Ends a subscription, so that nobody sends its NOTIFYs to a socket that is gone.
fn leave(session: &mut Session, target: &Aor, remote: Option<&Remote>) -> Result<(), Problem> {
    if remote.is_none() {
        return Ok(());
    }
    let headers = [
        session.contact(),
        rsip::headers::Event::new("presence").into(),
        rsip::headers::Expires::from(0).into(),
    ];
    let ask = Ask {
        method: rsip::Method::Subscribe,
        target,
        remote,
        headers: &headers,
        body: None,
    };
    let answer = session.ask(ask)?;
    let end = Instant::now() + GOODBYE;
    while answer.is_good()
        && let Some(left) = end.checked_duration_since(Instant::now())
        && let Some(message) = session.next_request(left)?
        && !is_last(&message)
    {}
    Ok(())
}

/// How long the last NOTIFY may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Whether a message ends the subscription.
fn is_last(message: &[u8]) -> bool {
    let mut index = Index::new();
    let state = parse(message, Framing::Datagram, &mut index)
        .ok()
        .and_then(|view| view.header(Name::SubscriptionState));
    state.is_some_and(|state| state.starts_with(b"terminated"))
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    /// It was no NOTIFY.
    Nothing,
    /// It told a state.
    State,
    /// It told the last state.
    End,
}

/// Prints a NOTIFY.
fn show(message: &[u8], json: bool) -> Shown {
    let mut index = Index::new();
    let Ok(view) = parse(message, Framing::Datagram, &mut index) else {
        return Shown::Nothing;
    };
    if view.method().is_none_or(|m| m.as_bytes() != b"NOTIFY") {
        return Shown::Nothing;
    }
    let state = String::from_utf8_lossy(view.header(Name::SubscriptionState).unwrap_or_default()).into_owned();
    let document = Document::parse(view.body()).ok();
    let basic = match document.as_ref().and_then(Document::basic) {
        Some(Basic::Open) => "open",
        Some(Basic::Closed) => "closed",
        None => "unknown",
    };
    let activities: Vec<&str> = document.as_ref().map(|d| d.activities().collect()).unwrap_or_default();
    let note = document.as_ref().and_then(Document::note).unwrap_or_default();
    let entity = document.as_ref().map_or("-", |d| &d.entity);
    if json {
        let line = serde_json::json!({ "entity": entity, "basic": basic, "activities": activities, "note": note, "state": state });
        println!("{line}");
    } else {
        let line = format!("{entity}  {basic}  {}  {note}  [{state}]", activities.join(","));
        // What others wrote cannot move the cursor.
        let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        println!("{line}");
    }
    if state.starts_with("terminated") {
        Shown::End
    } else {
        Shown::State
    }
}
