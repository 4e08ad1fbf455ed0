//! Requests with good credentials and bad lines: what a proper client would never sign.

use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::digest::Challenge;
use interop_tests::link::Link;
use interop_tests::raw::Raw;
use interop_tests::stand::{DOMAIN, Stand, outcome};
use interop_tests::wire::{Message, unique};

/// A user's link and a request that carries valid credentials, to be bent before it is sent.
pub(crate) struct Signed {
    pub(crate) link: Link,
    pub(crate) raw: Raw,
}

impl Signed {
    /// Asks without credentials first, as everybody has to.
    pub(crate) fn new(stand: &Stand, user: &str, method: &str, uri: &str) -> Outcome<Self> {
        Self::over(stand.link("UDP")?, user, method, uri)
    }

    /// The same on a link of the caller's.
    pub(crate) fn over(mut link: Link, user: &str, method: &str, uri: &str) -> Outcome<Self> {
        let at = link.local()?;
        let raw = |cseq: u32| {
            Raw::new(link_name(&link), method, uri)
                .set(
                    "Via",
                    format!("SIP/2.0/{} {at};branch=z9hG4bK{};rport", link_name(&link), unique()),
                )
                .set("From", format!("<sip:{user}@{DOMAIN}>;tag={}", unique()))
                .set("Contact", format!("<sip:{user}@{at}>"))
                .set("CSeq", format!("{cseq} {method}"))
        };
        let (first, second) = (raw(1), raw(2));
        link.send(&first.bytes())?;
        let (status, answer) = outcome(&mut link, Duration::from_secs(4));
        let (asked, header) = match status {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            other => return Err(format!("{method} without credentials was answered {other}").into()),
        };
        let answer = answer.ok_or("no answer")?;
        let challenge = answer.all(asked).find_map(Challenge::parse).ok_or("no challenge")?;
        let value = challenge.answer(user, &format!("secret-{user}"), method, uri, 1);
        Ok(Self {
            link,
            raw: second.line(format!("{header}: {value}")),
        })
    }

    /// Bends the request.
    pub(crate) fn bent(mut self, bend: impl FnOnce(Raw) -> Raw) -> Self {
        self.raw = bend(self.raw);
        self
    }

    /// Sends it and returns the final answer: status, or 0 for silence, 1 for a closed connection.
    pub(crate) fn ask(&mut self) -> Outcome<(u16, Option<Message>)> {
        self.link.send(&self.raw.bytes())?;
        Ok(outcome(&mut self.link, Duration::from_secs(4)))
    }
}

fn link_name(link: &Link) -> &'static str {
    link.transport()
}
