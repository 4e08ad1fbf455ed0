//! What one append costs at batches of 10, 50 and 200, in both durability modes.
//!
//! `cpu/*` is the processor time of the whole process (shard and store thread) an append, which is what the budget
//! is about; `wall/*` is the time until the batch is durable, divided by its size, and depends on the disk. Records
//! are 300 bytes, as a subscription's are, over 100,000 keys. `TRESTLE_BENCH_DIR` puts the store on another disk.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use trestle::store::{Event, Options, Store, Sync, open};

const KEYS: u64 = 100_000;

struct Bench {
    store: Store,
    durable: Receiver<u64>,
    lsn: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(sync: Sync) -> Self {
        let root = std::env::var_os("TRESTLE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = tempfile::tempdir_in(root).expect("a directory");
        let (sender, durable) = channel();
        let on_event = move |event| {
            if let Event::Durable { lsn } = event {
                let _ = sender.send(lsn);
            }
        };
        let (store, _) = open(
            Options {
                sync,
                ..Options::new(dir.path())
            },
            on_event,
        )
        .expect("a store");
        Self {
            store,
            durable,
            lsn: 0,
            _dir: dir,
        }
    }

    /// Appends one batch and waits until it is durable.
    fn batch(&mut self, size: u64) {
        for _ in 0..size {
            self.lsn += 1;
            let key = (self.lsn.wrapping_mul(0x9e37_79b9) % KEYS).to_le_bytes();
            self.store.append(self.lsn, black_box(&key), Some(black_box(&[7; 292])));
        }
        self.store.kick();
        while self.durable.recv().expect("an event") < self.lsn {}
    }
}

/// Processor time of all threads of this process.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn store(c: &mut Criterion) {
    let modes = [("group", Sync::default()), ("process", Sync::Process)];
    for (mode, sync) in modes {
        for measure in ["cpu", "wall"] {
            let mut group = c.benchmark_group(format!("store/{mode}/{measure}"));
            group.sample_size(20);
            for size in [10u64, 50, 200] {
                group.throughput(Throughput::Elements(size));
                group.bench_function(BenchmarkId::from_parameter(size), |b| {
                    let mut bench = Bench::new(sync);
                    b.iter_custom(|iterations| {
                        let (before, start) = (cpu(), Instant::now());
                        (0..iterations).for_each(|_| bench.batch(size));
                        if measure == "cpu" {
                            cpu().saturating_sub(before)
                        } else {
                            start.elapsed()
                        }
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, store);
criterion_main!(benches);
