//! Hard times: bad networks, bad clients, and too many of both. Whatever happens, the machine serves
//! afterwards, and has in use what it had before (`hard/state.rs`).
//!
//! Where what frames go through matters, the machine is plugged into a [`crate::peer`]; where load
//! matters, into a tap. What takes minutes is left to `make soak`.

mod address;
mod card;
mod crowd;
mod gone;
mod mixed;
mod slow;
mod state;
mod storm;
mod transfer;

use anyhow::Result;

use crate::case::{Case, Image};
use crate::client::Site;
use crate::network::Network;
use crate::workspace::Profile;

pub(super) fn all() -> Result<Vec<Case>> {
    let all = [
        // The longest first: those that mostly wait run beside all others.
        mixed::cases()?,
        gone::cases(),
        slow::cases(),
        crowd::cases(),
        storm::cases(),
        address::cases(),
        card::cases(),
        transfer::cases(),
    ];
    Ok(all.into_iter().flatten().collect())
}

fn web(name: &'static str, network: Network) -> Case {
    let image = Image::Package("websuite", Profile::Release);
    Case::new(name, image).network(network).never("panicked at").ends_when_seen()
}

/// Says something that is worth knowing and is no verdict, to who has asked for it.
fn figure(site: &Site, text: &str) {
    if std::env::var_os("WAKEFUL_FIGURES").is_some() {
        let name = site.folder.file_name().unwrap_or_default().display();
        eprintln!("{name}: {text}");
    }
}
