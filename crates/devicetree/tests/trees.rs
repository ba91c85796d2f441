//! Single rules, each on a tree that has just what it takes.

mod tree;

use std::time::{Duration, Instant};

use tree::Tree;
use wakeful_devicetree::{Error, MAX_BLOB_LEN, Machine, Mmu, UartKind};

fn error(tree: &Tree) -> Error {
    Machine::parse(&tree.blob()).unwrap_err()
}

/// Opens a bus and puts three UARTs on it; the first one is disabled.
fn uarts(tree: &mut Tree) {
    tree.begin("soc")
        .words("#address-cells", &[1])
        .words("#size-cells", &[1])
        .text("compatible", "simple-bus")
        .bytes("ranges", &[]);
    for (base, status) in [(0x1000, "disabled"), (0x2000, "okay"), (0x3000, "ok")] {
        tree.begin(&format!("serial@{base:x}"))
            .text("compatible", "ns16550a")
            .text("status", status)
            .words("reg", &[base, 0x100])
            .end();
    }
    tree.begin("rtc@9000").words("reg", &[0x9000, 0x100]).end();
    tree.end();
}

fn console(stdout_path: &str) -> Option<u64> {
    let mut tree = Tree::minimal();
    tree.begin("chosen").text("stdout-path", stdout_path).end();
    uarts(&mut tree);
    tree.begin("aliases")
        .text("serial0", "/soc/serial@3000")
        .text("serial1", "/soc/serial@2000")
        .end();
    let before = Machine::parse(&tree.blob()).unwrap().uart;

    // The order of the nodes makes no difference.
    let mut tree = Tree::minimal();
    uarts(&mut tree);
    tree.begin("aliases")
        .text("serial0", "/soc/serial@3000")
        .text("serial1", "/soc/serial@2000")
        .end();
    tree.begin("chosen").text("stdout-path", stdout_path).end();
    let after = Machine::parse(&tree.blob()).unwrap().uart;

    assert_eq!(before, after);
    after.map(|uart| uart.base)
}

#[test]
fn the_console_is_what_stdout_path_names() {
    assert_eq!(console("/soc/serial@3000"), Some(0x3000));
    assert_eq!(console("/soc/serial@2000:115200n8"), Some(0x2000));
    assert_eq!(console("serial0"), Some(0x3000));
    assert_eq!(console("serial1:115200n8"), Some(0x2000));
    // Disabled, not a UART, not there.
    assert_eq!(console("/soc/serial@1000"), None);
    assert_eq!(console("/soc/rtc@9000"), None);
    assert_eq!(console("/soc/serial@4000"), None);
    assert_eq!(console("/soc"), None);
    assert_eq!(console("/soc/serial@2000/port"), None);
    assert_eq!(console("serial"), None);
    assert_eq!(console("serial2"), None);
    // Without unit address the first one that can be used.
    assert_eq!(console("/soc/serial"), Some(0x2000));
    assert_eq!(console(""), Some(0x2000));
}

#[test]
fn without_stdout_path_the_console_is_the_first_that_can_be() {
    let mut tree = Tree::minimal();
    uarts(&mut tree);
    let blob = tree.blob();
    assert_eq!(Machine::parse(&blob).unwrap().uart.unwrap().base, 0x2000);
}

#[test]
fn uarts_that_cannot_be_driven_are_not_there() {
    let with = |properties: &[(&str, u32)]| {
        let mut tree = Tree::minimal();
        tree.begin("serial@1000")
            .text("compatible", "vendor,uart\0snps,dw-apb-uart")
            .words("reg", &[0, 0x1000, 0, 0x100]);
        for (name, value) in properties {
            tree.words(name, &[*value]);
        }
        tree.end();
        Machine::parse(&tree.blob()).unwrap().uart
    };
    let uart = with(&[]).unwrap();
    assert_eq!((uart.base, uart.size, uart.irq), (0x1000, 0x100, None));
    assert_eq!((uart.reg_shift, uart.io_width), (0, 1));
    assert_eq!(uart.kind, UartKind::DesignWare);
    let uart = with(&[("reg-offset", 0x20), ("reg-shift", 2), ("reg-io-width", 4)]).unwrap();
    assert_eq!((uart.base, uart.size), (0x1020, 0xe0));
    assert_eq!(with(&[("reg-io-width", 2)]), None);
    assert_eq!(with(&[("reg-shift", 4)]), None);
    // Registers beyond the range.
    assert_eq!(with(&[("reg-offset", 0x101)]), None);
    assert_eq!(with(&[("reg-offset", 0xf9)]), None);
    assert!(with(&[("reg-offset", 0xf8)]).is_some());
}

