//! Taking a namespace over from memory that an earlier process left.
//!
//! The index is rebuilt from its entries one partition at a time, by any number of threads. What is counted
//! beside it (live bytes of blocks, records of sets) each thread counts for itself and adds once.

use karst_data::key::PartitionId;
use karst_storage::index::{Directory, Entry};
use karst_storage::log::recover::Scanned;
use karst_storage::log::{LeftBlock, LiveTally, NoSuchPlace};
use karst_storage::place::Version;

use crate::error::Reason;
use crate::namespace::Namespace;
use crate::recover::Intake;
use crate::sets::SetCounts;

/// What one thread has seen of the index.
pub struct Tally {
    live: LiveTally,
    sets: SetCounts,
    sets_known: usize,
    /// Of the partition at hand.
    tombstones: u32,
    expires: bool,
    never: u32,
}

impl Tally {
    /// Counts an entry of the partition at hand.
    ///
    /// # Errors
    /// When the entry contradicts what is known of the namespace: its memory is not to be trusted.
    pub fn see(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let place = entry.place();
        let added = self.live.add(place);
        added.map_err(|NoSuchPlace(_)| "it points to no place of these devices")?;
        let number = entry.set_id();
        if usize::from(number) >= self.sets_known {
            return Err("its set is not known");
        }
        let tombstone = entry.is_tombstone();
        self.sets.count(number, tombstone, place, 1);
        self.tombstones += u32::from(tombstone);
        self.expires |= entry.void_time_s() != 0;
        self.never += u32::from(!tombstone && entry.void_time_s() == 0);
        Ok(())
    }
}

impl Namespace {
    /// A tally of nothing. The namespace's sets are known already.
    pub fn tally(&self) -> Tally {
        Tally {
            live: self.log().tally(),
            sets: SetCounts::default(),
            sets_known: self.sets().known(),
            tombstones: 0,
            expires: false,
            never: 0,
        }
    }

    /// Puts a directory, whose entries the tally has just seen, in place of a partition's empty one.
    pub fn take_over_partition(&self, id: PartitionId, directory: Directory, tally: &mut Tally) {
        let mut partition = self.partition(id);
        assert!(
            partition.directory.is_empty(),
            "a namespace is taken over before it is used"
        );
        partition.directory = directory;
        partition.tombstones = std::mem::take(&mut tally.tombstones);
        partition.expires = std::mem::take(&mut tally.expires);
        partition.never = std::mem::take(&mut tally.never);
    }

    /// Adds what a thread has counted, once it has seen the last of its partitions.
    pub fn add_tally(&self, tally: &Tally) {
        self.log().claim_all(&tally.live);
        self.sets().add(&tally.sets);
    }

    /// Lets the index see what a block holds that the earlier process had not made durable. All but the
    /// record that it was appending when it ended is known already.
    ///
    /// # Errors
    /// When a record finds no room.
    pub fn see_left(&self, left: &LeftBlock) -> Result<u64, Reason> {
        let mut intake = Intake::new(self);
        let scanned = self.log().left_records(left);
        for record in scanned.filter_map(Scanned::record) {
            let meta = &record.facts.meta;
            let known = self.entry(&meta.digest);
            // Of two copies of one version the index knows which one counts.
            if known.is_none_or(|known| known.version < Version::unpack(meta.version)) {
                intake.take(record.place, &record.facts)?;
            }
        }
        intake.finish()
    }
}
