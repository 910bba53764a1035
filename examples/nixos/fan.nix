# A NixOS module. `package` is fanctl, built by rustPlatform.buildRustPackage from this tree:
#
#   imports = [ ./fan.nix ];
#   services.fan = {
#     enable = true;
#     package = pkgs.callPackage ./package.nix { };
#     settings.fan = [ { overlay = "250.0.0.0/8"; underlay = "default/16"; } ];
#   };
{ config, lib, pkgs, ... }:
let
  cfg = config.services.fan;
  toml = pkgs.formats.toml { };
  file = toml.generate "fan.toml" cfg.settings;
in
{
  options.services.fan = {
    enable = lib.mkEnableOption "fan networking";
    package = lib.mkOption {
      type = lib.types.package;
      description = "The package with fanctl.";
    };
    settings = lib.mkOption {
      type = toml.type;
      default = { };
      description = "What fan.toml(5) holds.";
    };
    watch = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether fan-watch.service reports changes, and keeps fans with `follow` as configured.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.etc."fan.toml".source = file;
    environment.systemPackages = [ cfg.package ];
    boot.kernelModules = [ "ipip" "vxlan" "cls_bpf" "sch_ingress" "bridge" ];
    # systemd-networkd would delete the fan's routes.
    systemd.network.config.networkConfig = {
      ManageForeignRoutes = false;
      ManageForeignRoutingPolicyRules = false;
    };
    systemd.services.fan = {
      description = "Fan networking";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" "nftables.service" "firewall.service" ];
      before = [ "docker.service" "podman.service" "kubelet.service" "libvirtd.service" ];
      path = [ pkgs.nftables pkgs.dnsmasq ];
      restartTriggers = [ file ];
      reloadIfChanged = true;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${cfg.package}/bin/fanctl up --all --tempfail";
        ExecReload = "${cfg.package}/bin/fanctl reload";
        ExecStop = "${cfg.package}/bin/fanctl down --all";
        Restart = "on-failure";
        RestartSec = 15;
        # A mistake in the configuration, or a refusal that asks for force = true, stays: see fanctl(8).
        RestartPreventExitStatus = "2 3";
        TimeoutStartSec = "3min";
      };
    };
    systemd.services.fan-watch = lib.mkIf cfg.watch {
      description = "Watch the fans";
      wantedBy = [ "multi-user.target" ];
      after = [ "fan.service" ];
      path = [ pkgs.nftables pkgs.dnsmasq ];
      serviceConfig = {
        Type = "notify";
        ExecStart = "${cfg.package}/bin/fanctl watch";
        Restart = "on-failure";
      };
    };
  };
}
