//! The list of test cases. How they are run is [`crate::suite`]'s business.
//!
//! The guest of most cases is the package `testsuite`: its boot argument `case=NAME` selects what
//! it does.

mod ecosystem;
mod files;
mod hard;
mod net;
mod volumes;

use anyhow::Result;
use dtoolkit::model::{DeviceTree, DeviceTreeProperty};

use crate::case::{Case, Image, exit};
use crate::disk::Disk;
use crate::tree::Tree;
use crate::virtio::Virtio;
use crate::workspace::Profile;

const HELLO: Image = Image::Package("hello", Profile::Release);
const HELLO_DEV: Image = Image::Package("hello", Profile::Dev);
const TESTSUITE: Image = Image::Package("testsuite", Profile::Release);

/// Every case.
pub(crate) fn all() -> Result<Vec<Case>> {
    let all = [
        boards(),
        faults(),
        panics(),
        given_up(),
        runtime(),
        scheduler(),
        embassy(),
        devices(),
        disks(),
        volumes::all(),
        other_machines(),
        trees(),
        strangers(),
        net::all(),
        files::all(),
        hard::all()?,
        ecosystem::all(),
    ];
    Ok(all.into_iter().flatten().collect())
}

/// `hello` on every board, and on unusual amounts of harts and memory. It prints facts in the order
/// of memory, hart by hart, number of harts, timebase.
fn boards() -> Vec<Case> {
    vec![
        hello("boards::virt")
            .sees("memory*128 MiB")
            .sees("hart*0: rv64imafdc")
            .sees("harts*1 ")
            .sees("timebase*10000000 Hz"),
        hello("boards::virt_4_harts").smp(4).sees("harts*4 "),
        hello("boards::virt_8_harts").smp(8).sees("harts*8 "),
        hello("boards::virt_8_mib").memory("8M").sees("memory*8 MiB"),
        hello("boards::virt_8_gib").memory("8G").sees("memory*8192 MiB"),
        hello("boards::sifive_u")
            .board("qemu-sifive-u")
            .sees("memory*128 MiB")
            .sees("hart*1: rv64imafdc")
            .sees("harts*4 ")
            .sees("timebase*1000000 Hz"),
        hello("boards::uboot")
            .board("qemu-virt-uboot")
            .sees("image*at 0x80200000")
            .sees("memory*256 MiB")
            .sees("harts*2 ")
            .sees("timebase*10000000 Hz"),
        // Nothing depends on where the image is: here with free memory before and behind it.
        hello("boards::uboot_elsewhere")
            .board("qemu-virt-uboot")
            .text_offset(96 << 20)
            .sees("image*at 0x86000000")
            .sees("memory*256 MiB"),
        hello("boards::u74").board("qemu10-virt-u74").sees("hart*: rv64imafdc").sees("harts*4 "),
        Case::new("boards::virt_dev_profile", HELLO_DEV).sees("Hello from Wakeful!"),
    ]
}

fn hello(name: &'static str) -> Case {
    Case::new(name, HELLO).sees("Hello from Wakeful!").never("panicked at")
}

/// What the memory protection must stop.
fn faults() -> Vec<Case> {
    let fault = |name, case| {
        testsuite(name, case).once("fault on hart").never("nothing happened").exits(exit::FAULT)
    };
    vec![
        fault("faults::write_text", "write-text").sees("store page fault at address 0xffffffff802"),
        fault("faults::execute_data", "execute-data")
            .sees("instruction page fault at address 0xffffffff802"),
        fault("faults::read_null", "read-null")
            .sees("load page fault at address 0x0000000000000000")
            .sees("  pc 0x*  testsuite::faults::read_null  (tools/testsuite/src/faults.rs:"),
        fault("faults::jump_null", "jump-null")
            .sees("instruction page fault at address 0x0000000000000000")
            .sees("testsuite::faults::jump_null"),
        fault("faults::illegal_instruction", "illegal-instruction").sees("illegal instruction"),
        fault("faults::read_missing_register", "read-missing-register")
            .sees("load access fault at address 0xffffffc010000800"),
        fault("faults::read_firmware", "read-firmware")
            .sees("load page fault at address 0xffffffc080000000"),
        fault("faults::write_constant", "write-constant")
            .sees("store page fault at address 0xffffffff802"),
        fault("faults::stack_overflow", "stack-overflow")
            .sees("stack overflow")
            .sees("testsuite::faults::recurse"),
        fault("faults::stack_overflow_on_another_hart", "stack-overflow-on-another-hart")
            .smp(2)
            .sees("fault on hart 1 *stack overflow"),
        fault("faults::stack_overflow_in_interrupt", "stack-overflow-in-interrupt")
            .sees("stack overflow"),
    ]
}

