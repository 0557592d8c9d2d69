//! Owns the first half of an exchange: the request goes out while the answer's head is looked for,
//! because a server may answer before it has read everything.

use super::answer::Answer;
use crate::http::client::Client;
use crate::http::h1::response::{self, ResponseHead, ResponseParser};
use crate::http::io::{self as stream_io, Deadline};
use crate::http::request_body::{BodyError, RequestBody};
use crate::http::spool::Spool;
use crate::net::Stream;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// Read from an upstream at a time while its head is read.
const READ: usize = 16 * 1024;

/// Sent to an upstream at a time.
const WRITE: usize = 64 * 1024;

/// What the request's body is sent from.
pub enum Outgoing<'a> {
    /// No body, or it stands behind the head already.
    Nothing,
    /// A body read before; offset of the next byte.
    Kept(&'a Spool, u64),
    /// A body passed on as it comes; `chunked` frames it anew.
    Stream { body: &'a mut RequestBody, chunked: bool },
}

/// What is asked, and how long anything may take.
pub struct Ask<'a> {
    /// Request line and head fields, and a body that is not streamed.
    pub head: &'a [u8],
    pub body: Outgoing<'a>,
    pub client: &'a Client,
    /// `proxy_ignore_client_abort`.
    pub ignore_abort: bool,
    pub send_timeout: Duration,
    pub read_timeout: Duration,
    /// `client_body_timeout`, for a streamed body.
    pub body_timeout: Duration,
    /// `proxy_buffer_size`: the longest head of an answer.
    pub head_limit: usize,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The connection failed; nginx's sentence without its ` while …`.
    Error(String),
    /// Nothing came or could be sent in time.
    TimedOut,
    /// What came is no HTTP answer that can be passed on; nginx's sentence.
    Invalid(String),
    /// The client went away.
    ClientGone,
    /// The client's body could not be read.
    Body(BodyError),
}

/// The head of an answer.
#[derive(Debug)]
pub struct Reply {
    pub head: ResponseHead,
    /// HTTP/0.9: there was no head, all is body.
    pub http09: bool,
}

/// An exchange until the head has come.
pub struct Exchange {
    pub stream: RefCell<Stream>,
    /// Bytes read and not used.
    pub input: Vec<u8>,
    pub sent: u64,
    pub received: u64,
    /// All of the request has gone out.
    pub request_sent: bool,
}

impl Exchange {
    /// An exchange on a connection that is quiet.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream: RefCell::new(stream),
            input: Vec::new(),
            sent: 0,
            received: 0,
            request_sent: false,
        }
    }

    /// Sends the request and reads the head of the answer.
    pub async fn ask(&mut self, ask: Ask<'_>) -> Result<Reply, Failure> {
        let mut sender = Sender {
            out: Vec::new(),
            at: 0,
            head_at: 0,
            more: !matches!(ask.body, Outgoing::Nothing),
            broken: None,
            send: Deadline::after(ask.send_timeout),
            from_client: Deadline::after(ask.body_timeout),
            ask,
        };
        let mut reader = Reader {
            parser: ResponseParser::new(),
            head: ResponseHead::default(),
            limit: sender.ask.head_limit,
            deadline: Deadline::after(sender.ask.read_timeout),
        };
        sender.ask.continue_client().await?;
        poll_fn(|cx| self.poll(&mut sender, &mut reader, cx)).await
    }

    fn poll(
        &mut self,
        sender: &mut Sender<'_>,
        reader: &mut Reader,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Reply, Failure>> {
        if !self.request_sent {
            match sender.poll(self, cx) {
                Poll::Ready(Ok(())) => self.request_sent = true,
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => {}
            }
        }
        if let Poll::Ready(done) = reader.poll(self, cx) {
            // A connection that broke under the request says why better than its silence does.
            return Poll::Ready(match (done, sender.broken.take()) {
                (Err(Failure::Error(_)), Some(why)) => Err(Failure::Error(why)),
                (done, _) => done,
            });
        }
        if self.request_sent && reader.deadline.poll(cx).is_ready() {
            return Poll::Ready(Err(Failure::TimedOut));
        }
        if !sender.ask.ignore_abort && !sender.reads_client() && sender.ask.client.poll_gone(cx) {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        Poll::Pending
    }

    /// Goes on to the body.
    pub fn into_answer(self, plan: super::answer::Plan) -> Answer {
        Answer::new(self, plan)
    }
}

impl Ask<'_> {
    /// A streamed body that the client holds back is wanted now.
    async fn continue_client(&mut self) -> Result<(), Failure> {
        match &mut self.body {
            Outgoing::Stream { body, .. } => {
                body.send_continue(self.client, self.send_timeout).await.map_err(Failure::Body)
            }
            _ => Ok(()),
        }
    }
}

/// Reads the head of the answer.
struct Reader {
    parser: ResponseParser,
    head: ResponseHead,
    /// `proxy_buffer_size`.
    limit: usize,
    deadline: Deadline,
}

