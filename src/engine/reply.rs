//! Answering: responses that the bridge itself makes.

use bytes::Bytes;

use super::{Engine, Output};
use crate::sip::header::Name;
use crate::sip::message::{Essentials, Malformed, View, salvage};
use crate::sip::net::{Destination, ListenerId, Source, at_port};
use crate::sip::time::Now;
use crate::sip::transaction::ServerId;
use crate::sip::write;

/// A response in the making.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) reason: &'a str,
    /// Added to To when it has none.
    pub(super) to_tag: Option<&'a [u8]>,
    pub(super) headers: &'a [(&'a [u8], &'a [u8])],
    pub(super) body: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(status: u16, reason: &'a str) -> Self {
        Self {
            status,
            reason,
            to_tag: None,
            headers: &[],
            body: None,
        }
    }

    pub(super) fn with(self, headers: &'a [(&'a [u8], &'a [u8])]) -> Self {
        Self { headers, ..self }
    }

    pub(super) fn tag(self, to_tag: &'a [u8]) -> Self {
        Self {
            to_tag: Some(to_tag),
            ..self
        }
    }
}

/// A request being worked on: its server transaction and all that was learned of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) source: &'a Source,
    pub(super) view: &'a View<'a>,
    pub(super) essentials: &'a Essentials<'a>,
    pub(super) server: ServerId,
}

impl Engine {
    /// Answers a request in its server transaction.
    pub(super) fn answer(&mut self, now: Now, request: &Request<'_>, answer: Answer<'_>) {
        let wire = self.write_answer(request.source, request.view, answer);
        self.layer.respond(now, request.server, answer.status, wire);
    }

    /// Refuses what would have to be remembered while the store does not take records.
    pub(super) fn answer_store_failure(&mut self, now: Now, request: &Request<'_>) {
        let warning = super::commit::warning(self.host());
        let headers: [(&[u8], &[u8]); 1] = [(b"Warning", warning.as_bytes())];
        self.answer(now, request, Answer::new(500, "Store Failure").with(&headers));
    }

    /// Renders a response to `view`; the To tag is made up where neither side has given one.
    pub(super) fn write_answer(&mut self, source: &Source, view: &View<'_>, answer: Answer<'_>) -> Bytes {
        let made_up = self.random.token::<16>();
        let tag = if answer.status == 100 {
            None
        } else {
            Some(answer.to_tag.unwrap_or(&made_up))
        };
        let received = Some((source.remote.ip(), source.remote.port()));
        let mut buffer = self.buffers.take_answer();
        write::respond(
            &mut buffer,
            view,
            answer.status,
            answer.reason,
            tag,
            received,
            answer.headers,
            answer.body,
        );
        self.buffers.finish_answer(buffer)
    }

    /// Answers what was not good enough for a transaction, if it names enough to be answered at all.
    pub(super) fn answer_malformed(&mut self, source: &Source, view: &View<'_>, problem: &Malformed) {
        self.counters.malformed += 1;
        let answerable = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq];
        let is_ack = view.method().is_some_and(|m| m.as_bytes() == b"ACK");
        if !view.is_request() || is_ack || !answerable.into_iter().all(|name| view.header(name).is_some()) {
            return;
        }
        let reason = problem.reason();
        let warning = format!("399 {} \"{problem}\"", self.host());
        let headers: [(&[u8], &[u8]); 1] = [(b"Warning", warning.as_bytes())];
        let wire = self.write_answer(source, view, Answer::new(problem.status, reason).with(&headers));
        let to = reply_destination(source, None);
        self.outputs.push_back(Output::Send { to, wire, token: 0 });
    }

    /// Answers what cannot even be split, if the headers an answer copies can be found in it.
    pub(super) fn answer_unreadable(&mut self, source: &Source, bytes: &[u8], problem: &Malformed) {
        let Some(found) = salvage(bytes) else { return };
        let warning = format!("399 {} \"{problem}\"", self.host());
        let headers: [(&[u8], &[u8]); 1] = [(b"Warning", warning.as_bytes())];
        let tag = self.random.token::<16>();
        let received = (source.remote.ip(), source.remote.port());
        let mut buffer = self.buffers.take_answer();
        write::refuse(
            &mut buffer,
            &found,
            problem.status,
            problem.reason(),
            &tag,
            received,
            &headers,
        );
        let wire = self.buffers.finish_answer(buffer);
        let to = reply_destination(source, None);
        self.outputs.push_back(Output::Send { to, wire, token: 0 });
    }
}

/// Where a response goes (RFC 3261 section 18.2.2, RFC 3581): back on the stream, else to the packet's source, at the
/// sent-by port unless `rport` asked for the source port.
pub(super) fn reply_destination(source: &Source, essentials: Option<&Essentials<'_>>) -> Destination {
    if let Some(flow) = source.flow {
        return Destination::Flow(flow);
    }
    let port = match essentials {
        Some(e) if e.via.rport().is_none() => e.via.port.unwrap_or(5060),
        _ => source.remote.port(),
    };
    let to = at_port(source.remote, port);
    Destination::Datagram {
        listener: source.listener.unwrap_or(ListenerId(0)),
        to,
    }
}

/// The field's reason phrase for a status.
pub(super) fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        423 => "Interval Too Brief",
        440 => "Max-Breadth Exceeded",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        _ => "Refused",
    }
}
