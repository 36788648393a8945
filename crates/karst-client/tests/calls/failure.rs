//! Nodes in trouble, and who is asked instead of them.

use std::time::Duration;

use karst_client::{
    BatchOp, BatchPolicy, Bins, Client, Error, Hedge, ReadPolicy, Replica, ResultCode, RetryPolicy,
    ScanPolicy,
};

use crate::fake::{Fake, Fault};
use crate::{bin, builder, client, key, once};

/// Two nodes, of which the first owns everything and the second has copies.
async fn pair() -> Vec<Fake> {
    let fakes = Fake::cluster(&["A", "B"]).await;
    fakes[1].back_up();
    fakes[0].set_owned(|_| true);
    fakes[1].set_owned(|_| false);
    fakes
}

async fn read(client: &Client, policy: &ReadPolicy) -> Result<bool, Error> {
    let record = client.get_with(policy, &key(1), &Bins::All).await;
    record.map(|record| record.is_some())
}

#[tokio::test]
async fn a_read_that_one_replica_is_slow_to_answer_is_answered_by_another() {
    let fakes = pair().await;
    let client = client(&fakes[0]).await;
    client.put(&key(1), bin(1)).await.unwrap();
    fakes[0].hold(true);
    for hedge in [Hedge::After(Duration::from_millis(20)), Hedge::AfterP99] {
        let policy = ReadPolicy::default().with_hedge(hedge);
        assert!(!read(&client, &policy).await.unwrap()); // only the first has it
    }
    assert_eq!((fakes[0].requests(), fakes[1].requests()), (3, 2));
    fakes[0].hold(false);
}

#[tokio::test]
async fn a_read_that_is_answered_in_time_is_sent_once() {
    let fakes = pair().await;
    let client = client(&fakes[0]).await;
    client.put(&key(1), bin(1)).await.unwrap();
    let policy = ReadPolicy::default().with_hedge(Hedge::After(Duration::from_secs(5)));
    for _ in 0..10 {
        assert!(read(&client, &policy).await.unwrap());
    }
    assert_eq!((fakes[0].requests(), fakes[1].requests()), (11, 0));
}

#[tokio::test]
async fn of_a_hedged_read_an_error_counts_only_if_both_fail() {
    let fakes = pair().await;
    let client = client(&fakes[0]).await;
    client.put(&key(1), bin(1)).await.unwrap();
    let policy = ReadPolicy::default()
        .with_hedge(Hedge::After(Duration::from_millis(20)))
        .with_retry(RetryPolicy::NEVER);
    fakes[0].hold(true);
    fakes[1].fail_next([Fault::Code(ResultCode::DeviceOverload)]);
    let answered = tokio::spawn({
        let client = client.clone();
        async move { read(&client, &policy).await }
    });
    fakes[1].wait_for_requests(1).await;
    fakes[0].hold(false);
    assert!(answered.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_node_that_causes_many_errors_is_left_alone_until_the_window_is_over() {
    let fakes = pair().await;
    let client = builder(&fakes[0]).errors_per_node(3, Duration::from_secs(3600));
    let client = client.connect().await.unwrap();
    fakes[0].fail_next([Fault::Code(ResultCode::Timeout); 3]);
    let master = ReadPolicy::default()
        .with_replica(Replica::Master)
        .with_retry(RetryPolicy::NEVER);
    for _ in 0..3 {
        let error = read(&client, &master).await.unwrap_err();
        assert_eq!(error.code(), Some(ResultCode::Timeout));
    }
    let error = read(&client, &master).await.unwrap_err();
    assert!(matches!(error, Error::Avoided { errors: 3, .. }), "{error}");
    assert!(!error.in_doubt());
    // Others are asked instead, by reads and by writes.
    read(&client, &ReadPolicy::default()).await.unwrap();
    client.put(&key(2), bin(2)).await.unwrap();
    assert_eq!((fakes[0].requests(), fakes[1].requests()), (3, 2));
}

#[tokio::test]
async fn refusals_that_are_no_fault_of_the_node_do_not_count_against_it() {
    let fakes = pair().await;
    let client = builder(&fakes[0]).errors_per_node(2, Duration::from_secs(3600));
    let client = client.connect().await.unwrap();
    for _ in 0..10 {
        fakes[0].fail_next([Fault::Code(ResultCode::Generation)]);
        client.put_with(&once(), &key(1), bin(1)).await.unwrap_err();
    }
    client.put(&key(1), bin(1)).await.unwrap();
    assert_eq!((fakes[0].requests(), fakes[1].requests()), (11, 0));
}

#[tokio::test]
async fn reads_go_to_the_clients_own_rack() {
    let fakes = pair().await;
    fakes[0].set_rack(1);
    fakes[1].set_rack(2);
    let near_b = builder(&fakes[0]).racks([2]).connect().await.unwrap();
    let near_nobody = builder(&fakes[0]).racks([7]).connect().await.unwrap();
    let policy = ReadPolicy::default().with_replica(Replica::PreferRack);
    read(&near_b, &policy).await.unwrap();
    assert_eq!((fakes[0].requests(), fakes[1].requests()), (0, 1));
    read(&near_nobody, &policy).await.unwrap();
    assert_eq!((fakes[0].requests(), fakes[1].requests()), (1, 1));
    fakes[1].fail_next([Fault::Close]);
    read(&near_b, &policy).await.unwrap();
    assert_eq!((fakes[0].requests(), fakes[1].requests()), (2, 2));
}

#[tokio::test]
async fn reads_of_any_replica_take_turns() {
    let fakes = pair().await;
    let client = client(&fakes[0]).await;
    let policy = ReadPolicy::default().with_replica(Replica::Any);
    for _ in 0..10 {
        read(&client, &policy).await.unwrap();
    }
    assert_eq!((fakes[0].requests(), fakes[1].requests()), (5, 5));
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_not_tried_first_again() {
    let mut fakes = pair().await;
    let client = builder(&fakes[0]).tend_interval(Duration::from_secs(3600));
    let client = client.connect().await.unwrap();
    drop(fakes.remove(0));
    client.put(&key(1), bin(1)).await.unwrap();
    for number in 0..10 {
        // Without a retry: it goes to the other at once.
        client
            .put_with(&once(), &key(number), bin(1))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn rows_and_scans_of_a_node_that_is_gone_are_asked_of_another() {
    let mut fakes = pair().await;
    let client = builder(&fakes[0]).tend_interval(Duration::from_secs(3600));
    let client = client.connect().await.unwrap();
    drop(fakes.remove(0));
    let rows = (0..20).map(|number| BatchOp::put(key(number), bin(number)));
    for result in client.batch(&BatchPolicy::default(), rows.collect()).await {
        result.unwrap();
    }
    let mut scan = client.scan("test", "demo", ScanPolicy::default()).unwrap();
    let mut records = 0;
    while let Some(record) = scan.next().await {
        record.unwrap();
        records += 1;
    }
    assert_eq!(records, 20);
}

#[tokio::test]
async fn rows_of_a_silent_node_are_asked_of_another_when_their_attempt_is_over() {
    let fakes = pair().await;
    let client = client(&fakes[0]).await;
    fakes[0].hold(true);
    let policy = BatchPolicy::default()
        .with_attempt_timeout(Duration::from_millis(100))
        .with_timeout(Duration::from_secs(5));
    let rows = (0..20).map(|number| BatchOp::get(key(number)));
    for result in client.batch(&policy, rows.collect()).await {
        assert_eq!(result.unwrap(), None);
    }
    assert_eq!(fakes[1].requests(), 1);
    fakes[0].hold(false);
}
