//! Calls on lists, maps, blobs and sketches: made once, used as operations on a bin or in expressions.
//!
//! A call is a number and arguments, perhaps with a path to a collection inside others. The modules
//! [`list`](crate::list), [`map`](crate::map), [`bits`](crate::bits), [`hll`](crate::hll) and
//! [`path`](crate::path) make them; [`Call::bin`] makes an operation of one and [`Call::of`] an
//! expression.

use std::ops::RangeFull;

use karst_data::msgpack::write_int;
use karst_wire::op::OpCode;

use crate::context::{self, Context};
use crate::expr::{Expr, Type};
use crate::operation::Operation;
use crate::value::{Value, encode_list_head};

/// Number in front of a path and a call at its end.
const WITH_PATH: i64 = 0xff;

/// Number in front of paths to many elements at once.
const SELECT: i64 = 0xfe;

/// Bit of a return type: everything but what was found.
pub(crate) const INVERTED: u32 = 0x1_0000;

/// Bit of a system of calls in an expression: the call changes what it is given.
const MODIFIES: u8 = 0x40;

/// Which family of operations a call belongs to, and whether it changes the bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// Reads a list or map.
    CdtRead,
    /// Changes a list or map.
    CdtModify,
    /// Reads bits of a blob.
    BitsRead,
    /// Changes bits of a blob.
    BitsModify,
    /// Reads a HyperLogLog sketch.
    HllRead,
    /// Changes a HyperLogLog sketch.
    HllModify,
}

impl CallKind {
    fn code(self) -> OpCode {
        match self {
            CallKind::CdtRead => OpCode::CdtRead,
            CallKind::CdtModify => OpCode::CdtModify,
            CallKind::BitsRead => OpCode::BitsRead,
            CallKind::BitsModify => OpCode::BitsModify,
            CallKind::HllRead => OpCode::HllRead,
            CallKind::HllModify => OpCode::HllModify,
        }
    }

    /// Its number in expressions.
    fn system(self) -> u8 {
        match self {
            CallKind::CdtRead => 0,
            CallKind::CdtModify => MODIFIES,
            CallKind::BitsRead => 1,
            CallKind::BitsModify => 1 | MODIFIES,
            CallKind::HllRead => 2,
            CallKind::HllModify => 2 | MODIFIES,
        }
    }

    fn is_of_collections(self) -> bool {
        matches!(self, CallKind::CdtRead | CallKind::CdtModify)
    }
}

/// An end of a range: `..` for none, or a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// Without an end.
    Open,
    /// This value.
    At(Expr),
}

impl From<RangeFull> for Bound {
    fn from(_: RangeFull) -> Bound {
        Bound::Open
    }
}

impl<T: Into<Expr>> From<T> for Bound {
    fn from(value: T) -> Bound {
        Bound::At(value.into())
    }
}

/// How a call writes: numbers behind its arguments. Each call says which type it takes.
pub trait CallPolicy: sealed::Sealed + Default {
    /// The numbers it travels as.
    fn numbers(&self) -> impl IntoIterator<Item = u32>;
}

pub(crate) mod sealed {
    /// Policies are those that the protocol has.
    pub trait Sealed {}
}

impl sealed::Sealed for () {}

impl CallPolicy for () {
    fn numbers(&self) -> impl IntoIterator<Item = u32> {
        []
    }
}

/// Makes a set of flags the policy of calls.
macro_rules! flags_policy {
    ($flags:ident) => {
        impl crate::call::sealed::Sealed for $flags {}

        impl crate::call::CallPolicy for $flags {
            fn numbers(&self) -> impl IntoIterator<Item = u32> {
                [self.bits()]
            }
        }
    };
}

pub(crate) use flags_policy;

#[derive(Clone, Debug, PartialEq)]
enum What {
    Numbered {
        number: u8,
        /// What to answer, for calls that have a choice.
        returns: Option<u32>,
        arguments: Vec<Expr>,
        /// A number behind those of the policy.
        tail: Option<u32>,
    },
    /// What is done at the ends of many paths.
    Select {
        paths: Vec<Context>,
        flags: u32,
        expression: Option<Expr>,
    },
}

/// A call on a list, map, blob or sketch. `P` is how it writes, for those that have a choice.
///
/// Arguments are values. Where the call is used in an expression they may be expressions; as an operation
/// such a call is refused before anything is sent.
///
/// ```
/// use karst_client::{Context, Expr, ListFlags, ListPolicy, list};
///
/// // As an operation: adds to the list `tags` inside the map in bin `profile`, unless it is there.
/// let unique = ListPolicy::default().with_flags(ListFlags::UNIQUE | ListFlags::NO_FAIL);
/// let operation = list::append("new").policy(unique)
///     .within([Context::map_key("tags")])
///     .bin("profile");
///
/// // In an expression: whether the list in bin `tags` has more than three elements.
/// let many = list::size().of(Expr::list_bin("tags")).gt(3);
/// # assert!(operation.writes());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Call<P = ()> {
    kind: CallKind,
    what: What,
    policy: P,
    path: Vec<Context>,
    /// Bits that the last step of the path takes over.
    creates: u32,
    /// The type of its result in an expression, if that is known.
    gives: Option<Type>,
    fault: Option<&'static str>,
}

