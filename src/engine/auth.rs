//! Digest credentials of local users (RFC 3261 section 22): checked before the decision, which says what they open.

use std::sync::Arc;

use super::reply::Request;
use super::{Engine, Event, Output};
use crate::policy::{AuthState, UserId};
use crate::sip::digest::{Algorithm, Credentials, Nonces, Unusable, Verdict, proves};
use crate::sip::header::Name;
use crate::sip::message::{Essentials, Malformed, View};
use crate::sip::net::Source;
use crate::sip::random::Random;
use crate::sip::time::Now;
use crate::sip::uri::Uri;

/// How long a nonce may be used.
const NONCE_LIFETIME_MS: u64 = 300_000;

/// Nonces of this shard.
#[derive(Debug)]
pub(super) struct Authenticator {
    nonces: Nonces,
    /// Verified against for users that do not exist, so that they cost the same time.
    nobody: String,
}

impl Authenticator {
    pub(super) fn new(random: &mut Random) -> Self {
        let nobody = String::from_utf8_lossy(&random.token::<24>()).into_owned();
        Self {
            nonces: Nonces::new(random, NONCE_LIFETIME_MS),
            nobody,
        }
    }

    /// One challenge per algorithm, in the configured order.
    pub(super) fn challenges(
        &self,
        now: Now,
        random: &mut Random,
        realm: &str,
        stale: bool,
        algorithms: &[Algorithm],
    ) -> Vec<String> {
        let stale = if stale { ", stale=true" } else { "" };
        algorithms
            .iter()
            .map(|algorithm| {
                let nonce = self.nonces.make(now, random);
                let name = algorithm.name();
                format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={name}, qop=\"auth\"{stale}")
            })
            .collect()
    }
}

impl Engine {
    /// Checks the credentials of a request, if it carries some for our realm.
    ///
    /// # Errors
    /// When nobody can say whose credentials they are.
    pub(super) fn check_credentials(
        &mut self,
        now: Now,
        source: &Source,
        view: &View<'_>,
        essentials: &Essentials<'_>,
    ) -> Result<AuthState, Malformed> {
        let realm = self.realm(essentials);
        let mut state = AuthState::None;
        for name in [Name::Authorization, Name::ProxyAuthorization] {
            for value in view.headers(name) {
                match Credentials::parse(value) {
                    Ok(credentials) if *credentials.realm == *realm => {
                        return Ok(self.check(now, source, (view, essentials), &credentials, &realm));
                    }
                    Ok(_) => {}
                    Err(Unusable::NotTaken(_)) => state = AuthState::Wrong,
                    Err(Unusable::Ambiguous(problem)) => {
                        return Err(Malformed {
                            header: Some(name),
                            ..problem
                        });
                    }
                }
            }
        }
        Ok(state)
    }

    fn check(
        &mut self,
        now: Now,
        source: &Source,
        (view, essentials): (&View<'_>, &Essentials<'_>),
        credentials: &Credentials,
        realm: &str,
    ) -> AuthState {
        let user = self.user_named(&credentials.username, realm);
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        let secret = user.and_then(|id| snapshot.user(id)).map(|u| u.password.reveal());
        let method = view.method().map_or(&b""[..], |m| m.as_bytes());
        let proven = proves(credentials, secret.unwrap_or(&self.auth.nobody), method);
        // A digest for another URI is a digest for another request.
        let uri = credentials.uri.as_bytes();
        let for_this =
            same_target(uri, view.request_uri()) || (method == b"REGISTER" && self.is_registrar(source, uri));
        let for_this = for_this || (uri == b"(null)" && self.may_name_null(source, user, essentials));
        let why = match (user, proven, for_this) {
            (None, ..) => "there is no such user",
            (_, false, _) => "the password is wrong",
            (_, _, false) => "they were made for another URI",
            (Some(user), true, true) => match self.auth.nonces.take(now, &credentials.nonce, credentials.nc) {
                Verdict::Fresh => return AuthState::Valid(user),
                Verdict::Stale => return AuthState::Stale,
                Verdict::Forged => "the nonce is not ours",
            },
        };
        self.note_wrong_credentials(now, source, (&credentials.username, &credentials.realm), why);
        AuthState::Wrong
    }

