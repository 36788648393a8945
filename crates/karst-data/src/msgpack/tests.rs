use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn check(expected: Collection, before: &str, after: Option<&str>) {
    let found = normalise(&hex(before), expected).map(Cow::into_owned);
    assert_eq!(found.ok(), after.map(hex), "{before}");
}

fn list(before: &str, after: Option<&str>) {
    check(Collection::List, before, after);
}

fn map(before: &str, after: Option<&str>) {
    check(Collection::Map, before, after);
}

#[test]
fn lists_keep_their_elements_in_minimal_widths() {
    list("93 01 a3 03 61 62 c0", Some("93 01 a3 03 61 62 c0"));
    list("dd 00 00 00 01 cd 00 05", Some("91 05"));
    list("91 d3 ff ff ff ff ff ff ff ff", Some("91 ff"));
    list("91 da 00 02 03 61", Some("91 a2 03 61"));
    list("91 c4 02 04 61", Some("91 a2 04 61"));
    list("91 ca 3f 80 00 00", Some("91 cb 3f f0 00 00 00 00 00 00"));
    list("90", Some("90"));
}

#[test]
fn ordered_collections_keep_their_flag_and_must_be_in_order() {
    list("93 c7 00 01 01 02", Some("93 c7 00 01 01 02"));
    list("93 c7 00 11 01 02", Some("93 c7 00 01 01 02")); // the index flag is not stored
    list("93 c7 00 10 02 01", Some("92 02 01"));
    list("93 c7 00 01 02 01", None);
    map(
        "82 c7 00 01 c0 a2 03 61 01",
        Some("82 c7 00 01 c0 a2 03 61 01"),
    );
    map("83 c7 00 01 c0 02 01 01 01", None);
    map("81 c7 00 01 c0", Some("81 c7 00 01 c0"));
}

#[test]
fn unflagged_maps_are_stored_in_key_order() {
    map("82 02 c0 01 c3", Some("82 01 c3 02 c0"));
    map("82 a2 03 61 01 05 02", Some("82 05 02 a2 03 61 01"));
}

#[test]
fn what_cannot_be_stored_is_refused() {
    map("82 01 c0 01 c3", None); // equal keys
    map("81 c0 01", None); // nil as key
    map("81 90 01", None); // list as key
    map("81 01", None);
    list("81 01 01", None);
    list("91", None);
    list("91 01 01", None); // trailing byte
    list("91 c1", None);
    list("91 d4 ff 00", None); // wildcard
    list("92 01 d4 ff 01", None); // infinity
    list("91 a0", None); // a string without its type byte
    list("", None);
    list("01", None);
    list("dd ff ff ff ff 01", None); // counts that lie cost nothing
    map("df ff ff ff ff 01", None);
    let deep = [vec![0x91; DEPTH_MAX + 1], vec![0x01]].concat();
    assert!(normalise(&deep, Collection::List).is_err());
    assert!(normalise(&deep[1..], Collection::List).is_ok());
}

#[test]
fn elements_have_one_order_across_types() {
    let ascending = [
        "c0",
        "c2",
        "c3",
        "ff",
        "00",
        "7f",
        "cd 01 00",
        "cf ff ff ff ff ff ff ff ff",
        "a1 03",
        "a2 03 61",
        "a2 03 62",
        "90",
        "91 01",
        "92 01 c0",
        "80",
        "81 05 01",
        "a2 04 00",
        "cb bf f0 00 00 00 00 00 00",
        "cb 3f f0 00 00 00 00 00 00",
        "a2 17 7b",
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(compare(&hex(a), &hex(b)), i.cmp(&j), "{a} against {b}");
        }
    }
}

#[test]
fn a_wildcard_is_equal_to_whatever_is_left_and_infinity_is_above_all() {
    for (a, b, expected) in [
        ("d4 ff 00", "05", Ordering::Equal),
        ("91 d4 ff 00", "93 01 02 03", Ordering::Equal),
        ("92 01 d4 ff 00", "92 01 91 09", Ordering::Equal),
        ("92 01 d4 ff 00", "91 01", Ordering::Greater),
        ("92 01 d4 ff 00", "92 02 02", Ordering::Less),
        ("91 c7 01 ff 00", "91 05", Ordering::Equal),
        ("d4 ff 01", "a2 17 7b", Ordering::Greater),
        ("d4 ff 01", "c7 01 ff 01", Ordering::Equal),
        ("92 01 d4 ff 01", "93 01 a2 03 61 01", Ordering::Greater),
        ("c7 00 05", "d4 ff 01", Ordering::Less),
        ("93 c7 00 01 01 02", "92 01 02", Ordering::Equal), // flags do not count
    ] {
        assert_eq!(compare(&hex(a), &hex(b)), expected, "{a} against {b}");
        assert_eq!(
            compare(&hex(b), &hex(a)),
            expected.reverse(),
            "{b} against {a}"
        );
    }
}

