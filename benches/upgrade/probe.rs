//! Owns finding out when a server without other clients first answers from a generation.

use crate::client::{self, Answer};
use crate::{Outcome, server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// At once: a single connection would always go to the same sleeping worker, the oldest.
const BURST: usize = 4;
/// What starts needs the processor more than this does.
const PAUSE: Duration = Duration::from_millis(1);

/// Asks until there is an answer of that generation or a later one, and says when it came.
pub fn first_answer(address: SocketAddr, generation: u64) -> Outcome<Instant> {
    let deadline = Instant::now() + server::LIMIT;
    while Instant::now() < deadline {
        let streams: Outcome<Vec<TcpStream>> = (0..BURST).map(|_| ask(address)).collect();
        for mut stream in streams? {
            let answer = read(&mut stream)?;
            if answer.generation >= generation {
                return Ok(Instant::now());
            }
        }
        sleep(PAUSE);
    }
    Err(format!("no answer of generation {generation}").into())
}

/// Connects and sends a request.
fn ask(address: SocketAddr) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(client::CLOSE.as_bytes())?;
    Ok(stream)
}

/// Connects and asks for an answer after which the connection stays.
pub fn idle(address: SocketAddr) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(client::KEEP.as_bytes())?;
    read(&mut stream)?;
    Ok(stream)
}

fn read(stream: &mut TcpStream) -> Outcome<Answer> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..count]);
        match client::read(&bytes) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) if count > 0 => {}
            Ok(None) => return Err("a connection ended without an answer".into()),
            Err(loss) => return Err(loss.to_string().into()),
        }
    }
}
