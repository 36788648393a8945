//! Bits by table, and against a slow model.
//!
//! Cases are text: a blob in hex, `-` for none; a call as its packed arguments, `x:` before a buffer's hex;
//! what comes out, `same` if nothing changed, `!` before a result code.

mod model;

use std::borrow::Cow;

use super::{BitModify, BitRead};
use crate::call::CallError;
use crate::msgpack::{write_int, write_list_count, write_typed};
use crate::value::{ParticleType, Value};

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A call from its text.
fn call(text: &str) -> Vec<u8> {
    let words: Vec<_> = text.split_whitespace().collect();
    let mut out = Vec::new();
    write_list_count(&mut out, words.len() as u32);
    for word in words {
        match word {
            "true" => out.push(0xc3),
            "false" => out.push(0xc2),
            "nil" => out.push(0xc0),
            _ => match word.strip_prefix("x:") {
                Some(buffer) => write_typed(&mut out, 4, &unhex(buffer)),
                None => write_int(&mut out, word.parse().expect("a number"), false),
            },
        }
    }
    out
}

fn code(error: CallError) -> String {
    let code = match error {
        CallError::Corrupt => 1,
        CallError::Parameter(_) => 4,
        CallError::BinExists => 6,
        CallError::Incompatible(_) => 12,
        CallError::BinNotFound => 17,
        CallError::NotApplicable(_) => 26,
        CallError::TooBig(_) => 13,
    };
    format!("!{code}")
}

fn blob(bytes: Vec<u8>) -> Value<'static> {
    Value {
        particle: ParticleType::Blob,
        bytes: Cow::Owned(bytes),
    }
}

fn modified(before: Option<&Value<'_>>, payload: &[u8]) -> String {
    let done = BitModify::parse(payload).and_then(|call| call.modify(before));
    match done {
        Ok(Some(value)) => hex(&value.bytes),
        Ok(None) => "same".to_owned(),
        Err(error) => code(error),
    }
}

#[track_caller]
fn check(before: &str, text: &str, after: &str) {
    let before_value = (before != "-").then(|| blob(unhex(before)));
    let found = modified(before_value.as_ref(), &call(text));
    assert_eq!(found, after.replace(' ', ""), "{before}: {text}");
}

fn read_of(value: &Value<'_>, payload: &[u8]) -> String {
    match BitRead::parse(payload).and_then(|call| call.read(value)) {
        Ok(Value {
            particle: ParticleType::Integer,
            bytes,
        }) => i64::from_be_bytes((*bytes).try_into().expect("eight bytes")).to_string(),
        Ok(value) => format!("x:{}", hex(&value.bytes)),
        Err(error) => code(error),
    }
}

#[track_caller]
fn reads(before: &str, text: &str, answer: &str) {
    let found = read_of(&blob(unhex(before)), &call(text));
    assert_eq!(found, answer, "{before}: {text}");
}

#[test]
fn resize_grows_and_shrinks_at_either_end() {
    check("0102", "0 4", "01020000");
    check("0102", "0 4 0 1", "00000102");
    check("01020304", "0 2", "0102");
    check("01020304", "0 2 0 1", "0304");
    check("01020304", "0 0", "");
    check("0102", "0 2", "same");
    check("", "0 0", "same");
    check("-", "0 3", "000000");
    check("-", "0 3 1", "000000");
    check("-", "0 0", "");
    check("-", "0 3 2", "!17");
    check("-", "0 3 6", "same");
    check("01", "0 3 1", "!6");
    check("01", "0 3 5", "same");
    check("0102", "0 1 0 2", "!4"); // grow only
    check("0102", "0 3 0 4", "!4"); // shrink only
    check("0102", "0 1 4 2", "same");
    check("0102", "0 3 0 2", "010200");
    check("0102", "0 1 0 5", "02");
    check("0102", "0 3 0 6", "!4");
    check("0102", "0 3 0 8", "!4");
    check("0102", "0 3 8", "!4");
    check("0102", "0 3 3", "!4");
    check("0102", "0 -1", "!4");
    check("0102", "0 134217728", "!4");
    check("0102", "0 134217727", "!13"); // larger than any record
    check("0102", "0 134217729", "!4");
    check("0102", "0", "!4");
    check("0102", "0 1 0 0 0", "!4");
    check("0102", "0 true", "!4");
}

#[test]
fn insert_makes_room_and_fills_gaps_with_zeros() {
    check("0102", "1 1 x:ff", "01ff02");
    check("0102", "1 0 x:ffee", "ffee0102");
    check("0102", "1 2 x:ff", "0102ff");
    check("0102", "1 4 x:ff", "01020000ff");
    check("0102", "1 -1 x:ff", "01ff02");
    check("0102", "1 -2 x:ff", "ff0102");
    check("0102", "1 -3 x:ff", "!4");
    check("-", "1 0 x:ff", "ff");
    check("-", "1 2 x:ff", "0000ff");
    check("-", "1 -1 x:ff", "!4");
    check("-", "1 0 x:ff 2", "!17");
    check("01", "1 0 x:ff 1", "!6");
    check("01", "1 0 x:ff 5", "same");
    check("01", "1 0 x:", "!4");
    check("01", "1 0 x:ff 8", "!4");
    check("01", "1 134217727 x:ff", "!4");
    check("01", "1 134217726 x:ff", "!13");
    check("01", "1 0 7", "!4");
    check("01", "1 0", "!4");
}

