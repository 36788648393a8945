//! Directions from the centre of the globe, and which way they lie to each other.
//!
//! A direction is rounded to a lattice of 2^-40, that is 6 micrometres on the ground. On which side of an arc one
//! lies is then a matter of whole numbers, and has one answer, the same everywhere and in whatever order it is asked.
//! What lies on the arc is taken to lie a trifle beside it, towards [`NUDGE`]: so nothing ever lies on one.

use s2::cellid::CellID;
use s2::point::Point;
use s2::r3::vector::Vector;

/// Lattice steps of a unit.
const STEPS: f64 = (1i64 << 40) as f64;

/// Where things are moved to that lie on an arc. Any direction would do that is hardly in a plane with others.
const NUDGE: Direction = Direction([0x5c_9d3b_71e5, -0x2f_8e14_a6b3, 0x7a_41c6_0d2f]);

/// Where ways begin that ask whether something is inside. The same holds of it.
pub(super) const REFERENCE: Direction =
    Direction([-0x13_7a9e_52c1, 0x21_64f0_8b35, 0xfc_9d27_e0a7]);

/// A vector as numbers: x towards (0, 0), y towards (0, 90) east, z towards the north pole.
pub(super) type Xyz = [f64; 3];

/// A position on the globe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// Of length 1.
    pub(super) unit: Xyz,
    /// The same on the lattice.
    pub(super) direction: Direction,
    /// Its cell of the last level.
    pub(super) leaf: u64,
}

impl Place {
    /// From degrees that are in range.
    pub(super) fn new(longitude: f64, latitude: f64) -> Place {
        let (sin_of_longitude, cos_of_longitude) = longitude.to_radians().sin_cos();
        let (z, ring) = latitude.to_radians().sin_cos();
        let unit = [cos_of_longitude * ring, sin_of_longitude * ring, z];
        Place {
            unit,
            direction: Direction::of(unit),
            leaf: CellID::from(point(unit)).0,
        }
    }
}

/// As S2 has it.
pub(super) fn point([x, y, z]: Xyz) -> Point {
    Point(Vector { x, y, z })
}

pub(super) fn xyz(point: &Point) -> Xyz {
    [point.0.x, point.0.y, point.0.z]
}

pub(super) fn dot(a: Xyz, b: Xyz) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Of length 1; zero if it has no direction.
pub(super) fn normalized(a: Xyz) -> Xyz {
    let length = dot(a, a).sqrt();
    match length > 0.0 {
        true => a.map(|part| part / length),
        false => a,
    }
}

/// Parts are whole steps, at most 2^40 of them either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Direction([i64; 3]);

/// A vector at right angles to two directions; parts are below 2^83.
#[derive(Clone, Copy, Debug)]
struct Normal([i128; 3]);

impl Direction {
    /// Of a vector of length 1.
    pub(super) fn of(unit: Xyz) -> Direction {
        Direction(unit.map(|part| (part * STEPS).round() as i64))
    }

    pub(super) fn xyz(self) -> Xyz {
        self.0.map(|part| part as f64 / STEPS)
    }

    pub(super) fn opposite(self) -> Direction {
        Direction(self.0.map(|part| -part))
    }

    fn cross(self, other: Direction) -> Normal {
        let ([ax, ay, az], [bx, by, bz]) = (self.0.map(i128::from), other.0.map(i128::from));
        Normal([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
    }

    /// At right angles to both, of length 1; zero if they are one direction or opposite ones.
    pub(super) fn normal_with(self, other: Direction) -> Xyz {
        normalized(self.cross(other).0.map(|part| part as f64))
    }
}

impl Normal {
    /// Above 0 on its side of the plane. Below 2^125, so that there is room.
    fn dot(&self, direction: Direction) -> i128 {
        let Normal([x, y, z]) = self;
        let [a, b, c] = direction.0.map(i128::from);
        x * a + y * b + z * c
    }

    fn minus(self, other: Normal) -> Normal {
        let (Normal(a), Normal(b)) = (self, other);
        Normal([a[0] - b[0], a[1] - b[1], a[2] - b[2]])
    }
}

/// The way from one end of an edge to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edge {
    pub(super) from: Direction,
    pub(super) to: Direction,
}

impl Edge {
    /// Whether something lies left of it, or right; see [the module](self) for what lies on it.
    pub(super) fn has_left(&self, direction: Direction) -> bool {
        let normal = self.from.cross(self.to);
        match (normal.dot(direction), normal.dot(NUDGE)) {
            (0, 0) => self.from < self.to,
            (0, side) | (side, _) => side > 0,
        }
    }

    /// Above 0 if the next edge turns left, 0 if it goes straight on, or straight back.
    pub(super) fn turn_to(&self, next: Direction) -> i128 {
        self.from.cross(self.to).dot(next)
    }
}

/// A way across the globe of which the edges are wanted that it crosses. Both of its ends are nudged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    from: Direction,
    to: Direction,
    plane: Normal,
    /// Decides about what lies in the plane.
    nudged: Normal,
}

impl Way {
    pub(super) fn new(from: Direction, to: Direction) -> Way {
        Way {
            from,
            to,
            plane: from.cross(to),
            nudged: NUDGE.cross(to).minus(NUDGE.cross(from)),
        }
    }

    fn has_left(&self, direction: Direction) -> bool {
        match self.plane.dot(direction) {
            0 => self.nudged.dot(direction) >= 0,
            side => side > 0,
        }
    }

    /// Whether it crosses an edge, which it does once at most.
    pub(super) fn crosses(&self, edge: &Edge) -> bool {
        let enters_left = self.has_left(edge.to);
        self.has_left(edge.from) != enters_left
            && edge.has_left(self.from) == enters_left
            && edge.has_left(self.to) != enters_left
    }
}
