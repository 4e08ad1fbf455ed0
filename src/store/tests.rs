//! The store as a whole: crashes, damage, full disks, compaction.

mod failures;

use super::disk::LogFile;
use super::frame::FILE_HEADER;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type Op = (Vec<u8>, Option<Vec<u8>>);

const WAIT: Duration = Duration::from_secs(30);
const GROUP: Sync = Sync::Group {
    max_gather: Duration::from_millis(5),
};

fn options(path: &Path, sync: Sync) -> Options {
    Options {
        sync,
        segment_bytes: 4096,
        ..Options::new(path)
    }
}

fn model(ops: &[Op]) -> Model {
    let mut model = Model::new();
    for (key, value) in ops {
        match value {
            Some(value) => drop(model.insert(key.clone(), value.clone())),
            None => drop(model.remove(key)),
        }
    }
    model
}

fn live(recovered: &Recovered) -> Model {
    recovered
        .records
        .iter()
        .map(|(k, v)| (k.to_vec(), v.to_vec()))
        .collect()
}

fn recover_in(path: &Path) -> Result<Recovered, StoreError> {
    recover::recover(&Directory::make(path).unwrap()).map(|found| found.recovered)
}

/// How many of `ops` the live set amounts to; the greatest such number.
fn prefix(ops: &[Op], live: &Model) -> Option<usize> {
    (0..=ops.len()).rev().find(|&n| model(&ops[..n]) == *live)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn last_log(path: &Path) -> PathBuf {
    let logs = fs::read_dir(path).unwrap().map(|e| e.unwrap().path());
    logs.filter(|p| p.extension().is_some_and(|e| e == "log"))
        .max()
        .unwrap()
}

fn wait_for(events: &Receiver<Event>, lsn: u64) {
    loop {
        match events.recv_timeout(WAIT).unwrap() {
            Event::Durable { lsn: durable } if durable >= lsn => return,
            Event::Durable { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn some_ops(count: u64) -> Vec<Op> {
    (1..=count)
        .map(|n| {
            let key = format!("key {}", n * 7 % 13).into_bytes();
            (key, (n % 5 != 0).then(|| vec![(n % 251) as u8; (n * 31 % 90) as usize]))
        })
        .collect()
}

/// Appends every operation with its ordinal, from 1, as its number.
fn append(store: &Store, ops: &[Op], from: usize) {
    for (n, (key, value)) in ops.iter().enumerate() {
        store.append((from + n) as u64, key, value.as_deref());
    }
    store.kick();
}

/// The directory with a fault for every occasion.
struct Faulty {
    inner: Directory,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    full: AtomicBool,
    bad_sync: AtomicBool,
    /// Where copies of the directory go before every change of a name, and how many there are.
    copies: Mutex<Option<PathBuf>>,
    taken: Mutex<Vec<(PathBuf, u64)>>,
    durable: AtomicU64,
}

struct FaultyFile(Box<dyn LogFile>, Arc<Faults>);

impl Faulty {
    fn crash_point(&self) {
        let Some(root) = &*self.faults.copies.lock().unwrap() else {
            return;
        };
        let mut taken = self.faults.taken.lock().unwrap();
        let to = root.join(taken.len().to_string());
        copy(self.inner.path(), &to);
        taken.push((to, self.faults.durable.load(Ordering::SeqCst)));
    }
}

impl Disk for Faulty {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.inner.list()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        self.crash_point();
        Ok(Box::new(FaultyFile(self.inner.create(name)?, Arc::clone(&self.faults))))
    }
    fn read(&self, name: &str, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        self.inner.read(name, offset)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.crash_point();
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.crash_point();
        self.inner.remove(name)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.crash_point();
        self.inner.sync_names()
    }
}

impl LogFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.1.full.load(Ordering::SeqCst) {
            self.0.append(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.append(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        if self.1.bad_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("input/output error"));
        }
        self.0.sync()
    }
}

fn open_faulty(path: &Path, sync: Sync) -> (Store, Receiver<Event>, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let disk = Faulty {
        inner: Directory::make(path).unwrap(),
        faults: Arc::clone(&faults),
    };
    let (sender, events) = channel();
    let seen = Arc::clone(&faults);
    let on_event = move |event| {
        if let Event::Durable { lsn } = event {
            seen.durable.store(lsn, Ordering::SeqCst);
        }
        let _ = sender.send(event);
    };
    let adjust = |writer: Writer| writer.probe_every(Duration::from_millis(20));
    let (store, _) = start(Box::new(disk), None, &options(path, sync), Box::new(on_event), adjust).unwrap();
    (store, events, faults)
}

fn open_plain(path: &Path, sync: Sync) -> (Store, Recovered, Receiver<Event>) {
    let (sender, events) = channel();
    let (store, recovered) = open(options(path, sync), move |event| drop(sender.send(event))).unwrap();
    (store, recovered, events)
}

#[test]
fn the_live_set_survives_a_restart_in_both_modes() {
    for sync in [GROUP, Sync::Process] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/when/missing");
        let ops = some_ops(300);
        for (round, part) in ops.chunks(60).enumerate() {
            let (store, recovered, events) = open_plain(&path, sync);
            assert_eq!(live(&recovered), model(&ops[..round * 60]));
            assert_eq!(recovered.torn_bytes, 0);
            append(&store, part, round * 60 + 1);
            wait_for(&events, (round * 60 + part.len()) as u64);
            store.close().unwrap();
        }
        for entry in fs::read_dir(&path).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(live(&recover_in(&path).unwrap()), model(&ops));
    }
}

/// The heart of the promise: whatever part of the tail a crash leaves, with or without a hole in it, recovery yields
/// what some number of the appended records amount to, and at least those that were called durable.
#[test]
fn every_cut_of_the_tail_recovers_a_prefix_with_all_that_was_durable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let ops = some_ops(240);
    let marks = Arc::new(Mutex::new(Vec::new()));
    let (sender, events) = channel();
    let (seen, watched) = (Arc::clone(&marks), path.clone());
    let on_event = move |event| {
        if let Event::Durable { lsn } = event {
            let log = last_log(&watched);
            let len = fs::metadata(&log).unwrap().len();
            seen.lock().unwrap().push((log, len, lsn));
        }
        let _ = sender.send(event);
    };
    // No compaction, so that the segments stay; each batch waits for the one before.
    let options = Options {
        compact_ratio: 1e9,
        ..options(&path, GROUP)
    };
    let (store, _) = open(options, on_event).unwrap();
    let mut from = 1;
    for part in ops.chunks(7) {
        append(&store, part, from);
        from += part.len();
        wait_for(&events, (from - 1) as u64);
    }
    let marks = marks.lock().unwrap().clone();
    let tail = last_log(&path);
    assert!(
        marks.iter().any(|(log, ..)| *log != tail),
        "the log should have several segments"
    );
    let whole = fs::read(&tail).unwrap();
    let copied = dir.path().join("copy");
    copy(&path, &copied);
    let victim = copied.join(tail.file_name().unwrap());
    let before = marks
        .iter()
        .filter(|(log, ..)| *log != tail)
        .map(|m| m.2)
        .max()
        .unwrap();
    let mut torn = 0;
    for cut in FILE_HEADER..=whole.len() {
        let of_tail = marks.iter().filter(|(log, len, _)| *log == tail && *len <= cut as u64);
        let durable = of_tail.clone().map(|m| m.2).max().unwrap_or(before) as usize;
        let synced = of_tail.map(|m| m.1).max().unwrap_or(FILE_HEADER as u64) as usize;
        let mut holed = whole[..(cut + 700).min(whole.len())].to_vec();
        let hole = synced..(synced + 40).min(holed.len());
        holed[hole].fill(0);
        // Frames behind the hole would vouch for what was synced before it, which it does not touch.
        for bytes in [&whole[..cut], &holed[..(synced + 45).min(holed.len())]] {
            fs::write(&victim, bytes).unwrap();
            let recovered = recover_in(&copied).unwrap();
            let kept = prefix(&ops, &live(&recovered)).expect("a prefix");
            assert!(kept >= durable, "cut at {cut}: {kept} of {durable} durable records");
            torn += usize::from(recovered.torn_bytes > 0);
        }
    }
    assert!(torn > 0);
    drop(store);
}

/// Under process durability several unsynced frames may reach the medium out of order; nobody was promised them.
#[test]
fn a_hole_among_unsynced_frames_is_torn_not_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, events) = open_plain(&dir.path().join("a"), Sync::Process);
    let ops: Vec<Op> = (0..10u8).map(|n| (vec![n], Some(vec![n; 50]))).collect();
    for (n, op) in ops.iter().enumerate() {
        append(&store, std::slice::from_ref(op), n + 1);
        wait_for(&events, n as u64 + 1);
    }
    let copied = dir.path().join("b");
    copy(&dir.path().join("a"), &copied);
    let log = last_log(&copied);
    let mut bytes = fs::read(&log).unwrap();
    let frame = (bytes.len() - FILE_HEADER) / 10;
    bytes[FILE_HEADER + 3 * frame..FILE_HEADER + 5 * frame].fill(0);
    fs::write(&log, &bytes).unwrap();
    let (again, recovered, _events) = open_plain(&copied, Sync::Process);
    assert_eq!(live(&recovered), model(&ops[..3]));
    assert_eq!(recovered.torn_bytes, 7 * frame as u64);
    // The cut holds, and is not reported twice.
    again.close().unwrap();
    let recovered = recover_in(&copied).unwrap();
    assert_eq!((live(&recovered), recovered.torn_bytes), (model(&ops[..3]), 0));
}

