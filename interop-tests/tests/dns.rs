//! A running bridge that finds its peers by DNS (RFC 3263): each way there, failover, a DNS that is down, a DNS that lies,
//! and certificates that are judged by the domain, never by where DNS led.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use interop_tests::agent::Agent;
use interop_tests::dns::{Dns, Lie};
use interop_tests::far::Far;
use interop_tests::net::{Family, free_port};
use interop_tests::pki::{Authority, Certificate};
use interop_tests::trestle::{self, Ports, Trestle};
use interop_tests::{Outcome, eventually};
use tempfile::TempDir;

const A: &str = "a.example";

/// A bridge whose DNS is ours, the authority of all its peers, and alice.
struct World {
    family: Family,
    bridge: Trestle,
    alice: Agent,
    _dir: TempDir,
}

/// Authorities, made before the bridge since peers need certificates first.
struct Trust {
    ours: Authority,
    theirs: Authority,
}

impl Trust {
    fn new() -> Outcome<Self> {
        Ok(Self {
            ours: Authority::named("ours")?,
            theirs: Authority::named("theirs")?,
        })
    }

    fn far(&self, domain: &str, at: SocketAddr) -> Outcome<Far> {
        self.far_with(&self.theirs.issue(domain)?, at)
    }

    fn far_with(&self, own: &Certificate, at: SocketAddr) -> Outcome<Far> {
        Far::start_at(at, own, &self.ours.pem)
    }
}

/// Peers named like their domains without `.example`; each with a further setting, such as a next hop. All are here, where
/// DNS may lead only to what a peer lists.
fn world(family: Family, dns: &Dns, trust: &Trust, peers: &[(&str, &str)]) -> Outcome<World> {
    let here = ", addresses: [127.0.0.0/8, \"::1\"]";
    let peers: Vec<(&str, String)> = peers
        .iter()
        .map(|(name, more)| (*name, format!("{here}{more}")))
        .collect();
    world_of(family, dns, trust, &peers)
}

/// The same with nothing listed.
fn world_of(family: Family, dns: &Dns, trust: &Trust, peers: &[(&str, String)]) -> Outcome<World> {
    let dir = tempfile::tempdir()?;
    trust.ours.issue(A)?.write(dir.path(), A)?;
    std::fs::write(dir.path().join("ca.pem"), &trust.theirs.pem)?;
    let list: String = peers
        .iter()
        .map(|(name, more)| {
            format!(
                "  - {{ name: {name}, domains: [{name}.example], transport: tls, tls: {{ ca: [ca.pem] }}, probe: {{ \
                 interval: 2s, timeout: 2s, down_after: 2 }}{more} }}\n"
            )
        })
        .collect();
    let ports = Ports::free(family);
    let rest = format!("dns: {{ servers: [\"{}\"] }}\npeers:\n{list}", dns.address);
    std::fs::write(dir.path().join("bridge.yaml"), trestle::config(A, &ports, &rest))?;
    let bridge = Trestle::start(dir.path(), ports)?;
    let mut alice = Agent::udp("alice", A, bridge.ports.client())?;
    assert_eq!(alice.register(600)?.status(), 200);
    Ok(World {
        family,
        bridge,
        alice,
        _dir: dir,
    })
}

impl World {
    fn peer(&self, name: &str) -> String {
        let all = self.bridge.ctl("peers").unwrap_or_default().replace(' ', "");
        let mine = |p: &&str| p.contains(&format!("\"name\":\"{name}\""));
        all.split('{').find(mine).unwrap_or_default().to_string()
    }

    fn known_as(&self, name: &str, state: &str) -> Outcome {
        let wanted = format!("\"state\":\"{state}\"");
        eventually(&format!("{name} is {state}"), Duration::from_secs(30), || {
            self.peer(name).contains(&wanted)
        })
        .map_err(|e| format!("{:?}: {e}: {}\n{}", self.family, self.peer(name), self.bridge.log()).into())
    }

    fn writes(&mut self, name: &str, text: &str) -> Outcome<u16> {
        Ok(self.alice.message(&format!("sip:bob@{name}.example"), text)?.status())
    }

    /// A message gets through to this end and to no other.
    fn reaches(&mut self, name: &str, far: &Far, text: &str) -> Outcome {
        let status = self.writes(name, text)?;
        if status != 200 {
            return Err(format!("{:?}: {name}: answered {status}\n{}", self.family, self.bridge.log()).into());
        }
        far.received("MESSAGE", text)
            .map_err(|e| format!("{:?}: {name}: {e}; {}", self.family, self.peer(name)).into())
    }
}

/// An address of its own for each server, with a free port: 127.0.0.0/8 has many, `::1` is alone.
fn place(family: Family, number: u8) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::new(IpAddr::from([127, 0, 1, number]), free_port()),
        Family::V6 => family.at(free_port()),
    }
}

