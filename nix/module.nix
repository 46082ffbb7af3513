# NixOS: services.watchpost. What it refuses: secrets in the store, configurations that are wrong (it
# builds only what `watchpost check` finds good), and rights that deploy/systemd does not give either;
# nix/test.nix compares the two.
#
# NOT RUN HERE: nothing has built a system with this module yet. nix/test.nix evaluates it with a small
# stub of nixpkgs' lib; nix/vm-test.nix and nix/checks.nix wait for a machine with nixpkgs.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:

let
  inherit (lib)
    mkEnableOption
    mkIf
    mkMerge
    mkOption
    mkOverride
    optional
    optionals
    types
    ;

  cfg = config.services.watchpost;
  yaml = pkgs.formats.yaml { };
  stateDirectory = "/var/lib/watchpost";

  settings = if cfg.settings == null then { } else cfg.settings;
  jobs = settings.discovery or { };

  # Where a value is in the store, or would be copied to it when it becomes a text.
  inStore = value: builtins.isPath value || lib.hasPrefix builtins.storeDir (toString value);

  # The places of all path literals in the settings: to write them as YAML copies what they name.
  pathLiterals =
    place: value:
    if builtins.isPath value then
      [ place ]
    else if builtins.isList value then
      lib.concatMap (pathLiterals "${place}[]") value
    else if builtins.isAttrs value && !(value ? outPath) then
      lib.concatMap (name: pathLiterals "${place}.${name}" value.${name}) (builtins.attrNames value)
    else
      [ ];

  # Files that the settings name, as far as they are ours to read or write again and again.
  namedFiles =
    lib.concatMap (receiver: receiver.target_files or [ ]) (
      builtins.attrValues (settings.receivers or { })
    )
    ++ lib.concatMap (job: optional (job ? output.file) job.output.file ++ job.compose.paths or [ ]) (
      builtins.attrValues jobs
    );
  relativeFiles = builtins.filter (
    file: builtins.isString file && !(lib.hasPrefix "/" file || lib.hasPrefix "\${" file)
  ) namedFiles;

  # Below /etc, under a name that stays: a new configuration is a reload, which keeps states and
  # counters and changes nothing when it is refused, and no restart.
  fromStore = cfg.settings != null || inStore cfg.configFile;
  configPath =
    if fromStore then "/etc/watchpost/watchpost.yaml" else toString cfg.configFile;
  written =
    if cfg.settings != null then
      yaml.generate "watchpost.yaml" cfg.settings
    else
      "${cfg.configFile}";
  checked =
    pkgs.runCommand "watchpost.yaml"
      {
        nativeBuildInputs = [ cfg.package ];
        preferLocalBuild = true;
      }
      ''
        watchpost --color never check --config ${written}
        cp ${written} $out
      '';

  listen = settings.http.listen or "";
  port = builtins.match ".*:([0-9]+)" listen;

  command =
    arguments:
    "${lib.getExe cfg.package} ${utils.escapeSystemdExecArgs (arguments ++ cfg.extraArgs)}";

  # Jobs that run by themselves inside the daemon are not for a timer.
  timed = lib.filterAttrs (_: job: !(job ? interval)) jobs;
  needsNetwork = job: job ? sweep || lib.hasPrefix "tcp://" (job.docker.endpoint or "");
  sweeps = builtins.attrNames (lib.filterAttrs (_: needsNetwork) timed);
  scans = builtins.attrNames (lib.filterAttrs (_: job: !(needsNetwork job)) timed);

  # What deploy/systemd gives all three units, and takes from them.
  common = {
    User = cfg.user;
    Group = cfg.group;
    StateDirectory = "watchpost";
    StateDirectoryMode = "0755";
    UMask = "0022";
    MemoryMax = "512M";
    TasksMax = 256;
    # Memory holds secrets.
    LimitCORE = 0;
    CapabilityBoundingSet = "";
    AmbientCapabilities = "";
    NoNewPrivileges = true;
    PrivateUsers = true;
    RestrictSUIDSGID = true;
    ProtectSystem = "strict";
    PrivateTmp = true;
    PrivateMounts = true;
    PrivateDevices = true;
    DevicePolicy = "closed";
    RemoveIPC = true;
    ProtectKernelTunables = true;
    ProtectKernelModules = true;
    ProtectKernelLogs = true;
    ProtectControlGroups = true;
    ProtectHostname = true;
    ProtectProc = "invisible";
    RestrictNamespaces = true;
    RestrictRealtime = true;
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    KeyringMode = "private";
    SystemCallArchitectures = "native";
    SystemCallFilter = [
      "@system-service"
      "~@privileged @resources"
    ];
    SystemCallErrorNumber = "EPERM";
  };

  # For the daemon alone: what discovery reads is written by others, and its variables may end up in addresses.
  environment = lib.optionalAttrs (cfg.environmentFile != null) {
    EnvironmentFile = cfg.environmentFile;
  };

  # Unix sockets for systemd and docker; netlink for the kernel's neighbours.
  network = {
    RestrictAddressFamilies = "AF_INET AF_INET6 AF_NETLINK AF_UNIX";
  };

  once = {
    Type = "oneshot";
    Nice = 10;
    MemoryHigh = "256M";
    ProtectClock = true;
  };

  # Capabilities and groups of the machine are worth nothing in a user namespace.
  rawIcmp = lib.optionalAttrs cfg.rawIcmp {
    PrivateUsers = false;
    CapabilityBoundingSet = "CAP_NET_RAW";
    AmbientCapabilities = "CAP_NET_RAW";
  };
  docker = lib.optionalAttrs cfg.docker {
    PrivateUsers = false;
    SupplementaryGroups = "docker";
  };

  timer = what: onCalendar: {
    description = "Watchpost ${what}, by the clock";
    wantedBy = [ "timers.target" ];
    timerConfig = {
      OnCalendar = onCalendar;
      RandomizedDelaySec = cfg.discovery.randomizedDelaySec;
      Persistent = true;
    };
  };
