//! Who may watch a user (`application/vnd-microsoft-roaming-acls+xml`): entries of type USER, DOMAIN or ALL, each with
//! two letters, of which the second is about presence.

use core::fmt::Write as _;

use super::contacts::MAX_NAME;
use super::tree;
use crate::presence::XmlError;
use crate::presence::xml::escape;

/// The media type.
pub const ACLS: &str = "application/vnd-microsoft-roaming-acls+xml";
/// Entries one user may keep.
pub const MAX_ACES: usize = 1_000;
/// Bytes of a list as it is kept and told.
const MAX_KEPT: usize = 512 * 1024;
/// Bytes of a list that is read back, whatever the bound was when it was kept.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What one entry comes to at most: each byte of its mask escaped, and the rest of it.
const MAX_ACE: usize = MAX_NAME * 6 + 80;

/// Whom an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// One address, without scheme.
    User(String),
    /// Everybody of a domain.
    Domain(String),
    /// Everybody.
    All,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ace {
    /// Whom it is about.
    pub whom: Whom,
    /// Its letters as written, at most four: `AA` allows, `BD` blocks.
    pub rights: String,
}

/// The entries of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Rises by one with each change; never 0.
    pub delta: u32,
    /// In the order they were made.
    pub aces: Vec<Ace>,
}

impl Default for Rights {
    fn default() -> Self {
        let all = Ace {
            whom: Whom::All,
            rights: "AA".into(),
        };
        Self {
            delta: 1,
            aces: vec![all],
        }
    }
}

impl Whom {
    /// Reads the type and the mask of an entry; a scheme in the mask does not count.
    #[must_use]
    pub fn read(kind: &str, mask: &str) -> Option<Self> {
        let mask = bare(mask.trim());
        match kind.trim().to_ascii_uppercase().as_str() {
            "ALL" => Some(Self::All),
            "USER" if mask.contains('@') && mask.len() <= MAX_NAME => Some(Self::User(mask.to_ascii_lowercase())),
            "DOMAIN" if !mask.is_empty() && mask.len() <= MAX_NAME => Some(Self::Domain(mask.to_ascii_lowercase())),
            _ => None,
        }
    }

    fn is(&self, address: &str) -> bool {
        match self {
            Self::All => true,
            Self::User(user) => user.eq_ignore_ascii_case(address),
            Self::Domain(domain) => address
                .rsplit_once('@')
                .is_some_and(|(_, d)| d.eq_ignore_ascii_case(domain)),
        }
    }

    fn weight(&self) -> u8 {
        match self {
            Self::All => 0,
            Self::Domain(_) => 1,
            Self::User(_) => 2,
        }
    }
}

impl Rights {
    /// Sets an entry.
    ///
    /// # Errors
    /// When there are [`MAX_ACES`], or they are too long together.
    pub fn set(&mut self, ace: Ace) -> Result<(), &'static str> {
        match self.aces.iter().position(|a| a.whom == ace.whom) {
            Some(at) => self.aces[at] = ace,
            None if self.aces.len() >= MAX_ACES || self.to_xml().len() + MAX_ACE > MAX_KEPT => {
                return Err("the list of rights is full; set fewer entries");
            }
            None => self.aces.push(ace),
        }
        self.delta = self.delta.checked_add(1).unwrap_or(1);
        Ok(())
    }

    /// Whether this address (without scheme) may not watch: of the entries that fit, the narrowest counts.
    #[must_use]
    pub fn blocks(&self, address: &str) -> bool {
        let fitting = self.aces.iter().filter(|a| a.whom.is(address));
        let narrowest = fitting.max_by_key(|a| a.whom.weight());
        narrowest.is_some_and(Ace::denies)
    }

    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut out = format!("<ACLlist deltaNum=\"{}\"><ACL>", self.delta);
        for ace in &self.aces {
            let (kind, mask) = match &ace.whom {
                Whom::All => ("ALL", ""),
                Whom::User(user) => ("USER", user.as_str()),
                Whom::Domain(domain) => ("DOMAIN", domain.as_str()),
            };
            let (mask, rights) = (escape(mask), escape(&ace.rights));
            let _ = write!(out, "<ACE type=\"{kind}\" mask=\"{mask}\" rights=\"{rights}\"/>");
        }
        out + "</ACL></ACLlist>"
    }

    /// Reads a document of ours.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn from_xml(xml: &[u8]) -> Result<Self, XmlError> {
        let root = tree::parse(xml, MAX_BYTES)?;
        let delta = root.attribute("deltaNum").and_then(|n| n.parse().ok());
        let (Some(delta), "ACLlist", Some(acl)) = (delta, root.name.as_str(), root.child("ACL")) else {
            return Err(XmlError::new(0, "it is no list of rights"));
        };
        let read = |e: &tree::Element| {
            let attribute = |name| e.attribute(name).unwrap_or_default();
            Some(Ace {
                whom: Whom::read(attribute("type"), attribute("mask"))?,
                rights: attribute("rights").into(),
            })
        };
        Ok(Self {
            delta,
            aces: acl.all("ACE").filter_map(read).collect(),
        })
    }
}

