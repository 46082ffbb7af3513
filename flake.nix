# Watchpost for Nix: the package, an overlay, the NixOS module, a shell to work in, and checks.
#
# NOT RUN HERE: there was no nixpkgs, so this file was parsed and its outputs were never built. There is no
# flake.lock for the same reason; `nix flake lock` makes one, with a nixpkgs whose rustc is as new as
# `rust-version` in Cargo.toml.
{
  description = "Watchpost, synthetic probing and availability monitor";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem =
        outputs: nixpkgs.lib.genAttrs systems (system: outputs nixpkgs.legacyPackages.${system});
    in
    {
      overlays.default = final: _: { watchpost = final.callPackage ./nix/package.nix { }; };

      # It takes `pkgs.watchpost` where the overlay is in use, and builds ./nix/package.nix where it is not.
      nixosModules.default = ./nix/module.nix;

      packages = eachSystem (pkgs: rec {
        watchpost = pkgs.callPackage ./nix/package.nix { };
        default = watchpost;
      });

      # What ./test.sh does not find here it skips by name: Debian's peers are for Debian.
      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ self.packages.${pkgs.stdenv.hostPlatform.system}.default ];
          packages = with pkgs; [
            clippy
            rustfmt
            rust-analyzer
            cargo-deny
            fping
            iproute2
            nftables
            nix
            python3
          ];
        };
      });

      checks = eachSystem (
        pkgs:
        import ./nix/checks.nix {
          inherit pkgs;
          inherit (nixpkgs.lib) nixosSystem;
        }
      );
    };
}
