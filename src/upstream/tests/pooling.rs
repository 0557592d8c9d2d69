//! Kept connections: reuse, limits, and never one that the origin has touched.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

use super::{local, spec};
use crate::net::Address;
use crate::upstream::{Group, GroupSpec, KeepaliveSpec, PeerRef, Pooled, ServerSpec, Tag};

/// Of the location with this number.
fn tag(settings: usize) -> Tag {
    Tag::new(settings, None, None)
}

/// A group of unix sockets: they need no port and report a close at once.
struct Bench {
    group: Rc<Group>,
    directory: tempfile::TempDir,
    listeners: Vec<UnixListener>,
}

impl Bench {
    fn new(servers: usize, keepalive: KeepaliveSpec) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..servers).map(|i| directory.path().join(i.to_string())).collect();
        let listeners = paths.iter().map(|path| UnixListener::bind(path).unwrap()).collect();
        let servers = paths.into_iter().map(|path| ServerSpec::new("s", vec![Address::Unix(path)]));
        let group = Group::new(GroupSpec { keepalive, ..spec(servers.collect()) });
        Self { group, directory, listeners }
    }

    fn peer(&self) -> PeerRef {
        self.group.select(&mut self.group.selection(None), Instant::now()).unwrap()
    }

    /// A new connection and the origin's end of it.
    async fn connect(&self, peer: &PeerRef) -> (Pooled, UnixStream) {
        let stream = crate::upstream::connect(
            peer.address(),
            Duration::from_secs(5),
            &crate::upstream::SocketOptions::default(),
        )
        .await
        .unwrap();
        let number: usize = match peer.address() {
            Address::Unix(path) => {
                path.strip_prefix(self.directory.path()).unwrap().to_str().unwrap().parse().unwrap()
            }
            Address::Inet(_) => unreachable!(),
        };
        let (origin, _) = self.listeners[number].accept().await.unwrap();
        (Pooled { stream, requests: 1, since: Instant::now() }, origin)
    }

    fn put(&self, peer: &PeerRef, pooled: Pooled) -> bool {
        self.group.pool().put(peer, tag(1), pooled, Instant::now())
    }

    fn take(&self, peer: &PeerRef) -> Option<Pooled> {
        self.group.pool().take(peer, &tag(1))
    }

    /// Lets the event loop and the watching task run until the pool holds this many.
    async fn until_idle_is(&self, count: usize) {
        let settled = async {
            while self.group.pool().len() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), settled)
            .await
            .expect("the pool does not settle");
    }
}

fn with(connections: usize) -> KeepaliveSpec {
    KeepaliveSpec { connections, ..KeepaliveSpec::default() }
}

fn descriptor(pooled: &Pooled) -> i32 {
    use std::os::fd::{AsFd, AsRawFd};
    pooled.stream.socket().unwrap().as_fd().as_raw_fd()
}

#[test]
fn the_last_used_is_reused_first() {
    local(async {
        let bench = Bench::new(1, with(3));
        let peer = bench.peer();
        let (first, _a) = bench.connect(&peer).await;
        let (second, _b) = bench.connect(&peer).await;
        let (one, two) = (descriptor(&first), descriptor(&second));
        assert!(bench.put(&peer, first) && bench.put(&peer, second));
        let again = bench.take(&peer).unwrap();
        assert_eq!(descriptor(&again), two);
        assert_eq!(descriptor(&bench.take(&peer).unwrap()), one);
        assert!(bench.take(&peer).is_none());
    });
}

#[test]
fn only_the_same_address_and_tag_match() {
    local(async {
        let bench = Bench::new(2, with(3));
        let (one, two) = (bench.peer(), bench.peer());
        assert_ne!(one.name(), two.name());
        let (pooled, _a) = bench.connect(&one).await;
        bench.put(&one, pooled);
        assert!(bench.take(&two).is_none());
        assert!(bench.group.pool().take(&one, &tag(2)).is_none());
        assert!(bench.take(&one).is_some());
    });
}

