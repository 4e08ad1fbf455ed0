//! What was answered 2xx outlives the process, a full disk and a cut in the power; nothing else is promised.

#[path = "durability/killed.rs"]
mod killed;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use interop_tests::agent::Agent;
use interop_tests::net::{Family, free_port};
use interop_tests::pki::Authority;
use interop_tests::trestle::{self, Ports, Trestle};
use interop_tests::wire::{Message, find};
use interop_tests::{Outcome, eventually};
use tempfile::TempDir;

const DOMAIN: &str = "a.example";
const BOB: &str = "sip:bob@a.example";
const CAROL: &str = "sip:carol@a.example";
const DAVE: &str = "sip:dave@a.example";
const SOON: Duration = Duration::from_secs(20);

/// Users publish as fast as they like here.
const PRESENCE: &str = "notify: { min_interval: 0s }\n";

/// Makes a directory with certificates and `bridge.yaml`.
fn prepare(dir: &Path, ports: &Ports, change: impl Fn(String) -> String) -> Outcome {
    Authority::new()?.issue(DOMAIN)?.write(dir, DOMAIN)?;
    fs::write(
        dir.join("bridge.yaml"),
        change(trestle::config(DOMAIN, ports, PRESENCE)),
    )?;
    Ok(())
}

fn bridge() -> Outcome<(TempDir, Trestle)> {
    let (dir, ports) = (tempfile::tempdir()?, Ports::free(Family::V4));
    prepare(dir.path(), &ports, |config| config)?;
    let bridge = Trestle::start(dir.path(), ports)?;
    Ok((dir, bridge))
}

fn user(bridge: &Trestle, name: &str) -> Outcome<Agent> {
    Agent::udp(name, DOMAIN, bridge.ports.client())
}

fn ok(answer: Message) -> Outcome<Message> {
    match answer.status() {
        200 | 202 => Ok(answer),
        _ => Err(format!("answered {}", answer.start).into()),
    }
}

fn etag(answer: &Message) -> Outcome<String> {
    Ok(answer.header("SIP-ETag").ok_or("no SIP-ETag")?.to_string())
}

/// The segments and snapshots of a store, oldest first.
fn files(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(store).into_iter().flatten().flatten();
    let mut list: Vec<PathBuf> = entries
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "log" || e == "snap"))
        .collect();
    list.sort();
    list
}

/// Whether the store's files hold this text anywhere.
fn holds(store: &Path, text: &[u8]) -> bool {
    let holds = |file: PathBuf| fs::read(file).is_ok_and(|bytes| find(&bytes, text).is_some());
    files(store).into_iter().any(holds)
}

fn number(message: &Message) -> u32 {
    let cseq = message.header("CSeq").and_then(|c| c.split(' ').next()?.parse().ok());
    cseq.unwrap_or(0)
}

/// Restarts by `end`; a watcher hears nothing until something changes, and then in the same dialog.
fn only_changes_are_sent(end: impl Fn(&mut Trestle)) -> Outcome {
    let (_dir, mut bridge) = bridge()?;
    let (mut alice, mut bob, mut carol) = (user(&bridge, "alice")?, user(&bridge, "bob")?, user(&bridge, "carol")?);
    let tag = etag(&ok(bob.publish(None, "open", "before")?)?)?;
    let watch = alice.watch(BOB, 600)?;
    let first = alice.notified(&watch, "active", "before")?;
    end(&mut bridge);
    bridge.start_again()?;
    // Another watcher's NOTIFY shows that the bridge has begun its work.
    let other = carol.watch(BOB, 600)?;
    carol.notified(&other, "active", "before")?;
    alice.not_notified(&watch, Duration::from_millis(700))?;
    let tag = etag(&ok(bob.publish(Some(&tag), "open", "after")?)?)?;
    let next = alice.notified(&watch, "active", "after")?;
    assert!(number(&next) > number(&first));
    // A change that is not delivered before the end is sent after it.
    alice.answer_with("NOTIFY", 0);
    ok(bob.publish(Some(&tag), "open", "at last")?)?;
    alice.notified(&watch, "active", "at last")?;
    bridge.kill();
    alice.forget(|m| watch.owns(m));
    alice.answer_with("NOTIFY", 200);
    bridge.start_again()?;
    alice.notified(&watch, "active", "at last")?;
    Ok(())
}