impl Call {
    /// Any call, by the protocol's number.
    pub fn numbered(kind: CallKind, number: u8, arguments: Vec<Value>) -> Call {
        Call::with_policy(kind, number, arguments.into_iter().map(Expr::from))
    }
}

impl<P: CallPolicy> Call<P> {
    pub(crate) fn with_policy(
        kind: CallKind,
        number: u8,
        arguments: impl IntoIterator<Item = Expr>,
    ) -> Call<P> {
        let what = What::Numbered {
            number,
            returns: None,
            arguments: arguments.into_iter().collect(),
            tail: None,
        };
        Call::doing(kind, what)
    }

    fn doing(kind: CallKind, what: What) -> Call<P> {
        Call {
            kind,
            what,
            policy: P::default(),
            path: vec![],
            creates: 0,
            gives: None,
            fault: None,
        }
    }

    /// Writes in this manner.
    pub fn policy(mut self, policy: P) -> Call<P> {
        self.policy = policy;
        self
    }

    /// Works on the list or map at the end of this path instead of the whole one.
    ///
    /// ```
    /// use karst_client::{Context, map};
    ///
    /// let step = map::increment("visits", 1).within([Context::map_key("ada")]).bin("users");
    /// # assert!(step.writes());
    /// ```
    pub fn within(mut self, path: impl IntoIterator<Item = Context>) -> Call<P> {
        if !self.kind.is_of_collections() {
            self.fault = Some("only calls on lists and maps have a path");
        }
        if matches!(self.what, What::Select { .. }) {
            self.fault = Some("a call on many paths has no other path");
        }
        self.path.extend(path);
        if self.kind == CallKind::CdtModify {
            // As an expression it gives the changed whole, which the first step is one into.
            let outermost = self.path.first().and_then(Context::container);
            self.gives = outermost.or(self.gives);
        }
        self
    }

    /// As an expression, gives a value of this type. To be told of single elements by value or key, and of
    /// what is selected by paths as a tree; others are known.
    pub fn gives(mut self, of: Type) -> Call<P> {
        self.gives = Some(of);
        self
    }

    /// The operation that does this to a bin.
    pub fn bin(self, name: impl Into<String>) -> Operation {
        let packed = self.pack(Place::Operation);
        Operation::packed(self.kind.code(), name, packed)
    }

    /// The expression that does this to a value: for a read what it finds; for one that changes, the
    /// changed collection, blob or sketch. Nothing is stored.
    pub fn of(self, subject: impl Into<Expr>) -> Expr {
        const UNTOLD: &str = "the type of an element has to be told: Call::gives";
        let untold = self.gives.is_none().then_some(UNTOLD);
        let gives = self.gives.unwrap_or(Type::Nil);
        let call = self.pack(Place::Expression).faulty(untold);
        Expr::call(gives, self.kind.system(), call, subject.into())
    }

    /// The call as the list that travels.
    fn pack(&self, place: Place) -> Expr {
        let mut packed = Packed::default();
        match &self.what {
            What::Numbered {
                number,
                returns,
                arguments,
                tail,
            } => {
                packed.number((*number).into());
                returns
                    .iter()
                    .for_each(|returns| packed.number((*returns).into()));
                arguments
                    .iter()
                    .for_each(|argument| packed.argument(argument, place));
                let numbers = self.policy.numbers().into_iter();
                numbers
                    .chain(*tail)
                    .for_each(|number| packed.number(number.into()));
            }
            What::Select {
                paths,
                flags,
                expression,
            } => {
                packed.number(SELECT);
                packed.path(paths, 0);
                packed.number((*flags).into());
                let expression = expression.iter();
                expression.for_each(|expression| packed.expression(expression));
            }
        }
        if self.path.is_empty() {
            return packed.finish().faulty(self.fault);
        }
        let call = packed.finish();
        let mut packed = Packed::default();
        packed.number(WITH_PATH);
        packed.path(&self.path, self.creates);
        packed.expression(&call);
        packed.finish().faulty(self.fault)
    }
}

/// Where a call is used, which decides what its arguments may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Operation,
    Expression,
}

/// A list on its way to being packed.
#[derive(Default)]
struct Packed {
    elements: Vec<u8>,
    count: usize,
    fault: Option<&'static str>,
}

