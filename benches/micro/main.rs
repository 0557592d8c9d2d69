//! Micro benchmarks of what every request passes through: `cargo bench --bench micro [-- WORD]`.
//! Owns the inputs; must not touch sockets.

mod site;
mod timing;

use proxyd::http::h1::chunked::{Decoder, write_chunk_head};
use proxyd::http::h1::head::RequestHead;
use proxyd::http::h1::request::{Limits, RequestParser};
use proxyd::http::h1::response::{ResponseHead, ResponseParser};
use proxyd::http::headers::Headers;
use proxyd::http::method::Method;
use proxyd::http::modules::maintenance;
use proxyd::http::passage;
use proxyd::http::request::Captures;
use proxyd::http::route::{self, ServerName, ServerNames};
use proxyd::http::slots::Slots;
use proxyd::http::template::{self, Template};
use proxyd::http::uri::Uri;
use proxyd::http::vars::Names;
use site::Site;
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use timing::Bench;

type Outcome = Result<(), Box<dyn Error>>;

/// What a load generator sends.
const BARE: &[u8] = b"GET /small HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// What a browser sends.
const BROWSER: &[u8] = b"GET /shop/items/4711?sort=price&page=2 HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Dest: document\r\n\
    Referer: https://www.example.com/shop/items?sort=price\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n\
    \r\n";

