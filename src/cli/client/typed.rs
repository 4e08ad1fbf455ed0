//! The typed edge: requests and answers of the small clients as `rsip` types.
//!
//! What `rsip` 0.4 cannot say or read goes another way, in one place each: IPv6 addresses are given to it as host names
//! with brackets; an answer that it refuses (compact forms, folded lines) is read by our own view; a challenge that it
//! refuses (`SHA-256`, `qop="auth,auth-int"`) or that has no `qop` is read and answered by our own digest code.

use std::net::SocketAddr;

use rsip::headers::auth::{AuthQop, Qop};
use rsip::prelude::*;
use rsip::typed::{Authorization, WwwAuthenticate};

use crate::sip::digest;
use crate::sip::field::NameAddr;
use crate::sip::header::Name;
use crate::sip::message::{Framing, Index, Start, View, parse};
use crate::sip::random::Random;
use crate::sip::uri::{Aor, Uri};

/// The other side of a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    /// Its tag.
    tag: String,
    /// Where requests inside the dialog go.
    target: rsip::Uri,
}

impl Remote {
    /// From a 2xx with a tag and a Contact.
    fn read(view: &View<'_>) -> Option<Self> {
        let tag = NameAddr::parse(view.header(Name::To)?).ok()?.tag()?;
        let contact = NameAddr::parse(view.header(Name::Contact)?).ok()?;
        let target = Uri::parse(contact.uri).ok()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Self {
            tag: text(tag),
            target: rsip::Uri {
                scheme: Some(rsip::Scheme::Sip),
                auth: target.user.map(|user| rsip::Auth {
                    user: text(user),
                    password: None,
                }),
                host_with_port: rsip::HostWithPort {
                    host: rsip::Host::Domain(rsip::Domain::from(text(target.host_bytes()))),
                    port: target.port.map(Into::into),
                },
                ..rsip::Uri::default()
            },
        })
    }
}

/// The parts of a request that a user agent chooses.
#[derive(Debug, Clone)]
pub(super) struct Parts<'a> {
    pub(super) method: rsip::Method,
    pub(super) target: &'a Aor,
    /// The dialog the request belongs to.
    pub(super) remote: Option<&'a Remote>,
    pub(super) from: &'a Aor,
    pub(super) tag: &'a str,
    pub(super) call_id: &'a str,
    pub(super) cseq: u32,
    pub(super) transport: rsip::Transport,
    pub(super) local: SocketAddr,
    pub(super) branch: &'a str,
    pub(super) headers: &'a [rsip::Header],
    pub(super) body: Option<(&'a str, &'a str)>,
}

/// An address-of-record as a URI.
pub(super) fn uri(aor: &Aor) -> rsip::Uri {
    rsip::Uri {
        scheme: Some(rsip::Scheme::Sip),
        // The user part as it is written on the wire, with its escapes.
        auth: aor
            .to_uri()
            .strip_prefix("sip:")
            .and_then(|u| u.rsplit_once('@'))
            .map(|(user, _)| rsip::Auth {
                user: user.into(),
                password: None,
            }),
        host_with_port: rsip::HostWithPort {
            host: rsip::Host::Domain(rsip::Domain::from(aor.domain())),
            port: None,
        },
        ..rsip::Uri::default()
    }
}

