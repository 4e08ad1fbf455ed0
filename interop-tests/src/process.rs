//! A child process that ends with its guard.
//!
//! Each child leads a process group of its own, and only that group is ever signalled, by its id. Its output goes to a
//! file, which is shown when a test fails.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::Outcome;

/// How long a child may take to end in good order.
const GRACE: Duration = Duration::from_secs(10);

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ended: bool,
    log: PathBuf,
}

impl Process {
    /// Starts a program with its output appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Outcome<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0);
        let child = command
            .spawn()
            .map_err(|e| format!("{}: {e}", command.get_program().display()))?;
        Ok(Self {
            child,
            ended: false,
            log: log.to_path_buf(),
        })
    }

    /// Waits until `ready` holds.
    ///
    /// # Errors
    /// When the program ends first or the time is up; the error carries the end of its output.
    pub fn wait_until(&mut self, within: Duration, mut ready: impl FnMut() -> bool) -> Outcome {
        let end = Instant::now() + within;
        while Instant::now() < end {
            if ready() {
                return Ok(());
            }
            if let Some(status) = self.poll() {
                return Err(format!("it ended with {status}:\n{}", self.tail()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("it was not ready in {within:?}:\n{}", self.tail()).into())
    }

    /// Waits for its end; the exit code, or `None` when it was ended by a signal.
    ///
    /// # Errors
    /// When it does not end in time: it is killed then.
    pub fn wait(&mut self, within: Duration) -> Outcome<Option<i32>> {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.poll() {
                return Ok(status.code());
            }
            if Instant::now() > end {
                self.kill();
                return Err(format!("it did not end in {within:?}:\n{}", self.tail()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    fn poll(&mut self) -> Option<std::process::ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        self.ended |= status.is_some();
        status
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in KiB (`VmRSS`), while it runs.
    #[must_use]
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// All of its output so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of its output.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = self.output();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(60)..)
            .unwrap_or_default()
            .join("\n")
    }

    /// Ends it in good order by SIGTERM, by force when that takes too long.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let end = Instant::now() + GRACE;
        while self.is_running() {
            if Instant::now() > end {
                self.kill();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it and its children at once, by SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
        self.ended = true;
    }

    /// Signals its group, unless it has been waited for: then the id may be another's.
    pub fn signal(&mut self, signal: Signal) {
        if !self.ended
            && let Ok(id) = i32::try_from(self.child.id())
        {
            // A group that is gone already needs no signal.
            let _ = killpg(Pid::from_raw(id), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}\n---", self.log.display(), self.tail());
        }
        self.stop();
    }
}
