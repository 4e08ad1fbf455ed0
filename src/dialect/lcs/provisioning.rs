//! Provisioning (`application/vnd-microsoft-roaming-provisioning+xml`): which line a user has, and who controls it.

use crate::presence::xml::escape;

/// The media type.
pub const PROVISIONING: &str = "application/vnd-microsoft-roaming-provisioning+xml";

/// A line and the server that controls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The line, `tel:`.
    pub uri: &'a str,
    /// Where the client sends its requests about it, `sip:`.
    pub server: &'a str,
}

/// The document of a user; without a line it holds none, and the client controls no phone.
#[must_use]
pub fn to_xml(user: &str, line: Option<Line<'_>>) -> String {
    let line = line.map_or_else(String::new, |line| {
        let (uri, server) = (escape(line.uri), escape(line.server));
        format!("<line uri=\"{uri}\" server=\"{server}\"/>")
    });
    format!("<provision><user uri=\"{}\">{line}</user></provision>", escape(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_only_where_there_is_one() {
        assert_eq!(
            to_xml("sip:a&b@x", None),
            "<provision><user uri=\"sip:a&amp;b@x\"></user></provision>"
        );
        let line = Line {
            uri: "tel:2001;phone-context=dialstring",
            server: "sip:rcc@x",
        };
        assert!(
            to_xml("sip:a@x", Some(line))
                .contains("<line uri=\"tel:2001;phone-context=dialstring\" server=\"sip:rcc@x\"/>")
        );
    }
}
