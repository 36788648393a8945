//! Every instruction: its code, its arguments and its type.

use smallvec::SmallVec;

use super::parse::{Parser, Result, Static, Typed, malformed};
use super::pattern;
use super::program::{
    BuiltIn, Comparison, Fact, Fold, Node, NodeId, OfFloat, OfFloats, OfInt, OfInts, Side,
};
use super::{ExprError, Type};
use crate::bin::NAME_BYTES_MAX;
use crate::msgpack::Collection;

/// Codes are below this.
const CODES: u64 = 128;

const COMPARED: &str = "what is compared must be of one type that has an order";
const BRANCHES: &str = "branches of different types";

impl<'a> Parser<'a> {
    /// An instruction with this many arguments. Its code comes next.
    pub(super) fn instruction(&mut self, count: u32) -> Result<Typed> {
        let code = self.number(CODES - 1)?;
        if let Some(least) = least_arguments(code)
            && count < least
        {
            return malformed("an instruction with too few arguments");
        }
        if let Some(exact) = exact_arguments(code)
            && count != exact
        {
            return malformed("an instruction with another number of arguments");
        }
        match code {
            0 => self.push_static(Node::Unknown, Static::Unknown),
            1 => self.compare(Comparison::Equal),
            2 => self.compare(Comparison::Unequal),
            3 => self.compare(Comparison::Greater),
            4 => self.compare(Comparison::GreaterOrEqual),
            5 => self.compare(Comparison::Less),
            6 => self.compare(Comparison::LessOrEqual),
            7 => self.matches(),
            8 => {
                let left = self.of_type(Type::GeoJson)?;
                let right = self.of_type(Type::GeoJson)?;
                self.push(Node::Within(left, right), Type::Bool)
            }
            9 => {
                let (value, _) = self.expression()?;
                let list = self.of_type(Type::List)?;
                self.push(Node::InList(value, list), Type::Bool)
            }
            16 | 17 | 19 => self.truths(code, count),
            18 => {
                let truth = self.of_type(Type::Bool)?;
                self.push(Node::Not(truth), Type::Bool)
            }
            20..=51 => self.arithmetic(code, count),
            64 => self.digest_modulo(),
            65..=74 => self.fact(code),
            80..=82 => self.record(code),
            100 => self.push_static(Node::Remove, Static::Remove),
            101 | 102 => {
                let map = self.of_type(Type::Map)?;
                let node = if code == 101 {
                    Node::Keys(map)
                } else {
                    Node::Values(map)
                };
                self.push(node, Type::List)
            }
            122 => self.built_in(),
            123 => self.cond(count),
            124 => self.variable(),
            125 => self.define(count),
            126 => self.quote(),
            127 => self.call(),
            _ => malformed("an instruction that does not exist"),
        }
    }

    fn compare(&mut self, comparison: Comparison) -> Result<Typed> {
        let (left, left_kind) = self.expression()?;
        let (right, right_kind) = self.expression()?;
        match (left_kind.kind(), right_kind.kind()) {
            (Some(Type::GeoJson | Type::Hll), _) => malformed(COMPARED),
            (Some(left), Some(right)) if left != right => malformed(COMPARED),
            (None, _) | (_, None) => malformed(COMPARED),
            _ => self.push(Node::Compare(comparison, left, right), Type::Bool),
        }
    }

    fn matches(&mut self) -> Result<Typed> {
        let flags = self
            .cursor
            .int()
            .ok_or(ExprError::Malformed("flags of a pattern are due"))?;
        let pattern = pattern::compile(self.text()?, flags)?;
        let number = self.program.patterns.len() as u32;
        self.program.patterns.push(pattern);
        let text = self.of_type(Type::String)?;
        self.push(Node::Matches(number, text), Type::Bool)
    }

    fn truths(&mut self, code: u64, count: u32) -> Result<Typed> {
        let nodes = self.all_of_type(count, Type::Bool)?;
        let node = match code {
            16 => Node::And(nodes),
            17 => Node::Or(nodes),
            _ => Node::Exclusive(nodes),
        };
        self.push(node, Type::Bool)
    }

