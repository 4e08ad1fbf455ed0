//! The three commands.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::Who;
use super::session::{Ask, Session};
use crate::presence::{Basic, Document, PIDF};
use crate::sip::header::Name;
use crate::sip::message::{Framing, Index, Start, parse};
use crate::sip::uri::Aor;

/// Send an instant message.
#[derive(Debug, clap::Args)]
pub struct MessageArgs {
    /// Whom to, user@domain.
    pub to: String,
    /// What to say.
    pub text: String,
    #[command(flatten)]
    who: Who,
}

/// Publish a presence state.
#[derive(Debug, clap::Args)]
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
    #[command(flatten)]
    who: Who,
}

/// Watch somebody's presence, one line a change.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Whom, user@domain.
    pub presentity: String,
    /// Stop after so many seconds.
    #[arg(long, default_value_t = 3600)]
    pub seconds: u32,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    who: Who,
}

/// 0 when it was answered 2xx, 1 when refused, 2 when it could not run.
fn conclude(outcome: Result<bool, String>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("trestle: {problem}");
            ExitCode::from(2)
        }
    }
}

/// Prints an answer; true when it is 2xx.
fn report(status: u16, answer: &[u8]) -> bool {
    let mut index = Index::new();
    if let Ok(view) = parse(answer, Framing::Datagram, &mut index) {
        let reason = match view.start() {
            Start::Response { reason, .. } => String::from_utf8_lossy(reason).into_owned(),
            Start::Request { .. } => String::new(),
        };
        let detail = [Name::Warning, Name::Reason].into_iter().find_map(|n| view.header(n));
        let detail = detail
            .map(|d| format!("  ({})", String::from_utf8_lossy(d)))
            .unwrap_or_default();
        println!("{status} {reason}{detail}");
    }
    (200..300).contains(&status)
}

fn target(text: &str) -> Result<String, String> {
    Aor::parse(text)
        .map(|a| a.to_uri())
        .ok_or_else(|| format!("{text} is not user@domain"))
}

/// Runs `trestle message`.
#[must_use]
pub fn message(args: &MessageArgs) -> ExitCode {
    conclude((|| {
        let target = target(&args.to)?;
        let body = Some(("text/plain;charset=UTF-8", args.text.as_str()));
        let ask = Ask {
            method: "MESSAGE",
            target: &target,
            headers: &[],
            body,
        };
        let (status, answer) = Session::open(&args.who)?.ask(ask)?;
        Ok(report(status, &answer))
    })())
}

/// Runs `trestle publish`.
#[must_use]
pub fn publish(args: &PublishArgs) -> ExitCode {
    conclude((|| {
        let mut session = Session::open(&args.who)?;
        let target = session.aor.to_uri();
        let escape = crate::presence::xml::escape;
        let note = if args.note.is_empty() {
            String::new()
        } else {
            format!("<note>{}</note>", escape(&args.note))
        };
        let body = format!(
            "{}<tuple id=\"cli\"><status><basic>{}</basic></status>{note}</tuple>\n</presence>\n",
            crate::presence::pidf::opening(&target),
            args.basic
        );
        let expires = args.expires.to_string();
        let headers = [("Event", "presence"), ("Expires", expires.as_str())];
        let (status, answer) = session.ask(Ask {
            method: "PUBLISH",
            target: &target,
            headers: &headers,
            body: Some((PIDF, &body)),
        })?;
        Ok(report(status, &answer))
    })())
}

/// Runs `trestle watch`.
#[must_use]
pub fn watch(args: &WatchArgs) -> ExitCode {
    conclude((|| {
        let mut session = Session::open(&args.who)?;
        let target = target(&args.presentity)?;
        let (contact, expires) = (session.contact(), args.seconds.max(60).to_string());
        let headers = [
            ("Contact", contact.as_str()),
            ("Event", "presence"),
            ("Accept", PIDF),
            ("Expires", expires.as_str()),
        ];
        let (status, answer) = session.ask(Ask {
            method: "SUBSCRIBE",
            target: &target,
            headers: &headers,
            body: None,
        })?;
        if !(200..300).contains(&status) {
            return Ok(report(status, &answer));
        }
        let end = Instant::now() + Duration::from_secs(u64::from(args.seconds));
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let Some(message) = session.next_request(left)? else {
                break;
            };
            if show(&message, args.json) {
                break;
            }
        }
        Ok(true)
    })())
}

/// Prints a NOTIFY; true when the subscription has ended.
fn show(message: &[u8], json: bool) -> bool {
    let mut index = Index::new();
    let Ok(view) = parse(message, Framing::Datagram, &mut index) else {
        return false;
    };
    if view.method().is_none_or(|m| m.as_bytes() != b"NOTIFY") {
        return false;
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
        println!("{entity}  {basic}  {}  {note}  [{state}]", activities.join(","));
    }
    state.starts_with("terminated")
}
