//! Closing and opening by `proxyd ctl`, `-s` and the control API: what it does, says and returns.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{OK, REQUEST, ctl, done, expect, is_closed, off, on, setup, switch, switches};
use crate::support::{Client, Origin, Server, Site, binary, is_reference, system};

fn start(more: &str) -> (Origin, Server) {
    let origin = Origin::answering(OK);
    let server = setup(2, &origin, more).start();
    (origin, server)
}

fn ask(client: &mut Client) -> u16 {
    client.send(REQUEST).response().status
}

/// One request to the control API with a body: status and content.
fn post(site: &Site, path: &str, body: &Value) -> (u16, Value) {
    let (status, lines) = site.ask_control("POST", path, &body.to_string());
    let text = lines.rest();
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[test]
fn every_worker_obeys_before_the_verb_returns() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let server = setup(4, &origin, "").start();
    server.all_workers(4);
    // So many connections that no worker has none, opened before it is closed.
    let mut clients: Vec<Client> = (0..40).map(|_| server.client()).collect();
    let all = |clients: &mut Vec<Client>, status| {
        for client in clients {
            assert_eq!(ask(client), status);
        }
    };
    all(&mut clients, 200);
    let before = origin.connections();
    for _ in 0..3 {
        on(&server);
        all(&mut clients, 503);
        off(&server);
        all(&mut clients, 200);
    }
    assert!(origin.connections() >= before);
}

#[test]
fn each_switch_is_its_own() {
    if is_reference() {
        return;
    }
    let (_origin, server) = start("");
    expect(&server, false, false);
    done(&server, &["maintenance", "on", "shop", "--reason", "stock taking"]);
    expect(&server, false, true);
    on(&server);
    expect(&server, true, true);
    done(&server, &["maintenance", "off", "shop"]);
    expect(&server, true, false);
    done(&server, &["maintenance", "on", "--all"]);
    expect(&server, true, true);
    done(&server, &["maintenance", "off", "--all"]);
    expect(&server, false, false);
}

#[test]
fn dash_s_means_the_default_one() {
    if is_reference() {
        return;
    }
    let (_origin, server) = start("");
    for (request, closed) in [("maintenance-on", true), ("maintenance-off", false)] {
        for _ in 0..2 {
            assert_eq!(server.command(&["-s", request]).0, Some(0));
            expect(&server, closed, false);
        }
    }
}

#[test]
fn the_log_says_who_did_it() {
    if is_reference() {
        return;
    }
    let (_origin, server) = start("");
    let said = ctl(&server, &["maintenance", "on", "--reason", "cutover night", "--for", "30m"]);
    assert_eq!(said.out, "proxyd: maintenance \"default\" closed, expected to last 30m0s\n");
    off(&server);
    let uid = nix::unistd::geteuid();
    let closed = server.logged("maintenance \"default\" closed for 1800 s, by uid ");
    assert!(closed.contains(&format!("uid {uid} (pid ")), "{closed}");
    assert!(closed.ends_with(", proxyd ctl): cutover night"), "{closed}");
    assert!(closed.contains("[notice]"), "{closed}");
    assert!(server.logged("maintenance \"default\" opened by uid ").ends_with(", proxyd ctl)"));
}

#[test]
fn whitelisted_people_may_be_kept_out_too() {
    if is_reference() {
        return;
    }
    let (_origin, server) = start("maintenance_allow 127.0.0.1;");
    on(&server);
    let answer = server.get("/");
    assert_eq!((answer.status, answer.header("X-Maintenance")), (200, Some("bypass")));
    done(&server, &["maintenance", "on", "--no-bypass"]);
    assert!(is_closed(&server, "/"));
    done(&server, &["maintenance", "on", "--reason", "testers may come in"]);
    assert!(!is_closed(&server, "/"));
}

