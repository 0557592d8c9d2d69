//! `-t`: what is wrong, in nginx's sentences, where, and with which exit code.

use crate::support::{Directory, Setup, is_reference, program_name};

/// The inside of `http`, and the sentence with the line it is about. The first
/// line of the text is line 4 of the file.
const HTTP: [(&str, &str, u32); 34] = [
    ("nonsense on;", "unknown directive \"nonsense\"", 4),
    ("server {\n  prox_pass http://a;\n}", "unknown directive \"prox_pass\"", 5),
    ("proxy_pass http://a;", "\"proxy_pass\" directive is not allowed here", 4),
    ("listen 80;", "\"listen\" directive is not allowed here", 4),
    ("server { location / { server { } } }", "\"server\" directive is not allowed here", 4),
    ("server_tokens;", "invalid number of arguments in \"server_tokens\" directive", 4),
    (
        "keepalive_timeout 1 2 3;",
        "invalid number of arguments in \"keepalive_timeout\" directive",
        4,
    ),
    ("server { listen; }", "invalid number of arguments in \"listen\" directive", 4),
    (
        "etag maybe;",
        "invalid value \"maybe\" in \"etag\" directive, it must be \"on\" or \"off\"",
        4,
    ),
    ("client_max_body_size lots;", "\"client_max_body_size\" directive invalid value", 4),
    ("client_header_timeout soon;", "\"client_header_timeout\" directive invalid value", 4),
    ("keepalive_requests many;", "invalid number", 4),
    ("etag on;\netag off;", "\"etag\" directive is duplicate", 5),
    ("server", "unexpected \"}\"", 5),
    ("server;", "directive \"server\" has no opening \"{\"", 4),
    ("etag on { }", "directive \"etag\" is not terminated by \";\"", 4),
    ("etag on\n", "unexpected \"}\"", 6),
    ("server {\n", "unexpected end of file, expecting \"}\"", 7),
    ("}\n}", "unexpected \"}\"", 5),
    (";", "unexpected \";\"", 4),
    ("{ }", "unexpected \"{\"", 4),
    ("add_header A \"open;\n", "unexpected end of file, expecting \";\" or \"}\"", 7),
    ("add_header A \"b\"c;", "unexpected \"c\"", 4),
    ("server { listen 99999; }", "invalid port in \"99999\" of the \"listen\" directive", 4),
    (
        "server { listen 1.2.3.4:x; }",
        "invalid port in \"1.2.3.4:x\" of the \"listen\" directive",
        4,
    ),
    ("server { listen 127.0.0.1:1 odd; }", "invalid parameter \"odd\"", 4),
    ("server { server_name ~(; }", "\"(\"", 4),
    ("server { location ~ \"(\" { } }", "\"(\"", 4),
    ("server { location /a { }\nlocation /a { } }", "duplicate location \"/a\"", 5),
    ("server { location /a { location /b { } } }", "location \"/b\" is outside location \"/a\"", 4),
    ("server { return 200 $nothing; }", "unknown \"nothing\" variable", 0),
    ("access_log a.log nowhere;", "unknown log format \"nowhere\"", 4),
    ("error_log a.log loud;", "invalid log level \"loud\"", 4),
    ("upstream u { }", "no servers are inside upstream", 4),
];

fn place(line: u32) -> String {
    // A mistake found when everything is read has no line in nginx.
    if line == 0 { String::new() } else { format!(" in DIR/nginx.conf:{line}") }
}

/// Runs `-t` on the inside of `http` and checks all it does.
fn refused(setup: Setup, sentence: &str, line: u32) -> Result<(), String> {
    let outcome = setup.check();
    let messages = &outcome.messages;
    let name = program_name();
    let said = messages.lines().any(|text| {
        text.starts_with(&format!("{name}: [emerg] "))
            && text.contains(sentence)
            && text.contains(&place(line))
    });
    let failed = format!("{name}: configuration file DIR/nginx.conf test failed\n");
    let problems = [
        (!said, "the sentence or its place is missing"),
        (!messages.ends_with(&failed), "the last line is missing"),
        (outcome.code != Some(1), "the exit code is wrong"),
        (has_pid_file(&outcome.directory), "there is a pid file"),
    ];
    let found: Vec<_> =
        problems.iter().filter(|problem| problem.0).map(|problem| problem.1).collect();
    if found.is_empty() {
        return Ok(());
    }
    Err(format!("{}: expected {sentence}{}, got\n{messages}", found.join(", "), place(line)))
}

/// Whether the run left a pid file. nginx makes an empty one even for `-t`.
fn has_pid_file(directory: &Directory) -> bool {
    let pid_file = directory.path().join("server.pid");
    if is_reference() { !directory.read("server.pid").is_empty() } else { pid_file.exists() }
}

#[test]
fn the_pid_file_of_a_running_server_is_left_alone() {
    for inside in ["server { listen %%listen%%; }", "nonsense;"] {
        let outcome = Setup::http(inside).file("server.pid", "12345\n").check();
        assert_eq!(outcome.directory.read("server.pid"), "12345\n", "{inside}");
    }
}

