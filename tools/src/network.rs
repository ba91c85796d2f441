//! The network of a machine: what it is plugged into, through which card, and who gives it an
//! address.
//!
//! A machine is plugged into one of three networks. *User* networking is a part of QEMU that needs no
//! privileges: the machine sees a router with DHCP and DNS, and this computer reaches one of its
//! ports as a port of its own. It takes few connections at a time, and offloads nothing. A *tap* is a
//! network card of this computer, in a [`crate::namespace`] of its own: for load and for counting. A
//! *peer* is a part of this tool that plays a computer, and a bad network before it: [`crate::peer`].
//!
//! On all of them the machine is 10.0.2.15 and its router is 10.0.2.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::peer;
use crate::virtio::Virtio;

/// The port that `http` listens on.
pub(crate) const HTTP: u16 = 80;

/// The first port that is tried on this computer.
const FIRST_PORT: u16 = 8080;

/// How many are tried.
const PORTS: u16 = 100;

/// The machine's address, unless DHCP finds another one.
pub(crate) const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// Its IPv6 address, where it is told one.
pub(crate) const MACHINE_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x15);

/// Its router; on a tap this is the computer itself.
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The name of the tap in its namespace.
pub(crate) const TAP: &str = "tap0";

/// What a machine is connected to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) link: Link,
    pub(crate) address: Address,
}

/// What the card is plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// QEMU's user networking.
    User(Forward),
    /// The tap in the namespace of the thread that starts QEMU.
    Tap,
    /// A peer whose cable is in the machine's folder.
    Peer,
}

/// A port of 127.0.0.1 that leads to one of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) protocol: Protocol,
    pub(crate) host: u16,
    pub(crate) guest: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// Who gives the machine its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A DHCP server: what an image tries when nobody says anything.
    Dhcp,
    /// The boot arguments.
    Static,
    /// The boot arguments, and it is one of IPv6.
    StaticIpv6,
}

impl Network {
    /// User networking with DHCP, reached through any free port.
    pub(crate) fn user() -> Self {
        let forward = Forward { protocol: Protocol::Tcp, host: 0, guest: HTTP };
        Self { link: Link::User(forward), address: Address::Dhcp }
    }

    /// The same, for a machine that listens on another port.
    pub(crate) fn user_port(protocol: Protocol, guest: u16) -> Self {
        let forward = Forward { protocol, host: 0, guest };
        Self { link: Link::User(forward), address: Address::Dhcp }
    }

    /// A tap, and a static address.
    pub(crate) fn tap() -> Self {
        Self { link: Link::Tap, address: Address::Static }
    }

    /// A peer, and a static address.
    pub(crate) fn peer() -> Self {
        Self { link: Link::Peer, ..Self::tap() }
    }

    pub(crate) fn dhcp(self) -> Self {
        Self { address: Address::Dhcp, ..self }
    }

    pub(crate) fn fixed(self) -> Self {
        Self { address: Address::Static, ..self }
    }

    pub(crate) fn fixed_ipv6(self) -> Self {
        Self { address: Address::StaticIpv6, ..self }
    }

    /// The same, and if any port will do, a free one.
    pub(crate) fn settled(mut self) -> Result<Self> {
        if let Link::User(forward @ Forward { host: 0, .. }) = &mut self.link {
            let here = (Ipv4Addr::LOCALHOST, 0);
            let free = match forward.protocol {
                Protocol::Tcp => TcpListener::bind(here).and_then(|free| free.local_addr()),
                Protocol::Udp => UdpSocket::bind(here).and_then(|free| free.local_addr()),
            };
            forward.host = free.context("no port is free")?.port();
        }
        Ok(self)
    }

    /// Words for the boot arguments; empty for what the image does anyhow.
    pub(crate) fn boot_args(self) -> String {
        let dns = match self.link {
            Link::User(_) => Ipv4Addr::new(10, 0, 2, 3),
            Link::Tap | Link::Peer => ROUTER,
        };
        match self.address {
            Address::Dhcp => String::new(),
            Address::Static => format!("ip={MACHINE}/24 gw={ROUTER} dns={dns}"),
            Address::StaticIpv6 => format!("ip={MACHINE_IPV6}/64"),
        }
    }

