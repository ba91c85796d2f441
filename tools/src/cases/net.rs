//! Machines on a network: the packages `http` and `websuite`, visited by clients of this computer, and the
//! examples that are clients themselves.
//!
//! A case has a [`Network`], and clients that come when the machine says that it serves:
//!
//! ```text
//! http("net::tap_pci", Network::tap().dhcp()).virtio(Virtio::Pci).smp(4).client(client::kept_alive(100))
//! ```

use std::net::Ipv6Addr;
use std::time::Duration;

use super::hello;
use crate::case::{Case, Image, exit};
use crate::client::{self, Client, Reaction};
use crate::disk::Disk;
use crate::load::Connections::{Fresh, KeptAlive};
use crate::namespace;
use crate::network::{MACHINE_IPV6, Network, Protocol};
use crate::virtio::Virtio;
use crate::workspace::Profile;

const QEMU10: &str = "qemu10-virt";

pub(super) fn all() -> Vec<Case> {
    let all = [
        cards(),
        networks(),
        hostile(),
        many(),
        load(),
        bodies(),
        panics(),
        echoes(),
        ipv6(),
        examples(),
    ];
    all.into_iter().flatten().collect()
}

/// A card that nobody drives does no harm.
fn cards() -> Vec<Case> {
    let with = |name, network| hello(name).network(network);
    vec![
        with("net::card_mmio_legacy", Network::user()).virtio(Virtio::MmioLegacy),
        with("net::card_mmio", Network::tap().dhcp()).virtio(Virtio::Mmio),
        with("net::card_pci", Network::tap().dhcp()).virtio(Virtio::Pci).smp(4),
        with("net::card_pci_qemu10", Network::user()).virtio(Virtio::Pci).board(QEMU10),
        with("net::card_u_boot", Network::user()).board("qemu-virt-uboot"),
    ]
}

