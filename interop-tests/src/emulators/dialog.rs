//! A dialog as an emulator keeps it, and requests in it and outside.

use super::Way;
use crate::wire::{Message, param, unique, uri_of};

/// How requests of this kind of server look, beside their bodies.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire {
    /// `SIP/2.0/tcp` in Via.
    pub lower_case_via: bool,
    /// No branch in the Via of requests inside dialogs.
    pub branchless: bool,
    /// `;epid=` behind the tag in From, and in To once the other side has said one.
    pub epid: bool,
    /// Contact with `maddr` and `;proxy=replace`, where the host is the domain.
    pub maddr_contact: bool,
    /// Record-Route with long `ms-` parameters on everything that begins a dialog.
    pub ms_route: bool,
    /// CSeq falls back after a re-INVITE.
    pub cseq_falls: bool,
    /// What User-Agent says.
    pub agent: &'static str,
}

/// One side of a dialog.
#[derive(Debug, Clone, Default)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: String,
    /// Our From, with its tag.
    pub local: String,
    /// The other's, with its tag once it is known.
    pub remote: String,
    /// Where requests go: the other's Contact.
    pub target: String,
    /// The route set, in the order of Route.
    pub routes: Vec<String>,
    /// The Record-Route lines that we put in: what must come back.
    pub recorded: Vec<String>,
    /// The last number we used.
    pub cseq: u32,
    /// The last number the other used.
    pub remote_cseq: u32,
}

impl Dialog {
    /// One that we begin.
    #[must_use]
    pub fn begin(wire: &Wire, way: &Way, from: &str, to: &str) -> Self {
        Self {
            call_id: format!("{}@{}", unique(), way.own().ip()),
            local: if wire.epid {
                // Only From has a name there.
                format!("\"Bob, \\\"B.\\\" M.\" {}", local(wire, from))
            } else {
                local(wire, from)
            },
            remote: format!("<sip:{to}>"),
            target: format!("sip:{to}"),
            recorded: if wire.ms_route { vec![ms_route(way)] } else { Vec::new() },
            ..Self::default()
        }
    }

    /// One that the other side begins.
    #[must_use]
    pub fn answering(wire: &Wire, way: &Way, request: &Message) -> Self {
        let to = request.header("To").unwrap_or_default();
        let all = |name| -> Vec<String> {
            let lines = request.all(name).flat_map(|v| v.split(','));
            lines.map(|v| v.trim().to_string()).collect()
        };
        let mut routes = all("Record-Route");
        let recorded = if wire.ms_route { vec![ms_route(way)] } else { Vec::new() };
        routes.retain(|r| !recorded.contains(r));
        Self {
            call_id: request.header("Call-ID").unwrap_or_default().into(),
            local: local(wire, uri_of(to).trim_start_matches("sip:")),
            remote: request.header("From").unwrap_or_default().into(),
            target: request.header("Contact").map_or("", uri_of).into(),
            routes,
            recorded,
            cseq: 0,
            remote_cseq: cseq(request),
        }
    }

    /// Takes over what the first 2xx says.
    pub fn answered(&mut self, answer: &Message) {
        self.remote = answer.header("To").unwrap_or_default().into();
        if let Some(contact) = answer.header("Contact") {
            self.target = uri_of(contact).into();
        }
        let lines = answer.all("Record-Route").flat_map(|v| v.split(','));
        self.routes = lines.map(|v| v.trim().to_string()).collect();
        self.routes.reverse();
        let ours = self.recorded.clone();
        self.routes.retain(|r| !ours.contains(r));
    }

    /// Whether a message belongs to it: Call-ID, and the tags as far as they are known.
    #[must_use]
    pub fn owns(&self, message: &Message) -> bool {
        if message.header("Call-ID") != Some(&self.call_id) {
            return false;
        }
        let (theirs, ours) = if message.status() == 0 {
            ("From", "To")
        } else {
            ("To", "From")
        };
        let tag = |name| message.header(name).map_or("", |v| param(v, "tag"));
        let known = param(&self.remote, "tag");
        tag(ours) == param(&self.local, "tag") && (known.is_empty() || tag(theirs) == known)
    }

    /// A request in the dialog, or its first.
    #[must_use]
    pub fn request(&mut self, wire: &Wire, way: &Way, method: &str, extra: &str, body: &[u8]) -> Vec<u8> {
        if method != "ACK" {
            self.cseq += 1;
        }
        self.numbered(wire, way, method, self.cseq, extra, body)
    }

