//! The first instructions: from wherever the loader put the image to Rust in the upper half.
//!
//! The image starts with the header of a Linux kernel `Image`, so U-Boot's `booti` and QEMU's
//! `-kernel` take the flat file. Every hart comes in as the SBI specification (chapter "Hart State
//! Management") and the Linux boot protocol say: `a0` = hart id, S-mode, `satp` = 0, interrupts
//! off. The first one gets the physical address of the device tree in `a1`; it zeroes `.bss`,
//! builds a boot map of two tables, and jumps. A hart started later gets the physical address of
//! its [`Hart`] in `a1` and finds the final map ready.
//!
//! The boot map holds the image at its link address (2 MiB pages, all rights) and the first
//! 254 GiB of physical memory at [`LINEAR_BASE`]. It has no identity part: the write to `satp`
//! makes the next fetch fault, and `stvec` already points to where execution goes on in the upper
//! half. So nothing has to be unmapped later, and an access to null faults from here on.

use core::{arch::global_asm, cell::UnsafeCell, mem::offset_of};

use crate::{
    hart::{HARTS, Hart},
    layout::{LINEAR_BASE, LINEAR_SIZE},
    machine::MAX_HARTS,
    trap::trap_entry,
};

const GIB: usize = 1 << 30;
const MIB_2: usize = 2 << 20;

/// A leaf of Sv39 (Privileged specification, "Sv39 Virtual Address Translation"): V, R, W, A, D.
///
/// A and D are set beforehand: some harts (SiFive U5 and U7) fault instead of setting them.
const PTE_RW: usize = 0b1100_0111;
/// The same with X.
const PTE_RWX: usize = PTE_RW | 0b1000;

#[repr(C, align(4096))]
struct Table(UnsafeCell<[usize; 512]>);

// SAFETY: written by the assembly below before any Rust runs, afterwards only read by the MMU.
unsafe impl Sync for Table {}

static BOOT_ROOT: Table = Table(UnsafeCell::new([0; 512]));
static BOOT_IMAGE: Table = Table(UnsafeCell::new([0; 512]));