/// What an origin answers.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: origin\r\n\
    Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
    Content-Type: text/html\r\n\
    Content-Length: 675\r\n\
    Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
    ETag: \"5f0c-2a3\"\r\n\
    Accept-Ranges: bytes\r\n\
    \r\n";

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` starts benchmarks too, without this.
    if !arguments.iter().any(|a| a == "--bench") {
        return Ok(());
    }
    let filter = arguments.into_iter().find(|a| !a.starts_with('-')).unwrap_or_default();
    let bench = Bench { filter };
    timing::heading();
    request_heads(&bench)?;
    answer_head(&bench)?;
    header_writing(&bench)?;
    chunked(&bench)?;
    uris(&bench)?;
    server_names(&bench);
    locations(&bench)?;
    templates(&bench)?;
    doors(&bench)
}

fn size(bytes: &[u8]) -> Result<u32, Box<dyn Error>> {
    Ok(u32::try_from(bytes.len())?)
}

fn read(bytes: &[u8], head: &mut RequestHead) -> Outcome {
    head.clear();
    RequestParser::new().feed(&Limits::default(), bytes, head)?;
    Ok(())
}

fn request_heads(bench: &Bench) -> Outcome {
    let limits = Limits::default();
    for (name, bytes) in [("request head, bare", BARE), ("request head, of a browser", BROWSER)] {
        let mut head = RequestHead::default();
        let mut parser = RequestParser::new();
        read(bytes, &mut head)?;
        bench.time(name, size(bytes)?, || {
            head.clear();
            parser.reset();
            let _ = black_box(parser.feed(&limits, black_box(bytes), &mut head));
        });
    }
    Ok(())
}

fn answer_head(bench: &Bench) -> Outcome {
    let mut head = ResponseHead::default();
    let mut parser = ResponseParser::new();
    bench.time("answer head", size(ANSWER)?, || {
        head.clear();
        parser.reset();
        let _ = black_box(parser.feed(4096, black_box(ANSWER), &mut head));
    });
    Ok(())
}

fn header_writing(bench: &Bench) -> Outcome {
    let mut head = RequestHead::default();
    read(BROWSER, &mut head)?;
    let mut out = Vec::with_capacity(4096);
    head.headers.write_to(&mut out);
    bench.time("write headers, of a browser", size(&out)?, || {
        out.clear();
        head.headers.write_to(black_box(&mut out));
    });
    let mut copy = Headers::new();
    bench.time("copy headers, of a browser", size(BROWSER)?, || {
        copy.clear();
        head.headers.iter().for_each(|field| copy.push_field(field));
        black_box(&copy);
    });
    Ok(())
}

/// 64 KB of body in chunks of one size.
fn coded(chunk: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..65536 / chunk {
        write_chunk_head(chunk, &mut body);
        body.resize(body.len() + chunk, b'x');
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

/// Bytes of data; 0 for a body that is refused.
fn decode(body: &[u8]) -> usize {
    let mut decoder = Decoder::new();
    let (mut at, mut data) = (0, 0);
    while let Ok(step) = decoder.decode(&body[at..]) {
        at += step.consumed;
        data += step.data.len();
        if step.finished {
            return data;
        }
    }
    0
}

fn chunked(bench: &Bench) -> Outcome {
    for chunk in [16, 1024, 16384] {
        let body = coded(chunk);
        if decode(&body) != 65536 {
            return Err("the chunked body is not what it should be".into());
        }
        let name = format!("chunked decode, 64 KB in chunks of {chunk}");
        bench.time(&name, size(&body)?, || {
            black_box(decode(black_box(&body)));
        });
    }
    let mut out = Vec::with_capacity(64);
    bench.time("chunk head", 0, || {
        out.clear();
        write_chunk_head(black_box(16384), &mut out);
        black_box(&out);
    });
    Ok(())
}

fn uris(bench: &Bench) -> Outcome {
    let plain: &[u8] = b"/shop/items/4711?sort=price&page=2";
    let escaped: &[u8] = b"/shop//a/../items/%e4%bd%a0%e5%a5%bd/./4711?sort=price";
    for (name, target) in [("uri, plain", plain), ("uri, escaped and with dots", escaped)] {
        let mut uri = Uri::default();
        uri.read(target, true).map_err(|_| "the target is not valid")?;
        bench.time(name, size(target)?, || {
            uri.clear();
            let _ = black_box(uri.read(black_box(target), true));
        });
    }
    Ok(())
}

fn server_names(bench: &Bench) {
    let mut names = ServerNames::default();
    for at in 0..1000 {
        names.add(&ServerName::Exact(format!("host{at}.example.com").into_bytes()), at);
        names.add(&ServerName::Head(format!("zone{at}.example.org").into_bytes()), at);
    }
    let (mut captures, slots) = (Captures::default(), Slots::default());
    for (name, host) in [
        ("server name, exact of 1000", "host567.example.com"),
        ("server name, wildcard of 1000", "a.b.zone567.example.org"),
        ("server name, none of 1000", "www.example.net"),
    ] {
        bench.time(name, 0, || {
            black_box(names.find(black_box(host.as_bytes()), &mut captures, &slots));
        });
    }
}

fn locations(bench: &Bench) -> Outcome {
    let mut server = "location = /exact { } location / { } location ^~ /assets/ { }\n".to_owned();
    for at in 0..200 {
        writeln!(server, "location /shop/part{at}/ {{ location /shop/part{at}/inner/ {{ }} }}")?;
    }
    for kind in ["php", "cgi", "jsp", "asp"] {
        writeln!(server, "location ~ \\.{kind}$ {{ }}")?;
    }
    let site = Site::new(&server)?;
    for (name, path) in [
        ("location, exact", "/exact"),
        ("location, prefix without regexes", "/assets/site.css"),
        ("location, nested of 200, 4 regexes", "/shop/part123/inner/page.html"),
        ("location, last of 4 regexes", "/old/page.asp"),
    ] {
        let mut req = site.request(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())?;
        bench.time(name, 0, || {
            black_box(route::find_location(black_box(&mut req)));
        });
    }
    Ok(())
}

fn compiled(text: &str) -> Result<Template, Box<dyn Error>> {
    let mut names = Names::default();
    let pieces = template::split(text.as_bytes())?;
    let compiled = template::compile(&pieces, |name| Ok::<_, String>(names.resolve(name)))?;
    match names.undefined().next() {
        Some(name) => Err(format!("there is no variable {name}").into()),
        None => Ok(compiled),
    }
}

fn templates(bench: &Bench) -> Outcome {
    let site = Site::new("server_name www.example.com; location / { }")?;
    let req = site.request(BROWSER)?;
    for (name, text) in [
        ("template, constant", "text/html"),
        ("template, url", "http://$host$request_uri"),
        ("template, forwarded for", "$http_x_forwarded_for, $remote_addr"),
        (
            "template, combined log line",
            "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
             \"$http_referer\" \"$http_user_agent\"",
        ),
    ] {
        let template = compiled(text)?;
        let mut out = Vec::with_capacity(1024);
        bench.time(name, 0, || {
            out.clear();
            black_box(&template).append(&req, &mut out);
            black_box(&out);
        });
    }
    Ok(())
}

/// What maintenance mode costs each request while the door is open, and what a closed one answers.
fn doors(bench: &Bench) -> Outcome {
    let site = Site::new("server_name www.example.com; location / { }")?;
    let mut req = site.request(BROWSER)?;
    bench.time("door, open", 0, || {
        let _ = black_box(maintenance::door(black_box(&mut req)));
    });
    let tasks = tokio::task::LocalSet::new();
    let inside = tasks.enter();
    bench.time("last door, open: counted and through", 0, || {
        let _ = black_box(passage::enter(black_box(&mut req), Method::Get));
        req.guest.passage = None;
    });
    drop(inside);
    site.close();
    bench.time("door, closed", 0, || {
        let _ = black_box(maintenance::door(black_box(&mut req)));
    });
    bench.time("page of a closed door", 0, || {
        black_box(maintenance::turn_away(black_box(&mut req)));
    });
    Ok(())
}
