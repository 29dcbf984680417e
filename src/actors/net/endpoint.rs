//! The QUIC endpoint: which sockets, which cryptography, which windows.
//!
//! Nothing here needs a server of anybody's: no relay unless one is configured, no DNS, no lookup of addresses. The key
//! exchange prefers X25519 with ML-KEM-768, so that what is recorded today cannot be read by a quantum computer later.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use iroh::{
    Endpoint, EndpointAddr, RelayMode, RelayUrl, SecretKey, TransportAddr,
    endpoint::{ConnectOptions, Connection, IdleTimeout, QuicTransportConfig, VarInt, presets},
};
use noq_proto::crypto::rustls::HandshakeData;
use rustls::NamedGroup;

use super::{
    NetError, NetworkConfig,
    gossip::Gate,
    limits::{
        ALPN, CONNECTION_WINDOW, MAX_GOSSIP_STREAMS, MAX_STREAMS, SEND_WINDOW, STRANGER_WINDOW, STREAM_WINDOW, Timing,
    },
};

use crate::wire::{endpoint::PeerAddr, id::EndpointId};

/// Binds the endpoint. `addrs` are those to listen on; none are all interfaces.
pub(super) async fn bind(
    config: &NetworkConfig,
    secret: &[u8; 32],
    addrs: &[SocketAddr],
    gate: Gate,
) -> Result<Endpoint, NetError> {
    let failed = |reason: String| {
        let addrs = addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        NetError::Bind { addrs, reason }
    };
    let mut builder = Endpoint::builder(presets::Minimal)
        .crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .secret_key(SecretKey::from_bytes(secret))
        .alpns(vec![ALPN.to_vec()])
        .transport_config(transport(&config.timing, MAX_STREAMS, MAX_GOSSIP_STREAMS))
        .hooks(gate)
        .relay_mode(relay_mode(config)?)
        .clear_address_lookup()
        .clear_ip_transports();
    for addr in addrs {
        builder = builder.bind_addr(*addr).map_err(|error| failed(error.to_string()))?;
    }
    builder.bind().await.map_err(|error| failed(format!("{error:#}")))
}

/// Where to listen: as configured, or everywhere.
pub(super) fn listen_addrs(config: &NetworkConfig) -> Vec<SocketAddr> {
    if config.listen_addrs().is_empty() {
        vec![(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()]
    } else {
        config.listen_addrs().to_vec()
    }
}

fn relay_mode(config: &NetworkConfig) -> Result<RelayMode, NetError> {
    if config.relays().is_empty() {
        return Ok(RelayMode::Disabled);
    }
    let urls = config.relays().iter().map(|url| relay_url(url));
    Ok(RelayMode::custom(urls.collect::<Result<Vec<_>, _>>()?))
}

pub(super) fn relay_url(url: &str) -> Result<RelayUrl, NetError> {
    let bad = |reason: String| NetError::BadRelay { url: url.to_owned(), reason };
    let parsed = url.parse::<RelayUrl>().map_err(|error| bad(error.to_string()))?;
    // iroh takes any scheme, and then reaches nobody.
    if matches!(parsed.scheme(), "https" | "http") {
        Ok(parsed)
    } else {
        Err(bad("it begins neither with https:// nor with http://".to_owned()))
    }
}

/// The windows and time-outs of a connection on which the peer may open so many streams of both kinds. The gossip needs
/// those in one direction; which protocol a call is about is known only once it was answered.
fn transport(timing: &Timing, bidi: u32, uni: u32) -> QuicTransportConfig {
    QuicTransportConfig::builder()
        .max_idle_timeout(IdleTimeout::try_from(timing.idle).ok())
        .default_path_max_idle_timeout(timing.idle)
        .keep_alive_interval(timing.keep_alive)
        .default_path_keep_alive_interval(timing.keep_alive)
        .max_concurrent_bidi_streams(VarInt::from_u32(bidi))
        .max_concurrent_uni_streams(VarInt::from_u32(uni))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        // Until the peer has said who it is: see `welcome`.
        .receive_window(VarInt::from_u32(STRANGER_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .build()
}

/// Opens the windows of a connection whose peer is known now.
pub(super) fn welcome(connection: &Connection) {
    connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW));
}

/// How to call a peer. It is the one who calls that opens streams: the other side may open none.
pub(super) fn calling(timing: &Timing) -> ConnectOptions {
    ConnectOptions::new().with_transport_config(transport(timing, 0, 0))
}

/// The peer's address, as iroh has it.
pub(super) fn address(peer: &PeerAddr) -> Result<EndpointAddr, NetError> {
    let id =
        iroh::EndpointId::from_bytes(peer.endpoint.as_bytes()).map_err(|_| NetError::BadEndpoint(peer.endpoint))?;
    let mut address = EndpointAddr::new(id).with_addrs(peer.addrs.iter().copied().map(TransportAddr::Ip));
    if let Some(relay) = &peer.relay {
        address = address.with_relay_url(relay_url(relay)?);
    }
    Ok(address)
}

/// Who is at the other end.
pub(super) fn remote(connection: &Connection) -> EndpointId {
    EndpointId::from(*connection.remote_id().as_bytes())
}

/// The address of the path that is used, if it is a direct one.
pub(super) fn remote_addr(connection: &Connection) -> Option<SocketAddr> {
    let paths = connection.paths();
    let direct = |path: iroh::endpoint::Path<'_>| match path.remote_addr() {
        TransportAddr::Ip(addr) => Some(*addr),
        _ => None,
    };
    let selected = paths.iter().find(iroh::endpoint::Path::is_selected).and_then(direct);
    selected.or_else(|| paths.iter().find_map(direct))
}

/// Whether the keys of the connection were agreed on in a way that resists quantum computers; `None` where it cannot be told.
pub(super) fn post_quantum(connection: &Connection) -> Option<bool> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    let group = data.negotiated_key_exchange_group?;
    Some(matches!(
        group,
        NamedGroup::X25519MLKEM768
            | NamedGroup::secp256r1MLKEM768
            | NamedGroup::MLKEM512
            | NamedGroup::MLKEM768
            | NamedGroup::MLKEM1024
    ))
}
