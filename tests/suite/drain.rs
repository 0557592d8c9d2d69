//! How a server ends what outlasts the time it has for leaving: politely, one after the other, and
//! counted.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Client, DEADLINE, End, Frame, Origin, Server, Setup, WebSocket, accept_websocket, is_reference,
    still_there, websockets,
};

/// What this machine may be late by, with all else that runs on it.
const LATE: Duration = Duration::from_millis(900);

/// Of a download that takes longer than any of the tests.
const SIZE: usize = 4 << 20;

/// A server with an origin behind it; `main` are directives of the outermost level.
fn start(origin: &Origin, main: &str) -> Server {
    let setup = Setup::main(&format!(
        "{main} events {{}}
        http {{ %%http%% keepalive_min_timeout 1m; client_max_body_size 0;
            log_format ended '$request_uri $status $request_completion.';
            access_log ended.log ended;
            server {{ listen %%listen%%;
                location / {{ proxy_pass http://%%origin%%;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection upgrade; }}
                location = /idle {{ return 200; }}
                location /files/ {{ root .; limit_rate 100k; }} }} }}"
    ));
    setup.set("origin", origin.address()).file("files/large", vec![b'x'; SIZE]).start()
}

/// Echoes on websockets, and otherwise never answers.
fn echo() -> Origin {
    Origin::new(|peer| {
        if accept_websocket(peer).is_none() {
            peer.wait_for_end();
        }
    })
}

/// When the time for leaving began: between the two.
struct Begun {
    earliest: Instant,
    latest: Instant,
}

impl Begun {
    /// Tells a server to quit.
    fn quit(server: &Server) -> Begun {
        let earliest = Instant::now();
        let (code, messages) = server.command(&["-s", "quit"]);
        assert_eq!(code, Some(0), "{messages}");
        server.logged("gracefully shutting down");
        Begun { earliest, latest: Instant::now() }
    }

    /// Whether that was so long afterwards, as far as can be told.
    fn is_between(&self, at: Instant, from: Duration, to: Duration) {
        let (least, most) = (at - self.earliest, at.saturating_duration_since(self.latest));
        assert!(least >= from, "after {least:?} at most, and not before {from:?}");
        assert!(most <= to + LATE, "after {most:?} at least, and not until {to:?}");
    }
}

/// Waits until then, and nothing comes meanwhile, not even an end.
fn silent_until(client: &Client, at: Instant) {
    let mut stream = client.handle();
    let left = at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left)).expect("a time limit");
    let kind = stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::WouldBlock));
    stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
}

/// Reads each connection to its end, all at the same time: when it came, in that order.
fn ends<T: Send>(clients: Vec<T>, end: impl Fn(T) -> End + Sync) -> Vec<Instant> {
    let wait = |client| {
        assert_eq!(end(client), End::Closed);
        Instant::now()
    };
    let mut times: Vec<_> = thread::scope(|scope| {
        let waiting: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(|| wait(client))).collect();
        waiting.into_iter().map(|thread| thread.join().expect("an end")).collect()
    });
    times.sort();
    times
}

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

#[test]
fn websockets_end_one_after_the_other_at_the_end_of_the_time() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let mut server = start(&origin, "worker_shutdown_timeout 2s;");
    let mut sockets = websockets(&server, 12);
    let begun = Begun::quit(&server);
    silent_until(&sockets[0].0, begun.earliest + ms(1500));
    still_there(&mut sockets);
    let times = ends(sockets, |mut socket| socket.0.end());
    for time in &times {
        begun.is_between(*time, ms(1600), ms(2000));
    }
    let spread = times[11] - times[0];
    assert!(spread >= ms(300), "{spread:?}");
    assert!(server.wait(DEADLINE).expect("an end").success());
    // All have closed as well: there is nobody to wait for.
    begun.is_between(Instant::now(), ms(1600), ms(2000));
    let log = server.error_log();
    let told = log.lines().filter(|line| line.contains("drain deadline")).collect::<Vec<_>>();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("[notice]"), "{told:?}");
    assert!(told[0].ends_with(": drain deadline: 12 connections cut (12 websocket)"), "{told:?}");
    let ended = server.read("ended.log");
    assert_eq!(ended.matches("/chat 101 ").count(), 12, "{ended}");
}

