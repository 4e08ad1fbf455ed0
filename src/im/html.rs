//! HTML reduced to the text a reader would see. One pass, no tree, never more text than there were bytes.

/// Elements whose content nobody reads.
const HIDDEN: [&str; 6] = ["script", "style", "head", "title", "template", "noscript"];
/// Elements that stand on lines of their own.
const BLOCKS: [&str; 17] = [
    "p",
    "div",
    "li",
    "ul",
    "ol",
    "table",
    "tr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "pre",
    "hr",
    "section",
];
/// Longest name of an entity.
const MAX_ENTITY: usize = 32;

/// The text of a document.
#[must_use]
pub fn to_text(html: &str) -> String {
    let mut out = Text::default();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        let (text, tail) = rest.split_at(at);
        out.text(text);
        rest = if tail.starts_with('<') {
            tag(tail, &mut out)
        } else {
            entity(tail, &mut out)
        };
    }
    out.text(rest);
    out.done()
}

#[derive(Default)]
struct Text {
    out: String,
    /// A blank is owed before the next word.
    blank: bool,
    /// Inside of `pre` blanks count.
    pre: usize,
    /// Some quote never closes: quotes are apostrophes from here on. To look again for each tag would take for ever.
    apostrophes: bool,
    /// No `>` follows: nothing is a tag any more.
    no_tags: bool,
}

impl Text {
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            self.character(c);
        }
    }

    fn character(&mut self, c: char) {
        if self.pre > 0 {
            return self.out.push(c);
        }
        if c.is_ascii_whitespace() {
            self.blank = !self.out.is_empty() && !self.out.ends_with('\n');
            return;
        }
        self.literal(c);
    }

    fn literal(&mut self, c: char) {
        if std::mem::take(&mut self.blank) {
            self.out.push(' ');
        }
        self.out.push(c);
    }

    fn line(&mut self) {
        self.blank = false;
        self.out.push('\n');
    }

    /// A block begins or ends: a new line unless there is one.
    fn block(&mut self) {
        self.blank = false;
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    fn done(mut self) -> String {
        let length = self.out.trim_end_matches('\n').len();
        self.out.truncate(length);
        self.out
    }
}

/// Takes what begins with `<`; returns what is behind it.
fn tag<'h>(html: &'h str, out: &mut Text) -> &'h str {
    if let Some(comment) = html.strip_prefix("<!--") {
        return comment.split_once("-->").map_or("", |(_, rest)| rest);
    }
    let inner = &html[1..];
    let looks = inner.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
    let Some(end) = looks.then(|| tag_end(inner, out)).flatten() else {
        out.character('<');
        return inner;
    };
    let (tag, rest) = (&inner[..end], &inner[end + 1..]);
    let closing = tag.starts_with('/');
    let name: String = tag
        .trim_start_matches('/')
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .take(16)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    match name.as_str() {
        "br" => out.line(),
        "img" => out.text(&attribute(tag, "alt").unwrap_or_default()),
        "td" | "th" if !closing => out.character(' '),
        "pre" => {
            out.block();
            out.pre = if closing {
                out.pre.saturating_sub(1)
            } else {
                out.pre + 1
            };
        }
        name if BLOCKS.contains(&name) => {
            out.block();
            if name == "li" && !closing {
                out.text("-");
                out.blank = true;
            }
        }
        name if HIDDEN.contains(&name) && !closing && !tag.ends_with('/') => return behind(rest, name),
        _ => {}
    }
    rest
}

/// Where a tag ends: at the first `>` outside of quotes.
fn tag_end(tag: &str, out: &mut Text) -> Option<usize> {
    if out.no_tags {
        return None;
    }
    let mut quote = None;
    let bytes = tag.bytes().enumerate().take_while(|_| !out.apostrophes);
    for (at, byte) in bytes {
        match (quote, byte) {
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    out.apostrophes = true;
    let end = tag.find('>');
    out.no_tags = end.is_none();
    end
}

/// What stands behind the end tag of a hidden element.
fn behind<'h>(html: &'h str, name: &str) -> &'h str {
    let mut rest = html;
    while let Some(at) = rest.find("</") {
        rest = &rest[at + 2..];
        if rest.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)) {
            return rest.split_once('>').map_or("", |(_, rest)| rest);
        }
    }
    ""
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let lower = tag.to_ascii_lowercase();
    let at = lower.find(&format!(" {name}="))? + name.len() + 2;
    let value = tag.get(at..)?;
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let value = match quote {
        Some(quote) => value[1..].split(quote).next()?,
        None => value.split(|c: char| c.is_ascii_whitespace()).next()?,
    };
    let mut out = Text::default();
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        out.text(&rest[..at]);
        rest = entity(&rest[at..], &mut out);
    }
    out.text(rest);
    Some(out.done())
}

