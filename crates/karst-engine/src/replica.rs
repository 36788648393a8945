//! A partition's place among nodes: the regime that is in force, and records that its primary sends.
//!
//! Of two states of a record the one of the higher version is the later one: versions are given out by a
//! partition's primaries, one after the other, and a primary that takes over, or merges what another node
//! has kept, writes under a higher regime than any before it. So a node that receives a record compares
//! versions alone, whether it comes from the stream of writes, twice, late, or from being filled.
//!
//! But a node that is apart holds states that the primary has not weighed yet. Until it is merged it keeps those that
//! outweigh what it is sent: they are asked for in the comparison that is still to come, or were in that which is
//! under way, and then the primary has them.

use std::cmp::Ordering;

use karst_cluster::fabric::{Listed, RANGES};
use karst_data::flat::{Draft, Meta, Record};
use karst_data::key::{Digest, PartitionId};
use karst_data::mutation::{Mutation, is_planted};
use karst_storage::index::{Entry, Flags, NewEntry, WalkCursor};
use karst_storage::log::CommitPoint;
use karst_storage::place::Version;

use crate::error::Reason;
use crate::fingerprint::hash_of_state;
use crate::namespace::{Fetched, Namespace, Partition, Step};
use crate::write::{Before, Halt, Hand, Stored};

/// What became of a record that another node sent.
#[derive(Clone, Copy, Debug)]
pub enum Copied {
    /// It is here now, and on the device from this point on, if there is one.
    Stored(Option<CommitPoint>),
    /// This node has it already, or a later state of it.
    Known,
    /// The sender goes by an older map than this node.
    Stale,
    /// The sender goes by a map that has not come here yet.
    Early,
    /// It cannot be kept.
    Refused(Reason),
}

/// What two states of a record are told apart by, when both were acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight {
    /// The later update wins.
    pub update_time_ms: u64,
    /// Of two at the same time the one of the higher version: where one followed the other it is the later one.
    /// Generations do not say so, since a record that was deleted begins anew.
    pub version: Version,
    /// Then the one that was written more often.
    pub generation: u16,
}

impl Namespace {
    /// From now on a partition is written under this regime; or from when it has been let go of, if that is
    /// under way. `apart` says whether this node may hold writes of it that nobody else has.
    pub fn reign(&self, id: PartitionId, regime: u32, apart: bool) {
        let mut partition = self.partition(id);
        match &mut partition.leaving {
            Some(leaving) => leaving.next_reign = Some((regime, apart)),
            None => (partition.regime, partition.apart) = (regime, apart),
        }
    }

    /// The regime that is in force.
    pub fn regime(&self, id: PartitionId) -> u32 {
        self.partition(id).regime
    }

    /// Takes a record that the primary sent. Its bytes were parsed, not checked by a seal: it never was
    /// on a device.
    pub fn take_copy(&self, hand: &Hand, record: &Record<'_>) -> Step<Copied> {
        let mut partition = self.partition_of(&record.meta.digest);
        match hand.regime.cmp(&partition.regime) {
            Ordering::Less if !is_planted(Mutation::TakesStaleCopies) => {
                return Step::Done(Copied::Stale);
            }
            Ordering::Greater => return Step::Done(Copied::Early),
            // Nobody sends anything to a node that is to have nothing.
            Ordering::Equal if partition.leaving.is_some() || partition.tenure.is_stranger() => {
                return Step::Done(Copied::Stale);
            }
            Ordering::Equal | Ordering::Less => {}
        }
        let entry = partition
            .directory
            .get(&record.meta.digest)
            .map(Entry::to_new);
        let version = Version::unpack(record.meta.version);
        if entry
            .is_some_and(|entry| entry.version >= version || outweighs(&partition, &entry, record))
        {
            return Step::Done(Copied::Known);
        }
        let hand = Hand {
            replicated: false,
            ..*hand
        };
        match self.put(&mut partition, &hand, record, entry, version) {
            Ok(stored) => Step::Done(Copied::Stored(stored.commit)),
            Err(halt) => halt.step(|refusal| Copied::Refused(refusal.reason)),
        }
    }

