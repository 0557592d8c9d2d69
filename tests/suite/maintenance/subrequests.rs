//! Requests that a request makes are counted at the door like any other, and none begins behind a
//! closed one.

use serde_json::json;

use super::{OK, barrier, close, inflight, kill, open};
use crate::support::{Held, Origin, Server, Setup};

const POST: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";

fn server(held: &Held, origin: &Origin) -> Server {
    Setup::http(
        "server { listen %%listen%%; server_name localhost;
            location / { mirror /mirror; proxy_pass http://%%origin%%; }
            location /asked { auth_request /ask; proxy_pass http://%%origin%%; }
            location = /index.html { maintenance off; auth_request /ask; }
            location = /ask { proxy_pass http://%%held%%; }
            location = /mirror { proxy_pass http://%%held%%; } }",
    )
    .set("held", held.origin.address())
    .set("origin", origin.address())
    .start()
}

#[test]
fn a_barrier_waits_for_mirrors() {
    let (held, origin) = (Held::new(), Origin::answering(OK));
    let server = server(&held, &origin);
    let mut client = server.client();
    assert_eq!(client.send(POST).response().status, 200);
    held.has_come();
    // The client has its answer and may even leave: the mirror is under way all the same.
    drop(client);
    assert_eq!(inflight(&server)["write"], json!(1));
    close(&server);
    let proof = barrier(&server, 200);
    assert_eq!((&proof["timed_out"], &proof["inflight"]["write"]), (&json!(true), &json!(1)));
    held.answer(OK);
    let proof = barrier(&server, 5000);
    assert_eq!((&proof["clean"], &proof["unknown"]), (&json!(true), &json!(0)), "{proof}");
    assert_eq!(server.client().send(POST).response().status, 503);
    assert_eq!((held.origin.connections(), origin.connections()), (1, 1));
    open(&server);
    assert_eq!(server.client().send(POST).response().status, 200);
    held.has_come();
    held.answer(OK);
}

/// Nobody waits for its answer, so nobody's connection ends with it.
#[test]
fn a_mirror_that_does_not_end_is_cut_off() {
    let (held, origin) = (Held::new(), Origin::answering(OK));
    let server = server(&held, &origin);
    let mut client = server.client();
    assert_eq!(client.send(POST).response().status, 200);
    held.has_come();
    close(&server);
    let proof = kill(&server);
    assert_eq!((&proof["cut"], &proof["unknown"]), (&json!(1), &json!(1)), "{proof}");
    assert_eq!(proof["timed_out"], false);
    open(&server);
    assert_eq!(client.send(POST).response().status, 200, "the connection is the client's");
    held.has_come();
    held.answer(OK);
    held.answer(OK);
}

#[test]
fn who_waits_for_leave_when_the_door_closes_gets_no_further() {
    let (held, origin) = (Held::new(), Origin::answering(OK));
    let server = server(&held, &origin);
    let mut client = server.client();
    client.send("GET /asked HTTP/1.1\r\nHost: localhost\r\n\r\n");
    held.has_come();
    assert_eq!(inflight(&server)["read"], json!(1));
    close(&server);
    let proof = barrier(&server, 200);
    assert_eq!((&proof["timed_out"], &proof["inflight"]["read"]), (&json!(true), &json!(1)));
    held.answer("HTTP/1.1 204 No Content\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.status, 503);
    assert!(answer.header("Retry-After").is_some());
    assert_eq!(barrier(&server, 5000)["clean"], true);
    assert_eq!((held.origin.connections(), origin.connections()), (1, 0));
}

#[test]
fn who_must_ask_behind_a_closed_door_is_told_so() {
    let (held, origin) = (Held::new(), Origin::answering(OK));
    let server = server(&held, &origin);
    close(&server);
    let answer = server.get("/index.html");
    assert_eq!(answer.status, 503);
    assert!(answer.header("Retry-After").is_some());
    assert_eq!(held.origin.connections(), 0);
}
