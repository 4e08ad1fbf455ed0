//! The durable store: an append-only, log-structured journal of key-value records (design rule 6).
//!
//! A record is a put or a delete of a key; recovery yields the live set. One store belongs to one shard. The shard
//! queues records without a system call and wakes the store thread once per batch; the store thread writes and
//! syncs, and says through [`Event`] how far the log is durable.
//!
//! Why an own log: the engine holds all state in memory and reads the disk at start only, so the read path that a
//! B-tree or an LSM tree pays for is never used. The design measured redb at 14 to 64 µs of CPU an update, where a
//! whole SUBSCRIBE has 31 µs to spend, and a bare append log at 11 µs (batches of 10) to 0.8 µs (of 200). This one,
//! index and group commit included, takes 9, 2 and 0.7 µs at 10, 50 and 200 (`cargo bench --bench store`).
//!
//! On disk (`frame` has the bytes, `recover` the rules, `compact` the snapshots): numbered segments `N.log`, each
//! made under a temporary name and renamed when whole, and at most one valid `N.snap`, which replaces every segment
//! up to `N`. What one gathering wrote is one checksummed frame.
//!
//! Failures: a failed `fdatasync` means the kernel may have dropped the dirty pages and call the next one a success
//! ("fsyncgate"). So after any failed write or sync the segment is never written again, records that were not yet
//! durable are reported as [`Event::Failed`] and not retried (their requests were answered 5xx), and the next
//! segment's header states how many bytes of its predecessor count, which voids the rest for good. A crash before
//! that header is on disk may bring a failed record back: failed means not promised.
//!
//! What this module does not do: it knows nothing of what the keys mean, keeps no values in memory, reads nothing
//! back for the engine, and does not replicate.

mod compact;
mod disk;
mod frame;
mod handle;
mod index;
mod lock;
mod log;
mod recover;
mod segment;
mod writer;

use disk::{Directory, Disk};
use handle::Shared;
use lock::Lock;
use log::Log;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem, thread};
use writer::Writer;

pub use handle::Store;

/// How and where a store keeps its log.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory; made (0700) when missing. One store per directory, guarded by a lock.
    pub path: PathBuf,
    /// What "durable" means.
    pub sync: Sync,
    /// A segment that has reached this many bytes is closed and the next one begun. Clamped to 4 KiB ..= 1 GiB.
    pub segment_bytes: u32,
    /// Compaction starts when dead bytes exceed live bytes times this, and a segment's worth at least.
    pub compact_ratio: f64,
}

impl Options {
    /// The defaults for a directory: group commit, 64 MiB segments, compaction when garbage outweighs live data.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sync: Sync::default(),
            segment_bytes: 64 << 20,
            compact_ratio: 1.0,
        }
    }
}

/// What has happened to a record when it is called durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// `fdatasync` returned: the record survives power loss. While batches keep coming, a sync waits for up to
    /// `max_gather` since the first of them so that one sync carries many; a lone batch is synced at once.
    Group {
        /// The longest wait for company.
        max_gather: Duration,
    },
    /// `write` returned: the record survives the death of the process, not that of the machine.
    Process,
}

impl Default for Sync {
    fn default() -> Self {
        Self::Group {
            max_gather: Duration::from_millis(5),
        }
    }
}

/// A key and its value.
pub type Pair = (Box<[u8]>, Box<[u8]>);

/// What [`open`] found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The live set as (key, value), in the order in which the keys first appear in the log.
    pub records: Vec<Pair>,
    /// Bytes at the very end of the log that a crash left incomplete; nothing in them was ever called durable.
    pub torn_bytes: u64,
}