#[test]
fn after_a_stop_in_good_order_watchers_hear_only_of_changes() -> Outcome {
    only_changes_are_sent(|bridge| bridge.stop())
}

#[test]
fn after_kill_nine_watchers_hear_only_of_changes() -> Outcome {
    only_changes_are_sent(|bridge| {
        let store = bridge.dir().join("data");
        let written = eventually("the delivery is written down", SOON, || {
            holds(&store, b"vbob@a.example\0")
        });
        assert!(written.is_ok(), "{written:?}");
        bridge.kill();
    })
}

/// A GET on the admin port: status line and body.
fn get(port: u16, path: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(SOON))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Bounds the size of files the process may write (`RLIMIT_FSIZE`), which is a full disk to it.
fn bound_files(bridge: &mut Trestle, limit: &str) -> Outcome {
    let pid = bridge.process().id().to_string();
    let done = Command::new("prlimit")
        .args(["--pid", &pid, &format!("--fsize={limit}:unlimited")])
        .status()?;
    if done.success() {
        Ok(())
    } else {
        Err("prlimit failed".into())
    }
}

fn refused(answer: &Message) -> Outcome {
    let why = answer.header("Warning").unwrap_or_default();
    if answer.status() == 500 && answer.start.contains("Store") && why.contains("the store") {
        return Ok(());
    }
    Err(format!(
        "not a 500 that names the store: {}",
        String::from_utf8_lossy(&answer.raw)
    )
    .into())
}

fn a_full_disk(sync: &str) -> Outcome {
    let (dir, ports, http) = (tempfile::tempdir()?, Ports::free(Family::V4), free_port());
    prepare(dir.path(), &ports, |config| {
        config
            .replace("http: \"off\"", &format!("http: \"127.0.0.1:{http}\""))
            .replace(
                "store: { path: data }",
                &format!("store: {{ path: data, sync: {sync} }}"),
            )
    })?;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; exec \"$0\" run --config bridge.yaml"])
        .arg(trestle::program())
        .current_dir(dir.path());
    let mut bridge = Trestle::start_by(&mut shell, dir.path(), ports)?;
    let (mut alice, mut bob, mut carol) = (user(&bridge, "alice")?, user(&bridge, "bob")?, user(&bridge, "carol")?);
    ok(carol.register(600)?)?;
    let large = format!("before {}", "x".repeat(40_000));
    let tag = etag(&ok(
        Agent::tcp("bob", DOMAIN, bridge.ports.client())?.publish(None, "open", &large)?
    )?)?;
    let tag = etag(&ok(bob.publish(Some(&tag), "open", "before")?)?)?;
    let mut watch = alice.watch(BOB, 600)?;
    alice.notified(&watch, "active", "before")?;

    bound_files(&mut bridge, "32768")?;
    for _ in 0..2 {
        refused(&bob.publish(Some(&tag), "closed", "refused")?)?;
    }
    refused(&carol.subscribe(BOB, 600)?)?;
    refused(&alice.rewatch(&mut watch, 1200)?)?;
    refused(&bob.register(600)?)?;
    refused(&alice.message(DAVE, "refused")?)?;
    alice.not_notified(&watch, Duration::from_millis(700))?;
    // What needs no disk goes on.
    ok(alice.message(CAROL, "through")?)?;
    carol.messaged("through")?;
    let fetch = carol.watch(BOB, 0)?;
    carol.notified(&fetch, "terminated", "before")?;
    let ready = get(http, "/readyz")?;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("the store: cannot"),
        "{ready}"
    );
    let metrics = get(http, "/metrics")?;
    let gauge = metrics
        .lines()
        .find(|l| l.starts_with("trestle_store_failing{cause=\"cannot "));
    assert!(gauge.is_some_and(|g| g.ends_with(" 1")), "{metrics}");

    bound_files(&mut bridge, "unlimited")?;
    eventually("the bridge is ready again", SOON, || {
        get(http, "/readyz").is_ok_and(|r| r.starts_with("HTTP/1.1 200"))
    })?;
    let log = bridge.log();
    assert!(
        log.contains("does not take records") && log.contains("takes records again"),
        "{log}"
    );
    ok(bob.publish(Some(&tag), "open", "after")?)?;
    alice.notified(&watch, "active", "after")?;
    ok(alice.rewatch(&mut watch, 1200)?)?;
    bridge.kill();
    bridge.start_again()?;
    let fetch = carol.watch(BOB, 0)?;
    carol.notified(&fetch, "terminated", "after")?;
    let status = bridge.ctl("status")?;
    assert!(status.replace(' ', "").contains("\"stored_messages\":0"), "{status}");
    Ok(())
}