#[test]
fn an_interrupt_may_name_its_controller() {
    let mut tree = Tree::minimal();
    tree.begin("serial@1000")
        .text("compatible", "ns16550")
        .words("interrupts-extended", &[3, 10])
        .words("reg", &[0, 0x1000, 0, 0x100])
        .end();
    let blob = tree.blob();
    assert_eq!(Machine::parse(&blob).unwrap().uart.unwrap().irq, Some(10));
}

#[test]
fn addresses_on_a_bus_are_translated() {
    let base = |inner: &[u32], outer: &[u32]| {
        let mut tree = Tree::minimal();
        tree.begin("soc")
            .words("#address-cells", &[1])
            .words("#size-cells", &[1])
            .text("compatible", "vendor,soc\0simple-bus")
            .words("ranges", outer);
        tree.begin("bus")
            .words("#address-cells", &[1])
            .words("#size-cells", &[1])
            .text("compatible", "simple-bus")
            .words("ranges", inner);
        tree.begin("test@100")
            .text("compatible", "sifive,test1\0sifive,test0")
            .words("reg", &[0x100, 0x1000])
            .end();
        tree.end().end();
        Machine::parse(&tree.blob()).unwrap().test_device
    };
    assert_eq!(base(&[], &[]), Some(0x100));
    assert_eq!(base(&[0, 0x5000, 0x1000], &[]), Some(0x5100));
    assert_eq!(base(&[0, 0x5000, 0x1000], &[0x5000, 1, 0, 0x8000]), Some(0x1_0000_0100));
    // The second window.
    let windows = [0x1000, 0x5000, 0x1000, 0, 0x7000, 0x101];
    assert_eq!(base(&windows, &[]), Some(0x7100));
    // In no window, or in one that ends beyond the address space.
    assert_eq!(base(&[0, 0x5000, 0x100], &[]), None);
    assert_eq!(base(&[], &[0, u32::MAX, u32::MAX, 0x1000]), None);
}

#[test]
fn harts_need_an_mmu_and_a_good_status() {
    let mut tree = Tree::minimal();
    tree.begin("cpus").words("#address-cells", &[2]).words("#size-cells", &[0]);
    for (id, mmu, status) in [
        (1, "riscv,sv48", "okay"),
        (2, "riscv,sv57", "ok"),
        (3, "riscv,sv32", "okay"),
        (4, "riscv,none", "okay"),
        (5, "riscv,sv39", "disabled"),
        (6, "riscv,sv39", "fail-broken"),
        (7, "", "okay"),
    ] {
        tree.begin(&format!("cpu@{id}"))
            .words("reg", &[1, id])
            .text("mmu-type", mmu)
            .text("status", status)
            .end();
    }
    tree.begin("cpu@8").words("reg", &[8]).text("mmu-type", "riscv,sv39").end();
    tree.begin("cpu-map").end().begin("l2-cache").end().end();
    let blob = tree.blob();
    let machine = Machine::parse(&blob).unwrap();
    let harts: Vec<_> = machine.harts.iter().map(|hart| (hart.id, hart.mmu)).collect();
    assert_eq!(harts, [(0, Mmu::Sv39), (0x1_0000_0001, Mmu::Sv48), (0x1_0000_0002, Mmu::Sv57)]);
    assert_eq!(machine.unusable_harts, 6);
}

