//! Emulators of peers that cannot be installed: scripted servers that behave as those were seen or documented to behave,
//! with their oddities, over TCP and mutual TLS.
//!
//! They read and write every body by themselves ([`xml`]), keep every message, and note what a peer of that kind would
//! have been unable to live with as a fault. A test ends with [`Peer::judge`].

pub mod bodies;
pub mod cups;
pub mod dialog;
pub mod island;
pub mod lcs;
pub mod ocs;
pub mod sametime;
pub mod sametime_legacy;
pub mod scenes;
pub mod site;
mod talk;
pub mod unified_cm;
mod wires;
pub mod xml;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::Family;
use crate::pki::Certificate;
use crate::wire::Message;
use crate::{Outcome, eventually};
use island::{Island, Text};
use wires::{Shared, lock};

/// How long anything may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The names and keys of a trunk over TLS.
#[derive(Debug, Clone)]
pub struct Keys {
    /// What the emulator shows.
    pub own: Certificate,
    /// What the bridge's certificate is verified by, PEM.
    pub ca: String,
    /// The name the bridge's certificate must carry.
    pub bridge: String,
}

/// How an emulator and the bridge reach each other.
#[derive(Debug, Clone)]
pub struct Way {
    /// The loopback family.
    pub family: Family,
    /// The emulator's own port.
    pub port: u16,
    /// Where the bridge takes this peer's connections.
    pub bridge: SocketAddr,
    /// Mutual TLS; plain TCP without.
    pub keys: Option<Keys>,
}

impl Way {
    /// The transport as Via and URIs have it.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        if self.keys.is_some() { "tls" } else { "tcp" }
    }

    /// The emulator's address.
    #[must_use]
    pub fn own(&self) -> SocketAddr {
        self.family.at(self.port)
    }
}

/// A message that passed.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Sent by the emulator, not received.
    pub sent: bool,
    /// When.
    pub at: Instant,
    /// What.
    pub message: Message,
}

/// A running emulator.
#[derive(Debug)]
pub struct Peer {
    shared: Arc<Shared>,
}

impl Peer {
    /// Starts one.
    ///
    /// # Errors
    /// When its port is taken or a certificate does not serve.
    pub fn start(island: Island) -> Outcome<Self> {
        Ok(Self {
            shared: Shared::start(island)?,
        })
    }

    /// Looks at, or changes, what it holds.
    pub fn with<T>(&self, f: impl FnOnce(&mut Island) -> T) -> T {
        f(&mut lock(&self.shared.island))
    }

    /// Does something, and sends what that asks for.
    ///
    /// # Errors
    /// When the bridge cannot be reached.
    pub fn act<T>(&self, f: impl FnOnce(&mut Island) -> (T, Vec<Vec<u8>>)) -> Outcome<T> {
        let (done, requests) = self.with(f);
        for bytes in requests {
            self.shared.send_out(&bytes)?;
        }
        Ok(done)
    }

    /// Sends bytes to the bridge as they are.
    ///
    /// # Errors
    /// When the bridge cannot be reached.
    pub fn send(&self, bytes: &[u8]) -> Outcome {
        self.shared.send_out(bytes)
    }

    /// Sends a request and waits for its final answer.
    ///
    /// # Errors
    /// When none comes.
    pub fn ask(&self, bytes: &[u8]) -> Outcome<Message> {
        let request = Message::parse(bytes).ok_or("that is no request")?;
        self.send(bytes)?;
        let key = |m: &Message| {
            (
                m.header("Call-ID").map(String::from),
                m.header("CSeq").map(String::from),
            )
        };
        let wanted = key(&request);
        self.wait_for(&format!("an answer to {}", request.start), |e| {
            !e.sent && e.message.status() >= 200 && key(&e.message) == wanted
        })
    }

    /// Waits until a message that fits has passed.
    ///
    /// # Errors
    /// When none does; the text lists what did.
    pub fn wait_for(&self, what: &str, fits: impl Fn(&Entry) -> bool) -> Outcome<Message> {
        let mut found = None;
        let done = eventually(what, PATIENCE, || {
            found = lock(&self.shared.log)
                .iter()
                .rev()
                .find(|e| fits(e))
                .map(|e| e.message.clone());
            found.is_some()
        });
        done.map_err(|e| format!("{e}\n{}", self.story()))?;
        found.ok_or_else(|| what.into())
    }

