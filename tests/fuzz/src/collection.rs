//! Lists and maps as clients pack them.

use std::borrow::Cow;
use std::cmp::Ordering;

use karst_data::msgpack::{Collection, compare, normalise};

/// Takes `bytes` for a list and for a map, and compares its halves.
pub fn check(bytes: &[u8]) {
    let list = normalise(bytes, Collection::List);
    let map = normalise(bytes, Collection::Map);
    assert!(list.is_err() || map.is_err(), "one value of two kinds");
    let canonical = [(list, Collection::List), (map, Collection::Map)];
    for (canonical, kind) in canonical
        .into_iter()
        .filter_map(|(found, kind)| Some((found.ok()?, kind)))
    {
        assert!(
            canonical.len() <= 2 * bytes.len(),
            "it grew beyond what widening doubles explains"
        );
        let again = normalise(&canonical, kind).expect("what is canonical is storable");
        assert!(
            matches!(again, Cow::Borrowed(_)),
            "normalising again changed it"
        );
        assert_eq!(compare(&canonical, &canonical), Ordering::Equal);
    }
    order(bytes);
}

/// Any two byte strings can be compared; two canonical collections in one way only.
fn order(bytes: &[u8]) {
    let Some((at, rest)) = bytes.split_first() else {
        return;
    };
    let (a, b) = rest.split_at(usize::from(*at).min(rest.len()));
    let _ = compare(a, b);
    let canonical = |bytes| {
        normalise(bytes, Collection::List)
            .or_else(|_| normalise(bytes, Collection::Map))
            .ok()
    };
    if let (Some(a), Some(b)) = (canonical(a), canonical(b)) {
        assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
    }
}
