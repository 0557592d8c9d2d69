//! A channel in use by the loop: whatever arrives is handed on by a task, and whatever is sent is on
//! its way when the call returns, so that a process may end with its last word said.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::sys::channel::{AsyncChannel, Message, Received};

/// One end of a channel.
pub(super) struct Wire<Out, In> {
    channel: Rc<RefCell<AsyncChannel<Out, In>>>,
    /// Rouses the task, which sends what the kernel has not taken at once.
    behind: Rc<Notify>,
    listen: JoinHandle<()>,
}

/// What arrived; nothing is the end.
pub(super) type Heard<In> = Option<(In, Vec<OwnedFd>)>;

impl<Out: Message + 'static, In: Message + 'static> Wire<Out, In> {
    /// Hands what arrives to `hear`, at last the end. Call it within a local task set.
    pub(super) fn open(
        channel: AsyncChannel<Out, In>,
        hear: impl FnMut(Heard<In>) + 'static,
    ) -> Wire<Out, In> {
        let channel = Rc::new(RefCell::new(channel));
        let behind = Rc::new(Notify::new());
        let listen = listen(Rc::clone(&channel), Rc::clone(&behind), hear);
        Wire { channel, behind, listen: tokio::task::spawn_local(listen) }
    }

    /// Says something. If the other side is gone, the end is heard anyway.
    pub(super) fn send(&self, message: &Out, fds: &[BorrowedFd<'_>]) {
        let mut channel = self.channel.borrow_mut();
        let _ = channel.send(message, fds);
        if channel.is_behind() {
            self.behind.notify_one();
        }
    }

    /// Another descriptor of the same end, to be given away.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.channel.borrow().as_fd().try_clone_to_owned()
    }
}

impl<Out, In> Drop for Wire<Out, In> {
    fn drop(&mut self) {
        self.listen.abort();
    }
}

async fn listen<Out: Message, In: Message>(
    channel: Rc<RefCell<AsyncChannel<Out, In>>>,
    behind: Rc<Notify>,
    mut hear: impl FnMut(Heard<In>),
) {
    loop {
        let received = tokio::select! {
            received = poll_fn(|cx| channel.borrow_mut().poll_receive(cx)) => received,
            () = behind.notified() => continue,
        };
        match received {
            Ok(Received::Message(message, fds)) => hear(Some((message, fds))),
            // One message that cannot be read is no reason not to hear the next.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            Ok(Received::Closed) | Err(_) => return hear(None),
        }
    }
}
