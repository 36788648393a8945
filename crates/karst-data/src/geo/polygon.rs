//! Polygons: one or more, each of one or more closed loops.
//!
//! Whether something is inside is found by a way from a reference of which that is known: each edge that the way
//! crosses leads in or out. Of what was touched only nothing is left open: see [`super::sphere`].

use std::f64::consts::PI;

use s2::cap::Cap;
use s2::cell::Cell;
use s2::s1::Rad;

use super::GeoError;
use super::cover::{Cut, MARGIN, Whole};
use super::sphere::{Direction, Edge, REFERENCE, Way, Xyz, dot, normalized, point, xyz};

/// Fewest positions of a loop, the last of which is the first again.
const POSITIONS_MIN: usize = 4;

/// A loop all of which is on this side of a plane through the globe's centre has its smaller side there.
const SAME_SIDE: f64 = 1e-9;

/// The square of the straight way to what is a quarter of a turn away, and a little less.
const HALF_CHORD_SQUARED: f64 = 2.0 - 1e-6;

/// Points lie in them that lie in any of the polygons.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Polygons {
    /// Of all loops of all polygons, in order.
    edges: Vec<Edge>,
    polygons: Vec<Polygon>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Polygon {
    /// Where its edges end.
    edges_end: usize,
    /// Whether the reference is inside.
    has_reference: bool,
}

impl Polygons {
    /// Adds a polygon by its loops.
    pub(super) fn add(&mut self, loops: Vec<Vec<Direction>>) -> Result<(), GeoError> {
        let mut has_reference = false;
        for mut positions in loops {
            positions.dedup();
            if positions.first() != positions.last() {
                return Err(GeoError("a loop does not end where it begins"));
            }
            if positions.len() < POSITIONS_MIN {
                return Err(GeoError("a loop of less than three different positions"));
            }
            let begin = self.edges.len();
            for ends in positions.windows(2) {
                let (from, to) = (ends[0], ends[1]);
                if from == to.opposite() {
                    return Err(GeoError("an edge between opposite points of the globe"));
                }
                self.edges.push(Edge { from, to });
            }
            has_reference ^= ring_has_reference(&self.edges[begin..]);
        }
        self.polygons.push(Polygon {
            edges_end: self.edges.len(),
            has_reference,
        });
        Ok(())
    }

    pub(super) fn contains(&self, direction: &Direction) -> bool {
        let way = Way::new(REFERENCE, *direction);
        let mut begin = 0;
        self.polygons.iter().any(|polygon| {
            let edges = &self.edges[begin..polygon.edges_end];
            begin = polygon.edges_end;
            polygon.has_reference ^ crosses_odd(&way, edges)
        })
    }

    /// A cap that holds them all.
    pub(super) fn bound(&self) -> Cap {
        let centre = middle(&self.edges);
        let chord_squared = |edge: &Edge| {
            let at = normalized(edge.from.xyz());
            let way = [at[0] - centre[0], at[1] - centre[1], at[2] - centre[2]];
            dot(way, way)
        };
        let farthest = self.edges.iter().map(chord_squared).fold(0.0, f64::max);
        // An arc between two places of a cap that is less than half the globe stays in it.
        match farthest < HALF_CHORD_SQUARED && centre != [0.0; 3] {
            true => {
                let radius = 2.0 * (farthest.sqrt() / 2.0).asin() + MARGIN;
                Cap::from_center_angle(&point(centre), &Rad(radius).into())
            }
            false => Cap::full(),
        }
    }

    /// What coverings look at.
    pub(super) fn outline(&self) -> Outline<'_> {
        let normal = |edge: &Edge| edge.from.normal_with(edge.to);
        Outline {
            polygons: self,
            normals: self.edges.iter().map(normal).collect(),
        }
    }

    /// Which polygon has an edge.
    fn polygon_of(&self, edge: u32) -> u32 {
        let before = |polygon: &Polygon| polygon.edges_end <= edge as usize;
        self.polygons.partition_point(before) as u32
    }
}

fn crosses_odd(way: &Way, edges: &[Edge]) -> bool {
    edges.iter().filter(|edge| way.crosses(edge)).count() % 2 == 1
}

/// The direction in which edges lie by and large.
fn middle(edges: &[Edge]) -> Xyz {
    let sum = edges.iter().fold([0.0; 3], |sum, edge| {
        let at = edge.from.xyz();
        [sum[0] + at[0], sum[1] + at[1], sum[2] + at[2]]
    });
    normalized(sum)
}

