//! What backends answer: any bytes are judged, the judgement waits for a bounded time, and what is told of it is
//! short and steers no terminal.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use prost::Message as _;
use watchpost::exporter::deliver::Answer;
use watchpost::exporter::otlp::grpc::answer;
use watchpost::exporter::retry::Action;
use watchpost::net::grpc_client::mend;
use watchpost::wire::otlp;

use super::made_up::Take;

/// The longest that a backend may make us wait.
const PATIENCE: Duration = Duration::from_secs(300);

fn sound(answer: &Answer) {
    if let Action::Retry(Some(wait)) = answer.action {
        assert!(wait <= PATIENCE, "{wait:?}");
    }
    assert!(answer.why.chars().count() <= 300, "{:?}", answer.why);
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!answer.why.contains(steers), "{:?}", answer.why);
}

/// An answer over HTTP.
pub fn http(bytes: &[u8]) {
    let mut take = Take::new(bytes);
    let status = 100 + take.below(900) as u16;
    let mut response = http::Response::builder().status(status);
    let long = take.below(40);
    if let Ok(value) = HeaderValue::from_bytes(take.bytes(long)) {
        response = response.header("retry-after", value);
    }
    let body = take.bytes(usize::MAX).to_vec();
    let response = response.body(bytes::Bytes::from(body)).expect("a status of three digits");
    let answer = Answer::of_http(&response);
    sound(&answer);
    assert_eq!(answer.action == Action::Done, (200..300).contains(&status));
}

/// Answers as they are.
pub fn http_seeds() -> Vec<Vec<u8>> {
    let seed = |status: u16, after: &str, body: &str| {
        let long = u8::try_from(after.len()).expect("a short text");
        [&(status - 100).to_le_bytes()[..], &[long], after.as_bytes(), body.as_bytes()].concat()
    };
    vec![
        seed(204, "", ""),
        seed(400, "", "out of order sample\r\nfor \u{202e}series\u{1b}[31m"),
        seed(413, "", "<html>too large</html>"),
        seed(429, "7", "slow down"),
        seed(503, "18446744073709551615", ""),
        seed(503, "Wed, 21 Oct 2026 07:28:00 GMT", ""),
    ]
}

/// An answer over gRPC: its code, its message, its details, as they stand in the trailers.
pub fn grpc(bytes: &[u8]) {
    let mut take = Take::new(bytes);
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, bytes: &[u8]| {
        if let Ok(value) = HeaderValue::from_bytes(bytes) {
            headers.insert(name, value);
        }
    };
    let long = take.below(4);
    put("grpc-status", take.bytes(long));
    let long = take.below(300);
    put("grpc-message", take.bytes(long));
    let details = take.bytes(usize::MAX);
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(details);
    // As it should be, and as it came.
    for details in [encoded.as_bytes(), details] {
        if let Ok(value) = HeaderValue::from_bytes(details) {
            headers.insert("grpc-status-details-bin", value);
        }
        mend(&mut headers);
        if let Some(status) = tonic::Status::from_header_map(&headers) {
            let answer = answer(&status);
            sound(&answer);
            assert_eq!(answer.action == Action::Done, status.code() == tonic::Code::Ok);
        }
    }
}

/// Answers as they are: with RetryInfo, without, and with one that wants for ever.
pub fn grpc_seeds() -> Vec<Vec<u8>> {
    let field = |number: u8, body: &[u8]| {
        let long = u8::try_from(body.len()).expect("a short field");
        [&[number << 3 | 2, long][..], body].concat()
    };
    let details = |duration: &[u8]| {
        let info =
            [field(1, b"type.googleapis.com/google.rpc.RetryInfo"), field(2, &field(1, duration))];
        [vec![8, 14], field(2, b"not now"), field(3, &info.concat())].concat()
    };
    let seed = |code: &str, message: &str, details: &[u8]| {
        let (code, text) = (code.as_bytes(), message.as_bytes());
        let long = (text.len() as u16).to_le_bytes();
        [&[code.len() as u8][..], code, &long, text, details].concat()
    };
    vec![
        seed("0", "", &[]),
        seed("14", "not now", &details(&[8, 2, 16, 5])),
        seed("8", "grpc: received message larger than max (1 vs. 2)", &[]),
        seed("3", "out of order%0asample%E2%80%AE", &[]),
        // -1 s, -1 ns; and as many seconds as can be.
        seed("14", "", &details(&[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1])),
        seed("8", "", &details(&[8, 255, 255, 255, 255, 255, 255, 255, 255, 127])),
    ]
}

/// What an answer over OTLP says was refused; both encodings say the same.
pub fn otlp(bytes: &[u8]) {
    let _ = otlp::rejected_protobuf(bytes);
    let _ = otlp::rejected_json(bytes);
    let mut take = Take::new(bytes);
    let (count, message) = (take.number() as i64, take.text());
    let text = serde_json::json!({"partialSuccess": {
        "rejectedDataPoints": count.to_string(), "errorMessage": message.as_str(),
    }});
    let plain = serde_json::json!({"partialSuccess": {
        "rejectedDataPoints": count, "errorMessage": message.as_str(),
    }});
    let mut response = otlp::Response::default();
    let partial = response.partial_success.get_or_insert_default();
    (partial.rejected_data_points, partial.error_message) = (count, message.clone());
    let expected = Some((u64::try_from(count).unwrap_or(0), message));
    assert_eq!(otlp::rejected_protobuf(&response.encode_to_vec()), expected);
    for json in [text, plain] {
        assert_eq!(otlp::rejected_json(json.to_string().as_bytes()), expected);
    }
}

/// Answers as they are.
pub fn otlp_seeds() -> Vec<Vec<u8>> {
    let json = r#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"too old"}}"#;
    vec![
        json.into(),
        b"{}".to_vec(),
        vec![0x0a, 0x0b, 0x08, 0x03, 0x12, 0x07, b't', b'o', b'o', b' ', b'o', b'l', b'd'],
        [vec![8], vec![0xff; 8], vec![3], b"abc".to_vec()].concat(),
    ]
}
