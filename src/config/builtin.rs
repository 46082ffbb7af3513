//! The modules that exist without being declared, under blackbox_exporter's default names.

/// Their text, in the language in which users write theirs.
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
