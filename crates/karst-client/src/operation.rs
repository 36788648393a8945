//! Single steps on one record, run by the server in order and all or nothing.
//!
//! Lists, maps, bits and sketches have dozens of operations; the common ones have constructors here,
//! the others are [`Operation::call`] with the protocol's number and arguments.

use karst_wire::flags::Info1;
use karst_wire::op::{OpCode, OpKind};
use karst_wire::particle;

use karst_wire::command::Body;

use crate::record::Bin;
use crate::value::{Value, encode_call};

/// Numbers of the list and map calls that have constructors.
mod number {
    pub(super) const LIST_APPEND: u8 = 1;
    pub(super) const LIST_POP: u8 = 5;
    pub(super) const LIST_SIZE: u8 = 16;
    pub(super) const LIST_GET: u8 = 17;
    pub(super) const LIST_GET_RANGE: u8 = 18;
    pub(super) const MAP_PUT: u8 = 67;
    pub(super) const MAP_REMOVE_BY_KEY: u8 = 76;
    pub(super) const MAP_SIZE: u8 = 96;
    pub(super) const MAP_GET_BY_KEY: u8 = 97;
}

/// Return type of map calls: the value itself.
const RETURN_VALUE: i64 = 7;

/// Order of a map created by a put: by key, as [`Value::Map`] reads best.
const MAP_KEY_ORDERED: i64 = 1;

/// Which family of operations a [`Operation::call`] belongs to, and whether it changes the bin.
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
}

#[derive(Clone, Debug, PartialEq)]
enum Argument {
    None,
    Value(Value),
    /// Arguments of a call, behind its number.
    Call(u8, Vec<Value>),
    /// Ready bytes, such as an expression.
    Bytes(Vec<u8>),
}

/// One step of [`crate::Client::operate`] or of a batch write.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    code: OpCode,
    bin: String,
    argument: Argument,
    /// What a read of the whole record asks in the header instead of by operations.
    header: Info1,
}

impl Operation {
    fn new(code: OpCode, bin: impl Into<String>, argument: Argument) -> Operation {
        Operation {
            code,
            bin: bin.into(),
            argument,
            header: Info1::NONE,
        }
    }

    /// Reads a bin.
    pub fn get(bin: impl Into<String>) -> Operation {
        Operation::new(OpCode::Read, bin, Argument::None)
    }

    /// Reads every bin, as the steps before have left them.
    pub fn get_all() -> Operation {
        Operation {
            header: Info1::GET_ALL,
            ..Operation::new(OpCode::Read, "", Argument::None)
        }
    }

    /// Sets a bin; [`Value::Nil`] removes it.
    pub fn put(bin: impl Into<String>, value: impl Into<Value>) -> Operation {
        Operation::new(OpCode::Write, bin, Argument::Value(value.into()))
    }

    /// Adds to a number; a missing bin counts as 0.
    pub fn add(bin: impl Into<String>, value: impl Into<Value>) -> Operation {
        Operation::new(OpCode::Increment, bin, Argument::Value(value.into()))
    }

    /// Appends to text or a blob.
    pub fn append(bin: impl Into<String>, value: impl Into<Value>) -> Operation {
        Operation::new(OpCode::Append, bin, Argument::Value(value.into()))
    }

    /// Prepends to text or a blob.
    pub fn prepend(bin: impl Into<String>, value: impl Into<Value>) -> Operation {
        Operation::new(OpCode::Prepend, bin, Argument::Value(value.into()))
    }

    /// Renews the record's life; fails with `NotFound` if there is no record.
    pub fn touch() -> Operation {
        Operation::new(OpCode::Touch, "", Argument::None)
    }

    /// Removes every bin. Without later steps that write, this deletes the record.
    pub fn delete() -> Operation {
        Operation::new(OpCode::DeleteAll, "", Argument::None)
    }

    /// Reads the result of an expression, msgpack, as if it were the bin `name`.
    pub fn read_expression(name: impl Into<String>, expression: Vec<u8>) -> Operation {
        Operation::new(OpCode::ExpressionRead, name, Argument::Bytes(expression))
    }

    /// Stores the result of an expression, msgpack, in a bin.
    pub fn write_expression(bin: impl Into<String>, expression: Vec<u8>) -> Operation {
        Operation::new(OpCode::ExpressionModify, bin, Argument::Bytes(expression))
    }

    /// Any operation on a list, map, blob or sketch, by the protocol's number.
    pub fn call(
        kind: CallKind,
        bin: impl Into<String>,
        number: u8,
        arguments: Vec<Value>,
    ) -> Operation {
        Operation::new(kind.code(), bin, Argument::Call(number, arguments))
    }

    /// Appends to a list; returns its new length.
    pub fn list_append(bin: impl Into<String>, value: impl Into<Value>) -> Operation {
        let arguments = vec![value.into()];
        Operation::call(CallKind::CdtModify, bin, number::LIST_APPEND, arguments)
    }

    /// Removes and returns the element at `index`; negative counts from the end.
    pub fn list_pop(bin: impl Into<String>, index: i64) -> Operation {
        let arguments = vec![index.into()];
        Operation::call(CallKind::CdtModify, bin, number::LIST_POP, arguments)
    }

