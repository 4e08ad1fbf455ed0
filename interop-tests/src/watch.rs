//! Presence as the test client does it: publications and subscriptions.

use std::time::Duration;

use crate::Outcome;
use crate::agent::{Agent, PATIENCE, routes};
use crate::wire::{Message, Request, param, unique, uri_of};

/// A subscription that an agent holds.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Who is watched.
    pub presentity: String,
    /// The next request of the dialog, but for its CSeq.
    request: Request,
    /// The answer that made the dialog.
    pub answer: Message,
}

impl Agent {
    /// Publishes a state; `etag` makes it a change of an earlier one.
    ///
    /// # Errors
    /// When there is no final answer.
    pub fn publish(&mut self, etag: Option<&str>, basic: &str, note: &str) -> Outcome<Message> {
        let mut request = Request::new("PUBLISH", &self.aor())
            .with("Event", "presence")
            .with("Expires", "600")
            .body("application/pidf+xml", pidf(&self.aor(), basic, note));
        if let Some(etag) = etag {
            request = request.with("SIP-If-Match", etag);
        }
        self.ask(&request)
    }

    /// A SUBSCRIBE outside a dialog; nothing of its answer is judged.
    ///
    /// # Errors
    /// When there is no final answer.
    pub fn subscribe(&mut self, presentity: &str, seconds: u32) -> Outcome<Message> {
        let request = self.subscription(presentity, seconds);
        self.ask(&request)
    }

    fn subscription(&self, presentity: &str, seconds: u32) -> Request {
        Request::new("SUBSCRIBE", presentity)
            .with("Contact", self.contact())
            .with("Event", "presence")
            .with("Accept", "application/pidf+xml")
            .with("Expires", seconds.to_string())
    }

    /// Subscribes to somebody's presence.
    ///
    /// # Errors
    /// When it is not answered 2xx.
    pub fn watch(&mut self, presentity: &str, seconds: u32) -> Outcome<Watch> {
        let mut request = self.subscription(presentity, seconds);
        request.from = Some(self.new_from());
        request.call_id = Some(format!("{}@watch.invalid", unique()));
        let answer = self.ask(&request)?;
        if answer.status() / 100 != 2 {
            return Err(format!("{}: SUBSCRIBE {presentity} was answered {}", self.aor(), answer.start).into());
        }
        request.uri = answer.header("Contact").map_or(presentity, uri_of).to_string();
        request.to = answer.header("To").map(Into::into);
        request.cseq = 10;
        request.headers.extend(routes(&answer));
        Ok(Watch {
            presentity: presentity.into(),
            request,
            answer,
        })
    }

    /// Refreshes a subscription, or ends it with 0 seconds.
    ///
    /// # Errors
    /// When there is no final answer.
    pub fn rewatch(&mut self, watch: &mut Watch, seconds: u32) -> Outcome<Message> {
        for (name, value) in &mut watch.request.headers {
            if name == "Expires" {
                *value = seconds.to_string();
            }
        }
        // Two at a time: a challenge takes the number between.
        watch.request.cseq += 2;
        let request = watch.request.clone();
        self.ask(&request)
    }

    /// Waits for a NOTIFY of a subscription whose Subscription-State begins with `state` and whose body holds `content`.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn notified(&mut self, watch: &Watch, state: &str, content: &str) -> Outcome<Message> {
        let what = format!("NOTIFY {state} with {content:?} about {}", watch.presentity);
        self.expect(&what, PATIENCE, |m| {
            watch.owns(m) && is_state(m, state) && m.text().contains(content)
        })
    }

    /// No NOTIFY of a subscription may come for a while, beside those that are here already.
    ///
    /// # Errors
    /// When one does.
    pub fn not_notified(&mut self, watch: &Watch, during: Duration) -> Outcome {
        self.expect_none("NOTIFY", during, |m| watch.owns(m))
    }
}

impl Watch {
    /// Its Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.request.call_id.as_deref().unwrap_or_default()
    }

    /// Whether a NOTIFY belongs to it.
    #[must_use]
    pub fn owns(&self, message: &Message) -> bool {
        let own_tag = self.request.from.as_deref().map_or("", |f| param(f, "tag"));
        message.is("NOTIFY")
            && message.header("Call-ID") == self.request.call_id.as_deref()
            && message.header("To").is_some_and(|to| param(to, "tag") == own_tag)
    }
}

fn is_state(message: &Message, state: &str) -> bool {
    message
        .header("Subscription-State")
        .is_some_and(|s| s.to_ascii_lowercase().starts_with(state))
}

/// A presence document with one tuple and a note.
#[must_use]
pub fn pidf(entity: &str, basic: &str, note: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"{entity}\">\
         <tuple id=\"desk\"><status><basic>{basic}</basic></status><note>{note}</note></tuple></presence>\r\n"
    )
}
