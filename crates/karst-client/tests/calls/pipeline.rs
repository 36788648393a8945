//! Many requests on one connection.

use std::time::Duration;

use karst_client::{Advice, Bins, Error, ReadPolicy, RetryPolicy};
use tokio::task::JoinSet;

use crate::{bin, builder, client, key, lone_fake, short};

#[tokio::test]
async fn many_requests_in_flight_on_one_connection_each_get_their_own_answer() {
    let fake = lone_fake().await;
    let client = builder(&fake).pipeline_depth(100).connect().await.unwrap();
    for number in 0..100 {
        client.put(&key(number), bin(number * 7)).await.unwrap();
    }
    fake.hold(true);
    let mut reads = JoinSet::new();
    for number in 0..100 {
        let client = client.clone();
        reads.spawn(async move { (number, client.get(&key(number)).await.unwrap().unwrap()) });
    }
    fake.wait_for_requests(200).await; // all were sent, none was answered
    fake.hold(false);
    for (number, record) in reads.join_all().await {
        assert_eq!(record.bin("a").unwrap().as_int(), Some(number * 7));
    }
    assert_eq!(fake.connections(), 1);
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_the_depth_allows() {
    let fake = lone_fake().await;
    let client = builder(&fake).pipeline_depth(4).connect().await.unwrap();
    fake.hold(true);
    let mut writes = JoinSet::new();
    for number in 0..10 {
        let client = client.clone();
        writes.spawn(async move { client.put(&key(number), bin(1)).await });
    }
    fake.wait_for_requests(4).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.requests(), 4);
    fake.hold(false);
    for written in writes.join_all().await {
        written.unwrap();
    }
    assert_eq!(fake.record_count(), 10);
}

#[tokio::test]
async fn a_write_that_found_no_room_was_not_sent() {
    let fake = lone_fake().await;
    let client = builder(&fake).pipeline_depth(1).connect().await.unwrap();
    fake.hold(true);
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.put(&key(1), bin(1)).await }
    });
    fake.wait_for_requests(1).await;
    let error = client
        .put_with(&short(50), &key(2), bin(2))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    assert!(!error.in_doubt());
    assert_eq!(error.advice(), Advice::BackOffAndRetry);
    fake.hold(false);
    first.await.unwrap().unwrap();
    assert_eq!(fake.record_count(), 1);
}

#[tokio::test]
async fn a_late_answer_goes_to_nobody_else() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    client.put(&key(1), bin(1)).await.unwrap();
    client.put(&key(2), bin(2)).await.unwrap();
    fake.hold(true);
    let impatient = ReadPolicy::default()
        .with_timeout(Duration::from_millis(50))
        .with_retry(RetryPolicy::NEVER);
    let late = client.get_with(&impatient, &key(1), &Bins::All).await;
    assert!(matches!(late, Err(Error::Timeout { .. })));
    fake.hold(false);
    let record = client.get(&key(2)).await.unwrap().unwrap();
    assert_eq!(record.bin("a").unwrap().as_int(), Some(2));
    assert_eq!(fake.connections(), 1);
}

#[tokio::test]
async fn a_dropped_call_leaves_the_connection_in_step() {
    let fake = lone_fake().await;
    let client = builder(&fake).pipeline_depth(2).connect().await.unwrap();
    client.put(&key(2), bin(2)).await.unwrap();
    for _ in 0..10 {
        fake.hold(true);
        let (wait, first) = (Duration::from_millis(10), key(1));
        let dropped = tokio::time::timeout(wait, client.get(&first));
        assert!(dropped.await.is_err());
        fake.hold(false);
        let record = client.get(&key(2)).await.unwrap().unwrap();
        assert_eq!(record.bin("a").unwrap().as_int(), Some(2));
    }
    assert_eq!(fake.connections(), 1);
}

#[tokio::test]
async fn large_values_pass_in_both_directions_at_once() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    let mut calls = JoinSet::new();
    for number in 0..16 {
        let client = client.clone();
        calls.spawn(async move {
            let blob = vec![number as u8; 3 << 20];
            let big = [karst_client::Bin::new("b", blob.clone())];
            let policy = short(30_000);
            client.put_with(&policy, &key(number), big).await.unwrap();
            let patient = ReadPolicy::default().with_timeout(Duration::from_secs(30));
            let record = client.get_with(&patient, &key(number), &Bins::All).await;
            let record = record.unwrap().unwrap();
            assert_eq!(record.bin("b").unwrap().as_bytes(), Some(&blob[..]));
        });
    }
    calls.join_all().await;
}
