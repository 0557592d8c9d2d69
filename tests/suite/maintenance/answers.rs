//! What clients get from a closed door, whatever they ask and however.

use serde_json::{Value, json};

use super::{OK, close, fetch, open, order, proxy, setup};
use crate::support::{End, Origin, Setup, is_reference};

#[test]
fn browsers_get_the_page_and_the_backend_nothing() {
    let origin = Origin::answering(OK);
    let server = proxy(&origin, "");
    order(
        &server,
        "default",
        &json!({ "state": "closed", "reason": "a new database", "for": 1800 }),
    );
    let answer = fetch(&server, "/shop", "Accept: text/html,*/*;q=0.8\r\n");
    assert_eq!(answer.status_line, "HTTP/1.1 503 Service Temporarily Unavailable");
    assert_eq!(answer.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    assert_eq!(answer.header("Vary"), Some("Accept, Accept-Language"));
    let retry: u64 = answer.header("Retry-After").expect("a time").parse().expect("a number");
    assert!((1790..=1824).contains(&retry), "{retry}");
    assert!(answer.text().contains("<p class=\"reason\">a new database</p>"), "{answer:?}");
    open(&server);
    assert_eq!(server.get("/shop").text(), "ok");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn without_any_configuration_the_built_in_page_closes_a_stock_server() {
    let server = Setup::http("server { listen %%listen%%; }").start();
    assert_eq!(server.get("/").text(), "index\n");
    close(&server);
    assert_eq!(server.get("/").status, 503);
    assert_eq!(server.get("/missing").status, 503);
    open(&server);
    assert_eq!(server.get("/").text(), "index\n");
}

#[test]
fn no_method_is_ever_not_allowed() {
    let origin = Origin::answering(OK);
    let files = Setup::http("server { listen %%listen%%; location / { } }").start();
    let server = proxy(&origin, "");
    close(&server);
    close(&files);
    for method in ["POST", "PUT", "DELETE", "PATCH", "PROPFIND", "OPTIONS", "BREW"] {
        let request = format!(
            "{method} /order HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
        );
        assert_eq!(server.request(&request).status, 503, "{method}");
        assert_eq!(files.request(&request).status, 503, "{method}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn json_clients_get_a_problem_document() {
    let origin = Origin::answering(OK);
    let server = proxy(&origin, "");
    close(&server);
    let answer = fetch(&server, "/", "Accept: application/json\r\n");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
    let document: Value = serde_json::from_str(&answer.text()).expect("a document");
    assert_eq!(document["detail"], "The service is closed for maintenance.");
    assert_eq!(document["retry_after"].to_string(), answer.header("Retry-After").expect("a time"));
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let answer = server.request(post);
    assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
}

#[test]
fn head_gets_the_head_alone() {
    let server = Setup::http("server { listen %%listen%%; }").start();
    close(&server);
    let mut client = server.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = client.response_head();
    assert_eq!(answer.status, 503);
    assert_ne!(answer.header("Content-Length"), Some("0"));
    assert_eq!(client.end(), End::Closed);
}

#[test]
fn a_connection_from_before_meets_the_closed_door_and_survives_it() {
    let origin = Origin::answering(OK);
    let server = proxy(&origin, "");
    let mut client = server.client();
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (closed, status) in [(false, 200), (true, 503), (false, 200)] {
        if closed {
            close(&server);
        } else {
            open(&server);
        }
        assert_eq!(client.send(get).response().status, status);
    }
    // With a body that has come there is no reason to end it either.
    close(&server);
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(client.send(post).response().header("Connection"), Some("keep-alive"));
    assert_eq!(client.send(get).response().status, 503);
}

#[test]
fn an_upload_is_answered_before_it_has_come() {
    const SIZE: usize = 200 << 20;
    let origin = Origin::answering(OK);
    let server = proxy(&origin, "client_max_body_size 1m;");
    close(&server);
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SIZE}\r\n");
    let mut patient = server.client();
    patient.send(format!("{head}Expect: 100-continue\r\n\r\n"));
    let answer = patient.response();
    assert_eq!((answer.status, answer.header("Connection")), (503, Some("close")));
    assert_eq!(patient.end(), End::Closed);
    // One that does not wait gets its answer as well, and no reset before it.
    let mut eager = server.client();
    eager.send(format!("{head}\r\n"));
    for _ in 0..16 {
        eager.send(vec![b'x'; 64 * 1024]);
    }
    let answer = eager.response();
    assert_eq!((answer.status, answer.header("Connection")), (503, Some("close")));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_page_of_ones_own_comes_with_what_it_needs() {
    let setup = Setup::http(
        "server { listen %%listen%%; maintenance_page maint/index.html; \
         maintenance_root maint prefix=/.maintenance/; location = /healthz { maintenance off; return 200 fine; } }",
    );
    let setup = setup
        .file("maint/index.html", "<link href=/.maintenance/css/m.css><!--#reason-->")
        .file("maint/css/m.css", "p { }");
    let mut server = setup.start();
    assert_eq!(server.get("/.maintenance/css/m.css").status, 404);
    close(&server);
    // Nothing of it is read any more.
    std::fs::remove_dir_all(server.path("maint")).expect("removed");
    assert_eq!(server.get("/").text(), "<link href=/.maintenance/css/m.css>");
    let style = server.get("/.maintenance/css/m.css");
    assert_eq!((style.status, style.header("Content-Type")), (200, Some("text/css")));
    assert_eq!(
        (style.text(), style.header("Cache-Control")),
        ("p { }".to_owned(), Some("no-store"))
    );
    let missing = server.get("/.maintenance/none.css");
    assert_eq!((missing.status, missing.text()), (404, "Not Found\n".to_owned()));
    for path in ["/.maintenance/../../etc/passwd", "/.maintenance/%2e%2e/%2e%2e/etc/passwd"] {
        assert!(matches!(server.get(path).status, 400 | 404), "{path}");
    }
    assert_eq!(server.get("/.maintenance/../maint/index.html").status, 503);
    assert_eq!(server.get("/healthz").text(), "fine");
    // What the page needs cannot be had again: that reload is refused.
    server.allow("maint");
    let (code, _) = server.command(&["-s", "reload"]);
    assert_ne!(code, Some(0));
    assert_eq!(server.get("/").text(), "<link href=/.maintenance/css/m.css>");
}

/// In the night of a change a reload has better things to do than to miss a page.
#[test]
fn a_page_that_is_gone_is_kept_over_reloads() {
    if is_reference() {
        return;
    }
    let text = "server { listen %%listen%%; maintenance_page page.html; add_header X-Times 1; }";
    let mut server = Setup::http(text).file("page.html", "mine").start();
    server.allow("the page of before is kept");
    close(&server);
    std::fs::remove_file(server.path("page.html")).expect("removed");
    for times in ["2", "3"] {
        server.configure(&text.replace("X-Times 1", &format!("X-Times {times} always")));
        let (code, messages) = server.command(&["-s", "reload"]);
        assert_eq!(code, Some(0), "{messages}");
        assert!(messages.contains("[warn]") && messages.contains("page.html"), "{messages}");
        let page = server.get("/");
        assert_eq!((page.status, page.text()), (503, "mine".to_owned()));
    }
    let (code, messages) = server.command(&["-t"]);
    assert_eq!(code, Some(1), "it could not start again: {messages}");
}

#[test]
fn only_pages_being_opened_are_redirected() {
    let origin = Origin::answering(OK);
    let server = proxy(&origin, "maintenance_redirect /maintain.html;");
    close(&server);
    let answer = fetch(&server, "/shop", "Accept: text/html\r\n");
    assert_eq!((answer.status, answer.header("Cache-Control")), (302, Some("no-store")));
    let target = answer.header("Location").expect("an address").to_owned();
    assert_eq!(target, format!("http://localhost:{}/maintain.html", server.address().port()));
    let page = fetch(&server, "/maintain.html", "Accept: text/html\r\n");
    assert_eq!((page.status, page.header("Content-Type")), (503, Some("text/html; charset=utf-8")));
    assert_eq!(fetch(&server, "/", "Accept: application/json\r\n").status, 503);
    assert_eq!(fetch(&server, "/", "Upgrade: websocket\r\nConnection: upgrade\r\n").status, 503);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(server.request(post).status, 503);
    assert_eq!(origin.connections(), 0);
    open(&server);
    let back = fetch(&server, "/maintain.html", "");
    assert_eq!((back.status, origin.connections()), (302, 0));
    assert_eq!(fetch(&server, "/other", "").status, 200);
}

/// A script of another site learns that it is closed, and nothing that it asks goes further.
#[test]
fn scripts_of_other_origins_may_read_why() {
    let origin = Origin::answering(OK);
    let server = proxy(&origin, "maintenance_cors https://app.example.com;");
    let asked = "Host: api\r\nConnection: close\r\nOrigin: https://app.example.com\r\n";
    let preflight =
        format!("OPTIONS /order HTTP/1.1\r\n{asked}Access-Control-Request-Method: DELETE\r\n\r\n");
    let order = format!("DELETE /order HTTP/1.1\r\n{asked}Accept: application/json\r\n\r\n");
    assert_eq!(server.request(&preflight).text(), "ok", "an open door has nothing to say");
    close(&server);
    let leave = server.request(&preflight);
    assert_eq!((leave.status, leave.text()), (204, String::new()));
    assert_eq!(leave.header("Access-Control-Allow-Methods"), Some("DELETE"));
    let answer = server.request(&order);
    assert_eq!((answer.status, answer.header("Cache-Control")), (503, Some("no-store")));
    for said in [&leave, &answer] {
        let allowed = said.header("Access-Control-Allow-Origin");
        assert_eq!(allowed, Some("https://app.example.com"));
    }
    let stranger = order.replace("app.example.com", "evil.example.com");
    let answer = server.request(&stranger);
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (503, None));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn grpc_clients_get_unavailable() {
    let origin = Origin::answering(OK);
    let server = proxy(&origin, "");
    close(&server);
    let answer = fetch(&server, "/pkg.Service/Call", "Content-Type: application/grpc\r\n");
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("14")));
    assert_eq!(answer.header("grpc-message"), Some("The service is closed for maintenance."));
    assert_eq!(answer.text(), "");
}

#[test]
fn switches_are_closed_one_by_one_and_tell_the_log() {
    let origin = Origin::answering(OK);
    let text = "log_format seen '$uri $status $maintenance $maintenance_action'; \
                server { listen %%listen%%; maintenance site; access_log seen.log seen; \
                location / { proxy_pass http://%%origin%%; } \
                location /api/ { maintenance api; proxy_pass http://%%origin%%; } }";
    let mut server = Setup::http(text).set("origin", origin.address()).start();
    order(&server, "api", &json!({ "state": "closed" }));
    assert_eq!((server.get("/").status, server.get("/api/x").status), (200, 503));
    order(&server, "site", &json!({ "state": "closed" }));
    order(&server, "api", &json!({ "state": "open" }));
    assert_eq!((server.get("/").status, server.get("/api/x").status), (503, 200));
    close(&server);
    assert_eq!(server.get("/api/x").status, 200, "nothing has joined the default switch");
    server.quit();
    assert_eq!(
        server.read("seen.log"),
        "/ 200 open pass\n/api/x 503 closed page\n/ 503 closed page\n/api/x 200 open pass\n\
         /api/x 200 open pass\n"
    );
}

#[test]
fn all_workers_and_all_generations_obey() {
    let origin = Origin::answering(OK);
    let text = "worker_processes 4; events {} http { %%http%% server { listen %%listen%%; \
                location / { proxy_pass http://%%origin%%; } } }";
    let server = Setup::main(text).set("origin", origin.address()).start();
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut old: Vec<_> = (0..20).map(|_| server.client()).collect();
    for client in &mut old {
        assert_eq!(client.send(get).response().status, 200);
    }
    let (code, messages) = server.command(&["-s", "reload"]);
    assert_eq!(code, Some(0), "{messages}");
    let mut new: Vec<_> = (0..20).map(|_| server.client()).collect();
    for (status, change) in [(503, "closed"), (200, "open")] {
        order(&server, "default", &json!({ "state": change }));
        for client in old.iter_mut().chain(&mut new) {
            assert_eq!(client.send(get).response().status, status);
        }
    }
}

#[test]
fn the_answers_count_as_no_failures_of_this_server() {
    let origin = Origin::answering(OK);
    let server = setup(&origin, "").start();
    close(&server);
    for _ in 0..5 {
        assert_eq!(server.get("/").status, 503);
    }
    let (_, status) = server.control("GET", "/1/proxyd/status");
    assert!(!status.contains("\"failed\":5"), "{status}");
}
