//! Whole lives of a namespace: work, stop, start, check, and again.

use crate::check::Violation;
use crate::rng::Rng;
use crate::setup::Setup;
use crate::world::{Plan, Stop, Tally, When, World};

/// Times that a node stops in a life, at most.
const STOPS_MAX: u64 = 6;

/// Lives one life of a seed, cut at random points; `told` prints what happens in it.
///
/// # Errors
/// When a promise is broken.
pub fn at_random(seed: u64, told: bool) -> Result<Tally, Violation> {
    let mut world = World::new(seed)?;
    world.told = told;
    world.ends_half_way = true;
    for _ in 0..world.rng.between(2, STOPS_MAX) {
        let turns = world.rng.between(100, 2500);
        world.run(turns)?;
        if world.rng.one_in(4) {
            world.rest()?;
            world.check_rest()?;
        }
        let stop = if world.rng.one_in(5) {
            Stop::Kill
        } else {
            Stop::Power
        };
        world.stop(stop)?;
    }
    Ok(world.tally())
}

/// Lives the same life once for each device write of it and each moment around that write, and cuts the
/// power exactly there; then it goes on for a while and is cut again.
///
/// # Errors
/// When a promise is broken. The violation names the write and the moment.
pub fn at_every_write(seed: u64) -> Result<Tally, Violation> {
    let mut rng = Rng::from_seed(seed);
    let mut setup = Setup::draw(&mut rng);
    (setup.block_bytes, setup.sector_bytes) = (8 << 10, 512); // so that blocks are used again soon
    let turns = rng.between(150, 700);
    let mut tally = Tally::default();
    let mut whole = World::of(setup.clone(), rng.clone())?;
    whole.run(turns)?;
    for write in 1..=whole.tally().writes {
        for when in When::all() {
            let plan = Plan { write, when };
            let mut world = World::of(setup.clone(), rng.clone())?;
            world.plan = Some(plan);
            let lived = cut_once(&mut world, turns);
            lived.map_err(|violation| Violation {
                what: format!("{plan:?}: {}", violation.what),
                ..violation
            })?;
            tally.add(&world.tally());
        }
    }
    Ok(tally)
}

fn cut_once(world: &mut World, turns: u64) -> Result<(), Violation> {
    world.run(turns)?;
    world.stop(Stop::Power)?;
    world.run(80)?;
    world.stop(Stop::Power)
}
