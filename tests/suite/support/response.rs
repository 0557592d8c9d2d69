//! An answer as it came over the wire, taken apart without being judged.

use std::fmt;

/// One HTTP/1 response.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The head byte for byte, the empty line included.
    pub head: Vec<u8>,
    /// `HTTP/1.1 200 OK`
    pub status_line: String,
    pub status: u16,
    /// In order, spelled as sent.
    pub headers: Vec<(String, String)>,
    /// The content: a chunked body is put together.
    pub body: Vec<u8>,
    /// The body byte for byte, chunk heads included.
    pub raw_body: Vec<u8>,
    /// Whether the body ended where its framing says.
    pub complete: bool,
}

impl Response {
    /// Reads a head, which ends in an empty line. Latin-1 bytes stay readable.
    pub fn from_head(head: &[u8]) -> Response {
        let text: String = head.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or_default().to_owned();
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let headers = lines.take_while(|line| !line.is_empty()).map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            (name.to_owned(), value.to_owned())
        });
        Response {
            head: head.to_vec(),
            status: status.unwrap_or(0),
            headers: headers.collect(),
            status_line,
            body: Vec::new(),
            raw_body: Vec::new(),
            complete: false,
        }
    }

    /// The value of the first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every value of that name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|field| field.0.eq_ignore_ascii_case(name));
        named.map(|field| field.1.as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the head says that chunks follow.
    pub fn is_chunked(&self) -> bool {
        self.header("Transfer-Encoding") == Some("chunked")
    }

    /// The head with the one value in it that changes from second to second
    /// replaced: `Date: *`.
    pub fn head_without_date(&self) -> String {
        let mut text = format!("{}\n", self.status_line);
        for (name, value) in &self.headers {
            let value = if name == "Date" { "*" } else { value };
            for part in [name, ": ", value, "\n"] {
                text.push_str(part);
            }
        }
        text
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = String::from_utf8_lossy(&self.head);
        write!(f, "{head}{}", self.text())?;
        if !self.complete {
            write!(f, "\n<cut short>")?;
        }
        Ok(())
    }
}

/// Takes one chunk off `bytes`: its content and how long it was with its
/// framing; `None` while it is not all there.
pub fn take_chunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let size = std::str::from_utf8(&bytes[..line]).ok()?;
    let size = size.split(';').next().unwrap_or_default();
    let size = usize::from_str_radix(size, 16).expect("a chunk size");
    let start = line + 2;
    if size == 0 {
        let end = bytes[line..].windows(4).position(|four| four == b"\r\n\r\n")?;
        return Some((Vec::new(), line + end + 4));
    }
    let end = start + size + 2;
    let content = bytes.get(start..end)?.strip_suffix(b"\r\n");
    Some((content.expect("CRLF after a chunk").to_vec(), end))
}
