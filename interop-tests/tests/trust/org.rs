//! An organisation: a directory with its certificates, all made by the program, and perhaps a running bridge.

use std::path::{Path, PathBuf};
use std::process::Output;

use interop_tests::link::{Link, Received, TlsSetup};
use interop_tests::net::Family;
use interop_tests::pki::Certificate;
use interop_tests::trestle::{self, Ports, Trestle};
use interop_tests::{Outcome, eventually};
use tempfile::TempDir;

/// Ours.
pub(crate) const A: &str = "a.example";
/// Theirs.
pub(crate) const B: &str = "b.example";

/// One organisation.
pub(crate) struct Org {
    dir: TempDir,
    domain: &'static str,
}

/// Exit code and both outputs, as text.
pub(crate) fn told(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

impl Org {
    /// An empty directory.
    pub(crate) fn bare(domain: &'static str) -> Outcome<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
            domain,
        })
    }

    /// One with an authority and a certificate for `bridge.DOMAIN` and the domain.
    pub(crate) fn new(domain: &'static str) -> Outcome<Self> {
        let org = Self::bare(domain)?;
        org.cert("ca --name Authority-of-one-side")?;
        org.cert(&format!("issue bridge.{domain} --domain {domain}"))?;
        Ok(org)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn read(&self, name: &str) -> Outcome<String> {
        std::fs::read_to_string(self.path(name)).map_err(|e| format!("{name}: {e}").into())
    }

    /// `trestle cert …`, which must succeed; returns what it printed.
    pub(crate) fn cert(&self, line: &str) -> Outcome<String> {
        match self.try_cert(line)? {
            (0, text) => Ok(text),
            (code, text) => Err(format!("trestle cert {line}: exit code {code}\n{text}").into()),
        }
    }

    /// `trestle cert …`: exit code and output.
    pub(crate) fn try_cert(&self, line: &str) -> Outcome<(i32, String)> {
        let words: Vec<&str> = ["cert"].into_iter().chain(line.split_whitespace()).collect();
        Ok(told(&trestle::run(self.dir(), &words)?))
    }

    /// The certificate and key called `NAME` in `certs/`.
    pub(crate) fn certificate(&self, name: &str) -> Outcome<Certificate> {
        Ok(Certificate {
            pem: self.read(&format!("certs/{name}.pem"))?,
            key: self.read(&format!("certs/{name}.key"))?,
        })
    }

    /// Gives our authority to another organisation, which imports it under `name`.
    pub(crate) fn give_authority(&self, to: &Org, name: &str) -> Outcome<String> {
        let file = to.path("given.pem");
        let _ = std::fs::remove_file(&file);
        self.cert(&format!("export --ca --out {}", file.display()))?;
        to.cert(&format!("import {name} {} --force", file.display()))
    }

    /// The configuration of its bridge.
    pub(crate) fn configure(&self, ports: &Ports, rest: &str) -> Outcome {
        let text = trestle::config(self.domain, ports, rest).replace(
            &format!("host: {d}, certificate: {d}.pem, key: {d}.key", d = self.domain),
            &format!(
                "host: bridge.{}, certificate: certs/bridge.pem, key: certs/bridge.key",
                self.domain
            ),
        );
        std::fs::write(self.path("bridge.yaml"), text).map_err(Into::into)
    }

    /// Starts its bridge.
    pub(crate) fn start(&self, family: Family, rest: &str) -> Outcome<Trestle> {
        let ports = Ports::free(family);
        self.configure(&ports, rest)?;
        Trestle::start(self.dir(), ports)
    }

    /// A client that trusts this organisation and shows a certificate.
    pub(crate) fn client(&self, own: Option<Certificate>) -> Outcome<TlsSetup> {
        Ok(TlsSetup {
            ca: self.read("certs/ca.pem")?,
            name: self.domain.into(),
            own,
        })
    }
}

/// The first certificate of a PEM text, DER.
pub(crate) fn der(pem: &str) -> Outcome<Vec<u8>> {
    use rustls_pki_types::pem::PemObject as _;
    Ok(rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes())?.to_vec())
}

/// Waits until the other side closes a connection on which nothing is said any more.
pub(crate) fn closes(link: &mut Link, why: &str) -> Outcome {
    eventually(
        &format!("the connection is closed: {why}"),
        std::time::Duration::from_secs(10),
        || matches!(link.receive(std::time::Duration::from_millis(200)), Received::Closed),
    )
}

/// Waits until a line of the log holds all of these.
pub(crate) fn logged(bridge: &Trestle, words: &[&str]) -> Outcome {
    let found = || bridge.log().lines().any(|l| words.iter().all(|w| l.contains(w)));
    eventually(
        &format!("a log line with {words:?}"),
        std::time::Duration::from_secs(10),
        found,
    )
    .map_err(|e| format!("{e}\n{}", bridge.log()).into())
}

/// The numbers of a bridge whose configuration was made by [`with_metrics`].
pub(crate) struct Metrics(std::net::SocketAddr);

/// Switches the metrics of a configuration on.
pub(crate) fn with_metrics(config: &str) -> (String, Metrics) {
    let at = Family::V4.at(interop_tests::net::free_port());
    (config.replace("http: \"off\"", &format!("http: \"{at}\"")), Metrics(at))
}

impl Metrics {
    /// All of them, as Prometheus reads them.
    pub(crate) fn text(&self) -> Outcome<String> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.0)?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// How many certificates were refused for a reason.
    pub(crate) fn refused(&self, reason: &str) -> Outcome<u64> {
        let text = self.text()?;
        let head = format!("trestle_certificates_refused_total{{reason=\"{reason}\"}} ");
        Ok(text
            .lines()
            .find_map(|l| l.strip_prefix(&head)?.parse().ok())
            .unwrap_or(0))
    }
}
