//! Which nodes should hold each partition: nodes and racks in, 4096 rows out.
//!
//! Every partition ranks the nodes by a hash of both (rendezvous hashing), so that each would hold about its
//! share. About is not enough: with 3 nodes chance is off by some percent, with 100 by a quarter. So the rows
//! are not each partition's best nodes but, of all maps that give every node its share to within one copy,
//! the one in which partitions are best pleased altogether (`assignment`). First the holders of each
//! partition are chosen so, then of those the primary, then the second of the row, and so on.
//!
//! What holds of the rows
//!   a row has `replication_factor` distinct nodes, or all nodes if those are fewer
//!   a row is on as many distinct racks as there are, up to its length
//!   nodes hold equal numbers of partitions, and of primaries, to within one, unless a rack is too small:
//!     the nodes of such a rack hold as much as their rack may, equally, and the others share the rest
//!   without such a rack each further column of the rows is equal to within one too
//!
//! **History-free.** The rows depend on the nodes that take part and on nothing else, neither their order nor
//! the rows of before. So two leaders, or two nodes cut off together, agree without talking, and a node that
//! returns finds exactly the rows it left: what it holds is what it should hold.
//!
//! The price is small and known. The best map changes only as far as the shares do. A node that joins takes
//! what ranks it highest, 1/(n+1) of all copies and about equally from everybody; by chance some more from one
//! old node than from another, and only that is evened out by copies that move between old nodes. They are
//! about as many as the square root of all copies at most, whatever the number of nodes: with replication
//! factor 2 some 20 of 8192 copies with 3 nodes and 90 with 128, where 2048 and 64 move to the new node. A
//! balancer that reads the rows of before could save those, and would pay with rows that depend on the whole
//! past. The order within a row may change too, which moves no data. Where racks bind, a new node changes what
//! each rack must hold, and more moves.

mod assignment;
mod chains;

use std::collections::{BTreeMap, BTreeSet};

use karst_data::key::PARTITIONS;

use crate::node::NodeId;
use assignment::{Assignment, Bounds, Costs, Rule};

/// The rows that the nodes taking part, each with its rack, should have: one for each partition, the
/// preferred primary first. See [the module](self).
pub fn balance(racks: &BTreeMap<NodeId, u32>, replication_factor: u8) -> Vec<Vec<NodeId>> {
    let nodes: Vec<NodeId> = racks.keys().copied().collect();
    let width = usize::from(replication_factor).min(nodes.len());
    if width == 0 {
        return vec![Vec::new(); PARTITIONS];
    }
    let costs = Costs::new(&nodes);
    let spread = Spread::new(racks, width);
    let holders = holders(&costs, &spread);
    let columns = columns(&costs, holders, &spread);
    let row = |partition: usize| {
        let column = |column: &Vec<u16>| nodes[usize::from(column[partition])];
        columns.iter().map(column).collect()
    };
    (0..PARTITIONS).map(row).collect()
}

/// How the copies of one partition must be spread over racks.
struct Spread {
    /// Copies of a partition.
    width: usize,
    /// Distinct racks that a partition must be on.
    racks_needed: usize,
    /// The rack of each node, numbered from 0.
    rack_of: Vec<usize>,
    /// Nodes in each rack.
    sizes: Vec<usize>,
}

impl Spread {
    fn new(racks: &BTreeMap<NodeId, u32>, width: usize) -> Spread {
        let distinct: BTreeSet<u32> = racks.values().copied().collect();
        let number = |rack: &u32| distinct.range(..rack).count();
        let rack_of: Vec<usize> = racks.values().map(number).collect();
        let mut sizes = vec![0; distinct.len()];
        rack_of.iter().for_each(|rack| sizes[*rack] += 1);
        Spread {
            width,
            racks_needed: width.min(distinct.len()),
            rack_of,
            sizes,
        }
    }

    fn rack(&self, node: u16) -> usize {
        self.rack_of[usize::from(node)]
    }

    /// Whether a partition that has chosen these must go to a rack that it is not on yet.
    fn must_spread(&self, chosen: &[u16]) -> bool {
        let first_there = |(at, node): (usize, &u16)| {
            let same = |other: &u16| self.rack(*other) == self.rack(*node);
            !chosen[..at].iter().any(same)
        };
        let racks = chosen.iter().enumerate().filter(|it| first_there(*it));
        racks.count() + (self.width - chosen.len()) <= self.racks_needed
    }

    /// The fewest and the most copies of a rack, if its nodes would have `level` copies each.
    fn rack_copies(&self, rack: usize, level: usize) -> usize {
        let crowded = self.width > self.sizes.len();
        let least = usize::from(crowded);
        let most = self.sizes[rack].min(self.width - self.racks_needed + 1);
        (self.sizes[rack] * level).clamp(least * PARTITIONS, most * PARTITIONS)
    }

