//! `-s upgrade`, `-s rollback` and `-s status`: what they do, say and return.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::{
    answering, configured, done, failed, rollback, second, serving, signal, status, telling,
    telling_text, upgrade, watching,
};
use crate::support::{binary, is_reference, system, version};

/// The lines that must be there, in this order; others may be between them.
fn in_order(text: &str, parts: &[&str]) {
    let mut lines = text.lines();
    for part in parts {
        assert!(lines.any(|line| line.contains(part)), "no {part:?} in its place in:\n{text}");
    }
}

#[test]
fn the_program_that_asks_takes_over() {
    if is_reference() {
        return;
    }
    let daemon = telling(2).start_daemon();
    let old = daemon.master();
    let said = upgrade(&daemon, &second(), &["--wait"]);
    done(&said);
    let (new, from) = (daemon.master(), "proxyd: upgrade 0.1.0 -> 0.1.1:");
    let ready = format!("{from} new master {new}, 2 workers ready in ");
    let committed = format!("{from} committed; 0.1.0 draining ");
    let gone = format!("{from} done; 0.1.0 has gone");
    in_order(&said.out, &[&format!("{from} configuration ok"), &ready, &committed, &gone]);
    in_order(&daemon.error_log(), &[&ready[8..], &committed[8..]]);
    assert_ne!(new, old, "{said:?}");
    system::gone(old);
    assert_eq!(system::executable(new), second().display().to_string());
    assert!(system::workers_of(new, 2).contains(&answering(&daemon)));
    assert!(!daemon.path("server.pid.oldbin").exists());
    daemon.alone(new);
}

#[test]
fn it_returns_while_the_old_version_finishes() {
    if is_reference() {
        return;
    }
    let daemon = telling(1).start_daemon();
    let mut begun = daemon.client();
    begun.send("GET / HTTP/1.1\r\n");
    let (old, worker) = (daemon.master(), answering(&daemon));
    let said = upgrade(&daemon, &second(), &[]);
    done(&said);
    in_order(&said.out, &["committed; 0.1.0 draining 1 connection"]);
    daemon.logged("gracefully shutting down");
    assert_ne!(answering(&daemon), worker);
    assert_eq!(daemon.both_masters().1, old);
    let answer = begun.send("Host: localhost\r\n\r\n").response();
    assert_eq!((answer.text(), answer.header("Connection")), (worker.to_string(), Some("close")));
    system::gone(old);
    daemon.only_master(daemon.master());
}

/// A new version may need another configuration; the way back needs the old one again.
#[test]
fn a_rollback_returns_program_and_configuration() {
    if is_reference() {
        return;
    }
    let mut daemon = telling(1).start_daemon();
    let program = daemon.path("next");
    version::copy(&version::knowing_more(), &program);
    daemon.configure_main(&format!("worker_qriority 0; {}", telling_text(1, "new $pid")));
    done(&upgrade(&daemon, &program, &["--wait"]));
    assert!(daemon.get("/").text().starts_with("new "));
    assert_eq!(status(&daemon)["rollback"], version::FIRST);
    std::fs::remove_file(&program).expect("a program to delete");
    std::fs::remove_file(daemon.path("proxyd")).expect("a link to delete");
    std::fs::write(
        daemon.path("nginx.conf"),
        format!("pid {};", daemon.path("server.pid").display()),
    )
    .expect("a configuration");
    let said = rollback(&daemon, &["--wait"]);
    done(&said);
    in_order(&said.out, &["rollback 0.1.1 -> 0.1.0: ", "committed; 0.1.1 draining "]);
    assert_eq!(system::executable(daemon.master()), binary().display().to_string());
    answering(&daemon);
    // And forward again, to a file that is no more.
    done(&rollback(&daemon, &["--wait"]));
    assert!(daemon.get("/").text().starts_with("new "));
    assert!(system::executable(daemon.master()).ends_with("/next (deleted)"));
}

