//! Gives each partition its nodes so that every node has its share, at the least cost altogether.
//!
//! It starts from what is cheapest for each partition by itself, which gives some nodes too much. Then copies
//! are moved, one at a time, from a node with too much to one with room, along the cheapest chain of swaps
//! there is: a partition goes from A to B, another from B to C. That is the method of successive shortest
//! paths for flows of least cost, and what it ends with is the cheapest assignment within the bounds: which
//! one depends on costs and bounds alone, and changes little when those change little.
//!
//! Invariants
//!   every partition has as many nodes as at the start, all distinct, each swap allowed by the [`Rule`]
//!   `held` lists what `chosen` says, by node
//!   `swaps[from][to]` is the cheapest allowed swap of one partition of `from` to `to`
//!
//! Chains may hold two swaps of one partition, each allowed but not both. That does not happen, for the
//! direct swap from the first's start to the second's end is then allowed and not dearer, and of chains that
//! cost the same the shorter is taken.

use std::collections::BTreeSet;

use karst_data::key::PARTITIONS;

use super::chains::{Chains, NO_WAY};
use crate::node::NodeId;

/// Whether a partition may change one of its nodes for another.
pub(super) trait Rule {
    /// `chosen` are its nodes and `from` one of them; `to` is any node, and never allowed if it is chosen.
    fn may_swap(&self, partition: usize, chosen: &[u16], from: u16, to: u16) -> bool;
}

/// The fewest and the most copies that a node is to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) least: usize,
    pub(super) most: usize,
}

impl Bounds {
    /// One of so many parts that are equal to within one.
    pub(super) fn part(whole: usize, parts: usize) -> Bounds {
        Bounds {
            least: whole / parts,
            most: whole.div_ceil(parts),
        }
    }
}

/// A question about a node's copies and its bounds.
trait Test: Fn(usize, &Bounds) -> bool {}

impl<F: Fn(usize, &Bounds) -> bool> Test for F {}

/// What each partition would pay for each node: a hash of both, of 44 bits.
///
/// Enough that hardly ever two are the same, and a chain through all nodes can still be added up.
pub(super) struct Costs {
    nodes: usize,
    costs: Vec<i64>,
}

impl Costs {
    pub(super) fn new(nodes: &[NodeId]) -> Costs {
        let nodes_mixed: Vec<u64> = nodes.iter().map(|node| mix(node.0)).collect();
        let of_partition = |partition: u64| {
            // Partitions are numbered from 1 here: nothing is mixed into nothing.
            let partition = mix((partition + 1).wrapping_mul(STRIDE));
            let cost = move |node: &u64| (mix(node ^ partition) >> 20) as i64;
            nodes_mixed.iter().map(cost)
        };
        Costs {
            nodes: nodes.len(),
            costs: (0..PARTITIONS as u64).flat_map(of_partition).collect(),
        }
    }

    pub(super) fn nodes(&self) -> u16 {
        self.nodes as u16
    }

    fn cost(&self, partition: usize, node: u16) -> i64 {
        self.costs[partition * self.nodes + usize::from(node)]
    }

    /// What it costs more. Each swap costs a trifle by itself, so that of chains that cost the same the
    /// shorter is the cheaper.
    fn of_swap(&self, partition: usize, from: u16, to: u16) -> i64 {
        (self.cost(partition, to) - self.cost(partition, from)) * 256 + 1
    }

    /// The best of these nodes for a partition.
    pub(super) fn cheapest(
        &self,
        partition: usize,
        nodes: impl Iterator<Item = u16>,
    ) -> Option<u16> {
        nodes.min_by_key(|node| (self.cost(partition, *node), *node))
    }
}

// Odd numbers without a pattern: the fractions of the square roots of 2, 3 and 5, in 64 bits, made odd.
const FIRST: u64 = 0x6A09_E667_F3BC_C909;
const SECOND: u64 = 0xBB67_AE85_84CA_A73B;
const STRIDE: u64 = 0x3C6E_F372_FE94_F82B;

