//! What is done before a volume is mounted.

use core::pin::pin;

use hadris_fat_raw::io::async_ as raw;
use wakeful_block::BlockDevice;

use crate::{
    Error, Health,
    device::{Adapter, Exchange},
    mark::{self, Mark},
};

/// Looks whether a volume was left in peace.
pub(crate) async fn check<D: BlockDevice>(
    exchange: &Exchange,
    device: &D,
    adapter: &Adapter,
    _is_read_only: bool,
) -> Result<(Health, Mark), Error> {
    let mut adapter = adapter.clone();
    let call = pin!(look(&mut adapter));
    exchange.run(device, call).await
}

async fn look(adapter: &mut Adapter) -> Result<(Health, Mark), Error> {
    let mut block = adapter.block()?;
    let geometry = raw::read_geometry(adapter, &mut block).await?;
    let mark = mark::read(adapter, &mut block, geometry.kind().into()).await?;
    Ok((Health::Clean, mark))
}
