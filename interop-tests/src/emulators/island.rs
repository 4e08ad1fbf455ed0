//! The island behind an emulated server: its users, who watches whom, and what was said. What differs between kinds of
//! servers is in [`Habits`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Way;
use super::dialog::{Dialog, Wire, cseq};
use super::talk::Session;
use crate::wire::{Message, param, uri_of};

/// How a kind of server behaves.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// How its requests look.
    pub wire: Wire,
    /// Accept of its SUBSCRIBE.
    pub accept: &'static str,
    /// Further header lines of its SUBSCRIBE; Expires only if it stands here.
    pub subscribe: &'static str,
    /// Reads a document about an entity: the word for what its user would see.
    pub read: fn(kind: &str, entity: &str, body: &[u8]) -> Result<String, String>,
    /// Writes a document about an entity in a type that the Accept allows: type and body.
    pub write: Writer,
    /// Sends BENOTIFY to those that can take it.
    pub benotify: bool,
    /// Puts the first document into the 200 for those that can take it.
    pub piggyback: bool,
    /// Says the remaining time in Subscription-State.
    pub state_expires: bool,
    /// How long a subscription here lasts at most, seconds.
    pub lasts: u32,
    /// Answer to a MESSAGE outside a dialog.
    pub pager: u16,
    /// Answer to an INVITE for messages.
    pub session: u16,
    /// How its own users' first message goes out.
    pub writes: Writes,
    /// The media line of its own offers.
    pub media: &'static str,
    /// Header lines of its INVITE, beside those of the text.
    pub invite: &'static str,
    /// The text also stands in the INVITE, and is sent again unless the answer says that it was taken.
    pub first_in_invite: bool,
    /// Typing as `KeyboardActivity` in INFO; as is-composing without.
    pub keyboard: bool,
    /// Session-Expires of its INVITE, seconds.
    pub session_expires: Option<u32>,
}

/// Writes a document: entity, word, Accept, number of the document; type and body.
pub type Writer = fn(&str, &str, &str, usize) -> Option<(&'static str, String)>;

/// How a message leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// MESSAGE outside a dialog, plain text.
    Pager,
    /// The same, wrapped in message/cpim.
    Cpim,
    /// MESSAGE in a dialog.
    Session,
}

/// A text that somebody here got.
#[derive(Debug, Clone)]
pub struct Text {
    /// Address of who wrote it.
    pub from: String,
    /// Address of who got it.
    pub to: String,
    /// The text itself.
    pub text: String,
    /// Content-Type as it came.
    pub kind: String,
    /// In a session.
    pub session: bool,
}

/// A subscription of somebody behind the bridge.
#[derive(Debug, Clone)]
pub(super) struct Watcher {
    dialog: Dialog,
    presentity: String,
    accept: String,
    benotify: bool,
    /// When it is over unless it is refreshed.
    until: Instant,
}

/// A subscription at the bridge.
#[derive(Debug, Clone)]
pub(super) struct Watching {
    pub(super) dialog: Dialog,
    watcher: String,
    presentity: String,
    shown: Option<String>,
    over: bool,
}

/// What a message led to.
#[derive(Debug, Default)]
pub struct Answers {
    /// Goes back over the connection it came on.
    pub back: Vec<Vec<u8>>,
    /// Goes out over the emulator's own connection.
    pub out: Vec<Vec<u8>>,
}

/// All that the server holds.
#[derive(Debug)]
pub struct Island {
    /// How it behaves; a test may change that.
    pub habits: Habits,
    /// Where it is.
    pub way: Way,
    /// States of its users, by address.
    pub users: BTreeMap<String, String>,
    /// Users that may not use the link: requests for them are refused with 403.
    pub unassigned: BTreeSet<String>,
    /// Texts that have come.
    pub texts: Vec<Text>,
    /// Typing that was shown: from, to, whether it is going on.
    pub typing: Vec<(String, String, bool)>,
    /// What was wrong with what came.
    pub faults: Vec<String>,
    /// Answers that stand in for the usual ones, by method: status and header lines.
    pub refuse: BTreeMap<String, (u16, String)>,
    /// How many further MESSAGEs stay without an answer.
    pub silent: usize,
    /// Takes everything and answers nothing, as a process that hangs.
    pub mute: bool,
    pub(super) watchers: Vec<Watcher>,
    pub(super) watching: Vec<Watching>,
    pub(super) sessions: Vec<Session>,
    written: usize,
}

