//! The machine's console: bytes pass through unchanged, addresses in reports get names.
//!
//! The kernel prints one address per line, with exactly two spaces before the word:
//!
//! ```text
//!   pc 0xffffffff80201234        the instruction that faulted
//!   ra 0xffffffff80201234        the return address register
//!   at 0xffffffff80201234        a caller, found by its frame pointer
//!   at 0xffffffff80201234 ?      perhaps a caller: a plausible value on the stack
//! ```
//!
//! Since a name is only ever added at the end of a line, nothing needs to be held back: a prompt
//! appears as it is typed.
//!
//! On a machine that cannot end its own emulator, the kernel's last line says
//! `wakeful: halted, exit code N`. A machine that serves says where, once: `http://ADDRESS:PORT`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::network;
use crate::symbols::{Frame, Symbols};

/// A longer line is no line of a report; what is beyond is not looked at.
const LONGEST_LINE: usize = 120;

/// What is shown of a function's name, in letters: that of a web server's future has a hundred thousand.
const LONGEST_NAME: usize = 200;

/// One console, read from the machine's start.
pub(crate) struct Console<'a> {
    name: Box<dyn FnMut(u64) -> Vec<Frame> + Send + 'a>,
    line: Vec<u8>,
    /// The exit code on the line that is ending.
    farewell: Option<i32>,
    halted: bool,
    serving: Option<SocketAddr>,
}

impl<'a> Console<'a> {
    /// A console whose addresses are looked up by `name`.
    pub(crate) fn new(name: impl FnMut(u64) -> Vec<Frame> + Send + 'a) -> Self {
        let name = Box::new(name);
        Self { name, line: Vec::new(), farewell: None, halted: false, serving: None }
    }

    /// A console of a machine that runs this ELF file. The file is read when the first address
    /// appears, and each address is looked up once.
    pub(crate) fn of(elf: &'a std::path::Path) -> Self {
        let (mut symbols, mut known) = (None, HashMap::<u64, Vec<Frame>>::new());
        Self::new(move |address| {
            let symbols = symbols.get_or_insert_with(|| Symbols::open(elf));
            let look_up = || symbols.as_ref().map_or_else(|_| Vec::new(), |it| it.frames(address));
            known.entry(address).or_insert_with(look_up).clone()
        })
    }

    /// Takes the next bytes and appends to `out` what the user should see.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            if byte == b'\r' || byte == b'\n' {
                self.end_line(out);
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(byte);
            }
            out.push(byte);
            self.halted |= byte == b'\n' && self.farewell.is_some();
        }
    }

    /// The exit code that the kernel has printed, if it has halted without ending the emulator.
    pub(crate) fn halted(&self) -> Option<i32> {
        self.farewell.filter(|_| self.halted)
    }

    /// The address at which the machine serves, if it has said so: the first one, or the first with HTTP's port.
    pub(crate) fn serving(&self) -> Option<SocketAddr> {
        self.serving
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        if let Ok(line) = std::str::from_utf8(&self.line) {
            if let Some(address) = address_to_look_up(line) {
                out.extend_from_slice(describe(&(self.name)(address)).as_bytes());
            } else if let Some(code) = line.strip_prefix("wakeful: halted, exit code ") {
                self.farewell = code.parse().ok();
            }
            let is_web = |address: &SocketAddr| address.port() == network::HTTP;
            let said = network::serving(line).filter(|it| self.serving.is_none() || is_web(it));
            self.serving = self.serving.filter(is_web).or(said).or(self.serving);
        }
        self.line.clear();
    }
}

/// The code address that a line of a report is about.
fn address_to_look_up(line: &str) -> Option<u64> {
    let (kind, rest) = line.strip_prefix("  ")?.split_once(" 0x")?;
    let digits = rest.strip_suffix(" ?").unwrap_or(rest);
    let address = u64::from_str_radix(digits, 16).ok()?;
    match kind {
        "pc" => Some(address),
        // A return address: the call is the instruction before it, and may be the last one of its
        // function.
        "at" | "ra" => Some(address.wrapping_sub(1)),
        _ => None,
    }
}

