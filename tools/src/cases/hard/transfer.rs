//! Many bytes through a bad network: every one arrives, and as it was.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::state::unharmed;
use super::web;
use crate::case::Case;
use crate::client::{Site, are_letters, letters, receipt};
use crate::network::Network;
use crate::peer::Impairment;

/// Where the `websuite` takes bytes, and where it gives them.
pub(super) const SINK: u16 = 109;
pub(super) const SOURCE: u16 = 119;

/// How long a step may take: several times a minute's pause between two attempts.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn cases() -> Vec<Case> {
    let loss =
        |rate| Impairment { loss: rate, reorder: 10, duplication: 10, ..Impairment::default() };
    let corruption = Impairment { corruption: 10, ..Impairment::default() };
    let delay = Impairment { delay: Duration::from_millis(20), ..loss(10) };
    vec![
        through("hard::loss_1_percent", loss(10), 10 << 20, 10 << 20),
        through("hard::loss_5_percent", loss(50), 10 << 20, 10 << 20),
        through("hard::loss_20_percent", loss(200), 1 << 20, 1 << 20),
        through("hard::corruption", corruption, 10 << 20, 10 << 20),
        through("hard::delay_and_loss", delay, 1 << 20, 1 << 20),
        through("hard::soak_loss_5_percent", loss(50), 100 << 20, 100 << 20).soak(),
        through("hard::soak_loss_20_percent", loss(200), 10 << 20, 10 << 20).soak(),
    ]
}

/// So many bytes each way.
fn through(name: &'static str, impairment: Impairment, down: usize, up: usize) -> Case {
    let transfer = move |site: &Site| {
        let peer = site.peer()?;
        peer.impair(impairment);
        let begin = Instant::now();
        let traffic = peer.traffic();
        download(site, down).with_context(|| format!("{down} bytes down"))?;
        let (down_took, middle) = (begin.elapsed(), peer.traffic());
        upload(site, up).with_context(|| format!("{up} bytes up"))?;
        let (up_took, end) = (begin.elapsed() - down_took, peer.traffic());
        let figures = format!(
            "{down} bytes down in {down_took:.1?} ({} frames), {up} up in {up_took:.1?} ({} frames)",
            middle.from_machine - traffic.from_machine,
            end.to_machine - middle.to_machine
        );
        super::figure(site, &figures);
        peer.impair(Impairment::default());
        Ok(())
    };
    let mut case = web(name, Network::peer()).beside();
    case.deadline = Duration::from_secs(3600);
    case.client(unharmed(format!("{impairment:?}"), transfer))
}

/// Letters from the machine.
pub(super) fn download(site: &Site, bytes: usize) -> Result<()> {
    let mut stream = site.patient_stream(SOURCE, PATIENCE)?;
    stream.write_all(format!("{bytes}\n").as_bytes())?;
    let mut received = Vec::new();
    let read = stream.read_to_end(&mut received);
    read.with_context(|| format!("after {} bytes", received.len()))?;
    are_letters(&received, bytes)
}

/// Letters to the machine, which says what it got.
pub(super) fn upload(site: &Site, bytes: usize) -> Result<()> {
    let (mut stream, body) = (site.patient_stream(SINK, PATIENCE)?, letters(bytes));
    stream.write_all(&body)?;
    stream.shut()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no receipt")?;
    let expected = receipt(&body);
    ensure!(answer == expected, "the receipt is {answer:?} instead of {expected:?}");
    Ok(())
}
