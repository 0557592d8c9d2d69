//! `proxyd compat`: every directive of a configuration is judged, whatever is wrong with others.

use std::process::{Command, Output};

use crate::support::{Directory, binary, is_reference};

const CONF: &str = "events { worker_connections 512; }
http {
    include inner.conf;
    server {
        listen 127.0.0.1:1;
        location / { fastcgi_pass 127.0.0.1:9000; proxy_set_header X $nowhere; }
        types { text/x x; }
    }
}
stream { server { listen 1; } }
";

fn compat(words: &[&str], path: &std::path::Path) -> Output {
    Command::new(binary()).arg("compat").args(words).arg(path).output().expect("the program runs")
}

fn directory(conf: &str) -> Directory {
    let directory = Directory::new();
    directory.write("nginx.conf", conf.as_bytes());
    directory.write("inner.conf", b"tcp_nopush on;\nnever_heard_of yes;\n");
    directory
}

#[test]
fn each_directive_has_its_line() {
    if is_reference() {
        return;
    }
    let directory = directory(CONF);
    let output = compat(&[], directory.path());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = text.replace(&format!("{}/", directory.path().display()), "");
    for line in [
        "nginx.conf:1 events: supported",
        "nginx.conf:1 worker_connections: supported",
        "nginx.conf:2 http: supported",
        "inner.conf:1 tcp_nopush: without effect, No effect: ",
        "inner.conf:2 never_heard_of: unsupported, unknown directive \"never_heard_of\"",
        "nginx.conf:6 location: supported",
        "nginx.conf:6 fastcgi_pass: unsupported, \"fastcgi_pass\" directive is not supported yet: FastCGI is not built yet",
        "nginx.conf:6 proxy_set_header: unsupported, unknown \"nowhere\" variable",
        "nginx.conf:7 types: supported",
        "nginx.conf:10 stream: unsupported, \"stream\" directive is not supported yet: servers for TCP and UDP are not built yet",
        "nginx.conf:10 listen: unsupported, stands in \"stream\"",
        "14 directives: 7 supported, 1 without effect, 6 unsupported",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("text/x"), "{text}");
}

#[test]
fn scripts_have_a_status_and_a_document() {
    if is_reference() {
        return;
    }
    let good = directory("events {} http { server { listen 127.0.0.1:1; } }");
    let output = compat(&["--json"], &good.path().join("nginx.conf"));
    assert_eq!(output.status.code(), Some(0));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!((&document["supported"], &document["unsupported"]), (&4.into(), &0.into()));
    assert_eq!(document["directives"][1]["directive"], "http");
    assert_eq!(document["directives"][1]["line"], 1);
    let bad = directory("events { http {");
    for path in [bad.path().to_owned(), bad.path().join("none")] {
        let output = compat(&[], &path);
        assert_eq!(output.status.code(), Some(2));
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(
        Command::new(binary()).arg("compat").output().expect("it runs").status.code(),
        Some(2)
    );
}
