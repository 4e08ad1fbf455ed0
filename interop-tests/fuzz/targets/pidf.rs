//! Any bytes as a presence document: no panic, bounded work, and what is accepted has no document type.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trestle::presence::pidf::Document;

fuzz_target!(|data: &[u8]| {
    let Ok(document) = Document::parse(data) else { return };
    document.activities().for_each(drop);
    let _ = document.basic();
    let _ = document.note();
    assert!(std::str::from_utf8(data).is_ok(), "only UTF-8 is taken");
});