    /// QEMU's arguments for the network and its card, of a machine with that folder.
    pub(crate) fn qemu_args(self, virtio: Virtio, folder: &Path) -> Vec<String> {
        let link = match self.link {
            Link::User(Forward { protocol, host, guest }) => {
                let protocol = match protocol {
                    Protocol::Tcp => "tcp",
                    Protocol::Udp => "udp",
                };
                let here = Ipv4Addr::LOCALHOST;
                format!("user,id=net0,hostfwd={protocol}:{here}:{host}-:{guest}")
            }
            Link::Tap => format!("tap,id=net0,ifname={TAP},script=no,downscript=no"),
            Link::Peer => peer::netdev(folder),
        };
        // Nobody boots from it: its ROM, which is in another package than QEMU, stays away.
        let rom = if virtio == Virtio::Pci { ",romfile=" } else { "" };
        let card = format!("{}{rom},netdev=net0", virtio.device("net"));
        vec!["-netdev".into(), link, "-device".into(), card]
    }

    /// The port of a machine that does not say that it serves, as it is no web server.
    pub(crate) fn unannounced(self) -> Option<SocketAddr> {
        match self.link {
            Link::User(Forward { guest: HTTP, .. }) | Link::Tap | Link::Peer => None,
            Link::User(Forward { guest, .. }) => Some((MACHINE, guest).into()),
        }
    }

    /// Where this computer reaches the machine that says that it serves at `address`.
    pub(crate) fn reached(self, address: SocketAddr) -> SocketAddr {
        match self.link {
            Link::User(forward) => (Ipv4Addr::LOCALHOST, forward.host).into(),
            Link::Tap | Link::Peer if address.ip().is_unspecified() => {
                (MACHINE, address.port()).into()
            }
            Link::Tap | Link::Peer => address,
        }
    }
}

/// How the user changes the network.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct NetworkArgs {
    /// Port of this computer that leads to one of the machine [default: 8080 or the next free one,
    /// to 80]
    #[arg(long, value_name = "[udp:]HOST[:GUEST]", conflicts_with = "no_net")]
    port: Option<Forward>,

    /// Without a network
    #[arg(long)]
    no_net: bool,
}

impl NetworkArgs {
    /// The network of a machine that has virtio devices or not. Every machine that can have one
    /// gets one, since a card that nobody drives costs nothing; unless the user's own arguments for
    /// QEMU are about that.
    pub(crate) fn network(&self, has_virtio: bool, extra: &[String]) -> Result<Option<Network>> {
        let by_hand = ["-netdev", "-nic", "-net"];
        let by_hand =
            extra.iter().any(|arg| by_hand.contains(&arg.replacen("--", "-", 1).as_str()));
        if self.no_net || by_hand || !has_virtio {
            if self.port.is_some() {
                bail!(
                    "--port needs a network: this board has none, or `-- {}` makes it",
                    extra.join(" ")
                );
            }
            return Ok(None);
        }
        let forward = match self.port {
            Some(forward) if forward.protocol == Protocol::Udp || is_free(forward.host) => forward,
            Some(forward) => bail!("port {} of this computer is taken", forward.host),
            None => Forward { protocol: Protocol::Tcp, host: first_free()?, guest: HTTP },
        };
        Ok(Some(Network { link: Link::User(forward), address: Address::Dhcp }))
    }
}

fn first_free() -> Result<u16> {
    let mut ports = FIRST_PORT..FIRST_PORT + PORTS;
    ports.find(|&port| is_free(port)).with_context(|| {
        format!("the {PORTS} ports from {FIRST_PORT} on are all taken: choose one by --port")
    })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, text) = match text.strip_prefix("udp:") {
            Some(text) => (Protocol::Udp, text),
            None => (Protocol::Tcp, text.strip_prefix("tcp:").unwrap_or(text)),
        };
        let (host, guest) = text.split_once(':').unwrap_or((text, "80"));
        let port = |text: &str| match text.parse() {
            Ok(port @ 1..) => Ok(port),
            _ => Err(format!("{text:?} is no port: it is a number from 1 to 65535")),
        };
        Ok(Self { protocol, host: port(host)?, guest: port(guest)? })
    }
}

