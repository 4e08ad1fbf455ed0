//! Requests as they are sent. They are written by hand, because some of them are wrong on purpose.

use crate::sip::field::{Items, NameAddr};
use crate::sip::header::Name;
use crate::sip::message::View;
use crate::sip::net::Transport;

use super::Setup;

/// A request in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) to: String,
    pub(super) routes: Vec<String>,
    pub(super) call_id: String,
    pub(super) tag: String,
    pub(super) cseq: u32,
    /// Empty: none.
    pub(super) branch: String,
    pub(super) compact: bool,
    pub(super) contact: bool,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<(String, String)>,
}

pub(super) fn via_transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
    }
}

/// What could end a header line is left out.
pub(super) fn clean(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).collect()
}

impl Request {
    pub(super) fn bytes(&self, setup: &Setup) -> Vec<u8> {
        let name = |long: &'static str, short: &'static str| if self.compact { short } else { long };
        let mut out = format!("{} {} SIP/2.0\r\n", self.method, clean(&self.target));
        let mut line = |name: &str, value: &str| {
            out += name;
            out += ": ";
            out += &clean(value);
            out += "\r\n";
        };
        let branch = if self.branch.is_empty() {
            String::new()
        } else {
            format!(";branch={}", self.branch)
        };
        let via = via_transport(setup.transport);
        line(
            name("Via", "v"),
            &format!("SIP/2.0/{via} {};rport{branch}", setup.local),
        );
        for route in &self.routes {
            line("Route", route);
        }
        line("Max-Forwards", "70");
        line(name("From", "f"), &format!("<{}>;tag={}", setup.from, self.tag));
        line(name("To", "t"), &self.to);
        line(name("Call-ID", "i"), &self.call_id);
        line("CSeq", &format!("{} {}", self.cseq, self.method));
        if self.contact {
            let transport = setup.transport.param();
            line(
                name("Contact", "m"),
                &format!("<sip:{};transport={transport}>", setup.contact),
            );
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        line("User-Agent", "Trestle");
        let body = self.body.as_ref().map_or("", |(_, body)| body.as_str());
        if let Some((media, _)) = &self.body {
            line(name("Content-Type", "c"), media);
        }
        line(name("Content-Length", "l"), &body.len().to_string());
        out += "\r\n";
        out += body;
        out.into_bytes()
    }

    /// The next request in the dialog that an answer opened.
    pub(super) fn within(&self, method: &'static str, cseq: u32, answer: &View<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let contact = answer.header(Name::Contact).and_then(|c| NameAddr::parse(c).ok());
        let mut routes: Vec<String> = answer
            .headers(Name::RecordRoute)
            .flat_map(Items::new)
            .map(text)
            .collect();
        routes.reverse();
        Self {
            method,
            target: contact.map_or_else(|| self.target.clone(), |c| text(c.uri)),
            to: answer.header(Name::To).map_or_else(|| self.to.clone(), text),
            routes,
            cseq,
            headers: Vec::new(),
            body: None,
            ..self.clone()
        }
    }

    /// CANCEL, or ACK to a refusal: the same target and branch (RFC 3261 sections 9.1 and 17.1.1.3).
    pub(super) fn beside(&self, method: &'static str, to: Option<&[u8]>) -> Self {
        Self {
            method,
            to: to.map_or_else(|| self.to.clone(), |t| String::from_utf8_lossy(t).into_owned()),
            contact: false,
            headers: Vec::new(),
            body: None,
            ..self.clone()
        }
    }
}
