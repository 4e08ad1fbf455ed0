//! A headless pidgin-sipe (1.25) on libpurple, driven through `sipe/client.py`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Outcome, find, repository, skipped};

/// Where Debian puts the plugin.
const PLUGIN: &str = "/usr/lib/purple-2/libsipe.so";
/// How long anything may take on a machine with much to do.
const PATIENCE: Duration = Duration::from_secs(40);

/// Whether it can run here; a test that cannot is reported as skipped.
///
/// # Panics
/// Where `CI` is set and it cannot.
#[must_use]
pub fn installed(test: &str) -> bool {
    if find("python3").is_some() && Path::new(PLUGIN).exists() {
        return true;
    }
    skipped(test, "python3, libpurple0 or pidgin-sipe is not installed");
    false
}

/// A running client with one account.
#[derive(Debug)]
pub struct Sipe {
    child: Child,
    commands: ChildStdin,
    events: Receiver<Value>,
    home: PathBuf,
    /// Everything it has told so far.
    pub told: Vec<Value>,
}

impl Sipe {
    /// Starts it in `home` as `user` (`name@domain`) with the password; `server` is `host:port`, `certificate` what it
    /// trusts there under TLS.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(home: &Path, user: &str, password: &str, server: &str, certificate: Option<&Path>) -> Outcome<Self> {
        std::fs::create_dir_all(home)?;
        let transport = if certificate.is_some() { "tls" } else { "tcp" };
        let mut command = Command::new("python3");
        command.arg(repository().join("interop-tests/sipe/client.py")).arg(home);
        command.args([user, server, transport, password]).args(certificate);
        let errors = std::fs::File::create(home.join("driver.log"))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.env("SIPE_DEBUG", "1").process_group(0).spawn()?;
        let commands = child.stdin.take().ok_or("no stdin")?;
        let output = child.stdout.take().ok_or("no stdout")?;
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let mut client = Self {
            child,
            commands,
            events,
            home: home.to_path_buf(),
            told: Vec::new(),
        };
        client.wait("started", |_| true)?;
        Ok(client)
    }

    /// Gives it a command; `sipe/client.py` lists them.
    ///
    /// # Errors
    /// When it has ended.
    pub fn command(&mut self, line: &str) -> Outcome {
        writeln!(self.commands, "{line}")?;
        Ok(self.commands.flush()?)
    }

    /// Waits for an event that has not been waited for.
    ///
    /// # Errors
    /// When it does not come in time; the text ends with what went over the wire.
    pub fn wait(&mut self, event: &str, mut fits: impl FnMut(&Value) -> bool) -> Outcome<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(next) = self.events.recv_timeout(left) else {
                let wire = self.wire();
                let tail = wire.get(wire.len().saturating_sub(6_000)..).unwrap_or(&wire);
                return Err(format!("sipe did not tell {event:?}, but {:#?}\n{tail}", self.told).into());
            };
            self.told.push(next.clone());
            if next["event"] == event && fits(&next) {
                return Ok(next);
            }
        }
    }

    /// Asks until it shows somebody in a state.
    ///
    /// # Errors
    /// When it never does.
    pub fn wait_for_status(&mut self, who: &str, status: &str) -> Outcome {
        let end = Instant::now() + PATIENCE;
        loop {
            self.command(&format!("buddy {who}"))?;
            let shown = self.wait("buddy", |e| e["name"] == who)?;
            if shown["status"] == status {
                return Ok(());
            }
            if Instant::now() > end {
                let wire = self.wire();
                let tail = wire.get(wire.len().saturating_sub(6_000)..).unwrap_or(&wire);
                return Err(format!("sipe shows {who} as {shown}, not {status}\n{tail}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Signs out and ends.
    ///
    /// # Errors
    /// When it does not.
    pub fn quit(&mut self) -> Outcome {
        self.command("quit")?;
        self.wait("ended", |_| true)?;
        Ok(())
    }

    /// What libpurple has logged, with every SIP message.
    #[must_use]
    pub fn wire(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.home.join("wire.log")).unwrap_or_default()).into_owned()
    }

    /// What the client has complained about: lines of its own log that name an error.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let wire = self.wire();
        let complains = |line: &&str| {
            let of_sipe = line.contains(" sipe: ") || line.contains("): sipe");
            of_sipe && (line.contains("ERROR") || line.contains("CRITICAL") || line.contains("WARNING"))
        };
        wire.lines().filter(complains).map(str::to_string).collect()
    }
}

impl Drop for Sipe {
    fn drop(&mut self) {
        // Its own process, by its id.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