/// Every bit of the number changes half of the bits of the result; no two numbers have the same.
fn mix(mut number: u64) -> u64 {
    for factor in [FIRST, SECOND, STRIDE] {
        number ^= number >> 32;
        number = number.wrapping_mul(factor);
        number ^= number >> 29;
    }
    number
}

/// See [the module](self).
pub(super) struct Assignment<'a, R: Rule> {
    costs: &'a Costs,
    rule: &'a R,
    chosen: Vec<Vec<u16>>,
    held: Vec<Vec<u16>>,
    /// Of which partition, and what it costs more; of no partition, it costs [`NO_WAY`].
    swaps: Vec<u16>,
    swap_costs: Vec<i64>,
}

impl<'a, R: Rule> Assignment<'a, R> {
    /// Starts from the nodes that each partition likes best.
    pub(super) fn new(costs: &'a Costs, rule: &'a R, chosen: Vec<Vec<u16>>) -> Assignment<'a, R> {
        let mut held = vec![Vec::new(); costs.nodes];
        for (partition, nodes) in chosen.iter().enumerate() {
            for node in nodes {
                held[usize::from(*node)].push(partition as u16);
            }
        }
        let mut assignment = Assignment {
            costs,
            rule,
            chosen,
            held,
            swaps: vec![0; costs.nodes * costs.nodes],
            swap_costs: vec![NO_WAY; costs.nodes * costs.nodes],
        };
        for partition in 0..PARTITIONS {
            for at in 0..assignment.chosen[partition].len() {
                let from = assignment.chosen[partition][at];
                for to in 0..costs.nodes() {
                    assignment.offer(partition as u16, from, to);
                }
            }
        }
        assignment
    }

    /// The nodes of each partition.
    pub(super) fn into_chosen(self) -> Vec<Vec<u16>> {
        self.chosen
    }

    /// Moves copies until every node is within its bounds, or as near as the rule allows.
    pub(super) fn settle(&mut self, bounds: &[Bounds]) {
        assert_eq!(bounds.len(), self.held.len());
        let mut chains = Chains::new(self.held.len());
        self.even_out(
            &mut chains,
            bounds,
            |n, it| n > it.most,
            |n, it| n < it.most,
        );
        self.even_out(
            &mut chains,
            bounds,
            |n, it| n > it.least,
            |n, it| n < it.least,
        );
        // A copy that could be with either goes to the node whose bounds are the lower ones.
        let cuts: BTreeSet<usize> = bounds.iter().flat_map(|it| [it.least, it.most]).collect();
        for cut in cuts {
            let gives = |n, it: &Bounds| n > it.least && it.least >= cut;
            let takes = |n, it: &Bounds| n < it.most && it.most <= cut;
            self.even_out(&mut chains, bounds, gives, takes);
        }
    }

    /// Moves one copy at a time from a node that gives to one that takes, until one side is none.
    fn even_out(
        &mut self,
        chains: &mut Chains,
        bounds: &[Bounds],
        gives: impl Test,
        takes: impl Test,
    ) {
        // Each chain brings a node nearer to its bounds, so there are no more chains than copies.
        loop {
            let copies = || self.held.iter().map(Vec::len).zip(bounds);
            let givers: Vec<bool> = copies().map(|(n, bounds)| gives(n, bounds)).collect();
            let takers: Vec<bool> = copies().map(|(n, bounds)| takes(n, bounds)).collect();
            let Some(chain) = chains.cheapest(&self.swap_costs, &givers, &takers) else {
                return;
            };
            for hop in chain.windows(2) {
                self.swap(hop[0], hop[1]);
            }
        }
    }

    /// Moves the cheapest partition of one node to another.
    fn swap(&mut self, from: u16, to: u16) {
        let partition = self.swaps[self.slot(from, to)];
        let nodes = &mut self.chosen[usize::from(partition)];
        assert!(nodes.contains(&from));
        assert!(!nodes.contains(&to));
        for node in nodes.iter_mut().filter(|node| **node == from) {
            *node = to;
        }
        self.held[usize::from(from)].retain(|held| *held != partition);
        self.held[usize::from(to)].push(partition);
        self.look_again(partition, from);
        for at in 0..self.chosen[usize::from(partition)].len() {
            self.look_again(partition, self.chosen[usize::from(partition)][at]);
        }
    }

    /// Brings the swaps of one node up to date after a partition changed its nodes.
    fn look_again(&mut self, partition: u16, from: u16) {
        for to in 0..self.costs.nodes() {
            let slot = self.slot(from, to);
            if self.swap_costs[slot] == NO_WAY || self.swaps[slot] != partition {
                self.offer(partition, from, to);
                continue;
            }
            self.swap_costs[slot] = NO_WAY;
            for at in 0..self.held[usize::from(from)].len() {
                self.offer(self.held[usize::from(from)][at], from, to);
            }
        }
    }

    /// Takes a partition's swap if it is the cheapest yet and allowed.
    fn offer(&mut self, partition: u16, from: u16, to: u16) {
        let (at, slot) = (usize::from(partition), self.slot(from, to));
        let cost = self.costs.of_swap(at, from, to);
        if cost >= self.swap_costs[slot] {
            return;
        }
        let chosen = &self.chosen[at];
        if chosen.contains(&from) && self.rule.may_swap(at, chosen, from, to) {
            self.swap_costs[slot] = cost;
            self.swaps[slot] = partition;
        }
    }

    fn slot(&self, from: u16, to: u16) -> usize {
        usize::from(from) * self.costs.nodes + usize::from(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Anybody;

    impl Rule for Anybody {
        fn may_swap(&self, _partition: usize, chosen: &[u16], _from: u16, to: u16) -> bool {
            !chosen.contains(&to)
        }
    }

    /// What the cheapest chain between any two nodes costs, after Floyd and Warshall.
    fn cheapest_chains(assignment: &Assignment<'_, Anybody>) -> Vec<i64> {
        let (nodes, mut costs) = (assignment.costs.nodes, assignment.swap_costs.clone());
        for by in 0..nodes {
            for from in 0..nodes {
                for to in 0..nodes {
                    let way = costs[from * nodes + by] + costs[by * nodes + to];
                    costs[from * nodes + to] = costs[from * nodes + to].min(way);
                }
            }
        }
        costs
    }

    /// If there were a cheaper one, a chain would lead to it: in a circle, or from a node that has more than
    /// it must to one that has less than it may.
    #[test]
    fn no_other_assignment_within_the_bounds_costs_less() {
        for (nodes, width) in [(2, 1), (3, 2), (7, 2), (12, 3), (23, 1)] {
            let ids: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
            let costs = Costs::new(&ids);
            let best = |partition| {
                let mut all: Vec<u16> = (0..costs.nodes()).collect();
                all.sort_by_key(|node| costs.cost(partition, *node));
                all[..width].to_vec()
            };
            let start = (0..PARTITIONS).map(best).collect();
            let mut assignment = Assignment::new(&costs, &Anybody, start);
            let bounds = vec![Bounds::part(PARTITIONS * width, ids.len()); ids.len()];
            assignment.settle(&bounds);
            let chains = cheapest_chains(&assignment);
            for from in 0..ids.len() {
                for to in 0..ids.len() {
                    let (gives, takes) = (assignment.held[from].len(), assignment.held[to].len());
                    assert!((bounds[from].least..=bounds[from].most).contains(&gives));
                    let may = gives > bounds[from].least && takes < bounds[to].most;
                    let gains = chains[from * ids.len() + to] < 0;
                    assert!(
                        !gains || from != to && !may,
                        "{nodes} nodes: {from} to {to}"
                    );
                }
            }
        }
    }
}
