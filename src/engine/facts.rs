//! From a message view to the facts that `decide` judges. Everything stays borrowed.

use crate::policy::{AuthState, Facts, Identity, InDialog, Over, Scheme, UriFacts, Watched};
use crate::sip::field::EventHeader;
use crate::sip::header::Name;
use crate::sip::message::{Essentials, Malformed, View};
use crate::sip::net::Source;
use crate::sip::uri::{self, Uri};

/// What the engine knows besides the message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) identity: &'a Identity,
    pub(super) dialog: Option<InDialog>,
    pub(super) credentials: AuthState,
    pub(super) looped: bool,
    pub(super) ring: bool,
    pub(super) over: Over,
    pub(super) held: &'a [u32],
    pub(super) watched: Option<&'a dyn Watched>,
}

/// Gathers the facts of one request; fails when a URI that matters cannot be read.
pub(super) fn gather<'a>(
    source: &Source,
    view: &View<'a>,
    essentials: &Essentials<'a>,
    known: Known<'a>,
) -> Result<Facts<'a>, Malformed> {
    let request_uri = Uri::parse(view.request_uri())?;
    // RFC 3261 section 19.1.1, table 1; passed on, they could become headers of somebody's request.
    if !request_uri.headers.is_empty() {
        return Err(Malformed::message("the Request-URI holds headers"));
    }
    let from = Uri::parse(essentials.from.uri)?;
    let to = Uri::parse(essentials.to.uri)?;
    let event = view
        .header(Name::Event)
        .and_then(|v| EventHeader::parse(v).ok())
        .map(|e| e.package);
    Ok(Facts {
        listener: source.listener,
        transport: known.identity.counts_as(source.transport),
        source: source.remote.ip(),
        local: Some(source.local),
        identity: known.identity,
        method: essentials.method.as_bytes(),
        uri: uri_facts(&request_uri),
        from: uri_facts(&from),
        to: uri_facts(&to),
        event,
        max_forwards: essentials.max_forwards,
        dialog: known.dialog,
        credentials: known.credentials,
        looped: known.looped,
        ring: known.ring,
        over: known.over,
        held: known.held,
        watched: known.watched,
    })
}

/// The parts of a URI that a decision may rest on.
#[must_use]
pub(super) fn uri_facts<'a>(uri: &Uri<'a>) -> UriFacts<'a> {
    UriFacts {
        scheme: match uri.scheme {
            uri::Scheme::Sip => Scheme::Sip,
            uri::Scheme::Sips => Scheme::Sips,
            uri::Scheme::Tel => Scheme::Tel,
            uri::Scheme::Pres => Scheme::Pres,
            uri::Scheme::Im => Scheme::Im,
            uri::Scheme::Other(_) => Scheme::Other,
        },
        user: uri.user,
        host: uri.host_bytes(),
        number_params: if uri.scheme == uri::Scheme::Tel {
            uri.params.raw()
        } else {
            b""
        },
        port: uri.port,
        maddr: uri.params.get(b"maddr").is_some(),
    }
}