/// One of each, and how it is read to its end.
enum Mixed {
    Socket(WebSocket),
    /// Some of a large answer will have come.
    Download(Client),
    Silent(Client),
}

impl Mixed {
    fn end(self) -> End {
        match self {
            Mixed::Socket(mut socket) => socket.0.end(),
            Mixed::Silent(mut client) => client.end(),
            Mixed::Download(client) => {
                let mut rest = Vec::new();
                client.handle().read_to_end(&mut rest).expect("an end, and no reset");
                assert!(rest.len() < SIZE / 2, "{}", rest.len());
                End::Closed
            }
        }
    }
}

#[test]
fn each_is_cut_and_counted_as_what_it_is() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let mut server = start(&origin, "worker_shutdown_timeout 1500ms;");
    let ask = |text: &str| {
        let mut client = server.client();
        client.send(text);
        client
    };
    let mut mixed: Vec<_> = websockets(&server, 2).into_iter().map(Mixed::Socket).collect();
    let mut download = ask("GET /files/large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(download.response_head().status, 200);
    mixed.push(Mixed::Download(download));
    mixed.push(Mixed::Silent(ask("GET /waiting HTTP/1.1\r\nHost: localhost\r\n\r\n")));
    let upload = "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf";
    mixed.push(Mixed::Silent(ask(upload)));
    mixed.push(Mixed::Silent(ask("GET /head HTTP/1.1\r\nHost: ")));
    let mut idle = ask("GET /idle HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(idle.response().header("Connection"), Some("keep-alive"));
    mixed.push(Mixed::Silent(idle));
    // The last to come: once one is answered, those before it have been accepted.
    ask("GET /idle HTTP/1.0\r\n\r\n").response();
    let begun = Begun::quit(&server);
    for time in ends(mixed, Mixed::end) {
        begun.is_between(time, ms(1200), ms(1500));
    }
    server.wait(DEADLINE).expect("an end");
    server.logged("drain deadline: 7 connections cut (2 websocket, 4 request, 1 idle)");
    let ended = server.read("ended.log");
    for line in ["/files/large 200 .", "/waiting 000 .", "/upload 000 ."] {
        assert_eq!(ended.lines().filter(|l| *l == line).count(), 1, "{line} in:\n{ended}");
    }
}

/// Those that are kept for nothing go at once, and those that end in time are not cut.
#[test]
fn who_is_done_in_time_is_not_counted() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let mut server = start(&origin, "worker_shutdown_timeout 1s;");
    let mut open = websockets(&server, 3);
    let begun = Begun::quit(&server);
    for socket in &mut open[..2] {
        socket.send(&Frame::close());
        assert_eq!(socket.receive(), Frame::close());
        assert_eq!(socket.0.end(), End::Closed);
    }
    let last = open.pop().expect("a websocket");
    begun.is_between(ends(vec![last], |mut socket| socket.0.end())[0], ms(1000), ms(1000));
    server.wait(DEADLINE).expect("an end");
    server.logged("drain deadline: 1 connection cut (1 websocket)");
}

#[test]
fn an_idle_connection_waits_for_no_deadline() {
    let mut server = Setup::main(
        "worker_shutdown_timeout 5s; events {}
        http { %%http%% server { listen %%listen%%; return 200; } }",
    )
    .start();
    let mut idle = server.client();
    idle.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").response();
    let begun = Begun::quit(&server);
    assert_eq!(idle.end(), End::Closed);
    drop(idle);
    assert!(server.wait(DEADLINE).expect("an end").success());
    begun.is_between(Instant::now(), ms(0), ms(0));
    assert!(!server.error_log().contains("drain deadline"));
}

