//! Machines on a network: the package `http`, visited by clients of this computer.
//!
//! A case has a [`Network`], and clients that come when the machine says that it serves:
//!
//! ```text
//! http("net::tap_pci", Network::tap().nic(Nic::Pci).dhcp()).smp(4).client(client::kept_alive(100))
//! ```

use std::time::Duration;

use super::hello;
use crate::case::{Case, Image};
use crate::client::{self, Reaction};
use crate::load::Connections::{Fresh, KeptAlive};
use crate::network::{Network, Nic};
use crate::workspace::{self, Profile};

const QEMU10: &str = "qemu10-virt";

pub(super) fn all() -> Vec<Case> {
    let mut cases = cards();
    // There are cases for it before it is there.
    if workspace::root().join("examples/http").exists() {
        cases.extend([networks(), hostile(), load()].into_iter().flatten());
    }
    cases
}

/// A card that nobody drives does no harm.
fn cards() -> Vec<Case> {
    let with = |name, network| hello(name).network(network);
    vec![
        with("net::card_mmio_legacy", Network::user().nic(Nic::MmioLegacy)),
        with("net::card_mmio", Network::tap().dhcp().nic(Nic::Mmio)),
        with("net::card_pci", Network::tap().dhcp().nic(Nic::Pci)).smp(4),
        with("net::card_pci_qemu10", Network::user().nic(Nic::Pci)).board(QEMU10),
        with("net::card_u_boot", Network::user()).board("qemu-virt-uboot"),
    ]
}

/// Every network, card and emulator, on one hart and on four; not each with each.
fn networks() -> Vec<Case> {
    let (user, tap) = (Network::user(), Network::tap());
    let (mmio, pci) = (Nic::Mmio, Nic::Pci);
    let cases = [
        http("net::user_dhcp", user),
        http("net::user_dhcp_4_harts", user).smp(4),
        http("net::user_static_mmio", user.fixed().nic(mmio)),
        http("net::user_dhcp_pci", user.nic(pci)).smp(4),
        http("net::tap_static", tap),
        http("net::tap_static_mmio", tap.nic(mmio)).smp(4),
        http("net::tap_static_pci", tap.nic(pci)),
        http("net::tap_dhcp", tap.dhcp()).smp(4),
        http("net::tap_dhcp_mmio", tap.dhcp().nic(mmio)),
        http("net::tap_dhcp_pci", tap.dhcp().nic(pci)).smp(4),
        http("net::qemu10_user_dhcp", user).board(QEMU10),
        http("net::qemu10_tap_static_mmio", tap.nic(mmio)).board(QEMU10).smp(4),
        http("net::qemu10_tap_dhcp_pci", tap.dhcp().nic(pci)).board(QEMU10),
        http("net::u74", tap).board("qemu10-virt-u74"),
        http("net::u_boot", user).board("qemu-virt-uboot"),
    ];
    let visited = |case: Case| {
        case.client(client::get("/plaintext", 200, "Hello, World!"))
            .client(client::get("/no-such-page", 404, ""))
            .client(client::kept_alive(100))
            .client(client::curl("/", "<"))
    };
    let mut cases: Vec<Case> = cases.map(visited).into();
    cases.push(http("net::browser", tap).client(client::browser("/", "Wakeful")));
    cases
}

/// What breaks others: each is survived, and then an ordinary request is answered.
fn hostile() -> Vec<Case> {
    let on = |name, client| http(name, Network::tap()).client(client);
    vec![
        on("net::malformed", client::corpus()),
        on("net::huge", client::huge()).client(client::raw(b"\x16\x03\x01", Reaction::Refusal)),
        on("net::pipelined", client::pipelined(100)).client(client::slow()),
        on("net::parallel", client::parallel(300)),
        on("net::parallel_4_harts", client::parallel(300)).smp(4),
        on("net::silent", client::silent(200)),
        on("net::reset", client::reset(100)).client(client::fickle(100)),
        on("net::half_closed", client::half_closed()).client(client::lingering(50)),
    ]
}

/// A load without a single error.
fn load() -> Vec<Case> {
    let on = |name, client| {
        let mut case = http(name, Network::tap()).client(client);
        case.deadline = Duration::from_secs(120);
        case
    };
    vec![
        on("net::wrk", client::wrk(64, KeptAlive, 5)),
        on("net::wrk_2_harts", client::wrk(4, KeptAlive, 5)).smp(2),
        on("net::wrk_4_harts", client::wrk(64, KeptAlive, 5)).smp(4),
        on("net::wrk_fresh", client::wrk(16, Fresh, 5)),
        on("net::ab", client::ab(16, KeptAlive, 5000)),
        on("net::ab_fresh", client::ab(64, Fresh, 2000)),
        on("net::ab_fresh_4_harts", client::ab(64, Fresh, 2000)).smp(4),
    ]
}

fn http(name: &'static str, network: Network) -> Case {
    let image = Image::Package("http", Profile::Release);
    Case::new(name, image).network(network).never("panicked at").ends_when_seen()
}