/// Whatever goes wrong how often, there is one report, and it says where.
fn panics() -> Vec<Case> {
    let panic = |name, case| testsuite(name, case).once("panicked at").exits(exit::PANIC);
    vec![
        panic("panics::plain", "panic")
            .sees("panicked at tools/testsuite/src/panics.rs:")
            .sees("in the task `main`")
            .sees("backtrace:")
            .sees("  at 0x*  testsuite::panics::outer")
            .sees("  at 0x*  testsuite::panics::plain"),
        panic("panics::in_panic", "panic-in-panic").once("the report itself failed"),
        panic("panics::in_interrupt", "panic-in-interrupt").sees("in the interrupt"),
        panic("panics::on_all_harts", "panic-on-all-harts").smp(4).sees("all together"),
        panic("panics::while_printing", "panic-while-printing").sees("the bomb went off"),
        panic("panics::fault_in_panic", "fault-in-panic").once("the report itself failed"),
        panic("panics::while_main_returns", "panic-while-main-returns")
            .smp(2)
            .sees("slowly")
            .sees("backtrace:"),
        panic("panics::with_heap_locked", "panic-with-heap-locked").sees("backtrace:"),
        panic("panics::out_of_memory", "heap-exhaustion-panic")
            .sees("memory allocation of 100000 bytes failed"),
        testsuite("panics::main_err", "main-err")
            .sees("Error: \"this is the error\"")
            .never("panicked at")
            .exits(exit::MAIN_ERR),
    ]
}

/// A task that panics is given up; with `panic=reboot` what ends the machine restarts it.
fn given_up() -> Vec<Case> {
    let goes_on = |name, case, passed| testsuite(name, case).sees(passed);
    let ends = |name, case| testsuite(name, case).exits(exit::PANIC);
    let reboots = |name, case: &str| {
        Case::new(name, TESTSUITE).append(&format!("panic=reboot -- case={case}")).ends_when_seen()
    };
    let one_by_one = |name, panics| {
        testsuite(name, "give-up")
            .sees("panic on hart 0 (id *): panicked at tools/testsuite/src/given_up.rs:")
            .sees("as it must")
            .sees("in the task `doomed`")
            .sees("backtrace:")
            .sees("wakeful_task::run::run_for_ever")
            .sees("the task is given up, and 0 were before it")
            .sees("the task is given up, and 2 were before it")
            .sees("case give-up passed")
            .times(panics, "panicked at")
    };
    let (frames, many) = ("case give-up-frames passed", "case give-up-many passed");
    vec![
        one_by_one("given_up::one_by_one", 3 + 4),
        one_by_one("given_up::one_by_one_4_harts", 12 + 4).smp(4),
        goes_on("given_up::at_once", "give-up-at-once", "case give-up-at-once passed")
            .smp(4)
            .times(3, "panicked at"),
        goes_on("given_up::frames", "give-up-frames", frames),
        goes_on("given_up::frames_4_harts", "give-up-frames", frames).smp(4),
        goes_on("given_up::many", "give-up-many", many),
        goes_on("given_up::many_4_harts", "give-up-many", many).smp(4),
        goes_on("given_up::many_on_u74", "give-up-many", many).board("qemu10-virt-u74"),
        ends("given_up::too_many", "give-up-too-many")
            .memory("16M")
            .sees("the task is given up, and 99 were before it")
            .sees(" tasks were given up before"),
        ends("given_up::in_critical_section", "give-up-in-critical-section").once("panicked at"),
        ends("given_up::on_full_stack", "give-up-on-full-stack").once("panicked at"),
        ends("given_up::in_report", "give-up-in-report")
            .sees("the bomb went off")
            .times(2, "panicked at"),
        ends("given_up::in_hook", "give-up-in-hook").sees("this too").times(2, "panicked at"),
        reboots("given_up::reboot", "panic-and-reboot")
            .sees("panic on hart")
            .sees("wakeful: restarted after a panic (1 since power-on): panic on hart 0 (id *")
            .sees("panicked at tools/testsuite/src/panics.rs:*: again, with a second line")
            .sees("wakeful: restarted after a panic (2 since power-on): panic on hart 0 (id *"),
        reboots("given_up::reboot_4_harts", "panic-and-reboot")
            .smp(4)
            .sees("wakeful: restarted after a panic (1 since power-on): panic on hart 0 (id *")
            .sees("wakeful: restarted after a panic (2 since power-on): panic on hart 0 (id *"),
        reboots("given_up::reboot_after_fault", "fault-and-reboot")
            .sees("wakeful: restarted after a panic (1 since power-on): fault on hart 0 (id *")
            .sees("load page fault at address 0x0000000000000000"),
        reboots("given_up::reboot_qemu10", "panic-and-reboot")
            .board("qemu10-virt")
            .sees("wakeful: restarted after a panic (2 since power-on): panic on hart 0 (id *"),
    ]
}