impl Packed {
    fn number(&mut self, number: i64) {
        write_int(&mut self.elements, number, false);
        self.count += 1;
    }

    fn argument(&mut self, argument: &Expr, place: Place) {
        if place == Place::Expression {
            return self.expression(argument);
        }
        self.fault = self.fault.or(argument.fault());
        self.count += 1;
        match argument.as_value_bytes() {
            Some(bytes) => self.elements.extend_from_slice(bytes),
            None => self.fault = Some("an operation's arguments are values, not expressions"),
        }
    }

    fn expression(&mut self, expression: &Expr) {
        self.fault = self.fault.or(expression.fault());
        self.elements.extend_from_slice(expression.as_bytes());
        self.count += 1;
    }

    fn path(&mut self, path: &[Context], creates: u32) {
        self.fault = self.fault.or(context::fault(path));
        context::pack(path, creates, &mut self.elements);
        self.count += 1;
    }

    fn finish(self) -> Expr {
        let mut packed = vec![];
        encode_list_head(self.count, &mut packed);
        packed.extend_from_slice(&self.elements);
        Expr::from_bytes(packed).faulty(self.fault)
    }
}

/// How many elements a call is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Picks {
    One,
    Many,
}

/// The makers of the families' calls.
impl<P: CallPolicy> Call<P> {
    /// One that answers as it is told.
    pub(crate) fn picking(
        kind: CallKind,
        number: u8,
        picks: Picks,
        returns: u32,
        arguments: impl IntoIterator<Item = Expr>,
    ) -> Call<P> {
        let mut call = Call::with_policy(kind, number, arguments);
        if let What::Numbered { returns: told, .. } = &mut call.what {
            *told = Some(returns);
        }
        call.gives = type_of(returns, picks);
        call
    }

    /// On many paths at once.
    pub(crate) fn selecting(
        kind: CallKind,
        paths: impl IntoIterator<Item = Context>,
        flags: u32,
        expression: Option<Expr>,
    ) -> Call<P> {
        let paths = paths.into_iter().collect();
        let what = What::Select {
            paths,
            flags,
            expression,
        };
        Call::doing(kind, what)
    }

    pub(crate) fn giving(mut self, of: Type) -> Call<P> {
        self.gives = Some(of);
        self
    }

    /// With this number behind those of the policy.
    pub(crate) fn with_tail(mut self, number: u32) -> Call<P> {
        if let What::Numbered { tail, .. } = &mut self.what {
            *tail = Some(number);
        }
        self
    }

    /// With what the last step of a path is to create.
    pub(crate) fn creating(mut self, bits: u32) -> Call<P> {
        self.creates = bits;
        self
    }
}

/// The type of what a return type answers; `None` for an element, whose type only the data know.
fn type_of(returns: u32, picks: Picks) -> Option<Type> {
    match (returns & !INVERTED, picks) {
        (0, _) => Some(Type::Nil),
        (1..=4, Picks::One) | (5, _) => Some(Type::Int),
        (6 | 7, Picks::One) => None,
        (1..=4 | 6 | 7, Picks::Many) | (9..=12, _) => Some(Type::List),
        (8 | 16 | 17, _) => Some(Type::Map),
        (13, _) => Some(Type::Bool),
        _ => None,
    }
}

/// Declares what calls of a family can answer.
macro_rules! returns {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$one_doc:meta])* $one:ident = $number:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(u32);

        impl $name {
            $($(#[$one_doc])* pub const $one: $name = $name($number);)+

            /// Of everything but what was found, for calls that find many.
            #[must_use]
            pub const fn inverted(self) -> $name {
                $name(self.0 | crate::call::INVERTED)
            }

            /// The number it travels as.
            pub const fn bits(self) -> u32 {
                self.0
            }
        }
    };
}

pub(crate) use returns;

/// A place and, unless it is open, how many from there.
pub(crate) fn from_place(place: impl Into<Expr>, count: impl Into<Bound>) -> Vec<Expr> {
    let place = place.into();
    match count.into() {
        Bound::Open => vec![place],
        Bound::At(count) => vec![place, count],
    }
}

/// An interval: nil is below everything, and an open end is left out.
pub(crate) fn interval(begin: impl Into<Bound>, end: impl Into<Bound>) -> Vec<Expr> {
    let begin = match begin.into() {
        Bound::Open => Value::Nil.into(),
        Bound::At(begin) => begin,
    };
    from_place(begin, end)
}

/// A value, a distance from it and, unless it is open, how many from there.
pub(crate) fn relative(
    value: impl Into<Expr>,
    distance: impl Into<Expr>,
    count: impl Into<Bound>,
) -> Vec<Expr> {
    let mut arguments = vec![value.into()];
    arguments.extend(from_place(distance, count));
    arguments
}
