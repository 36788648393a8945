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
    let is_known = old.is_known_to(|it| old.in_sync.contains(&it));
    if !old.prior.is_empty() && is_known && old.primary().is_some_and(complete) {
        return Some(Decision::Activate);
    }
    // Who is to be filled is part of the regime, too.
    let in_sync = old.in_sync.clone();
    let all_there = in_sync.iter().all(|it| present.alive.contains(it));
    let is_new = row != old.row && old.prior.is_empty() && all_there;
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
    let others = in_sync.iter().collect::<BTreeSet<_>>() != old.in_sync.iter().collect();
    (others || leads_badly(present, old) && in_sync != old.in_sync).then_some(in_sync)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Regime;

    fn nodes(letters: &str) -> Vec<NodeId> {
        let letters = letters.bytes();
        letters.map(|it| NodeId(u64::from(it - b'A') + 1)).collect()
    }

    fn letters(nodes: &[NodeId]) -> String {
        let letters = nodes.iter();
        letters
            .map(|it| char::from(b'A' + it.0 as u8 - 1))
            .collect()
    }

    /// What is so, and what is known.
    #[derive(Clone, Copy, Default)]
    struct Case {
        row: &'static str,
        in_sync: &'static str,
        prior: &'static str,
        lost: &'static str,
        wanted: &'static str,
        alive: &'static str,
        stopping: &'static str,
        leased: &'static str,
        complete: &'static str,
        lacking: &'static str,
    }

    /// `row/in sync`, `activate`, or `-` for nothing.
    fn decided(case: Case) -> String {
        let set = |letters: &str| nodes(letters).into_iter().collect();
        let present = Present {
            configured: set("ABCDE"),
            alive: set(case.alive),
            takers: Default::default(),
            stopping: set(case.stopping),
        };
        let old = Ownership {
            regime: Regime(7),
            row: nodes(case.row),
            in_sync: nodes(case.in_sync),
            prior: nodes(case.prior),
            lost: nodes(case.lost),
            ..Ownership::default()
        };
        let reported = Reported {
            complete: nodes(case.complete),
            lacking: nodes(case.lacking),
        };
        let leased = set(case.leased);
        match decide(&present, &leased, &old, &nodes(case.wanted), &reported) {
            None => "-".into(),
            Some(Decision::Activate) => "activate".into(),
            Some(Decision::Change { row, in_sync }) => {
                assert!(old.next_config(row.clone(), in_sync.clone()).is_some());
                format!("{}/{}", letters(&row), letters(&in_sync))
            }
        }
    }

    /// Two copies, at A and B.
    const TWO: Case = Case {
        row: "AB",
        in_sync: "AB",
        wanted: "AB",
        alive: "AB",
        prior: "",
        lost: "",
        stopping: "",
        leased: "",
        complete: "",
        lacking: "",
    };

    /// Three, at A, B and C.
    const THREE: Case = Case {
        row: "ABC",
        in_sync: "ABC",
        wanted: "ABC",
        alive: "ABC",
        ..TWO
    };

    #[test]
    fn a_partition_that_nobody_served_begins_with_all_of_its_row() {
        let fresh = Case {
            row: "",
            in_sync: "",
            ..TWO
        };
        assert_eq!(decided(fresh), "AB/AB");
        let nobody = Case {
            wanted: "",
            alive: "",
            ..fresh
        };
        assert_eq!(decided(nobody), "-");
    }

    #[test]
    fn who_dies_or_lacks_something_falls_out_if_the_others_can_go_on() {
        let dead = Case {
            alive: "B",
            wanted: "B",
            ..TWO
        };
        assert_eq!(decided(dead), "B/B");
        let lacking = Case {
            lacking: "B",
            ..THREE
        };
        assert_eq!(decided(lacking), "ABC/AC");
        let alone = Case {
            alive: "C",
            wanted: "C",
            ..THREE
        };
        assert_eq!(
            decided(alone),
            "-",
            "one of three may lack what two confirmed"
        );
        let lost = Case {
            lost: "A",
            alive: "AB",
            wanted: "AB",
            ..THREE
        };
        assert_eq!(decided(lost), "-", "A and B are there, and A knows nothing");
    }

    #[test]
    fn who_fell_out_comes_back_where_nobody_could_serve_without() {
        let back = Case {
            in_sync: "BC",
            prior: "ABC",
            alive: "AB",
            wanted: "AB",
            ..THREE
        };
        assert_eq!(decided(back), "AB/BA");
    }

    #[test]
    fn nobody_leads_before_the_lease_of_the_one_before_has_ended() {
        let silent = Case {
            alive: "BC",
            wanted: "BC",
            leased: "ABC",
            ..THREE
        };
        assert_eq!(decided(silent), "-");
        let ended = Case {
            leased: "BC",
            ..silent
        };
        assert_eq!(decided(ended), "BC/BC");
        let replica = Case {
            alive: "AB",
            wanted: "AB",
            leased: "ABC",
            ..THREE
        };
        assert_eq!(decided(replica), "AB/AB");
    }

    #[test]
    fn a_partition_moves_step_by_step_and_each_is_activated_before_the_next() {
        let moving = Case {
            row: "CD",
            wanted: "CD",
            alive: "ABCD",
            ..TWO
        };
        let joined = Case {
            complete: "C",
            ..moving
        };
        assert_eq!(decided(joined), "CD/ABC");
        let unactivated = Case {
            in_sync: "ABC",
            prior: "AB",
            complete: "D",
            ..moving
        };
        assert_eq!(decided(unactivated), "-");
        let reported = Case {
            complete: "AD",
            ..unactivated
        };
        assert_eq!(decided(reported), "activate");
        let all = Case {
            in_sync: "ABCD",
            ..moving
        };
        assert_eq!(decided(all), "CD/CDAB");
        let led = Case {
            in_sync: "CDAB",
            leased: "ABCD",
            ..moving
        };
        assert_eq!(decided(led), "CD/CD");
        let there = Case {
            in_sync: "CD",
            ..moving
        };
        assert_eq!(decided(there), "-");
        let many = Case {
            in_sync: "CDABE",
            alive: "ABCDE",
            ..moving
        };
        assert_eq!(
            decided(many),
            "CD/CDA",
            "two of five may lack what three confirmed"
        );
    }

    #[test]
    fn who_stops_leads_nothing_that_another_can() {
        let stopping = Case {
            stopping: "A",
            leased: "AB",
            ..TWO
        };
        assert_eq!(decided(stopping), "AB/BA");
        let follows = Case {
            in_sync: "BA",
            ..stopping
        };
        assert_eq!(decided(follows), "-");
    }

    #[test]
    fn who_is_to_be_filled_is_agreed_on_once_the_regime_is_activated() {
        let replaced = Case {
            in_sync: "A",
            wanted: "AC",
            alive: "AC",
            ..TWO
        };
        assert_eq!(decided(replaced), "AC/A");
        let early = Case {
            prior: "AB",
            ..replaced
        };
        assert_eq!(decided(early), "-");
    }
}
