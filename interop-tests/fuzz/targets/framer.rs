//! Any bytes as a stream, cut anywhere: the frames do not depend on where it was cut, and every step makes progress.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trestle::sip::frame::{Frame, Framer, Limits};

const LIMITS: Limits = Limits {
    max_header_bytes: 4096,
    max_body_bytes: 4096,
};

/// All frames of a stream that arrives in pieces of `step` bytes.
fn frames(data: &[u8], step: usize) -> Vec<Frame> {
    let (mut framer, mut out) = (Framer::new(LIMITS), Vec::new());
    let (mut start, mut end) = (0, 0);
    while end < data.len() {
        end = (end + step).min(data.len());
        while let Some(buffer) = data.get(start..end) {
            let frame = framer.next(buffer);
            let length = match frame {
                Frame::Incomplete => break,
                Frame::Ping(length) | Frame::Pong(length) | Frame::Message(length) => length,
                Frame::Broken { headers, .. } => {
                    assert!(headers <= buffer.len());
                    out.push(frame);
                    return out;
                }
            };
            assert!(length > 0 && length <= buffer.len(), "a frame lies inside the buffer");
            out.push(frame);
            start += length;
        }
    }
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((step, data)) = data.split_first() else { return };
    let messages = |frames: Vec<Frame>| -> Vec<Frame> {
        // A ping may be seen as two pongs when it comes in pieces; messages may not differ.
        frames.into_iter().filter(|f| matches!(f, Frame::Message(_))).collect()
    };
    let (whole, pieces) = (
        messages(frames(data, data.len().max(1))),
        messages(frames(data, usize::from(*step).max(1))),
    );
    assert_eq!(whole, pieces);
});
