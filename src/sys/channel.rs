//! Typed messages with descriptors attached, between two processes over a unix packet socket.
//!
//! Nothing sent is lost while the other side lives, what a dying side said is still received, and its
//! end is told apart from every error. What the messages mean is their owner's business.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::unix::AsyncFd;

use super::fds::{
    MAX_PACKET, MAX_PACKET_FDS, recv_with_fds, send_with_fds, set_nonblocking,
    socketpair_seqpacket, watch,
};

/// More than any message needs; protects the master from a worker gone mad. Bytes.
const LONGEST_MESSAGE: usize = 16 << 20;

/// Likewise for descriptors.
const MOST_FDS: usize = 16 * 1024;

/// A kind of message: how many descriptors must come with it.
pub trait Message: Serialize + DeserializeOwned {
    /// Exactly so many.
    fn fd_count(&self) -> usize;
}

/// What arrives.
#[derive(Debug)]
pub enum Received<M> {
    /// A whole message with its descriptors.
    Message(M, Vec<OwnedFd>),
    /// The other side is gone, and everything it had sent has been received.
    Closed,
}

/// Two connected descriptors, one for each end.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    socketpair_seqpacket()
}

/// One end of a channel, blocking: for the time before there is an event loop.
#[derive(Debug)]
pub struct Channel<Out, In> {
    socket: OwnedFd,
    inbox: Inbox,
    direction: PhantomData<fn(Out) -> In>,
}

impl<Out: Message, In: Message> Channel<Out, In> {
    /// Speaks over one end of a [`pair`].
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        set_nonblocking(socket.as_fd(), false)?;
        Ok(Channel { socket, inbox: Inbox::default(), direction: PhantomData })
    }

    /// Sends a message with copies of these descriptors; waits until the kernel has taken it all.
    pub fn send(&mut self, message: &Out, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        for (bytes, fds) in packets(message, fds)? {
            send_with_fds(self.socket.as_fd(), &bytes, fds)?;
        }
        Ok(())
    }

    /// Waits for the next message.
    pub fn receive(&mut self) -> io::Result<Received<In>> {
        loop {
            if let Some(received) = self.inbox.take_packet(self.socket.as_fd())? {
                return Ok(received);
            }
        }
    }

    /// Goes on in the running tokio runtime.
    pub fn into_async(self) -> io::Result<AsyncChannel<Out, In>> {
        set_nonblocking(self.socket.as_fd(), true)?;
        Ok(AsyncChannel {
            socket: watch(self.socket)?,
            inbox: self.inbox,
            outbox: VecDeque::new(),
            direction: PhantomData,
        })
    }
}

/// One end of a channel on an event loop. Sending never waits: what the kernel does not take at once
/// is kept, and goes out in order during [`receive`](Self::receive) or [`flush`](Self::flush).
#[derive(Debug)]
pub struct AsyncChannel<Out, In> {
    socket: AsyncFd<OwnedFd>,
    inbox: Inbox,
    outbox: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    direction: PhantomData<fn(Out) -> In>,
}

impl<Out: Message, In: Message> AsyncChannel<Out, In> {
    /// Sends a message with copies of these descriptors, or keeps it for later. Fails if the other
    /// side is gone; its last words can still be received.
    pub fn send(&mut self, message: &Out, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        for (bytes, fds) in packets(message, fds)? {
            if self.outbox.is_empty() {
                match send_with_fds(self.socket.as_fd(), &bytes, fds) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                    Ok(()) => continue,
                }
            }
            let fds = fds.iter().map(BorrowedFd::try_clone_to_owned).collect::<Result<_, _>>()?;
            self.outbox.push_back((bytes, fds));
        }
        Ok(())
    }

    /// Whether the kernel has not taken everything yet.
    pub fn is_behind(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Waits until the kernel has taken everything sent so far. Cancel-safe.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Waits for the next message, meanwhile sending what is kept. Cancel-safe: no message is lost
    /// when the future is dropped.
    pub async fn receive(&mut self) -> io::Result<Received<In>> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, fds)) = self.outbox.front() {
            let mut guard = ready!(self.socket.poll_write_ready(cx))?;
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            match guard.try_io(|socket| send_with_fds(socket.as_fd(), bytes, &fds)) {
                Ok(sent) => sent?,
                Err(_would_block) => continue,
            }
            self.outbox.pop_front();
        }
        Poll::Ready(Ok(()))
    }

    /// The poll form of [`receive`](Self::receive), for whoever listens to many.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Received<In>>> {
        if let Poll::Ready(Err(_)) = self.poll_flush(cx) {
            // Nobody will read it. What they said before, and then the end, is received below.
            self.outbox.clear();
        }
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            let inbox = &mut self.inbox;
            match guard.try_io(|socket| inbox.take_packet(socket.as_fd())) {
                Ok(Ok(Some(received))) => return Poll::Ready(Ok(received)),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Ok(Ok(None)) | Err(_) => {}
            }
        }
    }
}

impl<Out, In> AsFd for AsyncChannel<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The first byte of a packet: whether the message goes on in the next one.
const MORE: u8 = 0;
const LAST: u8 = 1;

