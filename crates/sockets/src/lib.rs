//! Where parts listen, and who calls them there.
//!
//! All of IPv4 is all of IPv6 as well, as in programs that are written in Go: `0.0.0.0` is the usual address of most parts,
//! on machines without IPv4, too. Who comes over IPv4 is told by their IPv4 address all the same.
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use tokio::net::{TcpListener, TcpStream};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens at an address; at none in particular: at all of both families, where the machine has both.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match both(address) {
        Some(listener) => TcpListener::from_std(listener?),
        None => TcpListener::bind(address).await,
    }
}

/// Listens at `host:port`. Of a name with several addresses it is the first of IPv4, as in programs that are written in Go.
pub async fn listen_at(host_and_port: &str) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(host_and_port).await?.collect();
    match first(&addresses) {
        Some(address) => listen(address).await,
        None => Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "the name has no address",
        )),
    }
}

fn first(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let of_ipv4 = addresses.iter().find(|address| address.is_ipv4());
    of_ipv4.or(addresses.first()).copied()
}

/// The next connection, and who it is from: over IPv4 an IPv4 address, although a socket for both families has another.
pub async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept().await?;
    Ok((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())))
}

/// Whether somebody has a port at any address, so that a part which listens at all of them could not have it.
pub fn is_taken(port: u16) -> bool {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = both(any).unwrap_or_else(|| std::net::TcpListener::bind(any));
    matches!(listener, Err(error) if error.kind() == io::ErrorKind::AddrInUse)
}

/// A listener of both families, if the address is none in particular; `None`: it is to be listened at as it is.
fn both(address: SocketAddr) -> Option<io::Result<std::net::TcpListener>> {
    if !address.ip().is_unspecified() {
        return None;
    }
    match everywhere(address.port()) {
        // A machine without IPv6.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => None,
        listener => Some(listener),
    }
}

fn everywhere(port: u16) -> io::Result<std::net::TcpListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None)?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    /// Not every machine has it.
    fn has_ipv6() -> bool {
        std::net::TcpListener::bind("[::1]:0").is_ok()
    }

    #[tokio::test]
    async fn no_address_in_particular_is_reached_over_both_families() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            if address == "[::]:0" && !has_ipv6() {
                continue;
            }
            let listener = listen(address.parse().unwrap()).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            if has_ipv6() {
                TcpStream::connect(("::1", port)).await.unwrap();
            }
            assert!(is_taken(port), "{address}");
            let taken = listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).await;
            assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse, "{address}");
        }
    }

    #[tokio::test]
    async fn callers_have_the_address_of_the_family_they_come_over() {
        let listener = listen("0.0.0.0:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut callers: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
        if has_ipv6() {
            callers.push(Ipv6Addr::LOCALHOST.into());
        }
        for caller in callers {
            let stream = TcpStream::connect((caller, port)).await.unwrap();
            let (_, peer) = accept(&listener).await.unwrap();
            assert_eq!(peer, SocketAddr::new(caller, stream.local_addr().unwrap().port()));
        }
    }

    #[tokio::test]
    async fn an_address_in_particular_is_listened_at_alone() {
        let listener = listen_at("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(address.ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
        assert!(is_taken(address.port()));
        drop(listener);
        assert!(!is_taken(address.port()));
    }

    #[test]
    fn of_the_addresses_of_a_name_one_of_ipv4_comes_first() {
        let [six, four]: [SocketAddr; 2] = ["[::1]:1", "127.0.0.1:1"].map(|text| text.parse().unwrap());
        assert_eq!(first(&[six, four]), Some(four));
        assert_eq!(first(&[six]), Some(six));
        assert_eq!(first(&[]), None);
    }
}
