//! What a worker gets instead of files: the recorded outside of one configuration together with the
//! options it was read with, as the contents of a sealed memory file.
//!
//! Only ever read by the executable that wrote it, so there is no version to agree on.

use std::io;

use serde::{Deserialize, Serialize};

use super::Options;
use crate::conf::Bundle;

/// In the environment of a worker: the number of its channel's descriptor. Its presence is what
/// makes a process a worker.
pub const ROLE_VARIABLE: &str = "PROXYD_WORKER";

/// The contents, apart from the recorded answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub options: Options,
    /// What `auto` meant to the master.
    pub cpus: usize,
    /// Whether the master was the superuser; it decides on a default port, for one thing.
    pub superuser: bool,
}

/// Header length in 8 bytes, header as JSON, bundle.
pub fn encode(header: &Header, bundle: &Bundle) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(header)?;
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(&bundle.encode());
    Ok(bytes)
}

/// Takes apart what [`encode`] made.
pub fn decode(bytes: &[u8]) -> io::Result<(Header, Bundle)> {
    let cut = || io::Error::new(io::ErrorKind::InvalidData, "configuration bundle is cut short");
    let (len, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| cut())?;
    let (json, bundle) = rest.split_at_checked(len).ok_or_else(cut)?;
    Ok((serde_json::from_slice(json)?, Bundle::decode(bundle)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handover_survives_its_encoding_and_refuses_pieces_of_it() {
        let options = Options {
            prefix: "/p".into(),
            conf_file: "/p/c".into(),
            globals: Some(b"daemon off;".to_vec()),
            error_log: None,
            control: None,
        };
        let header = Header { options, cpus: 7, superuser: true };
        let recording = crate::conf::Recording::new(crate::conf::Disk);
        let bytes = encode(&header, &recording.into_bundle()).unwrap();
        assert_eq!(decode(&bytes).unwrap().0, header);
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err());
        }
    }
}