/// Cuts a message into packets, none empty (an empty one would read as the end of the channel). The
/// descriptors go with the first ones.
fn packets<'a, 'fd, M: Message>(
    message: &M,
    fds: &'a [BorrowedFd<'fd>],
) -> io::Result<Vec<(Vec<u8>, &'a [BorrowedFd<'fd>])>> {
    if fds.len() != message.fd_count() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "wrong number of descriptors"));
    }
    let text = serde_json::to_vec(message)?;
    let mut text = text.chunks(MAX_PACKET - 1).peekable();
    let mut fds = fds.chunks(MAX_PACKET_FDS).peekable();
    let mut packets = Vec::new();
    while text.peek().is_some() || fds.peek().is_some() {
        let (part, attached) = (text.next().unwrap_or_default(), fds.next().unwrap_or_default());
        let last = text.peek().is_none() && fds.peek().is_none();
        let mut bytes = Vec::with_capacity(part.len() + 1);
        bytes.push(if last { LAST } else { MORE });
        bytes.extend_from_slice(part);
        packets.push((bytes, attached));
    }
    Ok(packets)
}

/// The packets of a message that is still arriving.
#[derive(Debug, Default)]
struct Inbox {
    packet: Vec<u8>,
    message: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Inbox {
    /// Receives one packet; `None` if the message goes on. After an error about a message (not about
    /// the socket) the next message can still be received.
    fn take_packet<M: Message>(
        &mut self,
        socket: BorrowedFd<'_>,
    ) -> io::Result<Option<Received<M>>> {
        let (_, fds) = recv_with_fds(socket, &mut self.packet)?;
        let Some((kind, text)) = self.packet.split_first() else {
            return Ok(Some(Received::Closed));
        };
        self.message.extend_from_slice(text);
        self.fds.extend(fds);
        if self.message.len() > LONGEST_MESSAGE || self.fds.len() > MOST_FDS {
            self.message.clear();
            self.fds.clear();
            return Err(invalid("a message is too long"));
        }
        if *kind == MORE {
            return Ok(None);
        }
        let (text, fds) = (std::mem::take(&mut self.message), std::mem::take(&mut self.fds));
        let message: M = serde_json::from_slice(&text)?;
        if fds.len() != message.fd_count() {
            return Err(invalid("a message came with the wrong number of descriptors"));
        }
        Ok(Some(Received::Message(message, fds)))
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::exec::{Program, spawn};
    use crate::sys::fds::{memfd_sealed, read_memfd};
    use serde::Deserialize;
    use std::ffi::CString;
    use std::path::Path;
    use std::time::Duration;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Say {
        Word(u32),
        Files { count: usize, padding: String },
    }

    impl Message for Say {
        fn fd_count(&self) -> usize {
            match self {
                Say::Word(_) => 0,
                Say::Files { count, .. } => *count,
            }
        }
    }

    type End = Channel<Say, Say>;

    fn ends() -> (End, End) {
        let (near, far) = pair().unwrap();
        (Channel::new(near).unwrap(), Channel::new(far).unwrap())
    }

    fn message(received: Received<Say>) -> (Say, Vec<OwnedFd>) {
        match received {
            Received::Message(message, fds) => (message, fds),
            Received::Closed => panic!("closed"),
        }
    }

    /// A message of many packets, by its text as well as by its descriptors.
    fn big() -> Say {
        Say::Files { count: 600, padding: "x".repeat(200_000) }
    }

    /// Memory files with their place as contents.
    fn files(count: usize) -> Vec<OwnedFd> {
        let file = |place: usize| memfd_sealed("file", place.to_string().as_bytes()).unwrap();
        (0..count).map(file).collect()
    }

    fn borrow(files: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
        files.iter().map(AsFd::as_fd).collect()
    }

    #[test]
    fn a_message_may_need_many_packets() {
        let (mut near, mut far) = ends();
        std::thread::scope(|scope| {
            scope.spawn(move || near.send(&big(), &borrow(&files(600))).unwrap());
            let (received, fds) = message(far.receive().unwrap());
            assert_eq!(received, big());
            for (place, fd) in fds.iter().enumerate() {
                assert_eq!(read_memfd(fd.as_fd()).unwrap(), place.to_string().as_bytes());
            }
        });
        assert!(matches!(far.receive().unwrap(), Received::Closed));
    }

    #[test]
    fn few_bytes_may_need_many_packets() {
        let (mut near, mut far) = ends();
        let sent = Say::Files { count: 600, padding: String::new() };
        near.send(&sent, &borrow(&files(600))).unwrap();
        assert_eq!(message(far.receive().unwrap()).1.len(), 600);
    }

    #[test]
    fn last_words_are_heard() {
        // The kernel reports a reset here, because `far` dies with a message unread.
        let (mut near, mut far) = ends();
        near.send(&Say::Word(0), &[]).unwrap();
        far.send(&Say::Word(1), &[]).unwrap();
        far.send(&Say::Word(2), &[]).unwrap();
        drop(far);
        assert_eq!(message(near.receive().unwrap()).0, Say::Word(1));
        assert_eq!(message(near.receive().unwrap()).0, Say::Word(2));
        assert!(matches!(near.receive().unwrap(), Received::Closed));
        assert!(matches!(near.receive().unwrap(), Received::Closed));
        assert_eq!(near.send(&Say::Word(3), &[]).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn last_words_are_heard_after_a_failed_send() {
        let (near, mut far) = ends();
        let mut near = near.into_async().unwrap();
        near.send(&Say::Word(0), &[]).unwrap();
        far.send(&Say::Word(1), &[]).unwrap();
        drop(far);
        assert!(near.send(&Say::Word(2), &[]).is_err());
        assert_eq!(message(near.receive().await.unwrap()).0, Say::Word(1));
        assert!(matches!(near.receive().await.unwrap(), Received::Closed));
    }

    #[test]
    fn wrong_messages_do_not_break_the_channel() {
        let (near, far) = pair().unwrap();
        let mut far: End = Channel::new(far).unwrap();
        let stray = memfd_sealed("stray", b"").unwrap();
        send_with_fds(near.as_fd(), b"\x01{\"Word\":1}", &[stray.as_fd()]).unwrap();
        send_with_fds(near.as_fd(), b"\x01nonsense", &[]).unwrap();
        send_with_fds(near.as_fd(), b"\x00{\"Wo", &[]).unwrap();
        send_with_fds(near.as_fd(), b"\x01rd\":2}", &[]).unwrap();
        assert_eq!(far.receive().unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(far.receive().unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(message(far.receive().unwrap()).0, Say::Word(2));
        let error = far.send(&Say::Word(1), &[stray.as_fd()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_mad_sender_is_cut_short() {
        let (near, far) = pair().unwrap();
        let mut far: End = Channel::new(far).unwrap();
        let packet = vec![MORE; MAX_PACKET];
        let error = loop {
            send_with_fds(near.as_fd(), &packet, &[]).unwrap();
            let packet = far.inbox.take_packet::<Say>(far.socket.as_fd());
            if let Err(error) = packet {
                break error;
            }
        };
        assert_eq!(error.to_string(), "a message is too long");
    }

    #[tokio::test]
    async fn sending_never_waits_and_keeps_the_order() {
        let (near, far) = ends();
        let (mut near, mut far) = (near.into_async().unwrap(), far.into_async().unwrap());
        let files = files(600);
        for word in 0..5 {
            near.send(&big(), &borrow(&files)).unwrap();
            near.send(&Say::Word(word), &[]).unwrap();
        }
        assert!(!near.outbox.is_empty());
        drop(files);
        let reader = async {
            for word in 0..5 {
                let (received, fds) = message(far.receive().await.unwrap());
                assert_eq!(received, big());
                assert_eq!(read_memfd(fds[599].as_fd()).unwrap(), b"599");
                assert_eq!(message(far.receive().await.unwrap()).0, Say::Word(word));
            }
            far.send(&Say::Word(9), &[]).unwrap();
        };
        // Receiving is enough to get the rest out.
        let (received, ()) = tokio::join!(near.receive(), reader);
        assert_eq!(message(received.unwrap()).0, Say::Word(9));
        near.flush().await.unwrap();
        assert!(near.outbox.is_empty());
    }

    #[tokio::test]
    async fn a_dropped_receive_loses_nothing() {
        let (near, far) = pair().unwrap();
        let mut far = End::new(far).unwrap().into_async().unwrap();
        send_with_fds(near.as_fd(), b"\x00{\"Word\"", &[]).unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(20), far.receive()).await;
        assert!(waited.is_err());
        send_with_fds(near.as_fd(), b"\x01:9}", &[]).unwrap();
        assert_eq!(message(far.receive().await.unwrap()).0, Say::Word(9));
    }

    #[tokio::test]
    async fn a_death_with_messages_kept_ends_with_closed() {
        let (near, mut far) = ends();
        let mut near = near.into_async().unwrap();
        let files = files(600);
        for _ in 0..3 {
            near.send(&big(), &borrow(&files)).unwrap();
        }
        far.send(&Say::Word(1), &[]).unwrap();
        drop(far);
        assert_eq!(message(near.receive().await.unwrap()).0, Say::Word(1));
        assert!(matches!(near.receive().await.unwrap(), Received::Closed));
    }

    #[tokio::test]
    async fn another_process_answers_and_dies() {
        let (near, far) = pair().unwrap();
        let cat = Program::open(Path::new("/bin/cat")).unwrap();
        let streams = [(far.as_fd(), 0), (far.as_fd(), 1)];
        let child = spawn(&cat, &[CString::new("cat").unwrap()], &[], &streams).unwrap();
        drop(far);
        let mut near = End::new(near).unwrap().into_async().unwrap();
        for word in 0..3 {
            near.send(&Say::Word(word), &[]).unwrap();
        }
        for word in 0..3 {
            assert_eq!(message(near.receive().await.unwrap()).0, Say::Word(word));
        }
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        assert!(matches!(near.receive().await.unwrap(), Received::Closed));
        nix::sys::wait::waitpid(child, None).unwrap();
    }
}
