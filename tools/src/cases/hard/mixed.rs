//! All of it at once, at random, for a while.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::state::unharmed_again;
use super::transfer::{download, upload};
use super::web;
use crate::case::Case;
use crate::client::{PAGE, Site};
use crate::http::{Connection, request};
use crate::network::{MACHINE, Network};
use crate::peer::{self, Dhcp, EthernetAddress, Impairment, Random, TcpControl};

/// How many clients there are, good and bad alike.
const CLIENTS: usize = 8;

/// How long an honest client waits for one step, on a network that loses a frame in twenty.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most SYNs of a small flood: more than are remembered, so that others are answered with cookies.
const SYNS: usize = 2000;

/// After so many seconds the machine asks whether it may keep its address.
const RENEWAL: u32 = 4;

/// How long `make soak` takes for each of these, in seconds.
const SOAK: &str = "WAKEFUL_SOAK";

pub(super) fn cases() -> Result<Vec<Case>> {
    let (short, long) = (Duration::from_secs(30), soak()?);
    Ok(vec![
        mixed("hard::mixed", Duration::ZERO, short),
        mixed("hard::soak_mixed", long / 5, long / 5 * 4).soak(),
        mixed("hard::soak_mixed_4_harts", long / 5, long / 5 * 4).smp(4).soak(),
    ])
}

fn soak() -> Result<Duration> {
    let Ok(text) = std::env::var(SOAK) else { return Ok(Duration::from_secs(600)) };
    match text.parse() {
        Ok(seconds @ 10..) => Ok(Duration::from_secs(seconds)),
        _ => bail!("a soak of `{text}` seconds: it takes a number of at least 10"),
    }
}

/// Everything for a while, on a machine to which it has happened for another while before.
fn mixed(name: &'static str, before: Duration, duration: Duration) -> Case {
    // The address is asked for again and again, while all the rest goes on.
    let dhcp = Dhcp { renewal: Some(RENEWAL), ..Dhcp::default() };
    let settings = peer::Settings { dhcp, ..peer::Settings::default() };
    let mut case = web(name, Network::peer().dhcp()).peer(settings).beside();
    case.deadline = before + duration + Duration::from_secs(900);
    let before = move |site: &Site| {
        many_handshakes(site)?;
        if before.is_zero() { Ok(()) } else { everything(site, before) }
    };
    let what = format!("{duration:?} of everything");
    case.client(unharmed_again(what, before, move |site| everything(site, duration)))
}

/// Clients who do one thing after the other.
fn everything(site: &Site, duration: Duration) -> Result<()> {
    let (peer, end) = (site.peer()?, Instant::now() + duration);
    let randoms: Vec<_> = (0..CLIENTS).map(|_| peer.random()).collect();
    let deeds = |mut random: Random| {
        let mut count = 0;
        while Instant::now() < end {
            deed(site, &mut random)?;
            count += 1;
        }
        Ok(count)
    };
    let count: Result<u32> = std::thread::scope(|scope| {
        let start = |random| scope.spawn(move || deeds(random));
        let clients: Vec<_> = randoms.into_iter().map(start).collect();
        clients.into_iter().map(|client| client.join().expect("it does not panic")).sum()
    });
    let (count, renewals) = (count?, peer.dhcp_counts().renewals);
    super::figure(site, &format!("{count} deeds in {duration:?}, {renewals} renewals"));
    peer.impair(Impairment::default());
    Ok(())
}

/// More handshakes at once than there will be: the stack keeps its table of all ends as large as it was
/// (`crates/stack/src/flows.rs`).
fn many_handshakes(site: &Site) -> Result<()> {
    let (peer, SocketAddr::V4(address)) = (site.peer()?, site.address) else {
        bail!("only for IPv4");
    };
    peer.syn_flood(2000, address);
    peer.wait(PATIENCE, "the end of the SYNs", |peer| (peer.flood_left() == 0).then_some(()))
}

/// One deed, good or bad. Only good ones have to succeed.
fn deed(site: &Site, random: &mut Random) -> Result<()> {
    let (peer, SocketAddr::V4(address)) = (site.peer()?, site.address) else {
        bail!("only for IPv4");
    };
    let connect = || peer.connect(address, PATIENCE);
    let size = random.below(30_000);
    match random.below(18) {
        0..4 => {
            let mut connection = Connection::over(connect()?);
            for number in 0..=random.below(10) {
                let answer = connection.get(PAGE.0).with_context(|| format!("request {number}"))?;
                answer.expect(200, PAGE.1)?;
            }
            Ok(())
        }
        4..6 => download(site, size).with_context(|| format!("{size} bytes down")),
        6..8 => upload(site, size).with_context(|| format!("{size} bytes up")),
        8 => {
            let answer = Connection::over(connect()?).get("/chunked")?;
            ensure!(answer.body.len() == 64 << 10, "{} bytes in chunks", answer.body.len());
            Ok(())
        }
        9 => {
            connect()?.reset();
            Ok(())
        }
        10 => {
            let mut stream = connect()?;
            stream.write_all(request("/big").as_bytes())?;
            stream.read_exact(&mut vec![0; 1 + size])?;
            match random.below(3) {
                0 => stream.reset(),
                1 => stream.vanish(),
                _ => {}
            }
            Ok(())
        }
        11 => {
            let mut stream = connect()?;
            let request = request(PAGE.0);
            stream.write_all(&request.as_bytes()[..random.below(request.len())])?;
            if random.below(2) == 0 {
                stream.vanish();
            }
            Ok(())
        }
        12 => {
            let rate = |random: &mut Random| random.below(50) as u32;
            peer.impair(Impairment {
                loss: rate(random),
                duplication: rate(random),
                reorder: rate(random),
                corruption: rate(random) / 5,
                delay: Duration::from_millis(random.below(10) as u64),
            });
            Ok(())
        }
        13 => {
            let other = EthernetAddress([0x02, 0, 0, 0, 0, random.below(200) as u8 + 10]);
            peer.send(peer::claim(other, MACHINE, random.below(2) == 0));
            Ok(())
        }
        14 => {
            for _ in 0..random.below(20) {
                let from =
                    SocketAddrV4::new([10, 0, 2, 200].into(), 1 + random.below(65_000) as u16);
                let numbers = (random.next() as u32, Some(random.next() as u32));
                let kinds = [TcpControl::None, TcpControl::Fin, TcpControl::Rst, TcpControl::Syn];
                let mut frame = peer::segment(from, address, kinds[random.below(4)], numbers);
                // Every other one is not even well-formed.
                if random.below(2) == 0 {
                    let place = random.below(frame.len());
                    frame[place] = random.next() as u8;
                    frame.truncate(1 + random.below(frame.len()));
                }
                peer.send(frame);
            }
            Ok(())
        }
        15 => {
            peer.syn_flood(random.below(SYNS) as u64, address);
            Ok(())
        }
        16 => {
            // To the echo, and to ports where nobody is.
            for _ in 0..random.below(50) {
                let to = SocketAddrV4::new(*address.ip(), 7 + random.below(3) as u16);
                let from = SocketAddrV4::new(crate::network::ROUTER, 9000);
                let bytes: Vec<u8> = (0..random.below(1400)).map(|_| random.next() as u8).collect();
                peer.send(peer::datagram(peer::MACHINE_MAC, from, to, &bytes));
            }
            Ok(())
        }
        _ => {
            let garbage = (0..=random.below(1500)).map(|_| random.next() as u8).collect();
            peer.send(garbage);
            Ok(())
        }
    }
}
