//! `trestle ctl trace`: what it shows, what it writes for Wireshark, and what it leaves out.

use std::process::Command;
use std::time::Duration;

use interop_tests::net::Family;
use interop_tests::process::Process;
use interop_tests::{Outcome, eventually, find, installed};
use serde_json::Value;

use crate::bench::{Bench, FAMILIES, shown};

const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: [&str; 2] = ["--config", "bridge.yaml"];

/// A trace that has begun.
fn begin(bench: &Bench, args: &[&str], log: &str) -> Outcome<Process> {
    let args: Vec<&str> = ["ctl", "trace"].iter().chain(args).chain(&CONFIG).copied().collect();
    let mut process = bench.spawn(&args, log)?;
    let path = bench.path(log);
    process.wait_until(PATIENCE, || {
        std::fs::read(&path).is_ok_and(|text| String::from_utf8_lossy(&text).contains("tracing; "))
    })?;
    Ok(process)
}

/// alice over UDP, bob over TCP, erin of the peer over TLS: a message each way.
fn talk(bench: &Bench) -> Outcome {
    let (mut alice, mut bob) = (bench.user("alice", "udp")?, bench.user("bob", "tcp")?);
    let mut erin = bench.foreigner("erin")?;
    assert_eq!(alice.message("sip:bob@a.example", "from udp to tcp")?.status(), 200);
    bob.messaged("from udp to tcp")?;
    assert_eq!(erin.message("sip:alice@a.example", "from tls to udp")?.status(), 200);
    alice.messaged("from tls to udp")?;
    Ok(())
}

/// Wireshark's own reader finds SIP in the file without any settings, with real addresses, ports and directions.
#[test]
fn wireshark_reads_udp_tcp_and_tls_as_sip() -> Outcome {
    if !installed("console::wireshark_reads_udp_tcp_and_tls_as_sip", &["tshark"]) {
        return Ok(());
    }
    for family in FAMILIES {
        let bench = Bench::start(family, "")?;
        let file = bench.path("all.pcapng");
        let mut trace = begin(&bench, &["--write", "all.pcapng"], "trace.log")?;
        talk(&bench)?;
        let written = |what: &str| {
            let bytes = std::fs::read(&file).unwrap_or_default();
            bytes.windows(what.len()).filter(|w| *w == what.as_bytes()).count()
        };
        // Each message is in it as it came and as it went on; alice's also as it was challenged.
        eventually("all is written", PATIENCE, || {
            written("from udp to tcp") == 3 && written("from tls to udp") == 2
        })?;
        trace.stop();
        judge(&bench, &read(&bench, &file, family)?, family);
    }
    Ok(())
}

/// Each message has its interface, direction, addresses and ports.
fn judge(bench: &Bench, rows: &[Vec<String>], family: Family) {
    let (ip, port, trunk) = (
        family.ip().to_string(),
        bench.ports.plain.to_string(),
        bench.ports.peers.to_string(),
    );
    const IN: &str = "0x00000001";
    const OUT: &str = "0x00000002";
    // Who from, interface, direction, which column holds the port of the bridge, and that port.
    for (from, interface, direction, column, ours) in [
        ("alice", "udp", IN, 7, &port),
        ("alice", "tcp", OUT, 6, &port),
        ("erin", "tls", IN, 7, &trunk),
        ("erin", "udp", OUT, 6, &port),
    ] {
        let wanted = [
            (0, "MESSAGE"),
            (1, from),
            (2, interface),
            (3, direction),
            (4, &ip),
            (5, &ip),
            (column, ours),
        ];
        let fits = |row: &Vec<String>| {
            wanted
                .iter()
                .all(|(at, is)| row.get(*at).is_some_and(|cell| cell == is))
        };
        assert!(rows.iter().any(fits), "{wanted:?} is not in {rows:#?}");
    }
    let named = |row: &Vec<String>| row.get(8).is_some_and(|comment| comment == "from peer b over TLS");
    assert!(rows.iter().any(named), "{rows:#?}");
}