/// Whoever shares connections otherwise.
#[test]
fn what_is_spoken_below_must_be_the_same() {
    local(async {
        let bench = Bench::new(1, KeepaliveSpec { local: false, ..with(1) });
        let (peer, pool) = (bench.peer(), bench.group.pool());
        let below = |text: &str| Tag::new(1, None, Some(text.as_bytes().into()));
        let (pooled, _a) = bench.connect(&peer).await;
        pool.put(&peer, below("one"), pooled, Instant::now());
        assert!(pool.take(&peer, &below("two")).is_none());
        assert!(bench.take(&peer).is_none());
        assert!(pool.take(&peer, &below("one")).is_some());
    });
}

#[test]
fn without_local_any_location_may_take_it() {
    local(async {
        let bench = Bench::new(1, KeepaliveSpec { local: false, ..with(1) });
        let peer = bench.peer();
        let (pooled, _a) = bench.connect(&peer).await;
        bench.put(&peer, pooled);
        assert!(bench.group.pool().take(&peer, &tag(2)).is_some());
    });
}

#[test]
fn a_renewed_pool_keeps_nothing_from_before() {
    local(async {
        let bench = Bench::new(1, with(3));
        let peer = bench.peer();
        let (idle, _a) = bench.connect(&peer).await;
        let (busy, _b) = bench.connect(&peer).await;
        bench.put(&peer, idle);
        assert_eq!(bench.group.pool().renew(Instant::now()), 1);
        assert!(!bench.put(&peer, busy), "it is from before");
        assert_eq!(bench.group.pool().renew(Instant::now()), 0);
        let (mut new, _c) = bench.connect(&peer).await;
        new.since += Duration::from_millis(1);
        assert!(bench.put(&peer, new));
    });
}

#[test]
fn the_least_recently_used_makes_room() {
    local(async {
        let bench = Bench::new(1, with(2));
        let peer = bench.peer();
        let mut origins = Vec::new();
        for _ in 0..3 {
            let (pooled, origin) = bench.connect(&peer).await;
            bench.put(&peer, pooled);
            origins.push(origin);
        }
        assert_eq!(bench.group.pool().len(), 2);
        origins[0].readable().await.unwrap();
        assert_eq!(origins[0].try_read(&mut [0]).unwrap(), 0);
        assert!(origins[1].try_read(&mut [0]).is_err());
    });
}

#[test]
fn a_connection_worn_out_is_not_kept() {
    local(async {
        let hour = Duration::from_hours(1);
        let bench = Bench::new(1, KeepaliveSpec { requests: 3, time: hour, ..with(1) });
        let peer = bench.peer();
        let now = Instant::now();
        for (requests, age, kept) in [(2, hour, true), (3, hour, false), (1, hour * 2, false)] {
            let (fresh, _origin) = bench.connect(&peer).await;
            let pooled = Pooled { requests, since: now, ..fresh };
            assert_eq!(bench.group.pool().put(&peer, tag(1), pooled, now + age), kept);
            bench.take(&peer);
        }
        let off = Bench::new(1, KeepaliveSpec::OFF);
        let peer = off.peer();
        let (pooled, _origin) = off.connect(&peer).await;
        assert!(!off.put(&peer, pooled));
    });
}

#[test]
fn a_connection_closed_by_the_origin_is_dropped_soon() {
    local(async {
        let bench = Bench::new(1, with(8));
        let peer = bench.peer();
        let (pooled, origin) = bench.connect(&peer).await;
        let (other, _kept) = bench.connect(&peer).await;
        bench.put(&peer, pooled);
        bench.put(&peer, other);
        drop(origin);
        bench.until_idle_is(1).await;
        assert!(bench.take(&peer).is_some());
    });
}

