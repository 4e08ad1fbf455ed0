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
        explain(&readme, dir.path()).map_err(|e| format!("{name}: {e}"))?;
        seen += 1;
    }
    assert!(seen >= 7, "only {seen} recipes found");
    Ok(())
}

/// The question that the README asks `trestle explain` is answered, and the answer names the dialect of the recipe.
fn explain(readme: &str, dir: &std::path::Path) -> Outcome {
    let lines: Vec<&str> = readme.lines().map(str::trim).collect();
    let at = lines.iter().position(|l| l.starts_with("trestle explain"));
    let asked = lines.get(at.ok_or("no trestle explain")?..).unwrap_or_default();
    let asked = asked.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    let mut words: Vec<&str> = asked.split_whitespace().filter(|w| *w != "\\").skip(1).collect();
    if let Some(path) = words.iter_mut().find(|w| w.ends_with("bridge.yaml")) {
        *path = "bridge.yaml";
    }
    let output = trestle::run(dir, &words)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let config = std::fs::read_to_string(dir.join("bridge.yaml"))?;
    let dialect = config
        .lines()
        .find_map(|l| l.trim().strip_prefix("dialect: "))
        .unwrap_or("rfc");
    if output.status.success() && said.contains(dialect) {
        return Ok(());
    }
    Err(format!("{words:?} does not say {dialect}:\n{said}").into())
}
