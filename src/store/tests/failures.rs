//! A disk that is full, or fails to sync: what is refused, what is written again, who waits.

use super::*;

#[test]
fn a_full_disk_gives_failed_and_no_false_durable() {
    for sync in [GROUP, Sync::Process] {
        let dir = tempfile::tempdir().unwrap();
        let (store, events, faults) = open_faulty(dir.path(), sync);
        store.append(1, b"a", Some(b"1"));
        store.kick();
        wait_for(&events, 1);
        faults.full.store(true, Ordering::SeqCst);
        for lsn in [2, 3] {
            store.append(lsn, format!("lost {lsn}").as_bytes(), Some(b"x"));
            store.kick();
            match events.recv_timeout(WAIT).unwrap() {
                Event::Failed {
                    lsn: first,
                    upto,
                    keys,
                    error,
                } => {
                    assert_eq!((first, upto), (lsn, lsn));
                    assert_eq!(keys, [Box::from(format!("lost {lsn}").as_bytes())]);
                    assert!(error.to_string().contains("every second"), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
        std::thread::sleep(Duration::from_millis(100));
        assert!(events.try_recv().is_err(), "a probe must not succeed on a full disk");
        faults.full.store(false, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        assert!(events.try_recv().is_err(), "nothing is tried before the caller knows");
        store.give_up(3);
        assert!(matches!(events.recv_timeout(WAIT).unwrap(), Event::Recovered));
        store.append(4, b"b", Some(b"2"));
        store.kick();
        wait_for(&events, 4);
        store.close().unwrap();
        let recovered = recover_in(dir.path()).unwrap();
        assert_eq!(
            live(&recovered),
            model(&[
                (b"a".to_vec(), Some(b"1".to_vec())),
                (b"b".to_vec(), Some(b"2".to_vec()))
            ])
        );
    }
}

#[test]
fn a_failed_sync_voids_what_it_covered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, events, faults) = open_faulty(dir.path(), GROUP);
    store.append(1, b"a", Some(b"1"));
    store.kick();
    wait_for(&events, 1);
    faults.bad_sync.store(true, Ordering::SeqCst);
    store.append(2, b"a", Some(b"2"));
    store.kick();
    assert!(matches!(
        events.recv_timeout(WAIT).unwrap(),
        Event::Failed { lsn: 2, .. }
    ));
    faults.bad_sync.store(false, Ordering::SeqCst);
    store.give_up(2);
    assert!(matches!(events.recv_timeout(WAIT).unwrap(), Event::Recovered));
    assert_eq!(
        live(&recover_in(dir.path()).unwrap()),
        model(&[(b"a".to_vec(), Some(b"1".to_vec()))])
    );
    store.close().unwrap();
}

#[test]
fn process_durability_writes_again_what_a_failed_sync_put_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let (store, events, faults) = open_faulty(dir.path(), Sync::Process);
    let ops: Vec<Op> = (0..40u8).map(|n| (vec![n], Some(vec![n; 100]))).collect();
    append(&store, &ops, 1);
    wait_for(&events, 40);
    faults.bad_sync.store(true, Ordering::SeqCst);
    // The segment is full, so the next record needs a sync of it first.
    store.append(41, b"late", Some(b"x"));
    store.kick();
    assert!(matches!(
        events.recv_timeout(WAIT).unwrap(),
        Event::Failed { lsn: 41, upto: 41, .. }
    ));
    faults.bad_sync.store(false, Ordering::SeqCst);
    store.give_up(41);
    assert!(matches!(events.recv_timeout(WAIT).unwrap(), Event::Recovered));
    assert_eq!(live(&recover_in(dir.path()).unwrap()), model(&ops));
    let carried = fs::metadata(last_log(dir.path())).unwrap().len();
    assert!(carried > 4000, "only {carried} bytes in the new segment");
    store.close().unwrap();
}

#[test]
fn a_record_beyond_the_limit_is_refused_with_what_followed_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, events) = open_plain(dir.path(), Sync::Process);
    store.append(1, b"a", Some(b"1"));
    store.append(2, b"b", Some(&vec![0; handle::RECORD_MAX]));
    store.append(3, b"c", Some(b"3"));
    store.kick();
    wait_for(&events, 1);
    match events.recv_timeout(WAIT).unwrap() {
        Event::Failed {
            lsn: 2, upto: 3, error, ..
        } => assert!(matches!(error, StoreError::TooLarge { .. }), "{error}"),
        other => panic!("{other:?}"),
    }
    store.give_up(3);
    assert!(matches!(events.recv_timeout(WAIT).unwrap(), Event::Recovered));
    store.close().unwrap();
    let live = live(&recover_in(dir.path()).unwrap());
    assert_eq!(live, model(&[(b"a".to_vec(), Some(b"1".to_vec()))]));
}

#[test]
fn records_that_nobody_waits_for_are_written_without_a_sync_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (store, events, faults) = open_faulty(dir.path(), GROUP);
    store.append(1, b"a", Some(b"1"));
    store.kick();
    wait_for(&events, 1);
    faults.bad_sync.store(true, Ordering::SeqCst);
    store.append_lazily(2, b"b", Some(b"2"));
    store.kick();
    let end = std::time::Instant::now() + WAIT;
    let both = [
        (b"a".to_vec(), Some(b"1".to_vec())),
        (b"b".to_vec(), Some(b"2".to_vec())),
    ];
    while live(&recover_in(dir.path()).unwrap()) != model(&both) {
        assert!(std::time::Instant::now() < end, "the record is not written");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        events.try_recv().is_err(),
        "neither durable nor failed: it was not synced"
    );
    // The next record that is waited for takes it along, in whatever way the sync of it goes.
    store.append(3, b"c", Some(b"3"));
    store.kick();
    assert!(matches!(
        events.recv_timeout(WAIT).unwrap(),
        Event::Failed { lsn: 3, upto: 3, .. }
    ));
    faults.bad_sync.store(false, Ordering::SeqCst);
    store.give_up(3);
    assert!(matches!(events.recv_timeout(WAIT).unwrap(), Event::Recovered));
    store.close().unwrap();
    assert_eq!(live(&recover_in(dir.path()).unwrap()), model(&both));
}
