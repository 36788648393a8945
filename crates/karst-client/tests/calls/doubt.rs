//! What is certain and what is not after a failure, and what is tried again.

use karst_client::{
    Advice, BatchOp, BatchPolicy, Bin, Bins, Error, Operation, ReadPolicy, ResultCode, RetryPolicy,
    WritePolicy,
};

use crate::fake::Fault;
use crate::{bin, client, key, lone_fake, once, short};

#[tokio::test]
async fn a_write_without_an_answer_is_in_doubt_and_not_sent_again() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fake.fail_next([Fault::Silent]);
    let error = client
        .put_with(&short(100), &key(1), bin(1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.in_doubt());
    assert_eq!(error.advice(), Advice::ReadBeforeRetry);
    assert_eq!(fake.requests(), 1);
}

#[tokio::test]
async fn a_write_on_a_connection_that_ends_is_in_doubt_and_not_sent_again() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    for (number, fault) in [
        (1, Fault::Close),
        (2, Fault::CloseAfter),
        (3, Fault::Garbage),
    ] {
        let sent = fake.requests();
        fake.fail_next([fault]);
        let error = client.put(&key(number), bin(1)).await.unwrap_err();
        assert!(
            matches!(error, Error::ConnectionLost { .. }),
            "{fault:?}: {error}"
        );
        assert!(error.in_doubt(), "{fault:?}");
        assert_eq!(fake.requests(), sent + 1, "{fault:?}");
        client.put(&key(number), bin(1)).await.unwrap(); // on a new connection
    }
    assert_eq!(fake.connections(), 4);
}

#[tokio::test]
async fn a_read_on_a_connection_that_ends_is_sent_again() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    client.put(&key(1), bin(1)).await.unwrap();
    for fault in [Fault::Close, Fault::Garbage] {
        fake.fail_next([fault]);
        assert!(client.get(&key(1)).await.unwrap().is_some(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_read_is_never_in_doubt() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fake.fail_next([Fault::Close, Fault::Code(ResultCode::Timeout)]);
    let policy = ReadPolicy::default().with_retry(RetryPolicy::NEVER);
    for _ in 0..2 {
        let error = client
            .get_with(&policy, &key(1), &Bins::All)
            .await
            .unwrap_err();
        assert!(!error.in_doubt(), "{error}");
    }
}

#[tokio::test]
async fn a_write_refused_for_a_passing_reason_is_sent_again() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    let codes = [
        ResultCode::Unavailable,
        ResultCode::KeyBusy,
        ResultCode::DeviceOverload,
    ];
    for code in codes {
        let sent = fake.requests();
        fake.fail_next([Fault::Code(code)]);
        client.put(&key(1), bin(1)).await.unwrap();
        assert_eq!(fake.requests(), sent + 2, "{code}");
    }
}

#[tokio::test]
async fn retries_end_and_the_refusal_is_certain() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fake.fail_next([Fault::Code(ResultCode::DeviceOverload); 3]);
    let policy = WritePolicy::default().with_retry(RetryPolicy {
        retries_max: 2,
        ..RetryPolicy::default()
    });
    let error = client.put_with(&policy, &key(1), bin(1)).await.unwrap_err();
    assert_eq!(error.code(), Some(ResultCode::DeviceOverload));
    assert!(!error.in_doubt());
    assert_eq!(fake.requests(), 3);
}

#[tokio::test]
async fn an_idempotent_write_is_sent_again_when_in_doubt() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    let policy = WritePolicy::default().with_idempotent(true);
    for fault in [
        Fault::Close,
        Fault::CloseAfter,
        Fault::Garbage,
        Fault::Code(ResultCode::Timeout),
    ] {
        let sent = fake.requests();
        fake.fail_next([fault]);
        let written = client.put_with(&policy, &key(1), bin(1)).await;
        assert!(written.is_ok(), "{fault:?}: {written:?}");
        assert_eq!(fake.requests(), sent + 2, "{fault:?}");
    }
}

#[tokio::test]
async fn what_an_earlier_attempt_left_in_doubt_stays_so_whatever_the_last_one_says() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fake.fail_next([Fault::CloseAfter, Fault::Code(ResultCode::RecordExists)]);
    let policy = WritePolicy::default().with_idempotent(true);
    let error = client.put_with(&policy, &key(1), bin(1)).await.unwrap_err();
    assert!(matches!(error, Error::EarlierInDoubt { .. }), "{error}");
    assert!(error.in_doubt());
    assert_eq!(error.code(), Some(ResultCode::RecordExists));
    let rows = vec![BatchOp::put(key(2), bin(1)).with_policy(policy)];
    fake.fail_next([Fault::CloseAfter, Fault::Close, Fault::Close, Fault::Close]);
    let once_more = BatchPolicy::default().with_retry(RetryPolicy {
        retries_max: 3,
        ..RetryPolicy::default()
    });
    let results = client.batch(&once_more, rows).await;
    assert!(results[0].as_ref().unwrap_err().in_doubt(), "{results:?}");
}

#[tokio::test]
async fn a_write_that_timed_out_at_the_server_is_in_doubt_and_not_sent_again() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fake.fail_next([Fault::Code(ResultCode::Timeout)]);
    let error = client.put(&key(1), bin(1)).await.unwrap_err();
    assert!(error.in_doubt());
    assert_eq!(fake.requests(), 1);
}

#[tokio::test]
async fn a_lasting_refusal_is_not_sent_again() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fake.fail_next([Fault::Code(ResultCode::Generation)]);
    let error = client.put(&key(1), bin(1)).await.unwrap_err();
    assert_eq!(error.code(), Some(ResultCode::Generation));
    assert_eq!(error.advice(), Advice::GiveUp);
    assert!(!error.in_doubt());
    assert_eq!(fake.requests(), 1);
}

#[tokio::test]
async fn a_write_to_a_node_that_is_gone_was_not_applied() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    drop(fake);
    let error = client.put_with(&once(), &key(1), bin(1)).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(!error.in_doubt());
}

#[tokio::test]
async fn a_request_the_protocol_cannot_carry_is_never_sent() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    let too_long = [Bin::new("sixteen-bytes-xx", 1)];
    let error = client.put(&key(1), too_long).await.unwrap_err();
    assert!(matches!(error, Error::Command(_)), "{error}");
    assert!(!error.in_doubt());
    client.put(&key(1), bin(1)).await.unwrap();
    assert_eq!((fake.requests(), fake.connections()), (1, 1));
}

#[tokio::test]
async fn missing_records_are_no_errors_where_that_is_an_answer() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    assert_eq!(client.get(&key(1)).await.unwrap(), None);
    assert!(!client.exists(&key(1)).await.unwrap());
    assert!(!client.delete(&key(1)).await.unwrap());
    client.put(&key(1), bin(1)).await.unwrap();
    assert!(client.exists(&key(1)).await.unwrap());
    assert!(client.delete(&key(1)).await.unwrap());
    assert_eq!(client.get(&key(1)).await.unwrap(), None);
}

#[tokio::test]
async fn operations_return_what_they_read_after_what_they_wrote() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    let steps = [Operation::add("visits", 2), Operation::get("visits")];
    let policy = WritePolicy::default();
    for expected in [2, 4] {
        let record = client
            .operate(&policy, &key(1), &steps)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(record.bin("visits").unwrap().as_int(), Some(expected));
    }
    let record = client
        .get_bins(&key(1), &["visits", "none"])
        .await
        .unwrap()
        .unwrap();
    assert_eq!((record.bins.len(), record.generation), (1, 2));
}
