//! Requests as data: the bytes and the facts are both made from it.

use interop_tests::Outcome;
use interop_tests::digest::Challenge;
use interop_tests::wire::Message;
use trestle::policy::{AuthState, Facts, InDialog, Over, Party};
use trestle::sip::net::Source;
use trestle::sip::random::Random;

use super::dialogs::{self, Claim, Dialog, Kind};
use super::parts::{CREDS, Creds, METHODS, URIS, VOICES, Voice, chance, pick, uri_facts, user_of};
use super::world::{Shown, Told, World, identities};

/// A request and all that is known of it.
pub(crate) struct Case {
    pub(crate) text: String,
    pub(crate) branch: String,
    pub(crate) source: Source,
    pub(crate) shown: Shown,
    /// What it is an example of; those that begin with + must be allowed at times, others refused at times.
    pub(crate) kinds: Vec<&'static str>,
    parts: Parts,
    dialog: Option<InDialog>,
    credentials: AuthState,
    looped: bool,
}

/// What both bytes and facts are made of.
#[derive(Clone)]
struct Parts {
    method: &'static str,
    uri: String,
    from: String,
    to: String,
    event: Option<&'static str>,
    hops: Option<u32>,
}

impl Case {
    pub(crate) fn facts<'a>(&'a self, over: Over, watched: &'a Told) -> Facts<'a> {
        let p = &self.parts;
        Facts {
            listener: self.source.listener,
            transport: self.source.transport,
            source: self.source.remote.ip(),
            local: Some(self.source.local),
            identity: &self.shown.identity,
            method: p.method.as_bytes(),
            uri: uri_facts(&p.uri),
            from: uri_facts(&p.from),
            to: uri_facts(&p.to),
            event: p.event.map(str::as_bytes),
            max_forwards: p.hops,
            dialog: self.dialog,
            credentials: self.credentials,
            looped: self.looped,
            ring: false,
            over,
            held: &[],
            watched: Some(watched),
        }
    }
}

/// A nonce the bridge gave out.
#[derive(Clone, Default)]
struct Nonce {
    challenge: Challenge,
    given_ms: u64,
    /// Counts used so far.
    used: u32,
}

/// A request that was forwarded and may come back.
struct Forwarded {
    vias: String,
    call_id: String,
    from_tag: String,
    uri: String,
}

/// Makes cases.
pub(crate) struct Maker {
    identities: Vec<Shown>,
    nonce: Nonce,
    expired: Option<Nonce>,
    dialogs: Vec<Dialog>,
    forwarded: Option<Forwarded>,
    plain: u32,
}

impl Maker {
    pub(crate) fn start(world: &mut World) -> Outcome<Self> {
        let mut maker = Self {
            identities: identities(),
            nonce: Nonce::default(),
            expired: None,
            dialogs: Vec::new(),
            forwarded: None,
            plain: 0,
        };
        maker.keep_nonces(world)?;
        maker.dialogs = dialogs::open(&mut maker, world)?;
        let all = maker.plain(
            world,
            &Voice::named("c"),
            "MESSAGE",
            "sip:bob@b.example",
            "sip:bob@b.example",
            "",
        )?;
        let sent = all
            .iter()
            .find(|m| m.is("MESSAGE"))
            .ok_or("c's MESSAGE is forwarded to b")?;
        maker.forwarded = Some(Forwarded {
            vias: sent.all("Via").map(|via| format!("Via: {via}\r\n")).collect(),
            call_id: sent.header("Call-ID").unwrap_or_default().into(),
            from_tag: "plain".into(),
            uri: "sip:bob@b.example".into(),
        });
        Ok(maker)
    }

