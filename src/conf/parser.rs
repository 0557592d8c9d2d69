//! From words to a tree of directives: blocks, and going on after a syntax error.
//! Must not know any directive, nor open files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lexer::{Lexer, Token};
use super::{Directive, Env, Error, Span, Word};

/// Blocks within blocks, included files counted. nginx has no limit but its stack.
const MAX_DEPTH: usize = 128;
/// A file with more errors than this is something else than a configuration.
const MAX_FAULTS: usize = 50;

/// Reads the main configuration file, with all it includes. Syntax errors go to `env.errors`; the
/// tree is then what could be understood.
pub fn parse(env: &mut Env<'_>, path: &Path) -> Vec<Directive> {
    Parser::new(env).file(path, None)
}

/// Parses the directives of the command line (`-g`), in which there are no blocks. `label` names
/// them in errors: nginx says `command line`.
pub fn parse_text(env: &mut Env<'_>, label: &str, text: &[u8]) -> Vec<Directive> {
    let text: Arc<[u8]> = text.into();
    let Some(id) = env.sources.add_text(label, Arc::clone(&text)) else {
        env.report(Error::new(format_args!("{label} is too long"), Span::NOWHERE));
        return Vec::new();
    };
    Parser::new(env).directives(&mut Lexer::new(id, &text, true), None)
}

pub(super) struct Parser<'e, 'w> {
    pub(super) env: &'e mut Env<'w>,
    /// The files being read, outermost first.
    pub(super) reading: Vec<PathBuf>,
    depth: usize,
    pub(super) opened: usize,
    /// Files include themselves: no more of them are opened.
    pub(super) recursive: bool,
}

/// The words of a statement up to here.
#[derive(Default)]
struct Statement {
    words: Vec<Word>,
    /// Part of it was not understood: it has to be read to its end and left out.
    broken: bool,
}

impl Statement {
    /// The directive these words make with what ended them; `None` if they are not to be used.
    fn take(&mut self, end: Span, block: Option<Vec<Directive>>) -> Option<Directive> {
        let Statement { words, broken } = std::mem::take(self);
        let mut words = words.into_iter();
        let name = words.next().filter(|_| !broken)?;
        let span = name.span.to(end);
        Some(Directive { name, args: words.collect(), block, span })
    }

    fn is_empty(&self) -> bool {
        self.words.is_empty() && !self.broken
    }
}

impl<'e, 'w> Parser<'e, 'w> {
    fn new(env: &'e mut Env<'w>) -> Self {
        Parser { env, reading: Vec::new(), depth: 0, opened: 0, recursive: false }
    }

    /// Directives up to the `}` that closes the block `opener` opened, or to the end of the text.
    pub(super) fn directives(
        &mut self,
        lexer: &mut Lexer,
        opener: Option<&Word>,
    ) -> Vec<Directive> {
        let mut list = Vec::new();
        let mut statement = Statement::default();
        loop {
            match lexer.next() {
                Err(error) => {
                    self.fault(lexer, error);
                    statement.broken = true;
                }
                Ok(Token::Word(word)) => statement.words.push(word),
                Ok(Token::Semicolon(span)) => {
                    self.semicolon(lexer, &mut statement, span, &mut list);
                }
                Ok(Token::Open(span)) => self.open(lexer, &mut statement, span, &mut list),
                Ok(Token::Close(span)) => {
                    if self.close(lexer, &mut statement, span, opener.is_some(), &mut list) {
                        return list;
                    }
                }
                Ok(Token::End) => {
                    self.end(lexer, &statement, opener);
                    return list;
                }
                Ok(Token::Stopped) => return list,
            }
        }
    }

    fn semicolon(
        &mut self,
        lexer: &mut Lexer,
        statement: &mut Statement,
        span: Span,
        list: &mut Vec<Directive>,
    ) {
        if statement.is_empty() {
            self.fault(lexer, Error::new("unexpected \";\"", span));
            return;
        }
        let Some(directive) = statement.take(span, None) else {
            return;
        };
        self.add(directive, list);
    }

