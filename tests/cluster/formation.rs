//! How a cluster comes to be, and who may be in it.

use karst_tests::server::Server;

use crate::group::{View, agree, all_serve, formed, prepare, seeds, spec};

#[test]
fn three_nodes_that_know_of_each_other_form_one_cluster_which_a_fourth_joins() {
    let servers = formed(&["a", "b", "c"]);
    let all: Vec<&Server> = servers.iter().collect();
    let view = all_serve(&all, &["a", "b", "c"]);
    assert_eq!(view.id.len(), 32);
    let fourth = spec("d", 3).set("cluster", "seeds", &seeds(&servers[1..2]));
    let fourth = fourth.start();
    let all = [&servers[0], &servers[1], &servers[2], &fourth];
    let joined = all_serve(&all, &["a", "b", "c", "d"]);
    assert_eq!(joined.id, view.id);
}

#[test]
fn a_node_that_waits_for_others_answers_that_it_starts_and_stops_when_told() {
    let mut servers = prepare(&["a", "b"]);
    let first = &mut servers[0];
    first.start();
    let starting = || matches!(first.http("/readyz"), Ok((503, text)) if text.contains("starting"));
    while !starting() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(matches!(first.http("/healthz"), Ok((200, _))));
    first.stop();
    servers.iter_mut().for_each(Server::start);
    servers.iter_mut().for_each(Server::wait_until_serving);
    all_serve(&[&servers[0], &servers[1]], &["a", "b"]);
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    let servers = [spec("a", 1).start()];
    let stranger =
        spec("x", 1)
            .set("cluster", "name", "\"other\"")
            .set("cluster", "seeds", &seeds(&servers));
    let (status, stranger) = stranger.start_to_exit();
    assert_eq!(status.code(), Some(1));
    let why = "this node is configured for cluster \"test\", not \"other\"";
    assert!(stranger.log().contains(why), "{}", stranger.log());
    assert!(servers[0].log().contains("refused"), "{}", servers[0].log());
}

#[test]
fn a_node_alone_is_a_cluster_at_once_that_others_join() {
    let mut alone = spec("a", 1).start();
    let before = View::of(&alone);
    assert_eq!(before.nodes_in("serving"), ["a"]);
    alone.kill9();
    alone.restart();
    let alone = [alone];
    let second = spec("b", 1).set("cluster", "seeds", &seeds(&alone)).start();
    let joined = all_serve(&[&alone[0], &second], &["a", "b"]);
    assert_eq!(joined.id, before.id);
}

#[test]
fn a_node_that_comes_back_elsewhere_is_the_same_node() {
    let mut servers = formed(&["a", "b", "c"]);
    let all: Vec<&Server> = servers.iter().collect();
    all_serve(&all, &["a", "b", "c"]);
    servers[2].kill9();
    servers[2].move_ports();
    servers[2].restart();
    let all: Vec<&Server> = servers.iter().collect();
    let now = servers[2].admin().to_string();
    agree(&all, |view| {
        let moved = view
            .nodes
            .iter()
            .any(|(name, _, at)| name == "c" && *at == now);
        moved && view.nodes_in("serving") == ["a", "b", "c"]
    });
}

#[test]
fn more_nodes_than_are_expected_form_one_cluster_all_the_same() {
    let names = ["a", "b", "c", "d", "e"];
    let mut servers = prepare(&names);
    for server in &mut servers {
        server.reconfigure(|spec| spec.set("cluster", "bootstrap_expect", "3"));
        server.start();
    }
    servers.iter_mut().for_each(Server::wait_until_serving);
    let all: Vec<&Server> = servers.iter().collect();
    all_serve(&all, &names);
}
