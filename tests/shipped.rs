//! What is shipped works as it is: the program accepts the shipped configuration from the root of a
//! clone, and leaves nothing behind by looking at it.
//!
//! Must not start a server: it would need the fixed ports of that configuration.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn check(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyd"));
    command.current_dir(ROOT).args(["-p", ".", "-c", "conf/proxyd.conf"]).args(arguments);
    command.output().expect("the program runs")
}

#[test]
fn the_shipped_configuration_is_accepted() {
    let before = traces();
    let output = check(&["-t"]);
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{messages}");
    assert!(messages.ends_with("conf/proxyd.conf test is successful\n"), "{messages}");
    assert!(!messages.contains("have no effect"), "{messages}");
    assert_eq!(traces(), before, "a check left something behind");
}

#[test]
fn the_dump_shows_every_file() {
    let output = check(&["-T", "-q"]);
    let dump = String::from_utf8_lossy(&output.stdout);
    for file in ["conf/proxyd.conf", "conf/mime.types"] {
        let text = fs::read_to_string(Path::new(ROOT).join(file)).expect("a shipped file");
        assert!(dump.contains(&text), "{file} is not in the dump");
    }
}

/// nginx's list is the facts; ours must not have lost or doubled an extension.
#[test]
fn each_extension_has_one_media_type() {
    let text = fs::read_to_string(Path::new(ROOT).join("conf/mime.types")).expect("mime.types");
    let inside = text.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let (inside, _) = inside.expect("one block");
    let mut extensions: Vec<&str> = Vec::new();
    for statement in inside.split(';').filter(|statement| !statement.trim().is_empty()) {
        let mut words = statement.split_whitespace();
        assert!(words.next().is_some_and(|kind| kind.contains('/')), "{statement}");
        extensions.extend(words);
    }
    let all = extensions.len();
    extensions.sort_unstable();
    extensions.dedup();
    assert_eq!(extensions.len(), all, "an extension has two types");
    assert!(all > 90, "only {all} extensions");
}

/// What a server leaves in its prefix while it runs.
fn traces() -> Vec<bool> {
    let names = ["proxyd.pid", "proxyd.pid.ctl", "client_body_temp", "proxy_temp", "logs"];
    names.iter().map(|name| Path::new(ROOT).join(name).exists()).collect()
}
