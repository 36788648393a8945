//! Calls of user-defined functions.

use karst_wire::command::Body;
use karst_wire::field;

use crate::value::{Value, encode_list_head, encode_packed};

/// A function of a module that was [registered](crate::Client::register_udf), and its arguments.
///
/// ```
/// use karst_client::Udf;
///
/// let call = Udf::new("counters", "raise").arg("visits").arg(1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Udf {
    module: String,
    function: String,
    arguments: Vec<Value>,
}

impl Udf {
    /// A function of a module; the module's name is that of its file without the ending.
    pub fn new(module: impl Into<String>, function: impl Into<String>) -> Udf {
        Udf {
            module: module.into(),
            function: function.into(),
            arguments: vec![],
        }
    }

    /// With one more argument. The record comes before them.
    #[must_use]
    pub fn arg(mut self, value: impl Into<Value>) -> Udf {
        self.arguments.push(value.into());
        self
    }

    /// The fields that say so.
    pub(crate) fn encode(&self, body: &mut Body<'_>) {
        body.field(field::UDF_FILENAME, self.module.as_bytes());
        body.field(field::UDF_FUNCTION, self.function.as_bytes());
        body.field_with(field::UDF_ARGUMENTS, |out| {
            encode_list_head(self.arguments.len(), out);
            for argument in &self.arguments {
                encode_packed(argument, out);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use karst_wire::command::message;
    use karst_wire::frame::{HEADER_BYTES, MESSAGE_HEADER_BYTES, MessageHeader};

    use super::*;

    #[test]
    fn a_call_travels_as_the_protocol_says() {
        let mut out = vec![];
        let call = Udf::new("m", "f").arg("x").arg(1);
        message(&mut out, MessageHeader::default(), |body| call.encode(body)).unwrap();
        let arguments = [0, 0, 0, 6, 32, 0x92, 0xa2, 3, b'x', 1];
        let names = [0, 0, 0, 2, 30, b'm', 0, 0, 0, 2, 31, b'f'];
        let sent = &out[HEADER_BYTES + MESSAGE_HEADER_BYTES..];
        assert_eq!(sent, [&names[..], &arguments].concat());
    }
}
