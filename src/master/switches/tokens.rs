//! Tokens that let a person past a closed door: made for whoever asks over the control API, and
//! revoked. The key is the configuration's.
//!
//! Must not keep tokens: whoever has one shows it.

use super::{Master, by, now};
use crate::control::maintenance::{Caller, Refusal, Revocation, Token, TokenOrder};
use crate::log::Level;

/// For how long, when nothing is said about it.
const USUAL: u64 = 2 * 3600;
/// Longer than this is no exception but a rule, and belongs into `maintenance_allow`.
const LONGEST: u64 = 31 * 86_400;

impl Master {
    /// Makes a token for somebody.
    pub(super) fn token(
        &self,
        name: &str,
        order: &TokenOrder,
        caller: &Caller,
    ) -> Result<Token, Refusal> {
        let name = self.known(name)?;
        let seconds = order.seconds.unwrap_or(USUAL);
        if !(1..=LONGEST).contains(&seconds) {
            let why = format!("\"for\" has to be from 1 to {LONGEST} seconds");
            return Err(Refusal::Malformed(why));
        }
        let gates = &self.switches.gates;
        let revoked = gates.switch(&name).map_or(0, |switch| gates.order(switch).revoked);
        let (until, who) = (now() + seconds, order.who.as_str());
        let token = self.current.doors.token(&name, who, until, revoked);
        let token = token.map_err(Refusal::State)?;
        let by = by(caller);
        let line = format_args!("maintenance \"{name}\" token for {who}, {seconds} s, by {by}");
        self.log().write(Level::Notice, None, line);
        let path = format!("/.proxyd/bypass/{token}");
        Ok(Token { switch: name, who: who.to_owned(), until, token, path })
    }

    /// Makes all tokens of a switch void that there are.
    pub(super) fn revoke(
        &mut self,
        name: &str,
        order: &Revocation,
        caller: &Caller,
    ) -> Result<Vec<String>, Refusal> {
        let names = if order.all { self.switch_names() } else { vec![self.known(name)?] };
        let gates = self.switches.gates.clone();
        let mut orders = Vec::new();
        for name in &names {
            let full = || Refusal::Failed("there are too many switches".to_owned());
            let switch = gates.switch(name).ok_or_else(full)?;
            let mut order = gates.order(switch);
            order.revoked += 1;
            orders.push((name.clone(), switch, order));
        }
        self.write_down(&orders, None).map_err(Refusal::Failed)?;
        let by = by(caller);
        for (name, switch, order) in orders {
            gates.set(switch, &order);
            let line = format_args!("maintenance \"{name}\" tokens revoked by {by}");
            self.log().write(Level::Notice, None, line);
        }
        Ok(names)
    }
}