#[test]
fn more_than_64_harts_are_counted() {
    let mut tree = Tree::minimal();
    tree.begin("cpus").words("#address-cells", &[1]).words("#size-cells", &[0]);
    for id in 1..100 {
        tree.hart(id).begin("interrupt-controller").words("phandle", &[id]).end().end();
    }
    tree.end();
    tree.begin("plic@c000000")
        .text("compatible", "riscv,plic0")
        .words("reg", &[0, 0xc00_0000, 0, 0x60_0000])
        .words("riscv,ndev", &[u32::MAX])
        // Unused, of a hart that found no place, the right one, once more, cut off.
        .words("interrupts-extended", &[1, u32::MAX, 80, 9, 1, 11, 1, 9, 1, 9, 2])
        .end();
    let blob = tree.blob();
    let machine = Machine::parse(&blob).unwrap();
    assert_eq!((machine.harts.len(), machine.unusable_harts), (64, 36));
    assert_eq!(machine.harts[1].plic_context, Some(3));
    assert_eq!(machine.harts[0].plic_context, None);
    assert_eq!(machine.plic.unwrap().sources, 1023);
    let contexts = machine.harts.iter().filter(|hart| hart.plic_context.is_some());
    assert_eq!(contexts.count(), 1);
}

#[test]
fn what_is_required_is_missed() {
    let mut tree = Tree::new();
    assert_eq!(error(&tree).to_string(), "the device tree has no memory node");

    tree.words("#size-cells", &[1]);
    tree.begin("memory").words("reg", &[0, 0x8000_0000, 0x1000]).end();
    assert_eq!(error(&tree).to_string(), "the device tree lists no hart");

    tree.begin("cpus").begin("cpu").words("reg", &[0, 0]).end().end();
    assert_eq!(
        error(&tree).to_string(),
        "no hart can run this image: of 1 in the device tree none is enabled and has S-mode with \
         an MMU"
    );

    tree.begin("cpus").words("#address-cells", &[1]).hart(0).end().end();
    assert_eq!(error(&tree).to_string(), "/cpus has no timebase-frequency");

    tree.begin("cpus").words("#address-cells", &[1]);
    tree.hart(1).words("timebase-frequency", &[1, 2]).end().end();
    let blob = tree.blob();
    let machine = Machine::parse(&blob).unwrap();
    assert_eq!(machine.timebase_hz, 0x1_0000_0002);
    assert_eq!(machine.model, "");
}

#[test]
fn memory_that_cannot_be_is_an_error_with_its_name() {
    let with = |reg: &[u32]| {
        let mut tree = Tree::minimal();
        tree.begin("memory@1").words("reg", reg).end();
        Machine::parse(&tree.blob()).map(|machine| machine.memory.len())
    };
    assert_eq!(
        with(&[u32::MAX, 0xffff_f000, 0, 0x1000]).unwrap_err().to_string(),
        "the device tree's node memory@1 has a range that ends beyond 64 bits"
    );
    assert_eq!(
        with(&[1, 2, 3]).unwrap_err().to_string(),
        "the device tree's node memory@1 has a reg that is not a list of addresses and sizes"
    );
    assert_eq!(with(&[u32::MAX, 0xffff_e000, 0, 0x1000]), Ok(2));
    assert_eq!(with(&[]), Ok(1));
    assert_eq!(with(&[1, 0, 0, 0]), Ok(1));

    for (address, size) in [(200, 2), (2, u32::MAX), (3, 2), (0, 0)] {
        let mut tree = Tree::minimal();
        tree.begin("reserved-memory")
            .words("#address-cells", &[address])
            .words("#size-cells", &[size])
            .begin("firmware\u{7f}")
            .words("reg", &[1, 2, 3, 4, 5])
            .end()
            .end();
        assert_eq!(
            error(&tree).to_string(),
            "the device tree's node firmware? has a reg that is not a list of addresses and sizes"
        );
    }
}

