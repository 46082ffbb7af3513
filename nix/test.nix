# The module, evaluated with the stub of lib: what holds, by name, and the configurations that
# `watchpost check` must find good. tests/integration/nix.rs runs it:
#   nix-instantiate --eval --strict --json nix/test.nix
let
  stub = import ./stub.nix;
  inherit (stub) lib;

  machine =
    watchpost:
    stub.machine [
      ./module.nix
      { services.watchpost = { enable = true; } // watchpost; }
    ];
  lab =
    name: checkConfig:
    stub.machine [
      ./module.nix
      ./examples/raspberry-pi-lab/watchpost.nix
      {
        networking.hostName = name;
        services.watchpost = { inherit checkConfig; };
        # As agenix and ragenix have it.
        age.secrets = {
          watchpost-environment.path = "/run/agenix/watchpost-environment";
          watchpost-api-key.path = "/run/agenix/watchpost-api-key";
        };
      }
    ];

  # What comes to pass.
  refused = config: map (a: a.message) (builtins.filter (a: !a.assertion) config.assertions);
  refuses =
    watchpost: word:
    let
      messages = refused (machine watchpost);
    in
    builtins.length messages == 1
    && builtins.match ".*${word}.*" (builtins.head messages) != null;
  throws = value: !(builtins.tryEval (builtins.deepSeq value null)).success;
  etc = config: config.environment.etc."watchpost/watchpost.yaml".source;
  # The file, as it would be written: without the check it is the source itself.
  text = watchpost: (etc (machine (watchpost // { checkConfig = false; }))).text;
  unit = config: name: config.systemd.services.${name}.serviceConfig;
  daemon = config: unit config "watchpost";
  contains = part: whole: builtins.length (builtins.split part whole) > 1;

  # Units of deploy/systemd, as sets of lists of texts.
  lines = file: builtins.filter builtins.isString (builtins.split "\n" (builtins.readFile file));
  entries =
    file:
    builtins.zipAttrsWith (_: values: values) (
      lib.concatMap (
        line:
        let
          pair = builtins.match "([A-Za-z]+)=(.*)" line;
        in
        lib.optional (pair != null) { ${builtins.head pair} = builtins.elemAt pair 1; }
      ) (lines file)
    );
  word =
    value:
    if value == true then
      "yes"
    else if value == false then
      "no"
    else
      toString value;
  asUnit = builtins.mapAttrs (
    _: value: if builtins.isList value then map word value else [ (word value) ]
  );
  # Where programs and files are, and what people read, is not the same on NixOS.
  ownWords = [
    "ExecStart"
    "ExecReload"
    "EnvironmentFile"
    "Description"
    "Documentation"
    "WantedBy"
    "Wants"
    "After"
  ];
  # The keys by which two units differ, with what both say.
  difference =
    ours: file: more:
    let
      a = removeAttrs (asUnit ours) ownWords;
      b = removeAttrs (entries file // more) ownWords;
    in
    lib.filterAttrs (_: pair: builtins.elemAt pair 0 != builtins.elemAt pair 1) (
      builtins.mapAttrs (name: _: [
        (a.${name} or null)
        (b.${name} or null)
      ]) (a // b)
    );
  # What a timer file says, and what a unit waits for.
  timerDifference =
    name:
    difference fullTimers.${name}.timerConfig (deploy + "/${name}.timer") { };
  waitsAs =
    config: name:
    let
      ours = config.systemd.services.${name};
      theirs = entries (deploy + "/${name}.service");
    in
    builtins.all (key: [ (toString (ours.${lowered.${key}} or [ ])) ] == theirs.${key} or [ "" ]) (
      builtins.attrNames lowered
    );
  lowered = {
    Wants = "wants";
    After = "after";
    Description = "description";
  };
  dropIn = name: entries (deploy + "/watchpost.service.d/${name}.conf.example");
  deploy = ../deploy/systemd;

  # Cases.
  small = {
    receivers.probe.targets = [ "192.0.2.1" ];
    exporters.prometheus = { };
  };
  plain = machine { settings = small; };
  full = {
    settings = small // {
      http.listen = "0.0.0.0:9200";
      receivers.probe = {
        targets = [ "192.0.2.1" ];
        target_files = [ "/var/lib/watchpost/targets/services.yaml" ];
      };
      receivers.host_metrics.scrapers.cpu = null;
      exporters.prometheus_remote_write = {
        endpoint = "https://example.org/api/v1/write";
        external_labels.instance = "here";
        headers.Authorization = "Basic \${file:\${env:CREDENTIALS_DIRECTORY}/remote-write}";
        headers.X-Scope-OrgID = "\${env:TENANT}";
      };
      discovery = {
        services = {
          compose.paths = [ "/srv" ];
          compose.domain = "example.net";
          output.file = "/var/lib/watchpost/targets/services.yaml";
          output.format = "file_sd";
        };
        lan = {
          sweep.subnets = [ "192.168.2.0/24" ];
          output.file = "/var/lib/watchpost/targets/lan.yaml";
          output.format = "file_sd";
        };
        by-itself = {
          sweep.subnets = [ "192.168.3.0/24" ];
          output.file = "/var/lib/watchpost/targets/itself.yaml";
          output.format = "file_sd";
          interval = "1h";
        };
        remote = {
          docker.endpoint = "tcp://192.0.2.2:2375";
          output.file = "/var/lib/watchpost/targets/docker.yaml";
          output.format = "file_sd";
        };
      };
    };
    environmentFile = "/run/agenix/watchpost-environment";
    credentials.remote-write = "/run/agenix/remote-write";
    openFirewall = true;
    discovery = {
      enable = true;
      onCalendar = "daily";
    };
    extraArgs = [
      "--set"
      "exporters.debug.verbosity=100%$x"
    ];
  };
  fullMachine = machine full;
  fullTimers = (machine (full // { discovery.enable = true; })).systemd.timers;
  raw = machine {
    settings = small;
    rawIcmp = true;
    pingGroupRange = false;
  };
  withDocker = machine (
    full
    // {
      docker = true;
    }
  );
  own = machine { configFile = "/etc/watchpost/own.yaml"; };
  copied = machine { configFile = ../discovery/examples/watchpost.yaml; };
  pi = lab "rpi4-01" true;
  another = lab "rpi4-02" true;
  # The watching machine of vm-test.nix.
  vm = import ./vm-test.nix;
  nodes.web.networking.primaryIPAddress = "192.168.1.1";
  watcher =
    checkConfig:
    stub.machine [
      ./module.nix
      (given: vm.nodes.watcher (given // { inherit nodes; }))
      { services.watchpost = { inherit checkConfig; }; }
    ];

  # The flake's outputs and the package, as far as they are not nixpkgs' own.
  flake = (import ../flake.nix).outputs {
    self = flake;
    nixpkgs = {
      lib.genAttrs =
        names: f:
        builtins.listToAttrs (
          map (name: {
            inherit name;
            value = f name;
          }) names
        );
      legacyPackages = builtins.listToAttrs (
        map (name: {
          inherit name;
          value.callPackage = file: _: import file packageArguments;
        }) systems
      );
    };
  };
  systems = [
    "aarch64-linux"
    "x86_64-linux"
  ];
  packageArguments = {
    rustPlatform.buildRustPackage = package: package;
    lib = {
      importTOML = file: builtins.fromTOML (builtins.readFile file);
      licenses.mit = "mit";
      licenses.asl20 = "asl20";
      platforms.linux = systems;
      fileset = {
        toSource = source: source.fileset;
        difference = all: without: { inherit all without; };
        unions = files: files;
        maybeMissing = _: ../.;
      };
    };
  };
  package = flake.packages.x86_64-linux.default;

  configurations = {
    vm = (etc (watcher false)).text;
    small = text { settings = small; };
    full = text full;
  }
  // builtins.listToAttrs (
    map (name: {
      inherit name;
      value = (etc (lab name false)).text;
    }) [ "rpi4-01" "rpi4-02" "rpi4-03" "rpi4-04" ]
  );

  checks = {
    "the daemon starts with the checked file" =
      (daemon plain).ExecStart
      == ''/nix/store/stub-watchpost/bin/watchpost "run" "--config" "/etc/watchpost/watchpost.yaml"'';
    "the file is checked at build" =
      contains "watchpost --color never check --config /nix/store/stub-watchpost.yaml" (etc plain).script
      && (etc plain).environment.nativeBuildInputs == [ stub.pkgs.watchpost ];
    "the check can be left out" =
      text { settings = small; }
      == ''{"exporters":{"prometheus":{}},"http":{"listen":"127.0.0.1:9115"},"receivers":{"probe":{"targets":["192.0.2.1"]}}}'';
    "a new configuration is a reload" =
      plain.systemd.services.watchpost.reloadTriggers == [ (etc plain) ]
      && contains "/bin/kill -HUP" (daemon plain).ExecReload;
    "it starts with the machine" =
      plain.systemd.services.watchpost.wantedBy == [ "multi-user.target" ];
    "arguments are quoted for systemd" =
      contains ''"--set" "exporters.debug.verbosity=100%%\$\$x"$'' (daemon fullMachine).ExecStart;
    "without enable nothing is made" =
      (machine { enable = false; }).systemd.services == { };

    "nothing is refused without reason" =
      builtins.all (config: refused config == [ ] && config.warnings == [ ]) [
        plain
        fullMachine
        raw
        withDocker
        own
        copied
        pi
        another
        (watcher true)
      ];
    "neither settings nor configFile is refused" = refuses { } "exactly one";
    "settings and configFile are refused" = refuses {
      settings = small;
      configFile = "/etc/watchpost/own.yaml";
    } "exactly one";
    "an empty configuration is one" = refused (machine { settings = { }; }) == [ ];
    "a file in /tmp is refused" = refuses { configFile = "/tmp/w.yaml"; } "/tmp of its own";
    "a discovery without jobs is refused" = refuses {
      settings = small;
      discovery.enable = true;
    } "no jobs";
    "an unknown option is refused" = throws (daemon (machine { setings = small; }));
    "a wrong type is refused" = throws (machine { settings.http.listen = 9115; }).services.watchpost.settings;

    "the flake has what it promises" =
      builtins.attrNames flake.packages == systems
      && builtins.attrNames flake.devShells == systems
      && builtins.attrNames flake.checks == systems
      && flake.nixosModules.default == ./module.nix
      && flake.overlays ? default;
    "the package is this one" =
      builtins.match "[0-9]+[.][0-9]+[.][0-9]+" package.version != null
      && package.meta.mainProgram == "watchpost"
      && builtins.pathExists package.cargoLock.lockFile
      && package.src.all == ../.
      && builtins.all builtins.pathExists package.src.without;

    # Secrets.
    "a path literal in settings is refused, by its place" = refuses {
      settings = small // {
        extensions.basicauth.client_auth.password_file = ./test.nix;
      };
    } "settings.extensions.basicauth.client_auth.password_file";
    "a path literal in a list is refused" = refuses {
      settings.receivers.probe.target_files = [ ./test.nix ];
    } "receivers.probe.target_files";
    "a credential that is a path literal is refused" = throws (
      daemon (machine {
        settings = small;
        credentials.a = ./test.nix;
      })
    );
    "a credential in the store is refused" = refuses {
      settings = small;
      credentials.a = "${builtins.storeDir}/00000000000000000000000000000000-a";
    } "credentials: a file in the store";
    "a credential's name that systemd cannot take is refused" = refuses {
      settings = small;
      credentials."a:b" = "/run/a";
    } "names";
    "an environment file that is a path literal is refused" = throws (
      daemon (machine {
        settings = small;
        environmentFile = ./test.nix;
      })
    );
    "an environment file in the store is refused" = refuses {
      settings = small;
      environmentFile = "-${builtins.storeDir}/00000000000000000000000000000000-a";
    } "environmentFile: a file in the store";
    "secrets come as credentials and environment" =
      (daemon fullMachine).LoadCredential == [ "remote-write:/run/agenix/remote-write" ]
      && (daemon fullMachine).EnvironmentFile == "/run/agenix/watchpost-environment"
      && (daemon pi).LoadCredential == [ "api-key:/run/agenix/watchpost-api-key" ]
      && (daemon pi).EnvironmentFile == "/run/agenix/watchpost-environment";
    "the file has references alone" =
      builtins.all (file: !(contains "agenix" file)) (builtins.attrValues configurations)
      && contains ''"Basic \$\{file:\$\{env:CREDENTIALS_DIRECTORY}/remote-write}"'' configurations.full
      && contains ''"password_file":"\$\{env:CREDENTIALS_DIRECTORY}/api-key"'' configurations.rpi4-01;
    "discovery gets no credentials and no environment" =
      builtins.all (
        name: !((unit fullMachine name) ? LoadCredential) && !((unit fullMachine name) ? EnvironmentFile)
      ) [
        "watchpost-discover"
        "watchpost-sweep"
      ];

    # Files.
    "a relative target file is refused" = refuses {
      settings.receivers.probe.target_files = [ "targets/a.yaml" ];
    } "absolute paths.*targets/a.yaml";
    "a relative output is refused" = refuses {
      settings.discovery.a.output.file = "targets/a.yaml";
    } "absolute paths.*targets/a.yaml";
    "the folder of target files is made" =
      builtins.elem "d /var/lib/watchpost/targets 0755 watchpost watchpost -" plain.systemd.tmpfiles.rules
      && pi.services.watchpost.targetsDirectory == "/var/lib/watchpost/targets";
    "a file outside the store is read in place" =
      contains ''"/etc/watchpost/own.yaml"'' (daemon own).ExecStart
      && own.environment.etc == { }
      && own.systemd.services.watchpost.reloadTriggers == [ ];
    "a file of the repository is checked" =
      contains "check --config .*watchpost.yaml" (etc copied).script
      && contains ''"/etc/watchpost/watchpost.yaml"'' (daemon copied).ExecStart;

    # Rights.
    "datagram ICMP is allowed, and a user's own range wins" =
      plain.boot.kernel.sysctl."net.ipv4.ping_group_range" == "0 2147483647"
      && (stub.machine [
        ./module.nix
        { services.watchpost.enable = true; }
        { boot.kernel.sysctl."net.ipv4.ping_group_range" = lib.mkDefault "0 1"; }
      ]).boot.kernel.sysctl."net.ipv4.ping_group_range" == "0 2147483647"
      && (stub.machine [
        ./module.nix
        { services.watchpost.enable = true; }
        { boot.kernel.sysctl."net.ipv4.ping_group_range" = "5 5"; }
      ]).boot.kernel.sysctl."net.ipv4.ping_group_range" == "5 5"
      && raw.boot.kernel.sysctl == { };
    "the firewall is closed unless it is opened" =
      plain.networking.firewall.allowedTCPPorts == [ ]
      && fullMachine.networking.firewall.allowedTCPPorts == [ 9200 ]
      && pi.networking.firewall.allowedTCPPorts == [ 9115 ];
    "a port on loopback is not opened silently" =
      builtins.length (machine {
        settings = small;
        openFirewall = true;
      }).warnings == 1;
    "a port that is not known is not opened" = refuses {
      settings.http.listen = "0.0.0.0:\${env:PORT}";
      openFirewall = true;
    } "no port";
    "user and group are made, or are somebody's own" =
      plain.users.users.watchpost.isSystemUser
      && plain.users.groups ? watchpost
      && (machine {
        settings = small;
        user = "me";
        group = "us";
      }).users == { users = { }; groups = { }; };

    # Discovery.
    "files by one unit, the network by another, neither what the daemon does" =
      fullMachine.services.watchpost.discovery.jobs == [ "services" ]
      && fullMachine.services.watchpost.discovery.sweep.jobs == [ "lan" "remote" ]
      && contains ''"discover" "--config" "/etc/watchpost/watchpost.yaml" "services" "--set"'' (unit fullMachine "watchpost-discover").ExecStart
      && contains ''"lan" "remote" "--set"'' (unit fullMachine "watchpost-sweep").ExecStart;
    "timers exist and start with the machine" =
      builtins.attrNames fullMachine.systemd.timers == [ "watchpost-discover" "watchpost-sweep" ]
      && builtins.all (timer: timer.wantedBy == [ "timers.target" ]) (
        builtins.attrValues fullMachine.systemd.timers
      )
      && fullMachine.systemd.timers.watchpost-discover.timerConfig.OnCalendar == "daily"
      && fullMachine.systemd.timers.watchpost-sweep.timerConfig.OnCalendar == "hourly";
    "units wait for what those of deploy/systemd wait for" =
      builtins.all (waitsAs fullMachine) (builtins.attrNames fullMachine.systemd.services);
    "no discovery, no timers" =
      plain.systemd.timers == { } && builtins.attrNames plain.systemd.services == [ "watchpost" ];
    "one Pi sweeps" =
      builtins.attrNames pi.systemd.timers == [ "watchpost-sweep" ]
      && another.systemd.timers == { };
  };

  # What differs from deploy/systemd; all must be empty.
  differences = {
    daemon = difference (daemon plain) (deploy + "/watchpost.service") { };
    discover = difference (unit fullMachine "watchpost-discover") (
      deploy + "/watchpost-discover.service"
    ) { };
    sweep = difference (unit fullMachine "watchpost-sweep") (deploy + "/watchpost-sweep.service") { };
    discover-timer = timerDifference "watchpost-discover";
    sweep-timer = timerDifference "watchpost-sweep";
    raw = difference (daemon raw) (deploy + "/watchpost.service") (dropIn "raw-icmp");
    docker = difference (daemon (machine { settings = small; docker = true; })) (
      deploy + "/watchpost.service"
    ) (dropIn "docker");
  };
in
{
  inherit configurations differences;
  failed = builtins.filter (name: !checks.${name}) (builtins.attrNames checks);
  count = builtins.length (builtins.attrNames checks);
}
