//! Orders over a real socket: how they are read, refused and answered. The clock is the test's own
//! (`start_paused`), so that waiting for a deadline takes no time.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::control::client::{self, Change, Failed};
use crate::control::fixture::served;
use crate::control::upgrade::{self, Status};
use crate::control::*;

/// What the master was told, and the ends it may answer through.
type Orders = mpsc::UnboundedReceiver<(upgrade::Request, UnboundedSender<Progress>)>;

/// Runs `client` against a server whose orders it is given to play the master with.
fn with_server<T>(client: impl AsyncFnOnce(std::path::PathBuf, Orders) -> T) -> T {
    served(true, async |path, mut asked| {
        let (orders, ordered) = mpsc::unbounded_channel();
        tokio::task::spawn_local(async move {
            while let Some(ask) = asked.recv().await {
                match ask {
                    Ask::Upgrade(order, lines) | Ask::Rollback(order, lines) => {
                        orders.send((order, lines)).unwrap();
                    }
                    Ask::Status(reply) => reply.send(status()).unwrap(),
                    other => panic!("{other:?}"),
                }
            }
        });
        client(path, ordered).await
    })
}

fn status() -> Status {
    Status {
        version: "1.2.0".into(),
        pid: 7,
        generation: 3,
        executable: "/x (deleted)".into(),
        arguments: vec!["-c".into(), "/c".into()],
        prefix: "/p".into(),
        configuration: "/c".into(),
        change: None,
        rollback: Some("1.1.0".into()),
        generations: Vec::new(),
        reload: None,
        switches: Vec::new(),
        upstreams: Vec::new(),
        floods: std::collections::BTreeMap::new(),
    }
}

fn progress(state: &str, code: Option<u8>) -> Progress {
    Progress { state: state.into(), text: format!("{state}, done"), code }
}

fn upgrade() -> upgrade::Request {
    let executable = Some("/new".into());
    upgrade::Request { executable, watch: Some(5), ..upgrade::Request::default() }
}

/// An order that has reached the master: what the client reads, what was ordered, and where to say
/// what comes of it.
async fn ordered(
    path: &Path,
    orders: &mut Orders,
) -> (client::Lines, upgrade::Request, UnboundedSender<Progress>) {
    let order = upgrade();
    let (lines, said) = tokio::join!(client::order(path, Change::Upgrade, &order), orders.recv());
    let (order, master) = said.unwrap();
    (lines.unwrap(), order, master)
}

/// A POST; what comes back until the server closes.
async fn post(path: &Path, target: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server may have refused already, with the rest unread.
    let _ = stream.write_all(body.as_bytes()).await;
    rest(&mut stream).await
}

