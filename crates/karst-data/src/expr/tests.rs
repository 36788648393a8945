//! Expressions by table, and against a slow model.
//!
//! Cases are text: JSON, in which a string that begins with `=` is a string, with `#` a blob in hex, with `~`
//! GeoJSON, with `!` packed bytes in hex, and any other a name or pattern. What comes out is text too.

mod call;
mod model;
mod operation;
mod pattern;
mod work;

use std::borrow::Cow;

use serde_json::Value as Json;

use super::{Datum, Expr, ExprError, Filter, Lookup, Metadata, Subject, Type, Verdict};
use crate::bin::{BinRef, Bins};
use crate::geo;
use crate::key::Digest;
use crate::msgpack::{write_double, write_int, write_list_count, write_raw_head, write_typed};
use crate::time::Now;
use crate::value::{ParticleType, Value};
use crate::work::Work;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn put(out: &mut Vec<u8>, json: &Json) {
    match json {
        Json::Null => out.push(0xc0),
        Json::Bool(value) => out.push(0xc2 + u8::from(*value)),
        Json::Number(number) => match number.as_i64() {
            Some(number) => write_int(out, number, false),
            None => write_double(out, number.as_f64().expect("a number")),
        },
        Json::String(text) => match text.split_at_checked(1) {
            Some(("=", rest)) => write_typed(out, 3, rest.as_bytes()),
            Some(("#", rest)) => write_typed(out, 4, &unhex(rest)),
            Some(("~", rest)) => write_typed(out, 23, rest.as_bytes()),
            Some(("!", rest)) => out.extend_from_slice(&unhex(rest)),
            _ => {
                write_raw_head(out, text.len());
                out.extend_from_slice(text.as_bytes());
            }
        },
        Json::Array(items) => {
            write_list_count(out, items.len() as u32);
            items.iter().for_each(|item| put(out, item));
        }
        Json::Object(_) => panic!("maps are given as packed bytes"),
    }
}

/// The bytes of a case.
fn pack(text: &str) -> Vec<u8> {
    let json = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut out = Vec::new();
    put(&mut out, &json);
    out
}

fn show(datum: &Datum<'_>) -> String {
    match datum {
        Datum::Unknown => "unknown".to_owned(),
        Datum::Remove => "remove".to_owned(),
        Datum::Nil => "nil".to_owned(),
        Datum::Bool(value) => value.to_string(),
        Datum::Int(value) => value.to_string(),
        Datum::Float(value) => format!("{value:?}"),
        Datum::Bytes(Type::String, text) => format!("={}", String::from_utf8_lossy(text)),
        Datum::Bytes(Type::GeoJson, text) => format!("~{}", String::from_utf8_lossy(text)),
        Datum::Bytes(Type::Blob, bytes) => format!("#{}", hex(bytes)),
        Datum::Bytes(kind, bytes) => format!("{kind:?} {}", hex(bytes)),
    }
}

/// What a record holds, and of what it is made.
struct Sample {
    metadata: Metadata<'static>,
    key: Option<&'static [u8]>,
    bins: Bins<'static>,
}

impl Subject for Sample {
    fn metadata(&self) -> Option<&Metadata<'_>> {
        Some(&self.metadata)
    }

    fn key(&self) -> Lookup<&[u8]> {
        self.key.into()
    }

    fn bin(&self, name: &[u8]) -> Lookup<BinRef<'_>> {
        self.bins.iter().find(|bin| bin.name == name).into()
    }
}

const SPOT: &[u8] = br#"{"type":"Point","coordinates":[8.5,47.4]}"#;
const AREA: &[u8] = br#"{"type":"AeroCircle","coordinates":[[8.5,47.4],1000]}"#;
const HLL: &str = "00040000000000000000000000000040000c2000000005";

fn metadata() -> Metadata<'static> {
    Metadata {
        digest: Digest(std::array::from_fn(|at| at as u8 + 1)),
        set: b"demo",
        stores_key: true,
        tombstone: false,
        void_time_s: 1100,
        update_time_ms: 999_000,
        size_bytes: 320,
        in_memory: false,
        now: Now::from_epoch_ms(1_000_500),
    }
}

