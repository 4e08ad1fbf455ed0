//! The bridge with a server of one kind on each side.

use interop_tests::Outcome;
use interop_tests::emulators::island::{Habits, Island};
use interop_tests::emulators::{Keys, Peer, Way, cups, lcs, ocs, sametime, sametime_legacy};
use interop_tests::net::{Family, free_port};
use interop_tests::pki::Authority;
use interop_tests::trestle::{self, Ports, Trestle};
use tempfile::TempDir;

pub(crate) const BOB: &str = "bob@b.example";
pub(crate) const IRIS: &str = "iris@c.example";

/// Both servers and the bridge; `b` over TCP, `c` over mutual TLS.
pub(crate) struct Strait {
    pub(crate) b: Peer,
    pub(crate) c: Peer,
    bridge: Trestle,
    _dir: TempDir,
}

pub(crate) type Kind = (&'static str, Habits);

impl Strait {
    pub(crate) fn start(family: Family, (b_dialect, b_habits): Kind, (c_dialect, c_habits): Kind) -> Outcome<Self> {
        let (authority, dir, ports) = (Authority::new()?, tempfile::tempdir()?, Ports::free(family));
        authority.issue("a.example")?.write(dir.path(), "a.example")?;
        std::fs::write(dir.path().join("ca.pem"), &authority.pem)?;
        let keys = Keys {
            own: authority.issue("c.example")?,
            ca: authority.pem.clone(),
            bridge: "a.example".into(),
        };
        let way = |bridge, keys| Way {
            family,
            port: free_port(),
            bridge,
            keys,
        };
        let (to_b, to_c) = (way(ports.client(), None), way(ports.trunk(), Some(keys)));
        let rest = format!(
            "peers:\n  - {{ name: b, domains: [b.example], transit: [c.example], dialect: {b_dialect}, transport: tcp, \
             next_hop: \"{}\", addresses: [\"{}\"] }}\n  - {{ name: c, domains: [c.example], transit: [b.example], \
             dialect: {c_dialect}, transport: tls, next_hop: \"{}\", tls: {{ ca: [ca.pem] }} }}\n\
             notify: {{ min_interval: 0s }}\n",
            to_b.own(),
            family.ip(),
            to_c.own()
        );
        std::fs::write(
            dir.path().join("bridge.yaml"),
            trestle::config("a.example", &ports, &rest),
        )?;
        Ok(Self {
            b: Peer::start(Island::new(b_habits, to_b, &[BOB]))?,
            c: Peer::start(Island::new(c_habits, to_c, &[IRIS]))?,
            bridge: Trestle::start(dir.path(), ports)?,
            _dir: dir,
        })
    }

    pub(crate) fn explain(&self, error: &dyn std::fmt::Display) -> String {
        let log = self.bridge.log();
        let last: Vec<&str> = log.lines().rev().take(12).collect();
        format!(
            "{error}\n--- b\n{}\n--- c\n{}\n---\n{last:#?}",
            self.b.story(),
            self.c.story()
        )
    }
}

pub(crate) const LIVE: Kind = ("lcs2005", lcs::HABITS);
pub(crate) const OFFICE: Kind = ("ocs2007", ocs::HABITS);
pub(crate) const NEWER: Kind = ("sametime75", sametime::HABITS);
pub(crate) const LEGACY: Kind = ("sametime-legacy", sametime_legacy::HABITS);
pub(crate) const PRESENCE_SERVER: Kind = ("cups", cups::HABITS);
