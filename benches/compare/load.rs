//! Owns the clients: a closed loop of keep-alive connections (our own, or wrk's), and connections
//! that stay idle. Every answer is checked; a wrong one ends the run.

use crate::{Outcome, origin, process, subject};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::UsageWho;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a run of clients saw.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub requests: u32,
    pub elapsed: Duration,
    pub p99: Duration,
    /// CPU time of the clients themselves.
    pub cpu: Duration,
}

/// The work of one run.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub proxy: SocketAddr,
    pub path: &'static str,
    /// Bytes of body in each answer.
    pub body: usize,
    pub connections: usize,
    pub duration: Duration,
}

impl Work {
    /// The small answer, without a duration: for `idle`.
    pub fn small(proxy: SocketAddr, connections: usize) -> Self {
        let (path, body) = ("/small", origin::SMALL);
        Self { proxy, path, body, connections, duration: Duration::ZERO }
    }

    fn request(&self) -> String {
        format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", self.path, self.proxy)
    }
}

/// Runs wrk with one thread.
pub fn wrk(program: &Path, work: &Work) -> Outcome<Seen> {
    let before = process::usage(UsageWho::RUSAGE_CHILDREN)?;
    let output = subject::leashed(program)?
        .args(["--latency", "-t1", &format!("-c{}", work.connections)])
        .arg(format!("-d{}s", work.duration.as_secs().max(1)))
        .arg(format!("http://{}{}", work.proxy, work.path))
        .output()?;
    let cpu = process::usage(UsageWho::RUSAGE_CHILDREN)?.saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Socket errors") || text.contains("Non-2xx") {
        return Err(format!("wrk met errors:\n{text}").into());
    }
    let seen = read_wrk(&text).ok_or_else(|| format!("wrk printed something new:\n{text}"))?;
    Ok(Seen { cpu, ..seen })
}

/// `     99%    1.36ms` and `  151223 requests in 2.00s, 137.35MB read`.
fn read_wrk(text: &str) -> Option<Seen> {
    let p99 = text.lines().find_map(|line| line.trim().strip_prefix("99%"))?;
    let (requests, rest) = text.lines().find_map(|line| line.split_once(" requests in "))?;
    let elapsed = rest.split(',').next()?;
    Some(Seen {
        requests: requests.trim().parse().ok()?,
        elapsed: wrk_time(elapsed)?,
        p99: wrk_time(p99.trim())?,
        cpu: Duration::ZERO,
    })
}

fn wrk_time(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(digits.parse::<f64>().ok()? * unit).ok()
}

/// One connection of our own closed loop.
struct Conn {
    stream: TcpStream,
    /// The head of an answer until it is complete.
    head: Vec<u8>,
    /// Bytes of body still to come.
    left: usize,
    asked: Instant,
}

impl Conn {
    fn open(proxy: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(proxy)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, head: Vec::new(), left: 0, asked: Instant::now() })
    }

    fn ask(&mut self, request: &str) -> Outcome<()> {
        self.asked = Instant::now();
        Ok(self.stream.write_all(request.as_bytes())?)
    }

    /// Reads once; true when an answer is complete.
    fn read(&mut self, buf: &mut [u8], body: usize) -> Outcome<bool> {
        let got = self.stream.read(buf)?;
        if got == 0 {
            return Err("the proxy closed a keep-alive connection".into());
        }
        let mut got = &buf[..got];
        if self.left == 0 {
            self.head.extend_from_slice(got);
            let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else { return Ok(false) };
            check(&self.head[..end], body)?;
            got = &got[got.len() - (self.head.len() - end - 4)..];
            self.left = body;
            self.head.clear();
        }
        self.left = self.left.checked_sub(got.len()).ok_or("an answer is too long")?;
        Ok(self.left == 0)
    }
}

/// Refuses what is not `200` with the origin's `Content-Length`.
fn check(head: &[u8], body: usize) -> Outcome<()> {
    let text = String::from_utf8_lossy(head);
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    if text.starts_with("HTTP/1.1 200") && length.is_some_and(|n| n.parse() == Ok(body)) {
        return Ok(());
    }
    Err(format!("the proxy answered\n{text}").into())
}

/// Runs our own closed loop, in this process.
pub fn own(work: &Work) -> Outcome<Seen> {
    let request = work.request();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut conns = Vec::new();
    for token in 0..work.connections {
        let mut conn = Conn::open(work.proxy)?;
        epoll.add(&conn.stream, EpollEvent::new(EpollFlags::EPOLLIN, token as u64))?;
        conn.ask(&request)?;
        conns.push(conn);
    }
    let mut times = Vec::new();
    let mut buf = vec![0; 256 * 1024];
    let mut events = vec![EpollEvent::empty(); work.connections];
    let before = process::usage(UsageWho::RUSAGE_SELF)?;
    let start = Instant::now();
    while start.elapsed() < work.duration {
        let count = epoll.wait(&mut events, EpollTimeout::from(1000_u16))?;
        if count == 0 {
            return Err("no answer for a second".into());
        }
        for event in &events[..count] {
            let Some(conn) = conns.get_mut(usize::try_from(event.data())?) else { continue };
            if conn.read(&mut buf, work.body)? {
                times.push(conn.asked.elapsed());
                conn.ask(&request)?;
            }
        }
    }
    let elapsed = start.elapsed();
    let cpu = process::usage(UsageWho::RUSAGE_SELF)?.saturating_sub(before);
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    Ok(Seen { requests: u32::try_from(times.len())?, elapsed, p99, cpu })
}

/// Opens connections, one after the other, that are idle after one request each.
pub fn idle(work: &Work) -> Outcome<Vec<TcpStream>> {
    let request = work.request();
    let mut buf = vec![0; 64 * 1024];
    let mut streams = Vec::new();
    for _ in 0..work.connections {
        let mut conn = Conn::open(work.proxy)?;
        conn.stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        conn.ask(&request)?;
        while !conn.read(&mut buf, work.body)? {}
        streams.push(conn.stream);
    }
    Ok(streams)
}
