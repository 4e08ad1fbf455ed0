//! SOAP bodies of SERVICE (`application/SOAP+xml`): what a client asks of its registrar.

use super::contacts::{Contact, group_numbers};
use super::rights::{Ace, Whom, bare};
use super::tree::{self, Element};
use crate::presence::XmlError;
use crate::presence::xml::escape;

/// The media type.
pub const SOAP: &str = "application/SOAP+xml";
/// The largest body taken, bytes.
pub const MAX_BYTES: usize = 64 * 1024;
const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const NAMESPACE: &str = "http://schemas.microsoft.com/winrtc/2002/11/sip";

/// The state that a client sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPresence {
    /// Whose it is, without scheme; empty when it does not say.
    pub uri: String,
    /// `text/xml+msrtc.pidf`: the element, with the namespaces it relies on.
    pub document: Vec<u8>,
}

/// What is asked; contact lists carry the number the client believes the list has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Set the state.
    SetPresence(SetPresence),
    /// Add or change a contact.
    SetContact(Contact, u32),
    /// Take a contact away: its address without scheme.
    DeleteContact(String, u32),
    /// Make a group of this name.
    AddGroup(String, u32),
    /// Rename a group.
    ModifyGroup(u32, String, u32),
    /// Take a group away.
    DeleteGroup(u32, u32),
    /// Set who may watch.
    SetAce(Ace),
    /// Look somebody up.
    DirectorySearch,
    /// Something else, by its name.
    Other(String),
}

/// Reads a body.
///
/// # Errors
/// When it is no SOAP envelope, or what it asks lacks something.
pub fn read(body: &[u8]) -> Result<Call, XmlError> {
    let envelope = tree::parse(body, MAX_BYTES)?;
    let fault = |what| XmlError::new(0, what);
    let inner = envelope.child("Body").filter(|_| envelope.name == "Envelope");
    let inner = inner.ok_or(fault("it is no SOAP envelope with a body"))?;
    let [asked] = &inner.children[..] else {
        return Err(fault("the SOAP body must ask one thing"));
    };
    let number = |name: &str| asked.text_of(name).parse::<u32>().ok();
    let delta = number("deltaNum").unwrap_or(0);
    let uri = || {
        let uri = bare(asked.text_of("URI"));
        let fits = uri.contains('@') || uri.contains('.');
        if fits {
            Ok(uri.to_string())
        } else {
            Err(fault("URI is no address"))
        }
    };
    let group = || number("groupID").ok_or(fault("groupID is no number"));
    Ok(match asked.name.as_str() {
        "setPresence" => Call::SetPresence(set_presence(body, &[&envelope, inner, asked])?),
        "setContact" => {
            let contact = Contact {
                uri: uri()?,
                name: asked.text_of("displayName").into(),
                groups: group_numbers(asked.text_of("groups")),
                subscribed: asked.text_of("subscribed").eq_ignore_ascii_case("true"),
            };
            Call::SetContact(contact, delta)
        }
        "deleteContact" => Call::DeleteContact(uri()?, delta),
        "addGroup" => Call::AddGroup(asked.text_of("name").into(), delta),
        "modifyGroup" => Call::ModifyGroup(group()?, asked.text_of("name").into(), delta),
        "deleteGroup" => Call::DeleteGroup(group()?, delta),
        "setACE" => Call::SetAce(ace(asked).ok_or(fault("type, mask or rights are none that are known"))?),
        "directorySearch" => Call::DirectorySearch,
        other => Call::Other(other.chars().take(64).collect()),
    })
}

fn ace(asked: &Element) -> Option<Ace> {
    let rights = asked.text_of("rights");
    let letters = rights.len() <= 4 && rights.bytes().all(|b| b.is_ascii_alphabetic());
    Some(Ace {
        whom: Whom::read(asked.text_of("type"), asked.text_of("mask"))?,
        rights: (letters && !rights.is_empty()).then(|| rights.to_ascii_uppercase())?,
    })
}

