//! `trestle cert doctor PEER` as a program, against servers with exactly one fault each: its name, whose it is, the fix,
//! and the exit code.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use interop_tests::far::Far;
use interop_tests::net::{Family, free_port};
use interop_tests::pki::{Authority, Certificate, Flaw};
use interop_tests::trestle::{self, Ports};
use interop_tests::{Outcome, installed};

use super::org::{A, told};

/// A directory with the configuration of a bridge, and what stands in it of each peer.
struct Clinic {
    dir: tempfile::TempDir,
    peers: String,
}

/// What the doctor must find: its word, whose side, a word of the fix.
type Finding = (&'static str, &'static str, &'static str);

impl Clinic {
    fn new(ours: &Authority, theirs: &Authority) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        write_private(&ours.issue(A)?, dir.path(), A)?;
        std::fs::write(dir.path().join("theirs.pem"), &theirs.pem)?;
        Ok(Self {
            dir,
            peers: "peers:\n".into(),
        })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn peer(&mut self, name: &str, at: SocketAddr, tls: &str) -> Outcome {
        self.peers += &format!(
            "  - {{ name: {name}, domains: [{name}.example], transport: tls, next_hop: \"{at}\", tls: {{ {tls} }} }}\n"
        );
        let config = trestle::config(A, &Ports::free(Family::V4), &self.peers);
        std::fs::write(self.path().join("bridge.yaml"), config).map_err(Into::into)
    }

    /// Exit code and output.
    fn doctor(&self, name: &str, extra: &[&str]) -> Outcome<(i32, String)> {
        let mut words = vec!["cert", "doctor", name, "--config", "bridge.yaml"];
        words.extend(extra);
        Ok(told(&trestle::run(self.path(), &words)?))
    }

    /// The doctor finds exactly this, in words and in JSON.
    fn finds(&self, name: &str, (id, side, fix): Finding) -> Outcome {
        let (code, text) = self.doctor(name, &[])?;
        let (json_code, json) = self.doctor(name, &["--json"])?;
        let whose = match side {
            "ours" => "our side",
            "theirs" => "their side",
            other => other,
        };
        let wanted_code = i32::from(!text.contains("warning["));
        let all = json.matches("\"id\":").count();
        let line = text.lines().find(|l| l.contains(&format!("[{id}] ({whose}): ")));
        let good = code == wanted_code
            && json_code == code
            && all == 1
            && json.contains(&format!("\"id\": \"{id}\""))
            && json.contains(&format!("\"side\": \"{side}\""))
            && line.is_some()
            && text.lines().any(|l| l.starts_with("  fix: ") && l.contains(fix));
        if good {
            Ok(())
        } else {
            Err(format!("{name}: wanted {id} ({side}), {fix:?}; exit codes {code}, {json_code}\n{text}\n{json}").into())
        }
    }
}

/// A pair whose key nobody else can read.
fn write_private(pair: &Certificate, dir: &Path, name: &str) -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let (_, key) = pair.write(dir, name)?;
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).map_err(Into::into)
}

#[test]
fn each_certificate_with_a_fault_is_found_on_the_wire() -> Outcome {
    let table: [(Flaw, Finding); 14] = [
        (Flaw::Expired, ("expired", "theirs", "renews")),
        (Flaw::Future, ("not-yet-valid", "theirs", "earlier first day")),
        (Flaw::Soon, ("clock-skew", "theirs", "NTP")),
        (Flaw::OtherAuthority, ("unknown-ca", "theirs", "trestle cert import")),
        (
            Flaw::MissingIntermediate,
            ("missing-intermediate", "theirs", "appends it to the chain"),
        ),
        (
            Flaw::OtherName,
            ("wrong-name", "theirs", "issue it with the names DNS:"),
        ),
        (
            Flaw::ThirdDomain,
            ("wrong-name", "theirs", "set `tls: {names: [third.example]}`"),
        ),
        (Flaw::CommonNameOnly, ("cn-only", "theirs", "allow_cn: true")),
        (
            Flaw::WildcardOnly,
            ("wildcard", "theirs", "issue it with the names DNS:"),
        ),
        (
            Flaw::AddressOnly,
            ("ip-route", "theirs", "`next_hop` may stay an address"),
        ),
        (Flaw::SelfSigned, ("self-signed-leaf", "theirs", "pin it")),
        (Flaw::AuthorityLeaf, ("authority-leaf", "theirs", "pin it")),
        (Flaw::ServerOnly, ("no-client-auth", "theirs", "trestle cert ca")),
        (Flaw::ClientOnly, ("no-server-auth", "theirs", "serverAuth")),
    ];
    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    let mut clinic = Clinic::new(&ours, &theirs)?;
    for (at, (flaw, finding)) in table.into_iter().enumerate() {
        let name = format!("f{at}");
        let far = Far::start(Family::V4, &theirs.flawed(&format!("{name}.example"), flaw)?, &ours.pem)?;
        clinic.peer(&name, far.address, "ca: [theirs.pem]")?;
        clinic.finds(&name, finding).map_err(|e| format!("{flaw:?}: {e}"))?;
    }
    Ok(())
}

