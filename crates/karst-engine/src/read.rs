//! Reading one record.

use karst_data::expr::{Filter, Verdict};
use karst_data::flat::Record;
use karst_data::key::Digest;
use karst_data::time::{Now, is_expired};
use karst_data::work::Work;
use karst_storage::index::Entry;
use karst_storage::log::codec::Opened;
use karst_storage::place::Place;

use crate::error::{Reason, Refusal};
use crate::namespace::{Fetched, Namespace, Step, stores_key};

/// What is to be read of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its generation and void time.
    Facts,
    /// And its key, if one is stored.
    FactsAndKey,
    /// All of it.
    Bins,
}

/// A read.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest<'a> {
    /// The record.
    pub digest: Digest,
    /// The set that the reader believes it to be in; empty if it does not say.
    pub set: &'a [u8],
    /// The key, type byte first, to be compared with a stored one.
    pub key: Option<&'a [u8]>,
    /// What is wanted.
    pub need: Need,
    /// What the record has to be like, if that matters.
    pub filter: Option<&'a Filter>,
}

/// A record that was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its generation.
    pub generation: u16,
    /// Its void time, seconds since 2010, 0 never.
    pub void_time_s: u32,
    /// Its last update, ms since 2010.
    pub update_time_ms: u64,
    /// The number of its set.
    pub set_id: u16,
    /// How many bytes it takes where it is stored.
    pub size_bytes: u32,
    /// Its content, as far as it was needed.
    pub record: Option<Record<'a>>,
}

impl Namespace {
    /// Reads a record. `answer` is called exactly once if the step is [`Step::Done`], else not at all. A filter that
    /// takes long is [`Reason::Exhausted`].
    pub fn read<R>(
        &self,
        now: Now,
        request: &ReadRequest<'_>,
        fetched: Option<&Fetched>,
        answer: impl FnOnce(Result<Found<'_>, Refusal>) -> R,
    ) -> Step<R> {
        self.read_within(now, request, &Work::at_once(), fetched, answer)
    }

    /// The same with work that the caller lends to the filter.
    pub fn read_within<R>(
        &self,
        now: Now,
        request: &ReadRequest<'_>,
        work: &Work,
        fetched: Option<&Fetched>,
        answer: impl FnOnce(Result<Found<'_>, Refusal>) -> R,
    ) -> Step<R> {
        let opened = Opened::default();
        // Where consistency is strong it counts what is there now: what was then may never have been confirmed.
        // A filter is asked of what is there now, too.
        let earlier = fetched.filter(|_| !self.config().strong && request.filter.is_none());
        if let Some(found) = earlier.and_then(|fetched| self.found(now, request, fetched, &opened))
        {
            return Step::Done(answer(found));
        }
        let partition = self.partition_of(&request.digest);
        let alive = partition
            .directory
            .get(&request.digest)
            .filter(|entry| self.is_alive(entry, now));
        let Some(entry) = alive else {
            return Step::Done(answer(Err(Reason::NotFound.into())));
        };
        let refused = |reason| Err(Refusal::met(entry, reason));
        if !self.is_in(entry, request.set) {
            return Step::Done(answer(refused(Reason::SetMismatch)));
        }
        let verdict = match self.sift(request.filter, entry, now, work) {
            Ok(verdict) => verdict,
            Err(exhausted) => return Step::Done(answer(refused(exhausted.into()))),
        };
        if verdict == Verdict::FilteredOut {
            return Step::Done(answer(refused(Reason::FilteredOut)));
        }
        let mut found = Found {
            generation: entry.generation(),
            void_time_s: entry.void_time_s(),
            update_time_ms: entry.update_time_ms(),
            set_id: entry.set_id(),
            size_bytes: size_of(entry.place()),
            record: None,
        };
        let wanted = match request.need {
            Need::Facts => stores_key(entry) && request.key.is_some(),
            Need::FactsAndKey => stores_key(entry),
            Need::Bins => true,
        };
        if !wanted && verdict == Verdict::Passes {
            return Step::Done(answer(Ok(found)));
        }
        let bytes = match self.bytes(entry.place(), fetched) {
            Ok(bytes) => bytes,
            Err(read) => return Step::Read(read),
        };
        let record = match self.checked(&bytes, entry) {
            Ok(record) => record,
            Err(reason) => return Step::Done(answer(refused(reason))),
        };
        let (filtered_out, mismatch) = (refused(Reason::FilteredOut), refused(Reason::KeyMismatch));
        let exhausted = refused(Reason::Exhausted);
        let metadata = self.metadata(entry, record.set, now);
        drop(partition); // the bytes are immutable and ours to hold, and a filter may take its time
        if let (Some(filter), Verdict::Undecided) = (request.filter, verdict) {
            let passes = filter.passes(&(metadata, record), work);
            if work.is_exhausted() {
                return Step::Done(answer(exhausted));
            }
            if !passes {
                return Step::Done(answer(filtered_out));
            }
        }
        if let (Some(sent), Some(stored)) = (request.key, record.key)
            && sent != stored
        {
            return Step::Done(answer(mismatch));
        }
        found.record = Some(record).filter(|_| request.need != Need::Facts);
        Step::Done(answer(Ok(found)))
    }

    /// What was fetched, if it is the record that the index pointed at when the read was asked for. It
    /// may have been overwritten since; the read began before that was answered, so either is right.
    fn found<'f>(
        &self,
        now: Now,
        request: &ReadRequest<'_>,
        fetched: &'f Fetched,
        opened: &'f Opened,
    ) -> Option<Result<Found<'f>, Refusal>> {
        let record = fetched
            .record(self.log.codec(), opened)
            .ok()
            .filter(|record| record.meta.digest == request.digest)?;
        let meta = &record.meta;
        let set_id = self.sets.find(record.set)?;
        let gone = meta.tombstone
            || is_expired(meta.void_time_s, now)
            || self.is_truncated(set_id, meta.update_time_ms)
            || self.is_evicted(meta.void_time_s, meta.update_time_ms, set_id);
        if gone {
            return None;
        }
        let (generation, void_time_s) = (meta.generation, meta.void_time_s);
        if let (Some(sent), Some(stored)) = (request.key, record.key)
            && sent != stored
        {
            return Some(Err(Refusal {
                reason: Reason::KeyMismatch,
                generation,
                void_time_s,
            }));
        }
        let update_time_ms = meta.update_time_ms;
        let record = Some(record).filter(|_| request.need != Need::Facts);
        Some(Ok(Found {
            generation,
            void_time_s,
            update_time_ms,
            set_id,
            size_bytes: size_of(fetched.read.place),
            record,
        }))
    }

    /// Whether a request that names this set means this record; naming none always does.
    pub(crate) fn is_in(&self, entry: &Entry, set: &[u8]) -> bool {
        set.is_empty() || self.sets.find(set) == Some(entry.set_id())
    }
}

/// The space that a record owns, in bytes.
fn size_of(place: Place) -> u32 {
    u32::try_from(place.length.bytes()).unwrap_or(u32::MAX)
}
