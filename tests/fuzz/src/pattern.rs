//! Patterns of filters: regular expressions of strangers, and texts that they are searched for in.

use karst_data::expr::{Datum, Expr, Iteration};
use karst_data::msgpack::{write_int, write_list_count, write_typed};
use karst_data::work::Work;

/// The first byte holds the flags, the second how long the pattern is that comes next; the text is the rest.
pub fn check(bytes: &[u8]) {
    let [flags, length, rest @ ..] = bytes else {
        return;
    };
    let (pattern, text) = rest.split_at(usize::from(*length).min(rest.len()));
    let Ok(expr) = Expr::parse(&expression(i64::from(*flags), pattern, text)) else {
        return;
    };
    assert!(
        expr.pattern_bytes() <= 2 << 20,
        "a pattern takes what it may"
    );
    let nowhere = Iteration {
        key: None,
        value: &[0xc0],
        index: None,
    };
    let found = |work: &Work| match expr.evaluate(&nowhere, work) {
        Datum::Bool(found) => Some(found),
        _ => None,
    };
    let work = Work::unlimited();
    let first = found(&work);
    assert!(first.is_some(), "whether a pattern is there is known");
    assert_eq!(found(&Work::unlimited()), first, "it is there or not");
    let less = Work::new(work.spent() / 2);
    let found = found(&less);
    assert!(less.is_exhausted() && found.is_none() || found == first);
}

/// `[7, flags, pattern, text]`.
pub(crate) fn expression(flags: i64, pattern: &[u8], text: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    write_list_count(&mut packed, 4);
    write_int(&mut packed, 7, false);
    write_int(&mut packed, flags, false);
    packed.extend([0xc5, (pattern.len() >> 8) as u8, pattern.len() as u8]);
    packed.extend_from_slice(pattern);
    write_typed(&mut packed, 3, text);
    packed
}