#[test]
fn each_fault_of_a_server_or_of_ours_is_found_on_the_wire() -> Outcome {
    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    let mut clinic = Clinic::new(&ours, &theirs)?;
    // Nothing wrong: exit code 0.
    let far = Far::start(Family::V4, &theirs.issue("good.example")?, &ours.pem)?;
    clinic.peer("good", far.address, "ca: [theirs.pem]")?;
    let (code, text) = clinic.doctor("good", &[])?;
    assert_eq!((code, text.contains("nothing wrong found")), (0, true), "{text}");
    assert!(text.contains("its answer to OPTIONS: SIP/2.0 200"), "{text}");
    assert_eq!(far.count("OPTIONS", ""), 1);
    // Its clock is wrong, and it says so.
    far.say("Date: Sat, 13 Nov 2010 23:29:00 GMT\r\n");
    clinic.finds("good", ("clock-skew", "theirs", "NTP"))?;
    far.say("");
    // It asks for no certificate of ours.
    far.show(&theirs.issue("good.example")?, "")?;
    clinic.finds("good", ("no-client-certificate-asked", "theirs", "mutual TLS"))?;
    // It does not know our authority.
    far.show(&theirs.issue("good.example")?, &Authority::named("another")?.pem)?;
    clinic.finds("good", ("our-ca-unknown", "theirs", "trestle cert export"))?;
    // It knows one of the same name, with another key.
    far.show(&theirs.issue("good.example")?, &Authority::new()?.pem)?;
    clinic.finds("good", ("our-ca-unknown", "theirs", "in the place of the one it has"))?;
    // Its key is another's.
    let (one, other) = (theirs.issue("good.example")?, theirs.issue("good.example")?);
    let mixed = Certificate {
        pem: one.pem,
        key: other.key,
    };
    far.show(&mixed, &ours.pem)?;
    clinic.finds("good", ("key-mismatch", "theirs", "installs the key"))?;
    // Ours.
    far.show(&theirs.issue("good.example")?, &ours.pem)?;
    let own = std::fs::read(clinic.path().join("a.example.key"))?;
    for (pair, finding) in [
        (
            ours.issue("elsewhere.example")?,
            ("wrong-name", "ours", "DNS:a.example"),
        ),
        (
            ours.flawed(A, Flaw::CommonNameOnly)?,
            ("cn-only", "ours", "DNS:a.example"),
        ),
        (
            ours.flawed(A, Flaw::WildcardOnly)?,
            ("wildcard", "ours", "DNS:a.example"),
        ),
    ] {
        write_private(&pair, clinic.path(), A)?;
        clinic.finds("good", finding)?;
    }
    write_private(&ours.flawed(A, Flaw::Expired)?, clinic.path(), A)?;
    let (code, text) = clinic.doctor("good", &[])?;
    assert!(code == 1 && text.contains("error[expired] (our side)"), "{text}");
    assert!(text.contains("error[our-certificate-refused] (our side)"), "{text}");
    std::fs::write(clinic.path().join("a.example.key"), own)?;
    let (code, text) = clinic.doctor("good", &[])?;
    assert!(code == 1 && text.contains("error[key-mismatch] (our side)"), "{text}");
    // What it cannot do at all: exit code 2.
    assert_eq!(clinic.doctor("nobody", &[])?.0, 2);
    Ok(())
}

