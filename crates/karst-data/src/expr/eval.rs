//! Running programs.

use std::borrow::Cow;
use std::cmp::Ordering;

use smallvec::SmallVec;

use super::arithmetic::{fold_floats, fold_ints, of_float, of_floats, of_ints, scan};
use super::program::{
    BuiltIn, Comparison, Fact, Node, NodeId, Nodes, OfFloat, OfInt, Program, Span,
};
use super::subject::{Lookup, Metadata, Subject};
use super::value::Datum;
use super::{Type, call};
use crate::geo::Shape;
use crate::msgpack::write_list_count;
use crate::packed::Cursor;
use crate::time::EPOCH_UNIX_S;
use crate::value::ParticleType;

/// Runs a program on a subject.
pub(super) fn run<'v, S: Subject + ?Sized>(program: &'v Program, subject: &'v S) -> Datum<'v> {
    let mut evaluator = Evaluator {
        program,
        subject,
        variables: SmallVec::new(),
    };
    evaluator.eval(program.root())
}

pub(super) struct Evaluator<'v, S: ?Sized> {
    pub(super) program: &'v Program,
    subject: &'v S,
    variables: SmallVec<[Datum<'v>; 2]>,
}

impl<'v, S: Subject + ?Sized> Evaluator<'v, S> {
    pub(super) fn eval(&mut self, id: NodeId) -> Datum<'v> {
        match self.program.node(id) {
            Node::Unknown => Datum::Unknown,
            Node::Remove => Datum::Remove,
            Node::Nil => Datum::Nil,
            Node::Bool(value) => Datum::Bool(value),
            Node::Int(value) => Datum::Int(value),
            Node::Float(value) => Datum::Float(value),
            Node::Bytes(kind, span) => Datum::Bytes(kind, Cow::Borrowed(self.program.span(span))),
            Node::Compare(..)
            | Node::Matches(..)
            | Node::InList(..)
            | Node::Within(..)
            | Node::And(_)
            | Node::Or(_)
            | Node::Not(_)
            | Node::Exclusive(_) => self.truth(id).map_or(Datum::Unknown, Datum::Bool),
            Node::Ints(..) | Node::OfInt(..) | Node::OfInts(..) | Node::Scan(..) => {
                self.computed(id)
            }
            Node::Floats(..) | Node::OfFloat(..) | Node::OfFloats(..) => self.computed(id),
            Node::Fact(fact) => self.fact(fact),
            Node::DigestModulo(modulus) => self.digest_modulo(modulus),
            Node::Key(kind) => self.key(kind),
            Node::Bin(kind, name) => self.bin(kind, name),
            Node::BinType(name) => self.bin_type(name),
            Node::Keys(map) => self.parts_of_map(map, 0),
            Node::Values(map) => self.parts_of_map(map, 1),
            Node::BuiltIn(kind, which) => self.built_in(which).of_type(kind),
            Node::Cond(nodes) => self.cond(nodes),
            Node::Variable(at) => self.variables[at as usize].clone(),
            Node::Let(nodes) => self.define(nodes),
            Node::Call(number) => call::run(self, &self.program.calls[number as usize]),
        }
    }

    /// A truth; `None` if it is unknown.
    pub(super) fn truth(&mut self, id: NodeId) -> Option<bool> {
        match self.program.node(id) {
            Node::Compare(comparison, left, right) => self.compare(comparison, left, right),
            Node::Matches(pattern, text) => {
                let pattern = &self.program.patterns[pattern as usize];
                match self.eval(text) {
                    Datum::Bytes(_, text) => Some(pattern.is_match(until_nul(&text))),
                    _ => None,
                }
            }
            Node::InList(value, list) => self.in_list(value, list),
            Node::Within(left, right) => Some(self.shape(left)?.matches(&*self.shape(right)?)),
            Node::And(nodes) => self.decided_by(nodes, false),
            Node::Or(nodes) => self.decided_by(nodes, true),
            Node::Not(truth) => self.truth(truth).map(|truth| !truth),
            Node::Exclusive(nodes) => self.exclusive(nodes),
            _ => match self.eval(id) {
                Datum::Bool(truth) => Some(truth),
                _ => None,
            },
        }
    }

    /// `and` is decided by the first false, `or` by the first true; else one unknown makes them unknown.
    fn decided_by(&mut self, nodes: Nodes, decisive: bool) -> Option<bool> {
        let program = self.program;
        let mut all_known = true;
        for node in program.arguments(nodes) {
            match self.truth(*node) {
                Some(truth) if truth == decisive => return Some(decisive),
                Some(_) => {}
                None => all_known = false,
            }
        }
        all_known.then_some(!decisive)
    }

    fn exclusive(&mut self, nodes: Nodes) -> Option<bool> {
        let program = self.program;
        let mut found = false;
        for node in program.arguments(nodes) {
            match self.truth(*node)? {
                true if found => return Some(false),
                truth => found |= truth,
            }
        }
        Some(found)
    }

    fn compare(&mut self, comparison: Comparison, left: NodeId, right: NodeId) -> Option<bool> {
        let (left, right) = (self.eval(left), self.eval(right));
        let found = left.compare(&right).ok()?;
        Some(match comparison {
            Comparison::Equal => found == Some(Ordering::Equal),
            Comparison::Unequal => found != Some(Ordering::Equal),
            Comparison::Greater => found == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => found.is_some_and(Ordering::is_ge),
            Comparison::Less => found == Some(Ordering::Less),
            Comparison::LessOrEqual => found.is_some_and(Ordering::is_le),
        })
    }

    fn in_list(&mut self, value: NodeId, list: NodeId) -> Option<bool> {
        let value = self.eval(value);
        value.kind()?;
        let Datum::Bytes(_, list) = self.eval(list) else {
            return None;
        };
        let mut cursor = Cursor::new(&list);
        let head = cursor.head()?;
        let (_, count) = cursor.flags(head)?;
        for _ in 0..count {
            if value.is_packed(cursor.element()?) {
                return Some(true);
            }
        }
        Some(false)
    }

    /// A point or region. In a collection GeoJSON can be anything: that is unknown.
    fn shape(&mut self, id: NodeId) -> Option<Cow<'v, Shape>> {
        if let Some(literal) = self.program.shape(id) {
            return Some(Cow::Borrowed(literal));
        }
        match self.eval(id) {
            Datum::Bytes(Type::GeoJson, text) => Shape::parse(&text).ok().map(Cow::Owned),
            _ => None,
        }
    }

    fn int(&mut self, id: NodeId) -> Option<i64> {
        match self.eval(id) {
            Datum::Int(number) => Some(number),
            _ => None,
        }
    }

    fn float(&mut self, id: NodeId) -> Option<f64> {
        match self.eval(id) {
            Datum::Float(number) => Some(number),
            _ => None,
        }
    }

    fn computed(&mut self, id: NodeId) -> Datum<'v> {
        self.number(id).unwrap_or(Datum::Unknown)
    }

    /// What arithmetic gives; `None` if that is unknown.
    fn number(&mut self, id: NodeId) -> Option<Datum<'v>> {
        let program = self.program;
        Some(match program.node(id) {
            Node::Ints(fold, nodes) => {
                let numbers = program.arguments(nodes).iter().map(|node| self.int(*node));
                Datum::Int(fold_ints(fold, numbers)?)
            }
            Node::Floats(fold, nodes) => {
                let numbers = program
                    .arguments(nodes)
                    .iter()
                    .map(|node| self.float(*node));
                Datum::Float(fold_floats(fold, numbers)?)
            }
            Node::OfInt(OfInt::Absolute, node) => Datum::Int(self.int(node)?.wrapping_abs()),
            Node::OfInt(OfInt::ToFloat, node) => Datum::Float(self.int(node)? as f64),
            Node::OfInt(OfInt::Not, node) => Datum::Int(!self.int(node)?),
            Node::OfInt(OfInt::Count, node) => Datum::Int(self.int(node)?.count_ones().into()),
            Node::OfFloat(OfFloat::ToInt, node) => Datum::Int(self.float(node)? as i64),
            Node::OfFloat(what, node) => Datum::Float(of_float(what, self.float(node)?)),
            Node::OfInts(what, left, right) => {
                let (left, right) = (self.int(left)?, self.int(right)?);
                Datum::Int(of_ints(what, left, right)?)
            }
            Node::OfFloats(what, left, right) => {
                Datum::Float(of_floats(what, self.float(left)?, self.float(right)?))
            }
            Node::Scan(side, number, wanted) => {
                Datum::Int(scan(side, self.int(number)?, self.truth(wanted)?))
            }
            _ => return None, // no arithmetic
        })
    }

    fn fact(&self, fact: Fact) -> Datum<'v> {
        self.subject
            .metadata()
            .map_or(Datum::Unknown, |metadata| told(fact, metadata))
    }

    fn digest_modulo(&self, modulus: u32) -> Datum<'v> {
        let Some(Metadata { digest, .. }) = self.subject.metadata() else {
            return Datum::Unknown;
        };
        let [.., a, b, c, d] = digest.0;
        Datum::Int(i64::from(u32::from_le_bytes([a, b, c, d]) % modulus))
    }

    fn key(&self, kind: Type) -> Datum<'v> {
        let Lookup::Found([particle, bytes @ ..]) = self.subject.key() else {
            return Datum::Unknown;
        };
        ParticleType::from_wire(*particle)
            .map_or(Datum::Unknown, |particle| {
                Datum::from_stored(particle, Cow::Borrowed(bytes))
            })
            .of_type(kind)
    }

    fn bin(&self, kind: Type, name: Span) -> Datum<'v> {
        match self.subject.bin(self.program.span(name)) {
            Lookup::Found(bin) => {
                Datum::from_stored(bin.particle, Cow::Borrowed(bin.value)).of_type(kind)
            }
            Lookup::Missing | Lookup::Unread => Datum::Unknown,
        }
    }

    fn bin_type(&self, name: Span) -> Datum<'v> {
        match self.subject.bin(self.program.span(name)) {
            Lookup::Found(bin) => Datum::Int(bin.particle as i64),
            Lookup::Missing => Datum::Int(0),
            Lookup::Unread => Datum::Unknown,
        }
    }

    /// The keys of a map, or its values, as a list.
    fn parts_of_map(&mut self, map: NodeId, which: usize) -> Datum<'v> {
        match self.eval(map) {
            Datum::Bytes(Type::Map, map) => list_of_parts(&map, which)
                .map_or(Datum::Unknown, |list| {
                    Datum::Bytes(Type::List, Cow::Owned(list))
                }),
            _ => Datum::Unknown,
        }
    }

    fn built_in(&self, which: BuiltIn) -> Datum<'v> {
        let Some(iteration) = self.subject.iteration() else {
            return Datum::Unknown;
        };
        match which {
            BuiltIn::Key => iteration.key.map_or(Datum::Unknown, Datum::from_packed),
            BuiltIn::Value => Datum::from_packed(iteration.value),
            BuiltIn::Index => iteration.index.map_or(Datum::Unknown, Datum::Int),
        }
    }

    fn cond(&mut self, nodes: Nodes) -> Datum<'v> {
        let program = self.program;
        let (branches, otherwise) = program.arguments(nodes).as_chunks::<2>();
        for [condition, value] in branches {
            match self.truth(*condition) {
                Some(true) => return self.eval(*value),
                Some(false) => {}
                None => return Datum::Unknown,
            }
        }
        otherwise
            .first()
            .map_or(Datum::Unknown, |value| self.eval(*value))
    }

    fn define(&mut self, nodes: Nodes) -> Datum<'v> {
        let program = self.program;
        let outer = self.variables.len();
        let Some((scope, definitions)) = program.arguments(nodes).split_last() else {
            return Datum::Unknown; // there is a scope
        };
        for definition in definitions {
            let value = self.eval(*definition);
            self.variables.push(value);
        }
        let result = self.eval(*scope);
        self.variables.truncate(outer);
        result
    }
}