/// What follows the address: its function, then, one per line, the functions that this one was
/// inlined into.
fn describe(frames: &[Frame]) -> String {
    let mut text = String::new();
    for (index, Frame { function, location }) in frames.iter().enumerate() {
        let before = if index == 0 { "  " } else { "\r\n      in " };
        _ = match function.char_indices().nth(LONGEST_NAME) {
            Some((end, _)) => write!(text, "{before}{}…", &function[..end]),
            None => write!(text, "{before}{function}"),
        };
        if let Some(location) = location {
            _ = write!(text, "  ({location})");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(address: u64) -> Vec<Frame> {
        let frame = |function: &str, location: Option<&str>| Frame {
            function: function.into(),
            location: location.map(str::to_owned),
        };
        match address {
            0xffff_ffff_8020_1233 => vec![frame("hello::main", Some("src/main.rs:12"))],
            0x8020_0000 => vec![frame("inner", Some("a.rs:1")), frame("outer", None)],
            _ => Vec::new(),
        }
    }

    const REPORT: &str = "ok\n  at 0xffffffff80201234\r\n  at 0xffffffff80201234 ?\n  pc 0x80200000\n  ra 0x1\n\
                          at 0xffffffff80201234\n  at 0xffffffff80201234 or so\n> ";
    const NAMED: &str = "ok\n  at 0xffffffff80201234  hello::main  (src/main.rs:12)\r\n  \
                         at 0xffffffff80201234 ?  hello::main  (src/main.rs:12)\n  \
                         pc 0x80200000  inner  (a.rs:1)\r\n      in outer\n  ra 0x1\n\
                         at 0xffffffff80201234\n  at 0xffffffff80201234 or so\n> ";

    #[test]
    fn reports_get_names_whatever_the_size_of_the_pieces() {
        for size in 1..=REPORT.len() {
            let mut console = Console::new(name);
            let mut out = Vec::new();
            REPORT.as_bytes().chunks(size).for_each(|piece| console.feed(piece, &mut out));
            assert_eq!(String::from_utf8(out).unwrap(), NAMED, "in pieces of {size}");
        }
    }

    #[test]
    fn long_names_are_cut() {
        let function = "ö".repeat(1000);
        let text = describe(&[Frame { function, location: Some("a.rs:1".into()) }]);
        assert_eq!(text, format!("  {}…  (a.rs:1)", "ö".repeat(LONGEST_NAME)));
    }

    #[test]
    fn unfinished_lines_appear_at_once() {
        let mut console = Console::new(name);
        for piece in [&b"login: "[..], b"  ", b"  at 0xffffffff8020", b"\xff\xfe", &[b'x'; 1000]] {
            let mut out = Vec::new();
            console.feed(piece, &mut out);
            assert_eq!(out, piece);
        }
    }

    #[test]
    fn address_is_that_of_the_first_line_that_has_one_with_the_usual_port() {
        let mut console = Console::new(name);
        console.feed(b"up\r\nserving http://10.0.2.15:80/", &mut Vec::new());
        assert_eq!(console.serving(), None);
        console.feed(b"\r\nsee http://10.0.2.2:81\r\n", &mut Vec::new());
        assert_eq!(console.serving(), "10.0.2.15:80".parse().ok());
        let mut console = Console::new(name);
        for (port, known) in [(8080, 8080), (8081, 8080), (80, 80), (8082, 80)] {
            console.feed(format!("at http://10.0.2.15:{port}\n").as_bytes(), &mut Vec::new());
            assert_eq!(console.serving().map(|it| it.port()), Some(known));
        }
    }

    #[test]
    fn last_line_of_a_halted_machine_tells_its_exit_code() {
        let halted = |text: &str| {
            let mut console = Console::new(name);
            console.feed(text.as_bytes(), &mut Vec::new());
            console.halted()
        };
        assert_eq!(halted("bye\nwakeful: halted, exit code 101\r\n"), Some(101));
        assert_eq!(halted("wakeful: halted, exit code 0\n"), Some(0));
        assert_eq!(halted("wakeful: halted, exit code 1"), None);
        assert_eq!(halted("wakeful: halted, exit code 1\r"), None);
        assert_eq!(halted("wakeful: halted, exit code soon\n"), None);
        assert_eq!(halted(" wakeful: halted, exit code 0\n"), None);
    }
}
