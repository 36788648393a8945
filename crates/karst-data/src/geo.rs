//! Points and regions on the globe, written as GeoJSON.
//!
//! ```text
//! stored value    flags 1 (bit 0: a region) | cells 2 | that many cell ids 8 | the text as the client wrote it
//! ```
//!
//! A *cell* is one of S2's: the globe as six faces, each split into four again and again, 30 times. A point has the
//! one cell of the last level that it lies in; a region has some that cover it. Cells only narrow down where to look:
//! whether a point lies in a region is always decided by the shapes themselves ([`Shape::matches`]).
//!
//! What may be written: `Point`, `Polygon`, `MultiPolygon`, `AeroCircle` (a centre and a radius in metres), or one of
//! these in a `Feature`. Edges of polygons are the shortest ways between their ends; of a loop the smaller side is
//! meant, whichever way round it goes; a point lies in a polygon if it lies in an odd number of its loops. Of two
//! polygons that share an edge exactly one has the points on it. A circle has those at its rim.
//!
//! Work is bounded: a text by [`TEXT_BYTES_MAX`], a covering by its number of cells and of edges that it looks at.

mod circle;
mod cover;
mod json;
mod polygon;
mod sphere;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use self::circle::Circle;
use self::polygon::Polygons;
use self::sphere::Place;

/// Longest text, in bytes; no query may ask with a longer one either.
pub const TEXT_BYTES_MAX: usize = (1 << 20) - 1;

/// Bytes of a stored value before its cells.
const HEAD_BYTES: usize = 3;

/// Bytes of a cell's id.
const CELL_BYTES: usize = 8;

/// Set in the flags of regions.
const IS_REGION: u8 = 1;

/// The finest level of a stored region's cells.
const STORED_LEVEL_MAX: u64 = s2::cellid::MAX_LEVEL;

/// The finest level of the cells that are looked up for a region.
const SOUGHT_LEVEL_MAX: u64 = 20;

/// Why a text is no point or region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not GeoJSON that can be used: {0}")]
pub struct GeoError(&'static str);

/// A point or a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Point(Place),
    Region(Region),
}

#[derive(Clone, Debug, PartialEq)]
enum Region {
    Circle(Circle),
    Polygons(Polygons),
}

impl Region {
    fn contains(&self, place: &Place) -> bool {
        match self {
            Region::Circle(circle) => circle.contains(place),
            Region::Polygons(polygons) => polygons.contains(&place.direction),
        }
    }

    fn covering(&self, level_max: u64) -> Vec<u64> {
        match self {
            Region::Circle(circle) => cover::covering(circle, level_max),
            Region::Polygons(polygons) => cover::covering(&polygons.outline(), level_max),
        }
    }

    fn coarse_covering(&self) -> Vec<u64> {
        match self {
            Region::Circle(circle) => cover::coarse_covering(&circle.bound()),
            Region::Polygons(polygons) => cover::coarse_covering(&polygons.bound()),
        }
    }
}

impl Shape {
    /// Reads GeoJSON.
    ///
    /// # Errors
    /// [`GeoError`], with the reason.
    pub fn parse(text: &[u8]) -> Result<Shape, GeoError> {
        json::shape(text)
    }

    /// Whether it is a region.
    pub fn is_region(&self) -> bool {
        match self.0 {
            Kind::Point(_) => false,
            Kind::Region(_) => true,
        }
    }

    /// Whether one of the two is a point and lies in the other.
    pub fn matches(&self, other: &Shape) -> bool {
        match (&self.0, &other.0) {
            (Kind::Point(place), Kind::Region(region))
            | (Kind::Region(region), Kind::Point(place)) => region.contains(place),
            (Kind::Point(_), Kind::Point(_)) | (Kind::Region(_), Kind::Region(_)) => false,
        }
    }

    /// The cells that it is stored with, in order; no two overlap.
    pub fn cells(&self) -> Vec<u64> {
        match &self.0 {
            Kind::Point(place) => vec![place.leaf],
            Kind::Region(region) => region.covering(STORED_LEVEL_MAX),
        }
    }

    /// Cells that cover it too, found at once and larger than need be.
    pub fn coarse_cells(&self) -> Vec<u64> {
        match &self.0 {
            Kind::Point(place) => vec![place.leaf],
            Kind::Region(region) => region.coarse_covering(),
        }
    }
}

/// A value as it is stored, from its text.
///
/// # Errors
/// As [`Shape::parse`].
pub fn stored(text: &[u8]) -> Result<Vec<u8>, GeoError> {
    let shape = Shape::parse(text)?;
    let cells = shape.cells();
    let count = u16::try_from(cells.len()).expect("a covering has few cells");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + cells.len() * CELL_BYTES + text.len());
    bytes.push(if shape.is_region() { IS_REGION } else { 0 });
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend(cells.iter().flat_map(|cell| cell.to_be_bytes()));
    bytes.extend_from_slice(text);
    Ok(bytes)
}

/// A value that tells its text alone: the form in which collections and scripts hand theirs out.
pub fn without_cells(text: &[u8]) -> Vec<u8> {
    [&[0; HEAD_BYTES], text].concat()
}

/// The cells and the text of a value; `None` if it is shorter than it says.
pub fn split(value: &[u8]) -> Option<(&[[u8; CELL_BYTES]], &[u8])> {
    let (&[_flags, high, low], rest) = value.split_first_chunk::<HEAD_BYTES>()?;
    let count = usize::from(u16::from_be_bytes([high, low]));
    let (cells, text) = rest.split_at_checked(count * CELL_BYTES)?;
    let (cells, _) = cells.as_chunks();
    Some((cells, text))
}

/// What a query asks: for points in a region, or for regions around a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    shape: Shape,
    ranges: Vec<RangeInclusive<i64>>,
}

impl Search {
    /// From the GeoJSON of the region or the point.
    ///
    /// # Errors
    /// As [`Shape::parse`].
    pub fn parse(text: &[u8]) -> Result<Search, GeoError> {
        let shape = Shape::parse(text)?;
        let mut ranges = match &shape.0 {
            Kind::Point(place) => cover::around(place.leaf),
            Kind::Region(region) => cover::within(&region.covering(SOUGHT_LEVEL_MAX)),
        };
        ranges.sort_unstable_by_key(|range| *range.start());
        Ok(Search { shape, ranges })
    }

    /// Where cells of what is wanted stand in an index, as [`index_value`] orders them; no two overlap.
    pub fn ranges(&self) -> &[RangeInclusive<i64>] {
        &self.ranges
    }

    /// Whether a value of this text is what is wanted. Text that is no GeoJSON is not.
    pub fn is_met_by(&self, text: &[u8]) -> bool {
        Shape::parse(text).is_ok_and(|shape| shape.matches(&self.shape))
    }
}

/// What stands for a cell in an index.
pub fn index_value(cell: u64) -> i64 {
    cell.cast_signed()
}
