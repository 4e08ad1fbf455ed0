//! RTF reduced to its text: `\uN?`, `\'hh` in the code page of the font, destinations that are no text skipped.

use encoding_rs::Encoding;

/// Deepest nesting of groups that is followed.
const MAX_DEPTH: usize = 128;
/// Fonts whose character set is remembered.
const MAX_FONTS: usize = 256;

/// Destinations without text of the document.
const SKIPPED: [&str; 19] = [
    "colortbl",
    "stylesheet",
    "info",
    "pict",
    "object",
    "header",
    "headerl",
    "headerr",
    "headerf",
    "footer",
    "footerl",
    "footerr",
    "footerf",
    "generator",
    "themedata",
    "listtable",
    "footnote",
    "xmlnstbl",
    "fldinst",
];

#[derive(Clone, Copy)]
struct Group {
    skip: bool,
    fonts: bool,
    font: Option<i32>,
    /// Characters that stand behind `\uN` for those who cannot read it.
    fallback: usize,
}

struct Reader<'r> {
    rest: &'r [u8],
    out: String,
    groups: Vec<Group>,
    now: Group,
    page: &'static Encoding,
    fonts: Vec<(i32, &'static Encoding)>,
    /// Bytes of `\'hh` not decoded yet: a character may have two.
    bytes: Vec<u8>,
    /// The high half of a pair.
    high: Option<u16>,
    /// Characters to leave out, after `\uN`.
    leave_out: usize,
}

/// The text of a document; `None` when it is not RTF or nested too deeply.
#[must_use]
pub fn to_text(rtf: &[u8]) -> Option<String> {
    if !rtf.trim_ascii_start().starts_with(b"{\\rtf") {
        return None;
    }
    let now = Group {
        skip: false,
        fonts: false,
        font: None,
        fallback: 1,
    };
    let mut reader = Reader {
        rest: rtf.trim_ascii_start(),
        out: String::new(),
        groups: Vec::new(),
        now,
        page: encoding_rs::WINDOWS_1252,
        fonts: Vec::new(),
        bytes: Vec::new(),
        high: None,
        leave_out: 0,
    };
    reader.run()?;
    let end = reader.out.trim_end_matches('\n').len();
    reader.out.truncate(end);
    Some(reader.out)
}

impl Reader<'_> {
    fn run(&mut self) -> Option<()> {
        while let Some((byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            match byte {
                b'{' => {
                    self.flush();
                    self.leave_out = 0;
                    if self.groups.len() >= MAX_DEPTH {
                        return None;
                    }
                    self.groups.push(self.now);
                }
                b'}' => {
                    self.flush();
                    self.leave_out = 0;
                    if let Some(group) = self.groups.pop() {
                        self.now = group;
                    }
                    if self.groups.is_empty() {
                        break;
                    }
                }
                b'\\' => self.control(),
                b'\r' | b'\n' => {}
                byte => self.byte(*byte),
            }
        }
        self.flush();
        Some(())
    }

    fn encoding(&self) -> &'static Encoding {
        let font = self.now.font;
        let known = self.fonts.iter().find(|(id, _)| Some(*id) == font);
        known.map_or(self.page, |(_, encoding)| encoding)
    }

    /// One byte of text.
    fn byte(&mut self, byte: u8) {
        if self.leave_out > 0 {
            self.leave_out -= 1;
        } else if !self.now.skip && !self.now.fonts {
            self.bytes.push(byte);
        }
    }

    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.high = None;
            let (text, _) = self.encoding().decode_without_bom_handling(&self.bytes);
            self.out.push_str(&text);
            self.bytes.clear();
        }
    }

    fn push(&mut self, c: char) {
        if self.leave_out > 0 {
            self.leave_out -= 1;
            return;
        }
        self.flush();
        if !self.now.skip && !self.now.fonts {
            self.out.push(c);
        }
    }

    fn control(&mut self) {
        let Some((first, rest)) = self.rest.split_first() else {
            return;
        };
        if !first.is_ascii_alphabetic() {
            self.rest = rest;
            return self.symbol(*first);
        }
        let length = self
            .rest
            .iter()
            .take(32)
            .take_while(|b| b.is_ascii_alphabetic())
            .count();
        let (word, rest) = self.rest.split_at(length);
        let sign = usize::from(rest.first() == Some(&b'-'));
        let digits = rest
            .iter()
            .skip(sign)
            .take(10)
            .take_while(|b| b.is_ascii_digit())
            .count();
        let used = if digits > 0 { sign + digits } else { 0 };
        let (number, rest) = rest.split_at(used);
        let number: Option<i32> = core::str::from_utf8(number).ok().and_then(|n| n.parse().ok());
        self.rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let word = core::str::from_utf8(word).unwrap_or_default();
        self.word(word, number);
    }

    fn symbol(&mut self, symbol: u8) {
        match symbol {
            b'\'' => {
                let hex = self.rest.get(..2).and_then(|h| core::str::from_utf8(h).ok());
                if let Some(byte) = hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
                    self.rest = &self.rest[2..];
                    self.byte(byte);
                }
            }
            b'*' => {
                // A destination that readers may not know; this one knows none.
                self.flush();
                self.now.skip = true;
            }
            b'~' => self.push('\u{a0}'),
            b'_' => self.push('\u{2011}'),
            b'\r' | b'\n' => self.push('\n'),
            b'\\' | b'{' | b'}' => self.byte(symbol),
            _ => {}
        }
    }

    fn word(&mut self, word: &str, number: Option<i32>) {
        match word {
            "par" | "line" | "row" | "sect" | "page" => self.push('\n'),
            "tab" | "cell" => self.push('\t'),
            "emdash" => self.push('—'),
            "endash" => self.push('–'),
            "bullet" => self.push('•'),
            "lquote" => self.push('‘'),
            "rquote" => self.push('’'),
            "ldblquote" => self.push('“'),
            "rdblquote" => self.push('”'),
            "u" => self.unicode(number.unwrap_or(0)),
            "uc" => self.now.fallback = usize::try_from(number.unwrap_or(1)).unwrap_or(1).min(16),
            "bin" => {
                let length = usize::try_from(number.unwrap_or(0)).unwrap_or(0).min(self.rest.len());
                self.rest = &self.rest[length..];
            }
            "ansicpg" => self.page = number.and_then(code_page).unwrap_or(self.page),
            "fonttbl" => self.now.fonts = true,
            "f" => {
                self.flush();
                self.now.font = number;
            }
            "fcharset" if self.now.fonts => self.font(number),
            word if SKIPPED.contains(&word) => {
                self.flush();
                self.now.skip = true;
            }
            _ => {}
        }
    }

    fn font(&mut self, charset: Option<i32>) {
        if let (Some(id), Some(encoding)) = (self.now.font, charset.and_then(font_page))
            && self.fonts.len() < MAX_FONTS
        {
            self.fonts.push((id, encoding));
        }
    }

    /// `\uN`: a signed 16-bit unit of UTF-16, followed by characters for others.
    fn unicode(&mut self, number: i32) {
        self.flush();
        let unit = (number & 0xffff) as u16;
        let pair = [self.high.take().unwrap_or(0), unit];
        let c = match unit {
            0xd800..=0xdbff => {
                self.high = Some(unit);
                None
            }
            0xdc00..=0xdfff => char::decode_utf16(pair).next().and_then(Result::ok),
            _ => char::from_u32(u32::from(unit)),
        };
        if let Some(c) = c.filter(|_| !self.now.skip && !self.now.fonts) {
            self.out.push(c);
        }
        self.leave_out = self.now.fallback;
    }
}

