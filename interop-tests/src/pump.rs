//! The ears of an agent: a thread that owns its link, answers requests at once and keeps what came.
//!
//! Two agents of one test talk to each other through servers, so each has to answer while the other waits.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::link::{Link, Received};
use crate::wire::Message;

#[derive(Debug, Default)]
struct Inbox {
    messages: VecDeque<Message>,
    answers: Vec<(String, u16)>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle on the thread, which ends with it.
#[derive(Debug)]
pub struct Pump {
    shared: Arc<Shared>,
    outgoing: Sender<Vec<u8>>,
    /// Our own address.
    pub local: SocketAddr,
    /// `UDP`, `TCP` or `TLS`.
    pub transport: &'static str,
    /// The value of Contact.
    pub contact: String,
}

/// How long the thread listens before it looks for something to send.
const TURN: Duration = Duration::from_millis(2);

impl Pump {
    /// Starts it.
    ///
    /// # Errors
    /// When the link is gone.
    pub fn start(user: &str, link: Link) -> Outcome<Self> {
        let (local, transport) = (link.local()?, link.transport());
        let param = if transport == "UDP" {
            String::new()
        } else {
            format!(";transport={}", transport.to_lowercase())
        };
        let contact = format!("<sip:{user}@{local}{param}>");
        let (outgoing, queue) = channel();
        let shared = Arc::new(Shared::default());
        let ears = Ears {
            link,
            shared: Arc::clone(&shared),
            contact: contact.clone(),
            seen: HashSet::new(),
        };
        std::thread::spawn(move || ears.run(&queue));
        Ok(Self {
            shared,
            outgoing,
            local,
            transport,
            contact,
        })
    }

    /// Answers a method with something else than 200; 0 means not at all.
    pub fn answer_with(&self, method: &str, status: u16) {
        let mut inbox = self.shared.lock();
        inbox.answers.retain(|(m, _)| m != method);
        inbox.answers.push((method.to_string(), status));
    }

    /// Queues bytes.
    ///
    /// # Errors
    /// When the connection is closed.
    pub fn send(&self, bytes: Vec<u8>) -> Outcome {
        Ok(self.outgoing.send(bytes).map_err(|_| "the connection is closed")?)
    }

    /// Takes the first message that fits.
    ///
    /// # Errors
    /// Says why there is none, and what there is instead.
    pub fn take(&self, within: Duration, mut fits: impl FnMut(&Message) -> bool) -> Result<Message, String> {
        let end = Instant::now() + within;
        let mut inbox = self.shared.lock();
        loop {
            if let Some(at) = inbox.messages.iter().position(&mut fits)
                && let Some(message) = inbox.messages.remove(at)
            {
                return Ok(message);
            }
            let left = end.saturating_duration_since(Instant::now());
            if inbox.closed || left.is_zero() {
                let why = if inbox.closed {
                    "closed".into()
                } else {
                    format!("not within {within:?}")
                };
                let kept: Vec<&str> = inbox.messages.iter().map(|m| m.start.as_str()).collect();
                return Err(format!("{why}; in the inbox: {kept:?}"));
            }
            inbox = self
                .shared
                .arrived
                .wait_timeout(inbox, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

struct Ears {
    link: Link,
    shared: Arc<Shared>,
    contact: String,
    seen: HashSet<(String, String)>,
}

impl Ears {
    fn run(mut self, queue: &Receiver<Vec<u8>>) {
        loop {
            let closed = match queue.try_recv() {
                Ok(bytes) => self.link.send(&bytes).is_err() && self.link.transport() != "UDP",
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => match self.link.receive(TURN) {
                    Received::Message(message) => self.take(*message),
                    Received::Other(_) | Received::Nothing => false,
                    Received::Closed => true,
                },
            };
            if closed {
                self.shared.lock().closed = true;
                self.shared.arrived.notify_all();
                return;
            }
        }
    }

    /// Answers and keeps a message; whether the connection is closed.
    fn take(&mut self, message: Message) -> bool {
        let mut closed = false;
        let mut new = true;
        if message.status() == 0 {
            let method = message.start.split(' ').next().unwrap_or_default().to_string();
            if let Some(answer) = self.answer(&message, &method) {
                closed = self.link.send(&answer).is_err() && self.link.transport() != "UDP";
            }
            new = self.seen.insert((message.branch().to_string(), method));
        }
        if new {
            self.shared.lock().messages.push_back(message);
            self.shared.arrived.notify_all();
        }
        closed
    }

    fn answer(&self, message: &Message, method: &str) -> Option<Vec<u8>> {
        let status = self
            .shared
            .lock()
            .answers
            .iter()
            .find(|(m, _)| m == method)
            .map_or(200, |(_, s)| *s);
        if method == "ACK" || status == 0 {
            return None;
        }
        // The same tag for a repeated request.
        let tag = format!("t{}", message.branch());
        if method == "INVITE" && status < 300 {
            let extra = format!("Contact: {}\r\nContent-Type: application/sdp\r\n", self.contact);
            return Some(message.answer(status, &tag, &extra, &sdp(self.link.local().ok()?)));
        }
        Some(message.answer(status, &tag, "", ""))
    }
}

/// A session description that offers one voice stream.
#[must_use]
pub fn sdp(at: SocketAddr) -> String {
    let (ip, version) = (at.ip(), if at.is_ipv6() { "IP6" } else { "IP4" });
    format!(
        "v=0\r\no=- 1 1 IN {version} {ip}\r\ns=-\r\nc=IN {version} {ip}\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n",
        at.port() / 2 * 2
    )
}
