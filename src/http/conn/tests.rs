//! Requests answered on a connection, and what is counted of them.

use super::serve;
use crate::http::client::Client;
use crate::http::fixture::Site;
use crate::http::service::Service;
use crate::net::Peer;
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// A server behind that fails in the way the path names.
async fn behind(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(fail(stream));
    }
}

async fn fail(mut stream: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let path = String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned();
    let answer = match path.rsplit('/').next().unwrap() {
        "500" => "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
        "length" => "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "framing" => "HTTP/1.1 502 X\r\nTransfer-Encoding: x\r\n\r\n",
        "nothing" => "",
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// Sends a request on a connection of its own; what came until the connection closed.
async fn ask(service: &Rc<Service>, request: &str) -> String {
    let (mut near, far) = UnixStream::pair().unwrap();
    let peer = Peer::Inet(([127, 0, 0, 1], 40000).into());
    let bound = crate::net::Address::Inet(std::net::SocketAddr::from(([127, 0, 0, 1], 80)));
    let client = Rc::new(Client::new(1, far.into(), peer, bound.into()));
    let mut answer = String::new();
    let talk = async {
        near.write_all(request.as_bytes()).await.unwrap();
        near.read_to_string(&mut answer).await.unwrap();
        drop(near);
    };
    // Once it is not served any more, nobody has it, and it is closed.
    let serving = async move {
        serve(service, &client).await;
    };
    tokio::join!(serving, talk);
    answer
}

const SERVER: &str = r"
    location /ok { return 200 ok; }
    location /503 { return 503; }
    location /404 { return 404; }
    location /444 { return 444; }
    location /page { error_page 503 /ok; return 503; }
    location /cured { error_page 503 =200 /ok; return 503; }
    location /cycle { rewrite ^ /cycle; }
    location /behind/ { proxy_pass http://BEHIND; }
    location /taken/ { proxy_pass http://BEHIND; proxy_intercept_errors on; error_page 500 /ok; }
    location /raised/ { proxy_pass http://BEHIND; proxy_intercept_errors on; error_page 500 =503 /ok; }
    location /nobody { proxy_pass http://unix:/nowhere/socket; }
    location /instead/ { proxy_pass http://unix:/nowhere/socket; error_page 502 @behind; }
    location @behind { proxy_pass http://BEHIND; }
";

/// What is asked for, the status of the answer, and whether that is a failure of ours.
const FAILURES: &[(&str, &str, bool)] = &[
    ("/ok HTTP/1.1", "200", false),
    ("/404 HTTP/1.1", "404", false),
    ("/503 HTTP/1.1", "503", true),
    ("/444 HTTP/1.1", "", false),
    ("/page HTTP/1.1", "503", true),
    ("/cured HTTP/1.1", "200", false),
    ("/cycle HTTP/1.1", "500", true),
    ("/ok HTTP/3.0", "505", true),
    ("/behind/ok HTTP/1.1", "200", false),
    ("/behind/500 HTTP/1.1", "500", false),
    ("/behind/length HTTP/1.1", "502", true),
    ("/behind/framing HTTP/1.1", "502", true),
    ("/behind/nothing HTTP/1.1", "502", true),
    ("/taken/500 HTTP/1.1", "500", false),
    ("/raised/500 HTTP/1.1", "503", true),
    ("/nobody HTTP/1.1", "502", true),
    ("/instead/ok HTTP/1.1", "502", true),
];

#[test]
fn failures_count_where_they_are_made() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let site = Site::new("", &SERVER.replace("BEHIND", &address));
    let counters = site.live.counters.table();
    let live = Rc::into_inner(site.live).unwrap();
    let service = Service::new(site.snapshot, live, 10);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(behind(TcpListener::from_std(listener).unwrap()));
        for (line, status, ours) in FAILURES {
            let before = counters.totals();
            let request = format!("GET {line}\r\nHost: a\r\nConnection: close\r\n\r\n");
            let answer = ask(&service, &request).await;
            assert_eq!(answer.split(' ').nth(1).unwrap_or_default(), *status, "{line}: {answer}");
            let after = counters.totals();
            assert_eq!(after.requests - before.requests, 1, "{line}");
            assert_eq!(after.failed - before.failed, u64::from(*ours), "{line}");
        }
    });
}
