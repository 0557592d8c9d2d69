//! Private keys out of PEM, with or without a password.

use std::ffi::CString;
use std::ptr;

use aws_lc_sys as c;

use super::{Owned, written};

/// The first private key in a PEM text, opened with a password: PKCS #8 as well as the older forms of
/// RSA and elliptic curves, encrypted either way. `None`: there is none, or it is another password.
/// What comes back is PKCS #8 in the clear, DER.
pub fn private_key(pem: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    // Without a function to ask for it, the library takes a password that ends in NUL.
    let password = CString::new(password).ok()?;
    let length = pem.len().try_into().ok()?;
    // SAFETY: the text is only read, and outlives what reads it.
    let source = Owned::new(unsafe { c::BIO_new_mem_buf(pem.as_ptr().cast(), length) })?;
    let secret = password.as_ptr().cast_mut().cast();
    // SAFETY: the source is alive, and the password, which is only read, ends in NUL.
    let key = unsafe { c::PEM_read_bio_PrivateKey(source.get(), ptr::null_mut(), None, secret) };
    let key = Owned::new(key)?;
    // SAFETY: the key is alive.
    let form = Owned::new(unsafe { c::EVP_PKEY2PKCS8(key.get()) })?;
    // SAFETY: the form is alive; `written` gives it no place, or one that is long enough.
    written(|place| unsafe { c::i2d_PKCS8_PRIV_KEY_INFO(form.get(), place) })
}
