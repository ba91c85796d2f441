//! What drivers find in real trees, and that no tree does harm.

#[expect(dead_code, reason = "other tests write more than these")]
mod tree;

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tree::Tree;
use wakeful_devicetree::{Devices, Error, Space, VirtioMmio, Window, devices};

const VIRT_1: &[u8] = include_bytes!("data/virt-1.dtb");
const VIRT_4: &[u8] = include_bytes!("data/virt-4.dtb");
const SIFIVE_U: &[u8] = include_bytes!("data/sifive-u.dtb");
const JH7110: &[u8] = include_bytes!("data/jh7110.dtb");

const BLOBS: [&[u8]; 5] = [VIRT_1, VIRT_4, include_bytes!("data/virt-numa.dtb"), SIFIVE_U, JH7110];

#[test]
fn virtio_places_of_virt() {
    for blob in [VIRT_1, VIRT_4] {
        let mut places = devices(blob).unwrap().virtio;
        places.sort_by_key(|place| place.base);
        let expected = (1..=8).map(|number| VirtioMmio {
            base: 0x1000_0000 + u64::from(number) * 0x1000,
            size: 0x1000,
            interrupt: Some(number),
        });
        assert_eq!(places[..], expected.collect::<Vec<_>>());
    }
}

#[test]
fn pci_host_of_virt() {
    let devices = devices(VIRT_1).unwrap();
    let [host] = &devices.pci[..] else { panic!("one host: {:?}", devices.pci) };
    assert_eq!((host.ecam, host.ecam_size), (0x3000_0000, 0x1000_0000));
    let windows = [
        Window { space: Space::Io, pci: 0, cpu: 0x300_0000, size: 0x1_0000 },
        Window { space: Space::Memory32, pci: 0x4000_0000, cpu: 0x4000_0000, size: 0x4000_0000 },
        Window {
            space: Space::Memory64,
            pci: 0x4_0000_0000,
            cpu: 0x4_0000_0000,
            size: 0x4_0000_0000,
        },
    ];
    assert_eq!(host.windows[..], windows);
}

/// QEMU turns the four pins by the number of the device, onto the sources 32 to 35.
#[test]
fn pci_interrupts_of_virt() {
    let devices = devices(VIRT_1).unwrap();
    let host = &devices.pci[0];
    for device in 0..32 {
        for pin in 1..=4 {
            let source = 32 + (u32::from(device) + u32::from(pin) - 1) % 4;
            assert_eq!(host.interrupt(device, 0, pin), Some(source), "{device} {pin}");
            assert_eq!(host.interrupt(device, 7, pin), Some(source), "{device} {pin}");
        }
        assert_eq!(host.interrupt(device, 0, 0), None);
        assert_eq!(host.interrupt(device, 0, 5), None);
    }
}

#[test]
fn seeds() {
    assert_eq!(devices(VIRT_1).unwrap().rng_seed.len(), 32);
    assert_eq!(devices(JH7110).unwrap().rng_seed, b"");
}

#[test]
fn machines_without() {
    for blob in [SIFIVE_U, JH7110] {
        let devices = devices(blob).unwrap();
        assert!(devices.virtio.is_empty() && devices.pci.is_empty());
    }
}

/// Replaces a string in a blob by one of the same length.
fn with(blob: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut blob = blob.to_vec();
    let mut at = 0;
    while let Some(next) = blob[at..].windows(old.len()).position(|bytes| bytes == old) {
        blob[at + next..][..old.len()].copy_from_slice(new);
        at += next + old.len();
    }
    blob
}

#[test]
fn other_devices_are_not_taken() {
    let blob = with(VIRT_1, b"virtio,mmio\0", b"virtio,none\0");
    assert!(devices(&blob).unwrap().virtio.is_empty());
    let blob = with(VIRT_1, b"pci-host-ecam-generic\0", b"pci-host-ecam-special\0");
    assert!(devices(&blob).unwrap().pci.is_empty());
}

/// A bus `soc` at 0x1_0000_0000 with a virtio device and a PCI host; `change` may add properties to
/// the bus, and to the two.
fn soc(change: impl Fn(&str, &mut Tree)) -> Vec<u8> {
    let mut tree = Tree::minimal();
    tree.begin("soc")
        .words("#address-cells", &[1])
        .words("#size-cells", &[1])
        .text("compatible", "simple-bus")
        .words("ranges", &[0, 1, 0, 0x8000_0000]);
    change("soc", &mut tree);
    tree.begin("virtio@1000").text("compatible", "virtio,mmio").words("reg", &[0x1000, 0x200]);
    change("virtio", &mut tree);
    tree.end();
    tree.begin("pci@10000000")
        .text("compatible", "pci-host-ecam-generic")
        .words("#address-cells", &[3])
        .words("#size-cells", &[2])
        .words("reg", &[0x1000_0000, 0x10_0000])
        .words("ranges", &[0x0200_0000, 0, 0x4000_0000, 0x4000_0000, 0, 0x100_0000])
        // One device with two pins, at a PLIC whose addresses take a cell.
        .words("interrupt-map", &[0, 0, 0, 1, 7, 99, 40, 0, 0, 0, 2, 7, 99, 41])
        .words("interrupt-map-mask", &[0, 0, 0, 7]);
    change("pci", &mut tree);
    tree.end();
    tree.begin("plic")
        .text("compatible", "riscv,plic0")
        .words("phandle", &[7])
        .words("#address-cells", &[1])
        .end();
    tree.end();
    tree.blob()
}

