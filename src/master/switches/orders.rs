//! From what an operator asks for to what is in force. Pure: the time is an argument.
//!
//! Must not put anything in force.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::control::maintenance::{Change, Refusal, Wish};
use crate::zone::gates::{MAX_ALLOWED, MAX_REASON, Order, State};

/// Ten years: whoever means longer means for ever.
const LONGEST: u64 = 10 * 365 * 86_400;

/// A wish that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    state: State,
    reason: String,
    seconds: Option<u64>,
    auto_off: bool,
    no_bypass: bool,
    allow: Vec<IpNet>,
}

/// What follows from a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Closed,
    Opened,
    /// Closed before, on other terms from now on.
    Changed,
    /// It was so already.
    Nothing,
}

impl Wanted {
    /// Without any terms, as a signal says it.
    pub fn plain(state: State) -> Wanted {
        let (reason, allow) = (String::new(), Vec::new());
        Wanted { state, reason, seconds: None, auto_off: false, no_bypass: false, allow }
    }

    /// Judges what was asked for.
    pub fn new(change: &Change) -> Result<Wanted, Refusal> {
        let malformed = |why: &str| Err(Refusal::Malformed(why.to_owned()));
        let Some(wish) = change.state else {
            return malformed("\"state\" has to be \"closed\" or \"open\"");
        };
        if change.reason.len() > MAX_REASON {
            return malformed(&format!("\"reason\" is longer than {MAX_REASON} bytes"));
        }
        if change.reason.chars().any(char::is_control) {
            return malformed("\"reason\" has to be a line of text");
        }
        let allow = networks(&change.allow)?;
        let terms = change.seconds.is_some()
            || change.auto_off
            || change.no_bypass
            || !change.allow.is_empty();
        match wish {
            Wish::Open if terms => {
                return malformed(
                    "\"for\", \"auto_off\", \"no_bypass\" and \"allow\" are for closing",
                );
            }
            Wish::Closed if change.auto_off && change.seconds.is_none() => {
                return malformed("\"auto_off\" needs \"for\"");
            }
            _ => {}
        }
        if change.seconds.is_some_and(|seconds| !(1..=LONGEST).contains(&seconds)) {
            return malformed(&format!("\"for\" has to be from 1 to {LONGEST} seconds"));
        }
        Ok(Wanted {
            state: if wish == Wish::Open { State::Open } else { State::Closed },
            reason: change.reason.clone(),
            seconds: change.seconds,
            auto_off: change.auto_off,
            no_bypass: change.no_bypass,
            allow,
        })
    }

    pub fn opens(&self) -> bool {
        self.state == State::Open
    }

    /// What is in force after it.
    pub fn after(&self, before: &Order, now: u64) -> (Order, Deed) {
        let deed = match (before.state, self.state) {
            (State::Open, State::Open) => return (before.clone(), Deed::Nothing),
            (State::Closed, State::Closed) if *self == Wanted::plain(State::Closed) => {
                // Who only wants it closed has no wish about the terms.
                return (before.clone(), Deed::Nothing);
            }
            (State::Closed, State::Closed) => Deed::Changed,
            (State::Open, State::Closed) => Deed::Closed,
            (State::Closed, State::Open) => Deed::Opened,
        };
        let order = Order {
            state: self.state,
            epoch: before.epoch + u64::from(deed == Deed::Closed),
            since: if deed == Deed::Changed { before.since } else { now },
            until: self.seconds.map(|seconds| now + seconds),
            auto_off: self.auto_off,
            no_bypass: self.no_bypass,
            reason: self.reason.clone(),
            allow: self.allow.clone(),
            revoked: before.revoked,
        };
        (order, deed)
    }

    /// The terms for the log, each with a comma behind it.
    pub fn terms(&self) -> String {
        let mut text = String::new();
        if let Some(seconds) = self.seconds {
            let end = if self.auto_off { " and then to be opened," } else { "," };
            text.extend([" for ", &seconds.to_string(), " s", end]);
        }
        if self.no_bypass {
            text += " without bypass,";
        }
        if !self.allow.is_empty() {
            let nets: Vec<_> = self.allow.iter().map(ToString::to_string).collect();
            text.extend([" but for ", &nets.join(" "), ","]);
        }
        text
    }

    pub fn reason(&self) -> &str {
        &self.reason
    }
}

fn networks(texts: &[String]) -> Result<Vec<IpNet>, Refusal> {
    if texts.len() > MAX_ALLOWED {
        return Err(Refusal::Malformed(format!("\"allow\" takes at most {MAX_ALLOWED} networks")));
    }
    let net = |text: &String| {
        let wrong = || Refusal::Malformed(format!("invalid network \"{text}\""));
        network(text).ok_or_else(wrong)
    };
    texts.iter().map(net).collect()
}

