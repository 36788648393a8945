//! GeoJSON, as text.

use karst_data::geo::{self, Search, Shape};
use karst_data::value::Value;

/// Most cells of a covering: all of the coarsest level.
const CELLS_MAX: usize = 24;

/// Takes `bytes` for a point or a region, stores it and asks for it.
pub fn check(bytes: &[u8]) {
    let Ok(shape) = Shape::parse(bytes) else {
        assert!(Search::parse(bytes).is_err());
        return;
    };
    let stored = geo::stored(bytes).expect("it was parsed");
    let (cells, text) = geo::split(&stored).expect("it was stored");
    assert_eq!(text, bytes);
    assert!((1..=CELLS_MAX).contains(&cells.len()));
    assert!((1..=CELLS_MAX).contains(&shape.coarse_cells().len()));
    let again = Value::from_wire(23, &stored);
    let again = again.expect("it is a value").expect("it is not null");
    assert_eq!(*again.bytes, *stored);
    let search = Search::parse(bytes).expect("it was parsed");
    let ordered = search.ranges().is_sorted_by(|a, b| a.end() < b.start());
    assert!(ordered && !search.is_met_by(bytes));
    for place in [[0, 0], [180, -90], [8, 47]] {
        let text = format!(r#"{{"type":"Point","coordinates":{place:?}}}"#);
        let point = Shape::parse(text.as_bytes()).expect("a point is one");
        if shape.matches(&point) {
            let cell = geo::index_value(point.cells()[0]);
            let is_found = search.ranges().iter().any(|range| range.contains(&cell));
            assert!(is_found, "{text} is within and not found");
        }
    }
}
