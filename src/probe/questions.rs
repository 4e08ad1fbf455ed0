//! The questions, in the order in which they are asked.

use super::wire::{Request, clean};
use super::{About, Setup};
use crate::dialect::{Format, built_in};
use crate::im::cpim;
use crate::sip::net::Transport;

/// What a test message says.
const TEXT: &str = "This is a test of the link; nobody needs to answer.";
/// Media lines of sessions that are offered.
pub(super) const MEDIA: [&str; 2] = ["message", "x-ms-message"];

/// A question: what it is about, in words, and the request without what differs each time.
pub(super) struct Question {
    pub(super) about: About,
    pub(super) sent: String,
    pub(super) request: Request,
}

fn question(about: About, sent: impl Into<String>, request: Request) -> Question {
    Question {
        about,
        sent: sent.into(),
        request,
    }
}

fn request(method: &'static str, target: &str) -> Request {
    Request {
        method,
        target: target.to_owned(),
        to: format!("<{target}>"),
        contact: method != "MESSAGE",
        ..Request::default()
    }
}

/// All questions that the setup allows.
pub(super) fn all(setup: &Setup) -> Vec<Question> {
    let mut all = options(setup);
    if let Some(to) = &setup.to {
        presence(to, &mut all);
    }
    if let Some(to) = &setup.message_to {
        messages(setup, to, &mut all);
    }
    all
}

fn options(setup: &Setup) -> Vec<Question> {
    let domain = format!("sip:{}", setup.domain);
    let ask = || Request {
        headers: vec![("Accept", "application/sdp".into()), ("Supported", "timer".into())],
        ..request("OPTIONS", &domain)
    };
    let mut all = vec![question(About::Options, "OPTIONS", ask())];
    let compact = Request { compact: true, ..ask() };
    all.push(question(About::Compact, "OPTIONS in compact form", compact));
    // More than a datagram carries would test the network.
    if setup.transport != Transport::Udp {
        let mut long = ask();
        long.headers.push(("Subject", "long ".repeat(800)));
        all.push(question(About::Long, "OPTIONS with a header of 4,000 bytes", long));
    }
    all.push(question(About::Branchless, "OPTIONS without a branch in Via", ask()));
    let mut required = ask();
    required.headers.push(("Proxy-Require", "ms-benotify".into()));
    all.push(question(
        About::Required,
        "OPTIONS with Proxy-Require: ms-benotify",
        required,
    ));
    let mut unknown = request("SUBSCRIBE", setup.to.as_ref().unwrap_or(&domain));
    unknown.headers = vec![("Event", "x-trestle-probe".into()), ("Expires", "0".into())];
    all.push(question(
        About::UnknownEvent,
        "SUBSCRIBE to an event package that nobody has",
        unknown,
    ));
    all
}

/// The formats that are asked for one by one: those with a label of their own.
pub(super) fn formats() -> impl Iterator<Item = Format> {
    Format::ALL.into_iter().filter(|f| *f != Format::PidfText)
}

fn presence(to: &str, all: &mut Vec<Question>) {
    let subscribe = |accept: &str, expires: Option<&str>| {
        let mut ask = request("SUBSCRIBE", to);
        ask.headers = vec![("Event", "presence".into()), ("Accept", accept.to_owned())];
        ask.headers.extend(expires.map(|e| ("Expires", e.to_owned())));
        ask
    };
    for format in formats() {
        let media = format.media_type();
        let sent = format!("SUBSCRIBE for once, {media} alone");
        all.push(question(About::Fetch(format), sent, subscribe(media, Some("0"))));
    }
    let any: Vec<&str> = formats().map(Format::media_type).collect();
    let any = any.join(", ");
    all.push(question(
        About::NoExpires,
        "SUBSCRIBE without Expires",
        subscribe(&any, None),
    ));
    let mut offers = subscribe(&any, Some("60"));
    // What any dialect here understands is offered, in the words of the mapping files.
    let tags = ["ms-benotify", "ms-piggyback-first-notify", "com.microsoft.autoextend"];
    let known = |tag: &&str| built_in().iter().any(|d| d.sip.understands(tag.as_bytes()));
    offers
        .headers
        .extend(tags.into_iter().filter(known).map(|tag| ("Supported", tag.to_owned())));
    offers.headers.push(("Proxy-Require", "ms-benotify".into()));
    all.push(question(
        About::Offers,
        "SUBSCRIBE that offers BENOTIFY and a first document in the answer",
        offers,
    ));
}

fn messages(setup: &Setup, to: &str, all: &mut Vec<Question>) {
    let wrapped = cpim::wrap(
        &clean(&setup.from),
        &clean(to),
        "2000-01-01T00:00:00Z",
        "",
        "text/plain",
        TEXT.as_bytes(),
    );
    let wrapped = String::from_utf8_lossy(&wrapped).into_owned();
    let html = format!("<html><body>{TEXT}</body></html>");
    for (media, body) in [
        ("text/plain", TEXT.to_owned()),
        ("message/cpim", wrapped),
        ("text/html", html),
    ] {
        let mut ask = request("MESSAGE", to);
        ask.body = Some((media.to_owned(), body));
        all.push(question(
            About::Message(media),
            format!("MESSAGE by itself, {media}"),
            ask,
        ));
    }
    for media in MEDIA {
        let mut ask = request("INVITE", to);
        let (family, host) = match setup.contact.rsplit_once(':').map_or("", |(host, _)| host) {
            host if host.starts_with('[') => ("IP6", host.trim_matches(['[', ']'])),
            host => ("IP4", host),
        };
        let sdp = format!(
            "v=0\r\no=- 0 0 IN {family} {host}\r\ns=session\r\nc=IN {family} {host}\r\nt=0 0\r\nm={media} 5060 sip null\r\n\
             a=accept-types:text/plain\r\n"
        );
        ask.headers = vec![("Supported", "timer".into()), ("Session-Expires", "1800".into())];
        ask.body = Some(("application/sdp".to_owned(), sdp));
        all.push(question(
            About::Invite(media),
            format!("INVITE with m={media}, ended at once"),
            ask,
        ));
    }
}