in
{
  options.services.watchpost = {
    enable = mkEnableOption "Watchpost, synthetic probing and availability monitor";

    package = mkOption {
      type = types.package;
      default = pkgs.watchpost or (pkgs.callPackage ./package.nix { });
      defaultText = lib.literalExpression "pkgs.watchpost or (pkgs.callPackage ./package.nix { })";
      description = "The package to run.";
    };

    settings = mkOption {
      type = types.nullOr (
        types.submodule {
          freeformType = yaml.type;
          options.http.listen = mkOption {
            type = types.str;
            default = "127.0.0.1:9115";
            example = "[::]:9115";
            description = "Address and port of the page, the API and the metrics. `openFirewall` reads the port.";
          };
        }
      );
      default = null;
      example = lib.literalExpression ''
        {
          receivers."probe/services" = {
            interval = "15s";
            targets = [ "https://blog.example.net;blog;external" ];
            target_files = [ "''${config.services.watchpost.targetsDirectory}/services.yaml" ];
          };
          exporters.prometheus_remote_write = {
            endpoint = "https://example.org/api/v1/write";
            headers.Authorization = "Basic \''${file:\''${env:CREDENTIALS_DIRECTORY}/remote-write}";
          };
        }
      '';
      description = ''
        The configuration (docs/CONFIG.md), as `/etc/watchpost/watchpost.yaml`. It goes to the store, where
        everybody can read it: write secrets as `''${file:...}`, `''${env:...}` or with keys such as
        `password_file`, and bring them by `credentials` or `environmentFile`. A path literal (`./ca.pem`) is
        refused, because Nix would copy what it names; for a file that is no secret write `"''${./ca.pem}"`.
        Target files and outputs of discovery are absolute, best below `targetsDirectory`: only
        `/var/lib/watchpost` can be written.
      '';
    };

    configFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = lib.literalExpression "./watchpost.yaml";
      description = ''
        A configuration instead of `settings`. A path literal is copied to the store and checked there,
        so it may hold no secret. A string such as `"/etc/watchpost/own.yaml"` is read in place when the
        service starts, not copied and not checked at build; the service's user must be able to read it.
        Relative paths in it begin at its folder, which is `/etc/watchpost` if it comes from the store.
      '';
    };

    checkConfig = mkOption {
      type = types.bool;
      default = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
      defaultText = lib.literalMD "`true`, unless the program for the machine cannot run where it is built";
      description = ''
        Whether the build fails when `watchpost check` finds an error. It needs no network, no secrets and
        no rights: variables that are not set and files that are not there are warnings.
      '';
    };

    environmentFile = mkOption {
      type = types.nullOr (types.strMatching "-?/.+");
      default = null;
      example = "/run/agenix/watchpost-environment";
      description = ''
        A file of `NAME=value` lines for `''${env:NAME}`, outside the store. systemd reads it as root; with a
        `-` before the path it may be missing.
      '';
    };

    credentials = mkOption {
      type = types.attrsOf (types.strMatching "/.+");
      default = { };
      example = lib.literalExpression "{ remote-write = config.age.secrets.remote-write.path; }";
      description = ''
        Secrets by name, from files outside the store (`LoadCredential=`). systemd reads them as root when the
        daemon starts, nobody else needs a right to them, and
        `''${file:''${env:CREDENTIALS_DIRECTORY}/NAME}` or `password_file: "''${env:CREDENTIALS_DIRECTORY}/NAME"` are
        what they are. A secret that changes is seen after a restart.
      '';
    };

    user = mkOption {
      type = types.str;
      default = "watchpost";
      description = "The user that it runs as; made here when it is `watchpost`.";
    };

    group = mkOption {
      type = types.str;
      default = "watchpost";
      description = "The group that it runs as; made here when it is `watchpost`.";
    };

    targetsDirectory = mkOption {
      type = types.str;
      default = "${stateDirectory}/targets";
      readOnly = true;
      description = "A folder for target files that discovery writes. Everybody may read it.";
    };

    pingGroupRange = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether every group may send ICMP echoes through datagram sockets (`net.ipv4.ping_group_range`).
        A value of your own wins.
      '';
    };

    rawIcmp = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Raw ICMP sockets, by `CAP_NET_RAW`: they also hear routers that say "unreachable". This drops
        `PrivateUsers`.
      '';
    };

    docker = mkOption {
      type = types.bool;
      default = false;
      description = ''
        The docker socket, for discovery jobs with `docker`. Whoever may read it is as good as root. This
        drops `PrivateUsers`.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the port of `settings.http.listen` is opened.";
    };

    extraArgs = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [
        "--log-level"
        "debug"
      ];
      description = "Further arguments, of the daemon and of discovery.";
    };

    discovery = {
      enable = mkEnableOption "jobs of `settings.discovery` by timers, in services of their own";

      jobs = mkOption {
        type = types.listOf types.str;
        default = scans;
        defaultText = lib.literalMD "those of `settings.discovery` that need no network and have no `interval`";
        description = ''
          Jobs that read files or a docker socket. Their service has no network. It may write only
          `/var/lib/watchpost`; for an output elsewhere add to
          `systemd.services.watchpost-discover.serviceConfig.ReadWritePaths`.
        '';
      };

      onCalendar = mkOption {
        type = types.str;
        default = "hourly";
        description = "When `jobs` run (systemd.time).";
      };

      randomizedDelaySec = mkOption {
        type = types.str;
        default = "5min";
        description = "By how much the timers are late, at most.";
      };

      sweep = {
        jobs = mkOption {
          type = types.listOf types.str;
          default = sweeps;
          defaultText = lib.literalMD "those of `settings.discovery` that need the network and have no `interval`";
          description = "Jobs that need the network: sweeps, and `docker` at a `tcp://` address.";
        };

        onCalendar = mkOption {
          type = types.str;
          default = "hourly";
          description = "When `sweep.jobs` run (systemd.time).";
        };
      };
    };
  };

  config = mkIf cfg.enable (mkMerge [
    {
      assertions = [
        {
          assertion = (cfg.settings == null) != (cfg.configFile == null);
          message = "services.watchpost: exactly one of settings and configFile must be set.";
        }
        {
          assertion = pathLiterals "settings" settings == [ ];
          message =
            "services.watchpost: a path literal would be copied to the store, where everybody can read it; "
            + "write a string instead: ${toString (pathLiterals "settings" settings)}.";
        }
        {
          assertion = relativeFiles == [ ];
          message =
            "services.watchpost.settings: write absolute paths, best below "
            + "services.watchpost.targetsDirectory: ${toString relativeFiles}.";
        }
        {
          assertion =
            cfg.configFile == null
            || inStore cfg.configFile
            || !(lib.hasPrefix "/tmp/" cfg.configFile || lib.hasPrefix "/var/tmp/" cfg.configFile);
          message = "services.watchpost.configFile: the service has a /tmp of its own and cannot see this file.";
        }
        {
          assertion = !(builtins.any inStore (builtins.attrValues cfg.credentials));
          message = "services.watchpost.credentials: a file in the store can be read by everybody.";
        }
        {
          assertion = builtins.all (name: builtins.match "[A-Za-z0-9._-]+" name != null) (
            builtins.attrNames cfg.credentials
          );
          message = "services.watchpost.credentials: names consist of letters, digits, '.', '_' and '-'.";
        }
        {
          assertion =
            cfg.environmentFile == null || !(inStore (lib.removePrefix "-" cfg.environmentFile));
          message = "services.watchpost.environmentFile: a file in the store can be read by everybody.";
        }
        {
          assertion = cfg.openFirewall -> port != null;
          message = "services.watchpost.openFirewall: settings.http.listen has no port that could be opened.";
        }
        {
          assertion = cfg.discovery.enable -> cfg.discovery.jobs ++ cfg.discovery.sweep.jobs != [ ];
          message = "services.watchpost.discovery: there are no jobs; with configFile, name them.";
        }
      ];
      warnings =
        optional
          (
            cfg.openFirewall
            && builtins.any (start: lib.hasPrefix start listen) [
              "127."
              "localhost:"
              "[::1]:"
            ]
          )
          "services.watchpost.openFirewall: settings.http.listen is ${listen}, which nobody reaches from outside.";

      systemd.services.watchpost = {
        description = "Watchpost, synthetic probing and availability monitor";
        wantedBy = [ "multi-user.target" ];
        wants = [ "network-online.target" ];
        after = [
          "network-online.target"
          "time-sync.target"
        ];
        reloadTriggers = optional fromStore config.environment.etc."watchpost/watchpost.yaml".source;
        serviceConfig =
          common
          // network
          // {
            Type = "notify";
            NotifyAccess = "main";
            ExecStart = command [
              "run"
              "--config"
              configPath
            ];
            ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
            Restart = "always";
            RestartSec = "2s";
            WatchdogSec = "60s";
            TimeoutStopSec = "15s";
            # One connection for each attempt in flight.
            LimitNOFILE = 65536;
            MemoryHigh = "384M";
            # All may be read, so that file systems can be asked for their size.
            ProtectHome = "read-only";
            # The clock is read (its offset is a metric); to set it a capability is missing.
            SystemCallFilter = common.SystemCallFilter ++ [ "adjtimex clock_adjtime" ];
          }
          // lib.optionalAttrs (cfg.credentials != { }) {
            LoadCredential = lib.mapAttrsToList (name: path: "${name}:${path}") cfg.credentials;
          }
          // environment
          // rawIcmp
          // docker;
      };

      systemd.tmpfiles.rules = [
        "d ${stateDirectory} 0755 ${cfg.user} ${cfg.group} -"
        "d ${cfg.targetsDirectory} 0755 ${cfg.user} ${cfg.group} -"
      ];

      environment.systemPackages = [ cfg.package ];

      users.users = mkIf (cfg.user == "watchpost") {
        watchpost = {
          isSystemUser = true;
          inherit (cfg) group;
          description = "Watchpost";
          home = stateDirectory;
        };
      };
      users.groups = mkIf (cfg.group == "watchpost") { watchpost = { }; };

      networking.firewall.allowedTCPPorts = optionals (cfg.openFirewall && port != null) (
        map lib.toInt port
      );
    }

    (mkIf fromStore {
      environment.etc."watchpost/watchpost.yaml".source = if cfg.checkConfig then checked else written;
    })

    (mkIf cfg.pingGroupRange {
      # NixOS has the same default already. Of two definitions of one rank a sysctl takes neither, so this
      # one stands just before the defaults, and behind whatever a user writes.
      boot.kernel.sysctl."net.ipv4.ping_group_range" = mkOverride 990 "0 2147483647";
    })

    (mkIf (cfg.discovery.enable && cfg.discovery.jobs != [ ]) {
      systemd.services.watchpost-discover = {
        description = "Watchpost discovery of services";
        serviceConfig =
          common
          // once
          // {
            ExecStart = command (
              [
                "discover"
                "--config"
                configPath
              ]
              ++ cfg.discovery.jobs
            );
            TimeoutStartSec = "5min";
            PrivateNetwork = true;
            IPAddressDeny = "any";
            RestrictAddressFamilies = "AF_UNIX";
            ProtectHome = "read-only";
            ProcSubset = "pid";
          }
          // docker;
      };
      systemd.timers.watchpost-discover = timer "discovery of services" cfg.discovery.onCalendar;
    })

    (mkIf (cfg.discovery.enable && cfg.discovery.sweep.jobs != [ ]) {
      systemd.services.watchpost-sweep = {
        description = "Watchpost sweep of the network";
        wants = [ "network-online.target" ];
        after = [ "network-online.target" ];
        serviceConfig =
          common
          // network
          // once
          // {
            ExecStart = command (
              [
                "discover"
                "--config"
                configPath
              ]
              ++ cfg.discovery.sweep.jobs
            );
            TimeoutStartSec = "10min";
            ProtectHome = true;
          }
          // rawIcmp;
      };
      systemd.timers.watchpost-sweep = timer "sweep of the network" cfg.discovery.sweep.onCalendar;
    })
  ]);
}
