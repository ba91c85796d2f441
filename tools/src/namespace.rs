//! A network of a machine's own: a tap in a network namespace that has nothing else in it.
//!
//! The namespace has no name. It belongs to a thread and to all that this thread starts, QEMU and
//! clients alike, and the kernel removes it with its tap when the last of them has ended, however
//! that came about: nothing is ever left behind, machines cannot meet, and no traffic leaves. This
//! needs root on Linux.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::machine::Process;
use crate::network::{MACHINE, ROUTER, TAP};

/// What the namespace has beside the IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ipv6 {
    /// Addresses on the tap: the computer is `fd00:2::2/64`.
    On,
    /// Nothing, not even what the kernel says by itself, which a machine that is counted would hear.
    Off,
}

/// Runs `task` in a thread with a namespace of its own: what it starts finds the tap there.
pub(crate) fn inside<T: Send>(ipv6: Ipv6, task: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let in_namespace = || {
        enter()?;
        set_up(ipv6)?;
        task()
    };
    std::thread::scope(|scope| match scope.spawn(in_namespace).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Why this computer has no such networks.
pub(crate) fn unavailable() -> Option<String> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let attempt = || inside(Ipv6::Off, || Ok(())).err();
    REASON.get_or_init(|| attempt().map(|error| format!("no tap network: {error:#}"))).clone()
}

/// What to type before QEMU's command line so that it finds the tap.
pub(crate) fn by_hand() -> String {
    let script = script(Ipv6::On).trim_end().replace('\n', "; ip ");
    format!("unshare --net sh -c 'ip {script}; exec \"$SHELL\"'")
}

#[cfg(target_os = "linux")]
fn enter() -> Result<()> {
    use nix::sched::{CloneFlags, unshare};
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace; it needs root")
}

#[cfg(not(target_os = "linux"))]
fn enter() -> Result<()> {
    bail!("only Linux has network namespaces")
}

fn set_up(ipv6: Ipv6) -> Result<()> {
    // Routers are not asked for, and addresses hold at once.
    let settings = match ipv6 {
        Ipv6::On => [("router_solicitations", "0"), ("accept_dad", "0")].as_slice(),
        Ipv6::Off => &[("disable_ipv6", "1")],
    };
    for (setting, value) in settings {
        match fs::write(Path::new("/proc/sys/net/ipv6/conf/default").join(setting), value) {
            Err(error) if error.kind() == ErrorKind::NotFound => {} // No IPv6 at all.
            done => done.with_context(|| format!("cannot set {setting}"))?,
        }
    }
    let mut ip = Command::new("ip");
    ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut ip = ip.spawn().context("cannot start `ip` (Debian package iproute2)")?;
    let script = script(ipv6);
    // If it does not listen to the end, it says why.
    _ = ip.stdin.take().expect("stdin is a pipe").write_all(script.as_bytes());
    let output = ip.wait_with_output()?;
    if !output.status.success() {
        bail!("`ip` cannot make a tap: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    // Whoever has been found once is not asked again, which would wake machines that sleep.
    let reachable = format!("/proc/sys/net/ipv4/neigh/{TAP}/base_reachable_time_ms");
    fs::write(reachable, "100000000").context("cannot keep neighbours")
}

/// Commands for `ip`, a line each.
fn script(ipv6: Ipv6) -> String {
    let address = match ipv6 {
        Ipv6::On => format!("address add fd00:2::2/64 dev {TAP}\n"),
        Ipv6::Off => String::new(),
    };
    format!(
        "link set lo up\n\
         tuntap add dev {TAP} mode tap\n\
         address add {ROUTER}/24 dev {TAP}\n\
         {address}link set {TAP} up\n"
    )
}

/// The number of the tap in this thread's namespace, which IPv6 addresses of a link need.
pub(crate) fn tap_index() -> Result<u32> {
    nix::net::if_::if_nametoindex(TAP).with_context(|| format!("there is no {TAP}"))
}

/// The program that answers DHCP and DNS on the tap.
pub(crate) const DNSMASQ: &str = "dnsmasq";

/// A name that [`dnsmasq`] knows: it is the router.
pub(crate) const NAME: &str = "router.test";

/// Starts a server for DHCP, DNS and router advertisements on the tap of this thread's namespace. It
/// keeps its files in `folder`, and runs until it is dropped.
pub(crate) fn dnsmasq(folder: &Path) -> Result<Process> {
    let leases = folder.join("leases");
    let mut command = Command::new(DNSMASQ);
    command
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="])
        .args(["--no-resolv", "--no-hosts", "--bind-interfaces", "--no-ping"])
        .args(["--dhcp-authoritative", "--enable-ra"])
        .arg(format!("--interface={TAP}"))
        .arg(format!("--dhcp-range={MACHINE},{MACHINE},255.255.255.0,1h"))
        .arg("--dhcp-range=fd00:2::,slaac,64,1h")
        .arg(format!("--address=/{NAME}/{ROUTER}"))
        .arg(format!("--dhcp-leasefile={}", leases.display()))
        .arg(format!("--log-facility={}", folder.join("dnsmasq.log").display()))
        .stdin(Stdio::null());
    Process::start(command).context("there is no DHCP server for the tap")
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::board::Board;
    use crate::boot;
    use crate::machine::Machine;
    use crate::network::Network;
    use crate::qemu::Installation;
    use crate::scratch::Scratch;
    use crate::virtio::Virtio;

    /// Whether there is nothing to test here.
    fn left_out() -> bool {
        unavailable().inspect(|reason| eprintln!("left out: {reason}")).is_some()
    }

    fn links() -> String {
        let output = Command::new("ip").args(["-brief", "address"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn two_networks_are_alike_and_apart() {
        if left_out() {
            return;
        }
        let before = links();
        inside(Ipv6::On, || {
            let listener = TcpListener::bind((ROUTER, 80)).unwrap();
            inside(Ipv6::Off, || {
                let links = links();
                assert!(links.contains(TAP) && links.contains("10.0.2.2/24"), "{links}");
                assert!(!links.contains("fd00:2::2"), "{links}");
                assert!(TcpStream::connect((ROUTER, 80)).is_err(), "met the other network");
                TcpListener::bind((ROUTER, 80)).unwrap();
                Ok(())
            })
            .unwrap();
            assert!(links().contains("fd00:2::2/64"), "{}", links());
            TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(links(), before, "something was left behind");
    }

    /// With nothing to boot, U-Boot asks for an address.
    #[test]
    fn u_boot_gets_an_address_from_dnsmasq() {
        let board = Board::find("qemu-virt-uboot").unwrap();
        let u_boot = board.qemu.u_boot.as_ref().unwrap();
        if left_out() || crate::program::missing(&[DNSMASQ]).is_some() || !u_boot.exists() {
            return;
        }
        let folder = Scratch::new("dnsmasq").unwrap();
        inside(Ipv6::On, || {
            let _dnsmasq = dnsmasq(folder.path())?;
            let mut line = Installation::find(&board)?.command_line();
            line.arg("-machine").arg("virt").arg("-nographic").arg("-kernel").arg(u_boot);
            let args = Network::tap().qemu_args(Virtio::Mmio, folder.path());
            args.into_iter().for_each(|arg| _ = line.arg(arg));
            let (_machine, _keyboard, output) = Machine::start_captured(&line)?;
            let mut console = String::new();
            for piece in boot::pieces(output) {
                console.push_str(&String::from_utf8_lossy(&piece));
                if console.contains("DHCP client bound to address 10.0.2.15") {
                    return Ok(());
                }
                assert!(!console.contains("=>"), "{console}");
            }
            panic!("QEMU has ended:\n{console}");
        })
        .unwrap();
    }
}