#[test]
fn each_server_that_is_none_is_told_apart() -> Outcome {
    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    let mut clinic = Clinic::new(&ours, &theirs)?;
    let old = |version: [u8; 2], suite: [u8; 2]| {
        let mut hello = vec![22, version[0], version[1], 0, 42, 2, 0, 0, 38, version[0], version[1]];
        hello.extend([7; 32]);
        hello.push(0);
        hello.extend(suite);
        hello.push(0);
        hello
    };
    let table: [(&str, Vec<u8>, Finding); 5] = [
        ("ssl3", old([3, 0], [0, 5]), ("protocol-too-old", "theirs", "TLS 1.2")),
        (
            "tls10",
            old([3, 1], [0, 0x2f]),
            ("protocol-too-old", "theirs", "TLS 1.2"),
        ),
        (
            "tls11",
            old([3, 2], [0xc0, 0x13]),
            ("protocol-too-old", "theirs", "TLS 1.2"),
        ),
        (
            "cbc",
            old([3, 3], [0xc0, 0x13]),
            ("no-common-suite", "theirs", "AES-GCM"),
        ),
        (
            "sip",
            b"SIP/2.0 400 Bad\r\n\r\n".to_vec(),
            ("not-tls", "configuration", "5061"),
        ),
    ];
    for (name, answer, finding) in table {
        let listener = TcpListener::bind(Family::V4.at(0))?;
        clinic.peer(name, listener.local_addr()?, "ca: [theirs.pem]")?;
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&answer);
                let _ = stream.read(&mut [0; 4096]);
            }
        });
        clinic.finds(name, finding)?;
    }
    clinic.peer("nobody", Family::V4.at(free_port()), "ca: [theirs.pem]")?;
    clinic.finds("nobody", ("unreachable", "network", "firewall"))
}

/// `openssl s_server` with a certificate that our own library would not make.
struct SServer(Child);

impl Drop for SServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(dir: &Path, line: &str) -> Outcome {
    let output = Command::new("openssl")
        .current_dir(dir)
        .args(line.split(' '))
        .output()?;
    match told(&output) {
        (0, _) => Ok(()),
        (_, text) => Err(format!("openssl {line}: {text}").into()),
    }
}

#[test]
fn weak_and_ancient_certificates_are_found_on_the_wire() -> Outcome {
    if !installed("weak_and_ancient_certificates_are_found_on_the_wire", &["openssl"]) {
        return Ok(());
    }
    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    let mut clinic = Clinic::new(&ours, &theirs)?;
    let dir = clinic.path().to_path_buf();
    std::fs::write(dir.join("ours.pem"), &ours.pem)?;
    openssl(
        &dir,
        "req -x509 -newkey rsa:2048 -nodes -days 365 -keyout root.key -out root.pem -subj /CN=Root",
    )?;
    for (name, key, extra, finding) in [
        (
            "sha1",
            "rsa:2048",
            "-sha1 -extfile sha1.ext",
            ("sha1", "theirs", "SHA-256"),
        ),
        (
            "short",
            "rsa:1024",
            "-sha256 -extfile short.ext",
            ("rsa-short", "theirs", "2048 bits"),
        ),
        ("ancient", "rsa:2048", "-sha256", ("x509-v1", "theirs", "version 3")),
    ] {
        std::fs::write(
            dir.join(format!("{name}.ext")),
            format!("subjectAltName=DNS:{name}.example\nextendedKeyUsage=serverAuth,clientAuth\n"),
        )?;
        openssl(
            &dir,
            &format!("req -newkey {key} -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}.example"),
        )?;
        openssl(
            &dir,
            &format!(
                "x509 -req -in {name}.csr -CA root.pem -CAkey root.key -set_serial 7 -days 200 -out {name}.pem {extra}"
            ),
        )?;
        let line = format!(
            "s_server -accept 127.0.0.1:0 -cert {name}.pem -key {name}.key -Verify 1 -CAfile ours.pem -cipher \
             ALL:@SECLEVEL=0"
        );
        let mut child = Command::new("openssl")
            .current_dir(&dir)
            .args(line.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let shown = child.stdout.take().ok_or("no stdout")?;
        let _server = SServer(child);
        let mut lines = BufReader::new(shown).lines();
        let at: SocketAddr = lines
            .find_map(|l| l.ok()?.strip_prefix("ACCEPT ")?.parse().ok())
            .ok_or("s_server does not say where it listens")?;
        std::thread::spawn(move || lines.for_each(drop));
        clinic.peer(name, at, "ca: [root.pem]")?;
        clinic.finds(name, finding)?;
    }
    Ok(())
}
