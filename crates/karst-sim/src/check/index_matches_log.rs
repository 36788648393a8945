//! The index says what the newest records of the log say, digest by digest.

use std::collections::{HashMap, HashSet};

use karst_data::key::{Digest, PartitionId};
use karst_engine::floor::Floor;
use karst_storage::index::{Flags, NewEntry};
use karst_storage::log::recover::Scanned;
use karst_storage::place::{Place, Version};

use super::Violation;
use crate::node::blocks;
use crate::workload::{PARTITIONS, SETS};
use crate::world::World;

/// A record as it lies on a device.
#[derive(Debug, PartialEq, Eq)]
struct Copy {
    fill: u64,
    place: Place,
    generation: u16,
    update_time_ms: u64,
    tombstone: bool,
    /// A truncation covers it: it stands for the tombstone that it was written over.
    is_covered: bool,
    moves: u8,
}

impl Copy {
    /// Whether the index points at it. Of a record that stands for a tombstone less counts as live.
    fn lies_at(&self, place: Place) -> bool {
        let length = match self.is_covered {
            true => self.place.length.min(place.length),
            false => self.place.length,
        };
        place
            == Place {
                length,
                ..self.place
            }
    }
}

/// What the devices say of a record: its newest version, and every copy of that. Two copies of one
/// version may differ: an expired record is moved as the tombstone it has become.
struct Newest {
    version: Version,
    copies: Vec<Copy>,
}

/// Right after recovery the index equals what the devices hold, less what truncation marks cover and what was let go of.
///
/// # Errors
/// When it does not.
pub fn after_recovery(world: &World) -> Result<(), Violation> {
    let (mut newest, youngest) = newest(world);
    for entry in entries(world) {
        let Some(best) = newest.remove(&entry.digest) else {
            return wrong(&entry, "is on no device");
        };
        if best.version != entry.version {
            return wrong(
                &entry,
                &format!("is at version {} on devices", best.version),
            );
        }
        // The copy that was moved last stands, unless it lies in the youngest block of all.
        let rank = |copy: &&Copy| (copy.fill != youngest, copy.moves, copy.fill);
        let stands = best.copies.iter().max_by_key(rank);
        let points_at = |copy: &Copy| {
            copy.lies_at(entry.place)
                && copy.generation == entry.generation
                && copy.update_time_ms == entry.update_time_ms
                && copy.tombstone == entry.flags.contains(Flags::TOMBSTONE)
        };
        if !stands.is_some_and(points_at) {
            return wrong(&entry, &format!("{entry:?} lies as {:?}", best.copies));
        }
    }
    match newest.iter().next() {
        None => Ok(()),
        Some((digest, best)) => {
            let what = format!(
                "{digest} is on devices at version {}, not in the index",
                best.version
            );
            Err(Violation::new("index_matches_log", what))
        }
    }
}

/// Whatever the index points at is a record of that digest and version.
///
/// # Errors
/// When it is not.
pub fn places_hold_their_records(world: &World) -> Result<(), Violation> {
    let moment = world.moment();
    for (number, key) in world.keys.iter().enumerate() {
        let found = world.node.read(&world.disk, key, world.now_ms);
        let found = found.map_err(|reason| {
            Violation::new("index_matches_log", format!("key {number}: {reason}"))
        })?;
        let window = world.oracle.window(number, moment);
        world
            .oracle
            .check_read(number, &window, &moment, found.as_ref())?;
    }
    Ok(())
}

fn wrong(entry: &NewEntry, what: &str) -> Result<(), Violation> {
    let what = format!(
        "{} (version {}, {:?}) {what}",
        entry.digest, entry.version, entry.place
    );
    Err(Violation::new("index_matches_log", what))
}

/// Everything that the index says.
pub fn entries(world: &World) -> Vec<NewEntry> {
    let partitions = PARTITIONS.iter().map(|partition| PartitionId(*partition));
    let entries = partitions.flat_map(|partition| world.node.namespace.entries(partition));
    entries.collect()
}

/// An index that was taken over from memory is what it was before, digest by digest. Only tombstones that
/// were forgotten may have come back, from blocks that were not on their devices yet.
///
/// # Errors
/// When it is not.
pub fn after_take_over(world: &World, before: &[NewEntry]) -> Result<(), Violation> {
    let by_digest = |mut entries: Vec<NewEntry>| {
        entries.sort_unstable_by_key(|entry| entry.digest);
        entries
    };
    let known: HashSet<Digest> = before.iter().map(|entry| entry.digest).collect();
    let is_back =
        |entry: &NewEntry| entry.flags.contains(Flags::TOMBSTONE) && !known.contains(&entry.digest);
    let mut after = entries(world);
    after.retain(|entry| !is_back(entry));
    let (before, after) = (by_digest(before.to_vec()), by_digest(after));
    if before == after {
        return Ok(());
    }
    let differs = before
        .iter()
        .zip(&after)
        .find(|(before, after)| before != after);
    let what = format!(
        "{} entries before, {} after; {differs:?}",
        before.len(),
        after.len()
    );
    Err(Violation::new("index_matches_log", what))
}

/// Whether a record is left of a time before its partition was let go of.
fn is_void(world: &World, digest: &Digest, fill: u64) -> bool {
    match world.floors.get(&digest.partition()) {
        Some(Floor::Fill(floor)) => fill < *floor,
        Some(Floor::Leaving) => true,
        None => false,
    }
}

/// Walks all devices by the documented format, beside the engine's recovery.
/// Returns with it the youngest fill.
fn newest(world: &World) -> (HashMap<Digest, Newest>, u64) {
    let (mut newest, mut youngest): (HashMap<Digest, Newest>, u64) = (HashMap::new(), 0);
    for id in blocks(&world.disk) {
        let range = world.disk.block_range(id.block as usize);
        let bytes = world.disk.read(usize::from(id.device.0), range.clone());
        // What the header says, or where that is damaged what a later block says of it.
        let fill = world.node.namespace.log().fill_of(id);
        if fill == 0 {
            continue;
        }
        youngest = youngest.max(fill);
        let scanned = world.node.namespace.log().scan_block(id, bytes);
        for record in scanned.filter_map(Scanned::record) {
            let (place, meta) = (record.place, &record.facts.meta);
            if is_void(world, &meta.digest, fill) {
                continue;
            }
            let set = SETS.iter().position(|set| *set == &*record.facts.set);
            let set = set.expect("only these sets are used");
            let is_covered = !meta.tombstone && meta.update_time_ms < world.marks.of_set(set);
            if is_covered && !meta.over_tombstone {
                continue;
            }
            let version = Version::unpack(meta.version);
            let copy = Copy {
                fill,
                place,
                generation: meta.generation,
                update_time_ms: meta.update_time_ms,
                tombstone: meta.tombstone || is_covered,
                is_covered,
                moves: meta.moves,
            };
            let known = newest.entry(meta.digest).or_insert_with(|| Newest {
                version,
                copies: Vec::new(),
            });
            if known.version < version {
                known.version = version;
                known.copies.clear();
            }
            if known.version == version {
                known.copies.push(copy);
            }
        }
    }
    (newest, youngest)
}
