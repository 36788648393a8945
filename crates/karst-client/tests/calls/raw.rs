//! The surface for load generators.

use std::time::Duration;

use karst_client::{CloseReason, RawConnection, RawKey, ResultCode};
use karst_wire::frame::{BODY_BYTES_MAX, FrameHeader, HEADER_BYTES};
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::reply::{RecordReply, ReplyHead};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

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
async fn a_map_that_is_kept_current_follows_its_partitions() {
    let fakes = Fake::cluster(&["A", "B"]).await;
    let client = client(&fakes[0]).await;
    let map = client.raw("test").unwrap();
    let frozen = map.frozen();
    let (held, to) = (map.clone(), client.clone());
    let keeping = tokio::spawn(async move { to.keep_current(&held).await });
    let place = |fake: &Fake| {
        let mut addresses = map.addresses().iter();
        addresses.position(|address| address.to_string() == fake.address)
    };
    let (a, b) = (place(&fakes[0]).unwrap(), place(&fakes[1]).unwrap());
    assert!(map.owns_any(a) && map.owns_any(b));
    fakes[0].set_owned(|_| false);
    fakes[1].set_owned(|_| true);
    let follows = async {
        while map.owns_any(a) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), follows)
        .await
        .expect("the map stays as it was");
    assert_eq!(map.owner(key(1).digest()), b);
    assert!(frozen.owns_any(a));
    keeping.abort();
}

/// Serves one connection, one request after the other: while an answer does not fit into the socket
/// no further request is read. Every answer has a bin of 1 MiB.
async fn serve_one_by_one(listener: TcpListener) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut answer = vec![];
    let mut record = RecordReply::framed(&mut answer, &ReplyHead::found(1, 0));
    record.op(OpCode::Read, particle::BLOB, b"a", &vec![7; 1 << 20]);
    record.finish().unwrap();
    loop {
        let mut header = [0; HEADER_BYTES];
        socket.read_exact(&mut header).await.unwrap();
        let header = FrameHeader::parse(&header, BODY_BYTES_MAX).unwrap();
        socket
            .read_exact(&mut vec![0; header.body_bytes])
            .await
            .unwrap();
        socket.write_all(&answer).await.unwrap();
    }
}

#[tokio::test]
async fn full_buffers_on_both_sides_block_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve_one_by_one(listener));
    let mut connection = RawConnection::connect(address).await.unwrap();
    let blob = vec![1; 1 << 20];
    for number in 0..64 {
        connection
            .queue_put(&raw_key(number), "a", &blob, 0)
            .unwrap();
    }
    let mut answered = 0;
    let turns = async {
        while connection.in_flight() > 0 {
            connection.turn(|_| answered += 1).await.unwrap();
        }
    };
    timeout(Duration::from_secs(20), turns)
        .await
        .expect("both sides wait for each other");
    assert_eq!(answered, 64);
    server.abort();
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
