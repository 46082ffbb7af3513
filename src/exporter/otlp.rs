//! Sends samples by OTLP: over gRPC, or over HTTP as protobuf or JSON.

pub mod grpc;
pub mod http;
pub mod settings;
