//! Nodes that come, go and hand partitions over.

use std::time::Duration;

use karst_client::{Client, ClientBuilder, Error, NodeInfo};

use crate::fake::Fake;
use crate::{bin, builder, client, key, lone_fake};

fn names(client: &Client) -> Vec<String> {
    let nodes = client.nodes().into_iter();
    nodes.map(|NodeInfo { name, .. }| name).collect()
}

/// Waits until the client knows exactly these nodes.
async fn wait_for_nodes(client: &Client, expected: &[&str]) {
    for _ in 0..400 {
        if names(client) == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("knows {:?}, expected {expected:?}", names(client));
}

#[tokio::test]
async fn one_seed_leads_to_every_node_and_each_key_to_its_owner() {
    let fakes = Fake::cluster(&["A", "B", "C"]).await;
    let client = client(&fakes[1]).await;
    assert_eq!(names(&client), ["A", "B", "C"]);
    for number in 0..60 {
        client.put(&key(number), bin(number)).await.unwrap();
    }
    // A fake refuses what it does not own, so nothing was refused.
    let (requests, records): (Vec<_>, Vec<_>) = fakes
        .iter()
        .map(|fake| (fake.requests(), fake.record_count()))
        .unzip();
    assert_eq!(requests, records);
    assert_eq!(records.iter().sum::<usize>(), 60);
}

#[tokio::test]
async fn requests_follow_a_partition_to_its_new_owner() {
    let fakes = Fake::cluster(&["A", "B"]).await;
    let client = client(&fakes[0]).await;
    fakes[0].set_owned(|_| false);
    fakes[1].set_owned(|_| true);
    for number in 0..20 {
        client.put(&key(number), bin(number)).await.unwrap();
    }
    assert_eq!(fakes[1].record_count(), 20);
}

#[tokio::test]
async fn a_refusal_makes_the_client_read_the_map_before_its_time() {
    let fakes = Fake::cluster(&["A", "B"]).await;
    let client = builder(&fakes[0]).tend_interval(Duration::from_secs(3600));
    let client = client.connect().await.unwrap();
    fakes[0].set_owned(|_| false);
    fakes[1].set_owned(|_| true);
    let mut moved = (0..).filter(|number| key(*number).partition().0.is_multiple_of(2));
    client
        .put(&key(moved.next().unwrap()), bin(1))
        .await
        .unwrap();
    assert_eq!((fakes[0].requests(), fakes[1].record_count()), (1, 1));
}

#[tokio::test]
async fn a_lost_node_is_dropped_and_its_heirs_are_asked() {
    let mut fakes = Fake::cluster(&["A", "B", "C"]).await;
    let client = client(&fakes[0]).await;
    let lost = fakes.remove(2);
    drop(lost);
    fakes[0].set_owned(|id| id % 2 == 0);
    fakes[1].set_owned(|id| id % 2 == 1);
    fakes[0].set_peers(fakes[1..].iter());
    fakes[1].set_peers(fakes[..1].iter());
    wait_for_nodes(&client, &["A", "B"]).await;
    for number in 0..30 {
        client.put(&key(number), bin(number)).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_whose_node_is_gone_goes_on_with_the_next_replica() {
    let mut fakes = Fake::cluster(&["A", "B"]).await;
    fakes[0].back_up();
    let client = builder(&fakes[0]).tend_interval(Duration::from_secs(3600));
    let client = client.connect().await.unwrap();
    drop(fakes.remove(1));
    for number in 0..10 {
        client.put(&key(number), bin(number)).await.unwrap();
        assert!(client.exists(&key(number)).await.unwrap());
    }
    assert_eq!(fakes[0].record_count(), 10);
}

#[tokio::test]
async fn a_new_node_is_found_through_its_peers() {
    let first = lone_fake().await;
    let client = client(&first).await;
    let second = Fake::start("B", |id| id < 2048).await;
    second.set_peers([&first].into_iter());
    first.set_peers([&second].into_iter());
    wait_for_nodes(&client, &["A", "B"]).await;
    first.set_owned(|id| id >= 2048);
    for number in 0..30 {
        client.put(&key(number), bin(number)).await.unwrap();
    }
    assert!(second.record_count() > 0);
}

#[tokio::test]
async fn a_client_that_lost_every_node_comes_back_through_its_seeds() {
    let fake = lone_fake().await;
    let address = fake.address.clone();
    let client = client(&fake).await;
    drop(fake);
    wait_for_nodes(&client, &[]).await;
    let error = client.put(&key(1), bin(1)).await.unwrap_err();
    assert!(matches!(error, Error::NoOwner { .. }), "{error}");
    assert!(!error.in_doubt());
    let reborn = Fake::start_at(&address, "B", |_| true).await;
    wait_for_nodes(&client, &["B"]).await;
    client.put(&key(1), bin(1)).await.unwrap();
    assert_eq!(reborn.record_count(), 1);
}

#[tokio::test]
async fn a_node_whose_partitions_are_not_laid_out_is_not_joined() {
    let fake = lone_fake().await;
    fake.set_generation(-1);
    let builder = builder(&fake).connect_timeout(Duration::from_millis(200));
    let error = builder.clone().connect().await.unwrap_err();
    assert!(matches!(error, Error::NoSeed { .. }), "{error}");
    fake.set_generation(0);
    builder.connect().await.unwrap();
}

#[tokio::test]
async fn a_peer_joins_when_its_partitions_are_laid_out_and_not_before() {
    let first = lone_fake().await;
    let second = Fake::start("B", |_| false).await;
    second.set_generation(-1);
    first.set_peers([&second].into_iter());
    let client = client(&first).await;
    for _ in 0..20 {
        assert_eq!(names(&client), ["A"]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    second.set_generation(0);
    wait_for_nodes(&client, &["A", "B"]).await;
}

#[tokio::test]
async fn info_does_not_stumble_over_an_idle_connection_that_ended() {
    let fake = lone_fake().await;
    let client = builder(&fake).tend_interval(Duration::from_secs(3600));
    let client = client.connect().await.unwrap();
    let address = fake.address.clone();
    drop(fake);
    tokio::time::sleep(Duration::from_millis(50)).await; // until its sockets are closed
    let _reborn = Fake::start_at(&address, "A", |_| true).await;
    assert_eq!(client.info("A", "node").await.unwrap(), "A");
}

#[tokio::test]
async fn without_a_seed_that_answers_connecting_fails_in_time() {
    let fake = lone_fake().await;
    let address = fake.address.clone();
    drop(fake);
    let builder = ClientBuilder::new([address]).connect_timeout(Duration::from_millis(200));
    let error = builder.connect().await.unwrap_err();
    assert!(matches!(error, Error::NoSeed { seeds: 1, .. }), "{error}");
    let none: [&str; 0] = [];
    assert!(ClientBuilder::new(none).connect().await.is_err());
}

#[tokio::test]
async fn a_node_cut_off_from_its_peers_does_not_take_over_the_map() {
    let fakes = Fake::cluster(&["A", "B", "C"]).await;
    let client = client(&fakes[0]).await;
    fakes[2].set_peers([].into_iter());
    fakes[2].set_owned(|_| true); // it believes that it is alone
    tokio::time::sleep(Duration::from_millis(300)).await;
    let of_others = (0..).filter(|number| key(*number).partition().0 % 3 != 2);
    for number in of_others.take(30) {
        client.put(&key(number), bin(number)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await; // several rounds in all
    }
    assert_eq!(fakes[2].record_count(), 0);
}

#[tokio::test]
async fn an_unknown_namespace_is_told_from_an_unowned_partition() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    let elsewhere = karst_client::Key::new("other", "demo", 1).unwrap();
    let error = client.get(&elsewhere).await.unwrap_err();
    assert!(matches!(error, Error::UnknownNamespace { .. }), "{error}");
    assert_eq!(fake.requests(), 0);
}

#[tokio::test]
async fn info_returns_answers_and_reports_errors() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    assert_eq!(client.info("A", "node").await.unwrap(), "A");
    let error = client.info("A", "nonsense").await.unwrap_err();
    assert!(matches!(error, Error::Info { code: 4, .. }), "{error}");
    let error = client.info("Z", "node").await.unwrap_err();
    assert!(matches!(error, Error::UnknownNode { .. }), "{error}");
}

#[tokio::test]
async fn truncate_names_a_set_or_the_whole_namespace_and_nothing_else() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    client.truncate("test", "demo").await.unwrap();
    client.truncate("test", "").await.unwrap();
    let sent = fake.info_log();
    let sent: Vec<_> = sent
        .iter()
        .filter(|text| text.starts_with("truncate"))
        .collect();
    let expected = [
        "truncate:namespace=test;set=demo",
        "truncate-namespace:namespace=test",
    ];
    assert_eq!(sent, expected);
    assert!(client.truncate("test", "a;lut=1").await.is_err());
}

#[tokio::test]
async fn a_node_that_answers_under_another_name_is_replaced_at_once() {
    let mut fakes = Fake::cluster(&["A", "B"]).await;
    let client = client(&fakes[0]).await;
    let lost = fakes.remove(1);
    let address = lost.address.clone();
    drop(lost);
    tokio::time::sleep(Duration::from_millis(50)).await; // until its sockets are closed
    let heir = Fake::start_at(&address, "C", |id| id % 2 == 1).await;
    heir.set_peers(fakes.iter());
    wait_for_nodes(&client, &["A", "C"]).await; // though A goes on to count B among its peers
    for number in 0..20 {
        client.put(&key(number), bin(number)).await.unwrap();
    }
    assert!(heir.record_count() > 0);
}

#[tokio::test]
async fn a_node_whose_generation_falls_was_started_again_and_is_connected_to_anew() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fake.set_generation(40);
    client.put(&key(1), bin(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await; // until 40 has been seen
    fake.set_generation(3);
    let mut version = 0;
    while fake.connections() < 2 {
        client.put(&key(1), bin(1)).await.ok(); // one may be under way when its connection is closed
        tokio::time::sleep(Duration::from_millis(10)).await;
        version += 1;
        assert!(version < 400, "it goes on with the old connection");
    }
    client.put(&key(1), bin(1)).await.unwrap();
}

#[tokio::test]
async fn a_silent_node_holds_up_nobody_elses_news() {
    let fakes = Fake::cluster(&["A", "B", "C"]).await;
    let client = client(&fakes[0]).await;
    fakes[2].hang(true);
    fakes[0].set_owned(|id| id % 2 == 0);
    fakes[1].set_owned(|id| id % 2 == 1);
    let policy = karst_client::WritePolicy::default()
        .with_attempt_timeout(Duration::from_millis(100))
        .with_timeout(Duration::from_secs(5))
        .with_idempotent(true);
    let writes = async {
        for number in 0..30 {
            let written = client.put_with(&policy, &key(number), bin(number)).await;
            written.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(4), writes)
        .await
        .expect("the silent node is waited for");
}

#[tokio::test]
async fn nodes_that_can_tell_of_changes_are_not_waited_for() {
    let fakes = Fake::cluster(&["A", "B"]).await;
    fakes.iter().for_each(Fake::learn_to_watch);
    let client = builder(&fakes[0]).tend_interval(Duration::from_secs(3600));
    let client = client.connect().await.unwrap();
    let mut watching = client.map_version();
    for turn in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await; // until all is quiet
        watching = watching.max(client.map_version());
        fakes[turn % 2].set_owned(|_| false);
        fakes[(turn + 1) % 2].set_owned(|_| true);
        let changed = client.map_changed(watching);
        watching = tokio::time::timeout(Duration::from_secs(5), changed)
            .await
            .expect("nobody told of the change");
    }
    for number in 0..20 {
        client.put(&key(number), bin(number)).await.unwrap();
    }
    // Nothing was sent to the one that owns nothing.
    let requests: Vec<_> = fakes.iter().map(Fake::requests).collect();
    assert!(
        requests.contains(&0) && requests.contains(&20),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_client_that_watches_hears_at_once_of_a_node_that_came_and_of_one_that_went() {
    let first = lone_fake().await;
    first.learn_to_watch();
    let client = builder(&first).tend_interval(Duration::from_millis(500));
    let client = client.connect().await.unwrap();
    let second = Fake::start("B", |id| id < 2048).await;
    second.learn_to_watch();
    second.set_peers([&first].into_iter());
    first.set_peers([&second].into_iter());
    wait_for_nodes(&client, &["A", "B"]).await;
    drop(second);
    first.set_peers([].into_iter());
    first.set_owned(|_| true);
    wait_for_nodes(&client, &["A"]).await;
    for number in 0..20 {
        client.put(&key(number), bin(number)).await.unwrap();
    }
}