/// What the store thread tells the shard, in order. It calls the callback on its own thread.
#[derive(Debug)]
pub enum Event {
    /// Every record up to this number is durable, save those that a [`Event::Failed`] named. Only ever rises.
    Durable {
        /// The number given to [`Store::append`].
        lsn: u64,
    },
    /// The records `lsn..=upto` are not durable and will not be retried; their values are not in the log. Records
    /// appended until [`Event::Recovered`] are refused too, each batch with an event of its own. Nothing is tried before
    /// the caller has said by [`Store::give_up`] that it knows.
    Failed {
        /// First number refused.
        lsn: u64,
        /// Last number refused. A later number that is still pending gets its own event.
        upto: u64,
        /// What they are about, so that their present state can be written again after [`Event::Recovered`].
        keys: Vec<Box<[u8]>>,
        /// Why.
        error: StoreError,
    },
    /// A probe (one a second while failing) was written and synced: appending works again.
    Recovered,
}

/// Why the store cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory.
    #[error("{} is in use by {}: stop that process, or give this one another store path", path.display(), process(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Whose it is, when the lock file says.
        pid: Option<u32>,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Data that had been durable is damaged, so it was not torn by a crash.
    #[error(
        "{} is damaged at byte {offset}: {what}. The disk or another program changed it. Restore the directory from a \
         backup, or move the whole directory away to start empty (clients must then register and subscribe again)",
        file.display()
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the first bad frame starts.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The file was written by a version of the program that this one does not know.
    #[error("{} has format version {found}, this program reads version {known}: use the program that wrote it", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version this program reads and writes.
        known: u32,
    },
    /// A segment between others is gone.
    #[error(
        "{} is missing, though later segments exist: restore it from a backup, or move the whole directory away to \
         start empty",
        file.display()
    )]
    Missing {
        /// The file that should be there.
        file: PathBuf,
    },
    /// A record beyond what a frame may hold.
    #[error("a record of {bytes} bytes is beyond the store's limit of {limit} bytes")]
    TooLarge {
        /// Key and value together.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The store is failing and waits for a probe to succeed.
    #[error("the store is not writable since an earlier failure ({cause}); it is tried again every second")]
    Refusing {
        /// The earlier failure.
        cause: String,
    },
    /// The store thread is gone: the event callback panicked or the thread could not be started.
    #[error("the store thread is gone: restart the program")]
    ThreadGone,
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free some space; it is tried again every second"
        }
        io::ErrorKind::PermissionDenied => {
            ": the directory and its files must belong to the user that runs this program"
        }
        io::ErrorKind::ReadOnlyFilesystem => ": the store needs a writable path",
        _ => "",
    }
}

/// Opens or makes the store in `options.path`, reads the live set and starts the store thread.
///
/// `on_event` runs on the store thread: it should hand the event on and return.
///
/// # Errors
/// [`StoreError::Locked`] when another process has the directory; [`StoreError::Corrupt`], [`StoreError::Missing`]
/// or [`StoreError::Version`] when the log cannot be trusted; [`StoreError::Io`] otherwise.
pub fn open(options: Options, on_event: impl Fn(Event) + Send + 'static) -> Result<(Store, Recovered), StoreError> {
    let disk = Directory::make(&options.path).map_err(|source| StoreError::Io {
        action: "make",
        path: options.path.clone(),
        source,
    })?;
    let lock = Lock::take(&options.path)?;
    start(Box::new(disk), Some(lock), &options, Box::new(on_event), |writer| {
        writer
    })
}

fn start(
    disk: Box<dyn Disk>,
    lock: Option<Lock>,
    options: &Options,
    on_event: Box<dyn Fn(Event) + Send>,
    adjust: impl FnOnce(Writer) -> Writer,
) -> Result<(Store, Recovered), StoreError> {
    let mut found = recover::recover(disk.as_ref())?;
    let recovered = mem::take(&mut found.recovered);
    let log = Log::start(disk, found)?;
    let shared = Arc::new(Shared::new());
    let writer = adjust(Writer::new(log, Arc::clone(&shared), options, on_event, lock));
    let thread = thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || writer.run());
    let thread = thread.map_err(|_| StoreError::ThreadGone)?;
    Ok((Store::new(shared, thread), recovered))
}

#[cfg(test)]
mod tests;