#[test]
fn what_is_only_compared_may_hold_what_cannot_be_stored() {
    let compared = |bytes: &str| comparable(&hex(bytes)).map(Cow::into_owned).ok();
    assert_eq!(
        compared("92 cd 00 05 d4 ff 00"),
        Some(hex("92 05 d4 ff 00"))
    );
    assert_eq!(compared("82 02 c0 01 c3"), Some(hex("82 01 c3 02 c0")));
    assert_eq!(compared("82 02 c0 02 c3"), Some(hex("82 02 c0 02 c3")));
    assert_eq!(compared("82 c0 01 90 02"), Some(hex("82 c0 01 90 02")));
    assert_eq!(
        compared("82 d4 ff 00 01 01 02"),
        Some(hex("82 d4 ff 00 01 01 02"))
    );
    assert_eq!(
        compared("93 c7 00 01 02 01"),
        Some(hex("93 c7 00 01 02 01"))
    );
    assert_eq!(compared("a0"), Some(hex("a0")));
    assert_eq!(compared("91"), None);
    assert_eq!(compared("01 01"), None);
    assert_eq!(compared(""), None);
    let deep = [vec![0x91; DEPTH_MAX + 1], vec![0x01]].concat();
    assert!(comparable(&deep).is_err());
    for element in ["d4 ff 00", "91 d4 ff 01", "c7 00 01", "a0"] {
        assert!(storable(&hex(element)).is_err(), "{element}");
    }
}

#[test]
fn elements_are_stepped_over_without_being_read() {
    for element in [
        "05",
        "ff",
        "c0",
        "cc 80",
        "cd 01 00",
        "ce 00 01 00 00",
        "cb 00 00 00 00 00 00 00 00",
        "a2 03 61",
        "d9 02 03 61",
        "da 00 02 03 61",
        "c4 01 04",
        "90",
        "92 01 92 02 03",
        "82 01 02 03 91 04",
        "d4 ff 00",
        "c7 00 01",
        "c8 00 01 05 09",
        "dc 00 01 05",
        "de 00 01 05 06",
    ] {
        let bytes = hex(element);
        assert_eq!(end_of(&bytes, 0), Some(bytes.len()), "{element}");
        assert_eq!(
            end_of(&[&bytes[..], &[1]].concat(), 0),
            Some(bytes.len()),
            "{element}"
        );
        for cut in 0..bytes.len() {
            assert_eq!(end_of(&bytes[..cut], 0), None, "{element} cut to {cut}");
        }
    }
    assert_eq!(end_of(&hex("c1"), 0), None);
    assert_eq!(end_of(&hex("df ff ff ff ff 01"), 0), None);
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_canonical_form_is_a_fixed_point(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), top in 0u8..32
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = 0x80 + top;
        }
        for expected in [Collection::List, Collection::Map] {
            if let Ok(canonical) = normalise(&bytes, expected) {
                let again = normalise(&canonical, expected).unwrap();
                prop_assert_eq!(&*again, &*canonical);
            }
        }
    }
}

#[test]
fn elements_that_were_written_are_read_again() {
    for value in [0, 1, 127, 128, -1, -32, -33, 1 << 40, i64::MAX, i64::MIN] {
        let mut out = Vec::new();
        write_int(&mut out, value, false);
        let wide = false;
        assert_eq!(Reader { rest: &out }.head(), Ok(Head::Int { value, wide }));
    }
    for bytes in [0, 30, 31, 32, 255, 256, 70_000] {
        let (mut out, content) = (Vec::new(), vec![7; bytes]);
        write_typed(&mut out, 4, &content);
        let typed = [&[4], &*content].concat();
        assert_eq!(Reader { rest: &out }.head(), Ok(Head::Raw(&typed)));
    }
    for count in [0, 15, 16, 70_000] {
        let (mut list, mut map) = (Vec::new(), Vec::new());
        write_list_count(&mut list, count);
        write_map_head(&mut map, count as usize, 1).unwrap();
        assert_eq!(Reader { rest: &list }.head(), Ok(Head::List(count)));
        let mut reader = Reader { rest: &map };
        assert_eq!(reader.head(), Ok(Head::Map(count + 1)));
        assert_eq!(leading_ext(&mut reader, count + 1), Ok(Some(1)));
        assert_eq!(reader.head(), Ok(Head::Nil));
    }
}

#[test]
fn short_numbers_keep_their_sign() {
    let read = |bytes: &'static [u8]| Reader { rest: bytes }.head();
    let int = |value| Ok(Head::Int { value, wide: false });
    assert_eq!(read(&[0xcc, 0xff]), int(255));
    assert_eq!(read(&[0xd0, 0xff]), int(-1));
    assert_eq!(read(&[0xd1, 0x80, 0]), int(-32_768));
    assert_eq!(read(&[0xd2, 0xff, 0xff, 0xff, 0xfe]), int(-2));
    assert_eq!(read(&[0xca, 0x3f, 0x80, 0, 0]), Ok(Head::Double(1.0)));
}