impl Island {
    /// A server with users, all offline at first.
    #[must_use]
    pub fn new(habits: Habits, way: Way, users: &[&str]) -> Self {
        Self {
            habits,
            way,
            users: users
                .iter()
                .map(|u| ((*u).to_string(), "offline".to_string()))
                .collect(),
            unassigned: BTreeSet::new(),
            texts: Vec::new(),
            typing: Vec::new(),
            faults: Vec::new(),
            refuse: BTreeMap::new(),
            silent: 0,
            mute: false,
            watchers: Vec::new(),
            watching: Vec::new(),
            sessions: Vec::new(),
            written: 0,
        }
    }

    /// Notes a fault.
    pub fn fault(&mut self, what: &str) {
        self.faults.push(what.to_string());
    }

    /// Takes a message.
    pub fn message(&mut self, message: &Message) -> Answers {
        if self.mute {
            return Answers::default();
        }
        if message.status() > 0 {
            return self.response(message);
        }
        self.judge(message);
        let method = message.start.split(' ').next().unwrap_or_default().to_string();
        if method == "ACK" {
            self.acknowledged(message);
            return Answers::default();
        }
        if let Some((status, lines)) = self.refuse.get(&method).cloned() {
            return self.plain(message, status, &lines);
        }
        match method.as_str() {
            "OPTIONS" => self.plain(message, 200, ""),
            "SUBSCRIBE" => self.subscribed(message),
            "NOTIFY" | "BENOTIFY" => self.notified(message, method == "BENOTIFY"),
            "MESSAGE" | "INVITE" | "INFO" | "BYE" | "UPDATE" | "CANCEL" => self.talk(message, &method),
            _ => self.plain(message, 501, ""),
        }
    }

    /// What every request has to have, whoever gets it.
    fn judge(&mut self, m: &Message) {
        let mut wrong = Vec::new();
        if !m.branch().starts_with("z9hG4bK") {
            wrong.push("a Via without a branch");
        }
        if m.header("Content-Length").is_none() {
            wrong.push("no Content-Length on a stream");
        }
        if m.header("From").is_none_or(|f| param(f, "tag").is_empty()) {
            wrong.push("a From without a tag");
        }
        if m.header("Max-Forwards").is_none() {
            wrong.push("no Max-Forwards");
        }
        if !m.body.is_empty() && m.header("Content-Type").is_none() {
            wrong.push("a body without a type");
        }
        let start = m.start.clone();
        self.faults.extend(wrong.into_iter().map(|w| format!("{w}: {start}")));
        let dialogs = self.dialogs();
        let Some(dialog) = dialogs.iter().find(|d| d.owns(m)) else {
            return;
        };
        let routes: Vec<String> = m.all("Route").map(String::from).collect();
        let (recorded, local) = (dialog.recorded.clone(), dialog.local.clone());
        if let Some(lost) = recorded.iter().find(|r| !routes.contains(r)) {
            self.fault(&format!(
                "{start}: the route {lost:.60}... does not come back unmodified; it has {routes:?}"
            ));
        }
        let own = param(&local, "epid");
        let echoed = m.header("To").map_or("", |to| param(to, "epid"));
        if !own.is_empty() && echoed != own {
            self.fault(&format!("{start}: To says epid {echoed:?} instead of {own}"));
        }
    }

    fn dialogs(&self) -> Vec<Dialog> {
        let watchers = self.watchers.iter().map(|w| &w.dialog);
        let watching = self.watching.iter().map(|w| &w.dialog);
        let sessions = self.sessions.iter().map(|s| &s.dialog);
        watchers.chain(watching).chain(sessions).cloned().collect()
    }

    /// An answer outside any dialog that is kept.
    pub(super) fn plain(&self, m: &Message, status: u16, lines: &str) -> Answers {
        let dialog = Dialog {
            recorded: Vec::new(),
            ..Dialog::answering(&self.habits.wire, &self.way, m)
        };
        Answers {
            back: vec![dialog.answer(&self.habits.wire, &self.way, m, status, lines, b"")],
            out: Vec::new(),
        }
    }