#[test]
fn a_peer_is_found_by_naptr_by_srv_and_by_its_address() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let (dns, trust) = (Dns::start(family)?, Trust::new()?);
        let (n, s, h) = (
            trust.far("n.example", place(family, 1))?,
            trust.far("s.example", place(family, 2))?,
            trust.far("h.example", place(family, 3))?,
        );
        dns.naptr("n.example", 20, "SIP+D2U", "_sip._udp.n.example")
            .naptr("n.example", 10, "SIPS+D2T", "_sips._tcp.elsewhere.example")
            .srv("_sips._tcp.elsewhere.example", 1, 1, n.address.port(), "host-n.example")
            .host("host-n.example", n.address.ip());
        dns.srv("_sips._tcp.s.example", 1, 1, s.address.port(), "alias-s.example")
            .alias("alias-s.example", "host-s.example")
            .host("host-s.example", s.address.ip());
        dns.host("host-h.example", h.address.ip());
        let hop = format!(", next_hop: \"host-h.example:{}\"", h.address.port());
        let mut world = world(family, &dns, &trust, &[("n", ""), ("s", ""), ("h", &hop)])?;
        for (name, far) in [("n", &n), ("s", &s), ("h", &h)] {
            world.known_as(name, "up")?;
            world.reaches(name, far, &format!("to {name}"))?;
        }
    }
    // Neither NAPTR nor SRV: the address and the usual port.
    let (dns, trust) = (Dns::start(Family::V4)?, Trust::new()?);
    let ip = IpAddr::from([127, 77, 3, 1]);
    let far = trust.far("d.example", SocketAddr::new(ip, 5061))?;
    dns.host("d.example", ip);
    let mut world = world(Family::V4, &dns, &trust, &[("d", "")])?;
    world.known_as("d", "up")?;
    world.reaches("d", &far, "to 5061")
}

#[test]
fn priority_and_weight_choose_and_the_next_one_stands_in_for_a_dead_one() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let (dns, trust) = (Dns::start(family)?, Trust::new()?);
        let (first, second) = (
            trust.far("b.example", place(family, 1))?,
            trust.far("b.example", place(family, 2))?,
        );
        let heavy = trust.far("w.example", place(family, 3))?;
        let light = trust.far("w.example", place(family, 4))?;
        let alive = trust.far("f.example", place(family, 5))?;
        let dead = place(family, 6);
        for (name, far) in [
            ("h1", &first),
            ("h2", &second),
            ("h3", &heavy),
            ("h4", &light),
            ("h5", &alive),
        ] {
            dns.host(&format!("{name}.example"), far.address.ip());
        }
        dns.host("h6.example", dead.ip());
        dns.srv("_sips._tcp.b.example", 20, 100, second.address.port(), "h2.example")
            .srv("_sips._tcp.b.example", 10, 0, first.address.port(), "h1.example")
            .srv("_sips._tcp.w.example", 1, 0, light.address.port(), "h4.example")
            .srv("_sips._tcp.w.example", 1, u16::MAX, heavy.address.port(), "h3.example")
            .srv("_sips._tcp.f.example", 10, 0, dead.port(), "h6.example")
            .srv("_sips._tcp.f.example", 20, 0, alive.address.port(), "h5.example");
        let mut world = world(family, &dns, &trust, &[("b", ""), ("w", ""), ("f", "")])?;
        for name in ["b", "w"] {
            world.known_as(name, "up")?;
        }
        for n in 0..3 {
            world.reaches("b", &first, &format!("by priority {n}"))?;
            world.reaches("w", &heavy, &format!("by weight {n}"))?;
        }
        assert_eq!((second.count("MESSAGE", ""), light.count("MESSAGE", "")), (0, 0));
        // The first server of f was never there.
        world.reaches("f", &alive, "to the second")?;
        // The first server of b goes away.
        drop(first);
        let mut n = 0;
        eventually("the second stands in", Duration::from_secs(30), || {
            n += 1;
            world.writes("b", &format!("failover {n}")).is_ok_and(|s| s == 200)
        })?;
        assert!(second.count("MESSAGE", "failover") > 0);
        // And stays in, well beyond the probes that find the first dead.
        std::thread::sleep(Duration::from_secs(7));
        world.known_as("b", "up")?;
        world.known_as("f", "up")?;
        world.reaches("b", &second, "still there")?;
        world.reaches("f", &alive, "there, too")?;
    }
    Ok(())
}