#[test]
fn damage_in_the_middle_is_an_error_that_names_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let (store, _, events) = open_plain(&path, GROUP);
    let ops: Vec<Op> = (0..60u8).map(|n| (vec![n], Some(vec![n; 100]))).collect();
    for (n, op) in ops.iter().enumerate() {
        append(&store, std::slice::from_ref(op), n + 1);
        wait_for(&events, n as u64 + 1);
    }
    let last = last_log(&path);
    let first = path.join("0000000001.log");
    assert_ne!(last, first);
    let frame = 36 + 8 + 1 + 100;
    for (log, damage) in [
        (&last, FILE_HEADER + frame + 60),
        (&last, FILE_HEADER + 3),
        (&first, FILE_HEADER + 2 * frame),
    ] {
        let copied = dir.path().join("b");
        let _ = fs::remove_dir_all(&copied);
        copy(&path, &copied);
        let log = copied.join(log.file_name().unwrap());
        let mut bytes = fs::read(&log).unwrap();
        bytes[damage] ^= 0x10;
        fs::write(&log, &bytes).unwrap();
        let error = open(options(&copied, GROUP), |_| {}).unwrap_err();
        let expected = (FILE_HEADER + (damage - FILE_HEADER) / frame * frame) as u64;
        match &error {
            StoreError::Corrupt { file, offset, .. } => assert_eq!((file, *offset), (&log, expected)),
            other => panic!("{other}"),
        }
        assert!(
            error.to_string().contains(&format!("damaged at byte {expected}")),
            "{error}"
        );
        assert_eq!(fs::read(&log).unwrap(), bytes, "evidence must stay");
    }
    fs::remove_file(path.join("0000000002.log")).unwrap();
    assert!(matches!(recover_in(&path), Err(StoreError::Missing { file }) if file.ends_with("0000000002.log")));
    drop(store);
}

