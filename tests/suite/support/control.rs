//! A client of the control API, whose answers may come line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::DEADLINE;
use super::response::Response;

/// The content of an answer, as it comes.
pub struct Lines {
    stream: BufReader<UnixStream>,
    framing: Framing,
    /// Content that has come and was not handed out.
    pending: Vec<u8>,
}

enum Framing {
    Chunked,
    /// What is left of it.
    Length(usize),
    /// Up to the end of the connection.
    Open,
    Ended,
}

/// Sends one request on a connection of its own: status and content.
pub fn ask(socket: &Path, method: &str, path: &str, content: &str) -> (u16, Lines) {
    let mut stream = UnixStream::connect(socket).expect("a control socket");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    let length = match content.len() {
        0 => String::new(),
        length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
    };
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{content}");
    stream.write_all(request.as_bytes()).expect("a request sent");
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let count = stream.read_until(b'\n', &mut head).expect("a head in time");
        assert!(count > 0, "no head: {:?}", String::from_utf8_lossy(&head));
    }
    let head = Response::from_head(&head);
    let length = head.header("Content-Length").and_then(|value| value.parse().ok());
    let framing = match length {
        _ if head.is_chunked() => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::Open,
    };
    (head.status, Lines { stream, framing, pending: Vec::new() })
}

impl Lines {
    /// The whole content, waiting for its end.
    pub fn rest(mut self) -> String {
        while self.more() {}
        String::from_utf8(self.pending).expect("a text")
    }

    /// Waits for more of the content; false at its end.
    fn more(&mut self) -> bool {
        let wanted = match &mut self.framing {
            Framing::Ended => return false,
            Framing::Open => usize::MAX,
            Framing::Length(left) => *left,
            Framing::Chunked => chunk_length(&mut self.stream),
        };
        if wanted == 0 {
            self.framing = Framing::Ended;
            return false;
        }
        match &mut self.framing {
            Framing::Chunked => self.take_chunk(wanted),
            _ => self.take_some(wanted),
        }
    }

    fn take_chunk(&mut self, length: usize) -> bool {
        let start = self.pending.len();
        self.pending.resize(start + length, 0);
        self.stream.read_exact(&mut self.pending[start..]).expect("a chunk");
        let mut end = [0; 2];
        self.stream.read_exact(&mut end).expect("the end of a chunk");
        true
    }

    fn take_some(&mut self, most: usize) -> bool {
        let some = self.stream.fill_buf().expect("content in time");
        let count = some.len().min(most);
        self.pending.extend_from_slice(&some[..count]);
        self.stream.consume(count);
        match &mut self.framing {
            Framing::Length(left) if count > 0 => *left -= count,
            Framing::Open if count > 0 => {}
            Framing::Open => self.framing = Framing::Ended,
            _ => panic!("the content is cut short"),
        }
        count > 0
    }
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=at).collect();
                return Some(String::from_utf8(line).expect("a text").trim_end().to_owned());
            }
            if !self.more() {
                let rest = std::mem::take(&mut self.pending);
                return (!rest.is_empty()).then(|| String::from_utf8(rest).expect("a text"));
            }
        }
    }
}

/// Reads the head of a chunk; after the last one also the empty line.
fn chunk_length(stream: &mut BufReader<UnixStream>) -> usize {
    let mut line = String::new();
    stream.read_line(&mut line).expect("the head of a chunk");
    let length = usize::from_str_radix(line.trim_end(), 16);
    let length = length.unwrap_or_else(|_| panic!("no chunk: {line:?}"));
    if length == 0 {
        stream.read_line(&mut line).expect("the end of the content");
    }
    length
}
