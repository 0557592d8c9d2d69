//! What is written down, how, and that nothing of it gets lost.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::{DEADLINE, Origin, Response, Server, Setup};

/// A server with one log, `own.log`, of this format.
fn logging(format: &str, inside: &str) -> Server {
    Setup::http(&format!(
        "log_format own {format};
         server {{ listen %%listen%%; server_name localhost; access_log own.log own; {inside} }}"
    ))
    .start()
}

/// Sends a request and answers with what it left in `own.log`.
fn logged(mut server: Server, request: impl AsRef<[u8]>) -> String {
    server.client().send(request).read_to_end();
    server.quit();
    let bytes = fs::read(server.path("own.log")).expect("a log");
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

const PLAIN: &str = "GET /path?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn the_combined_format_is_the_default() {
    let mut server = Server::http("server { listen %%listen%%; location / { return 200 hello; } }");
    server.request(
        "GET /path?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Referer: http://from/\r\nUser-Agent: a \"test\"\r\nAuthorization: Basic am9lOng=\r\n\r\n",
    );
    server.get("/");
    server.quit();
    let log = server.read("access.log");
    let lines: Vec<_> = log.lines().collect();
    let (before, after) = lines[0].split_once(']').expect("a time");
    let time = before.strip_prefix("127.0.0.1 - joe [").expect("an address and a user");
    assert!(is_local_time(time), "{time}");
    assert_eq!(after, " \"GET /path?a=b HTTP/1.1\" 200 5 \"http://from/\" \"a \\x22test\\x22\"");
    assert!(lines[1].starts_with("127.0.0.1 - - ["), "{log}");
    assert!(lines[1].ends_with("] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\""), "{log}");
    assert_eq!(lines.len(), 2);
}

/// `22/Nov/2026:13:00:00 +0000`; the tests run in UTC.
fn is_local_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_digit() {
                '0'
            } else if c.is_ascii_alphabetic() {
                'a'
            } else {
                c
            }
        })
        .collect();
    shape == "00/aaa/0000:00:00:00 +0000" && text.ends_with("+0000")
}

#[test]
fn variables_of_a_request() {
    let server = logging(
        "'$request_method|$request_uri|$uri|$args|$arg_a|$is_args|$scheme|$server_protocol|$host|'
         '$server_name|$remote_addr|$http_x_foo|$sent_http_x_out|$status|$body_bytes_sent|'
         '$content_length|$cookie_c|$http_missing|$pipe|$connection_requests'",
        "location / { add_header X-Out o; return 201 hello; }",
    );
    let request = "PUT /p%61th?a=b HTTP/1.1\r\nHost: LOCALHOST\r\nConnection: close\r\n\
                   X-Foo: f\r\nCookie: b=1; c=2\r\nContent-Length: 2\r\n\r\nhi";
    let expected = "PUT|/p%61th?a=b|/path|a=b|b|?|http|HTTP/1.1|localhost|localhost|127.0.0.1|f|o|\
                    201|5|2|2|-|.|1\n";
    assert_eq!(logged(server, request), expected);
}

#[test]
fn the_client_by_its_port() {
    let mut server =
        logging("'$remote_addr:$remote_port $server_addr:$server_port'", "return 200;");
    let mut client = server.client();
    let addresses = format!("{} {}\n", client.address(), server.address());
    client.send(PLAIN).read_to_end();
    server.quit();
    assert_eq!(server.read("own.log"), addresses);
}

/// `0.123`
fn is_seconds(text: &str) -> bool {
    let (seconds, millis) = text.split_once('.').unwrap_or_default();
    seconds.parse::<u64>().is_ok() && millis.len() == 3 && millis.parse::<u16>().is_ok()
}

#[test]
fn sizes_and_times() {
    let mut server = logging(
        "'$bytes_sent $request_length $request_time $msec $time_iso8601'",
        "location / { return 200 hello; }",
    );
    let bytes = server.client().send(PLAIN).read_to_end();
    server.quit();
    let log = server.read("own.log");
    let words: Vec<_> = log.split_whitespace().collect();
    assert_eq!(words[0], bytes.len().to_string());
    assert_eq!(words[1], PLAIN.len().to_string());
    for time in &words[2..4] {
        assert!(is_seconds(time), "{time}");
    }
    assert!(words[4].len() == 25 && words[4].ends_with("+00:00"), "{}", words[4]);
}

#[test]
fn escapes() {
    let request = b"GET /\"\\\xd1 HTTP/1.0\r\nX-Foo: a\tb\"c\\\x1b\xd1\r\n\r\n".as_slice();
    let rows = [
        ("", "/\\x22\\x5C\\xD1|a\\x09b\\x22c\\x5C\\x1B\\xD1|-\n"),
        ("escape=default", "/\\x22\\x5C\\xD1|a\\x09b\\x22c\\x5C\\x1B\\xD1|-\n"),
        ("escape=json", "/\\\"\\\\\u{d1}|a\\tb\\\"c\\\\\\u001B\u{d1}|\n"),
        ("escape=none", "/\"\\\u{d1}|a\tb\"c\\\x1b\u{d1}|\n"),
    ];
    for (escape, expected) in rows {
        let format = format!("{escape} '$request_uri|$http_x_foo|$http_none'");
        let server = logging(&format, "location / { return 200; }");
        assert_eq!(logged(server, request), expected, "{escape}");
    }
}