#[test]
fn a_second_opener_is_told_who_has_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open_plain(dir.path(), GROUP);
    let error = open(options(dir.path(), GROUP), |_| {}).unwrap_err();
    assert!(
        matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    store.close().unwrap();
    let (store, ..) = open_plain(dir.path(), GROUP);
    store.close().unwrap();
}

fn op() -> impl Strategy<Value = Op> {
    let key = (0u8..12).prop_map(|n| vec![n; 1 + usize::from(n % 3)]);
    let value = proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..400));
    (key, value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Compaction against a map, with a crash at every step that changes a name.
    #[test]
    fn compaction_keeps_the_live_set(ops in proptest::collection::vec(op(), 50..400), batch in 1usize..30) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let (store, events, faults) = open_faulty(&path, Sync::Process);
        *faults.copies.lock().unwrap() = Some(dir.path().join("copies"));
        for (n, part) in ops.chunks(batch).enumerate() {
            append(&store, part, n * batch + 1);
            wait_for(&events, (n * batch + part.len()) as u64);
        }
        store.close().unwrap();
        prop_assert_eq!(live(&recover_in(&path).unwrap()), model(&ops));
        for (copied, durable) in faults.taken.lock().unwrap().iter() {
            let recovered = recover_in(copied).unwrap();
            let kept = prefix(&ops, &live(&recovered)).expect("a prefix");
            prop_assert!(kept as u64 >= *durable, "{} of {} durable", kept, durable);
        }
    }
}