#[test]
fn answers_are_kept_for_their_time_and_served_stale_while_dns_is_down() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let (dns, trust) = (Dns::start(family)?, Trust::new()?);
        let (old, new) = (
            trust.far("b.example", place(family, 1))?,
            trust.far("b.example", place(family, 2))?,
        );
        let at = |far: &Far| {
            dns.srv("_sips._tcp.b.example", 1, 1, far.address.port(), "h.example")
                .host("h.example", far.address.ip());
        };
        at(&old);
        let mut world = world(family, &dns, &trust, &[("b", "")])?;
        world.known_as("b", "up")?;
        world.reaches("b", &old, "first")?;
        // A reload asks for the name anew; while the answer lives, DNS is not asked.
        let asked = (dns.asked("b.example"), dns.asked("h.example"));
        for _ in 0..3 {
            world.bridge.ctl("reload")?;
            world.known_as("b", "up")?;
        }
        assert_eq!(
            (dns.asked("b.example"), dns.asked("h.example")),
            asked,
            "the time to live is 300 s"
        );
        world.reaches("b", &old, "kept")?;

        // A short life: the new address is used soon after it changed.
        dns.clear().ttl(1);
        at(&old);
        world.bridge.stop();
        world.bridge.start_again()?;
        assert_eq!(world.alice.register(600)?.status(), 200);
        world.known_as("b", "up")?;
        dns.clear();
        at(&new);
        let mut n = 0;
        eventually("the new address is used", Duration::from_secs(60), || {
            n += 1;
            let _ = world.bridge.ctl("reload");
            std::thread::sleep(Duration::from_millis(700));
            let _ = world.writes("b", &format!("moved {n}"));
            new.count("MESSAGE", "moved") > 0
        })?;

        // DNS is down and what it said is past its time: it is used all the same.
        dns.down(true);
        std::thread::sleep(Duration::from_millis(1500));
        world.bridge.ctl("reload")?;
        world.known_as("b", "up")?;
        world.reaches("b", &new, "stale")?;
    }
    Ok(())
}

#[test]
fn lies_and_failures_are_bounded_and_the_request_is_answered() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let (dns, trust) = (Dns::start(family)?, Trust::new()?);
        let good = trust.far("good.example", place(family, 1))?;
        dns.srv("_sips._tcp.good.example", 1, 1, good.address.port(), "h.example")
            .host("h.example", good.address.ip());
        let lies = [
            ("silent", Lie::Silent),
            ("servfail", Lie::ServFail),
            ("nxdomain", Lie::NxDomain),
            ("loop", Lie::Loop),
            ("truncated", Lie::Truncated),
            ("wrongid", Lie::WrongId),
            ("wrongquestion", Lie::WrongQuestion),
            ("garbage", Lie::Garbage),
            ("empty", Lie::Empty),
        ];
        for (name, lie) in lies {
            let domain = format!("{name}.example");
            // What it would be if it were the truth.
            dns.srv(&format!("_sips._tcp.{domain}"), 1, 1, good.address.port(), "h.example");
            dns.lie(&domain, lie);
        }
        // No service here.
        dns.srv("_sips._tcp.dot.example", 0, 0, 0, ".")
            .host("dot.example", good.address.ip());
        // An alias that leads to an alias, and so on, in a circle of three.
        dns.alias("circle.example", "one.circle.example")
            .alias("one.circle.example", "two.circle.example")
            .alias("two.circle.example", "circle.example");
        // More than anybody wants: over TCP, since it does not fit a datagram.
        for n in 0..500 {
            let target = format!("target-with-a-rather-long-name-{n}.many.example");
            dns.srv("_sips._tcp.many.example", 1, 1, 9, &target);
        }
        let peers: Vec<(&str, &str)> = lies
            .iter()
            .map(|(n, _)| (*n, ""))
            .chain([("dot", ""), ("circle", ""), ("many", ""), ("good", "")])
            .collect();
        let mut world = world(family, &dns, &trust, &peers)?;
        for (name, _) in &peers[..peers.len() - 1] {
            let started = Instant::now();
            let answer = world.alice.message(&format!("sip:bob@{name}.example"), "lied to")?;
            let took = started.elapsed();
            assert!(
                matches!(answer.status(), 480 | 504) && answer.header("Reason").is_some(),
                "{name}: {}",
                answer.start
            );
            assert!(took < Duration::from_secs(20), "{name}: answered after {took:?}");
        }
        assert_eq!(good.count("MESSAGE", "lied to"), 0, "a lie was believed");
        world.known_as("good", "up")?;
        world.reaches("good", &good, "in spite of it all")?;
    }
    Ok(())
}

