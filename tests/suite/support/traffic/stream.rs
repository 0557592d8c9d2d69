//! A client's connection: requests go out, and each answer is taken apart and judged.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{Loss, Target};
use crate::support::DEADLINE;
use crate::support::client::find;
use crate::support::response::Response;

pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
pub const LAST_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

trait Both: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

/// An open connection.
pub struct Stream {
    stream: Box<dyn Both>,
    /// Received, not yet handed out.
    pending: Vec<u8>,
}

/// What came while nothing was asked.
pub enum Silence {
    Lasted,
    /// The server has ended the connection.
    Ended,
}

impl Stream {
    pub async fn open(target: &Target) -> Result<Stream, Loss> {
        let connect = async {
            let stream: Box<dyn Both> = match target {
                Target::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
                Target::Unix(path) => Box::new(UnixStream::connect(path).await?),
            };
            Ok(Stream { stream, pending: Vec::new() })
        };
        let connected: Result<Stream, Error> = timeout(DEADLINE, connect).await.map_err(late)?;
        connected.map_err(|error| Loss::Connect(error.to_string()))
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Loss> {
        timeout(DEADLINE, self.stream.write_all(bytes))
            .await
            .map_err(late)?
            .map_err(|error| broken(&error))
    }

    /// One whole answer: its head and its content.
    pub async fn answer(&mut self) -> Result<(Response, String), Loss> {
        let head = self.head().await?;
        let length = head.header("Content-Length").and_then(|value| value.parse().ok());
        let Some(length) = length else { return Err(Loss::Other(head.status_line)) };
        let content = self.read(|bytes| (bytes.len() >= length).then_some(length)).await;
        let content = content.map_err(|loss| match loss {
            Loss::NoAnswer => Loss::CutShort,
            other => other,
        })?;
        let content = String::from_utf8_lossy(&content).into_owned();
        if head.status == 200 { Ok((head, content)) } else { Err(Loss::Status(head.status)) }
    }

    pub async fn head(&mut self) -> Result<Response, Loss> {
        let head = self.read(|bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4)).await?;
        Ok(Response::from_head(&head))
    }

    /// Reads until `enough` names how many of the bytes to take.
    pub async fn read(&mut self, enough: impl Fn(&[u8]) -> Option<usize>) -> Result<Vec<u8>, Loss> {
        loop {
            if let Some(count) = enough(&self.pending) {
                return Ok(self.pending.drain(..count).collect());
            }
            let reading = self.stream.read_buf(&mut self.pending);
            match timeout(DEADLINE, reading).await.map_err(late)? {
                Ok(0) if self.pending.is_empty() => return Err(Loss::NoAnswer),
                Ok(0) => return Err(Loss::CutShort),
                Ok(_) => {}
                Err(error) => return Err(broken(&error)),
            }
        }
    }

    /// Listens for so long without having asked anything.
    pub async fn quiet(&mut self, time: Duration) -> Result<Silence, Loss> {
        match timeout(time, self.stream.read_buf(&mut self.pending)).await {
            Err(_) => Ok(Silence::Lasted),
            Ok(Ok(0)) => Ok(Silence::Ended),
            Ok(Ok(_)) => Err(Loss::Wrong(String::from_utf8_lossy(&self.pending).into_owned())),
            Ok(Err(error)) => Err(broken(&error)),
        }
    }
}

fn late(_: tokio::time::error::Elapsed) -> Loss {
    Loss::Late
}

fn broken(error: &Error) -> Loss {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Loss::Reset,
        _ => Loss::Other(error.to_string()),
    }
}