/// Whether the reference is on the smaller side of a loop.
fn ring_has_reference(edges: &[Edge]) -> bool {
    let middle = middle(edges);
    let same_side = |edge: &Edge| dot(edge.from.xyz(), middle) > SAME_SIDE;
    if edges.iter().all(same_side) {
        let outside = Direction::of(middle).opposite();
        return crosses_odd(&Way::new(outside, REFERENCE), edges);
    }
    let first = edges[0].to; // inside if the wedge there on the smaller side has it, nudged
    let lefts = [edges[0], edges[1]].map(|edge| edge.has_left(first));
    let is_left = match edges[0].turn_to(edges[1].to) {
        0.. => lefts[0] && lefts[1],
        _ => lefts[0] || lefts[1],
    };
    let is_inside = is_left == (left_area(edges) <= 2.0 * PI);
    is_inside ^ crosses_odd(&Way::new(first, REFERENCE), edges)
}

/// The area left of a loop, where the whole globe has 4 pi.
fn left_area(edges: &[Edge]) -> f64 {
    let apex = edges[0].from.xyz();
    let triangle = |edge: &Edge| {
        let (a, b) = (edge.from.xyz(), edge.to.xyz());
        let volume = dot(apex, cross(a, b));
        2.0 * volume.atan2(1.0 + dot(apex, a) + dot(a, b) + dot(b, apex))
    };
    let sum: f64 = edges.iter().map(triangle).sum();
    sum.rem_euclid(4.0 * PI)
}

fn cross(a: Xyz, b: Xyz) -> Xyz {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

/// Polygons with what helps to cover them.
pub(super) struct Outline<'p> {
    polygons: &'p Polygons,
    /// Of each edge, the normal of its plane.
    normals: Vec<Xyz>,
}

/// What of the polygons a cell is cut by.
pub(super) struct Held {
    /// The edges that may touch it, by number.
    edges: Vec<u32>,
    centre: Direction,
    /// The polygons that the centre lies in, in order.
    around: Vec<u32>,
}

/// A cell's corners, and the normals of its sides, pointing inwards.
struct Frame {
    corners: [Xyz; 4],
    sides: [Xyz; 4],
}

impl Frame {
    fn of(cell: &Cell) -> Frame {
        Frame {
            corners: cell.vertices().map(|it| xyz(&it)),
            sides: [0, 1, 2, 3].map(|side| normalized(xyz(&cell.edge(side)))),
        }
    }

    /// Whether an edge may come within the margin of the cell. It does not if it lies behind one of the sides, or if
    /// the cell lies on one side of it.
    fn may_touch(&self, edge: &Edge, normal: Xyz) -> bool {
        let (from, to) = (edge.from.xyz(), edge.to.xyz());
        let behind = |side: &Xyz| dot(*side, from) < -MARGIN && dot(*side, to) < -MARGIN;
        if self.sides.iter().any(behind) {
            return false;
        }
        let heights = self.corners.map(|corner| dot(corner, normal));
        let above = heights.iter().all(|height| *height > MARGIN);
        let below = heights.iter().all(|height| *height < -MARGIN);
        !above && !below
    }
}

impl Cut for Outline<'_> {
    type Held = Held;

    fn bound(&self) -> Cap {
        self.polygons.bound()
    }

    fn whole(&self) -> Held {
        let polygons = self.polygons.polygons.iter().enumerate();
        let around = polygons.filter(|(_, polygon)| polygon.has_reference);
        Held {
            edges: (0..self.polygons.edges.len() as u32).collect(),
            centre: REFERENCE,
            around: around.map(|(number, _)| number as u32).collect(),
        }
    }

    fn cut(&self, held: &Held, cell: &Cell) -> Whole<Held> {
        let frame = Frame::of(cell);
        let centre = Direction::of(xyz(&cell.center()));
        let way = Way::new(held.centre, centre);
        let (mut edges, mut crossed) = (Vec::new(), Vec::new());
        for number in &held.edges {
            let edge = &self.polygons.edges[*number as usize];
            if way.crosses(edge) {
                crossed.push(self.polygons.polygon_of(*number));
            }
            if frame.may_touch(edge, self.normals[*number as usize]) {
                edges.push(*number);
            }
        }
        let around = toggled(&held.around, crossed);
        match (edges.is_empty(), around.is_empty()) {
            (true, true) => Whole::Outside,
            (true, false) => Whole::Inside,
            (false, _) => Whole::Cut(Held {
                edges,
                centre,
                around,
            }),
        }
    }

    fn work(held: &Held) -> usize {
        held.edges.len() + held.around.len()
    }
}

/// Numbers that are in one of both an odd number of times, in order.
fn toggled(numbers: &[u32], mut changes: Vec<u32>) -> Vec<u32> {
    changes.extend_from_slice(numbers);
    changes.sort_unstable();
    let equal = changes.chunk_by(|a, b| a == b);
    equal
        .filter(|equal| equal.len() % 2 == 1)
        .map(|equal| equal[0])
        .collect()
}