    /// The same with a number of the caller's.
    #[must_use]
    pub fn numbered(&self, wire: &Wire, way: &Way, method: &str, number: u32, extra: &str, body: &[u8]) -> Vec<u8> {
        let inside = !param(&self.remote, "tag").is_empty();
        let mut out = format!("{method} {} SIP/2.0\r\n", self.target);
        out += &format!("Via: {}\r\n", via(wire, way, inside));
        for route in &self.routes {
            out += &format!("Route: {route}\r\n");
        }
        if !inside {
            for route in &self.recorded {
                out += &format!("Record-Route: {route}\r\n");
            }
        }
        // RFC 3428 section 9: a message that begins no dialog has no Contact.
        let contact = match (method, inside) {
            ("MESSAGE", false) => String::new(),
            _ => format!("Contact: {}\r\n", contact(wire, way, &self.local)),
        };
        out += &format!(
            "Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n{contact}\
             User-Agent: {}\r\n{extra}Content-Length: {}\r\n\r\n",
            self.local,
            self.remote,
            self.call_id,
            wire.agent,
            body.len(),
        );
        let mut out = out.into_bytes();
        out.extend_from_slice(body);
        out
    }

    /// An answer to a request of the dialog.
    #[must_use]
    pub fn answer(&self, wire: &Wire, way: &Way, request: &Message, status: u16, extra: &str, body: &[u8]) -> Vec<u8> {
        let ours: String = self.recorded.iter().map(|r| format!("Record-Route: {r}\r\n")).collect();
        let first = request.header("To").is_some_and(|to| param(to, "tag").is_empty());
        let mut out = format!("SIP/2.0 {status} {}\r\n", reason(status));
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            if name == "Record-Route" && first && status < 300 {
                out += &ours;
            }
            for value in request.all(name) {
                let value = if name == "To" { &self.local } else { value };
                out += &format!("{name}: {value}\r\n");
            }
        }
        if status < 300 {
            out += &format!("Contact: {}\r\n", contact(wire, way, &self.local));
        }
        out += &format!("{extra}Content-Length: {}\r\n\r\n", body.len());
        let mut out = out.into_bytes();
        out.extend_from_slice(body);
        out
    }
}

/// Words for a status.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        412 => "Conditional Request Failed",
        415 => "Unsupported Media Type",
        481 => "Call/Transaction Does Not Exist",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Refused",
    }
}

/// The number in CSeq.
#[must_use]
pub fn cseq(message: &Message) -> u32 {
    let first = message.header("CSeq").and_then(|v| v.split_whitespace().next());
    first.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// An endpoint name of at most 16 hexadecimal digits, the same for the same user.
#[must_use]
pub fn epid(user: &str) -> String {
    let sum = user
        .bytes()
        .fold(7u64, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
    format!("{:010x}", sum & 0xff_ffff_ffff)
}

fn local(wire: &Wire, aor: &str) -> String {
    let tail = if wire.epid {
        format!(";epid={}", epid(aor))
    } else {
        String::new()
    };
    format!("<sip:{aor}>;tag={}{tail}", unique())
}

fn via(wire: &Wire, way: &Way, inside: bool) -> String {
    let transport = match (wire.lower_case_via, way.keys.is_some()) {
        (true, true) => "tls",
        (true, false) => "tcp",
        (false, true) => "TLS",
        (false, false) => "TCP",
    };
    let branch = if wire.branchless && inside {
        String::new()
    } else if wire.epid {
        // As LCS writes it: dots inside, and a parameter nobody else has.
        format!(";branch=z9hG4bK{}.{};branched=FALSE", unique(), unique())
    } else {
        format!(";branch=z9hG4bK{}", unique())
    };
    format!("SIP/2.0/{transport} {}{branch}", way.own())
}

/// Contact of somebody here.
#[must_use]
pub fn contact(wire: &Wire, way: &Way, local: &str) -> String {
    let aor = uri_of(local).trim_start_matches("sip:").to_string();
    let (at, transport) = (way.own(), way.transport());
    let (user, domain) = aor.split_once('@').unwrap_or(("", &aor));
    if wire.maddr_contact {
        let ip = if at.is_ipv6() {
            format!("[{}]", at.ip())
        } else {
            at.ip().to_string()
        };
        return format!(
            "<sip:{user}@{domain}:{};maddr={ip};transport={transport}>;proxy=replace",
            at.port()
        );
    }
    format!("<sip:{user}@{at};transport={transport}>")
}

/// The Record-Route of a server that keeps its state in it.
#[must_use]
pub fn ms_route(way: &Way) -> String {
    let key = "AAAA4vRXkjGvQj1w".repeat(20);
    format!(
        "<sip:{};transport={};lr;ms-route-sig=ca{};ms-key-info={key};ms-role-rs-from;ms-role-rs-to;ms-opaque=13f2a9c;\
         ms-received-cid=1A00;ms-received-port={}>",
        way.own(),
        way.transport(),
        "xZ0Y".repeat(10),
        way.port
    )
}
