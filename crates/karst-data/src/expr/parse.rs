//! From bytes to programs: literals, and what all instructions need.

use smallvec::SmallVec;

use super::program::{Node, NodeId, Nodes, Program, Span};
use super::{BYTES_MAX, DEPTH_MAX, ExprError, NODES_MAX, Type};
use crate::geo::Shape;
use crate::msgpack::{Collection, normalise};
use crate::packed::{Cursor, Element};

pub(super) type Result<T> = std::result::Result<T, ExprError>;

pub(super) fn malformed<T>(reason: &'static str) -> Result<T> {
    Err(ExprError::Malformed(reason))
}

const ENDS: ExprError = ExprError::Malformed("it ends early");

/// What is known of an instruction's type before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Static {
    Known(Type),
    /// It is never known. It counts as a truth, and fits wherever another branch decides.
    Unknown,
    /// That an element is removed; it fits wherever another branch decides.
    Remove,
}

impl Static {
    /// The type it counts as.
    pub(super) fn kind(self) -> Option<Type> {
        match self {
            Static::Known(kind) => Some(kind),
            Static::Unknown => Some(Type::Bool),
            Static::Remove => None,
        }
    }
}

/// A parsed instruction and its type.
pub(super) type Typed = (NodeId, Static);

/// Parses a whole expression.
pub(super) fn whole(bytes: &[u8]) -> Result<Program> {
    nested(bytes, 0)
}

/// Parses a whole expression that nests so deeply in another.
pub(super) fn nested(bytes: &[u8], depth: usize) -> Result<Program> {
    let mut parser = Parser::new(bytes)?;
    parser.depth = depth;
    let (_, kind) = parser.expression()?;
    if !parser.cursor.is_empty() {
        return malformed("something follows its end");
    }
    Ok(parser.finish(kind))
}

/// Where parsing has got to.
pub(super) struct Parser<'a> {
    source: &'a [u8],
    pub(super) cursor: Cursor<'a>,
    pub(super) program: Program,
    /// Variables that may be used here, by name.
    pub(super) scope: Vec<(&'a [u8], Static)>,
    pub(super) depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(source: &'a [u8]) -> Result<Parser<'a>> {
        if source.len() > BYTES_MAX {
            return malformed("it is longer than expressions may be");
        }
        Ok(Parser {
            source,
            cursor: Cursor::new(source),
            program: Program::new(source),
            scope: Vec::new(),
            depth: 0,
        })
    }

    fn finish(mut self, kind: Static) -> Program {
        self.program.result = kind.kind().unwrap_or(Type::Nil);
        self.program
    }

    /// The next expression.
    pub(super) fn expression(&mut self) -> Result<Typed> {
        let before = self.cursor;
        let head = self.cursor.head().ok_or(ENDS)?;
        match head {
            Element::Nil => self.push(Node::Nil, Type::Nil),
            Element::Bool(value) => self.push(Node::Bool(value), Type::Bool),
            Element::Int { value, .. } => self.push(Node::Int(value), Type::Int),
            Element::Double(value) => self.push(Node::Float(value), Type::Float),
            Element::Raw([3, text @ ..]) => self.bytes(Type::String, text),
            Element::Raw([4, blob @ ..]) => self.bytes(Type::Blob, blob),
            Element::Raw([18, sketch @ ..]) => self.bytes(Type::Hll, sketch),
            Element::Raw([23, text @ ..]) => self.geo_json(text),
            Element::Raw(_) => malformed("a literal of bytes of no known type"),
            Element::Map(_) => {
                self.cursor = before;
                self.collection(Collection::Map)
            }
            Element::Ext { .. } => malformed("a wildcard or infinity outside a call"),
            Element::List(0) => malformed("an instruction without its code"),
            Element::List(count) => {
                if self.depth >= DEPTH_MAX {
                    return malformed("it nests too deeply");
                }
                self.depth += 1;
                let done = self.instruction(count - 1);
                self.depth -= 1;
                done
            }
        }
    }

    /// Appends an instruction.
    pub(super) fn push(&mut self, node: Node, kind: Type) -> Result<Typed> {
        self.push_static(node, Static::Known(kind))
    }

    pub(super) fn push_static(&mut self, node: Node, kind: Static) -> Result<Typed> {
        if self.program.nodes.len() == NODES_MAX {
            return malformed("it has more instructions than expressions may");
        }
        self.program.nodes.push(node);
        Ok((self.program.root(), kind))
    }

    /// Where some bytes of the source lie.
    pub(super) fn span(&self, bytes: &[u8]) -> Span {
        let from = bytes.as_ptr().addr() - self.source.as_ptr().addr();
        Span {
            from: from as u32,
            to: (from + bytes.len()) as u32,
        }
    }

    fn bytes(&mut self, kind: Type, bytes: &[u8]) -> Result<Typed> {
        let span = self.span(bytes);
        self.push(Node::Bytes(kind, span), kind)
    }

    fn geo_json(&mut self, text: &[u8]) -> Result<Typed> {
        let Ok(shape) = Shape::parse(text) else {
            return malformed("a literal that is no GeoJSON");
        };
        let literal = self.bytes(Type::GeoJson, text)?;
        self.program.shapes.push((literal.0, shape));
        Ok(literal)
    }

    /// A list or map as a literal: brought into canonical form if it has one. Those with a wildcard or
    /// infinity inside have none, and serve only as arguments and for comparison.
    pub(super) fn collection(&mut self, kind: Collection) -> Result<Typed> {
        let bytes = self.cursor.element().ok_or(ENDS)?;
        let span = match normalise(bytes, kind) {
            Ok(canonical) if *canonical != *bytes => self.program.keep(&canonical),
            Ok(_) | Err(_) => self.span(bytes),
        };
        let kind = match kind {
            Collection::List => Type::List,
            Collection::Map => Type::Map,
        };
        self.push(Node::Bytes(kind, span), kind)
    }

    /// The next expression, which must be of a type.
    pub(super) fn of_type(&mut self, expected: Type) -> Result<NodeId> {
        let (node, kind) = self.expression()?;
        if kind.kind() == Some(expected) {
            Ok(node)
        } else {
            malformed("an argument is of the wrong type")
        }
    }

    /// The next expressions, all of which must be of a type.
    pub(super) fn all_of_type(&mut self, count: u32, expected: Type) -> Result<Nodes> {
        let mut nodes = SmallVec::<[NodeId; 8]>::new();
        for _ in 0..count {
            nodes.push(self.of_type(expected)?);
        }
        Ok(self.group(&nodes))
    }

    /// Keeps the places of an instruction's arguments.
    pub(super) fn group(&mut self, nodes: &[NodeId]) -> Nodes {
        let from = self.program.arguments.len() as u32;
        self.program.arguments.extend_from_slice(nodes);
        Nodes {
            from,
            count: nodes.len() as u32,
        }
    }

    /// A literal argument: an integer that is not negative and at most `most`.
    pub(super) fn number(&mut self, most: u64) -> Result<u64> {
        let number = self.cursor.uint(most);
        number.ok_or(ExprError::Malformed(
            "a number that the instruction does not have",
        ))
    }

    /// A literal argument: a type.
    pub(super) fn kind(&mut self) -> Result<Type> {
        let number = self.number(u64::from(u8::MAX))?;
        Type::from_wire(number).ok_or(ExprError::Malformed("a type that does not exist"))
    }

    /// A literal argument: a name or pattern.
    pub(super) fn text(&mut self) -> Result<&'a [u8]> {
        let text = self.cursor.raw();
        text.ok_or(ExprError::Malformed("a name or pattern is due"))
    }
}
