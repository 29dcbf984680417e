//! The bytes of control records: fixed widths, little-endian.

use super::{
    CONTROL_VERSION, Control, ControlError, GENESIS, GRANT, Genesis, Grant, JOIN, Join, MAX_CONTROL_BYTES, REVOKE,
    Revoke, Role,
};
use crate::wire::id::{Dot, XaeroID};

/// Length of a genesis: version, creator, nonce, options.
const GENESIS_BYTES: usize = 1 + 32 + 16 + 4;
/// Length of a grant: version, grantee, role, authority.
const GRANT_BYTES: usize = 1 + 32 + 1 + DOT_BYTES;
/// Length of a join: version, grant.
const JOIN_BYTES: usize = 1 + DOT_BYTES;
/// Length of a revocation: version, target, last valid event, authority.
const REVOKE_BYTES: usize = 1 + 32 + 8 + DOT_BYTES;
/// Length of the name of an event: author, sequence number.
const DOT_BYTES: usize = 32 + 8;

const _: () = assert!(MAX_CONTROL_BYTES == REVOKE_BYTES && REVOKE_BYTES > GRANT_BYTES && GRANT_BYTES > GENESIS_BYTES);

/// Options of a genesis: none is known yet, and a subject with one must not be taken for a subject without.
const NO_OPTIONS: u32 = 0;

/// Stands for a grant that is not there.
const NO_DOT: [u8; DOT_BYTES] = [0; DOT_BYTES];

pub(super) fn encode(control: &Control) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_CONTROL_BYTES);
    out.push(CONTROL_VERSION);
    match control {
        Control::Genesis(Genesis { creator, nonce }) => {
            out.extend_from_slice(creator.as_bytes());
            out.extend_from_slice(nonce);
            out.extend_from_slice(&NO_OPTIONS.to_le_bytes());
        }
        Control::Grant(Grant { grantee, role, authority }) => {
            out.extend_from_slice(grantee.as_bytes());
            out.push(role_byte(*role));
            put_dot(*authority, &mut out);
        }
        Control::Join(Join { grant }) => put_dot(Some(*grant), &mut out),
        Control::Revoke(Revoke { target, last_valid, authority }) => {
            out.extend_from_slice(target.as_bytes());
            out.extend_from_slice(&last_valid.to_le_bytes());
            put_dot(*authority, &mut out);
        }
    }
    out
}

pub(super) fn decode(code: u8, payload: &[u8]) -> Result<Control, ControlError> {
    let (what, need) = match code {
        GENESIS => ("genesis", GENESIS_BYTES),
        GRANT => ("grant", GRANT_BYTES),
        JOIN => ("join", JOIN_BYTES),
        REVOKE => ("revocation", REVOKE_BYTES),
        other => return Err(ControlError::UnknownCode(other)),
    };
    let wrong_length = ControlError::Length { what, have: payload.len(), need };
    match payload.first() {
        // What a newer version has more is not ours to measure.
        Some(version) if *version != CONTROL_VERSION => return Err(ControlError::UnknownVersion(*version)),
        _ if payload.len() != need => return Err(wrong_length),
        _ => {}
    }
    let mut fields = Fields(payload.get(1..).unwrap_or_default());
    let control = match code {
        GENESIS => fields.genesis()?,
        GRANT => fields.grant()?,
        JOIN => fields.join()?,
        _ => fields.revoke()?,
    };
    control.ok_or(wrong_length)
}

/// The fields of a record whose length is right: `None` where it is not, after all.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn genesis(&mut self) -> Result<Option<Control>, ControlError> {
        let (Some(creator), Some(nonce), Some(options)) = (self.array(), self.array(), self.array()) else {
            return Ok(None);
        };
        match u32::from_le_bytes(options) {
            NO_OPTIONS => Ok(Some(Control::Genesis(Genesis { creator: XaeroID::from(creator), nonce }))),
            options => Err(ControlError::UnknownOptions(options)),
        }
    }

    fn grant(&mut self) -> Result<Option<Control>, ControlError> {
        let (Some(grantee), Some([role]), Some(dot)) = (self.array(), self.array(), self.array()) else {
            return Ok(None);
        };
        let role = role_of(role).ok_or(ControlError::UnknownRole(role))?;
        Ok(Some(Control::Grant(Grant { grantee: XaeroID::from(grantee), role, authority: dot_of(dot)? })))
    }

    fn join(&mut self) -> Result<Option<Control>, ControlError> {
        let Some(dot) = self.array() else { return Ok(None) };
        let grant = dot_of(dot)?.ok_or(ControlError::BadDot)?;
        Ok(Some(Control::Join(Join { grant })))
    }

    fn revoke(&mut self) -> Result<Option<Control>, ControlError> {
        let (Some(target), Some(last), Some(dot)) = (self.array(), self.array(), self.array()) else {
            return Ok(None);
        };
        let (target, last_valid) = (XaeroID::from(target), u64::from_le_bytes(last));
        Ok(Some(Control::Revoke(Revoke { target, last_valid, authority: dot_of(dot)? })))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

const fn role_byte(role: Role) -> u8 {
    match role {
        Role::Reader => 1,
        Role::Writer => 2,
        Role::Owner => 3,
    }
}

const fn role_of(byte: u8) -> Option<Role> {
    match byte {
        1 => Some(Role::Reader),
        2 => Some(Role::Writer),
        3 => Some(Role::Owner),
        _ => None,
    }
}

fn put_dot(dot: Option<Dot>, out: &mut Vec<u8>) {
    match dot {
        Some(Dot { author, seq }) => {
            out.extend_from_slice(author.as_bytes());
            out.extend_from_slice(&seq.to_le_bytes());
        }
        None => out.extend_from_slice(&NO_DOT),
    }
}

fn dot_of(bytes: [u8; DOT_BYTES]) -> Result<Option<Dot>, ControlError> {
    if bytes == NO_DOT {
        return Ok(None);
    }
    let mut fields = Fields(&bytes);
    match (fields.array(), fields.array().map(u64::from_le_bytes)) {
        (Some(author), Some(seq)) if seq > 0 => Ok(Some(Dot::new(XaeroID::from(author), seq))),
        _ => Err(ControlError::BadDot),
    }
}