/// What metadata tell.
fn told<'v>(fact: Fact, metadata: &'v Metadata<'_>) -> Datum<'v> {
    const NEVER: i64 = -1;
    let size = i64::from(metadata.size_bytes);
    let since_unix_ns = |ms: u64| (ms + EPOCH_UNIX_S * 1000) as i64 * 1_000_000;
    Datum::Int(match fact {
        Fact::DeviceSize => {
            if metadata.in_memory {
                0
            } else {
                size
            }
        }
        Fact::MemorySize => {
            if metadata.in_memory {
                size
            } else {
                0
            }
        }
        Fact::RecordSize => size,
        Fact::LastUpdate => since_unix_ns(metadata.update_time_ms),
        Fact::SinceUpdate => metadata
            .now
            .epoch_ms()
            .saturating_sub(metadata.update_time_ms) as i64,
        Fact::VoidTime if metadata.void_time_s == 0 => NEVER,
        Fact::VoidTime => since_unix_ns(u64::from(metadata.void_time_s) * 1000),
        Fact::Ttl if metadata.void_time_s == 0 => NEVER,
        Fact::Ttl => i64::from(
            metadata
                .void_time_s
                .saturating_sub(metadata.now.epoch_s())
                .max(1),
        ),
        Fact::SetName => return Datum::Bytes(Type::String, Cow::Borrowed(metadata.set)),
        Fact::KeyExists => return Datum::Bool(metadata.stores_key),
        Fact::IsTombstone => return Datum::Bool(metadata.tombstone),
    })
}

/// Patterns search what C would take for the string.
fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The keys (0) or values (1) of a packed map as a packed list.
fn list_of_parts(map: &[u8], which: usize) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(map);
    let head = cursor.head()?;
    let (_, count) = cursor.flags(head)?;
    let mut list = Vec::new();
    write_list_count(&mut list, count);
    for _ in 0..count {
        let pair = [cursor.element()?, cursor.element()?];
        list.extend_from_slice(pair[which]);
    }
    Some(list)
}