global_asm!(
    r#"
    .section .text.entry, "ax", @progbits
    .option push
    .option norvc
    .option norelax
    .option arch, +a            // global assembly knows nothing of the target's features

// Linux, Documentation/arch/riscv/boot-image-header.rst, version 0.2.
    .globl  _start
_start:
    .half   0x5a4d              // "MZ", which is also `c.li s4, -13`
    .half   0x0001              // c.nop
    j       first_hart
    .dword  {mib_2}             // text_offset: from the start of RAM
    .dword  _image_size         // with .bss and stacks: the loader keeps off them
    .dword  0                   // flags: little endian
    .word   2, 0                // version 0.2, reserved
    .dword  0
    .ascii  "RISCV\0\0\0"
    .ascii  "RSC\x05"
    .word   0

link_address:
    .dword  _start
image_size:
    .dword  _image_size

first_hart:
    csrw    sie, zero
    csrci   sstatus, 2          // SIE
    lla     t0, arrivals
    li      t1, 1
    amoor.w.aqrl t1, t1, (t0)
    bnez    t1, not_the_first

    lla     s0, _start          // s0: where we are (physical)
    ld      s1, link_address    // s1: where we are linked (virtual)
    lla     s2, text_misplaced
    slli    t0, s0, 64 - 21
    bnez    t0, refuse

    lla     t0, _bss_start
    lla     t1, _bss_end
1:  sd      zero, 0(t0)
    sd      zero, 8(t0)
    sd      zero, 16(t0)
    sd      zero, 24(t0)
    addi    t0, t0, 32
    bltu    t0, t1, 1b

    lla     t0, arrivals
    li      t1, 2
    amoor.w.aqrl zero, t1, (t0)

    // The image: 2 MiB pages at its link address.
    lla     t0, {boot_image}
    srli    t1, s1, 21
    andi    t1, t1, 511
    slli    t1, t1, 3
    add     t1, t1, t0
    srli    t2, s0, 2           // an entry holds the page number from bit 10 on
    ori     t2, t2, {pte_rwx}
    ld      t3, image_size
    li      t4, {mib_2}
    li      t5, {mib_2} >> 2
2:  sd      t2, 0(t1)
    addi    t1, t1, 8
    add     t2, t2, t5
    sub     t3, t3, t4
    bgtz    t3, 2b

    lla     t1, {boot_root}
    srli    t2, s1, 30
    andi    t2, t2, 511
    slli    t2, t2, 3
    add     t2, t2, t1
    srli    t0, t0, 2
    ori     t0, t0, 1           // V alone: a pointer to the next level
    sd      t0, 0(t2)

    // The linear map: 1 GiB pages.
    li      t2, (({linear_base} >> 30) & 511) * 8
    add     t2, t2, t1
    li      t3, {pte_rw}
    li      t4, {gib} >> 2
    li      t5, {linear_size} >> 30
3:  sd      t3, 0(t2)
    addi    t2, t2, 8
    add     t3, t3, t4
    addi    t5, t5, -1
    bnez    t5, 3b

    srli    t1, t1, 12
    lla     t2, 4f
    j       enter_map
    .balign 4
4:  lla     tp, {harts}
    lla     sp, _stack_end
    lla     t0, _stack_guard    // the top of the fault stack
    sd      t0, {hart_fault_stack}(tp)
    lla     t1, __wakeful_boot
    mv      a2, s0
    j       enter_rust

// Another hart has been here. OpenSBI 1.1 lets a hart go before it has written where to: one
// that was not asleep yet when it was started comes here, as if it booted the machine. Its `Hart`
// is ready, as always before `hart_start`. A hart that nobody has started stays here.
not_the_first:
    lla     t0, arrivals
8:  lw      t1, 0(t0)
    andi    t1, t1, 2           // .bss is valid
    beqz    t1, 8b
    fence   r, r
    lla     a1, {harts}
    li      t2, {max_harts}
9:  ld      t0, {hart_entry}(a1)
    beqz    t0, 10f
    fence   r, r                // `entry` was written last
    ld      t0, {hart_id}(a1)
    beq     t0, a0, _start_secondary
10: addi    a1, a1, {hart_size}
    addi    t2, t2, -1
    bnez    t2, 9b
11: wfi
    j       11b

// A hart started by `hart::start_all`: a0 = hart id, a1 = physical address of its `Hart`.
    .globl  _start_secondary
_start_secondary:
    fence.i                     // the loader may have written the image through another hart
    csrw    sie, zero
    csrci   sstatus, 2
    lla     s0, _start
    ld      s1, link_address
    ld      t1, {hart_root}(a1)
    sub     tp, a1, s0
    add     tp, tp, s1
    lla     t2, 5f
    j       enter_map
    .balign 4
5:  ld      sp, {hart_stack}(tp)
    ld      t1, {hart_entry}(tp)

// t1 = where to go with a0, a1, a2 as they are.
enter_rust:
    lla     t0, {trap_entry}
    csrw    stvec, t0
    li      t0, 3 << 13
    csrc    sstatus, t0         // FS: off ...
    li      t0, 1 << 13
    csrs    sstatus, t0         // ... then initial: nothing to save until somebody uses it
    li      s0, 0               // the chain of frames ends here
    li      ra, 0
    jr      t1

// t1 = page number of the root table, t2 = physical address of where to go on.
enter_map:
    sub     t2, t2, s0
    add     t2, t2, s1
    csrw    stvec, t2
    li      t0, 8 << 60         // MODE = Sv39
    or      t1, t1, t0
    sfence.vma
    csrw    satp, t1
    lla     s2, text_no_sv39    // still here: the mode is not implemented and the write had no effect

// s2 = why. Says so on the legacy console and gives the machine back.
refuse:
    lbu     a0, 0(s2)
    beqz    a0, 6f
    li      a7, 1               // SBI legacy: console putchar
    ecall
    addi    s2, s2, 1
    j       refuse
6:  li      a7, 0x53525354      // SBI SRST: system reset,
    li      a6, 0
    li      a0, 0               // shutdown,
    li      a1, 1               // system failure
    ecall
    li      a7, 8               // SBI legacy: shutdown
    ecall
7:  wfi
    j       7b

text_misplaced:
    .ascii "wakeful: cannot boot: the image must be loaded at a multiple of 2 MiB\n"
    .asciz "wakeful: halted, exit code 103\n"
text_no_sv39:
    .ascii "wakeful: cannot boot: this hart has no Sv39 paging\n"
    .asciz "wakeful: halted, exit code 103\n"
    .option pop

    .pushsection .data
    .balign 4
arrivals:                       // bit 0: somebody boots, bit 1: .bss is zeroed
    .word   0
    .popsection
    "#,
    mib_2 = const MIB_2,
    gib = const GIB,
    pte_rw = const PTE_RW,
    pte_rwx = const PTE_RWX,
    linear_base = const LINEAR_BASE,
    linear_size = const LINEAR_SIZE,
    boot_root = sym BOOT_ROOT,
    boot_image = sym BOOT_IMAGE,
    harts = sym HARTS,
    hart_root = const offset_of!(Hart, root_table),
    hart_stack = const offset_of!(Hart, stack),
    hart_fault_stack = const offset_of!(Hart, fault_stack),
    hart_entry = const offset_of!(Hart, entry),
    hart_id = const offset_of!(Hart, id),
    hart_size = const size_of::<Hart>(),
    max_harts = const MAX_HARTS,
    trap_entry = sym trap_entry,
);

unsafe extern "C" {
    /// Where a hart started through HSM begins (physical memory, paging off).
    pub(crate) safe static _start_secondary: u8;
}
