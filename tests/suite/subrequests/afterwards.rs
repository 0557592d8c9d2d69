//! `post_action`: what is done when a request has been answered.

use crate::support::{Held, Origin, Setup};

const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn something_follows_an_answer_and_holds_nobody_up() {
    let (held, origin) = (Held::new(), Origin::answering(EMPTY));
    let server = Setup::http(
        "server { listen %%listen%%; post_action /after;
            location / { proxy_pass http://%%origin%%; }
            location /named { post_action @named; return 200 named; }
            location /lost { post_action @nowhere; return 200 lost; }
            location = /after { internal; proxy_pass http://%%held%%/done?code=$status; }
            location = /shut { post_action /closed; return 200 shut; }
            location = /closed { deny all; proxy_pass http://%%held%%; }
            location @named { proxy_pass http://%%held%%; } }",
    )
    .set("held", held.origin.address())
    .set("origin", origin.address())
    .allow("could not find named location \"@nowhere\"")
    .allow("access forbidden by rule")
    .start();
    let mut client = server.client();
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok";
    // The second one is answered while what follows the first is under way.
    for _ in 0..2 {
        assert_eq!(client.send(post).response().status, 200);
        held.has_come();
        let asked = held.origin.received();
        assert!(asked.starts_with("POST /done?code="), "{asked}");
        assert!(asked.ends_with("\r\n\r\nok"), "{asked}");
    }
    held.answer(EMPTY);
    held.answer(EMPTY);
    assert_eq!(server.get("/shut").text(), "shut");
    server.logged("access forbidden by rule");
    assert_eq!(server.get("/named/x?y=z").text(), "named");
    held.has_come();
    let asked = held.origin.received();
    assert!(asked.starts_with("GET /named/x?y=z HTTP/1.1\r\n"), "{asked}");
    held.answer(EMPTY);
    assert_eq!(server.get("/lost").text(), "lost");
    server.logged("could not find named location \"@nowhere\"");
}