fn code_page(number: i32) -> Option<&'static Encoding> {
    let label = match number {
        932 => "shift_jis".into(),
        936 => "gbk".into(),
        949 => "euc-kr".into(),
        950 => "big5".into(),
        874 | 1250..=1258 => format!("windows-{number}"),
        65001 => "utf-8".into(),
        866 => "ibm866".into(),
        10000 => "macintosh".into(),
        _ => return None,
    };
    Encoding::for_label(label.as_bytes())
}

fn font_page(charset: i32) -> Option<&'static Encoding> {
    code_page(match charset {
        0 => 1252,
        77 => 10000,
        128 => 932,
        129 => 949,
        134 => 936,
        136 => 950,
        161 => 1253,
        162 => 1254,
        163 => 1258,
        177 => 1255,
        178 => 1256,
        186 => 1257,
        204 => 1251,
        222 => 874,
        238 => 1250,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::to_text;
    use proptest::prelude::*;

    #[test]
    fn text_of_real_documents() {
        for (rtf, text) in [
            (
                r"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0\fswiss MS Shell Dlg;}}{\colortbl;\red0\green0\blue0;}\pard\f0\fs20 Hello\par}",
                "Hello",
            ),
            (
                r"{\rtf1\ansi\ansicpg1252 caf\'e9 \u8364? \u-10179?\u-8704? \{x\}\line y}",
                "café € \u{1f600} {x}\ny",
            ),
            (
                r"{\rtf1\ansi{\fonttbl{\f0\fcharset204 A;}{\f1\fcharset128 B;}}\f0 \'cf\'f0\'e8\f1 \'82\'a0}",
                "При\u{3042}",
            ),
            (
                r"{\rtf1{\*\generator Riched20;}{\info{\author X}}a{\pict\bin3 }}{b}c}",
                "ac",
            ),
            (r"{\rtf1\uc2\u1076ab\u1072cd x}", "да x"),
            (
                r"{\rtf1{\field{\*\fldinst HYPERLINK http://x}{\fldrslt link}}\~z\emdash}",
                "link\u{a0}z—",
            ),
        ] {
            assert_eq!(to_text(rtf.as_bytes()).as_deref(), Some(text), "{rtf}");
        }
        assert_eq!(to_text(b"plain"), None);
        assert_eq!(to_text(format!("{{\\rtf1{}", "{".repeat(5000)).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let rtf = [&b"{\\rtf1"[..], &bytes].concat();
            if let Some(text) = to_text(&rtf) {
                prop_assert!(text.len() <= rtf.len() * 3);
            }
        }

        #[test]
        fn every_script_survives(text in "[a-zа-яא-ת一-龥😀-😎]{0,30}") {
            let body: String = text.encode_utf16().map(|u| format!("\\u{}?", u as i16)).collect();
            prop_assert_eq!(to_text(format!("{{\\rtf1 {body}}}").as_bytes()), Some(text));
        }
    }
}
