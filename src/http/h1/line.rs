//! Scans a request line, resumably and with nginx's grammar: several spaces between the parts, LF
//! alone as line end, absolute form, CONNECT, HTTP/0.9. Owns no limits and decodes nothing.

use std::ops::Range;

/// What is wrong with a request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadLine {
    Method,
    Request,
    Version,
    /// Anything but GET without a version.
    Method09,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    /// After the CR of an empty line before the request.
    EmptyLine,
    Method,
    BeforeTarget,
    Scheme,
    SchemeSlash,
    SchemeSlashSlash,
    BeforeHost,
    HostStart,
    Host,
    Literal,
    HostEnd,
    PortStart,
    Port,
    Target,
    AfterTarget,
    /// Within `HTTP/`.
    Protocol,
    FirstMajor,
    Major,
    FirstMinor,
    Minor,
    AfterVersion,
    LineEnd,
    Done,
}

/// The scanner. Offsets are into the buffer given to `run`, which must begin with the same bytes
/// each time.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    state: State,
    /// Next byte to look at; when the line is complete, the first byte behind it.
    pub at: usize,
    /// First byte of the method, behind any empty lines.
    pub start: usize,
    pub method: Range<usize>,
    pub connect: bool,
    get: bool,
    pub scheme: Range<usize>,
    pub host: Range<usize>,
    pub has_host: bool,
    pub target: Range<usize>,
    pub protocol: Range<usize>,
    /// End of the line, less its CR and LF.
    pub end: usize,
    major: u32,
    minor: u32,
}

/// Where a byte leads to. The byte is then done with; `Done` when it ends the line.
type Step = Result<State, BadLine>;

impl Line {
    /// Whether the first byte of a request has been seen.
    pub fn started(&self) -> bool {
        !matches!(self.state, State::Start | State::EmptyLine)
    }

    /// Whether the whole line has been seen; it may still have been refused.
    pub fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    /// Major version times 1000 plus minor version; 9 for HTTP/0.9.
    pub fn version(&self) -> u32 {
        self.major * 1000 + self.minor
    }

    /// Scans on; `true` when the line is complete. Fails at the first byte that is wrong, before
    /// the rest of the line has come.
    pub fn run(&mut self, buf: &[u8]) -> Result<bool, BadLine> {
        loop {
            match self.state {
                State::Method => self.skip(buf, is_method_byte),
                State::Target => self.skip(buf, is_target_byte),
                _ => {}
            }
            let Some(&byte) = buf.get(self.at) else {
                return Ok(false);
            };
            self.state = self.step(buf, byte)?;
            self.at += 1;
            if self.state == State::Done {
                return self.check();
            }
        }
    }

