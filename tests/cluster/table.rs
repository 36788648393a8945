//! What each fault costs: `scripts/fault-table` runs this, on nodes of the release profile, and prints a table.
//!
//! `KARST_ROUNDS` sets how often each fault happens, `KARST_FAULTS` which do: words of their names, with commas;
//! `KARST_FAULT_S` how many seconds a node is frozen, or a wire cut.
//! Every round has a cluster of its own. In every other round the fault hits the node that leads the group.

use std::time::{Duration, Instant};

use karst_tests::server::Server;
use rustix::process::{Signal, kill_process};
use tokio::task::block_in_place;

use crate::data::{wait_until_held_twice, wait_until_stable};
use crate::group::{View, agree, all_serve, seeds};
use crate::load::{Load, Tally};
use crate::operate::{drain, karst};
use crate::wires::{Wires, apart_aloud};

/// The fourth has a wire and is not started at first.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// How long clients write before the fault, and when it is over.
const AROUND: Duration = Duration::from_secs(1);

/// How many seconds a node is frozen, or a wire cut, unless something else is set.
const FAULT_S: u64 = 5;

/// How long a dead node stays so.
const DEAD: Duration = Duration::from_secs(3);

/// How long the others may take to let a dead node be removed.
const REMOVE_MAX: Duration = Duration::from_secs(30);

/// A cluster that something is about to happen to.
struct Scene {
    wires: Wires,
    servers: Vec<Server>,
    /// Which of them is hit.
    hit: usize,
}

impl Scene {
    fn all(&self) -> Vec<&Server> {
        self.servers.iter().collect()
    }

    fn names(&self) -> Vec<&str> {
        let name = |server: &Server| {
            let at = self.wires.at(server);
            NAMES[at]
        };
        self.servers.iter().map(name).collect()
    }

    fn settle(&self) {
        all_serve(&self.all(), &self.names());
        wait_until_stable(&self.all());
    }

    fn next(&self) -> usize {
        (self.hit + 1) % self.servers.len()
    }

    fn cut(&self, cut: impl FnOnce(&Wires)) {
        cut(&self.wires);
        std::thread::sleep(Duration::from_secs(fault_s()));
        self.wires.heal();
    }

