//! What a deployment says about composition: data, never code.

use super::compose::Publication;
use super::pidf::{Document, Kind};

/// Marks a publication. All fields that are given must fit; a mark without fields fits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// RPID class of a person, tuple or device in it.
    pub class: Option<Box<str>>,
    /// Pattern for the id of a tuple in it; `*` stands for any text.
    pub tuple: Option<Box<str>>,
    /// Dialect of its publisher.
    pub dialect: Option<Box<str>>,
}

/// The rules of composition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Publications set by hand: they override what is automatic.
    pub manual: Vec<Mark>,
    /// Publications whose very presence says do-not-disturb.
    pub dnd: Vec<Mark>,
    /// Elements that say do-not-disturb: names in any namespace, or `{namespace}name`.
    pub dnd_elements: Vec<Box<str>>,
}

impl Rules {
    /// Whether the publication was made by hand.
    #[must_use]
    pub fn is_manual(&self, publication: &Publication<'_>) -> bool {
        self.manual.iter().any(|mark| mark.fits(publication))
    }

    /// Whether a mark makes the publication say do-not-disturb.
    #[must_use]
    pub fn is_marked_dnd(&self, publication: &Publication<'_>) -> bool {
        self.dnd.iter().any(|mark| mark.fits(publication))
    }

    /// Whether the document itself says do-not-disturb.
    #[must_use]
    pub fn says_dnd(&self, document: &Document) -> bool {
        let read = document.elements.iter().filter(|e| e.kind != Kind::Foreign);
        let mut inside = read.flat_map(|e| &e.inside);
        inside.any(|i| self.dnd_elements.iter().any(|pattern| i.name.fits(pattern)))
    }
}

impl Mark {
    fn fits(&self, publication: &Publication<'_>) -> bool {
        let elements = || publication.document.elements.iter();
        let class = self
            .class
            .as_ref()
            .map(|class| elements().any(|e| e.class.as_ref().is_some_and(|c| c.eq_ignore_ascii_case(class))));
        let tuple = self.tuple.as_ref().map(|pattern| {
            let ids = elements()
                .filter(|e| e.kind == Kind::Tuple)
                .filter_map(|e| e.id.as_deref());
            ids.into_iter().any(|id| matches(pattern, id))
        });
        let dialect = self.dialect.as_ref().map(|dialect| **dialect == *publication.dialect);
        let mut asked = [class, tuple, dialect].into_iter().flatten().peekable();
        asked.peek().is_some() && asked.all(|fits| fits)
    }
}

/// A pattern with `*` for any text. Linear: what stands between stars is taken where it comes first.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, mut pattern)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    while let Some((piece, rest)) = pattern.split_once('*') {
        match text.find(piece) {
            Some(at) => (text, pattern) = (&text[at + piece.len()..], rest),
            None => return false,
        }
    }
    text.ends_with(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let table = [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("desk-*", "desk-17-9", true),
            ("desk-*", "xdesk-1", false),
            ("*-9", "desk-9-9", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "abZ", false),
            ("a*a", "a", false),
        ];
        for (pattern, text, fits) in table {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
