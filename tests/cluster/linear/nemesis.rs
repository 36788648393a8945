//! What goes wrong, drawn from a seed: at most two faults at the same time, so that a majority may be lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::nodes::{NAMES, Nodes};

/// Faults at the same time.
const AT_ONCE: usize = 2;

/// The longest that most faults last.
const LASTS_MAX: Duration = Duration::from_secs(6);

/// The longest that a node is frozen. One of [`LONG_OF`] is frozen for longer than [`LASTS_MAX`].
const FROZEN_MAX: Duration = Duration::from_secs(60);

const LONG_OF: u32 = 4;

/// Pause between two looks at what is due.
const PAUSE: Duration = Duration::from_millis(20);

/// Pause before it is looked again whether all copies are complete.
const WHOLE_PAUSE: Duration = Duration::from_millis(200);

/// When an order that the cluster could not take is given again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the cluster may take to let all harm end.
const HEALED_MAX: Duration = Duration::from_secs(60);

/// The farthest that a clock is set ahead or behind.
const JUMP_MAX_MS: i64 = 2 * 3_600_000;

/// From one node to another.
type Way = (usize, usize);

/// Begins a fault.
type Begin = fn(&mut Nemesis) -> Begun;

/// The ways to cut, of two nodes among all.
type Ways = fn(Way, &[usize]) -> Vec<Way>;

/// A fault under way.
#[derive(Clone, Debug)]
enum Fault {
    Down(usize),
    Frozen(usize),
    Cut(Vec<Way>),
    /// How far it is ahead.
    Clock(usize, i64),
    Drained(usize),
}

/// How an attempt to do harm ended.
enum Begun {
    /// It goes on until it is ended.
    Lasts(Fault),
    /// It is over.
    Over,
    /// It cannot be done now.
    Impossible,
}

/// Kinds of faults: what they are called, and how they begin.
const KINDS: [(&str, Begin); 14] = [
    ("kill -9", |it| it.down(Nodes::kill)),
    ("power lost", Nemesis::power_lost),
    ("SIGTERM", |it| it.down(Nodes::stop)),
    ("SIGSTOP", Nemesis::freeze),
    ("SIGSTOP", Nemesis::freeze),
    ("one way cut", |it| it.cut(|pair, _| vec![pair])),
    ("link cut", |it| {
        it.cut(|(from, to), _| vec![(from, to), (to, from)])
    }),
    ("isolated", |it| {
        it.cut(|(alone, _), all| parted(&[alone], all))
    }),
    ("halves", Nemesis::halves),
    ("deaf", |it| it.cut(|(alone, _), all| deaf(alone, all))),
    ("clock", Nemesis::set_clock),
    ("rolling restart", Nemesis::rolling_restart),
    ("drain", Nemesis::drain),
    ("join or leave", Nemesis::join_or_leave),
];

/// Does harm.
pub(crate) struct Nemesis {
    pub(crate) nodes: Nodes,
    rng: StdRng,
    began: Instant,
    until: Instant,
    /// What is under way, and when it ends.
    faults: Vec<(Instant, Fault)>,
    /// How often each kind began.
    pub(crate) counts: BTreeMap<&'static str, u32>,
    /// What happened, and when.
    pub(crate) diary: Vec<String>,
}

fn ms(rng: &mut StdRng, from: u64, to: Duration) -> Duration {
    Duration::from_millis(rng.random_range(from..=to.as_millis() as u64))
}

/// The ways between some and the others, both ways.
fn parted(some: &[usize], all: &[usize]) -> Vec<Way> {
    let others = all.iter().filter(|at| !some.contains(at));
    let pairs = others.flat_map(|other| some.iter().map(|one| (*one, *other)));
    pairs
        .flat_map(|(one, other)| [(one, other), (other, one)])
        .collect()
}

/// All ways to one.
fn deaf(alone: usize, all: &[usize]) -> Vec<Way> {
    let others = all.iter().filter(|at| **at != alone);
    others.map(|other| (*other, alone)).collect()
}

impl Nemesis {
    pub(crate) fn new(nodes: Nodes, seed: u64) -> Nemesis {
        let began = Instant::now();
        Nemesis {
            nodes,
            rng: StdRng::seed_from_u64(seed),
            began,
            until: began,
            faults: vec![],
            counts: BTreeMap::new(),
            diary: vec![],
        }
    }

