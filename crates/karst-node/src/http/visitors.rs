//! A door for a few visitors: connections of operators' tools, bounded in number and in patience.
//!
//! Invariants
//!   at most `visitors_max` connections are open; one more is closed at once
//!   a connection on which nothing moves for the patience given is closed, whatever it waits for
//!
//! A failure to accept is not the door's end: it rests for [`REST`], since descriptors that ran out
//! come back.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Pause after a connection could not be accepted.
const REST: Duration = Duration::from_millis(500);

/// A listener that lets a few in.
pub(crate) struct Visitors {
    listener: TcpListener,
    room: Arc<Semaphore>,
    patience: Duration,
    resting: Option<Pin<Box<Sleep>>>,
}

/// One connection; gives its place back when dropped.
pub(crate) struct Visitor {
    stream: TcpStream,
    patience: Duration,
    leaves: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Visitors {
    /// Lets `visitors_max` in at a time, and closes connections that are silent for `patience`.
    pub(crate) fn new(listener: TcpListener, visitors_max: usize, patience: Duration) -> Visitors {
        let room = Arc::new(Semaphore::new(visitors_max));
        Visitors {
            listener,
            room,
            patience,
            resting: None,
        }
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<(Visitor, SocketAddr)> {
        loop {
            if let Some(resting) = &mut self.resting {
                ready!(resting.as_mut().poll(context));
                self.resting = None;
            }
            match ready!(self.listener.poll_accept(context)) {
                Ok((stream, address)) => {
                    let Ok(place) = self.room.clone().try_acquire_owned() else {
                        tracing::warn!(%address, "too many connections; this one is closed");
                        continue; // dropping the stream closes it
                    };
                    let _ = stream.set_nodelay(true); // only costs latency if refused
                    let leaves = Box::pin(sleep(self.patience));
                    let patience = self.patience;
                    return Poll::Ready((
                        Visitor {
                            stream,
                            patience,
                            leaves,
                            _place: place,
                        },
                        address,
                    ));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    self.resting = Some(Box::pin(sleep(REST)));
                }
            }
        }
    }
}

impl axum::serve::Listener for Visitors {
    type Io = Visitor;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visitor, SocketAddr) {
        std::future::poll_fn(|context| self.poll_accept(context)).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl tokio_stream::Stream for Visitors {
    type Item = io::Result<Visitor>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_accept(context)
            .map(|(visitor, _)| Some(Ok(visitor)))
    }
}

impl Connected for Visitor {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl Visitor {
    /// Passes on what the stream said: progress renews the patience, waiting uses it up.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        said: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if said.is_ready() {
            let at = Instant::now() + self.patience;
            self.leaves.as_mut().reset(at);
            return said;
        }
        ready!(self.leaves.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Visitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(context, said)
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, said)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context) // of a socket: at once, and no progress
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.watch(context, said)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn door(visitors_max: usize, patience: Duration) -> (Visitors, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Visitors::new(listener, visitors_max, patience), address)
    }

    async fn accept(door: &mut Visitors) -> Visitor {
        axum::serve::Listener::accept(door).await.0
    }

    #[tokio::test]
    async fn one_visitor_too_many_is_turned_away_until_a_place_is_free() {
        let (mut door, address) = door(1, Duration::from_secs(60)).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        let visitor = accept(&mut door).await;
        let mut second = TcpStream::connect(address).await.unwrap();
        let turned_away = async { second.read(&mut [0]).await.unwrap_or(0) };
        tokio::select! {
            _ = accept(&mut door) => panic!("there was no place"),
            read = turned_away => assert_eq!(read, 0),
        }
        drop(visitor);
        assert_eq!(first.read(&mut [0]).await.unwrap(), 0);
        let _third = TcpStream::connect(address).await.unwrap();
        accept(&mut door).await;
    }

    #[tokio::test]
    async fn a_silent_visitor_is_sent_away_and_a_busy_one_is_not() {
        let patience = Duration::from_millis(300);
        let (mut door, address) = door(1, patience).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut visitor = accept(&mut door).await;
        for _ in 0..4 {
            tokio::time::sleep(patience / 3).await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(visitor.read(&mut [0]).await.unwrap(), 1);
        }
        let error = visitor.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