    fn response(&mut self, m: &Message) -> Answers {
        let method = m
            .header("CSeq")
            .and_then(|c| c.split_whitespace().nth(1))
            .unwrap_or_default();
        match method {
            "SUBSCRIBE" => {
                let at = self.watching.iter().position(|w| w.dialog.owns(m));
                if let Some(at) = at
                    && m.status() >= 200
                {
                    self.subscribe_answered(at, m);
                }
                Answers::default()
            }
            "INVITE" | "MESSAGE" => self.talk_answered(m),
            _ => Answers::default(),
        }
    }

    // Who watches here.

    fn subscribed(&mut self, m: &Message) -> Answers {
        self.expire();
        let (wire, way) = (self.habits.wire, self.way.clone());
        let seconds: u32 = m
            .header("Expires")
            .and_then(|v| v.parse().ok())
            .unwrap_or(self.habits.lasts);
        let seconds = seconds.min(self.habits.lasts);
        if m.header("Event").map(|e| e.split(';').next().unwrap_or_default()) != Some("presence") {
            return self.plain(m, 489, "Allow-Events: presence\r\n");
        }
        if let Some(at) = self.watchers.iter().position(|w| w.dialog.owns(m)) {
            return self.resubscribed(at, m, seconds);
        }
        if m.header("To").is_some_and(|to| !param(to, "tag").is_empty()) {
            return self.plain(m, 481, "");
        }
        let user = m.start.split(' ').nth(1).map(bare).unwrap_or_default();
        if !self.users.contains_key(&user) {
            return self.plain(m, 404, "");
        }
        if self.unassigned.contains(&user) {
            return self.plain(m, 403, "");
        }
        let says = |name: &str, what: &str| m.all(name).any(|v| v.split(',').any(|o| o.trim() == what));
        let accept: Vec<&str> = m.all("Accept").collect();
        let mut watcher = Watcher {
            dialog: Dialog::answering(&wire, &way, m),
            presentity: user,
            accept: accept.join(", "),
            benotify: self.habits.benotify && says("Supported", "ms-benotify"),
            until: Instant::now() + Duration::from_secs(seconds.into()),
        };
        let mut lines = format!("Expires: {seconds}\r\n");
        if watcher.benotify {
            lines += "Supported: ms-benotify\r\n";
        }
        let mut answers = Answers::default();
        let piggyback = self.habits.piggyback && says("Supported", "ms-piggyback-first-notify");
        let document = self.document(&watcher);
        if let (true, Some((kind, body))) = (piggyback && seconds > 0, document) {
            lines += &format!(
                "Supported: ms-piggyback-first-notify\r\nEvent: presence\r\nms-piggyback-cseq: 1\r\n\
                 subscription-state: active;expires={seconds}\r\nContent-Type: {kind}\r\n"
            );
            watcher.dialog.cseq = 1;
            answers
                .back
                .push(watcher.dialog.answer(&wire, &way, m, 200, &lines, body.as_bytes()));
            self.watchers.push(watcher);
            return answers;
        }
        answers
            .back
            .push(watcher.dialog.answer(&wire, &way, m, 200, &lines, b""));
        self.notify_first(answers, watcher, seconds)
    }

    fn resubscribed(&mut self, at: usize, m: &Message, seconds: u32) -> Answers {
        let mut watcher = self.watchers.remove(at);
        let mut answers = Answers::default();
        if cseq(m) <= watcher.dialog.remote_cseq {
            self.fault(&format!("{}: CSeq does not grow", m.start));
        }
        watcher.dialog.remote_cseq = cseq(m);
        watcher.until = Instant::now() + Duration::from_secs(seconds.into());
        let lines = format!("Expires: {seconds}\r\n");
        answers
            .back
            .push(watcher.dialog.answer(&self.habits.wire, &self.way, m, 200, &lines, b""));
        self.notify_first(answers, watcher, seconds)
    }

    /// The notification that follows an answer; the watcher stays unless it was the last.
    fn notify_first(&mut self, mut answers: Answers, mut watcher: Watcher, seconds: u32) -> Answers {
        let state = if seconds == 0 {
            "terminated;reason=timeout"
        } else {
            "active"
        };
        answers.out.push(self.notify(&mut watcher, state, seconds));
        if seconds > 0 {
            self.watchers.push(watcher);
        }
        answers
    }

