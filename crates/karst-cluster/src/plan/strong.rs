//! What should become of one strongly consistent partition now.
//!
//! One step at a time, each of which is one of `tests/strong_model.rs`. Who died, and who did not take a write in
//! time, falls out of those in sync whenever the others can go on ([`Ownership::next_config`]); where they cannot,
//! nobody does until more are back that know what was confirmed. All else waits for the regime to be activated:
//!
//! ```text
//! somebody of the row is complete              -> it comes to be in sync
//! all of the row is in sync, another one leads -> the row's first leads
//! the row's first leads                        -> others go, as many at once as may
//! ```
//!
//! **A lease is waited out.** A primary may answer reads for as long as it holds a lease, so nobody else may lead
//! before that has ended, unless the primary stays in sync: then it has to agree to the new regime first.

use std::collections::BTreeSet;

use super::{Present, Reported};
use crate::map::Ownership;
use crate::node::NodeId;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The regime is activated.
    Activate,
    /// It changes hands.
    Change {
        /// Who should hold it.
        row: Vec<NodeId>,
        /// Who holds all of it, the primary first.
        in_sync: Vec<NodeId>,
    },
}

pub(super) fn decide(
    present: &Present,
    leased: &BTreeSet<NodeId>,
    old: &Ownership,
    wanted: &[NodeId],
    reported: &Reported,
) -> Option<Decision> {
    let row = match wanted.is_empty() {
        true => old.row.clone(),
        false => wanted.to_vec(),
    };
    if old.in_sync.is_empty() {
        let change = Decision::Change {
            in_sync: row.clone(),
            row,
        };
        return (!wanted.is_empty()).then_some(change);
    }
    let candidates = [
        fallen(present, old, reported),
        forward(present, old, &row, reported),
    ];
    for in_sync in candidates.into_iter().flatten() {
        if in_sync == old.in_sync {
            continue;
        }
        let may = |node: NodeId| in_sync.contains(&node) || !leased.contains(&node);
        if old.primary().is_none_or(may) && old.next_config(row.clone(), in_sync.clone()).is_some()
        {
            return Some(Decision::Change { row, in_sync });
        }
    }
    let complete = |node: NodeId| reported.complete.contains(&node);
    if !old.prior.is_empty() && old.primary().is_some_and(complete) {
        return Some(Decision::Activate);
    }
    // Who is to be filled is part of the regime, too.
    let in_sync = old.in_sync.clone();
    let is_new = row != old.row && old.prior.is_empty();
    (is_new && old.next_config(row.clone(), in_sync.clone()).is_some())
        .then_some(Decision::Change { row, in_sync })
}

/// Who is left in sync, where somebody has to go, or somebody has to come back for anybody to serve.
fn fallen(present: &Present, old: &Ownership, reported: &Reported) -> Option<Vec<NodeId>> {
    let alive = |node: &NodeId| present.alive.contains(node);
    let sound = |node: &NodeId| alive(node) && !reported.lacking.contains(node);
    let stays = |keep: &dyn Fn(&NodeId) -> bool| -> Vec<NodeId> {
        let stays = old.in_sync.iter().filter(|it| keep(it));
        stays.copied().collect()
    };
    let can = |in_sync: &[NodeId]| old.next_config(old.row.clone(), in_sync.to_vec()).is_some();
    let mut in_sync = stays(&sound);
    if !can(&in_sync) {
        in_sync = stays(&alive);
    }
    if !can(&in_sync) {
        // Who knows what was confirmed and fell out before anything was agreed on without him.
        for node in old.known().filter(|it| alive(it)) {
            if !in_sync.contains(&node) {
                in_sync.push(node);
            }
        }
    }
    in_order(present, &mut in_sync);
    let same =
        in_sync.len() == old.in_sync.len() && in_sync.iter().all(|it| old.in_sync.contains(it));
    (!same || leads_badly(present, old) && in_sync != old.in_sync).then_some(in_sync)
}

/// Whether the primary is about to stop, or gone.
fn leads_badly(present: &Present, old: &Ownership) -> bool {
    let primary = old.primary();
    primary.is_some_and(|it| present.stopping.contains(&it) || !present.alive.contains(&it))
}

/// Who stops leads nothing that another one can.
fn in_order(present: &Present, in_sync: &mut [NodeId]) {
    in_sync.sort_by_key(|node| present.stopping.contains(node)); // stable
}

/// The next step to what the row asks for.
fn forward(
    present: &Present,
    old: &Ownership,
    row: &[NodeId],
    reported: &Reported,
) -> Option<Vec<NodeId>> {
    if !old.prior.is_empty() || !old.in_sync.iter().all(|it| present.alive.contains(it)) {
        return None;
    }
    let mut in_sync = old.in_sync.clone();
    let joins = |node: &&NodeId| reported.complete.contains(node) && !in_sync.contains(node);
    let joining: Vec<NodeId> = row.iter().filter(joins).copied().collect();
    in_sync.extend(joining);
    in_order(present, &mut in_sync);
    if in_sync != old.in_sync {
        return Some(in_sync);
    }
    if row.is_empty() || !row.iter().all(|it| old.in_sync.contains(it)) {
        return None;
    }
    let mut first: Vec<NodeId> = row.to_vec();
    in_order(present, &mut first);
    let extra = old.in_sync.iter().filter(|it| !row.contains(it));
    let extra: Vec<NodeId> = extra.copied().collect();
    let with = |some: usize| first.iter().chain(&extra[..some]).copied().collect();
    match old.primary() == first.first().copied() {
        false => Some(with(extra.len())),
        // As many go at once as may: those who are left have to know what was confirmed.
        true => (0..extra.len())
            .map(with)
            .find(|left: &Vec<NodeId>| old.next_config(row.to_vec(), left.clone()).is_some())
            .or(Some(first.clone())),
    }
}
