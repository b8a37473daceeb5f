//! Taking the addresses, with an error that says what to do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Type};
use thiserror::Error;

use crate::listener::endpoint::Endpoint;
use crate::listener::occupant::{occupant, occupant_of_socket};
use crate::listener::socket::Socket;
use crate::listener::spec::ListenerSpec;
use crate::listener::unix::{self, InTheWay};

/// Why a listener cannot listen: one sentence, with the mend.
#[derive(Debug, Error)]
pub enum BindError {
    /// The list of addresses is empty.
    #[error("listener `{listener}` has no address: give it a `bind`, such as \"0.0.0.0:1883\"")]
    NoAddress {
        /// Name of the listener.
        listener: String,
    },
    /// TLS without a certificate.
    #[error("listener `{listener}` speaks TLS and has no certificate: give it `tls = {{ cert = \"…\", key = \"…\" }}`")]
    NoCertificate {
        /// Name of the listener.
        listener: String,
    },
    /// The port, or the socket, is in use.
    #[error(
        "listener `{listener}` cannot have {address}: {holder} is listening there; end it, or give the listener another \
         {} in `bind`", if address.ip().is_some() { "port" } else { "path" }
    )]
    Taken {
        /// Name of the listener.
        listener: String,
        /// The address.
        address: Endpoint,
        /// Who has it, as far as the system tells: `mosquitto (process 812)` or `another process`.
        holder: String,
    },
    /// A privileged port.
    #[error(
        "listener `{listener}` may not have {address}: ports below 1024 need the capability CAP_NET_BIND_SERVICE; grant \
         it to the service, or choose a higher port in `bind`"
    )]
    Forbidden {
        /// Name of the listener.
        listener: String,
        /// The address.
        address: SocketAddr,
    },
    /// An address of another machine.
    #[error(
        "listener `{listener}` cannot have {address}: no network interface of this machine has that address; use one \
         that `ip address` shows, or {any} for all"
    )]
    NotHere {
        /// Name of the listener.
        listener: String,
        /// The address.
        address: SocketAddr,
        /// The wildcard of the same family and port.
        any: SocketAddr,
    },
    /// A file that is no socket has the path of one.
    #[error(
        "listener `{listener}` cannot have unix:{}: there is something that is not a socket; remove it, or give the \
         listener another path in `bind`", path.display()
    )]
    NoSocket {
        /// Name of the listener.
        listener: String,
        /// The path.
        path: PathBuf,
    },
    /// The directory of a socket is not there.
    #[error(
        "listener `{listener}` cannot have unix:{}: its directory does not exist; make it (a systemd unit has \
         `RuntimeDirectory=` for that), or give the listener another path in `bind`", path.display()
    )]
    NoDirectory {
        /// Name of the listener.
        listener: String,
        /// The path.
        path: PathBuf,
    },
    /// Anything else that the system says.
    #[error("listener `{listener}` cannot listen on {address}: {source}")]
    Io {
        /// Name of the listener.
        listener: String,
        /// The address.
        address: Endpoint,
        /// What the system says.
        source: io::Error,
    },
}

/// A listener that has its addresses and does not accept yet: clients that come now wait in the kernel's queue.
#[derive(Debug)]
pub struct Bound {
    pub(crate) spec: ListenerSpec,
    pub(crate) sockets: Vec<(Endpoint, Socket)>,
}

impl Bound {
    /// Takes all addresses of `spec`, or none.
    ///
    /// # Errors
    /// The first address that cannot be had, with the reason and the mend.
    pub fn bind(spec: ListenerSpec) -> Result<Self, BindError> {
        let listener = || spec.name.to_string();
        if spec.bind.is_empty() {
            return Err(BindError::NoAddress { listener: listener() });
        }
        if spec.transport.is_tls() && spec.live.tls.is_none() {
            return Err(BindError::NoCertificate { listener: listener() });
        }
        let mut sockets = Vec::with_capacity(spec.bind.len());
        for endpoint in &spec.bind {
            sockets.push(match endpoint {
                Endpoint::Ip(address) => listen(*address, &spec)
                    .and_then(|socket| Ok((socket.local_addr()?.into(), Socket::Tcp(socket))))
                    .map_err(|error| explain(listener(), *address, error))?,
                Endpoint::Unix(path) => match unix::listen(path, spec.live.socket_mode, spec.backlog) {
                    Ok((socket, file)) => (endpoint.clone(), Socket::Unix(socket, file)),
                    Err(why) => return Err(explain_unix(listener(), path, why)),
                },
            });
        }
        Ok(Self { spec, sockets })
    }