    /// Asks for a nonce before the last one expires, and uses its first count up.
    pub(crate) fn keep_nonces(&mut self, world: &mut World) -> Outcome {
        let now = world.now.mono_ms;
        if self.nonce.used > 0 && now < self.nonce.given_ms + 280_000 {
            return Ok(());
        }
        let asker = Voice {
            remote: "127.0.0.99:7000",
            ..Voice::named("alice")
        };
        let all = self.send_plain(world, &asker, "OPTIONS", "sip:a.example", "sip:a.example", "")?;
        let challenge = all.iter().find_map(|m| Challenge::parse(m.header("WWW-Authenticate")?));
        let fresh = Nonce {
            challenge: challenge.ok_or(format!("no challenge: {all:?}"))?,
            given_ms: now,
            used: 0,
        };
        let old = std::mem::replace(&mut self.nonce, fresh);
        self.expired = (old.used > 0).then_some(old);
        let header = self.header(Creds::Valid, "alice", "a.example", "OPTIONS", "sip:a.example");
        self.send_plain(world, &asker, "OPTIONS", "sip:a.example", "sip:a.example", &header)?;
        Ok(())
    }

    /// A proper request outside the count of cases; users prove themselves.
    pub(crate) fn plain(
        &mut self,
        world: &mut World,
        voice: &Voice,
        method: &'static str,
        uri: &str,
        to: &str,
        lines: &str,
    ) -> Outcome<Vec<Message>> {
        let header = match voice.peer {
            Some(_) => String::new(),
            None => self.header(Creds::Valid, "alice", "a.example", method, uri),
        };
        // Not more than the limits allow.
        world.pass(1000)?;
        self.send_plain(world, voice, method, uri, to, &format!("{header}{lines}"))
    }

    /// A request of the far side inside a dialog that the bridge began: To and Call-ID as the bridge wrote them.
    pub(crate) fn within(
        &mut self,
        world: &mut World,
        voice: &Voice,
        method: &str,
        (to, call_id): (&str, &str),
        lines: &str,
    ) -> Outcome<Vec<Message>> {
        let text = format!(
            "{method} sip:bridge.a.example SIP/2.0\r\nVia: SIP/2.0/UDP client.example;rport;branch=z9hG4bKplainin\r\nMax-Forwards: 70\r\n\
             From: <{}>;tag=far\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n{lines}Content-Length: 0\r\n\r\n",
            voice.from
        );
        let source = world.source(voice.listener, voice.remote)?;
        world.count(&source);
        let shown = self.identities[voice.identity].clone();
        world.exchange(source, &shown, &text)
    }

