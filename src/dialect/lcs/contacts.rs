//! A user's contact list (`application/vnd-microsoft-roaming-contacts+xml`), kept in full and numbered by its changes.

use core::fmt;

use super::tree;
use crate::presence::XmlError;
use crate::presence::xml::escape;

/// The media type.
pub const CONTACTS: &str = "application/vnd-microsoft-roaming-contacts+xml";
/// Contacts one user may keep.
pub const MAX_CONTACTS: usize = 1_000;
/// Groups one user may keep.
pub const MAX_GROUPS: usize = 64;
/// Bytes of a name.
pub const MAX_NAME: usize = 256;
/// Bytes of a list as it is kept and told. Each change writes all of it and sends it to all endpoints.
pub const MAX_KEPT: usize = 512 * 1024;
/// Bytes of a list that is read back: one that was kept is never refused, whatever its bound was then.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What an escaped byte comes to at most.
const ESCAPED: usize = 6;
/// What an element comes to without its names.
const ELEMENT: usize = 100;
/// The group that every list has, and its name on the wire.
const DEFAULT_GROUP: (u32, &str) = (1, "~");

/// Why a change is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are [`MAX_CONTACTS`].
    Contacts,
    /// There are [`MAX_GROUPS`].
    Groups,
    /// A name is longer than [`MAX_NAME`].
    Name,
    /// All names together come to more than [`MAX_KEPT`].
    Bytes,
    /// There is no such contact or group.
    Unknown,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contacts => write!(f, "the contact list holds {MAX_CONTACTS} contacts; delete some first"),
            Self::Groups => write!(f, "the contact list holds {MAX_GROUPS} groups; delete some first"),
            Self::Name => write!(f, "a name is longer than {MAX_NAME} bytes"),
            Self::Bytes => f.write_str("the contact list is too large; delete contacts or shorten names first"),
            Self::Unknown => f.write_str("the contact list holds no such contact or group"),
        }
    }
}

/// Somebody on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The address without scheme.
    pub uri: String,
    /// The name the user gave; may be empty.
    pub name: String,
    /// Groups it is in.
    pub groups: Vec<u32>,
    /// Whether the client watches it.
    pub subscribed: bool,
}

/// A group of contacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
}

/// The list of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactList {
    /// Rises by one with each change; never 0.
    pub delta: u32,
    /// In the order they were made.
    pub groups: Vec<Group>,
    /// In the order they were added.
    pub contacts: Vec<Contact>,
}

impl Default for ContactList {
    fn default() -> Self {
        let (id, name) = DEFAULT_GROUP;
        Self {
            delta: 1,
            groups: vec![Group { id, name: name.into() }],
            contacts: Vec::new(),
        }
    }
}

impl ContactList {
    /// Adds a contact, or replaces what is known of it.
    ///
    /// # Errors
    /// When the list is full or a name too long.
    pub fn set_contact(&mut self, mut contact: Contact) -> Result<(), Full> {
        if contact.name.len() > MAX_NAME || contact.uri.len() > MAX_NAME {
            return Err(Full::Name);
        }
        contact.groups.retain(|id| self.groups.iter().any(|g| g.id == *id));
        contact.groups.dedup();
        contact.groups.truncate(MAX_GROUPS);
        if contact.groups.is_empty() {
            contact.groups.push(DEFAULT_GROUP.0);
        }
        let numbers = contact.groups.len() * 11;
        self.has_room(contact.uri.len() + contact.name.len(), numbers)?;
        match self.position(&contact.uri) {
            Some(at) => self.contacts[at] = contact,
            None if self.contacts.len() >= MAX_CONTACTS => return Err(Full::Contacts),
            None => self.contacts.push(contact),
        }
        self.count();
        Ok(())
    }

    /// Takes a contact away; that it is not there is as good.
    pub fn delete_contact(&mut self, uri: &str) {
        if let Some(at) = self.position(uri) {
            self.contacts.remove(at);
        }
        self.count();
    }

