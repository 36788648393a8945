//! The surface for load generators.

use karst_client::{CloseReason, RawConnection, RawKey, ResultCode};

use crate::fake::{Fake, Fault};
use crate::{client, key, lone_fake};

fn raw_key(number: i64) -> RawKey<'static> {
    RawKey {
        namespace: "test",
        set: "demo",
        digest: *key(number).digest(),
    }
}

#[tokio::test]
async fn replies_come_in_the_order_of_the_requests() {
    let fake = lone_fake().await;
    let map = client(&fake).await.raw("test").unwrap();
    let mut connection = RawConnection::connect(map.addresses()[0]).await.unwrap();
    connection
        .queue_put(&raw_key(1), "a", &[7; 100], 0)
        .unwrap();
    connection.queue_get(&raw_key(1), 0).unwrap();
    connection.queue_get(&raw_key(2), 0).unwrap();
    assert_eq!(connection.in_flight(), 3);
    let mut replies = vec![];
    while connection.in_flight() > 0 {
        connection.turn(|reply| replies.push(reply)).await.unwrap();
    }
    let codes: Vec<_> = replies.iter().map(|reply| reply.code).collect();
    assert_eq!(codes, [0, 0, ResultCode::NotFound.as_u8()]);
    let bytes: Vec<_> = replies.iter().map(|reply| reply.bytes).collect();
    assert_eq!(bytes, [30, 30 + 9 + 100, 30]);
}

#[tokio::test]
async fn every_partition_has_the_node_that_owns_it() {
    let fakes = Fake::cluster(&["A", "B"]).await;
    let map = client(&fakes[0]).await.raw("test").unwrap();
    for number in 0..50 {
        let digest = *key(number).digest();
        let owner = map.addresses()[map.owner(&digest)].to_string();
        let expected = &fakes[usize::from(digest.partition().0 % 2)].address;
        assert_eq!(&owner, expected);
    }
}

#[tokio::test]
async fn full_buffers_on_both_sides_block_nobody() {
    let fake = lone_fake().await;
    let map = client(&fake).await.raw("test").unwrap();
    let mut connection = RawConnection::connect(map.addresses()[0]).await.unwrap();
    let blob = vec![1; 1 << 20];
    for number in 0..16 {
        connection
            .queue_put(&raw_key(number), "a", &blob, 0)
            .unwrap();
        connection.queue_get(&raw_key(number), 0).unwrap();
    }
    let mut answered = 0;
    while connection.in_flight() > 0 {
        connection.turn(|_| answered += 1).await.unwrap();
    }
    assert_eq!(answered, 32);
}

#[tokio::test]
async fn a_connection_that_ends_is_an_error() {
    let fake = lone_fake().await;
    let map = client(&fake).await.raw("test").unwrap();
    for (fault, by_server) in [(Fault::Close, true), (Fault::Garbage, false)] {
        let mut connection = RawConnection::connect(map.addresses()[0]).await.unwrap();
        fake.fail_next([fault]);
        connection.queue_get(&raw_key(1), 0).unwrap();
        let ended = connection.turn(|_| {}).await.unwrap_err();
        assert_eq!(matches!(ended, CloseReason::ByServer), by_server, "{ended}");
    }
}
