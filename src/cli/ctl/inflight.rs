//! `proxyd ctl inflight`: what is under way through the switches, and who has it.

use super::DONE;
use crate::cli::contact::Contact;
use crate::cli::screen::Screen;
use crate::cli::status::age;
use crate::cli::table::table;
use crate::control::client::{self, Failed};
use crate::control::maintenance::{Counts, Inflight, Listed, Share, UpstreamShare};

/// Asks and shows.
pub(super) async fn show(
    contact: &Contact,
    name: Option<&str>,
    screen: &mut Screen<'_>,
) -> Result<u8, Failed> {
    let found = client::inflight(&contact.control, name).await?;
    if screen.json {
        screen.print_json(&found);
    } else {
        screen.print(&text(&found));
    }
    Ok(DONE)
}

const COUNTS: [&str; 5] = ["READ", "WRITE", "STREAM", "BYPASS", "UNKNOWN"];

fn text(found: &[Inflight]) -> String {
    let mut rows = vec![head(&["SWITCH", "STATE"])];
    for switch in found {
        rows.push(row(&[switch.switch.clone(), switch.state.clone()], switch.total));
    }
    let mut text = table(&rows, &[0, 1]);
    for switch in found.iter().filter(|switch| !switch.workers.is_empty()) {
        text.extend(["\n", &switch.switch, ":\n", &workers(&switch.workers)]);
        if !switch.upstreams.is_empty() {
            text.extend(["\n", &upstreams(&switch.upstreams)]);
        }
        text += &requests(&switch.requests, switch.not_listed);
    }
    text
}

fn upstreams(shares: &[UpstreamShare]) -> String {
    const HEAD: [&str; 5] = ["UPSTREAM", "READ", "WRITE", "STREAM", "BYPASS"];
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    for UpstreamShare { upstream, counts } in shares {
        let Counts { read, write, stream, bypass, .. } = counts;
        let numbers = [read, write, stream, bypass].map(u64::to_string);
        rows.push(std::iter::once(or_none(upstream)).chain(numbers).collect());
    }
    table(&rows, &[0])
}

/// A table of requests, if there are any.
pub(super) fn requests(listed: &[Listed], not_listed: u64) -> String {
    const HEAD: [&str; 7] = ["AGE", "CLASS", "UPSTREAM", "SERVER", "WORKER", "METHOD", "PATH"];
    let mut text = String::new();
    if !listed.is_empty() {
        let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
        rows.extend(listed.iter().map(request));
        text.extend(["\n", &table(&rows, &[1, 2, 3, 5, 6])]);
    }
    if not_listed > 0 {
        text.extend(["\nnot listed: ", &not_listed.to_string(), "\n"]);
    }
    text
}

fn request(one: &Listed) -> Vec<String> {
    let Listed { upstream, server, class, method, path, age_ms, worker } = one;
    let (seconds, tenths) = (age_ms / 1000, age_ms / 100 % 10);
    let age = if seconds < 60 { format!("{seconds}.{tenths}s") } else { age(seconds) };
    let (upstream, server) = (or_none(upstream), or_none(server));
    vec![age, class.clone(), upstream, server, worker.to_string(), method.clone(), path.clone()]
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// A table of workers.
pub(super) fn workers(shares: &[Share]) -> String {
    let mut rows = vec![head(&["GENERATION", "VERSION", "MASTER", "WORKER"])];
    for share in shares {
        let Share { worker, master, generation, version, counts } = share;
        let unless = |none: bool, text: String| if none { "-".to_owned() } else { text };
        let cells = [
            generation.map_or_else(|| "-".to_owned(), |number| number.to_string()),
            version.clone().unwrap_or_else(|| "-".to_owned()),
            unless(*master == 0, master.to_string()),
            unless(*worker == 0, worker.to_string()),
        ];
        rows.push(row(&cells, *counts));
    }
    table(&rows, &[1])
}

fn head(first: &[&str]) -> Vec<String> {
    first.iter().chain(&COUNTS).map(|name| (*name).to_owned()).collect()
}

fn row(first: &[String], counts: Counts) -> Vec<String> {
    let Counts { read, write, stream, bypass, unknown } = counts;
    let numbers = [read, write, stream, bypass, unknown].map(|number| number.to_string());
    first.iter().cloned().chain(numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_come_before_workers() {
        let counts = Counts { read: 3, stream: 1, ..Counts::default() };
        let share = |worker, generation, counts| Share {
            worker,
            master: worker / 10,
            generation,
            version: generation.map(|_| "1.2.0".to_owned()),
            counts,
        };
        let unknown = Counts { unknown: 2, ..Counts::default() };
        let total = Counts { unknown: 2, ..counts };
        let closed = Inflight {
            switch: "default".into(),
            state: "closed".into(),
            total,
            workers: vec![share(4001, Some(2), counts), share(0, None, unknown)],
            upstreams: vec![UpstreamShare { upstream: "app".into(), counts }],
            requests: vec![Listed {
                upstream: "app".into(),
                server: String::new(),
                class: "read".into(),
                method: "GET".into(),
                path: "/slow".into(),
                age_ms: 12_345,
                worker: 4001,
            }],
            not_listed: 3,
        };
        let open = Inflight { switch: "shop".into(), state: "open".into(), ..Inflight::default() };
        let expected = "\
SWITCH   STATE   READ  WRITE  STREAM  BYPASS  UNKNOWN
default  closed     3      0       1       0        2
shop     open       0      0       0       0        0

default:
GENERATION  VERSION  MASTER  WORKER  READ  WRITE  STREAM  BYPASS  UNKNOWN
         2  1.2.0       400    4001     3      0       1       0        0
         -  -             -       -     0      0       0       0        2

UPSTREAM  READ  WRITE  STREAM  BYPASS
app          3      0       1       0

  AGE  CLASS  UPSTREAM  SERVER  WORKER  METHOD  PATH
12.3s  read   app       -         4001  GET     /slow

not listed: 3
";
        assert_eq!(text(&[closed, open]), expected);
    }
}