#[test]
fn memory_nodes_add_up() {
    let mut tree = Tree::minimal();
    for (at, status) in [(1_u32, "okay"), (2, "disabled")] {
        tree.begin(&format!("memory@{at}"))
            .text("status", status)
            .words("reg", &[at, 0, 0, 0x1000, at, 0x2000, 0, 0x1000])
            .end();
    }
    // Only RAM by its type, not by its name.
    tree.begin("memory@3").text("device_type", "flash").words("reg", &[3, 0, 0, 1]).end();
    tree.begin("memory-controller").words("reg", &[3, 0, 0, 1]).end();
    let blob = tree.blob();
    assert_eq!(
        Machine::parse(&blob).unwrap().memory[..],
        [0x8000_0000..0x8800_0000, 0x1_0000_0000..0x1_0000_1000, 0x1_0000_2000..0x1_0000_3000]
    );

    let mut tree = Tree::minimal();
    let many: Vec<u32> = (0..100).flat_map(|n| [1, n * 0x2000, 0, 0x1000]).collect();
    tree.begin("memory@4").words("reg", &many).end();
    assert_eq!(Machine::parse(&tree.blob()).unwrap().memory.len(), 16);
}

#[test]
fn no_reservation_is_lost() {
    // Backwards, with overlaps: 64 entries that make one range.
    let mut tree = Tree::minimal();
    for n in (0..64).rev() {
        tree.reserve(0x8000_0000 + n * 0x1000, 0x1800);
    }
    tree.reserve(0, 0x1000).reserve(0x9000_0000, 0);
    tree.begin("reserved-memory").words("#address-cells", &[2]).words("#size-cells", &[2]);
    tree.begin("a").words("reg", &[0, 0x1000, 0, 1]).end();
    tree.begin("b").text("status", "disabled").words("reg", &[0, 0x5000, 0, 1]).end();
    tree.begin("c").words("size", &[0, 0x5000]).end();
    tree.end();
    let blob = tree.blob();
    assert_eq!(Machine::parse(&blob).unwrap().reserved[..], [0..0x1001, 0x8000_0000..0x8004_0800]);

    let mut tree = Tree::minimal();
    for n in 0..32 {
        tree.reserve(n * 0x1000, 0x800);
    }
    assert_eq!(Machine::parse(&tree.blob()).unwrap().reserved.len(), 32);
    tree.reserve(0x10_0000, 0x800);
    assert_eq!(
        error(&tree).to_string(),
        "the device tree reserves too many separate ranges of memory: there is no place for that \
         of /memreserve/"
    );
    let mut tree = Tree::minimal();
    tree.reserve(u64::MAX, 1);
    assert!(matches!(error(&tree), Error::RangeOverflow { .. }));
}

#[test]
fn strings_that_are_none_are_empty() {
    let mut tree = Tree::minimal();
    tree.begin("chosen")
        .bytes("bootargs", b"\xff\xfe\0")
        .bytes("stdout-path", b"")
        .words("linux,initrd-start", &[2])
        .words("linux,initrd-end", &[1])
        .end();
    let blob = tree.blob();
    let machine = Machine::parse(&blob).unwrap();
    assert_eq!((machine.bootargs, &machine.initrd), ("", &None));

    let mut tree = Tree::minimal();
    tree.begin("chosen").bytes("bootargs", b"no end").end();
    assert_eq!(Machine::parse(&tree.blob()).unwrap().bootargs, "no end");
}

