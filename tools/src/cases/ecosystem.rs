//! Crates of others on the machine, as they are on crates.io: the packages `tools/ecosystem`. What they ask
//! a network for is served by this computer.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::case::{Case, Image};
use crate::client::{self, Client, Site};
use crate::disk::Disk;
use crate::network::Network;
use crate::service::Service;
use crate::workspace::Profile;

pub(super) fn all() -> Vec<Case> {
    vec![
        image("ecosystem::reqwless", "ecosystem-reqwless")
            .service(Service::Http { requests: 3, connections: 2 })
            .append("-- http://10.0.2.2:{port}")
            .sees("GET: StatusCode(200), 1234 bytes")
            .sees("POST: StatusCode(200), \"from a unikernel\"")
            .sees("GET again: StatusCode(200)"),
        image("ecosystem::sntpc", "ecosystem-sntpc")
            .service(Service::Time)
            .append("-- 10.0.2.2:{port}")
            .sees("seconds since 1970, stratum 1"),
        image("ecosystem::rust_mqtt", "ecosystem-rust-mqtt")
            .service(Service::Broker)
            .append("-- 10.0.2.2:{port}")
            .sees("connected")
            .sees("subscribed: GrantedQoS1")
            .sees("received: \"from a unikernel\"")
            .sees("disconnected"),
        image("ecosystem::edge_http", "ecosystem-edge-http")
            .client(client::get("/", 200, "Hello from edge-http"))
            .client(client::get("/nothing", 404, ""))
            .client(idle_after(3))
            .ends_when_seen(),
        image("ecosystem::embassy", "ecosystem-embassy")
            // To ten milliseconds if this computer has nothing else to do.
            .sees("short: 2* ms")
            .sees("long: 5* ms")
            .client(client::get("/", 200, "Hello"))
            .client(client::get("/slow", 200, "slow"))
            .client(ticks_under(300))
            .ends_when_seen(),
        Case::new("ecosystem::ekv", Image::Package("ecosystem-ekv", Profile::Release))
            .disk(Disk::zeros(2))
            .sees("a new database")
            .sees("opened 0 times before")
            .sees("opened 1 times before")
            .sees("starting again")
            .sees("OpenSBI")
            .sees("opened 2 times before")
            .sees("opened 3 times before")
            .ends_when_seen(),
    ]
}

fn image(name: &'static str, package: &'static str) -> Case {
    let image = Image::Package(package, Profile::Release);
    Case::new(name, image).network(Network::user()).never("panicked at")
}

/// Requests on one connection, and then silence: the server closes it after two seconds.
fn idle_after(requests: usize) -> Client {
    Client::new(format!("{requests} requests, then silence"), move |site| {
        let mut connection = site.open()?;
        for _ in 0..requests {
            connection.get("/")?.expect(200, "Hello from edge-http")?;
        }
        let begin = Instant::now();
        connection.closed()?;
        let after = begin.elapsed();
        let expected = Duration::from_millis(1500)..Duration::from_millis(4000);
        ensure!(expected.contains(&after), "closed after {after:?}, not after 2 s");
        Ok(())
    })
}

/// Ten ticks in a second, however many requests there are meanwhile.
fn ticks_under(requests: usize) -> Client {
    const WATCHED: Duration = Duration::from_secs(2);
    /// It is read between two ticks.
    const OFF: f64 = 2.0;
    Client::new(format!("ticks under {requests} requests"), move |site| {
        let asked = Instant::now();
        let first = ticks(site)?;
        let begin = Instant::now();
        let mut connection = site.open()?;
        (0..requests).try_for_each(|_| connection.get("/")?.expect(200, "Hello"))?;
        std::thread::sleep(WATCHED.saturating_sub(begin.elapsed())); // Ticks are for later.
        let least = begin.elapsed();
        let count = ticks(site)? - first;
        let most = asked.elapsed();
        let expected = least.as_secs_f64() * 10.0 - OFF..most.as_secs_f64() * 10.0 + OFF;
        ensure!(expected.contains(&count), "{count} ticks in {least:?} to {most:?}");
        Ok(())
    })
}

fn ticks(site: &Site) -> Result<f64> {
    let answer = site.open()?.get("/ticks")?;
    Ok(String::from_utf8_lossy(&answer.body).parse()?)
}
