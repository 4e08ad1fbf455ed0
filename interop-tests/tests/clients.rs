//! Real clients: sipp, sipsak, Sofia-SIP and baresip, on both transports and families.
//!
//! Each test runs against the bridge and against a Kamailio, which proves the test itself.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use interop_tests::agent::Agent;
use interop_tests::baresip::Baresip;
use interop_tests::kamailio::{self, Kamailio};
use interop_tests::net::{Family, free_port};
use interop_tests::pki::Authority;
use interop_tests::process::Process;
use interop_tests::stand::{DOMAIN, Stand};
use interop_tests::wire::Request;
use interop_tests::{Outcome, find, installed, repository};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const PATIENCE: Duration = Duration::from_secs(20);

/// What the clients talk to.
enum Target {
    Bridge(Box<Stand>),
    Kamailio(
        Box<Kamailio>,
        #[expect(dead_code, reason = "kept until the server has ended")] tempfile::TempDir,
    ),
}

impl Target {
    fn bridge(family: Family) -> Outcome<Self> {
        Ok(Self::Bridge(Box::new(Stand::start(family)?)))
    }

    fn kamailio(family: Family) -> Outcome<Self> {
        let (dir, authority) = (tempfile::tempdir()?, Authority::new()?);
        // Nobody is at the other end of its trunk.
        let setup = kamailio::Setup::new(DOMAIN, "b.example", family.at(9));
        let own = authority.issue(DOMAIN)?;
        Ok(Self::Kamailio(
            Box::new(Kamailio::start(dir.path(), setup, &own, &authority.pem)?),
            dir,
        ))
    }

    fn at(&self) -> SocketAddr {
        match self {
            Self::Bridge(stand) => stand.bridge.ports.client(),
            Self::Kamailio(kamailio, _) => kamailio.client(),
        }
    }

    fn user(&self, user: &str) -> Outcome<Agent> {
        let mut agent = Agent::udp(user, DOMAIN, self.at())?;
        assert_eq!(agent.register(600)?.status(), 200, "REGISTER of {user}");
        Ok(agent)
    }
}

type Start = fn(Family) -> Outcome<Target>;

/// `name: programs;` makes the tests `name::bridge` and `name::kamailio` of the function `name`.
macro_rules! against_both {
    ($($name:ident: $($program:literal)+;)*) => {
        $(mod $name {
            use super::*;
            #[test]
            fn bridge() -> Outcome {
                let here = concat!(stringify!($name), "::bridge");
                if installed(here, &[$($program),+]) { super::$name(Target::bridge) } else { Ok(()) }
            }
            #[test]
            fn kamailio() -> Outcome {
                let here = concat!(stringify!($name), "::kamailio");
                if installed(here, &["kamailio", $($program),+]) { super::$name(Target::kamailio) } else { Ok(()) }
            }
        })*
    };
}

against_both! {
    sipp_asks_registers_and_is_refused: "sipp";
    sipp_is_called: "sipp";
    sipsak_asks_and_registers: "sipsak";
    sofia_asks: "sip-options";
    baresip_registers_is_watched_and_receives: "baresip";
}

/// A sipp that runs one of our scenarios; `calls` of them, then it ends.
fn sipp(dir: &Path, target: &Target, scenario: &str, transport: &str, port: u16, calls: u32) -> Outcome<Process> {
    let fields = dir.join("fields.csv");
    std::fs::write(
        &fields,
        format!("SEQUENTIAL\n{DOMAIN};alice;[authentication username=alice password=secret-alice]\n"),
    )?;
    let server = target.at();
    let ip = match server.ip() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let mut command = Command::new(find("sipp").ok_or("sipp is not installed")?);
    command
        .current_dir(dir)
        .arg(server.to_string())
        .arg("-sf")
        .arg(repository().join("interop-tests/sipp").join(scenario));
    command
        .arg("-inf")
        .arg(&fields)
        .args(["-i", &ip, "-p", &port.to_string(), "-m", &calls.to_string()]);
    command.args([
        "-r",
        "50",
        "-l",
        "20",
        "-t",
        transport,
        "-nostdin",
        "-timeout",
        "15s",
        "-timeout_error",
        "-trace_err",
    ]);
    Process::start(&mut command, &dir.join(format!("sipp-{scenario}-{port}.log")))
}

fn ends_well(mut process: Process, what: &str) -> Outcome {
    match process.wait(PATIENCE)? {
        Some(0) => Ok(()),
        code => Err(format!("{what} ended with {code:?}:\n{}", process.tail()).into()),
    }
}

fn sipp_asks_registers_and_is_refused(start: Start) -> Outcome {
    for family in FAMILIES {
        let (target, dir) = (start(family)?, tempfile::tempdir()?);
        for transport in ["u1", "t1"] {
            for (scenario, calls) in [("options.xml", 50), ("register.xml", 1), ("stranger.xml", 20)] {
                let run = sipp(dir.path(), &target, scenario, transport, free_port(), calls)?;
                ends_well(run, &format!("sipp {scenario} over {transport} on {family:?}"))?;
            }
        }
    }
    Ok(())
}

