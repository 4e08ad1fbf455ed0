//! What the store keeps: one record per binding, publication, subscription, upstream subscription and kept message.
//!
//! A key is a kind, the owner and the part's own name. A value is a version byte and length-prefixed fields; expiries
//! are wall time. A record of a newer version than this program knows is an error, not a guess.

mod restore;

use core::fmt::{self, Display, Write};
use core::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Engine;
use super::delivered::Delivered;
use super::lcs::Client;
use super::list::{Role, nobody};
use super::messages::Stored;
use super::reach::{Origin, Reach};
use super::registrar::Binding;
use super::showing::Showing;
use super::slots::SlotId;
use super::subscription::{Restored, Subscription};
use super::timers::Kind;
use super::upstream::{Key, Upstream};
use crate::dialect::Format;
use crate::event::publication::{Entry, Kept};
use crate::policy::{Party, Snapshot};
use crate::sip::dialog::Dialog;
use crate::sip::net::{ListenerId, PeerId, Transport};
use crate::sip::time::Now;
use crate::sip::uri::Aor;

/// A key and a value.
pub(super) type Pair = (Box<[u8]>, Box<[u8]>);

const VERSION: u8 = 1;
/// Separates the parts of a key; no address holds it.
const SEPARATOR: u8 = 0;

/// A record that cannot be put back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by a newer program.
    #[error("a {kind} record has version {version}; this program knows versions up to {VERSION}")]
    Version {
        /// What the record is about.
        kind: char,
        /// Its version.
        version: u8,
    },
    /// Its fields do not add up.
    #[error("a {kind} record is damaged")]
    Damaged {
        /// What the record is about.
        kind: char,
    },
}

/// Where keys and values are built: on the stack, so that each costs one allocation of its exact size.
type Scratch = SmallVec<[u8; 1024]>;

fn key(kind: u8, owner: impl Display, part: &[u8]) -> Box<[u8]> {
    let mut key = Writer(Scratch::new());
    key.0.push(kind);
    let _ = write!(key, "{owner}");
    key.0.push(SEPARATOR);
    key.0.extend_from_slice(part);
    key.done()
}

pub(super) fn binding_key(aor: &Aor, uri: &[u8]) -> Box<[u8]> {
    key(b'r', aor, uri)
}

pub(super) fn publication_key(aor: &Aor, id: &str) -> Box<[u8]> {
    key(b'p', aor, id.as_bytes())
}

pub(super) fn subscription_key(tag: &[u8]) -> Box<[u8]> {
    key(b's', "", tag)
}

pub(super) fn upstream_key(upstream: &Key) -> Box<[u8]> {
    let watcher = upstream.watcher.as_ref().map(Aor::to_string).unwrap_or_default();
    key(b'u', &upstream.presentity, watcher.as_bytes())
}

/// What a user of a roaming client keeps here: `k` is the contact list, `e` the rights.
pub(super) fn roaming_key(kind: u8, aor: &Aor) -> Box<[u8]> {
    key(kind, aor, b"")
}

/// The document itself is the record.
pub(super) fn roaming(document: &str) -> Box<[u8]> {
    [&[VERSION], document.as_bytes()].concat().into()
}

pub(super) fn message_key(aor: &Aor, id: &[u8]) -> Box<[u8]> {
    key(b'm', aor, id)
}

/// A presentity of our own has no upstream key.
pub(super) fn delivered_key(aor: &Aor, upstream: Option<&Key>) -> Box<[u8]> {
    key(b'v', aor, &upstream.map(upstream_key).unwrap_or_default())
}

/// The kind, the owner and the part of a key.
pub(super) fn split_key(key: &[u8]) -> Option<(u8, &str, &[u8])> {
    let (kind, rest) = key.split_first()?;
    let at = memchr::memchr(SEPARATOR, rest)?;
    Some((*kind, core::str::from_utf8(&rest[..at]).ok()?, &rest[at + 1..]))
}

/// The key of a message on its way.
pub(super) fn parcel_key(aor: &Aor, id: &[u8; 16]) -> Box<[u8]> {
    key(b'c', aor, id)
}