#[test]
fn elements_that_end_early_are_an_error() {
    let cut: [&[u8]; 5] = [
        &[],
        &[0xc1],
        &[0xa3, 1],
        &[0xcf, 1],
        &[0xdb, 255, 255, 255, 255, 1],
    ];
    for bytes in cut {
        assert!(Reader { rest: bytes }.head().is_err(), "{bytes:?}");
    }
    assert!(leading_ext(&mut Reader { rest: &[] }, 3).is_err());
}

/// Packed elements, most of which may be stored as they are.
fn packed_element() -> impl Strategy<Value = Vec<u8>> {
    let leaves = [
        "01",
        "05",
        "7f",
        "e0",
        "ff",
        "c0",
        "c2",
        "c3",
        "a2 03 61",
        "a2 03 62",
        "a1 03",
        "a2 04 61",
        "a2 17 7b",
        "cc 80",
        "cc 7f",
        "cd 01 00",
        "cd 00 ff",
        "ce 00 01 00 00",
        "d0 df",
        "d0 e0",
        "d1 ff 7f",
        "d1 ff 80",
        "d2 ff ff 7f ff",
        "d3 ff ff ff ff 7f ff ff ff",
        "cf 00 00 00 01 00 00 00 00",
        "cf ff ff ff ff ff ff ff ff",
        "cb 3f f0 00 00 00 00 00 00",
        "ca 3f 80 00 00",
        "a0",
        "d9 02 03 61",
        "c4 02 04 61",
        "d4 ff 00",
        "d4 ff 01",
        "c7 00 01",
        "c1",
        "dc 00 01 05",
        "de 00 01 05 06",
    ];
    let leaf = proptest::sample::select(leaves.to_vec()).prop_map(hex);
    let key = proptest::sample::select(leaves[..10].to_vec()).prop_map(hex);
    leaf.prop_recursive(4, 64, 18, move |inner| {
        let list = |head: fn(usize) -> Vec<u8>| {
            move |elements: Vec<Vec<u8>>| [head(elements.len()), elements.concat()].concat()
        };
        let plain = |count: usize| match count as u8 {
            count @ 0..16 => vec![0x90 | count],
            count => vec![0xdc, 0, count],
        };
        let ordered = |count: usize| vec![0xdc, 0, count as u8 + 1, 0xc7, 0, 1];
        let pairs = |flags: &'static [u8]| {
            move |mut pairs: Vec<(Vec<u8>, Vec<u8>)>| {
                pairs.sort();
                let count = pairs.len() + flags.len() / 4;
                let pairs = pairs.into_iter().map(|(key, value)| [key, value].concat());
                let pairs: Vec<_> = pairs.collect();
                [&[0x80 | count as u8], flags, &pairs.concat()].concat()
            }
        };
        let elements = || proptest::collection::vec(inner.clone(), 0..18);
        let entries = || proptest::collection::vec((key.clone(), inner.clone()), 0..4);
        prop_oneof![
            elements().prop_map(list(plain)),
            elements().prop_map(list(ordered)),
            entries().prop_map(pairs(&[])),
            entries().prop_map(pairs(&[0xc7, 0, 1, 0xc0])),
            entries().prop_map(pairs(&[0xc7, 0, 8, 0xc0])),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_taken_as_it_came_is_what_would_have_been_made_of_it(
        packed in packed_element(), cut in any::<proptest::sample::Index>()
    ) {
        for bytes in [&packed[..], &packed[..cut.index(packed.len())]] {
            let made = in_canonical_form(bytes, Purpose::Storing);
            prop_assert_eq!(canonical::is_canonical(bytes), made.as_deref() == Ok(bytes));
            if canonical::is_canonical(bytes) {
                let made = in_canonical_form(bytes, Purpose::Comparing);
                prop_assert_eq!(made.as_deref(), Ok(bytes));
            }
        }
    }
}

#[test]
fn lists_of_many_small_numbers_are_taken_as_they_came() {
    for count in 0..40u8 {
        let mut bytes = Vec::new();
        write_list_count(&mut bytes, count.into());
        bytes.extend(0..count);
        assert!(canonical::is_canonical(&bytes), "{count}");
        assert_eq!(end_of(&bytes, 0), Some(bytes.len()), "{count}");
        assert!(!canonical::is_canonical(&[&bytes[..], &[1]].concat()));
        for cut in 0..bytes.len() {
            assert!(
                !canonical::is_canonical(&bytes[..cut]),
                "{count} cut to {cut}"
            );
            assert_eq!(end_of(&bytes[..cut], 0), None, "{count} cut to {cut}");
        }
    }
}
