//! Nodes that do not hear each other, one way or both, two of them or all, while clients write to every one of
//! them. Whoever goes on alone is merged: nothing that was acknowledged is lost, and copies are equal again.

use std::time::{Duration, Instant};

use karst_tests::server::Server;

use crate::data::{wait_until_held_twice, wait_until_stable};
use crate::group::{agree, all_serve};
use crate::load::Load;
use crate::wires::{Wires, apart};

/// How long clients write before a wire is cut.
const AROUND: Duration = Duration::from_millis(500);

/// How long they go on when all hear all again.
const HEALED: Duration = Duration::from_secs(2);

/// A node that hears nobody goes on alone after four suspicion times, 3.2 s.
const CUT: Duration = Duration::from_millis(4200);

/// Far longer than it takes to give up one of two that do not hear each other.
const LONG_CUT: Duration = Duration::from_secs(12);

/// How long a link may be kept on which nothing arrives.
const GIVEN_UP_MAX: Duration = Duration::from_secs(8);

/// One way to damage wires.
type Cut<'a> = (&'a str, &'a dyn Fn(&Wires));

/// Cuts wires as told, in the first way that is given, under load, and looks at every key and copy afterwards.
/// With `KARST_CUTS` so many times, in one way after the other.
fn survives(names: &[&str], cuts: &[Cut]) {
    let times = std::env::var("KARST_CUTS").ok();
    let times: usize = times.and_then(|text| text.parse().ok()).unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime can be had").block_on(async {
        let wires = Wires::new(names);
        let servers = wires.formed(names.len());
        let all: Vec<&Server> = servers.iter().collect();
        all_serve(&all, names);
        wait_until_stable(&all);
        let mut load = Load::strict(&all, 4, 21).await;
        for (what, cut) in cuts.iter().cycle().take(times) {
            once(&wires, &all, names, &mut load, cut).await;
            println!(
                "{what}: so far {} acknowledged, {} in doubt, none lost; longest silence {:?}",
                load.tally.acknowledged, load.tally.failed, load.tally.silence
            );
        }
        load.close().await;
    });
}

async fn once(
    wires: &Wires,
    all: &[&Server],
    names: &[&str],
    load: &mut Load,
    cut: &dyn Fn(&Wires),
) {
    let running = load.start();
    tokio::time::sleep(AROUND).await;
    tokio::task::block_in_place(|| cut(wires));
    tokio::time::sleep(CUT).await;
    tokio::task::block_in_place(|| wires.heal());
    let healed = Instant::now();
    tokio::time::sleep(HEALED).await;
    load.end(running).await;
    tokio::task::block_in_place(|| {
        all_serve(all, names);
        wait_until_stable(all);
    });
    eprintln!("all is settled {:?} after", healed.elapsed());
    let records = load.check(all).await;
    assert!(records > 0);
    tokio::task::block_in_place(|| wait_until_held_twice(all, records));
}

const THREE: [&str; 3] = ["a", "b", "c"];

#[test]
fn two_nodes_that_do_not_hear_each_other_lose_no_acknowledged_write() {
    apart(|| {
        let cuts: [Cut; 3] = [
            ("a is not heard by b", &|wires| wires.cut_one_way(0, 1)),
            ("a and b are parted", &|wires| wires.cut(0, 1)),
            ("b is not heard by a", &|wires| wires.cut_one_way(1, 0)),
        ];
        survives(&THREE, &cuts);
    });
}

/// One of the two is given up, though the leader hears both.
#[test]
fn two_nodes_that_do_not_hear_each_other_hold_up_writes_for_seconds_only() {
    apart(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        runtime.expect("a runtime can be had").block_on(async {
            let wires = Wires::new(&THREE);
            let servers = wires.formed(3);
            let all: Vec<&Server> = servers.iter().collect();
            let leader = all_serve(&all, &THREE).leader;
            let pair: Vec<usize> = (0..3).filter(|node| THREE[*node] != leader).collect();
            wait_until_stable(&all);
            let mut load = Load::strict(&all, 4, 22).await;
            let running = load.start();
            tokio::time::sleep(AROUND).await;
            tokio::task::block_in_place(|| wires.cut(pair[0], pair[1]));
            tokio::time::sleep(LONG_CUT).await;
            load.end(running).await;
            let silence = load.tally.silence;
            assert!(silence < LONG_CUT, "no write was taken for {silence:?}");
            tokio::task::block_in_place(|| {
                let leads = THREE.iter().position(|name| *name == leader);
                let asked = leads.map(|at| all[at]).expect("one of them leads");
                agree(&[asked], |view| view.nodes_in("serving").len() == 2);
                wires.heal();
                all_serve(&all, &THREE);
                wait_until_stable(&all);
            });
            let records = load.check(&all).await;
            tokio::task::block_in_place(|| wait_until_held_twice(&all, records));
            load.close().await;
        });
    });
}

#[test]
fn a_node_that_is_parted_from_two_is_merged_with_them() {
    apart(|| {
        let cuts: [Cut; 3] = [
            ("a is alone", &|wires| wires.part(&[&[0], &[1, 2]])),
            ("all are alone", &|wires| wires.part(&[&[0], &[1], &[2]])),
            ("c is alone", &|wires| wires.part(&[&[0, 1], &[2]])),
        ];
        survives(&THREE, &cuts);
    });
}

#[test]
fn two_halves_of_four_nodes_are_merged() {
    apart(|| {
        let cuts: [Cut; 2] = [
            ("two and two", &|wires| wires.part(&[&[0, 1], &[2, 3]])),
            ("two, one and one", &|wires| {
                wires.part(&[&[0, 2], &[1], &[3]]);
            }),
        ];
        survives(&["a", "b", "c", "d"], &cuts);
    });
}

/// The link between two nodes that does not come up by itself: what was sent is sent again at ever longer intervals.
#[test]
fn a_link_on_which_nothing_arrives_is_given_up_and_made_anew() {
    apart(|| {
        let wires = Wires::new(&THREE);
        let mut servers: Vec<Server> = wires.prepared(3);
        for server in &mut servers {
            server.reconfigure(|spec| spec.set("log", "level", "\"info,karst_node=debug\""));
        }
        servers.iter_mut().for_each(Server::start);
        servers.iter_mut().for_each(Server::wait_until_serving);
        let all: Vec<&Server> = servers.iter().collect();
        all_serve(&all, &THREE);
        let given_up = |server: &Server| server.log().contains("a link to a node has ended");
        assert!(!given_up(all[0]), "nothing has happened yet");
        wires.cut(0, 1);
        let deadline = Instant::now() + GIVEN_UP_MAX;
        while !(given_up(all[0]) && given_up(all[1])) {
            assert!(Instant::now() < deadline, "the link is kept");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(!given_up(all[2]), "it hears all and is heard by all");
    });
}
