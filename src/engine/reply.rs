//! Answering: responses that the bridge itself makes.

use bytes::Bytes;

use super::{Engine, Output};
use crate::sip::header::Name;
use crate::sip::message::{Essentials, Malformed, View, salvage};
use crate::sip::net::{Destination, ListenerId, Source, at_port};
use crate::sip::time::Now;
use crate::sip::transaction::ServerId;
use crate::sip::write;

/// The part of the transactions beyond which refused ones are not remembered.
const ROOM_FOR_THE_REFUSED: usize = 4;

pub(super) use write::Answer;

/// A finished response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) server: ServerId,
    pub(super) status: u16,
    pub(super) wire: Bytes,
    /// See [`write::recipe`]; empty when the transaction keeps the whole response, or nothing.
    pub(super) recipe: Bytes,
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
        let reply = self.reply_to(request, answer);
        self.send_reply(now, reply);
    }

    /// Renders the answer to a request, to be sent by [`Engine::send_reply`] sooner or later.
    pub(super) fn reply_to(&mut self, request: &Request<'_>, answer: Answer<'_>) -> Reply {
        let tag = self.random.token::<16>();
        let answer = tagged(answer, &tag);
        let (server, status) = (request.server, answer.status);
        // Over a stream nothing is sent twice; an INVITE needs its answers to be repeated when no request comes.
        let by_recipe = !request.source.transport.is_reliable() && request.essentials.method.as_bytes() != b"INVITE";
        let received = (request.source.remote.ip(), request.source.remote.port());
        if !by_recipe {
            let mut buffer = self.buffers.take_answer();
            write::respond(&mut buffer, request.view, Some(received), &answer);
            let (wire, recipe) = (self.buffers.finish_answer(buffer), Bytes::new());
            return Reply {
                server,
                status,
                wire,
                recipe,
            };
        }
        let mut buffer = self.buffers.take();
        write::respond(&mut buffer, request.view, Some(received), &answer);
        let wire = self.buffers.finish(buffer);
        let mut buffer = self.buffers.take_answer();
        write::recipe(&mut buffer, &answer);
        let recipe = self.buffers.finish_answer(buffer);
        Reply {
            server,
            status,
            wire,
            recipe,
        }
    }

    pub(super) fn send_reply(&mut self, now: Now, reply: Reply) {
        let Reply {
            server,
            status,
            wire,
            recipe,
        } = reply;
        if recipe.is_empty() {
            self.layer.respond(now, server, status, wire);
        } else {
            self.layer.respond_by_recipe(now, server, status, wire, recipe);
        }
    }

    /// A request has come again whose answer is kept as a recipe.
    pub(super) fn answer_again(&mut self, source: &Source, view: &View<'_>, server: ServerId) {
        let Some((to, recipe)) = self.layer.recipe(server) else {
            return;
        };
        let mut buffer = self.buffers.take();
        let received = (source.remote.ip(), source.remote.port());
        write::respond_again(&mut buffer, view, Some(received), &recipe);
        let wire = self.buffers.finish(buffer);
        self.outputs.push_back(Output::Send { to, wire, token: 0 });
    }

    /// Answers somebody who is not let in. Nothing may be had for nothing by those who ask: no repeated answers to an address
    /// that may be somebody else's, and no memory once a flood of them fills much of what is there for transactions; a
    /// repetition then counts as new and gets the like answer.
    pub(super) fn turn_away(&mut self, now: Now, request: &Request<'_>, answer: Answer<'_>) {
        let reply = self.reply_to(request, answer);
        if reply.recipe.is_empty() {
            self.layer.respond_once(now, reply.server, reply.status, reply.wire);
        } else {
            self.send_reply(now, reply);
        }
        if self.layer.len() > self.snapshot.limits.max_transactions as usize / ROOM_FOR_THE_REFUSED {
            self.layer.drop_server(request.server);
        }
    }

    /// Refuses what would have to be remembered while the store does not take records.
    pub(super) fn answer_store_failure(&mut self, now: Now, request: &Request<'_>) {
        let warning = super::commit::warning(self.host());
        let headers: [(&[u8], &[u8]); 1] = [(b"Warning", warning.as_bytes())];
        self.answer(now, request, Answer::new(500, "Store Failure").with(&headers));
    }

    /// Renders a response to `view`; the To tag is made up where neither side has given one.
    pub(super) fn write_answer(&mut self, source: &Source, view: &View<'_>, answer: Answer<'_>) -> Bytes {
        let tag = self.random.token::<16>();
        let received = (source.remote.ip(), source.remote.port());
        let mut buffer = self.buffers.take_answer();
        write::respond(&mut buffer, view, Some(received), &tagged(answer, &tag));
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

/// The same with a To tag, unless it has one or is a 100.
fn tagged<'a>(answer: Answer<'a>, made_up: &'a [u8]) -> Answer<'a> {
    match answer.status {
        100 => Answer { to_tag: None, ..answer },
        _ => Answer {
            to_tag: Some(answer.to_tag.unwrap_or(made_up)),
            ..answer
        },
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
        421 => "Extension Required",
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
