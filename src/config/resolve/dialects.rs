//! Dialects: those that are compiled in, and those of the directory that `mappings.dir` names.

use std::sync::Arc;

use super::{Here, Resolver};
use crate::config::at::At;
use crate::config::error::nearest;
use crate::config::mappings;
use crate::config::written::Mappings;
use crate::dialect::{Dialect, built_in};
use crate::policy::snapshot::DialectId;

impl Resolver<'_> {
    /// All dialects; the index is the [`DialectId`].
    pub(super) fn dialects(&mut self, here: Here<'_>, written: &Mappings) -> Vec<Arc<Dialect>> {
        let Some(dir) = &written.dir else {
            return built_in().to_vec();
        };
        let path = here.path(&dir.value);
        match mappings::directory(&path, self.world) {
            Ok(found) => {
                self.files.extend(found.files);
                self.problems.extend(found.problems);
                found.dialects
            }
            Err(error) => {
                let what = format!("the directory {} cannot be read: {error}", path.display());
                let help = "name a directory with mapping files, relative to this file, or leave the key out";
                self.error(here, dir.place, what, help);
                built_in().to_vec()
            }
        }
    }

    pub(super) fn dialect(&mut self, here: Here<'_>, at: Option<&At<String>>) -> DialectId {
        let Some(at) = at else { return DialectId::default() };
        match self.dialects.iter().position(|d| *d.name == at.value) {
            Some(index) => DialectId(u16::try_from(index).unwrap_or_default()),
            None => {
                let names: Vec<&str> = self.dialects.iter().map(|d| &*d.name).collect();
                let meant = nearest(&at.value, names.iter().copied())
                    .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
                let help = format!("{meant}known: {}", names.join(", "));
                self.error(here, at.place, format!("there is no dialect `{}`", at.value), help);
                DialectId::default()
            }
        }
    }
}