    fn open(
        &mut self,
        lexer: &mut Lexer,
        statement: &mut Statement,
        span: Span,
        list: &mut Vec<Directive>,
    ) {
        if lexer.command_line {
            lexer.stop();
            return self
                .fault(lexer, Error::new("block directives are not supported in -g option", span));
        }
        if self.depth == MAX_DEPTH {
            lexer.stop();
            let message = format!("blocks are nested deeper than {MAX_DEPTH}");
            return self.fault(lexer, Error::new(message, span));
        }
        if statement.is_empty() {
            let error =
                Error::new("unexpected \"{\"", span).with_help("a block needs a name before it");
            self.fault(lexer, error);
            statement.broken = true;
        }
        let nameless = Word { text: b"{".to_vec(), span, quoted: false };
        let opener = statement.words.first().cloned().unwrap_or(nameless);
        self.depth += 1;
        let block = self.directives(lexer, Some(&opener));
        self.depth -= 1;
        if let Some(directive) = statement.take(lexer.last(), Some(block)) {
            self.add(directive, list);
        }
    }

    /// Whether this `}` closes the block.
    fn close(
        &mut self,
        lexer: &mut Lexer,
        statement: &mut Statement,
        span: Span,
        in_block: bool,
        list: &mut Vec<Directive>,
    ) -> bool {
        if !statement.is_empty() || !in_block {
            let error = Error::new("unexpected \"}\"", span);
            let help = match statement.words.last() {
                Some(last) => format!("is a \";\" missing after \"{}\"?", last.lossy()),
                None => "there is no block open in this file".to_owned(),
            };
            if !statement.broken {
                self.fault(lexer, error.with_help(help));
            }
        }
        if let Some(directive) = statement.take(span, None) {
            self.add(directive, list);
        }
        in_block
    }

    fn end(&mut self, lexer: &mut Lexer, statement: &Statement, opener: Option<&Word>) {
        lexer.stop();
        let unfinished = statement.words.first();
        let (error, what, word) = match (unfinished, opener) {
            (Some(word), _) => (lexer.end_of_text(), "has no \";\" or \"{\"", word),
            (None, Some(word)) => {
                let error = Error::new("unexpected end of file, expecting \"}\"", lexer.end());
                (error, "is never closed", word)
            }
            (None, None) => return,
        };
        let line = lexer.line(word.span.start as usize);
        let help = format!("\"{}\" in line {line} {what}", word.lossy());
        self.fault(lexer, error.with_help(help));
    }

