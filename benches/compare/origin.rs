//! The origin behind every proxy: one epoll loop that answers canned bytes, so that it is cheaper
//! than all that is measured. Must not be taken for a server: no pipelining, no bodies, no errors.

use crate::listening::{LISTENER, Watch};
use nix::sys::epoll::EpollFlags;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// What `GET /small` and `GET /large` are answered with, bytes of body.
pub const SMALL: usize = 675;
pub const LARGE: usize = 100 * 1024;

struct Conn {
    stream: TcpStream,
    /// A request so far.
    input: Vec<u8>,
    /// Bytes of the answer that are written; only while one is under way.
    written: Option<usize>,
    large: bool,
}

struct Origin {
    watch: Watch,
    conns: Vec<Option<Conn>>,
    small: Vec<u8>,
    large: Vec<u8>,
}

fn canned(body: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: text/html\r\nContent-Length: {body}\r\n\
         Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nETag: \"5f0c-2a3\"\r\n\
         Accept-Ranges: bytes\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + body, b'x');
    answer
}

/// Serves until it is killed; prints its address first.
pub fn run() -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    println!("{}", listener.local_addr()?);
    let watch = Watch::new(&listener)?;
    let (small, large) = (canned(SMALL), canned(LARGE));
    let mut origin = Origin { watch, conns: Vec::new(), small, large };
    let mut buf = vec![0; 16 * 1024];
    loop {
        for (token, _) in origin.watch.wait()? {
            match token {
                LISTENER => origin.accept(&listener)?,
                token => origin.event(token, &mut buf)?,
            }
        }
    }
}

impl Origin {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let free = self.conns.iter().position(Option::is_none);
        let at = free.unwrap_or(self.conns.len());
        self.watch.add(&stream, at)?;
        let conn = Conn { stream, input: Vec::new(), written: None, large: false };
        match self.conns.get_mut(at) {
            Some(slot) => *slot = Some(conn),
            None => self.conns.push(Some(conn)),
        }
        Ok(())
    }

    fn event(&mut self, at: usize, buf: &mut [u8]) -> io::Result<()> {
        let Some(slot) = self.conns.get_mut(at) else { return Ok(()) };
        let Some(conn) = slot else { return Ok(()) };
        let was_full = conn.written.is_some();
        let alive = was_full || conn.read_request(buf);
        let answer = if conn.large { &self.large } else { &self.small };
        if !alive || conn.write(answer).is_err() {
            *slot = None;
            return Ok(());
        }
        // Changes only for an answer that does not go out in one piece.
        match (was_full, conn.written.is_some()) {
            (false, true) => self.watch.change(&conn.stream, at, EpollFlags::EPOLLOUT),
            (true, false) => self.watch.change(&conn.stream, at, EpollFlags::EPOLLIN),
            _ => Ok(()),
        }
    }
}

impl Conn {
    /// Reads what is there; false when the connection is over.
    fn read_request(&mut self, buf: &mut [u8]) -> bool {
        let got = match self.stream.read(buf) {
            Ok(0) => return false,
            Ok(got) => got,
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        };
        self.input.extend_from_slice(&buf[..got]);
        if self.input.ends_with(b"\r\n\r\n") {
            self.large = self.input.starts_with(b"GET /large");
            self.input.clear();
            self.written = Some(0);
        }
        true
    }

    fn write(&mut self, answer: &[u8]) -> io::Result<()> {
        while let Some(written) = self.written {
            match self.stream.write(&answer[written..]) {
                Ok(n) if written + n == answer.len() => self.written = None,
                Ok(n) => self.written = Some(written + n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
