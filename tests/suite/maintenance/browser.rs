//! The built-in page in a real browser: on a phone and on a desk, light and dark, in both languages.
//! The pictures stay below the build's directory for whoever wants to look.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::order;
use crate::support::{Browser, Setup, Viewer, is_reference};

/// What is there to be read: text that is displayed.
const TEXT: &str = "document.body.innerText";
/// How much wider the page is than the window, and how many elements stick out of it.
const OVERFLOW: &str = "document.documentElement.scrollWidth - innerWidth + \
    [...document.querySelectorAll('body *')].filter(e => e.getClientRects().length \
        && e.getBoundingClientRect().right > innerWidth + 1).length";
/// Whether the ground is dark: the sum of its colours.
const GROUND: &str = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g)\
    .slice(0, 3).reduce((sum, part) => sum + Number(part), 0)";
/// How much all text stands out from the sheet at least (WCAG 2, contrast ratio).
const CONTRAST: &str = "(() => { const lum = c => { const [r, g, b] = c.match(/\\d+/g).map(v => { v /= 255; \
    return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; }; \
    const sheet = lum(getComputedStyle(document.querySelector('main')).backgroundColor); \
    return Math.min(...[...document.querySelectorAll('h1, p, time')].filter(e => e.getClientRects().length) \
    .map(e => { const ink = lum(getComputedStyle(e).color); \
    return (Math.max(ink, sheet) + .05) / (Math.min(ink, sheet) + .05); })); })()";

#[test]
fn the_page_is_fit_to_be_seen() {
    if is_reference() {
        return;
    }
    let server = Setup::http("server { listen %%listen%%; }").start();
    let Some(mut browser) = Browser::start(server.directory()) else {
        println!("NOT CHECKED: there is no Chromium to look at the page with");
        return;
    };
    let reason =
        "Moving to a new database, ref. OPS-2041-long-words-do-not-break-the-sheet-of-a-phone";
    order(&server, "default", &json!({ "state": "closed", "reason": reason, "for": 5400 }));
    let url = format!("http://{}/", server.address());
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("maintain");
    fs::create_dir_all(&pictures).expect("a directory");
    let mut seen = BTreeSet::new();
    for (width, height) in [(360, 740), (1280, 800)] {
        for dark in [false, true] {
            for (languages, said, unsaid) in [
                ("en-GB,en;q=0.9", "We are working on this service", "系统维护中"),
                ("zh-CN,zh;q=0.9,en;q=0.8", "系统维护中", "working on this"),
            ] {
                browser.open(&url, Viewer { width, height, dark, languages });
                let text = browser.evaluate(TEXT);
                let text = text.as_str().expect("text");
                assert!(text.contains(said) && !text.contains(unsaid), "{text}");
                assert!(text.contains("OPS-2041") && !text.contains("<!--"), "{text}");
                let until = browser.evaluate("document.querySelector('time').innerText");
                assert!(until.as_str().is_some_and(|time| time.contains("20")), "{until}");
                assert_eq!(browser.evaluate(OVERFLOW), json!(0), "at {width}");
                let ground = browser.evaluate(GROUND).as_u64().expect("a number");
                assert_eq!(ground < 300, dark, "{ground}");
                let contrast = browser.evaluate(CONTRAST).as_f64().expect("a number");
                assert!(contrast >= 4.5, "{contrast}");
                let picture = browser.picture();
                let words = &languages[..2];
                let name = format!("{width}-{}-{words}.png", if dark { "dark" } else { "light" });
                fs::write(pictures.join(name), &picture).expect("a file");
                // A sheet without anything on it is a few kilobytes.
                assert!(picture.starts_with(b"\x89PNG") && picture.len() > 8000, "blank");
                assert!(seen.insert(picture), "as another one");
            }
        }
    }
}
