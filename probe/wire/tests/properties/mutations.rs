//! What may happen to bytes on their way, or be done to them on purpose.

use fata_wire::put_u64;
use proptest::collection::vec;
use proptest::prelude::*;

/// What may happen to bytes on their way, or be done to them on purpose.
#[derive(Clone, Debug)]
pub(super) enum Mutation {
    Byte(usize, u8),
    Word(usize, u64),
    Cut(usize),
    Repeat(usize, usize),
    Zero(usize, usize),
}

pub(super) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let word = prop_oneof![
        any::<u64>(),
        Just(0),
        Just(u64::MAX),
        Just(i64::MAX.cast_unsigned()),
        Just(1 << 45),
        (0..1u64 << 20).prop_map(|size| size * 8)
    ];
    vec(
        prop_oneof![
            4 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
            4 => (any::<usize>(), word).prop_map(|(at, word)| Mutation::Word(at, word)),
            1 => any::<usize>().prop_map(Mutation::Cut),
            1 => (any::<usize>(), 1..200usize).prop_map(|(at, len)| Mutation::Repeat(at, len)),
            1 => (any::<usize>(), 1..200usize).prop_map(|(at, len)| Mutation::Zero(at, len)),
        ],
        0..6,
    )
}

pub(super) fn mutate(bytes: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        let len = bytes.len().max(1);
        match *mutation {
            Mutation::Byte(at, byte) => {
                if let Some(old) = bytes.get_mut(at % len) {
                    *old = byte;
                }
            }
            Mutation::Word(at, word) => put_u64(bytes, (at % len) & !7, word),
            Mutation::Cut(at) => bytes.truncate(at % len),
            Mutation::Repeat(at, run) => {
                let (from, to) = (at % len, (at % len + run).min(bytes.len()));
                bytes.extend_from_within(from.min(to)..to);
            }
            Mutation::Zero(at, run) => {
                let (from, to) = (at % len, (at % len + run).min(bytes.len()));
                bytes[from.min(to)..to].fill(0);
            }
        }
    }
}
