//! Boot arguments: `ip=`, `gw=`, `dns=`.

use core::fmt;

use wakeful_stack::{IpAddress, IpCidr, parse_address};

/// Where addresses come from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `ip=dhcp`, the default, or `ip=10.0.2.15/24`; may be repeated for IPv6: `ip=fd00::2/64`.
    addresses: [Option<IpCidr>; 2],
    dhcp: Option<bool>,
    /// `gw=10.0.2.2`, `gw=fd00::1`.
    gateways: [Option<IpAddress>; 2],
    /// `dns=10.0.2.3`, up to three times. Without the feature `dns` nobody asks them.
    pub(crate) servers: [Option<IpAddress>; 3],
}

/// Why a word is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// After `ip=`.
    Address,
    /// After `gw=`.
    Gateway,
    /// After `dns=`.
    Server,
    /// More of a kind than can be used.
    TooMany,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => {
                if cfg!(feature = "ipv6") {
                    "not `dhcp`, and not an address with the length of its network: ip=10.0.2.15/24"
                } else {
                    "not `dhcp`, and not an IPv4 address with the length of its network: \
                     ip=10.0.2.15/24 (the feature `ipv6` is off)"
                }
            }
            Self::Gateway => "not an address: gw=10.0.2.2",
            Self::Server => "not an address: dns=10.0.2.3",
            Self::TooMany => "too many of these",
        })
    }
}

impl Settings {
    /// Takes one boot argument. `None` if it is none of these.
    pub fn take(&mut self, key: &str, value: &str) -> Option<Result<(), Invalid>> {
        Some(match key {
            "ip" => self.take_address(value),
            "gw" => parse_address(value)
                .ok_or(Invalid::Gateway)
                .and_then(|it| put(&mut self.gateways, it)),
            "dns" => parse_address(value)
                .ok_or(Invalid::Server)
                .and_then(|it| put(&mut self.servers, it)),
            _ => return None,
        })
    }

    fn take_address(&mut self, value: &str) -> Result<(), Invalid> {
        if value == "dhcp" {
            self.dhcp = Some(true);
            return Ok(());
        }
        let (address, length) = value.split_once('/').ok_or(Invalid::Address)?;
        let address = parse_address(address).ok_or(Invalid::Address)?;
        let longest = if is_ipv4(address) { 32 } else { 128 };
        let length: u8 = length.parse().map_err(|_| Invalid::Address)?;
        if length > longest {
            return Err(Invalid::Address);
        }
        if is_ipv4(address) {
            self.dhcp.get_or_insert(false);
        }
        put(&mut self.addresses, IpCidr::new(address, length))
    }

    /// Whether to ask for an IPv4 address: unless one is given.
    pub(crate) fn dhcp(&self) -> bool {
        self.dhcp.unwrap_or(true)
    }

    /// Whether to ask routers for IPv6 addresses: unless one is given.
    pub(crate) fn autoconfiguration(&self) -> bool {
        !self.addresses().any(|(address, _)| !is_ipv4(address.address()))
    }

    /// Addresses that are given, each with the gateway of its family.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (IpCidr, Option<IpAddress>)> {
        self.addresses.iter().flatten().map(|&address| {
            let ipv4 = is_ipv4(address.address());
            (address, self.gateways.iter().flatten().copied().find(|it| is_ipv4(*it) == ipv4))
        })
    }
}

fn put<T>(places: &mut [Option<T>], value: T) -> Result<(), Invalid> {
    let free = places.iter_mut().find(|place| place.is_none()).ok_or(Invalid::TooMany)?;
    *free = Some(value);
    Ok(())
}

fn is_ipv4(address: IpAddress) -> bool {
    matches!(address, IpAddress::Ipv4(_))
}
