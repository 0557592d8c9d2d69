//! Owns Apache's variant of the MD5 form of passwords, which no C library knows.
//!
//! Must not compare.

use md5::{Digest, Md5};

/// What such a form begins with.
pub(super) const MAGIC: &[u8] = b"$apr1$";

/// The stored form of a password. `rest` is what follows the magic in another one: its salt counts, up
/// to 8 bytes.
pub(super) fn crypt(password: &[u8], rest: &[u8]) -> Vec<u8> {
    let end = rest.iter().take(8).position(|byte| *byte == b'$').unwrap_or(rest.len().min(8));
    let salt = rest.get(..end).unwrap_or_default();
    let mut digest = first(password, salt);
    for round in 0..1000 {
        digest = next(round, digest, password, salt);
    }
    let mut stored = [MAGIC, salt, b"$"].concat();
    letters(&digest, &mut stored);
    stored
}

/// What the rounds begin with.
fn first(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let mixed = Md5::new().chain_update(password).chain_update(salt).chain_update(password);
    let mixed = mixed.finalize();
    let mut hash = Md5::new().chain_update(password).chain_update(MAGIC).chain_update(salt);
    for part in password.chunks(16) {
        hash.update(mixed.get(..part.len()).unwrap_or_default());
    }
    let mut bits = password.len();
    while bits > 0 {
        // A zero where one would expect the digest: an old slip that everybody keeps.
        hash.update(if bits & 1 == 1 { b"\0" } else { password.get(..1).unwrap_or_default() });
        bits >>= 1;
    }
    hash.finalize().into()
}

fn next(round: u32, digest: [u8; 16], password: &[u8], salt: &[u8]) -> [u8; 16] {
    let odd = round % 2 == 1;
    let mut hash = Md5::new();
    hash.update(if odd { password } else { &digest });
    if !round.is_multiple_of(3) {
        hash.update(salt);
    }
    if !round.is_multiple_of(7) {
        hash.update(password);
    }
    hash.update(if odd { &digest } else { password });
    hash.finalize().into()
}

/// Six bits a letter, in an order of their own.
fn letters(digest: &[u8; 16], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut put = |mut bits: u32, count: usize| {
        for _ in 0..count {
            out.push(LETTERS[(bits & 63) as usize]);
            bits >>= 6;
        }
    };
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        put(u32::from_be_bytes([0, digest[a], digest[b], digest[c]]), 4);
    }
    put(digest[11].into(), 2);
}