/// What the library does for applications. These cases say themselves whether they passed.
fn runtime() -> Vec<Case> {
    let passes = |name, case| testsuite(name, case).never("panicked at");
    vec![
        passes("runtime::memory_map", "map").sees("case map passed"),
        passes("runtime::bytes", "bytes").sees("case bytes passed"),
        passes("runtime::heap", "heap-stress").smp(4).sees("case heap-stress passed"),
        passes("runtime::heap_talc", "heap-stress-talc")
            .smp(4)
            .sees("case heap-stress-talc passed"),
        passes("runtime::heap_exhaustion", "heap-exhaustion").sees("case heap-exhaustion passed"),
        passes("runtime::dma", "dma").sees("case dma passed"),
        passes("runtime::timer", "timer").sees("case timer passed"),
        passes("runtime::registers", "registers").sees("case registers passed"),
        passes("runtime::float", "float").sees("case float passed"),
        passes("runtime::nested_interrupts", "nested-interrupts")
            .sees("case nested-interrupts passed"),
        passes("runtime::device_interrupt", "device-interrupt")
            .smp(3)
            .sees("case device-interrupt passed"),
        passes("runtime::ipi", "ipi").smp(4).sees("case ipi passed"),
        passes("runtime::wake_from_another_hart", "wake-from-another-hart")
            .smp(4)
            .sees("case wake-from-another-hart passed"),
        passes("runtime::uart_echo", "uart-echo")
            .sees("type")
            .types("wake up\n")
            .sees("echo WAKE UP")
            .types("end\n")
            .sees("echo END")
            .sees("case uart-echo passed"),
        passes("runtime::long_output", "long-output")
            .smp(4)
            // Whole lines: the alphabet four times behind each head.
            .times(
                800,
                "hart * line * abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\
                 abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\r\n",
            )
            .once("hart 3 line 199"),
        passes("runtime::return_while_others_print", "return-while-others-print").smp(4),
        Case::new("runtime::log_levels", TESTSUITE)
            .append("log=warn,testsuite=debug -- case=log-levels")
            .sees("debug of the case")
            .sees("warning of another target")
            .never("trace of the case")
            .never("info of another target"),
        Case::new("runtime::unknown_boot_argument", HELLO)
            .append("bogus")
            .sees("boot argument `bogus` is unknown")
            .sees("Hello from Wakeful!"),
        // Through the firmware, and back into the same case.
        testsuite("runtime::reboot", "reboot")
            .sees("rebooting")
            .sees("OpenSBI")
            .sees("rebooting")
            .ends_when_seen(),
    ]
}

/// Tasks and timers, on one hart and on four; with a timer of the hart's own, and through the firmware.
fn scheduler() -> Vec<Case> {
    let passes = |name, case: &str, passed| testsuite(name, case).never("panicked at").sees(passed);
    let (tasks, sleeps) = ("case tasks passed", "case sleeps passed");
    let (cancel, wakers) = ("case cancel passed", "case wakers passed");
    let example = |name, package, last| {
        Case::new(name, Image::Package(package, Profile::Release)).sees(last).never("panicked at")
    };
    let mut storm = passes("scheduler::storm", "storm seconds=60", "case storm passed").smp(4);
    storm.deadline *= 3;
    vec![
        storm,
        passes("scheduler::tasks", "tasks", tasks),
        passes("scheduler::tasks_4_harts", "tasks", tasks).smp(4),
        passes("scheduler::sleeps", "sleeps", sleeps),
        passes("scheduler::sleeps_4_harts", "sleeps", sleeps).smp(4),
        passes("scheduler::sleeps_without_sstc", "sleeps", sleeps).board("qemu-sifive-u").smp(5),
        passes("scheduler::fair", "fair", "case fair passed"),
        passes("scheduler::fair_4_harts", "fair", "case fair passed").smp(4),
        passes("scheduler::turnover", "turnover", "case turnover passed"),
        passes("scheduler::turnover_4_harts", "turnover", "case turnover passed").smp(4),
        passes("scheduler::latency", "latency", "case latency passed"),
        passes("scheduler::cancel", "cancel", cancel),
        passes("scheduler::cancel_4_harts", "cancel", cancel).smp(4),
        passes("scheduler::wakers", "wakers", wakers),
        passes("scheduler::wakers_4_harts", "wakers", wakers).smp(4),
        passes("scheduler::relay", "relay", "case relay passed").smp(4),
        example("scheduler::example_timers", "timers", "ms: tick 7"),
        example("scheduler::example_priorities", "priorities", "raised to Priority(level 0)"),
        example("scheduler::example_smp", "smp", "hart 3: * ranges in").smp(4),
    ]
}