#[test]
fn compaction_bounds_the_log_while_appends_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, events) = open_plain(dir.path(), Sync::Process);
    for n in 1..=20_000u64 {
        store.append(n, format!("key {}", n % 40).as_bytes(), Some(&n.to_le_bytes()));
        if n % 50 == 0 {
            store.kick();
            wait_for(&events, n);
        }
    }
    store.close().unwrap();
    let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap()).collect();
    let bytes: u64 = files.iter().map(|f| f.metadata().unwrap().len()).sum();
    assert!(
        bytes < 32 << 10,
        "{bytes} bytes in {} files for 40 live records",
        files.len()
    );
    let snapshots: Vec<_> = files
        .iter()
        .filter(|f| f.path().extension().is_some_and(|e| e == "snap"))
        .collect();
    assert_eq!(snapshots.len(), 1);
    // Both headers, an end frame, and each key at most once.
    let bound = FILE_HEADER + 2 * frame::FRAME_HEADER + 40 * (8 + 6 + 8);
    assert!(
        snapshots[0].metadata().unwrap().len() <= bound as u64,
        "dead records in the snapshot"
    );
    assert_eq!(recover_in(dir.path()).unwrap().records.len(), 40);
}

const CHILD: &str = "TRESTLE_STORE_TEST_CHILD";

/// Not a test of its own: what `kill_nine_loses_nothing_durable` starts and kills.
#[test]
fn child_that_writes_until_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let (mode, path) = path.split_once(':').unwrap();
    let sync = if mode == "group" { GROUP } else { Sync::Process };
    let report = |event| {
        if let Event::Durable { lsn } = event {
            let mut out = io::stdout().lock();
            writeln!(out, "durable {lsn}").and_then(|()| out.flush()).unwrap();
        }
    };
    let (store, _) = open(options(Path::new(path), sync), report).unwrap();
    for n in 1.. {
        store.append(n, &(n % 50).to_le_bytes(), Some(&n.to_le_bytes()));
        if n % 9 == 0 {
            store.kick();
            while store.backlog() > 10_000 {
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn kill_nine_loses_nothing_durable() {
    for mode in ["group", "process"] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::child_that_writes_until_killed", "--nocapture"])
            .env(CHILD, format!("{mode}:{}", dir.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut durable = 0;
        let mut killed = false;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            // The last line may be cut, and a cut number would only ask for less.
            let Some(lsn) = line
                .unwrap()
                .rsplit("durable ")
                .next()
                .and_then(|n| n.parse::<u64>().ok())
            else {
                continue;
            };
            durable = durable.max(lsn);
            if durable > 3000 && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "the child ended by itself");
        let (store, recovered, _events) = open_plain(dir.path(), GROUP);
        let value = |v: &[u8]| u64::from_le_bytes(v.try_into().unwrap());
        let newest = recovered.records.iter().map(|(_, v)| value(v)).max().unwrap();
        assert!(newest >= durable, "{newest} of {durable}");
        let mut expected: Vec<u64> = (newest - 49..=newest).collect();
        let mut found: Vec<u64> = recovered.records.iter().map(|(_, v)| value(v)).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
        store.close().unwrap();
    }
}
