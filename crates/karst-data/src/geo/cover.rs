//! Coverings: few cells that together hold a region.
//!
//! Begins with the cells around the region's bounds and splits the largest that lies partly in the region, as long as
//! the cells do not come to be too many. What of the region a cell is cut by is handed down to its parts, so that
//! these do not look at the rest of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::RangeInclusive;

use s2::cap::Cap;
use s2::cell::Cell;
use s2::cellid::{CellID, MAX_LEVEL};
use s2::region::Region as _;

use super::index_value;

/// The coarsest level of a covering's cells.
const LEVEL_MIN: u64 = 1;

/// Most cells of a covering, unless those of the coarsest level are more already: 24 are all there are.
const CELLS_MAX: usize = 12;

/// Edges that a covering looks at before it splits no more: some 30 ms.
const WORK_MAX: usize = 1 << 20;

/// By how much regions are covered too generously, in radians: 64 micrometres on the ground, far more than what is
/// lost by rounding.
pub(super) const MARGIN: f64 = 1e-11;

/// How much of a cell lies in a region.
pub(super) enum Whole<H> {
    Inside,
    Outside,
    /// Some of it may. With it what the cell's parts need to know.
    Cut(H),
}

/// A region that can tell of cells whether they lie in it.
pub(super) trait Cut {
    /// What is handed from a cell to its parts.
    type Held;

    /// A cap that holds all of it.
    fn bound(&self) -> Cap;

    /// What is handed to the first cells.
    fn whole(&self) -> Self::Held;

    /// How a cell lies. `held` is of a cell that it is part of.
    fn cut(&self, held: &Self::Held, cell: &Cell) -> Whole<Self::Held>;

    /// What it takes to cut a cell with this, in edges.
    fn work(held: &Self::Held) -> usize;
}

/// A cell that is partly inside. The coarsest comes first.
struct Candidate<H> {
    order: Reverse<(u64, u64)>,
    held: H,
}

impl<H> Candidate<H> {
    fn new(cell: CellID, held: H) -> Candidate<H> {
        Candidate {
            order: Reverse((cell.level(), cell.0)),
            held,
        }
    }

    fn cell(&self) -> CellID {
        CellID(self.order.0.1)
    }
}

impl<H> PartialEq for Candidate<H> {
    fn eq(&self, other: &Candidate<H>) -> bool {
        self.order == other.order
    }
}

impl<H> Eq for Candidate<H> {}

impl<H> PartialOrd for Candidate<H> {
    fn partial_cmp(&self, other: &Candidate<H>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<H> Ord for Candidate<H> {
    fn cmp(&self, other: &Candidate<H>) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

/// Cells of up to a level that cover a region, in order; no two overlap.
pub(super) fn covering<R: Cut>(region: &R, level_max: u64) -> Vec<u64> {
    let (mut covering, mut queue, mut work) = (Vec::new(), BinaryHeap::new(), 0);
    let whole = region.whole();
    for cell in around_bound(&region.bound(), level_max) {
        match region.cut(&whole, &Cell::from(cell)) {
            Whole::Inside if cell.level() < LEVEL_MIN => {
                covering.extend(cell.children().map(|it| it.0))
            }
            Whole::Inside => covering.push(cell.0),
            Whole::Outside => {}
            Whole::Cut(held) => queue.push(Candidate::new(cell, held)),
        }
    }
    while let Some(candidate) = queue.pop() {
        let cell = candidate.cell();
        if cell.level() >= level_max || (work >= WORK_MAX && cell.level() >= LEVEL_MIN) {
            covering.push(cell.0);
            continue;
        }
        work += 4 * R::work(&candidate.held);
        let parts = cell.children().map(|part| {
            let whole = region.cut(&candidate.held, &Cell::from(part));
            (part, whole)
        });
        let outside = |part: &(CellID, Whole<R::Held>)| matches!(part.1, Whole::Outside);
        let count = 4 - parts.iter().filter(|part| outside(part)).count();
        if covering.len() + queue.len() + count > CELLS_MAX && cell.level() >= LEVEL_MIN {
            covering.push(cell.0);
            continue;
        }
        for (part, whole) in parts {
            match whole {
                Whole::Inside => covering.push(part.0),
                Whole::Outside => {}
                Whole::Cut(held) => queue.push(Candidate::new(part, held)),
            }
        }
    }
    covering.sort_unstable();
    covering
}

/// The same at once: four cells or so that are about as large as the region, or all of the coarsest level.
pub(super) fn coarse_covering(bound: &Cap) -> Vec<u64> {
    let cells = around_bound(bound, MAX_LEVEL).into_iter();
    cells
        .flat_map(|cell| match cell.level() < LEVEL_MIN {
            true => cell.children().to_vec(),
            false => vec![cell],
        })
        .map(|cell| cell.0)
        .collect()
}

/// Cells of one level that cover a cap, in order.
fn around_bound(bound: &Cap, level_max: u64) -> Vec<CellID> {
    let cells = bound.cell_union_bound().into_iter();
    let mut cells: Vec<CellID> = cells
        .map(|cell| cell.parent(cell.level().min(level_max)))
        .collect();
    cells.sort_unstable_by_key(|cell| cell.0);
    cells.dedup_by_key(|cell| cell.0);
    cells
}

/// Where cells stand in an index that lie in some cells.
pub(super) fn within(cells: &[u64]) -> Vec<RangeInclusive<i64>> {
    let range = |cell: &u64| {
        let cell = CellID(*cell);
        index_value(cell.range_min().0)..=index_value(cell.range_max().0)
    };
    cells.iter().map(range).collect()
}

/// Where cells stand in an index that a cell of the last level lies in.
pub(super) fn around(leaf: u64) -> Vec<RangeInclusive<i64>> {
    let levels = LEVEL_MIN..=MAX_LEVEL;
    levels
        .map(|level| {
            let value = index_value(CellID(leaf).parent(level).0);
            value..=value
        })
        .collect()
}
