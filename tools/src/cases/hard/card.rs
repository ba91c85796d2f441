//! The card starts anew while it is used.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::state::unharmed;
use super::transfer::download;
use super::web;
use crate::case::Case;
use crate::client::{PAGE, Site};
use crate::network::Network;
use crate::peer::Peer;
use crate::virtio::Virtio;

/// How often the card is reset, and how many clients there are meanwhile.
const RESETS: usize = 20;
const CLIENTS: usize = 4;

/// How many frames the machine sends at least from one reset to the next.
const FRAMES: u64 = 300;

/// How long that may take: what was lost is sent again after a second or a few.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn cases() -> Vec<Case> {
    let on = |name, virtio| {
        let client = unharmed("the card is reset again and again", resets);
        let mut case = web(name, Network::peer()).virtio(virtio).client(client).beside();
        case.deadline = Duration::from_secs(600);
        case
    };
    vec![on("hard::card_resets", Virtio::Mmio), on("hard::card_resets_pci", Virtio::Pci).smp(4)]
}

/// All that was under way in the card is lost, and has to be sent again; nobody notices more than that.
fn resets(site: &Site) -> Result<()> {
    let (peer, begin, done) = (site.peer()?, Instant::now(), AtomicBool::new(false));
    let client = |number: usize| -> Result<()> {
        let mut count = 0;
        while !done.load(Relaxed) {
            if number.is_multiple_of(2) {
                download(site, 300_000).with_context(|| format!("download {count}"))?;
            } else {
                site.connect()?.get(PAGE.0)?.expect(200, PAGE.1)?;
            }
            count += 1;
        }
        ensure!(count > 0, "nothing was done meanwhile");
        Ok(())
    };
    std::thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || client(n))).collect();
        let resets = (0..RESETS).try_for_each(|number| {
            let enough = peer.traffic().from_machine + FRAMES;
            let moved = |peer: &Peer| (peer.traffic().from_machine >= enough).then_some(());
            peer.wait(PATIENCE, "traffic between two resets", moved)?;
            let answer =
                site.connect()?.get("/reset-card").with_context(|| format!("reset {number}"))?;
            answer.expect(200, "reset")
        });
        done.store(true, Relaxed);
        super::figure(site, &format!("{RESETS} resets in {:.1?}", begin.elapsed()));
        let clients = clients.into_iter().map(|client| client.join().expect("it does not panic"));
        resets.and(clients.collect())
    })
}
