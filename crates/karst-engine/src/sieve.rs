//! Filters of requests: asked with what the index knows first, so that most need no read.

use karst_data::expr::{Filter, Metadata, Verdict};
use karst_data::flat::Record;
use karst_data::time::Now;
use karst_data::work::{Exhausted, Work};
use karst_storage::index::{Entry, NewEntry};

use crate::namespace::{Namespace, stores_key};

impl Namespace {
    /// What a filter says of a live record by its entry alone. Without a filter every record passes.
    ///
    /// # Errors
    /// When that takes more work than is left.
    pub(crate) fn sift(
        &self,
        filter: Option<&Filter>,
        entry: &Entry,
        now: Now,
        work: &Work,
    ) -> Result<Verdict, Exhausted> {
        let Some(filter) = filter else {
            return Ok(Verdict::Passes);
        };
        let verdict = self.sets.with(entry.set_id(), |set| {
            filter.by_metadata(&self.metadata(entry, &set.name, now), work)
        });
        work.spend(0).map(|()| verdict)
    }

    /// Whether a filter lets a live record pass that was read.
    ///
    /// # Errors
    /// When that takes more work than is left.
    pub(crate) fn passes(
        &self,
        filter: Option<&Filter>,
        entry: &Entry,
        record: &Record<'_>,
        now: Now,
        work: &Work,
    ) -> Result<bool, Exhausted> {
        let Some(filter) = filter else {
            return Ok(true);
        };
        let passes = filter.passes(&(self.metadata(entry, record.set, now), *record), work);
        work.spend(0).map(|()| passes)
    }

    /// What expressions are told of a live record.
    pub(crate) fn metadata<'s>(&self, entry: &Entry, set: &'s [u8], now: Now) -> Metadata<'s> {
        self.metadata_of(&entry.to_new(), stores_key(entry), set, now)
    }

    /// What expressions are told of a record.
    pub(crate) fn metadata_of<'s>(
        &self,
        entry: &NewEntry,
        stores_key: bool,
        set: &'s [u8],
        now: Now,
    ) -> Metadata<'s> {
        Metadata {
            digest: entry.digest,
            set,
            stores_key,
            tombstone: entry.is_tombstone(),
            void_time_s: entry.void_time_s,
            update_time_ms: entry.update_time_ms,
            size_bytes: u32::try_from(entry.place.length.bytes()).unwrap_or(u32::MAX),
            in_memory: !self.log.config().on_devices,
            now,
        }
    }
}
