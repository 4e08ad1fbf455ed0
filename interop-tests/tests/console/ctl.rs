//! `trestle ctl` and what all subcommands have in common: help with examples, JSON, exit codes, no colour where none is
//! wanted, completions that complete.

use std::io::{Read as _, Write as _};
use std::process::Command;

use interop_tests::net::{Family, free_port};
use interop_tests::{Outcome, installed, trestle};
use serde_json::Value;

use crate::bench::{Bench, shown};

const CONFIG: [&str; 2] = ["--config", "bridge.yaml"];

#[test]
fn answers_are_tables_for_people_and_json_for_scripts() -> Outcome {
    let mut bench = Bench::start(Family::V4, "")?;
    let (mut alice, _bob) = (bench.user("alice", "udp")?, bench.user("bob", "tcp")?);
    let watch = alice.watch("sip:bob@a.example", 600)?;
    alice.notified(&watch, "active", "")?;
    let json = |what: &str| -> Outcome<Value> { Ok(serde_json::from_str(&bench.bridge.ctl(what)?)?) };
    assert_eq!(json("status")?["subscriptions"], 1);
    assert_eq!(json("peers")?[0]["name"], "b");
    assert_eq!(json("subscriptions")?[0]["presentity"], "bob@a.example");
    assert_eq!(json("registrations")?.as_array().map(Vec::len), Some(2));
    for (what, wanted) in [
        ("status", "subscriptions           1\n"),
        ("peers", "b.example"),
        ("subscriptions", "alice@a.example"),
        ("registrations", "bob@a.example"),
    ] {
        let output = bench.run(&["ctl", what, CONFIG[0], CONFIG[1]])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(wanted), "{}", shown(&output));
        assert!(!text.contains('\u{1b}') && !text.contains('{'), "{text}");
        aligned(&text, what);
    }
    bench.bridge.stop();
    let output = bench.run(&["ctl", "status", CONFIG[0], CONFIG[1]])?;
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    Ok(())
}

/// Where a column begins in the first line, a cell begins in all lines.
fn aligned(text: &str, what: &str) {
    let lines: Vec<Vec<char>> = text.lines().map(|l| l.chars().collect()).collect();
    if what == "status" {
        return;
    }
    let head = &lines[0];
    let starts = (1..head.len()).filter(|at| head[*at] != ' ' && head[at - 1] == ' ');
    for start in starts {
        for line in &lines[1..] {
            assert!(line.get(start).is_some_and(|c| *c != ' '), "{text}");
            assert_eq!(line.get(start - 1), Some(&' '), "{text}");
        }
    }
}

#[test]
fn a_refused_reload_is_one_and_a_configuration_that_cannot_be_read_is_two() -> Outcome {
    let bench = Bench::start(Family::V4, "")?;
    let socket = "admin: { socket: data/trestle.sock, http: \"off\" }\n";
    // The bridge reads its own file; ctl finds the socket by another.
    std::fs::write(bench.path("ctl.yaml"), format!("domains: [a.example]\n{socket}"))?;
    let reload = ["ctl", "reload", "--config", "ctl.yaml"];
    let output = bench.run(&reload)?;
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "read again; nothing has changed\n"
    );
    std::fs::write(bench.path("bridge.yaml"), "domains: [\n")?;
    let output = bench.run(&reload)?;
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let output = bench.run(&["ctl", "reload", "--json", "--config", "ctl.yaml"])?;
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(serde_json::from_slice::<Value>(&output.stdout)?["error"].is_string());
    let output = bench.run(&["ctl", "status", CONFIG[0], CONFIG[1]])?;
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--socket FILE"),
        "{}",
        shown(&output)
    );
    for (file, code) in [("ctl.yaml", 0), ("bridge.yaml", 1), ("missing.yaml", 2)] {
        let output = bench.run(&["check", "--json", "--config", file])?;
        assert_eq!(output.status.code(), Some(code), "{}", shown(&output));
        let report: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!(report["fit"], code == 0, "{report}");
        assert_eq!(
            report["errors"].as_array().is_none_or(Vec::is_empty),
            code == 0,
            "{report}"
        );
    }
    for wrong in [
        &["ctl", "tea"][..],
        &["ctl", "trace", "--count", "x"],
        &["tea"],
        &["ctl"],
    ] {
        let output = bench.run(wrong)?;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", shown(&output));
    }
    Ok(())
}

