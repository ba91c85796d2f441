//! The console: text out, bytes in.
//!
//! Until the machine is known, and where it has no 16550, text goes to the firmware: SBI DBCN, or
//! the legacy call that writes one byte where the firmware is too old for that. A 16550 is driven
//! by its interrupt: printing puts the text into a ring and returns; only when the ring is full does
//! it wait for the line.
//!
//! Text is formatted before the lock is taken, a line of up to 256 bytes at a time: lines of
//! several harts do not mix, and a `Display` that prints, waits or panics does no harm.

use core::fmt::{self, Write};

use memory_addr::VirtAddr;
use sbi_rt::Physical;
use wakeful_uart::Ring;

use crate::{
    layout, machine, record, report,
    sync::{Hook, IrqLock},
    timer,
    uart::Uart,
};

/// The longest line that stays in one piece, in bytes.
const LINE: usize = 256;

static CONSOLE: IrqLock<Console> =
    IrqLock::new(Console { device: Device::Unknown, output: Ring::new(), input: Ring::new() });

/// Called when input arrives, from the interrupt.
static ON_INPUT: Hook = Hook::new();

struct Console {
    device: Device,
    /// Text that waits for the line, in bytes: what a busy second of log writes.
    output: Ring<2048>,
    /// Typed bytes that wait for a reader; further ones are dropped.
    input: Ring<128>,
}

/// Numbered by hand, so that the initial value is all zeros and costs the image nothing.
#[repr(u8)]
enum Device {
    /// Nobody has looked yet. Asking the firmware costs a thousand instructions, so only who has no
    /// UART does.
    Unknown = 0,
    /// SBI debug console.
    Dbcn,
    /// SBI legacy console.
    Legacy,
    Uart(Uart),
}

impl Console {
    /// Writes at most [`LINE`] bytes.
    fn write(&mut self, text: &[u8]) {
        if let Device::Unknown = self.device {
            self.device = match sbi_rt::probe_extension(sbi_rt::Console).is_available() {
                true => Device::Dbcn,
                false => Device::Legacy,
            };
        }
        match &mut self.device {
            Device::Uart(uart) => uart.write(text, &mut self.output),
            // It wants physical memory in one piece, which the ring (in the image) is and a stack
            // may not be.
            Device::Dbcn => write_dbcn(self.output.copy(text)),
            Device::Legacy | Device::Unknown => {
                for &byte in text {
                    #[expect(deprecated, reason = "all there is on firmware without DBCN")]
                    sbi_rt::legacy::console_putchar(usize::from(byte));
                }
            }
        }
    }

    /// Waits until all text is out on the line.
    fn flush(&mut self) {
        if let Device::Uart(uart) = &mut self.device {
            uart.drain(&mut self.output);
        }
    }
}

/// Writes text that lies in the image.
fn write_dbcn(mut text: &[u8]) {
    let Some(start) = layout::virt_to_phys(VirtAddr::from(text.as_ptr() as usize)) else { return };
    let mut start = start.as_usize();
    while !text.is_empty() {
        let written = sbi_rt::console_write(Physical::<&[u8]>::new(text.len(), start, 0));
        match written.ok() {
            // The firmware's line is full: it takes the rest later.
            Some(written) => {
                let written = written.min(text.len());
                text = &text[written..];
                start += written;
            }
            None => return,
        }
    }
}

/// Collects formatted text and hands it on in lines.
struct Lines<F: FnMut(&[u8])> {
    line: [u8; LINE],
    len: usize,
    to: F,
}

impl<F: FnMut(&[u8])> Lines<F> {
    fn new(to: F) -> Self {
        Self { line: [0; LINE], len: 0, to }
    }

    fn end(&mut self) {
        if self.len > 0 {
            (self.to)(&self.line[..self.len]);
            self.len = 0;
        }
    }
}

impl<F: FnMut(&[u8])> Write for Lines<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            self.line[self.len] = byte;
            self.len += 1;
            if byte == b'\n' || self.len == LINE {
                self.end();
            }
        }
        Ok(())
    }
}

/// Prints, from any hart and any context.
pub fn print(text: fmt::Arguments<'_>) {
    report::stop_if_another_ends();
    let mut lines = Lines::new(|line| CONSOLE.lock().write(line));
    // `Lines` takes all; an error is that of a `Display`, and what it wrote stays.
    let _ = lines.write_fmt(text);
    lines.end();
}

/// Takes up to `buffer.len()` bytes of what was typed; returns how many.
///
/// Input needs a UART with an interrupt; elsewhere there is none.
pub fn read(buffer: &mut [u8]) -> usize {
    let mut console = CONSOLE.lock();
    let typed = core::iter::from_fn(|| console.input.pop());
    buffer.iter_mut().zip(typed).map(|(slot, byte)| *slot = byte).count()
}

/// Sets what to do when input arrives. It runs in the interrupt.
pub fn set_input_handler(handler: fn()) {
    ON_INPUT.set(handler);
}

/// Moves to the machine's UART, if it has one that we know.
pub(crate) fn init() {
    let Some(uart) = Uart::find() else { return };
    let interrupt = uart.interrupt();
    CONSOLE.lock().device = Device::Uart(uart);
    let registered =
        interrupt.is_some_and(|source| crate::irq::register(source, |_| on_interrupt(), 0).is_ok());
    if let (true, Device::Uart(uart)) = (registered, &mut CONSOLE.lock().device) {
        uart.use_interrupts();
    }
}

fn on_interrupt() {
    let mut console = CONSOLE.lock();
    let Console { device, output, input } = &mut *console;
    let typed = match device {
        Device::Uart(uart) => uart.on_interrupt(output, input),
        _ => false,
    };
    drop(console);
    if typed {
        ON_INPUT.call();
    }
}

/// Takes the console for the hart that ends the machine, whoever holds it.
pub(crate) fn take_over() {
    // Kept locked for good: the others stop when they see that somebody ends the machine.
    core::mem::forget(patient_lock());
    // What was printed before comes before.
    flush();
}

/// Waits until all text is out on the line. Past the lock: see [`print_unlocked`].
pub(crate) fn flush() {
    with_unlocked(Console::flush);
}

/// Prints past the lock: for the hart that has taken the console over.
pub(crate) fn print_unlocked(text: fmt::Arguments<'_>) {
    let mut lines = Lines::new(|line| {
        if record::restarts() {
            record::add(line);
        }
        with_unlocked(|console| {
            console.write(line);
            console.flush();
        });
    });
    let _ = lines.write_fmt(text);
    lines.end();
}

fn with_unlocked(work: impl FnOnce(&mut Console)) {
    // SAFETY: only the hart that ends the machine comes here, with interrupts off, after `take_over`.
    // The lock is held for good: by that hart, or by code of its own that died within it and never
    // runs again, or by another hart that has made no step for half a second. A half-written ring
    // is plain bytes, and two counts of which `Ring` makes an index within bounds.
    work(unsafe { &mut *CONSOLE.data_ptr() });
}

/// The lock, unless its holder seems to have died: half a second is more than it takes to empty a
/// full ring at 115200 baud (178 ms).
fn patient_lock() -> Option<lock_api::MutexGuard<'static, crate::sync::RawIrqLock, Console>> {
    let begin = timer::now();
    let patience = machine::known().map_or(0, |machine| machine.timebase_hz / 2);
    loop {
        let lock = CONSOLE.try_lock();
        if lock.is_some() || timer::now() - begin > patience {
            return lock;
        }
    }
}
