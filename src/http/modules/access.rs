//! Owns `allow` and `deny`, and how the opinions of all access modules add up: `satisfy`.
//!
//! Must not ask for passwords; other modules of the access phase do.

use super::inherit;
use crate::conf::{Args, Contexts, Directive, Env, Error, Row, values};
use crate::http::cidr;
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::io::Deadline;
use crate::http::opinion::Opinion;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::vars::Variable;
use crate::log::Level;
use crate::net::Peer;
use ipnet::IpNet;
use std::future::poll_fn;
use std::net::IpAddr;
use std::task::Poll;
use std::time::Duration;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    rules: Option<Vec<Rule>>,
    satisfy_any: Option<bool>,
    delay: Option<Duration>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    rules: Vec<Rule>,
    /// One module that allows is enough.
    satisfy_any: bool,
    /// How long who has not been let in for want of credentials waits for that answer.
    delay: Duration,
}

/// `allow` or `deny`.
#[derive(Debug, Clone)]
struct Rule {
    deny: bool,
    whom: Whom,
}

#[derive(Debug, Clone)]
enum Whom {
    All,
    Unix,
    Net(IpNet),
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; rules, satisfy_any, delay);
    }

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf {
            rules: self.rules.clone().unwrap_or_default(),
            satisfy_any: self.satisfy_any.unwrap_or(false),
            delay: self.delay.unwrap_or_default(),
        }
    }
}

const PLACES: Contexts = HSL.or(Contexts::LIMIT_EXCEPT);

pub static ROWS: &[Row<Scope>] = &[
    row(
        "allow",
        PLACES,
        Args::Exactly(1),
        "Lets clients in: an address, a network, `unix:` or `all`; the first rule that fits a client counts.",
        |scope, dir, env| add(scope, dir, false, env),
    ),
    row(
        "deny",
        PLACES,
        Args::Exactly(1),
        "Keeps clients out with 403: an address, a network, `unix:` or `all`; the first rule that fits a \
         client counts.",
        |scope, dir, env| add(scope, dir, true, env),
    ),
    row(
        "satisfy",
        HSL,
        Args::Exactly(1),
        "Whether `all` (default) or `any` of the modules that control access must allow a request.",
        |scope, dir, _| {
            let choices = [("all", false), ("any", true)];
            values::choice(&mut scope.drafts.access.satisfy_any, dir, &choices)
        },
    ),
    row(
        "auth_delay",
        HSL,
        Args::Exactly(1),
        "How long an answer with 401 is held back, whatever the reason was; 0 by default.",
        |scope, dir, _| values::msec(&mut scope.drafts.access.delay, dir),
    ),
];

fn add(scope: &mut Scope, dir: &Directive, deny: bool, env: &mut Env) -> Result<(), Error> {
    let word = dir.arg(0);
    let whom = match &word.text[..] {
        b"all" => Whom::All,
        b"unix:" => Whom::Unix,
        text => {
            let shown = word.lossy();
            let cidr = cidr::parse(text)
                .ok_or_else(|| word.error(format_args!("invalid parameter \"{shown}\"")))?;
            if cidr.low_bits {
                env.warn(word.error(format_args!("low address bits of {shown} are meaningless")));
            }
            Whom::Net(cidr.net)
        }
    };
    scope.drafts.access.rules.get_or_insert_default().push(Rule { deny, whom });
    Ok(())
}

pub static VARIABLES: &[Variable] = &[];

/// nginx's access phase: hears one module after another, as long as an opinion can matter.
#[derive(Debug, Default)]
pub struct Hearing {
    /// One that allows has been enough.
    allowed: bool,
    refused: Option<u16>,
}

