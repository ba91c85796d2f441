//! The address space: who lives where, and from physical to virtual and back.
//!
//! ```text
//! 0000000000000000  nothing: null and everything near it faults
//! ffffffc000000000  linear map: free RAM and devices at physical address + this, never executable
//! ffffffff80000000  the image: text RX, constants R, data RW
//! ffffffffc0000000  stacks of the harts that are started later, guard pages between
//! ```
//!
//! Of RAM the linear map has what is free, in large pages; the ends of free ranges, which share a large
//! page with something else, join it when all else is taken. The image is not in it: text must not be
//! writable under another name. Nor is what the device tree reserves: some of it must not even be
//! touched by speculation (Devicetree v0.4 §3.5.4, `no-map`).

use core::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use memory_addr::{PhysAddr, VirtAddr};

/// Size of a frame and of a small page, in bytes (Sv39).
pub const PAGE_SIZE: usize = 4096;

/// Size of a large page, in bytes: one level up.
pub(crate) const LARGE_PAGE_SIZE: usize = 512 * PAGE_SIZE;

/// Where physical address 0 appears.
pub const LINEAR_BASE: usize = 0xffff_ffc0_0000_0000;
/// How much physical memory the linear map can hold. RAM and devices above stay out of reach.
pub const LINEAR_SIZE: usize = 254 << 30;
/// Where the stacks of other harts than the first are mapped.
pub(crate) const STACKS_BASE: usize = 0xffff_ffff_c000_0000;

/// Physical address of the image, learned from the first hart's program counter.
static IMAGE: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    safe static _image_start: u8;
    safe static _text_end: u8;
    safe static _rodata_end: u8;
    safe static _fault_guard: u8;
    safe static _fault_stack: u8;
    safe static _stack_guard: u8;
    safe static _stack: u8;
    safe static _stack_end: u8;
    safe static _kept: u8;
    safe static _image_end: u8;
}

fn span(from: &'static u8, to: &'static u8) -> Range<usize> {
    from as *const u8 as usize..to as *const u8 as usize
}

/// Virtual addresses of the parts of the image.
pub mod image {
    use super::*;

    /// Instructions.
    pub fn text() -> Range<usize> {
        span(&_image_start, &_text_end)
    }

    /// Constants.
    pub fn rodata() -> Range<usize> {
        span(&_text_end, &_rodata_end)
    }

    /// Variables, initialised or zero.
    pub(crate) fn data() -> Range<usize> {
        span(&_rodata_end, &_fault_guard)
    }

    /// The first hart's fault stack; a guard page lies below it.
    pub fn fault_stack() -> Range<usize> {
        span(&_fault_stack, &_stack_guard)
    }

    /// The first hart's stack; a guard page lies below it.
    pub fn stack() -> Range<usize> {
        span(&_stack, &_stack_end)
    }

    /// That stack, and what outlives a reboot.
    pub(crate) fn stack_and_kept() -> Range<usize> {
        span(&_stack, &_image_end)
    }

    /// What outlives a reboot: neither loaded nor zeroed.
    pub(crate) fn kept() -> Range<usize> {
        span(&_kept, &_image_end)
    }

    /// All of it, up to a page boundary.
    pub(crate) fn all() -> Range<usize> {
        span(&_image_start, &_image_end)
    }

    /// Physical addresses of the image, guard pages and all.
    pub fn physical() -> Range<usize> {
        let start = IMAGE.load(Ordering::Relaxed);
        start..start + all().len()
    }
}

/// Remembers where the image is. First thing at boot.
pub(crate) fn set_image_base(physical: usize) {
    IMAGE.store(physical, Ordering::Relaxed);
}

/// Where physical memory or a device register appears in the linear map.
///
/// # Panics
///
/// Above [`LINEAR_SIZE`].
pub fn phys_to_virt(address: PhysAddr) -> VirtAddr {
    assert!(address.as_usize() < LINEAR_SIZE, "physical address beyond the linear map");
    VirtAddr::from(address.as_usize() + LINEAR_BASE)
}

/// The physical address behind an address in the image or in the linear map.
///
/// `None` for anything else: the stacks of later harts are mapped page by page.
pub fn virt_to_phys(address: VirtAddr) -> Option<PhysAddr> {
    let address = address.as_usize();
    let image = image::all();
    if image.contains(&address) {
        Some(PhysAddr::from(address - image.start + image::physical().start))
    } else if (LINEAR_BASE..LINEAR_BASE + LINEAR_SIZE).contains(&address) {
        Some(PhysAddr::from(address - LINEAR_BASE))
    } else {
        None
    }
}
