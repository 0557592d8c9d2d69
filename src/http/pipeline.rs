//! Owns the order in which a request meets the modules: nginx's phases, as plain calls on one page.
//!
//! Must not know a protocol, and holds no code of a module: each line names one.

use super::modules::{
    access, access_log, addition, auth_request, blocks, client_body, connection, error_page, files,
    headers, index, maintenance, mirror, not_modified, post_action, proxy, range, redirect,
    rewrite, ssi, stub_status, try_files,
};
use super::modules::{auth_basic, autoindex, empty_gif, random_index, realip, userid};
use super::modules::{charset, compress, sub_filter};
use super::modules::{limit_conn, limit_req};
use super::phase::{Phase, Stop};
use super::reply::Reply;
use super::request::Request;
use super::route::{self, Found};

/// What is to be done with the connection when the pipeline is through.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send `req.reply`.
    Send,
    /// Close without an answer.
    Close,
}

/// Takes a request to its reply.
pub async fn run(req: &mut Request) -> Verdict {
    realip::run(req);
    let first = match req.sub.as_mut().and_then(|sub| sub.named.take()) {
        Some(at) => Err(Stop::Named(at)),
        None => server_phases(req),
    };
    settle(req, first).await
}

/// What happens when a client's request is through.
pub fn over(req: &Request) {
    access_log::run(req);
    post_action::run(req);
}

/// Answers a request that was refused while it was read, through `error_page` like any other.
pub async fn refuse(req: &mut Request, status: u16) -> Verdict {
    settle(req, Err(Stop::Status(status))).await
}

/// Re-enters the pipeline until a reply stands ready.
async fn settle(req: &mut Request, mut phase: Phase) -> Verdict {
    loop {
        let stop = match phase {
            Ok(()) => serve(req).await,
            Err(stop) => stop,
        };
        phase = match stop {
            Stop::Reply => match unread_body(req).and_then(|()| filters(req)) {
                Ok(()) => return Verdict::Send,
                refused => refused,
            },
            Stop::Close => return Verdict::Close,
            Stop::Closed => Err(maintenance::turn_away(req)),
            Stop::Status(status) if has_stub(req) => {
                req.reply = Reply::empty(status);
                return Verdict::Send;
            }
            Stop::Status(status) => error_page::answer(req, status),
            Stop::Redirect => internal_redirect(req),
            Stop::Rewritten => rewritten(req),
            Stop::Named(at) => named_redirect(req, at),
        };
    }
}

/// Whether something else stands ready for an answer that is an error.
fn has_stub(req: &Request) -> bool {
    req.sub.as_ref().is_some_and(|sub| sub.has_stub)
}

/// A body that nobody wanted is passed over as far as it is there; one that is framed wrongly is
/// an error even so, because the next request could not be found.
fn unread_body(req: &mut Request) -> Phase {
    if req.body.is_read() || req.reply.is_proxied() {
        return Ok(());
    }
    let client = req.client.clone();
    req.body.skip(&client).map_err(|error| Stop::Status(error.status()))
}

/// From the server's own level to content.
fn server_phases(req: &mut Request) -> Phase {
    req.location = req.server().root;
    rewrite::server(req)?;
    select_location(req)
}

/// Begins again with another URI.
fn internal_redirect(req: &mut Request) -> Phase {
    another_round(req, "internally redirecting to")?;
    req.internal = true;
    req.valid_location = true;
    req.add_uri_to_alias = false;
    req.begin_list = !req.tries.is_empty();
    server_phases(req)
}

/// Goes on in a named location; URI and arguments stay.
fn named_redirect(req: &mut Request, at: usize) -> Phase {
    another_round(req, "redirect to named location for")?;
    req.internal = true;
    req.begin_list = !req.tries.is_empty();
    req.location = at;
    req.stranded = false;
    door(req)?;
    enter_location(req)
}

/// A new location for a URI that was rewritten in the one before.
fn rewritten(req: &mut Request) -> Phase {
    another_round(req, "processing")?;
    select_location(req)
}

/// nginx cuts the cycle after 10 rounds.
fn another_round(req: &mut Request, doing: &str) -> Phase {
    if req.redirects_left == 0 {
        let uri = String::from_utf8_lossy(&req.uri).into_owned();
        req.log_error(format_args!(
            "rewrite or internal redirection cycle while {doing} \"{uri}\""
        ));
        // An error page could only run into the same end again.
        req.error_page = true;
        return Err(Stop::Status(500));
    }
    req.redirects_left -= 1;
    Ok(())
}

