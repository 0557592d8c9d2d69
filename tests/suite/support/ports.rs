//! Free TCP ports for servers that bind for themselves.
//!
//! Ports come from below the range the kernel gives to outgoing connections:
//! a port from `bind(0)` may be taken by any client between our closing it and
//! the server's binding it. A UDP socket on the same number is the lock that
//! other tests and other runs of the suite respect.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

const FIRST: u16 = 10_000;
const LAST: u16 = 32_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port nobody else will take while this lives.
pub struct Port {
    address: SocketAddr,
    _lock: UdpSocket,
}

impl Port {
    pub fn free() -> Port {
        // Runs at the same time start at different places.
        let spread = (std::process::id() % 100) * 200;
        let spread = u16::try_from(spread).unwrap_or(0);
        for _ in FIRST..LAST {
            let step = NEXT.fetch_add(1, Relaxed).wrapping_add(spread);
            if let Some(port) = Port::try_lock(FIRST + step % (LAST - FIRST)) {
                return port;
            }
        }
        panic!("no free port between {FIRST} and {LAST}");
    }

    fn try_lock(number: u16) -> Option<Port> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
        let lock = UdpSocket::bind(address).ok()?;
        TcpListener::bind(address).ok()?;
        Some(Port { address, _lock: lock })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
