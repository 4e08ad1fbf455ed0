//! A small blocking SIP client: registers, publishes, sends and receives messages, calls, and answers what it is sent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::digest::Challenge;
use crate::link::{Link, TlsSetup};
use crate::pump::{Pump, sdp};
use crate::wire::{Message, Request, param, unique, uri_of};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long a final answer may take: a little over the 32 s of Timer F.
const FINAL: Duration = Duration::from_secs(34);

/// Somebody with a phone.
#[derive(Debug)]
pub struct Agent {
    /// The user part.
    pub user: String,
    /// The domain.
    pub domain: String,
    /// The password; empty means that challenges are handed to the caller.
    pub password: String,
    /// Which digest algorithm is preferred where several are offered.
    pub algorithm: &'static str,
    /// What Via says instead of our own socket address.
    pub sent_by: Option<SocketAddr>,
    /// Whether Via asks for connection reuse (RFC 5923).
    pub alias: bool,
    pump: Pump,
}

/// A call that is up.
#[derive(Debug, Clone)]
pub struct Call {
    /// The 200 to the INVITE.
    pub answer: Message,
    request: Request,
}

impl Agent {
    /// An agent on a link.
    ///
    /// # Errors
    /// When the link is gone.
    pub fn new(user: &str, domain: &str, password: &str, link: Link) -> Outcome<Self> {
        Ok(Self {
            user: user.into(),
            domain: domain.into(),
            password: password.into(),
            algorithm: "MD5",
            sent_by: None,
            alias: false,
            pump: Pump::start(user, link)?,
        })
    }

    /// A user with the usual password `secret-USER`, over UDP.
    ///
    /// # Errors
    /// When there is no socket.
    pub fn udp(user: &str, domain: &str, server: SocketAddr) -> Outcome<Self> {
        Self::new(user, domain, &format!("secret-{user}"), Link::udp(server)?)
    }

