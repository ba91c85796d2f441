//! The example `files`: a web server of what is on a disk, visited by clients who know what that is.

mod visitors;

use std::time::Duration;

use crate::case::{Case, Image, exit};
use crate::disk::{Disk, Table};
use crate::network::Network;
use crate::virtio::Virtio;
use crate::workspace::Profile;

pub(super) fn all() -> Vec<Case> {
    [machines(), disks(), hard_times()].into_iter().flatten().collect()
}

/// The long file's length.
const LONG: usize = 20 << 20;

/// How many files there are for clients who come at once.
const MANY: usize = 16;

/// Everything on the disk. Names are of all kinds that FAT can keep, which is not `<`.
fn site() -> Vec<(String, usize)> {
    let named = [
        ("plain.txt", 1000),
        ("empty", 0),
        ("long.bin", LONG),
        ("site/index.html", 300),
        ("names/a b.txt", 10),
        ("names/ä €.html", 11),
        ("names/&amp;'#%41;.css", 12),
        ("names/100% +1.js", 13),
        ("names/Below/x", 14),
        ("names/a name that is longer than the eight and three letters of old.svg", 15),
    ];
    let many = (0..MANY).map(|number| (format!("many/{number:02}.bin"), many_len(number)));
    named.map(|(path, len)| (path.to_owned(), len)).into_iter().chain(many).collect()
}

/// The length of one of the files in `many`: no two are alike.
fn many_len(number: usize) -> usize {
    100_000 + number * 70_001
}

/// All that a client can ask, on each kind of machine.
fn machines() -> Vec<Case> {
    let (user, tap) = (Network::user(), Network::tap());
    let cases = [
        case("files::tap", tap),
        case("files::tap_4_harts", tap).smp(4),
        case("files::pci", tap).virtio(Virtio::Pci),
        case("files::pci_4_harts", tap).virtio(Virtio::Pci).smp(4),
        case("files::user", user),
        case("files::qemu10_u74", tap).board("qemu10-virt-u74"),
    ];
    let slow = |mut case: Case| {
        case.deadline = Duration::from_secs(120);
        case
    };
    cases.map(|case| slow(visited(case.disk(Disk::files(site(), Table::None))))).into()
}

fn visited(case: Case) -> Case {
    case.client(visitors::whole("/plain.txt", 1000, "text/plain; charset=utf-8"))
        .client(visitors::whole("/empty", 0, "application/octet-stream"))
        .client(visitors::whole("/long.bin", LONG, "application/octet-stream"))
        .client(visitors::ranges("/long.bin", LONG))
        .client(visitors::known("/plain.txt", 1000))
        .client(visitors::head("/long.bin", LONG))
        .client(visitors::directory("/names/", 6))
        .client(visitors::index("/site", 300))
        .client(visitors::refused())
        .client(visitors::at_once(MANY, |number| {
            (format!("/many/{number:02}.bin"), many_len(number))
        }))
}

/// Disks of all kinds, and none.
fn disks() -> Vec<Case> {
    let tap = Network::tap();
    let small = |case: Case| {
        case.client(visitors::whole("/long.bin", LONG, "application/octet-stream"))
            .client(visitors::directory("/names/", 6))
    };
    let nothing = |name, reason| {
        let case = Case::new(name, FILES).network(Network::user()).never("panicked at");
        case.sees(reason).sees("make run APP=files DISK=").exits(exit::MAIN_ERR)
    };
    vec![
        small(case("files::mbr", tap).disk(Disk::files(site(), Table::Mbr))),
        small(case("files::gpt", tap).disk(Disk::files(site(), Table::Gpt))),
        small(case("files::read_only", tap).disk(Disk::files(site(), Table::None).read_only())),
        nothing("files::no_disk", "Error: this machine has no disk"),
        nothing("files::no_volume", "Error: the disk has no FAT volume").disk(Disk::zeros(1)),
    ]
}

/// Clients who go, and who are many.
fn hard_times() -> Vec<Case> {
    let on = |name| case(name, Network::tap()).disk(Disk::files(site(), Table::None));
    let vanish = |mut case: Case| {
        case.deadline = Duration::from_secs(120);
        // Each has a buffer of 16 KiB: if they were kept, there would be no memory for the last ones.
        case.memory("16M")
            .client(visitors::vanishing("/long.bin", 1500))
            .client(visitors::whole("/plain.txt", 1000, "text/plain; charset=utf-8"))
            .client(visitors::whole("/long.bin", LONG, "application/octet-stream"))
    };
    let loaded = |case: Case| {
        let mut case = case.client(visitors::loaded("/plain.txt", 64, 5));
        case.deadline = Duration::from_secs(120);
        case
    };
    vec![
        vanish(on("files::vanishing")),
        vanish(on("files::vanishing_4_harts")).smp(4),
        loaded(on("files::wrk")),
        loaded(on("files::wrk_4_harts")).smp(4),
    ]
}

const FILES: Image = Image::Package("files", Profile::Release);

fn case(name: &'static str, network: Network) -> Case {
    Case::new(name, FILES).network(network).never("panicked at").ends_when_seen()
}
