//! Known-wrong behaviour is seen. `cargo test -p karst-sim --features mutations`.

use std::process::Command;

use karst_data::mutation::Mutation;

/// Lives within which each planted behaviour is caught.
const SEEDS: &str = "2000";

#[test]
fn every_planted_behaviour_is_caught() {
    let missed = Mutation::ALL.into_iter().filter(|mutation| {
        let mut sim = Command::new(env!("CARGO_BIN_EXE_karst-sim"));
        sim.args(["--plant", &format!("{mutation:?}")]);
        let mode = match mutation.is_of_strong() {
            true => "cp",
            false => "ap",
        };
        match mutation.is_of_cluster() {
            true => sim.args(["--cluster", SEEDS, "--cluster-mode", mode]),
            false => sim.args(["--seeds", SEEDS, "--media", "2000"]),
        };
        let output = sim.output().expect("the simulator can be run");
        let text = String::from_utf8_lossy(&output.stdout);
        !text.lines().any(|line| line.starts_with("seed "))
    });
    assert_eq!(missed.collect::<Vec<_>>(), []);
}
