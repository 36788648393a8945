//! The flag bytes of the protocol, each with a type of its own so that a bit of one byte cannot be
//! tested against another: four in the header of a data message, two in a batch.
//!
//! Unknown bits are kept as they came: they are neither an error nor an answer's business.

use std::ops::{BitOr, BitOrAssign};

/// Declares one flag byte with its named bits and the handful of operations they all share.
macro_rules! flag_byte {
    ($(#[$doc:meta])* $name:ident { $($(#[$bit_doc:meta])* $bit:ident = $value:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(transparent)]
        pub struct $name(pub u8);

        impl $name {
            /// No bit set.
            pub const NONE: $name = $name(0);
            $($(#[$bit_doc])* pub const $bit: $name = $name($value);)+

            /// Whether every bit of `bits` is set.
            #[inline]
            pub const fn contains(self, bits: $name) -> bool {
                self.0 & bits.0 == bits.0
            }

            /// Whether any bit of `bits` is set.
            #[inline]
            pub const fn intersects(self, bits: $name) -> bool {
                self.0 & bits.0 != 0
            }

            /// These flags with every bit of `bits` cleared.
            #[inline]
            #[must_use]
            pub const fn without(self, bits: $name) -> $name {
                $name(self.0 & !bits.0)
            }

            /// Only those flags that `bits` has too.
            #[inline]
            #[must_use]
            pub const fn only(self, bits: $name) -> $name {
                $name(self.0 & bits.0)
            }

            /// The flags of both; `|` in places that must be `const`.
            #[inline]
            #[must_use]
            pub const fn with(self, bits: $name) -> $name {
                $name(self.0 | bits.0)
            }
        }

        impl BitOr for $name {
            type Output = $name;
            #[inline]
            fn bitor(self, other: $name) -> $name {
                self.with(other)
            }
        }

        impl BitOrAssign for $name {
            #[inline]
            fn bitor_assign(&mut self, other: $name) {
                *self = self.with(other);
            }
        }
    };
}

flag_byte! {
    /// The first flag byte: reading, and what kind of message this is.
    Info1 {
        /// The request reads; set whenever any of its operations does, even in a write.
        READ = 0x01;
        /// Return every bin.
        GET_ALL = 0x02;
        /// The query is expected to be short.
        SHORT_QUERY = 0x04;
        /// The message is the parent of a batch.
        BATCH = 0x08;
        /// The write was shipped by cross-cluster replication.
        XDR = 0x10;
        /// Return metadata only, no bins.
        GET_NO_BINS = 0x20;
        /// Available mode: ask other holders of the record before answering.
        CONSISTENCY_LEVEL_ALL = 0x40;
        /// The client accepts a compressed answer.
        COMPRESS_RESPONSE = 0x80;
    }
}

flag_byte! {
    /// The second flag byte: writing.
    Info2 {
        /// The request writes.
        WRITE = 0x01;
        /// Delete the whole record (together with [`Info2::WRITE`]).
        DELETE = 0x02;
        /// Write only if the stored generation equals the header's.
        GENERATION = 0x04;
        /// Write only if the header's generation is greater than the stored one.
        GENERATION_GT = 0x08;
        /// The delete must leave a tombstone.
        DURABLE_DELETE = 0x10;
        /// Fail if the record exists.
        CREATE_ONLY = 0x20;
        /// A long query may read partitions that are not full yet.
        RELAX_AP_LONG_QUERY = 0x40;
        /// Answer with one result per operation, in the order of the request.
        RESPOND_ALL_OPS = 0x80;
    }
}

flag_byte! {
    /// The third flag byte: ends of streams, replacing, consistency.
    Info3 {
        /// Answer: the last message of a stream.
        LAST = 0x01;
        /// Request: answer without waiting for replicas.
        COMMIT_LEVEL_MASTER = 0x02;
        /// Answer: the partition in the generation field is done or failed. Request of a
        /// foreground query: must be set.
        PARTITION_DONE = 0x04;
        /// Fail if the record does not exist.
        UPDATE_ONLY = 0x08;
        /// Discard the bins there are; create the record if there is none.
        CREATE_OR_REPLACE = 0x10;
        /// Discard the bins there are; fail if there is no record.
        REPLACE_ONLY = 0x20;
        /// Strong-consistency read mode, low bit; see [`Info3::read_mode`].
        SC_READ_TYPE = 0x40;
        /// Strong-consistency read mode, high bit; see [`Info3::read_mode`].
        SC_READ_RELAX = 0x80;
    }
}

flag_byte! {
    /// The fourth flag byte: transactions.
    Info4 {
        /// Transaction: check the version the record was read at.
        TXN_VERIFY_READ = 0x01;
        /// Transaction: make the provisional record final.
        TXN_ROLL_FORWARD = 0x02;
        /// Transaction: restore the record as it was.
        TXN_ROLL_BACK = 0x04;
        /// Transaction: sent by the server that watches the transaction, not by a client.
        TXN_MONITOR = 0x08;
        /// Transaction: fail if this transaction holds the record already.
        TXN_ON_LOCKING_ONLY = 0x10;
        /// How much detail of an error the client wants: 0 none, 0x20 subcode, 0x40 message.
        ERROR_DETAIL = 0x60;
    }
}

flag_byte! {
    /// Flags of a whole batch, in front of its rows.
    BatchFlags {
        /// Rows of in-memory namespaces may run one after another where the batch was received.
        ALLOW_INLINE_MEMORY = 0x01;
        /// The same for namespaces on devices.
        ALLOW_INLINE_DEVICE = 0x02;
        /// Answer every row; an error of one row does not end the batch.
        RESPOND_ALL_KEYS = 0x04;
        /// When an error ends the batch, still answer the row that had it.
        RESPOND_FAILED_ROW = 0x08;
    }
}

flag_byte! {
    /// Flags of one batch row: which of its attributes follow.
    RowFlags {
        /// Nothing follows: the row does what the row before it does, to another record.
        REPEAT = 0x01;
        /// The second and third flag byte follow.
        EXTRA_INFO = 0x02;
        /// A u16 generation follows.
        GENERATION = 0x04;
        /// A u32 time to live follows.
        RECORD_TTL = 0x08;
        /// The fourth flag byte follows.
        INFO4 = 0x10;
    }
}

/// How a strong-consistency namespace answers a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScReadMode {
    /// Never back in time within one client's session; the default.
    Session,
    /// Never back in time for anyone.
    Linearize,
    /// Any replica may answer.
    AllowReplica,
    /// Even a partition that is not available may answer.
    AllowUnavailable,
}

impl Info3 {
    /// Both bits of the strong-consistency read mode.
    pub const SC_READ_BITS: Info3 = Info3(0xc0);

    /// The strong-consistency read mode these flags ask for.
    #[inline]
    pub const fn read_mode(self) -> ScReadMode {
        match (
            self.contains(Info3::SC_READ_RELAX),
            self.contains(Info3::SC_READ_TYPE),
        ) {
            (false, false) => ScReadMode::Session,
            (false, true) => ScReadMode::Linearize,
            (true, false) => ScReadMode::AllowReplica,
            (true, true) => ScReadMode::AllowUnavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_needs_every_bit_and_intersects_needs_one() {
        let flags = Info1::READ | Info1::BATCH;
        assert!(flags.contains(Info1::READ));
        assert!(!flags.contains(Info1::READ | Info1::GET_ALL));
        assert!(flags.intersects(Info1::READ | Info1::GET_ALL));
        assert!(!flags.intersects(Info1::GET_ALL));
        assert_eq!(flags.without(Info1::READ), Info1::BATCH);
        assert_eq!(flags.only(Info1::READ), Info1::READ);
    }

    #[test]
    fn read_mode_follows_both_bits() {
        assert_eq!(Info3(0x00).read_mode(), ScReadMode::Session);
        assert_eq!(Info3(0x40).read_mode(), ScReadMode::Linearize);
        assert_eq!(Info3(0x80).read_mode(), ScReadMode::AllowReplica);
        assert_eq!(Info3(0xc1).read_mode(), ScReadMode::AllowUnavailable);
    }
}
