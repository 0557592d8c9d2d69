//! Owns the clients: connections that ask as soon as they can or at a rate (our own, or wrk's), and
//! connections that stay idle. Every answer is checked; a wrong one ends the run.

use crate::workload::Workload;
use crate::{Outcome, process, subject};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::UsageWho;
use std::io::{ErrorKind, Read, Write};
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
    pub load: Workload,
    pub connections: usize,
    pub duration: Duration,
    /// Requests a second in all, at equal distances; otherwise each connection asks as soon as it can.
    pub rate: Option<f64>,
}

impl Work {
    /// The small answer, without a duration: for `idle`.
    pub fn small(proxy: SocketAddr, connections: usize) -> Self {
        Self { proxy, load: Workload::small(), connections, duration: Duration::ZERO, rate: None }
    }
}

/// Runs wrk with one thread.
pub fn wrk(program: &Path, work: &Work) -> Outcome<Seen> {
    let before = process::usage(UsageWho::RUSAGE_CHILDREN)?;
    let output = subject::leashed(program)?
        .args(["--latency", "-t1", &format!("-c{}", work.connections)])
        .arg(format!("-d{}s", work.duration.as_secs().max(1)))
        .arg(format!("http://{}{}", work.proxy, work.load.path))
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

/// A connection of ours.
struct Conn {
    stream: TcpStream,
    /// What of the request has gone.
    written: usize,
    /// The answer's head, until it is complete.
    head: Vec<u8>,
    /// Bytes of body still to come.
    left: usize,
    /// An answer is awaited.
    busy: bool,
    asked: Instant,
}

impl Conn {
    fn open(proxy: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(proxy)?;
        stream.set_nodelay(true)?;
        let asked = Instant::now();
        Ok(Self { stream, written: 0, head: Vec::new(), left: 0, busy: false, asked })
    }

    /// Begins a request, as if at `asked`.
    fn ask(&mut self, request: &[u8], asked: Instant) -> Outcome<()> {
        (self.asked, self.written, self.busy) = (asked, 0, true);
        self.write(request)
    }

    /// Writes what the socket takes.
    fn write(&mut self, request: &[u8]) -> Outcome<()> {
        while let Some(rest) = request.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Reads once; true when an answer is complete.
    fn read(&mut self, buf: &mut [u8], body: usize) -> Outcome<bool> {
        let got = match self.stream.read(buf) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            got => got?,
        };
        if got == 0 {
            return Err("the proxy closed a connection too early".into());
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
        self.busy = self.left > 0;
        Ok(!self.busy)
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

/// Runs our own clients, in this process.
pub fn own(work: &Work) -> Outcome<Seen> {
    let mut clients = Clients::open(work)?;
    let before = process::usage(UsageWho::RUSAGE_SELF)?;
    let start = Instant::now();
    clients.begin()?;
    while start.elapsed() < work.duration {
        clients.turn(start)?;
    }
    let elapsed = start.elapsed();
    let cpu = process::usage(UsageWho::RUSAGE_SELF)?.saturating_sub(before);
    let mut times = clients.times;
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    Ok(Seen { requests: u32::try_from(times.len())?, elapsed, p99, cpu })
}

/// All connections of a run.
struct Clients<'a> {
    work: &'a Work,
    request: Vec<u8>,
    epoll: Epoll,
    events: Vec<EpollEvent>,
    conns: Vec<Conn>,
    /// Connections without a request, where a rate is kept.
    idle: Vec<usize>,
    /// Requests that were due so far.
    due: u64,
    times: Vec<Duration>,
    buf: Vec<u8>,
}

impl<'a> Clients<'a> {
    fn open(work: &'a Work) -> Outcome<Self> {
        let mut clients = Self {
            work,
            request: work.load.request(work.proxy),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); work.connections],
            conns: Vec::new(),
            idle: Vec::new(),
            due: 0,
            times: Vec::new(),
            buf: vec![0; 256 * 1024],
        };
        for token in 0..work.connections {
            let conn = clients.connect(token)?;
            clients.conns.push(conn);
        }
        Ok(clients)
    }

    /// A connection that is waited for: for writing only where there is much to write.
    fn connect(&self, token: usize) -> Outcome<Conn> {
        let conn = Conn::open(self.work.proxy)?;
        conn.stream.set_nonblocking(true)?;
        let mut flags = EpollFlags::EPOLLIN;
        if self.work.load.upload > 0 {
            flags |= EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        }
        self.epoll.add(&conn.stream, EpollEvent::new(flags, token as u64))?;
        Ok(conn)
    }

    fn begin(&mut self) -> Outcome<()> {
        if self.work.rate.is_some() {
            self.idle = (0..self.conns.len()).collect();
            return Ok(());
        }
        let now = Instant::now();
        self.conns.iter_mut().try_for_each(|conn| conn.ask(&self.request, now))
    }

    /// Asks what is due and reads what has come.
    fn turn(&mut self, start: Instant) -> Outcome<()> {
        let patience = match self.work.rate {
            Some(rate) => self.ask_due(start, rate)?,
            None => EpollTimeout::from(1000_u16),
        };
        let count = self.epoll.wait(&mut self.events, patience)?;
        if count == 0 && self.work.rate.is_none() {
            return Err("no answer for a second".into());
        }
        for at in 0..count {
            let token = usize::try_from(self.events[at].data())?;
            self.serve(token)?;
        }
        Ok(())
    }

    /// A request is asked when it is due, or as soon as a connection is free: it waits since it was due.
    fn ask_due(&mut self, start: Instant, rate: f64) -> Outcome<EpollTimeout> {
        loop {
            #[allow(clippy::cast_precision_loss, reason = "far fewer requests than that")]
            let at = start + Duration::from_secs_f64(self.due as f64 / rate);
            let now = Instant::now();
            if at > now {
                let soon = at - now < Duration::from_millis(1);
                return Ok(if soon { EpollTimeout::ZERO } else { EpollTimeout::from(1_u8) });
            }
            let Some(token) = self.idle.pop() else { return Ok(EpollTimeout::from(1_u8)) };
            self.due += 1;
            self.conns[token].ask(&self.request, at)?;
        }
    }

    fn serve(&mut self, token: usize) -> Outcome<()> {
        let conn = &mut self.conns[token];
        if self.work.load.upload > 0 && conn.busy {
            conn.write(&self.request)?;
        }
        if !conn.read(&mut self.buf, self.work.load.answer)? {
            return Ok(());
        }
        self.times.push(conn.asked.elapsed());
        if self.work.load.reconnects {
            self.end(token)?;
            self.conns[token] = self.connect(token)?;
        }
        if self.work.rate.is_some() {
            self.idle.push(token);
            return Ok(());
        }
        self.conns[token].ask(&self.request, Instant::now())
    }

    /// The proxy closes first, so that no port is left in TIME_WAIT on this side.
    fn end(&self, token: usize) -> Outcome<()> {
        let mut stream = &self.conns[token].stream;
        self.epoll.delete(stream)?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        match stream.read(&mut [0; 1])? {
            0 => Ok(()),
            _ => Err("the proxy sent more than an answer".into()),
        }
    }
}

/// Opens connections, one after the other, that are idle after one request each.
pub fn idle(work: &Work) -> Outcome<Vec<TcpStream>> {
    let request = work.load.request(work.proxy);
    let mut buf = vec![0; 64 * 1024];
    let mut streams = Vec::new();
    for _ in 0..work.connections {
        let mut conn = Conn::open(work.proxy)?;
        conn.stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        conn.ask(&request, Instant::now())?;
        while !conn.read(&mut buf, work.load.answer)? {}
        streams.push(conn.stream);
    }
    Ok(streams)
}