    /// Makes a group; its number. A name that is there already names the group that has it.
    ///
    /// # Errors
    /// When there are too many, or the name is too long.
    pub fn add_group(&mut self, name: &str) -> Result<u32, Full> {
        if name.len() > MAX_NAME {
            return Err(Full::Name);
        }
        let there = self.groups.iter().find(|g| g.name == name).map(|g| g.id);
        let id = match there {
            Some(id) => id,
            None if self.groups.len() >= MAX_GROUPS => return Err(Full::Groups),
            None => {
                self.has_room(name.len(), 0)?;
                let id = self.groups.iter().map(|g| g.id).max().unwrap_or(0) + 1;
                self.groups.push(Group { id, name: name.into() });
                id
            }
        };
        self.count();
        Ok(id)
    }

    /// Gives a group another name.
    ///
    /// # Errors
    /// When there is no such group, or the name is too long.
    pub fn modify_group(&mut self, id: u32, name: &str) -> Result<(), Full> {
        if name.len() > MAX_NAME {
            return Err(Full::Name);
        }
        self.has_room(name.len(), 0)?;
        let group = self.groups.iter_mut().find(|g| g.id == id).ok_or(Full::Unknown)?;
        group.name = name.into();
        self.count();
        Ok(())
    }

    /// Takes a group away; contacts that were in it alone are in the first group then, which stays.
    ///
    /// # Errors
    /// When there is no such group, or it is the first.
    pub fn delete_group(&mut self, id: u32) -> Result<(), Full> {
        if id == DEFAULT_GROUP.0 || !self.groups.iter().any(|g| g.id == id) {
            return Err(Full::Unknown);
        }
        self.groups.retain(|g| g.id != id);
        for contact in &mut self.contacts {
            contact.groups.retain(|g| *g != id);
            if contact.groups.is_empty() {
                contact.groups.push(DEFAULT_GROUP.0);
            }
        }
        self.count();
        Ok(())
    }

    fn position(&self, uri: &str) -> Option<usize> {
        self.contacts.iter().position(|c| c.uri.eq_ignore_ascii_case(uri))
    }

    /// Whether names of so many bytes, and so many bytes of numbers, may be added.
    fn has_room(&self, names: usize, numbers: usize) -> Result<(), Full> {
        let more = names * ESCAPED + numbers + ELEMENT;
        match self.to_xml().len() + more > MAX_KEPT {
            true => Err(Full::Bytes),
            false => Ok(()),
        }
    }

    fn count(&mut self) {
        self.delta = self.delta.checked_add(1).unwrap_or(1);
    }

    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        use fmt::Write as _;
        let mut out = format!("<contactList deltaNum=\"{}\">", self.delta);
        for group in &self.groups {
            let name = escape(&group.name);
            let _ = write!(out, "<group id=\"{}\" name=\"{name}\" externalURI=\"\"/>", group.id);
        }
        for contact in &self.contacts {
            let groups: Vec<String> = contact.groups.iter().map(u32::to_string).collect();
            let _ = write!(
                out,
                "<contact uri=\"{}\" name=\"{}\" groups=\"{}\" subscribed=\"{}\" externalURI=\"\"/>",
                escape(&contact.uri),
                escape(&contact.name),
                groups.join(" "),
                contact.subscribed
            );
        }
        out + "</contactList>"
    }

    /// Reads a document of ours.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn from_xml(xml: &[u8]) -> Result<Self, XmlError> {
        let root = tree::parse(xml, MAX_BYTES)?;
        let fault = |what| XmlError::new(0, what);
        if root.name != "contactList" {
            return Err(fault("it is no contact list"));
        }
        let number = |text: Option<&str>| text.and_then(|n| n.parse::<u32>().ok());
        let mut list = Self {
            delta: number(root.attribute("deltaNum")).ok_or(fault("it has no number"))?,
            groups: Vec::new(),
            contacts: Vec::new(),
        };
        for group in root.all("group") {
            list.groups.push(Group {
                id: number(group.attribute("id")).ok_or(fault("a group has no number"))?,
                name: group.attribute("name").unwrap_or_default().into(),
            });
        }
        for contact in root.all("contact") {
            list.contacts.push(Contact {
                uri: contact.attribute("uri").unwrap_or_default().into(),
                name: contact.attribute("name").unwrap_or_default().into(),
                groups: group_numbers(contact.attribute("groups").unwrap_or_default()),
                subscribed: contact.attribute("subscribed") == Some("true"),
            });
        }
        Ok(list)
    }
}

