//! Traps: interrupts go to their handlers, exceptions end the machine with a report.
//!
//! - **Interrupts** stay on the stack of what they interrupt and save what a call may change (16
//!   registers, `sepc`, `sstatus`); the 20 such floating-point registers only when `sstatus.FS`
//!   says that they were written. A handler may turn interrupts on: everything that a nested trap
//!   would overwrite is on the stack. The frame ends in a frame record, so a backtrace goes through.
//!   Meanwhile [`hart::here`] says that this is not the hart's own flow of control.
//! - **Exceptions** are bugs in this kernel-only world. They switch to a stack of their own before
//!   they touch memory, so an overflow of the other stack is reported like anything else: pushing
//!   an interrupt's frame into the guard page is an exception too.
//!
//! The two are told apart before anything is pushed, which takes one free register: `sscratch` keeps
//! `t0` meanwhile. A vectored `stvec` would do it for nothing, but OpenSBI passes the exceptions that
//! it does not delegate on to `stvec` as it reads it, mode bits and all, and QEMU 7.2 goes there: to
//! an odd address.

use core::{arch::global_asm, fmt, mem::offset_of};

use crate::{
    backtrace,
    hart::{self, Hart},
    irq,
    report::Report,
    sync::Hook,
};

static TIMER: Hook = Hook::new();
static SOFTWARE: Hook = Hook::new();

/// Sets what timer interrupts do, with interrupts off. Until then their deadline just passes.
pub fn set_timer_handler(handler: fn()) {
    TIMER.set(handler);
}

/// Sets what an interrupt from another hart does, beside ending a `wfi`. With interrupts off.
pub fn set_software_handler(handler: fn()) {
    SOFTWARE.set(handler);
}

extern "C" fn on_timer() {
    // The interrupt is pending until the deadline is moved: the handler may set a new one.
    crate::timer::clear();
    TIMER.call();
}

extern "C" fn on_software() {
    // SAFETY: clears sip.SSIP (bit 1) of this hart. The fence keeps the handler's look for work behind
    // it: a request that comes later sets the bit again.
    unsafe { core::arch::asm!("csrci sip, 2", "fence iorw, iorw") };
    SOFTWARE.call();
}

extern "C" fn on_external() {
    irq::dispatch();
}

/// Nothing else is ever enabled. It cannot go away by itself either, so this is the end.
extern "C" fn on_unexpected() {
    panic!("an interrupt that nobody has enabled");
}

/// What the registers were when an exception came.
#[repr(C)]
#[derive(Debug)]
struct Registers {
    /// `x0` to `x31`; `x0` is always 0.
    x: [usize; 32],
    scause: usize,
    stval: usize,
    sstatus: usize,
    unused: usize,
    /// The frame record: saved `s0` and where execution would go on.
    record_s0: usize,
    sepc: usize,
}

#[rustfmt::skip]
const NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

/// Exception codes (Privileged specification, table of `scause` values).
fn cause_name(scause: usize) -> &'static str {
    match scause {
        0 => "instruction address misaligned",
        1 => "instruction access fault",
        2 => "illegal instruction",
        3 => "breakpoint",
        4 => "load address misaligned",
        5 => "load access fault",
        6 => "store address misaligned",
        7 => "store access fault",
        9 => "environment call",
        12 => "instruction page fault",
        13 => "load page fault",
        15 => "store page fault",
        _ => "unknown exception",
    }
}

extern "C" fn on_exception(registers: &Registers) -> ! {
    let report = Report::begin();
    report.print(format_args!("{registers}"));
    let [ra, sp, s0] = [1, 2, 8].map(|register| registers.x[register]);
    backtrace::print(&report, registers.sepc, ra, s0, sp);
    report.end(crate::power::EXIT_FAULT)
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scause, stval, .. } = *self;
        let (number, id) = (hart::number(), hart::id());
        write!(f, "\nfault on hart {number} (id {id}): ")?;
        if matches!(scause, 13 | 15) && hart::is_in_guard_page(stval) {
            f.write_str("stack overflow: ")?;
        }
        write!(f, "{}", cause_name(scause))?;
        match scause {
            0 | 1 | 4..=7 | 12 | 13 | 15 => writeln!(f, " at address {stval:#018x}")?,
            2 => writeln!(f, ": {stval:#x}")?,
            _ => writeln!(f, " (scause {scause:#x}, stval {stval:#x})")?,
        }
        writeln!(f, "  pc {:#018x}", self.sepc)?;
        for (index, (name, value)) in NAMES.iter().zip(self.x).enumerate().skip(1) {
            let end = if index % 4 == 0 || index == 31 { "\n" } else { "" };
            write!(f, "{name:>5} {value:016x}{end}")?;
        }
        writeln!(f, "  sstatus {:#x}  scause {scause:#x}", self.sstatus)
    }
}

unsafe extern "C" {
    /// What `stvec` points to.
    pub(crate) fn trap_entry();
}

/// By cause (Privileged specification, table of `scause` values): 1 software, 5 timer, 9 external.
static INTERRUPTS: [extern "C" fn(); 16] = {
    let mut handlers: [extern "C" fn(); 16] = [on_unexpected; 16];
    handlers[1] = on_software;
    handlers[5] = on_timer;
    handlers[9] = on_external;
    handlers
};

