//! Clients of HTTP/2: each asks several things at a time on one connection, and makes a new one when it
//! is told that this one takes no more.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Loss, Shared, Target, all};
use crate::support::DEADLINE;

pub async fn run(shared: Rc<Shared>, clients: u32, streams: u32, think: Duration) {
    all((0..clients).map(|_| client(Rc::clone(&shared), streams, think))).await;
}

async fn client(shared: Rc<Shared>, streams: u32, think: Duration) {
    while !shared.stopped() {
        if let Err(loss) = connection(&shared, streams, think).await {
            shared.lose(loss);
        }
    }
}

/// One connection, until it is to end.
async fn connection(shared: &Rc<Shared>, streams: u32, think: Duration) -> Result<(), Loss> {
    let Target::Tcp(address) = &shared.target else { return Err(Loss::Other("unix".into())) };
    let socket = TcpStream::connect(address).await;
    let socket = socket.map_err(|error| Loss::Connect(error.to_string()))?;
    let (asks, connection) = h2::client::handshake(socket).await.map_err(|error| broken(&error))?;
    shared.report.borrow_mut().connections += 1;
    let driven = tokio::task::spawn_local(connection);
    all((0..streams).map(|_| stream(Rc::clone(shared), asks.clone(), think))).await;
    drop(asks);
    let ended = timeout(DEADLINE, driven).await.map_err(|_| Loss::Late)?.expect("a connection");
    if !shared.stopped() {
        shared.report.borrow_mut().told_to_close += 1;
    }
    ended.map_err(|error| broken(&error))
}

/// Asks one thing after the other. What can no longer be asked on this connection is not lost.
async fn stream(shared: Rc<Shared>, asks: SendRequest<Bytes>, think: Duration) {
    while shared.pause(think).await {
        let Ok(mut asks) = asks.clone().ready().await else { return };
        let begun = Instant::now();
        let request = http::Request::get("http://localhost/").body(()).expect("a request");
        let Ok((answer, _)) = asks.send_request(request, true) else { return };
        match timeout(DEADLINE, whole(answer)).await.unwrap_or(Err(Loss::Late)) {
            Ok(content) => shared.answer(begun, content),
            // Asked when the word to stop was on its way: it was not acted on, and clients ask again
            // elsewhere (RFC 9113, section 6.8).
            Err(Loss::NotTaken) => return,
            Err(loss) => shared.lose(loss),
        }
    }
}

/// One whole answer's content.
async fn whole(answer: ResponseFuture) -> Result<String, Loss> {
    let answer = answer.await.map_err(|error| {
        let not_taken = error.is_go_away() && error.is_remote() && is_no_error(&error);
        if not_taken { Loss::NotTaken } else { broken(&error) }
    })?;
    let (status, mut body) = (answer.status(), answer.into_body());
    let mut content = Vec::new();
    while let Some(piece) = body.data().await {
        content.extend_from_slice(&piece.map_err(|_| Loss::CutShort)?);
    }
    let content = String::from_utf8_lossy(&content).into_owned();
    if status == 200 { Ok(content) } else { Err(Loss::Status(status.as_u16())) }
}

fn is_no_error(error: &h2::Error) -> bool {
    error.reason() == Some(h2::Reason::NO_ERROR)
}

fn broken(error: &h2::Error) -> Loss {
    Loss::Other(error.to_string())
}
