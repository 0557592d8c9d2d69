//! Maintenance mode from the outside: who closes it and how, what survives, and what is proven.

mod barrier;
mod idle;
mod listing;
mod persistence;
mod race;
mod signals;
mod state_file;
mod tokens;
mod verbs;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{DEADLINE, OK, Origin, Said, Setup, Site, binary};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const STATE: &str = "state";

/// So many workers before a server, with `/shop` under a switch of its own; `more` is for `http`.
fn text(workers: usize, origin: &Origin, more: &str) -> String {
    let origin = origin.address();
    format!(
        "worker_processes {workers}; runtime_state %%dir%%/{STATE}; %%main%% events {{}}
        http {{ %%http%% access_log off; keepalive_requests 1000000; client_max_body_size 0; {more}
            server {{ listen %%listen%%;
                location / {{ proxy_pass http://{origin}; }}
                location /shop {{ maintenance shop; proxy_pass http://{origin}; }}
                location = /worker {{ maintenance off; return 200 $pid; }}
                location /chat {{ proxy_pass http://{origin};
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection upgrade; }} }} }}"
    )
}

/// The same, ready to be started. Upgrades end as soon as both versions serve.
fn setup(workers: usize, origin: &Origin, more: &str) -> Setup {
    let main = "upgrade_watch 0; upgrade_rollback_window 0;";
    Setup::main(&text(workers, origin, more)).set("main", main).error_level("notice")
}

/// Runs `proxyd ctl`.
fn ctl(site: &Site, words: &[&str]) -> Said {
    let words: Vec<&str> = ["ctl"].into_iter().chain(words.iter().copied()).collect();
    site.change(&binary(), &words)
}

/// The same, which must go well.
fn done(site: &Site, words: &[&str]) -> String {
    let said = ctl(site, words);
    assert_eq!((said.code, said.errors.as_str()), (Some(0), ""), "{words:?}: {said:?}");
    said.out
}

fn on(site: &Site) {
    done(site, &["maintenance", "on"]);
}

fn off(site: &Site) {
    done(site, &["maintenance", "off"]);
}

/// What the server says of its switches, by their names.
fn switches(site: &Site) -> BTreeMap<String, Value> {
    let (status, text) = site.control("GET", "/1/proxyd/maintenance");
    assert_eq!(status, 200, "{text}");
    let all: Vec<Value> = serde_json::from_str(&text).expect("a list");
    all.into_iter().map(|one| (one["name"].as_str().expect("a name").to_owned(), one)).collect()
}

fn switch(site: &Site, name: &str) -> Value {
    switches(site).remove(name).unwrap_or_else(|| panic!("no switch {name}"))
}

fn is_closed(site: &Site, path: &str) -> bool {
    match site.get(path).status {
        200 => false,
        503 => true,
        other => panic!("{other}"),
    }
}

/// Fails unless `/` and `/shop` are closed, or not, for clients and by the server's own word.
fn expect(site: &Site, default: bool, shop: bool) {
    let states = switches(site);
    for (path, name, closed) in [("/", "default", default), ("/shop", "shop", shop)] {
        assert_eq!(is_closed(site, path), closed, "{path}: {states:#?}");
        assert_eq!(states[name]["state"] == "closed", closed, "{states:#?}");
    }
}

/// The worker that answers on a connection of its own.
fn worker(site: &Site) -> Pid {
    Pid::from_raw(site.get("/worker").text().parse().expect("a process id"))
}

/// A server behind that keeps every request until it is let go, and knows how many it has.
#[derive(Clone, Default)]
struct Slow(Arc<(Mutex<Held>, Condvar)>);

#[derive(Default)]
struct Held {
    /// Requests that have come and were not answered.
    now: usize,
    /// All that have come.
    all: usize,
    /// How many may be answered.
    free: usize,
}

impl Slow {
    fn origin(&self) -> Origin {
        let slow = self.clone();
        Origin::new(move |peer| {
            while let Some(request) = peer.request() {
                if request.starts_with(b"GET /chat") {
                    return;
                }
                slow.keep();
                peer.send(OK);
            }
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        let changed = change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
        changed
    }

    /// Waits until it is so, and changes it before anybody else can.
    fn when(&self, enough: impl Fn(&Held) -> bool, change: impl FnOnce(&mut Held)) {
        let (held, woken) = &*self.0;
        let held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = woken.wait_timeout_while(held, DEADLINE, |held| !enough(held));
        let (mut held, time) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!time.timed_out(), "it did not come in time");
        change(&mut held);
        woken.notify_all();
    }

    fn keep(&self) {
        self.change(|held| (held.now, held.all) = (held.now + 1, held.all + 1));
        self.when(
            |held| held.free > 0,
            |held| (held.now, held.free) = (held.now - 1, held.free - 1),
        );
    }

    /// Waits until so many are kept.
    fn has(&self, number: usize) {
        self.when(|held| held.now == number, |_| {});
    }

    /// Lets so many go.
    fn free(&self, number: usize) {
        self.change(|held| held.free += number);
    }
}
