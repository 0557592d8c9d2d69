//! Owns the first half of an exchange: the request goes out while the answer's head is looked for,
//! because a server may answer before it has read everything; then `answer` goes on with both.

use super::answer::Answer;
use super::h2::Fault;
use super::sender::{Outgoing, Sender, Source};
use crate::http::client::Client;
use crate::http::h1::response::{self, ResponseHead, ResponseParser};
use crate::http::headers::Name;
use crate::http::io::{self as stream_io, Deadline};
use crate::http::passage::Passage;
use crate::http::request_body::BodyError;
use crate::http::spare::Buffer;
use crate::net::Stream;
use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

/// Read from an upstream at a time while its head is read.
const READ: usize = 16 * 1024;

/// Interim answers skipped before an upstream is taken for one that will never answer.
const INTERIM: u8 = 16;

/// What is asked, and how long anything may take.
pub struct Ask<'a> {
    /// Request line and head fields, a body that the configuration sets, and the client's body.
    pub source: Source<'a>,
    pub outgoing: Outgoing,
    /// `proxy_ignore_client_abort`.
    pub ignore_abort: bool,
    /// Its place in the count of its switch.
    pub passage: Option<&'a Passage>,
    pub send_timeout: Duration,
    pub read_timeout: Duration,
    /// `client_body_timeout`, for a streamed body.
    pub body_timeout: Duration,
    /// `proxy_buffer_size`: the longest head of an answer.
    pub head_limit: usize,
    /// Early hints go on to the client, without fields of these names in lower case.
    pub hints: Option<&'a [Vec<u8>]>,
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
    /// It lies in the request, which no server can be told in this protocol.
    Unfit(String),
    /// It lies here, and has been logged: another server would not help.
    Here,
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
    pub input: Buffer,
    /// How much of `input` has been used: moving the rest to the front would cost a copy.
    pub used: usize,
    /// The last read filled its buffer: more is likely to wait behind it.
    pub gushes: bool,
    pub sent: u64,
    pub received: u64,
    /// Early hints that the client has not taken yet, and bytes of those so far.
    pub hints: Vec<u8>,
    hinted: usize,
    /// All of the request has gone out.
    pub request_sent: bool,
    /// What sends the rest of it, when the answer began before.
    pub(super) sender: Option<Box<Sender>>,
}

