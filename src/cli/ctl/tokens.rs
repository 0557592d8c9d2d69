//! `proxyd ctl maintenance token` and `revoke`: who gets past a closed door without a fixed address.

use super::{DEFAULT, DONE};
use crate::cli::contact::Contact;
use crate::cli::screen::Screen;
use crate::cli::status::age;
use crate::control::client::{self, Failed};
use crate::control::maintenance::{Revocation, TokenOrder};

/// Has a token made and shows where it is exchanged for a cookie.
pub(super) async fn make(
    contact: &Contact,
    name: Option<&str>,
    order: &TokenOrder,
    screen: &mut Screen<'_>,
) -> Result<u8, Failed> {
    let token = client::token(&contact.control, name.unwrap_or(DEFAULT), order).await?;
    if screen.json {
        screen.print_json(&token);
        return Ok(DONE);
    }
    let left = age(token.until.saturating_sub(super::maintenance::now()));
    let (who, switch, path) = (&token.who, &token.switch, &token.path);
    screen.print(&format!("proxyd: token for {who} at \"{switch}\", valid for {left}\n{path}\n"));
    Ok(DONE)
}

/// Has all tokens revoked.
pub(super) async fn revoke(
    contact: &Contact,
    name: Option<&str>,
    order: &Revocation,
    screen: &mut Screen<'_>,
) -> Result<u8, Failed> {
    let switches = client::revoke(&contact.control, name.unwrap_or(DEFAULT), order).await?;
    if screen.json {
        screen.print_json(&switches);
        return Ok(DONE);
    }
    for switch in switches {
        screen.print(&format!("proxyd: maintenance \"{}\": all tokens revoked\n", switch.name));
    }
    Ok(DONE)
}
