//! OTLP in: by HTTP (protobuf and JSON) and by gRPC. A request is answered when its spans are in the store: there is
//! no queue that could be lost, and a sender that is too fast is told to come again.

mod body;
mod door;
mod grpc;
mod http;
mod ingest;
mod message;

pub(crate) use door::Door;
pub(crate) use grpc::answer as answer_grpc;
pub(crate) use http::router as http_router;
pub(crate) use ingest::Ingest;
