//! The system's `crypt_r`: whatever forms of passwords it knows.

use std::ffi::{CStr, CString, c_char};

#[link(name = "crypt")]
unsafe extern "C" {
    fn crypt_r(key: *const c_char, setting: *const c_char, data: *mut u64) -> *const c_char;
}

/// More than any C library's `struct crypt_data`, in units of its alignment; it must begin as zeros.
const DATA: usize = 256 * 1024 / size_of::<u64>();

/// A password's stored form, made with the method and the salt of `setting`, which may be a stored form
/// itself. `None` when the system does not know the method, or either has a NUL in it.
pub fn crypt(password: &[u8], setting: &[u8]) -> Option<Vec<u8>> {
    let (password, setting) = (CString::new(password).ok()?, CString::new(setting).ok()?);
    let mut data = vec![0; DATA];
    // SAFETY: both strings end in NUL, and `data` is larger than what is written to it.
    let stored = unsafe { crypt_r(password.as_ptr(), setting.as_ptr(), data.as_mut_ptr()) };
    if stored.is_null() {
        return None;
    }
    // SAFETY: the result is a string inside of `data`, which is still there.
    let stored = unsafe { CStr::from_ptr(stored) };
    // What begins with a star is an error.
    Some(stored.to_bytes().to_vec()).filter(|stored| !stored.starts_with(b"*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_methods_are_known() {
        for (password, stored) in [
            ("password", "rqVTKtRlPS2tM"),
            ("foo", "$1$salt$nWwtt7njwVig74jTAfjuG/"),
            ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
            (
                "Hello world!",
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            ),
            ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        ] {
            let made = crypt(password.as_bytes(), stored.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(made).unwrap(), stored);
            assert_ne!(crypt(b"other", stored.as_bytes()).unwrap(), stored.as_bytes());
        }
    }

    #[test]
    fn what_is_no_setting_gives_nothing() {
        for setting in ["", "*", "!", "$9$x", "*0", "*1"] {
            assert_eq!(crypt(b"x", setting.as_bytes()), None, "{setting}");
        }
        assert_eq!(crypt(b"a\0b", b"$1$salt$"), None);
    }
}
