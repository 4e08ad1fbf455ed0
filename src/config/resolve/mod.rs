//! From what is written to what it means. Pure: files, secrets and variables come through [`World`].
//!
//! Goes on after an error, so that one run shows them all; the snapshot exists only when there were none.

mod core_parts;
mod dialects;
mod dns;
mod peers;
mod services;
mod terminators;
mod users;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::at::{At, Place};
use super::error::{Problem, Source, Warning};
use super::load::{World, join};
use super::value::Wrong;
use super::written::{Main, Part};
use crate::dialect::Dialect;
use crate::policy::addresses::PeerAddresses;
use crate::policy::rule::{RuleRef, Rules};
use crate::policy::{NameMap, Snapshot};

/// A file as parsed.
#[derive(Clone, Debug)]
pub struct File<T> {
    /// Its name and text.
    pub source: Source,
    /// Where its relative paths start.
    pub directory: PathBuf,
    /// What it says.
    pub written: T,
}

/// What came of resolving.
#[derive(Debug)]
pub struct Outcome {
    /// The configuration; `None` exactly when there are problems.
    pub snapshot: Option<Snapshot>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// What works and is perhaps not meant.
    pub warnings: Vec<Warning>,
    /// Mapping files that were read.
    pub files: Vec<PathBuf>,
}

/// Where a value stands: its file and that file's directory.
#[derive(Clone, Copy)]
struct Here<'a> {
    source: &'a Source,
    directory: &'a Path,
}

impl<'a> Here<'a> {
    fn of<T>(file: &'a File<T>) -> Self {
        Self {
            source: &file.source,
            directory: &file.directory,
        }
    }

    fn rule(&self, id: &str, place: Place) -> RuleRef {
        RuleRef::new(id, &self.source.name, place.line)
    }

    fn path(&self, written: &str) -> PathBuf {
        join(self.directory, written)
    }
}

/// Collects what is wrong while the parts are resolved.
struct Resolver<'w> {
    world: &'w dyn World,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
    rules: Rules,
    dialects: Vec<Arc<Dialect>>,
    files: Vec<PathBuf>,
}

impl Resolver<'_> {
    fn error(&mut self, here: Here<'_>, place: Place, what: impl Into<String>, help: impl Into<String>) {
        self.problems.push(here.source.problem(place, what, help));
    }

    fn warn(&mut self, here: Here<'_>, place: Place, what: impl Into<String>, help: impl Into<String>) {
        self.warnings.push(here.source.problem(place, what, help));
    }

    /// Reads a written value; what is wrong is kept and `None` returned.
    fn read<T, V>(&mut self, here: Here<'_>, at: &At<T>, reader: impl FnOnce(&T) -> Result<V, Wrong>) -> Option<V> {
        match reader(&at.value) {
            Ok(value) => Some(value),
            Err((what, help)) => {
                self.error(here, at.place, what, help);
                None
            }
        }
    }

    /// Reads a list of texts, leaving out what is wrong after noting it.
    fn read_all<V>(
        &mut self,
        here: Here<'_>,
        list: &[At<String>],
        mut reader: impl FnMut(&str) -> Result<V, Wrong>,
    ) -> Vec<V> {
        list.iter()
            .filter_map(|item| self.read(here, item, |text| reader(text)))
            .collect()
    }
}

/// Resolves a main file and its includes.
#[must_use]
pub fn resolve(main: &File<Main>, parts: &[File<Part>], world: &dyn World) -> Outcome {
    let mut resolver = Resolver {
        world,
        problems: Vec::new(),
        warnings: Vec::new(),
        rules: Rules::default(),
        dialects: Vec::new(),
        files: Vec::new(),
    };
    let snapshot = resolver.snapshot(main, parts);
    let Resolver {
        problems,
        warnings,
        files,
        ..
    } = resolver;
    Outcome {
        snapshot: snapshot.filter(|_| problems.is_empty()),
        problems,
        warnings,
        files,
    }
}

impl Resolver<'_> {
    fn snapshot(&mut self, main: &File<Main>, parts: &[File<Part>]) -> Option<Snapshot> {
        let here = Here::of(main);
        let written = &main.written;
        let domains = self.domains(here, &written.domains);
        let identity = self.identity(here, written.identity.as_ref(), &domains);
        let listeners = self.listeners(here, written.listeners.as_deref());

        self.dialects = self.dialects(here, &written.mappings);
        let peer_files =
            || core::iter::once((here, &written.peers)).chain(parts.iter().map(|p| (Here::of(p), &p.written.peers)));
        let route_files =
            || core::iter::once((here, &written.routes)).chain(parts.iter().map(|p| (Here::of(p), &p.written.routes)));
        let user_files =
            core::iter::once((here, &written.users)).chain(parts.iter().map(|p| (Here::of(p), &p.written.users)));
        let acl_files =
            core::iter::once((here, &written.acl)).chain(parts.iter().map(|p| (Here::of(p), &p.written.acl)));

        let peers = self.peers(peer_files(), &domains, &listeners);
        let routes = self.routes(route_files(), &peers, &domains);
        let users = self.users(user_files, &domains);
        let acl = self.acl(acl_files);
        let presence = self.presence(here, &written.presence, &written.notify);
        let registrar = self.registrar(here, &written.registrar);
        let messages = self.messages(here, &written.messages);
        let store = self.store(here, &written.store);
        let dns = self.dns(here, &written.dns);
        let limits = self.limits(here, &written.limits);
        let admin = self.admin(here, &written.admin);
        let log = self.log(here, &written.log);
        let addresses = PeerAddresses::of(
            peers
                .list
                .iter()
                .zip(0..)
                .map(|(peer, id)| (crate::sip::net::PeerId(id), peer)),
        );
        Some(Snapshot {
            domains,
            identity: identity?,
            listeners,
            peers: peers.list,
            addresses,
            users,
            routes,
            acl,
            dialects: self.dialects.clone(),
            presence,
            registrar,
            messages,
            store,
            dns,
            limits,
            admin,
            log,
            rules: self.rules.clone(),
        })
    }
}

/// Local domains with their places.
type Domains = NameMap<RuleRef>;
