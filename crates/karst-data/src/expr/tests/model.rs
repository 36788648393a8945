//! Random expressions against a walk over their tree: slow, obvious, and sharing no code with the real thing
//! but the encoding of literals.
//!
//! `KARST_STEPS` is how many expressions are compared, `KARST_SEED` repeats a run.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Sample, hex, metadata, show};
use crate::bin::Bins;
use crate::expr::{Datum, Expr, Filter, Metadata, Type, Verdict};
use crate::msgpack::{write_double, write_int, write_list_count, write_raw_head, write_typed};
use crate::time::Now;
use crate::value::{ParticleType, Value};
use crate::work::Work;

/// splitmix64: numbers from a seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

#[derive(Clone, Debug)]
enum Val {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
    List(Vec<Val>),
}

#[derive(Clone, Debug)]
enum Tree {
    Unknown,
    Literal(Val),
    Bin(Type, &'static str),
    BinType(&'static str),
    Fact(u8),
    Modulo(i64),
    Key(Type),
    /// Its code and arguments.
    Op(u8, Vec<Tree>),
    Let(Vec<(String, Tree)>, Box<Tree>),
    Variable(String),
    /// How many ones a stretch of a blob has.
    Ones(Box<Tree>, Box<Tree>, Box<Tree>),
}

const BINS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

const TYPES: [Type; 7] = [
    Type::Bool,
    Type::Int,
    Type::Float,
    Type::String,
    Type::Blob,
    Type::List,
    Type::Nil,
];

/// Draws trees whose types are right.
struct Gardener<'r> {
    rng: &'r mut Rng,
    scope: Vec<(String, Type)>,
}

impl Gardener<'_> {
    fn literal(&mut self, kind: Type) -> Val {
        match kind {
            Type::Bool => Val::Bool(self.rng.below(2) == 1),
            Type::Int => Val::Int(match self.rng.below(4) {
                0 => self.rng.next() as i64,
                1 => self
                    .rng
                    .one_of(&[i64::MIN, i64::MAX, -1, 0, 1, 63, 64, 255]),
                _ => self.rng.below(7) as i64 - 2,
            }),
            Type::Float => Val::Float(self.rng.one_of(&[
                0.0,
                -0.0,
                1.5,
                -2.25,
                3.0,
                1e300,
                f64::NAN,
                f64::INFINITY,
            ])),
            Type::String => Val::Text(self.bytes(b"ab")),
            Type::Blob => Val::Blob(self.bytes(&[0, 1, 0xff])),
            Type::List => {
                let count = self.rng.below(4);
                let kinds = if count > 2 { 7 } else { 6 };
                Val::List(
                    (0..count)
                        .map(|_| {
                            let kind = self.rng.one_of(&TYPES[..kinds]);
                            self.literal(kind)
                        })
                        .collect(),
                )
            }
            _ => Val::Nil,
        }
    }

    fn bytes(&mut self, of: &[u8]) -> Vec<u8> {
        (0..self.rng.below(4))
            .map(|_| self.rng.one_of(of))
            .collect()
    }

    fn leaf(&mut self, kind: Type) -> Tree {
        let in_scope: Vec<_> = self
            .scope
            .iter()
            .filter(|(_, known)| *known == kind)
            .cloned()
            .collect();
        match (kind, self.rng.below(6)) {
            (_, 0) if !in_scope.is_empty() => {
                Tree::Variable(in_scope[self.rng.below(in_scope.len())].0.clone())
            }
            (Type::Bool, 1) => Tree::Unknown,
            (Type::Int, 1) => Tree::Fact(self.rng.one_of(&[65, 66, 67, 68, 69, 73, 74])),
            (Type::Int, 2) => match self.rng.below(2) {
                0 => Tree::BinType(self.rng.one_of(&BINS)),
                _ => Tree::Modulo(self.rng.one_of(&[1, 2, 10, 1000, i64::from(i32::MAX)])),
            },
            (Type::Bool, 2) => Tree::Fact(self.rng.one_of(&[71, 72])),
            (Type::String, 1) => Tree::Fact(70),
            (Type::String | Type::Blob | Type::Int, 3) => Tree::Key(kind),
            (Type::Nil, _) | (_, 4 | 5) => Tree::Literal(self.literal(kind)),
            _ => Tree::Bin(kind, self.rng.one_of(&BINS)),
        }
    }