    /// Returns the element at `index`; negative counts from the end.
    pub fn list_get(bin: impl Into<String>, index: i64) -> Operation {
        let arguments = vec![index.into()];
        Operation::call(CallKind::CdtRead, bin, number::LIST_GET, arguments)
    }

    /// Returns `count` elements from `index` on.
    pub fn list_get_range(bin: impl Into<String>, index: i64, count: u32) -> Operation {
        let arguments = vec![index.into(), count.into()];
        Operation::call(CallKind::CdtRead, bin, number::LIST_GET_RANGE, arguments)
    }

    /// Returns the length of a list.
    pub fn list_size(bin: impl Into<String>) -> Operation {
        Operation::call(CallKind::CdtRead, bin, number::LIST_SIZE, vec![])
    }

    /// Sets a key of a map, created ordered by key if it is missing; returns its new size.
    pub fn map_put(
        bin: impl Into<String>,
        key: impl Into<Value>,
        value: impl Into<Value>,
    ) -> Operation {
        let arguments = vec![key.into(), value.into(), MAP_KEY_ORDERED.into(), 0.into()];
        Operation::call(CallKind::CdtModify, bin, number::MAP_PUT, arguments)
    }

    /// Returns the value of a key of a map; [`Value::Nil`] if it is missing.
    pub fn map_get(bin: impl Into<String>, key: impl Into<Value>) -> Operation {
        let arguments = vec![RETURN_VALUE.into(), key.into()];
        Operation::call(CallKind::CdtRead, bin, number::MAP_GET_BY_KEY, arguments)
    }

    /// Removes a key of a map and returns its value.
    pub fn map_remove(bin: impl Into<String>, key: impl Into<Value>) -> Operation {
        let arguments = vec![RETURN_VALUE.into(), key.into()];
        Operation::call(
            CallKind::CdtModify,
            bin,
            number::MAP_REMOVE_BY_KEY,
            arguments,
        )
    }

    /// Returns the number of keys of a map.
    pub fn map_size(bin: impl Into<String>) -> Operation {
        Operation::call(CallKind::CdtRead, bin, number::MAP_SIZE, vec![])
    }

    /// Whether it changes the record.
    pub fn writes(&self) -> bool {
        self.code.kind() == OpKind::Write
    }

    /// The header flags it needs.
    pub(crate) fn info1(&self) -> Info1 {
        match self.writes() {
            true => Info1::NONE,
            false => Info1::READ | self.header,
        }
    }

    pub(crate) fn encode(&self, body: &mut Body<'_>) {
        match &self.argument {
            Argument::None => body.op(self.code, particle::NULL, &self.bin, &[]),
            Argument::Value(value) => encode_value(body, self.code, &self.bin, value),
            Argument::Bytes(bytes) => body.op(self.code, particle::BLOB, &self.bin, bytes),
            Argument::Call(number, arguments) => {
                body.op_with(self.code, particle::BLOB, &self.bin, |out| {
                    encode_call(*number, arguments, out);
                });
            }
        }
    }
}

impl From<Bin> for Operation {
    fn from(bin: Bin) -> Operation {
        Operation::put(bin.name, bin.value)
    }
}

/// Writes one operation whose argument is a value.
pub(crate) fn encode_value(body: &mut Body<'_>, code: OpCode, bin: &str, value: &Value) {
    body.op_with(code, value.particle(), bin, |out| value.encode(out));
}

#[cfg(test)]
mod tests {
    use karst_wire::command::message;
    use karst_wire::frame::{HEADER_BYTES, MESSAGE_HEADER_BYTES, MessageHeader};

    use super::*;

    fn check(operation: Operation, expected: &[u8]) {
        let mut out = vec![];
        message(&mut out, MessageHeader::default(), |body| {
            operation.encode(body)
        })
        .unwrap();
        assert_eq!(&out[HEADER_BYTES + MESSAGE_HEADER_BYTES..], expected);
    }

    #[test]
    fn operations_travel_as_the_protocol_says() {
        check(Operation::get("a"), &[0, 0, 0, 5, 1, 0, 0, 1, b'a']);
        check(Operation::touch(), &[0, 0, 0, 4, 11, 0, 0, 0]);
        check(
            Operation::put("a", true),
            &[0, 0, 0, 6, 2, 17, 0, 1, b'a', 1],
        );
        check(
            Operation::list_append("l", 7),
            &[0, 0, 0, 8, 4, 4, 0, 1, b'l', 0x92, 1, 7],
        );
        check(
            Operation::map_get("m", "k"),
            &[0, 0, 0, 11, 3, 4, 0, 1, b'm', 0x93, 97, 7, 0xa2, 3, b'k'],
        );
    }

    #[test]
    fn only_reads_ask_for_answers_in_the_header() {
        assert_eq!(Operation::get("a").info1(), Info1::READ);
        assert_eq!(Operation::get_all().info1(), Info1::READ | Info1::GET_ALL);
        assert_eq!(Operation::put("a", 1).info1(), Info1::NONE);
        assert!(Operation::delete().writes());
    }
}
