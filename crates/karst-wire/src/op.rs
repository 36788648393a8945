//! Operation codes: what is done to one bin of a record.

/// Longest bin name in bytes.
pub const BIN_NAME_BYTES_MAX: usize = karst_data::bin::NAME_BYTES_MAX;

/// Most operations one request may hold.
pub const OPS_MAX: u16 = 32768;

/// Declares the known codes once, so that both directions of the table agree.
macro_rules! op_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $kind:ident;)+) => {
        /// What an operation does to its bin.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum OpCode {
            $($(#[$doc])* $name,)+
            /// A number this table does not know. Servers answer such an operation with
            /// [`crate::code::ResultCode::Parameter`].
            Unknown(u8),
        }

        impl OpCode {
            /// Every code that has a name, in ascending order of its number.
            pub const KNOWN: &'static [OpCode] = &[$(OpCode::$name),+];

            /// The code with this number.
            #[inline]
            pub const fn from_u8(number: u8) -> OpCode {
                match number {
                    $($number => OpCode::$name,)+
                    other => OpCode::Unknown(other),
                }
            }

            /// The number on the wire.
            #[inline]
            pub const fn as_u8(self) -> u8 {
                match self {
                    $(OpCode::$name => $number,)+
                    OpCode::Unknown(number) => number,
                }
            }

            /// Whether the operation reads, writes, or is unknown.
            #[inline]
            pub const fn kind(self) -> OpKind {
                match self {
                    $(OpCode::$name => OpKind::$kind,)+
                    OpCode::Unknown(_) => OpKind::Unknown,
                }
            }
        }
    };
}

/// Which half of a request an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// Leaves the record as it is.
    Read,
    /// May change the record.
    Write,
    /// Not known; a request that holds it is refused by whoever runs it.
    Unknown,
}

op_codes! {
    /// Read a bin; with an empty name, every bin.
    Read = 1, Read;
    /// Set a bin; the null particle removes it.
    Write = 2, Write;
    /// Read from a list or map.
    CdtRead = 3, Read;
    /// Change a list or map.
    CdtModify = 4, Write;
    /// Add to an integer or double.
    Increment = 5, Write;
    /// Evaluate an expression; the name only labels the result.
    ExpressionRead = 7, Read;
    /// Evaluate an expression and store the result in the named bin.
    ExpressionModify = 8, Write;
    /// Append to a string or blob.
    Append = 9, Write;
    /// Prepend to a string or blob.
    Prepend = 10, Write;
    /// Renew the record's expiry; has no name and no value.
    Touch = 11, Write;
    /// Read bits of a blob.
    BitsRead = 12, Read;
    /// Change bits of a blob.
    BitsModify = 13, Write;
    /// Remove every bin; has no name and no value.
    DeleteAll = 14, Write;
    /// Read a HyperLogLog sketch.
    HllRead = 15, Read;
    /// Change a HyperLogLog sketch.
    HllModify = 16, Write;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_the_code() {
        for number in 0..=u8::MAX {
            assert_eq!(OpCode::from_u8(number).as_u8(), number);
        }
        assert_eq!(OpCode::KNOWN.len(), 15);
        assert!(
            OpCode::KNOWN
                .iter()
                .all(|code| code.kind() != OpKind::Unknown)
        );
        assert_eq!(OpCode::from_u8(6), OpCode::Unknown(6));
        assert_eq!(OpCode::from_u8(17).kind(), OpKind::Unknown);
    }
}
