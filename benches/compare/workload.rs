//! Owns the kinds of load: what is asked, how often on a connection, and who can be asked it.

use crate::origin::{HUGE, LARGE, SMALL};
use crate::subject::Kind;

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Word on the command line.
    pub name: &'static str,
    /// Of its table.
    pub title: &'static str,
    pub path: &'static str,
    /// Bytes of body in each answer.
    pub answer: usize,
    /// Bytes of body in each request; 0: a GET.
    pub upload: usize,
    /// Each request has a connection of its own.
    pub reconnects: bool,
    /// At most so many connections: large bodies need few to keep a proxy busy.
    pub connections: usize,
    /// Answered from a file by the proxy itself.
    pub file: bool,
}

const SMALL_ANSWERS: Workload = Workload {
    name: "small",
    title: "675 bytes",
    path: "/small",
    answer: SMALL,
    upload: 0,
    reconnects: false,
    connections: usize::MAX,
    file: false,
};

/// All of them, in the order of the tables.
pub const WORKLOADS: [Workload; 7] = [
    SMALL_ANSWERS,
    Workload { name: "large", title: "100 KB", path: "/large", answer: LARGE, ..SMALL_ANSWERS },
    Workload {
        name: "huge",
        title: "10 MB",
        path: "/huge",
        answer: HUGE,
        connections: 8,
        ..SMALL_ANSWERS
    },
    Workload {
        name: "upload",
        title: "1 MB uploads",
        path: "/upload",
        upload: 1024 * 1024,
        connections: 16,
        ..SMALL_ANSWERS
    },
    Workload {
        name: "connect",
        title: "675 bytes, a connection each",
        reconnects: true,
        ..SMALL_ANSWERS
    },
    Workload {
        name: "file",
        title: "file of 1 KB",
        path: "/files/small",
        answer: 1024,
        file: true,
        ..SMALL_ANSWERS
    },
    Workload {
        name: "hugefile",
        title: "file of 10 MB",
        path: "/files/huge",
        answer: HUGE,
        connections: 8,
        file: true,
        ..SMALL_ANSWERS
    },
];

impl Workload {
    /// The small answer, for whoever needs any.
    pub const fn small() -> Self {
        SMALL_ANSWERS
    }

    /// Whether this proxy can be asked it. The relay does not know when to close a connection.
    pub fn suits(&self, kind: Kind) -> bool {
        let has_files = matches!(kind, Kind::Nginx | Kind::Proxyd);
        (has_files || !self.file) && (kind != Kind::Relay || !self.reconnects)
    }

    /// A whole request.
    pub fn request(&self, host: std::net::SocketAddr) -> Vec<u8> {
        let method = if self.upload > 0 { "POST" } else { "GET" };
        let close = if self.reconnects { "Connection: close\r\n" } else { "" };
        let length = match self.upload {
            0 => String::new(),
            bytes => format!("Content-Length: {bytes}\r\n"),
        };
        let mut request =
            format!("{method} {} HTTP/1.1\r\nHost: {host}\r\n{close}{length}\r\n", self.path)
                .into_bytes();
        request.resize(request.len() + self.upload, b'x');
        request
    }
}
