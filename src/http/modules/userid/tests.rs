//! Cookies as they are read and given.

use super::{VARIABLES, run};
use crate::http::fixture::{Site, errors};
use crate::http::headers::Name;
use crate::http::request::Request;

fn given(conf: &str, cookie: Option<&str>) -> (Option<String>, String) {
    let site = Site::new("", &format!("listen 1; {conf}"));
    let mut req = site.request();
    if let Some(cookie) = cookie {
        req.head.headers.push(b"Cookie", cookie.as_bytes());
    }
    run(&mut req);
    let value = |at: usize, req: &Request| {
        let mut out = Vec::new();
        let found = (VARIABLES[at].get)(req, b"", &mut out);
        if found { String::from_utf8(out).unwrap() } else { "-".to_owned() }
    };
    let set = req.reply.headers.get(Name::SetCookie);
    let set = set.map(|value| String::from_utf8(value.to_vec()).unwrap());
    (set, format!("{} {}", value(0, &req), value(1, &req)))
}

const ONE: &str = "fwAAAWYAAAAAAAAAAwMAAg";

#[test]
fn who_has_none_is_given_one() {
    let (set, shown) = given("userid on; userid_service 258;", None);
    let set = set.unwrap();
    assert!(set.starts_with("uid=AAABAm") && set.ends_with("==; path=/"), "{set}");
    // As the machine reads it, which nginx does too.
    let service = format!("- uid={:08X}", u32::from_ne_bytes([0, 0, 1, 2]));
    assert!(shown.starts_with(&service), "{shown}");
    let (set, _) = given(
        "userid v1; userid_name n; userid_domain d.example; userid_expires max; userid_flags secure samesite=lax;",
        None,
    );
    let set = set.unwrap();
    assert!(set.starts_with("n=AAAAA"), "{set}");
    assert!(
        set.ends_with(
            "; expires=Thu, 31-Dec-37 23:55:55 GMT; domain=d.example; path=/; secure; samesite=lax"
        ),
        "{set}"
    );
    assert_eq!(given("userid log;", None).0, None);
    assert_eq!(given("", None), (None, "- -".to_owned()));
}

#[test]
fn who_has_one_keeps_it() {
    let cookie = format!("a=b; uid={ONE}==");
    let number = format!(
        "uid={}",
        super::Number::new(&super::decode(ONE.as_bytes(), super::Alphabet::Standard).unwrap())
            .unwrap()
    );
    assert_eq!(given("userid on;", Some(&cookie)), (None, format!("{number} -")));
    assert_eq!(given("userid log;", Some(&cookie)).1, format!("{number} -"));
    let (set, shown) = given("userid on; userid_mark m;", Some(&cookie));
    assert_eq!(set.unwrap(), format!("uid={ONE}m=; path=/"));
    assert_eq!(shown, format!("{number} {number}"));
    assert_eq!(given("userid on; userid_mark m;", Some(&format!("uid={ONE}m="))).0, None);
    let (set, _) = given("userid on; set $uid_reset 1;", Some(&cookie));
    assert_eq!(set, None, "nothing has run the set");
}

#[test]
fn what_is_no_number_is_replaced() {
    for bad in ["short", "!!!!!!!!!!!!!!!!!!!!!!", "AAAAAAAAAAAAAAAAAAAAAA"] {
        let (set, shown) = given("userid on;", Some(&format!("uid={bad}")));
        assert!(set.is_some() && shown.starts_with("- uid="), "{bad}");
    }
}

#[test]
fn complaints_are_nginxs() {
    let mark = "\"userid_mark\" directive value must be \"off\" or a single letter, digit or \"=\"";
    assert_eq!(errors("", "listen 1; userid_mark ab;"), [mark]);
    assert_eq!(
        errors("", "listen 1; userid_expires x;"),
        ["\"userid_expires\" directive invalid value"]
    );
}
