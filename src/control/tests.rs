//! The whole API over a real socket, with the master's loop played by the test.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::served;
use super::*;

/// Runs `client` against a server whose asks `master` answers.
fn with_server<T>(
    master: impl FnMut(Ask) + 'static,
    client: impl AsyncFnOnce(std::path::PathBuf) -> T,
) -> T {
    served(false, async |path, mut asked| {
        let mut master = master;
        tokio::task::spawn_local(async move {
            while let Some(ask) = asked.recv().await {
                master(ask);
            }
        });
        client(path).await
    })
}

async fn say(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Status and body.
async fn request(path: &Path, method: &str, target: &str) -> (u16, String) {
    let text = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = say(path, &text).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.to_ascii_lowercase().contains("content-type: application/json"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn answers_as_nginx_does() {
    let master = |ask| match ask {
        Ask::Processes(reply) => {
            let name = "worker process".to_owned();
            reply.send(vec![Process { name, pid: 7, exiting: true }]).unwrap();
        }
        Ask::Config(reply) => {
            let file = ConfigFile { name: "/c".into(), content: "a \"b\";".into() };
            reply.send(vec![file]).unwrap();
        }
        // Leaving: nobody gets an answer any more.
        _ => {}
    };
    with_server(master, async |path| {
        assert_eq!(request(&path, "GET", "/").await, (200, r#"["1"]"#.into()));
        assert_eq!(
            request(&path, "GET", "/1").await,
            (200, r#"["control","nginx","proxyd"]"#.into())
        );
        let own = r#"["status","upgrade","rollback","maintenance","inflight","barrier","token","revoke"]"#;
        assert_eq!(request(&path, "GET", "/1/proxyd").await, (200, own.into()));
        let processes = r#"[{"name":"worker process","pid":7,"exiting":true}]"#;
        assert_eq!(request(&path, "GET", "/1/control/processes").await, (200, processes.into()));
        let config = r#"[{"name":"/c","content":"a \"b\";"}]"#;
        assert_eq!(request(&path, "GET", "/1/control/config?x").await, (200, config.into()));
        assert_eq!(request(&path, "POST", "/1/control/config").await, (405, String::new()));
        assert_eq!(request(&path, "GET", "/2").await, (404, String::new()));
        assert_eq!(request(&path, "PATCH", "/1/control/config").await, (503, String::new()));
        assert_eq!(request(&path, "GET", "/1/proxyd/status").await, (503, String::new()));
        assert!(say(&path, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    });
}

#[test]
fn a_reload_is_answered_with_its_outcome() {
    let mut outcomes = vec![
        ReloadOutcome { done: false, logs: vec!["[emerg] no".into()], report: "why\n".into() },
        ReloadOutcome { done: false, logs: vec!["[emerg] no".into()], report: String::new() },
        ReloadOutcome { done: true, ..ReloadOutcome::default() },
    ];
    let mut last_words = outcomes.split_off(2);
    let master = move |ask| {
        let Ask::Reload(reply) = ask else { panic!("{ask:?}") };
        let next = if outcomes.is_empty() { last_words.remove(0) } else { outcomes.remove(0) };
        reply.send(next).unwrap();
    };
    with_server(master, async |path| {
        let wrong = client::reload(&path).await.unwrap();
        assert_eq!((wrong.done, wrong.text.as_str()), (false, "why\n"));
        let (status, body) = request(&path, "PATCH", "/1/control/config").await;
        assert_eq!((status, body.as_str()), (422, r#"{"logs":["[emerg] no"]}"#));
        let right = client::reload(&path).await.unwrap();
        assert_eq!((right.done, right.text.as_str()), (true, ""));
    });
}

#[test]
fn without_a_server_the_client_says_so() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(client::reload(Path::new("/nonexistent/ctl"))).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn the_socket_is_private_and_never_taken_from_a_living_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ctl");
    let first = bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(first);
    bind(&path).unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert_eq!(bind(&file).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}
