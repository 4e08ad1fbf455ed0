//! The load driver itself, in small: all jobs on all transports against the bridge as it is built for tests. No figure is
//! asserted, but every check that the driver makes is.

use std::process::Command;

use interop_tests::{Outcome, installed, trestle};
use serde_json::Value;

fn drive(server: &str) -> Outcome<Vec<Value>> {
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["--size", "smoke", "--json", "--servers", server, "--trestle"])
        .arg(trestle::program())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{text}\n{why}", output.status);
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Every phase of every job has done something on every transport.
fn all_is_there(rows: &[Value]) {
    let mut seen = Vec::new();
    for row in rows {
        for phase in row["phases"].as_array().into_iter().flatten() {
            assert!(phase["done"].as_u64() > Some(0), "{row}");
            assert!(phase["p99_us"].as_u64() >= phase["p50_us"].as_u64(), "{row}");
            seen.push(format!("{} {}", phase["phase"], row["transport"]).replace('"', ""));
        }
    }
    for phase in ["message", "subscribe", "notify", "fan-out", "register", "re-register"] {
        for way in ["udp", "tcp", "tls"] {
            let name = format!("{phase} {way}");
            assert!(seen.contains(&name), "{name} is missing in {seen:?}");
        }
    }
    assert!(seen.contains(&"hold tcp".to_string()), "{seen:?}");
}

#[test]
fn the_driver_finds_nothing_wrong_with_the_bridge() -> Outcome {
    let rows = drive("trestle")?;
    for row in &rows {
        assert_eq!(row["faults"], Value::Array(Vec::new()), "{row}");
    }
    all_is_there(&rows);
    Ok(())
}

/// The configuration beside the driver does all jobs. What a Kamailio loses on cold connections is not ours to judge.
#[test]
fn the_driver_drives_a_tuned_kamailio() -> Outcome {
    if !installed("load::the_driver_drives_a_tuned_kamailio", &["kamailio"]) {
        return Ok(());
    }
    all_is_there(&drive("kamailio")?);
    Ok(())
}

#[test]
fn it_refuses_what_it_does_not_know() -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["--size", "smoke", "--servers", "trestle", "--jobs", "tea", "--trestle"])
        .arg(trestle::program())
        .output()?;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tea is none of relay, presence"));
    Ok(())
}
