//! Where a web server's instructions go: counted by the plugin block by block, named by the ELF file,
//! and shared out to the requests that were answered.
//!
//! Instructions of functions that were inlined count twice: in the first table for the function that
//! is left in the image, in the second one for the function of the source. The third table adds up
//! the second by crate.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::counted::Counted;
use crate::disk::Wanted;
use crate::icount::{self, Block};
use crate::load::{self, Connections, Load};
use crate::namespace::{self, Ipv6};
use crate::qemu::Options;
use crate::scratch::Scratch;
use crate::symbols::Symbols;
use crate::workspace::{self, Profile};

/// What is profiled.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ProfileArgs {
    /// Package under examples/ that serves
    #[arg(default_value = "http")]
    app: String,

    /// What is asked for
    #[arg(long, value_name = "PATH", default_value = "/plaintext")]
    url: String,

    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    connections: u32,

    /// A connection for each request
    #[arg(long)]
    fresh: bool,

    /// How long the server is under load
    #[arg(long, value_name = "N", default_value_t = 5)]
    seconds: u32,

    /// Number of harts
    #[arg(long, value_name = "N", default_value_t = 1)]
    smp: u32,

    /// A disk: a file, or a folder, of which a FAT disk is made
    #[arg(long, value_name = "PATH[:ro]")]
    disk: Option<Wanted>,

    /// Rows of each table
    #[arg(long, value_name = "N", default_value_t = 40)]
    top: usize,
}

/// Builds the image, puts it under load and prints the tables.
pub(crate) fn run(args: &ProfileArgs) -> Result<i32> {
    crate::machine::end_all_on_interrupt()?;
    let elf = workspace::build(&args.app, Profile::Release)?;
    let (executed, load) = namespace::inside(Ipv6::Off, || under_load(&elf, args))?;
    let symbols = Symbols::open(&elf)?;
    let tables = Tables::of(executed, |address| {
        let Some(length) = symbols.instruction_length(address) else { return Place::outside() };
        Place { length, ..Place::of(&symbols, address) }
    });
    print!("{}", tables.text(load, args.top));
    Ok(0)
}

/// How often each block was entered for the requests of one run.
fn under_load(elf: &Path, args: &ProfileArgs) -> Result<(HashMap<Block, u64>, Load)> {
    let folder = Scratch::new("profile")?;
    let file = folder.path().join("blocks");
    let image = folder.path().join("disk.img");
    let disk = args.disk.as_ref().map(|wanted| wanted.disk(&image)).transpose()?;
    let disks = disk.into_iter().collect();
    let options = Options { smp: Some(args.smp), disks, ..Options::default() };
    let machine = Counted::serving_with(elf, options, &[], Some(&file))?;
    let kind = if args.fresh { Connections::Fresh } else { Connections::KeptAlive };
    let run = |seconds| {
        load::wrk(Counted::SITE.into(), &args.url, (args.connections, kind), seconds)?.flawless(1)
    };
    run(1)?; // What is done for the first time is not what a request costs.
    let before = icount::blocks(&file)?;
    let (_, load) = machine.during(0.0, || run(args.seconds))?;
    let mut executed = icount::blocks(&file)?;
    for (block, entered) in before {
        if let Some(now) = executed.get_mut(&block) {
            *now -= entered;
        }
    }
    executed.retain(|_, entered| *entered > 0);
    ensure!(!executed.is_empty(), "nothing was executed");
    Ok((executed, load))
}

/// Where an instruction comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Bytes; zero for what is not in the image.
    length: u64,
    /// The function in the image.
    function: String,
    /// The function in the source, and its file.
    inlined: String,
    owner: String,
}

impl Place {
    fn outside() -> Self {
        let name = || "outside of the image: firmware".to_owned();
        Self { length: 0, function: name(), inlined: name(), owner: name() }
    }

    fn of(symbols: &Symbols, address: u64) -> Self {
        let frames = symbols.frames(address);
        let unknown = || "without a name".to_owned();
        let function = frames.last().map_or_else(unknown, |frame| frame.function.clone());
        let Some(inner) = frames.first() else {
            return Self { length: 0, inlined: unknown(), owner: unknown(), function };
        };
        let file = inner.location.as_deref().and_then(|location| location.rsplit_once(':'));
        let (inlined, owner) = match file {
            Some((file, _line)) => {
                (format!("{}  ({file})", without_types(&inner.function)), owner(file))
            }
            None => (inner.function.clone(), "assembly, and what has no lines".to_owned()),
        };
        Self { length: 0, function, inlined, owner }
    }
}

