//! Host names in the access list: resolved forward at load and again when their time to live is over.
//!
//! The bridge runs in a mount namespace whose `/etc/resolv.conf` names a small responder of this test.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use interop_tests::agent::PATIENCE;
use interop_tests::net::Family;
use interop_tests::trestle::{Trestle, program};
use interop_tests::{Outcome, eventually, installed, skipped};

use super::site::{Site, is_closed, is_open};

const ALICE: &str = "sip:alice@a.example";
/// Seconds that an answer is good for.
const TTL: u32 = 1;

#[derive(Debug, Default)]
struct Zone {
    names: Mutex<HashMap<String, IpAddr>>,
    asked: AtomicUsize,
    mute: AtomicBool,
    over: AtomicBool,
}

/// Answers A and AAAA from a table; its thread ends with it.
struct Dns {
    at: SocketAddr,
    zone: Arc<Zone>,
}

impl Dns {
    fn start(at: &str) -> std::io::Result<Self> {
        let socket = UdpSocket::bind(at)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (at, zone) = (socket.local_addr()?, Arc::new(Zone::default()));
        let own = Arc::clone(&zone);
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while !own.over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut packet) else {
                    continue;
                };
                own.asked.fetch_add(1, Ordering::Relaxed);
                let answer = packet.get(..length).and_then(|q| answer(&own, q));
                if let Some(answer) = answer.filter(|_| !own.mute.load(Ordering::Relaxed)) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(Self { at, zone })
    }

    fn set(&self, name: &str, ip: &str) -> Outcome {
        let mut names = self.zone.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned(), ip.parse()?);
        Ok(())
    }

    fn asked(&self) -> usize {
        self.zone.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.zone.over.store(true, Ordering::Relaxed);
    }
}

