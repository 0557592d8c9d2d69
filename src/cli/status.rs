//! `-s status`: what the running server says about itself, as a table.
//!
//! Must not interpret it: programs read the same with `--json`.

use super::arguments::Request;
use super::contact::Contact;
use super::ctl::maintenance;
use super::screen::Screen;
use super::table::table;
use crate::control::client;
use crate::control::maintenance::Switch;
use crate::control::upgrade::{GenerationStatus, Reload, ServerStatus, Status, UpstreamStatus};

/// Asks and shows; an error is what to say instead.
pub async fn show(contact: &Contact, screen: &mut Screen<'_>) -> Result<(), String> {
    let status = client::status(&contact.control).await;
    let status = status.map_err(|failed| contact.why(&failed, Request::Status))?;
    if screen.json {
        screen.print_json(&status);
    } else {
        screen.print(&text(&status));
    }
    Ok(())
}

/// For people.
fn text(status: &Status) -> String {
    let Status { version, pid, generation, executable, .. } = status;
    let configuration = status.configuration.display();
    let change = status.change.as_deref().unwrap_or("nothing");
    let rollback = status.rollback.as_deref().unwrap_or("nothing");
    let head = format!(
        "proxyd {version}, master process {pid}, generation {generation}
executable:    {executable}
configuration: {configuration}
under way:     {change}
rollback to:   {rollback}
"
    );
    let mut text = head + &reload(status) + &floods(status);
    if !status.generations.is_empty() {
        text.extend(["\n", &rows(&status.generations)]);
    }
    if !status.upstreams.is_empty() {
        text.extend(["\n", &upstreams(&status.upstreams)]);
    }
    // Of those that are open there is nothing to say.
    let closed = |switch: &&Switch| switch.state != "open";
    let closed: Vec<Switch> = status.switches.iter().filter(closed).cloned().collect();
    if !closed.is_empty() {
        text.extend(["\n", &maintenance::text(&closed, maintenance::now())]);
    }
    text
}

fn reload(status: &Status) -> String {
    let Some(Reload { age: ago, done, logs }) = &status.reload else { return String::new() };
    let (ago, how) = (age(*ago), if *done { "done" } else { "failed" });
    let mut text = format!("last reload:   {how}, {ago} ago\n");
    for line in logs {
        text.extend(["               ", line, "\n"]);
    }
    text
}

/// What clients of HTTP/2 were sent away for, if any were.
fn floods(status: &Status) -> String {
    let some = status.floods.iter().filter(|(_, number)| **number > 0);
    let some: Vec<String> = some.map(|(name, number)| format!("{number} {name}")).collect();
    if some.is_empty() {
        return String::new();
    }
    format!("http2 floods:  {}\n", some.join(", "))
}

/// The generations.
fn rows(generations: &[GenerationStatus]) -> String {
    const HEAD: [&str; 7] =
        ["GENERATION", "VERSION", "STATE", "MASTER", "WORKERS", "AGE", "CONNECTIONS"];
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(generations.iter().map(row));
    table(&rows, &[1, 2])
}

fn row(of: &GenerationStatus) -> Vec<String> {
    vec![
        of.generation.to_string(),
        of.version.clone(),
        of.state.clone(),
        of.master.to_string(),
        of.workers.len().to_string(),
        age(of.age),
        of.connections.to_string(),
    ]
}

/// The servers behind.
fn upstreams(upstreams: &[UpstreamStatus]) -> String {
    const HEAD: [&str; 6] = ["UPSTREAM", "SERVER", "ADDRESS", "STATE", "ACTIVE", "FAILS"];
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    for of in upstreams {
        rows.extend(of.servers.iter().map(|server| server_row(&of.upstream, server)));
    }
    table(&rows, &[0, 1, 2, 3])
}

fn server_row(upstream: &str, server: &ServerStatus) -> Vec<String> {
    let backup = if server.backup { ", backup" } else { "" };
    let some = match (server.workers, server.of) {
        (workers, of) if workers < of => format!(" ({workers} of {of} workers)"),
        _ => String::new(),
    };
    vec![
        upstream.to_owned(),
        server.server.clone(),
        if server.address.is_empty() { "-".to_owned() } else { server.address.clone() },
        format!("{}{some}{backup}", server.state),
        server.active.to_string(),
        server.fails.to_string(),
    ]
}