    /// The same over TCP.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn tcp(user: &str, domain: &str, server: SocketAddr) -> Outcome<Self> {
        Self::new(user, domain, &format!("secret-{user}"), Link::tcp(server)?)
    }

    /// Somebody at the other end of a trunk: no password, a certificate instead.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn trunk(user: &str, domain: &str, server: SocketAddr, tls: &TlsSetup) -> Outcome<Self> {
        Self::new(user, domain, "", Link::tls(server, tls)?)
    }

    /// Our own socket address.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.pump.local
    }

    /// Answers requests of a method with something else than 200 from now on; 0 means not at all.
    pub fn answer_with(&self, method: &str, status: u16) {
        self.pump.answer_with(method, status);
    }

    /// The address-of-record.
    #[must_use]
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// The value of Contact.
    #[must_use]
    pub fn contact(&self) -> String {
        match self.sent_by {
            Some(at) => format!(
                "<sip:{}@{at};transport={}>",
                self.user,
                self.pump.transport.to_lowercase()
            ),
            None => self.pump.contact.clone(),
        }
    }

    /// A From value with a new tag.
    #[must_use]
    pub fn new_from(&self) -> String {
        format!("<{}>;tag={}", self.aor(), unique())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is closed.
    pub fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.pump.send(bytes.to_vec())
    }

    /// Waits for a message that fits, and takes it out of the inbox.
    ///
    /// # Errors
    /// When none comes in time, or the connection is closed; the text lists what did come.
    pub fn expect(&mut self, what: &str, within: Duration, fits: impl FnMut(&Message) -> bool) -> Outcome<Message> {
        self.pump
            .take(within, fits)
            .map_err(|why| format!("{}: no {what}: {why}", self.aor()).into())
    }

    /// Throws away what has come so far and fits.
    pub fn forget(&mut self, mut fits: impl FnMut(&Message) -> bool) {
        while self.pump.take(Duration::ZERO, &mut fits).is_ok() {}
    }

    /// Nothing that fits may come for a while.
    ///
    /// # Errors
    /// When something does.
    pub fn expect_none(&mut self, what: &str, during: Duration, fits: impl FnMut(&Message) -> bool) -> Outcome {
        match self.expect(what, during, fits) {
            Err(_) => Ok(()),
            Ok(message) => Err(format!(
                "{}: an unexpected {what}:\n{}",
                self.aor(),
                String::from_utf8_lossy(&message.raw)
            )
            .into()),
        }
    }

    /// Fills in what the request leaves open.
    fn complete(&self, request: &Request) -> Request {
        let mut request = request.clone();
        let to = if request.method == "REGISTER" {
            self.aor()
        } else {
            request.uri.clone()
        };
        request.from.get_or_insert_with(|| self.new_from());
        request.to.get_or_insert_with(|| format!("<{to}>"));
        request
            .call_id
            .get_or_insert_with(|| format!("{}@agent.invalid", unique()));
        request
    }

    /// Sends a request and returns its final answer; a challenge is answered once if there is a password.
    ///
    /// # Errors
    /// When there is no final answer.
    pub fn ask(&mut self, request: &Request) -> Outcome<Message> {
        let mut request = self.complete(request);
        let answer = self.transact(&request)?;
        let (name, reply) = match answer.status() {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return Ok(answer),
        };
        if self.password.is_empty() {
            return Ok(answer);
        }
        let challenge = self.choose(&answer, name).ok_or("a challenge without Digest")?;
        let value = challenge.answer(&self.user, &self.password, &request.method, &request.uri, 1);
        request.headers.push((reply.into(), value));
        request.cseq += 1;
        self.transact(&request)
    }

    /// The challenge of the preferred algorithm, else the first.
    #[must_use]
    pub fn choose(&self, answer: &Message, name: &str) -> Option<Challenge> {
        let all: Vec<Challenge> = answer.all(name).filter_map(Challenge::parse).collect();
        let preferred = |c: &&Challenge| {
            c.algorithm.eq_ignore_ascii_case(self.algorithm) || (c.algorithm.is_empty() && self.algorithm == "MD5")
        };
        all.iter().find(preferred).or_else(|| all.first()).cloned()
    }

    /// Sends a request with everything given and returns its final answer; repeats it over UDP (Timer E).
    ///
    /// # Errors
    /// When there is no final answer.
    pub fn transact(&mut self, request: &Request) -> Outcome<Message> {
        self.transact_within(request, FINAL)
    }

    /// The same, with a time of one's own.
    ///
    /// # Errors
    /// When there is no final answer.
    pub fn transact_within(&mut self, request: &Request, within: Duration) -> Outcome<Message> {
        let request = self.complete(request);
        let branch = format!("z9hG4bK{}", unique());
        let sent_by = self.sent_by.unwrap_or_else(|| self.local());
        let alias = if self.alias { ";alias" } else { "" };
        let via = format!("SIP/2.0/{} {sent_by};branch={branch};rport{alias}", self.pump.transport);
        let bytes = request.write(&via);
        self.send(&bytes)?;
        let what = format!("answer to {} {}", request.method, request.uri);
        let fits = |m: &Message| m.status() >= 200 && m.branch() == branch;
        let answer = self.final_answer(&what, &bytes, within, fits)?;
        if request.method == "INVITE" && answer.status() >= 300 {
            let ack = Request {
                method: "ACK".into(),
                to: answer.header("To").map(Into::into),
                body: Vec::new(),
                ..request
            };
            self.send(&ack.write(&via))?;
        }
        Ok(answer)
    }

    fn final_answer(
        &mut self,
        what: &str,
        bytes: &[u8],
        within: Duration,
        fits: impl Fn(&Message) -> bool,
    ) -> Outcome<Message> {
        let end = Instant::now() + within;
        let mut wait = Duration::from_millis(500);
        while self.pump.transport == "UDP" && Instant::now() + wait < end {
            if let Ok(answer) = self.expect(what, wait, &fits) {
                return Ok(answer);
            }
            self.send(bytes)?;
            wait = (wait * 2).min(Duration::from_secs(4));
        }
        self.expect(what, end.saturating_duration_since(Instant::now()), fits)
    }

    /// Registers this socket for `seconds`.
    ///
    /// # Errors
    /// When there is no final answer.
    pub fn register(&mut self, seconds: u32) -> Outcome<Message> {
        let request = Request::new("REGISTER", &format!("sip:{}", self.domain))
            .with("Contact", self.contact())
            .with("Expires", seconds.to_string());
        self.ask(&request)
    }

    /// Sends an instant message.
    ///
    /// # Errors
    /// When there is no final answer.
    pub fn message(&mut self, target: &str, text: &str) -> Outcome<Message> {
        self.ask(&Request::new("MESSAGE", target).body("text/plain", text))
    }

    /// Waits for an instant message with this text.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn messaged(&mut self, text: &str) -> Outcome<Message> {
        self.expect(&format!("MESSAGE {text:?}"), PATIENCE, |m| {
            m.is("MESSAGE") && m.body == text.as_bytes()
        })
    }

    /// Asks a server whether it is there.
    ///
    /// # Errors
    /// When there is no final answer.
    pub fn options(&mut self) -> Outcome<Message> {
        self.ask(&Request::new("OPTIONS", &format!("sip:{}", self.domain)))
    }

    /// Calls somebody and acknowledges the answer.
    ///
    /// # Errors
    /// When it is not answered 2xx.
    pub fn call(&mut self, target: &str) -> Outcome<Call> {
        let request = Request::new("INVITE", target)
            .with("Contact", self.contact())
            .body("application/sdp", sdp(self.local()));
        let request = self.complete(&request);
        let answer = self.ask(&request)?;
        if answer.status() / 100 != 2 {
            return Err(format!("INVITE {target} was answered {}", answer.start).into());
        }
        let cseq = answer
            .header("CSeq")
            .and_then(|c| c.split(' ').next())
            .and_then(|n| n.parse().ok())
            .unwrap_or(1);
        let mut in_dialog = Request {
            uri: answer.header("Contact").map_or(target, uri_of).to_string(),
            to: answer.header("To").map(Into::into),
            headers: routes(&answer),
            body: Vec::new(),
            cseq,
            ..request
        };
        in_dialog.method = "ACK".into();
        let via = format!(
            "SIP/2.0/{} {};branch=z9hG4bK{};rport",
            self.pump.transport,
            self.local(),
            unique()
        );
        self.send(&in_dialog.write(&via))?;
        Ok(Call {
            answer,
            request: in_dialog,
        })
    }

    /// Ends a call.
    ///
    /// # Errors
    /// When there is no final answer.
    pub fn hang_up(&mut self, call: &Call) -> Outcome<Message> {
        self.ask(&Request {
            method: "BYE".into(),
            cseq: call.request.cseq + 1,
            ..call.request.clone()
        })
    }
}

/// The route set of a dialog that this answer made, as header lines.
#[must_use]
pub fn routes(answer: &Message) -> Vec<(String, String)> {
    let mut all: Vec<String> = answer
        .all("Record-Route")
        .flat_map(|line| line.split(','))
        .map(|route| route.trim().to_string())
        .collect();
    all.reverse();
    all.into_iter().map(|route| ("Route".to_string(), route)).collect()
}

/// The tag of the To header of an answer.
#[must_use]
pub fn to_tag(answer: &Message) -> &str {
    answer.header("To").map_or("", |to| param(to, "tag"))
}