#[test]
fn upgrades_and_rollbacks_in_a_row() {
    if is_reference() {
        return;
    }
    let daemon = telling(1).start_daemon();
    let third = version::executable(version::THIRD);
    assert_eq!(status(&daemon)["rollback"], Value::Null);
    let mut versions = Vec::new();
    for (program, before) in [(Some(second()), "0.1.0"), (Some(third), "0.1.1"), (None, "0.1.2")] {
        match program {
            Some(program) => done(&upgrade(&daemon, &program, &["--wait"])),
            None => done(&rollback(&daemon, &["--wait"])),
        }
        versions.push(serving(&daemon));
        assert_eq!(status(&daemon)["rollback"], before);
        answering(&daemon);
    }
    assert_eq!(versions, ["0.1.1", "0.1.2", "0.1.1"]);
    // Back from where it was taken back is forward again.
    done(&rollback(&daemon, &["--wait"]));
    assert_eq!(serving(&daemon), "0.1.2");
    daemon.alone(daemon.master());
}

#[test]
fn there_may_be_nothing_to_go_back_to() {
    if is_reference() {
        return;
    }
    let daemon = telling(1).start_daemon();
    let said = rollback(&daemon, &[]);
    let old = daemon.path("proxyd.old").display().to_string();
    let why = format!("no previous generation is held and \"{old}\" does not exist");
    failed(&said, 1, &why);
    // What packages leave behind will do.
    std::os::unix::fs::symlink(second(), &old).expect("a link");
    done(&rollback(&daemon, &["--wait"]));
    assert_eq!(serving(&daemon), version::SECOND);
}

#[test]
fn a_rehearsal_changes_nothing() {
    if is_reference() {
        return;
    }
    let daemon = telling(2).start_daemon();
    let old = daemon.master();
    let workers = system::workers_of(old, 2);
    let before = system::settled(old);
    let said = upgrade(&daemon, &second(), &["--dry-run"]);
    done(&said);
    in_order(&said.out, &["configuration ok", "2 workers ready in "]);
    system::settles(old, &before);
    daemon.alone(old);
    assert_eq!(system::workers_of(old, 2), workers);
    assert_eq!(daemon.master(), old);
    assert!(!daemon.path("server.pid.oldbin").exists());
}

#[test]
fn a_few_workers_may_go_first() {
    if is_reference() {
        return;
    }
    let daemon = watching(3).start_daemon();
    let old = daemon.master();
    let upgrading = daemon.start_change(&second(), &["-s", "upgrade", "--canary", "1", "--wait"]);
    daemon.logged("both accepting, watching for 60 s");
    let (new, _) = daemon.both_masters();
    let first = system::workers_of(new, 1);
    assert_eq!(system::workers_of(old, 3).len(), 3);
    signal(old, Signal::SIGQUIT);
    done(&upgrading.end());
    let all = system::workers_of(new, 3);
    assert!(all.contains(&first[0]) && all.contains(&answering(&daemon)), "{all:?}");
}

#[test]
fn the_watch_ends_with_the_new_version_as_the_server() {
    if is_reference() {
        return;
    }
    let daemon = watching(1).start_daemon();
    let begun = std::time::Instant::now();
    let said = upgrade(&daemon, &second(), &["--watch", "300ms"]);
    let took = begun.elapsed().as_millis();
    done(&said);
    in_order(&said.out, &["both accepting, watching for 0.3 s", "committed; "]);
    assert!((300..3000).contains(&took), "{took} ms");
}

#[test]
fn the_same_program_may_take_over_from_itself() {
    if is_reference() {
        return;
    }
    let daemon = telling(1).start_daemon();
    let old = daemon.master();
    done(&upgrade(&daemon, &binary(), &["--wait"]));
    daemon.logged("the executable is the one that runs already");
    assert_ne!(daemon.master(), old);
    answering(&daemon);
}

