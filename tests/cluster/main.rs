//! What several nodes promise together, seen from outside: real `karstd` processes that find each other, lose
//! their leader, come back, move, and are refused; and Karst's own client, which follows them.

#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for real processes on the real clock"
)]

mod background;
mod client;
mod data;
mod formation;
mod group;
mod island;
mod leader;
mod let_go;
mod linear;
mod load;
mod network;
mod operate;
mod planned;
mod sindex;
mod strong;
mod table;
mod takeover;
mod traffic;
mod wires;
