//! Conversations of an emulated server: pager messages, sessions, typing.

use super::dialog::{Dialog, cseq};
use super::island::{Answers, Island, Text, Writes, bare};
use super::{bodies, xml};
use crate::wire::{Message, param};

/// A session for messages.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) dialog: Dialog,
    /// Our user.
    pub(super) user: String,
    /// Theirs.
    pub(super) far: String,
    /// Texts that wait for the answer to our INVITE.
    waiting: Vec<String>,
    /// The INVITE has been answered and acknowledged.
    up: bool,
    over: bool,
    /// How often the INVITE was sent.
    invited: u32,
}

impl Island {
    pub(super) fn talk(&mut self, m: &Message, method: &str) -> Answers {
        let inside = self.sessions.iter().position(|s| s.dialog.owns(m) && !s.over);
        let tagged = m.header("To").is_some_and(|to| !param(to, "tag").is_empty());
        match (method, inside) {
            ("INVITE", None) if !tagged => self.invited(m),
            ("MESSAGE", None) if !tagged => self.paged(m),
            (_, Some(at)) => self.inside(at, m, method),
            _ => self.plain(m, 481, ""),
        }
    }

    fn user_of(&self, m: &Message) -> Result<String, u16> {
        let user = m.start.split(' ').nth(1).map(bare).unwrap_or_default();
        match (self.users.contains_key(&user), self.unassigned.contains(&user)) {
            (false, _) => Err(404),
            (true, true) => Err(403),
            (true, false) => Ok(user),
        }
    }

    fn paged(&mut self, m: &Message) -> Answers {
        let to = match self.user_of(m) {
            Ok(user) => user,
            Err(status) => return self.plain(m, status, ""),
        };
        if self.silent > 0 {
            self.silent -= 1;
            return Answers::default();
        }
        if self.habits.pager >= 300 {
            return self.plain(m, self.habits.pager, "Allow: INVITE, ACK, BYE, SUBSCRIBE, NOTIFY\r\n");
        }
        if m.header("Contact").is_some() {
            self.fault("a MESSAGE with Contact (RFC 3428 9)");
        }
        let status = self.habits.pager;
        self.keep_text(m, &to, false, self.habits.writes == Writes::Cpim);
        self.plain(m, status, "")
    }

    /// Reads a message; typing and reports are no text.
    fn keep_text(&mut self, m: &Message, to: &str, session: bool, cpim: bool) {
        let full = m.header("Content-Type").unwrap_or_default().to_string();
        let kind = full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let from = m.header("From").map(bare).unwrap_or_default();
        let text = match kind.as_str() {
            "application/im-iscomposing+xml" => {
                self.composing(m, &from, to);
                return;
            }
            "message/cpim" => match bodies::read_cpim(&m.body) {
                Ok(text) => text,
                Err(why) => return self.fault(&format!("message/cpim: {why}\n{}", m.text())),
            },
            _ if cpim => return self.fault(&format!("{kind} where only message/cpim is read")),
            "text/plain" => m.text(),
            other => return self.fault(&format!("{other} cannot be shown")),
        };
        self.texts.push(Text {
            from,
            to: to.into(),
            text,
            kind: full,
            session,
        });
    }

    fn composing(&mut self, m: &Message, from: &str, to: &str) {
        let root = xml::read(&m.body);
        match root
            .as_ref()
            .ok()
            .and_then(|r| r.at("state"))
            .map(xml::Element::trimmed)
        {
            Some(state) if self.habits.keyboard => {
                self.fault(&format!("is-composing ({state}) where typing is KeyboardActivity"));
            }
            Some(state) => self.typing.push((from.into(), to.into(), state == "active")),
            None => self.fault(&format!("is-composing: {root:?}")),
        }
    }

    fn invited(&mut self, m: &Message) -> Answers {
        let (wire, way) = (self.habits.wire, self.way.clone());
        let user = match self.user_of(m) {
            Ok(user) => user,
            Err(status) => return self.plain(m, status, ""),
        };
        if self.habits.session == 0 {
            return Answers::default();
        }
        if self.habits.session >= 300 {
            return self.plain(m, self.habits.session, "");
        }
        let offer = m.text();
        if m.header("Content-Type") != Some("application/sdp") || bodies::message_media(&offer).is_none() {
            self.fault(&format!("an INVITE that offers no message media:\n{offer}"));
            return self.plain(m, 488, "");
        }
        let wanted = self.habits.media.split(' ').next().unwrap_or_default();
        if !offer.contains(wanted) {
            self.fault(&format!("an offer without {wanted}:\n{offer}"));
        }
        let dialog = Dialog::answering(&wire, &way, m);
        let far = m.header("From").map(bare).unwrap_or_default();
        let sdp = bodies::sdp(&way, self.habits.media);
        let mut lines = "Content-Type: application/sdp\r\n".to_string();
        if let Some(seconds) = m.header("Session-Expires") {
            lines += &format!("Require: timer\r\nSession-Expires: {seconds}\r\n");
        }
        let back = vec![dialog.answer(&wire, &way, m, 200, &lines, sdp.as_bytes())];
        self.sessions.push(Session {
            dialog,
            user,
            far,
            waiting: Vec::new(),
            up: false,
            over: false,
            invited: 0,
        });
        Answers { back, out: Vec::new() }
    }

