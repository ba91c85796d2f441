//! A disk in memory.

use alloc::vec::Vec;

use spin::Mutex;

use crate::{BlockDevice, Error, Geometry};

/// A disk in memory, for tests and for what need not outlive the machine. All harts may use it at once.
///
/// Nothing waits: its futures are ready when they are polled first, and a `flush` has nothing to do. Its lock is held
/// for one block at a time.
#[derive(Debug)]
pub struct RamDisk {
    geometry: Geometry,
    bytes: Mutex<Vec<u8>>,
}

impl RamDisk {
    /// A disk of zeros.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; [`Error::Unsupported`] for what [`Geometry::new`] refuses.
    pub fn new(block_size: u32, blocks: u64) -> Result<Self, Error> {
        let geometry = Geometry::new(block_size, blocks).ok_or(Error::Unsupported)?;
        let len = usize::try_from(geometry.bytes()).map_err(|_| Error::OutOfMemory)?;
        Ok(Self { geometry, bytes: Mutex::new(crate::zeros(len)?) })
    }

    /// A disk that is these bytes, such as an image that is part of the program.
    ///
    /// # Errors
    ///
    /// [`Error::Misaligned`] if they are no whole number of blocks; [`Error::Unsupported`] for what
    /// [`Geometry::new`] refuses.
    pub fn from_bytes(block_size: u32, bytes: Vec<u8>) -> Result<Self, Error> {
        let blocks = bytes.len() as u64 / u64::from(block_size.max(1));
        let geometry = Geometry::new(block_size, blocks).ok_or(Error::Unsupported)?;
        if geometry.bytes() != bytes.len() as u64 {
            return Err(Error::Misaligned);
        }
        Ok(Self { geometry, bytes: Mutex::new(bytes) })
    }

    /// The same disk, but it cannot be written.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { geometry: self.geometry.read_only(), ..self }
    }

    /// All that is on it.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner()
    }

    /// Where a block begins that was checked: all of the disk is in memory, so that fits.
    fn start(&self, block: u64) -> usize {
        block as usize * self.geometry.block_size as usize
    }
}

impl BlockDevice for RamDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// # Cancellation
    ///
    /// It is ready at once.
    async fn read(&self, block: u64, into: &mut [u8]) -> Result<(), Error> {
        self.geometry.check_read(block, into.len())?;
        let block_size = self.geometry.block_size as usize;
        let mut at = self.start(block);
        for into in into.chunks_mut(block_size) {
            into.copy_from_slice(&self.bytes.lock()[at..][..into.len()]);
            at += into.len();
        }
        Ok(())
    }

    /// # Cancellation
    ///
    /// It is ready at once.
    async fn write(&self, block: u64, from: &[u8]) -> Result<(), Error> {
        self.geometry.check_write(block, from.len())?;
        let block_size = self.geometry.block_size as usize;
        let mut at = self.start(block);
        for from in from.chunks(block_size) {
            self.bytes.lock()[at..][..from.len()].copy_from_slice(from);
            at += from.len();
        }
        Ok(())
    }

    /// # Cancellation
    ///
    /// It is ready at once.
    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::{rc::Rc, sync::Arc, vec};

    use super::*;
    use crate::fake::run;

    #[test]
    fn what_was_written_is_read() {
        let disk = RamDisk::new(512, 4).unwrap();
        let mut read = [1; 1024];
        run(disk.read(0, &mut read)).unwrap();
        assert_eq!(read, [0; 1024]);
        run(disk.write(2, &[7; 512])).unwrap();
        run(disk.read(1, &mut read)).unwrap();
        assert_eq!((&read[..512], &read[512..]), (&[0; 512][..], &[7; 512][..]));
        assert_eq!(run(disk.read(3, &mut read)), Err(Error::OutOfRange));
        assert_eq!(run(disk.write(0, &[7; 100])), Err(Error::Misaligned));
        let disk = disk.read_only();
        assert_eq!(run(disk.write(2, &[8; 512])), Err(Error::ReadOnly));
        assert_eq!(disk.into_bytes()[1024..1536], [7; 512]);
    }

    #[test]
    fn sizes_that_cannot_be() {
        assert_eq!(RamDisk::new(100, 4).err(), Some(Error::Unsupported));
        assert_eq!(RamDisk::new(512, 1 << 54).err(), Some(Error::OutOfMemory));
        assert_eq!(RamDisk::from_bytes(512, vec![0; 513]).err(), Some(Error::Misaligned));
        assert_eq!(RamDisk::from_bytes(0, vec![0; 512]).err(), Some(Error::Unsupported));
        assert_eq!(RamDisk::from_bytes(512, vec![0; 1024]).unwrap().geometry().blocks, 2);
    }

    #[test]
    fn pointers_are_devices() {
        fn blocks(device: impl BlockDevice) -> u64 {
            let mut block = [0; 512];
            run(device.write(3, &[9; 512])).unwrap();
            run(device.flush()).unwrap();
            run(device.read(3, &mut block)).unwrap();
            assert_eq!(block, [9; 512]);
            device.geometry().blocks
        }
        let disk = || RamDisk::new(512, 4).unwrap();
        let owned = disk();
        assert_eq!(blocks(&owned), blocks(owned));
        assert_eq!(blocks(Arc::new(disk())), 4);
        assert_eq!(blocks(Rc::new(&disk())), 4);
        assert_eq!(blocks(alloc::boxed::Box::new(disk())), 4);
    }

    /// A task on any hart can hold one: checked by the compiler, through pointers too.
    #[test]
    fn futures_are_send() {
        fn send<T: Send>(value: T) -> T {
            value
        }
        let disk = Arc::new(RamDisk::new(512, 4).unwrap());
        run(send(disk.write(0, &[1; 512]))).unwrap();
        run(send(disk.flush())).unwrap();
    }
}