/// The record of all tables.
fn sample() -> Sample {
    let mut bins = Bins::default();
    let mut bin = |name: &'static str, particle, bytes: Vec<u8>| {
        let bytes = Cow::Owned(bytes);
        bins.set(name.as_bytes(), Value { particle, bytes });
    };
    bin("five", ParticleType::Integer, 5i64.to_be_bytes().to_vec());
    bin("half", ParticleType::Float, 0.5f64.to_be_bytes().to_vec());
    bin("nan", ParticleType::Float, f64::NAN.to_be_bytes().to_vec());
    bin("text", ParticleType::String, b"hello".to_vec());
    bin("blob", ParticleType::Blob, vec![0x0f, 0x10]);
    bin("java", ParticleType::JavaBlob, vec![1]);
    bin("yes", ParticleType::Bool, vec![1]);
    bin("list", ParticleType::List, vec![0x93, 1, 2, 3]);
    bin(
        "mixed",
        ParticleType::List,
        unhex(
            "97 c0 c3 a20361 cb3ff8000000000000 9101 a20461 07"
                .replace(' ', "")
                .as_str(),
        ),
    );
    bin("map", ParticleType::Map, unhex("82c70001c0a2036b01"));
    bin("loose", ParticleType::Map, unhex("81a2036b01"));
    bin(
        "geo",
        ParticleType::GeoJson,
        b"\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01{}".to_vec(),
    );
    bin("spot", ParticleType::GeoJson, geo::stored(SPOT).unwrap());
    bin("area", ParticleType::GeoJson, geo::stored(AREA).unwrap());
    bin("hll", ParticleType::Hll, unhex(HLL));
    Sample {
        metadata: metadata(),
        key: Some(b"\x03user"),
        bins,
    }
}

fn run(text: &str) -> String {
    match Expr::parse(&pack(text)) {
        Ok(expr) => show(&expr.evaluate(&sample(), &Work::unlimited())),
        Err(ExprError::Malformed(_)) => "!4".to_owned(),
        Err(ExprError::Unsupported(_)) => "!16".to_owned(),
    }
}

#[track_caller]
fn check(text: &str, result: &str) {
    assert_eq!(run(text), result, "{text}");
}

/// What a filter says of metadata, and of the record.
#[track_caller]
fn filters(text: &str, verdict: Verdict, passes: bool) {
    let filter = Filter::parse(&pack(text)).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(
        filter.by_metadata(&metadata(), &Work::unlimited()),
        verdict,
        "{text}"
    );
    assert_eq!(
        filter.passes(&sample(), &Work::unlimited()),
        passes,
        "{text}"
    );
}