/// Embassy's ecosystem, and the critical section that it asks for: on one hart and on four.
fn embassy() -> Vec<Case> {
    let passes = |name, case: &str, passed| testsuite(name, case).never("panicked at").sees(passed);
    let tasks = "case embassy-tasks passed";
    let time = "case embassy-time passed";
    let timeouts = "case embassy-timeouts passed";
    let combinators = "case embassy-combinators passed";
    vec![
        passes("embassy::tasks", "embassy-tasks", tasks),
        passes("embassy::tasks_4_harts", "embassy-tasks", tasks).smp(4),
        passes("embassy::time", "embassy-time", time),
        passes("embassy::time_4_harts", "embassy-time", time).smp(4),
        // Ticks of 1 MHz, which are Embassy's, and no Sstc.
        passes("embassy::time_sifive_u", "embassy-time", time).board("qemu-sifive-u"),
        passes("embassy::timeouts", "embassy-timeouts", timeouts),
        passes("embassy::timeouts_4_harts", "embassy-timeouts", timeouts).smp(4),
        passes("embassy::combinators", "embassy-combinators", combinators),
        passes("embassy::combinators_4_harts", "embassy-combinators", combinators).smp(4),
        passes("embassy::interrupts", "embassy-interrupts", "case embassy-interrupts passed"),
        passes("embassy::critical_section", "critical-section", "case critical-section passed"),
        passes(
            "embassy::critical_section_4_harts",
            "critical-section",
            "case critical-section passed",
        )
        .smp(4),
    ]
}

/// The devices that QEMU can have, behind its three transports, on QEMU 7.2 and on a newer one.
fn devices() -> Vec<Case> {
    const LEGACY: &str = "-netdev user,id=net -device virtio-net-device,netdev=net";
    const MODERN: &str = "-global virtio-mmio.force-legacy=false -netdev user,id=net \
                          -device virtio-net-device,netdev=net";
    const PCI: &str = "-netdev user,id=net -device virtio-net-pci,netdev=net,romfile=";
    let card = |name, args, line| {
        testsuite(name, "network-card")
            .with(args)
            .never("panicked at")
            .sees(line)
            .sees("case network-card passed")
    };
    let legacy = "wakeful: virtio-net at 10008000 (virtio-mmio, legacy), interrupt 8: \
                  MAC 52:54:00:12:34:56, MTU 1500";
    let modern = "wakeful: virtio-net at 10008000 (virtio-mmio), interrupt 8: MAC 52:54:00:12";
    let pci = "wakeful: virtio-net at 00:01.0 (virtio-pci), interrupt 33: MAC 52:54:00:12";
    vec![
        card("devices::net_mmio_legacy", LEGACY, legacy),
        card("devices::net_mmio", MODERN, modern),
        card("devices::net_pci", PCI, pci),
        card("devices::net_4_harts", PCI, pci).smp(4),
        card("devices::net_mmio_legacy_u74", LEGACY, legacy).board("qemu10-virt-u74"),
        card("devices::net_mmio_u74", MODERN, modern).board("qemu10-virt-u74"),
        card("devices::net_pci_u74", PCI, pci).board("qemu10-virt-u74"),
        // The firmware has set up its disk.
        card(
            "devices::net_uboot",
            PCI,
            "wakeful: virtio-blk at 1000*in blocks of 512 bytes, read-only",
        )
        .board("qemu-virt-uboot"),
        card("devices::net_mtu", "-netdev user,id=net", ", MTU 1400")
            .with("-device virtio-net-pci,netdev=net,romfile=,host_mtu=1400"),
        card("devices::mixed", PCI, pci)
            .with("-device virtio-net-pci,romfile= -device virtio-rng-pci")
            .with("-device virtio-balloon-device -device pcie-root-port"),
        testsuite("devices::reported", "network-card")
            .with("-netdev user,id=net -device virtio-rng-device -device virtio-balloon-pci")
            .with("-device virtio-net-pci,netdev=net,romfile=,disable-modern=on")
            .with("-device e1000e,romfile=")
            .sees("wakeful: virtio-rng at 10008000 (virtio-mmio, legacy): gave 32 random bytes")
            .sees("wakeful: virtio-balloon at 00:01.0 (virtio-pci): Wakeful has no driver for it")
            .sees("wakeful: virtio-net at 00:02.0 (virtio-pci) is not used: ")
            .sees("wakeful: PCI device 8086:10d3 at 00:03.0: Wakeful has no driver for it")
            .sees("Error: \"no network card\"")
            .exits(exit::MAIN_ERR),
    ]
}

