//! Linux with nginx, on the same emulator and tap, under the same load as `http` and `files`.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::files;
use super::http::{self, Cost, Visit};
use super::linux::{self, Program};
use crate::counted;
use crate::namespace::{self, Ipv6};
use crate::network::Network;
use crate::qemu::Options;

/// The names of rows of [`http`], and what they cost Linux. An error says why that is not known.
pub(super) fn measure() -> Result<Vec<(&'static str, Cost)>> {
    let folders = linux::unpacked(Program::Nginx)?;
    namespace::inside(Ipv6::Off, || under_load(&folders))
}

fn under_load(folders: &[PathBuf]) -> Result<Vec<(&'static str, Cost)>> {
    // Nobody tells it its address: that is in what it starts with.
    let options = Options { network: Some(Network::tap().dhcp()), ..Options::default() };
    let machine = linux::boot(folders, options, &[], counted::says_that_it_serves)?;
    let nobody = machine.idle()?;
    http::warm_up()?;
    let kept_alive = |connections| Visit::KeptAlive { connections, seconds: 4 };
    let fresh = |at_once| Visit::Fresh { at_once, requests: 2000 };
    let visits = [
        (http::ONE, kept_alive(1)),
        (http::SIXTEEN, kept_alive(16)),
        (http::SIXTY_FOUR, kept_alive(64)),
        (http::FRESH, fresh(16)),
        (http::FRESH_64, fresh(64)),
        (http::FRESH_256, fresh(256)),
    ];
    let mut costs = Vec::new();
    for (name, visit) in visits {
        costs.push((name, http::cost(&machine, nobody, visit).context(name)?));
    }
    for file in &files::ALL {
        costs.push((file.row, file.cost(&machine, nobody)?));
    }
    Ok(costs)
}
