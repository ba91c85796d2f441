//! Addresses that others want, that come late, and that change.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::state::{State, unharmed};
use super::web;
use crate::case::Case;
use crate::client::{Client, PAGE, Site, letters};
use crate::network::{MACHINE, Network};
use crate::peer::{self, Dhcp, EthernetAddress, Peer, Stream};

/// Somebody else's card.
const OTHER: EthernetAddress = EthernetAddress([0x02, 0, 0, 0, 0, 0x66]);

/// The address that a server comes to prefer.
const MOVED: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 99);

/// A lease so short that much happens in a test: it is renewed after half of it.
const LEASE: u32 = 16;

const PATIENCE: Duration = Duration::from_secs(20);

/// How long something may take that happens once in a lease, or a few times.
const LEASES: Duration = Duration::from_secs(5 * LEASE as u64);

pub(super) fn cases() -> Vec<Case> {
    let on = |name, dhcp: Dhcp| {
        let settings = peer::Settings { dhcp, ..peer::Settings::default() };
        let mut case = web(name, Network::peer().dhcp()).peer(settings).beside();
        case.deadline = Duration::from_secs(600);
        case
    };
    let short = Dhcp { lease: LEASE, ..Dhcp::default() };
    let mut conflict = web("hard::address_conflict", Network::peer())
        .client(unharmed("somebody else has its address", conflict));
    conflict = conflict.sees("address 10.0.2.15 is also used by 02:00:00:00:00:66");
    conflict.deadline = Duration::from_secs(600);
    vec![
        conflict,
        on("hard::dhcp_late", Dhcp { deaf_for: 2, ..Dhcp::default() })
            .sees("no DHCP server has answered yet")
            .sees("address 10.0.2.15/24 by DHCP")
            .client(client("a late address", Site::serves)),
        on("hard::dhcp_renewed", short).client(client("a lease is renewed", renewed)),
        on("hard::dhcp_moved", short)
            .sees("address 10.0.2.15/24 by DHCP")
            .client(client("the server wants another address", |site| moved(site, false)))
            .sees("address 10.0.2.99/24 by DHCP"),
        on("hard::dhcp_moved_silently", short)
            .sees("address 10.0.2.15/24 by DHCP")
            .client(client("the server has given another address", |site| moved(site, true)))
            .sees("address 10.0.2.99/24 by DHCP"),
        on("hard::dhcp_gone", short)
            .sees("address 10.0.2.15/24 by DHCP")
            .client(client("the server is gone for a while", gone))
            .sees("no address any more")
            .sees("address 10.0.2.15/24 by DHCP"),
    ]
}

/// On a machine whose address may be another one afterwards.
fn client(what: &str, act: impl Fn(&Site) -> Result<()> + Send + Sync + 'static) -> Client {
    Client::new(what, act)
}

/// The machine at another address.
fn at(site: &Site, address: Ipv4Addr) -> Site {
    Site { address: SocketAddr::from((address, site.address.port())), ..site.clone() }
}

/// Somebody else says again and again that the address is his. The machine keeps it, serves, and counts.
fn conflict(site: &Site) -> Result<()> {
    let (peer, before) = (site.peer()?, State::of(site)?.counters.conflicts);
    let mut kept = site.connect()?;
    for number in 0..50 {
        peer.send(peer::claim(OTHER, MACHINE, number % 2 == 0));
        kept.get(PAGE.0)?.expect(200, PAGE.1)?;
        if number % 10 == 0 {
            site.serves()?;
        }
    }
    let counted = State::of(site)?.counters.conflicts - before;
    ensure!(counted == 50, "{counted} of 50 conflicts were counted");
    Ok(())
}

/// A connection to the echo.
fn echo(site: &Site) -> Result<Stream> {
    let SocketAddr::V4(address) = site.address else { bail!("only for IPv4") };
    site.peer()?.connect(SocketAddrV4::new(*address.ip(), 7), PATIENCE)
}

fn echoes(stream: &mut Stream) -> Result<()> {
    let (sent, mut back) = (letters(3000), vec![0; 3000]);
    stream.write_all(&sent)?;
    stream.read_exact(&mut back)?;
    ensure!(back == sent, "the echo is not what was sent");
    Ok(())
}

/// A connection lives on while the address is renewed again and again.
fn renewed(site: &Site) -> Result<()> {
    let (peer, mut stream) = (site.peer()?, echo(site)?);
    for time in 1..=3 {
        let again = |peer: &Peer| (peer.dhcp_counts().renewals >= time).then_some(());
        peer.wait(LEASES, &format!("renewal {time} of the address"), again)?;
        echoes(&mut stream).with_context(|| format!("after renewal {time}"))?;
        site.serves()?;
    }
    let counts = peer.dhcp_counts();
    ensure!(counts.discovers == 1 && counts.refused == 0, "{counts:?}");
    Ok(())
}

/// The machine gets another address while there are connections to the old one.
fn moved(site: &Site, silently: bool) -> Result<()> {
    let (peer, mut stream) = (site.peer()?, echo(site)?);
    echoes(&mut stream)?;
    peer.dhcp(|dhcp| (dhcp.address, dhcp.moves_silently) = (MOVED, silently));
    let new = at(site, MOVED);
    peer.wait(LEASES, "an answer at the new address", |_| knock(&new).ok())?;
    for _ in 0..10 {
        new.serves()?;
    }
    // The old connection has no way any more.
    ensure!(echoes(&mut stream).is_err(), "the old address still works");
    let refused = peer.dhcp_counts().refused;
    ensure!(silently || refused >= 1, "the server has not refused anything");
    Ok(())
}

/// One attempt, for who tries often.
fn knock(site: &Site) -> Result<()> {
    let SocketAddr::V4(address) = site.address else { bail!("only for IPv4") };
    site.peer()?.connect(address, Duration::from_millis(500)).map(drop)
}

/// The lease ends with nobody to renew it; then the server is back.
fn gone(site: &Site) -> Result<()> {
    let peer = site.peer()?;
    peer.dhcp(|dhcp| dhcp.absent = true);
    let before = peer.dhcp_counts().discovers;
    let asks = |peer: &Peer| (peer.dhcp_counts().discovers > before).then_some(());
    peer.wait(LEASES, "a search for another server", asks)?;
    ensure!(knock(site).is_err(), "an address is used that is no longer leased");
    peer.dhcp(|dhcp| dhcp.absent = false);
    peer.wait(LEASES, "an answer when the server is back", |_| knock(site).ok())?;
    site.serves()
}