// Frame of an interrupt, from `sp` up: ra t0-t2 a0-a7 t3-t6 (16 × 8), sstatus, what `here` was, and
// the frame record (s0, sepc), where `s0` points behind while the handler runs.
global_asm!(
    r#"
    .text
    .option push
    .option arch, +d            // global assembly knows nothing of the target's features
    .balign 4
    .globl  trap_entry
trap_entry:
    csrw    sscratch, t0
    csrr    t0, scause
    bgez    t0, exception               // the top bit says: interrupt

    addi    sp, sp, -160
    sd      ra, 0(sp)
    sd      t1, 16(sp)
    csrr    t1, sscratch
    sd      t1, 8(sp)
    sd      t2, 24(sp)
    sd      a0, 32(sp)
    sd      a1, 40(sp)
    sd      a2, 48(sp)
    sd      a3, 56(sp)
    sd      a4, 64(sp)
    sd      a5, 72(sp)
    sd      a6, 80(sp)
    sd      a7, 88(sp)
    sd      t3, 96(sp)
    sd      t4, 104(sp)
    sd      t5, 112(sp)
    sd      t6, 120(sp)
    csrr    a0, sstatus
    csrr    a1, sepc
    sd      a0, 128(sp)
    lhu     t1, {here}(tp)
    sd      t1, 136(sp)
    li      t1, {outside}
    sh      t1, {here}(tp)
    sd      s0, 144(sp)
    sd      a1, 152(sp)
    addi    s0, sp, 160
    lla     t1, {interrupts}
    slli    t0, t0, 3                   // shifts the top bit out
    add     t0, t0, t1
    ld      t0, 0(t0)
    bltz    a0, 1f                      // SD, the sign: FS is dirty
    jalr    t0
2:  ld      a0, 128(sp)
    csrw    sstatus, a0                 // interrupts off, FS as it was
    ld      a1, 136(sp)
    sh      a1, {here}(tp)
    ld      a1, 152(sp)
    csrw    sepc, a1
    ld      ra, 0(sp)
    ld      t0, 8(sp)
    ld      t1, 16(sp)
    ld      t2, 24(sp)
    ld      a0, 32(sp)
    ld      a1, 40(sp)
    ld      a2, 48(sp)
    ld      a3, 56(sp)
    ld      a4, 64(sp)
    ld      a5, 72(sp)
    ld      a6, 80(sp)
    ld      a7, 88(sp)
    ld      t3, 96(sp)
    ld      t4, 104(sp)
    ld      t5, 112(sp)
    ld      t6, 120(sp)
    ld      s0, 144(sp)
    addi    sp, sp, 160
    sret

1:  addi    sp, sp, -176
    .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
    fsd     ft\n, 8 * \n(sp)
    fsd     fa\n, 64 + 8 * \n(sp)
    .endr
    fsd     ft8, 128(sp)
    fsd     ft9, 136(sp)
    fsd     ft10, 144(sp)
    fsd     ft11, 152(sp)
    frcsr   a0
    sd      a0, 160(sp)
    li      a0, 1 << 13                 // FS: dirty to clean, so that a nested interrupt
    csrc    sstatus, a0                 // saves these again only if the handler writes them
    jalr    t0
    ld      a0, 160(sp)
    fscsr   a0
    .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
    fld     ft\n, 8 * \n(sp)
    fld     fa\n, 64 + 8 * \n(sp)
    .endr
    fld     ft8, 128(sp)
    fld     ft9, 136(sp)
    fld     ft10, 144(sp)
    fld     ft11, 152(sp)
    addi    sp, sp, 176
    j       2b

// Always from the top of the fault stack: an exception out of the report itself takes its place, as
// nobody returns.
exception:
    mv      t0, sp
    ld      sp, {fault_stack}(tp)
    addi    sp, sp, -{size}
    .irp    n, 1, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    sd      x\n, 8 * \n(sp)
    .endr
    csrr    t1, sscratch
    sd      zero, 0(sp)
    sd      t0, 16(sp)                  // sp
    sd      t1, 40(sp)                  // t0
    csrr    t1, scause
    csrr    t2, stval
    csrr    t3, sstatus
    csrr    t4, sepc
    sd      t1, {scause}(sp)
    sd      t2, {stval}(sp)
    sd      t3, {sstatus}(sp)
    sd      s0, {record_s0}(sp)
    sd      t4, {sepc}(sp)
    addi    s0, sp, {size}
    mv      a0, sp
    call    {on_exception}
    .option pop
    "#,
    interrupts = sym INTERRUPTS,
    here = const offset_of!(Hart, here),
    outside = const hart::OUTSIDE as i16, // one instruction; the upper bits are not stored
    fault_stack = const offset_of!(Hart, fault_stack),
    size = const size_of::<Registers>(),
    scause = const offset_of!(Registers, scause),
    stval = const offset_of!(Registers, stval),
    sstatus = const offset_of!(Registers, sstatus),
    record_s0 = const offset_of!(Registers, record_s0),
    sepc = const offset_of!(Registers, sepc),
    on_exception = sym on_exception,
);
