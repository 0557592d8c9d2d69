//! A bare TCP relay: what it costs to carry bytes through one thread, without looking at them.
//! The floor of the comparison; must not learn HTTP.

use crate::listening::{LISTENER, Watch};
use nix::sys::epoll::EpollFlags;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

/// One direction's end: the stream, and bytes that could not be written to it yet.
struct End {
    stream: TcpStream,
    pending: Vec<u8>,
    ended: bool,
}

impl End {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, pending: Vec::new(), ended: false })
    }

    /// Writes what it can; the rest is kept.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        self.pending = bytes.to_vec();
        Ok(())
    }

    /// Reading waits while the other end is full.
    fn interest(&self, other: &End) -> EpollFlags {
        let mut wanted = EpollFlags::empty();
        wanted.set(EpollFlags::EPOLLIN, other.pending.is_empty() && !self.ended);
        wanted.set(EpollFlags::EPOLLOUT, !self.pending.is_empty());
        wanted
    }
}

/// Client and upstream; tokens are twice the pair's index, plus one for the upstream.
type Pair = [End; 2];

/// Relays until it is killed.
pub fn run(listen: SocketAddr, upstream: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    let mut watch = Watch::new(&listener)?;
    let mut pairs: Vec<Option<Pair>> = Vec::new();
    let mut buf = vec![0; 256 * 1024];
    loop {
        for (token, flags) in watch.wait()? {
            match token {
                LISTENER => {
                    // A connect on loopback is over at once, or refused.
                    let pair = [listener.accept()?.0, TcpStream::connect(upstream)?];
                    let [client, origin] = pair;
                    adopt(&watch, &mut pairs, [End::new(client)?, End::new(origin)?])?;
                }
                token => {
                    let Some(slot) = pairs.get_mut(token / 2) else { continue };
                    let Some(pair) = slot else { continue };
                    // Not readable, and yet there is news: the connection was reset.
                    let reset = !flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT);
                    if reset || !carry(&watch, pair, token, &mut buf).unwrap_or(false) {
                        *slot = None;
                    }
                }
            }
        }
    }
}

fn adopt(watch: &Watch, pairs: &mut Vec<Option<Pair>>, pair: Pair) -> io::Result<()> {
    let at = pairs.iter().position(Option::is_none).unwrap_or(pairs.len());
    watch.add(&pair[0].stream, at * 2)?;
    watch.add(&pair[1].stream, at * 2 + 1)?;
    match pairs.get_mut(at) {
        Some(slot) => *slot = Some(pair),
        None => pairs.push(Some(pair)),
    }
    Ok(())
}

/// Moves what can be moved from and to the end an event was about; false when both are done.
fn carry(watch: &Watch, pair: &mut Pair, token: usize, buf: &mut [u8]) -> io::Result<bool> {
    let [client, origin] = pair;
    let (this, other) = if token.is_multiple_of(2) { (client, origin) } else { (origin, client) };
    let before = (this.interest(other), other.interest(this));
    if !this.pending.is_empty() {
        let pending = std::mem::take(&mut this.pending);
        this.write(&pending)?;
    }
    if other.pending.is_empty() && !this.ended {
        match this.stream.read(buf) {
            Ok(0) => {
                this.ended = true;
                other.stream.shutdown(Shutdown::Write)?;
            }
            Ok(n) => other.write(&buf[..n])?,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    let after = (this.interest(other), other.interest(this));
    if after.0 != before.0 {
        watch.change(&this.stream, token, after.0)?;
    }
    if after.1 != before.1 {
        watch.change(&other.stream, token ^ 1, after.1)?;
    }
    Ok(!(this.ended && other.ended))
}
