//! Owns the clients under whose eyes servers are changed: some that keep their connection and think
//! between two requests, and a stream of new connections with one request each. They run in a
//! thread of their own.

use crate::Outcome;
use crate::client::{self, Answer, Client};
use crate::server::LIMIT;
use crate::tally::{Class, Gaps, Loss, Tally};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};

#[derive(Clone, Copy, Debug)]
pub struct Volume {
    /// That keep their connection.
    pub clients: u32,
    /// New connections a second.
    pub rate: u32,
}

/// Mean time between an answer and the next request on the same connection.
pub const THINK: Duration = Duration::from_millis(50);

/// Asks for what has been seen since it was last asked for.
type Take = oneshot::Sender<Tally>;

/// Running clients; dropping it ends them.
pub struct Load {
    takes: Option<mpsc::UnboundedSender<Take>>,
    first: Arc<First>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(address: SocketAddr, volume: Volume) -> Outcome<Self> {
        let (takes, taken) = mpsc::unbounded_channel();
        let first = Arc::new(First::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&first);
        let run = move || {
            let world = Rc::new(World { address, first: shared, seen: RefCell::default() });
            LocalSet::new().block_on(&runtime, world.run(volume, taken));
        };
        let thread = std::thread::Builder::new().name("clients".into()).spawn(run)?;
        Ok(Self { takes: Some(takes), first, thread: Some(thread) })
    }

    /// What was seen since the last call.
    pub fn take(&self) -> Outcome<Tally> {
        let (sender, receiver) = oneshot::channel();
        let takes = self.takes.as_ref().ok_or("the clients have ended")?;
        takes.send(sender).map_err(|_| "the clients have ended")?;
        Ok(receiver.blocking_recv()?)
    }

    /// Waits for the first answer of that generation or a later one.
    pub fn first_answer(&self, generation: u64) -> Outcome<Instant> {
        self.first.wait(generation).ok_or_else(|| "the new one does not answer".into())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.takes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// When each generation first answered.
#[derive(Default)]
struct First {
    answers: Mutex<BTreeMap<u64, Instant>>,
    more: Condvar,
}

impl First {
    fn note(&self, generation: u64, now: Instant) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.entry(generation).or_insert(now);
        self.more.notify_all();
    }

    fn wait(&self, generation: u64) -> Option<Instant> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |answers: &BTreeMap<u64, Instant>| {
            answers.range(generation..).next().map(|(_, at)| *at)
        };
        let waited = self.more.wait_timeout_while(answers, LIMIT, |all| find(all).is_none());
        let (answers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        find(&answers)
    }
}

#[derive(Default)]
struct Seen {
    tally: Tally,
    gaps: Gaps,
    newest: Option<u64>,
}

/// What the clients share.
struct World {
    address: SocketAddr,
    first: Arc<First>,
    seen: RefCell<Seen>,
}

impl World {
    async fn run(self: Rc<Self>, volume: Volume, mut taken: mpsc::UnboundedReceiver<Take>) {
        for number in 0..volume.clients {
            spawn_local(Rc::clone(&self).keep(Dice(u64::from(number) + 1)));
        }
        spawn_local(Rc::clone(&self).arrive(Duration::from_secs(1) / volume.rate));
        while let Some(take) = taken.recv().await {
            let _ = take.send(std::mem::take(&mut self.seen.borrow_mut().tally));
        }
    }

    /// New connections, however many of the last ones are still waiting.
    async fn arrive(self: Rc<Self>, every: Duration) {
        let mut interval = tokio::time::interval(every);
        loop {
            let next = interval.tick().await.into_std() + every;
            self.seen.borrow_mut().gaps.arrived(next, Instant::now());
            spawn_local(Rc::clone(&self).once());
        }
    }

    async fn once(self: Rc<Self>) {
        let begun = Instant::now();
        let answer = async { Client::connect(self.address).await?.ask(client::CLOSE).await };
        let answer = answer.await;
        if self.note(begun, answer, |tally| &mut tally.new).is_some() {
            let seen = &mut *self.seen.borrow_mut();
            seen.gaps.answered(Instant::now(), &mut seen.tally);
        }
    }

    /// One client, which connects again whenever it has to.
    async fn keep(self: Rc<Self>, mut dice: Dice) {
        tokio::time::sleep(dice.time(THINK)).await;
        loop {
            self.connection(&mut dice).await;
            tokio::time::sleep(dice.time(THINK)).await;
        }
    }

    async fn connection(&self, dice: &mut Dice) {
        let mut begun = Instant::now();
        let mut client = match Client::connect(self.address).await {
            Ok(client) => client,
            Err(loss) => {
                self.note(begun, Err(loss), |tally| &mut tally.kept);
                return;
            }
        };
        loop {
            let answer = client.ask(client::KEEP).await;
            let Some(answer) = self.note(begun, answer, |tally| &mut tally.kept) else { return };
            if answer.last {
                self.seen.borrow_mut().tally.kept.told += 1;
                return;
            }
            if !client.pause(dice.time(THINK)).await {
                self.seen.borrow_mut().tally.kept.idle += 1;
                return;
            }
            begun = Instant::now();
        }
    }

    fn note(
        &self,
        begun: Instant,
        answer: Result<Answer, Loss>,
        class: impl Fn(&mut Tally) -> &mut Class,
    ) -> Option<Answer> {
        let seen = &mut *self.seen.borrow_mut();
        let class = class(&mut seen.tally);
        let now = Instant::now();
        match answer {
            Err(loss) => *class.lost.entry(loss).or_default() += 1,
            Ok(answer) => {
                class.times.push(now - begun);
                if seen.newest.is_none_or(|newest| newest < answer.generation) {
                    seen.newest = Some(answer.generation);
                    self.first.note(answer.generation, now);
                }
            }
        }
        answer.ok()
    }
}

/// Random enough for thinking times, and the same in each run.
struct Dice(u64);

impl Dice {
    /// xorshift64.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Exponentially distributed around the mean, at most five times it.
    fn time(&mut self, mean: Duration) -> Duration {
        let above = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        let share = (f64::from(above) + 1.0) / (f64::from(u32::MAX) + 2.0);
        mean.mul_f64((-share.ln()).min(5.0))
    }
}
