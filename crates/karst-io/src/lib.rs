//! What can be asked of a device, and who asks the kernel for it.
//!
//! Decision crates describe device work as [`op::Op`] values over memory from [`buffer`] and are
//! fed [`op::Completion`]s. A data core owns one [`Queue`], which carries the operations out: an
//! io_uring where the kernel grants one, a few threads where it does not. Both keep the same
//! promises:
//!
//!   one completion per accepted operation, in any order, with the ticket it was submitted under
//!   an operation is complete or failed, never partly done: short transfers are continued here
//!   memory an operation touches is owned by the queue until its completion is reaped
//!   at most `depth` operations are in flight; one more is handed back, not queued
//!   the queue's event is signalled whenever there is something new to reap
//!
//! Absent on purpose: placement, checksums, retries of a failed write, and any knowledge of what
//! the bytes mean. A failure is reported once and the caller decides what the device is still
//! worth.
//!
//! Linux only. With [`clock`], this is the only crate below the node that reads clocks, opens
//! files, starts threads or makes system calls.

pub mod buffer;
pub mod clock;
#[expect(
    clippy::disallowed_methods,
    reason = "opening waits for the lock of a process that is ending"
)]
pub mod device;
mod event;
mod flight;
mod mapping;
pub mod op;
pub mod pool;
mod queue;
pub mod ring;
pub mod shm;
#[cfg(feature = "tokio")]
pub mod wait;

pub use queue::{Queue, QueueChoice, QueueKind};