    fn send_plain(
        &mut self,
        world: &mut World,
        voice: &Voice,
        method: &str,
        uri: &str,
        to: &str,
        lines: &str,
    ) -> Outcome<Vec<Message>> {
        self.plain += 1;
        let (n, from) = (self.plain, voice.from);
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP client.example;rport;branch=z9hG4bKplain{n}x{}\r\nMax-Forwards: 70\r\n\
             From: <{from}>;tag=plain\r\nTo: <{to}>\r\nCall-ID: plain{n}\r\nCSeq: 1 {method}\r\n{lines}Content-Length: 0\r\n\r\n",
            world.now.mono_ms
        );
        let source = world.source(voice.listener, voice.remote)?;
        world.count(&source);
        let shown = self.identities[voice.identity].clone();
        world.exchange(source, &shown, &text)
    }

    /// The header line of credentials of this kind.
    fn header(&mut self, kind: Creds, user: &str, realm: &str, method: &str, uri: &str) -> String {
        let proxy = !matches!(method, "REGISTER" | "PUBLISH" | "SUBSCRIBE" | "OPTIONS");
        let name = if proxy { "Proxy-Authorization" } else { "Authorization" };
        let mut challenge = match (kind, &self.expired) {
            (Creds::Expired, Some(old)) => old.challenge.clone(),
            _ => self.nonce.challenge.clone(),
        };
        challenge.realm = realm.into();
        let (mut user, mut password) = (user.to_string(), format!("secret-{user}"));
        let (mut method, mut uri, mut count) = (method, uri, self.nonce.used + 1);
        match kind {
            Creds::None => return String::new(),
            Creds::WrongPassword => password.push('x'),
            Creds::NoSuchUser => user = "ghost".into(),
            Creds::OfAnother => (user, password) = ("off".into(), "secret-off".into()),
            Creds::Replayed => count = 1,
            Creds::ForgedNonce => challenge.nonce = "0".repeat(64),
            Creds::OtherUri => uri = "sip:elsewhere.example",
            Creds::OtherMethod => method = "OTHER",
            Creds::OtherRealm => challenge.realm = "elsewhere.example".into(),
            Creds::NoQop => challenge.qop = false,
            Creds::Valid | Creds::Expired => {}
        }
        if matches!(kind, Creds::Valid | Creds::OfAnother) {
            self.nonce.used += 1;
        }
        let value = challenge.answer(&user, &password, method, uri, count);
        format!("{name}: {value}\r\n")
    }

    pub(crate) fn case(&mut self, random: &mut Random, world: &mut World, number: u64) -> Outcome<Case> {
        match random.next_u64() % 100 {
            0..25 => self.anybody(random, world, number),
            25..50 => self.somebody(random, world, number),
            50..75 => self.user(random, world, number),
            75..95 => self.in_dialog(random, world, number),
            _ => self.returning(random, world, number),
        }
    }

    fn parts(random: &mut Random) -> Parts {
        Parts {
            method: pick(random, &METHODS),
            uri: pick(random, &URIS).into(),
            from: pick(random, &URIS).into(),
            to: pick(random, &URIS).into(),
            event: pick(random, &[None, Some("presence"), Some("dialog")]),
            hops: pick(random, &[None, Some(0), Some(1), Some(70)]),
        }
    }

    /// Everything at random.
    fn anybody(&mut self, random: &mut Random, world: &mut World, number: u64) -> Outcome<Case> {
        let listener = pick(
            random,
            &[Some(0), Some(1), Some(2), Some(3), Some(2), Some(3), None, Some(9)],
        );
        let remotes = [
            "127.0.0.1:7000",
            "127.0.0.8:5060",
            "127.0.0.7:5060",
            "127.0.0.66:1",
            "127.0.0.9:5061",
            "127.0.1.10:5061",
        ];
        let plain = matches!(listener, Some(0 | 1));
        let identity = if plain {
            0
        } else {
            (random.next_u64() % self.identities.len() as u64) as usize
        };
        let source = world.source(listener, pick(random, &remotes))?;
        Ok(self.build(source, identity, Self::parts(random), Extra::new("anybody", number)))
    }

    /// A peer that may speak; the rest at random.
    fn somebody(&mut self, random: &mut Random, world: &mut World, number: u64) -> Outcome<Case> {
        let (_, voice) = pick(random, &VOICES[..6]);
        let mut parts = Self::parts(random);
        if chance(random, 90) {
            parts.from = voice.from.into();
        }
        let source = world.source(voice.listener, voice.remote)?;
        Ok(self.build(source, voice.identity, parts, Extra::new("+a peer", number)))
    }

    /// A user with credentials of every kind.
    fn user(&mut self, random: &mut Random, world: &mut World, number: u64) -> Outcome<Case> {
        let (user, domain) = pick(
            random,
            &[
                ("alice", "a.example"),
                ("alice", "a.example"),
                ("off", "a.example"),
                ("mute", "a.example"),
                ("dora", "a2.example"),
            ],
        );
        let mut parts = Self::parts(random);
        parts.from = format!("sip:{user}@{domain}");
        if chance(random, 40) {
            (parts.to, parts.uri) = (parts.from.clone(), parts.from.clone());
        }
        let mut extra = Extra::new("+a user", number);
        self.prove(random, world, &mut extra, &parts, (user, domain), 50);
        let source = world.source(pick(random, &[Some(0), Some(1), Some(2)]), "127.0.0.1:7000")?;
        Ok(self.build(source, 0, parts, extra))
    }

    /// Adds credentials, right ones in so many of a hundred cases.
    fn prove(
        &mut self,
        random: &mut Random,
        world: &World,
        extra: &mut Extra,
        parts: &Parts,
        (user, domain): (&str, &str),
        right: u64,
    ) {
        let (kind, name) = if chance(random, right) {
            (Creds::Valid, "+credentials: right")
        } else {
            pick(random, &CREDS)
        };
        // Until the first nonce has expired there is none that has.
        let expired = self
            .expired
            .as_ref()
            .is_some_and(|old| world.now.mono_ms > old.given_ms + 300_000);
        if kind == Creds::Expired && !expired {
            return;
        }
        let named = |user: &str| world.user(user.as_bytes(), domain.as_bytes());
        extra.lines += &self.header(kind, user, domain, parts.method, &parts.uri);
        extra.kinds.push(name);
        extra.credentials = match kind {
            Creds::None | Creds::OtherRealm => AuthState::None,
            Creds::Valid => named(user).map_or(AuthState::Wrong, AuthState::Valid),
            Creds::OfAnother => named("off").map_or(AuthState::Wrong, AuthState::Valid),
            Creds::Expired | Creds::Replayed => AuthState::Stale,
            _ => AuthState::Wrong,
        };
    }

    /// A request that claims to belong to a dialog: from its sides, from other peers, with right and forged tags and tokens.
    fn in_dialog(&mut self, random: &mut Random, world: &mut World, number: u64) -> Outcome<Case> {
        let dialog = self.dialogs[(random.next_u64() % self.dialogs.len() as u64) as usize].clone();
        let rightful = chance(random, 60);
        let voice = if rightful {
            pick(random, &dialog.voices)
        } else {
            pick(random, &VOICES).1
        };
        let claims = [
            Claim::True,
            Claim::Forged,
            Claim::OtherCall,
            Claim::OtherToken,
            Claim::Second,
            Claim::NoToken,
        ];
        let claim = if chance(random, 60) {
            Claim::True
        } else {
            pick(random, &claims)
        };
        let mut parts = Self::parts(random);
        parts.from = voice.from.into();
        parts.method = pick(random, &["SUBSCRIBE", "NOTIFY", "BYE", "INFO", "MESSAGE", "INVITE"]);
        if chance(random, 8) {
            parts.from = pick(random, &URIS).into();
        }
        let mut extra = Extra::new(kind_of(claim, rightful), number);
        extra.kinds.push(match dialog.kind {
            Kind::Ends(_) if rightful && claim == Claim::True => "+in a dialog with us",
            Kind::Through(..) if rightful && claim == Claim::True => "+in a dialog through us",
            Kind::Ends(_) => "claims a dialog with us",
            Kind::Through(..) => "claims a dialog through us",
        });
        extra.kinds.push(dialog.name);
        if voice.peer.is_none() && parts.from == "sip:alice@a.example" {
            self.prove(random, world, &mut extra, &parts, ("alice", "a.example"), 80);
        }
        let through = matches!(dialog.kind, Kind::Through(..));
        extra.to_tag = if claim == Claim::Forged && !through {
            "forged0123456789".into()
        } else {
            dialog.tag.clone()
        };
        extra.call_id = if claim == Claim::OtherCall {
            format!("other{number}")
        } else {
            dialog.call_id.clone()
        };
        let other = self
            .dialogs
            .iter()
            .rfind(|d| !d.route.is_empty() && d.call_id != dialog.call_id);
        let other = other.map(|d| d.route.clone()).unwrap_or_default();
        let bare = "<sip:bridge.a.example;lr>";
        let routes = match claim {
            Claim::True | Claim::OtherCall => vec![dialog.route.clone()],
            Claim::Forged => vec![
                dialog
                    .route
                    .replacen('a', "b", 1)
                    .replacen('c', "d", 1)
                    .replacen('e', "f", 1),
            ],
            Claim::OtherToken => vec![other],
            Claim::Second => vec![bare.to_string(), dialog.route.clone()],
            Claim::NoToken => vec![bare.to_string()],
        };
        if through {
            extra.lines.extend(routes.iter().map(|r| format!("Route: {r}\r\n")));
        }
        extra.lines += "Subscription-State: active;expires=600\r\n";
        extra.cseq = u32::try_from(number)? + 10;
        // The tag and the Call-ID of another dialog with us are as good as a wrong Call-ID.
        let claim = if claim == Claim::OtherToken && !through {
            Claim::True
        } else {
            claim
        };
        extra.dialog = dialog.fact(claim, &voice, &parts.from, &|from| user_of(world, from));
        let source = world.source(voice.listener, voice.remote)?;
        Ok(self.build(source, voice.identity, parts, extra))
    }

    /// A request that has been here before, with the same target or another.
    fn returning(&mut self, random: &mut Random, world: &mut World, number: u64) -> Outcome<Case> {
        let (_, voice) = pick(random, &[VOICES[0], VOICES[3], VOICES[6]]);
        let mut parts = Self::parts(random);
        parts.from = voice.from.into();
        let mut extra = Extra::new("loops", number);
        let Some(seen) = &self.forwarded else {
            return Err("nothing was forwarded".into());
        };
        if chance(random, 60) {
            parts.uri.clone_from(&seen.uri);
        }
        extra.looped = parts.uri == seen.uri;
        if !extra.looped {
            extra.kinds = vec!["+spirals"];
        }
        extra.vias.clone_from(&seen.vias);
        extra.call_id.clone_from(&seen.call_id);
        extra.from_tag.clone_from(&seen.from_tag);
        extra.cseq = 1;
        // What loops was let pass before: its sender is not asked again.
        if extra.looped
            && let Some(Party::User(user)) = user_of(world, &parts.from)
        {
            extra.credentials = AuthState::Valid(user);
        }
        let source = world.source(voice.listener, voice.remote)?;
        Ok(self.build(source, voice.identity, parts, extra))
    }

    fn build(&self, source: Source, identity: usize, parts: Parts, extra: Extra) -> Case {
        let Parts {
            method,
            uri,
            from,
            to,
            event,
            hops,
        } = &parts;
        let event = event.map(|e| format!("Event: {e}\r\n")).unwrap_or_default();
        let hops = hops.map(|h| format!("Max-Forwards: {h}\r\n")).unwrap_or_default();
        let to_tag = if extra.to_tag.is_empty() {
            String::new()
        } else {
            format!(";tag={}", extra.to_tag)
        };
        let Extra {
            branch,
            vias,
            from_tag,
            call_id,
            cseq,
            lines,
            ..
        } = &extra;
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP client.example;rport;branch={branch}\r\n{vias}{hops}From: <{from}>;tag={from_tag}\r\n\
             To: <{to}>{to_tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:x@127.0.0.1:7000>\r\n{event}{lines}\
             Content-Length: 0\r\n\r\n"
        );
        Case {
            text,
            branch: extra.branch,
            source,
            shown: self.identities[identity].clone(),
            kinds: extra.kinds,
            parts,
            dialog: extra.dialog,
            credentials: extra.credentials,
            looped: extra.looped,
        }
    }
}