/// The answer to one question: the header and question as they came, the address if it is of the kind that was asked.
fn answer(zone: &Zone, query: &[u8]) -> Option<Vec<u8>> {
    let (mut name, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        name.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let known = zone
        .names
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&name.join("."))
        .copied();
    let data = match (known, kind) {
        (Some(IpAddr::V4(ip)), 1) => Some(ip.octets().to_vec()),
        (Some(IpAddr::V6(ip)), 28) => Some(ip.octets().to_vec()),
        _ => None,
    };
    let code = if known.is_some() { 0 } else { 3 };
    let count = u8::from(data.is_some());
    let mut out = query.get(..2)?.to_vec();
    out.extend([0x85, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    out.extend(query.get(12..at + 4)?);
    if let Some(data) = data {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(TTL.to_be_bytes());
        out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

/// A bridge that asks this responder.
fn start(dns: &Dns, acl: &str) -> Outcome<Site> {
    let resolv = format!("nameserver {}\noptions timeout:1 attempts:1\n", dns.at.ip());
    Site::start_by(
        Family::V4,
        |b, c| format!("peers:\n{}{}{acl}", b.settings(""), c.settings("")),
        |dir, ports| {
            std::fs::write(dir.join("resolv.conf"), resolv)?;
            let script = "mount --bind resolv.conf /etc/resolv.conf && exec \"$0\" run --config bridge.yaml";
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", script]).arg(program());
            Trestle::start_by(&mut command, dir, ports)
        },
    )
}

/// The responder, unless this test may not do what it takes.
fn responder(name: &str) -> Option<Dns> {
    if !installed(name, &["unshare", "mount"]) {
        return None;
    }
    let may = Command::new("unshare").args(["--mount", "true"]).status();
    // An address of its own for each test of each process.
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let (test, process) = (NEXT.fetch_add(1, Ordering::Relaxed), 1 + std::process::id() % 250);
    let dns = Dns::start(&format!("127.53.{test}.{process}:53"));
    match (may.is_ok_and(|s| s.success()), dns) {
        (true, Ok(dns)) => Some(dns),
        (_, dns) => {
            let why = dns
                .err()
                .map_or_else(|| "no mount namespace".to_owned(), |e| e.to_string());
            skipped(name, &format!("it needs the rights of root: {why}"));
            None
        }
    }
}

#[test]
fn a_name_is_followed_to_its_addresses() -> Outcome {
    let Some(dns) = responder("a_name_is_followed_to_its_addresses") else {
        return Ok(());
    };
    dns.set("gw.b.example", "127.0.0.1")?;
    let acl = "acl: { incoming: [{ allow: { host: gw.b.example } }, { allow: { name: c.example } }] }\n";
    let site = start(&dns, acl)?;
    // Resolved at load.
    eventually("bob may come in", PATIENCE, || {
        site.bob().is_ok_and(|mut b| is_open(&mut b))
    })?;
    let (mut bob, mut carl) = (site.bob()?, site.carl()?);
    let his = bob.watch(ALICE, 600)?;
    bob.notified(&his, "active", "")?;
    let mut other = carl.watch(ALICE, 600)?;
    carl.notified(&other, "active", "")?;
    // A reload forgets nothing, not even for a moment.
    for _ in 0..5 {
        site.reload()?;
        assert!(is_open(&mut bob));
    }
    // Asked again and again while its time to live is short; the same answer changes nothing.
    let asked = dns.asked();
    eventually("it is asked again", PATIENCE, || dns.asked() >= asked + 4)?;
    assert!(is_open(&mut bob));
    // Without DNS the last answer holds.
    dns.zone.mute.store(true, Ordering::Relaxed);
    let asked = dns.asked();
    eventually("it is asked in vain", 2 * PATIENCE, || dns.asked() >= asked + 4)?;
    assert!(is_open(&mut bob));
    dns.zone.mute.store(false, Ordering::Relaxed);
    // Another address: who came from the old one is put out, and nobody else.
    dns.set("gw.b.example", "127.0.0.9")?;
    bob.expect("end of the dialog", 3 * PATIENCE, |m| {
        his.owns(m)
            && m.header("Subscription-State")
                .is_some_and(|s| s.starts_with("terminated"))
    })?;
    is_closed(&mut bob)?;
    assert!(!site.bob().is_ok_and(|mut b| is_open(&mut b)), "nor does he come back");
    assert!(is_open(&mut carl));
    assert_eq!(carl.rewatch(&mut other, 600)?.status(), 200);
    // And back.
    dns.set("gw.b.example", "127.0.0.1")?;
    eventually("bob may come in again", 3 * PATIENCE, || {
        site.bob().is_ok_and(|mut b| is_open(&mut b))
    })
}

#[test]
fn a_name_that_a_reload_brings_is_resolved_before_anybody_is_put_out() -> Outcome {
    let Some(dns) = responder("a_name_that_a_reload_brings_is_resolved_before_anybody_is_put_out") else {
        return Ok(());
    };
    dns.set("gw.b.example", "127.0.0.1")?;
    let site = start(&dns, "messages: { store_offline: true }\n")?;
    let mut bob = site.bob()?;
    let his = bob.watch(ALICE, 600)?;
    bob.notified(&his, "active", "")?;
    site.change(
        "messages:",
        "acl: { incoming: [{ allow: { host: gw.b.example } }] }\nmessages:",
    )?;
    eventually("the name is resolved", PATIENCE, || is_open(&mut bob))?;
    site.user("alice")?.publish(None, "open", "bob is listed")?;
    bob.notified(&his, "active", "bob is listed")?;
    dns.set("elsewhere.example", "127.0.0.9")?;
    site.change("host: gw.b.example", "host: elsewhere.example")?;
    // As soon as that is resolved he is not among them.
    bob.expect("end of the dialog", 3 * PATIENCE, |m| {
        his.owns(m)
            && m.header("Subscription-State")
                .is_some_and(|s| s.starts_with("terminated"))
    })?;
    is_closed(&mut bob)
}
