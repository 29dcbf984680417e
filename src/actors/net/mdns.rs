//! Peers on the local network are found by their keys, without anybody telling where they are: multicast DNS.
//!
//! A node that does this says to everybody on the local network what its key is and where it listens, and hears the same
//! of others. It is used for nothing but to find the address of a peer that the node knows already, from a ticket or by
//! configuration: nobody is called because of it, and nothing is told of subjects. What is heard may be a lie, and costs
//! a call that is not answered: who is at an address proves itself by its key.

use iroh::Endpoint;
use iroh_mdns_address_lookup::MdnsAddressLookup;

/// The name under which nodes are found: those of other programs that use iroh are of no interest.
const SERVICE_NAME: &str = "xaeroflux";

/// Begins to say where this endpoint is, and to hear where others are, for as long as the endpoint is open.
///
/// That it cannot begin, as on a machine without a network, does not keep the node from calling whom it knows the address of.
pub(super) fn begin(endpoint: &Endpoint) {
    let begun = MdnsAddressLookup::builder().service_name(SERVICE_NAME).build(endpoint.id());
    match (begun, endpoint.address_lookup()) {
        (Ok(mdns), Ok(lookup)) => lookup.add(mdns),
        (Err(error), _) => tell(&error),
        (_, Err(error)) => tell(&error),
    }
}

fn tell(error: &dyn std::error::Error) {
    tracing::warn!(
        %error,
        "peers on the local network cannot be looked for until the node starts again: is there a network that allows multicast? \
         Peers whose addresses are known are called as ever"
    );
}