#[test]
fn conditions_levels_and_several_logs() {
    let mut server = Setup::http(
        "log_format short '$uri $status';
         map $status $bad { ~^[45] 1; default 0; }
         server { listen %%listen%%;
            access_log all.log short;
            access_log bad.log short if=$bad;
            access_log query.log short if=$arg_log;
            location / { return 200; }
            location /no { return 404; }
            location /off { access_log off; return 404; }
            location /own { access_log own.log short; return 404; } }",
    )
    .start();
    for path in ["/yes", "/no", "/off", "/own", "/q?log=1", "/q?log=0", "/q?log="] {
        server.get(path);
    }
    server.quit();
    assert_eq!(server.read("all.log"), "/yes 200\n/no 404\n/q 200\n/q 200\n/q 200\n");
    assert_eq!(server.read("bad.log"), "/no 404\n");
    assert_eq!(server.read("query.log"), "/q 200\n");
    assert_eq!(server.read("own.log"), "/own 404\n");
    assert_eq!(server.read("access.log"), "");
}

#[test]
fn refused_requests_are_logged_too() {
    let rows: [(&[u8], &str); 6] = [
        (b"garbage\r\n\r\n", "400 \"garbage\" \"-\"\n"),
        (b"GET /% HTTP/1.1\r\nHost: a\r\n\r\n", "400 \"GET /% HTTP/1.1\" \"-\"\n"),
        (b"GET / HTTP/1.1\r\n\r\n", "400 \"GET / HTTP/1.1\" \"-\"\n"),
        (b"GET / HTTP/3.0\r\n\r\n", "505 \"GET / HTTP/3.0\" \"-\"\n"),
        (b"\x16\x03\x01\x02\x00\x01", "400 \"\\x16\\x03\\x01\\x02\\x00\\x01\" \"-\"\n"),
        (
            b"TRACE / HTTP/1.1\r\nHost: a\r\nUser-Agent: u\r\n\r\n",
            "405 \"TRACE / HTTP/1.1\" \"u\"\n",
        ),
    ];
    for (request, expected) in rows {
        let server =
            logging("'$status \"$request\" \"$http_user_agent\"'", "location / { return 200; }");
        assert_eq!(logged(server, request), expected, "{request:?}");
    }
}

#[test]
fn a_connection_without_a_request_leaves_no_line() {
    let mut server = logging("'$status'", "location / { return 200; }");
    let mut client = server.client();
    client.finish();
    assert_eq!(client.read_to_end(), b"");
    server.quit();
    assert_eq!(server.read("own.log"), "");
}

