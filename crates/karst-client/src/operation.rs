//! Single steps on one record, run by the server in order and all or nothing.
//!
//! Operations on whole bins are made here; those on lists, maps, bits and sketches are calls of
//! [`list`](crate::list), [`map`](crate::map), [`bits`](crate::bits), [`hll`](crate::hll) and
//! [`path`](crate::path) with the bin's name.

use karst_wire::flags::Info1;
use karst_wire::op::{OpCode, OpKind};
use karst_wire::particle;

use karst_wire::command::{Body, CommandError};

use crate::expr::Expr;
use crate::flags::flags;
use crate::record::Bin;
use crate::value::{Value, encode_list_head};

flags! {
    /// When a bin is not written by an expression.
    pub struct ExprFlags {
        /// Refuse to change a bin that is there.
        CREATE_ONLY = 1;
        /// Refuse to make one.
        UPDATE_ONLY = 2;
        /// Nil removes the bin; it is refused otherwise.
        ALLOW_DELETE = 4;
        /// What is refused changes nothing, instead of failing the whole request.
        NO_FAIL = 8;
        /// What is unknown changes nothing, instead of failing the whole request.
        SKIP_UNKNOWN = 16;
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Argument {
    None,
    Value(Value),
    /// Bytes that are packed already: a call, or an expression with its flags.
    Packed(Vec<u8>),
}

/// One step of [`crate::Client::operate`] or of a batch write.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    code: OpCode,
    bin: String,
    argument: Argument,
    /// What a read of the whole record asks in the header instead of by operations.
    header: Info1,
    /// Why it cannot be sent.
    fault: Option<&'static str>,
}

impl Operation {
    fn new(code: OpCode, bin: impl Into<String>, argument: Argument) -> Operation {
        Operation {
            code,
            bin: bin.into(),
            argument,
            header: Info1::NONE,
            fault: None,
        }
    }

    /// One whose argument is packed already.
    pub(crate) fn packed(code: OpCode, bin: impl Into<String>, packed: Expr) -> Operation {
        let fault = packed.fault();
        let argument = Argument::Packed(packed.as_bytes().to_vec());
        Operation {
            fault,
            ..Operation::new(code, bin, argument)
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

    /// Reads what an expression gives, under a name of its own. The request fails where it is unknown.
    pub fn read_expr(name: impl Into<String>, expression: impl Into<Expr>) -> Operation {
        Operation::expression(OpCode::ExpressionRead, name, expression, ExprFlags::NONE)
    }

    /// As [`Operation::read_expr`], [`Value::Nil`] where it is unknown.
    pub fn read_expr_if_known(name: impl Into<String>, expression: impl Into<Expr>) -> Operation {
        let flags = ExprFlags::SKIP_UNKNOWN;
        Operation::expression(OpCode::ExpressionRead, name, expression, flags)
    }

    /// Stores what an expression gives in a bin.
    pub fn write_expr(
        bin: impl Into<String>,
        expression: impl Into<Expr>,
        flags: ExprFlags,
    ) -> Operation {
        Operation::expression(OpCode::ExpressionModify, bin, expression, flags)
    }

    fn expression(
        code: OpCode,
        bin: impl Into<String>,
        expression: impl Into<Expr>,
        flags: ExprFlags,
    ) -> Operation {
        let expression = expression.into();
        let mut packed = vec![];
        encode_list_head(2, &mut packed);
        packed.extend_from_slice(expression.as_bytes());
        packed.push(flags.bits() as u8); // below 32, so one byte of msgpack
        let packed = Expr::from_bytes(packed).faulty(expression.fault());
        Operation::packed(code, bin, packed)
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
        if let Some(reason) = self.fault {
            return body.refuse(CommandError::Argument { reason });
        }
        match &self.argument {
            Argument::None => body.op(self.code, particle::NULL, &self.bin, &[]),
            Argument::Value(value) => encode_value(body, self.code, &self.bin, value),
            Argument::Packed(bytes) => body.op(self.code, particle::BLOB, &self.bin, bytes),
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
mod tests;