/// A message on its way.
pub(super) fn parcel(from: &Aor, to: &Aor, media: &str, body: &[u8], hops: u32) -> Box<[u8]> {
    Writer::new()
        .text(from)
        .text(to)
        .bytes(media.as_bytes())
        .bytes(body)
        .number(u64::from(hops))
        .done()
}

/// A message that was on its way when the program ended.
#[derive(Debug)]
pub(super) struct KeptParcel<'a> {
    pub(super) from: Aor,
    pub(super) to: Aor,
    pub(super) media: &'a str,
    pub(super) body: &'a [u8],
    pub(super) hops: u32,
}

/// Builds a value field by field.
pub(super) struct Writer(Scratch);

impl Writer {
    /// Goes on behind the fields of a value.
    pub(super) fn on(value: &[u8]) -> Self {
        Self(Scratch::from_slice(value))
    }

    fn new() -> Self {
        let mut scratch = Scratch::new();
        scratch.push(VERSION);
        Self(scratch)
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes that are made here and now.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        let _ = write!(self, "{text}");
        let length = (self.0.len() - at - 4) as u32;
        if let Some(place) = self.0.get_mut(at..at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        self
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn origin(&mut self, origin: &Origin) -> &mut Self {
        self.text(origin.remote)
            .bytes(origin.transport.param().as_bytes())
            .number(origin.listener.map_or(u64::MAX, |l| u64::from(l.0)))
    }

    pub(super) fn done(&mut self) -> Box<[u8]> {
        self.0.as_slice().into()
    }
}

impl Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Reads a value field by field; `None` from any of them means damage.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        self.take(length as usize)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        core::str::from_utf8(self.bytes()?).ok()
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn small(&mut self) -> Option<u32> {
        self.number().and_then(|n| u32::try_from(n).ok())
    }

    fn address(&mut self) -> Option<SocketAddr> {
        self.text()?.parse().ok()
    }

    /// Connections do not survive a restart; the address they came from does.
    fn origin(&mut self) -> Option<Origin> {
        let remote = self.address()?;
        let transport = Transport::from_name(self.bytes()?)?;
        let listener = u16::try_from(self.number()?).ok().map(ListenerId);
        Some(Origin {
            transport,
            remote,
            listener,
            flow: None,
        })
    }
}

/// Names a party so that the name survives a reordered configuration.
#[derive(Clone, Copy)]
pub(super) struct PartyName<'a>(&'a Snapshot, Party);

impl Display for PartyName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Party::Peer(id) => write!(f, "p{}", self.0.peer(id).map_or("", |p| &p.name)),
            Party::User(id) => {
                let address = self.0.user(id).map(crate::policy::User::address);
                write!(f, "u{}", address.unwrap_or_default())
            }
        }
    }
}

fn party(snapshot: &Snapshot, name: &str) -> Option<Party> {
    let (kind, name) = name.split_at_checked(1)?;
    match kind {
        "p" => snapshot.peer_named(name).map(Party::Peer),
        "u" => {
            let aor = Aor::parse(name)?;
            snapshot.users.find_plain(aor.user(), aor.domain()).map(Party::User)
        }
        _ => None,
    }
}

pub(super) fn binding(binding: &Binding) -> Box<[u8]> {
    let mut writer = Writer::new();
    writer
        .bytes(&binding.uri)
        .number(u64::from(binding.q))
        .bytes(&binding.call_id)
        .number(u64::from(binding.cseq))
        .number(binding.expires_wall_ms)
        .origin(&binding.origin)
        .bytes(binding.path.as_deref().unwrap_or_default());
    if let Some(client) = &binding.client {
        writer
            .bytes(client.dialect.as_bytes())
            .bytes(client.epid.as_bytes())
            .bytes(client.publication.as_deref().unwrap_or_default().as_bytes());
    }
    writer.done()
}

/// Records of plain clients end before it, as all did once.
fn read_client(r: &mut Reader<'_>) -> Option<Option<Box<Client>>> {
    if r.0.is_empty() {
        return Some(None);
    }
    Some(Some(Box::new(Client {
        dialect: r.text()?.into(),
        epid: r.text()?.into(),
        publication: Some(r.text()?).filter(|p| !p.is_empty()).map(Into::into),
    })))
}

