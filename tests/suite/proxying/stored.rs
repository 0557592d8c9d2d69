//! `proxy_store`: answers that become files.

use super::group;
use crate::support::{Origin, Setup};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

const DATED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nhello";

fn files(server: &crate::support::Server, name: &str) -> Vec<String> {
    let Ok(list) = std::fs::read_dir(server.path(name)) else { return Vec::new() };
    list.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_copy_is_made_of_what_is_good_and_whole() {
    let origin = Origin::new(|peer| {
        while let Some(request) = peer.request() {
            let text = String::from_utf8_lossy(&request).into_owned();
            match () {
                () if text.contains("/cut") => {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\npart");
                    return;
                }
                () if text.contains("/none") => {
                    peer.send("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
                }
                () if text.starts_with("HEAD") => {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
                }
                () => drop(peer.send(DATED)),
            }
        }
    });
    let server = Setup::http(
        "server { listen %%listen%%; root kept;
            location / { try_files $uri @fetch; }
            location @fetch { proxy_pass http://%%origin%%; proxy_store on;
                proxy_store_access user:rw group:r all:r; }
            location /named { gzip on; gzip_types *; gzip_min_length 1;
                proxy_pass http://%%origin%%; proxy_store other/$arg_name; } }",
    )
    .set("origin", origin.address())
    .allow("prematurely closed connection")
    .start();
    assert_eq!(server.get("/deep/er/a.txt").text(), "hello");
    assert_eq!(server.get("/deep/er/a.txt").text(), "hello");
    assert_eq!(origin.connections(), 1, "the second is the copy");
    let path = server.path("kept/deep/er/a.txt");
    let meta = std::fs::metadata(&path).expect("a file");
    assert_eq!(meta.permissions().mode() & 0o777, 0o644);
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    assert_eq!(meta.modified().expect("a time"), written);
    for path in ["/cut", "/none", "/none/deeper"] {
        let mut client = server.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
        client.read_to_end_or_reset();
    }
    server.request("HEAD /head HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(files(&server, "kept"), ["deep"]);
    assert_eq!(files(&server, "proxy_temp"), [""; 0]);
    // What is kept is what has come, not what the client gets.
    let request = "GET /named?name=b HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    assert_eq!(server.request(request).header("Content-Encoding"), Some("gzip"));
    assert_eq!(server.read("other/b"), "hello");
}

#[test]
fn one_that_cannot_be_kept_is_answered_all_the_same() {
    let origin = Origin::answering(DATED);
    let server = group("server %%origin%%;", "proxy_store %%dir%%/nginx.conf/x;")
        .set("origin", origin.address())
        .start();
    assert_eq!(server.get("/").text(), "hello");
    server.logged("an upstream response could not be stored as ");
}
