//! A few lives of each kind, so that `cargo test` alone says something. `scripts/test` runs many more, in
//! release.

use karst_sim::{cluster, life, media};

/// Runs a life for each of some seeds and panics with the first that fails.
fn all(seeds: std::ops::Range<u64>, life: impl Fn(u64) -> Result<(), karst_sim::check::Violation>) {
    for seed in seeds {
        life(seed).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

#[test]
fn what_was_promised_survives_cuts_at_random_points() {
    all(0..24, |seed| life::at_random(seed, false).map(drop));
}

#[test]
fn what_was_promised_survives_a_cut_before_during_and_after_each_write() {
    all(2..3, |seed| life::at_every_write(seed).map(drop));
}

#[test]
fn no_fault_of_the_media_is_served() {
    all(0..2, |seed| media::life(seed).map(drop));
}

#[test]
fn a_cluster_keeps_its_promises_whatever_becomes_of_its_nodes_and_links() {
    all(0..40, |seed| cluster::life(seed, None, false).map(drop));
}

#[test]
fn a_cluster_lives_the_same_life_again() {
    let lived = || {
        format!(
            "{:?}",
            cluster::life(10, None, false).expect("seed 10 holds")
        )
    };
    assert_eq!(lived(), lived());
}

#[test]
fn a_seed_lives_the_same_life_again() {
    let lived = || format!("{:?}", life::at_random(7, false).expect("seed 7 holds"));
    assert_eq!(lived(), lived());
}
