use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;
use crate::testing::World;

/// Serves, asks for a path once, stops, and returns status line and body.
async fn get(world: &World, path: &str) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let serving = tokio::spawn(serve(world.node.clone(), listener, stopped));
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: karst\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).await.unwrap();
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_node_is_ready_only_while_it_serves() {
    let world = World::starting();
    for (state, status, text) in [
        (State::Starting, "503", "starting: recovering its devices\n"),
        (State::Serving, "200", "serving\n"),
        (State::Draining, "503", "draining: about to stop\n"),
    ] {
        world.node.set_state(state);
        let (head, body) = get(&world, "/readyz").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(body, text);
        let (head, _) = get(&world, "/healthz").await;
        assert!(
            head.starts_with("HTTP/1.1 200 "),
            "alive whatever the state: {head}"
        );
    }
}

#[tokio::test]
async fn metrics_come_with_the_type_that_scrapers_read_them_by() {
    let world = World::serving();
    let (head, body) = get(&world, "/metrics").await;
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(body.contains("karst_records{namespace=\"test\"} 0\n"));
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let world = World::serving();
    assert!(
        get(&world, "/etc/passwd")
            .await
            .0
            .starts_with("HTTP/1.1 404 ")
    );
    assert!(get(&world, "/").await.1.contains("/metrics"));
}
