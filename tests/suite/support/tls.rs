//! Certificates made for a test, and a client that speaks TLS and tells what it came to.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::response::Response;
use super::{DEADLINE, Setup};

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a name.
    pub fn issue(&self, name: &str) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Its own key, PEM.
    pub fn key(&self) -> String {
        self.0.key().serialize_pem()
    }

    /// A list of what it has issued and revoked, PEM.
    pub fn crl(&self, revoked: &[&Pair]) -> String {
        let revoked = revoked.iter().map(|pair| RevokedCertParams {
            serial_number: serial(&pair.certificate),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2120, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).and_then(|list| list.pem()).expect("a list")
    }

    /// A client that trusts nobody else.
    pub fn client(&self) -> TlsClient {
        TlsClient::new(&self.pem(), None)
    }
}

impl Pair {
    /// The certificate's number, hexadecimal.
    pub fn serial(&self) -> String {
        let serial = serial(&self.certificate);
        let mut text = String::new();
        for byte in serial.as_ref() {
            write!(text, "{byte:02X}").expect("room");
        }
        text
    }

    /// Puts both beside the configuration, as `NAME.pem` and `NAME.key`.
    pub fn install(&self, setup: Setup, name: &str) -> Setup {
        let setup = setup.file(&format!("{name}.pem"), self.certificate.as_bytes());
        setup.file(&format!("{name}.key"), self.key.as_bytes())
    }
}

fn serial(certificate: &str) -> SerialNumber {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
    let (_, read) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
    SerialNumber::from_slice(read.raw_serial())
}

/// What a client knows; sessions are resumed.
#[derive(Clone)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Trusts an authority, and shows a certificate if it is asked.
    pub fn new(authority: &str, own: Option<&Pair>) -> TlsClient {
        let mut roots = RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(authority.as_bytes()).expect("a certificate");
        roots.add(der).expect("an authority");
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("a certificate");
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        config.resumption = Resumption::in_memory_sessions(32);
        TlsClient(Arc::new(config))
    }

    /// Connects and does the handshake; the error is the client's.
    pub fn connect(&self, address: SocketAddr, name: &str) -> Result<Secure, String> {
        self.open(address, name).finish()
    }

    /// Connects and says hello, which the server has answered when this returns.
    pub fn greet(&self, address: SocketAddr, name: &str) -> Secure {
        let mut secure = self.open(address, name);
        secure.0.conn.write_tls(&mut secure.0.sock).expect("a hello");
        secure.0.sock.peek(&mut [0]).expect("an answer to it");
        secure
    }

    fn open(&self, address: SocketAddr, name: &str) -> Secure {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let session = ClientConnection::new(Arc::clone(&self.0), name).expect("a session");
        let socket = TcpStream::connect_timeout(&address, DEADLINE).expect("a connection");
        socket.set_read_timeout(Some(DEADLINE)).expect("a time limit");
        Secure(StreamOwned::new(session, socket))
    }

    /// The answer to a request on a connection of its own.
    pub fn get(&self, address: SocketAddr, name: &str, path: &str) -> Response {
        let mut secure = self.connect(address, name).expect("a handshake");
        secure.send(&format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"));
        secure.response()
    }
}

/// An open connection.
pub struct Secure(pub StreamOwned<ClientConnection, TcpStream>);

impl Secure {
    /// Does what is left of the handshake; the error is the client's.
    pub fn finish(mut self) -> Result<Secure, String> {
        let stream = &mut self.0;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
        }
        Ok(self)
    }

    pub fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("bytes sent");
    }

    /// An answer with a length.
    pub fn response(&mut self) -> Response {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(1) => bytes.push(byte[0]),
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&bytes)),
            }
        }
        let mut response = Response::from_head(&bytes);
        let length = response.header("Content-Length").and_then(|value| value.parse().ok());
        response.body = vec![0; length.expect("a length")];
        self.0.read_exact(&mut response.body).expect("a body");
        response.complete = true;
        response
    }

    /// All up to the end of a text.
    pub fn until(&mut self, text: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(text.as_bytes()) {
            let mut byte = [0];
            assert_eq!(self.0.read(&mut byte).ok(), Some(1), "{:?}", bytes.escape_ascii());
            bytes.push(byte[0]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the end was announced, not cut off.
    pub fn ends_properly(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(0) => true,
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => false,
                _ => panic!("{error:?}"),
            },
            more => panic!("{more:?}"),
        }
    }
}
