//! A test case: what is booted on which machine, what happens on the console, and how it ends.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::board;
use crate::client::Client;
use crate::disk::Disk;
use crate::expect::Script;
use crate::network::Network;
use crate::peer;
use crate::qemu::Options;
use crate::service::Service;
use crate::tree::Tree;
use crate::virtio::Virtio;
use crate::workspace::Profile;

/// One boot, with what is expected of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) image: Image,
    pub(crate) board: &'static str,
    pub(crate) options: Options,
    pub(crate) tree: Option<Tree>,
    pub(crate) script: Script,
    /// What the machine finds on this computer, on user networking: `{port}` in its boot arguments
    /// stands for the port at 10.0.2.2.
    pub(crate) service: Option<Service>,
    /// How a network with a peer is in the beginning.
    pub(crate) peer: peer::Settings,
    /// What this computer does with the machine, one after the other, once it says that it serves.
    pub(crate) clients: Vec<Client>,
    /// The machine is a client itself, and this computer serves.
    pub(crate) web_server: bool,
    /// Programs of this computer without which it is left out.
    pub(crate) needs: &'static [&'static str],
    /// Makes disks in the machine's folder before it starts, and looks at them when it has ended.
    pub(crate) disks: Option<Disks>,
    pub(crate) end: End,
    pub(crate) deadline: Duration,
    /// It takes so long that it runs only when it is asked for: `make soak`.
    pub(crate) soak: bool,
    /// It mostly waits, so that it may run while others do.
    pub(crate) beside: bool,
}

/// What is done about a machine's disks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disks {
    /// Is given the machine's folder.
    pub(crate) make: fn(&Path) -> Result<Vec<Disk>>,
    /// Likewise, and what was on the console. Nobody looks if the machine has failed.
    pub(crate) check: fn(&Path, &str) -> Result<()>,
}

/// What is booted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Image {
    /// A package of the workspace.
    Package(&'static str, Profile),
    /// A crate outside the repository that depends on it.
    Stranger,
}

/// How a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The machine ends with this exit code.
    Exit(i32),
    /// The test switches the machine off when it has seen everything.
    Seen,
}

/// Exit codes of a machine.
pub(crate) mod exit {
    pub(crate) const SUCCESS: i32 = 0;
    pub(crate) const MAIN_ERR: i32 = 1;
    pub(crate) const PANIC: i32 = 101;
    pub(crate) const FAULT: i32 = 102;
    pub(crate) const BOOT_FAILED: i32 = 103;
}

impl Case {
    /// Boots `image` on the default board, and expects success and nothing else.
    pub(crate) fn new(name: &'static str, image: Image) -> Self {
        Self {
            name,
            image,
            board: board::DEFAULT,
            options: Options::default(),
            tree: None,
            script: Script::default(),
            service: None,
            peer: peer::Settings::default(),
            clients: Vec::new(),
            web_server: false,
            needs: &[],
            disks: None,
            end: End::Exit(exit::SUCCESS),
            deadline: Duration::from_secs(60),
            soak: false,
            beside: false,
        }
    }

    pub(crate) fn board(mut self, name: &'static str) -> Self {
        self.board = name;
        self
    }

    pub(crate) fn smp(mut self, harts: u32) -> Self {
        self.options.smp = Some(harts);
        self
    }

    pub(crate) fn memory(mut self, size: &str) -> Self {
        self.options.memory = Some(size.into());
        self
    }

    /// The machine has more: `args` as on QEMU's command line, separated by spaces.
    pub(crate) fn with(mut self, args: &str) -> Self {
        self.options.extra.extend(args.split_ascii_whitespace().map(String::from));
        self
    }

    /// The machine has a disk.
    pub(crate) fn disk(mut self, disk: Disk) -> Self {
        self.options.disks.push(disk);
        self
    }

    /// Its disks are made for it, and looked at. That takes programs.
    pub(crate) fn disks(mut self, disks: Disks, needs: &'static [&'static str]) -> Self {
        (self.disks, self.needs) = (Some(disks), needs);
        self
    }

    /// U-Boot moves the image to here, `offset` bytes from the start of RAM.
    pub(crate) fn text_offset(mut self, offset: u64) -> Self {
        self.options.text_offset = Some(offset);
        self
    }

    pub(crate) fn append(mut self, boot_args: &str) -> Self {
        self.options.append = Some(boot_args.into());
        self
    }

    /// The machine is described by a device tree of ours.
    pub(crate) fn tree(mut self, tree: Tree) -> Self {
        self.tree = Some(tree);
        self
    }

    /// Then `pattern` (see [`crate::expect`]) appears on the console.
    pub(crate) fn sees(mut self, pattern: &'static str) -> Self {
        self.script.sees(pattern);
        self
    }

    /// Then `text` is typed.
    pub(crate) fn types(mut self, text: &'static str) -> Self {
        self.script.types(text);
        self
    }

    /// `pattern` never appears.
    pub(crate) fn never(mut self, pattern: &'static str) -> Self {
        self.script.never(pattern);
        self
    }

    /// `pattern` appears exactly once.
    pub(crate) fn once(self, pattern: &'static str) -> Self {
        self.times(1, pattern)
    }

    /// `pattern` appears exactly `count` times.
    pub(crate) fn times(mut self, count: usize, pattern: &'static str) -> Self {
        self.script.times(count, pattern);
        self
    }

    /// This runs before the machine does, and is content with it in the end.
    pub(crate) fn service(mut self, service: Service) -> Self {
        self.service = Some(service);
        self
    }

    /// Its virtio devices look like this, instead of as on the board.
    pub(crate) fn virtio(mut self, virtio: Virtio) -> Self {
        self.options.virtio = Some(virtio);
        self
    }

    /// The machine has a network card, which is plugged in. Without this it has none.
    pub(crate) fn network(mut self, network: Network) -> Self {
        self.options.network = Some(network);
        self
    }

    /// The peer's network and what it does at first: see [`Network::peer`].
    pub(crate) fn peer(mut self, settings: peer::Settings) -> Self {
        self.peer = settings;
        self
    }

    /// The machine finds a web server on its router, with `Hello, World!` at `/plaintext`. In the boot
    /// arguments `PORT` stands for its port.
    pub(crate) fn web_server(mut self) -> Self {
        self.web_server = true;
        self
    }

    /// Once the machine has said where it serves, or, if it is no web server, what it is to say, this
    /// client must be content with it.
    pub(crate) fn client(mut self, client: Client) -> Self {
        self.clients.push(client);
        self
    }

    /// It mostly waits, and is started before others, which run meanwhile.
    pub(crate) fn beside(mut self) -> Self {
        self.beside = true;
        self
    }

    /// It is left out unless `--ignored` or `--include-ignored` is said.
    pub(crate) fn soak(mut self) -> Self {
        self.soak = true;
        self
    }

    /// The machine ends with `code`.
    pub(crate) fn exits(mut self, code: i32) -> Self {
        self.end = End::Exit(code);
        self
    }

    /// The machine does not end: the test does, when it has seen everything and its clients are done.
    pub(crate) fn ends_when_seen(mut self) -> Self {
        self.end = End::Seen;
        self
    }
}
