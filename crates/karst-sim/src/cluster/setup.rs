//! What a cluster looks like, drawn from its seed: nodes, copies, keys, delays, and which faults it meets.
//!
//! Not every run meets everything: what is left out gives the rest room ("swarm testing").

use crate::rng::Rng;

/// How often each fault comes, as parts of the sum of all.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Two nodes do not reach each other for a while, both ways or one.
    pub cut: u32,
    /// The nodes fall apart into two groups.
    pub halves: u32,
    /// One node reaches nobody, for so long that it goes on alone.
    pub island: u32,
    /// A connection ends, and with it what was on its way.
    pub snap: u32,
    /// A process ends at once; its memory outlives it.
    pub crash: u32,
    /// A process ends at once, and its memory with it.
    pub lose: u32,
    /// A process stands still.
    pub pause: u32,
    /// A node is drained, or is to stay after all.
    pub drain: u32,
    /// A node comes that was never there.
    pub join: u32,
    /// A process ends in order.
    pub stop: u32,
    /// Another node leads the group.
    pub elect: u32,
    /// Somebody sets the time of day.
    pub jump: u32,
    /// Of a machine, or of some of them at once, power goes.
    pub power: u32,
    /// A node comes back with blank devices.
    pub wipe: u32,
    /// What is durable is damaged while nobody runs.
    pub damage: u32,
    /// A node's devices are slow for a while.
    pub slow: u32,
    /// A write fails, and with it the device.
    pub fail: u32,
    /// A node's devices are full for a while.
    pub full: u32,
    /// All devices hang for a while.
    pub stall: u32,
}

impl Pace {
    fn draw(rng: &mut Rng, volatile: bool) -> Pace {
        let mut some = |weight: u32| if rng.one_in(3) { 0 } else { weight };
        Pace {
            cut: some(6),
            halves: some(3),
            island: some(2),
            snap: some(8),
            crash: if volatile { 0 } else { some(4) },
            lose: if volatile { 4 } else { 0 },
            pause: some(5),
            drain: some(2),
            join: some(2),
            stop: some(2),
            elect: 1,
            jump: 0,
            power: 0,
            wipe: 0,
            damage: 0,
            slow: 0,
            fail: 0,
            full: 0,
            stall: 0,
        }
    }

    /// With what becomes of devices.
    fn with_devices(self, rng: &mut Rng) -> Pace {
        let mut some = |weight: u32| if rng.one_in(3) { 0 } else { weight };
        Pace {
            power: some(6),
            wipe: some(1),
            damage: some(2),
            slow: some(4),
            fail: some(1),
            full: some(2),
            stall: some(2),
            ..self
        }
    }

    /// As weights, in the order of the fields.
    pub fn weights(&self) -> [u32; 19] {
        [
            self.cut,
            self.halves,
            self.island,
            self.snap,
            self.crash,
            self.lose,
            self.pause,
            self.drain,
            self.join,
            self.stop,
            self.elect,
            self.jump,
            self.power,
            self.wipe,
            self.damage,
            self.slow,
            self.fail,
            self.full,
            self.stall,
        ]
    }
}

/// What the namespace promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Every node that is reached serves, and copies are merged ("AP").
    Available,
    /// What was acknowledged outlives any fault, and reads never go back ("CP").
    Strong,
}

/// See [the module](self).
#[derive(Clone, Debug)]
pub struct Setup {
    /// What the namespace promises.
    pub consistency: Consistency,
    /// Nodes at the beginning.
    pub nodes: usize,
    /// Copies of each record.
    pub replication_factor: u8,
    /// Partitions in play.
    pub partitions: usize,
    /// The first of them, of those that the balancer gives out.
    pub first_partition: usize,
    /// Clients.
    pub clients: usize,
    /// Keys of each client; of all of them together where consistency is strong.
    pub keys: usize,
    /// Longest pause of a client between two requests.
    pub think_us_max: u64,
    /// Milliseconds by which everybody's clock goes on at once.
    pub tick_ms: u64,
    /// Typical time of a message on its way.
    pub delay_us: u64,
    /// One message in so many takes much longer.
    pub slow_one_in: u64,
    /// Whether ways are cut one way only: then a node may be heard by the leader, and not learn what has changed.
    pub one_way: bool,
    /// How long nothing has to have moved before deletes are forgotten: longer than a node may be heard so.
    pub rest_us: u64,
    /// Within this every block is filled anew, so that no older copy of what was deleted is left: longer than a write may be
    /// on its way.
    pub turnover_us: u64,
    /// Whether memory is gone with its process.
    pub volatile: bool,
    /// By how many percent a node's clock may be too fast or too slow.
    pub drift: u64,
    /// How long faults go on.
    pub faults_us: u64,
    /// Longest pause between two faults.
    pub calm_us_max: u64,
    /// How often each fault comes.
    pub pace: Pace,
    /// The devices of each node, if they have any.
    pub devices: Option<crate::setup::Setup>,
    /// How long a device takes for a write, at most.
    pub commit_us: u64,
    /// One request between nodes in so many comes twice; 0 for none.
    pub doubled_one_in: u64,
}

