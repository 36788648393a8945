//! HyperLogLog by table, and against sets.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{HllModify, HllRead};
use crate::call::CallError;
use crate::msgpack::{write_int, write_list_count, write_typed};
use crate::value::{ParticleType, Value};

/// One argument of a call.
enum Arg<'a> {
    Int(i64),
    Elements(Vec<Vec<u8>>),
    Sketches(&'a [Value<'a>]),
    Sketch(&'a Value<'a>),
}

use Arg::{Elements, Int, Sketch, Sketches};

fn call(code: i64, arguments: &[Arg<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    write_list_count(&mut out, arguments.len() as u32 + 1);
    write_int(&mut out, code, false);
    for argument in arguments {
        match argument {
            Int(value) => write_int(&mut out, *value, false),
            Elements(elements) => {
                write_list_count(&mut out, elements.len() as u32);
                elements
                    .iter()
                    .for_each(|element| out.extend_from_slice(element));
            }
            Sketches(sketches) => {
                write_list_count(&mut out, sketches.len() as u32);
                sketches
                    .iter()
                    .for_each(|sketch| write_typed(&mut out, 18, &sketch.bytes));
            }
            Sketch(sketch) => write_typed(&mut out, 18, &sketch.bytes),
        }
    }
    out
}

fn numbers(range: std::ops::Range<i64>) -> Arg<'static> {
    let packed = |number| {
        let mut out = Vec::new();
        write_int(&mut out, number, false);
        out
    };
    Elements(range.map(packed).collect())
}

fn code(error: CallError) -> u8 {
    match error {
        CallError::Corrupt => 1,
        CallError::Parameter(_) => 4,
        CallError::BinExists => 6,
        CallError::Incompatible(_) => 12,
        CallError::BinNotFound => 17,
        CallError::NotApplicable(_) => 26,
        CallError::TooBig(_) => 13,
    }
}

/// What a change makes of a bin, and its answer.
fn modify(
    before: Option<&Value<'_>>,
    number: i64,
    arguments: &[Arg<'_>],
) -> Result<(Option<Value<'static>>, Option<i64>), u8> {
    let payload = call(number, arguments);
    let done = HllModify::parse(&payload)
        .and_then(|call| call.modify(before))
        .map_err(code)?;
    Ok((done.value, done.answer.map(|answer| int(&answer))))
}

/// The value that a change must have made.
#[track_caller]
fn made(before: Option<&Value<'_>>, number: i64, arguments: &[Arg<'_>]) -> Value<'static> {
    let value = modify(before, number, arguments)
        .expect("it is done")
        .0
        .expect("a value");
    assert!(
        Value::from_wire(18, &value.bytes).is_ok(),
        "a sketch that may be stored"
    );
    value
}

fn read(value: &Value<'_>, number: i64, arguments: &[Arg<'_>]) -> Result<Value<'static>, u8> {
    let payload = call(number, arguments);
    HllRead::parse(&payload)
        .and_then(|call| call.read(value))
        .map_err(code)
}

fn int(value: &Value<'_>) -> i64 {
    assert_eq!(value.particle, ParticleType::Integer);
    i64::from_be_bytes((*value.bytes).try_into().expect("eight bytes"))
}

fn float(value: &Value<'_>) -> f64 {
    assert_eq!(value.particle, ParticleType::Float);
    f64::from_be_bytes((*value.bytes).try_into().expect("eight bytes"))
}

fn count(value: &Value<'_>) -> i64 {
    int(&read(value, 50, &[]).expect("a count"))
}

fn refused(before: Option<&Value<'_>>, number: i64, arguments: &[Arg<'_>]) -> u8 {
    modify(before, number, arguments).expect_err("it is refused")
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
        .collect()
}

/// The four elements of the reference's vectors.
fn four() -> Arg<'static> {
    Elements(vec![
        vec![0xa2, 3, 0x61],
        vec![5],
        vec![0xcd, 3, 0xe8],
        vec![0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0],
    ])
}

