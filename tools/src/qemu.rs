//! QEMU's command line: a board, an image and the user's options become a program with arguments.

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::board::{Board, Boot};
use crate::disk::Disk;
use crate::image::Elf;
use crate::network::Network;
use crate::program::on_path;
use crate::virtio::Virtio;
use crate::workspace;

/// What the user may change about a machine.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Number of harts [default: the board's]
    #[arg(long, value_name = "N")]
    pub(crate) smp: Option<u32>,

    /// Size of RAM, as QEMU writes it: 8M, 1G [default: the board's]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,

    /// Boot arguments as one word, the application's behind `--`:
    /// --append "log=debug -- case=timer"
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,

    /// Where U-Boot moves the flat image to, from the start of RAM, in bytes [default: what the
    /// image's header says, 2 MiB]
    #[arg(skip)]
    pub(crate) text_offset: Option<u64>,

    /// How virtio devices look to the machine [default: the board's]
    #[arg(long)]
    pub(crate) virtio: Option<Virtio>,

    /// Disks, the first first.
    #[arg(skip)]
    pub(crate) disks: Vec<Disk>,

    /// What the machine is plugged into.
    #[arg(skip)]
    pub(crate) network: Option<Network>,

    /// More arguments for QEMU, after `--`
    #[arg(last = true, value_name = "QEMU ARGS")]
    pub(crate) extra: Vec<String>,
}

/// A complete command line.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine {
    program: PathBuf,
    args: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

impl CommandLine {
    /// The machine `board` that boots `elf`. A board that boots through U-Boot gets its disk in the
    /// folder `disk`, and a cable to a peer is there as well.
    pub(crate) fn new(board: &Board, elf: &Path, options: &Options, disk: &Path) -> Result<Self> {
        let qemu = &board.qemu;
        let mut line = Installation::find(board)?.command_line();
        line.arg("-machine").arg(&qemu.machine);
        if let Some(cpu) = &qemu.cpu {
            line.arg("-cpu").arg(cpu);
        }
        line.arg("-smp").arg(options.smp.unwrap_or(qemu.smp).to_string());
        line.arg("-m").arg(options.memory.as_ref().unwrap_or(&qemu.memory));
        // Console on stdin and stdout, without QEMU's monitor: Ctrl-C then ends QEMU.
        line.arg("-display").arg("none").arg("-monitor").arg("none").arg("-serial").arg("stdio");
        // The words of the network come first: behind `--` they would be the application's.
        let network = options.network.map(Network::boot_args);
        let words =
            [network.as_deref().unwrap_or_default(), options.append.as_deref().unwrap_or_default()];
        let append = &words.join(" ");
        let append = append.trim();
        match (board.boot, &qemu.u_boot) {
            (Boot::Uboot, Some(u_boot)) => {
                if !u_boot.exists() {
                    bail!(no_u_boot(board));
                }
                make_disk(disk, elf, append, options.text_offset)?;
                line.arg("-kernel").arg(u_boot);
                let drive =
                    format!("if=none,id=boot,format=raw,readonly=on,file=fat:{}", disk.display());
                line.arg("-drive").arg(drive).arg("-device").arg("virtio-blk-device,drive=boot");
            }
            _ => {
                line.arg("-kernel").arg(elf);
                if !append.is_empty() {
                    line.arg("-append").arg(append);
                }
            }
        }
        if let Some(virtio) = options.virtio.or(qemu.virtio) {
            line.attach(virtio, options, disk)?;
        } else if options.network.is_some() || !options.disks.is_empty() {
            bail!("the board {} has no virtio devices", board.name);
        }
        line.args.extend(qemu.args.iter().chain(&options.extra).map(OsString::from));
        Ok(line)
    }

    /// Disks and a network.
    fn attach(&mut self, virtio: Virtio, options: &Options, folder: &Path) -> Result<()> {
        if let Some(global) = virtio.global() {
            self.arg("-global").arg(global);
        }
        for (number, disk) in options.disks.iter().enumerate() {
            self.args.extend(disk.qemu_args(virtio, number, folder)?);
        }
        if let Some(network) = options.network {
            self.args.extend(network.qemu_args(virtio, folder).into_iter().map(OsString::from));
        }
        Ok(())
    }

    /// One more argument.
    pub(crate) fn arg(&mut self, arg: impl Into<OsString>) -> &mut Self {
        self.args.push(arg.into());
        self
    }

    /// The command that runs it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }
}

/// Where the header of a flat image says how far from the start of RAM it wants to be (Linux,
/// `Documentation/arch/riscv/boot-image-header.rst`).
const TEXT_OFFSET: Range<usize> = 8..16;

/// The disk from which U-Boot boots: the flat image and, for its boot arguments, an extlinux menu
/// of one entry.
fn make_disk(disk: &Path, elf: &Path, append: &str, text_offset: Option<u64>) -> Result<()> {
    let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let mut image = Elf::parse(&bytes, elf)?.flat()?;
    if let Some(offset) = text_offset {
        image[TEXT_OFFSET].copy_from_slice(&offset.to_le_bytes());
    }
    let write = |name: &str, contents: &[u8]| {
        let file = disk.join(name);
        std::fs::create_dir_all(file.parent().expect("a joined path has a parent"))?;
        std::fs::write(&file, contents).with_context(|| format!("cannot write {}", file.display()))
    };
    write("app.img", &image)?;
    // U-Boot 2023.01 crashes when the word `append` has nothing after it.
    let append = if append.is_empty() { String::new() } else { format!("append {append}\n") };
    write("extlinux/extlinux.conf", format!("label wakeful\nkernel /app.img\n{append}").as_bytes())
}

