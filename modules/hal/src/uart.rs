//! The console's 16550, as the device tree describes it: how its registers are reached, in which order,
//! and what DesignWare's version wants beyond. The rest is [`wakeful_uart`].

use core::arch::asm;

use memory_addr::{MemoryAddr, PhysAddr, VirtAddr};
use wakeful_uart::{Backend, Ring, offsets};

use crate::{
    layout::PAGE_SIZE,
    machine::{UartKind, machine},
    paging,
};

/// DesignWare's status register, and the busy interrupt that only reading it ends (DW_apb_uart
/// databook, USR).
const USR: usize = 31;

pub(crate) struct Uart {
    device: wakeful_uart::Uart<Registers>,
    /// Its source at the interrupt controller.
    interrupt: Option<u32>,
    kind: UartKind,
}

impl Uart {
    /// The console's UART, if the device tree names one that we know.
    pub(crate) fn find() -> Option<Self> {
        let facts = machine().uart.as_ref()?;
        let address = PhysAddr::from(facts.base as usize);
        if !address.is_aligned(usize::from(facts.io_width)) {
            return None;
        }
        // The registers that we use lie within one page, whatever size the device tree says.
        let base = paging::map_device(address, PAGE_SIZE).ok()?;
        let backend = Registers { base, shift: facts.reg_shift, wide: facts.io_width == 4 };
        // SAFETY: the device tree says that a 16550 with these registers is there; they stay mapped.
        let device = unsafe { wakeful_uart::Uart::new(backend) };
        Some(Self { device, interrupt: facts.irq, kind: facts.kind })
    }

    /// Its source at the interrupt controller.
    pub(crate) fn interrupt(&self) -> Option<u32> {
        self.interrupt
    }

    /// From now on somebody calls [`on_interrupt`](Self::on_interrupt).
    pub(crate) fn use_interrupts(&mut self) {
        self.device.use_interrupts();
    }

    pub(crate) fn write<const N: usize>(&mut self, text: &[u8], output: &mut Ring<N>) {
        let _ordered = Ordered::new();
        self.device.write(text, output);
    }

    /// Waits until the last bit is out on the line.
    pub(crate) fn drain<const N: usize>(&mut self, output: &mut Ring<N>) {
        self.device.drain(output);
    }

    /// Moves bytes both ways; returns whether input came.
    pub(crate) fn on_interrupt<const N: usize, const M: usize>(
        &mut self,
        output: &mut Ring<N>,
        input: &mut Ring<M>,
    ) -> bool {
        let _ordered = Ordered::new();
        if self.kind == UartKind::DesignWare {
            self.device.backend().read_raw(USR);
        }
        let received = self.device.on_interrupt(output, input) > 0;
        if self.kind == UartKind::DesignWare && !received {
            // Its "character timeout" can stay pending with nothing to read; reading ends it.
            self.device.backend().read_raw(offsets::DATA);
        }
        received
    }
}

/// While it lives, accesses to the device stay within: the next hart that takes the console's lock
/// must find what this one wrote. A lock orders memory only.
struct Ordered;

impl Ordered {
    fn new() -> Self {
        // SAFETY: a fence.
        unsafe { asm!("fence iorw, iorw", options(nostack)) };
        Self
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        // SAFETY: a fence.
        unsafe { asm!("fence iorw, iorw", options(nostack)) };
    }
}

/// The registers where they are mapped.
#[derive(Debug)]
struct Registers {
    base: VirtAddr,
    /// Registers are this power of two apart, in bytes.
    shift: u8,
    /// Whether the bus wants 32-bit accesses.
    wide: bool,
}

impl Registers {
    fn read_raw(&mut self, register: usize) -> u8 {
        let address = self.base + (register << self.shift);
        // SAFETY: within the mapped registers, whose access width the device tree tells.
        unsafe {
            if self.wide {
                address.as_ptr_of::<u32>().read_volatile() as u8
            } else {
                address.as_ptr().read_volatile()
            }
        }
    }
}

impl Backend for Registers {
    unsafe fn read(&mut self, register: u8) -> u8 {
        self.read_raw(usize::from(register))
    }

    unsafe fn write(&mut self, register: u8, value: u8) {
        let address = self.base + (usize::from(register) << self.shift);
        // SAFETY: as in `read_raw`.
        unsafe {
            if self.wide {
                address.as_mut_ptr_of::<u32>().write_volatile(u32::from(value));
            } else {
                address.as_mut_ptr().write_volatile(value);
            }
        }
    }
}