#[test]
fn remove_takes_bytes_out_and_tolerates_the_end_only_if_told() {
    check("010203", "2 1 1", "0103");
    check("010203", "2 0 3", "");
    check("010203", "2 -2 1", "0103");
    check("010203", "2 -1 1", "0102");
    check("010203", "2 3 1", "!4");
    check("010203", "2 3 1 8", "!4");
    check("010203", "2 3 1 4", "same");
    check("010203", "2 2 2", "!4");
    check("010203", "2 2 2 8", "0102");
    check("010203", "2 2 2 4", "same");
    check("010203", "2 2 2 12", "0102");
    check("010203", "2 1 0", "!4");
    check("010203", "2 -4 1", "!4");
    check("010203", "2 0 1 1", "!4");
    check("-", "2 0 1", "!17");
    check("-", "2 0 1 4", "same");
}

#[test]
fn set_or_xor_and_take_bits_from_the_front_of_their_buffer() {
    check("0000", "3 0 8 x:ff", "ff00");
    check("0000", "3 4 8 x:ff", "0ff0");
    check("0000", "3 3 1 x:80", "1000");
    check("0000", "3 3 1 x:7f", "0000");
    check("ffff", "3 7 2 x:00", "fe7f");
    check("0000", "3 -8 8 x:a5", "00a5");
    check("0f0f", "4 4 8 x:0f", "0fff");
    check("0f0f", "5 0 16 x:ffff", "f0f0");
    check("ffff", "6 0 16 x:0ff0", "0ff0");
    check("0000", "3 0 16 x:ff", "!4"); // too few bits
    check("0000", "3 0 9 x:ff", "!4");
    check("0000", "3 12 8 x:ff", "!26");
    check("0000", "3 12 8 x:ff 8", "000f");
    check("0000", "3 12 8 x:ff 4", "same");
    check("0000", "3 16 1 x:ff", "!26");
    check("0000", "3 16 1 x:ff 8", "!26");
    check("0000", "3 16 1 x:ff 12", "same");
    check("0000", "3 -17 1 x:ff", "!4");
    check("0000", "3 0 0 x:ff", "!4");
    check("0000", "3 0 8 x:ff 1", "!4");
    check("0000", "3 0 8 x:ff 2", "ff00");
    check("0000", "3 0 8 x:ff 16", "!4");
    check("-", "3 0 8 x:ff", "!17");
    check("-", "3 0 8 x:ff 2", "!17");
    check("-", "3 0 8 x:ff 4", "same");
    check("", "3 0 8 x:ff 8", "!26");
    let wide = "00".repeat(20);
    check(
        &wide,
        &format!("3 3 150 x:{}", "ff".repeat(19)),
        &format!("1f{}80", "ff".repeat(18)),
    );
}

#[test]
fn not_and_shifts_stay_inside_their_window() {
    check("0f00", "7 4 8", "00f0");
    check("00", "7 0 8", "ff");
    check("00ff", "7 8 9", "!26");
    check("00ff", "7 8 9 8", "0000");
    check("ffff", "8 0 16 4", "fff0");
    check("ffff", "8 4 8 4", "ff0f");
    check("1234", "8 0 16 4", "2340");
    check("1234", "9 0 16 4", "0123");
    check("ffff", "9 4 8 4", "f0ff");
    check("ffff", "9 4 8 3", "f1ff");
    check("ffff", "8 4 8 8", "f00f");
    check("ffff", "9 4 8 99", "f00f");
    check("ffff", "8 0 16 0", "ffff");
    check("ffff", "8 0 16 -1", "!4");
    check("ffff", "8 12 8 1 8", "fffe");
    check("ffff", "9 12 8 1", "!26");
    check(
        "0102030405060708090a0b0c",
        "8 0 96 8",
        "02030405060708090a0b0c00",
    );
    check(
        "0102030405060708090a0b0c",
        "9 0 96 12",
        "0000102030405060708090a0",
    );
    check(
        "8000000000000000000001",
        "8 1 87 80",
        "8100000000000000000000",
    );
}

