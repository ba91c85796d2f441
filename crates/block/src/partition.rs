//! A range of a device as a device.

use crate::{BlockDevice, Error, Geometry};

/// A range of a device as a device: block 0 is the first of the range, and nothing outside can be reached.
///
/// Several on one device share it by reference, or by [`Arc`](alloc::sync::Arc). A flush is one of the whole device.
#[derive(Debug, Clone, Copy)]
pub struct Partition<D> {
    device: D,
    first: u64,
    geometry: Geometry,
}

impl<D: BlockDevice> Partition<D> {
    /// The blocks `first..first + blocks` of the device.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if the device does not have them.
    pub fn new(device: D, first: u64, blocks: u64) -> Result<Self, Error> {
        let whole = device.geometry();
        match first.checked_add(blocks) {
            Some(end) if end <= whole.blocks => {
                Ok(Self { device, first, geometry: Geometry { blocks, ..whole } })
            }
            _ => Err(Error::OutOfRange),
        }
    }

    /// The same range, but it cannot be written.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { geometry: self.geometry.read_only(), ..self }
    }

    /// Where it begins on the device, in blocks.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Gives the device back.
    #[must_use]
    pub fn into_device(self) -> D {
        self.device
    }
}

impl<D: BlockDevice> BlockDevice for Partition<D> {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// # Cancellation
    ///
    /// As on the device.
    async fn read(&self, block: u64, into: &mut [u8]) -> Result<(), Error> {
        self.geometry.check_read(block, into.len())?;
        self.device.read(self.first + block, into).await
    }

    /// # Cancellation
    ///
    /// As on the device.
    async fn write(&self, block: u64, from: &[u8]) -> Result<(), Error> {
        self.geometry.check_write(block, from.len())?;
        self.device.write(self.first + block, from).await
    }

    fn flush(&self) -> impl Future<Output = Result<(), Error>> {
        self.device.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{RamDisk, fake::run};

    #[test]
    fn ranges_that_are_not_there() {
        let disk = RamDisk::new(512, 8).unwrap();
        assert!(Partition::new(&disk, 0, 8).is_ok());
        assert!(Partition::new(&disk, 8, 0).is_ok());
        for (first, blocks) in [(0, 9), (1, 8), (8, 1), (9, 0), (1, u64::MAX), (u64::MAX, 1)] {
            assert_eq!(Partition::new(&disk, first, blocks).err(), Some(Error::OutOfRange));
        }
    }

    #[test]
    fn read_only_parts_of_a_disk() {
        let disk = RamDisk::new(512, 8).unwrap();
        let partition = Partition::new(&disk, 2, 4).unwrap().read_only();
        assert_eq!(run(partition.write(0, &[1; 512])), Err(Error::ReadOnly));
        assert!(partition.geometry().is_read_only);
        let disk = disk.read_only();
        assert!(Partition::new(&disk, 2, 4).unwrap().geometry().is_read_only);
    }

    proptest! {
        /// Whatever is written to partitions of partitions, what is around them stays.
        #[test]
        fn nothing_outside_is_touched(
            first in 0_u64..16, blocks in 0_u64..16,
            inner_first in 0_u64..16, inner_blocks in 0_u64..16,
            block in prop_oneof![0_u64..20, Just(u64::MAX), Just(u64::MAX - 3)], len in 0_usize..20,
        ) {
            let disk = RamDisk::new(512, 16).unwrap();
            let Ok(outer) = Partition::new(&disk, first, blocks) else { return Ok(()) };
            let Ok(inner) = Partition::new(&outer, inner_first, inner_blocks) else { return Ok(()) };
            let from = alloc::vec![1; len * 512];
            let written = run(inner.write(block, &from)).is_ok();
            prop_assert_eq!(written, block.checked_add(len as u64).is_some_and(|end| end <= inner_blocks));
            let start = first + inner_first + block.min(16);
            for (number, bytes) in (0..).zip(disk.into_bytes().chunks(512)) {
                let is_ours = written && (start..start + len as u64).contains(&number);
                prop_assert_eq!(bytes[0], u8::from(is_ours), "block {}", number);
            }
        }
    }
}