    fn fault(&mut self, lexer: &mut Lexer, error: Error) {
        self.env.report(error);
        lexer.faults += 1;
        if lexer.faults > MAX_FAULTS {
            lexer.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bundle, FileId};
    use super::*;
    use proptest::prelude::*;

    /// A tree as text that parses to the same tree.
    fn print(list: &[Directive], out: &mut Vec<u8>) {
        for directive in list {
            for word in std::iter::once(&directive.name).chain(&directive.args) {
                out.push(b'"');
                for &c in &word.text {
                    out.extend(Some(b'\\').filter(|_| matches!(c, b'"' | b'\\')));
                    out.push(c);
                }
                out.extend(b"\" ");
            }
            match &directive.block {
                None => out.push(b';'),
                Some(block) => {
                    out.push(b'{');
                    print(block, out);
                    out.push(b'}');
                }
            }
        }
    }

    fn printed(list: &[Directive]) -> Vec<u8> {
        let mut out = Vec::new();
        print(list, &mut out);
        out
    }

    /// The tree in short, and the errors with their lines.
    fn parsed(mut world: Bundle) -> (String, Vec<String>) {
        let mut env = Env::new(&mut world, Path::new("/p"), Path::new("/c"));
        let tree = parse(&mut env, Path::new("/c/main"));
        let errors =
            env.errors.iter().map(|error| super::super::diagnostics::one_line(&env.sources, error));
        (String::from_utf8_lossy(&printed(&tree)).replace(['"', ' '], ""), errors.collect())
    }

    fn one(text: &str) -> (String, Vec<String>) {
        parsed(Bundle::of(&[("/c/main", text)]))
    }

    #[test]
    fn a_distributions_configuration() {
        let main = "user www-data;\nworker_processes auto;\npid /run/nginx.pid;\n\
            include /etc/nginx/modules-enabled/*.conf;\n\nevents {\n\tworker_connections 768;\n\t# multi_accept on;\n}\n\
            \nhttp {\n\n\t##\n\t# Basic Settings\n\t##\n\n\tsendfile on;\n\ttypes_hash_max_size 2048;\n\
            \tinclude /etc/nginx/mime.types;\n\tdefault_type application/octet-stream;\n\n\
            \tssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3; # Dropping SSLv3, ref: POODLE\n\
            \tinclude sites-enabled/*;\n}\n\n#mail {\n#\t# pop3_capabilities \"TOP\" \"USER\";\n#}\n";
        let types = "\ntypes {\n    text/html                             html htm shtml;\n    text/css  css;\n}\n";
        let site = "server {\n\tlisten 80 default_server;\n\tlisten [::]:80 default_server;\n\tserver_name _;\n\
            \tlocation / {\n\t\ttry_files $uri $uri/ =404;\n\t}\n\tlocation ~ \\.php$ {\n\t\tdeny all;\n\t}\n}\n";
        let mut world = Bundle::of(&[
            ("/etc/nginx/nginx.conf", main),
            ("/etc/nginx/mime.types", types),
            ("/etc/nginx/sites-enabled/default", site),
        ])
        .with_glob("/etc/nginx/modules-enabled/*.conf", &[])
        .with_glob("/etc/nginx/sites-enabled/*", &["/etc/nginx/sites-enabled/default"]);
        let mut env = Env::new(&mut world, Path::new("/usr/share/nginx"), Path::new("/etc/nginx"));
        let tree = parse(&mut env, Path::new("/etc/nginx/nginx.conf"));
        assert!(env.errors.is_empty(), "{:?}", env.errors);
        let names =
            |list: &[Directive]| list.iter().map(|d| d.name_str().into_owned()).collect::<Vec<_>>();
        assert_eq!(names(&tree), ["user", "worker_processes", "pid", "events", "http"]);
        let http = tree[4].block.as_ref().unwrap();
        let expected =
            ["sendfile", "types_hash_max_size", "types", "default_type", "ssl_protocols", "server"];
        assert_eq!(names(http), expected);
        assert_eq!(names(http[2].block.as_ref().unwrap()), ["text/html", "text/css"]);
        let php = &http[5].block.as_ref().unwrap()[4];
        assert_eq!(php.arg(1).text, br"\.php$");
        assert_eq!(env.sources.place(php.span), "/etc/nginx/sites-enabled/default:8");
        let span = php.span.start as usize..php.span.end as usize;
        assert_eq!(&site[span], "location ~ \\.php$ {\n\t\tdeny all;\n\t}");
        let dumped: Vec<_> = env.sources.files().collect();
        assert_eq!(dumped.len(), 3);
        assert_eq!(dumped[1], (Path::new("/etc/nginx/mime.types"), types.as_bytes()));
    }

    #[test]
    fn any_word_may_be_a_name() {
        let (tree, errors) = one(
            "map $a $b { default 0; \"~^x{2}\" 1; 'q w' 2; $c 3; ${d} 4; 10.0.0.0/8 5; '' 6; }",
        );
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(tree, "map$a$b{default0;~^x{2}1;qw2;$c3;${d}4;10.0.0.0/85;6;}");
    }

    #[test]
    fn errors_are_found_all_and_the_rest_is_read() {
        for (text, tree, expected) in [
            ("a;; b;", "a;b;", &["unexpected \";\" in /c/main:1"][..]),
            ("a;\n} b;", "a;b;", &["unexpected \"}\" in /c/main:2"]),
            ("s { listen 80\n} b;", "s{listen80;}b;", &["unexpected \"}\" in /c/main:2"]),
            ("{ x; } b;", "b;", &["unexpected \"{\" in /c/main:1"]),
            (
                "a 'b'c; d\n'e'f { g; ; } h;",
                "h;",
                &[
                    "unexpected \"c\" in /c/main:1",
                    "unexpected \"f\" in /c/main:2",
                    "unexpected \";\" in /c/main:2",
                ],
            ),
            ("s { 'a'}\nb;", "s{}b;", &["unexpected \"}\" in /c/main:1"]),
            (
                "a { b {\nc;\n}\n",
                "a{b{c;}}",
                &["unexpected end of file, expecting \"}\" in /c/main:4"],
            ),
            ("a { b\n", "a{}", &["unexpected end of file, expecting \";\" or \"}\" in /c/main:2"]),
            (
                "a { b 'c;\n}",
                "a{}",
                &["unexpected end of file, expecting \";\" or \"}\" in /c/main:2"],
            ),
            (
                "include;",
                "",
                &["invalid number of arguments in \"include\" directive in /c/main:1"],
            ),
            (
                "include a {}",
                "",
                &["directive \"include\" is not terminated by \";\" in /c/main:1"],
            ),
        ] {
            assert_eq!(
                one(text),
                (tree.to_owned(), expected.iter().map(ToString::to_string).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn nested_and_hopeless_texts_end() {
        let (_, errors) = one(&"a{".repeat(100_000));
        assert_eq!(errors, ["blocks are nested deeper than 128 in /c/main:1"]);
        let (_, errors) = one(&";".repeat(100_000));
        assert_eq!(errors.len(), MAX_FAULTS + 1);
    }

    #[test]
    fn includes_are_whole_files_in_their_place() {
        let files = [
            ("/c/main", "a; s { include d/*; b; }\ninclude /x/y;"),
            ("/c/d/1", "one;"),
            ("/x/y", "}"),
        ];
        let (tree, errors) = parsed(Bundle::of(&files).with_glob("/c/d/*", &["/c/d/1", "/c/d/2"]));
        assert_eq!(tree, "a;s{one;b;}");
        assert!(errors[0].starts_with("open() \"/c/d/2\" failed ("), "{errors:?}");
        assert!(errors[0].ends_with(" in /c/main:1"), "{errors:?}");
        assert_eq!(errors[1..], ["unexpected \"}\" in /x/y:1"]);
    }

    #[test]
    fn a_missing_file_is_told_as_nginx_does() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("main");
        std::fs::write(&main, "include none;\ninclude none*;\ninclude .;").unwrap();
        let mut world = super::super::Disk;
        let mut env = Env::new(&mut world, dir.path(), dir.path());
        parse(&mut env, &main);
        let messages: Vec<_> = env.errors.iter().map(|error| error.message.clone()).collect();
        let dir = dir.path().display();
        let missing = format!("open() \"{dir}/none\" failed (2: No such file or directory)");
        assert_eq!(messages, [missing, format!("pread() \"{dir}/.\" failed (21: Is a directory)")]);
    }

    #[test]
    fn recursion_is_told_once() {
        let world = Bundle::of(&[("/c/main", "a;\ninclude *;\nb;"), ("/c/x", "include *;")]);
        let (tree, errors) = parsed(world.with_glob("/c/*", &["/c/main", "/c/x"]));
        assert_eq!((tree.as_str(), errors.len()), ("a;b;", 1));
        assert_eq!(errors, ["file \"/c/main\" includes itself in /c/main:2"]);
    }

    #[test]
    fn directives_of_the_command_line() {
        for (text, count, error) in [
            ("daemon off; error_log 'a b' debug;", 2, None),
            ("daemon off", 0, Some("unexpected end of parameter, expecting \";\"")),
            ("events { x; }", 0, Some("block directives are not supported in -g option")),
            (&*format!("a {};", "x".repeat(9000)), 1, None),
        ] {
            let mut world = Bundle::of(&[]);
            let mut env = Env::new(&mut world, Path::new("/p"), Path::new("/c"));
            assert_eq!(
                parse_text(&mut env, "command line", text.as_bytes()).len(),
                count,
                "{text}"
            );
            assert_eq!(env.errors.first().map(|error| &*error.message), error);
            assert!(env.sources.position(Span { file: FileId(0), start: 0, end: 0 }).is_none());
        }
    }

    /// What can be made of bytes, without errors: the tree.
    fn tree(text: &[u8]) -> (Vec<Directive>, usize) {
        let mut world = Bundle::of(&[]);
        let mut env = Env::new(&mut world, Path::new("/p"), Path::new("/c"));
        let id = env.sources.add(Path::new("/c/main"), text.into(), None).unwrap();
        let list = Parser::new(&mut env).directives(&mut Lexer::new(id, text, false), None);
        super::super::render(&env);
        (list, env.errors.len())
    }

    proptest! {
        #[test]
        fn never_panics(text: Vec<u8>) {
            tree(&text);
        }

        #[test]
        fn a_printed_tree_is_the_same_tree(
            text in "([ab$\\\\#é]|[ab]|[ \n]|;|\\{|\\}|\"|'|a \"b c\"; |x \\{ y; \\}|\\\\[tn\"]|\\$\\{a\\}){0,60}",
        ) {
            let (first, _) = tree(text.as_bytes());
            let (second, errors) = tree(&printed(&first));
            prop_assert_eq!(errors, 0);
            prop_assert_eq!(printed(&first), printed(&second));
        }
    }
}