#[test]
fn sketches_are_byte_for_byte_those_of_the_reference() {
    let sketch = made(None, 1, &[four(), Int(4)]);
    let expected = unhex("00040000000000000000000000000040000c2000000005");
    assert_eq!(*sketch.bytes, *expected);
    assert_eq!(count(&sketch), 4);
    assert_eq!(count(&made(None, 1, &[four(), Int(12)])), 4);
}

#[test]
fn elements_count_by_their_minimal_form() {
    let five = |packed: &[u8]| made(None, 1, &[Elements(vec![packed.to_vec()]), Int(8), Int(16)]);
    assert_eq!(five(&[5]), five(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 5]));
    let text = [0xda, 0, 2, 3, 0x61];
    assert_eq!(five(&[0xa2, 3, 0x61]), five(&text));
    assert_ne!(five(&[5]), five(&[6]));
    for scalar in [&[0xc0][..], &[0xc3], &[0xca, 0, 0, 0, 0], &[0xa0]] {
        five(scalar);
    }
    for element in [&[0x90][..], &[0x80], &[0xd4, 0xff, 0]] {
        let elements = || Elements(vec![element.to_vec()]);
        assert_eq!(refused(None, 1, &[elements(), Int(8)]), 4);
        assert_eq!(read(&five(&[5]), 56, &[elements()]), Err(4));
    }
}

#[test]
fn counts_are_near_the_truth_at_any_size() {
    for (elements, index_bits) in [(1, 12), (10, 12), (1000, 12), (20_000, 12), (200_000, 14)] {
        let sketch = made(None, 1, &[numbers(0..elements), Int(index_bits)]);
        let error = (count(&sketch) - elements).abs() as f64 / elements as f64;
        let allowed = 4.0 * 1.04 / f64::from(1 << index_bits).sqrt();
        assert!(
            error <= allowed,
            "{elements}: {error} is more than {allowed}"
        );
    }
    assert_eq!(count(&made(None, 0, &[Int(8)])), 0);
}

#[test]
fn init_makes_a_sketch_empty_and_keeps_what_is_not_said() {
    let old = made(None, 1, &[numbers(0..100), Int(8), Int(16)]);
    let shape = |value: &Value<'_>| (value.bytes[1], value.bytes[2]);
    assert_eq!(shape(&made(None, 0, &[Int(4)])), (4, 0));
    assert_eq!(shape(&made(None, 0, &[Int(16), Int(48)])), (16, 48));
    let emptied = made(Some(&old), 0, &[]);
    assert_eq!((shape(&emptied), count(&emptied)), ((8, 16), 0));
    assert_eq!(shape(&made(Some(&old), 0, &[Int(-1), Int(4)])), (8, 4));
    assert_eq!(shape(&made(Some(&old), 0, &[Int(10), Int(-1)])), (10, 16));
    let wide = made(None, 0, &[Int(13), Int(51)]);
    assert_eq!(refused(Some(&wide), 0, &[Int(14)]), 26);
    assert_eq!(refused(None, 0, &[]), 26);
    assert_eq!(refused(None, 0, &[Int(-1), Int(8)]), 26);
    assert_eq!(refused(None, 0, &[Int(14), Int(51)]), 4);
    for bits in [3, 17, 0, -2] {
        assert_eq!(refused(None, 0, &[Int(bits)]), 4);
    }
    for bits in [1, 3, 52] {
        assert_eq!(refused(None, 0, &[Int(8), Int(bits)]), 4);
    }
}

