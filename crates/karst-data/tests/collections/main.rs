//! Operations on lists and maps: tables of short cases, and a model that is slow and obvious.

mod list;
mod map;
mod path;
mod run;
mod select;
mod tree;
