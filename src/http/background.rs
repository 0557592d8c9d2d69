//! Owns the subrequests that go on when their request has been answered: how many there may be, and
//! that a worker which leaves waits for them.
//!
//! Must not know what they are for.

use super::client::Client;
use super::request::Request;
use super::subrequest;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::sync::Notify;

/// How many a worker has at a time. More would only pile up before a server that is too slow for them.
const MOST: usize = 512;

/// What goes on in the background of a worker, whatever configuration it began under.
#[derive(Debug, Default)]
pub struct Background {
    under_way: RefCell<Vec<Rc<Client>>>,
    ended: Notify,
    /// The log has been told that there are too many.
    told: Cell<bool>,
}

/// Why a subrequest was not begun.
#[derive(Debug)]
pub enum Refusal {
    /// There are as many as there may be; `first` since there was room.
    TooMany { first: bool },
    /// It cannot stand without its request.
    Failed(io::Error),
}

impl Background {
    /// How many are under way.
    pub fn len(&self) -> usize {
        self.under_way.borrow().len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all of them.
    pub fn cut(&self) -> usize {
        self.under_way.borrow().iter().for_each(|client| client.cut());
        self.len()
    }

    /// Resolves when the next one has ended.
    pub async fn next_end(&self) {
        self.ended.notified().await;
    }

    /// Lets a subrequest go on by itself. Whoever asked for it hears no more of it, and its client may
    /// go meanwhile.
    pub fn begin(self: &Rc<Self>, mut sub: Request) -> Result<(), Refusal> {
        if self.len() >= MOST {
            return Err(Refusal::TooMany { first: !self.told.replace(true) });
        }
        let client = sub.client.stand_in().map(Rc::new).map_err(Refusal::Failed)?;
        sub.client = client.clone();
        self.under_way.borrow_mut().push(client.clone());
        let place = Place { background: self.clone(), client };
        tokio::task::spawn_local(async move {
            let client = place.client.clone();
            poll_fn(|cx| {
                client.served_by(cx);
                Poll::Ready(())
            })
            .await;
            {
                let mut work = pin!(whole(&mut sub));
                poll_fn(
                    |cx| if client.is_cut() { Poll::Ready(()) } else { work.as_mut().poll(cx) },
                )
                .await;
            }
            drop(sub);
            drop(place);
        });
        Ok(())
    }
}

async fn whole(sub: &mut Request) {
    subrequest::run(sub).await;
    subrequest::read_through(sub).await;
    subrequest::dismiss(sub).await;
}

/// A place among those under way, given up however it ends.
struct Place {
    background: Rc<Background>,
    client: Rc<Client>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut others = self.background.under_way.borrow_mut();
        others.retain(|other| !Rc::ptr_eq(other, &self.client));
        self.background.told.set(self.background.told.get() && others.len() > MOST / 2);
        self.background.ended.notify_one();
    }
}
