//! How steps of a change are shown: for people, a sentence a line; for programs, JSON.
//!
//! Must not fail: nobody may be looking, and the change goes on.

use std::io::Write;

use crate::control::upgrade::Progress;

/// Where it is shown.
pub struct Screen<'a> {
    pub json: bool,
    pub out: &'a mut dyn Write,
    pub errors: &'a mut dyn Write,
}

impl Screen<'_> {
    /// Shows one step at once.
    pub fn show(&mut self, progress: &Progress) {
        if self.json {
            return self.print_json(progress);
        }
        let failed = matches!(progress.state.as_str(), "refused" | "undone");
        let to = if failed && progress.code != Some(0) { &mut self.errors } else { &mut self.out };
        let _ = writeln!(to, "proxyd: {}", progress.text).and_then(|()| to.flush());
    }

    /// One line of JSON.
    pub fn print_json(&mut self, value: &impl serde::Serialize) {
        let text = serde_json::to_string(value).unwrap_or_default();
        self.print(&format!("{text}\n"));
    }

    /// Text that has its line feeds.
    pub fn print(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands on both outputs after these steps.
    fn shown(json: bool, steps: &[(&str, Option<u8>)]) -> (String, String) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let mut screen = Screen { json, out: &mut out, errors: &mut errors };
        for (state, code) in steps {
            let text = format!("upgrade 1 -> 2: {state}");
            screen.show(&Progress { state: (*state).to_owned(), text, code: *code });
        }
        (String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn people_read_what_happens_and_apart_from_it_what_went_wrong() {
        let (out, errors) = shown(false, &[("started", None), ("undone", Some(2))]);
        assert_eq!(out, "proxyd: upgrade 1 -> 2: started\n");
        assert_eq!(errors, "proxyd: upgrade 1 -> 2: undone\n");
        let (out, errors) = shown(false, &[("refused", Some(1))]);
        assert_eq!((out.as_str(), errors.as_str()), ("", "proxyd: upgrade 1 -> 2: refused\n"));
    }

    #[test]
    fn what_was_undone_as_wished_did_not_go_wrong() {
        let (out, errors) = shown(false, &[("undone", Some(0))]);
        assert_eq!((out.as_str(), errors.as_str()), ("proxyd: upgrade 1 -> 2: undone\n", ""));
    }

    #[test]
    fn programs_read_everything_in_one_place() {
        let (out, errors) = shown(true, &[("started", None), ("undone", Some(2))]);
        let first = r#"{"state":"started","text":"upgrade 1 -> 2: started"}"#;
        let second = r#"{"state":"undone","text":"upgrade 1 -> 2: undone","code":2}"#;
        assert_eq!(out, format!("{first}\n{second}\n"));
        assert_eq!(errors, "");
    }

    /// Somebody who does not look any more.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn it_does_not_matter_whether_anybody_looks() {
        let mut screen = Screen { json: false, out: &mut Closed, errors: &mut Closed };
        let progress = Progress { state: "ready".into(), text: "x".into(), code: None };
        screen.show(&progress);
        screen.json = true;
        screen.show(&progress);
    }
}
