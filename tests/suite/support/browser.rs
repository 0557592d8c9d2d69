//! A real browser, as far as a test of a page needs it: driven over its debugging protocol, so that
//! size, language and colours are what the test says.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::client::Client;
use super::websocket::{Frame, WebSocket};

/// What a person looks at a page with.
#[derive(Clone, Copy, Debug)]
pub struct Viewer {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
    /// The value of `Accept-Language`.
    pub languages: &'static str,
}

pub struct Browser {
    child: Child,
    page: WebSocket,
    last: u64,
}

impl Browser {
    /// Starts Chromium; `None` where there is none.
    pub fn start(directory: &Path) -> Option<Browser> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let path = std::env::var_os("PATH")?;
        let programs: Vec<PathBuf> = std::env::split_paths(&path)
            .flat_map(|directory| names.map(|name| directory.join(name)))
            .collect();
        let program = programs.iter().find(|program| program.is_file())?;
        let mut child = Command::new(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--hide-scrollbars", "--no-first-run", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", directory.join("browser").display()))
            .arg("about:blank")
            .env("HOME", directory)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the browser starts");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let line = lines.map_while(Result::ok).find(|line| line.contains("listening on ws://"));
        let line = line.expect("the browser says where it listens");
        let address = line.split("ws://").nth(1).and_then(|rest| rest.split('/').next());
        let address: SocketAddr = address.and_then(|text| text.parse().ok()).expect("an address");
        Some(Browser { child, page: page(address), last: 0 })
    }

    /// Opens a page as this viewer and waits until it is there.
    pub fn open(&mut self, url: &str, viewer: Viewer) {
        let Viewer { width, height, dark, languages } = viewer;
        let scheme = if dark { "dark" } else { "light" };
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
        self.call("Network.enable", &json!({}));
        let fields = json!({ "headers": { "Accept-Language": languages } });
        self.call("Network.setExtraHTTPHeaders", &fields);
        self.call("Page.enable", &json!({}));
        self.call("Page.navigate", &json!({ "url": url }));
        while self.receive()["method"] != "Page.loadEventFired" {}
    }

    /// What an expression comes to in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let what = json!({ "expression": expression, "returnByValue": true });
        self.call("Runtime.evaluate", &what)["result"]["value"].clone()
    }

    /// The page as a picture (PNG).
    pub fn picture(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        base64(answer["data"].as_str().expect("a picture"))
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let call = json!({ "id": self.last, "method": method, "params": parameters });
        self.page.send(&Frame::text(&call.to_string()));
        loop {
            let answer = self.receive();
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    fn receive(&mut self) -> Value {
        serde_json::from_slice(&self.page.receive().payload).expect("a message")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers are in its group.
        let group = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// The conversation about the one page that is open.
fn page(address: SocketAddr) -> WebSocket {
    let mut client = Client::connect(address);
    client.send(format!("GET /json/list HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    client.read_through(b"\r\n\r\n");
    // It keeps the connection open.
    let whole =
        |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).is_ok().then_some(bytes.len());
    let list: Value = serde_json::from_slice(&client.read_until(whole)).expect("JSON");
    let pages = list.as_array().expect("a list");
    let page = pages.iter().find(|target| target["type"] == "page").expect("a page");
    let url = page["webSocketDebuggerUrl"].as_str().expect("an address");
    let path = url.strip_prefix(&format!("ws://{address}")).expect("a path");
    WebSocket::open(Client::connect(address), path)
}

/// Bytes from base 64 (RFC 4648, section 4).
fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = LETTERS.iter().position(|known| *known == letter).expect("base 64");
        bits = bits << 6 | u32::try_from(value).expect("six bits");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("a byte"));
        }
    }
    bytes
}
