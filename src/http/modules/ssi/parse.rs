//! Owns the grammar of server-side includes: text, and commands in `<!--# … -->` between it, in bytes
//! that come in any pieces.
//!
//! Must not know what a command means.

/// What a command begins with.
const START: &[u8] = b"<!--#";

/// Bytes of a command's name, and of the name of a parameter.
const LONGEST_NAME: usize = 32;

/// A command as it stands in a page.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Command {
    pub name: Vec<u8>,
    pub params: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What the end of a command has brought.
pub type Outcome = Result<Command, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// This many bytes of `START` have been seen.
    Text(usize),
    BeforeName,
    Name,
    BeforeParam,
    Param,
    BeforeEqual,
    BeforeValue,
    /// In a value with this quote; `escaped` after a backslash.
    Value {
        quote: u8,
        escaped: bool,
    },
    AfterValue,
    /// This many dashes of the end have been seen.
    End(usize),
    /// The same in a command that is wrong.
    Error(usize),
}

/// The parser between two pieces.
#[derive(Debug)]
pub struct Parser {
    state: State,
    command: Command,
    /// Why the command is wrong.
    wrong: String,
    /// `ssi_value_length`.
    longest_value: usize,
}

impl Parser {
    pub fn new(longest_value: usize) -> Self {
        let (command, wrong) = (Command::default(), String::new());
        Self { state: State::Text(0), command, wrong, longest_value }
    }