#[test]
fn mistakes_in_http() {
    let wrong: Vec<_> = HTTP
        .iter()
        .filter_map(|(inside, sentence, line)| {
            let problem = refused(Setup::http(inside), sentence, *line).err()?;
            Some(format!("== {inside}\n{problem}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn mistakes_outside_http() {
    let rows = [
        ("http { }", "no \"events\" section in configuration", 0),
        ("events { }\nevents { }", "\"events\" directive is duplicate", 2),
        ("events { }\nhttp { }\nhttp { }", "\"http\" directive is duplicate", 3),
        ("events { worker_connections x; }", "invalid number \"x\"", 1),
        ("events { }\nworker_processes some;", "\"worker_processes\" directive invalid value", 2),
        ("events { }\nuser nobody-of-that-name;", "\"user\" directive is duplicate", 2),
        (
            "events { }\ninclude missing.conf;",
            "open() \"DIR/missing.conf\" failed (2: No such file or directory)",
            2,
        ),
        ("events { }\ndaemon off;", "\"daemon\" directive is duplicate", 2),
    ];
    for (text, sentence, line) in rows {
        if sentence.contains("user") && !nix::unistd::geteuid().is_root() {
            continue;
        }
        if let Err(problem) = refused(Setup::main(text), sentence, line) {
            panic!("== {text}\n{problem}");
        }
    }
}

#[test]
fn a_mistake_in_an_included_file_is_placed_there() {
    let setup = Setup::http("include inner/*.conf;")
        .file("inner/a.conf", "etag on;\n")
        .file("inner/b.conf", "etag off;\n\nnonsense;\n");
    let outcome = setup.check();
    assert_eq!(outcome.code, Some(1));
    let place = "\"etag\" directive is duplicate in DIR/inner/b.conf:1";
    assert!(outcome.messages.contains(place), "{}", outcome.messages);
}

#[test]
fn a_good_configuration_passes_and_touches_nothing() {
    let outcome = Setup::http("server { listen %%listen%%; }").check();
    let name = program_name();
    let expected = format!(
        "{name}: the configuration file DIR/nginx.conf syntax is ok\n\
         {name}: configuration file DIR/nginx.conf test is successful\n"
    );
    // Ours lists what has no effect before.
    assert!(outcome.messages.ends_with(&expected), "{}", outcome.messages);
    assert_eq!(outcome.code, Some(0));
    assert!(!has_pid_file(&outcome.directory));
}

#[test]
fn quiet_says_only_what_is_wrong() {
    let outcome = Setup::http("server { listen %%listen%%; }").run(&["-t", "-q"]);
    assert_eq!((outcome.code, outcome.messages.as_str()), (Some(0), ""));
    let outcome = Setup::http("nonsense;").run(&["-t", "-q"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.messages.contains("unknown directive \"nonsense\""));
}

#[test]
fn a_mistake_stops_the_start() {
    let outcome = Setup::http("nonsense;").run(&[]);
    assert_eq!(outcome.code, Some(1));
    let expected = format!("{}: [emerg] unknown directive \"nonsense\"", program_name());
    assert!(outcome.messages.contains(&expected), "{}", outcome.messages);
    assert!(!has_pid_file(&outcome.directory));
    assert!(outcome.directory.read("error.log").contains("[emerg]"));
}

#[test]
fn a_port_in_use_passes_the_test_and_stops_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let inside = format!("server {{ listen {address}; }}");
    let outcome = Setup::http(&inside).check();
    assert_eq!(outcome.code, Some(0), "{}", outcome.messages);
    let outcome = Setup::http(&inside).run(&[]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.messages);
    let expected = format!("[emerg] bind() to {address} failed (98: Address already in use)");
    assert!(outcome.messages.contains(&expected), "{}", outcome.messages);
    assert!(!has_pid_file(&outcome.directory));
}

#[test]
fn warnings_do_not_fail_the_test() {
    let outcome = Setup::http(
        "server { listen %%listen%%; server_name a; }\nserver { listen %%listen%%; server_name a; }",
    )
    .check();
    assert_eq!(outcome.code, Some(0), "{}", outcome.messages);
    let expected = format!("{}: [warn] conflicting server name \"a\" on ", program_name());
    assert!(outcome.messages.contains(&expected), "{}", outcome.messages);
    assert!(outcome.messages.contains(", ignored"), "{}", outcome.messages);
}

#[test]
fn globals_on_the_command_line() {
    let outcome = Setup::http("server { listen %%listen%%; }").run(&["-t", "-g", "nonsense on;"]);
    assert_eq!(outcome.code, Some(1));
    let expected = "unknown directive \"nonsense\" in command line";
    assert!(outcome.messages.contains(expected), "{}", outcome.messages);
    let outcome =
        Setup::http("server { listen %%listen%%; }").run(&["-t", "-g", "timer_resolution 100ms;"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.messages);
}

#[test]
fn a_missing_configuration_file() {
    let outcome = Setup::main("events { }").run(&["-t", "-c", "elsewhere.conf"]);
    assert_eq!(outcome.code, Some(1));
    let expected = "open() \"DIR/elsewhere.conf\" failed (2: No such file or directory)";
    assert!(outcome.messages.contains(expected), "{}", outcome.messages);
}

#[test]
fn a_bad_option() {
    let outcome = Setup::main("events { }").run(&["-x"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.messages.contains("invalid option: \"x\""), "{}", outcome.messages);
}