/// The address in a line that says where a machine serves: `… http://ADDRESS[:PORT] …`.
pub(crate) fn serving(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let of_address = |c: char| c.is_ascii_hexdigit() || ".:[]".contains(c);
    let end = rest.find(|c| !of_address(c)).unwrap_or(rest.len());
    let text = rest[..end].trim_end_matches('.');
    let bare = || Some((text.trim_matches(['[', ']']).parse::<IpAddr>().ok()?, HTTP).into());
    text.parse().ok().or_else(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serving_line_has_an_address() {
        let at = |line, address: &str| assert_eq!(serving(line), Some(address.parse().unwrap()));
        at("INFO  http: serving http://10.0.2.15:80/", "10.0.2.15:80");
        at("http://10.0.2.15", "10.0.2.15:80");
        at("Serving at http://10.0.2.15:8080.", "10.0.2.15:8080");
        at("http://[fd00:2::15]:80 and more", "[fd00:2::15]:80");
        at("\u{1b}[32mhttp://[fd00:2::15]\u{1b}[0m", "[fd00:2::15]:80");
        for line in
            ["see https://example.org", "see http://example.org/", "http:// ", "10.0.2.15:80"]
        {
            assert_eq!(serving(line), None, "{line}");
        }
    }

    #[test]
    fn ports_are_one_number_or_two() {
        let forward = |protocol, host, guest| Ok(Forward { protocol, host, guest });
        assert_eq!("9000".parse(), forward(Protocol::Tcp, 9000, 80));
        assert_eq!("9000:8000".parse(), forward(Protocol::Tcp, 9000, 8000));
        assert_eq!("udp:9000:7".parse(), forward(Protocol::Udp, 9000, 7));
        for text in ["", "0", "80:", "70000", "a:b"] {
            assert!(text.parse::<Forward>().unwrap_err().contains("no port"), "{text}");
        }
    }

    #[test]
    fn taken_ports_are_passed_over_or_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(!is_free(port));
        let forward = Forward { protocol: Protocol::Tcp, host: port, guest: 80 };
        let args = NetworkArgs { port: Some(forward), ..NetworkArgs::default() };
        let message = args.network(true, &[]).unwrap_err().to_string();
        assert!(message.contains(&format!("port {port} of this computer is taken")), "{message}");
        let network = NetworkArgs::default().network(true, &[]).unwrap().unwrap();
        assert!(matches!(network.link, Link::User(Forward { host: FIRST_PORT.., guest: 80, .. })));
        assert!(!matches!(
            Network::user().settled().unwrap().link,
            Link::User(Forward { host: 0, .. })
        ));
    }

    #[test]
    fn boards_without_a_card_and_networks_by_hand_are_left_alone() {
        let args = NetworkArgs::default();
        assert_eq!(args.network(false, &[]).unwrap(), None);
        assert_eq!(args.network(true, &["--nic".into(), "user".into()]).unwrap(), None);
        assert!(NetworkArgs { no_net: true, ..args }.network(true, &[]).unwrap().is_none());
    }

    #[test]
    fn cards_become_arguments() {
        let args = |network: Network, virtio| network.qemu_args(virtio, Path::new("x")).join(" ");
        assert_eq!(
            args(Network::tap(), Virtio::Mmio),
            "-netdev tap,id=net0,ifname=tap0,script=no,downscript=no \
             -device virtio-net-device,netdev=net0"
        );
        let forward = Link::User(Forward { protocol: Protocol::Tcp, host: 8080, guest: 80 });
        assert_eq!(
            args(Network { link: forward, ..Network::user() }, Virtio::Pci),
            "-netdev user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80 \
             -device virtio-net-pci,romfile=,netdev=net0"
        );
        assert!(args(Network::peer(), Virtio::Mmio).starts_with(
            "-netdev dgram,id=net0,local.type=unix,local.path=x/machine,remote.type=unix,\
                 remote.path=x/peer -device"
        ));
    }

    #[test]
    fn static_addresses_are_boot_arguments() {
        assert_eq!(Network::tap().boot_args(), "ip=10.0.2.15/24 gw=10.0.2.2 dns=10.0.2.2");
        assert_eq!(Network::user().fixed().boot_args(), "ip=10.0.2.15/24 gw=10.0.2.2 dns=10.0.2.3");
        assert_eq!(Network::tap().fixed_ipv6().boot_args(), "ip=fd00:2::15/64");
        assert_eq!(Network::tap().dhcp().boot_args(), "");
    }
}
