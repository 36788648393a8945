//! The admin service of one node, as this tool calls it.
//!
//! Every call has a deadline and a largest answer: tonic sets neither by itself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use karst_proto::admin::admin_client::AdminClient;
use karst_proto::admin::{self as proto, NodeState};
use tonic::transport::{Channel, Endpoint};

use crate::failure::{Failure, Outcome};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest wait for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer: far above 32 namespaces with a thousand sets each.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A node's admin service.
pub(crate) struct Admin {
    host: String,
    client: AdminClient<Channel>,
}

impl Admin {
    /// Connects to `host`, written HOST:PORT.
    pub(crate) async fn connect(host: &str) -> Outcome<Admin> {
        let (name, port) = split_host(host)?;
        let endpoint = Endpoint::from_shared(format!("http://{name}:{port}"))
            .map_err(|error| Failure::usage(format!("--host {host}: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT);
        let channel = endpoint.connect().await.map_err(|error| {
            Failure::failed(format!(
                "no karstd answers at {host} (its admin address): {}",
                root_cause(&error)
            ))
        })?;
        Ok(Admin {
            host: host.to_owned(),
            client: AdminClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX),
        })
    }

    /// Everything the node knows of its cluster.
    pub(crate) async fn status(&mut self) -> Outcome<proto::StatusResponse> {
        let answer = self.client.status(proto::StatusRequest {}).await;
        Ok(answer.map_err(|status| self.refused(&status))?.into_inner())
    }

    /// The nodes.
    pub(crate) async fn nodes(&mut self) -> Outcome<Vec<proto::Node>> {
        let answer = self.client.nodes(proto::NodesRequest {}).await;
        let answer = answer.map_err(|status| self.refused(&status))?;
        Ok(answer.into_inner().nodes)
    }

    /// The namespaces, or the one named.
    pub(crate) async fn namespaces(
        &mut self,
        only: Option<String>,
    ) -> Outcome<Vec<proto::Namespace>> {
        let request = proto::NamespacesRequest {
            namespace: only.unwrap_or_default(),
        };
        let answer = self.client.namespaces(request).await;
        let answer = answer.map_err(|status| self.refused(&status))?;
        Ok(answer.into_inner().namespaces)
    }

    /// The sets of all namespaces, or of the one named.
    pub(crate) async fn sets(&mut self, only: Option<String>) -> Outcome<Vec<proto::Set>> {
        let request = proto::SetsRequest {
            namespace: only.unwrap_or_default(),
        };
        let answer = self.client.sets(request).await;
        let answer = answer.map_err(|status| self.refused(&status))?;
        Ok(answer.into_inner().sets)
    }

    /// The damaged records of all namespaces, or of the one named.
    pub(crate) async fn damage(
        &mut self,
        only: Option<String>,
    ) -> Outcome<Vec<proto::DamagedRecord>> {
        let request = proto::DamageRequest {
            namespace: only.unwrap_or_default(),
        };
        let answer = self.client.damage(request).await;
        let answer = answer.map_err(|status| self.refused(&status))?;
        Ok(answer.into_inner().records)
    }

    /// Partitions from number `first` on, as many as the node answers at once.
    pub(crate) async fn partitions(
        &mut self,
        namespace: &str,
        first: u32,
        count: u32,
    ) -> Outcome<Vec<proto::Partition>> {
        let request = proto::PartitionsRequest {
            namespace: namespace.into(),
            first,
            count,
        };
        let answer = self.client.partitions(request).await;
        let answer = answer.map_err(|status| self.refused(&status))?;
        Ok(answer.into_inner().partitions)
    }

    /// Who serves which partition: one, or all.
    pub(crate) async fn map(
        &mut self,
        namespace: &str,
        only: Option<u32>,
    ) -> Outcome<proto::MapResponse> {
        let request = proto::MapRequest {
            namespace: namespace.into(),
            first: only.unwrap_or(0),
            count: u32::from(only.is_some()), // 0 asks for all
        };
        let answer = self.client.map(request).await;
        Ok(answer.map_err(|status| self.refused(&status))?.into_inner())
    }

    /// Has a node drained, or takes that back.
    pub(crate) async fn drain(&mut self, node: &str, undo: bool) -> Outcome<proto::Node> {
        let request = proto::DrainRequest {
            node: node.into(),
            undo,
        };
        let answer = self.client.drain(request).await;
        let answer = answer.map_err(|status| self.refused(&status))?;
        Ok(answer.into_inner().node.unwrap_or_default())
    }

    /// Has a node forgotten.
    pub(crate) async fn remove(&mut self, node: &str) -> Outcome<proto::RemoveResponse> {
        let request = proto::RemoveRequest { node: node.into() };
        let answer = self.client.remove(request).await;
        Ok(answer.map_err(|status| self.refused(&status))?.into_inner())
    }

    /// What a revival of a namespace would come to, or, carried out, has come to.
    pub(crate) async fn revive(
        &mut self,
        namespace: &str,
        carry_out: bool,
        empty: bool,
    ) -> Outcome<proto::ReviveResponse> {
        let request = proto::ReviveRequest {
            namespace: namespace.into(),
            carry_out,
            empty,
        };
        let answer = self.client.revive(request).await;
        Ok(answer.map_err(|status| self.refused(&status))?.into_inner())
    }

    /// Where the admin service of a node is, that the asked node names.
    pub(crate) fn admin_address(&self, node: &proto::Node) -> Outcome<String> {
        let (name, _) = split_host(&self.host)?;
        Ok(reachable(&node.admin, &name))
    }

    /// How often the node was asked for records of each partition.
    pub(crate) async fn heat(&mut self, namespace: &str) -> Outcome<Vec<u64>> {
        let namespace = namespace.into();
        let answer = self.client.heat(proto::HeatRequest { namespace }).await;
        let answer = answer.map_err(|status| self.refused(&status))?;
        Ok(answer.into_inner().requests)
    }

    /// Some index entries of a partition.
    pub(crate) async fn entries(
        &mut self,
        request: proto::EntriesRequest,
    ) -> Outcome<proto::EntriesResponse> {
        let answer = self.client.entries(request).await;
        Ok(answer.map_err(|status| self.refused(&status))?.into_inner())
    }

    /// Where clients reach the cluster: the service addresses of its nodes, serving ones first.
    pub(crate) fn service_addresses(&self, nodes: &[proto::Node]) -> Outcome<Vec<String>> {
        let (name, _) = split_host(&self.host)?;
        let mut nodes: Vec<_> = nodes
            .iter()
            .filter(|node| !node.service.is_empty())
            .collect();
        nodes.sort_by_key(|node| node.state() != NodeState::Serving);
        let seeds: Vec<_> = nodes
            .iter()
            .map(|node| reachable(&node.service, &name))
            .collect();
        match seeds.is_empty() {
            true => Err(Failure::failed(format!(
                "the node at {} names no address for clients",
                self.host
            ))),
            false => Ok(seeds),
        }
    }

    fn refused(&self, status: &tonic::Status) -> Failure {
        match status.code() {
            tonic::Code::NotFound
            | tonic::Code::FailedPrecondition
            | tonic::Code::InvalidArgument => Failure::failed(status.message()),
            code => Failure::failed(format!("{}: {code}: {}", self.host, status.message())),
        }
    }
}

/// HOST and PORT of `--host`; a bare IPv6 address keeps its brackets.
fn split_host(host: &str) -> Outcome<(String, u16)> {
    let wrong = || Failure::usage(format!("--host {host}: write it as HOST:PORT"));
    let (name, port) = host.rsplit_once(':').ok_or_else(wrong)?;
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(wrong)?;
    match name.parse::<Ipv6Addr>() {
        _ if name.is_empty() => Err(wrong()),
        Ok(_) => Ok((format!("[{name}]"), port)),
        Err(_) => Ok((name.to_owned(), port)),
    }
}

/// A service address as it can be dialled: a wildcard means the host we already talk to.
fn reachable(service: &str, host: &str) -> String {
    match service.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => format!("{host}:{}", address.port()),
        _ => service.to_owned(),
    }
}

/// Whether the node called HOST:PORT runs on this machine.
pub(crate) fn is_local(host: &str) -> bool {
    let Ok((name, _)) = split_host(host) else {
        return false;
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The innermost of an error's sources: "connection refused" rather than "transport error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_and_a_port() {
        let check = |host: &str, name: &str, port: u16| {
            assert_eq!(split_host(host), Ok((name.to_owned(), port)));
        };
        check("127.0.0.1:3002", "127.0.0.1", 3002);
        check("db1.example.com:1", "db1.example.com", 1);
        check("[::1]:3002", "[::1]", 3002);
        check("::1:3002", "[::1]", 3002);
        for wrong in [
            "",
            "host",
            "host:",
            ":3002",
            "host:0",
            "host:99999",
            "host:x",
        ] {
            assert_eq!(split_host(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn a_wildcard_service_address_is_dialled_where_the_admin_answered() {
        assert_eq!(reachable("0.0.0.0:3000", "10.0.0.7"), "10.0.0.7:3000");
        assert_eq!(reachable("[::]:3000", "[::1]"), "[::1]:3000");
        assert_eq!(reachable("10.1.1.1:3000", "10.0.0.7"), "10.1.1.1:3000");
        assert_eq!(reachable("db1:3000", "10.0.0.7"), "db1:3000");
    }

    /// A node that knows one namespace.
    struct Fixed;

    #[tonic::async_trait]
    impl proto::admin_server::Admin for Fixed {
        async fn status(
            &self,
            _: tonic::Request<proto::StatusRequest>,
        ) -> Result<tonic::Response<proto::StatusResponse>, tonic::Status> {
            Ok(tonic::Response::new(crate::view::tests::sample()))
        }

        async fn nodes(
            &self,
            _: tonic::Request<proto::NodesRequest>,
        ) -> Result<tonic::Response<proto::NodesResponse>, tonic::Status> {
            let nodes = crate::view::tests::sample().nodes;
            Ok(tonic::Response::new(proto::NodesResponse { nodes }))
        }

        async fn namespaces(
            &self,
            request: tonic::Request<proto::NamespacesRequest>,
        ) -> Result<tonic::Response<proto::NamespacesResponse>, tonic::Status> {
            let name = request.into_inner().namespace;
            Err(tonic::Status::not_found(format!(
                "there is no namespace {name}"
            )))
        }

        async fn sets(
            &self,
            _: tonic::Request<proto::SetsRequest>,
        ) -> Result<tonic::Response<proto::SetsResponse>, tonic::Status> {
            Err(tonic::Status::internal("broken"))
        }

        async fn damage(
            &self,
            _: tonic::Request<proto::DamageRequest>,
        ) -> Result<tonic::Response<proto::DamageResponse>, tonic::Status> {
            Ok(tonic::Response::new(proto::DamageResponse::default()))
        }

        async fn partitions(
            &self,
            _: tonic::Request<proto::PartitionsRequest>,
        ) -> Result<tonic::Response<proto::PartitionsResponse>, tonic::Status> {
            Ok(tonic::Response::new(proto::PartitionsResponse::default()))
        }

        async fn drain(
            &self,
            request: tonic::Request<proto::DrainRequest>,
        ) -> Result<tonic::Response<proto::DrainResponse>, tonic::Status> {
            let node = request.into_inner().node;
            Err(tonic::Status::failed_precondition(format!(
                "node {node} is the last one"
            )))
        }

        async fn remove(
            &self,
            _: tonic::Request<proto::RemoveRequest>,
        ) -> Result<tonic::Response<proto::RemoveResponse>, tonic::Status> {
            Ok(tonic::Response::new(proto::RemoveResponse::default()))
        }

        async fn revive(
            &self,
            _: tonic::Request<proto::ReviveRequest>,
        ) -> Result<tonic::Response<proto::ReviveResponse>, tonic::Status> {
            Ok(tonic::Response::new(proto::ReviveResponse::default()))
        }

        async fn map(
            &self,
            _: tonic::Request<proto::MapRequest>,
        ) -> Result<tonic::Response<proto::MapResponse>, tonic::Status> {
            Ok(tonic::Response::new(proto::MapResponse::default()))
        }

        async fn heat(
            &self,
            _: tonic::Request<proto::HeatRequest>,
        ) -> Result<tonic::Response<proto::HeatResponse>, tonic::Status> {
            Ok(tonic::Response::new(proto::HeatResponse::default()))
        }

        async fn entries(
            &self,
            _: tonic::Request<proto::EntriesRequest>,
        ) -> Result<tonic::Response<proto::EntriesResponse>, tonic::Status> {
            Ok(tonic::Response::new(proto::EntriesResponse::default()))
        }
    }

    #[tokio::test]
    async fn a_node_is_asked_and_its_refusals_are_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let service = proto::admin_server::AdminServer::new(Fixed);
        let server = tonic::transport::Server::builder().add_service(service);
        let serving = tokio::spawn(server.serve_with_incoming(incoming));

        let mut admin = Admin::connect(&host).await.unwrap();
        let status = admin.status().await.unwrap();
        assert_eq!(status, crate::view::tests::sample());
        let nodes = admin.nodes().await.unwrap();
        let addresses = admin.service_addresses(&nodes);
        assert_eq!(addresses, Ok(vec!["127.0.0.1:3000".to_owned()]));
        let unknown = admin.namespaces(Some("nope".into())).await.unwrap_err();
        assert_eq!(unknown, Failure::failed("there is no namespace nope"));
        let broken = admin.sets(None).await.unwrap_err();
        assert!(broken.message().unwrap().ends_with("broken"), "{broken:?}");
        let last = admin.drain("n1", false).await.unwrap_err();
        assert_eq!(last, Failure::failed("node n1 is the last one"));
        serving.abort();
    }

    #[tokio::test]
    async fn a_host_where_nobody_listens_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        drop(listener);
        let failure = Admin::connect(&host).await.err().unwrap();
        let message = failure.message().unwrap();
        assert!(message.contains(&host), "{message}");
        assert!(message.contains("refused"), "{message}");
        assert_eq!(failure.exit_code(), 1);
    }

    #[test]
    fn only_this_machine_is_local() {
        assert!(is_local("127.0.0.1:3002"));
        assert!(is_local("[::1]:3002"));
        assert!(is_local("localhost:3002"));
        assert!(!is_local("10.0.0.1:3002"));
        assert!(!is_local("nonsense"));
    }
}