async fn rest(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        answer.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn each_line_comes_when_it_is_said() {
    with_server(async |path, mut orders| {
        let (mut lines, order, master) = ordered(&path, &mut orders).await;
        assert_eq!(order, upgrade());
        for state in ["started", "ready", "overlap"] {
            master.send(progress(state, None)).unwrap();
            assert_eq!(lines.next().await, Some(progress(state, None)));
        }
        master.send(progress("committed", Some(0))).unwrap();
        master.send(progress("draining", None)).unwrap();
        drop(master);
        assert_eq!(lines.next().await, Some(progress("committed", Some(0))));
        assert_eq!(lines.next().await, Some(progress("draining", None)));
        assert_eq!(lines.next().await, None);
    });
}

#[test]
fn the_answer_is_lines_of_json() {
    with_server(async |path, mut orders| {
        let asked = post(&path, "/1/proxyd/rollback", "{\"wait\":true}");
        let master = async {
            let (order, lines) = orders.recv().await.unwrap();
            assert_eq!(order, upgrade::Request { wait: true, ..upgrade::Request::default() });
            lines.send(progress("refused", Some(1))).unwrap();
        };
        let (answer, ()) = tokio::join!(asked, master);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let head = answer.to_ascii_lowercase();
        assert!(head.contains("\r\ncontent-type: application/x-ndjson\r\n"), "{answer}");
        assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{answer}");
        let line = "{\"state\":\"refused\",\"text\":\"refused, done\",\"code\":1}\n";
        assert!(answer.contains(line), "{answer}");
        assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
    });
}

#[test]
fn a_rollback_needs_no_words() {
    with_server(async |path, mut orders| {
        let asked = post(&path, "/1/proxyd/rollback", "");
        let master = async { orders.recv().await.unwrap().0 };
        let (answer, order) = tokio::join!(asked, master);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(order, upgrade::Request::default());
    });
}

#[test]
fn what_is_malformed_is_refused_with_a_reason() {
    with_server(async |path, mut orders| {
        for (body, why) in [
            ("{", "EOF while parsing an object at line 1 column 1"),
            ("{\"surprise\":1}", "unknown field `surprise`"),
            ("{\"watch\":-1}", "invalid value"),
            ("[]x", "trailing characters"),
            ("", "\\\"executable\\\" has to be an absolute path"),
            ("{\"executable\":\"bin/proxyd\"}", "\\\"executable\\\" has to be an absolute path"),
        ] {
            let answer = post(&path, "/1/proxyd/upgrade", body).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{body}: {answer}");
            let (_, text) = answer.split_once("\r\n\r\n").unwrap();
            assert!(text.starts_with("{\"error\":\"") && text.contains(why), "{body}: {text}");
        }
        let relative = upgrade::Request { executable: Some("x".into()), ..upgrade() };
        let failed = client::order(&path, Change::Upgrade, &relative).await.err().unwrap();
        assert!(matches!(failed, Failed::Refused(why) if why.starts_with("\"executable\"")));
        assert!(orders.try_recv().is_err());
    });
}

#[test]
fn a_body_has_a_limit() {
    with_server(async |path, mut orders| {
        let filler = " ".repeat(64 * 1024 - 1);
        let answer = post(&path, "/1/proxyd/upgrade", &format!("{filler}{{}}")).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.ends_with("{\"error\":\"the body is too large\"}"), "{answer}");
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let head = "POST /1/proxyd/rollback HTTP/1.1\r\nHost: x\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
        for _ in 0..3 {
            let _ = stream.write_all(chunk.as_bytes()).await;
        }
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(orders.try_recv().is_err());
        let fits = format!("{}{{}}", " ".repeat(64 * 1024 - 2));
        let answered = async { drop(orders.recv().await.unwrap()) };
        let (answer, ()) = tokio::join!(post(&path, "/1/proxyd/rollback", &fits), answered);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

#[test]
fn a_body_has_to_come_in_time() {
    with_server(async |path, mut orders| {
        let begun = Instant::now();
        let (mut reader, mut writer) = UnixStream::connect(&path).await.unwrap().into_split();
        let head = "POST /1/proxyd/rollback HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n";
        writer.write_all(head.as_bytes()).await.unwrap();
        let trickle = async {
            while writer.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        let mut answer = String::new();
        let read = reader.read_to_string(&mut answer);
        tokio::select! {
            () = trickle => {}
            result = read => drop(result),
        }
        assert!(begun.elapsed() < Duration::from_secs(3));
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(orders.try_recv().is_err());
    });
}

#[test]
fn whoever_goes_away_stops_nothing() {
    with_server(async |path, mut orders| {
        let (lines, _, master) = ordered(&path, &mut orders).await;
        drop(lines);
        // The server notices, and goes on serving others.
        master.closed().await;
        assert!(master.send(progress("committed", Some(0))).is_err());
        assert_eq!(client::status(&path).await.unwrap(), status());
        // Half a body, and away.
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let head = "POST /1/proxyd/rollback HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        drop(stream);
        assert_eq!(client::status(&path).await.unwrap(), status());
        assert!(orders.try_recv().is_err());
    });
}

#[test]
fn orders_do_not_get_in_each_others_way() {
    with_server(async |path, mut orders| {
        let (mut first, _, first_master) = ordered(&path, &mut orders).await;
        let (mut second, _, second_master) = ordered(&path, &mut orders).await;
        second_master.send(progress("refused", Some(1))).unwrap();
        assert_eq!(second.next().await, Some(progress("refused", Some(1))));
        first_master.send(progress("started", None)).unwrap();
        assert_eq!(first.next().await, Some(progress("started", None)));
    });
}

#[test]
fn a_client_tells_what_is_wrong_with_the_server() {
    with_server(async |path, _| {
        let beside = path.with_file_name("other");
        let failed = client::status(&beside).await.unwrap_err();
        assert!(
            matches!(failed, Failed::Connect(error) if error.kind() == io::ErrorKind::NotFound)
        );
    });
    for (answer, expected) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "Unknown"),
        ("HTTP/1.1 405 Not Allowed\r\nContent-Length: 0\r\n\r\n", "Unknown"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "Unknown"),
        ("HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n", "Gone"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "Gone"),
        ("", "Gone"),
        ("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "Refused(\"500 Internal Server Error\")"),
    ] {
        assert_eq!(format!("{:?}", status_from(answer)), expected);
    }
}

/// What the client makes of a server that says just this and closes.
fn status_from(answer: &'static str) -> Failed {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ctl");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = UnixListener::from_std(bind(&path).unwrap()).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The head first, so that nothing unread spoils the closing.
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (failed, ()) = tokio::join!(client::status(&path), server);
        failed.unwrap_err()
    })
}