    /// Reads until a command has ended or there are no more bytes; text goes to `text`. How many bytes
    /// were read, and the command.
    pub fn feed(&mut self, input: &[u8], text: &mut Vec<u8>) -> (usize, Option<Outcome>) {
        let mut at = 0;
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            if self.state == State::Text(0) {
                let plain = memchr::memchr(b'<', rest).unwrap_or(rest.len());
                text.extend_from_slice(rest.get(..plain).unwrap_or_default());
                at += plain;
                if plain == rest.len() {
                    break;
                }
            }
            let Some(byte) = input.get(at).copied() else { break };
            at += 1;
            if let Some(outcome) = self.step(byte, text) {
                return (at, Some(outcome));
            }
        }
        (at, None)
    }

    /// No more bytes come: the beginning of what might have been a command is text.
    pub fn end(&mut self, text: &mut Vec<u8>) {
        if let State::Text(seen) = self.state {
            text.extend_from_slice(START.get(..seen).unwrap_or_default());
            self.state = State::Text(0);
        }
    }

    fn step(&mut self, byte: u8, text: &mut Vec<u8>) -> Option<Outcome> {
        let blank = matches!(byte, b' ' | b'\r' | b'\n' | b'\t');
        self.state = match self.state {
            State::Text(seen) => Self::in_text(seen, byte, text),
            State::BeforeName if blank => State::BeforeName,
            State::BeforeName => {
                self.command = Command { name: vec![byte], params: Vec::new() };
                State::Name
            }
            State::Name | State::BeforeParam | State::AfterValue if blank => State::BeforeParam,
            State::Name | State::BeforeParam | State::AfterValue if byte == b'-' => State::End(1),
            State::Name => self.in_name(byte),
            State::BeforeParam => {
                self.command.params.push((vec![byte], Vec::new()));
                State::Param
            }
            State::AfterValue => {
                let (key, value) = self.last();
                self.fail(byte, &format!("after \"{value}\" value of \"{key}\" parameter"), false)
            }
            State::Param | State::BeforeEqual | State::BeforeValue => self.in_param(byte, blank),
            State::Value { quote, escaped } => self.in_value(byte, quote, escaped),
            State::End(1) if byte == b'-' => State::End(2),
            State::End(2) if byte == b'>' => {
                self.state = State::Text(0);
                return Some(Ok(std::mem::take(&mut self.command)));
            }
            State::End(_) => {
                let name = String::from_utf8_lossy(&self.command.name);
                let byte = char::from(byte);
                self.wrong = format!("unexpected \"{byte}\" symbol in \"{name}\" SSI command");
                State::Error(0)
            }
            State::Error(2) if byte == b'>' => {
                self.state = State::Text(0);
                return Some(Err(std::mem::take(&mut self.wrong)));
            }
            State::Error(dashes @ (0 | 1)) if byte == b'-' => State::Error(dashes + 1),
            State::Error(_) => State::Error(0),
        };
        None
    }

    fn in_text(seen: usize, byte: u8, text: &mut Vec<u8>) -> State {
        if START.get(seen) == Some(&byte) {
            return if seen + 1 == START.len() { State::BeforeName } else { State::Text(seen + 1) };
        }
        text.extend_from_slice(START.get(..seen).unwrap_or_default());
        if byte == b'<' {
            return State::Text(1);
        }
        text.push(byte);
        State::Text(0)
    }

    fn in_name(&mut self, byte: u8) -> State {
        if self.command.name.len() == LONGEST_NAME {
            let name = String::from_utf8_lossy(&self.command.name);
            self.wrong = format!("the \"{name}{}...\" SSI command is too long", char::from(byte));
            return State::Error(0);
        }
        self.command.name.push(byte);
        State::Name
    }

    fn in_param(&mut self, byte: u8, blank: bool) -> State {
        let (key, _) = self.last();
        match (self.state, byte) {
            (State::BeforeValue, b'"' | b'\'') => State::Value { quote: byte, escaped: false },
            (State::BeforeValue, _) if blank => State::BeforeValue,
            (State::BeforeValue, _) => {
                self.fail(byte, &format!("before value of \"{key}\" parameter"), true)
            }
            (_, b'=') => State::BeforeValue,
            _ if blank => State::BeforeEqual,
            (State::BeforeEqual, _) | (_, b'-') => {
                self.fail(byte, &format!("after \"{key}\" parameter"), true)
            }
            _ if key.len() >= LONGEST_NAME => {
                let name = String::from_utf8_lossy(&self.command.name);
                let byte = char::from(byte);
                self.wrong =
                    format!("too long \"{key}{byte}...\" parameter in \"{name}\" SSI command");
                State::Error(0)
            }
            _ => {
                if let Some((key, _)) = self.command.params.last_mut() {
                    key.push(byte);
                }
                State::Param
            }
        }
    }

    fn in_value(&mut self, byte: u8, quote: u8, escaped: bool) -> State {
        if byte == quote && !escaped {
            return State::AfterValue;
        }
        let (key, shown) = self.last();
        let Some((_, value)) = self.command.params.last_mut() else { return State::Error(0) };
        if value.len() == self.longest_value {
            let name = String::from_utf8_lossy(&self.command.name);
            let byte = char::from(byte);
            self.wrong = format!(
                "too long \"{shown}{byte}...\" value of \"{key}\" parameter in \"{name}\" SSI command"
            );
            return State::Error(0);
        }
        value.push(byte);
        State::Value { quote, escaped: byte == b'\\' && !escaped }
    }

    /// A byte that cannot stand here; a dash may be the first of the end where `ends`.
    fn fail(&mut self, byte: u8, place: &str, ends: bool) -> State {
        let name = String::from_utf8_lossy(&self.command.name);
        let shown = char::from(byte);
        self.wrong = format!("unexpected \"{shown}\" symbol {place} in \"{name}\" SSI command");
        State::Error(usize::from(ends && byte == b'-'))
    }

    /// The parameter being read, as it can be shown.
    fn last(&self) -> (String, String) {
        let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let last = self.command.params.last();
        last.map(|(key, value)| (shown(key), shown(value))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page with each command replaced by `{name key=value …}` or `{!sentence}`.
    fn parsed(page: &[u8], piece: usize) -> String {
        let (mut parser, mut out) = (Parser::new(20), Vec::new());
        for mut input in page.chunks(piece) {
            while !input.is_empty() {
                let (read, outcome) = parser.feed(input, &mut out);
                input = &input[read..];
                match outcome {
                    None => {}
                    Some(Err(why)) => out.extend(format!("{{!{why}}}").into_bytes()),
                    Some(Ok(command)) => {
                        out.push(b'{');
                        out.extend(command.name);
                        for (key, value) in command.params {
                            out.extend([&b" "[..], &key, b"=", &value].concat());
                        }
                        out.push(b'}');
                    }
                }
            }
        }
        parser.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn commands_stand_between_text_in_any_pieces() {
        for (page, expected) in [
            ("plain", "plain"),
            ("a<!--#echo var=\"x\" -->b", "a{echo var=x}b"),
            ("<!--# echo var = 'a\"b' default=\"\"-->", "{echo var=a\"b default=}"),
            ("<!--#else--><!--#endif -->", "{else}{endif}"),
            ("<<!--#else -->", "<{else}"),
            ("<!-<!--#else -->", "<!-{else}"),
            ("<!--<!--#else -->", "<!--{else}"),
            ("<!-- no --><b>", "<!-- no --><b>"),
            ("end<!--", "end<!--"),
            ("<!--#set var=\"a\\\"b\" -->", "{set var=a\\\"b}"),
            ("x<!--#never", "x"),
        ] {
            for piece in 1..=page.len() {
                assert_eq!(parsed(page.as_bytes(), piece), expected, "{page} by {piece}");
            }
        }
    }

    #[test]
    fn what_is_wrong_has_a_sentence_and_an_end() {
        for (page, sentence) in [
            (
                "<!--#echo var -->",
                "unexpected \"-\" symbol after \"var\" parameter in \"echo\" SSI command",
            ),
            (
                "<!--#echo var=x -->",
                "unexpected \"x\" symbol before value of \"var\" parameter in \"echo\" SSI command",
            ),
            (
                "<!--#echo var=\"x\"y -->",
                "unexpected \"y\" symbol after \"x\" value of \"var\" parameter in \"echo\" SSI command",
            ),
            ("<!--#echo -x -->", "unexpected \"x\" symbol in \"echo\" SSI command"),
            (
                "<!--#abcdefghijklmnopqrstuvwxyz0123456789 -->",
                "the \"abcdefghijklmnopqrstuvwxyz0123456...\" SSI command is too long",
            ),
            (
                "<!--#echo var=\"012345678901234567890\" -->",
                "too long \"012345678901234567890...\" value of \"var\" parameter in \"echo\" SSI command",
            ),
        ] {
            for piece in 1..=page.len() {
                assert_eq!(
                    parsed(format!("a{page}b").as_bytes(), piece),
                    format!("a{{!{sentence}}}b")
                );
            }
        }
    }
}
