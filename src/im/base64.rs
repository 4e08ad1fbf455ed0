//! Base64 (RFC 4648), read with or without padding.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn value(byte: u8) -> Option<u32> {
    let at = ALPHABET.iter().position(|b| *b == byte)?;
    u32::try_from(at).ok()
}

/// The bytes; blanks and line ends are skipped. `None` for anything else that is not of the alphabet.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut held) = (0u32, 0u32);
    let mut ended = false;
    for byte in text.iter().copied().filter(|b| !b.is_ascii_whitespace()) {
        if byte == b'=' {
            ended = true;
            continue;
        }
        if ended {
            return None;
        }
        bits = (bits << 6 | value(byte)?) & 0x00ff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    (held < 6).then_some(out)
}

/// The text, padded.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            if at <= chunk.len() {
                out.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let text = encode(&bytes);
            prop_assert_eq!(decode(text.as_bytes()), Some(bytes.clone()));
            prop_assert_eq!(decode(text.trim_end_matches('=').as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(encode(b"Hi!"), "SGkh");
        assert_eq!(decode(b"SGk="), Some(b"Hi".to_vec()));
        assert_eq!(decode(b"S"), None);
        assert_eq!(decode(b"SG?h"), None);
        assert_eq!(decode(b"SGk=h"), None);
    }
}