    /// Where it listens, with the ports that the system chose in place of 0; in the order of the specification.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.sockets.iter().map(|(endpoint, _)| endpoint.clone()).collect()
    }

    /// The addresses among its [`Self::endpoints`].
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|(endpoint, _)| endpoint.ip()).collect()
    }

    /// What the listener was told to be.
    #[must_use]
    pub fn spec(&self) -> &ListenerSpec {
        &self.spec
    }
}

/// One listening socket of TCP.
fn listen(address: SocketAddr, spec: &ListenerSpec) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last connections' TIME_WAIT. On Unix this does not let two listeners share a port.
    socket.set_reuse_address(true)?;
    // Inherited by what is accepted, so that not even the first segment can be delayed.
    socket.set_tcp_nodelay(true)?;
    if let SocketAddr::V6(v6) = address {
        let v4_bound_apart = spec.bind.contains(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, v6.port())).into());
        socket.set_only_v6(!v6.ip().is_unspecified() || v4_bound_apart)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(spec.backlog.max(1)).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn explain(listener: String, address: SocketAddr, error: io::Error) -> BindError {
    match error.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken {
            listener,
            address: address.into(),
            holder: occupant(address.port()).unwrap_or_else(|| "another process".to_owned()),
        },
        io::ErrorKind::PermissionDenied if address.port() < 1024 => BindError::Forbidden { listener, address },
        io::ErrorKind::AddrNotAvailable => {
            let any = match address.ip() {
                IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())),
                IpAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, address.port())),
            };
            BindError::NotHere { listener, address, any }
        }
        _ => BindError::Io { listener, address: address.into(), source: error },
    }
}

fn explain_unix(listener: String, path: &Path, why: InTheWay) -> BindError {
    let (path, address) = (path.to_owned(), Endpoint::Unix(path.to_owned()));
    match why {
        InTheWay::Listener => {
            let holder = occupant_of_socket(&path).unwrap_or_else(|| "another process".to_owned());
            BindError::Taken { listener, address, holder }
        }
        InTheWay::File => BindError::NoSocket { listener, path },
        InTheWay::Error(error) if error.kind() == io::ErrorKind::NotFound => BindError::NoDirectory { listener, path },
        InTheWay::Error(source) => BindError::Io { listener, address, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Transport;

    fn spec(bind: &[&str]) -> ListenerSpec {
        ListenerSpec::new("mqtt", bind.iter().map(|text| text.parse::<SocketAddr>().unwrap()), Transport::Tcp)
    }

    #[test]
    fn port_zero_becomes_a_port() {
        let bound = Bound::bind(spec(&["127.0.0.1:0", "127.0.0.1:0"])).unwrap();
        let addresses = bound.local_addrs();
        assert_eq!(addresses.len(), 2);
        assert!(addresses.iter().all(|address| address.port() != 0));
        assert_ne!(addresses[0], addresses[1]);
    }

    #[test]
    fn a_taken_port_is_named_with_its_holder_and_the_mend() {
        let first = Bound::bind(spec(&["127.0.0.1:0"])).unwrap();
        let address = first.local_addrs()[0];
        let error = Bound::bind(spec(&[&address.to_string()])).unwrap_err();
        let words = error.to_string();
        assert!(matches!(error, BindError::Taken { .. }), "{words}");
        assert!(
            words.contains(&address.to_string()) && words.contains("`mqtt`") && words.contains("`bind`"),
            "{words}"
        );
        if cfg!(target_os = "linux") {
            assert!(words.contains(&format!("(process {})", std::process::id())), "{words}");
        }
    }

    #[test]
    fn an_address_of_another_machine_is_refused_in_words() {
        // TEST-NET-1 (RFC 5737): no interface has it.
        let error = Bound::bind(spec(&["192.0.2.1:1883"])).unwrap_err();
        assert!(matches!(error, BindError::NotHere { .. }), "{error}");
        assert!(error.to_string().contains("0.0.0.0:1883"), "{error}");
    }

    #[test]
    fn tls_needs_a_certificate_and_every_listener_an_address() {
        let mut tls = spec(&["127.0.0.1:0"]);
        tls.transport = Transport::Tls;
        assert!(matches!(Bound::bind(tls), Err(BindError::NoCertificate { .. })));
        assert!(matches!(Bound::bind(spec(&[])), Err(BindError::NoAddress { .. })));
    }

    #[test]
    fn the_wildcard_of_ipv6_takes_ipv4_too_unless_it_is_bound_apart() {
        let Ok(both) = Bound::bind(spec(&["[::]:0"])) else { return };
        let port = both.local_addrs()[0].port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        drop(both);
        let apart = [format!("0.0.0.0:{port}"), format!("[::]:{port}")];
        let bound = Bound::bind(spec(&[&apart[0], &apart[1]])).unwrap();
        assert_eq!(bound.local_addrs().len(), 2);
    }
}
