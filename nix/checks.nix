# What `nix flake check` builds: the package, the module with the real lib for each machine of the
# example (which checks its configuration), the module with the stub, and two virtual machines.
#
# NOT RUN HERE: all of this waits for a machine with nixpkgs. What ran here is nix/test.nix.
{ pkgs, nixosSystem }:

let
  inherit (pkgs) lib;

  # The file that a machine of the example would have; building it is the check.
  lab =
    name:
    (nixosSystem {
      modules = [
        ./module.nix
        ./examples/raspberry-pi-lab/watchpost.nix
        {
          # Where agenix and ragenix put secrets, without either of them.
          options.age.secrets = lib.mkOption {
            type = lib.types.attrsOf (
              lib.types.submodule (
                { name, ... }:
                {
                  options.file = lib.mkOption { type = lib.types.path; };
                  options.path = lib.mkOption {
                    type = lib.types.str;
                    default = "/run/agenix/${name}";
                  };
                }
              )
            );
          };
          config = {
            networking.hostName = name;
            nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system;
            system.stateVersion = lib.trivial.release;
          };
        }
      ];
    }).config;

  labChecks = builtins.listToAttrs (
    map (name: {
      name = "lab-${name}";
      value =
        let
          config = lab name;
          # Others, such as that there is no boot loader, are not ours.
          refused = builtins.filter (
            a: !a.assertion && lib.hasPrefix "services.watchpost" a.message
          ) config.assertions;
        in
        lib.throwIf (refused != [ ]) (toString (map (a: a.message) refused))
          config.environment.etc."watchpost/watchpost.yaml".source;
    }) [ "rpi4-01" "rpi4-02" "rpi4-03" "rpi4-04" ]
  );
in
labChecks
// {
  package = pkgs.callPackage ./package.nix { };

  # Nix in a sandbox of Nix: evaluation needs no store, only folders where one could be.
  stub =
    pkgs.runCommand "watchpost-module-with-stub"
      {
        nativeBuildInputs = [
          pkgs.nix
          pkgs.jq
        ];
        source = lib.fileset.toSource {
          root = ../.;
          fileset = lib.fileset.unions [
            ../nix
            ../deploy/systemd
            ../discovery/examples
          ];
        };
      }
      ''
        export NIX_STATE_DIR=$TMPDIR/state NIX_STORE_DIR=$TMPDIR/store NIX_LOG_DIR=$TMPDIR/log HOME=$TMPDIR
        nix-instantiate --eval --strict --json $source/nix/test.nix >$out
        jq --exit-status '.failed == [] and all(.differences[]; . == {})' $out
      '';

  vm = pkgs.testers.runNixOSTest ./vm-test.nix;
}
