//! A bridge for `a.example` with two peers, `b.example` and `c.example`, each with an authority and a port of its own,
//! and a configuration that tests rewrite.

use std::path::Path;

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::link::TlsSetup;
use interop_tests::net::Family;
use interop_tests::pki::{Authority, Certificate};
use interop_tests::trestle::{self, Ports, Trestle, run};
use interop_tests::trunk::Trunk;
use tempfile::TempDir;

/// The bridge's domain.
pub(crate) const A: &str = "a.example";

/// A peer as the test plays it.
pub(crate) struct Far {
    /// `b` or `c`; its domain is `b.example` or `c.example`.
    pub(crate) name: &'static str,
    pub(crate) authority: Authority,
    pub(crate) trunk: Trunk,
}

impl Far {
    fn start(name: &'static str, family: Family, near: &Authority) -> Outcome<Self> {
        let authority = Authority::new()?;
        let own = authority.issue(&format!("{name}.example"))?;
        let trunk = Trunk::listen(family, &own, &near.pem)?;
        Ok(Self { name, authority, trunk })
    }

    /// Its settings, with more lines.
    pub(crate) fn settings(&self, more: &str) -> String {
        let (name, at) = (self.name, self.trunk.at);
        format!(
            "  - name: {name}\n    domains: [{name}.example]\n    transport: tls\n    next_hop: \"{at}\"\n    \
             tls: {{ ca: [{name}-ca.pem] }}\n    probe: \"off\"\n{more}"
        )
    }
}

/// Everything, up.
pub(crate) struct Site {
    pub(crate) bridge: Trestle,
    pub(crate) authority: Authority,
    pub(crate) b: Far,
    pub(crate) c: Far,
    dir: TempDir,
}

impl Site {
    /// Starts it with both peers and this behind them.
    pub(crate) fn start(family: Family, rest: &str) -> Outcome<Self> {
        Self::start_with(family, |b, c| {
            format!("peers:\n{}{}{rest}", b.settings(""), c.settings(""))
        })
    }

    /// Starts it with what `rest` says of the peers and anything else.
    pub(crate) fn start_with(family: Family, rest: impl FnOnce(&Far, &Far) -> String) -> Outcome<Self> {
        Self::start_by(family, rest, Trestle::start)
    }

    /// The same, started by the caller in the directory it is given.
    pub(crate) fn start_by(
        family: Family,
        rest: impl FnOnce(&Far, &Far) -> String,
        start: impl FnOnce(&Path, Ports) -> Outcome<Trestle>,
    ) -> Outcome<Self> {
        let (dir, ports, authority) = (tempfile::tempdir()?, Ports::free(family), Authority::new()?);
        authority.issue(A)?.write(dir.path(), A)?;
        let (b, c) = (
            Far::start("b", family, &authority)?,
            Far::start("c", family, &authority)?,
        );
        for far in [&b, &c] {
            std::fs::write(dir.path().join(format!("{}-ca.pem", far.name)), &far.authority.pem)?;
        }
        let text = trestle::config(A, &ports, &rest(&b, &c));
        std::fs::write(dir.path().join("bridge.yaml"), text)?;
        Ok(Self {
            bridge: start(dir.path(), ports)?,
            authority,
            b,
            c,
            dir,
        })
    }

    /// Where the files are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Changes the configuration file; the bridge is not told. What shall be replaced must be there.
    pub(crate) fn edit(&self, from: &str, to: &str) -> Outcome {
        let path = self.dir().join("bridge.yaml");
        let text = std::fs::read_to_string(&path)?;
        if !text.contains(from) {
            return Err(format!("{from:?} does not stand in\n{text}").into());
        }
        Ok(std::fs::write(path, text.replacen(from, to, 1))?)
    }

    /// `trestle ctl reload`: what it prints, as JSON, without blanks.
    pub(crate) fn reload(&self) -> Outcome<String> {
        Ok(self.bridge.ctl("reload")?.replace(' ', ""))
    }

    /// Both in one.
    pub(crate) fn change(&self, from: &str, to: &str) -> Outcome<String> {
        self.edit(from, to)?;
        self.reload()
    }

    /// `trestle ctl reload` that must fail: what it says.
    pub(crate) fn refused(&self) -> Outcome<String> {
        let output = run(self.dir(), &["ctl", "reload", "--config", "bridge.yaml"])?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.success() {
            true => Err(format!("it was taken: {}", String::from_utf8_lossy(&output.stdout)).into()),
            false => Ok(text),
        }
    }

    /// Somebody of a peer, who comes in with this name in the certificate and wants everything over that connection.
    pub(crate) fn caller(&self, user: &str, far: &Far, name: &str) -> Outcome<Agent> {
        self.caller_with(user, far, far.authority.issue(name)?)
    }

    /// The same with this certificate.
    pub(crate) fn caller_with(&self, user: &str, far: &Far, own: Certificate) -> Outcome<Agent> {
        let setup = TlsSetup {
            ca: self.authority.pem.clone(),
            name: A.into(),
            own: Some(own),
        };
        let domain = format!("{}.example", far.name);
        let mut agent = Agent::trunk(user, &domain, self.bridge.ports.trunk(), &setup)?;
        (agent.alias, agent.sent_by) = (true, Some(far.trunk.at));
        Ok(agent)
    }

    /// Bob of `b.example`.
    pub(crate) fn bob(&self) -> Outcome<Agent> {
        self.caller("bob", &self.b, "b.example")
    }

    /// Carl of `c.example`.
    pub(crate) fn carl(&self) -> Outcome<Agent> {
        self.caller("carl", &self.c, "c.example")
    }

    /// A user of the bridge over TCP, registered.
    pub(crate) fn user(&self, user: &str) -> Outcome<Agent> {
        let mut agent = Agent::tcp(user, A, self.bridge.ports.client())?;
        match agent.register(600)?.status() {
            200 => Ok(agent),
            other => Err(format!("REGISTER of {user} was answered {other}").into()),
        }
    }
}

/// Whether a connection is still served.
pub(crate) fn is_open(agent: &mut Agent) -> bool {
    let request = interop_tests::wire::Request::new("OPTIONS", "sip:a.example");
    agent.ask(&request).is_ok_and(|a| a.status() == 200)
}

/// Waits until the other end has closed the connection.
pub(crate) fn is_closed(agent: &mut Agent) -> Outcome {
    match agent.expect("end", interop_tests::agent::PATIENCE, |_| false) {
        Err(why) if why.to_string().contains("closed") => Ok(()),
        Err(why) => Err(format!("the connection is not closed: {why}").into()),
        Ok(_) => Err("nothing fits".into()),
    }
}
