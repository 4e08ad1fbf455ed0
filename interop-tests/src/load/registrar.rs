//! REGISTER: each address once, then again; the answer must show the one contact, with its time.

use std::time::Instant;

use super::desk::{Ask, Desk, Next, Scene};
use super::meter::Meter;
use super::report::Phase;
use super::wires::Arrival;
use super::{Size, text};
use crate::Outcome;
use crate::wire::find;

struct Registrar {
    next: usize,
    addresses: usize,
    cseq: usize,
}

impl Scene for Registrar {
    fn start(&mut self, desk: &mut Desk) -> Outcome<Next> {
        if self.next == self.addresses {
            return Ok(Next::Over);
        }
        let number = self.next;
        self.next += 1;
        let contact = desk.contact(&format!("r{number}"));
        desk.begin();
        desk.ask(
            number,
            &Ask {
                method: "REGISTER",
                uri: "sip:reg.test",
                from: &format!("<sip:r{number}@reg.test>;tag=r{number}"),
                to: &format!("<sip:r{number}@reg.test>"),
                call_id: &format!("r{number}-{}@load.test", desk.run()),
                cseq: self.cseq,
                extra: &format!("Contact: <{contact}>\r\nExpires: 1800\r\n"),
                body: "",
            },
        )?;
        Ok(Next::Begun)
    }

    fn answered(&mut self, desk: &mut Desk, tag: usize, sent: Instant, answer: &[u8]) -> Outcome {
        let contact = text::header(answer, b"Contact").unwrap_or_default();
        let ours = find(contact, format!("<{}>", desk.contact(&format!("r{tag}"))).as_bytes()).is_some();
        let seconds = text::leading(text::param(contact, "expires")).unwrap_or(0);
        match text::status(answer) {
            Some(200) if ours && (1790..=1800).contains(&seconds) => desk.end(sent),
            Some(200) => desk.fail("a 200 to REGISTER that does not show the binding"),
            other => desk.fail(format!("REGISTER answered {}", other.unwrap_or(0))),
        }
        Ok(())
    }

    fn asked(&mut self, desk: &mut Desk, _request: &Arrival) -> Outcome {
        desk.fault("a request from a registrar");
        Ok(())
    }
}

/// Registers all, then refreshes all.
///
/// # Errors
/// When the server is gone.
pub fn run(desk: &mut Desk, size: &Size, meter: Meter) -> Outcome<Vec<Phase>> {
    let mut phases = Vec::new();
    for (cseq, name) in [(1, "register"), (2, "re-register")] {
        let mut scene = Registrar {
            next: 0,
            addresses: size.addresses,
            cseq,
        };
        phases.push(desk.play(name, meter, size.window, None, &mut scene)?);
    }
    Ok(phases)
}