    /// Clients of a dialect that has them name `(null)`: taken only by its listeners, over a stream, and of the user who
    /// says From, so that such a digest opens nothing that its sender's address does not.
    fn may_name_null(&self, source: &Source, user: Option<UserId>, essentials: &Essentials<'_>) -> bool {
        let from = Uri::parse(essentials.from.uri).ok();
        let claimed = from.and_then(|from| self.snapshot.users.find(from.user?, from.host_bytes()));
        let dialect = self.client_dialect(source.listener);
        source.transport.is_reliable() && dialect.sip.digest_uri_null && user.is_some() && user == claimed
    }

    /// Some clients (sipp) name the registrar by the socket they send to, and IPv6 addresses without brackets.
    fn is_registrar(&self, source: &Source, uri: &[u8]) -> bool {
        let bare = format!("sip:{}:{}", source.local.ip(), source.local.port());
        uri == bare.as_bytes() || Uri::parse(uri).is_ok_and(|uri| uri.user.is_none() && self.is_own_uri(&uri))
    }

    /// The sender learns only that it is challenged again; the administrator learns why.
    fn note_wrong_credentials(&mut self, now: Now, source: &Source, (user, realm): (&str, &str), why: &str) {
        if self.rates.worth_logging(now.mono_ms, source.remote.ip(), why) {
            // As an address, which redaction knows; in one word, so that it finds all of it.
            let parts = |c: char| c.is_whitespace() || "\"'`<>()[]{}".contains(c);
            let word = |text: &str| super::inbound::printable(text.as_bytes()).replace(parts, "_");
            let who = match user.trim_end_matches('@') {
                whole if whole.contains('@') => word(whole),
                user => format!("{}@{}", word(user), word(realm)),
            };
            let note = format!("credentials of {who} from {} do not count: {why}", source.remote);
            self.outputs.push_back(Output::Log(Event::Note(note)));
        }
    }

    /// Clients name themselves `alice`, `alice@a.example` or, like sipsak, `alice@`.
    fn user_named(&self, username: &str, realm: &str) -> Option<UserId> {
        let (user, domain) = match username.rsplit_once('@') {
            Some((user, domain)) if domain.is_empty() || domain.eq_ignore_ascii_case(realm) => (user, realm),
            _ => (username, realm),
        };
        self.snapshot.users.find_plain(user, domain)
    }

    /// The realm of a sender is its own domain.
    pub(super) fn realm(&self, essentials: &Essentials<'_>) -> Arc<str> {
        let host = Uri::parse(essentials.from.uri)
            .map(|u| u.host_bytes())
            .unwrap_or_default();
        let domain = self
            .snapshot
            .local_domain(host)
            .and_then(|id| self.snapshot.domains.at(usize::from(id.0)));
        domain.map_or_else(
            || Arc::clone(&self.snapshot.identity.host),
            |(name, _)| Arc::clone(name),
        )
    }

    /// Asks for credentials.
    pub(super) fn challenge(
        &mut self,
        now: Now,
        request: &Request<'_>,
        stale: bool,
        proxy: bool,
        rule: &crate::policy::RuleRef,
    ) {
        let realm = self.realm(request.essentials);
        let challenges = self
            .auth
            .challenges(now, &mut self.random, &realm, stale, &self.snapshot.registrar.digest);
        let name: &[u8] = if proxy {
            b"Proxy-Authenticate"
        } else {
            b"WWW-Authenticate"
        };
        let warning = format!("399 {} \"{}\"", self.host(), rule.id);
        let mut headers: Vec<(&[u8], &[u8])> = challenges.iter().map(|c| (name, c.as_bytes())).collect();
        headers.push((b"Warning", warning.as_bytes()));
        let status = if proxy { 407 } else { 401 };
        let answer = super::reply::Answer::new(status, super::reply::phrase(status));
        self.turn_away(now, request, answer.with(&headers));
        // These clients say the same again with credentials, branch and CSeq included, and do not acknowledge a 407.
        if self.client_dialect(request.source.listener).sip.roaming && request.source.transport.is_reliable() {
            self.layer.drop_server(request.server);
        }
    }
}

fn same_target(a: &[u8], b: &[u8]) -> bool {
    a == b || matches!((Uri::parse(a), Uri::parse(b)), (Ok(a), Ok(b)) if a.equals(&b))
}