/// Every network, card and emulator, on one hart and on four; not each with each.
fn networks() -> Vec<Case> {
    let (user, tap) = (Network::user(), Network::tap());
    let (mmio, pci) = (Virtio::Mmio, Virtio::Pci);
    let cases = [
        http("net::user_dhcp", user),
        http("net::user_dhcp_4_harts", user).smp(4),
        http("net::user_static_mmio", user.fixed())
            .virtio(mmio)
            .disk(Disk::zeros(1))
            .sees("no driver in this image (add the feature `blk`)"),
        http("net::user_dhcp_pci", user).virtio(pci).smp(4),
        http("net::tap_static", tap),
        http("net::tap_static_mmio", tap).virtio(mmio).smp(4),
        http("net::tap_static_pci", tap).virtio(pci),
        http("net::tap_dhcp", tap.dhcp()).smp(4),
        http("net::tap_dhcp_mmio", tap.dhcp()).virtio(mmio),
        http("net::tap_dhcp_pci", tap.dhcp()).virtio(pci).smp(4),
        http("net::qemu10_user_dhcp", user).board(QEMU10),
        http("net::qemu10_tap_static_mmio", tap).virtio(mmio).board(QEMU10).smp(4),
        http("net::qemu10_tap_dhcp_pci", tap.dhcp()).virtio(pci).board(QEMU10),
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

/// Connections that rest, and more that talk than there may at a time.
fn many() -> Vec<Case> {
    let on = |name, client| web(name, Network::tap()).client(client);
    // Longer than a connection keeps its future, and less than the server at that port has patience.
    let (pause, patience) = (Duration::from_millis(1500), Duration::from_secs(3));
    let rest = client::resting(100, pause, patience).port(8080);
    vec![
        on("net::rest", rest.clone()),
        on("net::rest_4_harts", rest.clone()).smp(4),
        // Where they are dropped as soon as nothing is asked.
        on("net::rest_in_little_memory", rest).memory("8M"),
        on("net::crowded_in_little_memory", client::crowded("/slow", 150)).memory("8M"),
        on("net::all_harts", client::parallel(200).port(8081)).smp(4),
        on("net::all_harts_costly", client::get("/costly", 200, "done").port(8081)).smp(4),
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

/// Answers and requests of all kinds.
fn bodies() -> Vec<Case> {
    let on = |name, client| web(name, Network::tap()).client(client);
    let pause = Duration::from_millis(100);
    let stop = |name| {
        let case = on(name, client::graceful_stop("/stop", "/slow"));
        case.sees("stopped with grace").exits(exit::SUCCESS)
    };
    vec![
        on("net::chunked", client::body("/chunked", 64 << 10))
            .client(client::curl_body("/chunked", 64 << 10)),
        on("net::chunked_user", client::body("/chunked", 64 << 10)).network(Network::user()),
        on("net::big", client::body("/big", 1 << 20)).client(client::curl_body("/big", 1 << 20)),
        on("net::big_4_harts", client::body("/big", 1 << 20)).smp(4),
        on("net::events", client::events("/events", 5, pause)),
        on("net::events_in_a_burst", client::events("/burst", 5, Duration::ZERO)),
        on("net::websocket", client::websocket_echo("/echo")),
        on("net::websocket_4_harts", client::websocket_echo("/echo")).smp(4),
        on("net::upload", client::upload("/upload", 1 << 20))
            .client(client::curl_upload("/upload", 2 << 20)),
        on("net::upload_user", client::upload("/upload", 1 << 20)).network(Network::user()),
        on("net::slow_answers", client::slow_answers("/slow", 10, Duration::from_millis(300))),
        stop("net::graceful_stop"),
        stop("net::graceful_stop_4_harts").smp(4),
    ]
}

/// Handlers that panic.
fn panics() -> Vec<Case> {
    let on = |name, client| {
        let image = Image::Package("websuite", Profile::Release);
        Case::new(name, image).network(Network::tap()).client(client)
    };
    let goes_on = |name, count| {
        let case = on(name, client::panics(count)).times(count as usize, "the task is given up");
        case.client(client::graceful_stop("/stop", "/slow")).sees("stopped with grace")
    };
    vec![
        goes_on("net::panics", 1000),
        goes_on("net::panics_4_harts", 100).smp(4),
        on("net::panic_with_the_network", client::last_request("/panic-with-the-network"))
            .once("panicked at")
            .sees("as asked, with the network")
            .exits(exit::PANIC),
    ]
}

/// What is below HTTP.
fn echoes() -> Vec<Case> {
    let on = |name, client: Client| web(name, Network::tap()).client(client);
    vec![
        on("net::tcp_echo", client::tcp_echo(4 << 20).port(7)),
        on("net::tcp_echo_pci_4_harts", client::tcp_echo(4 << 20).port(7))
            .virtio(Virtio::Pci)
            .smp(4),
        on("net::udp_echo", client::udp_echo().port(7)),
        on("net::ping", client::ping()),
    ]
}

/// The machine's address of the link, and the part that it has in common with the one that routers make:
/// QEMU's first card is 52:54:00:12:34:56 (RFC 4291, appendix A).
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456);
const AUTOCONFIGURED: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456);

/// Addresses that are given, that follow from what a router says, and that are always there.
fn ipv6() -> Vec<Case> {
    let visited = |case: Case, ip| {
        case.client(client::get("/plaintext", 200, "Hello, World!").ipv6(ip))
            .client(client::kept_alive(100).ipv6(ip))
            .client(client::body("/big", 1 << 20).ipv6(ip))
            .client(client::ping().ipv6(ip))
            .client(client::udp_echo().ipv6(ip).port(7))
    };
    let given = Network::tap().fixed_ipv6();
    vec![
        visited(web("net::ipv6_static", given), MACHINE_IPV6)
            .sees("serving http://[fd00:2::15]:80/")
            .client(client::curl("/plaintext", "Hello, World!")),
        visited(web("net::ipv6_link_local", given), LINK_LOCAL).virtio(Virtio::Pci).smp(4),
        visited(web("net::ipv6_autoconfigured", Network::tap().dhcp()), AUTOCONFIGURED)
            .client(client::curl("/plaintext", "Hello, World!")),
    ]
}

/// The examples, as they say that they are tried.
fn examples() -> Vec<Case> {
    let example = |name, package, network| {
        let image = Image::Package(package, Profile::Release);
        Case::new(name, image).network(network).never("panicked at")
    };
    let echo = |name, package, protocol| {
        let network = Network::user_port(protocol, 7);
        example(name, package, network).sees("echo on port 7").ends_when_seen()
    };
    let fetch = |name, network, url: &str| {
        example(name, "http-client", network).web_server().append(&format!("-- {url}"))
    };
    let page = "Hello, World!";
    let named = format!("http://{}:PORT/plaintext", namespace::NAME);
    vec![
        echo("net::example_tcp_echo", "tcp-echo", Protocol::Tcp)
            .client(client::tcp_echo(64 << 10))
            .client(client::tcp_echo(0)),
        echo("net::example_udp_echo", "udp-echo", Protocol::Udp).client(client::udp_echo()),
        fetch("net::example_http_client", Network::user(), "http://10.0.2.2:PORT/plaintext")
            .sees(page),
        fetch("net::example_http_client_name", Network::tap().dhcp(), &named).sees(page),
        fetch("net::example_http_client_no_name", Network::tap().dhcp(), "http://nobody.test/")
            .sees("Error: \"nobody.test: ")
            .exits(exit::MAIN_ERR),
        fetch("net::example_http_client_no_server", Network::user(), "http://10.0.2.2:9/")
            .sees("Error: \"10.0.2.2:9: ")
            .exits(exit::MAIN_ERR),
    ]
}

fn http(name: &'static str, network: Network) -> Case {
    serving(name, "http", network)
}

fn web(name: &'static str, network: Network) -> Case {
    serving(name, "websuite", network)
}

fn serving(name: &'static str, package: &'static str, network: Network) -> Case {
    let image = Image::Package(package, Profile::Release);
    Case::new(name, image).network(network).never("panicked at").ends_when_seen()
}