impl Ace {
    /// `D` as the second letter denies presence.
    fn denies(&self) -> bool {
        self.rights
            .as_bytes()
            .get(1)
            .is_some_and(|l| l.eq_ignore_ascii_case(&b'D'))
    }
}

/// An address without its scheme.
#[must_use]
pub fn bare(uri: &str) -> &str {
    let head = uri.get(..4).unwrap_or_default();
    match head.eq_ignore_ascii_case("sip:") {
        true => uri.get(4..).unwrap_or_default(),
        false => uri,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ace(kind: &str, mask: &str, rights: &str) -> Ace {
        Ace {
            whom: Whom::read(kind, mask).expect("fits"),
            rights: rights.into(),
        }
    }

    #[test]
    fn the_narrowest_entry_counts() -> Result<(), &'static str> {
        let mut rights = Rights::default();
        assert!(!rights.blocks("bob@b.example"));
        rights.set(ace("DOMAIN", "b.example", "BD"))?;
        rights.set(ace("USER", "sip:Carol@b.example", "AA"))?;
        rights.set(ace("USER", "bob@a.example", "BD"))?;
        assert!(rights.blocks("bob@B.example") && rights.blocks("BOB@a.example"));
        assert!(!rights.blocks("carol@b.example") && !rights.blocks("dave@a.example"));
        rights.set(ace("USER", "bob@a.example", "AA"))?;
        assert!(!rights.blocks("bob@a.example"));
        assert_eq!((rights.delta, rights.aces.len()), (5, 4));
        assert_eq!(Rights::from_xml(rights.to_xml().as_bytes()).expect("reads"), rights);
        Ok(())
    }

    #[test]
    fn the_longest_list_that_is_taken_reads_back() {
        let mut rights = Rights::default();
        for n in 1..MAX_ACES {
            let mask = format!("{}@{n}", "\"".repeat(MAX_NAME - 5));
            if rights.set(ace("USER", &mask, "BDBD")).is_err() {
                break;
            }
        }
        let document = rights.to_xml();
        let again = Rights::from_xml(document.as_bytes());
        assert!(again.is_ok_and(|again| again == rights), "{} bytes", document.len());
    }

    #[test]
    fn bounds_and_nonsense() {
        let mut rights = Rights::default();
        for n in 1..MAX_ACES {
            assert!(rights.set(ace("USER", &format!("u{n}@x"), "BD")).is_ok());
        }
        assert!(rights.set(ace("USER", "one-more@x", "BD")).is_err());
        assert_eq!(Whom::read("USER", "nobody"), None);
        assert_eq!(Whom::read("GROUP", "a@b"), None);
        assert!(Rights::from_xml(b"<ACLlist deltaNum='1'/>").is_err());
    }
}