/// What tshark makes of the file, and that it finds nothing malformed and nothing but SIP.
fn read(bench: &Bench, file: &std::path::Path, family: Family) -> Outcome<Vec<Vec<String>>> {
    let tshark = |args: &[&str]| -> Outcome<String> {
        let mut command = Command::new(find("tshark").ok_or("no tshark")?);
        let output = command
            .arg("-r")
            .arg(file)
            .args(args)
            .env("HOME", bench.dir.path())
            .output()?;
        assert!(output.status.success(), "{}", shown(&output));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(tshark(&["-Y", "_ws.malformed or not sip"])?, "");
    let kind = if family == Family::V4 { "ipv4" } else { "ipv6" };
    let (source, destination) = (format!("exported_pdu.{kind}_src"), format!("exported_pdu.{kind}_dst"));
    let fields = [
        "sip.Method",
        "sip.from.user",
        "frame.interface_name",
        "frame.packet_flags",
        &source,
        &destination,
        "exported_pdu.src_port",
        "exported_pdu.dst_port",
        "frame.comment",
    ];
    let mut args = vec!["-Y", "sip", "-T", "fields"];
    fields.iter().for_each(|f| args.extend(["-e", f]));
    let row = |line: &str| line.split('\t').map(ToString::to_string).collect();
    Ok(tshark(&args)?.lines().map(row).collect())
}

/// The lines of a trace in JSON that has ended by itself.
fn traced(process: &mut Process) -> Outcome<Vec<Value>> {
    assert_eq!(process.wait(PATIENCE)?, Some(0));
    Ok(process
        .output()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

#[test]
fn filters_and_counts_leave_out_the_rest() -> Outcome {
    let bench = Bench::start(Family::V4, "")?;
    let mut peer = begin(&bench, &["--json", "--peer", "b", "--count", "2"], "peer.log")?;
    let mut method = begin(
        &bench,
        &["--json", "--method", "MESSAGE", "--user", "bob", "--count", "4"],
        "method.log",
    )?;
    let mut nobody = begin(&bench, &["--json", "--call-id", "nothing", "--for", "1"], "nobody.log")?;
    talk(&bench)?;
    for message in traced(&mut peer)? {
        assert_eq!(message["peer"], "b", "{message}");
        assert_eq!(message["transport"], "tls", "{message}");
        assert!(
            message["message"].as_str().is_some_and(|m| m.contains("b.example")),
            "{message}"
        );
    }
    let of_bob = traced(&mut method)?;
    assert_eq!(of_bob.len(), 4, "{of_bob:#?}");
    for message in of_bob {
        let text = message["message"].as_str().unwrap_or_default();
        assert!(
            text.contains(" MESSAGE\r\n") && text.contains("bob@a.example"),
            "{text}"
        );
        assert!(!text.contains("REGISTER"), "{text}");
    }
    assert_eq!(traced(&mut nobody)?, Vec::<Value>::new());
    Ok(())
}

/// No digest response leaves the bridge by a trace, in no form.
#[test]
fn no_secret_is_shown() -> Outcome {
    let bench = Bench::start(Family::V4, "")?;
    let mut text = begin(&bench, &["--method", "REGISTER", "--count", "4"], "text.log")?;
    let mut file = begin(
        &bench,
        &["--method", "REGISTER", "--count", "4", "--write", "-"],
        "file.log",
    )?;
    bench.user("alice", "tcp")?;
    for process in [&mut text, &mut file] {
        assert_eq!(process.wait(PATIENCE)?, Some(0));
        let shown = process.output();
        assert!(shown.contains("username=\"alice\""), "{shown}");
        let stars = format!("response=\"{}\"", "*".repeat(32));
        assert!(shown.contains(&stars), "{shown}");
        assert_eq!(shown.matches("response=\"").count(), shown.matches(&stars).count());
    }
    Ok(())
}

/// A listener that takes nothing neither stops nor slows the bridge, and is told what it has missed.
#[test]
fn a_listener_that_sleeps_loses_messages_and_the_bridge_goes_on() -> Outcome {
    use std::io::{BufRead as _, BufReader, Write as _};
    let bench = Bench::start(Family::V4, "")?;
    let mut stream = std::os::unix::net::UnixStream::connect(bench.path("data/trestle.sock"))?;
    stream.write_all(b"trace {}\n")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    assert_eq!(line, "{\"tracing\":true}\n");
    let mut alice = bench.user("alice", "tcp")?;
    // 6,000 requests and their answers, more than the queue and the socket hold.
    let filler = "x".repeat(1000);
    for _ in 0..60 {
        let burst: String = (0..100)
            .map(|_| {
                let unique = interop_tests::wire::unique();
                format!(
                    "OPTIONS sip:a.example SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK{unique}\r\nMax-Forwards: 70\r\n\
                     From: <sip:alice@a.example>;tag=1\r\nTo: <sip:a.example>\r\nCall-ID: {unique}\r\nCSeq: 1 OPTIONS\r\n\
                     Subject: {filler}\r\nContent-Length: 0\r\n\r\n"
                )
            })
            .collect();
        alice.send(burst.as_bytes())?;
    }
    assert!(alice.options()?.status() >= 200);
    let mut dropped = 0;
    let mut shown = 0;
    while dropped == 0 {
        line.clear();
        if shown == 4000 {
            // There is room again: the next message tells what is missing.
            alice.options()?;
        }
        reader.read_line(&mut line)?;
        shown += 1;
        dropped = serde_json::from_str::<Value>(&line)?["dropped"].as_u64().unwrap_or(0);
    }
    assert!(dropped > 100, "{dropped}");
    Ok(())
}