    /// Steps over the bytes that belong to the part being scanned.
    fn skip(&mut self, buf: &[u8], belongs: impl Fn(u8) -> bool) {
        let rest = buf.get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|byte| belongs(**byte)).count();
    }

    fn step(&mut self, buf: &[u8], byte: u8) -> Step {
        match self.state {
            State::Start | State::EmptyLine => self.start(byte),
            State::Method => self.method(buf, byte),
            State::BeforeTarget => self.before_target(byte),
            State::Scheme | State::SchemeSlash | State::SchemeSlashSlash => self.scheme(byte),
            State::BeforeHost
            | State::HostStart
            | State::Host
            | State::Literal
            | State::HostEnd => self.host(byte),
            State::PortStart | State::Port => self.port(byte),
            State::Target => self.target(byte),
            State::AfterTarget => self.after_target(buf, byte),
            State::Protocol => self.protocol(byte),
            State::FirstMajor | State::Major => self.major(byte),
            State::FirstMinor | State::Minor => self.minor(byte),
            State::AfterVersion => self.after_version(byte),
            State::LineEnd | State::Done if byte == b'\n' => Ok(State::Done),
            State::LineEnd | State::Done => Err(BadLine::Request),
        }
    }

    fn start(&mut self, byte: u8) -> Step {
        self.start = self.at;
        match (self.state, byte) {
            (_, b'\n') => Ok(State::Start),
            (State::Start, b'\r') => Ok(State::EmptyLine),
            // A lone CR before the request counts as part of the method, which it spoils.
            (State::Start, _) if is_method_byte(byte) => Ok(State::Method),
            _ => Err(BadLine::Method),
        }
    }

    /// The byte behind the method; capitals, `_` and `-` have been skipped.
    fn method(&mut self, buf: &[u8], byte: u8) -> Step {
        if byte != b' ' {
            return Err(BadLine::Method);
        }
        self.method = self.start..self.at;
        let name = buf.get(self.method.clone()).unwrap_or_default();
        self.connect = name == b"CONNECT";
        self.get = name == b"GET";
        Ok(if self.connect { State::BeforeHost } else { State::BeforeTarget })
    }

    /// A slash begins the origin form, a letter the scheme of the absolute form. `*` is refused, as
    /// in nginx.
    fn before_target(&mut self, byte: u8) -> Step {
        match byte {
            b' ' => Ok(State::BeforeTarget),
            b'/' => {
                self.target.start = self.at;
                Ok(State::Target)
            }
            _ if byte.is_ascii_alphabetic() => {
                self.scheme.start = self.at;
                Ok(State::Scheme)
            }
            _ => Err(BadLine::Request),
        }
    }

    fn scheme(&mut self, byte: u8) -> Step {
        match (self.state, byte) {
            (State::Scheme, b':') => {
                self.scheme.end = self.at;
                Ok(State::SchemeSlash)
            }
            (State::Scheme, b'+' | b'-' | b'.') => Ok(State::Scheme),
            (State::Scheme, _) if byte.is_ascii_alphanumeric() => Ok(State::Scheme),
            (State::SchemeSlash, b'/') => Ok(State::SchemeSlashSlash),
            (State::SchemeSlashSlash, b'/') => Ok(State::HostStart),
            _ => Err(BadLine::Request),
        }
    }

    /// The host of an absolute form or of CONNECT. Userinfo is refused with the first byte that no
    /// host has; what remains to be checked is `host`'s.
    fn host(&mut self, byte: u8) -> Step {
        if self.state == State::BeforeHost && byte == b' ' {
            return Ok(State::BeforeHost);
        }
        let mut state = self.state;
        if matches!(state, State::BeforeHost | State::HostStart) {
            self.host.start = self.at;
            self.has_host = true;
            state = State::Host;
            if byte == b'[' {
                return Ok(State::Literal);
            }
        }
        match (state, byte) {
            (State::Literal, b']') => Ok(State::HostEnd),
            (State::Literal, _) if is_literal_byte(byte) => Ok(State::Literal),
            (State::Literal, _) => Err(BadLine::Request),
            (State::Host, b'.' | b'-') => Ok(State::Host),
            (State::Host, _) if byte.is_ascii_alphanumeric() => Ok(State::Host),
            (_, b':') => Ok(State::PortStart),
            _ if self.connect => Err(BadLine::Request),
            _ => self.after_authority(byte),
        }
    }

    /// Behind the colon. An absolute form may leave the port out, CONNECT may not.
    fn port(&mut self, byte: u8) -> Step {
        if byte.is_ascii_digit() {
            return Ok(State::Port);
        }
        if !self.connect {
            return self.after_authority(byte);
        }
        if self.state == State::Port && byte == b' ' {
            self.host.end = self.at;
            return Ok(State::AfterTarget);
        }
        Err(BadLine::Request)
    }

    fn after_authority(&mut self, byte: u8) -> Step {
        self.host.end = self.at;
        match byte {
            b'/' | b'?' => {
                self.target.start = self.at;
                Ok(State::Target)
            }
            b' ' => {
                // The target is "/": the first slash after the scheme stands for it.
                self.target = self.scheme.end + 1..self.scheme.end + 2;
                Ok(State::AfterTarget)
            }
            _ => Err(BadLine::Request),
        }
    }

    /// The byte behind the target; a line end makes it a request of HTTP/0.9.
    fn target(&mut self, byte: u8) -> Step {
        self.target.end = self.at;
        match byte {
            b' ' => Ok(State::AfterTarget),
            b'\r' | b'\n' => Ok(self.without_version(byte)),
            _ => Err(BadLine::Request),
        }
    }

    /// The line ends here and is one of HTTP/0.9.
    fn without_version(&mut self, byte: u8) -> State {
        (self.major, self.minor) = (0, 9);
        self.end = self.at;
        if byte == b'\n' { State::Done } else { State::LineEnd }
    }

    fn after_target(&mut self, buf: &[u8], byte: u8) -> Step {
        if buf.get(self.at..).is_some_and(|rest| rest.starts_with(USUAL_END)) {
            self.take_usual_end();
            return Ok(State::Done);
        }
        match byte {
            b' ' => Ok(State::AfterTarget),
            b'\r' | b'\n' => Ok(self.without_version(byte)),
            b'H' => {
                self.protocol.start = self.at;
                Ok(State::Protocol)
            }
            _ => Err(BadLine::Request),
        }
    }

    fn take_usual_end(&mut self) {
        if self.connect {
            self.target = self.at + 4..self.at + 5;
        }
        (self.major, self.minor) = (1, 1);
        self.protocol.start = self.at;
        self.end = self.at + USUAL_END.len() - 2;
        self.at += USUAL_END.len() - 1;
    }

    fn protocol(&mut self, byte: u8) -> Step {
        if b"HTTP/".get(self.at - self.protocol.start) != Some(&byte) {
            return Err(BadLine::Request);
        }
        if byte != b'/' {
            return Ok(State::Protocol);
        }
        if self.connect {
            // CONNECT has no path; this slash stands for "/".
            self.target = self.at..self.at + 1;
        }
        Ok(State::FirstMajor)
    }

    fn major(&mut self, byte: u8) -> Step {
        match (self.state, byte) {
            (State::Major, b'.') => Ok(State::FirstMinor),
            (State::FirstMajor, b'1'..=b'9') | (State::Major, b'0'..=b'9') => {
                self.major = self.major * 10 + u32::from(byte - b'0');
                if self.major > 1 { Err(BadLine::Version) } else { Ok(State::Major) }
            }
            _ => Err(BadLine::Request),
        }
    }

    /// Up to three digits count, as in nginx; the limit keeps the number small.
    fn minor(&mut self, byte: u8) -> Step {
        match (self.state, byte) {
            (_, b'0'..=b'9') if self.minor <= 99 => {
                self.minor = self.minor * 10 + u32::from(byte - b'0');
                Ok(State::Minor)
            }
            (State::Minor, b' ' | b'\r' | b'\n') => self.after_version(byte),
            _ => Err(BadLine::Request),
        }
    }

    fn after_version(&mut self, byte: u8) -> Step {
        self.end = self.at;
        match byte {
            b' ' => Ok(State::AfterVersion),
            b'\r' => Ok(State::LineEnd),
            b'\n' => Ok(State::Done),
            _ => Err(BadLine::Request),
        }
    }

    /// The last check, of the line as a whole.
    fn check(&mut self) -> Result<bool, BadLine> {
        // Without a version there is no way to tell a body from the next request.
        if self.version() == 9 && !self.get {
            return Err(BadLine::Method09);
        }
        if self.version() != 9 {
            self.protocol.end = self.end;
        }
        Ok(true)
    }
}

/// What nearly every request line ends with.
const USUAL_END: &[u8] = b"HTTP/1.1\r\n";

fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'_' || byte == b'-'
}

/// What may stand in a target as sent: all but spaces and control characters.
fn is_target_byte(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

/// What may stand between the brackets of an IP literal.
fn is_literal_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-._~!$&'()*+,;=".contains(&byte)
}