    /// All messages so far.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        lock(&self.shared.log).clone()
    }

    /// Requests of a method received so far.
    #[must_use]
    pub fn received(&self, method: &str) -> Vec<Message> {
        let all = lock(&self.shared.log);
        let fits = all.iter().filter(|e| !e.sent && e.message.is(method));
        fits.map(|e| e.message.clone()).collect()
    }

    /// Connections the bridge opened.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted()
    }

    /// First lines of all that passed, and faults.
    #[must_use]
    pub fn story(&self) -> String {
        let all: Vec<String> = lock(&self.shared.log)
            .iter()
            .map(|e| {
                let arrow = if e.sent { "->" } else { "<-" };
                let cseq = e.message.header("CSeq").unwrap_or_default();
                format!("{arrow} {} [{cseq}]", e.message.start)
            })
            .collect();
        format!("{}\nfaults: {:#?}", all.join("\n"), self.with(|i| i.faults.clone()))
    }

    /// Somebody here begins to watch somebody behind the bridge.
    ///
    /// # Errors
    /// When the bridge cannot be reached.
    pub fn watch(&self, watcher: &str, presentity: &str) -> Outcome {
        self.act(|i| ((), vec![i.subscribe(watcher, presentity)]))
    }

    /// Waits until the one sees the other as this.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn sees(&self, watcher: &str, presentity: &str, word: &str) -> Outcome {
        let shown = || self.with(|i| i.shown(watcher, presentity));
        let what = format!("{watcher} sees {presentity} {word}");
        eventually(&what, PATIENCE, || shown().as_deref() == Some(word))
            .map_err(|e| format!("{e}; it is {:?}\n{}", shown(), self.story()).into())
    }

    /// Sets the state of somebody here and tells who watches.
    ///
    /// # Errors
    /// When the bridge cannot be reached.
    pub fn set(&self, user: &str, word: &str) -> Outcome {
        self.act(|i| ((), i.set(user, word)))
    }

    /// Waits until somebody behind the bridge watches somebody here.
    ///
    /// # Errors
    /// When nobody does.
    pub fn watched(&self, user: &str) -> Outcome {
        eventually(&format!("somebody watches {user}"), PATIENCE, || {
            self.with(|i| i.is_watched(user))
        })
        .map_err(|e| format!("{e}\n{}", self.story()).into())
    }

    /// Somebody here writes to somebody behind the bridge, in the way of this kind of server.
    ///
    /// # Errors
    /// When the bridge cannot be reached.
    pub fn write(&self, from: &str, to: &str, text: &str) -> Outcome {
        self.act(|i| ((), i.write(from, to, text)))
    }

    /// Waits for a text for somebody here, and says how often it has come.
    ///
    /// # Errors
    /// When it does not come.
    pub fn reads(&self, user: &str, text: &str) -> Outcome<Text> {
        let got = || self.with(|i| i.texts.iter().find(|t| t.to == user && t.text == text).cloned());
        eventually(&format!("{user} reads {text:?}"), PATIENCE, || got().is_some())
            .map_err(|e| format!("{e}\n{}", self.story()))?;
        got().ok_or_else(|| "gone".into())
    }

    /// How often somebody here got a text.
    #[must_use]
    pub fn times(&self, user: &str, text: &str) -> usize {
        self.with(|i| i.texts.iter().filter(|t| t.to == user && t.text == text).count())
    }

    /// Closes all connections.
    pub fn hang_up(&self) {
        self.shared.hang_up();
    }

    /// No fault was found in what the bridge sent.
    ///
    /// # Errors
    /// Names the faults.
    pub fn judge(&self) -> Outcome {
        let faults = self.with(|i| i.faults.clone());
        if faults.is_empty() {
            return Ok(());
        }
        Err(format!("a peer of this kind could not live with: {faults:#?}\n{}", self.story()).into())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.end();
    }
}