#[test]
fn a_full_disk_gives_no_false_2xx_and_recovers_by_itself() -> Outcome {
    a_full_disk("group")
}

#[test]
fn a_full_disk_gives_no_false_2xx_without_power_safety_either() -> Outcome {
    a_full_disk("process")
}

/// How many messages a bridge on a copy of the store holds; the last segment is cut at `length` first.
fn kept_by_a_copy(store: &Path, length: Option<u64>) -> Outcome<usize> {
    let (dir, ports) = (tempfile::tempdir()?, Ports::free(Family::V4));
    prepare(dir.path(), &ports, |config| config)?;
    let copy = dir.path().join("data");
    fs::create_dir(&copy)?;
    for file in files(store) {
        // A segment may be replaced by a snapshot meanwhile; then the store is not copied as of one moment.
        fs::copy(&file, copy.join(file.file_name().unwrap_or_default()))?;
    }
    if let (Some(length), Some(last)) = (length, files(&copy).last()) {
        fs::File::options().write(true).open(last)?.set_len(length)?;
    }
    let mut bridge = Trestle::start(dir.path(), ports)?;
    let status = bridge.ctl("status")?.replace(' ', "");
    bridge.kill();
    let count = status.split("\"stored_messages\":").nth(1).and_then(|s| {
        let end = s.find(|c: char| !c.is_ascii_digit())?;
        s[..end].parse().ok()
    });
    count.ok_or_else(|| status.into())
}

#[test]
fn a_store_copied_under_way_and_cut_anywhere_holds_all_that_was_acknowledged_before() -> Outcome {
    let (dir, bridge) = bridge()?;
    let mut alice = user(&bridge, "alice")?;
    let store = dir.path().join("data");
    let size = || -> Outcome<u64> { Ok(fs::metadata(files(&store).last().ok_or("no segment")?)?.len()) };
    for n in 0..12 {
        ok(alice.message(DAVE, &format!("message {n}"))?)?;
    }
    let twelve = size()?;
    ok(alice.message(DAVE, "message 12")?)?;
    let thirteen = size()?;
    for (cut, least) in [(twelve, 12), (thirteen, 13)] {
        assert_eq!(kept_by_a_copy(&store, Some(cut))?, least);
    }
    for part in 1..5 {
        let cut = twelve + (thirteen - twelve) * part / 5;
        assert_eq!(
            kept_by_a_copy(&store, Some(cut))?,
            12,
            "cut at {cut} of {twelve}..{thirteen}"
        );
    }
    // While messages keep coming, a copy holds at least those that were answered when it began.
    let answered = Arc::new(AtomicUsize::new(13));
    let count = Arc::clone(&answered);
    let writer = std::thread::spawn(move || -> Result<(), String> {
        for n in 13..60 {
            let answer = alice.message(DAVE, &format!("message {n}"));
            answer.and_then(ok).map_err(|e| e.to_string())?;
            count.store(n + 1, Ordering::SeqCst);
        }
        Ok(())
    });
    while !writer.is_finished() {
        let least = answered.load(Ordering::SeqCst);
        let kept = kept_by_a_copy(&store, None)?;
        assert!(kept >= least, "{kept} kept, {least} answered before the copy");
    }
    writer.join().map_err(|_| "the writer panicked")??;
    assert_eq!(kept_by_a_copy(&store, None)?, 60);
    Ok(())
}