/// Disks, behind the three transports, on QEMU 7.2 and on a newer one, on one hart and on four.
fn disks() -> Vec<Case> {
    const U74: &str = "qemu10-virt-u74";
    const LARGE_BLOCKS: &str = ",logical_block_size=4096,physical_block_size=4096";
    let disks = |name, line| testsuite(name, "disks").never("panicked at").sees(line);
    let passed = |case: Case| case.sees("case disks passed");
    let one = |name, virtio| {
        let line = match virtio {
            Virtio::MmioLegacy => {
                "wakeful: virtio-blk at 10008000 (virtio-mmio, legacy), interrupt 8: \
                 64 MiB in blocks of 512 bytes\r\n"
            }
            Virtio::Mmio => "wakeful: virtio-blk at 10008000 (virtio-mmio), interrupt 8: 64 MiB",
            Virtio::Pci => "wakeful: virtio-blk at 00:01.0 (virtio-pci), interrupt 33: 64 MiB",
        };
        passed(disks(name, line).virtio(virtio).disk(Disk::zeros(64)))
    };
    vec![
        one("disks::mmio_legacy", Virtio::MmioLegacy),
        one("disks::mmio", Virtio::Mmio),
        one("disks::pci", Virtio::Pci),
        one("disks::mmio_legacy_4_harts", Virtio::MmioLegacy).smp(4),
        one("disks::pci_4_harts", Virtio::Pci).smp(4),
        one("disks::mmio_legacy_u74", Virtio::MmioLegacy).board(U74),
        one("disks::pci_u74", Virtio::Pci).board(U74),
        passed(
            disks("disks::blocks_of_4096", "64 MiB in blocks of 4096 bytes")
                .disk(Disk::zeros(64).with(LARGE_BLOCKS)),
        ),
        // One is too many. Those of PCI come last, and share an interrupt with the card.
        passed(
            disks("disks::several", "wakeful: virtio-blk at 1000*: 18 MiB")
                .with("-netdev user,id=net -device virtio-net-pci,netdev=net,romfile=")
                .disk(Disk::zeros(16).on(Virtio::Pci))
                .disk(Disk::zeros(17).on(Virtio::Pci).read_only())
                .disk(Disk::zeros(18))
                .disk(Disk::zeros(19).on(Virtio::Pci))
                .disk(Disk::zeros(20).on(Virtio::Pci))
                .sees("17 MiB in blocks of 512 bytes, read-only")
                .sees("is not used: only the first 4 such devices are used")
                .sees("disk 2 is read-only"),
        ),
        testsuite("disks::none", "disks").sees("Error: \"no disk\"").exits(exit::MAIN_ERR),
    ]
}

