//! The house rules that a compiler does not know: floors 0 to 3 have no sockets, tasks, clocks or randomness of their own,
//! nothing names a package registry, and files stay small.

use std::path::{Path, PathBuf};

use interop_tests::{Outcome, repository};

/// Rooms of floors 0 to 3.
const PURE: [&str; 10] = [
    "sip", "event", "presence", "im", "csta", "dialect", "policy", "config", "engine", "probe",
];

/// May read files and clocks: `config::load` reads files.
const READERS: [&str; 1] = ["src/config/load.rs"];

/// What no pure room may name.
const FORBIDDEN: [&str; 16] = [
    "tokio",
    "socket2",
    "nix::",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::net::Tcp",
    "std::net::Udp",
    "ToSocketAddrs",
    "UdpSocket",
    "TcpStream",
    "Instant::now",
    "SystemTime::now",
    "from_os_rng",
    "thread_rng",
];

/// Rooms of floors 4 and 5: nothing below names them.
const ABOVE: [&str; 9] = [
    "transport",
    "cti",
    "directory",
    "store",
    "cluster",
    "admin",
    "phone",
    "cli",
    "app",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) -> Outcome {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// The files of pure rooms, relative, with their text up to the tests.
fn pure_files() -> Outcome<Vec<(String, String)>> {
    let top = repository();
    let mut files = Vec::new();
    for room in PURE {
        let dir = top.join("src").join(room);
        if dir.is_dir() {
            sources(&dir, &mut files)?;
        }
        let file = top.join("src").join(format!("{room}.rs"));
        if file.is_file() {
            files.push(file);
        }
    }
    let mut out = Vec::new();
    for file in files {
        let name = file.strip_prefix(&top)?.display().to_string();
        if !name.ends_with(".rs") || name.ends_with("/tests.rs") || name.contains("/tests/") {
            continue;
        }
        let text = std::fs::read_to_string(&file)?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        // A comment may name what the code may not use.
        let code: Vec<&str> = code.lines().map(|l| l.split("//").next().unwrap_or_default()).collect();
        out.push((name, code.join("\n")));
    }
    Ok(out)
}

#[test]
fn floors_0_to_3_do_no_io() -> Outcome {
    let files = pure_files()?;
    assert!(files.len() > 20, "only {} files found", files.len());
    let mut wrong = Vec::new();
    for (name, code) in files.iter().filter(|(name, _)| !READERS.contains(&name.as_str())) {
        for word in FORBIDDEN {
            if code.contains(word) {
                wrong.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn floors_0_to_3_name_nothing_above_them() -> Outcome {
    let mut wrong = Vec::new();
    for (name, code) in pure_files()? {
        for room in ABOVE {
            if code.contains(&format!("crate::{room}::")) || code.contains(&format!("use crate::{room};")) {
                wrong.push(format!("{name}: crate::{room}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Files and ports that belong to somebody's machine must not be in the tree.
#[test]
fn nothing_names_a_package_registry() -> Outcome {
    let top = repository();
    let mut files = Vec::new();
    for dir in [
        "src",
        "config",
        "mappings",
        "certs",
        "interop-tests/src",
        "interop-tests/tests",
        ".ci",
        ".cargo",
    ] {
        let dir = top.join(dir);
        if dir.is_dir() {
            sources(&dir, &mut files)?;
        }
    }
    for file in ["Cargo.toml", "rust-toolchain.toml", "interop-tests/run.sh", "deny.toml"] {
        files.extend(Some(top.join(file)).filter(|f| f.is_file()));
    }
    // Put together here, so that this file does not name them.
    let hosts = [["crates", "io"], ["npmjs", "org"], ["pypi", "org"], ["replace", "with"]];
    let words = hosts.map(|[a, b]| format!("{a}{}{b}", if b == "with" { '-' } else { '.' }));
    for file in files {
        // Binary files have no names to find.
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        for line in text.lines() {
            assert!(!words.iter().any(|w| line.contains(w)), "{}: {line}", file.display());
        }
    }
    Ok(())
}

/// A report rather than a fence: the style says mostly under 600 lines, so a few may be longer, but none by far.
#[test]
fn files_are_small() -> Outcome {
    let mut files = Vec::new();
    sources(&repository().join("src"), &mut files)?;
    sources(&repository().join("interop-tests/src"), &mut files)?;
    let (mut long, mut all) = (Vec::new(), 0);
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        let lines = std::fs::read_to_string(file)?.lines().count();
        all += 1;
        if lines > 600 {
            long.push((lines, file.display().to_string()));
        }
    }
    println!("{all} files; over 600 lines: {long:#?}");
    assert!(
        long.len() * 20 <= all,
        "more than one file in twenty is over 600 lines: {long:#?}"
    );
    assert!(long.iter().all(|(lines, _)| *lines <= 1000), "{long:#?}");
    Ok(())
}
