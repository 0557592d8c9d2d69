//! Certificate chains: who is trusted, what is revoked, and whether a chain stands on that.

use std::ptr;

use aws_lc_sys as c;

use super::{Owned, forget_errors, written};

/// Those who are trusted, and lists of certificates that are not any more.
pub struct Store {
    store: Owned<c::X509_STORE>,
    has_crls: bool,
}

// SAFETY: the library locks a store for whoever looks something up, and counts references atomically.
unsafe impl Send for Store {}
// SAFETY: the same; it is changed through `&mut` only.
unsafe impl Sync for Store {}

/// What a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Client,
    Server,
}

impl Store {
    /// One in which nobody is trusted. `None` if there is no memory.
    pub fn new() -> Option<Self> {
        // SAFETY: it has no preconditions.
        let store = Owned::new(unsafe { c::X509_STORE_new() })?;
        Some(Self { store, has_crls: false })
    }

    pub(super) fn get(&self) -> *mut c::X509_STORE {
        self.store.get()
    }

    /// Trusts a certificate, DER. False: it cannot be read.
    pub fn trust(&mut self, der: &[u8]) -> bool {
        let Some(certificate) = certificate(der) else { return false };
        // SAFETY: both are alive; the store takes a reference of its own.
        let added = unsafe { c::X509_STORE_add_cert(self.store.get(), certificate.get()) };
        forget_errors();
        added == 1
    }

    /// Takes a list of revoked certificates, DER. From then on, each certificate of a chain needs one.
    pub fn revoke(&mut self, der: &[u8]) -> bool {
        let Ok(length) = der.len().try_into() else { return false };
        let mut at = der.as_ptr();
        // SAFETY: `at` and `length` are those of `der`, which is only read.
        let crl = Owned::new(unsafe { c::d2i_X509_CRL(ptr::null_mut(), &raw mut at, length) });
        let Some(crl) = crl else { return false };
        // SAFETY: both are alive; the store takes a reference of its own.
        let added = unsafe { c::X509_STORE_add_crl(self.store.get(), crl.get()) };
        forget_errors();
        self.has_crls |= added == 1;
        added == 1
    }

    /// Checks a chain as it was shown, the certificate in question first, with at most `depth`
    /// certificates between that and one that is trusted. Gives the chain that holds, up to the one
    /// trusted; the error is a number of `X509_V_ERR_…`.
    pub fn check<D: AsRef<[u8]>>(
        &self,
        shown: &[D],
        purpose: Purpose,
        depth: usize,
    ) -> Result<Vec<Vec<u8>>, i32> {
        let unreadable = c::X509_V_ERR_UNSPECIFIED;
        let certificates: Option<Vec<_>> =
            shown.iter().map(|der| certificate(der.as_ref())).collect();
        let certificates = certificates.ok_or(unreadable)?;
        let (first, rest) = certificates.split_first().ok_or(unreadable)?;
        let rest = Stack::new(rest).ok_or(c::X509_V_ERR_OUT_OF_MEM)?;
        let context = || self.context(first, &rest, purpose, depth).ok_or(c::X509_V_ERR_OUT_OF_MEM);
        let strict = context()?;
        let outcome = verify(&strict);
        if outcome == c::X509_V_OK {
            return chain(&strict).ok_or(c::X509_V_ERR_OUT_OF_MEM);
        }
        // It does not hold. Going on after each error tells the last one, which is what nginx shows.
        let lenient = context()?;
        // SAFETY: the context was set up, and the function can be called with anything.
        unsafe { c::X509_STORE_CTX_set_verify_cb(lenient.get(), Some(go_on)) }
        let last = verify(&lenient);
        Err(if last == c::X509_V_OK { outcome } else { last })
    }