fn read_binding(r: &mut Reader<'_>) -> Option<Binding> {
    Some(Binding {
        uri: Bytes::copy_from_slice(r.bytes()?),
        q: u16::try_from(r.number()?).ok()?,
        call_id: Bytes::copy_from_slice(r.bytes()?),
        cseq: r.small()?,
        expires_wall_ms: r.number()?,
        origin: r.origin()?,
        path: Some(Bytes::copy_from_slice(r.bytes()?)).filter(|p| !p.is_empty()),
        client: read_client(r)?,
    })
}

pub(super) fn publication(entry: &Entry) -> Box<[u8]> {
    Writer::new()
        .number(entry.expires_wall_ms)
        .number(entry.age)
        .bytes(&entry.body)
        .bytes(entry.etag.as_bytes())
        .bytes(entry.dialect.as_bytes())
        .bytes(entry.by.as_bytes())
        .bytes(entry.line.as_bytes())
        .done()
}

pub(super) fn delivered(delivered: &Delivered) -> Box<[u8]> {
    Writer::new()
        .number(delivered.at)
        .bytes(&delivered.hash.to_le_bytes())
        .bytes(delivered.left_out.as_flattened())
        .done()
}

fn read_delivered(r: &mut Reader<'_>) -> Option<Delivered> {
    let (at, hash, tags) = (r.number()?, r.bytes()?.try_into().ok()?, r.bytes()?);
    let (left_out, []) = tags.as_chunks() else { return None };
    Some(Delivered {
        at,
        hash: u128::from_le_bytes(hash),
        left_out: left_out.to_vec(),
    })
}

fn dialog_fields<'w>(writer: &'w mut Writer, dialog: Option<&Dialog>) -> &'w mut Writer {
    let Some(dialog) = dialog else { return writer.number(0) };
    let (text, marks) = dialog.to_raw();
    let remote = dialog.remote_cseq.map_or(u64::MAX, u64::from);
    marks
        .iter()
        .fold(writer.number(1).bytes(text), |w, mark| w.number(u64::from(*mark)))
        .number(remote)
}

fn read_dialog(r: &mut Reader<'_>, local_cseq: u32) -> Option<Option<Dialog>> {
    if r.number()? == 0 {
        return Some(None);
    }
    let text = r.bytes()?.into();
    let marks = [r.small()?, r.small()?, r.small()?, r.small()?];
    let remote = u32::try_from(r.number()?).ok();
    Dialog::from_raw(text, marks, local_cseq, remote).map(Some)
}

pub(super) fn subscription(
    s: &Subscription,
    resource: &dyn Display,
    upstream: Option<&Key>,
    party: PartyName<'_>,
    dialect: &str,
) -> Box<[u8]> {
    let peer_view = upstream.map(upstream_key).unwrap_or_default();
    let mut writer = Writer::new();
    writer
        .text(resource)
        .bytes(&peer_view)
        .bytes(s.event_id.as_deref().unwrap_or_default())
        .text(party)
        .origin(&s.reach.origin)
        .number(s.expires_wall_ms)
        .number(u64::from(s.cseq_ceiling));
    let showing = s.showing;
    dialog_fields(&mut writer, Some(&s.dialog))
        .number(s.born)
        .bytes(dialect.as_bytes())
        .bytes(showing.format.name().as_bytes())
        .number(u64::from(showing.unanswered) | u64::from(showing.extends) << 1)
        .done()
}

pub(super) fn upstream(u: &Upstream, peer: &str) -> Box<[u8]> {
    let mut writer = Writer::new();
    writer.bytes(peer.as_bytes()).text(&u.key.presentity);
    match &u.key.watcher {
        Some(watcher) => writer.text(watcher),
        None => writer.bytes(b""),
    };
    writer
        .bytes(&u.tag)
        .bytes(u.call_id.as_bytes())
        .number(u64::from(u.cseq));
    dialog_fields(&mut writer, u.dialog.as_ref()).done()
}