    /// How many copies each node is to hold.
    ///
    /// The same for all, as water finds its level, but for nodes of racks that may not hold as much or must
    /// hold more: of those each rack's nodes have the same.
    fn bounds(&self) -> Vec<Bounds> {
        let all = |level: usize| -> usize {
            let racks = 0..self.sizes.len();
            racks.map(|rack| self.rack_copies(rack, level)).sum()
        };
        let copies = PARTITIONS * self.width;
        // The highest at which there are copies enough. All are given out on the way to the next.
        let level = (0..=PARTITIONS).rev().find(|level| all(*level) <= copies);
        let level = level.expect("at level 0 there are no more copies than a row must have racks");
        let bounds = |rack: &usize| Bounds {
            least: self.rack_copies(*rack, level) / self.sizes[*rack],
            most: self
                .rack_copies(*rack, level + 1)
                .div_ceil(self.sizes[*rack]),
        };
        self.rack_of.iter().map(bounds).collect()
    }
}

/// Holders may be anybody, on enough racks.
impl Rule for Spread {
    fn may_swap(&self, _partition: usize, chosen: &[u16], from: u16, to: u16) -> bool {
        let (left, entered) = (self.rack(from), self.rack(to));
        let others = |rack: usize| {
            let there = |node: &&u16| **node != from && self.rack(**node) == rack;
            chosen.iter().filter(there).count()
        };
        if chosen.contains(&to) {
            false
        } else if left == entered {
            true
        } else if self.width > self.sizes.len() {
            others(left) > 0
        } else {
            others(entered) == 0
        }
    }
}

/// Who holds each partition, in no order.
fn holders(costs: &Costs, spread: &Spread) -> Vec<Vec<u16>> {
    let best = |partition: usize| {
        let mut chosen = Vec::with_capacity(spread.width);
        while chosen.len() < spread.width {
            let must_spread = spread.must_spread(&chosen);
            let same = |it: &u16, node: u16| spread.rack(*it) == spread.rack(node);
            let shares_rack = |node: u16| chosen.iter().any(|it| same(it, node));
            let refused = |node: u16| chosen.contains(&node) || must_spread && shares_rack(node);
            let allowed = |node: &u16| !refused(*node);
            let next = costs.cheapest(partition, (0..costs.nodes()).filter(allowed));
            chosen.push(next.expect("there are as many nodes as a row is wide"));
        }
        chosen
    };
    let start = (0..PARTITIONS).map(best).collect();
    let mut assignment = Assignment::new(costs, spread, start);
    assignment.settle(&spread.bounds());
    assignment.into_chosen()
}

/// One of those of a partition that have no column yet.
struct Open<'a>(&'a [Vec<u16>]);

impl Rule for Open<'_> {
    fn may_swap(&self, partition: usize, chosen: &[u16], _from: u16, to: u16) -> bool {
        self.0[partition].contains(&to) && !chosen.contains(&to)
    }
}

/// The holders of each partition, brought into the order of its row: one list for each column.
fn columns(costs: &Costs, mut open: Vec<Vec<u16>>, spread: &Spread) -> Vec<Vec<u16>> {
    let mut columns = Vec::with_capacity(spread.width);
    for left in (1..=spread.width).rev() {
        let best = |partition: usize| {
            let nodes = open[partition].iter().copied();
            let best = costs.cheapest(partition, nodes);
            vec![best.expect("a column is chosen once for each copy")]
        };
        let start = (0..PARTITIONS).map(best).collect();
        let bounds = column_bounds(&open, costs.nodes(), left, spread);
        let rule = Open(&open);
        let mut assignment = Assignment::new(costs, &rule, start);
        assignment.settle(&bounds);
        let column: Vec<u16> = assignment.into_chosen().into_iter().flatten().collect();
        for (open, taken) in open.iter_mut().zip(&column) {
            open.retain(|node| node != taken);
        }
        columns.push(column);
    }
    columns
}

/// How often each node is to come in the next column, of the `left` that are to be filled.
///
/// An equal part of the copies that it has left: that can always be done exactly, since all partitions
/// have as many. Primaries are the exception, for work is equal among nodes whatever they hold: if racks
/// made holdings unequal, primaries are made equal all the same, as far as holdings allow.
fn column_bounds(open: &[Vec<u16>], nodes: u16, left: usize, spread: &Spread) -> Vec<Bounds> {
    let mut copies = vec![0_usize; usize::from(nodes)];
    for node in open.iter().flatten() {
        copies[usize::from(*node)] += 1;
    }
    let even = copies.iter().max().zip(copies.iter().min());
    let uneven = even.is_some_and(|(most, least)| most - least > 1);
    if uneven && left == spread.width {
        return vec![Bounds::part(PARTITIONS, copies.len()); copies.len()];
    }
    let part = |copies: usize| Bounds::part(copies, left);
    copies.into_iter().map(part).collect()
}