#[test]
fn programs_are_told_in_json() {
    if is_reference() {
        return;
    }
    let daemon = telling(1).start_daemon();
    let said = upgrade(&daemon, &second(), &["--json", "--wait"]);
    done(&said);
    let read = |line| serde_json::from_str::<Value>(line).expect("JSON");
    let lines: Vec<Value> = said.out.lines().map(read).collect();
    let states: Vec<&str> = lines.iter().filter_map(|line| line["state"].as_str()).collect();
    assert_eq!(states.first(), Some(&"prepared"), "{said:?}");
    assert_eq!(states.last(), Some(&"done"), "{said:?}");
    let codes: Vec<&Value> = lines.iter().filter(|line| line["code"].is_u64()).collect();
    assert!(codes.len() == 1 && codes[0]["code"] == 0, "{said:?}");
    assert_eq!(codes[0]["state"], "committed");
}

#[test]
fn somebody_in_a_hurry_does_not_wait() {
    if is_reference() {
        return;
    }
    let daemon = watching(1).start_daemon();
    done(&upgrade(&daemon, &second(), &["--detach"]));
    daemon.logged("both accepting, watching for 60 s");
    let (new, old) = daemon.both_masters();
    signal(old, Signal::SIGQUIT);
    daemon.only_master(new);
}

#[test]
fn the_status_tells_of_all_generations() {
    if is_reference() {
        return;
    }
    let daemon = telling(2).start_daemon();
    let first = status(&daemon);
    let old = daemon.master();
    assert_eq!(first["pid"].as_i64(), Some(old.as_raw().into()));
    assert_eq!(first["version"], version::FIRST);
    assert_eq!(first["change"], Value::Null);
    let mut kept = daemon.client();
    kept.send("GET / HTTP/1.1\r\n");
    answering(&daemon);
    done(&upgrade(&daemon, &second(), &[]));
    let now = status(&daemon);
    assert_eq!(now["executable"], second().display().to_string());
    assert_eq!(now["rollback"], version::FIRST);
    let of = |state: &str| {
        let all = now["generations"].as_array().expect("generations").iter();
        all.filter(|one| one["state"] == state).cloned().collect::<Vec<_>>()
    };
    let (serving, draining) = (of("serving"), of("draining"));
    assert!(serving.len() == 1 && draining.len() == 1, "{now}");
    assert_eq!(serving[0]["workers"].as_array().map(Vec::len), Some(2));
    assert_eq!(draining[0]["master"].as_i64(), Some(old.as_raw().into()));
    assert_eq!(draining[0]["version"], version::FIRST);
    assert_eq!(draining[0]["connections"], 1);
    let said = daemon.change(&binary(), &["-s", "status"]);
    done(&said);
    in_order(&said.out, &["proxyd 0.1.1, master process ", "rollback to:   0.1.0", "GENERATION"]);
    assert!(said.out.contains(" draining ") && said.out.contains(" serving "), "{said:?}");
    kept.send("Host: localhost\r\n\r\n").response();
    system::gone(old);
}

/// Workers that a reload has replaced are still of the generation that they were started for.
#[test]
fn the_status_tells_replaced_workers_apart() {
    if is_reference() {
        return;
    }
    let mut daemon = telling(1).start_daemon();
    let mut kept = Vec::new();
    for workers in 2..4 {
        let mut client = daemon.client();
        client.send("GET / HTTP/1.1\r\n");
        answering(&daemon);
        kept.push(client);
        daemon.configure_main(&telling_text(workers, "$pid"));
        assert_eq!(daemon.command(&["-s", "reload"]).0, Some(0));
    }
    let now = status(&daemon);
    let all = now["generations"].as_array().expect("generations").iter();
    let told: Vec<_> = all.map(|one| (&one["generation"], &one["state"])).collect();
    let draining = json!("draining");
    assert_eq!(
        told,
        [(&json!(3), &json!("serving")), (&json!(2), &draining), (&json!(1), &draining)],
        "{now}"
    );
    for mut client in kept {
        client.send("Host: localhost\r\n\r\n").response();
    }
}

#[test]
fn without_a_server_there_is_nothing_to_upgrade() {
    if is_reference() {
        return;
    }
    let daemon = telling(1).start_daemon();
    daemon.stop();
    for words in [["-s", "upgrade"], ["-s", "rollback"], ["-s", "status"]] {
        failed(&daemon.change(&second(), &words), 1, "no running master (");
    }
}

