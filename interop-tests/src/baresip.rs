//! A headless baresip (1.0) that is driven through its `ctrl_tcp` module.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::net::free_port;
use crate::process::Process;
use crate::{Outcome, find};

/// Where Debian keeps its modules.
const MODULES: &str = "/usr/lib/baresip/modules";

/// A running baresip with one account.
#[derive(Debug)]
pub struct Baresip {
    process: Process,
    control: TcpStream,
    pending: Vec<u8>,
    /// Everything it has said so far, as JSON texts.
    pub said: Vec<String>,
}

impl Baresip {
    /// Starts it in `dir` as `user@domain`, registered at `server` over UDP; `contacts` are watched.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(dir: &Path, user: &str, domain: &str, server: SocketAddr, contacts: &[&str]) -> Outcome<Self> {
        // It takes the port behind its SIP port for TLS.
        let (sip, _tls, control) = (SocketAddr::new(server.ip(), free_port()), free_port(), free_port());
        std::fs::write(
            dir.join("config"),
            format!(
                "sip_listen {sip}\nmodule_path {MODULES}\nmodule g711.so\nmodule aubridge.so\naudio_player aubridge,x\n\
                 audio_source aubridge,x\naudio_alert aubridge,x\nmodule_tmp uuid.so\nmodule_tmp account.so\n\
                 module_app menu.so\nmodule_app contact.so\nmodule_app presence.so\nmodule_app ctrl_tcp.so\n\
                 ctrl_tcp_listen 127.0.0.1:{control}\nmenu_bell no\n"
            ),
        )?;
        std::fs::write(
            dir.join("accounts"),
            format!(
                "<sip:{user}@{domain}>;auth_user={user};auth_pass=secret-{user};outbound=\"sip:{server}\";regint=600;pubint=600\n"
            ),
        )?;
        let contacts: String = contacts.iter().map(|c| format!("<{c}>;presence=p2p\n")).collect();
        std::fs::write(dir.join("contacts"), contacts)?;
        let family = if server.is_ipv6() { "-6" } else { "-4" };
        let mut command = Command::new(find("baresip").ok_or("baresip is not installed")?);
        command.arg(family).arg("-f").arg(dir).current_dir(dir);
        let mut process = Process::start(&mut command, &dir.join("baresip.log"))?;
        let mut stream = None;
        process.wait_until(Duration::from_secs(15), || {
            stream = TcpStream::connect(("127.0.0.1", control)).ok();
            stream.is_some()
        })?;
        let control = stream.ok_or("no control connection")?;
        Ok(Self {
            process,
            control,
            pending: Vec::new(),
            said: Vec::new(),
        })
    }

    /// Gives it a command, and returns what it answers.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn command(&mut self, command: &str, params: &str) -> Outcome<String> {
        let token = crate::wire::unique();
        let json = format!("{{\"command\":\"{command}\",\"params\":\"{params}\",\"token\":\"{token}\"}}");
        write!(self.control, "{}:{json},", json.len())?;
        let from = self.said.len();
        self.wait_from(from, &token)
    }

    /// Waits until it has said something that holds `text`.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for(&mut self, text: &str) -> Outcome<String> {
        self.wait_from(0, text)
    }

    fn wait_from(&mut self, from: usize, text: &str) -> Outcome<String> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = self.said.iter().skip(from).find(|s| s.contains(text)) {
                return Ok(found.clone());
            }
            if Instant::now() > end {
                return Err(format!(
                    "baresip did not say {text:?}, but {:?}\n{}",
                    self.said,
                    self.process.tail()
                )
                .into());
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> Outcome {
        self.control.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut chunk = [0; 4096];
        match self.control.read(&mut chunk) {
            Ok(0) => return Err(format!("baresip closed its control connection\n{}", self.process.tail()).into()),
            Ok(length) => self.pending.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            Err(_) => return Ok(()),
        }
        while let Some((length, text)) = netstring(&self.pending) {
            self.said.push(text);
            self.pending.drain(..length);
        }
        Ok(())
    }

    /// What it has written to its terminal.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }
}

/// The netstring at the front: its whole length and its text.
fn netstring(buffer: &[u8]) -> Option<(usize, String)> {
    let colon = buffer.iter().position(|b| *b == b':')?;
    let length: usize = std::str::from_utf8(buffer.get(..colon)?).ok()?.trim().parse().ok()?;
    let text = buffer.get(colon + 1..colon + 1 + length)?;
    (buffer.len() > colon + 1 + length).then(|| (colon + 2 + length, String::from_utf8_lossy(text).into_owned()))
}
