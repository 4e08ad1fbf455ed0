//! TLS as peers of the time speak it, by OpenSSL's own programs: versions and ciphers that rustls does not have.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pki::Certificate;
use crate::wire::{Message, complete};
use crate::{Outcome, find};

/// What has to be installed for it.
pub const PROGRAM: &str = "openssl";

/// A version and its ciphers.
#[derive(Debug, Clone, Copy)]
pub struct Old {
    /// `-tls1` and the like.
    pub version: &'static str,
    /// As `openssl ciphers` names them.
    pub ciphers: &'static str,
}

/// TLS 1.0 as Windows Server 2003 speaks it.
pub const TLS_1_0: Old = Old {
    version: "-tls1",
    ciphers: "AES128-SHA:@SECLEVEL=0",
};

/// TLS 1.2 without AEAD.
pub const TLS_1_2_CBC: Old = Old {
    version: "-tls1_2",
    ciphers: "AES256-SHA",
};

/// A new RSA key, PEM (PKCS #8).
///
/// # Errors
/// When openssl does not make one.
pub fn rsa_key() -> Outcome<String> {
    let mut command = Command::new(find(PROGRAM).ok_or("openssl is not installed")?);
    command.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    Ok(String::from_utf8(command.stderr(Stdio::null()).output()?.stdout)?)
}

/// A running `openssl s_client` or `s_server` whose connection is its input and output.
#[derive(Debug)]
pub struct Pipe {
    child: Child,
    input: Option<ChildStdin>,
    came: Arc<Mutex<(Vec<u8>, bool)>>,
}

impl Pipe {
    /// Connects. `own` is shown when the server asks; `ca` must have signed the server's certificate; `more`
    /// are further options of `s_client`.
    ///
    /// # Errors
    /// When the program cannot be started; a refused handshake shows as [`is_over`](Self::is_over).
    pub fn connect(
        dir: &Path,
        to: SocketAddr,
        old: Old,
        own: Option<&Certificate>,
        ca: &str,
        more: &[&str],
    ) -> Outcome<Self> {
        let mut command = program("s_client", dir, old, own, ca, "client")?;
        command.args(["-connect", &to.to_string(), "-verify_return_error"]);
        command.args(more);
        Self::start(command)
    }

    /// Waits for one connection at a time on a port, and asks for a certificate.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn accept(dir: &Path, at: SocketAddr, old: Old, own: &Certificate, ca: &str) -> Outcome<Self> {
        let mut command = program("s_server", dir, old, Some(own), ca, "server")?;
        command.args(["-accept", &at.to_string(), "-Verify", "2", "-verify_return_error"]);
        Self::start(command)
    }

    fn start(mut command: Command) -> Outcome<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut output = child.stdout.take().ok_or("no output")?;
        let came = Arc::new(Mutex::new((Vec::new(), false)));
        let into = Arc::clone(&came);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let read = output.read(&mut chunk).unwrap_or(0);
                let mut came = into.lock().unwrap_or_else(PoisonError::into_inner);
                came.0.extend_from_slice(chunk.get(..read).unwrap_or_default());
                if read == 0 {
                    came.1 = true;
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Ok(Self { child, input, came })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the program is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Outcome {
        let input = self.input.as_mut().ok_or("no input")?;
        input.write_all(bytes)?;
        Ok(input.flush()?)
    }

    /// The next message, if one comes in time.
    #[must_use]
    pub fn receive(&self, within: Duration) -> Option<Message> {
        let end = Instant::now() + within;
        loop {
            let mut came = self.came.lock().unwrap_or_else(PoisonError::into_inner);
            // Between connections the server says things of its own.
            if let Some(length) = complete(&came.0) {
                let raw: Vec<u8> = came.0.drain(..length).collect();
                if let Some(message) = Message::parse(&raw) {
                    return Some(message);
                }
            } else if came.1 || Instant::now() > end {
                return None;
            }
            drop(came);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether the connection has ended, or never stood.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.came.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(what: &str, dir: &Path, old: Old, own: Option<&Certificate>, ca: &str, role: &str) -> Outcome<Command> {
    let name = format!("{role}-{}", crate::wire::unique());
    let authority = dir.join(format!("{name}-ca.pem"));
    std::fs::write(&authority, ca)?;
    let mut command = Command::new(find(PROGRAM).ok_or("openssl is not installed")?);
    command.args([what, "-quiet", old.version, "-cipher", old.ciphers, "-CAfile"]);
    command.arg(authority);
    if let Some(own) = own {
        let (pem, key) = own.write(dir, &name)?;
        command.arg("-cert").arg(pem).arg("-key").arg(key);
    }
    Ok(command)
}
