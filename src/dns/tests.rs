//! The resolver against name servers of the test's own.

use super::*;
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::{A, Cname, Srv};
use std::net::Ipv4Addr;
use tokio::net::UdpSocket;
use tokio::task::LocalSet;

const LIMIT: Duration = Duration::from_secs(30);

type Zone = fn(&str, Rtype, &Message<Vec<u8>>) -> Vec<u8>;

/// Answers with `zone`, counting questions; nothing is silence.
async fn server(zone: Zone) -> (SocketAddr, Rc<Cell<usize>>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    tokio::task::spawn_local(async move {
        let mut buffer = [0; 512];
        loop {
            let (n, from) = socket.recv_from(&mut buffer).await.unwrap();
            counted.set(counted.get() + 1);
            let query = Message::from_octets(buffer[..n].to_vec()).unwrap();
            let question = query.sole_question().unwrap();
            let name = question.qname().to_string();
            let bytes = zone(&name, question.qtype(), &query);
            if !bytes.is_empty() {
                socket.send_to(&bytes, from).await.unwrap();
            }
        }
    });
    (address, count)
}

fn name(text: &str) -> Name<Vec<u8>> {
    Name::from_chars(text.chars()).unwrap()
}

/// `a` has an address for 2 s, `b` is another name for it, `http` of `s` is served by both; of anything
/// else there is none.
fn zone(asked: &str, kind: Rtype, query: &Message<Vec<u8>>) -> Vec<u8> {
    let known = ["a", "b", "_http._tcp.s"].contains(&asked);
    let code = if known { Rcode::NOERROR } else { Rcode::NXDOMAIN };
    let mut answer = MessageBuilder::new_vec().start_answer(query, code).unwrap();
    match (asked, kind) {
        ("a", Rtype::A) => answer.push((name(asked), 2, A::from_octets(10, 0, 0, 1))).unwrap(),
        ("b", _) => answer.push((name(asked), 2, Cname::new(name("a")))).unwrap(),
        ("_http._tcp.s", Rtype::SRV) => {
            answer.push((name(asked), 9, Srv::new(2, 0, 81, name("b")))).unwrap();
            answer.push((name(asked), 9, Srv::new(1, 5, 80, name("a")))).unwrap();
        }
        _ => {}
    }
    answer.finish()
}

fn spec(servers: &[SocketAddr]) -> ResolverSpec {
    ResolverSpec { servers: servers.to_vec(), valid: None, ipv4: true, ipv6: true }
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

#[tokio::test(start_paused = true)]
async fn one_question_serves_all_while_it_is_valid() {
    local(async {
        let (address, count) = server(zone).await;
        let resolver = Resolver::new(spec(&[address]));
        let (one, two) = tokio::join!(resolver.host("a", LIMIT), resolver.host("A.", LIMIT));
        let expected = [IpAddr::from([10, 0, 0, 1])];
        assert_eq!((&*one.unwrap().found, &*two.unwrap().found), (&expected[..], &expected[..]));
        assert_eq!(count.get(), 2, "A and AAAA");
        tokio::time::advance(Duration::from_secs(2)).await;
        resolver.host("a", LIMIT).await.unwrap();
        assert_eq!(count.get(), 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        resolver.host("a", LIMIT).await.unwrap();
        assert_eq!(count.get(), 4);
    })
    .await;
}

#[tokio::test]
async fn aliases_are_followed_and_what_is_not_there_is_not_kept() {
    local(async {
        let (address, count) = server(zone).await;
        let resolver = Resolver::new(ResolverSpec { ipv6: false, ..spec(&[address]) });
        assert_eq!(resolver.host("b", LIMIT).await.unwrap().found, [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(count.get(), 2);
        for asked in 3..5 {
            let failure = resolver.host("c", LIMIT).await.unwrap_err();
            assert_eq!(failure.to_string(), "3: Host not found");
            assert_eq!(count.get(), asked);
        }
        assert_eq!(resolver.host("a..b", LIMIT).await.unwrap_err(), Failure::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_service_has_the_addresses_of_its_hosts_in_order() {
    local(async {
        let (address, _) = server(zone).await;
        let resolver = Resolver::new(spec(&[address]));
        let found = resolver.service("http", "s", LIMIT).await.unwrap().found;
        let shown: Vec<_> =
            found.iter().map(|one| (&*one.host, one.address.port(), one.weight)).collect();
        assert_eq!(shown, [("a", 80, 5), ("b", 81, 1)]);
        assert_eq!(resolver.service("no", "s", LIMIT).await.unwrap_err(), Failure::NOT_FOUND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_for_the_next() {
    local(async {
        let (silent, _) = server(|_, _, _| Vec::new()).await;
        let (address, _) = server(zone).await;
        let resolver = Resolver::new(spec(&[silent, address]));
        let began = Instant::now();
        let early = resolver.host("a", Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(early.to_string(), "110: Operation timed out");
        resolver.turn.set(0);
        assert!(resolver.host("a", LIMIT).await.is_ok());
        assert!(began.elapsed() >= Duration::from_secs(6));
    })
    .await;
}
