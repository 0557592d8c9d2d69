//! Whole configurations: what nginx says about the main context, and what it comes to.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::log::Level;

/// Files by name; nothing else exists.
struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl World for Files {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        Ok(vec![pattern.into()])
    }

    fn resolve(&mut self, _: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

const ROOT: Machine = Machine {
    cpus: 4,
    superuser: true,
    user: |name| matches!(name, "www" | "nobody").then_some((33, 34)),
    group: |name| matches!(name, "www" | "adm").then_some(35),
};
const PLAIN: Machine = Machine { superuser: false, ..ROOT };

fn options(globals: Option<&str>) -> Options {
    Options {
        prefix: "/p".into(),
        conf_file: "/p/c".into(),
        globals: globals.map(|text| text.as_bytes().to_vec()),
        error_log: None,
        control: None,
    }
}

fn world(text: &str) -> Files {
    Files(BTreeMap::from([("/p/c".into(), text.as_bytes().to_vec())]))
}

fn loaded(text: &str, machine: Machine) -> Result<Loaded, Vec<String>> {
    let result = load(&mut world(text), &options(None), machine);
    result.map_err(|report| report.lines.into_iter().map(|line| line.text).collect())
}

/// The process configuration of these directives, with `events {}`.
fn process(text: &str) -> Process {
    loaded(&format!("{text} events {{}}"), PLAIN)
        .map_err(|errors| errors.join("\n"))
        .unwrap()
        .process
}

/// What is said about these directives, with `events {}`; all of it stands in line 1.
fn complaint(text: &str) -> String {
    let found = loaded(&format!("{text} events {{}}"), ROOT);
    let lines = found
        .map_or_else(|lines| lines, |ok| ok.report.lines.into_iter().map(|l| l.text).collect());
    let mine = lines.iter().find(|line| !line.contains("no \"user\" directive"));
    mine.map(|line| line.trim_end_matches(" in /p/c:1").to_owned()).unwrap_or_default()
}

#[test]
fn defaults_are_nginxs() {
    let process = process("");
    assert_eq!((process.workers, process.worker_connections), (1, 512));
    assert!(process.daemon && process.master_process);
    assert_eq!(process.pid, Path::new(DEFAULT_PID));
    assert_eq!(process.control, Path::new("/run/proxyd.pid.ctl"));
    assert_eq!(process.error_log, [LogTarget { file: None, level: Level::Error }]);
    assert_eq!((process.user, process.shutdown_timeout), (None, None));
}

#[test]
fn upgrades_have_their_times() {
    let seconds = Duration::from_secs;
    let times = |text: &str| {
        let Process {
            upgrade_watch, upgrade_timeout, upgrade_rollback_window, max_draining, ..
        } = process(text);
        (upgrade_watch, upgrade_timeout, upgrade_rollback_window, max_draining)
    };
    assert_eq!(times(""), (seconds(10), seconds(30), seconds(60), 8));
    let written = "upgrade_watch 0; upgrade_timeout 1500ms; upgrade_rollback_window 1m;
                   max_draining_generations 1;";
    assert_eq!(times(written), (seconds(0), Duration::from_millis(1500), seconds(60), 1));
    let no_rollback = times("upgrade_watch 2m; upgrade_rollback_window 0;");
    assert_eq!(no_rollback, (seconds(120), seconds(30), seconds(0), 8));
}

#[test]
fn what_is_written_arrives() {
    let process = process(
        "worker_processes auto; worker_rlimit_nofile 100; worker_rlimit_core 2k; daemon off;
         master_process off; worker_shutdown_timeout 1500ms; worker_priority -5; pid run/x;
         working_directory /tmp; env A; env B=1; error_log a info; error_log stderr;
         worker_cpu_affinity 01 110;",
    );
    assert_eq!(
        (process.workers, process.rlimit_nofile, process.rlimit_core),
        (4, Some(100), Some(2048))
    );
    assert!(!process.daemon && !process.master_process);
    assert_eq!(process.shutdown_timeout, Some(Duration::from_millis(1500)));
    assert_eq!((process.priority, process.pid.as_path()), (-5, Path::new("/p/run/x")));
    assert_eq!(process.control, Path::new("/p/run/x.ctl"));
    assert_eq!(process.environment, ["A", "B=1"]);
    let file = LogTarget { file: Some("/p/a".into()), level: Level::Info };
    assert_eq!(process.error_log, [file, LogTarget { file: None, level: Level::Error }]);
    assert_eq!(process.affinity, Affinity::Masks(vec![vec![0], vec![1, 2]]));
}

#[test]
fn control_socket_names() {
    assert_eq!(process("control run/c;").control, Path::new("/p/run/c"));
    assert_eq!(process("control unix:/c;").control, Path::new("/c"));
    let long = format!("control /{};", "x".repeat(107));
    assert!(complaint(&long).starts_with("too long path in the unix domain socket"));
}

#[test]
fn the_user_is_looked_up_where_it_can_be_changed() {
    let user = |text: &str| loaded(text, ROOT).unwrap().process.user;
    let www = |gid| Some(User { name: "www".into(), uid: 33, gid });
    assert_eq!(user("user www; events {}"), www(35));
    assert_eq!(user("user www adm; events {}"), www(35));
    let nobody = Some(User { name: "nobody".into(), uid: 33, gid: 34 });
    assert_eq!(user("events {}"), nobody);
    assert_eq!(process("user whoever;").user, None);
    assert_eq!(complaint("user who;"), "getpwnam(\"who\") failed");
    assert_eq!(loaded("user who; events {}", ROOT).err().unwrap().len(), 1);
    assert_eq!(complaint("user www what;"), "getgrnam(\"what\") failed");
}

#[test]
fn sentences_are_nginxs() {
    for (text, sentence) in [
        ("worker_priority x;", "\"worker_priority\" directive invalid number"),
        ("worker_processes 0x;", "\"worker_processes\" directive invalid value"),
        ("worker_cpu_affinity 02;", "invalid character \"2\" in \"worker_cpu_affinity\""),
        (
            "worker_cpu_affinity auto 1 1;",
            "invalid number of arguments in \"worker_cpu_affinity\" directive",
        ),
        ("error_log x foo;", "invalid log level \"foo\""),
        ("worker_rlimit_core x;", "\"worker_rlimit_core\" directive invalid value"),
        ("worker_rlimit_nofile x;", "\"worker_rlimit_nofile\" directive invalid number"),
        ("pid a; pid b;", "\"pid\" directive is duplicate"),
        (
            "daemon maybe;",
            "invalid value \"maybe\" in \"daemon\" directive, it must be \"on\" or \"off\"",
        ),
        ("events {}", "\"events\" directive is duplicate"),
        ("http {} http {}", "\"http\" directive is duplicate"),
        ("worker_shutdown_timeout z;", "\"worker_shutdown_timeout\" directive invalid value"),
        ("upgrade_watch 1x;", "\"upgrade_watch\" directive invalid value"),
        ("upgrade_watch 1; upgrade_watch 1;", "\"upgrade_watch\" directive is duplicate"),
        ("upgrade_watch 1 2;", "invalid number of arguments in \"upgrade_watch\" directive"),
        ("upgrade_timeout 0;", "\"upgrade_timeout\" directive invalid value"),
        ("upgrade_timeout 1; upgrade_timeout 2;", "\"upgrade_timeout\" directive is duplicate"),
        ("upgrade_rollback_window -1;", "\"upgrade_rollback_window\" directive invalid value"),
        ("max_draining_generations 0;", "\"max_draining_generations\" directive invalid value"),
        ("max_draining_generations x;", "\"max_draining_generations\" directive invalid number"),
        (
            "max_draining_generations 1; max_draining_generations 1;",
            "\"max_draining_generations\" directive is duplicate",
        ),
        ("server {}", "\"server\" directive is not allowed here"),
        ("worker_connections 3;", "\"worker_connections\" directive is not allowed here"),
        (
            "worker_cpu_affinity 01 10; worker_processes 3;",
            "the number of \"worker_processes\" is not equal to the number of \
             \"worker_cpu_affinity\" masks, using last mask for remaining worker processes",
        ),
        (
            "stream {}",
            "\"stream\" directive is not supported yet: servers for TCP and UDP are not built yet",
        ),
        ("bogus;", "unknown directive \"bogus\""),
    ] {
        assert_eq!(complaint(text), sentence, "{text}");
    }
}

#[test]
fn events_have_their_own() {
    let found = |inside: &str| loaded(&format!("user www; events {{ {inside} }}"), ROOT);
    assert_eq!(found("worker_connections 7;").unwrap().process.worker_connections, 7);
    let first = |inside| found(inside).err().unwrap().remove(0);
    assert_eq!(first("worker_connections x;"), "invalid number \"x\" in /p/c:1");
    assert_eq!(first("use foo;"), "invalid event type \"foo\" in /p/c:1");
    assert_eq!(first("use epoll; use poll;"), "\"use\" directive is duplicate in /p/c:1");
    let no_effect = found("use epoll; multi_accept on;").unwrap().no_effect;
    assert_eq!(
        no_effect.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["multi_accept", "use"]
    );
}

#[test]
fn a_configuration_needs_events() {
    assert_eq!(
        loaded("user www;", ROOT).err().unwrap(),
        ["no \"events\" section in configuration"]
    );
}

#[test]
fn modules_of_nginx_are_not_an_obstacle() {
    let text = "load_module modules/ngx_http_geoip_module.so; user www; events {}";
    assert_eq!(loaded(text, ROOT).unwrap().no_effect[0].0, "load_module");
    assert!(complaint("load_module x.so;").starts_with("dlopen() \"/p/x.so\" failed"));
}

#[test]
fn the_command_line_comes_first() {
    let mut world = world("daemon on; events {}");
    let error = load(&mut world, &options(Some("daemon off;")), PLAIN).err().unwrap();
    assert_eq!(error.lines[0].text, "\"daemon\" directive is duplicate in /p/c:1");
    let error = load(&mut world, &options(Some("foo")), PLAIN).err().unwrap();
    assert!(error.lines[0].text.ends_with("in command line"), "{}", error.lines[0].text);
}

#[test]
fn a_server_whose_configuration_broke_is_still_found() {
    let find = |text: &str| places(&mut world(text), &options(None));
    let found = Ok(("/p/x".into(), "/p/x.ctl".into()));
    assert_eq!(find("user who; pid x; bogus;"), found);
    assert_eq!(find("pid x; http {"), found);
    assert!(find("http {").is_err());
    let default = (DEFAULT_PID.into(), format!("{DEFAULT_PID}.ctl").into());
    assert_eq!(find("bogus;"), Ok(default));
}

#[test]
fn rows_are_in_order() {
    let mut names: Vec<_> = table().rows().map(|row| row.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    for row in table().rows() {
        assert!(row.doc.ends_with('.') && row.doc.len() < 130, "{}", row.name);
    }
}
