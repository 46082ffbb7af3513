# As much of nixpkgs' lib, its module system and NixOS as nix/module.nix needs to be evaluated without
# nixpkgs, for nix/test.nix alone. Types are checked, options that nobody declared are errors, definitions
# are merged by rank; it is not the real thing where documentation, derivations or deeper rules begin.
rec {
  lib = rec {
    # Values with properties.
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority: content: {
      _type = "override";
      inherit priority content;
    };
    mkDefault = mkOverride 1000;

    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      what:
      mkOption {
        type = types.bool;
        default = false;
        description = "Whether to enable ${what}.";
      };
    literalExpression = text: { inherit text; };
    literalMD = literalExpression;

    # Texts, lists, sets.
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: values: if condition then values else [ ];
    optionalAttrs = condition: value: if condition then value else { };
    concatMap = builtins.concatMap;
    concatMapStringsSep =
      separator: f: list:
      builtins.concatStringsSep separator (map f list);
    mapAttrsToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);
    filterAttrs =
      keep: set:
      builtins.listToAttrs (
        concatMap (
          name:
          optional (keep name set.${name}) {
            inherit name;
            value = set.${name};
          }
        ) (builtins.attrNames set)
      );
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    removePrefix =
      prefix: text:
      if hasPrefix prefix text then builtins.substring (builtins.stringLength prefix) (-1) text else text;
    toInt = builtins.fromJSON;
    getExe = package: "${package}/bin/${package.meta.mainProgram}";

    types = rec {
      # `merge` gets the definitions that are left, all of one rank.
      simple = name: check: {
        inherit name check;
        merge =
          place: values:
          let
            first = builtins.head values;
          in
          if builtins.all (value: value == first) values then
            first
          else
            throw "${place}: several values";
      };
      bool = simple "boolean" builtins.isBool;
      str = simple "text" builtins.isString;
      path = simple "path" (
        value:
        (builtins.isPath value || builtins.isString value || value ? outPath)
        && hasPrefix "/" (toString value)
      );
      package = simple "package" (value: value ? outPath);
      strMatching =
        pattern:
        simple "text that matches ${pattern}" (
          value: builtins.isString value && builtins.match pattern value != null
        );
      nullOr = inner: {
        name = "null or ${inner.name}";
        check = value: value == null || inner.check value;
        merge =
          place: values:
          if builtins.all (value: value == null) values then null else inner.merge place values;
      };
      listOf = inner: {
        name = "list of ${inner.name}";
        check = builtins.isList;
        merge = place: values: map (value: mergeDefinitions place inner [ value ]) (concatMap (v: v) values);
      };
      attrsOf = inner: {
        name = "set of ${inner.name}";
        check = value: builtins.isAttrs value && !(value ? outPath);
        merge =
          place: values:
          builtins.mapAttrs (name: mergeDefinitions "${place}.${name}" inner) (
            filterAttrs (_: definitions: concatMap discharge definitions != [ ]) (
              builtins.zipAttrsWith (_: v: v) values
            )
          );
      };
      # What nixpkgs' formats.yaml takes; also the rest of NixOS here.
      anything = {
        name = "value";
        check = _: true;
        merge =
          place: values:
          let
            first = builtins.head values;
          in
          if (attrsOf anything).check first then
            (attrsOf anything).merge place values
          else if builtins.isList first then
            (listOf anything).merge place values
          else
            (simple "value" (_: true)).merge place values;
      };
      submodule = module: {
        name = "submodule";
        check = builtins.isAttrs;
        merge =
          place: values: evaluate place (module.options or { }) (module.freeformType or null) values;
      };
    };

    # Definitions without their conditions: a list of {priority, value}.
    discharge =
      definition:
      let
        type = if builtins.isAttrs definition then definition._type or "" else "";
      in
      if type == "if" then
        optionals definition.condition (discharge definition.content)
      else if type == "merge" then
        concatMap discharge definition.contents
      else if type == "override" then
        [
          {
            inherit (definition) priority;
            value = definition.content;
          }
        ]
      else
        [
          {
            priority = 100;
            value = definition;
          }
        ];

    # Sets without properties around them: their names are known before any condition is.
    pushDown =
      definition:
      let
        type = definition._type or "";
      in
      if type == "if" then
        map (builtins.mapAttrs (_: mkIf definition.condition)) (pushDown definition.content)
      else if type == "merge" then
        concatMap pushDown definition.contents
      else if type == "override" then
        map (builtins.mapAttrs (_: mkOverride definition.priority)) (pushDown definition.content)
      else
        [ definition ];

    mergeDefinitions =
      place: type: definitions:
      let
        all = concatMap discharge definitions;
        best = builtins.foldl' (a: b: if b < a then b else a) 10000 (
          map (d: d.priority) all
        );
        values = map (d: d.value) (builtins.filter (d: d.priority == best) all);
        wrong = builtins.filter (value: !(type.check value)) values;
      in
      if wrong != [ ] then throw "${place}: is not of the type ${type.name}" else type.merge place values;

    # Options and what modules say about them become values.
    evaluate =
      place: options: freeform: definitions:
      let
        given = builtins.zipAttrsWith (_: v: v) (concatMap pushDown definitions);
        one =
          name: option:
          let
            here = "${place}.${name}";
            defined = given.${name} or [ ];
            present = concatMap discharge defined != [ ];
            value =
              if present then
                mergeDefinitions here option.type (defined ++ optional (option ? default) (mkOverride 1500 option.default))
              else if option ? default then
                mergeDefinitions here option.type [ option.default ]
              else
                throw "${here}: has no value";
          in
          if (option._type or "") != "option" then
            evaluate here option freeform defined
          else if option.readOnly or false && present then
            throw "${here}: is read-only"
          else
            value;
        free = removeAttrs given (builtins.attrNames options);
        others = builtins.mapAttrs (
          name: definitions:
          if freeform == null then
            throw "${place}.${name}: there is no such option"
          else
            mergeDefinitions "${place}.${name}" freeform definitions
        ) free;
      in
      # Sets are strict in what they hold where no option takes it.
      builtins.deepSeq (if freeform == null then others else null) (builtins.mapAttrs one options // others);
  };

  utils.escapeSystemdExecArgs = lib.concatMapStringsSep " " (
    argument: builtins.replaceStrings [ "%" "$" ] [ "%%" "$$" ] (builtins.toJSON argument)
  );

  # Derivations are records here: what would be built, and a path that is told from all others.
  pkgs = {
    stdenv = {
      hostPlatform.system = "aarch64-linux";
      buildPlatform.canExecute = _: true;
    };
    coreutils.outPath = "/nix/store/stub-coreutils";
    watchpost = {
      outPath = "/nix/store/stub-watchpost";
      meta.mainProgram = "watchpost";
    };
    # JSON is YAML.
    formats.yaml = _: {
      type = lib.types.anything;
      generate = name: value: {
        outPath = "/nix/store/stub-${name}";
        text = builtins.toJSON value;
      };
    };
    runCommand = name: environment: script: {
      outPath = "/nix/store/stub-checked-${name}";
      inherit environment script;
    };
  };

  # Of NixOS, the options that modules here may speak of.
  nixos =
    let
      anything = lib.mkOption {
        type = lib.types.anything;
        default = { };
      };
      list = lib.mkOption {
        type = lib.types.listOf lib.types.anything;
        default = [ ];
      };
    in
    {
      assertions = list;
      warnings = list;
      boot.kernel.sysctl = anything;
      environment.etc = anything;
      environment.systemPackages = list;
      networking.firewall.allowedTCPPorts = list;
      networking.hostName = anything;
      systemd.services = anything;
      systemd.timers = anything;
      systemd.tmpfiles.rules = list;
      users.users = anything;
      users.groups = anything;
      # agenix and ragenix say where a secret will be when the machine runs.
      age.secrets = lib.mkOption {
        type = lib.types.attrsOf (
          lib.types.submodule {
            freeformType = lib.types.anything;
          }
        );
        default = { };
      };
    };

  # The configuration of a machine with these modules: sets, or functions of what a module is given.
  machine =
    modules:
    let
      arguments = {
        inherit
          config
          lib
          pkgs
          utils
          ;
      };
      called = map (
        module:
        let
          loaded = if builtins.isPath module then import module else module;
        in
        if builtins.isFunction loaded then loaded arguments else loaded
      ) modules;
      declared = builtins.foldl' (a: b: a // b) nixos (
        map (module: module.options or { }) called
      );
      said = map (module: module.config or (removeAttrs module [ "options" "imports" ])) called;
      config = lib.evaluate "config" declared null said;
    in
    config;
}
