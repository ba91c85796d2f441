//! Running an image for the user: QEMU in this terminal, its exit code ours.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::board::{self, Board};
use crate::console::Console;
use crate::disk::Wanted;
use crate::machine::{self, Machine};
use crate::network::{Network, NetworkArgs};
use crate::qemu::{CommandLine, Options, quoted};
use crate::scratch::Scratch;
use crate::workspace;

/// Where and how to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Board from configs/, or the path of a board file
    #[arg(long, value_name = "NAME|PATH", default_value = board::DEFAULT)]
    board: String,

    #[command(flatten)]
    options: Options,

    #[command(flatten)]
    network: NetworkArgs,

    /// A disk: a file, or a folder, of which a FAT disk is made anew for each run; may be repeated
    #[arg(long = "disk", value_name = "PATH[:ro]")]
    disks: Vec<Wanted>,

    /// Print QEMU's command line instead of running it
    #[arg(long)]
    print: bool,

    /// Stop at the first instruction and wait for gdb on port 1234
    #[arg(long)]
    gdb: bool,
}

/// Boots the ELF file and returns the machine's exit code.
pub(crate) fn boot(elf: &Path, mut args: RunArgs) -> Result<i32> {
    let elf = std::path::absolute(elf)?;
    elf.metadata().with_context(|| format!("cannot read {}", elf.display()))?;
    let board = Board::find(&args.board)?;
    let network = args
        .network
        .network(args.options.virtio.or(board.qemu.virtio).is_some(), &args.options.extra)?;
    args.options.network = network;
    if args.print {
        // The command is for later: what it reads must stay.
        let folder = workspace::work_folder()?.join("disk");
        std::fs::create_dir_all(&folder)?;
        println!("{}", command_line(&board, &elf, &mut args, &folder)?);
        return Ok(0);
    }
    let folder = Scratch::new("disk")?;
    let line = command_line(&board, &elf, &mut args, folder.path())?;
    if args.gdb {
        let commands = gdb_commands(&elf)?;
        eprintln!(
            "wakeful: waiting for gdb; in another terminal:\n  gdb-multiarch -x {}",
            quoted(&commands.to_string_lossy())
        );
    }
    machine::end_all_on_interrupt()?;
    let (mut machine, output) = Machine::start_interactive(&line)?;
    let mut console = Console::of(&elf);
    pass_through(output, &mut console, network, &mut std::io::stdout().lock())?;
    if let Some(code) = console.halted() {
        machine.end();
        return Ok(code);
    }
    machine.wait()
}

/// What is made for the machine is in the folder.
fn command_line(
    board: &Board,
    elf: &Path,
    args: &mut RunArgs,
    folder: &Path,
) -> Result<CommandLine> {
    for (number, wanted) in args.disks.iter().enumerate() {
        args.options.disks.push(wanted.disk(&folder.join(format!("disk{number}.img")))?);
    }
    let mut line = CommandLine::new(board, elf, &args.options, &folder.join("boot"))?;
    if args.gdb {
        line.arg("-s").arg("-S");
    }
    Ok(line)
}

/// Copies the console to stdout until the machine ends or says that it has halted. Once it says that
/// it serves, tells where that is for this computer.
fn pass_through(
    mut output: impl Read,
    console: &mut Console<'_>,
    mut network: Option<Network>,
    to: &mut impl Write,
) -> Result<()> {
    let mut bytes = [0; 4096];
    let mut shown = Vec::new();
    while console.halted().is_none() {
        match output.read(&mut bytes).context("cannot read the machine's console")? {
            0 => break,
            count => console.feed(&bytes[..count], &mut shown),
        }
        write_patiently(to, &shown).context("cannot write the machine's console")?;
        // Not into the middle of a line.
        let line_ended = shown.ends_with(b"\n");
        shown.clear();
        if line_ended
            && let Some(address) = console.serving()
            && let Some(network) = network.take()
        {
            let here = format!("wakeful: open http://{}/\r\n", network.reached(address));
            write_patiently(to, here.as_bytes())?;
        }
    }
    Ok(())
}

/// Writes everything. QEMU makes the terminal non-blocking, and in a terminal stdin and stdout are
/// the same file.
fn write_patiently(to: &mut impl Write, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1))
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    loop {
        match to.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1))
            }
            result => return result,
        }
    }
}

/// Writes the commands that connect gdb to the waiting machine.
fn gdb_commands(elf: &Path) -> Result<PathBuf> {
    let file = workspace::work_folder()?.join("gdb-commands");
    let text = format!(
        "set architecture riscv:rv64\n\
         symbol-file {}\n\
         target remote localhost:1234\n\
         # The image turns paging on by itself: hardware breakpoints also hold before that.\n\
         hbreak __wakeful_main\n\
         # Now: continue, backtrace, info threads (a thread is a hart)\n",
        elf.display()
    );
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes at a time, every other time.
    struct Congested(Vec<u8>, bool);

    impl Write for Congested {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(3);
            self.0.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn congested_terminal_gets_everything() {
        let mut terminal = Congested(Vec::new(), false);
        write_patiently(&mut terminal, b"Hello from Wakeful!").unwrap();
        assert_eq!(terminal.0, b"Hello from Wakeful!");
    }

    #[test]
    fn console_is_read_no_further_than_the_last_line() {
        let mut console = Console::new(|_| Vec::new());
        let text = b"wakeful: halted, exit code 5\n";
        let mut shown = Vec::new();
        pass_through(text.chain(std::io::repeat(b'x')), &mut console, None, &mut shown).unwrap();
        assert!(shown.starts_with(text));
        assert_eq!(console.halted(), Some(5));
    }

    #[test]
    fn address_for_the_browser_is_told_once() {
        let network = Network::user().settled().unwrap();
        let text = b"serving http://10.0.2.15:80/\nserving http://10.0.2.15:80/\n";
        let mut shown = Vec::new();
        pass_through(&text[..], &mut Console::new(|_| Vec::new()), Some(network), &mut shown)
            .unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(shown.matches("wakeful: open http://127.0.0.1:").count(), 1, "{shown}");
    }
}