    /// Puts a state of a record that was made elsewhere into log and index, under this version.
    fn put(
        &self,
        partition: &mut Partition,
        hand: &Hand,
        record: &Record<'_>,
        entry: Option<NewEntry>,
        version: Version,
    ) -> Result<Stored, Halt> {
        let found = self.sets().find_or_make(record.set);
        let set_id = found.map_err(|_| Reason::SetLimit)?;
        let mut meta = record.meta;
        meta.version = version.pack();
        meta.moves = 0;
        if meta.tombstone {
            meta.void_time_s = self.tombstone_fill(); // of this node's log, not of the other's
        }
        let alive = partition.directory.get(&meta.digest);
        let alive = alive.is_some_and(|entry| self.is_alive(entry, hand.now));
        let before = entry.map(|entry| Before { entry, alive });
        // What lies below it is a matter of this node's log too.
        meta.over_tombstone = !meta.tombstone
            && before.is_some_and(|before| self.is_over_tombstone(&before, set_id, hand.now));
        self.store(partition, hand, &record.draft(meta), set_id, before)
    }

    /// The image of a record or tombstone as this node has it, for another node: in stored form, plain,
    /// its checksums not filled in. `None` if there is nothing.
    ///
    /// # Errors
    /// When the device gave back something else.
    pub fn image(
        &self,
        digest: &Digest,
        fetched: Option<&Fetched>,
    ) -> Step<Result<Option<Vec<u8>>, Reason>> {
        let partition = self.partition_of(digest);
        let Some(entry) = partition.directory.get(digest) else {
            return Step::Done(Ok(None));
        };
        if entry.is_tombstone() {
            let set = self.sets().get(entry.set_id());
            return Step::Done(Ok(Some(tombstone_image(&entry.to_new(), &set.name))));
        }
        let bytes = match self.bytes(entry.place(), fetched) {
            Ok(bytes) => bytes,
            Err(read) => return Step::Read(read),
        };
        let record = self.checked(&bytes, entry);
        Step::Done(record.map(|record| Some(record.draft(record.meta).image())))
    }

    /// A number for each range of a partition, over the states of all records there: two nodes hold the same where
    /// these are equal. Tombstones count, for one of them may outweigh a record that a third node still has. Walks
    /// the whole partition, a slice at a time.
    pub fn range_hashes(&self, id: PartitionId) -> Box<[u64; RANGES]> {
        let mut hashes = Box::new([0u64; RANGES]);
        self.each_entry(id, |entry| {
            if entry.flags.contains(Flags::TOMBSTONE)
                && is_planted(Mutation::HashesWithoutTombstones)
            {
                return;
            }
            let hash = &mut hashes[range_of(&entry.digest)];
            *hash = hash.wrapping_add(hash_of_state(entry));
        });
        hashes
    }

    /// All that a partition holds, tombstones included.
    pub fn digests_of(&self, id: PartitionId) -> Vec<Digest> {
        let mut digests = Vec::new();
        self.each_entry(id, |entry| {
            let tombstone = entry.flags.contains(Flags::TOMBSTONE);
            if !tombstone || !is_planted(Mutation::MovesWithoutTombstones) {
                digests.push(entry.digest);
            }
        });
        digests
    }

    /// Everything that one range of a partition holds, tombstones included, by digest.
    pub fn range_entries(&self, id: PartitionId, range: u8) -> Vec<NewEntry> {
        let mut entries = Vec::new();
        self.each_entry(id, |entry| {
            if range_of(&entry.digest) == usize::from(range) {
                entries.push(*entry);
            }
        });
        entries.sort_unstable_by_key(|entry| entry.digest);
        entries
    }

