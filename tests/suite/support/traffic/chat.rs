//! Websockets on which every message must come back as it was sent.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::stream::{Silence, Stream};
use super::{Loss, Shared, all};
use crate::support::websocket::{Frame, HANDSHAKE};

pub async fn run(shared: Rc<Shared>, clients: u32, pause: Duration) {
    all((0..clients).map(|number| client(Rc::clone(&shared), number, pause))).await;
}

async fn client(shared: Rc<Shared>, number: u32, pause: Duration) {
    while !shared.stopped() {
        if let Err(loss) = connection(&shared, number, pause).await {
            shared.lose(loss);
        }
    }
}

async fn connection(shared: &Shared, number: u32, pause: Duration) -> Result<(), Loss> {
    let mut stream = Stream::open(&shared.target).await?;
    shared.report.borrow_mut().connections += 1;
    stream.send(format!("GET /chat HTTP/1.1\r\n{HANDSHAKE}").as_bytes()).await?;
    let head = stream.head().await?;
    if head.status != 101 {
        return Err(Loss::Status(head.status));
    }
    while !shared.stopped() {
        let begun = Instant::now();
        let frame = Frame::text(&format!("{number} {}", shared.answered.load(Relaxed)));
        stream.send(&frame.encode(true)).await?;
        let bytes = stream.read(|bytes| Frame::decode(bytes).map(|frame| frame.1)).await?;
        let echo = Frame::decode(&bytes).map(|(frame, _)| frame);
        if echo.as_ref() != Some(&frame) {
            return Err(Loss::Wrong(format!("{echo:?}")));
        }
        shared.answer(begun, String::new());
        if let Silence::Ended = stream.quiet(pause).await? {
            shared.report.borrow_mut().closed_idle += 1;
            return Ok(());
        }
    }
    Ok(())
}
