//! Who is let in with a name and a password.

use std::time::{Duration, Instant};

use crate::support::{Response, Server, Setup, Site};

/// "secret" in the forms of LDAP, and who has no password.
const USERS: &str = "\
plain:{PLAIN}secret
sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
ssha:{SSHA}+RFhsab2AfzZ0VfEdyknXtUT06RhYmNk:somebody
# off:{PLAIN}secret
locked:!
empty:
plain:{PLAIN}later
";

/// The same, and those of crypt.
fn users() -> String {
    let made = |form: &str| {
        let output = std::process::Command::new("openssl")
            .args(["passwd", form, "-salt", "salt", "secret"])
            .output();
        let output = output.expect("openssl");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    let lines: Vec<_> = [("apr1", "-apr1"), ("md5", "-1"), ("sha256", "-5"), ("sha512", "-6")]
        .map(|(name, form)| format!("{name}:{}\n", made(form)))
        .into();
    USERS.to_owned() + &lines.concat()
}

fn server(inside: &str) -> Server {
    let text = format!(
        "log_format who '$remote_user $status';
        server {{ listen %%listen%%; access_log who.log who; {inside}
            location / {{ auth_basic 'the house'; auth_basic_user_file users; }} }}"
    );
    Setup::http(&text).file("users", users()).file("html/index.html", "in\n").start()
}

/// `Basic` with the base64 of `user:password`.
fn basic(pair: &str) -> String {
    format!("Authorization: Basic {}\r\n", proxyd::base64::encode(pair.as_bytes()))
}

fn ask(server: &Site, path: &str, fields: &str) -> Response {
    server.request(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"))
}

#[test]
fn every_form_of_a_password_is_understood() {
    let server = server("");
    for user in ["plain", "sha", "ssha", "apr1", "md5", "sha256", "sha512"] {
        let good = ask(&server, "/", &basic(&format!("{user}:secret")));
        assert_eq!((good.status, good.text().as_str()), (200, "in\n"), "{user}");
        // A right one is remembered, a wrong one is not.
        for wrong in ["secre", "secret2", "", "SECRET"] {
            let bad = ask(&server, "/", &basic(&format!("{user}:{wrong}")));
            assert_eq!(bad.status, 401, "{user} {wrong}");
        }
        assert_eq!(ask(&server, "/", &basic(&format!("{user}:secret"))).status, 200, "{user}");
    }
}

#[test]
fn others_are_asked_for_credentials() {
    let mut server = server("");
    for (fields, line) in [
        (
            String::new(),
            "no user/password was provided for basic authentication, client: 127.0.0.1",
        ),
        ("Authorization: Bearer x\r\n".to_owned(), "no user/password was provided"),
        (basic("nocolon"), "no user/password was provided"),
        (basic("nobody:secret"), "user \"nobody\" was not found in \"%%dir%%/users\""),
        (basic("off:secret"), "user \"off\" was not found"),
        (basic("locked:!"), "user \"locked\": password mismatch"),
        (basic("empty:"), "user \"empty\": password mismatch"),
        (basic("plain:later"), "user \"plain\": password mismatch"),
        (basic("plain:secret\0x"), "user \"plain\": password mismatch"),
    ] {
        // nginx's strings end in a NUL.
        if crate::support::is_reference() && line.contains("\"plain\"") {
            continue;
        }
        let answer = ask(&server, "/", &fields);
        assert_eq!(answer.status, 401, "{line}");
        assert_eq!(answer.header("WWW-Authenticate"), Some("Basic realm=\"the house\""));
        let dir = server.directory().display().to_string();
        server.logged(&line.replace("%%dir%%", &dir));
    }
    ask(&server, "/", &basic("sha:secret"));
    server.quit();
    let log = server.read("who.log");
    assert!(
        log.contains("nobody 401\n") && log.contains("sha 200\n") && log.contains("- 401\n"),
        "{log}"
    );
}

#[test]
fn variables_choose_realm_and_file_and_the_file_is_read_anew() {
    let text = "map $arg_realm $realm { default $arg_realm; '' off; }
        server { listen %%listen%%; auth_basic $realm; auth_basic_user_file $document_root/$arg_file; }";
    let server =
        Setup::http(text).file("html/index.html", "in\n").file("html/one", "a:{PLAIN}1\n").start();
    assert_eq!(ask(&server, "/", "").status, 200);
    let asked = ask(&server, "/?realm=x&file=one", "");
    assert_eq!(asked.header("WWW-Authenticate"), Some("Basic realm=\"x\""));
    assert_eq!(ask(&server, "/?realm=x&file=one", &basic("a:1")).status, 200);
    std::fs::write(server.path("html/one"), "a:{PLAIN}2\n").expect("a file");
    assert_eq!(ask(&server, "/?realm=x&file=one", &basic("a:1")).status, 401);
    assert_eq!(ask(&server, "/?realm=x&file=one", &basic("a:2")).status, 200);
    // Without its file nobody gets in.
    assert_eq!(ask(&server, "/?realm=x&file=two", &basic("a:2")).status, 403);
    server.logged("[error]");
    assert!(server.logged("two\" failed").contains("open() \""));
    assert_eq!(ask(&server, "/?realm=x&file=.", &basic("a:2")).status, 500);
}

#[test]
fn satisfy_adds_up_addresses_and_passwords() {
    let server = server(
        "location /all { auth_basic x; auth_basic_user_file users; deny 127.0.0.1; alias html/; }
        location /any { satisfy any; auth_basic x; auth_basic_user_file users; deny 127.0.0.1; alias html/; }
        location /near { satisfy any; auth_basic x; auth_basic_user_file users; allow 127.0.0.1; deny all; alias html/; }
        location /write { limit_except GET { auth_basic x; auth_basic_user_file users; } alias html/; }",
    );
    let good = basic("plain:secret");
    for (path, fields, expected) in [
        ("/all/", "", 403),
        ("/all/", good.as_str(), 403),
        ("/any/", "", 401),
        ("/any/", good.as_str(), 200),
        ("/near/", "", 200),
        ("/write/", "", 200),
    ] {
        assert_eq!(ask(&server, path, fields).status, expected, "{path}");
    }
    let post = |fields: &str| {
        server.request(format!("POST /write/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n{fields}\r\n")).status
    };
    assert_eq!((post(""), post(&good)), (401, 405));
}

#[test]
fn a_refusal_can_be_held_back() {
    let server = server("auth_delay 300ms;");
    let begun = Instant::now();
    assert_eq!(ask(&server, "/", &basic("plain:secret")).status, 200);
    assert!(begun.elapsed() < Duration::from_millis(300));
    for fields in [String::new(), basic("plain:wrong")] {
        let begun = Instant::now();
        assert_eq!(ask(&server, "/", &fields).status, 401);
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }
    server.logged("delaying unauthorized request");
    // Who does not wait for it is not waited for.
    let mut gone = server.client();
    gone.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    drop(gone);
    server.wait_for("who.log", |log| log.contains("- 499\n"));
}
