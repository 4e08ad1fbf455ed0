use super::*;
use crate::pki::files;

fn trestle(dir: &Path, line: &str) -> ExitCode {
    let dir = dir.to_str().unwrap();
    let words = ["cert", "--dir", dir].into_iter().chain(line.split(' '));
    run(&Args::try_parse_from(words).unwrap(), &target_from_files)
}

fn succeeds(dir: &Path, line: &str) {
    assert_eq!(trestle(dir, line), ExitCode::SUCCESS, "{line}");
}

fn fails(dir: &Path, line: &str, code: u8) {
    assert_eq!(trestle(dir, line), ExitCode::from(code), "{line}");
}

#[test]
fn two_organisations_exchange_authorities_and_both_doctors_are_content() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (a.path(), b.path());
    for (dir, host, domain) in [(a, "bridge.a.example", "a.example"), (b, "sip.b.example", "b.example")] {
        succeeds(dir, "ca");
        succeeds(dir, &format!("issue {host} --domain {domain}"));
        succeeds(dir, "list");
        succeeds(
            dir,
            &format!("export --ca --out {}", dir.join("for-peer.crt").display()),
        );
    }
    succeeds(a, &format!("import b {}", b.join("for-peer.crt").display()));
    let theirs = b.join("bridge.pem").display().to_string();
    succeeds(
        a,
        &format!("doctor b --domain b.example --our-domain a.example --files {theirs}"),
    );
    fails(a, &format!("doctor b --domain c.example --files {theirs}"), 1);
    fails(a, "doctor b --domain b.example", 2);
    fails(a, &format!("doctor b --files {theirs}"), 2);
    succeeds(b, &format!("revoke {theirs} --compromised"));
    succeeds(b, "crl show");
    succeeds(a, &format!("import b {}", b.join("crl.pem").display()));
    fails(a, &format!("doctor b --domain b.example --files {theirs} --json"), 1);
    fails(a, &format!("revoke {theirs}"), 2);
}

#[test]
fn nothing_is_replaced_without_force() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "ca");
    succeeds(dir, "issue h.a.example --domain a.example");
    let before = files::read(&dir.join("bridge.key")).unwrap();
    fails(dir, "ca", 2);
    fails(dir, "issue h.a.example", 2);
    assert_eq!(files::read(&dir.join("bridge.key")).unwrap(), before);
    succeeds(dir, "issue h.a.example --force");
    assert_ne!(files::read(&dir.join("bridge.key")).unwrap(), before);
}

#[test]
fn list_warns_of_what_expires_soon() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "ca");
    succeeds(dir, "issue h.a.example --days 20");
    fails(dir, "list", 1);
    fails(dir, "list --json", 1);
    let entries = list::entries(dir, now()).unwrap();
    assert_eq!(
        entries.iter().map(|e| e.kind).collect::<Vec<_>>(),
        ["certificate", "authority"]
    );
    assert!((19..=20).contains(&entries[0].days_left));
    assert_eq!(entries[0].warnings, ["renew it now"]);
    assert_eq!(entries[0].subject, "CN=h.a.example");
}

#[test]
fn import_refuses_what_could_never_be_used_and_names_that_are_paths() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("x.pem"), "hello").unwrap();
    fails(dir, &format!("import b {}", dir.join("x.pem").display()), 2);
    succeeds(dir, "ca");
    let ca = dir.join("ca.pem").display().to_string();
    for name in ["..", "../b", "a/b", ".b"] {
        fails(dir, &format!("import {name} {ca}"), 2);
    }
    assert!(!dir.join("peers").exists());
}
