//! Switches over a real socket: what the master is asked, and what a client is answered.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::served;
use super::maintenance::{Counts, Wish};
use super::*;

/// One request by hand: status and content.
async fn say(path: &Path, method: &str, target: &str, more: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let length = body.len();
    let text = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn switch(name: &str) -> Switch {
    Switch {
        name: name.into(),
        state: "closed".into(),
        ordered: "open".into(),
        flag_file: Some("/flag".into()),
        since: Some(1),
        until: None,
        overrun: None,
        reason: "\"why\"".into(),
        auto_off: false,
        no_bypass: true,
        allow: vec!["::1/128".into()],
        epoch: 2,
        revoked: 0,
        configured: true,
        inflight: Counts { read: 1, ..Counts::default() },
    }
}

#[test]
fn the_state_of_switches_is_a_list() {
    served(false, async |path, mut asked| {
        let master = async {
            let Some(Ask::Switches(reply)) = asked.recv().await else { panic!() };
            reply.send(vec![switch("a"), switch("b")]).unwrap();
        };
        let (found, ()) = tokio::join!(client::switches(&path), master);
        assert_eq!(found.unwrap(), [switch("a"), switch("b")]);
    });
}

#[test]
fn an_order_has_a_caller() {
    served(false, async |path, mut asked| {
        let body = r#"{"state":"closed","for":60,"reason":"x","allow":["::1"]}"#;
        let who = "User-Agent: night shift\r\n";
        let asking = say(&path, "POST", "/1/proxyd/maintenance/a%20b", who, body);
        let master = async {
            let Some(Ask::Switch(name, change, caller, reply)) = asked.recv().await else {
                panic!()
            };
            assert_eq!(
                (name.as_str(), change.state, change.seconds),
                ("a b", Some(Wish::Closed), Some(60))
            );
            let (uid, pid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getpid().as_raw());
            assert_eq!(caller, Caller { uid, pid, program: "night shift".into() });
            reply.send(Ok(vec![switch("a b")])).unwrap();
        };
        let ((status, content), ()) = tokio::join!(asking, master);
        assert_eq!(status, 200);
        assert_eq!(serde_json::from_str::<Vec<Switch>>(&content).unwrap(), [switch("a b")]);
    });
}

#[test]
fn a_name_in_the_log_is_a_name() {
    served(false, async |path, mut asked| {
        let long = format!("User-Agent: {}\r\n", "x".repeat(500));
        for (head, program) in [("User-Agent: a\tb\r\n", "a\tb"), (long.as_str(), &"x".repeat(64))]
        {
            let asking = say(&path, "POST", "/1/proxyd/maintenance/a", head, "");
            let master = async {
                let Some(Ask::Switch(.., caller, _)) = asked.recv().await else { panic!() };
                assert_eq!(caller.program, program);
            };
            assert_eq!(tokio::join!(asking, master).0.0, 503);
        }
        let odd = "User-Agent: caf\u{e9}\r\n";
        let asking = say(&path, "POST", "/1/proxyd/maintenance/a", odd, "");
        let master = async {
            let Some(Ask::Switch(.., caller, _)) = asked.recv().await else { panic!() };
            assert_eq!(caller.program, "");
        };
        tokio::join!(asking, master);
    });
}

#[test]
fn every_refusal_has_its_status() {
    served(false, async |path, mut asked| {
        for (refusal, status) in [
            (Refusal::Malformed("m".into()), 400),
            (Refusal::Unknown("u".into()), 404),
            (Refusal::State("s".into()), 409),
            (Refusal::Failed("f".into()), 500),
        ] {
            let text = refusal.text().to_owned();
            let asking = say(&path, "POST", "/1/proxyd/barrier/a", "", "{\"timeout_ms\":5}");
            let master = async {
                let Some(Ask::Barrier(name, terms, reply)) = asked.recv().await else { panic!() };
                assert_eq!(
                    (name.as_str(), terms.timeout_ms, terms.include_bypass),
                    ("a", 5, false)
                );
                reply.send(Err(refusal)).unwrap();
            };
            let (answer, ()) = tokio::join!(asking, master);
            assert_eq!(answer, (status, format!("{{\"error\":\"{text}\"}}")));
        }
    });
}

#[test]
fn a_client_tells_them_apart() {
    served(false, async |path, mut asked| {
        for refusal in
            [Refusal::Unknown("u".into()), Refusal::State("s".into()), Refusal::Failed("f".into())]
        {
            let master = async {
                let Some(Ask::Inflight(name, reply)) = asked.recv().await else { panic!() };
                assert_eq!(name.as_deref(), Some("ü"));
                reply.send(Err(refusal.clone())).unwrap();
            };
            let (failed, ()) = tokio::join!(client::inflight(&path, Some("ü")), master);
            match (failed.unwrap_err(), refusal) {
                (client::Failed::State(said), Refusal::State(meant))
                | (
                    client::Failed::Refused(said),
                    Refusal::Unknown(meant) | Refusal::Failed(meant),
                ) => {
                    assert_eq!(said, meant);
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn nobody_waits_for_a_client_that_has_gone() {
    served(false, async |path, mut asked| {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let head = "POST /1/proxyd/barrier/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let Some(Ask::Barrier(_, terms, mut reply)) = asked.recv().await else { panic!() };
        assert_eq!(terms, Barrier::default());
        drop(stream);
        reply.closed().await;
    });
}

#[test]
fn what_is_malformed_does_not_reach_the_master() {
    served(false, async |path, mut asked| {
        for (target, body) in [
            ("/1/proxyd/maintenance/a", "{\"state\":\"ajar\"}"),
            ("/1/proxyd/maintenance/a", "{\"state\":\"closed\",\"surprise\":1}"),
            ("/1/proxyd/maintenance/a", "{\"for\":-1}"),
            ("/1/proxyd/maintenance/a", "{\"allow\":\"::1\"}"),
            ("/1/proxyd/maintenance/a", "nonsense"),
            ("/1/proxyd/maintenance/%ff", ""),
            ("/1/proxyd/barrier/a", "{\"timeout_ms\":\"1\"}"),
            ("/1/proxyd/barrier/%ff", ""),
            ("/1/proxyd/maintenance/a", &"[".repeat(10_000)),
        ] {
            let (status, text) = say(&path, "POST", target, "", body).await;
            assert!(status == 400 && text.starts_with("{\"error\":"), "{target} {body}: {text}");
        }
        let (status, _) = say(&path, "GET", "/1/proxyd/inflight/%c3", "", "").await;
        assert_eq!(status, 400);
        assert!(asked.try_recv().is_err());
    });
}