#[test]
fn upstream_variables() {
    let origin = Origin::answering("HTTP/1.1 404 No\r\nX-Up: u\r\nContent-Length: 2\r\n\r\nno");
    let mut server = Setup::http(
        "log_format up '$upstream_addr|$upstream_status|$upstream_http_x_up|$upstream_response_length|\
           $upstream_bytes_received|$proxy_host|$upstream_response_time';
         server { listen %%listen%%; access_log own.log up;
            location / { proxy_pass http://%%origin%%; }
            location /none { return 200; } }",
    )
    .set("origin", origin.address())
    .start();
    server.get("/");
    server.get("/none");
    server.quit();
    let log = server.read("own.log");
    let mut lines = log.lines();
    let address = origin.address();
    let (values, time) = lines.next().and_then(|line| line.rsplit_once('|')).expect("values");
    assert_eq!(values, format!("{address}|404|u|2|49|{address}"));
    assert!(is_seconds(time), "{time}");
    assert_eq!(lines.next(), Some("-|-|-|-|-|-|-"));
}

#[test]
fn a_buffer_is_written_when_it_is_full_and_at_the_end() {
    let mut server = Setup::http(
        "log_format short '$uri';
         server { listen %%listen%%; access_log own.log short buffer=64; location / { return 200; } }",
    )
    .start();
    let path = |number: usize| format!("/{number:030}");
    server.get(&path(1));
    server.get(&path(2));
    assert_eq!(server.read("own.log"), "");
    server.get(&path(3));
    let log = server.wait_for("own.log", |log| !log.is_empty());
    assert_eq!(log, format!("{}\n{}\n", path(1), path(2)));
    server.quit();
    assert_eq!(server.read("own.log"), format!("{}\n{}\n{}\n", path(1), path(2), path(3)));
}

#[test]
fn a_buffer_is_written_after_a_while() {
    let server = Setup::http(
        "log_format short '$uri';
         server { listen %%listen%%; access_log own.log short buffer=1k flush=100ms; location / { return 200; } }",
    )
    .start();
    server.get("/one");
    server.get("/two");
    server.wait_for("own.log", |log| log == "/one\n/two\n");
}

/// Sends numbered requests until `done`, and says how many.
fn keep_asking(server: &Server, from: usize, done: impl Fn() -> bool) -> usize {
    let end = std::time::Instant::now() + DEADLINE;
    let mut number = from;
    while !done() {
        assert!(std::time::Instant::now() < end, "the log was not reopened in time");
        number += 1;
        let answer: Response = server.get(&format!("/{number}"));
        assert_eq!(answer.status, 200);
    }
    number
}

fn reopening(buffer: &str) {
    let mut server = Setup::http(&format!(
        "log_format short '$uri';
         server {{ listen %%listen%%; access_log own.log short {buffer}; location / {{ return 200; }} }}"
    ))
    .start();
    let first = keep_asking(&server, 0, || server.read("own.log").lines().count() >= 5);
    fs::rename(server.path("own.log"), server.path("own.log.1")).expect("a rename");
    fs::rename(server.path("error.log"), server.path("error.log.1")).expect("a rename");
    server.signal(Signal::SIGUSR1);
    let last = keep_asking(&server, first, || !server.read("own.log").is_empty());
    server.quit();
    let both = server.read("own.log.1") + &server.read("own.log");
    let expected: Vec<_> = (1..=last).map(|number| format!("/{number}")).collect();
    assert_eq!(both.lines().collect::<Vec<_>>(), expected);
    assert!(server.read("error.log.1").contains("start worker process"));
    assert!(server.error_log().contains("shutting down"));
}

#[test]
fn reopening_loses_no_line() {
    reopening("");
}

#[test]
fn reopening_loses_no_line_of_a_buffer() {
    reopening("buffer=40");
}

#[test]
fn error_logs_of_their_own() {
    let mut server = Setup::http(
        "server { listen %%listen%%;
            location / { }
            location /own/ { error_log own.log; }
            location /quiet/ { error_log quiet.log crit; }
            location /silent/ { log_not_found off; }
            location /two/ { error_log own.log; error_log info.log info; } }",
    )
    .start();
    for path in ["/a", "/own/b", "/quiet/c", "/silent/d", "/two/e"] {
        assert_eq!(server.get(path).status, 404);
    }
    server.quit();
    let missing = |name: &str| -> Vec<String> {
        let log = server.read(name);
        let lines = log.lines().filter(|line| line.contains("[error]"));
        lines
            .filter_map(|line| {
                Some(line.split_once("request: \"GET ")?.1.split(' ').next()?.to_owned())
            })
            .collect()
    };
    assert_eq!(missing("error.log"), ["/a"]);
    assert_eq!(missing("own.log"), ["/own/b", "/two/e"]);
    assert_eq!(missing("info.log"), ["/two/e"]);
    assert_eq!(server.read("quiet.log"), "");
}

#[test]
fn the_level_of_the_error_log_is_kept() {
    let setup = Setup::http("server { listen %%listen%%; location / { } }");
    let server = setup.error_level("warn").start();
    server.get("/missing");
    let log = server.wait_for("error.log", |log| !log.is_empty());
    assert!(log.lines().all(|line| line.contains("[error]")), "{log}");
}

#[test]
fn error_lines_have_their_shape() {
    let server =
        Server::http("server { listen %%listen%%; server_name localhost; location / { } }");
    server.request(
        "GET /missing?x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nReferer: http://from/\r\n\r\n",
    );
    let log = server.wait_for("error.log", |log| log.contains("[error]"));
    let line = log.lines().find(|line| line.contains("[error]")).expect("a line");
    let (stamp, message) = line.split_once(" [error] ").expect("a level");
    let digits = stamp.replace(|c: char| c.is_ascii_digit(), "0");
    assert_eq!(digits, "0000/00/00 00:00:00");
    let (ids, message) = message.split_once(": *").expect("a process");
    let (pid, thread) = ids.split_once('#').expect("a thread");
    assert!(pid.parse::<u32>().is_ok() && thread.parse::<u32>().is_ok(), "{ids}");
    let path = server.path("html/missing").display().to_string();
    let expected = format!(
        "1 open() \"{path}\" failed (2: No such file or directory), client: 127.0.0.1, server: localhost, \
         request: \"GET /missing?x HTTP/1.1\", host: \"localhost\", referrer: \"http://from/\""
    );
    assert_eq!(message, expected);
}

#[test]
fn refusals_are_explained_at_info() {
    let rows: [(&[u8], &str); 5] = [
        (b"get / HTTP/1.1\r\n\r\n", "client sent invalid method while reading client request line"),
        (
            b"GET /% HTTP/1.1\r\n\r\n",
            "client sent invalid request while reading client request line",
        ),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "client sent HTTP/1.1 request without \"Host\" header while reading client request headers",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "client sent invalid host header while reading client request headers",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nX y: b\r\n\r\n",
            "client sent invalid header line: \"X\\x20...\" while reading client request headers",
        ),
    ];
    for (request, expected) in rows {
        let server = Server::http("server { listen %%listen%%; }");
        server.request(request);
        let log = server.wait_for("error.log", |log| log.contains("client sent"));
        assert!(log.contains("[info] ") && log.contains(expected), "{expected}\n{log}");
        assert!(log.contains(", client: 127.0.0.1, server: "), "{log}");
    }
}