#[test]
fn people_may_be_let_in_at_run_time() {
    if is_reference() {
        return;
    }
    let (_origin, server) = start("");
    done(&server, &["maintenance", "on", "--allow", "192.0.2.0/24"]);
    assert!(is_closed(&server, "/"));
    let words = ["maintenance", "on", "--allow", "192.0.2.0/24", "--allow", "::ffff:127.0.0.1"];
    done(&server, &words);
    assert!(!is_closed(&server, "/"));
    let allow = switch(&server, "default")["allow"].clone();
    assert_eq!(allow, json!(["192.0.2.0/24", "127.0.0.1/32"]));
}

#[test]
fn a_flag_file_closes_it_and_keeps_it_closed() {
    if is_reference() {
        return;
    }
    let (_origin, server) = start("maintenance_flag_file %%dir%%/flag;");
    fs::write(server.path("flag"), "").expect("a flag");
    let begun = Instant::now();
    system::until("it is closed", || is_closed(&server, "/"));
    system::until("by all workers", || (0..20).all(|_| is_closed(&server, "/")));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let found = switch(&server, "default");
    assert_eq!((&found["state"], &found["ordered"]), (&json!("closed"), &json!("open")));
    let said = ctl(&server, &["maintenance", "off"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.errors.contains("flag file") && said.errors.contains("is still present"),
        "{said:?}"
    );
    assert!(is_closed(&server, "/"));
    // What only a file says is no order, and proves nothing.
    assert_eq!(ctl(&server, &["barrier"]).code, Some(2));
    on(&server);
    fs::remove_file(server.path("flag")).expect("a flag to remove");
    done(&server, &["maintenance", "off"]);
    system::until("it is open", || (0..20).all(|_| !is_closed(&server, "/")));
}

#[test]
fn an_announced_end_opens_only_what_was_to_be_opened() {
    if is_reference() {
        return;
    }
    let (_origin, server) = start("");
    done(&server, &["maintenance", "on", "--for", "60s"]);
    let retry = server.get("/").header("Retry-After").and_then(|text| text.parse::<u64>().ok());
    assert!(retry.is_some_and(|seconds| seconds <= 60 + 24), "{retry:?}");
    done(&server, &["maintenance", "on", "--for", "1s"]);
    done(&server, &["maintenance", "on", "shop", "--for", "1s", "--auto-off"]);
    server.logged("maintenance \"shop\" opened by its own end");
    expect(&server, true, false);
    system::until("the end has passed", || {
        switch(&server, "default")["overrun"].as_u64().is_some_and(|over| over > 0)
    });
    assert!(is_closed(&server, "/"));
    let retry = server.get("/").header("Retry-After").and_then(|text| text.parse::<u64>().ok());
    assert!(retry.is_some_and(|seconds| seconds >= 120), "the default: {retry:?}");
}

#[test]
fn codes_tell_what_was_done() {
    if is_reference() {
        return;
    }
    let (_origin, mut server) = start("");
    for words in [
        &["maintenance", "on", "shpo"][..],
        &["maintenance", "on", "--auto-off"],
        &["maintenance", "on", "--allow", "nonsense"],
        &["inflight", "shpo"],
        &["maintenance", "frob"],
        &["frob"],
    ] {
        let said = ctl(&server, words);
        assert!(said.code == Some(1) && !said.errors.is_empty(), "{words:?}: {said:?}");
    }
    assert_eq!(ctl(&server, &["barrier"]).code, Some(2), "it is open");
    expect(&server, false, false);
    assert_eq!(ctl(&server, &["help"]).code, Some(0));
    server.quit();
    for words in [&["maintenance", "on"][..], &["barrier"], &["status"]] {
        let said = ctl(&server, words);
        assert_eq!(said.code, Some(1), "{words:?}: {said:?}");
        assert!(said.errors.contains("no running master"), "{said:?}");
    }
}

#[test]
fn what_people_read_programs_can_read_too() {
    if is_reference() {
        return;
    }
    let (_origin, server) = start("");
    on(&server);
    let json = |words: &[&str]| -> Value {
        let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let text = done(&server, &words);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    assert_eq!(json(&["maintenance", "status"])[1]["name"], "shop");
    assert_eq!(json(&["maintenance", "on", "shop"])[0]["state"], "closed");
    assert_eq!(json(&["inflight", "shop"])[0]["total"]["read"], 0);
    let proof = json(&["barrier", "shop"]);
    assert_eq!((&proof["clean"], &proof["timed_out"]), (&json!(true), &json!(false)));
    let status = json(&["status"]);
    assert_eq!(status["switches"][0]["state"], "closed");
    assert_eq!(status["generations"][0]["state"], "serving");
    let text = done(&server, &["status"]);
    assert!(text.contains("\nSWITCH ") && text.contains("\nshop "), "{text}");
    assert!(done(&server, &["maintenance", "status"]).contains("\ndefault  closed "));
}

/// Whoever names the socket needs no configuration.
#[test]
fn the_socket_alone_is_enough() {
    if is_reference() {
        return;
    }
    let (_origin, server) = start("");
    let socket = format!("unix:{}", server.path("server.pid.ctl").display());
    let mut command = std::process::Command::new(binary());
    command.args(["ctl", "-c", "/nowhere", "-l", &socket, "maintenance", "on", "shop"]);
    let said = command.output().expect("it runs");
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    expect(&server, false, true);
}

#[test]
fn the_last_reload_is_remembered() {
    if is_reference() {
        return;
    }
    let (_origin, mut server) = start("");
    done(&server, &["reload"]);
    assert!(done(&server, &["status"]).contains("\nlast reload:   done, "));
    server.allow("unknown directive");
    server.configure("bogus;");
    assert_eq!(ctl(&server, &["reload"]).code, Some(1));
    let text = done(&server, &["status"]);
    assert!(text.contains("\nlast reload:   failed, "), "{text}");
    assert!(text.contains("unknown directive \"bogus\""), "{text}");
}

#[test]
fn the_api_refuses_with_reasons() {
    if is_reference() {
        return;
    }
    let (_origin, server) = start("");
    let path = "/1/proxyd/maintenance/default";
    for (body, status, why) in [
        (json!({}), 400, "\"state\" has to be"),
        (json!({ "state": "ajar" }), 400, "unknown variant `ajar`"),
        (json!({ "state": "closed", "auto_off": true }), 400, "\"auto_off\" needs \"for\""),
        (json!({ "state": "closed", "reason": "a\nb" }), 400, "has to be a line"),
        (json!({ "state": "closed", "why": 1 }), 400, "unknown field `why`"),
        (json!({ "state": "closed", "allow": vec!["::1"; 17] }), 400, "at most 16"),
    ] {
        let (found, answer) = post(&server, path, &body);
        assert_eq!(found, status, "{body}: {answer}");
        assert!(
            answer["error"].as_str().is_some_and(|text| text.contains(why)),
            "{body}: {answer}"
        );
    }
    let closing = json!({ "state": "closed" });
    assert_eq!(post(&server, "/1/proxyd/maintenance/nobody", &closing).0, 404);
    assert_eq!(post(&server, "/1/proxyd/barrier/shop", &json!({})).0, 409);
    assert_eq!(server.control("GET", "/1/proxyd/maintenance/shop").0, 405);
    expect(&server, false, false);
    let (status, answer) = post(&server, "/1/proxyd/maintenance/sh%6fp", &closing);
    assert_eq!((status, &answer[0]["name"]), (200, &json!("shop")), "{answer}");
    let (status, proof) = post(&server, "/1/proxyd/barrier/shop", &json!({ "timeout_ms": 0 }));
    assert_eq!((status, &proof["clean"]), (200, &json!(true)), "{proof}");
    assert_eq!(switches(&server).len(), 2);
}