fn kind_of(claim: Claim, rightful: bool) -> &'static str {
    match (claim, rightful) {
        (Claim::True, true) => "+dialog: from its side",
        (Claim::True, false) => "dialog: right tag or token from anybody",
        (Claim::Forged, _) => "dialog: forged tag or token",
        (Claim::OtherCall, _) => "dialog: another Call-ID",
        (Claim::OtherToken, _) => "dialog: token of another",
        (Claim::Second, _) => "+dialog: token in the second Route",
        (Claim::NoToken, _) => "dialog: no token",
    }
}

/// What a case has besides its parts.
struct Extra {
    kinds: Vec<&'static str>,
    branch: String,
    vias: String,
    from_tag: String,
    to_tag: String,
    call_id: String,
    cseq: u32,
    lines: String,
    dialog: Option<InDialog>,
    credentials: AuthState,
    looped: bool,
}

impl Extra {
    fn new(kind: &'static str, number: u64) -> Self {
        Self {
            kinds: vec![kind],
            branch: format!("z9hG4bK{number}"),
            vias: String::new(),
            from_tag: format!("f{number}"),
            to_tag: String::new(),
            call_id: format!("c{number}"),
            cseq: 1,
            lines: String::new(),
            dialog: None,
            credentials: AuthState::None,
            looped: false,
        }
    }
}
