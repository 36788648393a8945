//! Records that a scan comes upon: seen where the index names them, and read as they were then.
//!
//! A slice of the walk looks at each entry once, asks a short filter what it can say by that, and takes hold of the
//! bytes of those that are in memory: they stay as they are however the record changes afterwards. So a scan reads
//! each record without looking for it again, and its partition is locked only for the walk. What is on a device, or
//! is not what it should be, is read as any other request would read it.

use std::ops::ControlFlow;

use karst_data::expr::{Filter, Verdict};
use karst_data::key::{Digest, PartitionId};
use karst_data::time::Now;
use karst_data::work::Work;
use karst_storage::index::{Flags, NewEntry, WalkCursor};
use karst_storage::log::codec::Opened;
use karst_storage::log::{Located, Resident};

use crate::error::{Reason, Refusal};
use crate::namespace::Namespace;
use crate::read::{Found, Need};
use crate::walk::SLICE_ENTRIES_MAX;

/// What a scan wants.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// The partition.
    pub partition: PartitionId,
    /// The set alone, if given.
    pub set_id: Option<u16>,
    /// What records have to be like, if that matters.
    pub filter: Option<&'a Filter>,
    /// What is wanted of them.
    pub need: Need,
}

/// A record that was alive when it was seen.
pub struct Seen {
    entry: NewEntry,
    /// By its entry alone it is known to pass.
    passes: bool,
    bytes: Option<Resident>,
}

/// A slice of a scan.
pub struct SeenSlice {
    /// Records in the order of the walk.
    pub records: Vec<Seen>,
    /// Where the next slice begins; `None` when the partition is done.
    pub next: Option<WalkCursor>,
}

impl Seen {
    /// Its name.
    pub fn digest(&self) -> &Digest {
        &self.entry.digest
    }
}

impl Namespace {
    /// Looks at records of a partition that are alive, from a point of the walk's order on, and leaves out those that
    /// the filter rules out by their entries.
    pub fn see_slice(
        &self,
        scan: &Scan<'_>,
        after: Option<WalkCursor>,
        records_max: usize,
        now: Now,
    ) -> SeenSlice {
        // A filter that may take long is asked when the partition is not locked any more.
        let filter = scan.filter.filter(|filter| filter.is_short());
        let work = Work::unlimited();
        let mut records = Vec::with_capacity(SLICE_ENTRIES_MAX);
        let partition = self.partition(scan.partition);
        let next = partition.look_on(&self.sets, scan.set_id, after, |entry| {
            if self.is_alive(entry, now) {
                let verdict = match (scan.filter, filter) {
                    (Some(_), None) => Ok(Verdict::Undecided),
                    (_, filter) => self.sift(filter, entry, now, &work),
                };
                let passes = verdict == Ok(Verdict::Passes);
                let wanted = !passes || scan.need == Need::Bins;
                if verdict != Ok(Verdict::FilteredOut) {
                    records.push(Seen {
                        entry: entry.to_new(),
                        passes,
                        bytes: match self.log.locate(entry.place()) {
                            Located::Memory(bytes) if wanted => {
                                self.log.prefetch(entry.place());
                                Some(bytes)
                            }
                            Located::Memory(bytes) => Some(bytes),
                            Located::Device(_) => None,
                        },
                    });
                }
            }
            match records.len() >= records_max {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        SeenSlice { records, next }
    }

    /// Reads a record as it was when it was seen; `None` if its bytes are not at hand. As
    /// [`Namespace::read_within`] otherwise.
    pub fn read_seen<R>(
        &self,
        now: Now,
        scan: &Scan<'_>,
        seen: &Seen,
        work: &Work,
        answer: impl FnOnce(Result<Found<'_>, Refusal>) -> R,
    ) -> Option<R> {
        let Seen {
            entry,
            passes,
            bytes,
        } = seen;
        let bytes = bytes.as_ref()?;
        let mut found = Found {
            generation: entry.generation,
            void_time_s: entry.void_time_s,
            update_time_ms: entry.update_time_ms,
            set_id: entry.set_id,
            size_bytes: u32::try_from(entry.place.length.bytes()).unwrap_or(u32::MAX),
            record: None,
        };
        let stores_key = entry.flags.contains(Flags::KEY_STORED);
        let wanted = match scan.need {
            Need::Facts => false,
            Need::FactsAndKey => stores_key,
            Need::Bins => true,
        };
        if *passes && !wanted {
            return Some(answer(Ok(found)));
        }
        let opened = Opened::default();
        let seal = || self.log.seal(entry.place);
        let record = self
            .log
            .codec()
            .open_unchecked(bytes.bytes(), seal, &opened);
        let record = record.ok()?;
        if let (Some(filter), false) = (scan.filter, passes) {
            let metadata = self.metadata_of(entry, stores_key, record.set, now);
            let passes = filter.passes(&(metadata, record), work);
            let refused = match (work.is_exhausted(), passes) {
                (true, _) => Some(Reason::Exhausted),
                (false, false) => Some(Reason::FilteredOut),
                (false, true) => None,
            };
            if let Some(reason) = refused {
                return Some(answer(Err(Refusal {
                    reason,
                    generation: entry.generation,
                    void_time_s: entry.void_time_s,
                })));
            }
        }
        found.record = Some(record).filter(|_| scan.need != Need::Facts);
        Some(answer(Ok(found)))
    }
}