    pub(super) fn acknowledged(&mut self, m: &Message) {
        for session in self.sessions.iter_mut().filter(|s| s.dialog.owns(m)) {
            session.up = true;
        }
    }

    fn inside(&mut self, at: usize, m: &Message, method: &str) -> Answers {
        let (wire, way) = (self.habits.wire, self.way.clone());
        let Some(session) = self.sessions.get_mut(at) else {
            return self.plain(m, 481, "");
        };
        let (user, far, last) = (session.user.clone(), session.far.clone(), session.dialog.remote_cseq);
        session.dialog.remote_cseq = cseq(m);
        session.over |= method == "BYE";
        let dialog = session.dialog.clone();
        if cseq(m) <= last && method != "CANCEL" {
            self.fault(&format!("{method} in a session: CSeq falls from {last} to {}", cseq(m)));
        }
        let mut lines = String::new();
        let mut body = String::new();
        match method {
            "MESSAGE" if self.silent > 0 => {
                // The text is shown, and the answer forgotten: LCS 2005 clients were seen to do that.
                self.silent -= 1;
                self.keep_text(m, &user, true, false);
                return Answers::default();
            }
            "MESSAGE" => self.keep_text(m, &user, true, false),
            "INFO" => match bodies::read_keyboard(&m.body) {
                Ok(on) if self.habits.keyboard => self.typing.push((far, user, on)),
                Ok(_) => self.fault("KeyboardActivity where typing is is-composing"),
                Err(why) => self.fault(&format!("INFO: {why}")),
            },
            "INVITE" => {
                lines = "Content-Type: application/sdp\r\n".into();
                body = bodies::sdp(&way, self.habits.media);
            }
            _ => {}
        }
        let back = vec![dialog.answer(&wire, &way, m, 200, &lines, body.as_bytes())];
        Answers { back, out: Vec::new() }
    }

    /// Somebody here writes to somebody behind the bridge: what is sent now. The text of a new session follows its answer.
    pub fn write(&mut self, from: &str, to: &str, text: &str) -> Vec<Vec<u8>> {
        let (habits, way) = (self.habits, self.way.clone());
        let kind = "text/plain; charset=UTF-8";
        if habits.writes != Writes::Session {
            let mut dialog = Dialog::begin(&habits.wire, &way, from, to);
            let (kind, body) = match habits.writes {
                Writes::Cpim => ("message/cpim", bodies::cpim(from, to, text)),
                _ => (kind, text.to_string()),
            };
            let bytes = dialog.request(
                &habits.wire,
                &way,
                "MESSAGE",
                &format!("Content-Type: {kind}\r\n"),
                body.as_bytes(),
            );
            return vec![bytes];
        }
        if let Some(session) = self.session(from, to) {
            if !session.up {
                session.waiting.push(text.into());
                return Vec::new();
            }
            let lines = format!("Content-Type: {kind}\r\n");
            return vec![
                session
                    .dialog
                    .request(&habits.wire, &way, "MESSAGE", &lines, text.as_bytes()),
            ];
        }
        self.write_anew(from, to, text)
    }

    /// The same in a session of its own, as from another endpoint of the same user.
    pub fn write_anew(&mut self, from: &str, to: &str, text: &str) -> Vec<Vec<u8>> {
        let (habits, way) = (self.habits, self.way.clone());
        let mut dialog = Dialog::begin(&habits.wire, &way, from, to);
        if habits.wire.epid {
            dialog.local += &format!("{:04x}", self.sessions.len());
        }
        let bytes = dialog.request(
            &habits.wire,
            &way,
            "INVITE",
            &self.invite_lines(text),
            bodies::sdp(&way, habits.media).as_bytes(),
        );
        self.sessions.push(Session {
            dialog,
            user: from.into(),
            far: to.into(),
            waiting: vec![text.into()],
            up: false,
            over: false,
            invited: 1,
        });
        vec![bytes]
    }

