//! OCSP: what asks whether a certificate is revoked, and what an answer says.

use std::ptr;

use aws_lc_sys as c;

use super::chain::{Stack, certificate};
use super::{Owned, Store, forget_errors, written};

/// What is said of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Good,
    Revoked,
    Unknown,
}

/// How far the clocks of others may be off, seconds.
const DRIFT: i64 = 300;

/// A request about a certificate to whoever speaks for its issuer; all three are DER.
pub fn ocsp_request(subject: &[u8], issuer: &[u8]) -> Option<Vec<u8>> {
    let id = id(subject, issuer)?;
    // SAFETY: it has no preconditions.
    let request = Owned::new(unsafe { c::OCSP_REQUEST_new() })?;
    // SAFETY: the id is alive.
    let own = Owned::new(unsafe { c::OCSP_CERTID_dup(id.get()) })?;
    // SAFETY: both are alive.
    let added = unsafe { c::OCSP_request_add0_id(request.get(), own.get()) };
    if added.is_null() {
        return None;
    }
    // The request has it now.
    std::mem::forget(own);
    // SAFETY: the request is alive; `written` gives it no place, or one that is long enough.
    written(|place| unsafe { c::i2d_OCSP_REQUEST(request.get(), place) })
}

/// Whether these bytes are an answer at all.
pub fn is_ocsp_response(der: &[u8]) -> bool {
    response(der).is_some()
}

/// What an answer says of a certificate, and until when, in seconds since 1970. Its signature must fit a
/// certificate that it brings or the issuer's. Only with `trusted` is it known whose that is: it must lead
/// to somebody there, and be the issuer's or have been allowed by him.
pub fn ocsp_status(
    der: &[u8],
    subject: &[u8],
    issuer: &[u8],
    trusted: Option<&Store>,
) -> Result<(Status, Option<i64>), &'static str> {
    let response = response(der).ok_or("d2i_OCSP_RESPONSE() failed")?;
    // SAFETY: the response is alive.
    if unsafe { c::OCSP_response_status(response.get()) } != 0 {
        return Err("OCSP response not successful");
    }
    // SAFETY: the response is alive.
    let basic = Owned::new(unsafe { c::OCSP_response_get1_basic(response.get()) });
    let basic = basic.ok_or("OCSP_response_get1_basic() failed")?;
    verify(&basic, issuer, trusted).ok_or("OCSP_basic_verify() failed")?;
    status(&basic, &id(subject, issuer).ok_or("OCSP_cert_to_id() failed")?)
}

fn response(der: &[u8]) -> Option<Owned<c::OCSP_RESPONSE>> {
    let mut at = der.as_ptr();
    let length = der.len().try_into().ok()?;
    // SAFETY: `at` and `length` are those of `der`, which is only read.
    Owned::new(unsafe { c::d2i_OCSP_RESPONSE(ptr::null_mut(), &raw mut at, length) })
}

fn id(subject: &[u8], issuer: &[u8]) -> Option<Owned<c::OCSP_CERTID>> {
    let (subject, issuer) = (certificate(subject)?, certificate(issuer)?);
    // SAFETY: both are alive; no digest means SHA-1, which names things here and proves nothing.
    Owned::new(unsafe { c::OCSP_cert_to_id(ptr::null(), subject.get(), issuer.get()) })
}

/// Whether it is signed; with `trusted`, by somebody who may.
fn verify(basic: &Owned<c::OCSP_BASICRESP>, issuer: &[u8], trusted: Option<&Store>) -> Option<()> {
    let nobody = if trusted.is_none() { Some(Store::new()?) } else { None };
    let store = trusted.or(nobody.as_ref())?;
    let issuer = [certificate(issuer)?];
    let known = Stack::new(&issuer)?;
    let flags = if trusted.is_some() { c::OCSP_TRUSTOTHER } else { c::OCSP_NOVERIFY };
    let (known, store) = (known.0.get().cast(), store.get());
    let flags = flags.try_into().ok()?;
    // SAFETY: all of them are alive.
    let verified = unsafe { c::OCSP_basic_verify(basic.get(), known, store, flags) };
    forget_errors();
    (verified == 1).then_some(())
}

fn status(
    basic: &Owned<c::OCSP_BASICRESP>,
    id: &Owned<c::OCSP_CERTID>,
) -> Result<(Status, Option<i64>), &'static str> {
    let (mut status, mut this, mut next) = (0, ptr::null_mut(), ptr::null_mut());
    let (none, when) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: both are alive, and all places that are given can be written; times remain the answer's.
    let found = unsafe {
        c::OCSP_resp_find_status(
            basic.get(),
            id.get(),
            &raw mut status,
            none,
            when,
            &raw mut this,
            &raw mut next,
        )
    };
    if found != 1 {
        return Err("certificate status not found in the OCSP response");
    }
    // SAFETY: the times are the answer's, which is alive, or null, which is allowed for the second.
    let valid = unsafe { c::OCSP_check_validity(this, next, DRIFT, -1) };
    forget_errors();
    if valid != 1 {
        return Err("OCSP_check_validity() failed");
    }
    let mut until = 0;
    // SAFETY: the time is alive, and `until` can be written.
    let timed = !next.is_null() && unsafe { c::ASN1_TIME_to_posix(next, &raw mut until) } == 1;
    let status = match status {
        0 => Status::Good,
        1 => Status::Revoked,
        _ => Status::Unknown,
    };
    Ok((status, timed.then_some(until)))
}
