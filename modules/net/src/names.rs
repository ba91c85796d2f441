//! Names to addresses.

use alloc::vec::Vec;
use core::{
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    task::Poll,
};

use wakeful_stack::{Error as StackError, IpAddress, Lookup, standard};

use crate::{
    Error,
    state::{now, ready, with, with_existing},
};

/// The addresses of a name, IPv4 first; an address in digits is its own.
///
/// # Errors
///
/// There is no such name, no server answers, or none is known.
///
/// # Cancellation
///
/// The question is forgotten.
pub async fn lookup(name: &str) -> Result<Vec<IpAddr>, Error> {
    if let Ok(address) = name.parse() {
        return Ok([address].into());
    }
    // The other family only if it is of use.
    let mut failure = Error::Stack(StackError::NoSuchName);
    for ipv6 in [false, true] {
        match lookup_kind(name, ipv6).await {
            Ok(addresses) => return Ok(addresses.into_iter().map(standard).collect()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The addresses of a name that are of one family.
pub(crate) async fn lookup_kind(name: &str, ipv6: bool) -> Result<Vec<IpAddress>, Error> {
    /// Forgets the question when the future is dropped.
    struct Question(Option<Lookup>);

    impl Drop for Question {
        fn drop(&mut self) {
            if let Some(lookup) = self.0.take() {
                with_existing(|stack| stack.end_lookup(lookup));
            }
        }
    }

    ready().await?;
    let lookup = with(|stack| stack.start_lookup(now(), name, ipv6))??;
    let mut question = Question(Some(lookup));
    poll_fn(|context| {
        let Some(lookup) = &question.0 else {
            return Poll::Ready(Err(Error::Stack(StackError::NoSuchName)));
        };
        let answer = with_existing(|stack| stack.poll_lookup(lookup, context.waker()));
        if answer.is_ready() {
            question.0 = None; // smoltcp has forgotten it
        }
        answer.map_err(Error::Stack)
    })
    .await
}

/// An address from text: `10.0.2.2:80`, `[fd00::2]:80`, `example.com:80`.
///
/// # Errors
///
/// As [`lookup`]; there is no port.
///
/// # Cancellation
///
/// As [`lookup`].
pub async fn to_address(text: &str) -> Result<SocketAddr, Error> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let invalid = Error::Stack(StackError::InvalidName);
    let (name, port) = text.rsplit_once(':').ok_or(invalid)?;
    let port = port.parse().map_err(|_| invalid)?;
    let addresses = lookup(name).await?;
    let address = addresses.first().copied().ok_or(Error::Stack(StackError::NoSuchName))?;
    Ok(SocketAddr::new(address, port))
}
