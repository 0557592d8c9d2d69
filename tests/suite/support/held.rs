//! A backend that says when a request has come and answers when it is told to.

use std::sync::{Mutex, mpsc};

use super::{DEADLINE, Origin};

pub struct Held {
    pub origin: Origin,
    come: mpsc::Receiver<()>,
    go: mpsc::Sender<&'static str>,
}

impl Held {
    pub fn new() -> Held {
        let (tell, come) = mpsc::channel();
        let (go, wait) = mpsc::channel::<&'static str>();
        let (tell, wait) = (Mutex::new(tell), Mutex::new(wait));
        let origin = Origin::new(move |peer| {
            while peer.request().is_some() {
                let _ = tell.lock().expect("a lock").send(());
                let Ok(answer) = wait.lock().expect("a lock").recv_timeout(DEADLINE) else {
                    return;
                };
                peer.send(answer);
                if answer.is_empty() {
                    return;
                }
            }
        });
        Held { origin, come, go }
    }

    /// Waits until a request is there.
    pub fn has_come(&self) {
        self.come.recv_timeout(DEADLINE).expect("a request at the backend");
    }

    /// Answers the request that is waiting; nothing ends the connection.
    pub fn answer(&self, text: &'static str) {
        self.go.send(text).expect("a waiting backend");
    }
}
