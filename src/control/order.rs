//! Orders: one is read from a request's body; that for an upgrade is answered with what the master
//! says about it, a line as it happens.
//!
//! Must not judge an order beyond its form, nor stop when nobody reads the answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame, Incoming};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedReceiver;

use super::upgrade::{Progress, Request};

/// How large the body may be.
const BODY_LIMIT: usize = 64 * 1024;
/// How long a client may take to send all of it.
const BODY_DEADLINE: Duration = Duration::from_secs(2);

/// What is wrong with a request.
pub struct Wrong {
    pub status: StatusCode,
    pub text: String,
}

/// Reads the order. An empty body leaves everything as it is by default.
pub async fn read<T: DeserializeOwned + Default>(body: Incoming) -> Result<T, Wrong> {
    let wrong = |status, text: &str| Wrong { status, text: text.to_owned() };
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return Err(wrong(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
    }
    let whole = tokio::time::timeout(BODY_DEADLINE, Limited::new(body, BODY_LIMIT).collect());
    match whole.await {
        Ok(Ok(body)) => parse(&body.to_bytes())
            .map_err(|error| wrong(StatusCode::BAD_REQUEST, &error.to_string())),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(wrong(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"))
        }
        Ok(Err(error)) => Err(wrong(StatusCode::BAD_REQUEST, &error.to_string())),
        Err(_) => Err(wrong(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

fn parse<T: DeserializeOwned + Default>(body: &[u8]) -> serde_json::Result<T> {
    let blank = body.iter().all(u8::is_ascii_whitespace);
    if blank { Ok(T::default()) } else { serde_json::from_slice(body) }
}

/// What an upgrade needs besides: which program it goes to, by a name that means the same to everybody.
pub fn names_executable(order: Request) -> Result<Request, Wrong> {
    if order.executable.as_ref().is_some_and(|path| path.is_absolute()) {
        return Ok(order);
    }
    let text = "\"executable\" has to be an absolute path".to_owned();
    Err(Wrong { status: StatusCode::BAD_REQUEST, text })
}

/// The body of the answer: a line of JSON for each step, until the master has no more to say.
pub struct Lines(pub UnboundedReceiver<Progress>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = |progress: Progress| {
            let mut line = serde_json::to_vec(&progress).unwrap_or_default();
            line.push(b'\n');
            Ok(Frame::data(line.into()))
        };
        self.0.poll_recv(cx).map(|step| step.map(line))
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