impl Hearing {
    /// Takes a module's opinion; true when no other one can matter.
    pub fn hear(&mut self, req: &mut Request, opinion: Opinion) -> Result<bool, Stop> {
        let any = req.conf().access.satisfy_any;
        match opinion {
            Opinion::Allow if any => {
                // Challenges of those who refused before are not for a client that may pass.
                req.reply.headers.remove(Name::WwwAuthenticate);
                req.reply.headers.remove(Name::ProxyAuthenticate);
                self.allowed = true;
            }
            // A challenge tells the client more than a plain no.
            Opinion::Refuse(status @ (401 | 403 | 407)) if any => match self.refused {
                Some(401 | 407) => {}
                _ => self.refused = Some(status),
            },
            Opinion::Refuse(status) => return Err(Stop::Status(status)),
            Opinion::Stop(stop) => return Err(stop),
            Opinion::None | Opinion::Allow => {}
        }
        Ok(self.allowed)
    }

    /// What all of them together come to.
    pub fn end(self, req: &Request) -> Phase {
        match self.refused {
            Some(status) if !self.allowed => {
                if status == 403 {
                    log(req);
                }
                Err(Stop::Status(status))
            }
            _ => Ok(()),
        }
    }
}

/// `auth_delay`: who has to give credentials, or other ones, waits, so that the time until the answer
/// says nothing about them.
pub async fn delay(req: &mut Request, phase: &Phase) -> Phase {
    let delay = req.conf().access.delay;
    if delay.is_zero() || !matches!(phase, Err(Stop::Status(401 | 407))) {
        return Ok(());
    }
    req.log(Level::Info, format_args!("delaying unauthorized request"));
    let mut deadline = Deadline::after(delay);
    let gone = poll_fn(|cx| match deadline.poll(cx) {
        Poll::Ready(_) => Poll::Ready(false),
        Poll::Pending if req.client.poll_gone(cx) => Poll::Ready(true),
        Poll::Pending => Poll::Pending,
    });
    if gone.await {
        req.log(Level::Info, format_args!("client prematurely closed connection"));
        req.reply.status = 499;
        req.keepalive = false;
        return Err(Stop::Close);
    }
    Ok(())
}

/// What `allow` and `deny` say.
pub fn judge(req: &mut Request) -> Opinion {
    let conf = &req.conf().access;
    match first_match(&conf.rules, &req.peer()) {
        None => Opinion::None,
        Some(Rule { deny: false, .. }) => Opinion::Allow,
        Some(Rule { deny: true, .. }) => {
            if !conf.satisfy_any {
                log(req);
            }
            Opinion::Refuse(403)
        }
    }
}

fn log(req: &Request) {
    req.log_error(format_args!("access forbidden by rule"));
}

fn first_match<'a>(rules: &'a [Rule], peer: &Peer) -> Option<&'a Rule> {
    let address = peer.ip().map(|address| judged_as(address, rules));
    rules.iter().find(|rule| match (&rule.whom, address) {
        (Whom::All, _) | (Whom::Unix, None) => true,
        (Whom::Net(net), Some(address)) => net.contains(&address),
        (Whom::Unix, Some(_)) | (Whom::Net(_), None) => false,
    })
}

