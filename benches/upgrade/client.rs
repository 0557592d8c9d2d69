//! Owns one client connection: a request, its answer checked, and noticing that the other side has
//! closed. Must not count.

use crate::tally::Loss;
use memchr::memmem;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

pub const KEEP: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
pub const CLOSE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Longer than any server may take here.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a whole and right answer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number in the configuration that made it.
    pub generation: u64,
    /// `Connection: close`.
    pub last: bool,
}

pub struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Result<Self, Loss> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| Loss::Silence)?.map_err(|_| Loss::Refused)?;
        stream.set_nodelay(true).map_err(|_| Loss::Reset)?;
        Ok(Self { stream, bytes: Vec::with_capacity(512) })
    }

    pub async fn ask(&mut self, request: &str) -> Result<Answer, Loss> {
        timeout(PATIENCE, self.exchange(request)).await.unwrap_or(Err(Loss::Silence))
    }

    async fn exchange(&mut self, request: &str) -> Result<Answer, Loss> {
        self.bytes.clear();
        self.stream.write_all(request.as_bytes()).await.map_err(|_| Loss::Reset)?;
        loop {
            match self.stream.read_buf(&mut self.bytes).await {
                Ok(0) if self.bytes.is_empty() => return Err(Loss::Closed),
                Ok(0) => return Err(Loss::Cut),
                Err(_) => return Err(Loss::Reset),
                Ok(_) => {}
            }
            if let Some(answer) = read(&self.bytes)? {
                return Ok(answer);
            }
        }
    }

    /// Does nothing for a while; false as soon as the other side has ended the connection, or said
    /// what nobody asked for.
    pub async fn pause(&mut self, time: Duration) -> bool {
        self.bytes.clear();
        tokio::select! {
            biased;
            _ = self.stream.read_buf(&mut self.bytes) => return false,
            () = sleep(time) => {}
        }
        // The runtime may not have looked for a while; what is known now is no loss.
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.stream.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN)
    }
}

/// `None` while there is more to come.
pub fn read(bytes: &[u8]) -> Result<Option<Answer>, Loss> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| Loss::Wrong)?;
    let status = head.strip_prefix("HTTP/1.1 ").ok_or(Loss::Wrong)?;
    if status.starts_with('5') {
        return Err(Loss::Error);
    }
    let length: usize =
        field(head, "content-length").and_then(|n| n.parse().ok()).ok_or(Loss::Wrong)?;
    let content = &bytes[end + 4..];
    if content.len() < length {
        return Ok(None);
    }
    let generation = generation(content).filter(|_| status.starts_with("200 "));
    let last = field(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    match generation {
        Some(generation) if content.len() == length => Ok(Some(Answer { generation, last })),
        _ => Err(Loss::Wrong),
    }
}

fn field<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim())
    })
}

/// Of `GENERATION PID`, and nothing else.
fn generation(content: &[u8]) -> Option<u64> {
    let (generation, pid) = std::str::from_utf8(content).ok()?.split_once(' ')?;
    let _: u32 = pid.parse().ok()?;
    generation.parse().ok()
}
