//! Any chunking of the same bytes gives the same events and the same answers; nothing panics.

mod h2_script;

use h2_script::*;
use proptest::collection::vec;
use proptest::prelude::*;
use wire::fuzzing;

/// A frame that a peer might send: often right, sometimes not.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let id = || prop_oneof![8 => (0..6_u32).prop_map(|at| at * 2 + 1), 1 => 0..20_u32];
    let bytes = |max| vec(any::<u8>(), 0..max);
    let flags = || prop::sample::select(vec![0, END, WHOLE, END | WHOLE, PADDED, 0xff]);
    let head = || {
        prop::sample::select(vec![
            [GET, &[("x-a", "b"), ("cookie", "c"), ("cookie", "d")]].concat(),
            [POST, &[("content-length", "5")]].concat(),
            [POST, &[("expect", "100-continue"), ("priority", "u=1")]].concat(),
            [GET, &[("Upper", "x")]].concat(),
            vec![(":status", "200"), ("content-length", "5")],
            vec![(":status", "200")],
            vec![(":status", "103")],
            vec![("grpc-status", "0")],
        ])
    };
    prop_oneof![
        6 => (id(), flags(), head()).prop_map(|(id, flags, head)| {
            headers(id, flags & (END | WHOLE), &head)
        }),
        1 => (id(), flags(), head(), 0..60_usize).prop_map(|(id, flags, head, at)| {
            let block = block(&head);
            let (first, rest) = block.split_at(at.min(block.len()));
            [frame(HEADERS, flags & END, id, first), frame(CONTINUATION, WHOLE, id, rest)].concat()
        }),
        4 => (id(), flags(), bytes(300)).prop_map(|(id, flags, bytes)| data(id, flags, &bytes)),
        2 => (id(), flags()).prop_map(|(id, flags)| data(id, flags & END, b"12345")),
        1 => (id(), 0..14_u32).prop_map(|(id, code)| reset(id, code)),
        1 => (id(), 0..70_000_u32).prop_map(|(id, by)| window_update(id, by)),
        1 => (0..10_u16, 0..70_000_u32).prop_map(|(one, value)| settings(&[(one, value)])),
        1 => (any::<bool>(), any::<[u8; 8]>()).prop_map(|(ack, payload)| {
            frame(PING, u8::from(ack), 0, &payload)
        }),
        1 => (id(), any::<[u8; 5]>()).prop_map(|(id, payload)| frame(PRIORITY, 0, id, &payload)),
        1 => id().prop_map(|id| {
            frame(PRIORITY_UPDATE, 0, 0, &[&id.to_be_bytes()[..], b"u=2"].concat())
        }),
        1 => (id(), bytes(20)).prop_map(|(id, debug)| {
            frame(GOAWAY, 0, 0, &[&id.to_be_bytes()[..], &[0; 4], &debug].concat())
        }),
        1 => (any::<u8>(), any::<u8>(), id(), bytes(40)).prop_map(|(kind, flags, id, payload)| {
            frame(kind, flags, id, &payload)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn scripts_of_frames(frames in vec(any_frame(), 0..30), steering in any::<u8>()) {
        let mut data = vec![steering & !4];
        data.extend(frames.concat());
        fuzzing::h2_server(&data);
        fuzzing::h2_client(&data);
    }

    #[test]
    fn scripts_with_a_wound(
        frames in vec(any_frame(), 1..20),
        wounds in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        steering in any::<u8>(),
    ) {
        let mut data = vec![steering & !4];
        data.extend(frames.concat());
        for (at, byte) in wounds {
            let at = at.index(data.len());
            data[at] = byte;
        }
        fuzzing::h2_server(&data);
        fuzzing::h2_client(&data);
    }

    #[test]
    fn arbitrary_bytes(data in vec(any::<u8>(), 0..300)) {
        fuzzing::h2_server(&data);
        fuzzing::h2_client(&data);
    }
}
