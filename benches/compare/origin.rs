//! The origin behind every proxy: one epoll loop that answers canned bytes, so that it is cheaper
//! than all that is measured. Must not be taken for a server: no pipelining, no chunks, no errors.

use crate::listening::{LISTENER, Watch};
use nix::sys::epoll::EpollFlags;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// What `/small`, `/large` and `/huge` are answered with, bytes of body; uploads get the small one.
pub const SMALL: usize = 675;
pub const LARGE: usize = 100 * 1024;
pub const HUGE: usize = 10 * 1024 * 1024;

struct Conn {
    stream: TcpStream,
    /// A request so far.
    input: Vec<u8>,
    /// Bytes of the request's body still to come.
    left: usize,
    /// Bytes of the answer that are written; only while one is under way.
    written: Option<usize>,
    /// Which of the answers.
    answer: usize,
}

struct Origin {
    watch: Watch,
    conns: Vec<Option<Conn>>,
    answers: [Vec<u8>; 3],
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
    let answers = [SMALL, LARGE, HUGE].map(canned);
    let mut origin = Origin { watch, conns: Vec::new(), answers };
    let mut buf = vec![0; 256 * 1024];
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
        let conn = Conn { stream, input: Vec::new(), left: 0, written: None, answer: 0 };
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
        let answer = &self.answers[conn.answer];
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
        if self.left > 0 {
            self.left = self.left.saturating_sub(got);
        } else {
            self.input.extend_from_slice(&buf[..got]);
            let Some(end) = memchr::memmem::find(&self.input, b"\r\n\r\n") else { return true };
            self.answer = match &self.input[..] {
                input if input.starts_with(b"GET /large") => 1,
                input if input.starts_with(b"GET /huge") => 2,
                _ => 0,
            };
            let body = length(&self.input[..end]);
            self.left = body.saturating_sub(self.input.len() - end - 4);
            self.input.clear();
        }
        if self.left == 0 {
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

/// What `Content-Length` says; 0 without one.
fn length(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head);
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    value.unwrap_or(0)
}
