//! The cable: a datagram socket of which QEMU holds the other end (`-netdev dgram`), one frame in each
//! datagram, and a record of all that goes over it.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// The sockets and the record, in a machine's folder.
const MACHINE: &str = "machine";
const PEER: &str = "peer";
const RECORD: &str = "frames.pcap";
const EARLIER: &str = "earlier.pcap";

/// Room for any frame that QEMU sends.
const LONGEST: usize = 65_536;

/// What a path of a socket may have (`sockaddr_un`, with the 0 at its end).
const LONGEST_PATH: usize = 107;

/// QEMU's end of the cable in `folder`.
pub(crate) fn netdev(folder: &Path) -> String {
    let path = |name| folder.join(name).display().to_string().replace(',', ",,");
    format!(
        "dgram,id=net0,local.type=unix,local.path={},remote.type=unix,remote.path={}",
        path(MACHINE),
        path(PEER)
    )
}

/// Where the frames are recorded, the last ones at least.
pub(crate) fn record(folder: &Path) -> PathBuf {
    folder.join(RECORD)
}

/// This end.
pub(crate) struct Wire {
    socket: UnixDatagram,
    machine: PathBuf,
    connected: bool,
    record: Record,
}

impl Wire {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let own = folder.join(PEER);
        let length = folder.join(MACHINE).as_os_str().len();
        ensure!(
            length <= LONGEST_PATH,
            "{} is {length} bytes long; a socket's path has {LONGEST_PATH} at most",
            folder.display()
        );
        let socket = UnixDatagram::bind(&own)
            .with_context(|| format!("cannot make the socket {}", own.display()))?;
        socket.set_nonblocking(true)?;
        let record = Record::new(folder)?;
        Ok(Self { socket, machine: folder.join(MACHINE), connected: false, record })
    }

    pub(crate) fn socket(&self) -> &UnixDatagram {
        &self.socket
    }

    /// The next frame from the machine, if one is there.
    pub(crate) fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let mut frame = vec![0; LONGEST];
        match self.socket.recv(&mut frame) {
            Ok(count) => {
                frame.truncate(count);
                self.record.add(&frame)?;
                Ok(Some(frame))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            // The machine has been switched off.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error).context("cannot receive frames"),
        }
    }

    /// Whether it could be sent now. If the machine is not there it counts as sent.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<bool> {
        // QEMU takes that for the end, and hears nothing any more.
        ensure!(!frame.is_empty(), "a frame without a single byte");
        // Only a socket that is connected tells when there is room in the other one.
        if !self.connected {
            self.connected = self.socket.connect(&self.machine).is_ok();
        }
        match self.socket.send(frame) {
            Ok(_) => {
                self.record.add(frame)?;
                Ok(true)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => Ok(false),
                ErrorKind::NotConnected | ErrorKind::ConnectionRefused => Ok(true),
                ErrorKind::ConnectionReset | ErrorKind::NotFound => Ok(true),
                _ => Err(error).context("cannot send a frame"),
            },
        }
    }
}

/// A file that `tcpdump` and Wireshark read (the first format of libpcap, in microseconds). When it is full
/// it becomes the earlier one, whose predecessor is gone.
struct Record {
    folder: PathBuf,
    file: BufWriter<File>,
    begin: Instant,
    size: usize,
}

/// What is kept of a frame: its headers, and some bytes more.
const SNAP: usize = 160;

/// What a record may have, in bytes.
const LARGEST: usize = 64 << 20;

/// From Ethernet (`LINKTYPE_ETHERNET`).
const ETHERNET: u32 = 1;

impl Record {
    fn new(folder: &Path) -> Result<Self> {
        let file = Self::file(folder)?;
        Ok(Self { folder: folder.into(), file, begin: Instant::now(), size: 0 })
    }

    fn file(folder: &Path) -> Result<BufWriter<File>> {
        let path = record(folder);
        let file = File::create(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        // Magic number, version 2.4, zone, accuracy, longest frame, link.
        for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, SNAP as u32, ETHERNET] {
            file.write_all(&u32::to_ne_bytes(word))?;
        }
        Ok(file)
    }

    fn add(&mut self, frame: &[u8]) -> Result<()> {
        let kept = &frame[..frame.len().min(SNAP)];
        if self.size + kept.len() > LARGEST {
            self.file.flush()?;
            std::fs::rename(record(&self.folder), self.folder.join(EARLIER))?;
            (self.file, self.size) = (Self::file(&self.folder)?, 0);
        }
        self.size += kept.len() + 16;
        let time = self.begin.elapsed();
        let lengths = [kept.len() as u32, frame.len() as u32];
        for word in [time.as_secs() as u32, time.subsec_micros(), lengths[0], lengths[1]] {
            self.file.write_all(&word.to_ne_bytes())?;
        }
        self.file.write_all(kept).context("cannot record a frame")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn frames_go_both_ways_and_are_recorded() {
        let folder = Scratch::new("wire").unwrap();
        let mut wire = Wire::new(folder.path()).unwrap();
        assert!(wire.send(b"to nobody").unwrap());
        let machine = UnixDatagram::bind(folder.path().join(MACHINE)).unwrap();
        assert_eq!(wire.receive().unwrap(), None);
        machine.send_to(&[7; 200], folder.path().join(PEER)).unwrap();
        assert_eq!(wire.receive().unwrap(), Some(vec![7; 200]));
        // As many as there is room for, and then not one more.
        let sent = (0..).take_while(|_| wire.send(&[9; 60]).unwrap()).count();
        let mut frame = [0; 100];
        assert_eq!((machine.recv(&mut frame).unwrap(), frame[0]), (60, 9));
        assert!(wire.send(&[9; 60]).unwrap());
        assert!(wire.send(&[]).is_err());
        drop(wire);
        let record = std::fs::metadata(folder.path().join(RECORD)).unwrap().len();
        assert_eq!(record, (24 + 16 + SNAP + (sent + 1) * (16 + 60)) as u64);
    }
}
