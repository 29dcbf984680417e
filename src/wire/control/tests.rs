use proptest::prelude::*;

use super::*;

fn id() -> impl Strategy<Value = XaeroID> {
    any::<[u8; 32]>().prop_map(XaeroID::from)
}

fn dot() -> impl Strategy<Value = Dot> {
    (id(), 1_u64..).prop_map(|(author, seq)| Dot::new(author, seq))
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Reader), Just(Role::Writer), Just(Role::Owner)]
}

fn control() -> impl Strategy<Value = Control> {
    prop_oneof![
        (id(), any::<[u8; 16]>()).prop_map(|(creator, nonce)| Control::Genesis(Genesis { creator, nonce })),
        (id(), role(), prop::option::of(dot())).prop_map(|(grantee, role, authority)| Control::Grant(Grant {
            grantee,
            role,
            authority
        })),
        dot().prop_map(|grant| Control::Join(Join { grant })),
        (id(), any::<u64>(), prop::option::of(dot()))
            .prop_map(|(target, last_valid, authority)| Control::Revoke(Revoke { target, last_valid, authority })),
    ]
}

proptest! {
    #[test]
    fn a_record_is_read_back_from_its_bytes(control in control()) {
        let bytes = control.encode();
        prop_assert!(bytes.len() <= MAX_CONTROL_BYTES);
        prop_assert_eq!(Control::decode(control.code(), &bytes), Ok(control));
    }

    #[test]
    fn bytes_that_are_read_are_the_only_ones_of_their_record(
        control in control(), at in 0..MAX_CONTROL_BYTES, byte in any::<u8>(), code in 0_u8..6,
    ) {
        let mut bytes = control.encode();
        if let Some(slot) = bytes.get_mut(at) {
            *slot = byte;
        }
        if let Ok(read) = Control::decode(code, &bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn a_record_of_another_length_is_refused(control in control(), more in 1_usize..40) {
        let bytes = control.encode();
        for length in 0..bytes.len() {
            prop_assert!(Control::decode(control.code(), &bytes[..length]).is_err());
        }
        let longer = [bytes, vec![0; more]].concat();
        let is_length = matches!(Control::decode(control.code(), &longer), Err(ControlError::Length { .. }));
        prop_assert!(is_length);
    }
}

#[test]
fn each_rule_that_a_record_breaks_is_named() {
    let creator = XaeroID::from([7; 32]);
    let genesis = Control::Genesis(Genesis { creator, nonce: [1; 16] }).encode();
    let grant = Control::Grant(Grant { grantee: creator, role: Role::Owner, authority: None }).encode();
    let join = Control::Join(Join { grant: Dot::new(creator, 2) }).encode();
    let altered = |bytes: &[u8], at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(Control::decode(9, &genesis), Err(ControlError::UnknownCode(9)));
    assert_eq!(Control::decode(GENESIS, &altered(&genesis, 0, 2)), Err(ControlError::UnknownVersion(2)));
    assert_eq!(Control::decode(GENESIS, &altered(&genesis, 49, 1)), Err(ControlError::UnknownOptions(1)));
    assert_eq!(Control::decode(GRANT, &altered(&grant, 33, 4)), Err(ControlError::UnknownRole(4)));
    assert_eq!(
        Control::decode(GRANT, &altered(&grant, 40, 1)),
        Err(ControlError::BadDot),
        "an author without a number"
    );
    assert_eq!(Control::decode(JOIN, &altered(&join, 33, 0)), Err(ControlError::BadDot), "number 0");
    let nowhere = [&[CONTROL_VERSION][..], &[0; 40]].concat();
    assert_eq!(Control::decode(JOIN, &nowhere), Err(ControlError::BadDot), "a join names its grant");
}

#[test]
fn the_id_of_an_owned_subject_never_changes() {
    // Part of the format.
    let genesis = Genesis { creator: XaeroID::from([0x11; 32]), nonce: [0x22; 16] };
    assert_eq!(genesis.subject_id().to_string(), "80743a6403cf35fd836f42bec8d2747e97199f6697ad2df79b516c55698cc02a");
}