fn sipp_is_called(start: Start) -> Outcome {
    for family in FAMILIES {
        let (target, dir) = (start(family)?, tempfile::tempdir()?);
        let port = free_port();
        let callee = sipp(dir.path(), &target, "callee.xml", "u1", port, 1)?;
        let mut alice = Agent::udp("alice", DOMAIN, target.at())?;
        let contact = format!("<sip:alice@{}>", family.at(port));
        let register = Request::new("REGISTER", "sip:a.example")
            .with("Contact", contact)
            .with("Expires", "60");
        assert_eq!(alice.ask(&register)?.status(), 200);
        let mut bob = target.user("bob")?;
        let call = bob
            .call("sip:alice@a.example")
            .map_err(|e| format!("{e}\n{}", callee.tail()))?;
        // A BYE right behind the ACK may overtake it between a server's workers.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(bob.hang_up(&call)?.status(), 200, "BYE");
        ends_well(callee, &format!("the called sipp on {family:?}"))?;
    }
    Ok(())
}

fn sipsak(target: &Target, args: &[&str]) -> Outcome<(Option<i32>, String)> {
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(find("sipsak").ok_or("sipsak is not installed")?);
    let server = target.at();
    command.arg("-p").arg(server.to_string()).args(args);
    let mut process = Process::start(&mut command, &dir.path().join("sipsak.log"))?;
    let code = process.wait(PATIENCE)?;
    Ok((code, process.output()))
}

/// On IPv4 alone: sipsak 0.9.8 knows no other addresses. It takes everything behind the first colon of `-p [::1]:5060`
/// for a port, and calls `[` in a URI unresolvable.
fn sipsak_asks_and_registers(start: Start) -> Outcome {
    let target = start(Family::V4)?;
    for transport in ["udp", "tcp"] {
        let (_, output) = sipsak(&target, &["-E", transport, "-s", "sip:a.example", "-vv"])?;
        assert!(output.contains("SIP/2.0 "), "OPTIONS over {transport}: {output}");
        let register = |password, expires| {
            [
                "-E",
                transport,
                "-U",
                "-s",
                "sip:bob@a.example",
                "-C",
                "sip:bob@127.0.0.1:9",
                "-a",
                password,
                "-x",
                expires,
                "-vv",
            ]
        };
        let (code, output) = sipsak(&target, &register("secret-bob", "60"))?;
        assert_eq!(code, Some(0), "REGISTER over {transport}: {output}");
        let (code, output) = sipsak(&target, &register("wrong", "60"))?;
        assert_ne!(
            code,
            Some(0),
            "REGISTER with a wrong password over {transport}: {output}"
        );
    }
    // It changes random characters of a request, forty times.
    sipsak(&target, &["-R", "-t", "40", "-s", "sip:a.example"])?;
    let (_, output) = sipsak(&target, &["-s", "sip:a.example", "-vv"])?;
    assert!(output.contains("SIP/2.0 "), "afterwards: {output}");
    Ok(())
}

/// It asks as somebody whose domain nobody here speaks for: the refusal is the server's own, while a 503 would be Sofia's.
fn sofia_asks(start: Start) -> Outcome {
    FAMILIES.into_iter().try_for_each(|family| sofia_asks_on(family, start))
}

fn sofia_asks_on(family: Family, start: Start) -> Outcome {
    let target = start(family)?;
    for transport in ["udp", "tcp"] {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new(find("sip-options").ok_or("sip-options is not installed")?);
        // Left alone, it has a socket for IPv4 only. Options count before the URL.
        let own = SocketAddr::new(family.ip(), free_port());
        command
            .arg(format!("--bind=sip:{own};transport={transport}"))
            .arg("--all")
            .arg(format!("sip:{DOMAIN}@{};transport={transport}", target.at()));
        let mut process = Process::start(&mut command, &dir.path().join("sofia.log"))?;
        process.wait(PATIENCE)?;
        let output = process.output();
        assert!(
            output.contains("SIP/2.0 403 ") && !output.contains("SIP/2.0 503 "),
            "sip-options over {transport} on {family:?}: {output}"
        );
    }
    Ok(())
}

fn baresip_registers_is_watched_and_receives(start: Start) -> Outcome {
    FAMILIES.into_iter().try_for_each(|family| baresip_on(family, start))
}

fn baresip_on(family: Family, start: Start) -> Outcome {
    let (target, dir) = (start(family)?, tempfile::tempdir()?);
    let mut bob = target.user("bob")?;
    assert_eq!(bob.publish(None, "open", "bob is here")?.status(), 200);
    let mut phone = Baresip::start(dir.path(), "alice", DOMAIN, target.at(), &["sip:bob@a.example"])?;
    // Its event may have been sent before we could hear it; its terminal says so too.
    interop_tests::eventually("baresip registers", PATIENCE, || phone.log().contains("200 OK"))
        .map_err(|e| format!("{e}\n{}", phone.log()))?;
    // She publishes, he watches.
    phone.command("presence_online", "")?;
    let watch = bob.watch("sip:alice@a.example", 600)?;
    bob.notified(&watch, "active", "open")
        .map_err(|e| format!("{e}\n{}", phone.log()))?;
    // He writes; the 200 is hers, since nobody else may answer for her.
    assert_eq!(bob.message("sip:alice@a.example", "hello baresip")?.status(), 200);
    // She calls, he answers and she hangs up.
    phone.command("dial", "sip:bob@a.example")?;
    bob.expect("INVITE", PATIENCE, |m| m.is("INVITE"))?;
    phone.wait_for("CALL_ESTABLISHED")?;
    phone.command("hangup", "")?;
    bob.expect("BYE", PATIENCE, |m| m.is("BYE")).map(drop)
}