#[test]
fn literals_are_themselves() {
    check("null", "nil");
    check("true", "true");
    check("-7", "-7");
    check("1.5", "1.5");
    check(r#""=text""#, "=text");
    check(r##""#0102""##, "#0102");
    check("[126, [1, 2]]", "List 920102");
    check(r#"[126, ["!cd0005"]]"#, "List 9105");
    check(r#""!81c70001c0""#, "Map 81c70001c0");
    check(
        r#""!82020101 02""#.replace(' ', "").as_str(),
        "Map 8201020201",
    ); // brought into key order
    check(
        r#""~{\"type\":\"Point\",\"coordinates\":[1,2]}""#,
        r#"~{"type":"Point","coordinates":[1,2]}"#,
    );
    check(r#""~{}""#, "!4");
    check(r#""!a0""#, "!4"); // no type byte
    check(r#""!a105""#, "!4"); // a type byte that no literal has
    check(r#""!d4ff00""#, "!4"); // a wildcard
    check("[126, 5]", "!4");
    check("[126, [1], [2]]", "!4");
    check("[]", "!4");
    check(r#"["=x"]"#, "!4");
    check("[128]", "!4");
    check("[-1]", "!4");
}

#[test]
fn the_examples_of_the_reference_do_what_they_say() {
    check(r#"[3,[81,2,"five"],4]"#, "true");
    check("[5,[67],1000]", "false");
    check("[5,[67],1501]", "true");
    check(
        r#"[125,"x",[81,2,"five"],[3,[22,[124,"x"],[124,"x"]],10]]"#,
        "true",
    );
    assert_eq!(pack(r#"[3,[81,2,"a"],5]"#), unhex("9303935102a16105"));
}

#[test]
fn comparisons_are_of_one_type() {
    check("[1, 5, 5]", "true");
    check("[2, 5, 5]", "false");
    check("[3, 6, 5]", "true");
    check("[4, 5, 5]", "true");
    check("[5, -1, 1]", "true");
    check("[6, 6, 5]", "false");
    check("[1, 5, 5.0]", "!4");
    check(r#"[1, "=a", "=a"]"#, "true");
    check(r#"[5, "=a", "=ab"]"#, "true");
    check(r#"[3, "=b", "=ab"]"#, "true");
    check(r##"[5, "#00ff", "#01"]"##, "true");
    check(r##"[1, "#61", "=a"]"##, "!4");
    check("[5, false, true]", "true");
    check("[3, true, true]", "false");
    check("[1, null, null]", "true");
    check("[2, null, null]", "false");
    check("[1, null, 5]", "!4");
    check(r#"[1, [81,7,"nan"], [81,7,"nan"]]"#, "false");
    check(r#"[2, [81,7,"nan"], [81,7,"nan"]]"#, "true");
    check(r#"[4, [81,7,"nan"], [81,7,"nan"]]"#, "false");
    check(r#"[3, [81,7,"nan"], 1.0]"#, "false");
    check(r#"[1, [81,4,"list"], [126,[1,2,3]]]"#, "true");
    check(r#"[5, [81,4,"list"], [126,[1,3]]]"#, "true");
    check(r#"[1, [81,4,"list"], [126,[1,"!d4ff00"]]]"#, "true"); // a wildcard
    check(r#"[1, [81,5,"map"], [81,5,"map"]]"#, "true");
    check(r#"[1, [81,5,"loose"], [81,5,"loose"]]"#, "unknown");
    check(r#"[1, [81,5,"map"], [81,5,"loose"]]"#, "unknown");
    check(r#"[1, [81,5,"map"], "!80"]"#, "false");
    check(r#"[1, [81,9,"hll"], [81,9,"hll"]]"#, "!4");
    check(r#"[1, [81,8,"geo"], [81,8,"geo"]]"#, "!4");
    check("[1, 5]", "!4");
    check("[1, 5, 5, 5]", "!4");
    check(r#"[1, [81,2,"none"], 5]"#, "unknown");
    check("[1, [0], true]", "unknown");
}

#[test]
fn truths_have_three_values() {
    const U: &str = "[0]";
    let of = |code: u32, values: &[&str]| format!("[{code},{}]", values.join(","));
    for (values, and, or, exclusive) in [
        (["true", "true"], "true", "true", "false"),
        (["true", "false"], "false", "true", "true"),
        (["false", "false"], "false", "false", "false"),
        (["true", U], "unknown", "true", "unknown"),
        ([U, "true"], "unknown", "true", "unknown"),
        (["false", U], "false", "unknown", "unknown"),
        ([U, "false"], "false", "unknown", "unknown"),
        ([U, U], "unknown", "unknown", "unknown"),
    ] {
        check(&of(16, &values), and);
        check(&of(17, &values), or);
        check(&of(19, &values), exclusive);
    }
    check(&of(19, &["true", "true", U]), "false"); // decided by the second
    check(&of(19, &["true", U, "true"]), "unknown");
    check(&of(16, &[U, "true", "false"]), "false");
    check("[18, true]", "false");
    check("[18, [0]]", "unknown");
    check("[16, true]", "!4");
    check("[16, true, 1]", "!4");
    check("[18, 1]", "!4");
    check("[18]", "!4");
}

#[test]
fn integers_wrap_and_division_by_zero_is_unknown() {
    check("[20, 1, 2, 3]", "6");
    check("[20, 7]", "7");
    check("[20, 9223372036854775807, 1]", "-9223372036854775808");
    check("[21, 10, 2, 3]", "5");
    check("[21, 7]", "-7");
    check("[21, -9223372036854775808]", "-9223372036854775808");
    check("[22, 2, 3, 4]", "24");
    check("[23, 20, 2, 3]", "3");
    check("[23, 2]", "0");
    check("[23, 1]", "1");
    check("[23, -7, 2]", "-3");
    check("[23, 7, 0]", "unknown");
    check("[23, 0]", "unknown");
    check("[23, 7, 4294967296, 4294967296]", "unknown"); // their product wraps to zero
    check("[23, -9223372036854775808, -1]", "-9223372036854775808");
    check("[26, -7, 2]", "-1");
    check("[26, 7, -2]", "1");
    check("[26, 7, 0]", "unknown");
    check("[26, -9223372036854775808, -1]", "0");
    check("[27, -5]", "5");
    check("[27, -9223372036854775808]", "-9223372036854775808");
    check("[50, 3, 1, 2]", "1");
    check("[51, 3, 1, 2]", "3");
    check("[50, 3, 1.0]", "!4");
    check("[20]", "!4");
    check(r#"[20, "=a"]"#, "!4");
    check("[20, true]", "!4");
    check("[20, [0]]", "!4");
    check(r#"[20, 1, [81,2,"none"]]"#, "unknown");
}

#[test]
fn doubles_follow_ieee() {
    check("[20, 1.5, 2.0]", "3.5");
    check("[21, 1.5]", "-1.5");
    check("[22, 1.5, 2.0]", "3.0");
    check("[23, 1.0, 4.0, 2.0]", "0.125");
    check("[23, 4.0]", "0.25");
    check("[23, 1.0, 0.0]", "inf");
    check("[23, 0.0, 0.0]", "NaN");
    check("[24, 2.0, 10.0]", "1024.0");
    check("[25, 8.0, 2.0]", "3.0");
    check("[27, -1.5]", "1.5");
    check("[28, -1.5]", "-2.0");
    check("[29, 1.2]", "2.0");
    check("[30, -1.9]", "-1");
    check("[31, 3]", "3.0");
    check("[50, 1.5, 0.5]", "0.5");
    check("[51, 1.5, 0.5]", "1.5");
    check("[24, 2, 3]", "!4");
    check("[24, 2.0]", "!4");
    check("[28, 1]", "!4");
    check("[30, 1]", "!4");
    check("[31, 1.0]", "!4");
    check("[26, 1.0, 2.0]", "!4");
}

#[test]
fn bits_of_integers() {
    check("[32, 12, 10]", "8");
    check("[33, 12, 10]", "14");
    check("[34, 12, 10]", "6");
    check("[32, 12]", "12");
    check("[35, 0]", "-1");
    check("[36, 1, 63]", "-9223372036854775808");
    check("[36, 1, 64]", "1");
    check("[37, -1, 60]", "15");
    check("[38, -16, 2]", "-4");
    check("[39, 255]", "8");
    check("[39, -1]", "64");
    check("[40, 1, true]", "63");
    check("[40, 1, false]", "0");
    check("[40, 0, true]", "-1");
    check("[40, -1, false]", "-1");
    check("[41, 1, true]", "63");
    check("[41, 8, true]", "60");
    check("[41, 1, false]", "62");
    check("[41, 0, true]", "-1");
    check("[32, 1.0, 2]", "!4");
    check("[40, 1, 1]", "!4");
    check("[35, 1, 2]", "!4");
}

#[test]
fn metadata_are_told() {
    check(
        "[64, 1000]",
        &(u32::from_le_bytes([17, 18, 19, 20]) % 1000).to_string(),
    );
    check("[64, 0]", "!4");
    check("[64, 4294967296]", "!4");
    check("[64, [20, 1]]", "!4");
    check("[65]", "320");
    check("[66]", "1262304999000000000");
    check("[67]", "1500");
    check("[68]", "1262305100000000000");
    check("[69]", "100");
    check("[70]", "=demo");
    check("[71]", "true");
    check("[72]", "false");
    check("[73]", "0");
    check("[74]", "320");
    check("[74, 1]", "!4");
    for unassigned in [10, 15, 42, 49, 52, 63, 75, 79, 83, 99, 103, 121] {
        check(&format!("[{unassigned}]"), "!4");
    }
    let of = |text: &str, metadata: Metadata<'_>| {
        show(
            &Expr::parse(&pack(text))
                .unwrap()
                .evaluate(&metadata, &Work::unlimited()),
        )
    };
    let eternal = Metadata {
        void_time_s: 0,
        in_memory: true,
        ..metadata()
    };
    assert_eq!(of("[68]", eternal), "-1");
    assert_eq!(of("[69]", eternal), "-1");
    assert_eq!(of("[65]", eternal), "0");
    assert_eq!(of("[73]", eternal), "320");
    let dying = Metadata {
        void_time_s: 1000,
        ..metadata()
    };
    assert_eq!(of("[69]", dying), "1");
    let ahead = Metadata {
        update_time_ms: 2_000_000,
        ..metadata()
    };
    assert_eq!(of("[67]", ahead), "0");
}

#[test]
fn bins_and_keys_are_read_by_type() {
    check(r#"[81, 2, "five"]"#, "5");
    check(r#"[81, 7, "five"]"#, "unknown");
    check(r#"[81, 2, "none"]"#, "unknown");
    check(r#"[81, 7, "half"]"#, "0.5");
    check(r#"[81, 3, "text"]"#, "=hello");
    check(r#"[81, 6, "blob"]"#, "#0f10");
    check(r#"[81, 6, "java"]"#, "unknown");
    check(r#"[81, 1, "yes"]"#, "true");
    check(r#"[81, 4, "list"]"#, "List 93010203");
    check(r#"[81, 5, "map"]"#, "Map 82c70001c0a2036b01");
    check(r#"[81, 8, "geo"]"#, "~{}");
    check(r#"[81, 9, "hll"]"#, &format!("Hll {HLL}"));
    check(r#"[81, 0, "five"]"#, "unknown");
    check(r#"[81, 10, "five"]"#, "!4");
    check(r#"[81, 2, 5]"#, "!4");
    check(r#"[81, 2, "sixteen_letters_"]"#, "!4");
    check(r#"[82, "five"]"#, "1");
    check(r#"[82, "geo"]"#, "23");
    check(r#"[82, "java"]"#, "7");
    check(r#"[82, "none"]"#, "0");
    check("[80, 3]", "=user");
    check("[80, 2]", "unknown");
    check("[80, 6]", "unknown");
    check("[80, 7]", "!4");
}

#[test]
fn lists_are_searched_by_their_own_equality() {
    for (value, found) in [
        ("7", "true"),
        ("1", "false"),
        ("null", "true"),
        ("true", "true"),
        ("false", "false"),
        ("1.5", "true"),
        ("7.0", "false"),
        (r#""=a""#, "true"),
        (r##""#61""##, "true"),
        (r#""=b""#, "false"),
        ("[126,[1]]", "true"),
        ("[126,[2]]", "false"),
        ("[0]", "unknown"),
    ] {
        check(&format!(r#"[9, {value}, [81,4,"mixed"]]"#), found);
    }
    check(r#"[9, 1, [126,[]]]"#, "false");
    check(r#"[9, 1, [126,["!d4ff00"]]]"#, "true");
    check(r#"[9, 1, [81,4,"none"]]"#, "unknown");
    check(r#"[9, [81,5,"loose"], [126,["!81a2036b01"]]]"#, "true");
    check(r#"[9, 1, [81,5,"map"]]"#, "!4");
    check(r#"[101, [81,5,"map"]]"#, "List 91a2036b");
    check(r#"[102, [81,5,"map"]]"#, "List 9101");
    check(r#"[101, [81,4,"list"]]"#, "!4");
    check(r#"[101, "!80"]"#, "List 90");
    check(r#"[101, [81,5,"none"]]"#, "unknown");
}

#[test]
fn conditions_choose_and_do_not_look_at_what_they_do_not_choose() {
    check("[123, true, 1, 2]", "1");
    check("[123, false, 1, 2]", "2");
    check("[123, false, 1, true, 3, 2]", "3");
    check("[123, [0], 1, 2]", "unknown");
    check("[123, true, 1, [0], 5, 2]", "1");
    check("[123, true, 1, [0]]", "1");
    check("[123, false, 1, [0]]", "unknown");
    check("[123, true, [0], 1]", "unknown");
    check("[20, [123, false, [0], 4], 1]", "5");
    check("[123, false, [0], [0]]", "unknown");
    check("[18, [123, false, [0], [0]]]", "unknown"); // it counts as a truth
    check("[123, false, 1, [100]]", "remove");
    check("[20, [123, true, 1, [100]], 1]", "2");
    check("[20, [123, false, 1, [100]], 1]", "unknown");
    check("[20, [123, false, [100], [0]], 1]", "!4");
    check("[123, true, 1]", "!4");
    check("[123, true]", "!4");
    check("[123, true, 1, false, 2]", "!4");
    check("[123, 1, 1, 2]", "!4");
    check("[123, true, 1, 2.0]", "!4");
    check("[123, true, 1, true, null, 3]", "!4");
}

#[test]
fn variables_hold_in_their_scope() {
    check(r#"[125, "x", 3, [20, [124,"x"], [124,"x"]]]"#, "6");
    check(
        r#"[125, "x", 3, "y", [20, [124,"x"], 1], [22, [124,"x"], [124,"y"]]]"#,
        "12",
    );
    check(r#"[125, "x", [0], 5]"#, "5"); // unknown, and not used
    check(
        r#"[125, "x", [81,2,"none"], [20, [124,"x"], 1]]"#,
        "unknown",
    );
    check(r#"[20, [125,"x",1,[124,"x"]], [125,"x",2,[124,"x"]]]"#, "3");
    check(
        r#"[125, "a", 1, [125, "b", 2, [125, "c", [20,[124,"a"],[124,"b"]], [22,[124,"c"],10]]]]"#,
        "30",
    );
    check(r#"[125, "a", [125, "b", 2, [124,"b"]], [124,"a"]]"#, "2");
    check(r#"[125, "_x9", 1, [124,"_x9"]]"#, "1");
    check(r#"[125, "x", 1, "x", 2, 3]"#, "!4");
    check(r#"[125, "x", 1, [125, "x", 2, 3]]"#, "!4");
    check(r#"[125, "x", [124,"x"], 3]"#, "!4");
    check(r#"[20, [125,"x",1,[124,"x"]], [124,"x"]]"#, "!4");
    check(r#"[125, "9x", 1, 2]"#, "!4");
    check(r#"[125, "", 1, 2]"#, "!4");
    check(r#"[125, "a-b", 1, 2]"#, "!4");
    check(r#"[125, "x", 1]"#, "!4");
    check(r#"[125, "x", 1, 2, 3]"#, "!4");
    check("[125, 5]", "!4");
    check(r#"[124, "x"]"#, "!4");
}

#[test]
fn built_in_variables_are_of_the_element_at_which_a_path_is() {
    check("[122, 2, 1]", "unknown");
    check("[122, 3, 2]", "!4");
    check("[122, 2, 3]", "!4");
    let (key, value) = (unhex("a2036b"), unhex("07"));
    let at = super::Iteration {
        key: Some(&key),
        value: &value,
        index: None,
    };
    let of = |text: &str| {
        show(
            &Expr::parse(&pack(text))
                .unwrap()
                .evaluate(&at, &Work::unlimited()),
        )
    };
    assert_eq!(of("[122, 3, 0]"), "=k");
    assert_eq!(of("[122, 2, 1]"), "7");
    assert_eq!(of("[122, 3, 1]"), "unknown");
    assert_eq!(of("[122, 2, 2]"), "unknown");
    assert_eq!(of("[3, [122, 2, 1], 5]"), "true");
    assert_eq!(of("[74]"), "unknown");
    assert_eq!(of("[64, 5]"), "unknown");
    assert_eq!(of(r#"[81, 2, "five"]"#), "unknown");
    assert_eq!(of("[80, 3]"), "unknown");
}

#[test]
fn metadata_decide_without_a_read_where_they_can() {
    use Verdict::{FilteredOut, Passes, Undecided};
    filters("[3, [74], 100]", Passes, true);
    filters("[3, [74], 1000]", FilteredOut, false);
    filters("true", Passes, true);
    filters("[0]", FilteredOut, false); // unknown, and no record would help
    filters(r#"[1, [81,2,"five"], 5]"#, Undecided, true);
    filters(r#"[1, [81,2,"five"], 6]"#, Undecided, false);
    filters(r#"[1, [81,2,"none"], 6]"#, Undecided, false);
    filters(r#"[18, [1, [81,2,"none"], 6]]"#, Undecided, false);
    filters(
        r#"[16, [3, [74], 1000], [1, [81,2,"five"], 5]]"#,
        FilteredOut,
        false,
    );
    filters(
        r#"[17, [3, [74], 100], [1, [81,2,"five"], 6]]"#,
        Passes,
        true,
    );
    filters(
        r#"[16, [3, [74], 100], [1, [81,2,"five"], 5]]"#,
        Undecided,
        true,
    );
    filters("[1, [80,3], \"=user\"]", Undecided, true);
    filters("[71]", Passes, true);
    filters(r#"[1, [82,"none"], 0]"#, Undecided, true);
    filters(r#"[123, [71], true, [81,1,"yes"]]"#, Passes, true);
    for no_truth in ["5", "null", r#""=a""#, "[20, 1]", "[100]", "[126,[]]"] {
        assert!(Filter::parse(&pack(no_truth)).is_err(), "{no_truth}");
    }
}

#[test]
fn limits_hold() {
    let nested = |depth: usize| [[0x92, 18].repeat(depth), vec![0xc3]].concat();
    assert!(Expr::parse(&nested(super::DEPTH_MAX)).is_ok());
    assert!(Expr::parse(&nested(super::DEPTH_MAX + 1)).is_err());
    let wide = |count: u32| {
        let mut out = Vec::new();
        write_list_count(&mut out, count + 1);
        out.push(17);
        out.extend(std::iter::repeat_n(0xc2, count as usize));
        out
    };
    assert!(Expr::parse(&wide(super::NODES_MAX as u32 - 1)).is_ok());
    assert!(Expr::parse(&wide(super::NODES_MAX as u32)).is_err());
    let mut text = Vec::new();
    write_typed(&mut text, 3, &vec![b'x'; super::BYTES_MAX]);
    assert!(Expr::parse(&text).is_err());
    assert!(Expr::parse(&[]).is_err());
    assert!(Expr::parse(&[0xc3, 0xc3]).is_err()); // something behind its end
    assert!(Expr::parse(&[0xdd, 0xff, 0xff, 0xff, 0xff, 17]).is_err());
    assert!(Expr::parse(&[0xdd, 0xff, 0xff, 0xff, 0xff, 20, 1]).is_err());
}

#[test]
fn a_region_takes_work_by_its_positions_and_its_text() {
    use std::f64::consts::TAU;
    let region = |positions: u32| {
        let position = |number: u32| {
            let share = f64::from(number % positions) / f64::from(positions);
            let (sin, cos) = (share * TAU).sin_cos();
            format!("[{},{}]", 8.5 + cos, 47.4 + sin)
        };
        let ring: Vec<_> = (0..=positions).map(position).collect();
        format!(
            r#""~{{\"type\":\"Polygon\",\"coordinates\":[[{}]]}}""#,
            ring.join(",")
        )
    };
    let spent = |left: &str, right: &str| {
        let expr = Expr::parse(&pack(&format!("[8, {left}, {right}]"))).unwrap();
        let work = Work::at_once();
        assert_eq!(show(&expr.evaluate(&sample(), &work)), "true");
        assert!(!expr.is_short());
        work.spent()
    };
    let spot = r#"[81,8,"spot"]"#;
    let (few, many) = (spent(&region(10), spot), spent(&region(1010), spot));
    assert!(many - few >= 1000 * 10, "{few} {many}");
    let read = spent(&region(10), spot)
        - spent(
            &region(10),
            r#""~{\"type\":\"Point\",\"coordinates\":[8.5,47.4]}""#,
        );
    assert!(read >= SPOT.len() as u64, "{read}");
    let expr = Expr::parse(&pack(&format!("[8, {}, {spot}]", region(1010)))).unwrap();
    assert_eq!(
        show(&expr.evaluate(&sample(), &Work::new(many - 1))),
        "unknown"
    );
}

#[test]
fn points_are_within_regions_from_either_side() {
    let near = r#""~{\"type\":\"Point\",\"coordinates\":[8.501,47.4]}""#;
    let far = r#""~{\"type\":\"Point\",\"coordinates\":[8.6,47.4]}""#;
    let region = r#""~{\"type\":\"AeroCircle\",\"coordinates\":[[8.5,47.401],500]}""#;
    for (left, right, is_within) in [
        (r#"[81,8,"spot"]"#, r#"[81,8,"area"]"#, "true"),
        (r#"[81,8,"area"]"#, r#"[81,8,"spot"]"#, "true"),
        (r#"[81,8,"spot"]"#, region, "true"),
        (region, r#"[81,8,"spot"]"#, "true"),
        (near, r#"[81,8,"area"]"#, "true"),
        (far, r#"[81,8,"area"]"#, "false"),
        (region, far, "false"),
        (near, near, "false"),
        (region, r#"[81,8,"area"]"#, "false"),
        (r#"[81,8,"none"]"#, region, "unknown"),
        (near, r#"[81,8,"geo"]"#, "unknown"), // it is no GeoJSON
        (near, r#"[81,3,"text"]"#, "!4"),
        (r#""={}""#, region, "!4"),
        (near, r#""~{}""#, "!4"),
        (near, "[0]", "!4"),
    ] {
        check(&format!("[8, {left}, {right}]"), is_within);
    }
    check(
        &format!(r#"[125, "here", {near}, [8, [124, "here"], [81,8,"area"]]]"#),
        "true",
    );
    check(&format!("[8, {near}]"), "!4");
}
