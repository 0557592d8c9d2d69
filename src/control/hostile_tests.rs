//! Clients that are slow, loud, mute or mad: the server answers the next one, and the master hears of
//! nothing that was not asked. The clock is the test's own (`start_paused`).

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::served;
use super::*;

/// Runs `client` against a server whose master answers what can be answered from nothing, and counts.
fn with_server(client: impl AsyncFnOnce(std::path::PathBuf, &std::cell::Cell<usize>)) {
    served(true, async |path, mut asked| {
        let heard = Rc::new(std::cell::Cell::new(0));
        let count = Rc::clone(&heard);
        tokio::task::spawn_local(async move {
            while let Some(ask) = asked.recv().await {
                count.set(count.get() + 1);
                match ask {
                    Ask::Processes(reply) => drop(reply.send(Vec::new())),
                    Ask::Switches(reply) => drop(reply.send(Vec::new())),
                    Ask::Inflight(_, reply) => drop(reply.send(Ok(Vec::new()))),
                    Ask::Switch(.., reply) => drop(reply.send(Ok(Vec::new()))),
                    Ask::Config(reply) => {
                        let content = "x".repeat(8 << 20);
                        let _ = reply.send(vec![ConfigFile { name: "/c".into(), content }]);
                    }
                    other => drop(other),
                }
            }
        });
        client(path, &heard).await;
    });
}

/// Sends it and reads what comes until the server closes.
async fn shout(path: &Path, bytes: &[u8]) -> Vec<u8> {
    let stream = UnixStream::connect(path).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    // The server may have closed already, with the rest unread.
    let _ = writer.write_all(bytes).await;
    while let Ok(length @ 1..) = reader.read(&mut piece).await {
        answer.extend_from_slice(&piece[..length]);
    }
    answer
}

async fn still_answers(path: &Path) {
    let found = client::switches(path).await;
    assert!(matches!(&found, Ok(list) if list.is_empty()), "{found:?}");
}

/// Every path that takes an order.
const ORDERS: [&str; 6] = [
    "/1/proxyd/upgrade",
    "/1/proxyd/rollback",
    "/1/proxyd/maintenance/default",
    "/1/proxyd/barrier/default",
    "/1/proxyd/token/default",
    "/1/proxyd/revoke/default",
];

#[test]
fn an_order_has_a_limit_and_a_deadline() {
    with_server(async |path, heard| {
        for target in ORDERS {
            let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\n");
            let large = format!("{head}Content-Length: 99999999\r\n\r\n");
            let text = shout(&path, large.as_bytes()).await;
            assert!(text.starts_with(b"HTTP/1.1 413 "), "{target}");
            let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
            let endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(4));
            let text = shout(&path, endless.as_bytes()).await;
            assert!(text.starts_with(b"HTTP/1.1 413 "), "{target}");
            let late = format!("{head}Content-Length: 10\r\n\r\n{{");
            let text = shout(&path, late.as_bytes()).await;
            assert!(text.starts_with(b"HTTP/1.1 408 "), "{target}");
        }
        assert_eq!(heard.get(), 0);
        still_answers(&path).await;
    });
}

#[test]
fn heads_have_a_limit_and_a_deadline() {
    with_server(async |path, heard| {
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(9000));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(500));
        for (bytes, status) in [(long.as_str(), "4"), (&many, "4"), ("GET / HT", ""), ("", "")] {
            let answer = shout(&path, bytes.as_bytes()).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{status}: {answer}");
        }
        assert_eq!(heard.get(), 0);
        still_answers(&path).await;
    });
}

#[test]
fn whoever_does_not_read_is_left_behind() {
    with_server(async |path, _| {
        let mut mute = UnixStream::connect(&path).await.unwrap();
        let head = "GET /1/control/config HTTP/1.1\r\nHost: x\r\n\r\n";
        mute.write_all(head.as_bytes()).await.unwrap();
        // With nothing to do but wait the clock goes on at once.
        tokio::time::sleep(ANSWER_DEADLINE * 2).await;
        let mut answer = Vec::new();
        let _ = mute.read_to_end(&mut answer).await;
        assert!(answer.len() < 8 << 20, "the rest was not waited for");
        still_answers(&path).await;
    });
}

#[test]
fn the_mute_keep_nobody_out_for_long() {
    with_server(async |path, heard| {
        let mut mute = Vec::new();
        for _ in 0..CONNECTIONS + 10 {
            mute.push(UnixStream::connect(&path).await.unwrap());
        }
        let begun = tokio::time::Instant::now();
        still_answers(&path).await;
        assert!(begun.elapsed() <= HEAD_DEADLINE * 2, "{:?}", begun.elapsed());
        assert_eq!(heard.get(), 1);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_disturbs_nobody(
        method in "[A-Z]{1,7}|POST|GET|PATCH",
        target in "/1/proxyd/[a-z/%0-9]{0,40}|/[ -~]{0,40}",
        fields in prop::collection::vec("[A-Za-z-]{1,20}: ?[ -~]{0,30}", 0..6),
        body in prop::collection::vec(any::<u8>(), 0..300),
        cut in 0..600_usize,
    ) {
        with_server(async |path, heard| {
            let (fields, length) = (fields.join("\r\n"), body.len());
            let mut bytes = format!(
                "{method} {target} HTTP/1.1\r\n{fields}\r\nContent-Length: {length}\r\n\r\n"
            ).into_bytes();
            bytes.extend_from_slice(&body);
            bytes.truncate(cut);
            shout(&path, &bytes).await;
            let before = heard.get();
            assert!(before <= 1);
            still_answers(&path).await;
            assert_eq!(heard.get(), before + 1);
        });
    }
}
