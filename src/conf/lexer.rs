//! From bytes to words: quotes, escapes, comments, and nginx's limit on the length of a word.
//! Must not know what a statement is.

use super::{Error, FileId, Span, Word};

/// nginx reads a file through a buffer of this size, and a word has to fit into it.
const BUFFER: usize = 4096;

/// What a statement is made of.
#[derive(Debug)]
pub(super) enum Token {
    Word(Word),
    /// `;`
    Semicolon(Span),
    /// `{`
    Open(Span),
    /// `}`
    Close(Span),
    /// The text is over.
    End,
    /// The rest of the text cannot be understood; the error was given before.
    Stopped,
}

/// Reads the tokens of one text.
pub(super) struct Lexer<'t> {
    file: FileId,
    text: &'t [u8],
    pos: usize,
    /// Where nginx would start to keep bytes in its buffer: the word, comment or blank being read.
    mark: usize,
    /// A quoted word has just ended: a blank or the end of the statement has to follow.
    after_quote: bool,
    /// The text is the value of `-g`, held in memory as a whole.
    pub(super) command_line: bool,
    stopped: bool,
    /// How many errors were found in this text.
    pub(super) faults: usize,
}

fn is_blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\r' | b'\n')
}

impl<'t> Lexer<'t> {
    pub(super) fn new(file: FileId, text: &'t [u8], command_line: bool) -> Self {
        Lexer {
            file,
            text,
            pos: 0,
            mark: 0,
            after_quote: false,
            command_line,
            stopped: false,
            faults: 0,
        }
    }

    /// Gives no more tokens but [`Token::Stopped`].
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// The next token. After an error the lexer goes on where the statement in error ends, if it can.
    pub(super) fn next(&mut self) -> Result<Token, Error> {
        if self.stopped {
            return Ok(Token::Stopped);
        }
        if std::mem::take(&mut self.after_quote) {
            self.end_of_quoted()?;
        }
        loop {
            let Some(c) = self.read()? else {
                return Ok(Token::End);
            };
            let start = self.pos - 1;
            self.mark = start;
            match c {
                b'#' => self.skip_comment()?,
                b';' => return Ok(Token::Semicolon(self.punctuation(start))),
                b'{' => return Ok(Token::Open(self.punctuation(start))),
                b'}' => return Ok(Token::Close(self.punctuation(start))),
                b'"' | b'\'' => return self.quoted(start, c).map(Token::Word),
                c if is_blank(c) => {}
                c => return self.bare(start, c).map(Token::Word),
            }
        }
    }

    /// The next byte, unless nginx's buffer would be full before it.
    fn read(&mut self) -> Result<Option<u8>, Error> {
        let Some(&c) = self.text.get(self.pos) else {
            return Ok(None);
        };
        if self.pos - self.mark >= BUFFER && !self.command_line {
            return Err(self.too_long());
        }
        self.pos += 1;
        Ok(Some(c))
    }

    fn punctuation(&mut self, start: usize) -> Span {
        self.mark = self.pos;
        self.span(start, self.pos)
    }

    fn skip_comment(&mut self) -> Result<(), Error> {
        while let Some(c) = self.read()? {
            if c == b'\n' {
                self.mark = self.pos - 1;
                break;
            }
        }
        Ok(())
    }

    /// A word up to a blank, `;` or `{`; but the `{` of `${name}` belongs to the word.
    fn bare(&mut self, start: usize, first: u8) -> Result<Word, Error> {
        let mut escaped = first == b'\\';
        let mut variable = first == b'$';
        loop {
            let Some(c) = self.read()? else {
                return Err(self.cut_off(start, false));
            };
            if std::mem::take(&mut escaped) || (c == b'{' && variable) {
                continue;
            }
            variable = c == b'$';
            match c {
                b'\\' => escaped = true,
                b';' | b'{' => {
                    self.pos -= 1;
                    return Ok(self.word(start, start, self.pos, self.pos));
                }
                c if is_blank(c) => return Ok(self.word(start, start, self.pos - 1, self.pos - 1)),
                _ => {}
            }
        }
    }

