//! A DHCP server with moods (RFC 2131): it may be absent, refuse, and change its mind about an address.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr,
    EthernetAddress,
};

use super::frames;
use crate::network::{MACHINE, ROUTER};

/// The option with the time until an address is to be renewed (RFC 2132 §9.11).
const RENEWAL: u8 = 58;

/// What the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// So many questions of machines without an address are not heard first.
    pub(crate) deaf_for: u32,
    /// What it gives. Who asks to keep another one is refused.
    pub(crate) address: Ipv4Addr,
    /// For so many seconds.
    pub(crate) lease: u32,
    /// To be renewed after so many, unless it is half of them.
    pub(crate) renewal: Option<u32>,
    /// It does not answer at all.
    pub(crate) absent: bool,
    /// It says that who keeps an address has the new one: what no server should do.
    pub(crate) moves_silently: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let (deaf_for, renewal, absent, moves_silently) = (0, None, false, false);
        Self { deaf_for, address: MACHINE, lease: 3600, renewal, absent, moves_silently }
    }
}

/// What has happened, as numbers of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Questions of a machine without an address, heard or not.
    pub(crate) discovers: u32,
    pub(crate) requests: u32,
    pub(crate) acknowledged: u32,
    pub(crate) refused: u32,
    /// Requests of a machine that has its address, to keep it.
    pub(crate) renewals: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) settings: Settings,
    pub(crate) counts: Counts,
}

impl Server {
    /// The answer to a message, as a frame.
    pub(crate) fn answer(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let message = DhcpPacket::new_checked(message).ok()?;
        let message = DhcpRepr::parse(&message).ok()?;
        let Settings { deaf_for, address, absent, moves_silently, .. } = self.settings;
        let counts = &mut self.counts;
        let kind = match message.message_type {
            DhcpMessageType::Discover => {
                counts.discovers += 1;
                (!absent && counts.discovers > deaf_for).then_some(DhcpMessageType::Offer)?
            }
            DhcpMessageType::Request => {
                counts.requests += 1;
                let has = !message.client_ip.is_unspecified();
                counts.renewals += u32::from(has);
                if absent {
                    return None;
                }
                let wanted = if has { Some(message.client_ip) } else { message.requested_ip };
                if wanted == Some(address) || moves_silently {
                    counts.acknowledged += 1;
                    DhcpMessageType::Ack
                } else {
                    counts.refused += 1;
                    DhcpMessageType::Nak
                }
            }
            _ => return None,
        };
        Some(self.message(&message, kind))
    }

    fn message(&self, question: &DhcpRepr<'_>, kind: DhcpMessageType) -> Vec<u8> {
        let Settings { address, lease, renewal, .. } = self.settings;
        let given = kind != DhcpMessageType::Nak;
        let renewal = renewal.filter(|_| given).map(u32::to_be_bytes);
        // `renew_duration` is only read.
        let renewal = renewal.as_ref().map(|data| DhcpOption { kind: RENEWAL, data });
        let answer = DhcpRepr {
            message_type: kind,
            transaction_id: question.transaction_id,
            secs: 0,
            client_hardware_address: question.client_hardware_address,
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: if given { address } else { Ipv4Addr::UNSPECIFIED },
            server_ip: ROUTER,
            router: given.then_some(ROUTER),
            subnet_mask: given.then_some(Ipv4Addr::new(255, 255, 255, 0)),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: true,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(ROUTER),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: given.then_some(lease),
            renew_duration: None,
            rebind_duration: None,
            additional_options: renewal.as_slice(),
        };
        let mut bytes = vec![0; answer.buffer_len()];
        let mut packet = DhcpPacket::new_unchecked(&mut bytes[..]);
        answer.emit(&mut packet).expect("there is room for all of it");
        frames::datagram(
            EthernetAddress::BROADCAST,
            SocketAddrV4::new(ROUTER, DHCP_SERVER_PORT),
            SocketAddrV4::new(Ipv4Addr::BROADCAST, DHCP_CLIENT_PORT),
            &bytes,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::frames::{Content, content};

    fn question(kind: DhcpMessageType, has: Option<Ipv4Addr>, wants: Option<Ipv4Addr>) -> Vec<u8> {
        let question = DhcpRepr {
            message_type: kind,
            transaction_id: 7,
            secs: 0,
            client_hardware_address: frames::MACHINE_MAC,
            client_ip: has.unwrap_or(Ipv4Addr::UNSPECIFIED),
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: true,
            requested_ip: wants,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut bytes = vec![0; question.buffer_len()];
        question.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).unwrap();
        bytes
    }

    /// What the server says, and to which address.
    fn asked(server: &mut Server, question: &[u8]) -> Option<(DhcpMessageType, Ipv4Addr)> {
        let frame = server.answer(question)?;
        let Content::Udp { to: DHCP_CLIENT_PORT, bytes } = content(&frame) else { panic!() };
        let packet = DhcpPacket::new_checked(bytes).unwrap();
        let answer = DhcpRepr::parse(&packet).unwrap();
        assert_eq!((answer.transaction_id, answer.server_identifier), (7, Some(ROUTER)));
        let given = answer.message_type != DhcpMessageType::Nak;
        assert_eq!(answer.renew_duration, server.settings.renewal.filter(|_| given));
        Some((answer.message_type, answer.your_ip))
    }

    #[test]
    fn addresses_are_given_kept_and_refused() {
        use DhcpMessageType::{Ack, Discover, Nak, Offer, Request};
        let mut server = Server::default();
        server.settings.deaf_for = 1;
        let discover = question(Discover, None, None);
        assert_eq!(asked(&mut server, &discover), None);
        assert_eq!(asked(&mut server, &discover), Some((Offer, MACHINE)));
        let request = question(Request, None, Some(MACHINE));
        assert_eq!(asked(&mut server, &request), Some((Ack, MACHINE)));
        let renewal = question(Request, Some(MACHINE), None);
        assert_eq!(asked(&mut server, &renewal), Some((Ack, MACHINE)));
        server.settings.renewal = Some(4);
        assert_eq!(asked(&mut server, &renewal), Some((Ack, MACHINE)));
        server.settings.address = Ipv4Addr::new(10, 0, 2, 99);
        assert_eq!(asked(&mut server, &renewal), Some((Nak, Ipv4Addr::UNSPECIFIED)));
        server.settings.absent = true;
        assert_eq!(asked(&mut server, &renewal), None);
        let Counts { discovers, requests, acknowledged, refused, renewals } = server.counts;
        assert_eq!((discovers, requests, acknowledged, refused, renewals), (2, 5, 3, 1, 4));
    }

    #[test]
    fn what_is_no_message_has_no_answer() {
        assert_eq!(Server::default().answer(&[1; 100]), None);
    }
}
