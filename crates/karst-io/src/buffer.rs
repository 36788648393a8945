//! Memory that devices read into and write from, and the index's address space.
//!
//! | type | owner | written | for |
//! |---|---|---|---|
//! | [`AlignedBuffer`] | one | freely | what a read fills |
//! | [`BufferPool`] | one core | | reuse of those |
//! | [`AppendBuffer`] | shared | once per byte | an open write block, read while filled |
//! | [`Slots`] | shared | | append buffers that outlive the process |
//! | [`Words`] | shared | atomically | counters and marks that outlive the process |
//! | [`Region`] | shared | by its user's rules | the index arena, write buffers; may outlive the process |
//!
//! All of it starts on a 4096-byte boundary, which satisfies direct I/O on every device, and all of
//! it is returned to the system on drop.

mod aligned;
mod append;
mod region;
mod slots;
mod words;

pub use aligned::{AlignedBuffer, BufferPool};
pub use append::AppendBuffer;
pub use region::Region;
pub use slots::{Notes, Slots};
pub use words::{Carver, Words};

/// Alignment of every buffer, in bytes: a page, and no device asks direct I/O for more.
pub const BUFFER_ALIGN: usize = 4096;