    fn many(&mut self, kind: Type, least: usize, depth: usize) -> Vec<Tree> {
        let count = least + self.rng.below(3);
        (0..count).map(|_| self.tree(kind, depth)).collect()
    }

    fn tree(&mut self, kind: Type, depth: usize) -> Tree {
        if depth == 0 || self.rng.below(5) == 0 {
            return self.leaf(kind);
        }
        let below = depth - 1;
        match self.rng.below(8) {
            0 => return self.cond(kind, below),
            1 => return self.define(kind, below),
            _ => {}
        }
        match kind {
            Type::Bool => self.truth(below),
            Type::Int => self.int(below),
            Type::Float => self.float(below),
            _ => self.leaf(kind),
        }
    }

    fn truth(&mut self, depth: usize) -> Tree {
        match self.rng.below(5) {
            0 => {
                let kind = self.rng.one_of(&TYPES);
                let pair = vec![self.tree(kind, depth), self.tree(kind, depth)];
                Tree::Op(self.rng.one_of(&[1, 2, 3, 4, 5, 6]), pair)
            }
            1 => Tree::Op(18, vec![self.tree(Type::Bool, depth)]),
            2 => {
                let kind = self.rng.one_of(&TYPES);
                Tree::Op(
                    9,
                    vec![self.tree(kind, depth), self.tree(Type::List, depth)],
                )
            }
            _ => Tree::Op(
                self.rng.one_of(&[16, 17, 19]),
                self.many(Type::Bool, 2, depth),
            ),
        }
    }

    fn int(&mut self, depth: usize) -> Tree {
        let code = self.rng.one_of(&[
            20, 21, 22, 23, 26, 27, 30, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 50, 51, 127,
        ]);
        match code {
            26 | 36..=38 => Tree::Op(
                code,
                vec![self.tree(Type::Int, depth), self.tree(Type::Int, depth)],
            ),
            27 | 35 | 39 => Tree::Op(code, vec![self.tree(Type::Int, depth)]),
            30 => Tree::Op(code, vec![self.tree(Type::Float, depth)]),
            40 | 41 => Tree::Op(
                code,
                vec![self.tree(Type::Int, depth), self.tree(Type::Bool, depth)],
            ),
            127 => Tree::Ones(
                Box::new(self.leaf(Type::Int)),
                Box::new(self.leaf(Type::Int)),
                Box::new(self.tree(Type::Blob, depth)),
            ),
            _ => Tree::Op(code, self.many(Type::Int, 1, depth)),
        }
    }

    fn float(&mut self, depth: usize) -> Tree {
        let code = self
            .rng
            .one_of(&[20, 21, 22, 23, 24, 25, 27, 28, 29, 31, 50, 51]);
        match code {
            24 | 25 => Tree::Op(
                code,
                vec![self.tree(Type::Float, depth), self.tree(Type::Float, depth)],
            ),
            27..=29 => Tree::Op(code, vec![self.tree(Type::Float, depth)]),
            31 => Tree::Op(code, vec![self.tree(Type::Int, depth)]),
            _ => Tree::Op(code, self.many(Type::Float, 1, depth)),
        }
    }

    fn cond(&mut self, kind: Type, depth: usize) -> Tree {
        let mut branches = Vec::new();
        for _ in 0..=self.rng.below(2) {
            branches.push(self.tree(Type::Bool, depth));
            branches.push(if self.rng.below(8) == 0 {
                Tree::Unknown
            } else {
                self.tree(kind, depth)
            });
        }
        branches.push(self.tree(kind, depth)); // at least one says the type
        Tree::Op(123, branches)
    }

