//! Seeds of operations inside values: one of each kind, on a value that they fit.

use crate::seeds::Seeds;

const LIST: &[u8] = &[0x95, 3, 1, 0xa2, 3, 97, 0x92, 1, 2, 0xc0];
const ORDERED_LIST: &[u8] = &[0x95, 0xc7, 0, 1, 1, 2, 2, 0xa2, 3, 97];
const MAP: &[u8] = &[0x83, 1, 5, 2, 0x91, 7, 0xa2, 3, 97, 0x81, 1, 2];
const NESTED: &[u8] = &[
    0x82, 0xc7, 0, 1, 0xc0, 0xa2, 3, 109, 0x92, 0xc7, 0, 1, 0x91, 1,
];

/// Operations on lists and maps.
pub(crate) fn on_collections() -> Seeds {
    let reads = |value: &[u8], payload: &[u8]| [&[0, value.len() as u8], value, payload].concat();
    let writes = |value: &[u8], payload: &[u8]| [&[1, value.len() as u8], value, payload].concat();
    vec![
        ("append", writes(LIST, &[0x94, 1, 5, 0, 0])),
        (
            "append_items",
            writes(ORDERED_LIST, &[0x94, 2, 0x92, 9, 0, 1, 13]),
        ),
        ("insert", writes(LIST, &[0x94, 3, 7, 5, 4])),
        ("set", writes(LIST, &[0x94, 9, 1, 5, 1])),
        ("increment", writes(ORDERED_LIST, &[0x95, 12, 0, 9, 0, 1])),
        ("sort", writes(LIST, &[0x92, 13, 3])),
        ("list_type", writes(LIST, &[0x92, 0, 0x11])),
        ("trim", writes(LIST, &[0x93, 10, 1, 2])),
        ("pop_range", writes(LIST, &[0x93, 6, 0xfe, 1])),
        (
            "index_range",
            reads(LIST, &[0x94, 24, 0xce, 0, 1, 0, 7, 1, 2]),
        ),
        ("rank_range", reads(LIST, &[0x94, 26, 7, 0, 2])),
        (
            "values",
            writes(ORDERED_LIST, &[0x93, 36, 1, 0x93, 2, 2, 9]),
        ),
        ("interval", reads(LIST, &[0x94, 25, 7, 1, 0xd4, 0xff, 1])),
        ("near", reads(ORDERED_LIST, &[0x95, 27, 11, 2, 0xff, 3])),
        (
            "wildcard",
            reads(LIST, &[0x93, 22, 1, 0x92, 1, 0xd4, 0xff, 0]),
        ),
        ("put", writes(MAP, &[0x95, 67, 0xa2, 3, 98, 1, 1, 0])),
        (
            "put_items",
            writes(MAP, &[0x94, 68, 0x82, 2, 1, 1, 2, 0, 12]),
        ),
        (
            "map_increment",
            writes(MAP, &[0x93, 73, 1, 0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]),
        ),
        ("map_type", writes(MAP, &[0x92, 64, 3])),
        ("key", reads(MAP, &[0x93, 97, 8, 0xa2, 3, 97])),
        ("keys", writes(MAP, &[0x93, 81, 6, 0x92, 0xa2, 3, 97, 1])),
        (
            "key_interval",
            reads(MAP, &[0x94, 103, 17, 0xc0, 0xa2, 3, 97]),
        ),
        ("map_ranks", reads(MAP, &[0x94, 106, 16, 0, 2])),
        (
            "path",
            writes(
                NESTED,
                &[0x93, 0xcc, 0xff, 0x92, 0x22, 0xa2, 3, 109, 0x94, 1, 1, 1, 0],
            ),
        ),
        (
            "made_path",
            writes(
                MAP,
                &[0x93, 0xcc, 0xff, 0x94, 0x62, 9, 0xcc, 0x90, 2, 0x92, 1, 5],
            ),
        ),
        ("old", reads(LIST, &[0, 17, 0x91, 1])),
        (
            "leaves",
            reads(NESTED, &[0x93, 0xcc, 0xfe, 0x94, 4, 0xc3, 4, 0x92, 1, 2, 1]),
        ),
        (
            "tree",
            reads(
                NESTED,
                &[0x93, 0xcc, 0xfe, 0x94, 2, 0xa2, 3, 109, 4, 0xc3, 0],
            ),
        ),
        (
            "applied",
            writes(
                NESTED,
                &[0x94, 0xcc, 0xfe, 0x94, 4, 0xc3, 0, 0, 20, 0x91, 3],
            ),
        ),
    ]
}