#[test]
fn without_a_time_there_is_no_end() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let mut server = start(&origin, "");
    let mut sockets = websockets(&server, 2);
    let begun = Begun::quit(&server);
    for step in 1..=3 {
        silent_until(&sockets[0].0, begun.latest + ms(step * 700));
        still_there(&mut sockets);
    }
    for socket in &mut sockets {
        socket.send(&Frame::close());
        assert_eq!(socket.receive(), Frame::close());
        assert_eq!(socket.0.end(), End::Closed);
    }
    drop(sockets);
    assert!(server.wait(DEADLINE).expect("an end").success());
    assert!(!server.error_log().contains("drain deadline"));
}

/// An origin's end of a websocket without any script: what the kernel says of its end counts.
fn bare_origin() -> (String, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.extend(byte);
        }
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("an answer");
        let _ = tell.send(stream);
    });
    (address, told)
}

/// Whoever still sends behind the end is read for two seconds, at both sides, so that nobody is reset.
#[test]
fn both_sides_may_speak_on_for_a_while() {
    if is_reference() {
        return;
    }
    let (address, told) = bare_origin();
    let mut server = Setup::main(
        "worker_shutdown_timeout 500ms; events {}
        http { %%http%% server { listen %%listen%%; location / { proxy_pass http://%%origin%%;
            proxy_set_header Upgrade x; proxy_set_header Connection upgrade; } } }",
    )
    .set("origin", address)
    .start();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!(client.response_head().status, 101);
    let upstream = told.recv_timeout(DEADLINE).expect("an upgraded connection");
    let begun = Begun::quit(&server);
    let mut both = [client.handle(), upstream];
    for stream in &mut both {
        assert_eq!(stream.read(&mut [0]).expect("an end, and no reset"), 0);
        begun.is_between(Instant::now(), ms(500), ms(500));
    }
    // Each block waits for the one before to be taken: a reset would be seen at the next.
    let block = vec![b'x'; 50_000];
    for _ in 0..10 {
        for stream in &mut both {
            stream.write_all(&block).expect("somebody who reads");
        }
    }
    for stream in &both {
        assert!(stream.take_error().expect("a state").is_none());
        stream.shutdown(Shutdown::Write).expect("the other end");
    }
    assert!(server.wait(DEADLINE).expect("an end").success());
    // Before those who do not close would be left.
    begun.is_between(Instant::now(), ms(500), ms(1600));
    server.logged("drain deadline: 1 connection cut (1 websocket)");
}

/// Two seconds after the deadline nobody is waited for any more.
#[test]
fn who_does_not_close_is_left() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let mut server = start(&origin, "worker_shutdown_timeout 500ms;");
    let mut sockets = websockets(&server, 3);
    let begun = Begun::quit(&server);
    for socket in &mut sockets {
        assert_eq!(socket.0.end(), End::Closed);
    }
    assert!(server.wait(DEADLINE).expect("an end").success());
    begun.is_between(Instant::now(), ms(2400), ms(2500));
    server.logged("drain deadline: 3 connections cut (3 websocket)");
}

/// Workers count for themselves, and so does one that is no process of its own.
#[test]
fn every_worker_counts_its_own() {
    if is_reference() {
        return;
    }
    let origin = echo();
    for (main, workers) in [("worker_processes 3;", 3), ("master_process off;", 1)] {
        let mut server = start(&origin, &format!("{main} worker_shutdown_timeout 500ms;"));
        let sockets = websockets(&server, 9);
        let begun = Begun::quit(&server);
        for time in ends(sockets, |mut socket| socket.0.end()) {
            begun.is_between(time, ms(400), ms(500));
        }
        assert!(server.wait(DEADLINE).expect("an end").success());
        let log = server.error_log();
        let told = log.lines().filter_map(|line| line.split_once("drain deadline: "));
        let numbers: Vec<usize> =
            told.filter_map(|(_, text)| text.split(' ').next()?.parse().ok()).collect();
        assert_eq!(numbers.iter().sum::<usize>(), 9, "{log}");
        assert!(numbers.len() <= workers, "{numbers:?}");
    }
}
