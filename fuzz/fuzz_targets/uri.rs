//! A target and a host: normalising stays within the root and changes nothing the second time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxyd::http::h1::host::validate_host;
use proxyd::http::uri::{Set, escape, is_unsafe, normalize, safe_parts};

fuzz_target!(|input: (bool, &[u8])| {
    let (merge_slashes, bytes) = input;
    if let Ok(uri) = normalize(bytes, merge_slashes) {
        assert_eq!(uri.path.first(), Some(&b'/'));
        assert!(bytes.get(uri.args.clone()).is_some());
        let clean = !bytes.contains(&0);
        assert!(!clean || !is_unsafe(&uri.path));
        if clean {
            let again = normalize(&escape(&uri.path, Set::Uri), merge_slashes);
            assert_eq!(again.map(|uri| uri.path), Ok(uri.path));
        }
    }
    if let Ok((path, _)) = safe_parts(bytes) {
        assert!(!is_unsafe(&path));
    }
    if let Ok((name, _)) = validate_host(bytes) {
        assert_eq!(validate_host(name.as_bytes()), Ok((name, None)));
    }
});
