//! The Aerospike client protocol: bytes in, borrowed views out; no I/O.
//!
//! Both ends of a connection are here. A server asks [`frame`] what follows on a stream, takes a
//! body apart with [`request`], [`batch`] or [`info`] and appends its answer with [`reply`] or
//! [`info`]. A client builds requests with [`command`] and reads answers with [`response`]. The
//! rest are the protocol's numbers: [`code`], [`field`], [`flags`], [`op`], [`particle`].
//!
//! ```text
//! bytes -> frame::FrameHeader -> [frame::inflate] -> request::Message -> kind, fields, ops
//!                                                          |-> batch::Batch -> rows, each a Message
//!                             -> info::commands
//! out   <- reply::ack, RecordReply, ReplyStream; info::InfoReply
//! ```
//!
//! Invariants
//! - No bytes, whoever sent them, make anything here panic, or allocate more than they are worth.
//! - Parsing a message allocates nothing; views borrow from the body.
//! - What is appended to a buffer is complete or taken out again.
//!
//! Absent on purpose: sockets, clocks, what operations do to values, and who may do what.

pub mod batch;
pub mod code;
pub mod command;
pub mod field;
pub mod flags;
pub mod frame;
pub mod info;
pub mod malformed;
pub mod op;
pub mod particle;
pub mod reply;
pub mod request;
pub mod response;

#[cfg(test)]
mod testing;