    /// Does harm for so long, and ends all of it.
    pub(crate) fn rage(&mut self, lasts: Duration) {
        self.began = Instant::now();
        self.until = self.began + lasts;
        let mut next = self.began + ms(&mut self.rng, 200, Duration::from_secs(1));
        while Instant::now() < self.until {
            self.end_those_due();
            if Instant::now() >= next {
                if self.faults.len() < AT_ONCE {
                    self.begin();
                }
                next = Instant::now() + ms(&mut self.rng, 200, Duration::from_millis(2500));
            }
            std::thread::sleep(PAUSE);
        }
        self.heal();
    }

    /// Ends all harm.
    pub(crate) fn heal(&mut self) {
        let deadline = Instant::now() + HEALED_MAX;
        while !self.faults.is_empty() {
            for (_, fault) in std::mem::take(&mut self.faults) {
                self.end(&fault);
            }
            assert!(Instant::now() < deadline, "nobody ends {:?}", self.faults);
            std::thread::sleep(PAUSE);
        }
        self.note("all is healed");
    }

    fn note(&mut self, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        self.diary.push(format!("{at:+8.3} s  {what}"));
    }

    fn begin(&mut self) {
        let (name, begin) = KINDS[self.rng.random_range(0..KINDS.len())];
        let at = self.diary.len();
        self.note(name);
        match begin(self) {
            Begun::Lasts(fault) => {
                self.note(&format!("{name} began: {}", told(&fault)));
                let lasts = self.lasts(&fault);
                self.faults.push((Instant::now() + lasts, fault));
            }
            Begun::Over => self.note(&format!("{name} is over")),
            Begun::Impossible => {
                self.diary.truncate(at);
                return;
            }
        }
        *self.counts.entry(name).or_default() += 1;
    }

    fn lasts(&mut self, fault: &Fault) -> Duration {
        let long = matches!(fault, Fault::Frozen(_)) && self.rng.random_ratio(1, LONG_OF);
        match long {
            true => ms(&mut self.rng, LASTS_MAX.as_millis() as u64, FROZEN_MAX),
            false => ms(&mut self.rng, 100, LASTS_MAX),
        }
    }

    fn end_those_due(&mut self) {
        let now = Instant::now();
        let (due, going_on) = std::mem::take(&mut self.faults)
            .into_iter()
            .partition(|(until, _)| *until <= now);
        self.faults = going_on;
        let due: Vec<(Instant, Fault)> = due;
        for (_, fault) in due {
            self.end(&fault);
        }
    }

    fn end(&mut self, fault: &Fault) {
        match fault {
            Fault::Drained(at) if !self.nodes.undo_drain(*at) => {
                let again = Instant::now() + AGAIN;
                self.faults.push((again, fault.clone()));
                return;
            }
            Fault::Drained(_) => {}
            Fault::Down(at) => self.nodes.start(*at),
            Fault::Frozen(at) => self.nodes.thaw(*at),
            Fault::Cut(_) => self.cut_what_is_cut(),
            Fault::Clock(at, _) => self.nodes.set_clock(*at, 0),
        }
        self.note(&format!("ended: {}", told(fault)));
    }

    fn cut_what_is_cut(&self) {
        let faults = self.faults.iter();
        let ways = faults.filter_map(|(_, fault)| match fault {
            Fault::Cut(ways) => Some(ways),
            Fault::Down(_) | Fault::Frozen(_) | Fault::Clock(_, _) | Fault::Drained(_) => None,
        });
        let ways: Vec<Way> = ways.flatten().copied().collect();
        self.nodes.cut(&ways);
    }

    /// A node that can answer and that nothing else is done to; every other time the one that leads.
    fn victim(&mut self) -> Option<usize> {
        let busy: Vec<usize> = self.faults.iter().flat_map(|(_, it)| hit(it)).collect();
        let mut free = self.nodes.up();
        free.retain(|at| !busy.contains(at));
        let leader = self.rng.random_bool(0.5).then(|| self.nodes.leader());
        match leader.flatten().filter(|leader| free.contains(leader)) {
            Some(leader) => Some(leader),
            None => free.choose(&mut self.rng).copied(),
        }
    }

