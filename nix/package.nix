# The program, as nixpkgs builds Rust: `pkgs.callPackage ./package.nix { }`. It needs nothing but cargo, the
# compiler that Cargo.toml names (rust-version) and a C compiler.
#
# NOT RUN HERE: without nixpkgs this was parsed and no more.
{ lib, rustPlatform }:

rustPlatform.buildRustPackage {
  pname = "watchpost";
  inherit ((lib.importTOML ../Cargo.toml).workspace.package) version;

  # Everything but what cannot change the program. A list of what cargo wants (crane's cleanCargoSource)
  # would lose what `include_str!` and the tests read: tests/cases, discovery/examples, docs.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.difference ../. (
      lib.fileset.unions [
        ../flake.nix
        ../fuzz
        ../nix
        (lib.fileset.maybeMissing ../.git)
        (lib.fileset.maybeMissing ../flake.lock)
        (lib.fileset.maybeMissing ../result)
        (lib.fileset.maybeMissing ../target)
      ]
    );
  };

  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [
    "--package"
    "watchpost"
  ];

  # The tests need peers from Debian's packages, network namespaces and name servers of their own; a sandbox
  # has none of them, and what is skipped would look as if it had passed. ./test.sh runs them.
  doCheck = false;

  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    $out/bin/watchpost --version
    $out/bin/watchpost check --config discovery/examples/watchpost.yaml
    runHook postInstallCheck
  '';

  meta = {
    description = "Synthetic probing and availability monitor";
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "watchpost";
    platforms = lib.platforms.linux;
  };
}