/// Group numbers with blanks between them; what is none is left out.
#[must_use]
pub fn group_numbers(text: &str) -> Vec<u32> {
    let numbers = text.split_ascii_whitespace().filter_map(|n| n.parse().ok());
    numbers.take(MAX_GROUPS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(uri: &str, groups: &[u32]) -> Contact {
        Contact {
            uri: uri.into(),
            name: "A <b> & \"c\"".into(),
            groups: groups.to_vec(),
            subscribed: true,
        }
    }

    #[test]
    fn every_change_counts_and_survives_writing() -> Result<(), Full> {
        let mut list = ContactList::default();
        assert_eq!(list.delta, 1);
        let work = list.add_group("Work & <more>")?;
        list.set_contact(contact("bob@a.example", &[work, 77]))?;
        list.set_contact(contact("BOB@a.example", &[]))?;
        list.set_contact(contact("carol@a.example", &[work]))?;
        assert_eq!((list.delta, list.contacts.len()), (5, 2));
        assert_eq!(list.contacts[0].groups, [1], "a group that is not there is none");
        list.modify_group(work, "Job")?;
        let again = ContactList::from_xml(list.to_xml().as_bytes()).expect("reads");
        assert_eq!(again, list);
        list.delete_group(work)?;
        assert_eq!(list.contacts[1].groups, [1]);
        list.delete_contact("bob@a.example");
        assert_eq!((list.delta, list.contacts.len(), list.groups.len()), (8, 1, 1));
        Ok(())
    }

    #[test]
    fn bounds_hold_and_a_refused_change_is_none() {
        let mut list = ContactList::default();
        for n in 0..MAX_CONTACTS {
            assert_eq!(list.set_contact(contact(&format!("u{n}@a.example"), &[1])), Ok(()));
        }
        let before = list.clone();
        assert_eq!(
            list.set_contact(contact("one-more@a.example", &[1])),
            Err(Full::Contacts)
        );
        assert_eq!(list.set_contact(contact(&"x".repeat(257), &[1])), Err(Full::Name));
        assert_eq!(list.modify_group(9, "x"), Err(Full::Unknown));
        assert_eq!(list.delete_group(1), Err(Full::Unknown), "the first group stays");
        assert_eq!(list, before);
        assert!(list.to_xml().len() < MAX_KEPT);
        for n in 1..MAX_GROUPS {
            assert!(list.add_group(&format!("g{n}")).is_ok());
        }
        assert_eq!(list.add_group("one more"), Err(Full::Groups));
        assert!(list.add_group("g3").is_ok(), "it is there already");
    }

    #[test]
    fn the_largest_list_that_is_taken_reads_back() {
        let mut list = ContactList::default();
        for n in 1..MAX_GROUPS {
            let _ = list.add_group(&format!("{n}{}", "\"".repeat(MAX_NAME - 2)));
        }
        let groups: Vec<u32> = (1..=MAX_GROUPS as u32).collect();
        for n in 0..MAX_CONTACTS {
            let uri = format!("{}@{n}", "\"".repeat(MAX_NAME - 5));
            let name = "\"".repeat(MAX_NAME);
            let groups = groups.clone();
            let subscribed = true;
            if list
                .set_contact(Contact {
                    uri,
                    name,
                    groups,
                    subscribed,
                })
                .is_err()
            {
                break;
            }
        }
        let document = list.to_xml();
        let again = ContactList::from_xml(document.as_bytes());
        assert!(again.is_ok_and(|again| again == list), "{} bytes", document.len());
        assert!(document.len() <= MAX_KEPT && list.contacts.len() > 100);
    }

    #[test]
    fn what_is_damaged_is_not_a_list() {
        for bad in [
            "<contactList/>",
            "<list deltaNum='1'/>",
            "<contactList deltaNum='1'>",
            "<!DOCTYPE a><a/>",
        ] {
            assert!(ContactList::from_xml(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