    fn arithmetic(&mut self, code: u64, count: u32) -> Result<Typed> {
        match code {
            20 => self.fold(Fold::Add, count),
            21 => self.fold(Fold::Subtract, count),
            22 => self.fold(Fold::Multiply, count),
            23 => self.fold(Fold::Divide, count),
            24 => self.of_floats(OfFloats::Power),
            25 => self.of_floats(OfFloats::Logarithm),
            26 => self.of_ints(OfInts::Modulo),
            27 => self.absolute(),
            28 => self.of_float(OfFloat::Floor, Type::Float),
            29 => self.of_float(OfFloat::Ceil, Type::Float),
            30 => self.of_float(OfFloat::ToInt, Type::Int),
            31 => self.of_int(OfInt::ToFloat, Type::Float),
            32 => self.fold_ints(Fold::And, count),
            33 => self.fold_ints(Fold::Or, count),
            34 => self.fold_ints(Fold::Xor, count),
            35 => self.of_int(OfInt::Not, Type::Int),
            36 => self.of_ints(OfInts::ShiftLeft),
            37 => self.of_ints(OfInts::ShiftRight),
            38 => self.of_ints(OfInts::ShiftRightSigned),
            39 => self.of_int(OfInt::Count, Type::Int),
            40 => self.scan(Side::Left),
            41 => self.scan(Side::Right),
            50 => self.fold(Fold::Min, count),
            51 => self.fold(Fold::Max, count),
            _ => malformed("an instruction that does not exist"),
        }
    }

    /// Numbers of one type, whichever the first one is of.
    fn fold(&mut self, fold: Fold, count: u32) -> Result<Typed> {
        let (first, kind) = self.expression()?;
        let kind = match kind {
            Static::Known(kind @ (Type::Int | Type::Float)) => kind,
            _ => return malformed("an argument is no number"),
        };
        let mut nodes = SmallVec::<[NodeId; 8]>::from_slice(&[first]);
        for _ in 1..count {
            nodes.push(self.of_type(kind)?);
        }
        let nodes = self.group(&nodes);
        let node = if kind == Type::Int {
            Node::Ints(fold, nodes)
        } else {
            Node::Floats(fold, nodes)
        };
        self.push(node, kind)
    }

    fn fold_ints(&mut self, fold: Fold, count: u32) -> Result<Typed> {
        let nodes = self.all_of_type(count, Type::Int)?;
        self.push(Node::Ints(fold, nodes), Type::Int)
    }

    fn absolute(&mut self) -> Result<Typed> {
        match self.expression()? {
            (node, Static::Known(Type::Int)) => {
                self.push(Node::OfInt(OfInt::Absolute, node), Type::Int)
            }
            (node, Static::Known(Type::Float)) => {
                self.push(Node::OfFloat(OfFloat::Absolute, node), Type::Float)
            }
            _ => malformed("an argument is no number"),
        }
    }

    fn of_int(&mut self, what: OfInt, kind: Type) -> Result<Typed> {
        let node = self.of_type(Type::Int)?;
        self.push(Node::OfInt(what, node), kind)
    }

    fn of_float(&mut self, what: OfFloat, kind: Type) -> Result<Typed> {
        let node = self.of_type(Type::Float)?;
        self.push(Node::OfFloat(what, node), kind)
    }

    fn of_ints(&mut self, what: OfInts) -> Result<Typed> {
        let (left, right) = (self.of_type(Type::Int)?, self.of_type(Type::Int)?);
        self.push(Node::OfInts(what, left, right), Type::Int)
    }

    fn of_floats(&mut self, what: OfFloats) -> Result<Typed> {
        let (left, right) = (self.of_type(Type::Float)?, self.of_type(Type::Float)?);
        self.push(Node::OfFloats(what, left, right), Type::Float)
    }

    fn scan(&mut self, side: Side) -> Result<Typed> {
        let (number, wanted) = (self.of_type(Type::Int)?, self.of_type(Type::Bool)?);
        self.push(Node::Scan(side, number, wanted), Type::Int)
    }

    fn digest_modulo(&mut self) -> Result<Typed> {
        // The reference takes it for 32 bits with a sign, and divides by those as they are without one.
        match self.cursor.int().map(|modulus| modulus as u32) {
            Some(modulus) if modulus != 0 => self.push(Node::DigestModulo(modulus), Type::Int),
            _ => malformed("a modulus that is no integer, or zero"),
        }
    }

    fn fact(&mut self, code: u64) -> Result<Typed> {
        let (fact, kind) = match code {
            65 => (Fact::DeviceSize, Type::Int),
            66 => (Fact::LastUpdate, Type::Int),
            67 => (Fact::SinceUpdate, Type::Int),
            68 => (Fact::VoidTime, Type::Int),
            69 => (Fact::Ttl, Type::Int),
            70 => (Fact::SetName, Type::String),
            71 => (Fact::KeyExists, Type::Bool),
            72 => (Fact::IsTombstone, Type::Bool),
            73 => (Fact::MemorySize, Type::Int),
            _ => (Fact::RecordSize, Type::Int),
        };
        self.push(Node::Fact(fact), kind)
    }