    fn document(&mut self, watcher: &Watcher) -> Option<(&'static str, String)> {
        self.written += 1;
        let word = self.users.get(&watcher.presentity)?;
        (self.habits.write)(&watcher.presentity, word, &watcher.accept, self.written)
    }

    fn notify(&mut self, watcher: &mut Watcher, state: &str, seconds: u32) -> Vec<u8> {
        let method = if watcher.benotify && state == "active" {
            "BENOTIFY"
        } else {
            "NOTIFY"
        };
        let expires = if self.habits.state_expires && state == "active" {
            format!(";expires={seconds}")
        } else {
            String::new()
        };
        let mut lines = format!("Event: presence\r\nSubscription-State: {state}{expires}\r\n");
        let mut body = String::new();
        if let Some((kind, document)) = self.document(watcher) {
            lines += &format!("Content-Type: {kind}\r\n");
            body = document;
        } else if state == "active" {
            self.fault(&format!("Accept {:?} leaves nothing to send", watcher.accept));
        }
        watcher
            .dialog
            .request(&self.habits.wire, &self.way, method, &lines, body.as_bytes())
    }

    /// Forgets what was not refreshed in time.
    fn expire(&mut self) {
        let now = Instant::now();
        self.watchers.retain(|w| w.until > now);
    }

    /// Whether somebody behind the bridge watches this user.
    #[must_use]
    pub fn is_watched(&self, user: &str) -> bool {
        self.watchers_of(user) > 0
    }

    /// How many subscriptions there are to this user.
    #[must_use]
    pub fn watchers_of(&self, user: &str) -> usize {
        let now = Instant::now();
        let fits = |w: &&Watcher| w.presentity == user && w.until > now;
        self.watchers.iter().filter(fits).count()
    }

    /// Sets a state: the NOTIFYs for it.
    pub fn set(&mut self, user: &str, word: &str) -> Vec<Vec<u8>> {
        self.users.insert(user.into(), word.into());
        self.tell(user)
    }

    /// NOTIFYs for all who watch this user.
    pub fn tell(&mut self, user: &str) -> Vec<Vec<u8>> {
        self.expire();
        let mut out = Vec::new();
        let mut all = std::mem::take(&mut self.watchers);
        for watcher in all.iter_mut().filter(|w| w.presentity == user) {
            out.push(self.notify(watcher, "active", self.habits.lasts));
        }
        self.watchers = all;
        out
    }

    /// A NOTIFY with a body of the caller's for the first who watches this user.
    pub fn notify_raw(&mut self, user: &str, kind: &str, body: &[u8]) -> Option<Vec<u8>> {
        let (wire, way) = (self.habits.wire, self.way.clone());
        let watcher = self.watchers.iter_mut().find(|w| w.presentity == user)?;
        let lines = format!("Event: presence\r\nSubscription-State: active\r\nContent-Type: {kind}\r\n");
        Some(watcher.dialog.request(&wire, &way, "NOTIFY", &lines, body))
    }

    /// Loses its own server: all who watch are told that nothing is known, once.
    pub fn lose(&mut self) -> Vec<Vec<u8>> {
        let users: Vec<String> = self.users.keys().cloned().collect();
        users.iter().flat_map(|u| self.set(u, "offline")).collect()
    }

    /// Forgets all subscriptions and sessions, as after a restart.
    pub fn forget(&mut self) {
        self.watchers.clear();
        self.sessions.clear();
    }

    // Who is watched from here.

    /// Begins to watch: the SUBSCRIBE.
    pub fn subscribe(&mut self, watcher: &str, presentity: &str) -> Vec<u8> {
        let (wire, way) = (self.habits.wire, self.way.clone());
        let mut dialog = Dialog::begin(&wire, &way, watcher, presentity);
        let lines = format!(
            "Event: presence\r\nAccept: {}\r\n{}",
            self.habits.accept, self.habits.subscribe
        );
        let bytes = dialog.request(&wire, &way, "SUBSCRIBE", &lines, b"");
        self.watching.push(Watching {
            dialog,
            watcher: watcher.into(),
            presentity: presentity.into(),
            shown: None,
            over: false,
        });
        bytes
    }

