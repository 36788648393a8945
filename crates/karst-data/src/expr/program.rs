//! Programs: what an expression is once it was found right.

use std::sync::Arc;

use super::pattern::Pattern;
use super::{PathExpressions, Type};
use crate::bit::{BitModify, BitRead};
use crate::cdt::CdtOp;
use crate::geo::Shape;
use crate::hll::{HllModify, HllRead};

/// An instruction, by its place in the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeId(pub(super) u32);

/// Some instructions, by the place of their places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nodes {
    pub(super) from: u32,
    pub(super) count: u32,
}

/// Some bytes of the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: u32,
    pub(super) to: u32,
}

/// An instruction or literal. Arguments come before it in the program.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    Unknown,
    Remove,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Bytes(Type, Span),
    Compare(Comparison, NodeId, NodeId),
    /// The pattern by its number, and what is searched.
    Matches(u32, NodeId),
    InList(NodeId, NodeId),
    /// Whether one of two shapes is a point in the other.
    Within(NodeId, NodeId),
    And(Nodes),
    Or(Nodes),
    Not(NodeId),
    Exclusive(Nodes),
    Ints(Fold, Nodes),
    Floats(Fold, Nodes),
    OfInt(OfInt, NodeId),
    OfFloat(OfFloat, NodeId),
    OfInts(OfInts, NodeId, NodeId),
    OfFloats(OfFloats, NodeId, NodeId),
    /// Where in an integer such a bit is: the first or the last one.
    Scan(Side, NodeId, NodeId),
    Fact(Fact),
    DigestModulo(u32),
    Key(Type),
    Bin(Type, Span),
    BinType(Span),
    Keys(NodeId),
    Values(NodeId),
    BuiltIn(Type, BuiltIn),
    /// Conditions and values in turn, and a value for all else.
    Cond(Nodes),
    /// By its place among those that are defined here.
    Variable(u32),
    /// Definitions, and the scope in which they hold.
    Let(Nodes),
    /// By its number.
    Call(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// What any number of numbers are folded by, from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    Add,
    Subtract,
    Multiply,
    Divide,
    Min,
    Max,
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfInt {
    Absolute,
    ToFloat,
    Not,
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfFloat {
    Absolute,
    Floor,
    Ceil,
    ToInt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfInts {
    Modulo,
    ShiftLeft,
    ShiftRight,
    ShiftRightSigned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfFloats {
    Power,
    Logarithm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Something that metadata tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    DeviceSize,
    MemorySize,
    RecordSize,
    LastUpdate,
    SinceUpdate,
    VoidTime,
    Ttl,
    SetName,
    KeyExists,
    IsTombstone,
}

/// Something of the element at which a path has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BuiltIn {
    Key,
    Value,
    Index,
}

/// What calls are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    Collections,
    Bits,
    Hll,
}

/// A call on a value.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) system: System,
    /// Whether it changes the value, and gives what that becomes.
    pub(super) modifies: bool,
    /// The type that is expected; what is of another is unknown.
    pub(super) result: Type,
    pub(super) callee: Callee,
    pub(super) target: NodeId,
    /// Those of its path, if it has one with expressions.
    pub(super) inner: PathExpressions,
}

/// What is called.
#[derive(Clone, Debug)]
pub(super) enum Callee {
    /// An operation on a list or map all of whose arguments are literals.
    Collection(Box<CdtOp<'static>>),
    /// The same on bits.
    Bits(BitRead),
    BitsModify(Box<BitModify<'static>>),
    Sketch(Box<HllRead<'static>>),
    SketchModify(Box<HllModify<'static>>),
    /// Something that is refused whatever it is called on.
    Refused,
    /// To be put together each time, packed.
    Pieces(Vec<Piece>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    Verbatim(Span),
    Computed(NodeId),
}

/// A whole expression.
#[derive(Clone)]
pub(super) struct Program {
    /// The expression as it came, and behind it what was brought into another form.
    bytes: Vec<u8>,
    source_bytes: usize,
    pub(super) nodes: Vec<Node>,
    /// Arguments of instructions that have any number.
    pub(super) arguments: Vec<NodeId>,
    pub(super) patterns: Vec<Arc<Pattern>>,
    pub(super) calls: Vec<Call>,
    /// Of literals of GeoJSON, in the order of the literals.
    pub(super) shapes: Vec<(NodeId, Shape)>,
    pub(super) result: Type,
    pub(super) reads_record: bool,
    /// Whether some instruction may look at more than a few bytes.
    pub(super) is_long: bool,
}

impl Program {
    /// One without instructions yet.
    pub(super) fn new(source: &[u8]) -> Program {
        Program {
            bytes: source.to_vec(),
            source_bytes: source.len(),
            nodes: Vec::new(),
            arguments: Vec::new(),
            patterns: Vec::new(),
            calls: Vec::new(),
            shapes: Vec::new(),
            result: Type::Nil,
            reads_record: false,
            is_long: false,
        }
    }

    pub(super) fn source(&self) -> &[u8] {
        &self.bytes[..self.source_bytes]
    }

    /// Expressions inside paths run without a record, and so know no times.
    pub(super) fn depends_on_time(&self) -> bool {
        let of_time = |node: &Node| matches!(node, Node::Fact(Fact::SinceUpdate | Fact::Ttl));
        self.nodes.iter().any(of_time)
    }

    pub(super) fn node(&self, id: NodeId) -> Node {
        self.nodes[id.0 as usize]
    }

    /// The shape of a literal.
    pub(super) fn shape(&self, id: NodeId) -> Option<&Shape> {
        let shapes = &self.shapes;
        let at = shapes.binary_search_by_key(&id.0, |(literal, _)| literal.0);
        at.ok().map(|at| &shapes[at].1)
    }

    /// The last instruction: the whole expression.
    pub(super) fn root(&self) -> NodeId {
        NodeId(self.nodes.len() as u32 - 1)
    }

    pub(super) fn arguments(&self, nodes: Nodes) -> &[NodeId] {
        &self.arguments[nodes.from as usize..][..nodes.count as usize]
    }

    pub(super) fn span(&self, span: Span) -> &[u8] {
        &self.bytes[span.from as usize..span.to as usize]
    }

    /// Size of the compiled patterns in bytes.
    pub(super) fn pattern_bytes(&self) -> usize {
        self.patterns.iter().map(|pattern| pattern.bytes()).sum()
    }

    /// Keeps bytes behind the expression's own.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Span {
        let from = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        Span {
            from,
            to: self.bytes.len() as u32,
        }
    }
}