/// nginx's find-config phase.
fn select_location(req: &mut Request) -> Phase {
    req.stranded = false;
    match route::find_location(req) {
        Found::At(at) => req.location = at,
        Found::AddSlash(at) => {
            req.location = at;
            door(req)?;
            return Err(redirect::add_slash(req, at));
        }
    }
    if req.conf().files.internal && !req.internal {
        return Err(Stop::Status(404));
    }
    door(req)?;
    client_body::check_length(req)?;
    enter_location(req)
}

/// Maintenance mode looks at whom the location believes the client to be. Its rewriting, which comes
/// next, is not yet to know, as in nginx.
fn door(req: &mut Request) -> Phase {
    let known = req.real;
    realip::run(req);
    maintenance::door(req)?;
    req.real = known;
    Ok(())
}

/// The rewrite phase of the selected location, and what else happens on entering it.
fn enter_location(req: &mut Request) -> Phase {
    blocks::enter_limit_except(req);
    connection::limit_keepalive(req);
    rewrite::location(req)
}

/// From access to content in the location that has been entered.
async fn serve(req: &mut Request) -> Stop {
    match admit(req).await {
        Ok(()) => content(req).await,
        Err(stop) => stop,
    }
}

/// From pre-access to pre-content.
async fn admit(req: &mut Request) -> Phase {
    realip::run(req);
    limit_req::run(req).await?;
    limit_conn::run(req)?;
    // Who may ask for the main request may ask for what it needs.
    if req.sub.as_ref().is_none_or(|sub| sub.follows) {
        access(req).await?;
    }
    try_files::run(req)?;
    if req.is_main() && req.conf().mirror.is_on() { mirror::run(req).await } else { Ok(()) }
}

/// nginx's access phase.
async fn access(req: &mut Request) -> Phase {
    let phase = hear(req).await;
    access::delay(req, &phase).await?;
    phase
}

/// Who has a say in it, in nginx's order.
async fn hear(req: &mut Request) -> Phase {
    let mut hearing = access::Hearing::default();
    let opinion = access::judge(req);
    let mut over = hearing.hear(req, opinion)?;
    if !over && req.conf().auth_basic.asks.is_some() {
        let opinion = Box::pin(auth_basic::judge(req)).await;
        over = hearing.hear(req, opinion)?;
    }
    if !over && req.conf().auth_request.uri.is_some() {
        let opinion = auth_request::judge(req).await;
        over = hearing.hear(req, opinion)?;
    }
    if over { Ok(()) } else { hearing.end(req) }
}

/// The location's handler, else files.
async fn content(req: &mut Request) -> Stop {
    if req.conf().proxy.pass.is_some() {
        return proxy::run(req).await;
    }
    if req.stranded {
        return Stop::Status(500);
    }
    if req.conf().stub_status.on {
        return stub_status::run(req);
    }
    if req.conf().empty_gif.on {
        return empty_gif::run(req);
    }
    match before_files(req) {
        Ok(()) => files::run(req),
        Err(stop) => stop,
    }
}

/// What may stand for a directory or a file, in nginx's order.
fn before_files(req: &mut Request) -> Phase {
    random_index::run(req)?;
    index::run(req)?;
    autoindex::run(req)?;
    compress::precompressed(req)
}

/// nginx's header filters, in its order, over whatever answers. One may find that an error must be
/// answered instead (412, 416); `error_page` then has its turn.
fn filters(req: &mut Request) -> Phase {
    error_page::keep_status(req);
    if !req.is_main() {
        compress::gunzip(req);
        sub_filter::run(req);
        ssi::run(req);
        return Ok(());
    }
    not_modified::run(req)?;
    headers::run(req);
    userid::run(req);
    compress::gunzip(req);
    sub_filter::run(req);
    charset::run(req);
    // What comes from elsewhere has been through filters of its own: others must not see it.
    ssi::run(req);
    addition::run(req);
    compress::run(req);
    range::run(req)?;
    req.reply.bare_of_content();
    headers::expect_trailers(req);
    redirect::absolute(req);
    maintenance::mark(req);
    Ok(())
}
