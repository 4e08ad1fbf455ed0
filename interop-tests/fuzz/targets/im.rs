//! Any bytes as the body of an instant message of each kind: no panic, bounded work, and what is read can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trestle::dialect::Im;
use trestle::im::content::{Ends, Said, read};
use trestle::im::{first, sdp, typing};

const KINDS: [&str; 7] = [
    "text/plain",
    "text/html",
    "text/rtf",
    "message/cpim",
    "multipart/alternative;boundary=b",
    "application/im-iscomposing+xml",
    "text/plain;charset=utf-16",
];

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else { return };
    if let Ok(Said::Text(text)) = read(KINDS[usize::from(*kind) % KINDS.len()], body) {
        let im = Im { accept: vec!["text/plain".into()], ..Im::default() };
        let ends = Ends { from: "sip:a@x", to: "sip:b@y", wall_ms: 0 };
        let (_, shown) = text.shown(&im, &[], ends);
        assert!(std::str::from_utf8(&shown).is_ok());
    }
    if let Some(sdp::Offer::Messages(session)) = sdp::read(body) {
        assert!(session.at < session.lines.len());
        let _ = sdp::answer(&session, "127.0.0.1", "sip:a@x", "text/plain");
    }
    let _ = first::read(body);
    let _ = typing::read(body);
});