#[test]
fn flags_say_whether_a_bin_may_be_there() {
    let old = made(None, 0, &[Int(8)]);
    let text = Value {
        particle: ParticleType::String,
        bytes: Cow::Borrowed(b"x"),
    };
    let init = |flags| vec![Int(8), Int(0), Int(flags)];
    assert_eq!(refused(Some(&old), 0, &init(1)), 6);
    assert_eq!(modify(Some(&old), 0, &init(5)), Ok((None, None)));
    assert_eq!(refused(None, 0, &init(2)), 17);
    assert_eq!(modify(None, 0, &init(6)), Ok((None, None)));
    assert_eq!(refused(None, 0, &init(3)), 4);
    assert_eq!(refused(None, 0, &init(8)), 4);
    assert_eq!(refused(Some(&text), 0, &init(1)), 12); // the type is looked at first
    let add = |flags| vec![numbers(0..1), Int(8), Int(0), Int(flags)];
    assert_eq!(refused(None, 1, &add(2)), 4);
    assert_eq!(refused(Some(&old), 1, &add(1)), 6);
    assert_eq!(modify(Some(&old), 1, &add(5)), Ok((None, None)));
    assert_eq!(refused(Some(&text), 1, &[numbers(0..1), Int(8)]), 12);
    assert_eq!(refused(None, 3, &[]), 17);
    assert_eq!(refused(None, 4, &[Int(4)]), 17);
}

#[test]
fn add_answers_how_many_elements_raised_a_register() {
    let (sketch, raised) = modify(None, 1, &[numbers(0..4), Int(12)]).unwrap();
    assert_eq!(raised, Some(4));
    let sketch = sketch.unwrap();
    let again = modify(Some(&sketch), 1, &[numbers(0..4)]).unwrap();
    assert_eq!(again, (Some(sketch.clone()), Some(0)));
    assert_eq!(
        modify(Some(&sketch), 1, &[numbers(0..0)]).unwrap().1,
        Some(0)
    );
    // bits say nothing where a sketch is, but must be bits
    assert_eq!(made(Some(&sketch), 1, &[numbers(0..4), Int(4)]), sketch);
    assert_eq!(refused(Some(&sketch), 1, &[numbers(0..4), Int(3)]), 4);
    assert_eq!(refused(None, 1, &[numbers(0..4)]), 26);
    assert_eq!(refused(None, 1, &[]), 4);
    assert_eq!(refused(None, 1, &[Int(4)]), 4);
}

#[test]
fn a_refreshed_count_is_kept_until_something_is_added() {
    let sketch = made(None, 1, &[numbers(0..500), Int(10)]);
    assert_eq!(sketch.bytes[3..11], [0; 8]);
    let (kept, answer) = modify(Some(&sketch), 3, &[]).unwrap();
    let kept = kept.unwrap();
    assert_eq!(answer, Some(count(&sketch)));
    assert_eq!(kept.bytes[3..11], answer.unwrap().to_le_bytes());
    assert_eq!(made(Some(&kept), 1, &[numbers(0..500)]), kept);
    let more = made(Some(&kept), 1, &[numbers(500..600)]);
    assert_eq!(more.bytes[3..11], [0; 8]);
    let mut claimed = kept.bytes.to_vec();
    claimed[3..11].copy_from_slice(&7u64.to_le_bytes());
    let claimed = Value {
        particle: ParticleType::Hll,
        bytes: Cow::Owned(claimed),
    };
    assert_eq!(count(&claimed), 7);
}

#[test]
fn folding_gives_what_fewer_registers_would_have_held() {
    let wide = made(None, 1, &[numbers(0..300), Int(12)]);
    let narrow = made(None, 1, &[numbers(0..300), Int(6)]);
    assert_eq!(made(Some(&wide), 4, &[Int(6)]).bytes[1], 6);
    assert_eq!(count(&made(Some(&wide), 4, &[Int(6)])), count(&narrow));
    assert_eq!(modify(Some(&narrow), 4, &[Int(6)]), Ok((None, None)));
    assert_eq!(refused(Some(&narrow), 4, &[Int(7)]), 26);
    assert_eq!(refused(Some(&narrow), 4, &[Int(3)]), 4);
    let minhash = made(None, 0, &[Int(8), Int(8)]);
    assert_eq!(refused(Some(&minhash), 4, &[Int(6)]), 26);
}