/// Quoted so that it can be pasted into a shell.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.environment {
            write!(f, "{key}={} ", quoted(&value.to_string_lossy()))?;
        }
        write!(f, "{}", quoted(&self.program.to_string_lossy()))?;
        for arg in &self.args {
            write!(f, " {}", quoted(&arg.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// `word` as a POSIX shell must be given it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Why this computer cannot play `board`, though it can play others.
pub(crate) fn unavailable(board: &Board) -> Option<String> {
    let u_boot = board.qemu.u_boot.as_ref();
    if u_boot.is_some_and(|file| !file.exists()) {
        return Some(no_u_boot(board));
    }
    board.qemu.at_least?;
    Installation::find(board).err().map(|error| format!("{error:#}"))
}

fn no_u_boot(board: &Board) -> String {
    format!(
        "the board {} needs U-Boot at {}, which does not exist\n\
         `tools/setup.sh test` installs it (Debian package u-boot-qemu)",
        board.name,
        board.qemu.u_boot.as_deref().unwrap_or(Path::new("?")).display()
    )
}

/// A QEMU on this computer.
pub(crate) struct Installation {
    program: PathBuf,
    /// The folder it was unpacked into, when it is not installed.
    unpacked: Option<PathBuf>,
}

impl Installation {
    /// The QEMU that can play `board`: the one on the path, or else the newer one that
    /// `tools/setup.sh` unpacks.
    pub(crate) fn find(board: &Board) -> Result<Self> {
        let binary = &board.qemu.binary;
        let Some(program) = on_path(binary) else {
            bail!(
                "{binary} is not on the PATH\n`tools/setup.sh` installs it (Debian package qemu-system-misc)"
            );
        };
        let Some(needed) = board.qemu.at_least else {
            return Ok(Self { program, unpacked: None });
        };
        let installed = Self { program, unpacked: None };
        let version = installed.major_version()?;
        if version >= needed {
            return Ok(installed);
        }
        let folder = workspace::work_folder()?.join("qemu10");
        let newer = folder.join("usr/bin").join(binary);
        if newer.exists() {
            return Ok(Self { program: newer, unpacked: Some(folder) });
        }
        bail!(
            "the board {} needs QEMU {needed} or newer; {} is {version}, and there is no {}\n\
             `tools/setup.sh test` puts one there if the distribution offers it",
            board.name,
            installed.program.display(),
            newer.display()
        )
    }

    /// The major version that the program reports.
    pub(crate) fn major_version(&self) -> Result<u32> {
        let program = self.program.display();
        let output = Command::new(&self.program).arg("--version").stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start {program}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number =
            text.split_once("version ").and_then(|(_, rest)| rest.split('.').next()?.parse().ok());
        number.with_context(|| format!("`{program} --version` names no version: {text:?}"))
    }

    /// Its command line, without arguments of a machine.
    pub(crate) fn command_line(self) -> CommandLine {
        let mut line =
            CommandLine { program: self.program, args: Vec::new(), environment: Vec::new() };
        if let Some(folder) = self.unpacked {
            line.arg("-L").arg(folder.join("usr/share/qemu"));
            line.environment
                .push(("QEMU_MODULE_DIR", folder.join("usr/lib/x86_64-linux-gnu/qemu").into()));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("-m"), "-m");
        assert_eq!(quoted("log=warn,net=debug"), "log=warn,net=debug");
        assert_eq!(quoted("two words"), "'two words'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn options_win_over_the_board() {
        let scratch = Scratch::new("qemu").unwrap();
        let options = Options {
            smp: Some(3),
            append: Some("a b".into()),
            extra: vec!["-d".into()],
            ..Options::default()
        };
        let board = Board::find("qemu-virt").unwrap();
        let line = CommandLine::new(&board, Path::new("x.elf"), &options, scratch.path())
            .unwrap()
            .to_string();
        assert!(line.contains(" -smp 3 -m 128M "), "{line}");
        assert!(line.ends_with(" -kernel x.elf -append 'a b' -d"), "{line}");
    }

    #[test]
    fn networks_come_with_card_and_boot_arguments() {
        let line = |board: &str| {
            let network = Some(Network::tap());
            let options =
                Options { append: Some("-- case=x".into()), network, ..Options::default() };
            let board = Board::find(board).unwrap();
            CommandLine::new(&board, Path::new("x.elf"), &options, Path::new("disk"))
        };
        let text = line("qemu-virt").unwrap().to_string();
        assert!(
            text.contains("-append 'ip=10.0.2.15/24 gw=10.0.2.2 dns=10.0.2.2 -- case=x'"),
            "{text}"
        );
        assert!(text.contains("-device virtio-net-device,netdev=net0"), "{text}");
        let message = line("qemu-sifive-u").unwrap_err().to_string();
        assert!(message.contains("qemu-sifive-u has no virtio devices"), "{message}");
    }

    #[test]
    fn disk_for_u_boot_holds_the_image_and_its_arguments() {
        let scratch = Scratch::new("disk").unwrap();
        let mut image = [0; 0x40];
        image[0x38..0x3c].copy_from_slice(b"RSC\x05");
        let elf = scratch.path().join("x.elf");
        std::fs::write(&elf, crate::image::elf_file(&[(0x8020_0000, &image, 0)])).unwrap();
        make_disk(scratch.path(), &elf, "log=debug", Some(96 << 20)).unwrap();
        image[TEXT_OFFSET].copy_from_slice(&[0, 0, 0, 6, 0, 0, 0, 0]);
        assert_eq!(std::fs::read(scratch.path().join("app.img")).unwrap(), image);
        let menu = std::fs::read_to_string(scratch.path().join("extlinux/extlinux.conf")).unwrap();
        assert!(
            menu.contains("kernel /app.img\n") && menu.contains("append log=debug\n"),
            "{menu}"
        );
    }
}
