//! MESSAGE from one trunk to the other: every body arrives once, unchanged and in order, and the 200 is the far end's own.

use std::collections::HashMap;
use std::time::Instant;

use super::desk::{Ask, Desk, Next, Scene};
use super::meter::Meter;
use super::report::Phase;
use super::wires::Arrival;
use super::{Size, Way, text};
use crate::Outcome;

struct Relay {
    way: Way,
    next: usize,
    doors: usize,
    /// The highest number seen of each connection.
    seen: HashMap<usize, usize>,
    arrived: Vec<bool>,
}

/// 200 bytes that differ from message to message.
fn body(number: usize) -> String {
    let mut text = format!("number {number}; ");
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    while text.len() < 200 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push(char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap_or(0)));
    }
    text
}

impl Scene for Relay {
    fn start(&mut self, desk: &mut Desk) -> Outcome<Next> {
        let number = self.next;
        self.next += 1;
        self.arrived.push(false);
        desk.begin();
        desk.ask(
            number,
            &Ask {
                method: "MESSAGE",
                uri: &format!("sip:user{}@b.test", number % 1000),
                from: &format!("<sip:user{}@a.test>;tag=f{number}", number % 1000),
                to: &format!("<sip:user{}@b.test>", number % 1000),
                call_id: &format!("m{number}-{}@load.test", desk.run()),
                cseq: 1,
                extra: "Content-Type: text/plain\r\n",
                body: &body(number),
            },
        )?;
        Ok(Next::Begun)
    }

    fn answered(&mut self, desk: &mut Desk, tag: usize, sent: Instant, answer: &[u8]) -> Outcome {
        let to = text::header(answer, b"To").unwrap_or_default();
        match text::status(answer) {
            Some(200) if text::param(to, "tag") == format!("b{tag}").as_bytes() => desk.end(sent),
            Some(200) => desk.fail("a 200 to MESSAGE that is not the far end's"),
            other => desk.fail(format!("MESSAGE answered {}", other.unwrap_or(0))),
        }
        Ok(())
    }

    fn asked(&mut self, desk: &mut Desk, request: &Arrival) -> Outcome {
        let text = text::body(&request.bytes);
        let number = text.strip_prefix(b"number ").and_then(text::leading);
        let number = usize::try_from(number.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let Some(arrived) = self.arrived.get_mut(number) else {
            desk.fault("a request at the far end that was never sent");
            return Ok(());
        };
        let again = std::mem::replace(arrived, true);
        if !text::is(&request.bytes, b"MESSAGE") || text != body(number).as_bytes() {
            desk.fault("a body that was changed on the way");
        }
        if again && self.way != Way::Udp {
            desk.fault("a MESSAGE delivered twice");
        }
        // Over UDP nothing keeps datagrams in order, and workers of one server may overtake each other.
        let last = self.seen.insert(number % self.doors, number);
        if self.way != Way::Udp && last.is_some_and(|last| last > number) {
            desk.fault("a MESSAGE out of order");
        }
        let answer = text::ok(&request.bytes, &format!("b{number}"), "");
        desk.wires.send(request.wire, Some(request.from), &answer)
    }
}

/// Warms up, then relays for as long as the size says.
///
/// # Errors
/// When the server is gone.
pub fn run(desk: &mut Desk, way: Way, size: &Size, meter: Meter) -> Outcome<Vec<Phase>> {
    let mut relay = Relay {
        way,
        next: 0,
        doors: desk.doors.len().max(1),
        seen: HashMap::new(),
        arrived: Vec::new(),
    };
    let (warm, end) = (size.relay / 4, size.relay);
    desk.play("warm-up", meter, size.window, Some(Instant::now() + warm), &mut relay)?;
    let phase = desk.play("message", meter, size.window, Some(Instant::now() + end), &mut relay)?;
    let missing = relay.arrived.iter().filter(|arrived| !**arrived).count();
    if missing > 0 {
        desk.fault(format!("{missing} messages that never reached the far end"));
    }
    Ok(vec![phase])
}

#[cfg(test)]
mod tests {
    use super::super::wires::{Trust, Wires};
    use super::*;

    /// A desk without a server behind it.
    fn desk() -> Outcome<Desk> {
        let at = |port| crate::net::Family::V4.at(port);
        let wires = Wires::open(Way::Udp, at(9), at(crate::net::free_port()), &Trust::new()?)?;
        Desk::new(Way::Udp, wires, 1)
    }

    #[test]
    fn a_changed_body_and_an_invented_message_are_found() -> Outcome {
        let mut desk = desk()?;
        let mut relay = Relay {
            way: Way::Tcp,
            next: 0,
            doors: 1,
            seen: HashMap::new(),
            arrived: vec![false; 3],
        };
        let mut deliver = |number: usize, change: bool| {
            let mut text = body(number);
            if change {
                text.truncate(150);
            }
            let arrival = Arrival {
                wire: 0,
                from: desk.wires.listen,
                bytes: format!("MESSAGE sip:b SIP/2.0\r\nTo: <sip:b>\r\n\r\n{text}").into_bytes(),
            };
            relay.asked(&mut desk, &arrival)?;
            Outcome::Ok(std::mem::take(&mut desk.faults).into_keys().collect::<Vec<_>>())
        };
        assert_eq!(deliver(1, false)?, Vec::<String>::new());
        assert_eq!(deliver(1, false)?, ["a MESSAGE delivered twice"]);
        assert_eq!(deliver(0, false)?, ["a MESSAGE out of order"]);
        assert_eq!(deliver(2, true)?, ["a body that was changed on the way"]);
        assert_eq!(deliver(7, false)?, ["a request at the far end that was never sent"]);
        Ok(())
    }

    #[test]
    fn bodies_tell_their_number_and_differ() {
        assert_eq!(body(7).len(), 200);
        assert!(body(7).starts_with("number 7; ") && body(7)[12..] != body(8)[12..]);
    }
}