/// Reads an address or a network. IPv4 in IPv6's clothes is IPv4: so are the addresses that it will
/// be compared with.
pub fn network(text: &str) -> Option<IpNet> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().ok()?.trunc(),
    };
    let IpNet::V6(v6) = net else { return Some(net) };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    let Some((address, length)) = mapped else { return Some(net) };
    Ipv4Net::new(address, length).ok().map(IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closing() -> Change {
        Change { state: Some(Wish::Closed), ..Change::default() }
    }

    fn wanted(change: &Change) -> Wanted {
        Wanted::new(change).unwrap()
    }

    fn refused(change: &Change) -> String {
        match Wanted::new(change) {
            Err(Refusal::Malformed(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn closing_and_opening_count_and_date() {
        let change = Change {
            reason: "cutover".into(),
            seconds: Some(1800),
            auto_off: true,
            no_bypass: true,
            allow: vec!["192.0.2.7".into(), "2001:db8::/32".into()],
            ..closing()
        };
        let (closed, deed) = wanted(&change).after(&Order::default(), 100);
        assert_eq!((deed, closed.state, closed.epoch), (Deed::Closed, State::Closed, 1));
        assert_eq!((closed.since, closed.until), (100, Some(1900)));
        assert!(closed.auto_off && closed.no_bypass);
        assert_eq!(
            closed.allow,
            [network("192.0.2.7/32"), network("2001:db8::/32")].map(Option::unwrap)
        );
        let (open, deed) = wanted(&opening()).after(&closed, 200);
        assert_eq!(deed, Deed::Opened);
        assert_eq!(open, Order { epoch: 1, since: 200, ..Order::default() });
    }

    fn opening() -> Change {
        Change { state: Some(Wish::Open), ..Change::default() }
    }

    #[test]
    fn who_says_it_twice_changes_only_the_terms() {
        let first = Change { seconds: Some(60), no_bypass: true, reason: "a".into(), ..closing() };
        let (closed, _) = wanted(&first).after(&Order::default(), 100);
        let (same, deed) = wanted(&closing()).after(&closed, 150);
        assert_eq!((&same, deed), (&closed, Deed::Nothing));
        let longer = Change { seconds: Some(600), reason: "b".into(), ..closing() };
        let (changed, deed) = wanted(&longer).after(&closed, 150);
        assert_eq!((deed, changed.epoch, changed.since), (Deed::Changed, 1, 100));
        assert_eq!((changed.until, changed.no_bypass), (Some(750), false));
        let open = Order::default();
        assert_eq!(wanted(&opening()).after(&open, 5), (open, Deed::Nothing));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(refused(&Change::default()).starts_with("\"state\" has to be"));
        let long = Change { reason: "é".repeat(128), ..closing() };
        assert_eq!(refused(&long), "\"reason\" is longer than 255 bytes");
        let lines = Change { reason: "a\nb".into(), ..closing() };
        assert_eq!(refused(&lines), "\"reason\" has to be a line of text");
        let endless = Change { auto_off: true, ..closing() };
        assert_eq!(refused(&endless), "\"auto_off\" needs \"for\"");
        for seconds in [0, LONGEST + 1, u64::MAX] {
            let odd = Change { seconds: Some(seconds), ..closing() };
            assert!(refused(&odd).starts_with("\"for\" has to be from 1 to "));
        }
        let late = Change { no_bypass: true, ..opening() };
        assert!(refused(&late).ends_with("are for closing"));
        let many = Change { allow: vec!["::1".into(); 17], ..closing() };
        assert_eq!(refused(&many), "\"allow\" takes at most 16 networks");
        let odd = Change { allow: vec!["10.0.0.0/33".into()], ..closing() };
        assert_eq!(refused(&odd), "invalid network \"10.0.0.0/33\"");
    }

    #[test]
    fn networks_are_what_they_will_be_compared_with() {
        let shown = |text: &str| network(text).map(|net| net.to_string()).unwrap_or_default();
        assert_eq!(shown("10.1.2.3"), "10.1.2.3/32");
        assert_eq!(shown("10.1.2.3/8"), "10.0.0.0/8");
        assert_eq!(shown("::ffff:10.1.2.3"), "10.1.2.3/32");
        assert_eq!(shown("::ffff:10.1.2.0/120"), "10.1.2.0/24");
        assert_eq!(shown("2001:db8::5/64"), "2001:db8::/64");
        assert_eq!(shown("::/0"), "::/0");
        for odd in ["", "10.1.2", "x", "10.0.0.0/", "::1/129"] {
            assert_eq!(network(odd), None, "{odd}");
        }
    }

    #[test]
    fn terms_are_told_in_one_line() {
        assert_eq!(wanted(&closing()).terms(), "");
        let all = Change {
            seconds: Some(9),
            auto_off: true,
            no_bypass: true,
            allow: vec!["::1".into(), "10.0.0.0/8".into()],
            ..closing()
        };
        let text = " for 9 s and then to be opened, without bypass, but for ::1/128 10.0.0.0/8,";
        assert_eq!(wanted(&all).terms(), text);
    }
}
