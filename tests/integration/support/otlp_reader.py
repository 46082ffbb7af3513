"""Reads OTLP with the messages of PyPI's opentelemetry-proto and the servers of grpcio and Python, so
that what we write is read by code that is not ours. It listens on two ports of loopback that the
kernel chose, and writes lines of JSON to stdout:

  {"listening": {"grpc": port, "http": port}}    once, at the beginning
  {"request": {...}}                             each request, with how it was answered
  {"point": {...}, "request": {...}}             each data point of a request that was taken over
  {"span": {...}}                                each span of a request over gRPC
  {"done": command}                              after each command

Commands are lines of JSON on stdin. {"over": "grpc" or "http", "times": N, ...} answers the next N
requests in another way, commands one after the other; {"way": W, ...} only those whose header x-way
is W: {"status": 503, "retry_after": "1"}, {"code": "UNAVAILABLE", "retry_after": seconds},
{"rejected": N}, each with {"message": text}. Any other command does nothing but be answered. The end
of stdin is the end.
"""

import argparse
import gzip
import json
import ssl
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf import any_pb2, duration_pb2, json_format
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.metrics.v1 import metrics_pb2 as metrics

SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
TRACES = "opentelemetry.proto.collector.trace.v1.TraceService"
KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")

lock = threading.Lock()
orders = []


def say(*lines):
    """Lines, whole and at once. The caller may hold the lock."""
    sys.stdout.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))
    sys.stdout.flush()


def double(value):
    """A text that is read back as the same number, also where it is none."""
    return repr(value)


