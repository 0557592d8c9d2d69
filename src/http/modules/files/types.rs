//! Owns media types by file name extension: the `types` block and the lookup in it.
//!
//! Must not know a request.

use crate::conf::{Directive, Env, Error};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Extensions in lower case with their types.
#[derive(Debug, Default, Clone)]
pub struct Types {
    by_extension: HashMap<Vec<u8>, Arc<[u8]>>,
}

impl Types {
    /// The type of an extension in any case.
    pub fn find(&self, extension: &[u8]) -> Option<&[u8]> {
        let found = if extension.iter().any(u8::is_ascii_uppercase) {
            self.by_extension.get(&extension.to_ascii_lowercase())
        } else {
            self.by_extension.get(extension)
        };
        found.map(AsRef::as_ref)
    }
}

/// What applies when no `types` block was written.
pub fn standard() -> Arc<Types> {
    static STANDARD: LazyLock<Arc<Types>> = LazyLock::new(|| {
        let known = [("html", "text/html"), ("gif", "image/gif"), ("jpg", "image/jpeg")];
        let known = known.into_iter();
        let by_extension =
            known.map(|(e, t)| (e.as_bytes().to_vec(), t.as_bytes().into())).collect();
        Arc::new(Types { by_extension })
    });
    STANDARD.clone()
}

/// Reads a `types` block; several in one place add up.
pub fn read(slot: &mut Option<Arc<Types>>, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    let types = Arc::make_mut(slot.get_or_insert_default());
    for line in dir.block.as_deref().unwrap_or_default() {
        if line.block.is_some() {
            return Err(line.error("unexpected \"{\""));
        }
        let name: Arc<[u8]> = line.name.text.as_slice().into();
        for extension in &line.args {
            let key = extension.text.to_ascii_lowercase();
            if let Some(before) = types.by_extension.insert(key, name.clone()) {
                env.warn(extension.error(format!(
                    "duplicate extension \"{}\", content type: \"{}\", \
                     previous content type: \"{}\"",
                    extension.lossy(),
                    line.name.lossy(),
                    String::from_utf8_lossy(&before),
                )));
            }
        }
    }
    Ok(())
}

/// What follows the last dot of a path's last segment; a name that begins with its only dot has
/// no extension.
pub fn extension(uri: &[u8]) -> Option<&[u8]> {
    let name_at = memchr::memrchr(b'/', uri).map_or(0, |slash| slash + 1);
    let name = &uri[name_at..];
    match memchr::memrchr(b'.', name) {
        None | Some(0) => None,
        Some(dot) => Some(&name[dot + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Disk, parse};
    use std::path::Path;

    fn read_text(text: &str) -> (Option<Arc<Types>>, usize, usize) {
        let mut world = Disk;
        let mut env = Env::new(&mut world, Path::new("/"), Path::new("/"));
        let mut slot = None;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        for dir in parse(&mut env, file.path()) {
            if let Err(error) = read(&mut slot, &dir, &mut env) {
                env.report(error);
            }
        }
        (slot, env.errors.len(), env.warnings.len())
    }

    #[test]
    fn extensions_are_found_in_any_case_and_blocks_add_up() {
        let (types, errors, warnings) =
            read_text("types { text/html html HTM; default; } types { image/png png; }");
        let types = types.unwrap();
        assert_eq!((errors, warnings), (0, 0));
        assert_eq!(types.find(b"htm"), Some(&b"text/html"[..]));
        assert_eq!(types.find(b"PNG"), Some(&b"image/png"[..]));
        assert_eq!(types.find(b"gif"), None);
        assert_eq!(standard().find(b"gif"), Some(&b"image/gif"[..]));
    }

    #[test]
    fn the_last_of_two_types_wins_with_a_warning() {
        let (types, errors, warnings) = read_text("types { a/a x; b/b x; }");
        assert_eq!((errors, warnings), (0, 1));
        assert_eq!(types.unwrap().find(b"x"), Some(&b"b/b"[..]));
        assert_eq!(read_text("types { a/a { } }").1, 1);
    }

    #[test]
    fn extensions_end_at_slashes() {
        assert_eq!(extension(b"/a/b.tar.gz"), Some(&b"gz"[..]));
        assert_eq!(extension(b"/a.b/c"), None);
        assert_eq!(extension(b"/.htaccess"), None);
        assert_eq!(extension(b"/a/.x.y"), Some(&b"y"[..]));
        assert_eq!(extension(b"/a."), Some(&b""[..]));
        assert_eq!(extension(b""), None);
    }
}