/// Who has just spoilt the file needs to reach the bridge that runs on what it said before.
#[test]
fn a_configuration_that_has_gone_bad_locks_nobody_out() -> Outcome {
    let bench = Bench::start(Family::V4, "")?;
    let bad = "domains: a.example\ntea: 1\nadmin: { socket: data/trestle.sock, http: 7 }\n";
    std::fs::write(bench.path("bridge.yaml"), bad)?;
    let output = bench.run(&["ctl", "status", CONFIG[0], CONFIG[1]])?;
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let output = bench.run(&["ctl", "reload", CONFIG[0], CONFIG[1]])?;
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("bridge.yaml:1:10: a list belongs here"), "{text}");
    std::fs::remove_file(bench.path("bridge.yaml"))?;
    let output = bench.run(&["ctl", "peers", "--socket", "data/trestle.sock"])?;
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    Ok(())
}

fn help(of: &[&str]) -> Outcome<String> {
    let output = Command::new(trestle::program()).args(of).arg("--help").output()?;
    assert!(output.status.success(), "{}", shown(&output));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The subcommands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let commands = help.lines().skip_while(|l| *l != "Commands:").skip(1);
    commands
        .take_while(|l| !l.is_empty())
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(ToString::to_string)
        .collect()
}

#[test]
fn every_subcommand_has_help_with_an_example() -> Outcome {
    let top = help(&[])?;
    assert!(
        top.contains("Exit codes:\n  0  well\n  1  ") && top.contains("\n  3  nobody answers"),
        "{top}"
    );
    let commands = listed(&top);
    assert!(
        commands.len() >= 9 && commands.contains(&"ctl".to_string()),
        "{commands:?}"
    );
    let mut without = Vec::new();
    for command in &commands {
        let text = help(&[command])?;
        let below = listed(&text);
        if below.is_empty() && !text.contains("Example") {
            without.push(command.clone());
        }
        for sub in below {
            if !help(&[command, &sub])?.contains("Example") {
                without.push(format!("{command} {sub}"));
            }
        }
    }
    assert!(without.is_empty(), "no example: {without:?}");
    Ok(())
}

/// On a terminal too.
#[test]
fn no_color_is_respected() -> Outcome {
    if !installed("console::no_color_is_respected", &["script"]) {
        return Ok(());
    }
    let on_terminal = |no_color: Option<&str>| -> Outcome<String> {
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{} --help", trestle::program().display()), "/dev/null"]);
        command
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR")
            .env_remove("CI");
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let output = command.stdin(std::process::Stdio::null()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let plain = on_terminal(Some("1"))?;
    assert!(plain.contains("Usage:") && !plain.contains('\u{1b}'), "{plain:?}");
    let coloured = on_terminal(None)?;
    assert!(coloured.contains('\u{1b}'), "{coloured:?}");
    Ok(())
}

#[test]
fn completions_complete() -> Outcome {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(trestle::program()).args(["completions", shell]).output()?;
        let script = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && script.contains("call-id"),
            "{shell}: {}",
            shown(&output)
        );
    }
    if !installed("console::completions_complete", &["bash"]) {
        return Ok(());
    }
    let script = format!(
        "source <({program} completions bash); COMP_WORDS=(trestle ctl tr); COMP_CWORD=2; _trestle trestle tr ctl; echo \"${{COMPREPLY[@]}}\"",
        program = trestle::program().display()
    );
    let output = Command::new("bash").args(["-c", &script]).output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "trace\n", "{}", shown(&output));
    Ok(())
}

fn get(at: std::net::SocketAddr, path: &str) -> Outcome<String> {
    let mut stream = std::net::TcpStream::connect(at)?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Nobody asks a peer without probes, so nothing waits for its answer and no alarm rings.
#[test]
fn machines_are_told_what_they_ask_for() -> Outcome {
    let at = Family::V4.at(free_port());
    let bench = Bench::start_with(Family::V4, |config| {
        config.replace("http: \"off\"", &format!("http: \"{at}\""))
    })?;
    assert!(get(at, "/healthz")?.ends_with("\r\n\r\nok\n"));
    let ready = get(at, "/readyz")?;
    assert!(
        ready.starts_with("HTTP/1.1 200 ") && ready.ends_with("ready\n"),
        "{ready}"
    );
    let metrics = get(at, "/metrics")?;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(
        metrics.contains("\ntrestle_peer_connections{peer=\"b\"} 0\n"),
        "{metrics}"
    );
    assert!(!metrics.contains("\ntrestle_peer_up{"), "{metrics}");
    let peers: Value = serde_json::from_str(&bench.bridge.ctl("peers")?)?;
    assert_eq!(peers[0]["state"], "unprobed", "{peers}");
    Ok(())
}
