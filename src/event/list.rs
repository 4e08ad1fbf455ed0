//! Notifications about many resources at once (RFC 4662): the RLMI document and the `multipart/related` around it.

use core::fmt::Write as _;

use super::Reason;
use crate::presence::xml::escape;

/// The media type of the document that says which part is about whom.
pub const RLMI: &str = "application/rlmi+xml";
/// The media type of the whole.
pub const MULTIPART: &str = "multipart/related";

/// How it stands with one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instance {
    /// It is watched.
    Active,
    /// Nothing is known of it yet.
    Pending,
    /// It is not watched, or no longer.
    Terminated(Reason),
}

/// One resource in an RLMI document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Its address as the watcher wrote it.
    pub uri: &'a str,
    /// Its state.
    pub instance: Instance,
    /// The part that holds its document.
    pub cid: Option<String>,
}

/// One body in a multipart.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its Content-Type.
    pub media: &'a str,
    /// Its Content-ID without brackets.
    pub cid: &'a str,
    /// Its bytes, whatever they are.
    pub body: &'a [u8],
}

/// The RLMI document (RFC 4662 section 5). Each resource has one instance.
#[must_use]
pub fn rlmi(list: &str, version: u32, full: bool, resources: &[Resource<'_>]) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<list xmlns=\"urn:ietf:params:xml:ns:rlmi\" uri=\"{}\" version=\"{version}\" \
         fullState=\"{full}\">",
        escape(list)
    );
    for resource in resources {
        let _ = write!(
            out,
            "<resource uri=\"{}\"><instance id=\"1\" state=\"",
            escape(resource.uri)
        );
        out += match resource.instance {
            Instance::Active => "active\"",
            Instance::Pending => "pending\"",
            Instance::Terminated(_) => "terminated\"",
        };
        if let Instance::Terminated(reason) = resource.instance {
            let _ = write!(out, " reason=\"{reason}\"");
        }
        if let Some(cid) = &resource.cid {
            let _ = write!(out, " cid=\"{}\"", escape(cid));
        }
        out += "/></resource>";
    }
    out + "</list>\r\n"
}

/// A boundary that stands in none of the parts: `token`, lengthened until that is so.
#[must_use]
pub fn boundary(token: &str, parts: &[Part<'_>]) -> String {
    let mut boundary = token.to_owned();
    // RFC 2046 allows 70 characters; tokens are short and random, so the first one fits.
    while parts
        .iter()
        .any(|p| memchr::memmem::find(p.body, boundary.as_bytes()).is_some())
    {
        boundary.push('x');
    }
    boundary
}

/// The Content-Type of a multipart whose first part is the root (RFC 2387).
#[must_use]
pub fn media(boundary: &str, root: &str) -> String {
    format!("{MULTIPART};type=\"{RLMI}\";start=\"<{root}>\";boundary=\"{boundary}\"")
}

/// The multipart body.
#[must_use]
pub fn multipart(boundary: &str, parts: &[Part<'_>]) -> Vec<u8> {
    let size = parts.iter().map(|p| p.body.len() + p.cid.len() + 200).sum();
    let mut out = Vec::with_capacity(size);
    for part in parts {
        for piece in [
            "--",
            boundary,
            "\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <",
            part.cid,
            ">\r\nContent-Type: ",
            part.media,
            "\r\n\r\n",
        ] {
            out.extend_from_slice(piece.as_bytes());
        }
        out.extend_from_slice(part.body);
        out.extend_from_slice(b"\r\n");
    }
    for piece in ["--", boundary, "--\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Content-ID, Content-Type and body of each part, read as RFC 2046 says.
    fn read(boundary: &str, body: &[u8]) -> Option<Vec<(String, String, Vec<u8>)>> {
        let body = body.strip_suffix(format!("\r\n--{boundary}--\r\n").as_bytes())?;
        let body = [b"\r\n", body].concat();
        let delimiter = format!("\r\n--{boundary}\r\n");
        let mut starts: Vec<usize> = memchr::memmem::find_iter(&body, delimiter.as_bytes()).collect();
        (starts.first() == Some(&0)).then_some(())?;
        starts.push(body.len());
        let parts = starts.windows(2).map(|w| {
            let part = &body[w[0] + delimiter.len()..w[1]];
            let end = memchr::memmem::find(part, b"\r\n\r\n")?;
            let head = String::from_utf8(part[..end].to_vec()).ok()?;
            let value = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)).map(str::to_owned);
            Some((
                value("Content-ID: ")?,
                value("Content-Type: ")?,
                part[end + 4..].to_vec(),
            ))
        });
        parts.collect()
    }

    proptest! {
        #[test]
        fn parts_come_back_and_the_boundary_is_in_none(
            bodies in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'x'), Just(b'-'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..60), 1..6),
            token in "[ax]{1,3}",
        ) {
            let parts: Vec<Part<'_>> = bodies.iter().map(|body| Part { media: "text/plain", cid: "1@h", body }).collect();
            let boundary = boundary(&token, &parts);
            prop_assert!(bodies.iter().all(|b| memchr::memmem::find(b, boundary.as_bytes()).is_none()));
            let back = read(&boundary, &multipart(&boundary, &parts));
            let expected: Vec<_> = bodies.iter().map(|b| ("<1@h>".to_string(), "text/plain".to_string(), b.clone())).collect();
            prop_assert_eq!(back, Some(expected));
        }

        #[test]
        fn any_address_is_well_formed(uri in "\\PC{1,30}", version: u32, full: bool) {
            let resources = [Resource { uri: &uri, instance: Instance::Terminated(Reason::NoResource), cid: None }];
            let document = rlmi(&uri, version, full, &resources);
            let mut uris = Vec::new();
            let walked = crate::presence::xml::walk(document.as_bytes(), 4096, |_, node| {
                if let crate::presence::xml::Node::Open { tag, .. } = node {
                    uris.extend(crate::presence::xml::attribute(tag, "uri"));
                }
                Ok(())
            });
            prop_assert!(walked.is_ok());
            prop_assert_eq!(uris, vec![uri.clone(), uri]);
        }
    }

    #[test]
    fn one_instance_each() {
        let resources = [
            Resource {
                uri: "sip:a@x",
                instance: Instance::Active,
                cid: Some("1@h".into()),
            },
            Resource {
                uri: "sip:b@x",
                instance: Instance::Pending,
                cid: None,
            },
            Resource {
                uri: "sip:c@x",
                instance: Instance::Terminated(Reason::Rejected),
                cid: None,
            },
        ];
        let document = rlmi("sip:e@b", 3, false, &resources);
        assert!(
            document.contains("uri=\"sip:e@b\" version=\"3\" fullState=\"false\">"),
            "{document}"
        );
        for part in [
            "<resource uri=\"sip:a@x\"><instance id=\"1\" state=\"active\" cid=\"1@h\"/></resource>",
            "<resource uri=\"sip:b@x\"><instance id=\"1\" state=\"pending\"/></resource>",
            "<resource uri=\"sip:c@x\"><instance id=\"1\" state=\"terminated\" reason=\"rejected\"/></resource>",
        ] {
            assert!(document.contains(part), "{document}");
        }
    }
}
