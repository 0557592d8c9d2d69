//! A client that says exactly what it is told to and hides nothing it hears.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use super::DEADLINE;
use super::response::{Response, take_chunk};

/// How the other side ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// End of file.
    Closed,
    Reset,
}

/// One connection to the server under test.
pub struct Client {
    stream: TcpStream,
    /// Received, not yet handed out.
    pending: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
        stream.set_write_timeout(Some(DEADLINE)).expect("a time limit");
        stream.set_nodelay(true).expect("no delay");
        Client { stream, pending: Vec::new() }
    }

    /// The local address, as the server sees it.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("an address")
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.stream.write_all(bytes.as_ref()).expect("bytes sent");
        self
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) -> &mut Client {
        self.stream.shutdown(Shutdown::Write).expect("a shutdown");
        self
    }

    /// Ends the connection with a reset instead of an end of file.
    pub fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &linger).expect("linger");
    }

    /// Another handle on the same connection, for a second thread.
    pub fn handle(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle")
    }

    /// Waits for the next bytes; `Some(end)` if there are none to come.
    fn receive(&mut self) -> Option<End> {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Some(End::Closed),
            Ok(count) => {
                self.pending.extend_from_slice(&buffer[..count]);
                None
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(End::Reset),
            Err(error) => panic!(
                "nothing came within {DEADLINE:?} ({error}); before that: {:?}",
                String::from_utf8_lossy(&self.pending)
            ),
        }
    }

    /// Reads until `enough` names how many of the bytes to take; all of them
    /// if the connection ends before.
    pub fn read_until(&mut self, enough: impl Fn(&[u8]) -> Option<usize>) -> Vec<u8> {
        loop {
            if let Some(count) = enough(&self.pending) {
                return self.pending.drain(..count).collect();
            }
            if self.receive().is_some() {
                return std::mem::take(&mut self.pending);
            }
        }
    }

    /// Reads until `text` has come, and takes all up to its end.
    pub fn read_through(&mut self, text: &[u8]) -> Vec<u8> {
        self.read_until(|bytes| find(bytes, text).map(|at| at + text.len()))
    }

    pub fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.read_until(|bytes| (bytes.len() >= count).then_some(count));
        assert_eq!(bytes.len(), count, "{:?}", String::from_utf8_lossy(&bytes));
        bytes
    }

    /// Everything up to the end of the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        self.read_until(|_| None)
    }

    /// Everything up to the end, even if that is a reset: the server need not read all it was sent.
    pub fn read_to_end_or_reset(&mut self) -> Vec<u8> {
        while self.receive().is_none() {}
        std::mem::take(&mut self.pending)
    }

    /// Waits for the end; panics if anything comes before it.
    pub fn end(&mut self) -> End {
        loop {
            assert!(
                self.pending.is_empty(),
                "more than expected: {:?}",
                String::from_utf8_lossy(&self.pending)
            );
            if let Some(end) = self.receive() {
                return end;
            }
        }
    }

    /// The answer to a request other than HEAD.
    pub fn response(&mut self) -> Response {
        let mut response = self.response_head();
        let bodiless = matches!(response.status, 100..=199 | 204 | 304);
        if bodiless {
            response.complete = true;
        } else if response.is_chunked() {
            self.chunked_body(&mut response);
        } else {
            self.plain_body(&mut response);
        }
        response
    }

    /// The answer to a HEAD request, or only the head of another one.
    pub fn response_head(&mut self) -> Response {
        let head = self.read_through(b"\r\n\r\n");
        assert!(
            head.ends_with(b"\r\n\r\n"),
            "no response head: {:?}",
            String::from_utf8_lossy(&head)
        );
        Response::from_head(&head)
    }

    fn plain_body(&mut self, response: &mut Response) {
        let length = response.header("Content-Length").map(str::parse::<usize>);
        if let Some(length) = length {
            let length = length.expect("a length");
            response.body = self.read_until(|bytes| (bytes.len() >= length).then_some(length));
            response.complete = response.body.len() == length;
        } else {
            response.body = self.read_to_end();
            response.complete = true;
        }
        response.raw_body = response.body.clone();
    }

    fn chunked_body(&mut self, response: &mut Response) {
        loop {
            let raw = self.read_until(|bytes| take_chunk(bytes).map(|chunk| chunk.1));
            response.raw_body.extend_from_slice(&raw);
            let Some((content, _)) = take_chunk(&raw) else {
                return;
            };
            if content.is_empty() {
                response.complete = true;
                return;
            }
            response.body.extend_from_slice(&content);
        }
    }
}

/// Where `text` starts in `bytes`.
pub fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}