    /// Has the others forget the node that is hit, which is down.
    fn remove(&self) {
        let asked = &self.servers[self.next()];
        let deadline = Instant::now() + REMOVE_MAX;
        loop {
            let output = karst(asked, &["remove", NAMES[self.hit], "--json"]);
            if output.status.success() {
                return;
            }
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(Instant::now() < deadline, "{why}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn kill(&mut self) {
        self.servers[self.hit].kill9();
        std::thread::sleep(DEAD);
        self.servers[self.hit].restart();
    }

    fn freeze(&mut self) {
        let pid = self.servers[self.hit].pid();
        kill_process(pid, Signal::STOP).expect("it is our own");
        std::thread::sleep(Duration::from_secs(fault_s()));
        kill_process(pid, Signal::CONT).expect("it is our own");
    }

    fn replace(&mut self) {
        self.servers[self.hit].kill9();
        self.remove();
        let others = seeds(&self.servers);
        let mut fresh = self.wires.server(self.hit, 3);
        fresh.reconfigure(|spec| spec.set("cluster", "seeds", &others));
        fresh.restart();
        self.servers[self.hit] = fresh;
    }

    fn restart_drained(&mut self) {
        drain(&self.servers, self.hit);
        self.servers[self.hit].stop();
        self.servers[self.hit].restart();
        self.servers[self.hit].karst(&["drain", NAMES[self.hit], "--undo", "--json"]);
    }

    fn restart_all(&mut self) {
        for _ in 0..self.servers.len() {
            self.servers[self.hit].stop();
            self.servers[self.hit].restart();
            self.settle();
            self.hit = self.next();
        }
    }

    fn add(&mut self) {
        let others = seeds(&self.servers);
        let mut joins = self.wires.server(3, 3);
        joins.reconfigure(|spec| spec.set("cluster", "seeds", &others));
        joins.restart();
        self.servers.push(joins);
    }

    fn remove_drained(&mut self) {
        drain(&self.servers, self.hit);
        self.servers[self.hit].stop();
        self.remove();
        self.servers.remove(self.hit);
        let left = self.names();
        agree(&self.all(), |view| view.nodes_in("serving") == left);
    }
}

fn setting(name: &str, usual: u64) -> u64 {
    let set = std::env::var(name).ok().and_then(|text| text.parse().ok());
    set.unwrap_or(usual)
}

fn fault_s() -> u64 {
    setting("KARST_FAULT_S", FAULT_S)
}

/// A name, and what happens.
type Fault = (&'static str, fn(&mut Scene));

const FAULTS: [Fault; 10] = [
    ("kill -9, back after 3 s", Scene::kill),
    ("SIGSTOP, SIGCONT", Scene::freeze),
    ("a node is not heard by another", |scene| {
        scene.cut(|wires| wires.cut_one_way(scene.hit, scene.next()));
    }),
    ("two nodes do not hear each other", |scene| {
        scene.cut(|wires| wires.cut(scene.hit, scene.next()));
    }),
    ("halves: one of three cut off", |scene| {
        let rest = [scene.next(), (scene.hit + 2) % 3];
        scene.cut(|wires| wires.part(&[&[scene.hit], &rest]));
    }),
    ("replaced with an empty disk", Scene::replace),
    ("drain, SIGTERM, start", Scene::restart_drained),
    ("SIGTERM, start: all, one by one", Scene::restart_all),
    ("node added", Scene::add),
    ("node drained, stopped, removed", Scene::remove_drained),
];

/// What a round came to.
#[derive(Clone, Copy, Debug)]
struct Round {
    tally: Tally,
    lost: usize,
    /// From the end of the fault until nothing is on its way.
    settled: Duration,
}

async fn round(wires: &Wires, number: usize, fault: fn(&mut Scene)) -> Round {
    let mut scene = block_in_place(|| {
        let servers = wires.formed(3);
        let hit = 0;
        let scene = Scene {
            wires: wires.clone(),
            servers,
            hit,
        };
        scene.settle();
        scene
    });
    let leader = View::of(&scene.servers[0]).leader;
    let leads = NAMES.iter().position(|name| *name == leader);
    scene.hit = (leads.expect("one of them leads") + number) % 3;
    let mut load = Load::writing(&scene.all(), 4, number as u64).await;
    let running = load.start();
    tokio::time::sleep(AROUND).await;
    block_in_place(|| fault(&mut scene));
    let over = Instant::now();
    let settled = block_in_place(|| {
        scene.settle();
        over.elapsed()
    });
    tokio::time::sleep(AROUND).await;
    load.end(running).await;
    block_in_place(|| scene.settle());
    let (records, lost) = load.look(&scene.all()).await;
    lost.iter().for_each(|why| eprintln!("{why}"));
    block_in_place(|| wait_until_held_twice(&scene.all(), records));
    let tally = load.tally;
    load.close().await;
    Round {
        tally,
        lost: lost.len(),
        settled,
    }
}

const HEAD: &str = "| fault | rounds | acknowledged | in doubt | lost | unavailable ms, median | worst | settled s, worst |
|---|---|---|---|---|---|---|---|";

fn row(name: &str, rounds: &[Round]) -> String {
    let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum::<u64>();
    let mut silences: Vec<u128> = rounds
        .iter()
        .map(|it| it.tally.silence.as_millis())
        .collect();
    silences.sort_unstable();
    let settled = rounds.iter().map(|it| it.settled).max();
    format!(
        "| {name} | {} | {} | {} | {} | {} | {} | {:.1} |",
        rounds.len(),
        sum(|it| it.tally.acknowledged),
        sum(|it| it.tally.failed),
        sum(|it| it.lost as u64),
        silences[rounds.len() / 2],
        silences[rounds.len() - 1],
        settled.unwrap_or_default().as_secs_f64()
    )
}

fn chosen(name: &str) -> bool {
    let words = std::env::var("KARST_FAULTS").unwrap_or_default();
    words.split(',').any(|word| name.contains(word))
}

#[test]
#[ignore = "scripts/fault-table runs it"]
fn no_fault_costs_an_acknowledged_write() {
    apart_aloud(|| {
        let rounds = setting("KARST_ROUNDS", 3) as usize;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime can be had");
        let wires = Wires::new(&NAMES);
        let (mut rows, mut lost) = (vec![HEAD.to_owned()], 0);
        for (name, fault) in FAULTS.iter().filter(|(name, _)| chosen(name)) {
            let each = (0..rounds).map(|number| {
                eprintln!("{name}, round {} of {rounds}", number + 1);
                runtime.block_on(async { round(&wires, number, *fault).await })
            });
            let rounds: Vec<Round> = each.collect();
            lost += rounds.iter().map(|it| it.lost).sum::<usize>();
            rows.push(row(name, &rounds));
            eprintln!("{}", rows[rows.len() - 1]);
        }
        println!(
            "\nThree nodes, four writers; SIGSTOP and cuts last {} s; a client gives a write up after 4 s.\n\n{}\n",
            fault_s(),
            rows.join("\n")
        );
        assert_eq!(lost, 0);
    });
}