#[test]
fn sums_wrap_saturate_or_fail() {
    check("ff", "10 0 8 1", "!26");
    check("ff", "10 0 8 1 4", "same");
    check("ff", "10 0 8 1 0 4", "00");
    check("ff", "10 0 8 1 0 2", "ff");
    check("fe", "10 0 8 1", "ff");
    check("00", "11 0 8 1", "!26");
    check("00", "11 0 8 1 0 4", "ff");
    check("00", "11 0 8 1 0 2", "00");
    check("05", "11 0 8 3", "02");
    check("05", "11 0 8 0", "05");
    check("7f", "10 0 8 1 0 1", "!26");
    check("7f", "10 0 8 1 0 3", "7f");
    check("7f", "10 0 8 1 0 5", "80");
    check("80", "10 0 8 -1 0 1", "!26");
    check("80", "10 0 8 -1 0 3", "80");
    check("80", "10 0 8 -1 0 5", "7f");
    check("80", "10 0 8 -128 0 1", "00"); // two negatives whose sum wraps to zero
    check("81", "11 0 8 2 0 1", "!26");
    check("81", "11 0 8 2 0 3", "80");
    check("ff", "11 0 8 -1 0 1", "00");
    check("ff", "10 0 8 257 0 4", "00"); // the value is masked to its bits
    check("0ff0", "10 4 8 1 0 4", "0000");
    check("0000", "10 3 5 31", "1f00");
    check("ffffffffffffffff", "10 0 64 1 0 4", "0000000000000000");
    check("ffffffffffffffff", "10 0 64 1 0 2", "ffffffffffffffff");
    check("7fffffffffffffff", "10 0 64 1 0 3", "7fffffffffffffff");
    check("00", "10 0 8 1 8", "!4");
    check("00", "10 0 8 1 1", "!4");
    check("00", "10 0 8 1 0 6", "!4");
    check("00", "10 0 8 1 0 8", "!4");
    check("00", "10 0 65 1", "!4");
    check("00", "10 1 8 1", "!26");
    check("00", "10 1 8 1 4", "same");
    check("-", "10 0 8 1", "!17");
}

#[test]
fn set_int_stores_the_low_bits() {
    check("0000", "12 4 8 255", "0ff0");
    check("0000", "12 4 8 -1", "0ff0");
    check("ffff", "12 4 8 256", "f00f");
    check("00", "12 0 8 5 2", "05");
    check("00", "12 0 8 5 8", "!4");
    check("00", "12 4 8 5", "!26");
    check("00", "12 0 65 5", "!4");
    check("000000000000000000", "12 3 64 -1", "1fffffffffffffffe0");
}

#[test]
fn reads_tell_bits_counts_places_and_numbers() {
    reads("1234", "50 4 8", "x:23");
    reads("1234", "50 4 5", "x:20");
    reads("1234", "50 15 1", "x:00");
    reads("1235", "50 15 1", "x:80");
    reads("0102030405060708090a", "50 4 72", "x:102030405060708090");
    reads("ff0f", "51 0 16", "12");
    reads("ff0f", "51 4 5", "4");
    reads("00ff", "52 0 16 true", "8");
    reads("00ff", "52 0 16 false", "0");
    reads("00ff", "52 4 8 true", "4");
    reads("00ff", "52 0 8 true", "-1");
    reads("00ff", "53 0 16 true", "15");
    reads("00ff", "53 0 16 false", "7");
    reads("00ff", "53 4 6 true", "5");
    reads("80", "53 1 7 true", "-1"); // the match lies before the range
    reads("00000000000000000001", "52 0 80 true", "79");
    reads("80000000000000000000", "53 0 80 true", "0");
    reads("00000000000000000000", "53 0 80 true", "-1");
    reads("ff00", "54 0 8", "255");
    reads("ff00", "54 0 8 1", "-1");
    reads("ff00", "54 4 8 1", "-16");
    reads("ff00", "54 -8 8", "0");
    reads("ffffffffffffffff", "54 0 64", "-1");
    reads("ff00", "54 0 8 2", "!4");
    reads("ff00", "54 0 65", "!4");
    reads("ff00", "50 9 8", "!26");
    reads("ff00", "50 16 1", "!26");
    reads("ff00", "50 -17 1", "!4");
    reads("ff00", "50 0 0", "!4");
    reads("ff00", "51 0", "!4");
    reads("ff00", "52 0 8 1", "!4");
    reads("ff00", "51 0 8 0", "!4");
    reads("ff00", "3 0 8", "!4");
    reads("ff00", "255 0 8", "!4");
}

#[test]
fn only_blobs_have_bits() {
    let number = Value::integer(7);
    assert_eq!(modified(Some(&number), &call("7 0 8")), "!12");
    assert_eq!(modified(Some(&number), &call("7 0 8 4")), "!12");
    assert_eq!(modified(Some(&number), &call("0 8 1")), "!6"); // told before the type
    assert_eq!(read_of(&number, &call("50 0 8")), "!12");
    let java = Value {
        particle: ParticleType::JavaBlob,
        bytes: Cow::Borrowed(&[1]),
    };
    assert_eq!(read_of(&java, &call("50 0 8")), "!12");
}

#[test]
fn malformed_calls_are_refused() {
    let of = |payload: &[u8]| modified(Some(&blob(vec![1])), payload);
    for payload in [
        &[][..],
        &[0xc0],
        &[0x90],
        &[0x91],
        &[0x91, 0xc0],
        &[0x81, 7, 0],
        &[0x93, 7, 0],
    ] {
        assert_eq!(of(payload), "!4", "{payload:?}");
    }
    assert_eq!(of(&[0x93, 7, 0, 8, 0]), "!4"); // a byte too many
    assert_eq!(of(&call("255 7 0 8")), "!4");
    assert_eq!(of(&call("13 0 8")), "!4");
    assert_eq!(of(&call("50 0 8")), "!4");
}