    /// Visits what a partition holds. What changes meanwhile may be seen as before or as after.
    fn each_entry(&self, id: PartitionId, mut see: impl FnMut(&NewEntry)) {
        let mut after: Option<WalkCursor> = None;
        let mut slice = Vec::new();
        loop {
            after = self.entry_slice(id, after, &mut slice).next;
            slice.drain(..).for_each(|entry| see(&entry));
            if after.is_none() {
                return;
            }
        }
    }

    /// Writes a state that another node has kept as this primary's own next write, because it outweighs
    /// what is here ([`Weight`]). Its update time and generation stay, its version is new.
    pub fn merge(&self, hand: &Hand, record: &Record<'_>) -> Step<Result<Stored, Reason>> {
        let mut partition = self.partition_of(&record.meta.digest);
        if !partition.is_under(hand.regime) {
            return Step::Wait;
        }
        let entry = partition
            .directory
            .get(&record.meta.digest)
            .map(Entry::to_new);
        let known = |it: &NewEntry| {
            self.weight(Weight::of_entry(it)) >= self.weight(Weight::of_record(record))
        };
        if entry.as_ref().is_some_and(known) {
            return Step::Done(Ok(Stored::default()));
        }
        // The other node keeps the highest version that it knows: this has to be higher.
        partition.not_before(Version::unpack(record.meta.version).sequence);
        let version = partition.upcoming_version();
        merged(self.put(&mut partition, hand, record, entry, version))
    }

    /// Takes a state that a node in sync has and this one lacks, as it is, while a strongly consistent partition is
    /// taken over: nobody else is told before all of them were asked.
    pub fn keep(&self, hand: &Hand, record: &Record<'_>) -> Step<Result<Stored, Reason>> {
        let hand = Hand {
            replicated: false,
            ..*hand
        };
        let mut partition = self.partition_of(&record.meta.digest);
        if !partition.is_under(hand.regime) {
            return Step::Wait;
        }
        let entry = partition.directory.get(&record.meta.digest);
        let entry = entry.map(Entry::to_new);
        let known = |it: &NewEntry| {
            self.weight(Weight::of_entry(it)) >= self.weight(Weight::of_record(record))
        };
        if entry.as_ref().is_some_and(known) {
            return Step::Done(Ok(Stored::default()));
        }
        let version = Version::unpack(record.meta.version);
        partition.tenure.keeps();
        merged(self.put(&mut partition, &hand, record, entry, version))
    }

    /// What counts of a weight here.
    pub(crate) fn weight(&self, weight: Weight) -> Weight {
        weight.by_version_if(self.config().strong)
    }

    /// Remembers that a record which another node still has is long gone, so that it can be told. Does nothing
    /// if there is a record, or the memory of one, after all.
    ///
    /// That this node does not know of it is all that is said, and weighs nothing: if it merely lacks the record, because
    /// it stands in for those who held everything, theirs is taken back when they return.
    pub fn deny(&self, hand: &Hand, digest: &Digest) -> Step<Result<Stored, Reason>> {
        let mut partition = self.partition_of(digest);
        if !partition.is_under(hand.regime) {
            return Step::Wait;
        }
        if partition.directory.get(digest).is_some() {
            return Step::Done(Ok(Stored::default()));
        }
        let meta = Meta::tombstone(
            *digest,
            partition.upcoming_version().pack(),
            match is_planted(Mutation::BuriesForGood) {
                true => hand.now.epoch_ms(),
                false => 0,
            },
            self.tombstone_fill(),
        );
        let draft = Draft::tombstone(meta, b"");
        merged(self.store(&mut partition, hand, &draft, 0, None))
    }

