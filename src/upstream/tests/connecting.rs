//! Connecting, its failures in nginx's words, and names that resolve late.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{group, local, server};
use crate::net::Address;
use crate::upstream::{
    Group, GroupSpec, KeepaliveSpec, NoPeer, ServerSpec, SocketOptions, Stage, connect,
};

const SOON: Duration = Duration::from_secs(5);

async fn listener() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Inet(listener.local_addr().unwrap());
    (listener, address)
}

#[test]
fn connects_without_delaying_small_writes() {
    local(async {
        let (listener, address) = listener().await;
        let local = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 9), 0));
        let with = SocketOptions { local: Some(local), ..SocketOptions::default() };
        let stream = connect(&address, SOON, &with).await.unwrap();
        assert!(socket2::SockRef::from(stream.socket().unwrap()).tcp_nodelay().unwrap());
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), local.ip());
        assert_ne!(peer.port(), 0);
    });
}

#[test]
fn a_refusal_reads_as_in_nginx() {
    local(async {
        let (listener, address) = listener().await;
        drop(listener);
        let error = connect(&address, SOON, &SocketOptions::default()).await.unwrap_err();
        assert_eq!(error.to_string(), "connect() failed (111: Connection refused)");
        assert_eq!((error.stage, error.is_ordinary()), (Stage::Wait, true));
        assert_eq!(std::io::Error::from(error).raw_os_error(), Some(libc::ECONNREFUSED));
    });
}

#[test]
fn a_missing_unix_socket_reads_as_in_nginx() {
    local(async {
        let address = Address::Unix("/nowhere/x.sock".into());
        let error = connect(&address, SOON, &SocketOptions::default()).await.unwrap_err();
        let expected = "connect() to unix:/nowhere/x.sock failed (2: No such file or directory)";
        assert_eq!(error.to_string(), expected);
        assert_eq!((error.stage, error.is_ordinary()), (Stage::Connect, false));
    });
}

#[test]
fn a_foreign_local_address_is_our_fault() {
    local(async {
        let (_listener, address) = listener().await;
        let local = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 1), 0));
        let error = connect(
            &address,
            SOON,
            &SocketOptions { local: Some(local), ..SocketOptions::default() },
        )
        .await
        .unwrap_err();
        assert_eq!(error.stage, Stage::Bind);
        assert!(error.to_string().starts_with("bind(203.0.113.1:0) failed (99: "));
    });
}

/// A full listen queue answers nobody.
#[test]
fn silence_times_out() {
    local(async {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = Address::Inet(socket.local_addr().unwrap().as_socket().unwrap());
        let mut open = Vec::new();
        let error = loop {
            match connect(&address, Duration::from_millis(100), &SocketOptions::default()).await {
                Ok(stream) => open.push(stream),
                Err(error) => break error,
            }
            assert!(open.len() < 64, "the queue never fills");
        };
        assert_eq!(error.to_string(), "upstream timed out (110: Connection timed out)");
        assert_eq!(error.stage, Stage::Timeout);
    });
}

#[test]
fn an_implied_group_keeps_no_connections() {
    let spec = GroupSpec::implied("127.0.0.1:1", server(1).addresses, None);
    assert_eq!(spec.keepalive.connections, 0);
    assert_eq!(spec.servers, group(vec![server(1)]).spec().servers);
    assert_eq!(KeepaliveSpec::default().connections, 32);
}

#[test]
fn a_name_without_addresses_is_asked_for_again() {
    local(async {
        let mut late = ServerSpec::new("localhost:81", Vec::new());
        late.host_port = Some(("localhost".into(), 81));
        let group = group(vec![late]);
        let now = Instant::now();
        let select = || group.select(&mut group.selection(None), now);
        assert_eq!(select().err(), Some(NoPeer::Unresolved));
        let resolved = async {
            while group.selection(None).tries == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, resolved).await.unwrap();
        let peer = select().unwrap();
        assert_eq!((peer.address().port(), peer.server()), (Some(81), "localhost:81"));
    });
}

#[test]
fn a_name_is_not_asked_for_too_often() {
    local(async {
        let mut never = ServerSpec::new("x.invalid", Vec::new());
        never.host_port = Some(("x.invalid".into(), 80));
        let group = group(vec![never, server(1)]);
        let now = Instant::now();
        assert!(group.missing.due(now));
        assert!(group.select(&mut group.selection(None), now).is_ok());
        assert!(!group.missing.due(now));
        while group.missing.running() {
            tokio::task::yield_now().await;
        }
        assert!(!group.missing.due(now + Duration::from_secs(4)));
        assert!(group.missing.due(now + Duration::from_secs(5)));
    });
}

#[test]
fn a_literal_group_needs_no_runtime() {
    let group = Group::new(GroupSpec::implied("127.0.0.1:1", server(1).addresses, None));
    assert!(group.select(&mut group.selection(None), Instant::now()).is_ok());
}
