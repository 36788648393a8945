//! Operations on lists and maps: tables of short cases, and a model that is slow and obvious.

mod called;
mod fuzz;
mod list;
mod map;
mod model;
mod path;
mod run;
mod select;
mod stand;
mod timing;
mod tree;
