//! The end: power off with a result, or reboot.
//!
//! QEMU's `virt` has a test device that takes an exit code, and QEMU ends with it. Other machines
//! are switched off by the firmware (SBI SRST), which has only "fine" and "failed".

use core::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use memory_addr::PhysAddr;
use sbi_rt::{ColdReboot, NoReason, Shutdown, SystemFailure};

use crate::{console, machine::machine, paging, report};

/// The register of QEMU's test device; null if there is none.
static TEST_DEVICE: AtomicPtr<u32> = AtomicPtr::new(ptr::null_mut());

/// All went well.
pub const EXIT_SUCCESS: u8 = 0;
/// `main` returned an error.
pub const EXIT_ERROR: u8 = 1;
/// A panic.
pub const EXIT_PANIC: u8 = 101;
/// An exception that nobody handles.
pub const EXIT_FAULT: u8 = 102;
/// The machine cannot be used.
pub const EXIT_BOOT: u8 = 103;

/// Commands of SiFive's test device (FU540-C000 manual, "Test finisher"; QEMU hw/misc/sifive_test.c).
const TEST_PASS: u32 = 0x5555;
const TEST_FAIL: u32 = 0x3333;
const TEST_RESET: u32 = 0x7777;

/// Switches the machine off.
///
/// Where nothing can do that, or where the exit code would be lost with it, the console says
/// `wakeful: halted, exit code N` first: a runner that sees this line may end the machine.
pub fn off(exit_code: u8) -> ! {
    report::claim();
    console::flush();
    test_device(match exit_code {
        EXIT_SUCCESS => TEST_PASS,
        code => u32::from(code) << 16 | TEST_FAIL,
    });
    console::print_unlocked(format_args!("wakeful: halted, exit code {exit_code}\n"));
    if exit_code == EXIT_SUCCESS {
        sbi_rt::system_reset(Shutdown, NoReason);
    } else {
        sbi_rt::system_reset(Shutdown, SystemFailure);
    }
    // Firmware without SRST. (`sbi_rt::legacy::shutdown` panics where the call returns.)
    // SAFETY: legacy extension 8 takes no arguments and touches none of our memory.
    let _ = unsafe { sbi_rt::raw::sbi_call_0(sbi_spec::legacy::LEGACY_SHUTDOWN, 0) };
    halt()
}

/// Starts the machine again.
pub fn reboot() -> ! {
    report::claim();
    restart();
    console::print_unlocked(format_args!("wakeful: the firmware cannot reboot this machine\n"));
    off(EXIT_ERROR)
}

/// Starts the machine again, after [`report::claim`]; returns if nothing can do that.
pub(crate) fn restart() {
    console::flush();
    sbi_rt::system_reset(ColdReboot, NoReason);
    test_device(TEST_RESET);
}

/// Maps the test device. At boot: at the end, whoever dies may hold the locks that mapping takes.
pub(crate) fn init() {
    let Some(base) = machine().test_device.filter(|base| base.is_multiple_of(4)) else { return };
    if let Ok(register) = paging::map_device(PhysAddr::from(base as usize), size_of::<u32>()) {
        TEST_DEVICE.store(register.as_mut_ptr_of::<u32>(), Ordering::Release);
    }
}

fn test_device(command: u32) {
    let register = TEST_DEVICE.load(Ordering::Acquire);
    if !register.is_null() {
        // SAFETY: `init` mapped it, for good; the device tree says what it is.
        unsafe { register.write_volatile(command) };
    }
}

fn halt() -> ! {
    loop {
        riscv::asm::wfi();
    }
}
