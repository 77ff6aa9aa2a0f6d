//! What an exchange does, stage by stage, in virtual time over one engine.

mod admin;
mod admission;
mod attempts;
mod bench;
mod clients;
mod deadlines;
mod gather;
mod grpc;
mod heads;
mod http2;
mod http2_bounds;
mod matching;
mod peer;
mod pressure;
mod streams;
mod tls;
mod versions;
mod winding;
