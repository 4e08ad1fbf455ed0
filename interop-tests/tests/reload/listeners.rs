//! Listeners that come and go without a restart.

use std::net::TcpListener;

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::net::{Family, free_port};

use super::site::{A, Site, is_closed, is_open};

fn listener(name: &str, transport: &str, at: std::net::SocketAddr) -> String {
    format!("  - {{ name: {name}, transport: {transport}, bind: [\"{at}\"] }}\n")
}

#[test]
fn one_is_added_and_removed_while_the_others_serve() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let site = Site::start(family, "")?;
        let at = family.at(free_port());
        let (mut bob, mut carol) = (site.bob()?, site.user("carol")?);
        // Before all others, so that each of them gets another place.
        let both = listener("more-tcp", "tcp", at) + &listener("more-udp", "udp", at);
        let plan = site.change("listeners:\n", &format!("listeners:\n{both}"))?;
        assert!(
            plan.contains("+listenermore-tcp") && plan.contains("\"restart\":[]"),
            "{plan}"
        );
        let mut alice = Agent::tcp("alice", A, at)?;
        assert_eq!(alice.register(60)?.status(), 200, "{family:?}: over TCP");
        let mut dave = Agent::udp("dave", A, at)?;
        assert_eq!(dave.register(60)?.status(), 200, "{family:?}: over UDP");
        assert_eq!(carol.message("sip:dave@a.example", "hello")?.status(), 200);
        let came = dave.messaged("hello")?;
        let via = came.header("Via").unwrap_or_default();
        assert!(
            via.contains(&at.to_string()),
            "{family:?}: by the socket it registered at: {via}"
        );
        assert!(is_open(&mut bob) && is_open(&mut carol), "{family:?}");
        let mut other = Agent::udp("carol", A, site.bridge.ports.client())?;
        assert_eq!(other.register(60)?.status(), 200, "{family:?}: the old UDP socket");

        let plan = site.change(&both, "")?;
        assert!(
            plan.contains("-listenermore-tcp") && plan.contains("\"restart\":[]"),
            "{plan}"
        );
        is_closed(&mut alice).map_err(|e| format!("{family:?}: {e}"))?;
        interop_tests::eventually("nobody listens there", interop_tests::agent::PATIENCE, || {
            Agent::tcp("alice", A, at).is_err() && std::net::UdpSocket::bind(at).is_ok()
        })?;
        assert!(is_open(&mut bob) && is_open(&mut carol), "{family:?}");
    }
    Ok(())
}

#[test]
fn an_address_more_and_an_address_less() -> Outcome {
    let site = Site::start(Family::V4, "")?;
    let plain = site.bridge.ports.client();
    let mut carol = site.user("carol")?;
    let more = "127.0.0.2"
        .parse()
        .map(|ip| std::net::SocketAddr::new(ip, plain.port()))?;
    let one = format!("transport: tcp, bind: [\"{plain}\"]");
    let two = format!("transport: tcp, bind: [\"{plain}\", \"{more}\"]");
    site.change(&one, &two)?;
    let mut alice = Agent::tcp("alice", A, more)?;
    assert_eq!(alice.register(60)?.status(), 200);
    site.change(&two, &one)?;
    is_closed(&mut alice)?;
    assert!(is_open(&mut carol));
    // UDP: from now on there is a choice of sockets, and each answers what it was asked.
    let one = format!("transport: udp, bind: [\"{plain}\"]");
    let two = format!("transport: udp, bind: [\"{plain}\", \"{more}\"]");
    site.change(&one, &two)?;
    for at in [more, plain] {
        let mut dave = Agent::udp("dave", A, at)?;
        assert_eq!(dave.register(60)?.status(), 200, "{at}");
    }
    Ok(())
}

#[test]
fn an_address_that_cannot_be_had_changes_nothing() -> Outcome {
    let site = Site::start(Family::V4, "")?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let more = listener("taken", "tcp", taken.local_addr()?);
    let extra = "users:\n  - { aor: erin@a.example, password: { plain: secret-erin } }\n";
    site.edit("users:\n", extra)?;
    site.edit("listeners:\n", &format!("listeners:\n{more}"))?;
    let problem = site.refused()?;
    assert!(problem.contains(&taken.local_addr()?.to_string()), "{problem}");
    let mut erin = Agent::tcp("erin", A, site.bridge.ports.client())?;
    assert_ne!(
        erin.register(60)?.status(),
        200,
        "the rest of the file is not in force either"
    );
    drop(taken);
    site.reload()?;
    assert_eq!(erin.register(60)?.status(), 200);
    Ok(())
}

#[test]
fn a_socket_in_the_way_waits_for_a_restart_and_the_answer_says_so() -> Outcome {
    let mut site = Site::start(Family::V4, "")?;
    let plain = site.bridge.ports.client();
    let mut carol = site.user("carol")?;
    let wide = format!("0.0.0.0:{}", plain.port());
    let plan = site.change(
        &format!("transport: tcp, bind: [\"{plain}\"]"),
        &format!("transport: tcp, bind: [\"{wide}\"]"),
    )?;
    assert!(
        plan.contains(&format!("listenertcpon{wide}:{plain}isinitsway")),
        "{plan}"
    );
    assert!(is_open(&mut carol), "until then the old one serves");
    let table = interop_tests::trestle::run(site.dir(), &["ctl", "reload", "--config", "bridge.yaml"])?;
    assert!(table.status.success());
    site.bridge.stop();
    site.bridge.start_again()?;
    let other = "127.0.0.3"
        .parse()
        .map(|ip| std::net::SocketAddr::new(ip, plain.port()))?;
    assert_eq!(Agent::tcp("carol", A, other)?.register(60)?.status(), 200);
    Ok(())
}

#[test]
fn what_needs_a_restart_is_named() -> Outcome {
    let site = Site::start(Family::V4, "")?;
    let plan = site.change("store: { path: data }", "store: { path: data, sync: process }")?;
    assert!(plan.contains("\"restart\":[\"store\"]"), "{plan}");
    let plan = site.change("log: { level: info }", "log: { level: debug }")?;
    assert!(plan.contains("\"restart\":[\"log\"]"), "{plan}");
    Ok(())
}