#[test]
fn structures_that_are_none_are_refused() {
    const BEGIN: u32 = 1;
    const END: u32 = 2;
    const PROP: u32 = 3;
    const NOP: u32 = 4;
    const DONE: u32 = 9;
    let tree = Tree::new();
    let parse = |words: &[u32]| {
        let structure: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let blob = tree.blob_of(&structure);
        let Err(error) = Machine::parse(&blob) else {
            panic!("{words:?} is a machine");
        };
        error
    };
    // Well formed, but nothing in it.
    assert_eq!(parse(&[NOP, BEGIN, 0, NOP, END, NOP, DONE]), Error::NoMemory);
    // The place of the piece that is wrong: the structure starts at 56.
    assert_eq!(parse(&[BEGIN, 0, 5, END, DONE]), Error::Damaged { offset: 64 });
    assert_eq!(parse(&[BEGIN, 0, PROP, 100, 0]), Error::Damaged { offset: 64 });
    assert_eq!(parse(&[BEGIN, 0]), Error::Damaged { offset: 64 });
    let a = 0x6100_0000;
    assert_eq!(parse(&[BEGIN, 0, BEGIN, a, END, END, DONE]), Error::NoMemory);
    for words in [
        &[][..],
        &[DONE],
        &[END],
        &[BEGIN],
        &[BEGIN, 0],
        &[BEGIN, 0, DONE],
        &[BEGIN, 0, END],
        &[BEGIN, 0, END, END, DONE],
        // A second root, a property beside the root, a token that is none.
        &[BEGIN, 0, END, BEGIN, 0, END, DONE],
        &[PROP, 0, 0, BEGIN, 0, END, DONE],
        &[BEGIN, 0, END, PROP, 0, 0, DONE],
        &[BEGIN, 0, 5, END, DONE],
        &[BEGIN, 0, 0x0100_0004, END, DONE],
        // A property that is too long, has no name, follows a child.
        &[BEGIN, 0, PROP, 100, 0, END, DONE],
        &[BEGIN, 0, PROP, u32::MAX, 0, END, DONE],
        &[BEGIN, 0, PROP, 0, 100, END, DONE],
        &[BEGIN, 0, BEGIN, a, END, PROP, 0, 0, END, DONE],
        // Inside of what is skipped.
        &[BEGIN, 0, BEGIN, a, BEGIN, a, DONE],
        &[BEGIN, 0, BEGIN, a, BEGIN, a, BEGIN, a, END, END, END, DONE],
    ] {
        let error = parse(words);
        assert!(matches!(error, Error::Damaged { .. }), "{words:?}: {error}");
    }
}

/// Fills a blob up to what is accepted at most.
fn fill(mut tree: Tree, more: impl Fn(&mut Tree) -> &mut Tree, close: usize) -> Vec<u8> {
    let before = tree.len();
    more(&mut tree);
    let step = tree.len() - before;
    while tree.len() + step + 4 * close <= MAX_BLOB_LEN {
        more(&mut tree);
    }
    for _ in 0..close {
        tree.end();
    }
    tree.blob()
}

#[test]
fn the_largest_trees_take_no_time() {
    let bus = |tree: &mut Tree, windows: &[u32]| {
        tree.begin("b")
            .words("#address-cells", &[1])
            .words("#size-cells", &[1])
            .text("compatible", "simple-bus")
            .words("ranges", windows);
    };
    // Devices below as many buses with as many windows as are looked at.
    let windows: Vec<u32> = (0..64).flat_map(|n| [n, n, u32::from(n == 15)]).collect();
    let mut buses = Tree::minimal();
    bus(&mut buses, &[0, 0, 0, 1000]);
    for _ in 0..5 {
        bus(&mut buses, &windows);
    }
    let devices = fill(
        buses,
        |tree| tree.begin("u").text("compatible", "ns16550").words("reg", &[15, 1]).end(),
        6,
    );
    let deep = fill(Tree::minimal(), |tree| tree.begin("deep"), 0);
    let nops = fill(Tree::minimal(), |tree| tree.word(4), 0);
    let nodes = fill(Tree::minimal(), |tree| tree.begin("a").end(), 0);
    let mut cpus = Tree::minimal();
    cpus.begin("cpus").words("#address-cells", &[1]);
    let harts = fill(cpus, |tree| tree.hart(1).text("riscv,isa", "rv64i_zba_zbb_svpbmt").end(), 1);
    let reservations = fill(Tree::minimal(), |tree| tree.reserve(1, 2), 0);
    let mut strings = Tree::minimal();
    strings.begin("d").text("compatible", &"a\0".repeat(1_000_000)).end();

    for (name, blob) in [
        ("devices", devices),
        ("deep", deep),
        ("nops", nops),
        ("nodes", nodes),
        ("harts", harts),
        ("reservations", reservations),
        ("strings", strings.blob()),
    ] {
        assert!(blob.len() <= MAX_BLOB_LEN);
        let start = Instant::now();
        let result = Machine::parse(&blob);
        let took = start.elapsed();
        println!("{name}: {} bytes in {took:?}", blob.len());
        assert_eq!(result.is_ok(), name != "deep", "{name}: {result:?}");
        // A hundred times what an unoptimised build takes.
        assert!(took < Duration::from_secs(10), "{name} took {took:?}");
    }
}
