//! Drives the real program from outside: sockets, signals, files and exit codes.
//!
//! `PROXYD_BIN=/path/to/nginx` runs the same tests against nginx, which is how
//! their expectations were found.

mod support;

mod access;
mod addresses;
mod compat;
mod config_errors;
mod constructs;
mod crash;
mod credentials;
mod drain;
mod filters;
mod h2;
mod limits;
mod links;
mod listings;
mod locations;
mod log_servers;
mod logs;
mod maintenance;
mod processes;
mod proxying;
mod rates;
mod reload;
mod signals;
mod statics;
mod subrequests;
mod switches;
mod tls;
mod upgrade;
mod wire;
mod zones;
