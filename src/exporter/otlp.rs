//! Sends samples by OTLP: over gRPC, or over HTTP as protobuf or JSON.

mod grpc;
mod http;
pub mod settings;

pub use grpc::OtlpGrpc;
pub use http::OtlpHttp;
