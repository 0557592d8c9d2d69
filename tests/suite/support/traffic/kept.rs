//! Clients that keep their connections and think between requests, as browsers and balancers do. A
//! connection that ends while they think, or after an answer that says so, is made anew.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::stream::{REQUEST, Silence, Stream};
use super::{Loss, Shared, all};

pub async fn run(shared: Rc<Shared>, clients: u32, think: Duration) {
    all((0..clients).map(|number| client(Rc::clone(&shared), number, think))).await;
}

async fn client(shared: Rc<Shared>, number: u32, think: Duration) {
    let mut thoughts = Thoughts { state: number, mean: think };
    while !shared.stopped() {
        if let Err(loss) = connection(&shared, &mut thoughts).await {
            shared.lose(loss);
        }
    }
}

/// One connection, until it is to end.
async fn connection(shared: &Shared, thoughts: &mut Thoughts) -> Result<(), Loss> {
    let mut stream = Stream::open(&shared.target).await?;
    shared.report.borrow_mut().connections += 1;
    while !shared.stopped() {
        if let Silence::Ended = stream.quiet(thoughts.next()).await? {
            shared.report.borrow_mut().closed_idle += 1;
            return Ok(());
        }
        let begun = Instant::now();
        stream.send(REQUEST).await?;
        let (head, content) = stream.answer().await?;
        shared.answer(begun, content);
        if head.header("Connection") == Some("close") {
            shared.report.borrow_mut().told_to_close += 1;
            return Ok(());
        }
    }
    Ok(())
}

/// How long to think: scattered between nothing and twice the mean, the same in every run.
struct Thoughts {
    state: u32,
    mean: Duration,
}

impl Thoughts {
    fn next(&mut self) -> Duration {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.mean * (self.state >> 16) / (1 << 15)
    }
}
