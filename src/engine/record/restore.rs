//! Putting back what the store held.

use super::*;

impl Engine {
    /// The name under which a party's records are kept.
    pub(in crate::engine) fn party_name(&self, party: Party) -> PartyName<'_> {
        PartyName(&self.snapshot, party)
    }

    /// Puts back what the store held; call once, before the first input. Records of users and peers that are no longer
    /// configured are dropped, and deleted from the store.
    ///
    /// # Errors
    /// When a record is damaged or of a newer version; nothing may be answered then.
    pub fn restore(
        &mut self,
        now: Now,
        records: impl IntoIterator<Item = (Box<[u8]>, Box<[u8]>)>,
    ) -> Result<usize, RestoreError> {
        let mut records: Vec<_> = records.into_iter().collect();
        // Presentities before those who watch them, and what these have seen last.
        let order = |kind: Option<&u8>| match kind {
            Some(b's') => 1,
            Some(b'v') => 2,
            _ => 0,
        };
        records.sort_by(|(a, _), (b, _)| (order(a.first()), a).cmp(&(order(b.first()), b)));
        let count = records.len();
        for (key, value) in records {
            let kind = char::from(key.first().copied().unwrap_or(b'?'));
            let damaged = RestoreError::Damaged { kind };
            let (version, fields) = value.split_first().ok_or(damaged.clone())?;
            // A kept message is the message itself.
            if kind != 'm' && *version != VERSION {
                return Err(RestoreError::Version {
                    kind,
                    version: *version,
                });
            }
            let fields = if kind == 'm' { &value[..] } else { fields };
            match self.restore_one(now, &key, fields) {
                Some(true) => {}
                Some(false) => self.persist(key, None),
                None => return Err(damaged),
            }
        }
        self.restored(now);
        self.lines_restored(now);
        Ok(count)
    }

    /// `None` is damage, `Some(false)` a record that nobody wants any more.
    fn restore_one(&mut self, now: Now, key: &[u8], fields: &[u8]) -> Option<bool> {
        let (kind, owner, part) = split_key(key)?;
        let mut r = Reader(fields);
        match kind {
            b'r' => {
                let binding = read_binding(&mut r)?;
                let Some(aor) = self.local_user(owner) else {
                    return Some(false);
                };
                if binding.expires_wall_ms <= now.wall_ms {
                    return Some(false);
                }
                self.restore_binding(now, aor, binding);
                Some(true)
            }
            b'p' => self.restore_publication(now, owner, core::str::from_utf8(part).ok()?, &mut r),
            b'm' => {
                let Some(aor) = self.local_user(owner) else {
                    return Some(false);
                };
                let stored = Stored {
                    id: part.try_into().ok()?,
                    request: Bytes::copy_from_slice(fields),
                    position: 0,
                };
                self.messages.push(&aor, stored);
                Some(true)
            }
            b'k' | b'e' => self.restore_roaming(kind, owner, fields),
            b'c' => {
                let kept = KeptParcel {
                    from: Aor::parse(r.text()?)?,
                    to: Aor::parse(r.text()?)?,
                    media: r.text()?,
                    body: r.bytes()?,
                    hops: r.small()?,
                };
                Some(self.restore_parcel(now, part.try_into().ok()?, kept))
            }
            b'u' => self.restore_upstream(now, &mut r),
            b's' => self.restore_subscription(now, part, &mut r),
            b'v' => {
                let delivered = read_delivered(&mut r)?;
                let resource = if part.is_empty() {
                    Aor::parse(owner).and_then(|aor| self.presence.local_id(&aor))
                } else {
                    self.upstream_resource(part)
                };
                Some(resource.is_some_and(|resource| self.restore_delivered(resource, delivered)))
            }
            _ => None,
        }
    }

    fn local_user(&self, owner: &str) -> Option<Aor> {
        let aor = Aor::parse(owner)?;
        self.snapshot.local_domain(aor.domain().as_bytes()).map(|_| aor)
    }

    fn restore_publication(&mut self, now: Now, owner: &str, id: &str, r: &mut Reader<'_>) -> Option<bool> {
        let (expires_wall_ms, age, body) = (r.number()?, r.number()?, r.bytes()?);
        let (etag, dialect) = (r.text()?, r.text()?);
        // Records from before peers could publish end here.
        let (by, line) = (r.text().unwrap_or_default(), r.text().unwrap_or_default());
        let alive = |aor: &Aor| expires_wall_ms > now.wall_ms && self.may_publish(by, aor);
        let Some(aor) = self.local_user(owner).filter(alive) else {
            return Some(false);
        };
        let slot = self.local_resource(&aor);
        let resource = self.presence.resources.get_mut(slot)?;
        let kept = Kept {
            id,
            etag,
            expires_wall_ms,
            age,
            body,
            dialect,
            by,
            line,
        };
        // An older program took what this one does not: its publisher will have to say it again.
        if resource.publications.restore(kept).is_err() {
            self.forget_if_idle(slot);
            return Some(false);
        }
        self.wheel
            .arm(now.mono_ms + (expires_wall_ms - now.wall_ms), Kind::Publication, slot);
        Some(true)
    }

    fn restore_upstream(&mut self, now: Now, r: &mut Reader<'_>) -> Option<bool> {
        let (peer, presentity, watcher) = (r.text()?, Aor::parse(r.text()?)?, r.text()?);
        let watcher = if watcher.is_empty() {
            None
        } else {
            Some(Aor::parse(watcher)?)
        };
        let (tag, call_id, cseq): ([u8; 16], _, _) = (r.bytes()?.try_into().ok()?, r.text()?, r.small()?);
        let dialog = read_dialog(r, cseq)?;
        let Some(peer) = self.snapshot.peer_named(peer) else {
            return Some(false);
        };
        let Some(route) = self.snapshot.routes.domain(presentity.domain().as_bytes()) else {
            return Some(false);
        };
        let key = Key {
            peer,
            watcher,
            presentity,
        };
        self.restored_upstream(now, key, route, tag, call_id, cseq, dialog);
        Some(true)
    }

    fn restore_subscription(&mut self, now: Now, tag: &[u8], r: &mut Reader<'_>) -> Option<bool> {
        let (about, view) = (r.text()?, r.bytes()?);
        // A list is about nobody by itself.
        let role = if about.is_empty() { Role::List } else { Role::Plain };
        let (event_id, name) = (r.bytes()?, r.text()?);
        let (origin, expires_wall_ms, ceiling) = (r.origin()?, r.number()?, r.small()?);
        let (dialog, born) = (read_dialog(r, ceiling)??, r.number()?);
        let showing = self.read_showing(r)?;
        let Some(party) = party(&self.snapshot, name).filter(|_| expires_wall_ms > now.wall_ms) else {
            return Some(false);
        };
        let resource = if role == Role::List {
            Some(nobody())
        } else if view.is_empty() {
            Some(self.local_resource(&Aor::parse(about)?))
        } else {
            self.upstream_resource(view)
        };
        let Some(resource) = resource else { return Some(false) };
        let passes = |id| crate::engine::reload::may_pass(&self.snapshot, id, dialog.local_uri());
        if matches!(party, Party::Peer(id) if !view.is_empty() && !passes(id)) {
            return Some(false);
        }
        let reach = Reach { party, origin };
        let restored = Restored {
            resource,
            tag: tag.try_into().ok()?,
            dialog,
            event_id: (!event_id.is_empty()).then(|| event_id.into()),
            reach,
            showing,
            expires_wall_ms,
            cseq_ceiling: ceiling,
            born,
            role,
        };
        let id: SlotId = self.restored_subscription(restored);
        self.wheel
            .arm(now.mono_ms + (expires_wall_ms - now.wall_ms), Kind::Subscription, id);
        if role == Role::List {
            self.restore_list(now, id, r)?;
        }
        Some(true)
    }

    /// A dialect that is gone leaves its watchers with plain PIDF. Records from before there were dialects end before it.
    fn read_showing(&self, r: &mut Reader<'_>) -> Option<Showing> {
        if r.0.is_empty() {
            return Some(Showing::default());
        }
        let (dialect, format, flags) = (r.text()?, r.text()?, r.number()?);
        Some(match self.snapshot.dialect_named(dialect) {
            Some(dialect) => Showing {
                dialect,
                format: Format::named(format)?,
                unanswered: flags & 1 != 0,
                extends: flags & 2 != 0,
            },
            None => Showing::default(),
        })
    }

    /// The resource that an upstream record feeds.
    pub(in crate::engine) fn upstream_resource(&self, key: &[u8]) -> Option<SlotId> {
        self.upstreams
            .slots
            .iter()
            .find(|(_, u)| *upstream_key(&u.key) == *key)
            .map(|(_, u)| u.resource)
    }

    /// The peer's name, for records.
    pub(in crate::engine) fn peer_name(&self, peer: PeerId) -> String {
        self.snapshot
            .peer(peer)
            .map_or_else(String::new, |p| p.name.to_string())
    }
}
