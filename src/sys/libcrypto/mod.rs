//! The C side of AWS-LC, the library under rustls: what its Rust side does not offer. That is the
//! checking of certificate chains with all that OpenSSL checks, keys that a password protects, and OCSP.
//!
//! Must not decide whom to trust, nor put anything in words.

mod chain;
mod key;
mod ocsp;

pub use chain::{Purpose, Store};
pub use key::private_key;
pub use ocsp::{Status, is_ocsp_response, ocsp_request, ocsp_status};

use std::ptr::NonNull;

use aws_lc_sys as c;

/// An object of the library; it goes with its owner.
struct Owned<T: Freed>(NonNull<T>);

/// What the library has its own way to free.
trait Freed {
    /// # Safety
    ///
    /// `object` came from the library, belongs to the caller, and is not used afterwards.
    unsafe fn free(object: *mut Self);
}

impl<T: Freed> Owned<T> {
    /// Takes what a function of the library returned to be owned; null is its failure.
    fn new(object: *mut T) -> Option<Self> {
        if object.is_null() {
            forget_errors();
        }
        NonNull::new(object).map(Owned)
    }

    fn get(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T: Freed> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` was given what is owned, and nobody can use it after this.
        unsafe { T::free(self.get()) }
    }
}

/// Which function frees what.
macro_rules! freed {
    ($($object:ty, $free:ident;)*) => {
        $(impl Freed for $object {
            unsafe fn free(object: *mut Self) {
                // SAFETY: the caller's promise is the one that this function asks for.
                unsafe { c::$free(object) };
            }
        })*
    };
}

freed! {
    c::X509, X509_free;
    c::X509_CRL, X509_CRL_free;
    c::X509_STORE, X509_STORE_free;
    c::X509_STORE_CTX, X509_STORE_CTX_free;
    c::OPENSSL_STACK, OPENSSL_sk_free;
    c::BIO, BIO_free;
    c::EVP_PKEY, EVP_PKEY_free;
    c::OCSP_REQUEST, OCSP_REQUEST_free;
    c::OCSP_RESPONSE, OCSP_RESPONSE_free;
    c::OCSP_BASICRESP, OCSP_BASICRESP_free;
    c::OCSP_CERTID, OCSP_CERTID_free;
    c::PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free;
}

/// Reasons of failures wait in a queue of the thread, which nobody here asks.
fn forget_errors() {
    // SAFETY: it touches nothing but this thread's queue.
    unsafe { c::ERR_clear_error() }
}

/// What one of the library's functions writes when it is given room: it is asked for the length first.
fn written(mut write: impl FnMut(*mut *mut u8) -> i32) -> Option<Vec<u8>> {
    let length = usize::try_from(write(std::ptr::null_mut())).ok()?;
    let mut bytes = vec![0; length];
    let mut at = bytes.as_mut_ptr();
    (usize::try_from(write(&raw mut at)).ok()? == length).then_some(bytes)
}
