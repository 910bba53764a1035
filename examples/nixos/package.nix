# fanctl from this tree, for fan.nix.
{ rustPlatform, lib }:
rustPlatform.buildRustPackage {
  pname = "fanctl";
  version = "0.1.0";
  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;
  # They make network namespaces, which the build's sandbox does not allow.
  doCheck = false;
  meta.mainProgram = "fanctl";
}
