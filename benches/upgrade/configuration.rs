//! Owns what the servers are told: they answer with the number of their generation and their
//! process id, so that every answer says who made it.

use crate::options::Kind;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// What a server is there for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Purpose {
    /// Server blocks (with haproxy, backends) besides the one that answers.
    pub others: u32,
    /// proxyd's old master leaves with its workers, as nginx's does. As a rule it stays a minute to
    /// take over again if the new one dies.
    pub leave: bool,
}

/// What a configuration is made for.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    pub address: SocketAddr,
    pub purpose: Purpose,
}

pub fn text(kind: Kind, site: Site, generation: u64) -> String {
    match kind {
        Kind::Nginx => nginx(site, generation, "", TEMPORARY),
        Kind::Proxyd { watch } => {
            let leave = if site.purpose.leave { " upgrade_rollback_window 0;" } else { "" };
            nginx(site, generation, &format!("upgrade_watch {watch}s;{leave}"), "")
        }
        Kind::Haproxy => haproxy(site, generation),
    }
}

/// nginx makes all its temporary directories, and Debian's are where only root may make them.
const TEMPORARY: &str = "client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;";

fn nginx(site: Site, generation: u64, main: &str, http: &str) -> String {
    let address = site.address;
    let mut others = String::new();
    for number in 0..site.purpose.others {
        let _ = write!(
            others,
            "
    server {{
        listen {address};
        server_name s{number}.example.com *.s{number}.example.com;
        location / {{ proxy_pass http://127.0.0.1:9; proxy_set_header Host $host; }}
        location /static/ {{ root html; expires 1h; }}
        location ~ \\.cgi$ {{ return 403; }}
    }}"
        );
    }
    format!(
        "worker_processes 2;
pid server.pid;
error_log error.log notice;
{main}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    {http}
    server {{
        listen {address};
        location / {{ return 200 \"{generation} $pid\"; }}
    }}{others}
}}
"
    )
}

fn haproxy(site: Site, generation: u64) -> String {
    let (mut rules, mut others) = (String::new(), String::new());
    for number in 0..site.purpose.others {
        let _ = writeln!(
            rules,
            "    use_backend s{number} if {{ hdr(host),lower -m str s{number}.example.com }}"
        );
        let _ = write!(
            others,
            "
backend s{number}
    http-request deny if {{ path_end .cgi }}
    server one 127.0.0.1:9
"
        );
    }
    format!(
        "global
    nbthread 2
    maxconn 4096

defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 75s
    timeout http-keep-alive 75s

frontend in
    bind {}
{rules}    default_backend answer

backend answer
    http-request return status 200 content-type text/plain lf-string \"{generation} %pid\"
{others}",
        site.address
    )
}