    fn define(&mut self, kind: Type, depth: usize) -> Tree {
        let outer = self.scope.len();
        let mut definitions = Vec::new();
        for _ in 0..=self.rng.below(2) {
            let (name, kind) = (format!("v{}", self.scope.len()), self.rng.one_of(&TYPES));
            definitions.push((name.clone(), self.tree(kind, depth)));
            self.scope.push((name, kind));
        }
        let scope = self.tree(kind, depth);
        self.scope.truncate(outer);
        Tree::Let(definitions, Box::new(scope))
    }
}

fn put_value(out: &mut Vec<u8>, value: &Val) {
    match value {
        Val::Nil => out.push(0xc0),
        Val::Bool(value) => out.push(0xc2 + u8::from(*value)),
        Val::Int(value) => write_int(out, *value, false),
        Val::Float(value) => write_double(out, *value),
        Val::Text(text) => write_typed(out, 3, text),
        Val::Blob(blob) => write_typed(out, 4, blob),
        Val::List(items) => {
            write_list_count(out, items.len() as u32);
            items.iter().for_each(|item| put_value(out, item));
        }
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    write_raw_head(out, name.len());
    out.extend_from_slice(name.as_bytes());
}

fn put_code(out: &mut Vec<u8>, code: u8, arguments: usize) {
    write_list_count(out, arguments as u32 + 1);
    out.push(code);
}

fn put_tree(out: &mut Vec<u8>, tree: &Tree) {
    match tree {
        Tree::Unknown => put_code(out, 0, 0),
        Tree::Literal(list @ Val::List(_)) => {
            put_code(out, 126, 1);
            put_value(out, list);
        }
        Tree::Literal(value) => put_value(out, value),
        Tree::Bin(kind, name) => {
            put_code(out, 81, 2);
            out.push(*kind as u8);
            put_name(out, name);
        }
        Tree::BinType(name) => {
            put_code(out, 82, 1);
            put_name(out, name);
        }
        Tree::Fact(code) => put_code(out, *code, 0),
        Tree::Modulo(modulus) => {
            put_code(out, 64, 1);
            write_int(out, *modulus, false);
        }
        Tree::Key(kind) => {
            put_code(out, 80, 1);
            out.push(*kind as u8);
        }
        Tree::Op(code, arguments) => {
            put_code(out, *code, arguments.len());
            arguments
                .iter()
                .for_each(|argument| put_tree(out, argument));
        }
        Tree::Let(definitions, scope) => {
            put_code(out, 125, definitions.len() * 2 + 1);
            for (name, value) in definitions {
                put_name(out, name);
                put_tree(out, value);
            }
            put_tree(out, scope);
        }
        Tree::Variable(name) => {
            put_code(out, 124, 1);
            put_name(out, name);
        }
        Tree::Ones(offset, size, blob) => {
            put_code(out, 127, 4);
            out.extend_from_slice(&[2, 1, 0x93, 51]);
            put_tree(out, offset);
            put_tree(out, size);
            put_tree(out, blob);
        }
    }
}

/// What the model runs on. Without bins, metadata alone are known.
struct World {
    metadata: Metadata<'static>,
    key: Option<&'static [u8]>,
    bins: BTreeMap<&'static str, Val>,
    read: bool,
    variables: Vec<(String, Option<Val>)>,
}

impl World {
    fn draw(rng: &mut Rng) -> World {
        let mut gardener = Gardener {
            rng,
            scope: Vec::new(),
        };
        let mut bins = BTreeMap::new();
        for name in BINS {
            let kind = gardener.rng.one_of(&TYPES);
            if kind != Type::Nil {
                bins.insert(name, gardener.literal(kind));
            }
        }
        let key = rng.one_of(&[
            None,
            Some(&b"\x03ab"[..]),
            Some(b"\x04\xff"),
            Some(&[1, 0, 0, 0, 0, 0, 0, 0, 5]),
        ]);
        let mut metadata = metadata();
        metadata.set = rng.one_of(&[b"ab", b"a", b""]);
        metadata.stores_key = key.is_some();
        metadata.void_time_s = rng.one_of(&[0, 5, 1000, 2000, u32::MAX]);
        metadata.update_time_ms = rng.one_of(&[0, 999, 2_000_000]);
        metadata.in_memory = rng.below(2) == 0;
        metadata.size_bytes = rng.below(1000) as u32;
        metadata.tombstone = rng.below(4) == 0;
        metadata.now = Now::from_epoch_ms(1_000_500);
        rng.next()
            .to_le_bytes()
            .iter()
            .zip(&mut metadata.digest.0[12..])
            .for_each(|(from, to)| *to = *from);
        World {
            metadata,
            key,
            bins,
            read: true,
            variables: Vec::new(),
        }
    }

    fn sample(&self) -> Sample {
        let mut bins = Bins::default();
        for (name, value) in &self.bins {
            let mut packed = Vec::new();
            put_value(&mut packed, value);
            let (particle, bytes) = match value {
                Val::Nil => continue,
                Val::Bool(value) => (ParticleType::Bool, vec![u8::from(*value)]),
                Val::Int(value) => (ParticleType::Integer, value.to_be_bytes().to_vec()),
                Val::Float(value) => (ParticleType::Float, value.to_be_bytes().to_vec()),
                Val::Text(text) => (ParticleType::String, text.clone()),
                Val::Blob(blob) => (ParticleType::Blob, blob.clone()),
                Val::List(_) => (ParticleType::List, packed),
            };
            bins.set(
                name.as_bytes(),
                Value {
                    particle,
                    bytes: Cow::Owned(bytes),
                },
            );
        }
        Sample {
            metadata: self.metadata,
            key: self.key,
            bins,
        }
    }

    fn run(&mut self, tree: &Tree) -> Option<Val> {
        Some(match tree {
            Tree::Unknown => return None,
            Tree::Literal(value) => value.clone(),
            Tree::Bin(kind, name) => {
                let value = self.bins.get(name).filter(|_| self.read)?;
                return (kind_of(value) == *kind).then(|| value.clone());
            }
            Tree::BinType(_) if !self.read => return None,
            Tree::BinType(name) => Val::Int(match self.bins.get(name) {
                None => 0,
                Some(value) => match kind_of(value) {
                    Type::Int => 1,
                    Type::Float => 2,
                    Type::String => 3,
                    Type::Blob => 4,
                    Type::Bool => 17,
                    _ => 20,
                },
            }),
            Tree::Fact(code) => self.fact(*code),
            Tree::Modulo(modulus) => {
                let tail = &self.metadata.digest.0[16..];
                let number = tail
                    .iter()
                    .rev()
                    .fold(0i64, |all, byte| all * 256 + i64::from(*byte));
                Val::Int(number % modulus)
            }
            Tree::Key(kind) => match self.key.filter(|_| self.read)? {
                [1, rest @ ..] if *kind == Type::Int => Val::Int(i64::from(rest[7])),
                [3, rest @ ..] if *kind == Type::String => Val::Text(rest.to_vec()),
                [4, rest @ ..] if *kind == Type::Blob => Val::Blob(rest.to_vec()),
                _ => return None,
            },
            Tree::Let(definitions, scope) => {
                let outer = self.variables.len();
                for (name, value) in definitions {
                    let value = self.run(value);
                    self.variables.push((name.clone(), value));
                }
                let result = self.run(scope);
                self.variables.truncate(outer);
                return result;
            }
            Tree::Variable(name) => {
                return self
                    .variables
                    .iter()
                    .find(|(known, _)| known == name)?
                    .1
                    .clone();
            }
            Tree::Ones(offset, size, blob) => {
                let (Val::Int(offset), Val::Int(size)) = (self.run(offset)?, self.run(size)?)
                else {
                    panic!("integers");
                };
                return self.ones(offset, size, blob);
            }
            Tree::Op(code @ (9 | 16..=19 | 123 | 1..=6), arguments) => {
                return self.logic(*code, arguments);
            }
            Tree::Op(code, arguments) => {
                let arguments: Option<Vec<Val>> = arguments
                    .iter()
                    .map(|argument| self.run(argument))
                    .collect();
                return number(*code, &arguments?);
            }
        })
    }

    fn ones(&mut self, offset: i64, size: i64, blob: &Tree) -> Option<Val> {
        let Val::Blob(blob) = self.run(blob)? else {
            panic!("a blob");
        };
        let bits: String = blob.iter().map(|byte| format!("{byte:08b}")).collect();
        let start = if offset < 0 {
            bits.len() as i64 + offset.max(-(1 << 40))
        } else {
            offset
        };
        let end = start.checked_add(size)?;
        if start < 0 || size <= 0 {
            return None;
        }
        let window = bits.get(start as usize..end as usize)?;
        Some(Val::Int(window.matches('1').count() as i64))
    }

    fn fact(&self, code: u8) -> Val {
        let metadata = &self.metadata;
        let unix_ns = |s: u64| Val::Int(((1_262_304_000 + i128::from(s)) * 1_000_000_000) as i64);
        let size = i64::from(metadata.size_bytes);
        let never = metadata.void_time_s == 0;
        match code {
            65 if metadata.in_memory => Val::Int(0),
            73 if !metadata.in_memory => Val::Int(0),
            65 | 73 | 74 => Val::Int(size),
            66 => {
                let ms = 1_262_304_000_000 + metadata.update_time_ms as i64;
                Val::Int(ms * 1_000_000)
            }
            67 => Val::Int((1_000_500 - metadata.update_time_ms as i64).max(0)),
            68 | 69 if never => Val::Int(-1),
            68 => unix_ns(u64::from(metadata.void_time_s)),
            69 => Val::Int((i64::from(metadata.void_time_s) - 1000).max(1)),
            70 => Val::Text(metadata.set.to_vec()),
            71 => Val::Bool(metadata.stores_key),
            _ => Val::Bool(metadata.tombstone),
        }
    }

    fn truth(&mut self, tree: &Tree) -> Option<bool> {
        match self.run(tree)? {
            Val::Bool(truth) => Some(truth),
            other => panic!("{other:?} is no truth"),
        }
    }

    fn logic(&mut self, code: u8, arguments: &[Tree]) -> Option<Val> {
        if code == 123 {
            let (otherwise, branches) = arguments.split_last()?;
            for branch in branches.chunks(2) {
                if self.truth(&branch[0])? {
                    return self.run(&branch[1]);
                }
            }
            return self.run(otherwise);
        }
        if code < 10 {
            let (a, b) = (self.run(&arguments[0])?, self.run(&arguments[1])?);
            return Some(Val::Bool(if code == 9 {
                contains(&b, &a)
            } else {
                compare(code, &a, &b)
            }));
        }
        let truths: Vec<Option<bool>> = arguments
            .iter()
            .map(|argument| self.truth(argument))
            .collect();
        let result = match code {
            16 if truths.contains(&Some(false)) => Some(false),
            17 if truths.contains(&Some(true)) => Some(true),
            16 => truths.iter().all(Option::is_some).then_some(true),
            17 => truths.iter().all(Option::is_some).then_some(false),
            18 => truths[0].map(|truth| !truth),
            _ => exclusive(&truths),
        };
        result.map(Val::Bool)
    }
}

/// Before the second true there may be no unknown.
fn exclusive(truths: &[Option<bool>]) -> Option<bool> {
    let second = truths
        .iter()
        .enumerate()
        .filter(|(_, truth)| **truth == Some(true))
        .nth(1);
    let looked_at = second.map_or(truths, |(at, _)| &truths[..at]);
    if looked_at.contains(&None) {
        return None;
    }
    Some(second.is_none() && truths.contains(&Some(true)))
}

fn kind_of(value: &Val) -> Type {
    match value {
        Val::Nil => Type::Nil,
        Val::Bool(_) => Type::Bool,
        Val::Int(_) => Type::Int,
        Val::Float(_) => Type::Float,
        Val::Text(_) => Type::String,
        Val::Blob(_) => Type::Blob,
        Val::List(_) => Type::List,
    }
}

/// The order inside collections: across types, NaN equal to every double.
fn order(a: &Val, b: &Val) -> Ordering {
    let rank = |value: &Val| match value {
        Val::Nil => 0,
        Val::Bool(_) => 1,
        Val::Int(_) => 2,
        Val::Text(_) => 3,
        Val::List(_) => 4,
        Val::Blob(_) => 5,
        Val::Float(_) => 6,
    };
    match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => a.cmp(b),
        (Val::Int(a), Val::Int(b)) => a.cmp(b),
        (Val::Float(a), Val::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Val::Text(a), Val::Text(b)) | (Val::Blob(a), Val::Blob(b)) => a.cmp(b),
        (Val::List(a), Val::List(b)) => {
            let unequal = a
                .iter()
                .zip(b)
                .map(|(a, b)| order(a, b))
                .find(|found| found.is_ne());
            unequal.unwrap_or(a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn contains(list: &Val, value: &Val) -> bool {
    let Val::List(items) = list else {
        panic!("{list:?} is no list");
    };
    items
        .iter()
        .any(|item| kind_of(item) == kind_of(value) && order(item, value).is_eq())
}

fn compare(code: u8, a: &Val, b: &Val) -> bool {
    if let (Val::Float(a), Val::Float(b)) = (a, b) {
        return [a == b, a != b, a > b, a >= b, a < b, a <= b][usize::from(code) - 1];
    }
    let found = order(a, b);
    [
        found.is_eq(),
        found.is_ne(),
        found.is_gt(),
        found.is_ge(),
        found.is_lt(),
        found.is_le(),
    ][usize::from(code) - 1]
}

fn number(code: u8, arguments: &[Val]) -> Option<Val> {
    let ints: Option<Vec<i128>> = arguments
        .iter()
        .map(|value| {
            if let Val::Int(value) = value {
                Some(i128::from(*value))
            } else {
                None
            }
        })
        .collect();
    match (ints, code) {
        (Some(ints), 31) => Some(Val::Float(ints[0] as f64)),
        (Some(ints), _) => int(code, &ints).map(|number| Val::Int(number as i64)),
        (None, 40 | 41) => {
            let (Val::Int(number), Val::Bool(wanted)) = (&arguments[0], &arguments[1]) else {
                panic!("an integer and a truth");
            };
            let digits = format!("{number:064b}");
            let wanted = if *wanted { '1' } else { '0' };
            let at = if code == 40 {
                digits.find(wanted)
            } else {
                digits.rfind(wanted)
            };
            Some(Val::Int(at.map_or(-1, |at| at as i64)))
        }
        (None, _) => {
            let floats = arguments.iter().map(|value| match value {
                Val::Float(value) => *value,
                other => panic!("{other:?} is no double"),
            });
            Some(float(code, &floats.collect::<Vec<_>>()))
        }
    }
}

/// Exact where it can be; whoever asks takes the low 64 bits.
fn int(code: u8, numbers: &[i128]) -> Option<i128> {
    let wrap = |number: i128| i128::from(number as i64);
    let unsigned = |number: i128| (number as u64) as u128;
    let product = |numbers: &[i128]| numbers.iter().fold(1, |all, next| wrap(all * next));
    let [first, rest @ ..] = numbers else {
        panic!("no numbers");
    };
    let shift = || (rest[0].rem_euclid(64)) as u32;
    Some(match code {
        20 => numbers.iter().sum(),
        21 if rest.is_empty() => -first,
        21 => first - rest.iter().sum::<i128>(),
        22 => product(numbers),
        23 => {
            let (dividend, divisor) = if rest.is_empty() {
                (1, *first)
            } else {
                (*first, product(rest))
            };
            return (divisor != 0).then(|| dividend / divisor);
        }
        26 => return (rest[0] != 0).then(|| first % rest[0]),
        27 => first.abs(),
        32 => numbers.iter().fold(-1, |all, next| all & next),
        33 => numbers.iter().fold(0, |all, next| all | next),
        34 => numbers.iter().fold(0, |all, next| all ^ next),
        35 => -first - 1,
        36 => (unsigned(*first) << shift()) as i128,
        37 => (unsigned(*first) >> shift()) as i128,
        38 => first >> shift(),
        39 => i128::from(unsigned(*first).count_ones()),
        50 => *numbers.iter().min()?,
        51 => *numbers.iter().max()?,
        _ => panic!("no instruction {code} of integers"),
    })
}

fn float(code: u8, numbers: &[f64]) -> Val {
    let [first, rest @ ..] = numbers else {
        panic!("no numbers");
    };
    Val::Float(match code {
        20 => rest.iter().fold(*first, |all, next| all + next),
        21 if rest.is_empty() => -first,
        21 => rest.iter().fold(*first, |all, next| all - next),
        22 => rest.iter().fold(*first, |all, next| all * next),
        23 if rest.is_empty() => 1.0 / first,
        23 => first / rest.iter().fold(1.0, |all, next| all * next),
        24 => first.powf(rest[0]),
        25 => first.ln() / rest[0].ln(),
        27 => first.abs(),
        28 => first.floor(),
        29 => first.ceil(),
        30 => return Val::Int(*first as i64),
        50 => rest
            .iter()
            .fold(*first, |all, next| if *next < all { *next } else { all }),
        51 => rest
            .iter()
            .fold(*first, |all, next| if *next > all { *next } else { all }),
        _ => panic!("no instruction {code} of doubles"),
    })
}

fn text_of(value: Option<Val>) -> String {
    let Some(value) = value else {
        return "unknown".to_owned();
    };
    let mut packed = Vec::new();
    put_value(&mut packed, &value);
    match value {
        Val::Nil => show(&Datum::Nil),
        Val::Bool(value) => value.to_string(),
        Val::Int(value) => value.to_string(),
        Val::Float(value) => format!("{value:?}"),
        Val::Text(text) => format!("={}", String::from_utf8_lossy(&text)),
        Val::Blob(blob) => format!("#{}", hex(&blob)),
        Val::List(_) => format!("List {}", hex(&packed)),
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// Runs a tree both ways, on the record and on its metadata alone.
fn compare_one(tree: &Tree, kind: Type, world: &mut World) -> Result<String, String> {
    let mut packed = Vec::new();
    put_tree(&mut packed, tree);
    let expr = Expr::parse(&packed).map_err(|error| format!("{error}: {}", hex(&packed)))?;
    let sample = world.sample();
    let (found, blind) = (
        show(&expr.evaluate(&sample, &Work::unlimited())),
        show(&expr.evaluate(&sample.metadata, &Work::unlimited())),
    );
    world.read = false;
    let blind_expected = text_of(world.run(tree));
    world.read = true;
    let expected = text_of(world.run(tree));
    if (&found, &blind) != (&expected, &blind_expected) {
        return Err(format!(
            "{found} and {blind}, not {expected} and {blind_expected}: {}",
            hex(&packed)
        ));
    }
    if kind == Type::Bool {
        let filter = Filter::parse(&packed).map_err(|error| error.to_string())?;
        let passes = filter.passes(&sample, &Work::unlimited());
        let agrees = match filter.by_metadata(&sample.metadata, &Work::unlimited()) {
            Verdict::Passes => passes,
            Verdict::FilteredOut => !passes,
            Verdict::Undecided => blind == "unknown",
        };
        if !agrees || passes != (found == "true") {
            return Err(format!(
                "metadata decide otherwise than the record: {}",
                hex(&packed)
            ));
        }
    }
    Ok(found)
}

#[test]
fn programs_compute_what_a_walk_over_the_tree_does() {
    let seed = from_environment("KARST_SEED", 1);
    let steps = from_environment("KARST_STEPS", 20_000);
    let mut rng = Rng(seed);
    let mut unknown = 0;
    for step in 0..steps {
        let mut world = World::draw(&mut rng);
        let kind = rng.one_of(&[
            Type::Bool,
            Type::Bool,
            Type::Int,
            Type::Float,
            Type::List,
            Type::String,
        ]);
        let depth = 1 + rng.below(4);
        let mut gardener = Gardener {
            rng: &mut rng,
            scope: Vec::new(),
        };
        let tree = gardener.tree(kind, depth);
        match compare_one(&tree, kind, &mut world) {
            Ok(found) => unknown += u64::from(found == "unknown"),
            Err(difference) => panic!("seed {seed} step {step}: {difference}\n{tree:?}"),
        }
    }
    assert!(
        unknown > steps / 20 && unknown < steps * 3 / 4,
        "{unknown} of {steps} were unknown"
    );
}