    /// Gives a record or tombstone that outweighs another node's, but not by its version, a new version.
    /// `theirs` is the sequence of the other one.
    ///
    /// # Errors
    /// When there is no room, or the device gave back something else.
    pub fn renew(
        &self,
        hand: &Hand,
        digest: &Digest,
        theirs: u64,
        fetched: Option<&Fetched>,
    ) -> Step<Result<Stored, Reason>> {
        let image = match self.image(digest, fetched) {
            Step::Done(Ok(Some(image))) => image,
            Step::Done(Ok(None)) => return Step::Done(Ok(Stored::default())),
            Step::Done(Err(reason)) => return Step::Done(Err(reason)),
            Step::Read(read) => return Step::Read(read),
            Step::Wait => return Step::Wait,
        };
        let record = Record::parse_unsealed(&image).expect("it was laid out just now");
        let mut partition = self.partition_of(digest);
        let entry = partition.directory.get(digest).map(Entry::to_new);
        if !partition.is_under(hand.regime) {
            return Step::Wait;
        }
        let Some(entry) = entry.filter(|it| it.version == Version::unpack(record.meta.version))
        else {
            return Step::Done(Ok(Stored::default())); // somebody wrote it meanwhile
        };
        partition.not_before(theirs);
        let version = partition.upcoming_version();
        merged(self.put(&mut partition, hand, &record, Some(entry), version))
    }
}

/// Whether what a node has kept while it was apart is to stay, whatever the primary has given a higher version:
/// the primary may be merging what yet another node has kept, and comes to this node's in its turn.
fn outweighs(partition: &Partition, entry: &NewEntry, record: &Record<'_>) -> bool {
    let apart = partition.apart && !is_planted(Mutation::ApartTakesByVersion);
    apart && Weight::of_entry(entry) > Weight::of_record(record)
}

/// What a merge changed here: nothing, if what was here stays.
fn merged(put: Result<Stored, Halt>) -> Step<Result<Stored, Reason>> {
    match put {
        Ok(stored) => Step::Done(Ok(stored)),
        Err(halt) => halt.step(|refusal| Err(refusal.reason)),
    }
}

impl Weight {
    /// The same, told apart by the version alone: it says which one is the later, where no two primaries write at
    /// once.
    pub fn by_version_if(self, by_version: bool) -> Weight {
        match by_version {
            true => Weight {
                update_time_ms: 0,
                generation: 0,
                version: match is_planted(Mutation::MergesBackwards) {
                    true => Version {
                        regime: !self.version.regime,
                        sequence: Version::SEQUENCE_MAX - self.version.sequence,
                    },
                    false => self.version,
                },
            },
            false => self,
        }
    }

    fn new(update_time_ms: u64, version: Version, generation: u16) -> Weight {
        let by_version = is_planted(Mutation::MergesByVersion);
        Weight {
            update_time_ms: if by_version { 0 } else { update_time_ms },
            version,
            generation,
        }
    }

    /// Of what another node tells of an entry.
    pub fn of_listed(listed: &Listed) -> Weight {
        let version = Version::unpack(listed.version);
        Weight::new(listed.update_time_ms, version, listed.generation)
    }

    /// Of what an index knows.
    pub fn of_entry(entry: &NewEntry) -> Weight {
        Weight::new(entry.update_time_ms, entry.version, entry.generation)
    }

    /// Of a record that was sent.
    pub fn of_record(record: &Record<'_>) -> Weight {
        let meta = &record.meta;
        Weight::new(
            meta.update_time_ms,
            Version::unpack(meta.version),
            meta.generation,
        )
    }
}

/// Which of its partition's ranges a digest is in.
pub fn range_of(digest: &Digest) -> usize {
    usize::from(digest.0[2])
}

/// The tombstone that an index remembers, as a record to be sent.
fn tombstone_image(entry: &NewEntry, set: &[u8]) -> Vec<u8> {
    let meta = Meta {
        generation: entry.generation,
        ..Meta::tombstone(
            entry.digest,
            entry.version.pack(),
            entry.update_time_ms,
            entry.void_time_s,
        )
    };
    Draft::tombstone(meta, set).image()
}
