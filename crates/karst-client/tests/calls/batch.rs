//! Many records in one call.

use std::time::Duration;

use karst_client::{BatchOp, BatchPolicy, Bin, Bins, Error, Operation, ResultCode, RetryPolicy};

use crate::fake::{Fake, Fault};
use crate::{bin, client, key, lone_fake};

#[tokio::test]
async fn rows_are_answered_in_the_callers_order_whatever_node_they_are_on() {
    let fakes = Fake::cluster(&["A", "B", "C"]).await;
    let client = client(&fakes[0]).await;
    let policy = BatchPolicy {
        rows_max: 7,
        ..BatchPolicy::default()
    };
    let puts = (0..100).map(|number| BatchOp::put(key(number), bin(number)));
    for result in client.batch(&policy, puts.collect()).await {
        assert_eq!(result.unwrap().unwrap().generation, 1);
    }
    let gets = (0..110).map(|number| BatchOp::get(key(number)));
    let results = client.batch(&policy, gets.collect()).await;
    assert_eq!(results.len(), 110);
    for (number, result) in (0..).zip(results) {
        let value = result
            .unwrap()
            .map(|record| record.bin("a").unwrap().as_int());
        assert_eq!(
            value,
            (number < 100).then_some(Some(number)),
            "row {number}"
        );
    }
}

#[tokio::test]
async fn rows_of_every_kind_pass_in_one_batch() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    client.put(&key(1), bin(1)).await.unwrap();
    client.put(&key(2), bin(2)).await.unwrap();
    let steps = vec![Operation::add("a", 5), Operation::get("a")];
    let rows = vec![
        BatchOp::delete(key(2)),
        BatchOp::operate(key(1), steps),
        BatchOp::read(key(3), Bins::None),
        BatchOp::delete(key(4)),
        BatchOp::put(key(5), [Bin::new("a", "five")]),
    ];
    let results = client.batch(&BatchPolicy::default(), rows).await;
    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert!(results[0].is_some());
    let sum = results[1].as_ref().unwrap().bin("a").unwrap();
    assert_eq!(sum.as_int(), Some(6));
    assert_eq!((&results[2], &results[3]), (&None, &None));
    assert!(results[4].is_some());
    assert_eq!(fake.record_count(), 2);
}

#[tokio::test]
async fn rows_of_a_partition_that_moved_are_sent_to_its_new_owner() {
    let fakes = Fake::cluster(&["A", "B"]).await;
    let client = client(&fakes[0]).await;
    fakes[0].set_owned(|_| false);
    fakes[1].set_owned(|_| true);
    let puts = (0..40).map(|number| BatchOp::put(key(number), bin(number)));
    let results = client.batch(&BatchPolicy::default(), puts.collect()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(fakes[1].record_count(), 40);
}

#[tokio::test]
async fn after_a_lost_connection_writes_are_in_doubt_and_reads_are_not() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fake.fail_next([Fault::CloseAfter]);
    let policy = BatchPolicy::default().with_retry(RetryPolicy::NEVER);
    let rows = vec![BatchOp::put(key(1), bin(1)), BatchOp::get(key(2))];
    let results = client.batch(&policy, rows).await;
    let doubts = results
        .iter()
        .map(|result| result.as_ref().unwrap_err().in_doubt());
    assert!(doubts.eq([true, false]), "{results:?}");
}

#[tokio::test]
async fn after_a_lost_connection_only_reads_are_sent_again() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fake.fail_next([Fault::Close]);
    let rows = vec![BatchOp::put(key(1), bin(1)), BatchOp::get(key(2))];
    let results = client.batch(&BatchPolicy::default(), rows).await;
    assert!(results[0].as_ref().unwrap_err().in_doubt());
    assert_eq!(results[1].as_ref().unwrap(), &None);
    assert_eq!(fake.record_count(), 0);
}

#[tokio::test]
async fn a_batch_refused_as_a_whole_is_sent_again_if_no_row_ran() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fake.fail_next([Fault::Code(ResultCode::BatchQueuesFull)]);
    let put = |number| vec![BatchOp::put(key(number), bin(1))];
    let results = client.batch(&BatchPolicy::default(), put(1)).await;
    assert!(results[0].is_ok(), "{results:?}");
    fake.fail_next([Fault::Code(ResultCode::Parameter)]);
    let results = client.batch(&BatchPolicy::default(), put(2)).await;
    assert!(results[0].as_ref().unwrap_err().in_doubt()); // rows before the bad one may have run
    assert_eq!(fake.requests(), 3);
}

#[tokio::test]
async fn a_batch_without_rows_asks_nobody() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    assert!(
        client
            .batch(&BatchPolicy::default(), vec![])
            .await
            .is_empty()
    );
    assert_eq!(fake.requests(), 0);
}

#[tokio::test]
async fn a_batch_ends_at_its_deadline() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fake.fail_next([Fault::Silent]);
    let policy = BatchPolicy::default().with_timeout(Duration::from_millis(100));
    let results = client.batch(&policy, vec![BatchOp::get(key(1))]).await;
    assert!(
        matches!(results[0], Err(Error::Timeout { .. })),
        "{results:?}"
    );
}
