//! New connections at a steady rate, each for one request; late answers do not slow the rate.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::stream::{LAST_REQUEST, Stream};
use super::{Loss, Shared};

pub async fn run(shared: Rc<Shared>, per_second: u32) {
    let mut under_way = JoinSet::new();
    while shared.pause(Duration::from_secs(1) / per_second).await {
        under_way.spawn_local(client(Rc::clone(&shared)));
        while under_way.try_join_next().is_some() {}
    }
    under_way.join_all().await;
}

async fn client(shared: Rc<Shared>) {
    if let Err(loss) = request(&shared).await {
        shared.lose(loss);
    }
}

async fn request(shared: &Shared) -> Result<(), Loss> {
    let begun = Instant::now();
    let mut stream = Stream::open(&shared.target).await?;
    shared.report.borrow_mut().connections += 1;
    stream.send(LAST_REQUEST).await?;
    let (_, content) = stream.answer().await?;
    shared.answer(begun, content);
    Ok(())
}
