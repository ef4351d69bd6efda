# What Vagrant itself makes of a Vagrantfile for one provider: its merged and finished settings, as JSON.
#
#   ruby evaluate.rb PROVIDER, with the environment that `vagrant` gets
require "json"
require "vagrant"

provider = ARGV.fetch(0).to_sym
environment = Vagrant::Environment.new
told = environment.machine_names.to_h do |name|
  machine = environment.machine(name, provider)
  vm, ours = machine.config.vm, machine.provider_config
  problems = machine.config.validate(machine).reject { |_, each| each.empty? }
  settings = %i[name memory cpus linked_clone check_guest_additions default_prefix clock_offset
                uri kernel emulator_path disk_driver_opts
                cmd_line qemu_args management_network_keep]
  [name, {
    "box" => vm.box, "hostname" => vm.hostname, "boot_timeout" => vm.boot_timeout, "guest" => vm.guest,
    "networks" => vm.networks.map { |kind, options| [kind, options] },
    "synced" => vm.synced_folders.reject { |_, each| each[:disabled] }.keys,
    "provider" => settings.select { |each| ours.respond_to?(each) }.to_h { |each| [each, ours.public_send(each)] },
    "customizations" => ours.respond_to?(:customizations) ? ours.customizations : [],
    "problems" => problems,
  }]
end
puts JSON.generate(told)