def typed(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return {"array": [typed(v) for v in value.array_value.values]}
    plain = getattr(value, kind) if kind else None
    word = kind.removesuffix("_value") if kind else "nothing"
    return {word: double(plain) if word == "double" else plain}


def attributes(pairs):
    found = {pair.key: typed(pair.value) for pair in pairs}
    if len(found) != len(pairs):
        raise ValueError(f"an attribute is there twice: {pairs}")
    return found


def buckets(side):
    return {"offset": side.offset, "counts": list(side.bucket_counts)}


def points_of(message):
    """Every data point, with all that stands around it."""
    for resource_metrics in message.resource_metrics:
        resource = attributes(resource_metrics.resource.attributes)
        for scope_metrics in resource_metrics.scope_metrics:
            scope = scope_metrics.scope
            for metric in scope_metrics.metrics:
                kind = metric.WhichOneof("data")
                if kind not in KINDS:
                    raise ValueError(f"{metric.name} has no data")
                data = getattr(metric, kind)
                about = {
                    "resource": resource,
                    "scope": [scope.name, scope.version],
                    "name": metric.name,
                    "unit": metric.unit,
                    "description": metric.description,
                    "kind": kind,
                }
                if hasattr(data, "aggregation_temporality"):
                    temporality = metrics.AggregationTemporality.Name(data.aggregation_temporality)
                    about["temporality"] = temporality.removeprefix("AGGREGATION_TEMPORALITY_").lower()
                if kind == "sum":
                    about["monotonic"] = data.is_monotonic
                for point in data.data_points:
                    yield about | of_point(kind, point)


def of_point(kind, point):
    out = {
        "attributes": attributes(point.attributes),
        "start": point.start_time_unix_nano,
        "time": point.time_unix_nano,
        "flags": point.flags,
    }
    if kind in ("gauge", "sum"):
        which = point.WhichOneof("value")
        if which:
            value = getattr(point, which)
            word = which.removeprefix("as_")
            out["value"] = {word: double(value) if word == "double" else value}
    elif kind == "summary":
        raise ValueError("nobody writes summaries any more")
    else:
        out["count"] = point.count
        if point.HasField("sum"):
            out["sum"] = double(point.sum)
        if kind == "histogram":
            out["counts"] = list(point.bucket_counts)
            out["bounds"] = [double(bound) for bound in point.explicit_bounds]
        else:
            out |= {"scale": point.scale, "zeros": point.zero_count}
            out |= {"positive": buckets(point.positive), "negative": buckets(point.negative)}
    return out


def strict(message):
    """Bytes that no field of the messages has are a mistake of the writer."""
    before = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != before:
        raise ValueError("unknown fields")
    return message


def strict_json(node):
    """What protobuf's mapping lets pass and OTLP's does not: names in other spellings, enums as text."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node if isinstance(node, list) else ()):
        if isinstance(key, str) and "_" in key or key == "aggregationTemporality" and not isinstance(value, int):
            raise ValueError(f"{key}: {value}")
        strict_json(value)


def take(over, headers, message, **about):
    """Tells of a request; returns how to answer it."""
    try:
        points = list(points_of(strict(message)))
    except ValueError as error:
        with lock:
            say({"broken": str(error)})
        raise
    with lock:
        order = next((o for o in orders if o["over"] == over and o.get("way") in (None, headers.get("x-way"))), None)
        if order:
            order["times"] -= 1
            if order["times"] <= 0:
                orders.remove(order)
        refused = bool(order) and ("status" in order or "code" in order)
        request = {
            "at": time.monotonic(),
            "transport": over,
            "headers": headers,
            "points": len(points),
            "refused": refused,
        } | about
        lines = [] if refused else [{"point": point, "request": request} for point in points]
        say({"request": request}, *lines)
    return order or {}


def response(order):
    answer = service.ExportMetricsServiceResponse()
    if "rejected" in order:
        answer.partial_success.rejected_data_points = order["rejected"]
        answer.partial_success.error_message = order.get("message", "")
    return answer


def field(number, body):
    """A field of protobuf that holds bytes, shorter than 128."""
    return bytes([number << 3 | 2, len(body)]) + body


def status_details(code, message, seconds):
    """google.rpc.Status with a RetryInfo; their classes are in a package that nothing else needs."""
    whole = int(seconds)
    wait = duration_pb2.Duration(seconds=whole, nanos=round((seconds - whole) * 1e9))
    info = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo")
    info.value = field(1, wait.SerializeToString())
    return bytes([1 << 3, code]) + field(2, message.encode()) + field(3, info.SerializeToString())


def export(message, context):
    headers = dict(context.invocation_metadata())
    order = take("grpc", headers, message, content_type="application/grpc")
    if "code" in order:
        code = grpc.StatusCode[order["code"]]
        text = order.get("message", "not now")
        if "retry_after" in order:
            details = status_details(code.value[0], text, order["retry_after"])
            context.set_trailing_metadata([("grpc-status-details-bin", details)])
        context.abort(code, text)
    return response(order)


def export_spans(message, context):
    headers = dict(context.invocation_metadata())
    lines = []
    for of_resource in message.resource_spans:
        resource = attributes(of_resource.resource.attributes)
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                lines.append({"span": {
                    "name": span.name,
                    "kind": span.kind,
                    "attributes": attributes(span.attributes),
                    "resource": resource,
                    "scope": scope.scope.name,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "status": span.status.code,
                    "message": span.status.message,
                    "authorization": headers.get("authorization"),
                }})
    with lock:
        say(*lines)
    return traces.ExportTraceServiceResponse()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        kind, encoding = headers.get("content-type"), headers.get("content-encoding")
        if self.path != "/v1/metrics":
            return self.answer(404, "text/plain", b"not here")
        zipped = encoding == "gzip"
        if zipped:
            body = gzip.decompress(body)
        message = service.ExportMetricsServiceRequest()
        try:
            if kind == "application/json":
                json_format.Parse(body, message, ignore_unknown_fields=False)
                strict_json(json.loads(body))
            elif kind == "application/x-protobuf":
                message.ParseFromString(body)
            else:
                return self.answer(415, "text/plain", b"neither protobuf nor JSON")
            order = take("http", headers, message, content_type=kind, gzip=zipped)
        except Exception as error:
            with lock:
                say({"broken": str(error)})
            return self.answer(400, "text/plain", str(error).encode())
        if "status" in order:
            self.answer(order["status"], "text/plain", order.get("message", "").encode(), order.get("retry_after"))
        elif kind == "application/json":
            self.answer(200, kind, json_format.MessageToJson(response(order)).encode())
        else:
            self.answer(200, kind, response(order).SerializeToString())

    def answer(self, status, kind, body, retry_after=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that goes away is nothing to tell."""

    def server_bind(self):
        # The original asks the resolver for the name of the machine.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--max-message", type=int, help="bytes that a gRPC message may have")
    options = parser.parse_args()

    channel = [("grpc.so_reuseport", 0)]
    if options.max_message:
        channel.append(("grpc.max_receive_message_length", options.max_message))
    rpc = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=channel)
    method = grpc.unary_unary_rpc_method_handler(
        export,
        request_deserializer=service.ExportMetricsServiceRequest.FromString,
        response_serializer=service.ExportMetricsServiceResponse.SerializeToString,
    )
    of_spans = grpc.unary_unary_rpc_method_handler(
        export_spans,
        request_deserializer=traces.ExportTraceServiceRequest.FromString,
        response_serializer=traces.ExportTraceServiceResponse.SerializeToString,
    )
    rpc.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler(SERVICE, {"Export": method}),
        grpc.method_handlers_generic_handler(TRACES, {"Export": of_spans}),
    ))
    web = Server(("127.0.0.1", 0), Handler)
    if options.cert:
        with open(options.cert, "rb") as cert, open(options.key, "rb") as key:
            credentials = grpc.ssl_server_credentials([(key.read(), cert.read())])
        port = rpc.add_secure_port("127.0.0.1:0", credentials)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
        # The handshake belongs to the thread of the connection: one that hangs stops no other.
        web.socket = context.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
    else:
        port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    threading.Thread(target=web.serve_forever, daemon=True).start()
    with lock:
        say({"listening": {"grpc": port, "http": web.server_port}})
    for line in sys.stdin:
        command = json.loads(line)
        with lock:
            if "over" in command:
                orders.append({"times": 1} | command)
            say({"done": command})
    rpc.stop(0).wait(2)


main()
