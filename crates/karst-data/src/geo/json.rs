//! From text to shapes.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

use super::circle::Circle;
use super::polygon::Polygons;
use super::sphere::{Direction, Place};
use super::{GeoError, Kind, Region, Shape, TEXT_BYTES_MAX};

/// What is read of an object; all else in it is passed over.
#[derive(Deserialize)]
struct Document<'t> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'t, str>,
    coordinates: Option<Coordinates>,
    #[serde(borrow)]
    geometry: Option<Geometry<'t>>,
}

#[derive(Deserialize)]
struct Geometry<'t> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'t, str>,
    coordinates: Option<Coordinates>,
}

/// Numbers, however deeply in lists.
enum Coordinates {
    Number(f64),
    /// A list that begins with two numbers: a longitude and a latitude. What follows them is passed over.
    Position(f64, f64),
    List(Vec<Coordinates>),
}

pub(super) fn shape(text: &[u8]) -> Result<Shape, GeoError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(GeoError("it is too long"));
    }
    let text = str::from_utf8(text).map_err(|_| GeoError("it is no text"))?;
    let document: Document<'_> =
        serde_json::from_str(text).map_err(|_| GeoError("it is no JSON of a known form"))?;
    let (kind, coordinates) = match &*document.kind {
        "Feature" => {
            let geometry = document.geometry;
            let geometry = geometry.ok_or(GeoError("a feature without a geometry"))?;
            (geometry.kind, geometry.coordinates)
        }
        _ => (document.kind, document.coordinates),
    };
    let coordinates = coordinates.ok_or(GeoError("there are no coordinates"))?;
    let region = |region| Ok(Shape(Kind::Region(region)));
    match &*kind {
        "Point" => Ok(Shape(Kind::Point(place(&coordinates)?))),
        "Polygon" => {
            let mut polygons = Polygons::default();
            polygons.add(loops(&coordinates)?)?;
            region(Region::Polygons(polygons))
        }
        "MultiPolygon" => {
            let mut polygons = Polygons::default();
            for each in list(&coordinates)? {
                polygons.add(loops(each)?)?;
            }
            region(Region::Polygons(polygons))
        }
        "AeroCircle" => region(Region::Circle(circle(&coordinates)?)),
        _ => Err(GeoError("it is no point, polygon, multi-polygon or circle")),
    }
}

/// What a list holds, which is not nothing.
fn list(coordinates: &Coordinates) -> Result<&[Coordinates], GeoError> {
    match coordinates {
        Coordinates::List(list) if !list.is_empty() => Ok(list),
        _ => Err(GeoError("the coordinates do not fit the type")),
    }
}

fn place(coordinates: &Coordinates) -> Result<Place, GeoError> {
    let Coordinates::Position(longitude, latitude) = *coordinates else {
        return Err(GeoError("the coordinates do not fit the type"));
    };
    match longitude.abs() <= 180.0 && latitude.abs() <= 90.0 {
        true => Ok(Place::new(longitude, latitude)),
        false => Err(GeoError("a position is out of range")),
    }
}

fn loops(coordinates: &Coordinates) -> Result<Vec<Vec<Direction>>, GeoError> {
    let direction = |at| place(at).map(|place| place.direction);
    let positions = |ring| list(ring)?.iter().map(direction).collect();
    list(coordinates)?.iter().map(positions).collect()
}

fn circle(coordinates: &Coordinates) -> Result<Circle, GeoError> {
    match list(coordinates)? {
        [centre, Coordinates::Number(metres)] if *metres >= 0.0 => {
            Ok(Circle::new(&place(centre)?, *metres))
        }
        _ => Err(GeoError(
            "a circle is a centre and a radius that is not negative",
        )),
    }
}

impl<'de> Deserialize<'de> for Coordinates {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Coordinates, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Coordinates;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a number, or a list of numbers or lists")
    }

    fn visit_f64<E>(self, number: f64) -> Result<Coordinates, E> {
        Ok(Coordinates::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Coordinates, E> {
        Ok(Coordinates::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Coordinates, E> {
        Ok(Coordinates::Number(number as f64))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Coordinates, A::Error> {
        let mut all = Vec::new();
        while let Some(next) = list.next_element()? {
            if let (true, Coordinates::Number(longitude)) = (all.is_empty(), &next) {
                let longitude = *longitude;
                let Some(Coordinates::Number(latitude)) = list.next_element()? else {
                    return Err(A::Error::custom("a position has two numbers"));
                };
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Coordinates::Position(longitude, latitude));
            }
            all.push(next);
        }
        Ok(Coordinates::List(all))
    }
}
