//! Keep-alive clients that ask as fast as they are answered, and what became of it.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::client::find;
use super::response::Response;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Running clients. Stop them, or dropping it will.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Tally>>,
}

/// What clients have seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that got a whole answer with status 200.
    pub answered: usize,
    /// Connections made.
    pub connections: usize,
    /// Everything else: what the last answer on that connection was, and what happened.
    pub failures: Vec<(Option<String>, String)>,
    /// Every different content.
    pub contents: BTreeSet<String>,
    /// How long answers took.
    pub times: Vec<Duration>,
}

impl Load {
    /// Starts so many clients; each keeps its connection until the server says otherwise.
    pub fn start(address: SocketAddr, clients: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let threads = (0..clients).map(|_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || run(address, &stop, &answered))
        });
        let threads = threads.collect();
        Load { stop, answered, threads }
    }

    /// Requests answered so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Relaxed)
    }

    /// Lets every client finish its request.
    pub fn stop(mut self) -> Tally {
        self.stop.store(true, Relaxed);
        let mut all = Tally::default();
        for thread in self.threads.drain(..) {
            let one = thread.join().expect("a client");
            all.answered += one.answered;
            all.connections += one.connections;
            all.failures.extend(one.failures);
            all.contents.extend(one.contents);
            all.times.extend(one.times);
        }
        all.times.sort();
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn run(address: SocketAddr, stop: &AtomicBool, answered: &AtomicUsize) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Relaxed) {
        let mut last = None;
        if let Err(error) = connection(address, stop, answered, &mut tally, &mut last) {
            tally.failures.push((last, error.to_string()));
        }
    }
    tally
}

/// One connection, until it is to end.
fn connection(
    address: SocketAddr,
    stop: &AtomicBool,
    answered: &AtomicUsize,
    tally: &mut Tally,
    last: &mut Option<String>,
) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    tally.connections += 1;
    while !stop.load(Relaxed) {
        let begun = Instant::now();
        stream.write_all(REQUEST)?;
        let (head, content) = answer(&mut stream)?;
        if head.status != 200 {
            return Err(io::Error::other(head.status_line));
        }
        tally.times.push(begun.elapsed());
        tally.answered += 1;
        answered.fetch_add(1, Relaxed);
        if last.as_ref() != Some(&content) {
            tally.contents.insert(content.clone());
            *last = Some(content);
        }
        if head.header("Connection") == Some("close") {
            break;
        }
    }
    Ok(())
}

/// A call that a signal to this process does not end.
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Reads one answer with a `Content-Length`.
fn answer(stream: &mut TcpStream) -> io::Result<(Response, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let mut more = |bytes: &mut Vec<u8>| match uninterrupted(|| stream.read(&mut buffer))? {
        0 if bytes.is_empty() => Err(io::Error::other("closed without an answer")),
        0 => Err(io::Error::other("closed within an answer")),
        count => {
            bytes.extend_from_slice(&buffer[..count]);
            Ok(())
        }
    };
    let head = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break bytes.drain(..at + 4).collect::<Vec<u8>>();
        }
        more(&mut bytes)?;
    };
    let head = Response::from_head(&head);
    let length = head.header("Content-Length").and_then(|value| value.parse().ok());
    let length: usize = length.ok_or_else(|| io::Error::other("an answer without a length"))?;
    while bytes.len() < length {
        more(&mut bytes)?;
    }
    Ok((head, String::from_utf8_lossy(&bytes).into_owned()))
}
