//! Owns `auth_basic`: whoever asks has to give a name and the password that belongs to it.
//!
//! Must not know how passwords are kept; `crate::password` does.

mod users;
mod verify;

use super::inherit;
use crate::conf::{Args, Contexts, Row, Word, values};
use crate::http::credentials;
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::method::Method;
use crate::http::opinion::Opinion;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::vars::Variable;
use crate::log::Level;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    realm: Option<Word>,
    user_file: Option<Word>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// `None` asks nobody; neither does one of the directives without the other, as in nginx.
    pub asks: Option<Asks>,
}

/// What is asked for, and where the answer stands.
#[derive(Debug)]
pub struct Asks {
    realm: Template,
    user_file: Template,
    /// What its path is relative to.
    directory: PathBuf,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; realm, user_file);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let realm = self.realm.as_ref().filter(|word| word.text != b"off");
        let asks = realm.zip(self.user_file.as_ref()).map(|(realm, file)| Asks {
            realm: cx.template(realm),
            user_file: cx.template(file),
            directory: cx.env.conf_path(""),
        });
        Conf { asks }
    }
}

const PLACES: Contexts = HSL.or(Contexts::LIMIT_EXCEPT);

pub static ROWS: &[Row<Scope>] = &[
    row(
        "auth_basic",
        PLACES,
        Args::Exactly(1),
        "Asks for a user name and a password, for a realm of this name; `off` (default) does not.",
        |scope, dir, _| values::word(&mut scope.drafts.auth_basic.realm, dir),
    ),
    row(
        "auth_basic_user_file",
        PLACES,
        Args::Exactly(1),
        "The file with a line `name:password` for each user, looked at for each request; passwords in the \
         forms of crypt (bcrypt, SHA-512 and others), `$apr1$`, `{PLAIN}`, `{SHA}`, `{SSHA}`.",
        |scope, dir, _| values::word(&mut scope.drafts.auth_basic.user_file, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[];

/// Whether the client has given a name and a password that belong together.
pub async fn judge(req: &mut Request) -> Opinion {
    let snapshot = req.snapshot.clone();
    let Some(asks) = &snapshot.conf(req.location).auth_basic.asks else { return Opinion::None };
    let realm = asks.realm.value(req).into_owned();
    if realm == b"off" {
        return Opinion::None;
    }
    let Some(given) = credentials::of(req) else {
        let line = format_args!("no user/password was provided for basic authentication");
        req.log(Level::Info, line);
        return challenge(req, &realm);
    };
    let path = asks.directory.join(OsStr::from_bytes(&asks.user_file.value(req)));
    let stored = match users::find(&path, &given.user) {
        Ok(stored) => stored,
        Err(failure) => return Opinion::Refuse(failure.tell(req, &path)),
    };
    let user = String::from_utf8_lossy(&given.user);
    let Some(stored) = stored else {
        let path = path.display();
        req.log_error(format_args!("user \"{user}\" was not found in \"{path}\""));
        return challenge(req, &realm);
    };
    if verify::is_right(given.password, stored).await {
        return Opinion::Allow;
    }
    req.log_error(format_args!("user \"{user}\": password mismatch"));
    challenge(req, &realm)
}

/// Asks for credentials.
fn challenge(req: &mut Request, realm: &[u8]) -> Opinion {
    let mut value = [b"Basic realm=\"", realm, b"\""].concat();
    // A variable may bring a line end into it.
    for byte in value.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        *byte = b' ';
    }
    let proxy = req.method == Method::Connect;
    let (name, status) =
        if proxy { (Name::ProxyAuthenticate, 407) } else { (Name::WwwAuthenticate, 401) };
    req.reply.headers.push_known(name, &value);
    Opinion::Refuse(status)
}
