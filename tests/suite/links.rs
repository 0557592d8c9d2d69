//! Where requests come from, by their links, their referring pages and their cookies.

use crate::support::{Response, Server, Site};

fn ask(server: &Site, path: &str, fields: &str) -> Response {
    server.request(format!(
        "GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{fields}\r\n"
    ))
}

#[test]
fn a_secure_link_is_made_of_what_it_is_for() {
    let server = Server::http(
        "server { listen %%listen%%;
            location / { secure_link $arg_md5,$arg_end; secure_link_md5 \"$arg_end$uri word\";
                return 200 \"$secure_link $secure_link_expires.\"; }
            location /old/ { secure_link_secret word; return 200 \"$secure_link.\"; } }",
    );
    let made = |text: &str| -> String {
        let output = std::process::Command::new("sh")
            .args(["-c", "printf %s \"$0\" | openssl md5 -binary | openssl base64", text])
            .output()
            .expect("openssl");
        let digest = String::from_utf8(output.stdout).expect("text");
        digest.trim().replace('+', "-").replace('/', "_").replace('=', "")
    };
    let good = made("4000000000/f word");
    assert_eq!(ask(&server, &format!("/f?md5={good}&end=4000000000"), "").text(), "1 4000000000.");
    assert_eq!(ask(&server, &format!("/g?md5={good}&end=4000000000"), "").text(), " 4000000000.");
    assert_eq!(ask(&server, &format!("/f?md5={good}&end=4000000001"), "").text(), " 4000000001.");
    let over = made("1/f word");
    assert_eq!(ask(&server, &format!("/f?md5={over}&end=1"), "").text(), "0 1.");
    assert_eq!(ask(&server, "/f", "").text(), " .");
    // The MD5 of "linkword".
    let hex = "41d17f39a2d1c6f3a4f8a4f6bb0e2b8b";
    assert_eq!(ask(&server, &format!("/old/{hex}/link"), "").text(), ".");
    let output = std::process::Command::new("sh")
        .args(["-c", "printf %s 'a/b?c=dword' | openssl md5 -r | cut -c1-32"])
        .output()
        .expect("openssl");
    let hex = String::from_utf8(output.stdout).expect("text").trim().to_owned();
    assert_eq!(ask(&server, &format!("/old/{hex}/a/b?c=d"), "").text(), "a/b?c=d.");
}

#[test]
fn pages_that_may_lead_here_are_told_from_others() {
    let server = Server::http(
        "server { listen %%listen%%; server_name a.example;
            valid_referers none blocked server_names *.b.example/dir ~\\.google\\.;
            if ($invalid_referer) { return 403; }
            return 200; }",
    );
    for (fields, expected) in [
        ("", 200),
        ("Referer: gone\r\n", 200),
        ("Referer: http://A.example/x\r\n", 200),
        ("Referer: https://w.b.example:8/dir/x\r\n", 200),
        ("Referer: https://w.b.example/other\r\n", 403),
        ("Referer: http://www.google.com/q\r\n", 200),
        ("Referer: http://evil.example/a.example\r\n", 403),
    ] {
        assert_eq!(ask(&server, "/", fields).status, expected, "{fields}");
    }
}

#[test]
fn clients_are_told_apart_by_a_cookie() {
    let mut server = Server::http(
        "log_format uid '$uid_got $uid_set';
        server { listen %%listen%%; access_log uid.log uid; userid on; userid_name who;
            userid_service 7; userid_expires 1h; userid_p3p 'policyref=\"/w3c\"'; userid_flags httponly;
            location / { return 204; }
            location /reset { set $uid_reset log; return 204; } }",
    );
    let first = ask(&server, "/", "");
    let cookie = first.header("Set-Cookie").expect("a cookie").to_owned();
    assert!(cookie.starts_with("who=AAAAB") && cookie.contains("; expires="), "{cookie}");
    assert!(cookie.ends_with(" GMT; path=/; httponly"), "{cookie}");
    assert_eq!(first.header("P3P"), Some("policyref=\"/w3c\""));
    let pair = cookie.split(';').next().expect("a pair");
    let fields = format!("Cookie: x=1; {pair}\r\n");
    assert_eq!(ask(&server, "/", &fields).header("Set-Cookie"), None);
    let anew = ask(&server, "/reset", &fields);
    let fresh = anew.header("Set-Cookie").expect("another cookie");
    assert!(!fresh.starts_with(pair), "{fresh}");
    assert!(server.logged("was reset").contains("userid cookie \"who="));
    assert!(ask(&server, "/", "Cookie: who=short\r\n").header("Set-Cookie").is_some());
    server.logged("client sent too short userid cookie \"who=short\"");
    server.quit();
    let log = server.read("uid.log");
    let lines: Vec<_> = log.lines().collect();
    let (_, set) = lines[0].split_once(' ').expect("two");
    assert!(lines[0].starts_with("- who=") && lines[1] == format!("{set} -"), "{log}");
    assert!(lines[2].starts_with(set) && !lines[2].ends_with(set), "{log}");
}