    fn quoted(&mut self, start: usize, quote: u8) -> Result<Word, Error> {
        self.mark = self.pos;
        let mut escaped = false;
        loop {
            let c = match self.read() {
                Ok(Some(c)) => c,
                Ok(None) => return Err(self.cut_off(start, true)),
                Err(_) => return Err(self.not_terminated(start, quote)),
            };
            if std::mem::take(&mut escaped) {
                continue;
            }
            if c == quote {
                self.after_quote = true;
                return Ok(self.word(start, start + 1, self.pos - 1, self.pos));
            }
            escaped = c == b'\\';
        }
    }

    /// What may follow a closing quote: a blank, the end of the statement, or `)` as a word of its
    /// own, for `if ($a = "b")`.
    fn end_of_quoted(&mut self) -> Result<(), Error> {
        match self.read()? {
            None => Ok(()),
            Some(c) if is_blank(c) => Ok(()),
            Some(b';' | b'{' | b')') => {
                self.pos -= 1;
                Ok(())
            }
            Some(_) => {
                self.pos -= 1;
                let error = Error::new(self.unexpected(), self.span(self.pos, self.pos + 1))
                    .with_help("a closing quote ends the word: is a space, a \";\" or a \\ before a quote missing?");
                self.skip_statement();
                Err(error)
            }
        }
    }

