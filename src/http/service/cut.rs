//! Owns the end of the connections that outlast the time a worker has for leaving: one by one, so that
//! their clients do not come back all at once.
//!
//! Must not close anything: a connection's own task does, when it finds that it is cut.

use super::Service;
use crate::http::client::Doing;
use crate::log::counted;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How many connections were cut, by what they were at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    websocket: u64,
    request: u64,
    idle: u64,
}

impl Tally {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.websocket + self.request + self.idle
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cut", counted(self.sum(), "connection"))?;
        let kinds = [(self.websocket, "websocket"), (self.request, "request"), (self.idle, "idle")];
        let mut before = " (";
        for (number, kind) in kinds.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, "{before}{number} {kind}")?;
            before = ", ";
        }
        f.write_str(if self.sum() > 0 { ")" } else { "" })
    }
}

impl Service {
    /// What has been cut so far.
    pub fn tally(&self) -> Tally {
        self.tally.get()
    }

    /// Cuts what is still open in the last fifth of the time `limit` that begins now: one connection
    /// after the other at equal distances, and the last one at the end.
    pub async fn cut_within(self: Rc<Self>, limit: Duration) {
        let end = Instant::now() + limit;
        let window = limit / 5;
        sleep_until(end - window).await;
        let left = self.unfinished();
        let step = window / u32::try_from(left.len().max(1)).unwrap_or(u32::MAX);
        let mut at = end - window + some_of(step);
        for number in left.split_last().map_or(&[][..], |(_, others)| others) {
            // Timers count milliseconds: of many connections several are due at a time.
            if at > Instant::now() {
                sleep_until(at).await;
            }
            self.cut(*number);
            at += step;
        }
        sleep_until(end).await;
        // In a short time some may have been accepted after the others were counted.
        for number in self.unfinished() {
            self.cut(number);
        }
        let mut tally = self.tally.get();
        tally.request += self.live().background.cut() as u64;
        self.tally.set(tally);
    }

    /// The connections that are not about to end anyway.
    fn unfinished(&self) -> Vec<u64> {
        let open = self.open.borrow();
        let left = open.values().filter(|c| !c.is_cut() && c.doing.get() != Doing::Closing);
        left.map(|client| client.number).collect()
    }

    fn cut(&self, number: u64) {
        // It may have ended, or begun to, while it waited for its turn.
        let Some(client) = self.open.borrow().get(&number).cloned() else { return };
        let mut tally = self.tally.get();
        match client.doing.get() {
            Doing::Tunnel => tally.websocket += 1,
            Doing::Request => tally.request += 1,
            Doing::Idle => tally.idle += 1,
            Doing::Closing => return,
        }
        self.tally.set(tally);
        client.cut();
    }
}

/// Any part of `step`: workers that leave together are not to cut at the same instants.
fn some_of(step: Duration) -> Duration {
    let thousandths = RandomState::new().hash_one(0) % 1000;
    step / 1000 * u32::try_from(thousandths).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::Site;
    use crate::net::Peer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    #[test]
    fn only_kinds_that_occur_are_told() {
        let tally = |websocket, request, idle| Tally { websocket, request, idle }.to_string();
        assert_eq!(tally(11, 1, 0), "12 connections cut (11 websocket, 1 request)");
        assert_eq!(tally(0, 0, 3), "3 connections cut (3 idle)");
        assert_eq!(tally(1, 2, 3), "6 connections cut (1 websocket, 2 request, 3 idle)");
        assert_eq!(tally(0, 1, 0), "1 connection cut (1 request)");
        assert_eq!(tally(0, 0, 0), "0 connections cut");
    }

    /// A connection as if just accepted: the client's end.
    fn open(service: &Rc<Service>) -> UnixStream {
        let (near, far) = UnixStream::pair().unwrap();
        let bound = crate::net::Address::Inet(std::net::SocketAddr::from(([0; 4], 80)));
        service.open(far.into(), Peer::Unix, &bound.into());
        near
    }

    /// When it ends, from `begun` on; it is closed then.
    async fn end(mut client: UnixStream, begun: Instant) -> Duration {
        assert_eq!(client.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        begun.elapsed()
    }

    fn run(test: impl AsyncFnOnce(Rc<Service>)) {
        let site = Site::new("client_header_timeout 1h;", "");
        let service = Service::new(site.snapshot, Rc::into_inner(site.live).unwrap(), 100);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test(service));
    }

    #[test]
    fn what_is_left_ends_evenly_in_the_last_fifth() {
        run(async |service| {
            let (begun, limit) = (Instant::now(), Duration::from_secs(50));
            let ends = [(); 5].map(|()| tokio::task::spawn_local(end(open(&service), begun)));
            let cutting = tokio::task::spawn_local(service.clone().cut_within(limit));
            let mut times = Vec::new();
            for time in ends {
                times.push(time.await.unwrap().as_secs_f64());
            }
            assert!((40.0..42.01).contains(&times[0]), "{times:?}");
            for pair in times[..4].windows(2) {
                assert!((1.99..2.01).contains(&(pair[1] - pair[0])), "{times:?}");
            }
            assert!((50.0..50.01).contains(&times[4]), "{times:?}");
            cutting.await.unwrap();
            assert_eq!(service.tally(), Tally { idle: 5, ..Tally::default() });
            service.drained().await;
        });
    }

    #[test]
    fn who_ends_meanwhile_or_is_ending_is_not_cut() {
        run(async |service| {
            let limit = Duration::from_secs(50);
            let mut clients = [(); 4].map(|()| open(&service));
            let cutting = tokio::task::spawn_local(service.clone().cut_within(limit));
            tokio::time::sleep(Duration::from_secs(40)).await;
            // The later two, while the earlier are cut.
            let [first, second, third, fourth] = &mut clients;
            third.shutdown().await.unwrap();
            fourth.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            fourth.read_to_string(&mut String::new()).await.unwrap();
            for client in [first, second] {
                assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
            }
            cutting.await.unwrap();
            assert_eq!(service.tally(), Tally { idle: 2, ..Tally::default() });
            service.drained().await;
        });
    }

    /// Nobody is missed, however short the time.
    #[test]
    fn no_time_at_all_is_enough() {
        run(async |service| {
            let client = open(&service);
            service.clone().cut_within(Duration::ZERO).await;
            assert_eq!(service.tally().sum(), 1);
            end(client, Instant::now()).await;
            service.drained().await;
        });
    }
}