    fn invite_lines(&self, text: &str) -> String {
        let mut lines = format!("Content-Type: application/sdp\r\n{}", self.habits.invite);
        if let Some(seconds) = self.habits.session_expires {
            lines += &format!("Session-Expires: {seconds}\r\nSupported: timer\r\n");
        }
        if self.habits.first_in_invite {
            lines += &format!(
                "ms-text-format: text/plain; charset=UTF-8;msgr={};ms-body={}\r\n",
                bodies::msgr(),
                bodies::base64(text.as_bytes(), true)
            );
        }
        lines
    }

    fn session(&mut self, user: &str, far: &str) -> Option<&mut Session> {
        let mut all = self.sessions.iter_mut();
        all.rfind(|s| s.user == user && s.far == far && !s.over)
    }

    /// How many sessions are up between the two.
    #[must_use]
    pub fn sessions_of(&self, user: &str, far: &str) -> usize {
        let fits = |s: &&Session| s.user == user && s.far == far && !s.over && s.up;
        self.sessions.iter().filter(fits).count()
    }

    /// A request in the session of the two.
    pub fn in_session(&mut self, user: &str, far: &str, method: &str, lines: &str, body: &[u8]) -> Option<Vec<u8>> {
        let (wire, way) = (self.habits.wire, self.way.clone());
        let session = self.session(user, far)?;
        session.over |= method == "BYE";
        Some(session.dialog.request(&wire, &way, method, lines, body))
    }

    /// Typing in the session of the two.
    pub fn type_to(&mut self, user: &str, far: &str, on: bool) -> Option<Vec<u8>> {
        if self.habits.keyboard {
            let body = bodies::keyboard(on);
            return self.in_session(user, far, "INFO", "Content-Type: application/xml\r\n", body.as_bytes());
        }
        let body = bodies::composing(on);
        let lines = "Content-Type: application/im-iscomposing+xml\r\n";
        self.in_session(user, far, "MESSAGE", lines, body.as_bytes())
    }

    /// Asks for the session anew inside it; servers whose numbers fall begin to count again behind it.
    pub fn reinvite(&mut self, user: &str, far: &str) -> Option<Vec<u8>> {
        let (habits, way) = (self.habits, self.way.clone());
        let session = self.session(user, far)?;
        session.invited += 1;
        let sdp = bodies::sdp(&way, habits.media);
        let lines = "Content-Type: application/sdp\r\n";
        Some(
            session
                .dialog
                .request(&habits.wire, &way, "INVITE", lines, sdp.as_bytes()),
        )
    }

    pub(super) fn talk_answered(&mut self, m: &Message) -> Answers {
        let (habits, way) = (self.habits, self.way.clone());
        let mut answers = Answers::default();
        let invite = m.header("CSeq").is_some_and(|c| c.ends_with("INVITE"));
        let Some(session) = self.sessions.iter_mut().find(|s| s.dialog.owns(m)) else {
            return answers;
        };
        if m.status() < 200 {
            return answers;
        }
        if !invite {
            session.over |= matches!(m.status(), 408 | 480 | 481);
            return answers;
        }
        if m.status() != 200 {
            // An ACK inside the transaction that failed.
            session.over = true;
            session.dialog.remote = m.header("To").unwrap_or_default().into();
            answers
                .out
                .push(session.dialog.numbered(&habits.wire, &way, "ACK", cseq(m), "", b""));
            return answers;
        }
        if param(&session.dialog.remote, "tag").is_empty() {
            session.dialog.answered(m);
        }
        let number = if habits.wire.cseq_falls { 1 } else { cseq(m) };
        answers
            .out
            .push(session.dialog.numbered(&habits.wire, &way, "ACK", number, "", b""));
        if habits.wire.cseq_falls && session.invited > 1 {
            session.dialog.cseq = 1;
        }
        session.up = true;
        let taken = m
            .all("Supported")
            .any(|v| v.split(',').any(|o| o.trim() == "ms-text-format"));
        let mut waiting = std::mem::take(&mut session.waiting);
        if taken && habits.first_in_invite && !waiting.is_empty() {
            waiting.remove(0);
        }
        for text in waiting {
            let lines = "Content-Type: text/plain; charset=UTF-8\r\n";
            answers.out.push(
                session
                    .dialog
                    .request(&habits.wire, &way, "MESSAGE", lines, text.as_bytes()),
            );
        }
        let body = m.text();
        if bodies::message_media(&body).is_none() {
            self.fault(&format!("the answer to an INVITE takes no message media:\n{body}"));
        }
        answers
    }
}
