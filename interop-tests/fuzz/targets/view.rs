//! Any bytes as a message: no panic; what is read lies inside the message; what is forwarded can be read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trestle::sip::header::Name;
use trestle::sip::message::{Framing, Index, parse};
use trestle::sip::write;

fuzz_target!(|data: &[u8]| {
    for framing in [Framing::Datagram, Framing::Stream] {
        let mut index = Index::new();
        let Ok(view) = parse(data, framing, &mut index) else {
            continue;
        };
        let whole = view.bytes().as_ptr_range();
        for line in view.lines() {
            let value = line.value.as_ptr_range();
            assert!(line.value.is_empty() || (whole.start <= value.start && value.end <= whole.end));
        }
        for name in [Name::Via, Name::Contact, Name::Route, Name::RecordRoute] {
            view.items(name).for_each(drop);
        }
        view.named("X-Any").for_each(drop);
        let _ = view.max_forwards();
        let Ok(parts) = view.essentials() else { continue };
        // Whoever has a mandatory part twice does not get here.
        assert!(!parts.call_id.is_empty());
        if !view.is_request() {
            let mut out = bytes::BytesMut::new();
            write::forward_response(&mut out, &view);
        }
    }
});