/// A socket address. As an address `rsip` would write IPv6 without its brackets.
fn host(at: SocketAddr) -> rsip::HostWithPort {
    let name = match at {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    rsip::HostWithPort {
        host: rsip::Host::Domain(rsip::Domain::from(name)),
        port: Some(at.port().into()),
    }
}

/// A Contact that leads back to this socket.
pub(super) fn contact(local: SocketAddr, transport: rsip::Transport) -> rsip::Header {
    let params = match transport {
        rsip::Transport::Udp => Vec::new(),
        other => vec![rsip::Param::Transport(other)],
    };
    rsip::typed::Contact {
        display_name: None,
        uri: rsip::Uri {
            scheme: Some(rsip::Scheme::Sip),
            host_with_port: host(local),
            params,
            ..rsip::Uri::default()
        },
        params: Vec::new(),
    }
    .into()
}

/// The request, with what RFC 3261 8.1.1 asks for.
pub(super) fn request(parts: &Parts<'_>) -> rsip::Request {
    let mut headers = head(parts);
    parts.headers.iter().for_each(|header| headers.push(header.clone()));
    let body = parts.body.map_or("", |(_, body)| body);
    if let Some((kind, _)) = parts.body {
        headers.push(rsip::headers::ContentType::new(kind).into());
    }
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    headers.push(rsip::headers::ContentLength::from(length).into());
    rsip::Request {
        method: parts.method,
        uri: parts
            .remote
            .map_or_else(|| uri(parts.target), |remote| remote.target.clone()),
        version: rsip::Version::V2,
        headers,
        body: body.as_bytes().to_vec(),
    }
}

/// Via to CSeq.
fn head(parts: &Parts<'_>) -> rsip::Headers {
    let mut headers = rsip::Headers::default();
    headers.push(
        rsip::typed::Via {
            version: rsip::Version::V2,
            transport: parts.transport,
            uri: host(parts.local).into_uri(),
            params: vec![
                rsip::Param::Branch(rsip::param::Branch::new(parts.branch)),
                rsip::Param::Other("rport".into(), None),
            ],
        }
        .into(),
    );
    headers.push(rsip::headers::MaxForwards::from(70).into());
    headers.push(
        rsip::typed::From {
            display_name: None,
            uri: uri(parts.from),
            params: vec![rsip::Param::Tag(rsip::param::Tag::new(parts.tag))],
        }
        .into(),
    );
    headers.push(
        rsip::typed::To {
            display_name: None,
            uri: uri(parts.target),
            params: parts
                .remote
                .map(|remote| rsip::Param::Tag(rsip::param::Tag::new(&remote.tag)))
                .into_iter()
                .collect(),
        }
        .into(),
    );
    headers.push(rsip::headers::CallId::new(parts.call_id).into());
    headers.push(
        rsip::typed::CSeq {
            seq: parts.cseq,
            method: parts.method,
        }
        .into(),
    );
    headers
}

trait IntoUri {
    fn into_uri(self) -> rsip::Uri;
}

impl IntoUri for rsip::HostWithPort {
    /// A sent-by: no scheme.
    fn into_uri(self) -> rsip::Uri {
        rsip::Uri {
            scheme: None,
            host_with_port: self,
            ..rsip::Uri::default()
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone)]
enum Challenge {
    Typed(Box<WwwAuthenticate>),
    Own(digest::Challenge),
}

/// A final answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The reason phrase as it was written; `rsip` keeps only the usual one.
    pub(super) reason: String,
    /// Warning or Reason: why it was refused.
    pub(super) detail: Option<String>,
    /// SIP-ETag, for a publication.
    pub(super) etag: Option<String>,
    /// The dialog it makes, if it makes one.
    pub(super) remote: Option<Remote>,
    challenge: Option<Challenge>,
}

impl Answer {
    /// Reads a response; `None` when it is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut index = Index::new();
        let view = parse(bytes, Framing::Datagram, &mut index).ok()?;
        let Start::Response { status, reason } = view.start() else {
            return None;
        };
        let reason = String::from_utf8_lossy(reason).into_owned();
        match rsip::Response::try_from(bytes) {
            Ok(response) if response.status_code.code() == status => Some(Self::typed(&response, reason, &view)),
            _ => Some(Self::own(status, reason, &view)),
        }
    }

    fn typed(response: &rsip::Response, reason: String, view: &View<'_>) -> Self {
        let (mut detail, mut etag, mut challenge) = (None, None, None);
        for header in response.headers().iter() {
            match header {
                rsip::Header::Warning(warning) => detail = Some(warning.value().to_string()),
                rsip::Header::Other(name, value) if name.eq_ignore_ascii_case("Reason") => {
                    detail.get_or_insert(value.clone());
                }
                rsip::Header::Other(name, value) if name.eq_ignore_ascii_case("SIP-ETag") => etag = Some(value.clone()),
                rsip::Header::WwwAuthenticate(header) if challenge.is_none() => {
                    challenge = typed_challenge(header.clone().typed().ok());
                }
                rsip::Header::ProxyAuthenticate(header) if challenge.is_none() => {
                    // Both headers have one grammar (RFC 3261 section 25).
                    let same = rsip::headers::WwwAuthenticate::new(header.value());
                    challenge = typed_challenge(same.typed().ok());
                }
                _ => {}
            }
        }
        Self {
            status: response.status_code.code(),
            reason,
            detail,
            etag,
            remote: Remote::read(view),
            challenge: challenge.or_else(|| own_challenge(view)),
        }
    }

    fn own(status: u16, reason: String, view: &View<'_>) -> Self {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let detail = [Name::Warning, Name::Reason].into_iter().find_map(|n| view.header(n));
        Self {
            status,
            reason,
            detail: detail.map(text),
            etag: view.named("SIP-ETag").next().map(text),
            remote: Remote::read(view),
            challenge: own_challenge(view),
        }
    }

    /// Whether it is 2xx.
    pub(super) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The header that answers its challenge, if there is one that can be answered.
    pub(super) fn credentials(
        &self,
        user: &str,
        password: &str,
        request: &rsip::Request,
        random: &mut Random,
    ) -> Option<rsip::Header> {
        let value = match self.challenge.as_ref()? {
            Challenge::Typed(challenge) => typed_answer(challenge, user, password, request, random),
            Challenge::Own(challenge) => {
                let (method, uri) = (request.method.to_string(), request.uri.to_string());
                digest::answer(challenge, user, password, method.as_bytes(), &uri, 1, random)
            }
        };
        Some(match self.status {
            407 => rsip::headers::ProxyAuthorization::new(value).into(),
            _ => rsip::headers::Authorization::new(value).into(),
        })
    }
}

/// A challenge that `rsip` can also answer.
fn typed_challenge(challenge: Option<WwwAuthenticate>) -> Option<Challenge> {
    let usable = |c: &WwwAuthenticate| {
        c.scheme == rsip::headers::auth::Scheme::Digest
            && c.qop == Some(Qop::Auth)
            && matches!(c.algorithm, None | Some(rsip::headers::auth::Algorithm::Md5))
            && !c.realm.contains(['"', '\\'])
    };
    challenge.filter(usable).map(|c| Challenge::Typed(Box::new(c)))
}