#[test]
fn devices_on_a_bus_are_translated() {
    let blob = soc(|node, tree| {
        if node == "virtio" {
            tree.words("interrupts-extended", &[7, 33]);
        }
    });
    let found = devices(&blob).unwrap();
    let place = VirtioMmio { base: 0x1_0000_1000, size: 0x200, interrupt: Some(33) };
    assert_eq!(found.virtio[..], [place]);
    assert_eq!(found.pci[0].ecam, 0x1_1000_0000);
    let window =
        Window { space: Space::Memory32, pci: 0x4000_0000, cpu: 0x1_4000_0000, size: 0x100_0000 };
    assert_eq!(found.pci[0].windows[..], [window]);
    let interrupt = |pin| found.pci[0].interrupt(5, 0, pin);
    assert_eq!([1, 2, 3].map(interrupt), [Some(40), Some(41), None]);
}

#[test]
fn what_is_disabled_is_not_there() {
    for (disabled, virtio, pci) in [("soc", 0, 0), ("virtio", 0, 1), ("pci", 1, 0)] {
        let blob = soc(|node, tree| {
            if node == disabled {
                tree.text("status", "disabled");
            }
        });
        let found = devices(&blob).unwrap();
        assert_eq!((found.virtio.len(), found.pci.len()), (virtio, pci), "{disabled}");
    }
}

#[test]
fn too_many_are_left_out() {
    let mut tree = Tree::minimal();
    for number in 0..40 {
        tree.begin(&format!("virtio@{number}"))
            .text("compatible", "virtio,mmio")
            .words("reg", &[0, number << 12, 0, 0x1000])
            .end();
    }
    assert_eq!(devices(&tree.blob()).unwrap().virtio.len(), 32);
}

#[test]
fn without_plic_pci_has_no_interrupts() {
    let blob = with(VIRT_1, b"riscv,plic0\0", b"riscv,none0\0");
    let blob = with(&blob, b"sifive,plic-1.0.0\0", b"sifive,none-1.0.0\0");
    assert_eq!(devices(&blob).unwrap().pci[0].interrupt(1, 0, 1), None);
}

/// Whatever is found makes sense.
fn find(blob: &[u8]) -> Result<Devices<'_>, Error> {
    let found = devices(blob)?;
    let range = |start: u64, size: u64| -> Range<u64> { start..start.checked_add(size).unwrap() };
    for place in &found.virtio {
        range(place.base, place.size);
        assert!(place.interrupt.is_none_or(|source| (1..=1023).contains(&source)));
    }
    for host in &found.pci {
        range(host.ecam, host.ecam_size);
        for window in &host.windows {
            range(window.pci, window.size);
            range(window.cpu, window.size);
        }
        for (device, pin) in [(0, 0), (1, 1), (31, 4), (255, 255)] {
            let source = host.interrupt(device, 7, pin);
            assert!(source.is_none_or(|source| (1..=1023).contains(&source)));
        }
    }
    Ok(found)
}

#[test]
fn every_truncation_is_refused() {
    for blob in BLOBS {
        find(blob).unwrap();
        for len in 0..blob.len() {
            find(&blob[..len]).unwrap_err();
            if len >= 40 {
                let mut blob = blob[..len].to_vec();
                blob[4..8].copy_from_slice(&(len as u32).to_be_bytes());
                find(&blob).unwrap_err();
            }
        }
    }
}

#[test]
fn every_byte_may_be_anything() {
    let mut blob = VIRT_1.to_vec();
    for at in 0..blob.len() {
        let kept = blob[at];
        for byte in [0, 1, 2, 3, 4, 9, 0x7f, 0x80, 0xff, kept ^ 1, kept ^ 0x20] {
            blob[at] = byte;
            let _ = find(&blob);
        }
        blob[at] = kept;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutated_words(
        blob in 0..BLOBS.len(),
        changes in vec(
            (any::<Index>(), prop_oneof![0_u32..16, any::<u32>(), 0_u32..6000, Just(u32::MAX)]),
            1..8,
        ),
    ) {
        let mut blob = BLOBS[blob].to_vec();
        for (at, word) in changes {
            let at = at.index(blob.len() / 4) * 4;
            blob[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        let _ = find(&blob);
    }

    /// Pieces of one tree put into another, or taken out.
    #[test]
    fn spliced(
        into in 0..BLOBS.len(),
        from in 0..BLOBS.len(),
        splices in vec(any::<[Index; 4]>(), 1..4),
    ) {
        let mut blob = BLOBS[into].to_vec();
        let from = BLOBS[from];
        for [start, end, source, source_end] in splices {
            let word_at = |index: &Index, blob: &[u8]| index.index(blob.len() / 4) * 4;
            let (a, b) = (word_at(&start, &blob), word_at(&end, &blob));
            let (c, d) = (word_at(&source, from), word_at(&source_end, from));
            blob.splice(a.min(b)..a.max(b), from[c.min(d)..c.max(d)].iter().copied());
        }
        if blob.len() >= 8 {
            let len = blob.len() as u32;
            blob[4..8].copy_from_slice(&len.to_be_bytes());
        }
        let _ = find(&blob);
    }
}
