//! What `deploy/` promises: that compose file, manifests, image and unit agree with each other and with what a node
//! is configured to do. All of it is read from the files and needs no network; where `docker-compose` or `kubectl`
//! are there, they have to accept the files as well, and where they are not a line says what was left out.
//!
//! `cluster` brings three nodes up in containers and is run only when it is asked for, with `KARST_DEPLOY=1`: it
//! compiles static binaries.

#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for real containers on the real clock"
)]

mod cluster;
mod compose;
mod files;
mod image;
mod kubernetes;
mod seccomp;
mod unit;
