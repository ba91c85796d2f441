//! What is read from real trees: dumped by QEMU 7.2 (`-M virt,dumpdtb=…`, repacked by `dtc`), and
//! one written by hand after a real board.

#![expect(clippy::single_range_in_vec_init, reason = "lists of ranges are what this is about")]

use std::ops::Range;

use wakeful_devicetree::{Error, Extension, Machine, Mmu, Plic, Uart, UartKind, blob_len};

const VIRT_1: &[u8] = include_bytes!("data/virt-1.dtb");
const VIRT_4: &[u8] = include_bytes!("data/virt-4.dtb");
const VIRT_NUMA: &[u8] = include_bytes!("data/virt-numa.dtb");
const SIFIVE_U: &[u8] = include_bytes!("data/sifive-u.dtb");
const JH7110: &[u8] = include_bytes!("data/jh7110.dtb");

fn parse(blob: &[u8]) -> Machine<'_> {
    Machine::parse(blob).unwrap()
}

/// Hart ids and their PLIC contexts.
fn harts(machine: &Machine<'_>) -> Vec<(u64, Option<u32>)> {
    let harts = machine.harts.iter();
    harts.map(|hart| (hart.id, hart.plic_context)).collect()
}

fn ranges(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    ranges.to_vec()
}

#[test]
fn virt_with_one_hart() {
    let machine = parse(VIRT_1);
    assert_eq!(machine.model, "riscv-virtio,qemu");
    assert_eq!(machine.memory[..], ranges(&[0x8000_0000..0x8800_0000]));
    assert_eq!(machine.reserved[..], ranges(&[]));
    assert_eq!(harts(&machine), [(0, Some(1))]);
    assert_eq!(machine.harts[0].mmu, Mmu::Sv48);
    assert_eq!(
        machine.harts[0].isa.to_string(),
        "rv64imafdch zba zbb zbc zbs zicsr zifencei zihintpause sstc"
    );
    assert!(machine.harts[0].isa.contains(Extension::Sstc));
    assert!(!machine.harts[0].isa.contains(Extension::V));
    assert_eq!(machine.unusable_harts, 0);
    assert_eq!(machine.timebase_hz, 10_000_000);
    let plic = Plic { base: 0xc00_0000, size: 0x60_0000, sources: 96 };
    assert_eq!(machine.plic, Some(plic));
    let uart = Uart {
        base: 0x1000_0000,
        size: 0x100,
        reg_shift: 0,
        io_width: 1,
        irq: Some(10),
        kind: UartKind::Ns16550,
    };
    assert_eq!(machine.uart, Some(uart));
    assert_eq!(machine.test_device, Some(0x10_0000));
    assert_eq!(machine.bootargs, "");
    assert_eq!(machine.initrd, None);
}

#[test]
fn virt_with_four_harts() {
    let machine = parse(VIRT_4);
    // The tree lists them as cpu@0 to cpu@3, the contexts of the PLIC go the same way.
    assert_eq!(harts(&machine), [(0, Some(1)), (1, Some(3)), (2, Some(5)), (3, Some(7))]);
    assert_eq!(machine.harts[0].isa, machine.harts[3].isa);
}

#[test]
fn virt_with_two_sockets() {
    let machine = parse(VIRT_NUMA);
    // Two nodes of RAM that touch are one range.
    assert_eq!(machine.memory[..], ranges(&[0x8000_0000..0x1_0000_0000]));
    assert_eq!(machine.bootargs, "quiet loglevel=3");
    assert_eq!(machine.harts.len(), 2);
    // Each socket has its PLIC. The first one in the tree is taken; it knows one of the harts.
    let known = machine.harts.iter().filter(|hart| hart.plic_context.is_some());
    assert_eq!(known.count(), 1);
    let isa = machine.harts[0].isa;
    assert!(isa.contains(Extension::Svinval) && isa.contains(Extension::Svnapot));
    assert!(!isa.contains(Extension::H) && !isa.contains(Extension::Zbc));
}