    /// What a check needs; it refers to `first` and `rest`, which must outlive it.
    fn context(
        &self,
        first: &Owned<c::X509>,
        rest: &Stack,
        purpose: Purpose,
        depth: usize,
    ) -> Option<Owned<c::X509_STORE_CTX>> {
        // SAFETY: it has no preconditions.
        let context = Owned::new(unsafe { c::X509_STORE_CTX_new() })?;
        let (store, rest) = (self.store.get(), rest.0.get().cast());
        // SAFETY: all four are alive, and outlive the context.
        let begun = unsafe { c::X509_STORE_CTX_init(context.get(), store, first.get(), rest) };
        let name = match purpose {
            Purpose::Client => c"ssl_client",
            Purpose::Server => c"ssl_server",
        };
        // SAFETY: the context was initialized, and the name ends in NUL.
        let set = unsafe { c::X509_STORE_CTX_set_default(context.get(), name.as_ptr()) };
        let depth = i32::try_from(depth).unwrap_or(i32::MAX - 2);
        // SAFETY: the context was initialized.
        unsafe { c::X509_STORE_CTX_set_depth(context.get(), depth) }
        if self.has_crls {
            let flags = c::X509_V_FLAG_CRL_CHECK | c::X509_V_FLAG_CRL_CHECK_ALL;
            // SAFETY: the context was initialized.
            unsafe { c::X509_STORE_CTX_set_flags(context.get(), flags.try_into().ok()?) }
        }
        (begun == 1 && set == 1).then_some(context)
    }
}

pub(super) fn certificate(der: &[u8]) -> Option<Owned<c::X509>> {
    let mut at = der.as_ptr();
    let length = der.len().try_into().ok()?;
    // SAFETY: `at` and `length` are those of `der`, which is only read.
    let made = Owned::new(unsafe { c::d2i_X509(ptr::null_mut(), &raw mut at, length) })?;
    // More behind it would be seen by one reader and not by another.
    (at == der.as_ptr_range().end).then_some(made)
}

/// References to certificates that somebody else owns.
pub(super) struct Stack(pub(super) Owned<c::OPENSSL_STACK>);

impl Stack {
    pub(super) fn new(certificates: &[Owned<c::X509>]) -> Option<Self> {
        // SAFETY: it has no preconditions.
        let stack = Owned::new(unsafe { c::OPENSSL_sk_new_null() })?;
        for certificate in certificates {
            // SAFETY: the stack is alive; it only keeps the pointer.
            if unsafe { c::OPENSSL_sk_push(stack.get(), certificate.get().cast()) } == 0 {
                return None;
            }
        }
        Some(Self(stack))
    }
}

/// Checks, and gives the error, if any.
fn verify(context: &Owned<c::X509_STORE_CTX>) -> i32 {
    // SAFETY: the context was set up, and all that it refers to is alive.
    let verdict = unsafe { c::X509_verify_cert(context.get()) };
    forget_errors();
    // SAFETY: the context is alive.
    let error = unsafe { c::X509_STORE_CTX_get_error(context.get()) };
    if verdict != 1 && error == c::X509_V_OK { c::X509_V_ERR_UNSPECIFIED } else { error }
}

/// Makes the library look at all there is.
extern "C" fn go_on(_: i32, _: *mut c::X509_STORE_CTX) -> i32 {
    1
}

/// The chain that was found to hold.
fn chain(context: &Owned<c::X509_STORE_CTX>) -> Option<Vec<Vec<u8>>> {
    // SAFETY: the context is alive, and so is the chain in it.
    let stack = unsafe { c::X509_STORE_CTX_get0_chain(context.get()) }.cast::<c::OPENSSL_STACK>();
    // SAFETY: a context that has checked has a chain, and the library takes null for an empty one.
    let number = unsafe { c::OPENSSL_sk_num(stack) };
    let der = |nth| {
        // SAFETY: `nth` is below the number of them.
        let certificate = unsafe { c::OPENSSL_sk_value(stack, nth) }.cast::<c::X509>();
        // SAFETY: the certificate is alive; `written` gives it no place, or one that is long enough.
        written(|place| unsafe { c::i2d_X509(certificate, place) })
    };
    (0..number).map(der).collect()
}