/// An IPv4 address that came over an IPv6 socket is judged as what it is, unless there are rules for
/// IPv6 alone.
fn judged_as(address: IpAddr, rules: &[Rule]) -> IpAddr {
    let for_v4 = |rule: &Rule| matches!(rule.whom, Whom::All | Whom::Net(IpNet::V4(_)));
    if address.is_ipv6() && rules.iter().any(for_v4) { cidr::unmapped(address) } else { address }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Site, errors, snapshot};

    fn denies(server: &str, peer: &str) -> Option<bool> {
        let (snapshot, _) = snapshot("", &format!("listen 1; {server}"));
        let rules = &snapshot.conf(snapshot.servers[0].root).access.rules;
        let peer = match peer.parse::<IpAddr>() {
            Ok(address) => Peer::Inet((address, 1).into()),
            Err(_) => Peer::Unix,
        };
        first_match(rules, &peer).map(|rule| rule.deny)
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules = "deny 192.0.2.1; allow 192.0.2.0/24; allow 2001:db8::/32; deny all;";
        for (peer, expected) in [
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("::ffff:192.0.2.2", false),
            ("2001:db8::5", false),
            ("2001:db9::5", true),
            ("unix:", true),
        ] {
            assert_eq!(denies(rules, peer), Some(expected), "{peer}");
        }
        assert_eq!(denies("allow unix:;", "unix:"), Some(false));
        assert_eq!(denies("deny unix:; deny 10.0.0.1;", "127.0.0.1"), None);
        assert_eq!(denies("deny ::/0;", "127.0.0.1"), None);
        assert_eq!(denies("deny ::/0;", "::ffff:127.0.0.1"), Some(true));
    }

    #[test]
    fn what_is_wrong_has_nginxs_sentence() {
        assert_eq!(errors("", "allow 1.2.3;"), ["invalid parameter \"1.2.3\""]);
        assert_eq!(errors("", "deny 1.2.3.4/40;"), ["invalid parameter \"1.2.3.4/40\""]);
        let (_, warnings) = snapshot("deny 1.2.3.4/24;", "listen 1;");
        assert_eq!(warnings, ["low address bits of 1.2.3.4/24 are meaningless"]);
    }

    fn hear(req: &mut Request, opinions: &[Opinion]) -> Phase {
        let mut hearing = Hearing::default();
        for opinion in opinions {
            if hearing.hear(req, opinion.clone())? {
                break;
            }
        }
        hearing.end(req)
    }

    fn judged(site: &Site) -> Phase {
        let mut req = site.request();
        let opinion = judge(&mut req);
        hear(&mut req, &[opinion])
    }

    #[test]
    fn a_client_that_may_pass_sees_no_challenge() {
        let site = Site::new("", "listen 1; satisfy any;");
        let mut req = site.request();
        req.reply.headers.push_known(Name::WwwAuthenticate, b"Basic");
        assert_eq!(hear(&mut req, &[Opinion::Refuse(401), Opinion::Allow]), Ok(()));
        assert!(!req.reply.headers.contains(Name::WwwAuthenticate));
    }

    #[test]
    fn opinions_add_up_as_satisfy_says() {
        let ask = |satisfy: &str, opinions: &[Opinion]| {
            let site = Site::new("", &format!("listen 1; satisfy {satisfy};"));
            match hear(&mut site.request(), opinions) {
                Ok(()) => 0,
                Err(Stop::Status(status)) => status,
                Err(_) => 1,
            }
        };
        let (allow, none) = (Opinion::Allow, Opinion::None);
        let (forbid, challenge) = (Opinion::Refuse(403), Opinion::Refuse(401));
        let (fail, stop) = (Opinion::Refuse(500), Opinion::Stop(Stop::Close));
        for (opinions, all, any) in [
            ([&none, &none], 0, 0),
            ([&allow, &none], 0, 0),
            ([&allow, &forbid], 403, 0),
            ([&forbid, &challenge], 403, 401),
            ([&challenge, &forbid], 401, 401),
            ([&challenge, &allow], 401, 0),
            ([&fail, &allow], 500, 500),
            ([&stop, &allow], 1, 1),
        ] {
            let opinions = opinions.map(Opinion::clone);
            assert_eq!((ask("all", &opinions), ask("any", &opinions)), (all, any));
        }
    }

    #[test]
    fn a_refusal_is_logged_and_rules_are_inherited_as_a_whole() {
        let site = Site::new("deny 127.0.0.0/8;", "listen 1;");
        assert_eq!(judged(&site), Err(Stop::Status(403)));
        assert!(site.text("error.log").contains(" access forbidden by rule, client: 127.0.0.1"));
        let site = Site::new("deny 127.0.0.0/8;", "listen 1; deny ::1;");
        assert_eq!(judged(&site), Ok(()));
        let site = Site::new("deny all;", "listen 1; satisfy any;");
        assert_eq!(judged(&site), Err(Stop::Status(403)));
        assert_eq!(site.text("error.log").matches("access forbidden by rule").count(), 1);
    }
}