/// Takes what begins with `&`; returns what is behind it.
fn entity<'h>(html: &'h str, out: &mut Text) -> &'h str {
    let body = &html[1..];
    let length = body
        .bytes()
        .take(MAX_ENTITY)
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'#')
        .count();
    let found = character(&body[..length]);
    match found {
        Some(c) => {
            out.literal(c);
            let rest = &body[length..];
            rest.strip_prefix(';').unwrap_or(rest)
        }
        None => {
            out.literal('&');
            body
        }
    }
}

fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return Some(char::from_u32(code).filter(|c| *c != '\0').unwrap_or('\u{fffd}'));
    }
    NAMED.iter().find(|(n, _)| *n == name).map(|(_, c)| *c)
}

const NAMED: [(&str, char); 62] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", '\u{a0}'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
    ("euro", '€'),
    ("pound", '£'),
    ("yen", '¥'),
    ("cent", '¢'),
    ("sect", '§'),
    ("deg", '°'),
    ("plusmn", '±'),
    ("micro", 'µ'),
    ("para", '¶'),
    ("middot", '·'),
    ("laquo", '«'),
    ("raquo", '»'),
    ("hellip", '…'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("bull", '•'),
    ("times", '×'),
    ("divide", '÷'),
    ("auml", 'ä'),
    ("ouml", 'ö'),
    ("uuml", 'ü'),
    ("Auml", 'Ä'),
    ("Ouml", 'Ö'),
    ("Uuml", 'Ü'),
    ("szlig", 'ß'),
    ("eacute", 'é'),
    ("egrave", 'è'),
    ("ecirc", 'ê'),
    ("euml", 'ë'),
    ("agrave", 'à'),
    ("aacute", 'á'),
    ("acirc", 'â'),
    ("aring", 'å'),
    ("aelig", 'æ'),
    ("oslash", 'ø'),
    ("ccedil", 'ç'),
    ("ntilde", 'ñ'),
    ("iacute", 'í'),
    ("oacute", 'ó'),
    ("uacute", 'ú'),
    ("Eacute", 'É'),
    ("Aring", 'Å'),
    ("iquest", '¿'),
    ("iexcl", '¡'),
    ("larr", '←'),
    ("rarr", '→'),
    ("hearts", '♥'),
];

#[cfg(test)]
mod tests {
    use super::to_text;
    use proptest::prelude::*;

    #[test]
    fn what_a_reader_would_see() {
        for (html, text) in [
            (
                "<html><head><title>x</title><style>p{}</style></head><body><p>Hello,<br>world &amp; all</p></body></html>",
                "Hello,\nworld & all",
            ),
            (
                "<DIV>one</DIV><DIV>two   <B>bold</B>\n text</DIV>",
                "one\ntwo bold text",
            ),
            (
                "a &lt;b&gt; &#1087;&#x440;&#x438; &unknown; & b",
                "a <b> при &unknown; & b",
            ),
            ("<ul><li>x</li><li>y</li></ul>", "- x\n- y"),
            ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
            (
                "<img src='x' alt=\":-)\"> hi<!-- no --><script>alert('</b>')</script>!",
                ":-) hi!",
            ),
            ("<pre>a\n  b</pre>", "a\n  b"),
            ("<a href='x>y'>link</a>", "link"),
            ("<script>never ends", ""),
            (
                "\u{5e9}\u{5dc}\u{5d5}\u{5dd} <b>\u{4f60}\u{597d}</b> \u{1f600}",
                "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{4f60}\u{597d} \u{1f600}",
            ),
        ] {
            assert_eq!(to_text(html), text, "{html}");
        }
    }

    proptest! {
        #[test]
        fn any_text_ends_and_does_not_grow(html in "\\PC{0,200}") {
            prop_assert!(to_text(&html).len() <= html.len() * 2 + 8);
        }

        #[test]
        fn tag_soup_ends(parts in proptest::collection::vec("(<|>|&|;|'|\"|/|!--|-->|p|br|script|pre|é| |#x41)", 0..60)) {
            let _ = to_text(&parts.concat());
        }

        #[test]
        fn letters_survive(text in "[a-zа-яא-ת一-龥]{1,40}") {
            prop_assert_eq!(to_text(&format!("<p><b>{text}</b></p>")), text);
        }
    }
}