fn own_challenge(view: &View<'_>) -> Option<Challenge> {
    let names = [Name::WwwAuthenticate, Name::ProxyAuthenticate];
    let mut values = names.into_iter().flat_map(|name| view.headers(name));
    values.find_map(digest::Challenge::parse).map(Challenge::Own)
}

fn typed_answer(
    c: &WwwAuthenticate,
    user: &str,
    password: &str,
    request: &rsip::Request,
    random: &mut Random,
) -> String {
    let cnonce = String::from_utf8_lossy(&random.token::<16>()).into_owned();
    let mut authorization = Authorization {
        scheme: rsip::headers::auth::Scheme::Digest,
        username: user.into(),
        realm: c.realm.clone(),
        nonce: c.nonce.clone(),
        uri: request.uri.clone(),
        response: String::new(),
        algorithm: Some(rsip::headers::auth::Algorithm::Md5),
        opaque: c.opaque.clone(),
        qop: Some(AuthQop::Auth { cnonce, nc: 1 }),
    };
    authorization.response = rsip::services::DigestGenerator::from(&authorization, password, &request.method).compute();
    authorization.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aor(text: &str) -> Aor {
        Aor::parse(text).expect("an address")
    }

    fn message(local: SocketAddr) -> rsip::Request {
        request(&Parts {
            method: rsip::Method::Message,
            target: &aor("bob@b.example"),
            remote: None,
            from: &aor("alice@a.example"),
            tag: "t1",
            call_id: "c1",
            cseq: 3,
            transport: rsip::Transport::Tcp,
            local,
            branch: "z9hG4bKx",
            headers: &[contact(local, rsip::Transport::Tcp)],
            body: Some(("text/plain", "Grüße")),
        })
    }

    #[test]
    fn requests_are_read_by_our_own_view() {
        for local in ["192.0.2.1:5070", "[2001:db8::1]:5070"] {
            let wire = message(local.parse().expect("an address")).to_string();
            let mut index = Index::new();
            let view = parse(wire.as_bytes(), Framing::Stream, &mut index).expect(&wire);
            let essentials = view.essentials().expect(&wire);
            assert_eq!(essentials.via.sent_by(), local.as_bytes());
            assert_eq!(
                view.header(Name::Via),
                Some(format!("SIP/2.0/TCP {local};branch=z9hG4bKx;rport").as_bytes())
            );
            assert_eq!(
                view.header(Name::Contact),
                Some(format!("<sip:{local};transport=TCP>").as_bytes())
            );
            assert_eq!(
                (view.request_uri(), view.body()),
                (&b"sip:bob@b.example"[..], "Grüße".as_bytes())
            );
        }
    }

    fn answer(challenge: &str) -> Answer {
        let head = "SIP/2.0 401 Who Are You\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nTo: <sip:b@b>;tag=1\r\nFrom: <sip:a@a>;tag=2\r\n";
        let text = format!("{head}Call-ID: c\r\nCSeq: 1 MESSAGE\r\n{challenge}Content-Length: 0\r\n\r\n");
        Answer::read(text.as_bytes()).expect("an answer")
    }

    #[test]
    fn challenges_are_answered_whoever_can_read_them() {
        let request = message("192.0.2.1:5070".parse().expect("an address"));
        for (header, typed) in [
            (
                "WWW-Authenticate: Digest realm=\"a\", nonce=\"n\", qop=\"auth\", algorithm=MD5\r\n",
                true,
            ),
            (
                "Proxy-Authenticate: Digest realm=\"a\", nonce=\"n\", qop=\"auth\"\r\n",
                true,
            ),
            (
                "WWW-Authenticate: Digest realm=\"a\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256\r\n",
                false,
            ),
            (
                "WWW-Authenticate: Digest realm=\"a\", nonce=\"n\", qop=\"auth,auth-int\"\r\n",
                false,
            ),
            (
                "WWW-Authenticate: Digest realm=\"a\",\r\n nonce=\"n\", qop=\"auth\"\r\nl: 0\r\n",
                false,
            ),
        ] {
            let answer = answer(header);
            assert_eq!((answer.status, answer.reason.as_str()), (401, "Who Are You"));
            assert_eq!(matches!(answer.challenge, Some(Challenge::Typed(_))), typed, "{header}");
            let mut random = Random::from_seed([1; 32]);
            let value = answer
                .credentials("alice", "pw", &request, &mut random)
                .expect(header)
                .to_string();
            let (_, value) = value.split_once(": ").expect("a header line");
            let credentials = digest::Credentials::parse(value.as_bytes()).expect(value);
            assert!(digest::proves(&credentials, "pw", b"MESSAGE"), "{value}");
            assert!(!digest::proves(&credentials, "wrong", b"MESSAGE"));
        }
        assert!(
            answer("")
                .credentials("alice", "pw", &request, &mut Random::from_seed([1; 32]))
                .is_none()
        );
    }
}
