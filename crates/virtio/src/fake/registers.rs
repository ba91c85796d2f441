//! A device's registers, as its driver has them.

use std::{cell::RefCell, rc::Rc};

use virtio_drivers::{
    Error, PAGE_SIZE, PhysAddr, Result,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Device, Queue};
use crate::SIZE;

/// What a driver has of a device. Drivers never drop it, but they drop their doorbells, which keep the device.
#[derive(Debug)]
pub struct Registers(*const RefCell<Device>);

impl Registers {
    #[must_use]
    pub fn new(device: &Rc<RefCell<Device>>) -> Self {
        Self(Rc::as_ptr(device))
    }

    fn device(&self) -> &RefCell<Device> {
        // SAFETY: as above.
        unsafe { &*self.0 }
    }
}

impl Transport for Registers {
    fn device_type(&self) -> DeviceType {
        self.device().borrow().kind
    }

    fn read_device_features(&mut self) -> u64 {
        self.device().borrow().offered
    }

    fn write_driver_features(&mut self, features: u64) {
        let mut device = self.device().borrow_mut();
        assert_eq!(features & !device.offered, 0, "features that are not offered");
        device.agreed = features;
    }

    fn max_queue_size(&mut self, _: u16) -> u32 {
        self.device().borrow().entries
    }

    fn notify(&mut self, _: u16) {
        unreachable!("there are doorbells")
    }

    fn get_status(&self) -> DeviceStatus {
        let mut device = self.device().borrow_mut();
        if device.slow > 0 {
            device.slow -= 1;
            return DeviceStatus::DRIVER;
        }
        if device.status == 0 {
            device.forget();
        }
        DeviceStatus::from_bits_retain(device.status)
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut device = self.device().borrow_mut();
        if status.is_empty() {
            device.resets += 1;
            if device.slow == 0 {
                device.forget();
            }
        }
        let refuses = device.agreed & device.refused != 0;
        let status = if refuses { status - DeviceStatus::FEATURES_OK } else { status };
        device.status = status.bits();
    }

    fn set_guest_page_size(&mut self, size: u32) {
        assert_eq!(size as usize, PAGE_SIZE);
    }

    fn requires_legacy_layout(&self) -> bool {
        self.device().borrow().is_legacy
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        available: PhysAddr,
        used: PhysAddr,
    ) {
        assert_eq!(size as usize, SIZE);
        let mut device = self.device().borrow_mut();
        assert!(!device.is_live(), "a queue that is changed while the device works");
        assert_eq!((available - descriptors, used - descriptors), (16 * SIZE as u64, 4096));
        device.queues[usize::from(queue)] =
            Some(Queue { descriptors, available, used, seen: 0, returned: 0 });
    }

    fn queue_unset(&mut self, queue: u16) {
        self.device().borrow_mut().queues[usize::from(queue)] = None;
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.device().borrow().queues[usize::from(queue)].is_some()
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        unreachable!("interrupts are the owner's")
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        // Wider registers are read by the half (§4.2.2.2); the library's transports insist on that.
        assert!(align_of::<T>() <= 4, "a field that is read at once");
        let device = self.device().borrow();
        let bytes = device.config.get(offset..offset + size_of::<T>());
        T::read_from_bytes(bytes.ok_or(Error::ConfigSpaceTooSmall)?)
            .map_err(|_| Error::ConfigSpaceTooSmall)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        unreachable!("nothing is to be written there")
    }
}
