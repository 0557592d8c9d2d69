//! `proxyd ctl maintenance`, and `-s maintenance-on` and `-s maintenance-off`.

use super::{DEFAULT, DONE, barrier};
use crate::cli::contact::Contact;
use crate::cli::screen::Screen;
use crate::cli::status::age;
use crate::cli::table::table;
use crate::control::client::{self, Failed};
use crate::control::maintenance::{Barrier, Change, Switch};

/// Closes switches, and may wait for the proof that nothing is under way.
pub(super) async fn close(
    contact: &Contact,
    name: Option<&str>,
    change: &Change,
    proof: Option<&Barrier>,
    screen: &mut Screen<'_>,
) -> Result<u8, Failed> {
    let closed = order(contact, name, change, screen).await?;
    let Some(terms) = proof else { return Ok(DONE) };
    let names: Vec<String> = closed.into_iter().map(|switch| switch.name).collect();
    barrier::wait_for_all(contact, &names, terms, screen).await
}

/// Opens switches, or closes them without waiting.
pub(in crate::cli) async fn change(
    contact: &Contact,
    name: Option<&str>,
    change: &Change,
    screen: &mut Screen<'_>,
) -> Result<u8, Failed> {
    order(contact, name, change, screen).await.map(|_| DONE)
}

async fn order(
    contact: &Contact,
    name: Option<&str>,
    change: &Change,
    screen: &mut Screen<'_>,
) -> Result<Vec<Switch>, Failed> {
    let name = name.unwrap_or(DEFAULT);
    let switches = client::switch(&contact.control, name, change).await?;
    if screen.json {
        screen.print_json(&switches);
        return Ok(switches);
    }
    for switch in &switches {
        let Switch { name, state, .. } = switch;
        let more = match (&switch.flag_file, switch.until) {
            (Some(path), _) => format!(" (flag file \"{}\")", path.display()),
            (None, Some(end)) => format!(", expected to last {}", age(end.saturating_sub(now()))),
            _ => String::new(),
        };
        screen.print(&format!("proxyd: maintenance \"{name}\" {state}{more}\n"));
    }
    Ok(switches)
}

/// How the switches are.
pub(super) async fn show(
    contact: &Contact,
    name: Option<&str>,
    screen: &mut Screen<'_>,
) -> Result<u8, Failed> {
    let mut switches = client::switches(&contact.control).await?;
    if let Some(name) = name {
        switches.retain(|switch| switch.name == name);
        if switches.is_empty() {
            return Err(Failed::Refused(format!("no switch \"{name}\"")));
        }
    }
    if screen.json {
        screen.print_json(&switches);
    } else {
        screen.print(&text(&switches, now()));
    }
    Ok(DONE)
}

pub(in crate::cli) fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// For people.
pub(in crate::cli) fn text(switches: &[Switch], now: u64) -> String {
    let head = ["SWITCH", "STATE", "SINCE", "LEFT", "UNDER WAY", "UNKNOWN", "ABOUT"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(switches.iter().map(|switch| row(switch, now)));
    table(&rows, &[0, 1, 6])
}

fn row(switch: &Switch, now: u64) -> Vec<String> {
    let none = || "-".to_owned();
    let left = match (switch.overrun, switch.until) {
        (Some(late), _) => format!("{} over", age(late)),
        (None, Some(end)) => age(end.saturating_sub(now)),
        (None, None) => none(),
    };
    let counts = &switch.inflight;
    vec![
        switch.name.clone(),
        switch.state.clone(),
        switch.since.map_or_else(none, |since| age(now.saturating_sub(since))),
        left,
        (counts.read + counts.write + counts.stream + counts.bypass).to_string(),
        counts.unknown.to_string(),
        about(switch),
    ]
}

/// What there is to be known besides.
fn about(switch: &Switch) -> String {
    let mut parts = Vec::new();
    if !switch.reason.is_empty() {
        parts.push(switch.reason.clone());
    }
    if let Some(path) = &switch.flag_file {
        parts.push(format!("flag file {}", path.display()));
    }
    if switch.auto_off {
        parts.push("opens by itself".to_owned());
    }
    if switch.no_bypass {
        parts.push("no bypass".to_owned());
    }
    if !switch.allow.is_empty() {
        parts.push(format!("but for {}", switch.allow.join(" ")));
    }
    if !switch.configured {
        parts.push("not in the configuration".to_owned());
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::maintenance::Counts;

    #[test]
    fn people_get_a_table() {
        let open = Switch {
            name: "default".into(),
            state: "open".into(),
            ordered: "open".into(),
            flag_file: None,
            since: None,
            until: None,
            overrun: None,
            reason: String::new(),
            auto_off: false,
            no_bypass: false,
            allow: Vec::new(),
            epoch: 0,
            revoked: 0,
            configured: true,
            inflight: Counts::default(),
        };
        let closed = Switch {
            name: "shop".into(),
            state: "closed".into(),
            since: Some(400),
            until: Some(1060),
            reason: "moving".into(),
            no_bypass: true,
            allow: vec!["10.0.0.0/8".into()],
            inflight: Counts { read: 1, write: 2, unknown: 3, ..Counts::default() },
            ..open.clone()
        };
        let late = Switch {
            name: "old".into(),
            overrun: Some(61),
            reason: String::new(),
            no_bypass: false,
            allow: Vec::new(),
            auto_off: true,
            configured: false,
            flag_file: Some("/f".into()),
            ..closed.clone()
        };
        let expected = "\
SWITCH   STATE   SINCE       LEFT  UNDER WAY  UNKNOWN  ABOUT
default  open        -          -          0        0
shop     closed  10m0s       1m0s          3        3  moving; no bypass; but for 10.0.0.0/8
old      closed  10m0s  1m1s over          3        3  flag file /f; opens by itself; not in the configuration
";
        assert_eq!(text(&[open, closed, late], 1000), expected);
    }
}
