//! What outlives a reboot: how often the machine was restarted after a panic, and why it was the last time.
//!
//! A page of the image that no loader loads and no entry code clears. RAM keeps what is in it while the
//! machine is reset but not switched off, unless somebody puts something else there: firmware, or a boot
//! loader that lies where the image will be (QEMU's `virt` has U-Boot there). So what is found is data from
//! outside: a number of ours, and a sum that is right; otherwise there was no panic before.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::{console, layout::image};

/// How many bytes of a report are kept.
const TEXT: usize = 200;

const MAGIC: u64 = u64::from_le_bytes(*b"wakeful1");

#[repr(C)]
struct Record {
    magic: u64,
    /// Of all that follows.
    sum: u64,
    /// Restarts after a panic since the machine was switched on.
    restarts: u32,
    /// How many bytes of text there are; 0 if somebody has read them.
    len: u32,
    text: [u8; TEXT],
}

const _: () = assert!(size_of::<Record>() <= 256, "link.ld has no room for it");

/// Whether a panic restarts the machine.
static RESTARTS: AtomicBool = AtomicBool::new(false);

/// From now on a report ends with a reboot, and the next boot tells of it.
pub fn restart_after_panics() {
    RESTARTS.store(true, Relaxed);
}

/// Whether a report is to end with a reboot.
pub(crate) fn restarts() -> bool {
    RESTARTS.load(Relaxed)
}

/// Says so if this boot follows a panic. At boot, when the console is there.
pub fn tell() {
    // SAFETY: at boot there is nobody else.
    let record = unsafe { record() };
    if record.magic == MAGIC {
        record.tell();
    }
}

/// Begins a report for the next boot. For the hart that ends the machine, as all that follows.
pub(crate) fn begin() {
    // SAFETY: that hart, and its interrupts are off.
    let record = unsafe { record() };
    record.restarts = if record.is_whole() { record.restarts.saturating_add(1) } else { 1 };
    record.len = 0;
}

/// Adds what fits, as letters of one line that any console can show.
pub(crate) fn add(text: &[u8]) {
    // SAFETY: as above.
    let record = unsafe { record() };
    for &byte in text {
        let Some(place) = record.text.get_mut(record.len as usize) else { return };
        if byte == b'\n' && record.len == 0 {
            continue;
        }
        *place = if matches!(byte, b' '..=b'~') { byte } else { b' ' };
        record.len += 1;
    }
}

/// From here on the next boot believes it.
pub(crate) fn end() {
    // SAFETY: as above.
    unsafe { record() }.seal();
}

/// # Safety
///
/// One has it at a time.
unsafe fn record() -> &'static mut Record {
    let place = core::ptr::with_exposed_provenance_mut::<Record>(image::kept().start);
    // SAFETY: mapped, large enough and aligned by `link.ld`, and any bits are numbers. No variable of this
    // program is there.
    unsafe { &mut *place }
}

impl Record {
    #[cold]
    #[inline(never)]
    fn tell(&mut self) {
        let text = self.text.get(..self.len as usize).and_then(|text| str::from_utf8(text).ok());
        if self.is_whole()
            && let Some(text) = text.filter(|text| !text.is_empty())
        {
            console::print(format_args!(
                "wakeful: restarted after a panic ({} since power-on): {text}\n",
                self.restarts
            ));
            self.len = 0;
            self.seal();
        }
    }

    fn is_whole(&self) -> bool {
        self.magic == MAGIC && self.sum == self.sum()
    }

    fn seal(&mut self) {
        (self.magic, self.sum) = (MAGIC, self.sum());
    }

    /// FNV-1a (64 bits), but for the numbers, which are taken at once.
    #[inline(never)]
    fn sum(&self) -> u64 {
        let numbers = u64::from(self.restarts) << 32 | u64::from(self.len);
        self.text.iter().fold(numbers ^ 0xcbf2_9ce4_8422_2325, |sum, &byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}
