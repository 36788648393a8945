//! Generated types of the admin service and of what nodes of a cluster ask of each other.
//!
//! Everything here is compiled from `proto/` by the build script; nothing is written by hand, and
//! the definitions there carry the documentation. Both sides are generated: the client that `karst`
//! calls and the server trait that `karstd` implements.
//!
//! A message never says more than its definition: strings and numbers are as the peer sent them, so
//! whoever shows or uses them checks them first.

/// The admin service, version 1: `karst.admin.v1`.
///
/// A change that a reader of today would misread gets a `v2` beside this module.
pub mod admin {
    // The service plumbing that tonic generates has no comments of its own.
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    tonic::include_proto!("karst.admin.v1");
}

/// What nodes of a cluster ask of each other, version 1: `karst.raft.v1`.
pub mod raft {
    // The service plumbing that tonic generates has no comments of its own.
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    tonic::include_proto!("karst.raft.v1");
}

#[cfg(test)]
mod tests {
    use super::admin::{Namespace, NodeState, PartitionCounts, StatusResponse};
    use prost::Message as _;

    #[test]
    fn a_reader_of_today_survives_enum_values_and_fields_of_tomorrow() {
        let status = StatusResponse {
            namespaces: vec![Namespace {
                name: "test".into(),
                mode: 77, // a mode that does not exist yet
                partitions: Some(PartitionCounts {
                    active: 4096,
                    ..Default::default()
                }),
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut bytes = status.encode_to_vec();
        // Field 1000, a varint: unknown to this version.
        bytes.extend([0xc0, 0x3e, 0x05]);
        let back = StatusResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!(back, status);
        assert_eq!(back.namespaces[0].mode, 77);
        assert!(NodeState::try_from(77).is_err());
    }
}
