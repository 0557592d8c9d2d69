//! HTTP/1 on the wire, byte for byte: which requests are served, refused and
//! how, and what clients see of odd upstream answers.
//!
//! Expectations are nginx's. Where proxyd is stricter on purpose, the row says
//! both, with `or_ours`.

use std::fmt::Write as _;
use std::panic::{self, AssertUnwindSafe};

use crate::support::{Client, End, Response, Server, is_reference};

mod requests;
mod upstream;

/// What happens to the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Open,
    Closed,
    /// Nothing a client could rely on.
    Unsure,
}
use Then::{Closed, Open, Unsure};

/// What the client gets.
#[derive(Clone, Debug)]
enum Answer {
    /// The head without its date, then the body as framed.
    Whole(String, Then),
    /// Bytes without a head, then the end if it is said to come.
    Bare(&'static str, Then),
    /// The end, without a byte.
    Nothing,
}

struct Row {
    name: &'static str,
    sent: Vec<u8>,
    nginx: Answer,
    ours: Option<Answer>,
}

impl Row {
    fn or_ours(mut self, ours: Answer) -> Row {
        self.ours = Some(ours);
        self
    }

    /// What the program under test is to answer.
    fn expected(&self) -> &Answer {
        match &self.ours {
            Some(ours) if !is_reference() => ours,
            _ => &self.nginx,
        }
    }
}

fn row(name: &'static str, sent: impl Into<Vec<u8>>, nginx: Answer) -> Row {
    Row { name, sent: sent.into(), nginx, ours: None }
}

/// Rows that all get one answer.
fn each<const N: usize>(sent: [(&'static str, Vec<u8>); N], answer: &Answer) -> [Row; N] {
    sent.map(|(name, sent)| row(name, sent, answer.clone()))
}

fn connection(then: Then) -> &'static str {
    if then == Closed { "close" } else { "keep-alive" }
}

/// The answer of the test's location, which tells what it saw.
fn saw(seen: &str, then: Then) -> Answer {
    let head = format!(
        "HTTP/1.1 200 OK\nServer: nginx/1.31.5\nDate: *\nContent-Type: text/plain\n\
         Content-Length: 3\nConnection: {}\nX-Saw: {seen}\n\nok\n",
        connection(then)
    );
    Answer::Whole(head, then)
}

/// One of nginx's own pages. Its title may say more than its status does.
fn page_with(title: &str, status: &str, line: &str, then: Then) -> Answer {
    let body = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
         <center><h1>{status}</h1></center>\r\n{line}\
         <hr><center>nginx/1.31.5</center>\r\n</body>\r\n</html>\r\n"
    );
    let head = format!(
        "HTTP/1.1 {status}\nServer: nginx/1.31.5\nDate: *\nContent-Type: text/html\n\
         Content-Length: {}\nConnection: {}\n\n{body}",
        body.len(),
        connection(then)
    );
    Answer::Whole(head, then)
}

fn page(status: &str) -> Answer {
    page_with(status, status, "", Closed)
}

fn bad_request() -> Answer {
    page("400 Bad Request")
}

fn ok() -> Answer {
    saw("/|/|localhost|", Closed)
}

/// Sends the row's bytes and compares, adding what differs to `report`.
fn play(row: &Row, client: &mut Client, report: &mut String) {
    client.send(&row.sent);
    let expected = row.expected();
    let (got, then) = match expected {
        Answer::Whole(text, then) => (compare(&client.response(), text), *then),
        Answer::Bare(text, then) => {
            let bytes = match then {
                Open | Unsure => client.read_exactly(text.len()),
                Closed => client.read_to_end(),
            };
            let text_got = String::from_utf8_lossy(&bytes).into_owned();
            ((text_got != *text).then_some(text_got), *then)
        }
        Answer::Nothing => (None, Closed),
    };
    if let Some(got) = got {
        let _ = write!(report, "== {}: expected\n{expected:?}\ngot\n{got}\n", row.name);
    } else if then == Closed && client.end() != End::Closed {
        let _ = writeln!(report, "== {}: the connection was reset", row.name);
    }
}

fn compare(response: &Response, expected: &str) -> Option<String> {
    let raw = String::from_utf8_lossy(&response.raw_body);
    let got = format!("{}\n{raw}", response.head_without_date());
    (got != expected).then_some(got)
}

fn play_all(rows: &[Row], server: &Server) {
    let mut report = String::new();
    for row in rows {
        let mut found = String::new();
        let playing = AssertUnwindSafe(|| play_on(row, &mut server.client(), &mut found));
        if panic::catch_unwind(playing).is_err() {
            let _ = writeln!(found, "== {}: no answer, or half of one; see above", row.name);
        }
        report.push_str(&found);
    }
    assert!(report.is_empty(), "{report}");
}

/// As `play`; a connection that stays open has to serve another request.
fn play_on(row: &Row, client: &mut Client, report: &mut String) {
    play(row, client, report);
    if let Answer::Whole(_, Open) = row.expected() {
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let again = client.response();
        if again.header("X-Saw") != Some("/|/|localhost|") {
            let _ = writeln!(report, "== {}: and then {again:?}", row.name);
        }
    }
}

const SEEING: &str = r#"
    location / {
        add_header X-Saw "$request_uri|$uri|$host|$http_x_foo";
        return 200 "ok\n";
    }
"#;