#[test]
fn a_union_is_what_adding_all_elements_gives() {
    let of = |range, p, q| made(None, 1, &[numbers(range), Int(p), Int(q)]);
    let (a, b, both) = (of(0..300, 10, 0), of(200..500, 10, 0), of(0..500, 10, 0));
    assert_eq!(
        made(Some(&a), 2, &[Sketches(std::slice::from_ref(&b))]),
        both
    );
    assert_eq!(made(Some(&a), 2, &[Sketch(&b)]), both);
    assert_eq!(made(None, 2, &[Sketches(&[a.clone(), b.clone()])]), both);
    assert_eq!(read(&a, 51, &[Sketch(&b)]), Ok(both.clone()));
    assert_eq!(int(&read(&a, 52, &[Sketch(&b)]).unwrap()), count(&both));

    let narrow = of(0..300, 8, 0);
    assert_eq!(refused(Some(&a), 2, &[Sketch(&narrow)]), 26);
    assert_eq!(
        modify(Some(&a), 2, &[Sketch(&narrow), Int(4)]),
        Ok((None, None))
    );
    assert_eq!(made(Some(&a), 2, &[Sketch(&narrow), Int(8)]).bytes[1], 8);
    assert_eq!(made(Some(&narrow), 2, &[Sketch(&a)]).bytes[1], 8);

    let (x, y) = (of(0..300, 10, 8), of(200..500, 10, 8));
    assert_eq!(made(Some(&x), 2, &[Sketch(&y)]), of(0..500, 10, 8));
    let other = of(0..300, 10, 9);
    assert_eq!(refused(Some(&x), 2, &[Sketch(&other)]), 26);
    assert_eq!(made(Some(&x), 2, &[Sketch(&other), Int(8)]).bytes[2], 0);
    assert_eq!(made(Some(&a), 2, &[Sketch(&other)]).bytes[2], 0);
    assert_eq!(made(None, 2, &[Sketches(&[x.clone(), other])]).bytes[2], 0);
    assert_eq!(refused(None, 2, &[Sketches(&[])]), 4);
    assert_eq!(refused(None, 2, &[Int(1)]), 4);
    let wild = Value {
        particle: ParticleType::Hll,
        bytes: Cow::Borrowed(&[0, 0xff, 0xff]), // parts that do not add up in a byte
    };
    assert_eq!(refused(None, 2, &[Sketch(&wild)]), 4);
    let broken = Value {
        particle: ParticleType::Hll,
        bytes: Cow::Borrowed(&[0, 4, 0]),
    };
    assert_eq!(refused(None, 2, &[Sketch(&broken)]), 4);
    assert_eq!(read(&broken, 50, &[]), Err(1));
    assert_eq!(refused(Some(&broken), 3, &[]), 1);
}

/// What is told of sets of numbers, beside what is true.
#[track_caller]
fn near(sets: &[std::ops::Range<i64>], p: i64, q: i64) {
    let of =
        |range: &std::ops::Range<i64>| made(None, 1, &[numbers(range.clone()), Int(p), Int(q)]);
    let sketches: Vec<_> = sets.iter().map(of).collect();
    let true_sets: Vec<BTreeSet<i64>> = sets.iter().map(|range| range.clone().collect()).collect();
    let shared = true_sets
        .iter()
        .cloned()
        .reduce(|a, b| &a & &b)
        .map_or(0, |set| set.len()) as f64;
    let all = true_sets
        .iter()
        .cloned()
        .reduce(|a, b| &a | &b)
        .map_or(0, |set| set.len()) as f64;
    let (own, rest) = sketches.split_last().unwrap();
    let told = int(&read(own, 53, &[Sketches(rest)]).unwrap()) as f64;
    assert!(
        (told - shared).abs() <= 0.06 * all,
        "{told} instead of {shared} of {all}"
    );
    let told = float(&read(own, 54, &[Sketches(rest)]).unwrap());
    assert!(
        (told - shared / all).abs() <= 0.06,
        "{told} instead of {}",
        shared / all
    );
}

