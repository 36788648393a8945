//! The harness of the tests that start whole processes.
//!
//! [`server`] starts and stops one real `karstd` and owns all that belongs to it: its folder, its
//! ports, its process, its log. [`spec`] says how it is configured. [`raw`] speaks the client
//! protocol a frame at a time, for tests that must send what no client would. [`binary`] finds the
//! program under test, [`process`] what it has spent, [`breakable`] is a device that fails, [`venv`] the
//! official Python client. [`linear`] checks what clients were told.
//!
//! What always holds: a test ends only processes that it started; everything it leaves is in a
//! temporary folder; every wait has a limit, and running into it is a failure that prints the end of
//! the server's log.

#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for real processes on the real clock"
)]

pub mod binary;
pub mod breakable;
pub mod linear;
pub mod process;
pub mod raw;
pub mod server;
pub mod spec;
pub mod venv;

pub use raw::{Connection, Frame};
pub use server::Server;
pub use spec::{Io, Namespace, ServerSpec};
