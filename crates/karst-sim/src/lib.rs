//! The real storage engine over made-up devices, and whole clusters of it over made-up links, in one thread from one
//! seed.
//!
//! A [`world::World`] is one node's storage (`karst-engine` over `karst-storage`, as shipped), its devices
//! ([`disk`]) and its clients ([`workload`]). Everything that happens in it, and when, follows from the
//! seed. The [`oracle`] knows what clients were promised; `check` holds one file for each thing that must
//! be true. A failing seed is printed and replays exactly:
//!
//! ```text
//! cargo run --release -p karst-sim -- --seeds 10000           random lives, cut at random points
//! cargo run --release -p karst-sim -- --seeds 1 --seed 4711   one of them again
//! cargo run --release -p karst-sim -- --cluster 10000         whole clusters: see `cluster`
//! ```
//!
//! What is not here: threads, the index and the log under real concurrency (`tests/node` has that), and real
//! devices and their caches.

pub mod check;
pub mod cluster;
pub mod crowd;
pub mod disk;
pub mod life;
pub mod media;
pub mod memory;
pub mod node;
pub mod oracle;
pub mod rng;
pub mod setup;
pub mod workload;
pub mod world;
