//! Copies are the same.

use karst_data::key::Digest;
use karst_storage::index::{Flags, NewEntry};

use super::Violation;
use crate::cluster::World;
use crate::cluster::oracle::Value;

/// All nodes of a row hold the same records in the same state, and nobody else holds anything.
///
/// # Errors
/// When they do not.
pub fn every_row_holds_the_same_and_nobody_else_anything(world: &World) -> Result<(), Violation> {
    for id in world.partitions() {
        let Some(row) = world.row(id) else {
            continue;
        };
        let records = |node: usize| {
            let mut entries = world.nodes[node].engine.entries(id);
            entries.retain(|entry| !entry.flags.contains(Flags::TOMBSTONE));
            entries.sort_unstable_by_key(|entry| entry.digest);
            entries
        };
        let first = records(row[0]);
        for node in &row[1..] {
            same(world, row[0], &first, *node, &records(*node))?;
        }
        for node in (0..world.nodes.len()).filter(|node| !row.contains(node)) {
            let held = world.nodes[node].engine.partition_counts(id);
            if held != (0, 0) {
                let what = format!("n{node} holds {held:?} of {id}, which {row:?} have");
                return Err(Violation::new("converged", what));
            }
        }
    }
    Ok(())
}

fn same(
    world: &World,
    one: usize,
    ones: &[NewEntry],
    other: usize,
    others: &[NewEntry],
) -> Result<(), Violation> {
    let state = |entry: &NewEntry| {
        let value = |node| world.value_at(node, &entry.digest);
        (
            entry.digest,
            entry.version,
            entry.update_time_ms,
            entry.generation,
            (value(one), value(other)),
        )
    };
    let ones: Vec<_> = ones.iter().map(state).collect();
    let others: Vec<_> = others.iter().map(state).collect();
    if ones != others {
        let lacks = ones.iter().filter(|it| !others.contains(it));
        let extra = others.iter().filter(|it| !ones.contains(it));
        let (lacks, extra): (Vec<_>, Vec<_>) = (lacks.collect(), extra.collect());
        let what = format!("n{other} lacks {lacks:?} of n{one} and has {extra:?}");
        return Err(Violation::new("converged", what));
    }
    let keys = || world.clients.iter().flat_map(|client| &client.keys);
    let collide = |digest: &Digest, values: &(Value, Value)| {
        let mut keys = keys().filter(|key| key.digest == *digest);
        keys.any(|key| key.history.collide(values.0, values.1))
    };
    let differ = |(digest, .., values): &&(Digest, _, _, _, (Value, Value))| {
        values.0 != values.1 && !collide(digest, values)
    };
    let differ = ones.iter().find(differ);
    differ.map_or(Ok(()), |it| {
        let what = format!("n{one} and n{other} differ in content: {it:?}");
        Err(Violation::new("converged", what))
    })
}
