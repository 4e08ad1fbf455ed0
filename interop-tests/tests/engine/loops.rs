//! RFC 5393: loops end, spirals pass, forks do not amplify.

use std::collections::HashMap;

use interop_tests::Outcome;
use interop_tests::wire::Message;

use super::sim::{FRONT, Sim, request};

/// What the peer does to a request that it sends back to us.
#[derive(Clone, Copy, PartialEq)]
enum Peer {
    /// A proxy as it should be.
    Honest,
    /// It hides what was there before, so that no loop can be seen.
    DropsVia,
    /// Every round looks like a new target.
    ChangesUri,
}

/// A stateless proxy that turns `sip:to-X@...` into X's address at the bridge.
struct Proxy {
    kind: Peer,
    stacks: HashMap<String, Vec<String>>,
    rounds: usize,
}

impl Proxy {
    fn new(kind: Peer) -> Self {
        Self {
            kind,
            stacks: HashMap::new(),
            rounds: 0,
        }
    }

    /// What it sends back for what it got; nothing for the answer to the first request.
    fn turn(&mut self, message: &Message) -> Option<String> {
        if message.status() > 0 {
            let below = self.stacks.get(message.branch())?.clone();
            return Some(rebuilt(message, &message.start, &below, None));
        }
        // The bridge acknowledges refusals hop by hop.
        if message.is("ACK") {
            return None;
        }
        self.rounds += 1;
        let user = message.start.split("to-").nth(1)?.split('@').next()?;
        let param = if self.kind == Peer::ChangesUri {
            format!(";n={}", self.rounds)
        } else {
            String::new()
        };
        let method = message.start.split(' ').next()?;
        let start = format!("{method} sip:{user}@a.example{param} SIP/2.0");
        let branch = format!("z9hG4bKproxy{}", self.rounds);
        let below: Vec<String> = message.all("Via").map(str::to_string).collect();
        self.stacks.insert(branch.clone(), below.clone());
        let mut vias = vec![format!("SIP/2.0/UDP {FRONT};rport;branch={branch}")];
        if self.kind != Peer::DropsVia {
            vias.extend(below);
        }
        let hops: u32 = message.header("Max-Forwards")?.parse().ok()?;
        Some(rebuilt(message, &start, &vias, Some(hops.saturating_sub(1))))
    }
}

fn rebuilt(message: &Message, start: &str, vias: &[String], hops: Option<u32>) -> String {
    let mut out = format!("{start}\r\n");
    for via in vias {
        out += &format!("Via: {via}\r\n");
    }
    for (name, value) in &message.headers {
        if name.eq_ignore_ascii_case("Via") {
            continue;
        }
        match hops {
            Some(left) if name == "Max-Forwards" => out += &format!("Max-Forwards: {left}\r\n"),
            _ => out += &format!("{name}: {value}\r\n"),
        }
    }
    out + "\r\n"
}

/// Users a and b, each registered with these contacts at the front end.
fn users(contacts: &[(&str, &[&str])]) -> Outcome<Sim> {
    let mut sim = Sim::start("messages: { store_offline: false }\n")?;
    for (user, targets) in contacts {
        let lines: String = targets
            .iter()
            .map(|t| format!("Contact: <sip:to-{t}@{FRONT}>\r\n"))
            .collect();
        let branch = format!("z9hG4bKreg{user}");
        sim.receive(FRONT, &request("REGISTER", "sip:a.example", user, &branch, &lines))?;
        assert_eq!(sim.answers(&branch), [200], "REGISTER of {user}");
    }
    Ok(sim)
}

/// Lets the proxy and the bridge talk until both are silent; returns how many requests the bridge forwarded and the
/// answers to the first one.
fn run(sim: &mut Sim, proxy: &mut Proxy, first: &[u8], branch: &str) -> Outcome<(usize, Vec<u16>)> {
    sim.receive(FRONT, first)?;
    let mut answers = Vec::new();
    while !sim.sent.is_empty() {
        answers.extend(sim.answers(branch));
        for (_, message) in std::mem::take(&mut sim.sent) {
            if let Some(back) = proxy.turn(&message) {
                sim.receive(FRONT, back.as_bytes())?;
            }
        }
        assert!(proxy.rounds < 10_000, "it never ends");
    }
    Ok((proxy.rounds, answers))
}

#[test]
fn a_loop_gets_482_and_a_spiral_passes() -> Outcome {
    // a's only contact leads back to a.
    let mut sim = users(&[("a", &["a"])])?;
    let first = request("MESSAGE", "sip:a@a.example", "b", "z9hG4bKm", "");
    let (rounds, answers) = run(&mut sim, &mut Proxy::new(Peer::Honest), &first, "z9hG4bKm")?;
    assert_eq!((rounds, answers), (1, vec![482]), "a loop");
    // a leads to b, whose contact leads to somebody who is not there: the second visit is for somebody else.
    let mut sim = users(&[("a", &["b"]), ("b", &["nobody"])])?;
    let (rounds, answers) = run(&mut sim, &mut Proxy::new(Peer::Honest), &first, "z9hG4bKm")?;
    assert_eq!((rounds, answers), (2, vec![480]), "a spiral");
    // And a, b, a is a loop again, seen on the third visit.
    let mut sim = users(&[("a", &["b"]), ("b", &["a"])])?;
    let (rounds, answers) = run(&mut sim, &mut Proxy::new(Peer::Honest), &first, "z9hG4bKm")?;
    assert_eq!((rounds, answers), (2, vec![482]), "a loop over a spiral");
    Ok(())
}

