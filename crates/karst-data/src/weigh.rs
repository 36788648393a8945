//! How much work it is to read what a request brings: its values, calls and expressions.
//!
//! They are read before a record is looked at, and nobody is asked on the way. So it is found out first, and what takes
//! longer than a core may be held is read elsewhere. To weigh takes a fraction of it, and ends with the first step that
//! is more than was to be known of.

use crate::msgpack::{Head, Reader, steps_to_take_in};
use crate::value::ParticleType;

/// Steps to make a shape of GeoJSON and to find the cells that cover it, for each byte of its text.
const STEPS_OF_PLACE_BYTE: u64 = 64;

/// Steps to read an element of an expression, or of a call inside one.
const STEPS_OF_EXPRESSION_ELEMENT: u64 = 20;

/// Steps to compile a pattern, and for each of its bytes.
const STEPS_OF_PATTERN: (u64, u64) = (4000, 400);

/// Steps to compile a pattern of which something is repeated: it may come to be as large as patterns may.
const STEPS_OF_REPETITION: u64 = 1_000_000;

/// The number of the instruction that has a pattern, and how many elements it has.
const PATTERN_CODE: u8 = 7;
const PATTERN_ELEMENTS: u32 = 4;

/// Steps to read a value as a client sends it; the count ends where it is more than `most`.
pub fn of_value(particle: u8, bytes: &[u8], most: u64) -> u64 {
    match ParticleType::from_wire(particle) {
        Some(ParticleType::List | ParticleType::Map) => steps_to_take_in(bytes, most),
        Some(ParticleType::GeoJson) => STEPS_OF_PLACE_BYTE * bytes.len() as u64,
        Some(
            ParticleType::Integer
            | ParticleType::Float
            | ParticleType::String
            | ParticleType::Blob
            | ParticleType::JavaBlob
            | ParticleType::CsharpBlob
            | ParticleType::PythonBlob
            | ParticleType::RubyBlob
            | ParticleType::PhpBlob
            | ParticleType::ErlangBlob
            | ParticleType::Vector
            | ParticleType::Bool
            | ParticleType::Hll,
        )
        | None => 0, // as it is, or refused
    }
}

/// Steps to read an operation on a list or map, on bits or on a sketch; the count ends where it is more than `most`.
/// Paths with conditions are among them, which are expressions.
pub fn of_call(packed: &[u8], most: u64) -> u64 {
    let Some(expressions) = holds_path_of_expressions(packed) else {
        return 0;
    };
    match expressions {
        true => of_expression(packed, most),
        false => steps_to_take_in(packed, most),
    }
}

/// Whether an operation selects by a path, whose steps may be expressions; `None` if it is no operation.
fn holds_path_of_expressions(packed: &[u8]) -> Option<bool> {
    const SELECT: i64 = 0xfe;
    if let [0, ..] = packed {
        return Some(false); // an old one: two bytes and a list
    }
    let mut reader = Reader { rest: packed };
    reader.head().ok()?;
    Some(matches!(
        reader.head().ok()?,
        Head::Int { value: SELECT, .. }
    ))
}

/// Steps to read an expression; the count ends where it is more than `most`.
pub fn of_expression(packed: &[u8], most: u64) -> u64 {
    let mut reader = Reader { rest: packed };
    let mut steps = steps_to_take_in(packed, most); // what it holds that is no instruction
    while steps <= most && !reader.rest.is_empty() {
        let Ok(head) = reader.head() else {
            break; // who reads it comes no further
        };
        steps += STEPS_OF_EXPRESSION_ELEMENT;
        match head {
            Head::List(PATTERN_ELEMENTS) => steps += of_pattern(reader).unwrap_or(0),
            Head::Raw([23, text @ ..]) => steps += STEPS_OF_PLACE_BYTE * text.len() as u64,
            _ => {}
        }
    }
    steps
}

