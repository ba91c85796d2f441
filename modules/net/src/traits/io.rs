//! embedded-io-async 0.7.

use embedded_io_async::{ErrorType, Read, Write};

use crate::{Error, OwnedReadHalf, OwnedWriteHalf, ReadHalf, TcpStream, WriteHalf};

macro_rules! read {
    ($stream:ty) => {
        impl Read for $stream {
            async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
                Self::read(self, buffer).await
            }
        }
    };
}

macro_rules! write {
    ($stream:ty) => {
        impl Write for $stream {
            async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
                Self::write(self, bytes).await
            }

            async fn flush(&mut self) -> Result<(), Error> {
                Self::flush(self).await
            }
        }
    };
}

macro_rules! error {
    ($($stream:ty),*) => {
        $(impl ErrorType for $stream {
            type Error = Error;
        })*
    };
}

error!(TcpStream, ReadHalf<'_>, WriteHalf<'_>, OwnedReadHalf, OwnedWriteHalf);
read!(TcpStream);
read!(ReadHalf<'_>);
read!(OwnedReadHalf);
write!(TcpStream);
write!(WriteHalf<'_>);
write!(OwnedWriteHalf);
