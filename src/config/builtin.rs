//! What exists without being written, in the language in which users write theirs.

/// What runs when there is no configuration. The targets are found on the machine; nothing leaves it.
pub(super) const EMBEDDED: &str = r"
receivers:
  probe/ports: {targets: []}
  probe/loopback: {targets: []}
  host_metrics:
    collection_interval: 15s
    scrapers: {cpu: , load: , memory: , paging: , disk: , filesystem: , network: , system: , pressure: , thermal: , sockets: , linux: }
processors:
  resource_detection: {detectors: [system], system: {hostname_sources: [os]}}
exporters:
  prometheus: {}
service:
  pipelines:
    metrics: {receivers: [probe/ports, probe/loopback, host_metrics], processors: [resource_detection], exporters: [prometheus]}
";

/// The modules, under blackbox_exporter's default names.
pub(super) const MODULES: &str = r#"
http_2xx: {prober: http, http: {preferred_ip_protocol: ip4}}
http_post_2xx: {prober: http, http: {method: POST}}
tcp_connect: {prober: tcp}
icmp: {prober: icmp}
icmp_ttl5: {prober: icmp, timeout: 5s, icmp: {ttl: 5}}
pop3s_banner: {prober: tcp, tcp: {query_response: [{expect: "^\\+OK"}], tls: true}}
ssh_banner: {prober: tcp, tcp: {query_response: [{expect: "^SSH-2.0-"}, {send: "SSH-2.0-watchpost-check"}]}}
irc_banner:
  prober: tcp
  tcp:
    query_response:
      - send: "NICK prober"
      - send: "USER prober prober prober :prober"
      - {expect: "PING :([^ ]+)", send: "PONG ${1}"}
      - expect: "^:[^ ]+ 001"
"#;