/// What is asked for beside the seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only clusters of this kind.
    pub consistency: Option<Consistency>,
    /// Faults go on for so many seconds.
    pub seconds: Option<u64>,
}

impl Setup {
    /// Draws one, as it is asked for.
    pub fn draw(rng: &mut Rng, wanted: &Wanted) -> Setup {
        let drawn = *rng.pick(&[Consistency::Available, Consistency::Strong]);
        let drawn = match wanted.consistency.unwrap_or(drawn) {
            Consistency::Available => Setup::available(rng),
            Consistency::Strong => Setup::strong(rng),
        };
        let asked_us = wanted.seconds.map(|seconds| seconds * 1_000_000);
        Setup {
            faults_us: asked_us.unwrap_or(drawn.faults_us),
            ..drawn
        }
    }

    /// Whether the namespace is strongly consistent.
    pub fn is_strong(&self) -> bool {
        self.consistency == Consistency::Strong
    }

    fn strong(rng: &mut Rng) -> Setup {
        let available = Setup::available(rng);
        let strong = Setup {
            consistency: Consistency::Strong,
            replication_factor: *rng.pick(&[2, 3, 3]),
            keys: rng.between(1, 6) as usize,
            rest_us: match available.one_way {
                true => 25_000_000,
                false => *rng.pick(&[2_000_000, 6_000_000]),
            },
            turnover_us: 4_000_000, // longer than a write may be on its way until it is known who lacks it
            drift: *rng.pick(&[0, 1, 3]),
            pace: Pace {
                jump: *rng.pick(&[0, 3]),
                ..available.pace
            },
            doubled_one_in: *rng.pick(&[0, 20, 200]),
            ..available
        };
        if strong.volatile || rng.one_in(3) {
            return strong;
        }
        Setup {
            devices: Some(crate::setup::Setup::of_strong_node(rng)),
            commit_us: *rng.pick(&[100, 500, 5_000, 20_000]),
            pace: strong.pace.with_devices(rng),
            ..strong
        }
    }

    fn available(rng: &mut Rng) -> Setup {
        let (volatile, one_way) = (rng.one_in(4), rng.one_in(2));
        Setup {
            consistency: Consistency::Available,
            drift: 0,
            nodes: rng.between(3, 5) as usize,
            replication_factor: if rng.one_in(3) { 3 } else { 2 },
            partitions: rng.between(1, 5) as usize,
            first_partition: rng.below(4000) as usize,
            clients: rng.between(2, 5) as usize,
            keys: rng.between(2, 8) as usize,
            think_us_max: *rng.pick(&[1_000, 20_000, 100_000]),
            tick_ms: *rng.pick(&[1, 1, 5, 20, 100]),
            delay_us: *rng.pick(&[100, 500, 2_000]),
            slow_one_in: *rng.pick(&[20, 100, 1000]),
            one_way,
            rest_us: match one_way {
                true => 25_000_000,
                false => *rng.pick(&[4_000_000, 6_000_000]), // a lost node may count as alive for three seconds
            },
            turnover_us: *rng.pick(&[1_400_000, 6_000_000]),
            volatile,
            faults_us: rng.between(2, 20) * 1_000_000,
            calm_us_max: *rng.pick(&[200_000, 1_000_000, 3_000_000]),
            pace: Pace::draw(rng, volatile),
            devices: None,
            commit_us: 0,
            doubled_one_in: 0,
        }
    }
}
