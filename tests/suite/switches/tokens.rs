//! Tokens that the server makes and revokes, and switches that are named by a host.

use serde_json::{Value, json};

use super::{ctl, done, expect, on, setup, switch};
use crate::support::{Daemon, OK, Origin, Site, is_reference, system};

fn start(more: &str) -> (Origin, Daemon) {
    let origin = Origin::answering(OK);
    let setup = setup(2, &origin, more).file("key", "0123456789abcdef0123456789abcdef");
    let daemon = setup.start_daemon();
    (origin, daemon)
}

const KEY: &str = "maintenance_bypass_cookie pass key_file=%%dir%%/key;";

fn token(site: &Site, words: &[&str]) -> Value {
    let words = [&["maintenance", "token"], words, &["--json"]].concat();
    serde_json::from_str(&done(site, &words)).expect("JSON")
}

/// The status of an answer to whoever shows this cookie.
fn shown(site: &Site, path: &str, cookie: &str) -> u16 {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: pass={cookie}\r\n\r\n");
    site.request(request).status
}

#[test]
fn a_token_lets_in_until_it_is_revoked() {
    if is_reference() {
        return;
    }
    let (_origin, mut daemon) = start(KEY);
    on(&daemon);
    let first = token(&daemon, &["--who", "alice", "--for", "1h"]);
    let text = first["token"].as_str().expect("a token").to_owned();
    assert_eq!((&first["switch"], &first["who"]), (&json!("default"), &json!("alice")));
    daemon.logged("maintenance \"default\" token for alice, 3600 s, by uid");
    assert!(!daemon.error_log().contains(&text), "no log gets to see it");
    let visit = daemon.get(first["path"].as_str().expect("a path"));
    assert_eq!(visit.status, 303);
    let cookie = visit.header("Set-Cookie").expect("a cookie").to_owned();
    let cookie = cookie.split([';', '=']).nth(1).expect("a value");
    for value in [text.as_str(), cookie] {
        assert_eq!((shown(&daemon, "/", value), shown(&daemon, "/shop", value)), (200, 200));
    }
    done(&daemon, &["maintenance", "on", "shop"]);
    assert_eq!(shown(&daemon, "/shop", &text), 503, "it is for one switch");
    done(&daemon, &["maintenance", "revoke"]);
    assert_eq!(switch(&daemon, "default")["revoked"], 1);
    for value in [text.as_str(), cookie] {
        assert_eq!(shown(&daemon, "/", value), 503);
    }
    // Over a crash, a reload and an opening.
    daemon.allow("is gone, draining");
    for pid in daemon.processes().into_keys() {
        daemon.kill(pid);
        system::gone(pid);
    }
    daemon.start();
    assert_eq!(daemon.command(&["-s", "reload"]).0, Some(0));
    done(&daemon, &["maintenance", "off"]);
    on(&daemon);
    assert_eq!(shown(&daemon, "/", &text), 503);
    let second = token(&daemon, &["--who", "alice"]);
    assert_eq!(shown(&daemon, "/", second["token"].as_str().expect("a token")), 200);
    done(&daemon, &["maintenance", "on", "--no-bypass"]);
    assert_eq!(shown(&daemon, "/", second["token"].as_str().expect("a token")), 503);
}

#[test]
fn a_token_needs_a_key_and_a_name() {
    if is_reference() {
        return;
    }
    let (_origin, daemon) = start("");
    let said = ctl(&daemon, &["maintenance", "token", "--who", "alice"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let why = "no \"maintenance_bypass_cookie\" where the switch \"default\" is joined";
    assert!(said.errors.contains(why), "{said:?}");
    let said = ctl(&daemon, &["maintenance", "token", "--who", "a b"]);
    assert!(said.code != Some(0) && said.errors.contains("a token needs a name"), "{said:?}");
}

#[test]
fn a_host_stands_for_its_switches() {
    if is_reference() {
        return;
    }
    let more = "server { listen %%listen%%; server_name shop.example; maintenance shop;
        location / { return 200; } } server { listen %%listen%%; server_name both.example;
        location / { return 200; } location /s { maintenance shop; return 200; } }
        server { listen %%listen%% default_server; server_name localhost;
            location / { return 200; } location /shop { maintenance shop; return 200; } }";
    let (_origin, daemon) = start(more);
    let said = done(&daemon, &["maintenance", "on", "--host", "SHOP.example"]);
    assert_eq!(said, "proxyd: maintenance \"shop\" closed\n");
    expect(&daemon, false, true);
    done(&daemon, &["maintenance", "off", "--host", "shop.example"]);
    done(&daemon, &["maintenance", "on", "--host", "both.example", "--barrier", "5s"]);
    expect(&daemon, true, true);
    let said = ctl(&daemon, &["maintenance", "on", "--host", "nowhere.example"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.errors.contains("no server is called \"nowhere.example\""), "{said:?}");
}
