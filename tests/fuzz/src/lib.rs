//! The bodies of the fuzz targets: one plain function for each parser that meets foreign bytes.
//!
//! Two runners share them. libFuzzer (`fuzz_targets/`) searches with coverage, for hours if wanted; the
//! test `fuzz` of karst-tests replays the committed corpus and mutates it for a few seconds on every
//! change. A target returns or panics, and a panic is a bug: in the parser if it stems from there, in
//! what the parser promises if it stems from an assertion here.
//!
//! What every target asserts beyond "no panic"
//!   what was accepted can be written again, and reads back as the same thing
//!   iterators end, and hand out nothing that is not in the input
//!   what is allocated is bounded by the input, never by a number that the input claims

pub mod block;
pub mod call;
pub mod cdt;
pub mod collection;
pub mod expression;
pub mod geo;
pub mod info;
pub mod record;
pub mod request;
pub mod response;
