//! Every recipe of `config/peers` is complete: `trestle check` takes it as it is shipped, with the certificates its README
//! makes, and the README names its steps.

use interop_tests::pki::Authority;
use interop_tests::{Outcome, repository, trestle};

#[test]
fn each_recipe_passes_the_check() -> Outcome {
    let mut seen = 0;
    for entry in std::fs::read_dir(repository().join("config/peers"))? {
        let (from, dir, authority) = (entry?.path(), tempfile::tempdir()?, Authority::new()?);
        let name = from.display().to_string();
        std::fs::copy(from.join("bridge.yaml"), dir.path().join("bridge.yaml")).map_err(|e| format!("{name}: {e}"))?;
        let certs = dir.path().join("certs");
        std::fs::create_dir(&certs)?;
        authority.issue("a.example")?.write(&certs, "a.example")?;
        std::fs::write(certs.join("b-ca.pem"), &authority.pem)?;
        let output = trestle::run(dir.path(), &["check", "--config", "bridge.yaml"])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        let readme = std::fs::read_to_string(from.join("README.md")).map_err(|e| format!("{name}: {e}"))?;
        for part in [
            "## Certificates",
            "## Steps on b.example",
            "trestle check --config",
            "trestle ctl peers",
        ] {
            assert!(readme.contains(part), "{name}: README.md does not say {part:?}");
        }
        seen += 1;
    }
    assert!(seen >= 7, "only {seen} recipes found");
    Ok(())
}
