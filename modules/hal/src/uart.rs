//! A 16550 UART as found: the firmware has set its speed, and we keep that.
//!
//! Registers and their bits come from [`uart_16550`]; what is ours is access as the device tree says
//! (`reg-shift`, `reg-io-width`), the rings, and the FIFO's bursts. We do not use that crate's
//! initialisation: it sets the speed, for which one would have to know the input clock.

use core::arch::asm;

use memory_addr::{MemoryAddr, PhysAddr, VirtAddr};
use uart_16550::{
    Uart16550,
    backend::Backend,
    spec::{
        FIFO_SIZE,
        registers::{IER, LSR, offsets},
    },
};

use crate::{
    layout::PAGE_SIZE,
    machine::{UartKind, machine},
    paging,
};

pub(crate) struct Uart {
    registers: Uart16550<Registers>,
    /// Its source at the interrupt controller.
    interrupt: Option<u32>,
    kind: UartKind,
    /// Bytes that the transmitter takes at once when it is empty.
    burst: usize,
    /// Whether the ring is emptied by interrupts.
    interrupts: bool,
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
        let mut registers = unsafe { Uart16550::new_with_backend(backend) };
        registers.disable_interrupts(IER::all());
        let burst = if registers.isr().fifo_enabled() { FIFO_SIZE } else { 1 };
        Some(Self { registers, interrupt: facts.irq, kind: facts.kind, burst, interrupts: false })
    }

    /// Its source at the interrupt controller.
    pub(crate) fn interrupt(&self) -> Option<u32> {
        self.interrupt
    }

    /// From now on somebody calls [`on_interrupt`](Self::on_interrupt).
    pub(crate) fn use_interrupt(&mut self) {
        self.interrupts = true;
        self.registers.enable_interrupts(IER::DATA_READY);
    }

    /// Puts text into the ring, and on its way. Waits only while the ring is full.
    pub(crate) fn write<const N: usize>(&mut self, text: &[u8], output: &mut Ring<N>) {
        let _ordered = Ordered::new();
        for &byte in text {
            if byte == b'\n' {
                self.push(b'\r', output);
            }
            self.push(byte, output);
        }
        self.send(output);
        if !self.interrupts {
            self.flush(output);
        } else if !output.is_empty() {
            self.registers.enable_interrupts(IER::THR_EMPTY);
        }
    }

    fn push<const N: usize>(&mut self, byte: u8, output: &mut Ring<N>) {
        while !output.push(byte) {
            self.send(output);
        }
    }

    /// Gives the transmitter what it takes now.
    fn send<const N: usize>(&mut self, output: &mut Ring<N>) {
        while !output.is_empty() && self.registers.ready_to_send().is_ok() {
            for byte in (0..self.burst).map_while(|_| output.pop()) {
                // SAFETY: the transmitter is empty, so its FIFO takes a burst; DATA is register 0.
                unsafe { self.registers.backend_mut().write(offsets::DATA as u8, byte) };
            }
        }
    }

    /// Waits until the transmitter has taken everything.
    pub(crate) fn flush<const N: usize>(&mut self, output: &mut Ring<N>) {
        while !output.is_empty() {
            self.send(output);
        }
    }

    /// Waits until the last bit is out on the line: afterwards the power may go.
    pub(crate) fn drain<const N: usize>(&mut self, output: &mut Ring<N>) {
        self.flush(output);
        while !self.registers.lsr().contains(LSR::TRANSMITTER_EMPTY) {}
    }

    /// Moves bytes both ways; returns whether input came.
    pub(crate) fn on_interrupt<const N: usize, const M: usize>(
        &mut self,
        output: &mut Ring<N>,
        input: &mut Ring<M>,
    ) -> bool {
        let _ordered = Ordered::new();
        if self.kind == UartKind::DesignWare {
            // "Busy detect" stays pending until the status register is read (DW_apb_uart databook,
            // USR at register 31).
            self.registers.backend_mut().read_raw(31);
        }
        let mut typed = false;
        let mut received = false;
        while let Ok(byte) = self.registers.try_receive_byte() {
            received = true;
            typed |= input.push(byte);
        }
        if self.kind == UartKind::DesignWare && !received {
            // Its "character timeout" can stay pending with nothing to read; reading ends it.
            self.registers.backend_mut().read_raw(offsets::DATA);
        }
        self.send(output);
        if output.is_empty() {
            self.registers.disable_interrupts(IER::THR_EMPTY);
        }
        typed
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

/// First in, first out.
pub(crate) struct Ring<const N: usize> {
    bytes: [u8; N],
    /// Counts of bytes ever taken and put; they wrap, N is a power of two.
    taken: usize,
    put: usize,
}

impl<const N: usize> Ring<N> {
    pub(crate) const fn new() -> Self {
        assert!(N.is_power_of_two());
        Self { bytes: [0; N], taken: 0, put: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.put
    }

    /// Whether there was room.
    pub(crate) fn push(&mut self, byte: u8) -> bool {
        let room = self.put.wrapping_sub(self.taken) < N;
        if room {
            self.bytes[self.put % N] = byte;
            self.put = self.put.wrapping_add(1);
        }
        room
    }

    pub(crate) fn pop(&mut self) -> Option<u8> {
        let byte = (!self.is_empty()).then(|| self.bytes[self.taken % N])?;
        self.taken = self.taken.wrapping_add(1);
        Some(byte)
    }

    /// Lends its memory, while it is empty, to a copy of at most N bytes.
    pub(crate) fn copy(&mut self, text: &[u8]) -> &[u8] {
        debug_assert!(self.is_empty());
        let copied = self.bytes.iter_mut().zip(text).map(|(to, &from)| *to = from).count();
        &self.bytes[..copied]
    }
}