/// The new version's own opinion of the configuration is heard before the server is asked.
#[test]
fn a_configuration_that_is_not_understood_is_no_matter_for_the_server() {
    if is_reference() {
        return;
    }
    let mut daemon = telling(1).start_daemon();
    let (old, before) = (daemon.master(), answering(&daemon));
    daemon.configure_main(&format!("nonsense on;\n{}", telling_text(1, "new $pid")));
    let log = daemon.error_log();
    // A line about its own start apart, as with every `-s`.
    let foreign =
        |text: &str| text.lines().filter(|line| line.contains(&format!(" {old}#"))).count();
    let said = upgrade(&daemon, &second(), &[]);
    failed(&said, 1, "unknown directive \"nonsense\" in ");
    assert!(
        said.errors.contains("nginx.conf:1") && said.errors.contains("test failed"),
        "{said:?}"
    );
    assert_eq!(foreign(&daemon.error_log()), foreign(&log));
    assert_eq!((daemon.master(), answering(&daemon)), (old, before));
    daemon.allow("unknown directive \"nonsense\"");
}

/// The control socket is for whoever the master runs as.
#[test]
fn nobody_else_may_upgrade() {
    let readable = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups"])
        .arg(second())
        .arg("-v")
        .output();
    if !geteuid().is_root() || is_reference() || !readable.is_ok_and(|run| run.status.success()) {
        println!("not tried: nobody else can be had to run the program");
        return;
    }
    let daemon = telling(1).start_daemon();
    let open = |path: &Path| {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("a mode");
    };
    open(daemon.directory());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--clear-groups"]).arg(second()).arg("-p");
    command.arg(daemon.directory()).args(["-c", "nginx.conf", "-e", "stderr", "-s", "upgrade"]);
    let (code, messages) = daemon.ended(&mut command);
    assert_eq!(code, Some(1), "{messages}");
    assert!(messages.contains("not permitted: uid 65534 (master runs as 0)"), "{messages}");
    assert_eq!(serving(&daemon), version::FIRST);
}

/// The time it takes to be ready is not felt.
#[test]
fn a_hundred_servers_are_ready_soon() {
    if is_reference() {
        return;
    }
    let server =
        |number| format!("server {{ listen %%listen%%; server_name s{number}; return 200 x; }}");
    let servers: String = (0..100).map(server).collect();
    let text = telling_text(2, "$pid").replace("server {", &format!("{servers} server {{"));
    let daemon = configured(&text).start_daemon();
    let said = upgrade(&daemon, &second(), &[]);
    done(&said);
    let line = said.out.lines().find(|line| line.contains(" workers ready in ")).expect("a line");
    let words: Vec<&str> = line.rsplitn(3, ' ').collect();
    let time: u64 = words[1].parse().expect("milliseconds");
    println!("100 servers ready in {time} ms");
    assert!(time < 2000, "{line}");
}

/// Whatever comes over the control socket, the server goes on.
#[test]
fn nonsense_over_the_control_socket_does_no_harm() {
    if is_reference() {
        return;
    }
    let daemon = telling(1).start_daemon();
    let before = (daemon.master(), answering(&daemon));
    for (content, status) in [
        ("nonsense".to_owned(), 400),
        ("{\"executable\":\"bin/false\"}".to_owned(), 400),
        ("{\"executable\":\"/bin/false\",\"more\":1}".to_owned(), 400),
        ("{}".to_owned(), 400),
    ] {
        let (answer, lines) = daemon.ask_control("POST", "/1/proxyd/upgrade", &content);
        assert_eq!(answer, status, "{}", lines.rest());
    }
    // Somebody who never finishes a sentence keeps nobody else from speaking.
    let mut slow =
        std::os::unix::net::UnixStream::connect(daemon.path("server.pid.ctl")).expect("it");
    slow.write_all(b"POST /1/proxyd/upgrade HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        .expect("it");
    done(&upgrade(&daemon, &second(), &["--wait"]));
    assert_ne!((daemon.master(), answering(&daemon)), before);
}