#[test]
fn intersections_and_similarity_are_near_the_truth() {
    near(&[0..3000, 1500..4500], 12, 0);
    near(&[0..3000, 1500..4500], 12, 16);
    near(&[0..3000, 5000..9000], 12, 4); // equal by chance, which is taken off
    near(&[0..3000, 0..3000], 12, 8);
    near(&[0..3000, 1000..4000, 2000..5000], 13, 0);
    near(&[0..3000, 1000..4000, 2000..5000, 500..3500], 12, 20);
}

#[test]
fn comparisons_at_the_edges_are_those_of_the_reference() {
    let of = |range, p, q| made(None, 1, &[numbers(range), Int(p), Int(q)]);
    let (empty, empty_min) = (of(0..0, 8, 0), of(0..0, 8, 16));
    let (some, some_min) = (of(0..50, 8, 0), of(0..50, 8, 16));
    let similarity =
        |own: &Value<'_>, other: &Value<'_>| float(&read(own, 54, &[Sketch(other)]).unwrap());
    assert!(similarity(&empty, &empty).is_nan());
    assert!(similarity(&empty_min, &empty_min).is_nan());
    assert_eq!(similarity(&some_min, &empty_min), 0.0);
    assert_eq!(similarity(&some, &empty), 0.0);
    assert_eq!(
        int(&read(&empty_min, 53, &[Sketch(&empty_min)]).unwrap()),
        0
    );
    let three = |sketch: &Value<'static>| vec![sketch.clone(), sketch.clone(), sketch.clone()];
    assert_eq!(read(&some, 53, &[Sketches(&three(&some))]), Err(4));
    assert_eq!(read(&some, 54, &[Sketches(&three(&some_min))]), Err(26));
    assert!(read(&some_min, 54, &[Sketches(&three(&some_min))]).is_ok());
    let mixed = [some_min.clone(), some_min.clone(), of(0..50, 8, 17)];
    assert_eq!(read(&some_min, 53, &[Sketches(&mixed)]), Err(4));
    assert!(read(&some, 53, &[Sketches(&[some_min.clone(), some_min])]).is_ok());
    let mut liar = some.bytes.to_vec();
    liar[3..11].fill(0xff); // any count may be claimed
    let liar = Value {
        particle: ParticleType::Hll,
        bytes: Cow::Owned(liar),
    };
    for number in [52, 53, 54] {
        assert!(read(&liar, number, &[Sketches(&[liar.clone(), liar.clone()])]).is_ok());
    }
}

#[test]
fn sketches_describe_themselves_and_know_what_they_may_contain() {
    let sketch = made(None, 1, &[numbers(0..100), Int(14), Int(20)]);
    let described = read(&sketch, 55, &[]).unwrap();
    assert_eq!(
        (described.particle, &*described.bytes),
        (ParticleType::List, &[0x92, 14, 20][..])
    );
    let contains = |range| int(&read(&sketch, 56, &[numbers(range)]).unwrap());
    assert_eq!(contains(0..100), 1);
    assert_eq!(contains(0..0), 1);
    let strangers = (100..2100).filter(|at| contains(*at..at + 1) == 1).count();
    assert!(strangers < 20, "{strangers} of 2000"); // as many as meet a register of another
    assert_eq!(contains(0..2100), 0);
    assert_eq!(read(&Value::integer(1), 50, &[]), Err(12));
    assert_eq!(read(&sketch, 50, &[Int(1)]), Err(4));
    assert_eq!(read(&sketch, 55, &[Int(1)]), Err(4));
    assert_eq!(read(&sketch, 56, &[]), Err(4));
    assert_eq!(read(&sketch, 57, &[]), Err(4));
    assert_eq!(read(&sketch, 3, &[]), Err(4));
    assert_eq!(refused(Some(&sketch), 50, &[]), 4);
    assert_eq!(refused(Some(&sketch), 5, &[]), 4);
    assert_eq!(refused(Some(&sketch), 3, &[Int(1)]), 4);
}
