//! One connection that serves one caller at a time: info commands, and scans, whose answers are as
//! long as the data.
//!
//! A connection goes back to its pool only when its last answer was read to the end; in any other
//! case it is dropped, which also tells a server to stop a scan.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use karst_wire::command::{self, CommandError};
use karst_wire::frame::FrameKind;
use karst_wire::response::info_values;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use crate::error::CloseReason;
use crate::pool::frames::{Frame, FrameBuffer};

/// Why an exchange failed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The request breaks a limit of the protocol; nothing was sent.
    Command(CommandError),
    /// The deadline passed.
    Deadline,
    /// The connection ended.
    Closed(CloseReason),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Closed(error.into())
    }
}

/// A connection of one caller.
pub(crate) struct Exclusive {
    stream: TcpStream,
    frames: FrameBuffer,
}

impl Exclusive {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Exclusive> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Exclusive {
            stream,
            frames: FrameBuffer::default(),
        })
    }

    /// Whether an idle connection is still good: a closed one reads as ended, and one with bytes that
    /// nobody asked for is out of step.
    pub(crate) fn is_usable(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends the request that `encode` writes.
    pub(crate) async fn send(
        &mut self,
        deadline: Instant,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), CommandError>,
    ) -> Result<(), Failed> {
        let mut request = Vec::new();
        encode(&mut request).map_err(Failed::Command)?;
        timeout_at(deadline.into(), self.stream.write_all(&request))
            .await
            .map_err(|_| Failed::Deadline)??;
        Ok(())
    }

    /// Waits for the next frame; its body is [`Exclusive::body`].
    pub(crate) async fn receive(
        &mut self,
        kind: FrameKind,
        deadline: Instant,
    ) -> Result<Frame, Failed> {
        loop {
            let next = self.frames.next();
            if let Some(frame) = next.map_err(|error| Failed::Closed(CloseReason::Frame(error)))? {
                return match frame.kind == kind {
                    true => Ok(frame),
                    false => Err(Failed::Closed(CloseReason::Unexpected)),
                };
            }
            let read = self.stream.read_buf(self.frames.room());
            let bytes = timeout_at(deadline.into(), read)
                .await
                .map_err(|_| Failed::Deadline)??;
            if bytes == 0 {
                return Err(Failed::Closed(CloseReason::ByServer));
            }
        }
    }

    /// The body of the frame received last.
    pub(crate) fn body(&self, frame: &Frame) -> &[u8] {
        self.frames.body(frame)
    }

    /// Asks info commands and returns the answers in the order of the commands.
    pub(crate) async fn info(
        &mut self,
        commands: &[&str],
        deadline: Instant,
    ) -> Result<Vec<String>, Failed> {
        let encode = |out: &mut Vec<u8>| command::info(out, commands);
        self.send(deadline, encode).await?;
        let frame = self.receive(FrameKind::Info, deadline).await?;
        let values = info_values(self.body(&frame), commands);
        let values = values.map_err(|error| Failed::Closed(CloseReason::Answer(error)))?;
        Ok(values.into_iter().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    async fn connection() -> (Exclusive, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connection, accepted) = tokio::join!(Exclusive::connect(address), listener.accept());
        (connection.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn an_idle_connection_is_used_again_only_if_it_is_open_and_in_step() {
        let (connection, mut server) = connection().await;
        assert!(connection.is_usable());
        server.write_all(b"unasked").await.unwrap();
        connection.stream.readable().await.unwrap();
        assert!(!connection.is_usable());
        let (connection, server) = self::connection().await;
        drop(server);
        connection.stream.readable().await.unwrap();
        assert!(!connection.is_usable());
    }

    #[tokio::test]
    async fn an_answer_to_another_command_ends_the_connection() {
        let (mut connection, mut server) = connection().await;
        server
            .write_all(b"\x02\x01\0\0\0\0\0\x08build\t8\n")
            .await
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let answer = connection.info(&["node"], deadline).await;
        assert!(matches!(
            answer,
            Err(Failed::Closed(CloseReason::Answer(_)))
        ));
    }
}