/// Steps to compile the pattern of an instruction whose head was read; `None` if it has none.
fn of_pattern(mut instruction: Reader<'_>) -> Option<u64> {
    let Head::Int { value, .. } = instruction.head().ok()? else {
        return None;
    };
    if value != i64::from(PATTERN_CODE) {
        return None;
    }
    instruction.head().ok()?;
    let Head::Raw(pattern) = instruction.head().ok()? else {
        return None;
    };
    let (steps, of_byte) = STEPS_OF_PATTERN;
    let repeats = pattern.contains(&b'{');
    Some(steps + of_byte * pattern.len() as u64 + u64::from(repeats) * STEPS_OF_REPETITION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::{write_int, write_list_count, write_raw, write_typed};
    use crate::work::STEPS;

    const LIST: u8 = ParticleType::List as u8;
    const MAP: u8 = ParticleType::Map as u8;

    fn list_of(count: u32, element: &[u8]) -> Vec<u8> {
        let mut list = Vec::new();
        write_list_count(&mut list, count);
        list.extend(element.repeat(count as usize));
        list
    }

    fn map(pairs: u32, flags: &[u8]) -> Vec<u8> {
        let mut map = vec![0xdf];
        map.extend((pairs + flags.len() as u32 / 4).to_be_bytes());
        map.extend(flags);
        for key in 0..pairs {
            write_int(&mut map, key.into(), false);
            map.push(1);
        }
        map
    }

    fn pattern(text: &str) -> Vec<u8> {
        let mut match_of = vec![0x94, 7, 1];
        write_raw(&mut match_of, text.as_bytes());
        write_typed(&mut match_of, 3, b"text");
        match_of
    }

    fn is_long(steps: u64) -> bool {
        steps > STEPS
    }

    #[test]
    fn what_takes_longer_to_read_than_a_core_may_be_held_is_known_before() {
        let nested = list_of(500_000, &[0x91, 1]);
        let too_wide = list_of(500_000, &[0xcc, 1]);
        assert!(is_long(of_value(LIST, &nested, STEPS)));
        assert!(is_long(of_value(LIST, &too_wide, STEPS)));
        assert!(is_long(of_value(MAP, &map(100_000, &[]), STEPS)));
        let polygon = vec![b'1'; 500_000];
        assert!(is_long(of_value(
            ParticleType::GeoJson as u8,
            &polygon,
            STEPS
        )));
        let append = [&[0x92, 2], &nested[..]].concat();
        assert!(is_long(of_call(&append, STEPS)));
        let mut place = vec![0x93, 22];
        write_typed(&mut place, 23, &polygon);
        assert!(is_long(of_expression(&place, STEPS)));
        let patterns = list_of(50, &pattern("[a-z]{99}"));
        assert!(is_long(of_expression(&patterns, STEPS)));
        let select = [&[0x93, 0xcc, 0xfe], &patterns[..], &[0]].concat();
        assert!(is_long(of_call(&select, STEPS)));
    }

    #[test]
    fn what_is_as_it_should_be_does_not_take_long() {
        let small = list_of(1 << 20, &[5]);
        assert!(!is_long(of_value(LIST, &small, STEPS)));
        assert!(!is_long(of_value(
            LIST,
            &list_of(100_000, &[0xcd, 1, 0]),
            STEPS
        )));
        assert!(!is_long(of_value(MAP, &map(10_000, &[]), STEPS)));
        let in_order = map(50_000, &[0xc7, 0, 1, 0xc0]);
        assert!(!is_long(of_value(MAP, &in_order, STEPS)));
        let blob = vec![0; 8 << 20];
        assert_eq!(of_value(ParticleType::Blob as u8, &blob, STEPS), 0);
        let filter = list_of(10_000, &[0x93, 1, 5, 6]);
        assert!(!is_long(of_expression(&filter, STEPS)));
        assert!(!is_long(of_expression(&pattern("forty.*more"), STEPS)));
    }

    #[test]
    fn claims_are_not_believed_and_bytes_that_are_nothing_end_the_count() {
        for bytes in [
            &[0xdf, 0xff, 0xff, 0xff, 0xff, 1, 1][..],
            &[0xdd, 0xff, 0xff, 0xff, 0xff, 0xc7],
            &[0xc1, 1],
            &[0x91, 0xdb, 0xff, 0xff, 0xff, 0xff],
            &[0xdf],
            &[],
        ] {
            for steps in [
                of_value(LIST, bytes, STEPS),
                of_call(bytes, STEPS),
                of_expression(bytes, STEPS),
            ] {
                assert!(steps < 10_000, "{bytes:02x?}: {steps}");
            }
        }
    }
}