impl Reader {
    fn poll(
        &mut self,
        exchange: &mut Exchange,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Reply, Failure>> {
        loop {
            let Exchange { stream, input, .. } = exchange;
            let Poll::Ready(got) = stream_io::poll_read(stream, input, READ, cx) else {
                return Poll::Pending;
            };
            match got {
                Ok(0) => return Poll::Ready(Err(Failure::Error(PREMATURE.to_owned()))),
                Ok(n) => exchange.received += n as u64,
                Err(err) => {
                    let why = format!("recv() failed ({})", crate::log::os_error(&err));
                    return Poll::Ready(Err(Failure::Error(why)));
                }
            }
            self.deadline.restart();
            if let Some(done) = self.parse(exchange) {
                return Poll::Ready(done);
            }
        }
    }

    /// Looks at what has come; skips interim answers.
    fn parse(&mut self, exchange: &mut Exchange) -> Option<Result<Reply, Failure>> {
        loop {
            let fed = self.parser.feed(self.limit, &exchange.input, &mut self.head);
            match fed {
                Ok(response::Answer::Partial) => return None,
                Ok(response::Answer::Http09) => {
                    return Some(Ok(Reply { head: std::mem::take(&mut self.head), http09: true }));
                }
                Ok(response::Answer::Complete { len }) => {
                    exchange.input.drain(..len);
                    if is_interim(self.head.status) {
                        self.head.clear();
                        self.parser.reset();
                        continue;
                    }
                    return Some(Ok(Reply { head: std::mem::take(&mut self.head), http09: false }));
                }
                Err(why) => return Some(Err(Failure::Invalid(why))),
            }
        }
    }
}

const PREMATURE: &str = "upstream prematurely closed connection";

/// An answer that another one follows; 101 ends the exchange.
fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

/// Sends the request.
struct Sender<'a> {
    ask: Ask<'a>,
    /// Body bytes waiting to be written, from `at` on.
    out: Vec<u8>,
    at: usize,
    /// How much of the head has gone.
    head_at: usize,
    /// The body has more than stands in `out`.
    more: bool,
    /// The connection broke while writing; the answer may still be readable.
    broken: Option<String>,
    send: Deadline,
    from_client: Deadline,
}

impl Sender<'_> {
    /// Whether the client's bytes are being read: its going then shows by itself.
    fn reads_client(&self) -> bool {
        self.more && matches!(self.ask.body, Outgoing::Stream { .. })
    }

    /// Writes until all has gone out. `Pending` when the socket is full or the client is slow.
    fn poll(&mut self, exchange: &mut Exchange, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.broken.is_some() {
            return Poll::Pending;
        }
        loop {
            if self.is_empty() {
                if !self.more {
                    return Poll::Ready(Ok(()));
                }
                match self.refill(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                    Poll::Pending if self.head_at == self.ask.head.len() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            match self.write(exchange, cx) {
                Poll::Ready(Ok(())) => self.send.restart(),
                Poll::Ready(Err(err)) => {
                    self.broken = Some(format!("send() failed ({})", crate::log::os_error(&err)));
                    return Poll::Pending;
                }
                Poll::Pending => {
                    return self.send.poll(cx).map(|_| Err(Failure::TimedOut));
                }
            }
        }
    }

    /// Nothing is ready to be written but perhaps the head, which waits for the body's first bytes.
    fn is_empty(&self) -> bool {
        self.at == self.out.len() && (self.more || self.head_at == self.ask.head.len())
    }

    /// Writes once: the head with the first bytes of the body in one piece.
    fn write(&mut self, exchange: &mut Exchange, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let head = &self.ask.head[self.head_at..];
        let joined;
        let bytes = if head.is_empty() {
            &self.out[self.at..]
        } else if self.out.is_empty() {
            head
        } else {
            joined = [head, &self.out[self.at..]].concat();
            &joined
        };
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let n = std::task::ready!(stream_io::poll_write(&exchange.stream, bytes, cx))?;
        exchange.sent += n as u64;
        let of_head = n.min(self.ask.head.len() - self.head_at);
        self.head_at += of_head;
        self.at += n - of_head;
        if self.at == self.out.len() {
            self.out.clear();
            self.at = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes more of the body into `out`.
    fn refill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match &mut self.ask.body {
            Outgoing::Nothing => self.more = false,
            Outgoing::Kept(spool, at) => match spool.read_at(*at, &mut self.out, WRITE) {
                Ok(n) => {
                    *at += n as u64;
                    self.more = *at < spool.len();
                }
                Err(_) => return Poll::Ready(Err(Failure::Body(BodyError::NotKept))),
            },
            Outgoing::Stream { body, chunked } => {
                let mut chunk = Vec::new();
                match body.poll_next(self.ask.client, &mut chunk, cx) {
                    Poll::Pending => {
                        let late = self.from_client.poll(cx);
                        return late.map(|_| Err(Failure::Body(BodyError::TimedOut)));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Body(error))),
                    Poll::Ready(Ok(more)) => {
                        self.more = more;
                        self.from_client.restart();
                        frame(&mut self.out, &chunk, *chunked, !more);
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Appends body bytes, as one chunk where the body is chunked.
fn frame(out: &mut Vec<u8>, bytes: &[u8], chunked: bool, last: bool) {
    if !chunked {
        return out.extend_from_slice(bytes);
    }
    if !bytes.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }
    if last {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}
