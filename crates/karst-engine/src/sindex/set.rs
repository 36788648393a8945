//! Indexes of sets: which records there are in a set, so that a scan of it passes over all others.
//!
//! An item's value is where the record stands in the order of walks. So an index has its records in the very order in
//! which a walk over the partition comes upon them, and a scan goes on behind a record either way: it may begin with
//! the one and end with the other, here or at a node whose index is not built yet.
//!
//! A record's item is known without the record. So a write puts it in its place or takes it away, and what goes
//! without a write leaves at most one item over. None is believed: a scan looks at the entry.

use std::ops::ControlFlow;

use karst_data::key::Digest;
use karst_storage::index::{Directory, Entry, NewEntry, WalkCursor};
use karst_storage::sindex::{From, Position, Stamp};

use super::{Part, Parts};
use crate::namespace::Partition;
use crate::sets::Sets;
use crate::walk::SLICE_ENTRIES_MAX;

/// Where a record stands in an index of its set.
fn position(directory: &Directory, digest: &Digest) -> Position {
    let order = directory.walk_order(digest);
    ((order ^ (1 << 63)) as i64, *digest) // the least becomes the least
}

impl Part {
    /// Has a record in an index of a set if it is in that, and not if it is not, whatever it was before.
    pub(super) fn follow_set(
        &mut self,
        sets: &Sets,
        directory: &Directory,
        new: &NewEntry,
        before: Option<&NewEntry>,
    ) {
        if !new.is_tombstone() && self.index.is_of(sets, new.set_id) {
            let (value, _) = position(directory, &new.digest);
            self.put(&new.digest, Stamp::of(new.version), &[value]);
        } else if let Some(before) = before.filter(|it| self.index.is_of(sets, it.set_id)) {
            self.take_from_set(directory, before);
        }
    }

    /// Takes a record out of an index of a set, if it is there as it was.
    pub(super) fn take_from_set(&mut self, directory: &Directory, was: &NewEntry) {
        let position = position(directory, &was.digest);
        self.change(|items| items.remove(&position, Stamp::of(was.version)));
    }
}

impl Parts {
    /// The index of a set, if there is one, and it has all that it should.
    fn of_set(&self, sets: &Sets, set_id: u16) -> Option<&Part> {
        let is_it = |part: &&Part| part.is_built && part.index.is_of_set();
        let mut built = self.0.iter().filter(is_it);
        built.find(|part| part.index.is_of(sets, set_id))
    }
}

impl Partition {
    /// Visits the next entries of a set, or of all if none is given, in the order of walks, until `visit` breaks or
    /// as many were looked at as may be under the mutex. Returns where to go on, or `None` at the end.
    ///
    /// Goes by an index of the set if there is one; what is visited is the same. That is less work than the walk even
    /// where half of all records are of the set (`benches/set_index.rs`).
    pub(crate) fn look_on(
        &self,
        sets: &Sets,
        set_id: Option<u16>,
        after: Option<WalkCursor>,
        mut visit: impl FnMut(&Entry) -> ControlFlow<()>,
    ) -> Option<WalkCursor> {
        let mut looked_at = 0;
        let mut look = |entry: Option<&Entry>| {
            looked_at += 1;
            let meant = entry.filter(|it| set_id.is_none_or(|set_id| set_id == it.set_id()));
            let visited = meant.map_or(ControlFlow::Continue(()), &mut visit);
            match looked_at >= SLICE_ENTRIES_MAX {
                true => ControlFlow::Break(()),
                false => visited,
            }
        };
        let directory = &self.directory;
        let Some(part) = set_id.and_then(|set_id| self.parts.of_set(sets, set_id)) else {
            return directory.walk(after, &mut |entry| look(Some(entry)));
        };
        let from = match after {
            None => From::Value(i64::MIN),
            Some(after) => From::Behind(position(directory, after.digest())),
        };
        let mut next = None;
        part.items.walk(from, &mut |item| {
            let looked = look(directory.get(&item.digest));
            if looked.is_break() {
                next = Some(WalkCursor::after(item.digest));
            }
            looked
        });
        next
    }
}