fn set_presence(body: &[u8], outer: &[&Element; 3]) -> Result<SetPresence, XmlError> {
    let asked = outer[2];
    let fault = XmlError::new(0, "setPresence holds no presentity");
    let presentity = asked.child("presentity").ok_or(fault)?;
    let text = body.get(presentity.span.clone()).ok_or(fault)?;
    let name_end = text
        .iter()
        .position(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/'));
    let (name, rest) = text.split_at(name_end.ok_or(fault)?);
    let mut document = name.to_vec();
    // Declarations of the elements around it, the inner ones first.
    let mut declared: Vec<&str> = presentity.attributes.iter().map(|(key, _)| key.as_str()).collect();
    for (key, value) in outer.iter().rev().flat_map(|e| &e.attributes) {
        if key.starts_with("xmlns") && !declared.contains(&key.as_str()) {
            document.extend_from_slice(format!(" {key}=\"{}\"", escape(value)).as_bytes());
            declared.push(key);
        }
    }
    document.extend_from_slice(rest);
    Ok(SetPresence {
        uri: bare(presentity.attribute("uri").unwrap_or_default()).into(),
        document,
    })
}

/// An answer: the element asked about, with what it holds (written XML).
#[must_use]
pub fn answer(asked: &str, inner: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"{ENVELOPE}\" xmlns:m=\"{NAMESPACE}\"><s:Body><m:{asked}>{inner}</m:{asked}></s:Body></s:Envelope>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(inner: &str) -> Vec<u8> {
        format!("<s:Envelope xmlns:s=\"{ENVELOPE}\" xmlns:m=\"{NAMESPACE}\"><s:Body>{inner}</s:Body></s:Envelope>")
            .into_bytes()
    }

    #[test]
    fn a_state_is_cut_out_with_its_namespaces() {
        let inner = "<m:setPresence><m:presentity m:uri=\"sip:alice@a.example\"><m:availability m:aggregate=\"300\"/>\
                     <u:userInfo xmlns:u='urn:u'><states><state avail=\"6500\" set=\"manual\">busy</state></states></u:userInfo>\
                     </m:presentity></m:setPresence>";
        let Ok(Call::SetPresence(set)) = read(&envelope(inner)) else {
            panic!("is one")
        };
        assert_eq!(set.uri, "alice@a.example");
        let alone = tree::parse(&set.document, MAX_BYTES).expect("stands alone");
        assert_eq!(alone.attribute("xmlns:m"), Some(NAMESPACE));
        assert_eq!(
            alone.child("availability").and_then(|a| a.attribute("aggregate")),
            Some("300")
        );
    }

    #[test]
    fn lists_and_rights() {
        let call = |inner: &str| read(&envelope(inner)).expect("reads");
        let Call::SetContact(contact, 7) = call(
            "<m:setContact><m:displayName>B &amp; C</m:displayName><m:groups>1 2 x</m:groups><m:subscribed>true</m:subscribed>\
             <m:URI>sip:bob@a.example</m:URI><m:externalURI /><m:deltaNum>7</m:deltaNum></m:setContact>",
        ) else {
            panic!("no contact")
        };
        assert_eq!(
            (
                contact.uri.as_str(),
                contact.name.as_str(),
                contact.groups.as_slice(),
                contact.subscribed
            ),
            ("bob@a.example", "B & C", &[1, 2][..], true)
        );
        assert_eq!(
            call("<m:deleteContact><m:URI>sip:b@x</m:URI><m:deltaNum>2</m:deltaNum></m:deleteContact>"),
            Call::DeleteContact("b@x".into(), 2)
        );
        assert_eq!(
            call("<m:modifyGroup><m:groupID>3</m:groupID><m:name>n</m:name><m:deltaNum>2</m:deltaNum></m:modifyGroup>"),
            Call::ModifyGroup(3, "n".into(), 2)
        );
        let set = "<m:setACE><m:type>USER</m:type><m:mask>sip:b@x</m:mask><m:rights>BD</m:rights></m:setACE>";
        assert!(matches!(call(set), Call::SetAce(ace) if ace.rights == "BD" && ace.whom == Whom::User("b@x".into())));
        assert_eq!(call("<m:directorySearch/>"), Call::DirectorySearch);
        assert_eq!(call("<m:getThings/>"), Call::Other("getThings".into()));
    }

    #[test]
    fn what_is_hostile_or_lacks_something_is_refused() {
        for bad in [
            envelope(""),
            envelope("<m:setPresence/>"),
            envelope("<a/><b/>"),
            envelope("<m:setContact><m:URI>nobody</m:URI></m:setContact>"),
            envelope("<m:deleteGroup><m:groupID>-1</m:groupID></m:deleteGroup>"),
            envelope("<m:setACE><m:type>USER</m:type><m:mask>a@b</m:mask><m:rights>&lt;x&gt;</m:rights></m:setACE>"),
            b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>".to_vec(),
            b"<s:Envelope>".to_vec(),
            b"{}".to_vec(),
            [envelope("<a/>"), vec![b' '; MAX_BYTES]].concat(),
        ] {
            assert!(
                read(&bad).is_err(),
                "{}",
                String::from_utf8_lossy(&bad[..bad.len().min(120)])
            );
        }
    }

    #[test]
    fn answers_read_back() {
        let body = answer("addGroup", "<m:groupID>2</m:groupID>");
        let root = tree::parse(body.as_bytes(), MAX_BYTES).expect("reads");
        let group = root.child("Body").and_then(|b| b.child("addGroup"));
        assert_eq!(group.map(|g| g.text_of("groupID")), Some("2"));
    }
}