impl Exchange {
    /// An exchange on a connection that is quiet.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream: RefCell::new(stream),
            input: Buffer::spare(),
            used: 0,
            gushes: false,
            sent: 0,
            received: 0,
            hints: Vec::new(),
            hinted: 0,
            request_sent: false,
            sender: None,
        }
    }

    /// What has been read and not been used.
    pub fn unused(&self) -> &[u8] {
        self.input.get(self.used..).unwrap_or_default()
    }

    /// Takes `n` of those bytes away.
    pub fn consume(&mut self, n: usize) {
        self.used += n;
        if self.used >= self.input.len() {
            self.input.clear();
            self.used = 0;
        }
    }

    /// Sends the request and reads the head of the answer.
    pub async fn ask(&mut self, mut ask: Ask<'_>) -> Result<Reply, Failure> {
        let mut sender = Sender::new(ask.outgoing, ask.send_timeout, ask.body_timeout);
        let mut reader = Reader {
            parser: ResponseParser::new(),
            head: ResponseHead::default(),
            limit: ask.head_limit,
            hints: ask.hints.map(<[_]>::to_vec),
            interim: 0,
            deadline: Deadline::after(ask.read_timeout),
        };
        if let Outgoing::Stream { .. } = ask.outgoing {
            // A body that the client holds back is wanted now.
            let Source { body, client, .. } = &mut ask.source;
            body.send_continue(client, ask.send_timeout).await.map_err(Failure::Body)?;
        }
        let reply = poll_fn(|cx| self.poll(&mut sender, &mut reader, &mut ask, cx)).await?;
        if !self.request_sent && sender.broken.is_none() {
            sender.own_head(ask.source.head);
            self.sender = Some(Box::new(sender));
        }
        Ok(reply)
    }

    fn poll(
        &mut self,
        sender: &mut Sender,
        reader: &mut Reader,
        ask: &mut Ask<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Reply, Failure>> {
        if !self.request_sent {
            match sender.poll(self, &mut ask.source, cx) {
                Poll::Ready(Ok(())) => self.request_sent = true,
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => {}
            }
        }
        if let Poll::Ready(done) = reader.poll(self, cx) {
            // A connection that broke under the request says why better than its silence does.
            return Poll::Ready(match (done, &sender.broken) {
                (Err(Failure::Error(_)), Some(why)) => Err(Failure::Error(why.clone())),
                (done, _) => done,
            });
        }
        self.give_hints(ask.source.client, cx);
        let nothing_to_send = self.request_sent || sender.broken.is_some();
        if nothing_to_send && reader.deadline.poll(cx).is_ready() {
            return Poll::Ready(Err(Failure::TimedOut));
        }
        // While its switch is closed, somebody waits to learn what comes of it.
        let gone = !ask.ignore_abort && !sender.reads_client() && ask.source.client.poll_gone(cx);
        if gone && !ask.passage.is_some_and(Passage::outlasts_client) {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        Poll::Pending
    }

    /// Writes early hints as far as the client takes them.
    fn give_hints(&mut self, client: &Client, cx: &mut Context<'_>) {
        while !self.hints.is_empty() {
            let written = stream_io::poll_write(&client.stream, &self.hints, cx);
            // A client that has gone is noticed as ever.
            let Poll::Ready(Ok(n)) = written else { return };
            client.sent.set(client.sent.get() + n as u64);
            self.hints.drain(..n);
        }
    }

    /// Takes note of early hints that are not too long.
    fn take_hints(&mut self, head: &ResponseHead, len: usize, reader: (&[Vec<u8>], usize)) {
        let (hidden, limit) = reader;
        self.hinted += len;
        let hides = |name: &[u8]| hidden.iter().any(|other| other.eq_ignore_ascii_case(name));
        let framing = |id: Name| {
            matches!(
                id,
                Name::Connection
                    | Name::KeepAlive
                    | Name::TransferEncoding
                    | Name::ContentLength
                    | Name::Upgrade
                    | Name::ProxyConnection
            )
        };
        let all = head.headers.iter();
        let mut fields = all.filter(|field| !framing(field.id) && !hides(field.name)).peekable();
        if self.hinted > limit || fields.peek().is_none() {
            return;
        }
        self.hints.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
        for field in fields {
            for part in [field.name, b": ", field.value, b"\r\n"] {
                self.hints.extend_from_slice(part);
            }
        }
        self.hints.extend_from_slice(b"\r\n");
    }

    /// Goes on to the body.
    pub fn into_answer(self, plan: super::answer::Plan) -> Answer {
        Answer::new(self, plan)
    }
}

/// Reads the head of the answer.
struct Reader {
    parser: ResponseParser,
    head: ResponseHead,
    /// `proxy_buffer_size`.
    limit: usize,
    /// Early hints are wanted, without these fields.
    hints: Option<Vec<Vec<u8>>>,
    /// Interim answers so far.
    interim: u8,
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
                Ok(n) => {
                    exchange.received += n as u64;
                    exchange.gushes = n == READ;
                }
                Err(err) => {
                    if let Some(fault) = Fault::of(&err) {
                        return Poll::Ready(Err(Failure::Invalid(fault.to_string())));
                    }
                    let why = format!("recv() failed{}", crate::log::os_error(&err));
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
            let fed = self.parser.feed(self.limit, exchange.unused(), &mut self.head);
            match fed {
                Ok(response::Answer::Partial) => return None,
                Ok(response::Answer::Http09) => {
                    return Some(Ok(Reply { head: std::mem::take(&mut self.head), http09: true }));
                }
                Ok(response::Answer::Complete { len }) => {
                    exchange.consume(len);
                    if is_interim(self.head.status) {
                        self.interim += 1;
                        if self.interim > INTERIM {
                            return Some(Err(Failure::Invalid(
                                "upstream sent too many interim responses".into(),
                            )));
                        }
                        if let Some(hidden) =
                            self.hints.as_ref().filter(|_| self.head.status == 103)
                        {
                            exchange.take_hints(&self.head, len, (hidden, self.limit));
                        }
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
