//! Any bytes as the body of a batched subscription: no panic, bounded, and what is taken can be named in the answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trestle::dialect::lcs::adhoc::{MAX_RESOURCES, read};
use trestle::event::list::{Instance, Part, Resource, boundary, multipart, rlmi};
use trestle::presence::xml::walk;

fuzz_target!(|data: &[u8]| {
    let Ok(uris) = read(data) else { return };
    assert!(!uris.is_empty() && uris.len() <= MAX_RESOURCES);
    let resource = |uri| Resource { uri, instance: Instance::Pending, cid: None };
    let resources: Vec<_> = uris.iter().map(|uri| resource(uri.as_str())).collect();
    let document = rlmi("sip:list@a.example", 1, true, &resources);
    assert!(walk(document.as_bytes(), document.len(), |_, _| Ok(())).is_ok(), "{document}");
    let parts = [Part { media: "text/plain", cid: "1@a.example", body: data }];
    let boundary = boundary("a", &parts);
    assert!(multipart(&boundary, &parts).len() > data.len());
});