    /// A further SUBSCRIBE of a subscription: 0 seconds end it.
    pub fn resubscribe(&mut self, watcher: &str, presentity: &str, seconds: u32) -> Option<Vec<u8>> {
        let (habits, way) = (self.habits, self.way.clone());
        let fits = |w: &&mut Watching| w.watcher == watcher && w.presentity == presentity && !w.over;
        let watching = self.watching.iter_mut().find(fits)?;
        let lines = format!("Event: presence\r\nAccept: {}\r\nExpires: {seconds}\r\n", habits.accept);
        Some(watching.dialog.request(&habits.wire, &way, "SUBSCRIBE", &lines, b""))
    }

    /// The word for what the one sees of the other.
    #[must_use]
    pub fn shown(&self, watcher: &str, presentity: &str) -> Option<String> {
        let fits = |w: &&Watching| w.watcher == watcher && w.presentity == presentity;
        self.watching.iter().rfind(fits)?.shown.clone()
    }

    /// Whether the subscription has been ended by the bridge.
    #[must_use]
    pub fn is_over(&self, watcher: &str, presentity: &str) -> bool {
        let mut all = self.watching.iter();
        all.any(|w| w.watcher == watcher && w.presentity == presentity && w.over)
    }

    fn subscribe_answered(&mut self, at: usize, m: &Message) {
        let Some(watching) = self.watching.get_mut(at) else {
            return;
        };
        if m.status() >= 300 {
            watching.shown = Some(format!("refused {}", m.status()));
            watching.over = true;
            return;
        }
        if param(&watching.dialog.remote, "tag").is_empty() {
            watching.dialog.answered(m);
        }
        if m.header("Expires").is_none() {
            self.fault("2xx to SUBSCRIBE without Expires");
        }
        if m.header("ms-piggyback-cseq").is_some() {
            if !self.habits.subscribe.contains("ms-piggyback-first-notify") {
                self.fault("a document in the 200 that was not asked for");
            }
            self.show(at, m);
        } else if !m.body.is_empty() {
            self.fault("a body in the 200 without ms-piggyback-cseq");
        }
    }

    fn notified(&mut self, m: &Message, best_effort: bool) -> Answers {
        let Some(at) = self.watching.iter().position(|w| w.dialog.owns(m)) else {
            return if best_effort {
                Answers::default()
            } else {
                self.plain(m, 481, "")
            };
        };
        if best_effort && !self.habits.subscribe.contains("ms-benotify") {
            self.fault("a BENOTIFY that was not asked for");
        }
        if m.header("Event").is_none_or(|e| !e.starts_with("presence")) {
            self.fault("a NOTIFY without Event: presence");
        }
        let state = m.header("Subscription-State").unwrap_or_default().to_ascii_lowercase();
        if state.is_empty() {
            self.fault("a NOTIFY without Subscription-State");
        }
        if let Some(watching) = self.watching.get_mut(at) {
            if param(&watching.dialog.remote, "tag").is_empty() {
                watching.dialog.remote = m.header("From").unwrap_or_default().into();
            }
            let last = std::mem::replace(&mut watching.dialog.remote_cseq, cseq(m));
            watching.over |= state.starts_with("terminated");
            if last >= cseq(m) {
                self.fault(&format!("CSeq of NOTIFY falls from {last} to {}", cseq(m)));
            }
        }
        if !m.body.is_empty() {
            self.show(at, m);
        }
        if best_effort {
            Answers::default()
        } else {
            self.plain(m, 200, "")
        }
    }

    /// Reads a document into what is shown.
    fn show(&mut self, at: usize, m: &Message) {
        let kind = m.header("Content-Type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !self.habits.accept.contains(&kind) {
            self.fault(&format!("{kind} was not accepted"));
            return;
        }
        let Some(watching) = self.watching.get_mut(at) else {
            return;
        };
        match (self.habits.read)(&kind, &watching.presentity, &m.body) {
            Ok(word) => watching.shown = Some(word),
            Err(why) => self.fault(&format!("a body of type {kind}: {why}\n{}", m.text())),
        }
    }
}

/// An address out of a URI or a header value: user and domain alone.
#[must_use]
pub fn bare(value: &str) -> String {
    let uri = uri_of(value);
    let uri = uri.split([';', '?']).next().unwrap_or(uri);
    uri.trim_start_matches("sip:").trim_start_matches("im:").to_string()
}
