//! A few lives of each kind, so that `cargo test` alone says something. `scripts/test` runs many more, in
//! release.

use karst_sim::cluster::setup::{Consistency, Wanted};
use karst_sim::{cluster, life, media};

/// Runs a life for each of some seeds and panics with the first that fails.
fn all(
    seeds: std::ops::Range<u64>,
    mut life: impl FnMut(u64) -> Result<(), karst_sim::check::Violation>,
) {
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
    all(0..40, |seed| {
        cluster::life(seed, &Wanted::default(), false).map(drop)
    });
}

#[test]
fn what_was_confirmed_outlives_whatever_becomes_of_devices_or_is_told_to_be_lost() {
    let strong = Wanted {
        consistency: Some(Consistency::Strong),
        seconds: Some(4),
    };
    let mut on_devices = 0;
    all(0..20, |seed| {
        let tally = cluster::life(seed, &strong, false)?;
        on_devices += tally.device_lives;
        Ok(())
    });
    assert!(on_devices >= 5);
}

#[test]
fn a_cluster_lives_the_same_life_again() {
    for consistency in [Consistency::Available, Consistency::Strong] {
        let wanted = Wanted {
            consistency: Some(consistency),
            seconds: Some(2),
        };
        for seed in 10..12 {
            let lived = || {
                format!(
                    "{:?}",
                    cluster::life(seed, &wanted, false).expect("it holds")
                )
            };
            assert_eq!(lived(), lived());
        }
    }
}

#[test]
fn a_seed_lives_the_same_life_again() {
    let lived = || format!("{:?}", life::at_random(7, false).expect("seed 7 holds"));
    assert_eq!(lived(), lived());
}