#[test]
fn the_fork_bomb_of_rfc_5393_is_bounded() -> Outcome {
    for (kind, most) in [(Peer::Honest, 10), (Peer::DropsVia, 2 * 60), (Peer::ChangesUri, 2 * 60)] {
        for method in ["MESSAGE", "INVITE"] {
            let mut sim = users(&[("a", &["a", "b"]), ("b", &["a", "b"])])?;
            let first = request(method, "sip:a@a.example", "b", "z9hG4bKm", "");
            let (rounds, answers) = run(&mut sim, &mut Proxy::new(kind), &first, "z9hG4bKm")?;
            assert!(rounds <= most, "{method}: {rounds} requests");
            let last = answers.last().copied().unwrap_or_default();
            let want = if kind == Peer::Honest { 482 } else { 440 };
            assert_eq!(last, want, "{method}: {answers:?}");
            sim.pass(60_000);
            assert!(!sim.busy(), "something is left of the {method}");
        }
    }
    Ok(())
}

#[test]
fn max_breadth_is_split_and_never_grows() -> Outcome {
    for (given, want) in [
        ("", vec!["30", "30"]),
        ("Max-Breadth: 60\r\n", vec!["30", "30"]),
        ("max-breadth: 5\r\n", vec!["3", "2"]),
        ("Max-Breadth: 2\r\n", vec!["1", "1"]),
        ("Max-Breadth: 99999999999\r\n", vec!["30", "30"]),
        ("Max-Breadth: 1\r\n", vec![]),
        ("Max-Breadth: 0\r\n", vec![]),
        ("Max-Breadth: -1\r\n", vec![]),
        ("Max-Breadth: 9\r\nMax-Breadth: 8\r\n", vec![]),
    ] {
        let mut sim = users(&[("a", &["x", "y"])])?;
        sim.receive(FRONT, &request("MESSAGE", "sip:a@a.example", "b", "z9hG4bKm", given))?;
        let status = sim.answers("z9hG4bKm");
        let shares: Vec<&str> = sim.sent.iter().flat_map(|(_, m)| m.all("Max-Breadth")).collect();
        assert_eq!(shares, want, "{given}");
        let refused: &[u16] = match given {
            g if g.contains('-') && g.contains("-1") || g.contains('9') && g.contains('8') => &[400],
            _ if want.is_empty() => &[440],
            _ => &[],
        };
        assert_eq!(status, refused, "{given}");
    }
    // To one contact all of it goes on; a request that is not forwarded needs none.
    let mut sim = users(&[("a", &["x"])])?;
    sim.receive(
        FRONT,
        &request("MESSAGE", "sip:a@a.example", "b", "z9hG4bKm", "Max-Breadth: 1\r\n"),
    )?;
    assert_eq!(sim.sent.first().and_then(|(_, m)| m.header("Max-Breadth")), Some("1"));
    sim.receive(
        FRONT,
        &request("OPTIONS", "sip:a.example", "b", "z9hG4bKo", "Max-Breadth: 0\r\n"),
    )?;
    assert_eq!(sim.answers("z9hG4bKo"), [200]);
    Ok(())
}

#[test]
fn a_contact_that_is_the_bridge_itself_is_a_loop() -> Outcome {
    let mut sim = Sim::start("")?;
    let contact = "Contact: <sip:b@127.0.0.1:5060>\r\n";
    assert_eq!(
        sim.as_user("127.0.0.1:7000", "REGISTER", "sip:a.example", "b", contact)?,
        [200]
    );
    for method in ["MESSAGE", "INVITE"] {
        let answers = sim.as_user("127.0.0.1:7001", method, "sip:b@a.example", "a", "")?;
        assert_eq!(answers.last(), Some(&482), "{method}: {answers:?}");
    }
    Ok(())
}

#[test]
fn who_sent_a_loop_is_told_so_and_not_asked_for_a_password() -> Outcome {
    let mut sim = Sim::start("")?;
    // The client of b sends what it gets back to b, without the credentials of a, which it never saw.
    let contact = "Contact: <sip:b@127.0.0.1:7000>\r\n";
    assert_eq!(
        sim.as_user("127.0.0.1:7000", "REGISTER", "sip:a.example", "b", contact)?,
        [200]
    );
    let answers = sim.as_user("127.0.0.1:7001", "MESSAGE", "sip:b@a.example", "a", "")?;
    assert!(answers.is_empty(), "{answers:?}");
    let (_, leg) = sim.sent.pop().ok_or("nothing was forwarded")?;
    assert!(leg.header("Proxy-Authorization").is_none());
    let mut vias = vec!["SIP/2.0/UDP 127.0.0.1:7000;rport;branch=z9hG4bKback".to_string()];
    vias.extend(leg.all("Via").map(str::to_string));
    let back = rebuilt(&leg, "MESSAGE sip:b@a.example SIP/2.0", &vias, None);
    sim.receive("127.0.0.1:7000", back.as_bytes())?;
    assert_eq!(sim.answers("z9hG4bKback"), [482]);
    // Another target is no loop: whoever sends that has to say who it is.
    let other = back
        .replace("b@a.example SIP/2.0", "a@a.example SIP/2.0")
        .replace("z9hG4bKback", "z9hG4bKother");
    sim.receive("127.0.0.1:7000", other.as_bytes())?;
    assert_eq!(sim.answers("z9hG4bKother"), [407]);
    Ok(())
}