    /// What is read from the record itself.
    fn record(&mut self, code: u64) -> Result<Typed> {
        self.program.reads_record = true;
        match code {
            80 => match self.kind()? {
                kind @ (Type::Int | Type::String | Type::Blob) => self.push(Node::Key(kind), kind),
                _ => malformed("a type that keys do not have"),
            },
            81 => {
                let kind = self.kind()?;
                let name = self.bin_name()?;
                self.push(Node::Bin(kind, name), kind)
            }
            _ => {
                let name = self.bin_name()?;
                self.push(Node::BinType(name), Type::Int)
            }
        }
    }

    fn bin_name(&mut self) -> Result<super::program::Span> {
        let name = self.text()?;
        if name.len() > NAME_BYTES_MAX {
            return malformed("a name that is longer than those of bins");
        }
        Ok(self.span(name))
    }

    fn built_in(&mut self) -> Result<Typed> {
        let kind = self.kind()?;
        let which = match self.number(2)? {
            0 => BuiltIn::Key,
            1 => BuiltIn::Value,
            _ if kind == Type::Int => BuiltIn::Index,
            _ => return malformed("an index that is no integer"),
        };
        self.push(Node::BuiltIn(kind, which), kind)
    }

    fn cond(&mut self, count: u32) -> Result<Typed> {
        if count.is_multiple_of(2) {
            return malformed("a condition without its value");
        }
        let mut nodes = SmallVec::<[NodeId; 8]>::new();
        let mut common = Static::Unknown;
        for at in 0..count {
            let is_value = at % 2 == 1 || at + 1 == count;
            if !is_value {
                nodes.push(self.of_type(Type::Bool)?);
                continue;
            }
            let (node, kind) = self.expression()?;
            common = match (common, kind) {
                (Static::Known(a), Static::Known(b)) if a != b => return malformed(BRANCHES),
                (Static::Known(_), _) | (Static::Remove, Static::Unknown) => common,
                (Static::Unknown | Static::Remove, kind) => kind,
            };
            nodes.push(node);
        }
        let nodes = self.group(&nodes);
        self.push_static(Node::Cond(nodes), common)
    }

    fn variable(&mut self) -> Result<Typed> {
        let name = self.text()?;
        match self.scope.iter().position(|(known, _)| *known == name) {
            Some(at) => self.push_static(Node::Variable(at as u32), self.scope[at].1),
            None => malformed("a variable that is not defined here"),
        }
    }

    fn define(&mut self, count: u32) -> Result<Typed> {
        if count.is_multiple_of(2) {
            return malformed("a definition without its value");
        }
        let outer = self.scope.len();
        let mut nodes = SmallVec::<[NodeId; 8]>::new();
        for _ in 0..count / 2 {
            let name = self.text()?;
            if !is_name(name) || self.scope.iter().any(|(known, _)| *known == name) {
                return malformed("a name that is none, or is defined already");
            }
            let (node, kind) = self.expression()?;
            nodes.push(node);
            self.scope.push((name, kind));
        }
        let (scope, kind) = self.expression()?;
        nodes.push(scope);
        self.scope.truncate(outer);
        let nodes = self.group(&nodes);
        self.push_static(Node::Let(nodes), kind)
    }

    fn quote(&mut self) -> Result<Typed> {
        let mut ahead = self.cursor;
        if ahead.list().is_none() {
            return malformed("only lists are quoted");
        }
        self.collection(Collection::List)
    }
}

/// How many arguments an instruction has, if that is fixed.
fn exact_arguments(code: u64) -> Option<u32> {
    Some(match code {
        0 | 65..=74 | 100 => 0,
        18 | 27..=31 | 35 | 39 | 64 | 80 | 82 | 101 | 102 | 124 | 126 => 1,
        1..=6 | 8 | 9 | 24..=26 | 36..=38 | 40 | 41 | 81 | 122 => 2,
        7 => 3,
        127 => 4,
        _ => return None,
    })
}

/// How many arguments an instruction has at least, if it may have more.
fn least_arguments(code: u64) -> Option<u32> {
    Some(match code {
        16 | 17 | 19 => 2,
        20..=23 | 32..=34 | 50 | 51 => 1,
        123 | 125 => 3,
        _ => return None,
    })
}

/// A letter or underscore, then those and digits.
fn is_name(name: &[u8]) -> bool {
    let starts = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    name.first().is_some_and(starts)
        && name
            .iter()
            .all(|byte| starts(byte) || byte.is_ascii_digit())
}
