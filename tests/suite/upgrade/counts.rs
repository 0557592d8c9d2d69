//! What the limits have counted goes on over an upgrade and over the way back.

use super::{configured, done, rollback, second, upgrade};
use crate::support::{Daemon, Setup, is_reference};

fn limited(zone: &str) -> String {
    format!(
        "worker_processes 2; %%main%% events {{}}
        http {{ %%http%%
            limit_req_zone $arg_k {zone} rate=1r/m;
            server {{ listen %%listen%%; limit_req zone=one burst=10 nodelay; }} }}"
    )
}

fn setup() -> Setup {
    configured(&limited("zone=one:1m")).allow("limiting requests, excess: ").file("html/f", "here")
}

/// How many requests get in.
fn let_in(daemon: &Daemon, tries: usize) -> usize {
    (0..tries).filter(|_| daemon.get("/f?k=a").status == 200).count()
}

#[test]
fn counts_cross_an_upgrade_and_a_rollback() {
    if is_reference() {
        return;
    }
    let daemon = setup().start_daemon();
    assert_eq!(let_in(&daemon, 3), 3);
    done(&upgrade(&daemon, &second(), &["--wait"]));
    assert_eq!(let_in(&daemon, 4), 4);
    done(&rollback(&daemon, &["--wait"]));
    assert_eq!(let_in(&daemon, 20), 4);
}

#[test]
fn a_zone_that_has_changed_begins_empty() {
    if is_reference() {
        return;
    }
    let mut daemon = setup().start_daemon();
    assert_eq!(let_in(&daemon, 20), 11);
    daemon.configure_main(&limited("zone=one:2m"));
    done(&upgrade(&daemon, &second(), &["--wait"]));
    assert_eq!(let_in(&daemon, 20), 11);
    daemon.logged("limit_req_zone \"one\" begins empty: the old master has none of this name");
}
