//! Whole blocks to the index.
//!
//! The order does not matter: the index keeps the highest version of each record.

use std::sync::atomic::Ordering;

use karst_data::key::Digest;
use karst_engine::damage::FoundBy;
use karst_engine::recover::Intake;
use karst_storage::log::BlockId;
use karst_storage::log::recover::{Damage, Scanned, Testimony};
use karst_storage::place::Place;
use parking_lot::Mutex;

use super::read::{Consumer, Job, Reader};
use crate::node::NamespaceState;

/// Blocks in flight on each thread: at 1 MiB each enough for any device there is.
const AHEAD: usize = 4;

/// Damaged records that a thread remembers; more are in the index all the same.
const DAMAGED_MAX: usize = 100_000;

/// Damaged records that the log names.
const NAMED_MAX: usize = 100;

/// Reads blocks and takes in every sound record of theirs.
///
/// # Errors
/// When a device cannot be read, or the index has no room.
pub(super) fn run(
    namespace: &NamespaceState,
    reader: &Reader<'_>,
    blocks: &[BlockId],
    testimony: &Testimony,
) -> Result<(), String> {
    let damaged = Mutex::new(Vec::new());
    let log = namespace.engine.log();
    let job = |id: &BlockId| {
        let (offset, bytes) = log.block_extent(*id);
        Job {
            device: id.device.0,
            offset,
            bytes,
        }
    };
    let jobs: Vec<Job> = blocks.iter().map(job).collect();
    reader.read_all(&jobs, AHEAD, || Blocks {
        namespace,
        blocks,
        testimony,
        intake: Intake::new(&namespace.engine).in_bulk(),
        damaged: Vec::new(),
        all_damaged: &damaged,
    })?;
    name_damaged(namespace, &damaged.into_inner());
    Ok(())
}

/// Says which records are damaged, of those that no sound newer version of has been found.
fn name_damaged(namespace: &NamespaceState, damaged: &[(Digest, Place)]) {
    let tally = &namespace.restart.tally;
    let standing = damaged
        .iter()
        .filter(|(digest, place)| namespace.engine.points_at(digest, *place));
    for (number, (digest, place)) in standing.enumerate() {
        tally.damaged_records.fetch_add(1, Ordering::Relaxed);
        namespace.engine.suspect(digest, FoundBy::Recovery);
        if number < NAMED_MAX {
            let device = namespace.devices[usize::from(place.device.0)]
                .path()
                .display();
            tracing::error!(
                namespace = namespace.config.name, ?digest, device = %device,
                offset = place.start.bytes(),
                "a record is damaged: it cannot be read until it is replaced as a whole or deleted"
            );
        }
    }
}

struct Blocks<'n> {
    namespace: &'n NamespaceState,
    blocks: &'n [BlockId],
    testimony: &'n Testimony,
    intake: Intake<'n>,
    damaged: Vec<(Digest, Place)>,
    all_damaged: &'n Mutex<Vec<(Digest, Place)>>,
}

impl Blocks<'_> {
    /// What is damaged in a block that was wholly durable once is rot, of which the index has to know.
    /// Elsewhere it may be what a stop tore, or left of an earlier fill, and is nobody's loss.
    fn take_damage(&mut self, fill: u64, damage: &Damage) -> Result<(), String> {
        let tally = &self.namespace.restart.tally;
        let (settled, relaxed) = (self.testimony.is_settled(fill), Ordering::Relaxed);
        match &damage.facts {
            Some(facts) if settled => {
                let taken = self.intake.take_damaged(damage.place, facts);
                taken.map_err(|reason| reason.to_string())?;
                if self.damaged.len() < DAMAGED_MAX {
                    self.damaged.push((facts.meta.digest, damage.place));
                }
            }
            None if settled => {
                tally.rotten_stretches.fetch_add(1, relaxed);
            }
            Some(_) | None => {
                tally.torn_or_stale.fetch_add(1, relaxed);
            }
        }
        Ok(())
    }
}

impl Consumer for Blocks<'_> {
    fn take(&mut self, job: usize, bytes: &[u8]) -> Result<(), String> {
        let tally = &self.namespace.restart.tally;
        let log = self.namespace.engine.log();
        let id = self.blocks[job];
        let fill = log.fill_of(id); // as its header says, or what stands for it
        let mut records = 0;
        for found in log.scan_block(id, bytes) {
            match found {
                Scanned::Record(record) => {
                    records += 1;
                    let taken = self.intake.take(record.place, &record.facts);
                    taken.map_err(|reason| reason.to_string())?;
                }
                // An encrypted record on a device that is not encrypted: no node wrote that.
                Scanned::Sealed(place) => {
                    let facts = None;
                    self.take_damage(fill, &Damage { place, facts })?;
                }
                Scanned::Damaged(damage) => self.take_damage(fill, &damage)?,
            }
        }
        tally.blocks_scanned.fetch_add(1, Ordering::Relaxed);
        tally.records_scanned.fetch_add(records, Ordering::Relaxed);
        self.namespace.restart.advance(bytes.len() as u64);
        Ok(())
    }

    fn finish(self) -> Result<(), String> {
        self.all_damaged.lock().extend(self.damaged);
        let finished = self.intake.finish();
        finished.map(drop).map_err(|reason| reason.to_string())
    }
}
