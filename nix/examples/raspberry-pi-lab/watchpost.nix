# Four Raspberry Pis that watch each other, their network and themselves. One module for all of them; what
# differs is `networking.hostName`. nix/test.nix evaluates it for each, and tests/integration/nix.rs
# has `watchpost check` read what comes out.
#
# NOT RUN HERE: no Raspberry Pi has run this.
{ config, lib, ... }:

let
  pis = {
    rpi4-01 = "192.168.10.150";
    rpi4-02 = "192.168.10.151";
    rpi4-03 = "192.168.10.152";
    rpi4-04 = "192.168.10.153";
  };
  name = config.networking.hostName;
  others = lib.filterAttrs (pi: _: pi != name) pis;
  rows = suffix: lib.mapAttrsToList (pi: address: "${address}${suffix};${pi};lan") others;

  # One of them is enough to sweep and to watch the whole network.
  first = name == "rpi4-01";
  lan = "${config.services.watchpost.targetsDirectory}/lan.yaml";
in
{
  # Encrypted in the repository, decrypted when the machine starts, by agenix or ragenix. Both may stay
  # root's own (0400), because systemd reads them.
  age.secrets = {
    watchpost-environment.file = ./secrets/watchpost-environment.age; # GC_OTLP_ENDPOINT=, GC_INSTANCE_ID=
    watchpost-api-key.file = ./secrets/watchpost-api-key.age;
  };

  services.watchpost = {
    enable = true;
    environmentFile = config.age.secrets.watchpost-environment.path;
    credentials.api-key = config.age.secrets.watchpost-api-key.path;
    openFirewall = true;
    discovery.enable = first;

    settings = lib.mkMerge [
      {
        vantage = name;
        http.listen = "[::]:9115";
        receivers = {
          "probe/pis" = {
            interval = "15s";
            module = "icmp";
            targets = rows "";
          };
          "probe/ssh" = {
            interval = "30s";
            module = "ssh_banner";
            targets = rows ":22";
          };
          host_metrics = {
            collection_interval = "15s";
            scrapers = {
              cpu.metrics."system.cpu.utilization".enabled = true;
              memory = { };
              load = { };
              disk = { };
              filesystem.metrics."system.filesystem.utilization".enabled = true;
              network.include = {
                interfaces = [ "end0" ];
                match_type = "strict";
              };
              sockets = { };
              system = { };
              pressure = { };
              thermal.metrics."system.cpu.temperature".enabled = true;
              linux = { };
            };
          };
        };
        processors = {
          memory_limiter = {
            check_interval = "10s";
            limit_mib = 200;
          };
          resource_detection.detectors = [ "system" ];
          batch.timeout = "3s";
        };
        extensions.basicauth.client_auth = {
          username = "\${env:GC_INSTANCE_ID}";
          password_file = "\${env:CREDENTIALS_DIRECTORY}/api-key";
        };
        exporters.otlp_http = {
          endpoint = "\${env:GC_OTLP_ENDPOINT}";
          auth.authenticator = "basicauth";
        };
        service.extensions = [ "basicauth" ];
      }

      (lib.mkIf first {
        receivers."probe/lan" = {
          interval = "60s";
          module = "icmp";
          targets = [ "192.168.10.0/24" ];
          target_files = [ lan ]; # names, by address
          labels.routing = "lan";
        };
        discovery.lan = {
          sweep.subnets = [ "192.168.10.0/24" ];
          output = {
            file = lan;
            format = "file_sd";
          };
        };
      })
    ];
  };
}
