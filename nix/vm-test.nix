# Two virtual machines: one watches, by HTTP with a password and by ICMP, and finds the other one by a sweep; then
# it starts anew. `nix build .#checks.x86_64-linux.vm`, or `pkgs.testers.runNixOSTest ./vm-test.nix`.
#
# NOT RUN HERE: it needs nixpkgs and KVM. It was parsed; that the program answers as this expects was tried
# without the machines.
{
  name = "watchpost";

  nodes = {
    web =
      { pkgs, ... }:
      {
        networking.firewall.allowedTCPPorts = [ 80 ];
        services.nginx = {
          enable = true;
          virtualHosts.default = {
            default = true;
            basicAuth.probe = "sesame";
            root = pkgs.writeTextDir "index.html" "welcome";
          };
        };
      };

    watcher =
      { config, nodes, ... }:
      let
        web = nodes.web.networking.primaryIPAddress;
        found = "${config.services.watchpost.targetsDirectory}/lan.yaml";
      in
      {
        imports = [ ./module.nix ];

        # On a real machine agenix or ragenix does this. Only root may read it.
        systemd.tmpfiles.rules = [ "f /run/secret-of-web 0400 root root - sesame" ];

        services.watchpost = {
          enable = true;
          credentials.web = "/run/secret-of-web";
          discovery.enable = true;
          settings = {
            vantage = "watcher";
            modules.secret = {
              prober = "http";
              http = {
                preferred_ip_protocol = "ip4";
                basic_auth = {
                  username = "probe";
                  password_file = "\${env:CREDENTIALS_DIRECTORY}/web";
                };
              };
            };
            receivers = {
              "probe/web" = {
                interval = "2s";
                module = "secret";
                targets = [ "http://${web}/;web;lan" ];
              };
              "probe/ping" = {
                interval = "2s";
                targets = [ "${web};web;lan" ];
              };
              "probe/lan" = {
                interval = "5s";
                module = "icmp";
                target_files = [ found ];
              };
            };
            exporters.prometheus = { };
            discovery.lan = {
              sweep.subnets = [ "${web}/32" ];
              output = {
                file = found;
                format = "file_sd";
              };
            };
          };
        };
      };
  };

  testScript =
    { nodes, ... }:
    let
      web = nodes.web.networking.primaryIPAddress;
    in
    ''
      def value(job, number):
          watcher.wait_until_succeeds(
              "curl --fail --silent http://127.0.0.1:9115/metrics/prometheus"
              f" | grep '^probe_success{{.*job=\"{job}\".*}} {number}'",
              timeout=60,
          )

      start_all()
      web.wait_for_unit("nginx.service")
      watcher.wait_for_unit("watchpost.service")

      with subtest("probes, with a password that only root may read, and ICMP without rights"):
          value("web", 1)
          value("ping", 1)
          watcher.fail("grep --quiet sesame /etc/watchpost/watchpost.yaml")
          watcher.succeed("curl --fail --silent http://127.0.0.1:9115/-/ready")

      with subtest("a service that is gone is down, the machine is not"):
          web.succeed("systemctl stop nginx.service")
          value("web", 0)
          value("ping", 1)
          web.succeed("systemctl start nginx.service")
          value("web", 1)

      with subtest("a reload is no restart"):
          before = watcher.succeed("systemctl show --property MainPID watchpost.service")
          watcher.succeed("systemctl reload watchpost.service")
          assert before == watcher.succeed("systemctl show --property MainPID watchpost.service")
          value("web", 1)

      with subtest("a sweep finds the other machine, and the daemon takes it over"):
          watcher.succeed("systemctl is-active watchpost-sweep.timer")
          watcher.succeed("systemctl start watchpost-sweep.service")
          watcher.succeed("grep --quiet '${web}' /var/lib/watchpost/targets/lan.yaml")
          value("lan", 1)

      with subtest("everything is there again after a reboot"):
          watcher.shutdown()
          watcher.start()
          watcher.wait_for_unit("watchpost.service")
          for job in ["web", "ping", "lan"]:
              value(job, 1)

      watcher.log(watcher.succeed("systemd-analyze security --no-pager watchpost.service | tail -1"))
    '';
}