#[test]
fn a_certificate_is_judged_by_the_domain_and_never_by_where_dns_led() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let (dns, trust) = (Dns::start(family)?, Trust::new()?);
        // The target of b's SRV has a certificate of its own name, by the right authority.
        let target = trust.far("host.evil.example", place(family, 1))?;
        let honest = trust.far("c.example", place(family, 2))?;
        dns.srv("_sips._tcp.b.example", 1, 1, target.address.port(), "host.evil.example")
            .host("host.evil.example", target.address.ip())
            .srv(
                "_sips._tcp.c.example",
                1,
                1,
                honest.address.port(),
                "other.evil.example",
            )
            .host("other.evil.example", honest.address.ip());
        // DNS leads to the bridge itself: its own listener for peers, and its plain one.
        let hop = ", next_hop: self-host.example";
        dns.host("self-host.example", family.ip());
        let mut world = world(
            family,
            &dns,
            &trust,
            &[("b", ""), ("c", ""), ("itself", ""), ("hop", hop)],
        )?;
        for port in [
            world.bridge.ports.peers,
            world.bridge.ports.tls,
            world.bridge.ports.plain,
        ] {
            for name in ["_sips._tcp.itself.example", "_sips._tcp.self-host.example"] {
                dns.srv(name, 1, 1, port, "self-host.example");
            }
        }
        world.known_as("c", "up")?;
        world.reaches("c", &honest, "the domain's own")?;
        for name in ["b", "itself", "hop"] {
            let answer = world.alice.message(&format!("sip:bob@{name}.example"), "misled")?;
            assert!(matches!(answer.status(), 480 | 504 | 482), "{name}: {}", answer.start);
            world.known_as(name, "down")?;
        }
        assert_eq!(target.seen().handshakes, 0);
        assert_eq!(target.count("MESSAGE", "") + honest.count("MESSAGE", "misled"), 0);
        let line = "the certificate of peer b (";
        eventually("the log says why", Duration::from_secs(10), || {
            let log = world.bridge.log();
            log.lines().any(|l| l.contains(line) && l.contains("host.evil.example"))
        })?;
        // With the domain's own certificate the same place is good.
        target.show(&trust.theirs.issue("b.example")?, &trust.ours.pem)?;
        world.known_as("b", "up")?;
        world.reaches("b", &target, "the right one")?;
    }
    Ok(())
}

/// R10: who answers for a peer's name does not aim the bridge at its own machine.
#[test]
fn dns_does_not_lead_a_trunk_to_this_machine_unless_it_is_listed() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let (dns, trust) = (Dns::start(family)?, Trust::new()?);
        // Each is a proper server of its peer, but here; only `listed` is listed, only `written` is written so.
        let names = ["srv", "address", "hop", "listed", "written"];
        let fars = names
            .iter()
            .enumerate()
            .map(|(n, name)| trust.far(&format!("{name}.example"), place(family, u8::try_from(n + 20)?)))
            .collect::<Outcome<Vec<_>>>()?;
        let at = |n: usize| fars.get(n).map(|f| f.address).ok_or("no such server");
        dns.srv("_sips._tcp.srv.example", 1, 1, at(0)?.port(), "here.example")
            .host("here.example", at(0)?.ip())
            .host("address.elsewhere.example", at(1)?.ip())
            .host("hop.elsewhere.example", at(2)?.ip())
            .host("listed.elsewhere.example", at(3)?.ip());
        let peers = [
            ("srv", String::new()),
            (
                "address",
                format!(", next_hop: \"address.elsewhere.example:{}\"", at(1)?.port()),
            ),
            (
                "hop",
                format!(", next_hop: \"hop.elsewhere.example:{}\"", at(2)?.port()),
            ),
            (
                "listed",
                format!(
                    ", addresses: [\"{}\"], next_hop: \"listed.elsewhere.example:{}\"",
                    at(3)?.ip(),
                    at(3)?.port()
                ),
            ),
            ("written", format!(", next_hop: \"{}\"", at(4)?)),
        ];
        let mut world = world_of(family, &dns, &trust, &peers)?;
        for (n, name) in [(3, "listed"), (4, "written")] {
            world.known_as(name, "up")?;
            let far = fars.get(n).ok_or("no such server")?;
            world.reaches(name, far, &format!("to {name}"))?;
        }
        for (name, far) in ["srv", "address", "hop"].into_iter().zip(&fars) {
            let answer = world.alice.message(&format!("sip:bob@{name}.example"), "misled")?;
            assert!(matches!(answer.status(), 480 | 504), "{name}: {}", answer.start);
            let seen = far.seen();
            assert!(seen.handshakes == 0 && seen.requests.is_empty(), "{name} was reached");
        }
        for host in ["srv.example", "address.elsewhere.example", "hop.elsewhere.example"] {
            let line = format!("DNS says that {host} is at");
            let log = world.bridge.log();
            assert_eq!(log.lines().filter(|l| l.contains(&line)).count(), 1, "{host}: {log}");
        }
    }
    Ok(())
}
