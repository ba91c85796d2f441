//! sntpc as it is on crates.io: asks an NTP server what time it is.
//!
//! Its argument is the server: `10.0.2.2:123`, or a name with a port.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{format, string::String};
use core::net::SocketAddr;

use sntpc::{NtpContext, NtpTimestampGenerator, NtpUdpSocket};
use wakeful::{
    net::{self, UdpSocket},
    println,
    time::{self, Duration, Instant},
};

/// The machine has no clock of its own: its time of day begins with the boot.
#[derive(Clone, Copy)]
struct SinceBoot(Duration);

impl NtpTimestampGenerator for SinceBoot {
    fn init(&mut self) {
        self.0 = Instant::now().duration_since(Instant::from_ticks(0));
    }

    fn timestamp_sec(&self) -> u64 {
        self.0.as_secs()
    }

    fn timestamp_subsec_micros(&self) -> u32 {
        self.0.subsec_micros()
    }
}

struct Socket(UdpSocket);

impl NtpUdpSocket for Socket {
    async fn send_to(&self, bytes: &[u8], server: SocketAddr) -> sntpc::Result<usize> {
        let sent = self.0.send_to(bytes, server).await;
        sent.map(|()| bytes.len()).map_err(|_| sntpc::Error::Network)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> sntpc::Result<(usize, SocketAddr)> {
        self.0.receive_from(buffer).await.map_err(|_| sntpc::Error::Network)
    }
}

#[wakeful::main]
async fn main() -> Result<(), String> {
    let server = wakeful::arguments().next().unwrap_or("10.0.2.2:123");
    let explain = |error: net::Error| format!("{server}: {error}");
    net::configured().await.map_err(explain)?;
    let address = net::to_address(server).await.map_err(explain)?;
    let socket = Socket(UdpSocket::bind(0).map_err(explain)?);
    let context = NtpContext::new(SinceBoot(Duration::ZERO));
    let answer = time::timeout(Duration::from_secs(5), sntpc::get_time(address, &socket, context));
    let answer = answer.await.map_err(|_| format!("{server}: no answer within 5 seconds"))?;
    let answer = answer.map_err(|error| format!("{server}: {error:?}"))?;
    println!("{} seconds since 1970, stratum {}", answer.sec(), answer.stratum);
    Ok(())
}
