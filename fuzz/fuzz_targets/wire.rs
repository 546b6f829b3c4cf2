//! Any bytes as any message, in both encodings. What can be read can be written, and reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weimocir_wire::{
    Encoding, Message, decode, encode, peek,
    query::{
        CandidatesChunk, CandidatesQuery, CaptionQuery, CaptionedQuery, EncodeQuery, EncodedQuery,
        Lookup, LookupQuery, Record, RecordQuery,
    },
    search::{Refused, SearchAnswer, SearchRequest},
    vectors::{CaptionsPart, CollectionRecord, ImagePart, Tombstone},
    work::{CaptionImage, DeleteImage, EncodeCaptions, EncodeImage, EncodeInLane},
};

fn read<T: Message>(bytes: &[u8], encoding: Encoding) {
    if let Ok(message) = decode::<T>(bytes, encoding) {
        if let Ok(written) = encode(&message, Encoding::MessagePack) {
            assert!(decode::<T>(&written, Encoding::MessagePack).is_ok(), "{} does not read back", T::NAME);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    for encoding in [Encoding::of(None, bytes), Encoding::MessagePack, Encoding::Json] {
        read::<EncodeImage>(bytes, encoding);
        read::<EncodeInLane>(bytes, encoding);
        read::<EncodeCaptions>(bytes, encoding);
        read::<CaptionImage>(bytes, encoding);
        read::<DeleteImage>(bytes, encoding);
        read::<ImagePart>(bytes, encoding);
        read::<CaptionsPart>(bytes, encoding);
        read::<Tombstone>(bytes, encoding);
        read::<CollectionRecord>(bytes, encoding);
        read::<SearchRequest>(bytes, encoding);
        read::<SearchAnswer>(bytes, encoding);
        read::<Refused>(bytes, encoding);
        read::<EncodeQuery>(bytes, encoding);
        read::<EncodedQuery>(bytes, encoding);
        read::<CaptionQuery>(bytes, encoding);
        read::<CaptionedQuery>(bytes, encoding);
        read::<CandidatesQuery>(bytes, encoding);
        read::<CandidatesChunk>(bytes, encoding);
        read::<Lookup>(bytes, encoding);
        read::<LookupQuery>(bytes, encoding);
        read::<Record>(bytes, encoding);
        read::<RecordQuery>(bytes, encoding);
    }
    let _: Option<serde_json::Value> = peek(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = weimocir_wire::subjects::read_vectors(text);
    }
});
