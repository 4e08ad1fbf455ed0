//! Shared pieces of the interop suite: launchers for the bridge and for real peers, certificates good and bad, and a
//! small SIP client that shares no code with the crate under test.
//!
//! Everything stays on loopback addresses, every wait is bounded, and only processes started here are ever signalled.

pub mod agent;
pub mod baresip;
pub mod digest;
pub mod dns;
pub mod emulators;
pub mod far;
pub mod haproxy;
pub mod hello;
pub mod kamailio;
pub mod link;
pub mod load;
pub mod net;
pub mod openssl;
pub mod pki;
pub mod process;
pub mod pump;
pub mod raw;
pub mod recipe;
pub mod sipe;
pub mod stand;
pub mod trestle;
pub mod trunk;
pub mod watch;
pub mod wire;

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// An error as text.
pub type Fault = Box<dyn std::error::Error>;

/// What a test returns: any error fails it with its text.
pub type Outcome<T = ()> = Result<T, Fault>;

/// The top of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Where a program is, if it is installed.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")])
        .map(|dir| dir.join(program))
        .find(|file| file.exists())
}

/// Whether all of these programs are installed. Where one is not, the test is reported as skipped: a line in the file
/// `TRESTLE_SKIPPED` names, which the test command prints.
///
/// # Panics
/// Where `CI` is set: there nothing may be skipped.
#[must_use]
pub fn installed(test: &str, programs: &[&str]) -> bool {
    let Some(missing) = programs.iter().find(|p| find(p).is_none()) else {
        return true;
    };
    skipped(test, &format!("{missing} is not installed"));
    false
}

/// Reports a test as skipped.
///
/// # Panics
/// Where `CI` is set.
pub fn skipped(test: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} would be skipped in CI: {why}");
    eprintln!("SKIPPED {test}: {why}");
    if let Some(path) = std::env::var_os("TRESTLE_SKIPPED")
        && let Ok(mut file) = std::fs::File::options().create(true).append(true).open(path)
    {
        let _ = writeln!(file, "{test}: {why}");
    }
}

/// Asks again until it holds.
///
/// # Errors
/// When it never did; `what` says what was awaited.
pub fn eventually(what: &str, within: std::time::Duration, mut holds: impl FnMut() -> bool) -> Outcome {
    let end = std::time::Instant::now() + within;
    while !holds() {
        if std::time::Instant::now() > end {
            return Err(format!("not within {within:?}: {what}").into());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}