    fn unexpected(&self) -> String {
        let rest = self.text.get(self.pos..).unwrap_or_default();
        let shown = String::from_utf8_lossy(rest.get(..4).unwrap_or(rest));
        format!("unexpected \"{}\"", shown.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Goes to the `;`, `{` or `}` that ends a statement nobody understands, blind to quotes.
    fn skip_statement(&mut self) {
        let mut last = 0;
        while let Some(&c) = self.text.get(self.pos) {
            if matches!(c, b';' | b'}') || (c == b'{' && last != b'$') {
                break;
            }
            last = c;
            self.pos += 1;
        }
        self.mark = self.pos;
    }

    fn word(&self, start: usize, text_start: usize, text_end: usize, end: usize) -> Word {
        let raw = self.text.get(text_start..text_end).unwrap_or_default();
        Word { text: unescape(raw), span: self.span(start, end), quoted: text_start != start }
    }

    fn too_long(&mut self) -> Error {
        self.stop();
        let rest = self.text.get(self.mark..).unwrap_or_default();
        let shown = String::from_utf8_lossy(rest.get(..10).unwrap_or(rest));
        Error::new(
            format_args!("too long parameter \"{shown}...\" started"),
            self.span(self.mark, self.mark + 1),
        )
        .with_help(format!("a word or comment may have {} bytes", BUFFER - 1))
    }

    fn not_terminated(&mut self, start: usize, quote: u8) -> Error {
        self.stop();
        let quote = char::from(quote);
        Error::new(
            format_args!("too long parameter, probably missing terminating \"{quote}\" character"),
            self.span(start, start + 1),
        )
    }

    /// The text is over within a word.
    fn cut_off(&mut self, start: usize, quoted: bool) -> Error {
        self.stop();
        let error = self.end_of_text();
        if !quoted {
            return error;
        }
        let line = self.line(start);
        error.with_help(format!("the quote opened in line {line} is never closed"))
    }

    /// The error for a text that is over within a statement.
    pub(super) fn end_of_text(&self) -> Error {
        let message = if self.command_line {
            "unexpected end of parameter, expecting \";\""
        } else {
            "unexpected end of file, expecting \";\" or \"}\""
        };
        Error::new(message, self.end())
    }

    /// The place after the last byte.
    pub(super) fn end(&self) -> Span {
        self.span(self.text.len(), self.text.len())
    }

    /// The last byte read, which is what ended a statement or block.
    pub(super) fn last(&self) -> Span {
        self.span(self.pos.saturating_sub(1), self.pos)
    }

    /// The line of an offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.text.get(..offset).unwrap_or(self.text).split(|&c| c == b'\n').count()
    }

    fn span(&self, start: usize, end: usize) -> Span {
        // Sources refuses texts whose offsets do not fit.
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { file: self.file, start: offset(start), end: offset(end) }
    }
}

/// Undoes nginx's escapes; a backslash before anything else stays, as regular expressions need.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(c) = bytes.next() {
        if c != b'\\' {
            out.push(c);
            continue;
        }
        match bytes.next() {
            Some(quoted @ (b'"' | b'\'' | b'\\')) => out.push(quoted),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            other => {
                out.push(b'\\');
                out.extend(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of a text, words in `<>`; after an error, the error and what follows.
    fn tokens(text: &str) -> String {
        let mut lexer = Lexer::new(FileId(0), text.as_bytes(), false);
        let mut out = String::new();
        loop {
            match lexer.next() {
                Ok(Token::Word(word)) => out.extend(["<", &*word.lossy(), ">"]),
                Ok(Token::Semicolon(_)) => out.push(';'),
                Ok(Token::Open(_)) => out.push('{'),
                Ok(Token::Close(_)) => out.push('}'),
                Ok(Token::End) => return out,
                Ok(Token::Stopped) => return out + "|",
                Err(error) => out.extend(["!", &*error.message, "!"]),
            }
        }
    }

    #[test]
    fn words_and_punctuation() {
        for (text, expected) in [
            ("listen 80;", "<listen><80>;"),
            ("a{b\tc;\r\n}", "<a>{<b><c>;}"),
            ("a#b c#;# } comment\nd;", "<a#b><c#>;<d>;"),
            ("a}b }", "<a}b>}"),
            ("$a${b}c ${{{d};", "<$a${b}c><${{{d}>;"),
            ("a$\\{b;", "<a$\\{b>;"),
            (r"~ \.php$ {", "<~><\\.php$>{"),
            (r"a\ b \;c \{;", r"<a\ b><\;c><\{>;"),
            (r"\x;", r"<\x>;"),
            ("if ($a = \"b\") {", "<if><($a><=><b><)>{"),
            ("\"\" '';", "<><>;"),
        ] {
            assert_eq!(tokens(text), expected, "{text}");
        }
    }

    #[test]
    fn quotes_and_escapes() {
        for (text, expected) in [
            (r#""a b;{}#" 'c"d' e"f;"#, "<a b;{}#><c\"d><e\"f>;"),
            (r#""a\"b" 'c\'d' "\\" \";"#, "<a\"b><c'd><\\><\">;"),
            (r#""\t\r\n\d\$" \t\n;"#, "<\t\r\n\\d\\$><\t\n>;"),
            ("\"two\nlines\";", "<two\nlines>;"),
        ] {
            assert_eq!(tokens(text), expected, "{text}");
        }
    }

    #[test]
    fn a_word_glued_to_a_quote_loses_its_statement_only() {
        assert_eq!(tokens("a \"b\"c '; d;"), "<a><b>!unexpected \"c\"!;<d>;");
        assert_eq!(tokens("a 'b'\"c\" { d; }"), "<a><b>!unexpected \"\"\"!{<d>;}");
        assert_eq!(tokens("'a'} b;"), "<a>!unexpected \"}\"!}<b>;");
        assert_eq!(tokens("'a'\u{e9};"), "<a>!unexpected \"\u{e9}\"!;");
    }

    #[test]
    fn a_text_that_ends_within_a_word() {
        let end = "!unexpected end of file, expecting \";\" or \"}\"!|";
        for text in ["abc", "\"abc; }", "'a\\'", "\\", "$"] {
            assert_eq!(tokens(text), end, "{text}");
        }
    }

    #[test]
    fn words_are_limited_by_nginxs_buffer() {
        let too_long = "!too long parameter \"aaaaaaaaaa...\" started!|";
        let quote = "!too long parameter, probably missing terminating \"'\" character!|";
        let word = |n: usize| "a".repeat(n);
        assert_eq!(tokens(&format!(" {};", word(4095))), format!("<{}>;", word(4095)));
        assert_eq!(tokens(&format!(" {};", word(4096))), too_long);
        // A blank after the word takes its place in the buffer, a semicolon does not.
        assert_eq!(tokens(&format!("{} ;", word(4094))), format!("<{}>;", word(4094)));
        assert_eq!(tokens(&format!("{} ;", word(4095))), format!("<{}>{too_long}", word(4095)));
        assert_eq!(tokens(&format!("'{}';", word(4094))), format!("<{}>;", word(4094)));
        assert_eq!(tokens(&format!("'{}';", word(4095))), format!("<{}>{too_long}", word(4095)));
        assert_eq!(tokens(&format!("'{}';", word(4096))), quote);
        assert_eq!(tokens(&format!("#{}\na;", word(4094))), "<a>;");
        assert!(
            tokens(&format!("#{}\na;", word(4096)))
                .starts_with("!too long parameter \"#aaaaaaaaa...\"")
        );
        let many = format!("'{}'\n\t ", word(1000)).repeat(9);
        assert_eq!(tokens(&many).len(), 9 * 1002);
    }
}