/// One row for all types that a generic function is compiled for.
fn without_types(name: &str) -> &str {
    match name.find('<') {
        Some(at @ 1..) => &name[..at],
        _ => name,
    }
}

/// The crate that a file belongs to: `smoltcp-0.12.0`, `core`, `modules/hal`.
fn owner(file: &str) -> String {
    let parts: Vec<&str> = file.split('/').collect();
    match parts[..] {
        [group @ ("crates" | "modules" | "ulib" | "examples" | "tools"), name, _, ..] => {
            format!("{group}/{name}")
        }
        [name, _, ..] => name.into(),
        _ => file.into(),
    }
}

/// Instructions by function, by function of the source, and by crate.
#[derive(Debug, Default)]
struct Tables {
    functions: HashMap<String, u64>,
    inlined: HashMap<String, u64>,
    owners: HashMap<String, u64>,
}

impl Tables {
    fn of(executed: HashMap<Block, u64>, place: impl Fn(u64) -> Place) -> Self {
        let mut places = HashMap::<u64, Place>::new();
        let mut tables = Self::default();
        for (block, entered) in executed {
            let mut address = block.address;
            for left in (1..=block.instructions).rev() {
                let place = places.entry(address).or_insert_with(|| place(address));
                // Without its length, it is not known where the next one is: the rest is there too.
                let count = if place.length == 0 { left * entered } else { entered };
                let add = |table: &mut HashMap<String, u64>, key: &String| match table.get_mut(key)
                {
                    Some(sum) => *sum += count,
                    None => _ = table.insert(key.clone(), count),
                };
                add(&mut tables.functions, &place.function);
                add(&mut tables.inlined, &place.inlined);
                add(&mut tables.owners, &place.owner);
                if place.length == 0 {
                    break;
                }
                address += place.length;
            }
        }
        tables
    }

    fn text(&self, load: Load, top: usize) -> String {
        let total: u64 = self.owners.values().sum();
        let each = |count| count as f64 / load.requests as f64;
        let mut text =
            format!("{} requests, {:.0} instructions each\n", load.requests, each(total));
        let titles = ["functions, with what is inlined", "functions of the source", "crates"];
        for (title, table) in titles.iter().zip([&self.functions, &self.inlined, &self.owners]) {
            _ = writeln!(text, "\n{:>9}  part  {title}", "instr");
            let mut rows: Vec<(&String, u64)> = table.iter().map(|(key, &n)| (key, n)).collect();
            rows.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
            let rest: u64 = rows.iter().skip(top).map(|row| row.1).sum();
            let others = format!("({} others)", rows.len().saturating_sub(top));
            rows.truncate(top);
            rows.extend((rest > 0).then_some((&others, rest)));
            for (name, count) in rows {
                let part = count as f64 / total as f64 * 100.0;
                _ = writeln!(text, "{:>9.1} {part:>4.1}%  {name}", each(count));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn crates_are_known_by_their_files() {
        assert_eq!(owner("smoltcp-0.12.0/src/iface/mod.rs"), "smoltcp-0.12.0");
        assert_eq!(owner("core/src/fmt/mod.rs"), "core");
        assert_eq!(owner("modules/hal/src/trap.rs"), "modules/hal");
        assert_eq!(owner("main.rs"), "main.rs");
        assert_eq!(without_types("write<u8, 2048>"), "write");
        assert_eq!(without_types("<u8 as Add>::add"), "<u8 as Add>::add");
    }

    #[test]
    fn instructions_are_shared_out() {
        let place = |address| match address {
            0x10..0x20 => Place {
                length: 4,
                function: "outer".into(),
                inlined: if address < 0x14 { "inner" } else { "outer" }.into(),
                owner: "a".into(),
            },
            _ => Place::outside(),
        };
        let block = |address, instructions| Block { address, instructions };
        let executed = HashMap::from([(block(0x10, 3), 100), (block(0x80, 5), 10)]);
        let tables = Tables::of(executed, place);
        assert_eq!(tables.functions["outer"], 300);
        assert_eq!((tables.inlined["inner"], tables.inlined["outer"]), (100, 200));
        assert_eq!(tables.owners["outside of the image: firmware"], 50);
        let load = Load {
            requests: 10,
            errors: 0,
            per_second: 1.0,
            median: Duration::ZERO,
            p99: Duration::ZERO,
        };
        let text = tables.text(load, 1);
        assert!(text.contains("10 requests, 35 instructions each"), "{text}");
        assert!(text.contains("     30.0 85.7%  outer\n      5.0 14.3%  (1 others)\n"), "{text}");
    }
}
