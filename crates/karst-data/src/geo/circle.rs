//! Circles: all that is at most so far from a centre.

use std::f64::consts::PI;

use s2::cap::Cap;
use s2::cell::Cell;
use s2::region::Region as _;
use s2::s1::Rad;

use super::cover::{Cut, MARGIN, Whole};
use super::sphere::{Place, Xyz, dot, point};

/// Radius of the globe in metres, as the reference has it.
const GLOBE_METRES: f64 = 6_371_000.0;

/// From here on a circle is covered as if it were the whole globe; that is a little less than half a turn.
const WHOLE_RADIANS: f64 = PI - 1e-3;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Circle {
    centre: Xyz,
    radians: f64,
    /// The square of the straight way from the centre to the rim, where the globe's radius is 1.
    chord_squared: f64,
}

impl Circle {
    pub(super) fn new(centre: &Place, metres: f64) -> Circle {
        let radians = (metres / GLOBE_METRES).min(PI);
        let half_chord = (radians / 2.0).sin();
        Circle {
            centre: centre.unit,
            radians,
            chord_squared: match radians < PI {
                true => 4.0 * half_chord * half_chord,
                false => f64::INFINITY,
            },
        }
    }

    pub(super) fn contains(&self, place: &Place) -> bool {
        let (a, b) = (self.centre, place.unit);
        let way = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
        dot(way, way) <= self.chord_squared
    }

    /// A cap around it.
    pub(super) fn bound(&self) -> Cap {
        match self.radians < WHOLE_RADIANS {
            true => Cap::from_center_angle(&point(self.centre), &Rad(self.radians + MARGIN).into()),
            false => Cap::full(),
        }
    }
}

impl Cut for Circle {
    type Held = Cap;

    fn bound(&self) -> Cap {
        Circle::bound(self)
    }

    fn whole(&self) -> Cap {
        Circle::bound(self)
    }

    fn cut(&self, held: &Cap, cell: &Cell) -> Whole<Cap> {
        if held.contains_cell(cell) {
            Whole::Inside
        } else if held.intersects_cell(cell) {
            Whole::Cut(held.clone())
        } else {
            Whole::Outside
        }
    }

    fn work(_: &Cap) -> usize {
        1
    }
}