/// The two largest units.
pub(super) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let generation = |generation, version: &str, state: &str, age| GenerationStatus {
            generation,
            version: version.into(),
            state: state.into(),
            master: 4000 + u32::try_from(generation).unwrap(),
            workers: vec![5, 6],
            age,
            connections: 212,
        };
        Status {
            version: "1.3.0".into(),
            pid: 4010,
            generation: 10,
            executable: "/usr/sbin/proxyd (deleted)".into(),
            arguments: Vec::new(),
            prefix: "/etc/proxyd".into(),
            configuration: "/etc/proxyd/proxyd.conf".into(),
            change: Some("upgrade".into()),
            rollback: Some("1.2.0".into()),
            generations: vec![
                generation(10, "1.3.0", "serving", 192),
                generation(9, "1.2.0-rc1", "draining", 453_600),
            ],
            reload: None,
            switches: Vec::new(),
            upstreams: Vec::new(),
            floods: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn people_get_a_table() {
        let expected = "\
proxyd 1.3.0, master process 4010, generation 10
executable:    /usr/sbin/proxyd (deleted)
configuration: /etc/proxyd/proxyd.conf
under way:     upgrade
rollback to:   1.2.0

GENERATION  VERSION    STATE     MASTER  WORKERS    AGE  CONNECTIONS
        10  1.3.0      serving     4010        2  3m12s          212
         9  1.2.0-rc1  draining    4009        2   5d6h          212
";
        assert_eq!(text(&status()), expected);
    }

    #[test]
    fn floods_are_shown_if_there_were_any() {
        let floods = [("ping", 0), ("reset", 3), ("settings", 1)];
        let floods = floods.map(|(name, number)| (name.to_owned(), number)).into();
        let shown = text(&Status { floods, ..status() });
        assert!(shown.contains("\nhttp2 floods:  3 reset, 1 settings\n\nGENERATION"), "{shown}");
    }

    #[test]
    fn what_went_wrong_and_what_is_closed_is_shown() {
        let reload = Reload { age: 61, done: false, logs: vec!["[emerg] no".into()] };
        let switch = |name, state| {
            serde_json::from_value(
                serde_json::json!({ "name": name, "state": state, "ordered": state }),
            )
        };
        let switches = vec![switch("a", "open").unwrap(), switch("b", "closed").unwrap()];
        let shown = text(&Status { reload: Some(reload), switches, ..status() });
        let reload = "last reload:   failed, 1m1s ago\n               [emerg] no\n\nGENERATION";
        assert!(shown.contains(reload), "{shown}");
        assert!(
            shown.contains("\nSWITCH  STATE ") && shown.contains("\nb       closed "),
            "{shown}"
        );
        assert!(!shown.contains("\na "), "{shown}");
    }

    #[test]
    fn servers_behind_have_a_row_each() {
        let mut server = ServerStatus {
            server: "app1:80".into(),
            address: "10.0.0.1:80".into(),
            ..ServerStatus::default()
        };
        server.add("up", 3, 0, false);
        server.add("failing", 1, 2, false);
        let second = ServerStatus {
            server: "app2:80".into(),
            backup: true,
            state: "up".into(),
            ..ServerStatus::default()
        };
        let servers = vec![server, second];
        let upstreams = vec![UpstreamStatus { upstream: "app".into(), servers }];
        let shown = text(&Status { upstreams, ..status() });
        let expected = "
UPSTREAM  SERVER   ADDRESS      STATE                     ACTIVE  FAILS
app       app1:80  10.0.0.1:80  failing (1 of 2 workers)       4      2
app       app2:80  -            up, backup                     0      0
";
        assert!(shown.ends_with(expected), "{shown}");
    }

    #[test]
    fn nothing_is_called_so() {
        let calm = Status { change: None, rollback: None, generations: Vec::new(), ..status() };
        assert!(text(&calm).ends_with("\nunder way:     nothing\nrollback to:   nothing\n"));
    }

    #[test]
    fn ages_are_short() {
        let shown = [0, 59, 60, 3599, 3600, 86_399, 86_400, 31_536_000].map(age);
        assert_eq!(shown, ["0s", "59s", "1m0s", "59m59s", "1h0m", "23h59m", "1d0h", "365d0h"]);
    }
}