    /// Whether a process may end. In memory it takes all that it holds with it: then others have to hold everything,
    /// or what was confirmed is lost for good.
    fn may_end(&self) -> bool {
        self.nodes.on_devices() || self.faults.is_empty() && self.nodes.are_whole()
    }

    fn down(&mut self, down: fn(&mut Nodes, usize)) -> Begun {
        let Some(at) = self.victim().filter(|_| self.may_end()) else {
            return Begun::Impossible;
        };
        down(&mut self.nodes, at);
        Begun::Lasts(Fault::Down(at))
    }

    fn power_lost(&mut self) -> Begun {
        match self.nodes.on_devices() {
            true => self.down(Nodes::lose_power),
            false => Begun::Impossible,
        }
    }

    fn freeze(&mut self) -> Begun {
        let Some(at) = self.victim() else {
            return Begun::Impossible;
        };
        self.nodes.freeze(at);
        Begun::Lasts(Fault::Frozen(at))
    }

    fn cut(&mut self, ways: Ways) -> Begun {
        let all = self.nodes.present();
        let Some(one) = self.victim() else {
            return Begun::Impossible;
        };
        let others: Vec<usize> = all.iter().copied().filter(|at| *at != one).collect();
        let Some(other) = others.choose(&mut self.rng) else {
            return Begun::Impossible;
        };
        self.begin_cut(ways((one, *other), &all))
    }

    fn begin_cut(&mut self, ways: Vec<Way>) -> Begun {
        for (from, to) in &ways {
            self.nodes.wires.cut_one_way(*from, *to);
        }
        Begun::Lasts(Fault::Cut(ways))
    }

    fn halves(&mut self) -> Begun {
        let mut all = self.nodes.present();
        all.shuffle(&mut self.rng);
        let some = all.len() / 2;
        let ways = parted(&all[..some], &all);
        self.begin_cut(ways)
    }

    fn set_clock(&mut self) -> Begun {
        let Some(at) = self.victim() else {
            return Begun::Impossible;
        };
        let limit = *[1_000, 60_000, JUMP_MAX_MS]
            .choose(&mut self.rng)
            .expect("there are some");
        let ahead = self.rng.random_range(-limit..=limit);
        self.nodes.set_clock(at, ahead);
        Begun::Lasts(Fault::Clock(at, ahead))
    }

    fn rolling_restart(&mut self) -> Begun {
        if !self.faults.is_empty() {
            return Begun::Impossible;
        }
        for at in self.nodes.present() {
            while Instant::now() < self.until && !self.may_end() {
                std::thread::sleep(WHOLE_PAUSE);
            }
            if Instant::now() < self.until {
                self.nodes.restart(at);
            }
        }
        Begun::Over
    }

    fn drain(&mut self) -> Begun {
        match self.victim() {
            Some(at) if self.nodes.drain(at) => Begun::Lasts(Fault::Drained(at)),
            Some(_) | None => Begun::Impossible,
        }
    }

    fn join_or_leave(&mut self) -> Begun {
        if let Some(at) = self.nodes.vacant() {
            self.nodes.join(at);
            return Begun::Over;
        }
        match self.victim() {
            Some(at) if self.faults.is_empty() => match self.nodes.leave(at) {
                true => Begun::Over,
                false => Begun::Lasts(Fault::Drained(at)),
            },
            Some(_) | None => Begun::Impossible,
        }
    }
}

/// Nodes that a fault is about.
fn hit(fault: &Fault) -> Vec<usize> {
    match fault {
        Fault::Down(at) | Fault::Frozen(at) | Fault::Clock(at, _) | Fault::Drained(at) => vec![*at],
        Fault::Cut(_) => vec![],
    }
}

fn told(fault: &Fault) -> String {
    match fault {
        Fault::Down(at) => format!("{} is down", NAMES[*at]),
        Fault::Frozen(at) => format!("{} is frozen", NAMES[*at]),
        Fault::Clock(at, ahead) => format!("{} is {ahead} ms ahead", NAMES[*at]),
        Fault::Drained(at) => format!("{} is drained", NAMES[*at]),
        Fault::Cut(ways) => {
            let ways = ways.iter();
            let ways: Vec<String> = ways
                .map(|(from, to)| format!("{}->{}", NAMES[*from], NAMES[*to]))
                .collect();
            format!("nothing arrives {}", ways.join(" "))
        }
    }
}
