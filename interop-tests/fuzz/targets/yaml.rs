//! Any text as a configuration: no panic; every problem has a place that exists, or none.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use trestle::config::load::{World, load_from};

/// A machine with one file.
struct OneFile<'a>(&'a str);

impl World for OneFile<'_> {
    fn read(&self, _: &Path) -> Result<String, String> {
        Ok(self.0.to_string())
    }

    fn list(&self, _: &Path) -> Result<Vec<String>, String> {
        Ok(vec!["a.yaml".into()])
    }

    fn world_readable(&self, _: &Path) -> Option<bool> {
        Some(false)
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(problems) = load_from(Path::new("bridge.yaml"), &OneFile(text)) {
        assert!(!problems.to_string().is_empty());
    }
});
