//! Shapes against slow models of them, coverings against shapes, and texts that are none.

use proptest::prelude::*;

use super::sphere::{Place, Xyz, dot, normalized};
use super::*;

const DEGREE: f64 = std::f64::consts::PI / 180.0;

fn point(longitude: f64, latitude: f64) -> Shape {
    parsed(&format!(
        r#"{{"type":"Point","coordinates":[{longitude:?},{latitude:?}]}}"#
    ))
}

fn circle((longitude, latitude): (f64, f64), metres: f64) -> Shape {
    parsed(&format!(
        r#"{{"type":"AeroCircle","coordinates":[[{longitude:?},{latitude:?}],{metres:?}]}}"#
    ))
}

/// The text of a loop, closed.
fn ring(corners: &[(f64, f64)]) -> String {
    let closed = corners.iter().chain(&corners[..1]);
    let positions: Vec<String> = closed.map(|(x, y)| format!("[{x:?},{y:?}]")).collect();
    format!("[{}]", positions.join(","))
}

fn polygon(rings: &[&[(f64, f64)]]) -> Shape {
    let rings: Vec<String> = rings.iter().map(|corners| ring(corners)).collect();
    let rings = rings.join(",");
    parsed(&format!(r#"{{"type":"Polygon","coordinates":[{rings}]}}"#))
}

fn parsed(text: &str) -> Shape {
    Shape::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn check(region: &Shape, inside: &[(f64, f64)], outside: &[(f64, f64)]) {
    let indexed = Indexed::new(region);
    for (longitude, latitude) in inside {
        let place = point(*longitude, *latitude);
        assert!(region.matches(&place), "{longitude} {latitude} is inside");
        assert!(indexed.finds(&place), "{longitude} {latitude} is found");
    }
    for (longitude, latitude) in outside {
        let place = point(*longitude, *latitude);
        assert!(!region.matches(&place), "{longitude} {latitude} is outside");
    }
}

/// What leads from a region to points and from points to the region.
struct Indexed {
    sought: Vec<RangeInclusive<i64>>,
    stored: Vec<i64>,
    coarse: Vec<i64>,
}

impl Indexed {
    fn new(shape: &Shape) -> Indexed {
        let Kind::Region(region) = &shape.0 else {
            panic!("it is no region");
        };
        let values = |cells: Vec<u64>| cells.into_iter().map(index_value).collect();
        Indexed {
            sought: cover::within(&region.covering(SOUGHT_LEVEL_MAX)),
            stored: values(shape.cells()),
            coarse: values(shape.coarse_cells()),
        }
    }

    /// Whether an index would lead from the region to the point, and from the point to the region.
    fn finds(&self, place: &Shape) -> bool {
        let Kind::Point(place) = &place.0 else {
            panic!("it is no point");
        };
        let leaf = index_value(place.leaf);
        let around = cover::around(place.leaf);
        let hit = |values: &[i64]| {
            let mut all = values.iter();
            all.any(|value| around.iter().any(|range| range.contains(value)))
        };
        self.sought.iter().any(|range| range.contains(&leaf))
            && hit(&self.stored)
            && hit(&self.coarse)
    }
}

#[test]
fn a_polygon_has_what_lies_between_its_edges_whichever_way_round_it_goes() {
    let square = [
        (-122.5, 37.0),
        (-121.0, 37.0),
        (-121.0, 38.08),
        (-122.5, 38.08),
    ];
    let mut reversed = square;
    reversed.reverse();
    for corners in [square, reversed] {
        check(
            &polygon(&[&corners]),
            &[(-122.0, 37.5), (-121.8, 37.7), (-121.6, 37.9)],
            &[(-121.4, 38.1), (-122.51, 37.5), (58.0, -37.5), (0.0, 90.0)],
        );
    }
}

#[test]
fn holes_islands_in_them_and_several_polygons_alternate() {
    let square = |half: f64| [(-half, -half), (half, -half), (half, half), (-half, half)];
    let rings = [square(3.0), square(2.0), square(1.0)];
    let region = polygon(&[&rings[0], &rings[1], &rings[2]]);
    check(
        &region,
        &[(2.5, 0.0), (0.0, 0.0)],
        &[(1.5, 0.0), (3.5, 0.0)],
    );
    let (a, b) = (
        ring(&square(1.0)),
        ring(&[(20.0, 0.0), (30.0, 0.0), (30.0, 9.0)]),
    );
    let both = parsed(&format!(
        r#"{{"type":"MultiPolygon","coordinates":[[{a}],[{b}]]}}"#
    ));
    check(
        &both,
        &[(0.0, 0.0), (28.0, 4.0)],
        &[(10.0, 0.0), (21.0, 8.0)],
    );
    let twice = parsed(&format!(
        r#"{{"type":"MultiPolygon","coordinates":[[{a}],[{a}]]}}"#
    ));
    check(&twice, &[(0.0, 0.0)], &[(2.0, 0.0)]);
}

#[test]
fn edges_are_shortest_ways_and_go_over_poles_and_the_edge_of_maps() {
    let wide = polygon(&[&[(-40.0, 50.0), (40.0, 50.0), (40.0, 40.0), (-40.0, 40.0)]]);
    check(
        &wide,
        &[(0.0, 50.5), (0.0, 55.0)],
        &[(0.0, 44.0), (0.0, 60.0)],
    );
    let over_the_date_line =
        polygon(&[&[(170.0, -5.0), (-170.0, -5.0), (-170.0, 5.0), (170.0, 5.0)]]);
    check(
        &over_the_date_line,
        &[(180.0, 0.0), (-180.0, 1.0), (175.0, -3.0), (-171.0, 4.0)],
        &[(0.0, 0.0), (169.0, 0.0), (-169.0, 0.0)],
    );
    let cap = polygon(&[&[(0.0, 80.0), (90.0, 80.0), (180.0, 80.0), (-90.0, 80.0)]]);
    check(
        &cap,
        &[(0.0, 90.0), (123.0, 90.0), (45.0, 85.0)],
        &[(45.0, 79.0), (0.0, 79.9), (0.0, -90.0)],
    );
    let over_the_pole = polygon(&[&[(0.0, 89.0), (180.0, 89.0), (90.0, 88.0)]]);
    check(&over_the_pole, &[(90.0, 88.5)], &[(-90.0, 89.9)]);
}

#[test]
fn of_a_loop_around_half_the_globe_the_smaller_side_is_meant() {
    let zigzag = |up: f64, down: f64| -> Vec<(f64, f64)> {
        let corner = |at: i32| {
            let latitude = if at % 2 == 0 { up } else { down };
            (f64::from(at) * 30.0 - 180.0, latitude)
        };
        (0..12).map(corner).collect()
    };
    for turn in 0..12 {
        for reverse in [false, true] {
            let (mut north, mut south) = (zigzag(50.0, -10.0), zigzag(10.0, -50.0));
            for corners in [&mut north, &mut south] {
                corners.rotate_left(turn);
                if reverse {
                    corners.reverse();
                }
            }
            let (top, bottom) = ((0.0, 89.0), (0.0, -89.0));
            check(&polygon(&[&north]), &[top], &[bottom]);
            check(&polygon(&[&south]), &[bottom], &[top]);
        }
    }
}

#[test]
fn of_polygons_that_share_edges_and_corners_exactly_one_has_what_lies_on_them() {
    for (west, south) in [
        (0.0, 0.0),
        (-2.0, -2.0),
        (178.0, 45.0),
        (10.0, 85.5),
        (43.0, 33.0),
    ] {
        let at = |x: u32, y: u32| {
            let longitude = west + f64::from(x);
            let longitude = if longitude > 180.0 {
                longitude - 360.0
            } else {
                longitude
            };
            (longitude, south + f64::from(y))
        };
        let mut tiles = Vec::new();
        for x in 0..4 {
            for y in 0..4 {
                let corners = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
                tiles.push(polygon(&[&[corners[0], corners[1], corners[2]]]));
                tiles.push(polygon(&[&[corners[0], corners[3], corners[2]]]));
            }
        }
        for x in 1..4 {
            for y in 1..4 {
                let (longitude, latitude) = at(x, y);
                for place in [
                    point(longitude, latitude),
                    point(longitude, latitude + 0.5),
                    point(longitude, latitude - 0.125),
                ] {
                    let having = tiles.iter().filter(|tile| tile.matches(&place)).count();
                    assert_eq!(having, 1, "{place:?}");
                }
            }
        }
    }
}

#[test]
fn a_circle_has_its_centre_and_its_rim() {
    let globe_metres = 6_371_000.0;
    check(
        &circle((0.0, 0.0), globe_metres * DEGREE),
        &[(1.0, 0.0), (0.0, -1.0)],
        &[(1.001, 0.0)],
    );
    check(
        &circle((-122.0, 37.5), 250.2),
        &[(-122.0, 37.5)],
        &[(-121.8, 37.7)],
    );
    check(
        &circle((8.0, 90.0), 1000.0),
        &[(-100.0, 90.0), (7.0, 89.9999)],
        &[(7.0, 89.9)],
    );
    check(
        &circle((8.0, 47.0), 0.0),
        &[(8.0, 47.0)],
        &[(8.0, 47.0000001)],
    );
    check(
        &circle((8.0, 47.0), 1e300),
        &[(8.0, 47.0), (-172.0, -47.0)],
        &[],
    );
    let all_but_a_spot = circle((0.0, 0.0), globe_metres * 179.9 * DEGREE);
    check(
        &all_but_a_spot,
        &[(90.0, 0.0), (179.0, 0.0)],
        &[(180.0, 0.0)],
    );
}

#[test]
fn loops_that_cross_or_touch_themselves_or_have_no_inside_are_read_all_the_same() {
    let bow_tie = [
        (-124.5, 37.0),
        (-125.0, 37.0),
        (-121.0, 38.08),
        (-122.5, 38.08),
    ];
    check(
        &polygon(&[&bow_tie]),
        &[(-124.6, 37.05), (-122.2, 38.0)],
        &[(-121.0, 37.0)],
    );
    let line = [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)];
    check(&polygon(&[&line]), &[], &[(1.0, 1.0), (1.0, -1.0)]);
    let there_and_back = [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (1.0, 1.0)];
    check(
        &polygon(&[&there_and_back]),
        &[],
        &[(1.0, 1.1), (1.0, 0.9), (0.5, 3.0)],
    );
    let ring_around = [(0.0, 0.0), (90.0, 0.0), (180.0, 0.0), (-90.0, 0.0)];
    let half = polygon(&[&ring_around]);
    assert_ne!(
        half.matches(&point(0.0, 45.0)),
        half.matches(&point(0.0, -45.0))
    );
}

#[test]
fn text_that_is_no_shape_is_refused_and_the_rest_of_an_object_is_passed_over() {
    for good in [
        r#"{"type":"Point","coordinates":[-122,37.5]}"#,
        r#"{"coordinates":[1e1,2,300,"x"],"bbox":[0],"type":"Point"}"#,
        r#" {"type":"\u0050oint","coordinates":[180,-90]} "#,
        r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":{"a":[{}]}}"#,
        r#"{"type":"Feature","properties":null,"geometry":{"type":"AeroCircle","coordinates":[[1,2],3]}}"#,
        r#"{"type":"Polygon","coordinates":[[[0,0],[0,0],[1,0],[1,1],[0,0],[0,0]]]}"#,
        r#"{"type":"MultiPolygon","coordinates":[[[[0,0],[1,0],[1,1],[0,0]]]]}"#,
    ] {
        parsed(good);
    }
    for bad in [
        "",
        "{}",
        "[]",
        "7",
        "not json",
        r#"{"type":"Point"}"#,
        r#"{"type":"Point","coordinates":[]}"#,
        r#"{"type":"Point","coordinates":[1]}"#,
        r#"{"type":"Point","coordinates":["1","2"]}"#,
        r#"{"type":"Point","coordinates":[[1,2]]}"#,
        r#"{"type":"Point","coordinates":[181,0]}"#,
        r#"{"type":"Point","coordinates":[0,-90.001]}"#,
        r#"{"type":"Point","coordinates":[NaN,0]}"#,
        r#"{"type":"Point","coordinates":[1e999,0]}"#,
        r#"{"type":"Point","coordinates":[1,2]"#,
        r#"{"type":"Point","coordinates":[1,2]}}"#,
        r#"{"type":"Point","type":"Point","coordinates":[1,2]}"#,
        r#"{"type":"point","coordinates":[1,2]}"#,
        r#"{"type":null,"coordinates":[1,2]}"#,
        r#"{"type":"LineString","coordinates":[[0,0],[1,1]]}"#,
        r#"{"type":"MultiPoint","coordinates":[[0,0],[1,1]]}"#,
        r#"{"type":"FeatureCollection","features":[]}"#,
        r#"{"type":"GeometryCollection","geometries":[]}"#,
        r#"{"type":"Feature","geometry":null}"#,
        r#"{"type":"Feature","geometry":{"type":"Feature","geometry":null}}"#,
        r#"{"type":"Polygon","coordinates":[]}"#,
        r#"{"type":"Polygon","coordinates":[[]]}"#,
        r#"{"type":"Polygon","coordinates":[[0,0],[1,0],[1,1],[0,0]]}"#,
        r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[0,0]]]}"#,
        r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,0],[0,0]]]}"#,
        r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[2,2]]]}"#,
        r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]],[]]}"#,
        r#"{"type":"Polygon","coordinates":[[[0,0],[180,0],[1,1],[0,0]]]}"#,
        r#"{"type":"Polygon","coordinates":[[[-180,-90],[180,-90],[180,90],[-180,90],[-180,-90]]]}"#,
        r#"{"type":"MultiPolygon","coordinates":[]}"#,
        r#"{"type":"MultiPolygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}"#,
        r#"{"type":"AeroCircle","coordinates":[[0,0]]}"#,
        r#"{"type":"AeroCircle","coordinates":[0,0,5]}"#,
        r#"{"type":"AeroCircle","coordinates":[[0,0],-1]}"#,
        r#"{"type":"AeroCircle","coordinates":[[0,0],"1"]}"#,
    ] {
        assert!(Shape::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(Shape::parse(b"{\"type\":\"Point\",\"coordinates\":[1,2],\"a\":\"\xff\"}").is_err());
    let deep = "[".repeat(100_000);
    assert!(Shape::parse(format!(r#"{{"type":"Point","coordinates":{deep}"#).as_bytes()).is_err());
    let long = format!(
        r#"{{"type":"Point","coordinates":[1,2]{}}}"#,
        " ".repeat(TEXT_BYTES_MAX)
    );
    assert!(Shape::parse(long.as_bytes()).is_err());
}

#[test]
fn a_stored_value_is_flags_cells_and_the_text_as_it_came() {
    let text = br#"{"type": "Point", "coordinates": [11.770681595, 49.703498679]}"#;
    let value = stored(text).unwrap();
    let head = [&[0, 0, 1][..], &0x47a1_cbd5_9552_2b39_u64.to_be_bytes()].concat();
    assert_eq!(value, [&head[..], text].concat());
    let text = br#"{"type":"AeroCircle","coordinates":[[8.5,47.4],1000]}"#;
    let value = stored(text).unwrap();
    assert_eq!((value[0], value[1]), (1, 0));
    let (cells, split_text) = split(&value).unwrap();
    assert_eq!(
        (cells.len(), split_text),
        (usize::from(value[2]), &text[..])
    );
    assert!((4..=12).contains(&cells.len()));
    assert_eq!(split(&without_cells(b"x")), Some((&[][..], &b"x"[..])));
    for short in [
        &[][..],
        &[0],
        &[0, 0],
        &[0, 0, 1],
        &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(split(short), None);
    }
}

/// What holds of any covering.
fn check_cells(shape: &Shape) {
    for cells in [shape.cells(), shape.coarse_cells()] {
        assert!(!cells.is_empty() && cells.len() <= 24, "{cells:?}");
        let mut end = 0;
        for cell in &cells {
            let cell = s2::cellid::CellID(*cell);
            assert!(cell.is_valid() && cell.level() >= 1);
            assert!(
                cell.range_min().0 > end,
                "they are in order and do not overlap"
            );
            end = cell.range_max().0;
        }
    }
    if let Kind::Region(region) = &shape.0 {
        let sought = region.covering(SOUGHT_LEVEL_MAX);
        assert!(
            sought
                .iter()
                .all(|cell| s2::cellid::CellID(*cell).level() <= SOUGHT_LEVEL_MAX)
        );
    }
}

#[test]
fn the_work_of_a_covering_is_bounded_whatever_the_region() {
    let star = |centre: (f64, f64), corners: u32, size: f64| -> Vec<(f64, f64)> {
        let corner = |at: u32| {
            let angle = f64::from(at) / f64::from(corners) * 360.0 * DEGREE;
            let far = if at.is_multiple_of(2) {
                size
            } else {
                size / 2.0
            };
            (centre.0 + angle.cos() * far, centre.1 + angle.sin() * far)
        };
        (0..corners).map(corner).collect()
    };
    let (a, b) = (
        star((10.0, 20.0), 2_000, 1e-3),
        star((-170.0, -20.0), 2_000, 1e-3),
    );
    let far_apart = parsed(&format!(
        r#"{{"type":"MultiPolygon","coordinates":[[{}],[{}]]}}"#,
        ring(&a),
        ring(&b)
    ));
    check_cells(&far_apart);
    check(
        &far_apart,
        &[(10.0, 20.0), (-170.0, -20.0)],
        &[(10.1, 20.0)],
    );
    let nested: Vec<String> = (1..1_000u32)
        .map(|at| format!("[{}]", ring(&star((0.0, 0.0), 3, f64::from(at) / 20.0))))
        .collect();
    let nested = parsed(&format!(
        r#"{{"type":"MultiPolygon","coordinates":[{}]}}"#,
        nested.join(",")
    ));
    check_cells(&nested);
    check(
        &nested,
        &[(0.0, 0.0), (20.0, 0.0)],
        &[(-60.0, 0.0), (100.0, 80.0)],
    );
}

fn unit(longitude: f64, latitude: f64) -> Xyz {
    Place::new(longitude, latitude).unit
}

/// The place so far from a centre, in such a direction.
fn away((longitude, latitude): (f64, f64), radians: f64, bearing: f64) -> (f64, f64) {
    let latitude = latitude * DEGREE;
    let to = (latitude.sin() * radians.cos() + latitude.cos() * radians.sin() * bearing.cos())
        .clamp(-1.0, 1.0)
        .asin();
    let turned = (bearing.sin() * radians.sin() * latitude.cos())
        .atan2(radians.cos() - latitude.sin() * to.sin());
    let longitude = (longitude + turned / DEGREE + 540.0).rem_euclid(360.0) - 180.0;
    (longitude, (to / DEGREE).clamp(-90.0, 90.0))
}

/// A plane that touches the globe, where shortest ways are straight lines; `None` from the other half.
fn projected(centre: (f64, f64), (longitude, latitude): (f64, f64)) -> Option<[f64; 2]> {
    let axis = unit(centre.0, centre.1);
    let east = normalized([-(centre.0 * DEGREE).sin(), (centre.0 * DEGREE).cos(), 0.0]);
    let north = [
        axis[1] * east[2] - axis[2] * east[1],
        axis[2] * east[0] - axis[0] * east[2],
        axis[0] * east[1] - axis[1] * east[0],
    ];
    let at = unit(longitude, latitude);
    let height = dot(at, axis);
    (height > 1e-6).then(|| [dot(at, east) / height, dot(at, north) / height])
}

/// Whether a point of a plane lies in a polygon; `None` if that is too close to tell.
fn planar(corners: &[[f64; 2]], [x, y]: [f64; 2], scale: f64) -> Option<bool> {
    let mut inside = false;
    for (at, a) in corners.iter().enumerate() {
        let b = corners[(at + 1) % corners.len()];
        let (ux, uy, vx, vy) = (b[0] - a[0], b[1] - a[1], x - a[0], y - a[1]);
        let along = ((ux * vx + uy * vy) / (ux * ux + uy * uy)).clamp(0.0, 1.0);
        let off = (vx - along * ux).hypot(vy - along * uy);
        if off.is_nan() || off < scale * 1e-7 + 1e-10 {
            return None;
        }
        if (a[1] > y) != (b[1] > y) && x < a[0] + (y - a[1]) / uy * ux {
            inside = !inside;
        }
    }
    Some(inside)
}

fn centres() -> impl Strategy<Value = (f64, f64)> {
    prop_oneof![
        (-180.0..180.0, -90.0..90.0),
        (Just(180.0), -1.0..1.0),
        (-180.0..180.0, 89.0..90.0),
        (-180..=180i32, -90..=90i32).prop_map(|(x, y)| (f64::from(x), f64::from(y))),
        // where faces of the cube meet
        Just((45.0, 35.264_389_682_754_654)),
        Just((-135.0, -35.264_389_682_754_654)),
    ]
}

/// From a metre to a good part of the globe.
fn sizes() -> impl Strategy<Value = f64> {
    (-7.0f64..0.0).prop_map(|exponent| 10f64.powf(exponent))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn circles_agree_with_distances_and_their_cells_find_what_they_have(
        centre in centres(),
        radians in prop_oneof![sizes(), 0.0..3.1],
        at in prop::collection::vec((0.0..1.3f64, 0.0..6.3), 30),
    ) {
        let region = circle(centre, radians * 6_371_000.0);
        check_cells(&region);
        let indexed = Indexed::new(&region);
        for (part, bearing) in at {
            let (longitude, latitude) = away(centre, (radians * part).min(3.1), bearing);
            let place = point(longitude, latitude);
            let (a, b) = (unit(centre.0, centre.1), unit(longitude, latitude));
            let chord = dot([a[0]-b[0], a[1]-b[1], a[2]-b[2]], [a[0]-b[0], a[1]-b[1], a[2]-b[2]]).sqrt();
            let distance = 2.0 * (chord / 2.0).min(1.0).asin();
            if (distance - radians).abs() > 1e-6 * radians + 1e-12 {
                prop_assert_eq!(region.matches(&place), distance < radians);
            }
            prop_assert!(!region.matches(&place) || indexed.finds(&place));
        }
    }

    #[test]
    fn polygons_agree_with_a_flat_model_and_their_cells_find_what_they_have(
        centre in centres(),
        size in sizes(),
        corners in prop::collection::vec((0.2..1.0f64, 0.0..1.0f64), 3..24),
        at in prop::collection::vec((0.0..1.2f64, 0.0..6.3, 0..24usize, 0.0..1.0f64), 30),
        hole in any::<bool>(),
        reverse in any::<bool>(),
    ) {
        // A star: one corner in each of equal parts of the round. The hole may lie outside if there are few.
        let part = 6.2 / corners.len() as f64;
        let outer = corners.iter().enumerate().map(|(number, (far, turn))| {
            away(centre, size * far, (number as f64 + turn * 0.9) * part)
        });
        let mut outer: Vec<_> = outer.collect();
        let mut inner: Vec<_> = (0..5).map(|number| away(centre, size / 40.0, f64::from(number))).collect();
        if reverse {
            outer.reverse();
            inner.rotate_left(2);
        }
        let flat = |corners: &[(f64, f64)]| -> Vec<[f64; 2]> {
            corners.iter().map(|it| projected(centre, *it).unwrap()).collect()
        };
        let (flat_outer, flat_inner) = (flat(&outer), flat(&inner));
        let region = match hole {
            true => polygon(&[&outer, &inner]),
            false => polygon(&[&outer]),
        };
        check_cells(&region);
        let indexed = Indexed::new(&region);
        for (far, bearing, corner, along) in at {
            let anywhere = away(centre, size * far, bearing);
            // Near an edge: somewhere between two corners, a little off at most.
            let (a, b) = (outer[corner % outer.len()], outer[(corner + 1) % outer.len()]);
            let (ua, ub) = (unit(a.0, a.1), unit(b.0, b.1));
            let mixed = [0, 1, 2].map(|part| ua[part] * along + ub[part] * (1.0 - along));
            let [x, y, z] = normalized(mixed);
            let near = (y.atan2(x) / DEGREE, z.clamp(-1.0, 1.0).asin() / DEGREE);
            for (longitude, latitude) in [anywhere, near, a] {
                let place = point(longitude, latitude);
                prop_assert!(!region.matches(&place) || indexed.finds(&place));
                let Some(flat_at) = projected(centre, (longitude, latitude)) else { continue };
                let in_outer = planar(&flat_outer, flat_at, size);
                let in_inner = planar(&flat_inner, flat_at, size);
                if let (Some(outer), Some(inner)) = (in_outer, in_inner) {
                    prop_assert_eq!(region.matches(&place), outer ^ (hole && inner));
                }
            }
        }
    }

    #[test]
    fn whatever_is_parsed_can_be_stored_and_asked(
        seed in 0..5usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"0123456789-.e,[]{}\":P".to_vec()), 0..3u8), 0..6),
    ) {
        let seeds = [
            r#"{"type":"Point","coordinates":[-122.25,37.5]}"#,
            r#"{"type":"Polygon","coordinates":[[[0,0],[90,0],[90,80],[1,60],[0,0]],[[2,2],[3,2],[3,3],[2,2]]]}"#,
            r#"{"type":"MultiPolygon","coordinates":[[[[0,0],[1,0],[1,1],[0,0]]],[[[170,80],[-170,80],[0,80],[170,80]]]]}"#,
            r#"{"type":"AeroCircle","coordinates":[[-122.0,37.5],1000.5]}"#,
            r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":{}}"#,
        ];
        let mut text = seeds[seed].as_bytes().to_vec();
        for (at, byte, what) in edits {
            let at = at.index(text.len());
            match what {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => { text.remove(at); }
            }
        }
        if let Ok(shape) = Shape::parse(&text) {
            check_cells(&shape);
            let value = stored(&text).unwrap();
            let (cells, kept) = split(&value).unwrap();
            let cells: Vec<u64> = cells.iter().map(|cell| u64::from_be_bytes(*cell)).collect();
            prop_assert_eq!(cells, shape.cells());
            prop_assert_eq!(kept, &text[..]);
            let search = Search::parse(&text).unwrap();
            prop_assert!(search.ranges().is_sorted_by(|a, b| a.end() < b.start()));
            prop_assert!(!search.is_met_by(&text));
        }
    }
}