/// The same on machines that have less: no Sstc, no hardware that sets A and D bits; no 16550 and no
/// device that ends QEMU; the image and its memory at unusual places.
fn other_machines() -> Vec<Case> {
    let on = |board: &'static str, name, case: &str, passed: &'static str| {
        testsuite(name, case).board(board).never("panicked at").sees(passed)
    };
    const U74: &str = "qemu10-virt-u74";
    const SIFIVE_U: &str = "qemu-sifive-u";
    const UBOOT: &str = "qemu-virt-uboot";
    vec![
        on(U74, "u74::memory_map", "map", "case map passed"),
        on(U74, "u74::bytes", "bytes", "case bytes passed"),
        on(U74, "u74::timer", "timer", "case timer passed"),
        on(U74, "u74::heap", "heap-stress", "case heap-stress passed"),
        on(U74, "u74::ipi", "ipi", "case ipi passed"),
        on(U74, "u74::device_interrupt", "device-interrupt", "case device-interrupt passed"),
        on(UBOOT, "uboot::device_interrupt", "device-interrupt", "case device-interrupt passed"),
        on(SIFIVE_U, "sifive_u::timer", "timer", "case timer passed"),
        on(SIFIVE_U, "sifive_u::ipi", "ipi", "case ipi passed"),
        on(
            SIFIVE_U,
            "sifive_u::return_while_others_print",
            "return-while-others-print",
            "wakeful: halted, exit code 0",
        ),
        hello("qemu10_sifive_u::hello").board("qemu10-sifive-u").sees("harts*4 "),
        testsuite("qemu10_sifive_u::panic", "panic")
            .board("qemu10-sifive-u")
            .once("panicked at")
            .exits(exit::PANIC),
        testsuite("sifive_u::panic", "panic")
            .board(SIFIVE_U)
            .once("panicked at")
            .exits(exit::PANIC),
        on(UBOOT, "uboot::heap_exhaustion", "heap-exhaustion", "case heap-exhaustion passed")
            .text_offset(96 << 20),
        on(UBOOT, "uboot::memory_map", "map", "case map passed").text_offset(96 << 20),
    ]
}

/// Device trees that a kernel should survive, or refuse with a reason.
fn trees() -> Vec<Case> {
    let refused = |name, reason| {
        Case::new(name, HELLO)
            .sees("wakeful: cannot boot: ")
            .sees(reason)
            .never("panicked at")
            .exits(exit::BOOT_FAILED)
    };
    vec![
        refused("trees::no_memory", "the device tree has no memory node").tree(Tree::Kernel(
            |tree| {
                tree.root.remove_child("memory@80000000").expect("QEMU describes memory");
            },
        )),
        refused("trees::no_timebase", "/cpus has no timebase-frequency").tree(Tree::Kernel(
            |tree| {
                let cpus = tree.root.child_mut("cpus").expect("QEMU describes CPUs");
                cpus.remove_property("timebase-frequency").expect("QEMU describes the timebase");
            },
        )),
        refused("trees::no_mmu", "no hart can run this image").tree(Tree::Kernel(|tree| {
            let cpu = tree.find_node_mut("/cpus/cpu@0").expect("QEMU describes hart 0");
            cpu.remove_property("mmu-type").expect("QEMU describes the MMU");
        })),
        refused("trees::memory_elsewhere", "where the device tree has no memory")
            .tree(Tree::KernelRam(2 << 20)),
        refused("trees::truncated", "the device tree is damaged")
            .tree(Tree::KernelBytes(|bytes| bytes[512..].fill(0))),
        refused("trees::huge", "the device tree's header says 4294967295 bytes")
            .tree(Tree::KernelBytes(|bytes| bytes[4..8].fill(0xff))),
        refused("trees::garbage", "no device tree at 0x84001000: the loader must pass")
            .tree(Tree::KernelBytes(|bytes| bytes.fill(0xa5))),
        hello("trees::little_memory").tree(Tree::KernelRam(3 << 20)).sees("memory*3 MiB"),
        // As on a JH7110: hart 0 is there, but not for us.
        hello("trees::hart_0_disabled").smp(5).tree(Tree::Machine(disable_hart_0)).sees("harts*4 "),
    ]
}

fn disable_hart_0(tree: &mut DeviceTree) {
    let cpu = tree.find_node_mut("/cpus/cpu@0").expect("QEMU describes hart 0");
    cpu.remove_property("status");
    cpu.add_property(DeviceTreeProperty::new("status", "disabled").expect("the name is valid"));
}

/// The library as somebody else uses it.
fn strangers() -> Vec<Case> {
    vec![Case::new("stranger", Image::Stranger).sees("stranger here")]
}

fn testsuite(name: &'static str, case: &str) -> Case {
    Case::new(name, TESTSUITE).append(&format!("-- case={case}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::board::Board;

    #[test]
    fn names_are_unique_and_boards_exist() {
        let mut names = HashSet::new();
        for case in super::all().unwrap() {
            assert!(names.insert(case.name), "{} is there twice", case.name);
            Board::find(case.board).unwrap();
        }
    }
}