#[test]
fn unasked_bytes_drop_the_connection() {
    local(async {
        let bench = Bench::new(1, with(8));
        let peer = bench.peer();
        let (pooled, mut origin) = bench.connect(&peer).await;
        bench.put(&peer, pooled);
        // The second time round the watching task has lost and regained its timer and waker.
        for _ in 0..2 {
            let pooled = bench.take(&peer).unwrap();
            assert!(bench.put(&peer, pooled));
        }
        origin.write_all(b"HTTP/1.1 408\r\n").await.unwrap();
        bench.until_idle_is(0).await;
        let (pooled, origin) = bench.connect(&peer).await;
        bench.put(&peer, pooled);
        drop(origin);
        bench.until_idle_is(0).await;
    });
}

#[test]
fn bytes_already_there_refuse_the_connection() {
    local(async {
        let bench = Bench::new(1, with(8));
        let peer = bench.peer();
        let (pooled, mut origin) = bench.connect(&peer).await;
        origin.write_all(b"x").await.unwrap();
        pooled.stream.readable().await.unwrap();
        assert!(!bench.put(&peer, pooled));
    });
}

/// Readiness seen by the event loop between put and take is enough, even if the task has not run.
#[test]
fn a_disturbed_connection_is_never_taken() {
    local(async {
        let bench = Bench::new(1, with(8));
        let peer = bench.peer();
        let (pooled, mut origin) = bench.connect(&peer).await;
        let (probe, mut probe_origin) = bench.connect(&peer).await;
        bench.put(&peer, pooled);
        bench.until_idle_is(1).await;
        origin.write_all(b"x").await.unwrap();
        probe_origin.write_all(b"x").await.unwrap();
        probe.stream.readable().await.unwrap();
        assert!(bench.take(&peer).is_none());
    });
}

/// What has been read already must not count against a connection.
#[test]
fn a_connection_read_empty_is_kept() {
    local(async {
        let bench = Bench::new(1, with(8));
        let peer = bench.peer();
        let (mut pooled, mut origin) = bench.connect(&peer).await;
        for _ in 0..3 {
            origin.write_all(b"answer").await.unwrap();
            pooled.stream.readable().await.unwrap();
            // A buffer exactly full leaves the readiness behind.
            assert_eq!(pooled.stream.try_read(&mut [0; 6]).unwrap(), 6);
            assert!(bench.put(&peer, pooled));
            tokio::task::yield_now().await;
            pooled = bench.take(&peer).unwrap();
        }
    });
}

#[test]
fn an_idle_connection_expires() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let timeout = Duration::from_mins(1);
        let bench = Bench::new(1, KeepaliveSpec { timeout, ..with(8) });
        let peer = bench.peer();
        let (first, _a) = bench.connect(&peer).await;
        let (second, _b) = bench.connect(&peer).await;
        bench.put(&peer, first);
        tokio::time::sleep(Duration::from_secs(40)).await;
        bench.put(&peer, second);
        tokio::time::sleep(Duration::from_secs(19)).await;
        assert_eq!(bench.group.pool().len(), 2);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(bench.group.pool().len(), 1);
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert!(bench.group.pool().is_empty());
        // From rest it must start again.
        let (third, _c) = bench.connect(&peer).await;
        bench.put(&peer, third);
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(bench.group.pool().len(), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(bench.group.pool().is_empty());
    });
}

#[test]
fn a_closed_pool_keeps_nothing() {
    local(async {
        let bench = Bench::new(1, with(8));
        let peer = bench.peer();
        let (pooled, _a) = bench.connect(&peer).await;
        let (late, _b) = bench.connect(&peer).await;
        bench.put(&peer, pooled);
        bench.group.pool().close();
        assert!(bench.group.pool().is_empty());
        assert!(!bench.put(&peer, late));
    });
}

#[test]
fn the_watching_task_ends_with_its_group() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    let after_its_start = |started: bool| async move {
        let bench = Bench::new(1, with(8));
        let peer = bench.peer();
        let (pooled, _origin) = bench.connect(&peer).await;
        bench.put(&peer, pooled);
        if started {
            tokio::task::yield_now().await;
        }
    };
    tasks.block_on(&runtime, after_its_start(true));
    tasks.block_on(&runtime, after_its_start(false));
    // A set of tasks is finished when each of them is.
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), tasks).await }).unwrap();
}
