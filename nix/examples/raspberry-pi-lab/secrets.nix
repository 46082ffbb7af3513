# Who may decrypt which secret: agenix and ragenix read this (`ragenix --edit watchpost-api-key.age` in the
# folder secrets/). The keys are placeholders: yours, and the host keys of the machines.
let
  you = "ssh-ed25519 AAAA-your-key";
  pis = [
    "ssh-ed25519 AAAA-host-key-of-rpi4-01"
    "ssh-ed25519 AAAA-host-key-of-rpi4-02"
    "ssh-ed25519 AAAA-host-key-of-rpi4-03"
    "ssh-ed25519 AAAA-host-key-of-rpi4-04"
  ];
in
{
  "secrets/watchpost-environment.age".publicKeys = [ you ] ++ pis;
  "secrets/watchpost-api-key.age".publicKeys = [ you ] ++ pis;
}