#[test]
fn sifive_u() {
    let machine = parse(SIFIVE_U);
    assert_eq!(machine.model, "SiFive HiFive Unleashed A00");
    // Hart 0 has no MMU and one context, the others two.
    assert_eq!(harts(&machine), [(1, Some(2)), (2, Some(4)), (3, Some(6)), (4, Some(8))]);
    assert_eq!(machine.unusable_harts, 1);
    assert_eq!(machine.timebase_hz, 1_000_000);
    assert_eq!(machine.plic.unwrap().sources, 53);
    // The console is not like a 16550.
    assert_eq!(machine.uart, None);
    assert_eq!(machine.test_device, None);
}

#[test]
fn jh7110() {
    let machine = parse(JH7110);
    assert_eq!(machine.model, "StarFive VisionFive 2 v1.3B");
    assert_eq!(machine.memory[..], ranges(&[0x4000_0000..0x1_4000_0000]));
    assert_eq!(machine.reserved[..], ranges(&[0x4000_0000..0x4006_0000, 0x4200_0000..0x4201_0000]));
    assert_eq!(harts(&machine), [(1, Some(2)), (2, Some(4)), (3, Some(6)), (4, Some(8))]);
    assert_eq!(machine.unusable_harts, 1);
    assert_eq!(machine.harts[0].mmu, Mmu::Sv39);
    // By the list, and by the string.
    assert_eq!(machine.harts[0].isa.to_string(), "rv64imafdc zba zbb zicntr zicsr zifencei zihpm");
    assert_eq!(machine.harts[1].isa.to_string(), "rv64imafdc zba zbb");
    assert_eq!(machine.timebase_hz, 4_000_000);
    assert_eq!(machine.plic.unwrap().base, 0xc00_0000);
    assert_eq!(machine.plic.unwrap().sources, 136);
    let uart = Uart {
        base: 0x1000_0000,
        size: 0x1_0000,
        reg_shift: 2,
        io_width: 4,
        irq: Some(32),
        kind: UartKind::DesignWare,
    };
    assert_eq!(machine.uart, Some(uart));
    assert_eq!(machine.bootargs, "console=ttyS0,115200 root=/dev/mmcblk0p4");
    assert_eq!(machine.initrd, Some(0x4610_0000..0x4700_0000));
}

#[test]
fn free_memory_of_the_jh7110() {
    let image = 0x4020_0000..0x4030_0800;
    let tree = 0x4600_0123..0x4600_5000;
    assert_eq!(
        parse(JH7110).free_memory(&[image, tree])[..],
        ranges(&[
            0x4006_0000..0x4020_0000,
            0x4030_1000..0x4200_0000,
            0x4201_0000..0x4600_0000,
            0x4600_5000..0x4610_0000,
            0x4700_0000..0x1_4000_0000,
        ])
    );
}

#[test]
fn firmware_that_reserves_nothing_is_left_alone() {
    // Nobody has reserved 0x80000000, where OpenSBI sits.
    let image = 0x8020_0000..0x8030_0000;
    assert_eq!(
        parse(VIRT_1).free_memory(std::slice::from_ref(&image))[..],
        ranges(&[0x8030_0000..0x8800_0000])
    );
    // An image somewhere else says nothing about firmware.
    assert_eq!(
        parse(VIRT_1).free_memory(&[0x1000..0x2000])[..],
        ranges(&[0x8000_0000..0x8800_0000])
    );
}

#[test]
fn what_follows_the_tree_is_ignored() {
    let mut blob = VIRT_1.to_vec();
    blob.extend([0xff; 5000]);
    assert_eq!(parse(&blob), parse(VIRT_1));
}

#[test]
fn the_length_of_a_blob() {
    let header: &[u8; 8] = VIRT_1.first_chunk().unwrap();
    assert_eq!(blob_len(header), Ok(VIRT_1.len()));
    let error = blob_len(b"\x7fELF\0\0\0\0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "this is not a device tree: it starts with 0x7f454c46, not with 0xd00dfeed"
    );
    for says in [0, 39, (2 << 20) + 1, u32::MAX] {
        let mut header = *header;
        header[4..].copy_from_slice(&says.to_be_bytes());
        let says = says as usize;
        assert_eq!(blob_len(&header), Err(Error::UnlikelySize { says }));
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let error = Machine::parse(&VIRT_1[..100]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the device tree is cut short: its header says {} bytes, only 100 are there",
            VIRT_1.len()
        )
    );
    let error = Machine::parse(&[]).unwrap_err();
    assert_eq!(error, Error::CutShort { says: 40, there: 0 });
}
