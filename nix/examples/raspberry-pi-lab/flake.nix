# What goes around watchpost.nix: four machines, built for aarch64. Watchpost is taken from the folder above;
# write the address of its repository instead.
#
# NOT RUN HERE: there is no nixpkgs, so nothing of this was built, and there is no flake.lock.
{
  description = "Four Raspberry Pis, watched by Watchpost";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    watchpost.url = "path:../../..";
    watchpost.inputs.nixpkgs.follows = "nixpkgs";
    ragenix.url = "github:yaxitech/ragenix";
    ragenix.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    {
      nixpkgs,
      watchpost,
      ragenix,
      ...
    }:
    let
      pi =
        name:
        nixpkgs.lib.nixosSystem {
          modules = [
            watchpost.nixosModules.default
            ragenix.nixosModules.default
            ./watchpost.nix
            {
              nixpkgs.hostPlatform = "aarch64-linux";
              networking.hostName = name;
              system.stateVersion = "25.05";
              # ... and hardware, users, network: yours.
            }
          ];
        };
    in
    {
      nixosConfigurations = nixpkgs.lib.genAttrs [
        "rpi4-01"
        "rpi4-02"
        "rpi4-03"
        "rpi4-04"
      ] pi;
    };
}
